#!/usr/bin/env python3
"""A partition of GB gigabytes beside one of 100 MB: appends, fetches and searches by time must not know the difference."""
import os, statistics
from here import GB, One, drop, record, rounds, segments, warm

REPEAT = 6  # what is measured is short: both take turns within a round
with One("--topic", "large:1", *(x for n in range(1, 10) for x in ("--topic", f"small{n}:1"))) as k:
    got = k.tool("fill", topic="large", bytes=int(GB * 1e9))
    record("large", "Karst", "written to the large partition", GB, "GB", records_per_s=got["records"] / got["seconds"])
    for n in rounds():
        small = f"small{n}"  # one that is small still
        k.tool("fill", topic=small, bytes=100_000_000)
        warm()
        first = {topic: segments(k, topic)[0] for topic in ("large", small)}
        p50, wrote, read = ({"large": [], small: []} for _ in range(3))
        for repeat in range(REPEAT):
            for topic in ("large", small) if (n + repeat) % 2 else (small, "large"):
                p50[topic].append(k.tool("single", topic=topic, count=500)["p50"])
                wrote[topic].append(k.tool("fill", topic=topic, bytes=30_000_000, batch=1 << 20))
                with open(first[topic], "rb") as f:  # what is read next lies in the page cache
                    while f.read(1 << 24):
                        pass
                read[topic].append(k.tool("fetch", topic=topic, bytes=90_000_000))
        for topic, who in ("large", "large"), (small, "small"):
            record("large", who, "append, one at a time, p50", statistics.median(p50[topic]), "ms", n)
            for what, all_ in ("append, large batches", wrote), ("fetch of the first 90 MB", read):
                record("large", who, what, statistics.median(x["bytes"] / x["seconds"] for x in all_[topic]) / 1e6, "MB/s", n)
    files = segments(k, "large")[:-1]  # the last one is being written to
    for n in rounds():
        warm()
        k.tool("times", topic="large", count=50)
        got = k.tool("times", topic="large", count=500)
        record("large", "Karst", "fetch by time, warm, p99", got["p99"], "ms", n, **got)
        worst = []
        for _ in range(10):
            indexes = [f[:-4] + s for f in files for s in (".index", ".timeindex")]
            drop(files + [x for x in indexes if os.path.exists(x) and os.path.getsize(x)])
            worst.append(k.tool("times", topic="large", count=1)["max"])
        record("large", "Karst", "fetch by time, pages dropped, worst of ten", max(worst), "ms", n)
