#!/usr/bin/env python3
"""SIGTERM and restart of each node in turn, while clients write and read: errors, and the longest gap of each partition.

RATE (5,000) records/s of 1 KiB from two clients go on meanwhile, beside one probing producer a partition and a reader
in a group.
"""
import os
from common import Karst, load, record, rounds

for n in rounds():
    with Karst(3, "--topic", "roll:6") as k:
        got = load("rolling", brokers=k.brokers, topic="roll", partitions=6, clients=2, rate=os.environ.get("RATE", 5000),
                   each=k.command("stop", "$N") + " && " + k.command("revive", "$N"))
        k.look()
    record("rolling", "Karst", "client errors", got["client_errors"], "errors", n, first=got.get("first_error", ""))
    record("rolling", "Karst", "errors told to the reader", got["reader_errors"], "errors", n)
    for part, gap in enumerate(got["gaps_ms"]):
        record("rolling", "Karst", "longest gap of a partition", gap, "ms", n, partition=part)
    record("rolling", "Karst", "longest gap before", got["gap_before_ms"], "ms", n)
    record("rolling", "Karst", "acknowledged records lost", got["lost"], "records", n, acked=got["acked"])
    record("rolling", "Karst", "records stored twice", got["stored_twice"], "records", n)
    record("rss", "Karst", "rolling restart", k.peak, "MiB", n)
