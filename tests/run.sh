#!/bin/bash
# Runs the tests.  The Makefile calls it; it can be called by hand too.
#   tests/run.sh all                 what `make test` runs
#   tests/run.sh one NAME            tests/test_NAME.c in both variants, or tests/test_NAME.sh
#   tests/run.sh variants V …        every tests/test_*.c in these variants
#   tests/run.sh tsan|valgrind       the tests with several threads; the fast ones under memcheck
#   tests/run.sh demo|fuzz|svg|headers|coverage
# Two jobs run at a time, each with a time limit; the log of job NAME is
# out/test/NAME.GROUP.log.  The last line is "N passed, N failed"; the status is 0 when
# nothing failed and something passed.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
GCC=${GCC:-gcc}
CLANG=${CLANG:-clang}
FUZZ_SECONDS=${FUZZ_SECONDS:-20}
JOBS=${JOBS:-2}
DIR=$OUT/test
export OUT GCC CLANG FUZZ_SECONDS DIR
unset PML_CPU MAKEFLAGS MFLAGS MAKELEVEL
mkdir -p "$DIR"

limit() { # SECONDS CMD …
  local s=$1
  shift
  if command -v timeout > /dev/null; then timeout -k 5 "$s" "$@"; else "$@"; fi
}

# One job: runs CMD, counts what its log says and leaves "passed failed skipped seconds".
# A program ends with "N passed, N failed, …"; a script prints "ok …" and "FAILED …"
# lines; a CMD that says nothing counts as one.  A crash is one failure more.
job() { # GROUP NAME SECONDS CMD
  local group=$1 name=$2 log=$DIR/$2.$1.log t0=$SECONDS rc p f s line
  { limit "$3" bash -c "$4"; } > "$log" 2>&1 < /dev/null
  rc=$?
  line=$(grep -aE '[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
  if [ -n "$line" ]; then
    p=$(sed -E 's/.*[^0-9]([0-9]+) passed.*/\1/; s/^([0-9]+) passed.*/\1/' <<< "$line")
    f=$(sed -E 's/.*passed, ([0-9]+) failed.*/\1/' <<< "$line")
  else
    p=$(grep -ac '^ok ' "$log")
    f=$(grep -ac '^FAILED ' "$log")
  fi
  s=$(grep -acE '^skipped ' "$log")
  [ "$rc" -eq 0 ] && [ $((p + f + s)) -eq 0 ] && p=1
  [ "$rc" -ne 0 ] && [ "$f" -eq 0 ] && f=1
  echo "$p $f $s $((SECONDS - t0))" > "$DIR/$name.result.$group"
  if [ "$f" -gt 0 ]; then
    [ "$rc" -eq 124 ] && echo "stopped after $3 s" >> "$log"
    printf 'FAILED %-9s %-30s %5d passed %4d failed %4d s   %s\n' "$group" "$name" "$p" "$f" "$((SECONDS - t0))" "$log"
    { grep -aE '^FAILED |ERROR: |runtime error|WARNING: Thread|rror: |^stopped' "$log" || tail -n 3 "$log"; } |
      head -n 5 | sed 's/^/         /'
    [ "$rc" -gt 128 ] && echo "         ended by signal $((rc - 128))"
  else
    printf 'ok     %-9s %-30s %5d passed %s %4d s\n' "$group" "$name" "$p" \
      "$([ "$s" -gt 0 ] && printf '%2d skipped' "$s" || printf '          ')" "$((SECONDS - t0))"
  fi
}

# Runs the jobs on standard input, "GROUP|NAME|SECONDS|CMD" each, N at a time.
jobs_run() { # N
  tr '\n' '\0' | xargs -0 -n 1 -P "$1" tests/run.sh --job
}

binary() { # PATH: a command that runs it, or says that it did not compile
  echo "[ -x $1 ] || { echo 'error: $1 did not compile, see $DIR/build.log'; exit 1; }; exec $1"
}

# ONLY names the tests, without it all; FUZZERS= leaves the fuzz targets out.
build_tests() { # variants
  if ! make --no-print-directory -k -j "$JOBS" TEST_VARIANTS="$*" ${ONLY:+TESTS="$ONLY"} ${FUZZERS+FUZZERS=} test-build > "$DIR/build.log" 2>&1; then
    grep -E 'error' "$DIR/build.log" | head -n 12
  fi
}

# valgrind knows no AVX-512 and says so in CPUID: the AVX2 and scalar kernels run.
MEMCHECK="valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --fair-sched=yes"

jobs_tests() { # variants
  local v t run
  for v in "$@"; do
    for t in ${ONLY:-tests/test_*.c}; do
      t=$(basename "$t" .c)
      run=$(binary "$OUT/obj/$v/$t")
      [ "$v" = valgrind ] && run=${run/exec /exec $MEMCHECK }
      [ -f "tests/$t.c" ] && echo "$v|$t|$(case $v in gcc-O2) echo 120 ;; valgrind) echo 900 ;; *) echo 300 ;; esac)|$run"
    done
  done
}

jobs_scripts() {
  local s
  for s in tests/*.sh; do
    case $(basename "$s" .sh) in
      test_*) echo "script|$(basename "$s" .sh)|300|bash $s" ;;
      run | bench_* | layers | lint | generate | book | svg_lint | models_note) ;;
      *) echo "script|$(basename "$s" .sh)|5|echo 'FAILED $s: scripts that are tests are called tests/test_NAME.sh'; exit 1" ;;
    esac
  done
}

jobs_layers() {
  echo "layers|layers|900|JOBS=1 tests/layers.sh"
  echo "layers|layers-self-test|300|JOBS=1 tests/layers.sh --self-test"
  echo "headers|headers|600|tests/run.sh --headers"
}

jobs_fuzz() {
  local f name
  for f in tests/fuzz_*.c; do
    [ -f "$f" ] || continue
    name=$(basename "$f" .c)
    mkdir -p "$OUT/fuzz/$name"
    echo "fuzz|$name|$((FUZZ_SECONDS + 60))|$(binary "$OUT/obj/fuzz/$name") -max_total_time=$FUZZ_SECONDS -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=1024 -print_final_stats=1 -artifact_prefix=$OUT/fuzz/$name- $OUT/fuzz/$name $([ -d "tests/corpus/${name#fuzz_}" ] && echo "tests/corpus/${name#fuzz_}")"
  done
}

# A lesson ends with 0, its --help with 0, an unknown flag with 2.
jobs_demo() {
  local l bin
  for l in lessons/[0-9][0-9]_*.c; do
    [ -f "$l" ] || continue
    bin=$OUT/$(basename "$l" .c)
    echo "lesson|$(basename "$l" .c)|120|tests/run.sh --lesson $bin"
  done
}

lesson() { # BINARY
  local rc=0 name
  name=$(basename "$1")
  expect() { # STATUS what args …
    local want=$1 what=$2 got
    shift 2
    "$bin" "$@" > "$DIR/$name.$what" 2>&1 < /dev/null
    got=$?
    if [ "$got" -eq "$want" ]; then echo "ok $name $what"
    else echo "FAILED $name $what: status $got instead of $want: $(tail -n 1 "$DIR/$name.$what")"; rc=1; fi
  }
  local bin=$1
  expect 0 stdout --stdout
  expect 0 help --help
  expect 2 unknown-flag --no-such-flag
  return $rc
}

# The newcomer's line with the other compiler: everything in lessons/ with clang.
jobs_clang_lessons() {
  local l
  for l in lessons/[0-9][0-9]_*.c lessons/apr.c; do
    [ -f "$l" ] || continue
    l=$(basename "$l" .c)
    echo "clang|cc-$l|600|make --no-print-directory -s CC=$CLANG CFLAGS=-O2 OUT=$OUT/clang $OUT/clang/$l"
  done
}

# The header alone, with gcc and clang: declarations as C11 and as C++17, the implementation with no option, with
# each option and with all of them.  tests/test_compilers.sh has tcc and musl-gcc.
headers() {
  local dir cc opt opts uses="" rc=0
  dir=$(mktemp -d) || exit 1
  try() { # name compiler flags… < source
    local name=$1
    shift
    if "$@" -I. -fsyntax-only - > "$dir/log" 2>&1; then echo "ok header $name"
    else echo "FAILED header $name: $(grep -m1 -E 'error' "$dir/log")"; rc=1; fi
  }
  local decl='#include "prodml.h"' impl='#define PRODML_IMPLEMENTATION
#include "prodml.h"'
  local c11="-std=c11 -Wall -Wextra -Werror -x c" cxx="-std=c++17 -Wall -Wextra -Wpedantic -Werror -x c++"
  opts=$(grep -oE 'defined\(PRODML_USE_[A-Z0-9]+|ifn?def PRODML_USE_[A-Z0-9]+' prodml.h | grep -oE 'PRODML_USE_[A-Z0-9]+' | sort -u)
  for opt in $opts; do uses="$uses -D$opt"; done
  # shellcheck disable=SC2086
  for cc in "$GCC" "$CLANG"; do
    try "declarations, $cc" "$cc" $c11 -Wpedantic <<< "$decl"
    try "declarations twice, $cc" "$cc" $c11 -Wpedantic <<< "$decl"$'\n'"$decl"
    try "declarations with all options, $cc" "$cc" $c11 -Wpedantic $uses <<< "$decl"
    try "C++17 declarations, $cc" "$cc" $cxx <<< "$decl"
    try "C++17 declarations with all options, $cc" "$cc" $cxx $uses <<< "$decl"
    try "C++17 sees no implementation, $cc" "$cc" $cxx <<< "$impl"$'\n'"int pml__error_text;"
    try "no option, $cc" "$cc" $c11 <<< "$impl"
    try "no option, gnu17, $cc" "$cc" -x c <<< "$impl"
    try "no option, as extern, $cc" "$cc" $c11 <<< "#define PRODML_EXTERN"$'\n'"$impl"
    for opt in $opts; do try "with $opt, $cc" "$cc" $c11 -D"$opt" <<< "$impl"; done
    [ -n "$uses" ] && try "with all options, $cc" "$cc" $c11 $uses <<< "$impl"
  done
  rm -rf "$dir"
  return $rc
}

# Tools that the tests cannot do without.
tools() {
  local missing="" t
  for t in "$GCC" "$CLANG" make awk sed xargs git xmllint rsvg-convert pandoc; do
    command -v "$t" > /dev/null || missing="$missing $t"
  done
  if [ -z "$missing" ] && ! echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return (int)(n && d[0]) * 0; }' |
    "$CLANG" -x c -fsanitize=fuzzer,address,undefined - -o "$DIR/probe" 2> /dev/null; then missing=" libFuzzer"; fi
  for t in $(grep -oE '^#include <(cblas|cjson/cJSON|stb/stb_image_write)\.h>' prodml.h lessons/*.c 2> /dev/null | grep -oE '<.*>' | sort -u); do
    echo "#include $t" | "$GCC" -x c -I/usr/include -fsyntax-only -DSTB_IMAGE_WRITE_STATIC - 2> /dev/null || missing="$missing $t"
  done
  if [ -f tests/package.json ] && [ ! -d tests/node_modules ] && command -v npm > /dev/null; then missing="$missing npm-clients"; fi
  [ -z "$missing" ] && return 0
  echo "missing:$missing; running ./build.sh --setup"
  ./build.sh --setup
}

summary() {
  cat "$DIR"/*.result.* 2> /dev/null | awk 'END { if (!NR) exit 1 }' || { echo "0 passed, 0 failed"; return 1; }
  echo
  printf '%-10s %6s %8s %8s %8s %9s\n' group jobs passed failed skipped seconds
  for r in "$DIR"/*.result.*; do echo "${r##*.} $(cat "$r")"; done |
    awk '{ j[$1]++; p[$1] += $2; f[$1] += $3; s[$1] += $4; t[$1] += $5 }
         END { for (g in j) printf "%-10s %6d %8d %8d %8d %9d\n", g, j[g], p[g], f[g], s[g], t[g] }' | sort
  echo
  cat "$DIR"/*.result.* | awk '{ p += $1; f += $2 } END { printf "%d passed, %d failed\n", p, f; exit !(f == 0 && p > 0) }'
}

case ${1:-} in
  --job) [ -n "${2:-}" ] || exit 0; IFS='|' read -r g n s c <<< "$2"; job "$g" "$n" "$s" "$c"; exit 0 ;;
  --lesson) lesson "$2"; exit ;;
  --headers | headers) headers; exit ;;
esac
rm -f "$DIR"/*.result.*
case ${1:-} in
  all)
    t0=$SECONDS
    tools || exit 1
    echo "building"
    build_tests gcc-O2 asan
    if ! make --no-print-directory -k -j "$JOBS" build > "$DIR/build-lessons.log" 2>&1; then
      grep -E 'error' "$DIR/build-lessons.log" | head -n 5
      echo "build|build|5|cat $DIR/build-lessons.log; exit 1" | jobs_run 1
    fi
    echo "built in $((SECONDS - t0)) s"
    { jobs_layers; jobs_tests gcc-O2 asan; jobs_scripts; jobs_clang_lessons; jobs_fuzz; } | jobs_run "$JOBS"
    jobs_demo | jobs_run 1
    summary
    ;;
  one)
    name=${2:?name of a test}
    if [ -f "tests/test_$name.c" ]; then
      make --no-print-directory "$OUT/obj/gcc-O2/test_$name" "$OUT/obj/asan/test_$name" || exit 1
      jobs_tests gcc-O2 asan | grep "|test_$name|" | jobs_run "$JOBS"
      cat "$DIR/test_$name.gcc-O2.log"
    elif [ -f "tests/test_$name.sh" ]; then
      jobs_scripts | grep "|test_$name|" | jobs_run 1
      cat "$DIR/test_$name.script.log"
    else
      echo "there is no tests/test_$name.c and no tests/test_$name.sh" >&2
      exit 2
    fi
    summary
    ;;
  variants)
    shift
    FUZZERS='' build_tests "$@"
    jobs_tests "$@" | jobs_run "$JOBS"
    summary
    ;;
  tsan)
    ONLY="test_attention test_backward test_chat test_evaluation test_gemm test_kernels test_probe test_trace test_training test_transformer test_ways"
    FUZZERS='' build_tests tsan
    jobs_tests tsan | jobs_run "$JOBS"
    summary
    ;;
  valgrind)
    command -v valgrind > /dev/null || { echo "valgrind is missing: ./build.sh --setup" >&2; exit 1; }
    ONLY="test_backward test_chat test_checksums test_demonstrations test_evaluation test_families test_files test_gguf
      test_json test_memory test_numbers test_pages test_stats test_svg test_tokenizer_kinds test_trace test_unicode test_vocabs"
    ONLY=$(echo $ONLY)
    FUZZERS='' build_tests valgrind
    jobs_tests valgrind | jobs_run "$JOBS"
    summary
    ;;
  demo) jobs_demo | jobs_run 1; summary ;;
  fuzz)
    build_tests
    jobs_fuzz | jobs_run "$JOBS"
    summary
    ;;
  svg) echo "svg|svg|300|tests/svg_lint.sh" | jobs_run 1; summary ;;
  coverage)
    find "$OUT/obj/gcov" -name '*.gcda' -delete 2> /dev/null
    FUZZERS='' build_tests gcov
    jobs_tests gcov | jobs_run "$JOBS"
    gcovr -r . --filter 'prodml\.h' --gcov-ignore-parse-errors --html-details "$OUT/coverage.html" --print-summary \
      "$OUT/obj/gcov" > "$DIR/coverage.txt" 2> "$DIR/coverage.err" || tail -n 3 "$DIR/coverage.err"
    grep -E '^(lines|branches)' "$DIR/coverage.txt"
    gcov -t -b -o "$OUT/obj/gcov" "$OUT/obj/gcov/prodml_impl.o" 2> /dev/null |
      sed -nE 's/^function ([^ ]+) called 0 .*/\1/p' | sort > "$DIR/uncalled.txt"
    echo "functions that no test calls: $(wc -l < "$DIR/uncalled.txt"): $(tr '\n' ' ' < "$DIR/uncalled.txt")"
    echo "line by line: $OUT/coverage.html"
    share=$(sed -nE 's/^lines: ([0-9]+).*/\1/p' "$DIR/coverage.txt")
    [ "${share:-0}" -ge 95 ] || echo "coverage|lines|5|echo 'FAILED under 95 % of the lines are reached'; exit 1" | jobs_run 1
    summary
    ;;
  *) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
