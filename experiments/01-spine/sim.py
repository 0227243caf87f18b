#!/usr/bin/env python3
"""500 seeds x 60 virtual s of the standard world, each twice: hashes, violations, and what a CPU second buys.

SEEDS=first..last (default 1..500), in blocks of BLOCK seeds (100): each block is a round.
"""
import json, os, resource, subprocess
from common import need, record, rounds

first, last = map(int, os.environ.get("SEEDS", "1..500").split(".."))
block = int(os.environ.get("BLOCK", 100))
length = os.environ.get("FOR", "60s")
for n in rounds((last - first) // block + 1):
    a = first + (n - 1) * block
    seeds = f"{a}..{min(a + block - 1, last)}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    p = subprocess.run([need("KARST"), "sim", "run", "--seeds", seeds, "--for", length, "--twice", "-o", "json"],
                       stdout=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    t = json.loads(p.stdout)["data"]
    more = {"seeds": seeds, "for": length, "faults": t["faults"], "hash": t["hash"]}
    record("sim", "Karst", "virtual time per CPU time", 2 * t["virtual_seconds"] / cpu, "virtual s/CPU s", n, **more)
    record("sim", "Karst", "acknowledged batches per CPU time", 2 * t["acknowledged_batches"] / cpu, "batches/CPU s", n)
    record("sim", "Karst", "seeds drawn again", 100 * t["drawn_again"] / t["seeds"], "%", n)
    record("sim", "Karst", "seeds, each twice with equal hashes", t["seeds"], "seeds", n)
    record("sim", "Karst", "failed sweeps", int(p.returncode != 0), "sweeps", n, violations=t.get("violations", []))
