#!/usr/bin/env python3
"""One reader that counts bytes: at the tail, from the page cache, and from the disk, against cat of the same files."""
import os, subprocess, threading, time
from here import GB, One, cpu_seconds, drop, record, rounds, segments, tool, warm

size = int(min(GB, 4) * 1e9)
with One() as k:
    k.single(1, "log", "segment.bytes=268435456")
    k.tool("fill", bytes=size)
    files = segments(k)[:-1]
    whole = sum(map(os.path.getsize, files))
    for n in rounds():
        warm()
        for f in files:  # in the page cache, outside of the broker's window
            subprocess.run(["cat", f], stdout=subprocess.DEVNULL, check=True)
        began = cpu_seconds(k.pid())
        got = k.tool("fetch", bytes=whole)
        record("fetch", "Karst", "from the page cache", got["bytes"] / got["seconds"] / 1e9, "GB/s", n)
        record("fetch", "Karst", "CPU of the broker", (cpu_seconds(k.pid()) - began) / (got["bytes"] / 1e9), "core-s/GB", n)
        cats = [tool("cat", file=f) for f in files]
        record("fetch", "cat", "from the page cache", sum(c["bytes"] for c in cats) / sum(c["seconds"] for c in cats) / 1e9, "GB/s", n)

        drop(files)
        began = time.monotonic()
        for f in files:
            subprocess.run(["cat", f], stdout=subprocess.DEVNULL, check=True)
        record("fetch", "disk", "cold", whole / (time.monotonic() - began) / 1e9, "GB/s", n)
        drop(files)
        got = k.tool("fetch", bytes=whole)
        record("fetch", "Karst", "cold", got["bytes"] / got["seconds"] / 1e9, "GB/s", n)

    # In the window: the newest records, which the broker knows by heart, read again and again.
    end = k.tool("ends")["end"]
    for n in rounds():
        warm()
        began = cpu_seconds(k.pid())
        got = [k.tool("fetch", bytes=16_000_000, **{"from": end - 20_000}) for _ in range(60)]
        bytes_ = sum(g["bytes"] for g in got)
        record("fetch", "Karst", "in the window", bytes_ / sum(g["seconds"] for g in got) / 1e9, "GB/s", n)
        record("fetch", "Karst", "CPU of the broker, in the window", (cpu_seconds(k.pid()) - began) / (bytes_ / 1e9), "core-s/GB", n)

    # At the tail: a reader that is there when the records come. It can be no faster than they are written.
    for n in rounds():
        warm()
        reader = {}
        t = threading.Thread(target=lambda: reader.update(k.tool("fetch", **{"from": -1}, bytes=10**9)))
        t.start()
        time.sleep(0.5)
        wrote = k.tool("fill", bytes=1_050_000_000)
        t.join()
        record("fetch", "Karst", "at the tail, of the rate of writing",
               reader["bytes"] / reader["seconds"] / (wrote["bytes"] / wrote["seconds"]), "x", n)
