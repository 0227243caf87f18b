#!/usr/bin/env python3
"""Large batches, latency, reading and memory: Karst, Apache Kafka and the ceiling interleaved by run_kafka.sh of CEILING.

LOG=FILE reads the output of a run that was made before instead.
"""
import os, re, subprocess, sys
from common import ROUNDS, WORK, need, record

WHO = [("ceiling", "ceiling"), ("Karst", "Karst"), ("page cache", "Kafka, page cache"), ("flush.messages", "Kafka, flush.messages=1")]
PRODUCE = re.compile(r"^(.*) produce (\d+) B x \d+: median (\d+) rec/s .*foreign<=(\d+)%")
LATENCY = re.compile(r"^(.*) latency \d+ B rate=(\d+): p50 (\d+) us p99 (\d+) us p99\.9 (\d+) us .*foreign<=(\d+)%")
CONSUME = re.compile(r"^(.*) consume (\d+) B x \d+: median (\d+) rec/s .*foreign<=(\d+)%")
RSS = re.compile(r"^(.*) RSS (\d+) MiB")


def who(label):
    return next(name for part, name in WHO if part in label)


def figures(line, n):
    if m := PRODUCE.match(line):
        record("batches", who(m[1]), f"produce {m[2]} B", int(m[3]), "records/s", n, foreign_percent=int(m[4]))
    elif m := LATENCY.match(line):
        kind = "one at a time" if m[2] == "0" else f"open loop, {m[2]}/s"
        for q, v in zip(("p50", "p99", "p99.9"), m.group(3, 4, 5)):
            record("latency", who(m[1]), f"{kind}, {q}", int(v), "us", n, foreign_percent=int(m[6]))
    elif m := CONSUME.match(line):
        record("batches", who(m[1]), f"consume {m[2]} B", int(m[3]), "records/s", n, foreign_percent=int(m[4]))
    elif m := RSS.match(line):
        record("rss", who(m[1]), "large batches", int(m[2]), "MiB", n)


def lines():
    if os.environ.get("LOG"):
        yield from open(os.environ["LOG"])
        return
    env = dict(os.environ, KARST=need("KARST"), K=os.path.join(need("PEERS"), "kafka", "kafka"),
               D=str(WORK / "ceiling"), ROUNDS=str(ROUNDS))
    yield from subprocess.Popen(["bash", os.path.join(need("CEILING"), "run_kafka.sh")], env=env,
                                stdout=subprocess.PIPE, text=True).stdout


n = 0
for line in lines():
    print(line, end="", file=sys.stderr, flush=True)
    if line.startswith("== round"):
        n = int(line.split()[2])
    figures(line.rstrip(), n)
