#!/usr/bin/env python3
"""A node is dead while BYTES (4 GB) are written, and comes back under load: memory of all nodes, time to catch up."""
import os, threading, time
from common import Karst, load, record, rounds

size = int(float(os.environ.get("BYTES", 4e9)))
for n in rounds():
    with Karst(3, "--topic", "behind:6", "--topic", "beside:6") as k:
        k.do("kill", 3)
        got = load("write", brokers=k.brokers, topic="behind", bytes=size, patience="600s", **{"for": "1800s"})
        beside = threading.Thread(target=load, args=("write",), kwargs={
            "brokers": k.brokers, "topic": "beside", "rate": 5000, "clients": 2, "patience": "600s", "for": "20s"})
        beside.start()
        began = time.monotonic()
        k.do("revive", 3)
        load("isr", brokers=k.brokers, topic="behind", patience="1200s")
        record("behind", "Karst", "time until the revived node is in sync", time.monotonic() - began, "s", n, bytes=size)
        beside.join()
        k.look()
        record("behind", "Karst", "write rate with a node dead", got["records_per_s"], "records/s", n)
        record("behind", "Karst", "acknowledged records lost", got["lost"], "records", n, acked=got["acked"])
        record("rss", "Karst", "a node dead for 4 GB", k.peak, "MiB", n)
