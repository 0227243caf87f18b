#!/usr/bin/env python3
"""The table of result.json: each figure's median and range against its limit. Exit 1: a limit is broken or has no figure.

A limit holds for the median, or for the worst of all rounds where the experiment says "every". Figures without a limit are
shown below. A ratio divides medians.
"""
import json, statistics, sys
from common import RESULT

# experiment, metric, who, judged by, relation, limit; and for ratios: what it is divided by.
EVERY, MEDIAN, SUM = "every round", "median", "sum"
LIMITS = [
    ("sim", "virtual time per CPU time", "Karst", MEDIAN, ">=", 30),
    ("sim", "acknowledged batches per CPU time", "Karst", MEDIAN, ">=", 3000),
    ("sim", "seeds, each twice with equal hashes", "Karst", SUM, ">=", 500),
    ("sim", "seeds drawn again", "Karst", MEDIAN, "<=", 2),
    ("sim", "failed sweeps", "Karst", SUM, "<=", 0),
    ("power", "runs in which the cluster came back and was read", "Karst", SUM, ">=", 20),
    ("power", "acknowledged records lost", "Karst", SUM, "<=", 0),
    ("power", "records stored twice", "Karst", SUM, "<=", 0),
    ("power", "time until every partition acknowledged again", "Karst", EVERY, "<=", 3),
    ("power", "acknowledged records lost", "Karst without fdatasync", SUM, ">=", 1),
    ("rolling", "client errors", "Karst", SUM, "<=", 0),
    ("rolling", "longest gap of a partition", "Karst", EVERY, "<=", 300),
    ("rolling", "acknowledged records lost", "Karst", SUM, "<=", 0),
    ("rolling", "records stored twice", "Karst", SUM, "<=", 0),
    ("steady", "elections", "Karst", SUM, "<=", 0),
    ("steady", "client errors", "Karst", SUM, "<=", 0),
    ("steady", "time under load", "Karst", SUM, ">=", 600),
    ("steady", "least busy core", "Karst", EVERY, ">=", 90),
    ("steady", "written to disk", "Karst", SUM, "<=", 40),
    ("behind", "acknowledged records lost", "Karst", SUM, "<=", 0),
    ("startup", "one node: ready", "Karst", EVERY, "<=", 200),
    ("startup", "three nodes: ready", "Karst", EVERY, "<=", 800),
    ("startup", "one node: stopped", "Karst", EVERY, "<=", 300),
    ("startup", "three nodes: stopped", "Karst", EVERY, "<=", 300),
    ("startup", "one node: idle RSS of a node", "Karst", EVERY, "<=", 60),
    ("startup", "three nodes: idle RSS of a node", "Karst", EVERY, "<=", 60),
    ("idle", "three nodes, idle partitions", "Karst", EVERY, "<=", 3),
]
for kind, most in (("kill -9", 800), ("kill -9, client defaults", 1500), ("SIGSTOP", 1500)):
    LIMITS.append(("failover", f"{kind}: longest outage", "Karst", EVERY, "<=", most))
    for zero in ("acknowledged records lost", "records stored twice", "client errors", "partitions hit beyond those the node led"):
        LIMITS.append(("failover", f"{kind}: {zero}", "Karst", SUM, "<=", 0))
LIMITS += [("java", "steps that differ", "Karst", EVERY, "<=", 0), ("java", "complaints of DumpLogSegments", "Karst", EVERY, "<=", 0)]
for what in ("power cut", "large batches", "failover, kill -9", "failover, kill -9, client defaults", "failover, SIGSTOP",
             "rolling restart", "ten minutes of load", "a node dead for 4 GB", "1,000 idle partitions"):
    LIMITS.append(("rss", what, "Karst", EVERY, "<=", 512))
CACHE = "Kafka, page cache"
RATIOS = [
    ("batches", "produce 1024 B", CACHE, ">=", 1), ("batches", "produce 100 B", "ceiling", ">=", 0.6),
    ("latency", "one at a time, p50", CACHE, "<=", 1.1), ("latency", "one at a time, p99", CACHE, "<=", 0.33),
    ("latency", "open loop, 2000/s, p50", CACHE, "<=", 1.1), ("latency", "open loop, 2000/s, p99", CACHE, "<=", 0.33),
]
# So many rounds must have been measured before a limit holds.
ENOUGH = {"sim": 3, "power": 20, "failover": 20, "startup": 20, "steady": 1, "java": 1}
HOLDS = {">=": lambda v, l: v >= l, "<=": lambda v, l: v <= l}


def short(v):
    return f"{v:,.0f}" if abs(v) >= 100 or v == int(v) else f"{v:.3g}"


def span(values):
    return f"{short(statistics.median(values))} [{short(min(values))} .. {short(max(values))}], n={len(values)}"


def main():
    figures = {}
    units = {}
    for f in json.loads(RESULT.read_text()):
        figures.setdefault((f["experiment"], f["metric"], f["who"]), []).append(f["value"])
        units[f["experiment"], f["metric"]] = f["unit"]
    broken = 0
    print("| figure | limit | measured: median [range] | |\n|---|---|---|---|")
    for exp, metric, who, by, rel, limit in LIMITS:
        values = figures.get((exp, metric, who))
        shown, verdict = "not measured", "missing"
        if values:
            judged = {EVERY: max if rel == "<=" else min, MEDIAN: statistics.median, SUM: sum}[by](values)
            shown = f"{span(values)} {units[exp, metric]}" + (f"; sum {short(judged)}" if by == SUM else "")
            few = len(values) < ENOUGH.get(exp, 3) and who == "Karst"
            verdict = "**BROKEN**" if not HOLDS[rel](judged, limit) else "too few rounds" if few else "holds"
        broken += verdict != "holds"
        print(f"| {exp}: {metric}{'' if who == 'Karst' else ', ' + who} | {rel} {limit:,} ({by}) | {shown} | {verdict} |")
    for exp, metric, other, rel, limit in RATIOS:
        a, b = figures.get((exp, metric, "Karst")), figures.get((exp, metric, other))
        shown, verdict = "not measured", "missing"
        if a and b:
            ratio = statistics.median(a) / statistics.median(b)
            shown = f"{ratio:.2f}x = {span(a)} / {span(b)} {units[exp, metric]}"
            few = min(len(a), len(b)) < ENOUGH.get(exp, 3)
            verdict = "**BROKEN**" if not HOLDS[rel](ratio, limit) else "too few rounds" if few else "holds"
        broken += verdict != "holds"
        print(f"| {exp}: {metric}, Karst / {other} | {rel} {limit}x (medians) | {shown} | {verdict} |")
    known = {l[:3] for l in LIMITS} | {(e, m, w) for e, m, o, *_ in RATIOS for w in ("Karst", o)}
    print("\nWithout a limit:\n")
    for key in sorted(k for k in figures if k not in known):
        print(f"- {key[0]}: {key[1]}, {key[2]}: {span(figures[key])} {units[key[0], key[1]]}")
    return broken


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
