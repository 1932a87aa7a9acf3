#!/bin/bash
# ARM64, cross-compiled and emulated: the header without warnings by gcc and clang, the kernels
# against their definitions, the committed strict hashes at 1, 2 and 3 threads.
# An emulated processor is some fifty times slower: CASES random cases instead of 10,000, no times.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
DIR=$OUT/arm64
CLANG=${CLANG:-clang}
ARM_GCC=${ARM_GCC:-aarch64-linux-gnu-gcc}
RUN_ARM=${RUN_ARM:-qemu-aarch64}
ARM_INCLUDE=${ARM_INCLUDE:-/usr/aarch64-linux-gnu/include}
CASES=${CASES:-1000}
WARN=(-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wdouble-promotion -Werror -I.)
failed=0

for tool in "$ARM_GCC" "$RUN_ARM"; do
  command -v "$tool" > /dev/null || { echo "skipped $tool is not installed: ./build.sh --setup"; exit 0; }
done
mkdir -p "$DIR"

# NAME COMMAND …: the command's output in DIR/NAME.log, shown when it failed.
try() {
  local name=$1
  shift
  if "$@" > "$DIR/$name.log" 2>&1; then echo "ok $name"
  else
    echo "FAILED $name"
    tail -n 20 "$DIR/$name.log"
    failed=1
    return 1
  fi
}

clang_arm() { "$CLANG" --target=aarch64-linux-gnu -isystem "$ARM_INCLUDE" "$@"; }

hashes() { # PROGRAM THREADS …
  "$RUN_ARM" "$DIR/$1" lessons/models/tutor.gguf "${@:2}" | tee "$DIR/$1.txt"
  [ "$(cut -d' ' -f1,2 "$DIR/$1.txt" | sort -u)" = "$(cat tests/strict_hash.txt)" ]
}

strict_clang() {
  if echo 'int main(void) { return 0; }' |
    clang_arm -fuse-ld=lld -static -x c - -o "$DIR/probe" > "$DIR/probe.log" 2>&1; then
    try strict-clang-O3 clang_arm "${WARN[@]}" -O3 -static -fuse-ld=lld tests/strict_hash.c -o "$DIR/hash-clang" \
      -lm -pthread && try strict-hashes-clang-threads-2 hashes hash-clang 2
  else echo "skipped $CLANG has no lld: ./build.sh --setup"; fi
  return $failed
}

gcc_arm() { # SOURCE NAME: linked to the header's object
  "$ARM_GCC" "${WARN[@]}" -DLINKED -O3 -static "$1" "$DIR/impl.o" -o "$DIR/$2" -lm -pthread
}

strict_gcc() {
  try strict-gcc-O3 gcc_arm tests/strict_hash.c hash-gcc && try strict-hashes-gcc-threads-1-3 hashes hash-gcc 1 3
  return $failed
}

# Two at a time: emulation is slow.
strict_clang & clang_job=$!
if try header-gcc-O3 "$ARM_GCC" "${WARN[@]}" -O3 -c tests/prodml_impl.c -o "$DIR/impl.o"; then
  strict_gcc & gcc_job=$!
  for t in kernels gemm attention numbers; do
    try "test_$t-gcc-O3" gcc_arm "tests/test_$t.c" "test_$t" &&
      try "test_$t-$CASES-cases" "$RUN_ARM" "$DIR/test_$t" "$CASES"
  done
  wait $gcc_job || failed=1
fi
wait $clang_job || failed=1
exit $failed
