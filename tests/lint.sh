#!/bin/bash
# Warnings are errors: the header, the tests and the lessons with gcc and clang, then
# clang-tidy, cppcheck and shellcheck where they are installed, then the layers.
# A line "ok NAME" or "FAILED NAME" each; the last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
GCC=${GCC:-gcc}
CLANG=${CLANG:-clang}
WARN="-Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wdouble-promotion -Werror"
mkdir -p "$OUT"
log=$OUT/lint.log
: > "$log"
passed=0
failed=0

check() { # NAME CMD …
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "FAILED $name"
    echo "$out" | grep -E 'error|warning|FAILED|:[0-9]+:' | head -n 8 | sed 's/^/    /'
  fi
  printf '%s\n%s\n' "== $name" "$out" >> "$log"
}

for cc in "$GCC" "$CLANG"; do
  # shellcheck disable=SC2086
  for f in tests/*.c lessons/*.c; do
    [ -f "$f" ] || continue
    case $f in
      tests/prodml_impl.c) check "$cc $f" "$cc" -std=c11 -O2 $WARN -I. -c "$f" -o /dev/null ;;
      lessons/*) check "$cc $f" "$cc" -std=c11 $WARN -fsyntax-only "$f" ;;
      *) check "$cc $f" "$cc" -std=c11 $WARN -I. -fsyntax-only "$f" ;;
    esac
  done
done

if command -v clang-tidy > /dev/null; then
  check "clang-tidy prodml.h" clang-tidy --quiet --warnings-as-errors='*' --header-filter='prodml\.h' \
    tests/prodml_impl.c -- -std=c11 -I.
fi
if command -v cppcheck > /dev/null; then
  check "cppcheck prodml.h" cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr \
    --suppress=missingIncludeSystem --suppress=incorrectLogicOperator \
    --error-exitcode=1 -I. -UPRODML_USE_OPENBLAS \
    -UPRODML_USE_STB -D__x86_64__ -D__GNUC__=12 -D__linux__ tests/prodml_impl.c
fi
if command -v shellcheck > /dev/null; then check "shellcheck" shellcheck -S warning build.sh .ci/run tests/*.sh; fi
for s in build.sh .ci/run tests/*.sh; do [ -f "$s" ] && check "syntax of $s" bash -n "$s"; done
check "layers" tests/layers.sh

# What must not be in any file of ours.
words='TO''DO|FIX''ME|XX''X:|HA''CK:'
check "no unfinished marks" bash -c "! git grep -nE '$words' -- '*.h' '*.c' '*.sh' Makefile .ci ':!lessons/data'"
check "no trailing blanks or tabs in C" bash -c "! git grep -nE '[[:blank:]]+\$|	' -- '*.h' '*.c'"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
