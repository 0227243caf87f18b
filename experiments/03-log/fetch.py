#!/usr/bin/env python3
"""One reader that counts bytes: at the tail, from the page cache, and from the disk, against cat of the same files."""
import os, threading, time
from here import GB, One, cpu_seconds, drop, record, rounds, segments, tool, warm

size = int(min(GB, 4) * 1e9)


def passed(path):
    """Reads a file from its beginning to its end: the seconds."""
    began = time.monotonic()
    with open(path, "rb", buffering=0) as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while f.read(1 << 20):
            pass
    return time.monotonic() - began


with One() as k:
    k.single(1, "log", "segment.bytes=268435456")
    k.tool("fill", bytes=size)
    files = segments(k)[:-1]
    whole = sum(map(os.path.getsize, files))
    for n in rounds():
        warm()
        for f in files:  # in the page cache, outside of the broker's window
            passed(f)
        began = cpu_seconds(k.pid())
        got = k.tool("fetch", bytes=whole)
        record("fetch", "Karst", "from the page cache", got["bytes"] / got["seconds"] / 1e9, "GB/s", n)
        record("fetch", "Karst", "CPU of the broker", (cpu_seconds(k.pid()) - began) / (got["bytes"] / 1e9), "core-s/GB", n)
        cats = [tool("cat", file=f) for f in files]
        record("fetch", "cat", "from the page cache", sum(c["bytes"] for c in cats) / sum(c["seconds"] for c in cats) / 1e9, "GB/s", n)

        record("fetch", "cat", "CPU", sum(c["cpu"] for c in cats) / (sum(c["bytes"] for c in cats) / 1e9), "core-s/GB", n)

        # Cold: file by file, in turns. Who comes later finds a machine below that knows the file.
        cold = {"Karst": lambda f: k.tool("fetch", bytes=os.path.getsize(f), **{"from": int(os.path.basename(f)[:-4])})["seconds"],
                "cat": lambda f: tool("cat", file=f)["seconds"], "disk": passed}
        took = dict.fromkeys(cold, 0)
        for i, f in enumerate(files):
            first = (n + i) % len(cold)
            for who in (list(cold) * 2)[first:first + len(cold)]:
                drop(files)
                took[who] += cold[who](f)
        for who in cold:
            record("fetch", who, "cold", whole / took[who] / 1e9, "GB/s", n)

    # In the window: the newest records, which the broker knows by heart, read again and again.
    end = k.tool("ends")["end"]
    for n in rounds():
        warm()
        began = cpu_seconds(k.pid())
        got = k.tool("fetch", bytes=2_000_000_000, lap=16_000_000, **{"from": end - 20_000})
        record("fetch", "Karst", "in the window", got["bytes"] / got["seconds"] / 1e9, "GB/s", n)
        record("fetch", "Karst", "CPU of the broker, in the window", (cpu_seconds(k.pid()) - began) / (got["bytes"] / 1e9), "core-s/GB", n)

    # At the tail: who is there when the records come can be no faster than they are written.
    for n in rounds():
        warm()
        topic, written, rates = f"tail{n}", 900_000_000, {}
        k.single(1, topic, "segment.bytes=2147483647")  # tail follows no second file
        reads = {"Karst": lambda: k.tool("fetch", topic=topic, bytes=written, **{"from": -1}),
                 "tail -f": lambda: tool("cat", file=segments(k, topic)[0], bytes=written, **{"from": -1})}
        for who in list(reads) if n % 2 else list(reads)[::-1]:
            reader = {}
            t = threading.Thread(target=lambda: reader.update(reads[who]()))
            t.start()
            time.sleep(0.5)
            wrote = k.tool("fill", topic=topic, bytes=written + 50_000_000)
            t.join()
            record("fetch", who, "at the tail", reader["bytes"] / reader["seconds"] / 1e6, "MB/s", n,
                   written=wrote["bytes"] / wrote["seconds"] / 1e6)
