"""Draws the rate of a recording over time, with the faults that struck."""
from common import STORY
from plot import frame, save, text

COLOUR = {"kill": "#c2622d", "pause": "#8a4fa3", "stop": "#4f8f3a", "powercut": "#b00020", "eio": "#b8860b"}


def draw(run, series, path):
    """Acknowledged records of each second as an area; a bar for each fault, as long as it lasted, as high as nodes were hit."""
    seconds = max([60 * run["minutes"]] + [s + 1 for s in series["operations"]])
    left, right, high, low = 70, 1080, 60, 330
    top = max(series["acked"].values(), default=1) * 1.05
    x = lambda s: left + (right - left) * s / seconds
    y = lambda n: low - (low - high) * n / top
    verdict = "no anomaly" if run["verdict"] == "clean" else "no verdict" if run["verdict"] == "none" else ", ".join(f"{k} {v} times" for k, v in run["anomalies"].items())
    out = frame(1120, 470, f"{run['name'] + (' (' + STORY[run['name']] + ')' if run['name'] in STORY else '')}: {run['operations']:,} operations in {run['minutes']:g} min under {run['faults']} faults: {verdict}")
    for part in range(5):
        n = top * part / 4
        out.append(f'<line x1="{left}" x2="{right}" y1="{y(n):.1f}" y2="{y(n):.1f}" stroke="#e4e4e4"/>' + text(left - 8, y(n) + 4, f"{n:,.0f}", 11, "end"))
    step = next(s for s in (5, 10, 15, 30, 60, 120, 300, 600, 3600) if seconds / s <= 12 or s == 3600)
    for s in range(0, int(seconds) + 1, step):
        out.append(text(x(s), low + 18, f"{s / 60:g}" if step >= 60 else f"{s}", 11, "middle"))
    for f in series["faults"]:
        out.append(f'<rect x="{x(f["at"]):.1f}" y="{high}" width="{max(1, x(f["for"]) - left):.1f}" height="{low - high}" '
                   f'fill="{COLOUR[f["fault"]]}" fill-opacity="{0.08 * len(f["nodes"]):.2f}"/>')
        out.append(f'<rect x="{x(f["at"]):.1f}" y="{low + 74 - 9 * len(f["nodes"])}" width="{max(1.5, x(f["for"]) - left):.1f}" '
                   f'height="{9 * len(f["nodes"])}" fill="{COLOUR[f["fault"]]}"/>')
    line = " ".join(f"{x(s + 0.5):.1f},{y(series['acked'].get(s, 0)):.1f}" for s in range(int(seconds)))
    out.append(f'<polyline points="{line}" fill="none" stroke="#0b6e99" stroke-width="1.2"/>')
    out.append(text(left, high - 8, "records acknowledged a second", 12))
    out.append(text(left - 8, low + 70, "nodes hit", 11, "end"))
    for i, (verb, colour) in enumerate(COLOUR.items()):
        n = sum(f["fault"] == verb for f in series["faults"])
        if not n:
            continue
        out.append(f'<rect x="{left + 180 * i}" y="{low + 96}" width="12" height="12" fill="{colour}"/>' + text(left + 18 + 180 * i, low + 106, f"{verb}: {n} times", 12))
    out.append(text(right, low + 106, "minutes" if step >= 60 else "seconds", 12, "end"))
    save(path.stem, out)
