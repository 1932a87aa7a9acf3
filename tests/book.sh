#!/bin/bash
# Makes the book of the reading pages: out/book/index.html, prodml.epub, prodml.pdf.
#   tests/book.sh            the index of the pages and the book
#   tests/book.sh --index    only notes/README.md
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

# One Markdown file: parts are chapters, lessons stand one level below them.
gather() {
  local f part last="" n
  n=$(pages | wc -l)
  cat << END
This book was written by the programs it describes. It has $((n)) lessons so far. Each one is a
small C program around a single header, \`prodml.h\`: the program ran, checked its own
claims, drew its diagram and wrote its page. The prose is the header's own, the code is
quoted from it, the output is what the program printed. Numbers are either computed, then
they are the same on every machine, or measured, then machine and date stand beside them.

Read a lesson with the header open and a terminal beside it. Every lesson compiles with
the one line it names and runs in seconds.
END
  for f in $(pages); do
    part=$(basename "$f" | cut -c1)
    if [ "$part" != "$last" ]; then
      printf '\n# Part %s · %s\n' "$part" "$(part_name "$part")"
      last=$part
    fi
    echo
    awk '/^```/ { code = !code } !code && /^#+ / { $0 = "#" $0 } { print }' "$f"
  done
}

pandoc_book() { # OUTPUT flags …
  local to=$1
  shift
  pandoc "$WORK/book.md" -f gfm+tex_math_dollars+attributes -s --mathml --toc --toc-depth=2 \
    --highlight-style=tests/book.theme --lua-filter=tests/book.lua --resource-path="notes:." \
    -M lang=en -M title="prodml.h" -M subtitle="One header, one production-ML course" "$@" -o "$to"
}

browser() {
  local b
  for b in chromium-headless-shell chromium google-chrome \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
    command -v "$b" > /dev/null && { echo "$b"; return; }
  done
}

html() {
  pandoc_book "$WORK/index.html" -t html5 --self-contained -c tests/book.css -M date="version $VERSION" -M prefix="../../" &&
    mv "$WORK/index.html" "$BOOK/index.html" && echo "  $BOOK/index.html"
}

epub() { # readers bring their own pages and know no @page boxes
  sed '/^@page/,$d' tests/book.css > "$WORK/epub.css"
  pandoc_book "$WORK/prodml.epub" -t epub3 --css "$WORK/epub.css" -M identifier="urn:uuid:6d0a2f4e-5b6c-5f0a-9a55-0f1d7c9e4b11" \
    --epub-chapter-level=2 && mv "$WORK/prodml.epub" "$BOOK/prodml.epub" && echo "  $BOOK/prodml.epub"
}

pdf() {
  local b here
  b=$(browser)
  [ -n "$b" ] || { echo "  skipped the PDF: no chromium (apt install chromium-headless-shell, brew install --cask google-chrome)"; return; }
  here=$(pwd)
  # On paper nothing can be unfolded.
  pandoc_book "$WORK/print.html" -t html5 --self-contained -c tests/book.css -M date="version $VERSION" || return 1
  sed 's/<details>/<details open="open">/' "$WORK/print.html" > "$WORK/paper.html"
  case $WORK in /*) here="" ;; *) here=$here/ ;; esac
  "$b" --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync \
    --no-pdf-header-footer --user-data-dir="$here$WORK/profile" --print-to-pdf="$here$WORK/prodml.pdf" "file://$here$WORK/paper.html" > "$WORK/pdf.log" 2>&1
  if [ -s "$WORK/prodml.pdf" ]; then mv "$WORK/prodml.pdf" "$BOOK/prodml.pdf" && echo "  $BOOK/prodml.pdf"
  else echo "  the PDF failed, see $BOOK/pdf.log"; cp "$WORK/pdf.log" "$BOOK/pdf.log"; return 1; fi
}

[ -n "$(pages)" ] || { echo "no reading pages yet in notes/: make build, then run the lessons"; exit 1; }
index || exit 1
[ "${1:-}" = --index ] && exit 0
if ! command -v pandoc > /dev/null; then
  echo "  skipped the book: pandoc is missing (apt install pandoc, brew install pandoc)"
  exit 0
fi
rm -rf "$WORK"
mkdir -p "$WORK" || exit 1
gather > "$WORK/book.md" || exit 1
status=0
html || status=1
epub || status=1
pdf || status=1
[ $status -eq 0 ] && rm -rf "$WORK"
exit $status
