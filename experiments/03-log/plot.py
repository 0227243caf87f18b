#!/usr/bin/env python3
"""Draws result.json as SVG files in plots/: shares of what the opponent does, and half an hour of rolls over time."""
import importlib.util, json, statistics
from here import LOG, RESULT

spec = importlib.util.spec_from_file_location("bars", LOG.parent / "01-spine" / "plot.py")
bars = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bars)
bars.HERE = LOG  # where plots/ is
WIDTH, LEFT, HIGH = 900, 90, 150


def shares(figures):
    """The ratios of report.py, as figures of their own, a value a round."""
    for exp, metric, other in (("fetch", "from the page cache", "cat"), ("fetch", "cold", "disk")):
        ours, theirs = figures.get((exp, metric, "Karst")), figures.get((exp, metric, other))
        if ours and theirs:
            figures[exp, f"{metric}, of {other}", "Karst"] = [a / b for a, b in zip(ours, theirs)]


def median(figures, exp, metric):
    values = figures.get((exp, metric, "Karst"))
    return statistics.median(values) if values else float("nan")


def over_time(lines, name, title):
    """One panel for each line: (what it is, its unit, values at even distances)."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{60 + len(lines) * (HIGH + 30)}" font-family="sans-serif">',
           '<rect width="100%" height="100%" fill="white"/>', bars.text(LEFT, 30, title, 15, extra='font-weight="bold"')]
    for i, (what, unit, values) in enumerate(lines):
        base, top = 60 + i * (HIGH + 30) + HIGH, max(values) * 1.1 or 1
        step = (WIDTH - LEFT - 20) / max(len(values) - 1, 1)
        points = " ".join(f"{LEFT + n * step:.1f},{base - HIGH * v / top:.1f}" for n, v in enumerate(values))
        out += [f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{base}" y2="{base}" stroke="#888"/>',
                f'<polyline points="{points}" fill="none" stroke="{bars.COLOURS["Karst"]}" stroke-width="1.5"/>',
                bars.text(LEFT - 6, base, "0", 11, "end"), bars.text(LEFT - 6, base - HIGH + 15, f"{top:,.0f} {unit}", 11, "end"),
                bars.text(LEFT + 4, base - HIGH + 4, what)]
    (LOG / "plots" / f"{name}.svg").write_text("\n".join(out + ["</svg>", ""]))


def main():
    figures, lines = {}, []
    for x in json.loads(RESULT.read_text()):
        figures.setdefault((x["experiment"], x["metric"], x["who"]), []).append(x["value"])
        if "over_time" in x:
            lines.append((x["metric"].split(",")[0], "files" if "files" in x["metric"] else "MiB", x["over_time"]))
    shares(figures)
    (LOG / "plots").mkdir(exist_ok=True)
    fetch = ["from the page cache, of cat", "cold, of disk"]
    bars.draw(figures, "fetch", "fetch", fetch, ["Karst"], "x", 0.8,
              f"A reader gets {median(figures, 'fetch', fetch[0]):.2f}x of cat from the page cache, {median(figures, 'fetch', fetch[1]):.2f}x of the disk")
    times = ["fetch by time, warm, p99", "fetch by time, pages dropped, worst of ten"]
    bars.draw(figures, "times", "large", times, ["Karst"], "ms", 30,
              f"By time in a large partition: {median(figures, 'large', times[0]):.1f} ms, {median(figures, 'large', times[1]):.1f} ms from the disk")
    again = sorted(m for e, m, _ in figures if e == "restart")
    bars.draw(figures, "restart", "restart", again, ["Karst"], "s", 2, "After kill -9: until every partition has answered")
    if lines:
        over_time(lines[-3:], "rolls", "One second of retention: nothing grows")


if __name__ == "__main__":
    main()
