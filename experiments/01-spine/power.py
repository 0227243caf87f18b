#!/usr/bin/env python3
"""All three nodes lose power at once under full load: what was acknowledged must be there, soon.

RUNS=20 with the real binary, and three with one whose fdatasync does nothing (tag nosync), which must lose records.
"""
import random
from common import Karst, build, load, need, record, rounds, runs


def once(binary, seconds):
    with Karst(3, "--power-switch", "--topic", "load:6", binary=binary) as k:
        got = load("cut", brokers=k.brokers, topic="load", partitions=6, clients=4, size=1024,
                   **{"for": f"{seconds:.2f}s"}, cut=k.command("powercut", "all"), revive=k.command("revive", "all"))
        k.look()
        return got, k.peak


def note(who, n, got, peak):
    why = {"why": got["why"]} if got.get("why") else {}
    read = got["back_s"] >= 0 and got["stored"] > 0
    record("power", who, "runs in which the cluster came back and was read", int(read), "runs", n, **why)
    record("power", who, "load at the cut", got["records_per_s"], "records/s", n)
    if read:
        record("power", who, "time until every partition acknowledged again", got["back_s"], "s", n)
        record("power", who, "acknowledged records lost", got["lost"], "records", n, acked=got["acked"])
        record("power", who, "records stored twice", got["stored_twice"], "records", n)
    record("rss", who, "power cut", peak, "MiB", n)


liar = build("../../cmd/karst", "karst-nosync", "-tags", "nosync")
for n in rounds(runs(20)):
    seconds = random.Random(n).uniform(2, 5)
    note("Karst", n, *once(need("KARST"), seconds))
    if n <= 3:
        note("Karst without fdatasync", n, *once(liar, seconds))
