#!/usr/bin/env bash
# The measurements of this folder, one after the other, then the table. Needs 40 GB free below WORK.
#   KARST=bin/karst CEILING=/tmp/ceiling WORK=DIR experiments/03-log/run.sh [fetch large ..]
set -euo pipefail
export KARST=$(realpath "${KARST:?the binary to measure}")
[ -z "${CEILING:-}" ] || export CEILING=$(realpath "$CEILING")
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- fetch large restart rolls compaction catchup
for x in "$@"; do
  echo "== $x" >&2
  size=(); [ "$x" != restart ] || size=(GB="${RESTART_GB:-20}")
  env "${size[@]}" ./"$x".py || echo "$x.py ended with $?" >&2
done
./plot.py
./report.py
