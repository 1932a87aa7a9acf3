#!/bin/bash
# Lesson 01 as a learner meets it: statuses, the seeds' flags, JSON, masks, and a kernel that computes wrongly.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
name=01_scalar_simd_gpu
make --no-print-directory -s "$OUT/$name" || { echo "FAILED $name does not compile"; exit 1; }
DIR=$(mktemp -d) || exit 1
trap 'rm -rf "$DIR"' EXIT
small=(--stdout --matmul-size 70 --dot-size 1000 -i 9)
failed=0
ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }
expect() { # STATUS TEXT args …: the status, and a text in what it says
  local want=$1 text=$2 rc
  shift 2
  "$OUT/$name" "$@" > "$DIR/out" 2>&1 < /dev/null
  rc=$?
  if [ $rc -eq "$want" ] && grep -qF -- "$text" "$DIR/out"; then ok "$* ends with $rc"
  else no "$*: status $rc instead of $want, or no '$text': $(tail -n 1 "$DIR/out")"; fi
}
expect 0 "8 of 8 checks held" "${small[@]}"
expect 0 "dot 1000, SIMD, cold" --stdout --matmul-size=20 --dot-size=1000 --iterations=3
expect 0 "8 of 8 checks held" "${small[@]}" --strict --threads 1
expect 0 "The column stays empty" "${small[@]}"
expect 0 "7 of 7 checks held" --stdout --matmul-size 3 -i 1 # too small to say which is faster
expect 1 "the two halves have the bits of the definition" "${small[@]}" --error
expect 2 "1 to 8192" --stdout --matmul-size 0
expect 2 "1 to 1000 rounds" --stdout -i 0
expect 2 "1 to 2^28" --stdout --matmul-size 20 -i 1 --dot-size -5
PML_CPU=scalar expect 0 "7 of 7 checks held" "${small[@]}"
if command -v python3 > /dev/null; then
  if "$OUT/$name" "${small[@]}" --output json | python3 -c '
import json, sys
r = json.load(sys.stdin)
m = r["measured"]
assert r["failed"] == 0 and r["passed"] == 8
assert m["gemm 70, threads"]["unit"] == "GFLOP/s" and 3 <= m["gemm 70, plain"]["n"] <= 9
assert m["dot 1000, SIMD, warm"]["median"] > 0 and m["GPUs"]["median"] >= 0
assert 0 < r["values"]["halves"]["value"] < 1'; then ok "--output json parses and holds what was measured"
  else no "--output json"; fi
else echo "skipped JSON: python3 is absent"; fi

# A kernel that reads the wrong number: found before a time is printed.
mkdir "$DIR/lessons"
cp "lessons/$name.c" "$DIR/lessons/"
sed 's/sum = acc\[m\]\[n\] + a\[m\] \* b\[n\];/sum = acc[m][n] + a[m] * b[0];/' prodml.h > "$DIR/prodml.h"
cmp -s prodml.h "$DIR/prodml.h" && no "the fault could not be planted"
if ${CC:-cc} -O1 "$DIR/lessons/$name.c" -o "$DIR/wrong" -lm -pthread; then
  "$DIR/wrong" "${small[@]}" > "$DIR/out" 2>&1
  rc=$?
  if [ $rc -eq 1 ] && grep -qF "✗ strict: every way gives the bits" "$DIR/out" && ! grep -q "^ *70  " "$DIR/out"; then
    ok "a wrong kernel ends with 1, without a time"
  else no "a wrong kernel: status $rc: $(tail -n 1 "$DIR/out")"; fi
else no "the lesson with a planted fault does not compile"; fi
[ $failed -eq 0 ]
