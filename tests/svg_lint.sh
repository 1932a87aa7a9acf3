#!/bin/bash
# make svg-lint: every committed diagram against our own rules, XML and a second renderer.
#   tests/svg_lint.sh [FILE…]      default: diagrams/*.svg
# The last line is "N passed, M failed".
set -u
cd "$(dirname "$0")/.." || exit 2
OUT=${OUT:-out}
passed=0
failed=0
count() { # STATUS WHAT
  if [ "$1" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED $2"; fi
}
[ $# -gt 0 ] || set -- diagrams/*.svg
[ -e "$1" ] || { echo "no diagrams yet: ./build.sh writes them"; exit 1; }
mkdir -p "$OUT"
if [ ! -x "$OUT/svg_lint" ] || [ prodml.h -nt "$OUT/svg_lint" ] || [ tests/svg_lint.c -nt "$OUT/svg_lint" ]; then
  ${CC:-cc} -O1 -I. tests/svg_lint.c -o "$OUT/svg_lint" -lm -pthread || exit 1
fi
"$OUT/svg_lint" --self-test
count $? "the lint finds planted faults"
for f in "$@"; do
  "$OUT/svg_lint" "$f"
  count $? "$f: our rules"
  if command -v xmllint > /dev/null; then
    xmllint --noout --nonet "$f"
    count $? "$f: xmllint"
  fi
  if command -v rsvg-convert > /dev/null; then
    rsvg-convert -w 480 "$f" > /dev/null
    count $? "$f: rsvg-convert"
  fi
done
command -v xmllint > /dev/null || echo "xmllint is missing, well-formedness not checked (apt install libxml2-utils)"
command -v rsvg-convert > /dev/null || echo "rsvg-convert is missing, drawing not checked (apt install librsvg2-bin, brew install librsvg)"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
