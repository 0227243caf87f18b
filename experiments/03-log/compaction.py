#!/usr/bin/env python3
"""Compaction: its rate unthrottled, bytes of memory a key, and what the default throttle leaves of the latency of a produce.

GB=4 of records of 1 KiB, keys drawn from KEYS=1,000,000, on one node, RF 1, with log.cleaner.pace.bytes.per.second at its largest; the pass is
over when the partition's directory has not become smaller for QUIET=5 s. The CPU of the broker is that of the pass: the rate is bytes of the log
per CPU second. The pure job alone is measured by the benchmark of core/compact. Then three nodes, RF 3 and the default throttle: the p99 of
2,000 records/s to another topic in windows of some seconds, six before a pass over 500 MB, six after it, and those in it; medians of both, because a
single stall of the disk is more than 1 % of a window.
"""
import os, re, statistics, subprocess, time
from here import GB, Karst, One, calm, cpu_seconds, pace, record, rounds, segments, tool, warm, windows

size, keys, quiet = min(GB, 4) * 1e9, int(os.environ.get("KEYS", 1_000_000)), float(os.environ.get("QUIET", 5))
root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
for n in rounds():
    out = subprocess.run(["go", "test", "-run", "-", "-bench", "^BenchmarkRun$", "-cpu", "1", "./core/compact"], cwd=root, check=True,
                         capture_output=True, text=True).stdout
    rates = [float(x) for x in re.findall(r"([\d.]+) MB/s", out)]
    record("compaction", "job alone", "of one core", min(rates), "MB/s", n, all=rates)
    record("compaction", "job alone", "memory a key", max(float(x) for x in re.findall(r"([\d.]+) memory-B/key", out)), "B", n)
for n in rounds():
    with One("--set", "log.cleaner.pace.bytes.per.second=9223372036854775807", "--set", "log.cleaner.backoff.ms=1000",
             "--set", "log.cleaner.min.cleanable.ratio=0.9") as k:
        k.single(1, "log", "cleanup.policy=compact", "min.cleanable.dirty.ratio=1", "segment.bytes=134217728",
                 "file.delete.delay.ms=1000")
        k.tool("fill", bytes=int(size), keys=keys)
        used = lambda: sum(os.path.getsize(f) for f in segments(k))
        warm()
        before, cpu, began = used(), cpu_seconds(k.pid()), time.monotonic()
        subprocess.run([k.binary, "topic", "alter", "log", "-c", "min.cleanable.dirty.ratio=0", "-B", k.brokers], check=True)
        least, since = before, time.monotonic()
        while least == before or time.monotonic() - since < quiet:
            if time.monotonic() - began > 600:
                raise SystemExit("nothing was compacted in ten minutes")
            time.sleep(0.1)
            now = used()
            if now < least:
                least, since, took, busy = now, time.monotonic(), time.monotonic() - began, cpu_seconds(k.pid()) - cpu
        record("compaction", "Karst", "of one core", before / 1e6 / busy, "MB/s", n, seconds=took, left=least / before)
        record("compaction", "Karst", "elapsed", before / 1e6 / took, "MB/s", n)
for n in rounds():
    with Karst(3, "--topic", "pace:6", "--set", "log.cleaner.backoff.ms=1000") as k:
        subprocess.run([k.binary, "topic", "create", "log", "-p", "1", "-r", "3", "-B", k.brokers, "-c", "cleanup.policy=compact",
                        "-c", "min.cleanable.dirty.ratio=1", "-c", "segment.bytes=67108864", "-c", "file.delete.delay.ms=1000"], check=True, stdout=subprocess.DEVNULL)
        tool("fill", broker=k.addresses[0], bytes=500_000_000, keys=100_000)
        used = lambda: [sum(os.path.getsize(f) for f in segments(k) if f.startswith(os.path.join(k.data, node))) for node in sorted(os.listdir(k.data))]
        calm()
        pace(k, "pace", 10)
        quietly, before = windows(k), used()
        subprocess.run([k.binary, "topic", "alter", "log", "-c", "min.cleanable.dirty.ratio=0", "-B", k.brokers], check=True)
        busy, began = [], time.monotonic()
        while sum(used()) > 0.7 * sum(before):  # until it is over at most nodes
            busy += windows(k, 1)
            if time.monotonic() - began > 600:
                raise SystemExit("nothing was compacted in ten minutes")
        left = sum(used()) / sum(before)
        while max(used()) > 0.7 * max(before):  # the others
            if time.monotonic() - began > 600:
                raise SystemExit("a node has not compacted in ten minutes: what comes after is not quiet")
            time.sleep(1)
        quietly += windows(k)
        record("compaction", "Karst", "p99 at 2,000/s in a pass, of that around it", statistics.median(busy) / statistics.median(quietly), "x", n,
               around_us=quietly, in_us=busy, left=left)
