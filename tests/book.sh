#!/bin/bash
# Makes the book of the reading pages in out/book:
#   index.html          the front page; one HTML page per lesson, the reading path, the glossary,
#                       the sources, and prodml.h.html, a linked view of the header
#   prodml.epub, .pdf   the same without the view of the header
#
#   tests/book.sh            notes/README.md, notes/path.md and the book
#   tests/book.sh --index    only notes/README.md and notes/path.md
# OUT names another place than out.  A tool that is missing costs its format and says so.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
BOOK=$OUT/book
WORK=$BOOK/work
VERSION=$(sed -n 's/^#define PML_VERSION "\(.*\)"/\1/p' prodml.h)

part_name() {
  case $1 in
    0) echo "Foundations" ;; 1) echo "Model formats" ;; 2) echo "Inference serving" ;;
    3) echo "Model optimisation" ;; 4) echo "Fine-tuning" ;; 5) echo "MLOps" ;;
    6) echo "Edge" ;; 7) echo "Showcase" ;; *) echo "Capstone" ;;
  esac
}

pages() { ls notes/[0-9][0-9]_*.md 2> /dev/null; }

# Title line, lead line and summary are the first three paragraphs of a page.
title_of() { sed -n '1s/^# //p' "$1"; }
summary_of() { awk 'NF { n += blank || NR == 1; blank = 0 } !NF { blank = 1 } n == 3 && NF { print }' "$1"; }

# Writes a file only when its bytes change.
put() { # FILE, text on stdin
  cat > "$1.new" && if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

index() {
  local f part last=""
  {
    echo "# Reading pages"
    echo
    echo "One page per lesson, written by the lesson itself: its prose, code, numbers and output"
    echo "come from \`prodml.h\` and from the run. Read them in this order, beside the header."
    echo
    echo "[Reading path](path.md): which lecture goes with which chapter and lesson."
    echo "[Glossary](glossary.md): the terms, one sentence each. [Sources](bibliography.md): the papers,"
    echo "and what each is used for. [Models](models.md): what the three models know."
    for f in $(pages); do
      part=$(basename "$f" | cut -c1)
      if [ "$part" != "$last" ]; then
        printf '\n## Part %s · %s\n\n| lesson | what it is about |\n|:---|:---|\n' "$part" "$(part_name "$part")"
        last=$part
      fi
      echo "| [$(title_of "$f")]($(basename "$f")) | $(summary_of "$f" | tr '\n' ' ' | sed 's/|/\\|/g; s/ $//') |"
    done
  } | put notes/README.md
}

# notes/path.txt with a link to what exists: a chapter that holds code, a lesson, its page.
path() {
  {
    ls lessons/[0-9][0-9]_*.c notes/[0-9][0-9]_*.md 2> /dev/null | sed 's/^/have /'
    awk '/^   § [0-9]+  / { n = $2; code = -1 } /═ \*\/$/ { code = 0; next } n && code >= 0 && NF { code++ }
      /^       § [0-9]+ / { t = $0; sub(/^ *§ [0-9]+ +/, "", t); sub(/  .*/, "", t); print "title", $2, t }
      n && code == 4 { print "written", n }' prodml.h
    cat notes/path.txt
  } | awk '
    /^have /    { have[$2] = 1; next }
    /^title /   { n = $2; sub(/^title [0-9]+ /, ""); title[n] = $0; next }
    /^written / { written[$2] = 1; next }
    /^lesson /  { name[$2] = $3; next }
    /^#/ || !NF { next }
    function section(n) { return written[n] ? "[§ " n " " title[n] "](../prodml.h)" : "§ " n " " title[n] }
    function lesson(n,  f, t) {
      f = n "_" name[n]; t = name[n]; gsub(/_/, " ", t)
      return have["lessons/" f ".c"] ? "[" n " " t "](../lessons/" f ".c)" : n " " t
    }
    function page(n,  f) { f = n "_" name[n] ".md"; return have["notes/" f] ? "[" n "](" f ")" : "" }
    BEGIN {
      print "# Reading path\n"
      print "Which lecture goes with which chapters of `prodml.h`, which lesson and which page. Watch the lecture, read the"
      print "chapters from top to bottom, run the lesson, then read its page and answer its questions. What is a link is"
      print "there; what is plain text is announced and not written yet."
    }
    /^= / {
      sub(/^= /, ""); print "\n## " $0 "\n\n| lecture | chapters of the header | lesson | page |\n|:---|:---|:---|:---|"; next
    }
    {
      split($0, col, / *\| */); ns = split(col[2], s, " "); nl = split(col[3], l, " ")
      a = b = c = ""
      for (i = 1; i <= ns; i++) a = a (i > 1 ? ", " : "") section(s[i])
      for (i = 1; i <= nl; i++) {
        if (!(l[i] in name)) { print "notes/path.txt: lesson " l[i] " is not in the syllabus" > "/dev/stderr"; exit 1 }
        b = b (i > 1 ? ", " : "") lesson(l[i]); p = page(l[i]); c = c (c != "" && p != "" ? ", " : "") p
      }
      print "| " col[1] " | " a " | " b " | " c " |"
    }' | put notes/path.md
}

# The pages of the book in their order, without the front page.
order() { echo path; pages | sed 's,notes/,,; s,\.md$,,'; for f in models glossary bibliography; do
  [ ! -f "notes/$f.md" ] || echo "$f"; done; }

kind_of() { case $1 in [0-9]*) echo page ;; *) echo "$1" ;; esac; }

