#!/usr/bin/env bash
# Small bugs that a tool draws from the code of the commit that is checked out, with the commit as seed: what do
# the tests and a short sweep find of them? Goes on where it was stopped.
#   ./operators.sh few     20 of core/
#   ./operators.sh many    300 of core/ and checker/; a night
# N=, SEEDS= and FOR= change the number of bugs and the sweep. The draw is judged in a copy of the commit.
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${1:-} in
few) n=${N:-20} packages=(./core/...) ;;
many) n=${N:-300} packages=(./core/... ./checker/...) ;;
*) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2 ;;
esac
go=${GO:-go} seeds=${SEEDS:-1..60} length=${FOR:-30s}
commit=$(git rev-parse HEAD)
work=$PWD/bin/operators
copy=$work/$commit
if [[ ! -d $copy ]]; then
  rm -rf "$copy.part"
  mkdir -p "$copy.part"
  git archive "$commit" | tar -x -C "$copy.part"
  mv "$copy.part" "$copy"
fi
"$go" build -o "$work/karst-mutate" ./cmd/karst-mutate

# Assertions, marks, observers and words change nothing that a test could see: they are left alone.
skip='mut\.On\(|^func On\(|det\.That\(|det\.NewMark\(|\.Hit\(\)|Observer|\) (String|Describe)\(|\.[nN]ote\('
test="$go test -count=1 -vet=off -overlay={overlay}"
"$work/karst-mutate" -C "$copy" -n "$n" -seed "$commit" -state "$work/$1-$commit.jsonl" -cache "$work/cache" -skip "$skip" \
  -try "own tests: $test {package}" \
  -try "neighbours: $test ./core/api ./core/shard ./core/replica ./checker" \
  -try "build: $go build -overlay={overlay} -o {tmp}/karst ./cmd/karst" \
  -try "sweep: {tmp}/karst sim run --seeds $seeds --for $length" \
  "${packages[@]}" >"$work/progress" || { tail -3 "$work/progress" >&2; exit 1; }
"$work/karst-mutate" -report -state "$work/$1-$commit.jsonl" | tee "experiments/02-detection/operators-$1.md"
