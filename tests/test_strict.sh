#!/bin/bash
# Strict mode: the same bits from gcc and clang, at -O0 and -O3, at every kernel level
# and thread count; and the bits that were committed with this version.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
GCC=${GCC:-gcc}
CLANG=${CLANG:-clang}
GOLDEN=tests/strict_hash.txt
DIR=$OUT/strict
MODEL=lessons/models/tutor.gguf
failed=0
mkdir -p "$DIR"

build() { # NAME COMPILER FLAG
  command -v "$2" > /dev/null || { echo "skipped $2 is not installed"; return; }
  [ "$DIR/$1" -nt prodml.h ] && [ "$DIR/$1" -nt tests/strict_hash.c ] && return
  "$2" "$3" -w tests/strict_hash.c -o "$DIR/$1" -lm -pthread || { echo "FAILED $1 does not compile"; failed=1; }
}

# NAME: its hashes are all one, and that of the golden file.
run() {
  local want got
  [ -x "$DIR/$1" ] || return
  if ! "$DIR/$1" "$MODEL" > "$DIR/$1.txt"; then echo "FAILED $1 did not run"; failed=1; return; fi
  got=$(cut -d' ' -f1,2 "$DIR/$1.txt" | sort -u)
  want=$(cat "$GOLDEN")
  if [ "$got" = "$want" ]; then echo "ok $1: $(wc -l < "$DIR/$1.txt") runs give the committed hashes"
  else
    echo "FAILED $1: strict bits differ from $GOLDEN"
    cat "$DIR/$1.txt"
    failed=1
  fi
}

(build gcc-O0 "$GCC" -O0; build clang-O3 "$CLANG" -O3; [ "$failed" -eq 0 ]) & first=$!
(build clang-O0 "$CLANG" -O0; build gcc-O3 "$GCC" -O3; [ "$failed" -eq 0 ]) & second=$!
wait $first || failed=1
wait $second || failed=1
if [ "${1:-}" = --update ]; then
  "$DIR/gcc-O3" "$MODEL" | cut -d' ' -f1,2 | sort -u > "$GOLDEN"
  cat "$GOLDEN"
fi
for v in gcc-O0 gcc-O3 clang-O0 clang-O3; do run $v; done
exit $failed
