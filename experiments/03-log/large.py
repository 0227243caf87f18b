#!/usr/bin/env python3
"""A partition of GB gigabytes beside one of 100 MB: appends, fetches and searches by time must not know the difference."""
import os
from here import GB, One, drop, record, rounds, segments, warm

with One("--topic", "large:1", "--topic", "small:1") as k:
    got = k.tool("fill", topic="large", bytes=int(GB * 1e9))
    record("large", "Karst", "written to the large partition", GB, "GB", records_per_s=got["records"] / got["seconds"])
    k.tool("fill", topic="small", bytes=100_000_000)
    for n in rounds():
        warm()
        for topic in ("large", "small") if n % 2 else ("small", "large"):
            got = k.tool("single", topic=topic, count=2000)
            record("large", topic, "append, one at a time, p50", got["p50"], "ms", n)
            got = k.tool("fill", topic=topic, bytes=30_000_000, batch=1 << 20)
            record("large", topic, "append, large batches", got["bytes"] / got["seconds"] / 1e6, "MB/s", n)
            first = segments(k, topic)[0]
            with open(first, "rb") as f:  # what is read next lies in the page cache
                while f.read(1 << 24):
                    pass
            got = k.tool("fetch", topic=topic, bytes=100_000_000)
            record("large", topic, "fetch of the first 100 MB", got["bytes"] / got["seconds"] / 1e6, "MB/s", n)
    files = segments(k, "large")
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
