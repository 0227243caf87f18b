#!/usr/bin/env python3
"""How long acknowledgements stop when a node dies by kill -9 or freezes: failbench of CEILING, RUNS=20 of each kind."""
import json, os, re, subprocess
from common import WORK, Karst, build, need, record, rounds, runs

KINDS = {"kill -9": ("kill", "revive", ["-for", "15s"]),
         "kill -9, client defaults": ("kill", "revive", ["-for", "24s", "-defaults", "-after", "8s"]),
         "SIGSTOP": ("pause", "resume", ["-for", "15s", "-timeout", "400ms"])}
LINE = re.compile(r"partitions hit (\d+) of \d+; outage p50 (\S+) max (\S+); acked (\d+), errors (\d+), lost (\d+), stored twice (\d+)")


def ms(text):
    """A duration as Go prints it (1m2.3s, 312ms, 0s)."""
    unit = {"h": 3600e3, "m": 60e3, "s": 1e3, "ms": 1, "µs": 1e-3}
    return sum(float(v) * unit[u] for v, u in re.findall(r"([\d.]+)(ms|µs|h|m|s)", text))


def once(kind, n):
    verb, undo, flags = KINDS[kind]
    node, seen = (n - 1) % 3 + 1, WORK / "leaders"
    with Karst(3, "--topic", "bench:6") as k:
        ask = f"{build('./load', 'load')} leaders -brokers={k.brokers} -topic=bench >{seen}; "
        out = subprocess.run([failbench, "-brokers", k.brokers, "-topic", "bench", "-label", kind, "-kill",
                              ask + k.command(verb, node), "-revive", k.command(undo, node), *flags],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        k.look()
        m = LINE.search(out)
        led = json.loads(seen.read_text()).get(str(node), 0)
        more = {"node": node, "led": led, "acked": int(m[4])}
        record("failover", "Karst", f"{kind}: longest outage", ms(m[3]), "ms", n, **more)
        record("failover", "Karst", f"{kind}: median outage of a partition", ms(m[2]), "ms", n)
        record("failover", "Karst", f"{kind}: partitions hit beyond those the node led", max(0, int(m[1]) - led), "partitions", n)
        for name, v in zip(("client errors", "acknowledged records lost", "records stored twice"), m.group(5, 6, 7)):
            record("failover", "Karst", f"{kind}: {name}", int(v), "records", n)
        record("rss", "Karst", f"failover, {kind}", k.peak, "MiB", n)


failbench = str(WORK / "failbench")
subprocess.run(["go", "build", "-o", failbench, "./failbench"], cwd=need("CEILING"), check=True)
kinds = [k for k in KINDS if os.environ.get("KIND", "") in k]
for n in rounds(runs(20)):
    for kind in kinds:
        once(kind, n)
