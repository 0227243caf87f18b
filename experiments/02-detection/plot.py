#!/usr/bin/env python3
"""Draws result.jsonl as SVG files in plots/: seeds.svg, each hunt a dot; detection.svg, the probability against seeds.

The titles say what was found, from the figures themselves.
"""
import math
from xml.sax.saxutils import escape
from common import HERE, LIMIT, STORY, chance, hunts, median, worst

COLOURS = ["#0b6e99", "#c2622d", "#4f8f3a", "#8a4fa3", "#b8860b", "#d14b7a", "#3b6fd4", "#777777", "#1f9e89", "#a33b3b",
           "#5b5bd6", "#8c6d4f", "#2f8f5b", "#c79a00", "#6f8aa3", "#e0607e"]


def text(x, y, s, size=12, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {extra}>{escape(s)}</text>'


def frame(width, height, title):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            f'<rect width="{width}" height="{height}" fill="white"/>', text(20, 28, title, 15, extra='font-weight="bold"')]


def ticks(top):
    return [n for k in range(5) for n in (10**k, 2 * 10**k, 5 * 10**k) if n <= top]


def save(name, out):
    (HERE / "plots").mkdir(exist_ok=True)
    (HERE / "plots" / f"{name}.svg").write_text("\n".join(out + ["</svg>", ""]))


def seeds(by, length):
    """A row for each bug, a dot for each master seed."""
    top = max(LIMIT, max(h.seeds for hs in by.values() for h in hs))
    left, right, high = 330, 880, 24
    height = 90 + high * len(by)
    x = lambda n: left + (right - left) * math.log(max(n, 1)) / math.log(top * 1.1)
    ended = [worst(hs) for hs in by.values()]
    title = (f"All {len(by)} planted bugs are found; the hardest took {max(ended)} seeds of {length}" if all(ended)
             else f"{sum(bool(w) for w in ended)} of {len(by)} planted bugs are found from every master seed")
    out = frame(900, height, title)
    for n in ticks(top):
        out.append(f'<line x1="{x(n):.1f}" x2="{x(n):.1f}" y1="46" y2="{height - 40}" stroke="#e4e4e4"/>')
        out.append(text(x(n), height - 25, f"{n}", 11, "middle"))
    out.append(f'<line x1="{x(LIMIT):.1f}" x2="{x(LIMIT):.1f}" y1="46" y2="{height - 40}" stroke="#b00" stroke-dasharray="6 4"/>')
    for i, (m, hs) in enumerate(sorted(by.items(), key=lambda kv: (median(kv[1]) or 1e9, worst(kv[1]) or 1e9))):
        y = 60 + high * i
        out.append(text(left - 14, y + 4, f"{STORY.get(m, '')}  {m}", 12, "end"))
        for k, h in enumerate(sorted(hs, key=lambda h: h.seeds)):
            dy = (k - (len(hs) - 1) / 2) * 3
            look = 'fill="#0b6e99" fill-opacity="0.75"' if h.found else 'fill="none" stroke="#b00" stroke-width="1.5"'
            out.append(f'<circle cx="{x(h.seeds):.1f}" cy="{y + dy:.1f}" r="4" {look}/>')
        if median(hs):
            out.append(f'<line x1="{x(median(hs)):.1f}" x2="{x(median(hs)):.1f}" y1="{y - 10}" y2="{y + 10}" stroke="black"/>')
    out.append(text(20, height - 8, f"seeds until it is found (dot: a master seed; line: median; red ring: not found; red line: {LIMIT})", 11, extra='fill="#444"'))
    save("seeds", out)


def detection(by):
    """The probability that n seeds find a bug, from all seeds played; steps are what the masters saw."""
    sure = [m for m, hs in by.items() if worst(hs) == 1]
    hard = sorted((kv for kv in by.items() if kv[0] not in sure), key=lambda kv: -chance(kv[1]))
    top = max([LIMIT] + [h.seeds for hs in by.values() for h in hs])
    left, right, low, high = 70, 620, 380, 50
    x = lambda n: left + (right - left) * math.log(n) / math.log(top)
    y = lambda p: low - (low - high) * p
    lasts = [chance(hs) for _, hs in hard if chance(hs) > 0]
    # As many seeds as find the most stubborn of those that were found at all 99 times in a hundred.
    need = math.ceil(math.log(0.01) / math.log(1 - min(lasts))) if lasts and min(lasts) < 1 else 1
    never = len(hard) - len(lasts)
    out = frame(980, 450, f"{need:,} seeds find each of {len(lasts)} bugs with 99 %; {len(sure)} fall to the first seed"
                + (f", {never} were never found" if never else ""))
    for p in (0, 0.25, 0.5, 0.75, 1):
        out.append(f'<line x1="{left}" x2="{right}" y1="{y(p)}" y2="{y(p)}" stroke="#e4e4e4"/>' + text(left - 8, y(p) + 4, f"{p:.0%}", 11, "end"))
    for n in ticks(top):
        out.append(f'<line x1="{x(n):.1f}" x2="{x(n):.1f}" y1="{high}" y2="{low}" stroke="#f0f0f0"/>' + text(x(n), low + 18, f"{n}", 11, "middle"))
    for i, (m, hs) in enumerate(hard):
        colour, p = COLOURS[i % len(COLOURS)], chance(hs)
        grid = [top ** (k / 80) for k in range(81)]
        line = " ".join(f"{x(n):.1f},{y(1 - (1 - p) ** n):.1f}" for n in grid)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        found = sorted(h.seeds for h in hs if h.found)
        for k, n in enumerate(found):
            out.append(f'<circle cx="{x(n):.1f}" cy="{y((k + 1) / len(hs)):.1f}" r="3.5" fill="{colour}"/>')
        ly = high + 10 + 20 * i
        out.append(f'<rect x="640" y="{ly - 9}" width="12" height="12" fill="{colour}"/>' + text(658, ly + 1, f"{m} {STORY.get(m, '')}", 11))
    ly = high + 20 + 20 * len(hard)
    for k in range(0, len(sure), 5):
        tail = "," if k + 5 < len(sure) else ""
        out.append(text(640, ly + 16 * (k // 5), ("first seed: " if k == 0 else "") + ", ".join(sure[k:k + 5]) + tail, 11, extra='fill="#444"'))
    out.append(text((left + right) / 2, low + 40, "seeds", 12, "middle"))
    out.append(text(20, 440, "line: 1 - (1 - p)^n with the most likely p; dots: the share of master seeds that had found it by then", 11, extra='fill="#444"'))
    save("detection", out)


def main():
    by, length = hunts()
    seeds(by, length)
    detection(by)


if __name__ == "__main__":
    main()
