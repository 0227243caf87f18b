#!/usr/bin/env python3
"""A broker for MINUTES (30) with retention of a second and tiny segments, written to at 80 MB/s, which is 76 of them a second: memory,
open files and directory over time."""
import os, pathlib, subprocess, threading, time
from here import One, memory, record

minutes = float(os.environ.get("MINUTES", 30))
with One("--set", "log.retention.check.interval.ms=500") as k:
    k.single(8, "log", "retention.ms=1000", "segment.bytes=1048576", "file.delete.delay.ms=1000", "segment.ms=1000")
    stop = threading.Event()

    def write():
        due = time.monotonic()
        while not stop.wait(max(due - time.monotonic(), 0)):
            due = max(due, time.monotonic() - 5) + 1
            k.tool("fill", partitions=8, bytes=80_000_000, batch=1 << 17)

    writer = threading.Thread(target=write)
    began = time.monotonic()
    writer.start()
    ends = lambda: sum(int(p.name[:20]) for p in pathlib.Path(k.data).glob("*/log-*/*.log"))
    seen, rolls, samples = set(), 0, []
    while time.monotonic() - began < minutes * 60:
        names = {str(p) for p in pathlib.Path(k.data).glob("*/log-*/*.log")}
        rolls += len(names - seen)
        seen = names
        if not samples or time.monotonic() - samples[-1][0] > 10:
            used = int(subprocess.run(["du", "-sk", k.data], capture_output=True, text=True).stdout.split()[0]) / 1024
            fds = len(os.listdir(f"/proc/{k.pid()}/fd"))
            samples.append((time.monotonic(), memory(k.pid(), "VmRSS"), fds, used))
        time.sleep(0.2)
    stop.set()
    writer.join()
    third = len(samples) // 3
    for i, (what, unit) in enumerate((("RSS", "MiB"), ("open files", "files"), ("directory", "MiB")), 1):
        early, late = (max(s[i] for s in part) for part in (samples[third:2 * third], samples[2 * third:]))
        record("rolls", "Karst", f"{what}, last third against the second", late / early, "x", most=max(s[i] for s in samples),
               over_time=[round(s[i], 1) for s in samples])
    record("rolls", "Karst", "segments seen", rolls, "segments", minutes=minutes)
