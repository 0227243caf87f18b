#!/usr/bin/env bash
# Small bugs that a tool draws from the code of a commit, with the commit as seed: what do the tests and a short
# sweep find of them? All of them are in one build, so it takes minutes. Goes on where it was stopped.
#   ./operators.sh few     20 of core/
#   ./operators.sh many    300 of core/ and checker/
# COMMIT= is another commit than the one that is checked out, N= another number, SEEDS= and FOR= another sweep after the
# first 4 seeds, or none. TESTS= is a later commit whose tests are tried on what survived: operators-MANY-after.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${1:-} in
few) n=${N:-20} packages=(./core/...) ;;
many) n=${N:-300} packages=(./core/... ./checker/...) ;;
*) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2 ;;
esac
go=${GO:-go} seeds=${SEEDS-5..60} length=${FOR:-10s}
commit=$(git rev-parse "${COMMIT:-HEAD}")
work=$PWD/bin/operators
name=$commit out=operators-$1
if [[ ${TESTS:-} ]]; then
  tests=$(git rev-parse "$TESTS")
  name=$commit+${tests::12} out=$out-after
fi
copy=$work/$name state=$work/$1-$name.jsonl
if [[ ! -d $copy ]]; then
  rm -rf "$copy.part"
  mkdir -p "$copy.part"
  git archive "$commit" | tar -x -C "$copy.part"
  [[ ! ${TESTS:-} ]] || git archive "$tests" core checker | tar -x -C "$copy.part" --wildcards '*_test.go' '*/testdata/*'
  mv "$copy.part" "$copy"
fi
if [[ ${TESTS:-} && ! -e $state ]]; then
  grep -v '"verdict":"survived"' "$work/$1-$commit.jsonl" >"$state"
fi
"$go" build -o "$work/karst-mutate" ./cmd/karst-mutate

# Assertions, marks, observers and words change nothing that a test could see: they are left alone.
skip='mut\.On\(|^func On\(|det\.That\(|det\.NewMark\(|\.Hit\(\)|Observer|\) (String|Describe)\(|\.[nN]ote\('
"$work/karst-mutate" -C "$copy" -n "$n" -seed "$commit" -state "$state" -schemata "$work/$1-$name" -skip "$skip" \
  -limit 5s -memory 4096 -build "$go build -overlay={overlay} -o {tmp}/karst ./cmd/karst" \
  -try "own tests: tests {package}" \
  -try "neighbours: tests ./core/... ./checker/..." \
  -try "4 seeds: {tmp}/karst sim run --seeds 1..4 --for $length" \
  ${seeds:+-try "sweep: {tmp}/karst sim run --seeds $seeds --for $length"} \
  "${packages[@]}" >>"$work/progress-$1" || { tail -3 "$work/progress-$1" >&2; exit 1; }
"$work/karst-mutate" -report -state "$state" | tee "experiments/02-detection/$out.md"
