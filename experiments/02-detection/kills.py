#!/usr/bin/env python3
"""Writes kills.md, the table of planted bugs and what found them. Exit 1: one was not found within the limit."""
import collections, sys
from common import HERE, LIMIT, STORY, chance, hunts, median, worst


def main():
    by, length = hunts()
    out = [f"# Seeds until each planted bug is found", "",
           f"Standard world, {length} of virtual time a seed. *Median* and *worst* are over the master seeds; *by* is the check that fired first.", "",
           "| bug | | found | median | worst | a seed finds it | by |", "|---|---|---|---|---|---|---|"]
    bad, lost = [], set()
    for m, hs in by.items():
        w, found = worst(hs), sum(h.found for h in hs)
        checks = collections.Counter(h.check for h in hs if h.found)
        by_ = ", ".join(f"{c} {n}" for c, n in sorted(checks.items(), key=lambda x: (-x[1], x[0])))
        out.append(f"| {m} | {STORY.get(m, '')} | {found} of {len(hs)} | {median(hs) or '-'} | {w or f'> {max(h.seeds for h in hs)}'} | "
                   f"{100 * chance(hs):.3g} % | {by_} |")
        if not w or w > LIMIT:
            bad.append(f"{m} survives")
            lost.add(m)
        if any(not h.proven for h in hs):
            bad.append(f"{m}: a seed that found it also fails without it")
    out += ["", f"{len(by)} bugs, {len(by) - len(lost)} found from every master within {LIMIT} seeds."]
    out += [f"- {b}" for b in bad]
    out += ["", "One story each, from the first master that found it:", ""]
    for m, hs in by.items():
        out += [f"- {m}, seed {h.master * 10000 + h.seeds}: {h.what}" for h in hs if h.found][:1]
    (HERE / "kills.md").write_text("\n".join(out) + "\n")
    print("\n".join(out))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
