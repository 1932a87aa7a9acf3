#!/bin/bash
# One command: installs what is missing, compiles, runs every lesson, writes diagrams,
# reading pages and the book from what they printed.  It can be run again at any time.
set -u
cd "$(dirname "$0")" || exit 1
OUT=${OUT:-out}

usage() {
  cat << 'EOF'
usage: ./build.sh             everything: set up, build, run the course, write the book
       ./build.sh --setup     only install what is missing (apt or brew)
       ./build.sh --help
Everything built goes to out/; diagrams/ and notes/ are written again.
EOF
}

# ── setup ───────────────────────────────────────────────────────────────────────────
# Compilers and the libraries that lessons may ask for; checkers; what makes the book.
apt_packages() {
  local major
  major=$(clang --version 2> /dev/null | sed -nE 's/.*version ([0-9]+).*/\1/p' | head -n 1)
  [ -n "$major" ] || major=$(apt-cache depends clang 2> /dev/null | sed -nE 's/.*Depends: clang-([0-9]+)$/\1/p' | head -n 1)
  echo gcc libc6-dev clang tcc musl-tools "libclang-rt-${major:-14}-dev" make git pkg-config libopenblas-dev libstb-dev libcjson-dev \
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user \
    wasi-libc "lld-${major:-14}" "libclang-rt-${major:-14}-dev-wasm32" \
    clang-tidy clang-format cppcheck valgrind gcovr tmux python3 unicode-data \
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user \
    pandoc librsvg2-bin libxml2-utils poppler-utils epubcheck chromium-headless-shell \
    fonts-inter fonts-jetbrains-mono fonts-lmodern
  [ -f tests/package.json ] || return 0
  command -v node > /dev/null || echo nodejs # other packages than Debian's bring them too
  command -v npm > /dev/null || echo npm
}
BREW_PACKAGES="llvm make coreutils pkg-config openblas cjson cppcheck clang-format gcovr tmux node pandoc librsvg
  libxml2 poppler epubcheck"

apt_missing() {
  local p
  for p in $(apt_packages); do
    dpkg-query -W -f '${Status}' "$p" 2> /dev/null | grep -q 'install ok installed' || echo "$p"
  done
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then DEBIAN_FRONTEND=noninteractive "$@"
  else sudo -n DEBIAN_FRONTEND=noninteractive "$@"; fi
}

setup_apt() {
  local missing unknown p
  missing=$(apt_missing)
  [ -z "$missing" ] && return 0
  echo "  missing: $(echo $missing)"
  if [ "$(id -u)" -ne 0 ] && ! { command -v sudo > /dev/null && sudo -n true 2> /dev/null; }; then
    echo "These packages have to be installed by an administrator:" >&2
    echo "  apt-get install --no-install-recommends $(echo $missing)" >&2
    return 1
  fi
  as_root apt-get -qq update || echo "  apt-get update failed, going on with the lists that are here" >&2
  missing=$(apt_missing) # the version of clang, and so of its run-time library, is known only now
  unknown=
  for p in $missing; do
    if ! apt-cache show "$p" > /dev/null 2>&1; then
      unknown="$unknown $p"
      missing=$(echo "$missing" | grep -vx "$p")
    fi
  done
  [ -n "$unknown" ] && echo "  this distribution has no$unknown: what needs it is skipped or says so" >&2
  # shellcheck disable=SC2086
  [ -z "$missing" ] || as_root apt-get -qq -y install --no-install-recommends $missing > /dev/null
}

setup_brew() {
  local p have missing=
  have=$(brew list --formula -1)
  for p in $BREW_PACKAGES; do echo "$have" | grep -qx "$p" || missing="$missing $p"; done
  # shellcheck disable=SC2086
  [ -z "$missing" ] || brew install $missing || return 1
  have=$(brew list --cask -1)
  for p in font-inter font-jetbrains-mono; do
    echo "$have" | grep -qx "$p" || brew install --cask "$p" || return 1
  done
}

# Peers that the tests compare with; tests/package.json pins them.  A lock file would name every
# platform's binary, so there is none.
setup_npm() {
  [ -f tests/package.json ] || return 0
  command -v npm > /dev/null || { echo "  npm is missing: the tests with its clients are skipped" >&2; return 0; }
  [ tests/node_modules/.package-lock.json -nt tests/package.json ] && return 0
  (cd tests && npm install --no-package-lock --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error \
    > /dev/null) || echo "  npm could not install the peers: the tests with them are skipped" >&2
}

setup() {
  if command -v apt-get > /dev/null && command -v dpkg-query > /dev/null; then setup_apt || return 1
  elif command -v brew > /dev/null; then setup_brew || return 1
  else
    echo "Neither apt nor brew is here.  Install what these Debian packages hold: $(apt_packages)" >&2
    return 1
  fi
  setup_npm
}

# ── the course ──────────────────────────────────────────────────────────────────────
cores() { getconf _NPROCESSORS_ONLN 2> /dev/null || echo 2; }

build() { make --no-print-directory -s -j "$(cores)" build; }

run_lessons() { tests/generate.sh; }

book() { bash tests/book.sh; }

step() { # N/M what function
  local t0=$SECONDS rc
  echo "[$1] $2"
  "$3"
  rc=$?
  if [ "$rc" -ne 0 ]; then
    echo "[$1] $2: failed after $((SECONDS - t0)) s" >&2
    exit 1
  fi
  echo "[$1] $2: done in $((SECONDS - t0)) s"
}

case ${1:-} in
  '') [ $# -eq 0 ] || { usage >&2; exit 2; } ;;
  --setup) step 1/1 "installing what is missing" setup; exit 0 ;;
  --help | -h) usage; exit 0 ;;
  *) echo "build.sh: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
esac

step 1/4 "installing what is missing" setup
step 2/4 "compiling the lessons and apr" build
step 3/4 "running the lessons; they write diagrams/ and notes/" run_lessons
step 4/4 "writing the book" book
cat << EOF

All done in $SECONDS s.  Look at
  $OUT/book/index.html       the course as a book (EPUB and PDF beside it)
  $OUT/book/prodml.h.html    the header as a linked text
  notes/README.md           the reading pages
  $OUT/apr --help            the command line: run, chat, inspect, bench …
  make help                 everything else
EOF
