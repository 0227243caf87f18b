#!/usr/bin/env python3
"""SIGKILL with GB gigabytes (20) on disk: until every one of PARTITIONS (1,000) has answered a fetch and a produce."""
import os, time
from here import One, record, rounds, warm

size = float(os.environ.get("GB", 20))
for partitions in (int(os.environ.get("PARTITIONS", 1000)), 1):
    with One() as k:
        k.single(partitions)
        k.tool("fill", partitions=partitions, bytes=int(size * 1e9))
        offsets = os.path.join(k.data, "offsets.json")
        k.tool("answered", partitions=partitions, file=offsets)  # a small record for each, which is what is fetched
        for n in rounds():
            warm()
            k.do("kill", 1)
            began = time.time_ns()
            k.process_again = k.do("revive", 1)
            got = k.tool("answered", partitions=partitions, since=began, file=offsets)
            name = f"{partitions} partition{'s' * (partitions > 1)}, {size:.0f} GB: every one answered "
            record("restart", "Karst", name + "a fetch", got["fetched_s"], "s", n)
            record("restart", "Karst", name + "a produce", got["produced_s"], "s", n)
