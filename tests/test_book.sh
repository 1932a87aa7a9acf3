#!/bin/bash
# The book: every page is in all three formats, every link resolves, nothing is fetched, the header's
# view is complete, the glossary agrees with the tutor, epubcheck agrees.
set -u
cd "$(dirname "$0")/.." || exit 1
DIR=${OUT:-out}/test_book
BOOK=$DIR/book
check() { # STATUS what
  if [ "$1" -eq 0 ]; then echo "ok $2"; else echo "FAILED $2"; bad=1; fi
}
bad=0
ls notes/[0-9][0-9]_*.md > /dev/null 2>&1 || { echo "skipped: no reading pages yet"; exit 0; }
command -v pandoc > /dev/null || { echo "skipped: pandoc is missing"; exit 0; }
command -v python3 > /dev/null || { echo "skipped: python3 is missing"; exit 0; }
rm -rf "$DIR"
mkdir -p "$DIR"
cp notes/README.md notes/path.md "$DIR" 2> /dev/null
OUT=$DIR bash tests/book.sh > "$DIR/log" 2>&1
check $? "tests/book.sh runs"
for f in README.md path.md; do
  cmp -s "notes/$f" "$DIR/$f"
  check $? "notes/$f is what the build writes"
done

# Links, and that the check of links can fail.
python3 tests/book_check.py links "$BOOK"
check $? "every link of the book resolves, nothing is fetched"
python3 tests/book_check.py notes
check $? "every link of notes/ and README.md resolves"
python3 tests/book_check.py header "$BOOK"
check $? "the view of the header has every section, line and public function"
python3 tests/book_check.py glossary
check $? "the glossary is in order and agrees with the tutor's answers"
mkdir "$DIR/broken"
break_it() { # SED-COMMAND FILE what
  cp -R "$BOOK"/*.html "$BOOK/diagrams" "$DIR/broken"
  sed "$1" "$BOOK/$2" > "$DIR/broken/$2"
  ! cmp -s "$BOOK/$2" "$DIR/broken/$2" && ! python3 tests/book_check.py links "$DIR/broken" > /dev/null
  check $? "$3 is found"
}
break_it 's/href="prodml.h.html#s14"/href="prodml.h.html#s99"/' 05_attention.html "a link to no section"
break_it 's/href="glossary.html"/href="glossery.html"/' index.html "a link to no page"
break_it 's/src="diagrams\/05/src="diagrams\/95/' 05_attention.html "a picture that is not there"
break_it 's/<body/<img src="https:\/\/example.org\/x.png"><body/' index.html "a picture from elsewhere"

! grep -qE '<(script|iframe)[^>]*src=|<link|url\(["'"'"']?http|@import' "$BOOK"/*.html
check $? "the HTML book loads no script, style or font from another file"
for f in "$BOOK"/*.html; do
  grep -q 'name="viewport"' "$f" || { check 1 "$f knows phones"; break; }
done
for f in notes/[0-9][0-9]_*.md; do
  title=$(sed -n '1s/^# //p' "$f")
  page=$(basename "$f" .md)
  grep -qF "$title" "$BOOK/$page.html"
  check $? "HTML has $title"
  grep -qF "href=\"$page.html\"" "$BOOK/index.html"
  check $? "the front page leads to $title"
  grep -qF "]($page.md)" notes/README.md
  check $? "the index has $title"
  grep -q "href=\"prodml.h.html#s[0-9]" "$BOOK/$page.html"
  check $? "$page leads to sections of the header"
  grep -q 'class="term"' "$BOOK/$page.html"
  check $? "$page leads to the glossary"
  [ "$(grep -c '^From \[prodml.h\]' "$f")" -eq "$(grep -o 'href="prodml.h.html#L[0-9]' "$BOOK/$page.html" | wc -l)" ]
  check $? "each quotation of $page leads to its line of the header"
  if grep -q '^\$\$\|[^\\]\$[^ ]' "$f"; then
    grep -q '<math' "$BOOK/$page.html"
    check $? "formulas of $page are MathML"
  fi
done
[ "$(grep -c '^[0-9]*\. ' notes/bibliography.md)" -eq 24 ]
check $? "24 citations"

[ -s "$BOOK/prodml.epub" ]
check $? "the EPUB book"
jar=$(ls /usr/share/java/epubcheck.jar 2> /dev/null)
if [ -n "$jar" ] && command -v java > /dev/null; then
  java -jar "$jar" "$BOOK/prodml.epub" > "$DIR/epubcheck.log" 2>&1
  check $? "epubcheck"
else echo "skipped: epubcheck is missing"; fi
if [ -s "$BOOK/prodml.pdf" ] && command -v pdftotext > /dev/null; then
  pdftotext "$BOOK/prodml.pdf" "$DIR/book.txt"
  for f in notes/[0-9][0-9]_*.md notes/path.md notes/glossary.md notes/bibliography.md; do
    grep -qF "$(sed -n '1s/^# //p' "$f")" "$DIR/book.txt"
    check $? "PDF has $(basename "$f")"
  done
else echo "skipped: no PDF, see $DIR/log"; fi
exit $bad
