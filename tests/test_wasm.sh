#!/bin/bash
# WebAssembly under node: the header without warnings for wasm32-wasi, with and without SIMD128; the
# kernels against their definitions; the committed strict hashes.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
DIR=$OUT/wasm
CLANG=${CLANG:-clang}
NODE=${NODE:-node}
CASES=${CASES:-10000}
WARN=(-std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Wdouble-promotion -Werror -I.)
# A stack of 64 KB, the default, would overflow into the data; -S strips only what wasm-opt does not need.
LINK=-Wl,-S,-z,stack-size=1048576,--stack-first,--initial-memory=16777216,--max-memory=2147483648
failed=0
mkdir -p "$DIR"

command -v "$NODE" > /dev/null || { echo "skipped node is not installed: ./build.sh --setup"; exit 0; }
if ! echo 'int main(void) { return 0; }' |
  "$CLANG" --target=wasm32-wasi -x c - -o "$DIR/probe.wasm" > "$DIR/probe.log" 2>&1; then
  echo "skipped $CLANG has no wasm32-wasi (wasi-libc, lld, libclang-rt-dev-wasm32): ./build.sh --setup"
  exit 0
fi

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

wasm() { "$NODE" --no-warnings tests/wasi.mjs "$@"; }

hashes() { # PROGRAM
  wasm "$DIR/$1" lessons/models/tutor.gguf 1 | tee "$DIR/$1.txt"
  [ "$(cut -d' ' -f1,2 "$DIR/$1.txt" | sort -u)" = "$(cat tests/strict_hash.txt)" ]
}

for v in scalar simd128; do
  flags=(--target=wasm32-wasi -O2)
  [ $v = simd128 ] && flags+=(-msimd128)
  try header-$v "$CLANG" "${flags[@]}" "${WARN[@]}" -c tests/prodml_impl.c -o "$DIR/impl-$v.o" || continue
  link() { "$CLANG" "${flags[@]}" "${WARN[@]}" -DLINKED "$1" "$DIR/impl-$v.o" -o "$DIR/$2" "$LINK"; }
  try strict-$v link tests/strict_hash.c hash-$v.wasm && try strict-hashes-$v hashes hash-$v.wasm
  for t in kernels gemm attention numbers; do
    try "test_$t-$v" link "tests/test_$t.c" "$t-$v.wasm" &&
      try "test_$t-$v-$CASES-cases" wasm "$DIR/$t-$v.wasm" "$CASES"
  done
done
exit $failed
