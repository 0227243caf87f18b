#!/usr/bin/env python3
"""From the start of karst dev to "ready", from SIGTERM to its end, and what an idle node holds.

RUNS=20 of one and of three nodes, interleaved, on an empty directory and again on the same one; three of Apache Kafka
when PEERS is set. Idle memory is looked at IDLE (5) s after ready.
"""
import os, tempfile, time
from common import WORK, Kafka, Karst, memory, record, rounds, runs

idle = float(os.environ.get("IDLE", 5))
for n in rounds(runs(20)):
    for nodes, name in ((1, "one node"), (3, "three nodes")):
        data = tempfile.mkdtemp(dir=WORK)
        with Karst(nodes, data=data) as k:
            time.sleep(idle)
            rss = max(memory(p, "VmRSS") for p in k.pids())
            stop = k.stop()
            again = Karst(nodes, data=data)
            with again:
                record("startup", "Karst", f"{name}: ready again", 1000 * again.ready_s, "ms", n)
        record("startup", "Karst", f"{name}: ready", 1000 * k.ready_s, "ms", n)
        record("startup", "Karst", f"{name}: stopped", 1000 * stop, "ms", n)
        record("startup", "Karst", f"{name}: idle RSS of a node", rss, "MiB", n)
    if os.environ.get("PEERS") and n <= 3:
        with Kafka() as k:
            time.sleep(idle)
            record("startup", "Kafka", "three nodes: ready", 1000 * k.ready_s, "ms", n)
            record("startup", "Kafka", "three nodes: idle RSS of a node", max(memory(p, "VmRSS") for p in k.pids()), "MiB", n)
