#!/bin/bash
# Two small compilers that share nothing with gcc and clang, or with glibc: tcc translates the whole
# header (one thread, scalar kernels, § 4), musl-gcc links it without glibc.  Both run tests of chapters
# that compute and parse, a lesson that trains, and give the committed strict hashes.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
DIR=$OUT/compilers
MODEL=lessons/models/tutor.gguf
TESTS="checksums numbers stats unicode pretokenize trace"
failed=0
mkdir -p "$DIR"

fail() { echo "FAILED $1"; failed=1; }

# The object is made once per change of the header.
object() { # NAME COMPILER FLAGS …
  local name=$1 o=$DIR/$1.o
  shift
  [ "$o" -nt prodml.h ] && [ "$o" -nt tests/prodml_impl.c ] && return 0
  if "$@" -I. -c tests/prodml_impl.c -o "$o" > "$DIR/$name.log" 2>&1; then echo "ok $name translates prodml.h"
  else fail "$name does not translate prodml.h: $(grep -m1 error "$DIR/$name.log")"; return 1; fi
}

run() { # NAME TEST COMPILER FLAGS …
  local name=$1 t=$2 bin=$DIR/$1-$2
  shift 2
  "$@" -I. "tests/test_$t.c" "$DIR/$name.o" -o "$bin" -lm > "$DIR/$name.log" 2>&1 ||
    { fail "$name does not translate test_$t.c: $(grep -m1 error "$DIR/$name.log")"; return; }
  if "$bin" > "$bin.log" 2>&1; then echo "ok $name test_$t: $(tail -n 1 "$bin.log")"
  else fail "$name test_$t: $(grep -m1 FAILED "$bin.log" || tail -n 1 "$bin.log")"; fi
}

# The bits of 20 training steps and of a model's logits.
hash() { # NAME THREADS COMPILER FLAGS …
  local name=$1 threads=$2 bin=$DIR/$1-strict got
  shift 2
  "$@" tests/strict_hash.c -o "$bin" -lm > "$DIR/$name.log" 2>&1 ||
    { fail "$name does not translate strict_hash.c: $(grep -m1 error "$DIR/$name.log")"; return; }
  # shellcheck disable=SC2086
  got=$("$bin" "$MODEL" $threads | cut -d' ' -f1,2 | sort -u)
  if [ "$got" = "$(cat tests/strict_hash.txt)" ]; then echo "ok $name gives the committed strict hashes"
  else fail "$name: strict bits differ from tests/strict_hash.txt: $got"; fi
}

lesson() { # NAME COMPILER FLAGS …
  local name=$1 bin=$DIR/$1-lesson
  shift
  "$@" lessons/05_attention.c -o "$bin" -lm > "$DIR/$name.log" 2>&1 ||
    { fail "$name does not translate lesson 05: $(grep -m1 error "$DIR/$name.log")"; return; }
  if "$bin" --stdout > "$bin.log" 2>&1; then echo "ok $name runs lesson 05"
  else fail "$name lesson 05: $(tail -n 1 "$bin.log")"; fi
}

all() { # NAME THREADS COMPILER FLAGS …
  local name=$1 threads=$2 t
  shift 2
  object "$name" "$@" || return
  for t in $TESTS; do run "$name" "$t" "$@"; done
  lesson "$name" "$@"
  hash "$name" "$threads" "$@"
}

if command -v tcc > /dev/null; then all tcc 1 tcc -w -std=c11
else echo "skipped tcc is not installed"; fi
if command -v musl-gcc > /dev/null; then all musl-gcc "1 2" musl-gcc -std=c11 -O1 -Wall -Wextra -Werror -static -pthread
else echo "skipped musl-gcc is not installed (package musl-tools)"; fi
exit $failed
