#!/bin/bash
# Proves that prodml.h can be read from top to bottom.
#   tests/layers.sh               all checks; a line "ok NAME" or "FAILED NAME" each
#   tests/layers.sh --only 12     the cuts after § 12 alone
#   tests/layers.sh --self-test   plants five faults and expects each to be found
#
# 1. The CONTENTS of the manual and the chapter banners agree: number, title, order.
# 2. Each banner's `needs` names smaller numbers only.
# 3. Cut after each written chapter and closed, the header still compiles, with the
#    implementation and without: no chapter uses a later one.
# 4. Each chapter compiles when only the chapters it needs (and those they need) stand
#    above it: no chapter uses more than it says.
# HEADER, CC and JOBS may be set.
set -u
cd "$(dirname "$0")/.." || exit 1
HEADER=${HEADER:-prodml.h}
CC=${CC:-gcc}
JOBS=${JOBS:-2}
FLAGS="-std=c11 -fsyntax-only -Wall -Wextra -Werror -Wno-unused-function -Wno-unused-variable -Wno-unused-macros"

# Splits the header into DIR/head, DIR/chapter.N and DIR/tail, and writes DIR/index with
# a line "N<TAB>TITLE<TAB>needed numbers<TAB>written|empty" per banner and DIR/contents
# with "N<TAB>TITLE" per line of the manual's list.
split_header() { # DIR
  awk -v dir="$1" '
    function close_chapter() { if (n) print n "\t" title "\t" (needs == "" ? "-" : needs) "\t" state > (dir "/index") }
    # "§ 24 – § 28" and "§ 2 § 3" become numbers.
    function numbers(s,   out, word, k, i, from, range) {
      gsub("\302\247", " ", s); gsub("\342\200\223", " - ", s); gsub(/nothing|and|,/, " ", s)
      k = split(s, word, /[ \t]+/); out = ""; from = 0; range = 0
      for (i = 1; i <= k; i++) {
        if (word[i] == "-") range = 1
        else if (word[i] ~ /^[0-9]+$/) {
          if (range) { for (from++; from < word[i] + 0; from++) out = out " " from; range = 0 }
          out = out " " word[i]; from = word[i] + 0
        } else if (word[i] != "") out = out " ?" word[i]
      }
      return substr(out, 2)
    }
    BEGIN { file = dir "/head"; bar = "^/\\* \342\225\220" }
    { line[NR] = $0 }
    END {
      for (i = 1; i <= NR; i++) {
        s = line[i]
        if (s ~ bar && line[i + 1] ~ /^   \302\247 [0-9]+  /) {
          close_chapter()
          s2 = substr(line[i + 1], 7); n = s2 + 0
          sub(/^[0-9]+ +/, "", s2)
          at = match(s2, / +needs .*$/)
          needs = at ? numbers(substr(s2, RSTART + index(substr(s2, RSTART), "needs") + 5)) : "?missing"
          title = at ? substr(s2, 1, RSTART - 1) : s2
          sub(/ +$/, "", title); state = "written"; file = dir "/chapter." n
        } else if (s == "#endif /* PRODML_H */") file = dir "/tail"
        if (n && index(s, "/* \302\247 " n ": not written yet */") == 1) state = "empty"
        if (file == dir "/head" && s ~ /^       \302\247 [0-9]+ /) {
          s2 = substr(s, 11); c = s2 + 0; sub(/^[0-9]+ +/, "", s2); sub(/   *[^ ].*$/, "", s2)
          print c "\t" s2 > (dir "/contents")
        }
        print s > file
      }
      close_chapter()
    }' "$HEADER"
}

say() { # ok|FAILED NAME [why]
  echo "$1 layers: $2${3:+: $3}"
}

check_contents() { # DIR
  if diff <(awk -F'\t' '{print $1 "\t" toupper($2)}' "$1/contents") <(cut -f1,2 "$1/index") > "$1/diff"; then
    say ok "contents and banners agree"
  else
    say FAILED "contents and banners agree" "$(grep '^[<>]' "$1/diff" | tr '\t\n' '  ')"
  fi
}

check_needs() { # DIR
  local n needs x bad
  while read -r n needs; do
    bad=
    for x in $needs; do
      case $x in
        -) ;;
        \?*) bad="cannot read '${x#\?}'" ;;
        *) [ "$x" -lt "$n" ] || bad="needs § $x, which does not stand above it" ;;
      esac
    done
    if [ -n "$bad" ]; then say FAILED "§ $n needs" "$bad"; fi
  done < <(cut -f1,3 "$1/index") > "$1/needs"
  if [ -s "$1/needs" ]; then cat "$1/needs"; else say ok "needs name chapters above"; fi
}

