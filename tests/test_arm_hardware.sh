#!/bin/bash
# § 4 on ARM64: what is detected under qemu's models of known processors.
set -u
cd "$(dirname "$0")/.." || exit 1
CROSS=${CROSS:-aarch64-linux-gnu-gcc}
QEMU=${QEMU:-qemu-aarch64}
for t in "$CROSS" "$QEMU"; do
  command -v "$t" > /dev/null || { echo "skipped: $t is missing (packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user)"; exit 0; }
done
DIR=$(mktemp -d) || exit 1
trap 'rm -rf "$DIR"' EXIT
failed=0
ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }
check() { local name=$1; shift; if "$@"; then ok "$name"; else no "$name: $*"; fi; }

"$CROSS" -std=c11 -O1 -Wall -Wextra -Werror -I. -static tests/print_hardware.c -o "$DIR/probe" -lm -pthread > "$DIR/log" 2>&1 ||
  { no "cross-compiling: $(grep -m1 rror "$DIR/log")"; exit 1; }
ok "compiles for ARM64 without a warning"

# CPU, model name, features that it has, features that it lacks
while IFS='|' read -r cpu model has lacks; do
  "$QEMU" -cpu "$cpu" "$DIR/probe" > "$DIR/out" 2> "$DIR/err" || { no "$cpu: status $?: $(cat "$DIR/err")"; continue; }
  check "$cpu is ARM64 with NEON kernels" grep -q '"arch":"aarch64".*"level":"neon"' "$DIR/out"
  [ -z "$model" ] || check "$cpu by name" grep -q "\"vendor\":\"ARM\",\"model\":\"$model\"" "$DIR/out"
  for f in $has; do check "$cpu has $f" grep -qx "may use $f" "$DIR/out"; done
  for f in $lacks; do check "$cpu lacks $f" [ "$(grep -cx "may use $f" "$DIR/out")" = 0 ]; done
done << 'CPUS'
cortex-a72|Cortex-A72|neon sha2|fp16 dotprod i8mm bf16 sve sve2 avx2 sse2
cortex-a57|Cortex-A57|neon sha2|fp16 dotprod i8mm bf16 sve sve2
neoverse-n1|Neoverse-N1|neon fp16 dotprod sha2|i8mm bf16 sve sve2
cortex-a76|Cortex-A76|neon fp16 dotprod sha2|i8mm bf16 sve sve2
max||neon fp16 dotprod i8mm bf16 sve sve2 sha2|avx2 simd128
CPUS

"$QEMU" -cpu neoverse-n1 "$DIR/probe" > "$DIR/out" 2>&1
check "the files of /proc and /sys are read" [ "$(sed -nE 's/.*"threads":([0-9]+).*/\1/p' "$DIR/out")" = "$(getconf _NPROCESSORS_ONLN)" ]
check "no GPU in a static build" grep -q '"gpu_state":"none: a static build' "$DIR/out"
PML_CPU=neon,-dotprod "$QEMU" -cpu neoverse-n1 "$DIR/probe" > "$DIR/out" 2>&1
check "PML_CPU=neon,-dotprod masks one feature" [ "$(grep -cE '^may use (dotprod|fp16)$' "$DIR/out")" = 1 ]
PML_CPU=scalar "$QEMU" -cpu neoverse-n1 "$DIR/probe" > "$DIR/out" 2>&1
check "PML_CPU=scalar" grep -q '"level":"scalar"' "$DIR/out"
for v in avx2 simd128 i8mm; do
  PML_CPU=$v "$QEMU" -cpu neoverse-n1 "$DIR/probe" > "$DIR/out" 2> "$DIR/err"
  check "PML_CPU=$v is refused with a sentence" [ "$?:$(grep -c "PML_CPU=$v" "$DIR/err")" = 1:1 ]
done
exit "$failed"
