#!/bin/bash
# Runs every lesson in strict mode and lets it write its diagram and its page.
#   tests/generate.sh            into diagrams/ and notes/
#   tests/generate.sh --check    into out/generated/ and compares with the committed ones;
#                                ends with "N passed, N failed"
# Both are a pure function of the repository: no date, machine or commit enters a page
# except from a committed record in notes/measured/.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
check=false
root=.
case ${1:-} in
  '') ;;
  --check) check=true; root=$OUT/generated; rm -rf "$root" ;;
  *) sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac
mkdir -p "$root/diagrams" "$root/notes" "$OUT/lessons"
if $check && [ -d notes/measured ]; then cp -R notes/measured "$root/notes/"; fi
unset PML_CPU
failed=0
passed=0

for source in lessons/[0-9][0-9]_*.c; do
  [ -f "$source" ] || continue
  name=$(basename "$source" .c)
  t0=$SECONDS
  if "$OUT/$name" --stdout --strict --seed 42 --diagram "$root/diagrams/$name.svg" --note "$root/notes/$name.md" \
    > "$OUT/lessons/$name.txt" 2>&1 < /dev/null; then
    $check || echo "  ran    $name ($((SECONDS - t0)) s)"
    passed=$((passed + 1))
  else
    echo "FAILED $name: status $? (its output: $OUT/lessons/$name.txt): $(tail -n 1 "$OUT/lessons/$name.txt")"
    failed=$((failed + 1))
  fi
done

if $check; then
  # What a run writes must be committed, and what is committed must be written by a run.
  names() { ls diagrams/[0-9][0-9]_*.svg notes/[0-9][0-9]_*.md 2> /dev/null; }
  for f in $({ names; cd "$root" && names; } | sort -u); do
    if cmp -s "$f" "$root/$f" 2> /dev/null; then passed=$((passed + 1))
    elif [ ! -f "$f" ]; then echo "FAILED $f is written by its lesson but not committed"; failed=$((failed + 1))
    elif [ ! -f "$root/$f" ]; then echo "FAILED $f is committed but no lesson writes it"; failed=$((failed + 1))
    else echo "FAILED $f is not what its lesson writes (see $root/$f)"; failed=$((failed + 1)); fi
  done
  echo "$passed passed, $failed failed"
  [ "$passed" -gt 0 ] || exit 1
else
  bash tests/book.sh --index || failed=$((failed + 1)) # notes/README.md
fi
[ "$failed" -eq 0 ]
