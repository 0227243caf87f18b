#!/usr/bin/env bash
# All measurements of this experiment, one after the other, then the table and the plots. About two hours on a quiet machine.
#   KARST=bin/karst CEILING=/tmp/ceiling PEERS=../shared/peers experiments/01-spine/run.sh [sim power batches ..]
set -euo pipefail
export KARST=$(realpath "${KARST:?the binary to measure}") CEILING=$(realpath "${CEILING:?a writable copy of the yardsticks}")
export PEERS=$(realpath "${PEERS:?the folder with kafka/kafka}")
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- startup idle sim power failover rolling steady behind batches java_compare
for x in "$@"; do
  echo "== $x" >&2
  ./"$x".py || echo "$x.py ended with $?" >&2
done
./plot.py
./report.py
