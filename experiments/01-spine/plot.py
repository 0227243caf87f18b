#!/usr/bin/env python3
"""Draws result.json as SVG files in plots/: a bar is a median, its whisker the range of all rounds.

The title says what was found, from the figures themselves.
"""
import json, statistics
from xml.sax.saxutils import escape
from common import HERE, RESULT

KARST, CACHE = "Karst", "Kafka, page cache"
COLOURS = {KARST: "#0b6e99", CACHE: "#c2622d", "Kafka, flush.messages=1": "#e0a27f", "Kafka": "#c2622d", "ceiling": "#999999",
           "Karst without fdatasync": "#7fb3c8"}


def times(f, exp, metric, other):
    """How many times the other's median ours is."""
    a, b = f.get((exp, metric, KARST)), f.get((exp, metric, other))
    return f"{statistics.median(a) / statistics.median(b):.2f}x" if a and b else "?"


# file, experiment, metrics, who, axis, limit or None, title from the figures
def plots(f):
    def med(exp, metric, who=KARST):
        return statistics.median(f.get((exp, metric, who), [0]))

    def worst(exp, metrics, who=KARST):
        return max(max(f.get((exp, m, who), [0])) for m in metrics)

    all_ = [KARST, CACHE, "Kafka, flush.messages=1", "ceiling"]
    produce = ["produce 1024 B", "produce 100 B", "consume 1024 B"]
    yield ("large-batches", "batches", produce, all_, "records/s", None,
           f"Large batches of 1 KiB: Karst, synced, takes {times(f, 'batches', produce[0], CACHE)} of what Kafka takes into its page cache")
    for kind, name in (("one at a time", "closed"), ("open loop, 2000/s", "open")):
        yield (f"latency-{name}", "latency", [f"{kind}, p50", f"{kind}, p99"], all_, "microseconds", None,
               f"{kind[0].upper() + kind[1:]}: p99 of Karst, synced, is {med('latency', kind + ', p99'):,.0f} us, "
               f"of Kafka's page cache {med('latency', kind + ', p99', CACHE):,.0f} us")
    outages = [f"{k}: longest outage" for k in ("kill -9", "kill -9, client defaults", "SIGSTOP")]
    yield ("failover", "failover", outages, [KARST], "ms", 1500,
           f"When a node dies or freezes, acknowledgements stop for at most {worst('failover', outages):,.0f} ms")
    back = ["time until every partition acknowledged again"]
    yield ("power", "power", back, [KARST, "Karst without fdatasync"], "s", 3,
           f"All nodes lose power: the cluster acknowledges again within {worst('power', back):.1f} s, "
           f"{sum(f.get(('power', 'acknowledged records lost', KARST), [0])):,} records lost")
    gap = ["longest gap before", "longest gap of a partition"]
    yield ("rolling", "rolling", gap, [KARST], "ms", 300,
           f"Restarting every node in turn costs a partition at most {worst('rolling', gap[1:]):,.0f} ms")
    ready = ["one node: ready", "three nodes: ready", "one node: stopped", "three nodes: stopped"]
    yield ("startup", "startup", ready, [KARST], "ms", None,
           f"Three nodes are ready in {med('startup', ready[1]):,.0f} ms and stopped in {med('startup', ready[3]):,.0f} ms")
    yield ("idle", "idle", ["three nodes, idle partitions"], [KARST, "Kafka"], "% of a core", 3,
           f"1,000 idle partitions on three nodes cost {med('idle', 'three nodes, idle partitions'):.1f} % of a core")
    rss = sorted({k[1] for k in f if k[0] == "rss" and k[2] == KARST})
    yield ("rss", "rss", rss, [KARST], "MiB", 512, f"No node ever held more than {worst('rss', rss) if rss else 0:,.0f} MiB")
    speed = ["virtual time per CPU time"]
    yield ("sim", "sim", speed, [KARST], "virtual s / CPU s", 30,
           f"A CPU second simulates {med('sim', speed[0]):.0f} s of a cluster, all checkers on")


def text(x, y, s, size=12, anchor="start", extra=""):
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" {extra}>{escape(s)}</text>'


def draw(figures, name, exp, metrics, who, axis, limit, title):
    groups = [(m, [(w, figures[exp, m, w]) for w in who if (exp, m, w) in figures]) for m in metrics]
    groups = [(m, bars) for m, bars in groups if bars]
    if not groups:
        return
    top = max([limit or 0] + [max(v) for _, bars in groups for _, v in bars]) * 1.08 or 1
    width, left, base, high = 900, 90, 360, 290
    step = (width - left - 20) / len(groups)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="450" viewBox="0 0 {width} 450" font-family="sans-serif">',
           f'<rect width="{width}" height="450" fill="white"/>', text(left, 30, title, 15, extra='font-weight="bold"'),
           text(20, base - high / 2, axis, 12, "middle", f'transform="rotate(-90 20 {base - high / 2})"')]
    for i in range(6):
        y = base - high * i / 5
        v = top * i / 5
        out.append(f'<line x1="{left}" x2="{width - 20}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        out.append(text(left - 6, y + 4, f"{v:,.0f}" if top >= 20 else f"{v:.2g}", 11, "end"))
    for g, (metric, bars) in enumerate(groups):
        thick = min(60, step * 0.8 / len(bars))
        start = left + step * g + (step - thick * len(bars)) / 2
        for b, (w, values) in enumerate(bars):
            x, y = start + b * thick, base - high * statistics.median(values) / top
            low, peak = (base - high * v / top for v in (min(values), max(values)))
            out.append(f'<rect x="{x + 2:.1f}" y="{y:.1f}" width="{thick - 4:.1f}" height="{base - y:.1f}" fill="{COLOURS.get(w, "#555")}"/>')
            out.append(f'<path d="M{x + thick / 2:.1f} {low:.1f}V{peak:.1f}m-5 0h10M{x + thick / 2 - 5:.1f} {low:.1f}h10" stroke="black" fill="none"/>')
            out.append(text(f"{x + thick / 2:.1f}", f"{peak - 5:.1f}", f"{statistics.median(values):,.3g}" if statistics.median(values) < 100
                            else f"{statistics.median(values):,.0f}", 10, "middle"))
        # Long names go over two lines.
        words, lines = metric.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) > step / 6.5 and lines[-1]:
                lines.append("")
            lines[-1] += ("" if not lines[-1] else " ") + word
        for n, line in enumerate(lines[:4]):
            out.append(text(f"{left + step * (g + 0.5):.1f}", base + 16 + 13 * n, line, 11, "middle"))
    if limit:
        y = base - high * limit / top
        out.append(f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#b00" stroke-dasharray="6 4"/>')
        out.append(text(width - 22, y - 4, f"limit {limit} {axis}", 11, "end", 'fill="#b00"'))
    x = left
    for w in [w for w in who if any((exp, m, w) in figures for m in metrics)]:
        out.append(f'<rect x="{x}" y="428" width="12" height="12" fill="{COLOURS.get(w, "#555")}"/>' + text(x + 17, 438, w))
        x += 40 + 7 * len(w)
    out.append(text(width - 20, 438, "bar: median; whisker: all rounds", 11, "end", 'fill="#666"'))
    (HERE / "plots").mkdir(exist_ok=True)
    (HERE / "plots" / f"{name}.svg").write_text("\n".join(out + ["</svg>", ""]))


def main():
    figures = {}
    for x in json.loads(RESULT.read_text()):
        figures.setdefault((x["experiment"], x["metric"], x["who"]), []).append(x["value"])
    for p in plots(figures):
        draw(figures, *p)


if __name__ == "__main__":
    main()
