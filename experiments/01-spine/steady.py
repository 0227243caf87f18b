#!/usr/bin/env python3
"""Ten minutes of load without a fault, both cores busy: no partition may change its leader.

BLOCKS=5 of SECONDS_A_BLOCK=120; one 100 B record a batch from CLIENTS=200 connections, a topic of its own for each block.
"""
import os
from common import Karst, load, record, rounds

seconds = int(os.environ.get("SECONDS_A_BLOCK", 120))


def cores():
    """Busy and total time of each core so far."""
    out = []
    for line in open("/proc/stat"):
        if line.startswith("cpu") and line[3] != " ":
            f = list(map(int, line.split()[1:9]))
            out.append((sum(f) - f[3] - f[4], sum(f)))
    return out


def written(pids):
    total = 0
    for p in pids:
        for line in open(f"/proc/{p}/io"):
            if line.startswith("write_bytes"):
                total += int(line.split()[1])
    return total


with Karst(3) as k:
    for n in rounds(int(os.environ.get("BLOCKS", 5))):
        topic = f"steady-{n}"
        k.topic(topic, 6)
        before, disk = cores(), written(k.pids())
        got = load("steady", brokers=k.brokers, topic=topic, partitions=6, size=100, inflight=1,
                   clients=os.environ.get("CLIENTS", 200), **{"for": f"{seconds}s"})
        busy = [100 * (b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(before, cores())]
        record("steady", "Karst", "elections", got["elections"], "elections", n, partitions=got["partitions_seen"],
               moved=got["moved"])
        record("steady", "Karst", "client errors", got["client_errors"], "errors", n)
        record("steady", "Karst", "one-record batches", got["records_per_s"], "batches/s", n)
        record("steady", "Karst", "least busy core", min(busy), "%", n)
        record("steady", "Karst", "written to disk", (written(k.pids()) - disk) / 1e9, "GB", n)
        record("steady", "Karst", "time under load", got["seconds"], "s", n)
        load("delete", brokers=k.brokers, topic=topic)
        k.look()
        record("rss", "Karst", "ten minutes of load", k.peak, "MiB", n)
