#!/bin/bash
# The book: every page is in all three formats, nothing is fetched, epubcheck agrees.
set -u
cd "$(dirname "$0")/.." || exit 1
DIR=${OUT:-out}/test_book
check() { # STATUS what
  if [ "$1" -eq 0 ]; then echo "ok $2"; else echo "FAILED $2"; bad=1; fi
}
bad=0
ls notes/[0-9][0-9]_*.md > /dev/null 2>&1 || { echo "skipped: no reading pages yet"; exit 0; }
command -v pandoc > /dev/null || { echo "skipped: pandoc is missing"; exit 0; }
rm -rf "$DIR"
mkdir -p "$DIR"
cp notes/README.md "$DIR/README.md" 2> /dev/null
OUT=$DIR bash tests/book.sh > "$DIR/log" 2>&1
check $? "tests/book.sh runs"
cmp -s notes/README.md "$DIR/README.md"
check $? "notes/README.md is the index that the build writes"
html=$DIR/book/index.html
[ -s "$html" ]
check $? "the HTML book"
! grep -qE '<(script|link|iframe)[^>]*(src|href)=|<img[^>]*src="[^d]|url\(["'"'"']?http|@import' "$html"
check $? "the HTML book fetches nothing"
grep -q 'name="viewport"' "$html"
check $? "the HTML book knows phones"
for f in notes/[0-9][0-9]_*.md; do
  title=$(sed -n '1s/^# //p' "$f")
  grep -qF "$title" "$html"
  check $? "HTML has $title"
  grep -qF "]($(basename "$f"))" notes/README.md
  check $? "the index has $title"
done
for l in $(grep -oE 'href="\.\./\.\./[^"#]+"' "$html" | sed 's/href="..\/..\///; s/"//' | sort -u); do
  [ -e "$l" ]
  check $? "link to $l"
done
if grep -q '^\$\$\|[^\\]\$[^ ]' notes/[0-9][0-9]_*.md; then
  grep -q '<math' "$html"
  check $? "formulas are MathML"
fi
[ -s "$DIR/book/prodml.epub" ]
check $? "the EPUB book"
jar=$(ls /usr/share/java/epubcheck.jar 2> /dev/null)
if [ -n "$jar" ] && command -v java > /dev/null; then
  java -jar "$jar" "$DIR/book/prodml.epub" > "$DIR/epubcheck.log" 2>&1
  check $? "epubcheck"
else echo "skipped: epubcheck is missing"; fi
if [ -s "$DIR/book/prodml.pdf" ] && command -v pdftotext > /dev/null; then
  pdftotext "$DIR/book/prodml.pdf" "$DIR/book.txt"
  for f in notes/[0-9][0-9]_*.md; do
    grep -qF "$(sed -n '1s/^# //p' "$f")" "$DIR/book.txt"
    check $? "PDF has $(basename "$f")"
  done
else echo "skipped: no PDF, see $DIR/log"; fi
exit $bad