# The chapters that $2 needs, directly or through others, in order.
closure() { # DIR N
  awk -F'\t' -v n="$2" '{need[$1] = $3} END {
    want[n] = 1
    for (i = n; i > 0; i--) if (want[i]) { k = split(need[i], w, " "); for (j = 1; j <= k; j++) want[w[j] + 0] = 1 }
    for (i = 1; i < n; i++) if (want[i]) print i }' "$1/index"
}

compile() { # DIR NAME WHAT: what stands in DIR/NAME.h, as declarations or as implementation
  local dir=$1 name=$2 out
  printf '#define PRODML_IMPLEMENTATION\n#include "%s.h"\n' "$name" > "$dir/$name.impl.c"
  printf '#include "%s.h"\nint main(void) { return 0; }\n' "$name" > "$dir/$name.decl.c"
  for part in decl impl; do
    # shellcheck disable=SC2086
    if out=$($CC $FLAGS "$dir/$name.$part.c" 2>&1); then say ok "$3 ($part)"
    else say FAILED "$3 ($part)" "$(grep -m1 -E 'error' <<< "$out" | sed "s|$dir/||")"; fi
  done
}

cut_after() { # DIR N
  local dir=$1 n=$2 i
  { cat "$dir/head"; for ((i = 1; i <= n; i++)); do cat "$dir/chapter.$i"; done; echo '#endif'; } > "$dir/cut.$n.h"
  compile "$dir" "cut.$n" "cut after § $n"
  { cat "$dir/head"; for i in $(closure "$dir" "$n"); do cat "$dir/chapter.$i"; done
    cat "$dir/chapter.$n"; echo '#endif'; } > "$dir/needs.$n.h"
  if cmp -s "$dir/cut.$n.h" "$dir/needs.$n.h"; then say ok "§ $n needs what it says (all above)"
  else compile "$dir" "needs.$n" "§ $n needs what it says"; fi
}

run_all() { # [N]
  local dir failed n
  dir=$(mktemp -d) || exit 1
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT
  split_header "$dir"
  [ -s "$dir/index" ] || { say FAILED "split" "no chapter banner found in $HEADER"; return 1; }
  {
    check_contents "$dir"
    check_needs "$dir"
    export -f cut_after compile say closure
    export CC FLAGS
    if [ $# -gt 0 ]; then echo "$1"; else awk -F'\t' '$4 == "written" {print $1}' "$dir/index"; fi |
      xargs -P "$JOBS" -I{} bash -c "cut_after '$dir' {}"
  } | tee "$dir/report"
  failed=$(grep -c '^FAILED' "$dir/report")
  n=$(grep -c '^ok' "$dir/report")
  echo "layers: $n passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$n" -gt 0 ]
}

# Each fault is one sed expression on a copy of the header, and what must be reported.
self_test() {
  local dir passed=0 failed=0 name only expr want
  dir=$(mktemp -d) || exit 1
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT
  while IFS='|' read -r name only expr want; do
    sed "$expr" "$HEADER" > "$dir/planted.h"
    if cmp -s "$HEADER" "$dir/planted.h"; then echo "FAILED layers self-test: $name: nothing was planted"
    elif HEADER=$dir/planted.h "$0" --only "$only" > "$dir/out" 2>&1; then
      echo "FAILED layers self-test: $name: not found"
    elif grep -q "^FAILED layers: $want" "$dir/out"; then
      echo "ok layers self-test: $name"; passed=$((passed + 1)); continue
    else echo "FAILED layers self-test: $name: reported otherwise: $(grep -m1 FAILED "$dir/out")"; fi
    failed=$((failed + 1))
  done << 'FAULTS'
a call of a later chapter|2|s/^PML_API char \*pml_strdup(const char \*s) {/& pml_crc32(0, s, 1);/|cut after § 2 (impl)
a later chapter's type in a contract|3|s/^PML_API uint64_t pml_time_ns(void);/& PML_API void pml_upward(pml_sha256 *s);/|cut after § 3 (decl)
a call that `needs` does not name|3|s/^PML_API double pml_time(void) {/& pml_free(NULL);/|§ 3 needs what it says (impl)
a `needs` that points down|1|s/^   § 4  HARDWARE *needs § 1.*$/   § 4  HARDWARE   needs § 9/|§ 4 needs
a title that differs from the contents|1|s/^   § 9  STATISTICS /   § 9  STATISTIC /|contents
FAULTS
  echo "layers self-test: $passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

case ${1:-} in
  '') run_all ;;
  --only) run_all "${2:?number of a chapter}" ;;
  --self-test) self_test ;;
  *) echo "usage: tests/layers.sh [--only N | --self-test]" >&2; exit 2 ;;
esac
