#!/usr/bin/env python3
"""The table of result.json: each figure's median and range against its limit. Exit 1: a limit is broken or has no figure.

A limit holds for the median, or for the worst of all rounds where it says "every". A ratio divides medians.
"""
import json, os, pathlib, statistics, sys

RESULT = pathlib.Path(os.environ.get("RESULT", pathlib.Path(__file__).resolve().parent / "result.json"))
EVERY, MEDIAN, WITHIN = "every round", "median", "within"
LIMITS = [  # experiment, metric, who, judged by, relation, limit
    ("fetch", "CPU of the broker", "Karst", MEDIAN, "<=", 0.25),
    ("fetch", "CPU of the broker, in the window", "Karst", MEDIAN, "<=", 0.25),
    ("large", "fetch by time, warm, p99", "Karst", MEDIAN, "<=", 5),
    ("large", "fetch by time, pages dropped, worst of ten", "Karst", MEDIAN, "<=", 30),
    ("restart", "1000 partitions, 20 GB: every one answered a fetch", "Karst", EVERY, "<=", 2),
    ("restart", "1000 partitions, 20 GB: every one answered a produce", "Karst", EVERY, "<=", 2),
    ("compaction", "of one core", "job alone", MEDIAN, ">=", 150),
    ("compaction", "of one core", "Karst", MEDIAN, ">=", 150),
    ("compaction", "memory a key", "job alone", EVERY, "<=", 32),
    ("compaction", "p99 at 2,000/s in a pass, of that around it", "Karst", MEDIAN, "<=", 1.5),
    ("catchup", "share of cp and sync", "Karst", MEDIAN, ">=", 0.5),
    ("catchup", "p99 at 2,000/s in the catch-up, of that around it", "Karst", MEDIAN, "<=", 1.5),
    ("rolls", "segments seen", "Karst", MEDIAN, ">=", 100_000),
    *(("rolls", f"{x}, last third against the second", "Karst", MEDIAN, "<=", 1.1) for x in ("RSS", "open files", "directory")),
]
RATIOS = [  # experiment, (metric, who), (metric, who), relation, limit
    ("fetch", ("from the page cache", "Karst"), ("from the page cache", "cat"), ">=", 0.8),
    ("fetch", ("in the window", "Karst"), ("from the page cache", "cat"), ">=", 0.8),
    ("fetch", ("at the tail", "Karst"), ("at the tail", "tail -f"), ">=", 0.8),
    ("fetch", ("cold", "Karst"), ("cold", "disk"), ">=", 0.8),
    ("fetch", ("cold", "Karst"), ("cold", "cat"), ">=", 0.8),
    ("large", ("append, large batches", "large"), ("append, large batches", "small"), WITHIN, 0.1),
    ("large", ("append, one at a time, p50", "large"), ("append, one at a time, p50", "small"), WITHIN, 0.1),
    ("large", ("fetch of the first 90 MB", "large"), ("fetch of the first 90 MB", "small"), WITHIN, 0.1),
]
HOLDS = {">=": lambda v, l: v >= l, "<=": lambda v, l: v <= l, WITHIN: lambda v, l: 1 - l <= v <= 1 / (1 - l)}


def span(values):
    return f"{statistics.median(values):.3g} [{min(values):.3g} .. {max(values):.3g}], n={len(values)}"


def main():
    figures, units, broken = {}, {}, 0
    for f in json.loads(RESULT.read_text()):
        figures.setdefault((f["experiment"], f["metric"], f["who"]), []).append(f["value"])
        units[f["experiment"], f["metric"]] = f["unit"]
    print("| figure | limit | measured: median [range] | |\n|---|---|---|---|")
    for exp, metric, who, by, rel, limit in LIMITS:
        values = figures.get((exp, metric, who))
        verdict = "missing"
        if values:
            worst = max if rel == "<=" else min
            verdict = "holds" if HOLDS[rel](worst(values) if by == EVERY else statistics.median(values), limit) else "**BROKEN**"
        broken += verdict != "holds"
        print(f"| {exp}: {metric}, {who} | {rel} {limit:,} ({by}) | {span(values) + ' ' + units[exp, metric] if values else '-'} | {verdict} |")
    for exp, a, b, rel, limit in RATIOS:
        x, y = figures.get((exp, *a)), figures.get((exp, *b))
        verdict, shown = "missing", "-"
        if x and y:
            ratio = statistics.median(x) / statistics.median(y)
            verdict = "holds" if HOLDS[rel](ratio, limit) else "**BROKEN**"
            shown = f"{ratio:.2f}x = {span(x)} / {span(y)} {units[exp, a[0]]}"
        broken += verdict != "holds"
        print(f"| {exp}: {a[0]}, {a[1]} / {b[1]} | {rel} {limit} | {shown} | {verdict} |")
    known = {l[:3] for l in LIMITS} | {(e, *k) for e, a, b, *_ in RATIOS for k in (a, b)}
    print("\nWithout a limit:\n")
    for key in sorted(k for k in figures if k not in known):
        print(f"- {key[0]}: {key[1]}, {key[2]}: {span(figures[key])} {units[key[0], key[1]]}")
    return broken


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