page_title() { sed -n '1s/^# //p' "notes/$1.md"; }

fact() { sed -n "s/^$1=//p" "$WORK/facts.txt"; }

# The front page: tests/book_front.md with what is counted in it, then the list of lessons.
front() {
  local f part last="" picture first
  picture=diagrams/05_attention.svg
  [ -f "$picture" ] || picture=$(ls diagrams/[0-9]*.svg | head -n 1)
  first=$(pages | grep 05_ || pages)
  first=$(basename "$(echo "$first" | head -n 1)" .md)
  sed -e "s/@LINES@/$(fact LINES)/; s/@CHAPTERS@/$(fact CHAPTERS)/; s/@WRITTEN@/$(fact WRITTEN)/" \
    -e "s/@FUNCTIONS@/$(fact FUNCTIONS)/; s/@PAGES@/$(pages | wc -l | tr -d ' ')/; s/@LESSON@/$first/" \
    -e "s|@PICTURE@|$(basename "$picture")|; s|@ALT@|$(sed -n 's,.*<title[^>]*>\(.*\)</title>.*,\1,p' "$picture" | head -n 1)|" \
    tests/book_front.md
  echo
  echo "## Lessons"
  for f in $(pages); do
    part=$(basename "$f" | cut -c1)
    if [ "$part" != "$last" ]; then
      printf '\n### Part %s · %s\n' "$part" "$(part_name "$part")"
      last=$part
    fi
    printf '\n**[%s](%s)** %s\n' "$(title_of "$f")" "$(basename "$f")" "$(summary_of "$f" | tr '\n' ' ')"
  done
}

body_of() { # PAGE: its Markdown
  cat "notes/$1.md"
  [ "$1" != bibliography ] || { echo; cat "$WORK/sources.md"; }
}

# One Markdown file for EPUB and PDF: parts are chapters, pages stand one level below them.
gather() {
  local f part="" new
  for f in $(order); do
    case $f in [0-9]*) new="Part ${f%"${f#?}"} · $(part_name "${f%"${f#?}"}")" ;;
      path) new="Before you begin" ;; *) new="Appendix" ;; esac
    [ "$new" = "$part" ] || printf '\n# %s\n' "$new"
    part=$new
    echo
    body_of "$f" | awk -v id="p-$f" '/^```/ { code = !code }
      !code && /^#+ / { $0 = "#" $0 } !code && /^## / && !seen { $0 = $0 " {#" id "}"; seen = 1 } { print }'
  done
}

# The front of the one document: what stands before the list of lessons, without headings.
front_one() {
  front | awk 'NR == 1 && /^# / { next } /^## Lessons/ { exit } /^```/ { code = !code } code || !/^## / { print }'
}

FROM=gfm+tex_math_dollars+attributes+fenced_divs

pandoc_one() { # OUTPUT flags and files …
  local to=$1
  shift
  pandoc -f $FROM -s --mathml --toc --toc-depth=2 -M form=one \
    --highlight-style=tests/book.theme --lua-filter=tests/book.lua --resource-path="$WORK:." \
    -M lang=en -M title="prodml.h" -M subtitle="One header, one production-ML course" "$@" -o "$to"
}

# The neighbours of a page, as links at its end.
around() { # PAGE
  local before="" after="" f
  for f in index $(order); do
    if [ "$f" = "$1" ]; then after=next; continue; fi
    if [ "$after" = next ]; then after=$f; break; fi
    before=$f
  done
  [ "$after" = next ] && after=""
  link() { [ "$1" = index ] && echo "prodml.h" || page_title "$1"; }
  [ -z "$before" ] || [ "$1" = index ] || printf '<a href="%s.html"><span>before</span>%s</a> ' "$before" "$(link "$before")"
  [ -z "$after" ] || printf '<a href="%s.html"><span>next</span>%s</a>' "$after" "$(link "$after")"
}

