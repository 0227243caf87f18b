#!/usr/bin/env python3
"""A node is wiped and takes in GB (10) gigabytes again: unthrottled without load, against cp and sync of the same files; then at
the default throttle (2 GB) with 2,000 records/s beside it, whose p99 is compared with that before and after: medians of windows. Variables:
GB, RUNS (1), and those of ../01-spine/common.py; RESULT is result.json here."""
import os, pathlib, shutil, statistics, subprocess, time

from here import WORK, Karst, calm, load, pace, record, rounds, runs, windows

size, partitions, none = int(float(os.environ.get("GB", 10)) * 1e9), 6, str(2**63 - 1)
pace_of_catchup = 16 << 20  # the default of replica.catchup.max.bytes.per.second


def directory(k, node):
    """The node's own: the one of its segments."""
    found = [p.parents[1] for p in pathlib.Path(k.data).rglob("big-0/*.log") if f"n{node}" in p.parts or f"node-{node}" in p.parts]
    return found[0]


def wiped(k, node):
    k.do("kill", node)
    d = directory(k, node)
    for x in d.iterdir():
        shutil.rmtree(x) if x.is_dir() else x.unlink()


def fill(k, size):
    load("write", brokers=k.brokers, topic="big", partitions=partitions, bytes=size, patience="1200s", **{"for": "3600s"})


def back(k, node):
    """Starts the wiped node and does not wait for its copies: at the throttle that takes longer than the verb waits."""
    return subprocess.Popen(k.command("revive", node, "--rejoin"), shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


for n in rounds(runs(1)):
    with Karst(3, "--topic", f"big:{partitions}", "--set", f"replica.catchup.max.bytes.per.second={none}") as k:
        fill(k, size)
        source = directory(k, 1)
        files = [p for p in source.glob("big-*/*.log")]
        total = sum(p.stat().st_size for p in files)
        os.sync()
        began = time.monotonic()
        (WORK / "copy").mkdir()
        for p in files:
            subprocess.run(["cp", str(p), str(WORK / "copy" / f"{p.parent.name}-{p.name}")], check=True)
        subprocess.run(["sync", "-f", str(WORK / "copy")], check=True)
        copied = time.monotonic() - began
        shutil.rmtree(WORK / "copy")
        wiped(k, 3)
        os.sync()
        time.sleep(2)
        began = time.monotonic()
        p = back(k, 3)
        load("isr", brokers=k.brokers, topic="big", patience="3600s")
        took = time.monotonic() - began
        p.wait()
        k.look()
        record("catchup", "cp", "cp and sync", total / copied / 1e6, "MB/s", n, bytes=total)
        record("catchup", "Karst", "a wiped node, unthrottled, no load", total / took / 1e6, "MB/s", n, bytes=total)
        record("catchup", "Karst", "share of cp and sync", copied / took, "x", n)
        record("catchup", "Karst", "peak RSS of a node", k.peak, "MiB", n)
    with Karst(3, "--topic", f"big:{partitions}", "--topic", "pace:6") as k:
        fill(k, min(size, int(2e9)))
        total = sum(p.stat().st_size for p in directory(k, 1).glob("big-*/*.log"))
        calm()
        pace(k, "pace", 10)
        quietly, during = windows(k), []
        wiped(k, 3)
        p = back(k, 3)
        began = time.monotonic()
        time.sleep(3)
        while time.monotonic() - began < 0.8 * total / pace_of_catchup:
            during += windows(k, 1)
        watched = time.monotonic() - began
        load("isr", brokers=k.brokers, topic="big", patience="7200s")
        if (took := time.monotonic() - began) < watched + 1:
            raise SystemExit("the catch-up was over before its last window was")
        p.wait()
        quietly += windows(k)
        k.look()
        record("catchup", "Karst", "p99 at 2,000/s in the catch-up, of that around it", statistics.median(during) / statistics.median(quietly), "x", n,
               around_us=quietly, in_us=during)
        record("catchup", "Karst", "a wiped node, default throttle, under load", total / took / 1e6, "MB/s", n, bytes=total)
        record("catchup", "Karst", "peak RSS of a node, throttled", k.peak, "MiB", n)
