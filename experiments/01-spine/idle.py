#!/usr/bin/env python3
"""CPU of three nodes with PARTITIONS (1,000) idle partitions, RF 3, over OVER (60) s after SETTLE (60) s; Apache Kafka
beside it when PEERS is set."""
import os, time
from common import Kafka, Karst, cpu_seconds, memory, record, rounds

partitions, over, settle = (os.environ.get(*v) for v in (("PARTITIONS", "1000"), ("OVER", "60"), ("SETTLE", "60")))


def look(who, k, n):
    time.sleep(float(settle))
    before, began = sum(map(cpu_seconds, k.pids())), time.monotonic()
    time.sleep(float(over))
    used = (sum(map(cpu_seconds, k.pids())) - before) / (time.monotonic() - began)
    record("idle", who, "three nodes, idle partitions", 100 * used, "% of a core", n, partitions=int(partitions))
    record("rss", who, "1,000 idle partitions", max(memory(p, "VmHWM") for p in k.pids()), "MiB", n)


for n in rounds():
    with Karst(3) as k:
        k.topic("idle", partitions)
        look("Karst", k, n)
    if os.environ.get("PEERS"):
        with Kafka() as k:
            k.run("TopicCommand", "--bootstrap-server", k.address, "--create", "--topic", "idle", "--partitions", partitions,
                  "--replication-factor", "3")
            look("Kafka", k, n)
