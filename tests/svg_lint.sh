#!/bin/sh
# make svg-lint: every committed diagram against our own rules, XML and a second renderer.
#   tests/svg_lint.sh LINT_PROGRAM [FILE…]      default: diagrams/*.svg
set -u
cd "$(dirname "$0")/.." || exit 2
lint=$1
shift
[ $# -gt 0 ] || set -- diagrams/*.svg
[ -e "$1" ] || { echo "svg-lint: no diagrams yet: ./build.sh writes them"; exit 1; }
status=0
"$lint" --self-test || status=1
"$lint" "$@" || status=1
if command -v xmllint >/dev/null; then
  xmllint --noout --nonet "$@" || status=1
else
  echo "svg-lint: xmllint is missing, well-formedness not checked (apt install libxml2-utils)"
fi
if command -v rsvg-convert >/dev/null; then
  for f in "$@"; do
    rsvg-convert -w 480 "$f" >/dev/null || { echo "$f: rsvg-convert rejects it"; status=1; }
  done
else
  echo "svg-lint: rsvg-convert is missing, rendering not checked (apt install librsvg2-bin, brew install librsvg)"
fi
exit $status