html_page() { # PAGE KIND TITLE flags …; Markdown on stdin
  local name=$1 kind=$2 title=$3
  shift 3
  pandoc -f $FROM -t html5 -s --mathml --template=tests/book_page.html -M form=pages -M kind="$kind" \
    --highlight-style=tests/book.theme --lua-filter=tests/book.lua -M title="$title" \
    -V kind="$kind" -V style="$(cat tests/book.css)" -V around="$(around "$name")" "$@" -o "$WORK/html/$name.html"
}

html() {
  local f toc
  front | html_page index front "prodml.h" || return 1
  for f in $(order); do
    toc=--toc
    case $f in path | glossary | bibliography) toc= ;; esac
    # shellcheck disable=SC2086
    body_of "$f" | html_page "$f" "$(kind_of "$f")" "$(page_title "$f")" $toc --toc-depth=2 || return 1
  done
  rm -rf "$BOOK/diagrams" "$BOOK"/*.html
  mv "$WORK"/html/*.html "$BOOK/" && cp -R "$WORK/diagrams" "$BOOK/diagrams" && echo "  $BOOK/index.html"
}

browser() {
  local b
  for b in chromium-headless-shell chromium google-chrome \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
    command -v "$b" > /dev/null && { echo "$b"; return; }
  done
}

epub() { # readers bring their own pages and know no @page boxes
  sed '/^@page/,$d' tests/book.css | cat - tests/book_one.css > "$WORK/epub.css"
  pandoc_one "$WORK/prodml.epub" -t epub3 --css "$WORK/epub.css" -M identifier="urn:uuid:6d0a2f4e-5b6c-5f0a-9a55-0f1d7c9e4b11" \
    --epub-chapter-level=2 "$WORK/front.md" "$WORK/book.md" && mv "$WORK/prodml.epub" "$BOOK/prodml.epub" && echo "  $BOOK/prodml.epub"
}

pdf() {
  local b here
  b=$(browser)
  [ -n "$b" ] || { echo "  skipped the PDF: no chromium (apt install chromium-headless-shell, brew install --cask google-chrome)"; return; }
  here=$(pwd)
  echo '$body$' > "$WORK/body.html"
  pandoc_one "$WORK/front.html" -t html5 --template="$WORK/body.html" "$WORK/front.md" || return 1
  pandoc_one "$WORK/print.html" -t html5 --self-contained --template=tests/book_one.html -V front="$(cat "$WORK/front.html")" \
    -c tests/book.css -c tests/book_one.css -M date="version $VERSION" "$WORK/book.md" || return 1
  # On paper nothing can be unfolded.
  sed 's/<details>/<details open="open">/' "$WORK/print.html" > "$WORK/paper.html"
  case $WORK in /*) here="" ;; *) here=$here/ ;; esac
  "$b" --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync \
    --no-pdf-header-footer --user-data-dir="$here$WORK/profile" --print-to-pdf="$here$WORK/prodml.pdf" "file://$here$WORK/paper.html" > "$WORK/pdf.log" 2>&1
  if [ -s "$WORK/prodml.pdf" ]; then mv "$WORK/prodml.pdf" "$BOOK/prodml.pdf" && echo "  $BOOK/prodml.pdf"
  else echo "  the PDF failed, see $BOOK/pdf.log"; cp "$WORK/pdf.log" "$BOOK/pdf.log"; return 1; fi
}

[ -n "$(pages)" ] || { echo "no reading pages yet in notes/: make build, then run the lessons"; exit 1; }
index || exit 1
path || exit 1
[ "${1:-}" = --index ] && exit 0
if ! command -v pandoc > /dev/null || ! command -v python3 > /dev/null; then
  echo "  skipped the book: pandoc or python3 is missing (apt install pandoc python3, brew install pandoc python)"
  exit 0
fi
rm -rf "$WORK"
mkdir -p "$WORK/html" "$WORK/diagrams/paper" || exit 1
python3 tests/book_header.py "$WORK/html" && mv "$WORK/html/sources.md" "$WORK/html/facts.txt" "$WORK" || exit 1
for f in diagrams/*.svg; do
  cp "$f" "$WORK/diagrams/" && python3 tests/book_paper.py "$f" "$WORK/diagrams/paper/$(basename "$f")" || exit 1
done
gather > "$WORK/book.md" && front_one > "$WORK/front.md" || exit 1
status=0
html || status=1
epub || status=1
pdf || status=1
[ $status -eq 0 ] && rm -rf "$WORK"
exit $status
