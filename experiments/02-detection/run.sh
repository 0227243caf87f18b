#!/usr/bin/env bash
# How many seeds does it take to find each planted bug? Plants all of them from five places in the range of seeds,
# goes on where it was stopped, then writes the table (kills.md) and the plots. About an hour on two cores.
# FOR=, MOST=, MASTERS= and MUTANTS= are those of .ci/mutants.
set -uo pipefail
cd "$(dirname "$0")"
export PYTHONDONTWRITEBYTECODE=1
STATE=experiments/02-detection/result.jsonl ../../.ci/mutants >/dev/null
rc=$?
((rc <= 1)) || exit $rc # 1: one survived; the table says which
./kills.py
rc=$?
./plot.py
exit $rc
