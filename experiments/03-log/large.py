#!/usr/bin/env python3
"""A partition of GB gigabytes beside one of 100 MB: appends, fetches and searches by time must not know the difference."""
import os, statistics
from here import GB, One, drop, record, renew, rounds, segments, warm

FIRST = 90_000_000
REPEAT, EACH = 12, 4  # what is measured is short: both take turns within a round, and a small one is used so often
SMALLS = len(rounds()) * REPEAT // EACH
with One("--topic", "large:1", *(x for n in range(SMALLS) for x in ("--topic", f"small{n}:1"))) as k:
    got = k.tool("fill", topic="large", bytes=int(GB * 1e9))
    record("large", "Karst", "written to the large partition", GB, "GB", records_per_s=got["records"] / got["seconds"])
    for n in rounds():
        p50, wrote, read = ({"large": [], "small": []} for _ in range(3))
        for repeat in range(REPEAT):
            topics = {"large": "large", "small": f"small{((n - 1) * REPEAT + repeat) // EACH}"}
            if repeat % EACH == 0:  # another one, that is small still
                k.tool("fill", topic=topics["small"], bytes=100_000_000)
                warm()
            for who in ("large", "small") if (n + repeat) % 2 else ("small", "large"):
                topic = topics[who]
                p50[who].append(k.tool("single", topic=topic, count=500)["p50"])
                wrote[who].append(k.tool("fill", topic=topic, bytes=30_000_000, batch=1 << 20))
                renew(segments(k, topic)[0], FIRST)
                read[who].append(k.tool("fetch", topic=topic, bytes=FIRST))
        for who in ("large", "small"):
            record("large", who, "append, one at a time, p50", statistics.median(p50[who]), "ms", n)
            for what, all_ in ("append, large batches", wrote), ("fetch of the first 90 MB", read):
                record("large", who, what, statistics.median(x["bytes"] / x["seconds"] for x in all_[who]) / 1e6, "MB/s", n)
    files = segments(k, "large")[:-1]  # the last one is being written to
    for n in rounds():
        warm()
        k.tool("times", topic="large", count=50)
        got = k.tool("times", topic="large", count=500, twice="true")
        record("large", "Karst", "fetch by time, warm, p99", got["p99"], "ms", n, **got)
        worst = []
        for _ in range(10):
            indexes = [f[:-4] + s for f in files for s in (".index", ".timeindex")]
            drop(files + [x for x in indexes if os.path.exists(x) and os.path.getsize(x)])
            worst.append(k.tool("times", topic="large", count=1)["max"])
        record("large", "Karst", "fetch by time, pages dropped, worst of ten", max(worst), "ms", n)
