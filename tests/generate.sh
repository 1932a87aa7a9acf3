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

# The index: one line per page, its first heading.
{
  echo '# Reading pages'
  echo
  echo 'Each page is written by the lesson of its name; `./build.sh` writes them again.'
  echo
  for page in "$root"/notes/[0-9][0-9]_*.md; do
    [ -f "$page" ] || continue
    name=$(basename "$page" .md)
    echo "- [$(sed -n 's/^# //p' "$page" | head -n 1)]($name.md): \`make demo-$(echo "${name#*_}" | tr _ -)\`"
  done
} > "$root/notes/README.md"

if $check; then
  for kind in diagrams notes; do
    while IFS= read -r line; do
      [ -n "$line" ] || continue
      echo "FAILED $line"
      failed=$((failed + 1))
    done < <(diff -rq "$kind" "$root/$kind" 2>&1 | sed "s|$root/|regenerated |")
  done
  passed=$((passed + $(find "$root/diagrams" "$root/notes" -type f | wc -l)))
  echo "$passed passed, $failed failed"
  [ "$passed" -gt 0 ] || exit 1
fi
[ "$failed" -eq 0 ]
