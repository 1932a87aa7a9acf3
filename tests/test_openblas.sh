#!/bin/bash
# PRODML_USE_OPENBLAS: the training GEMM goes to OpenBLAS, inference and strict mode do not.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
CC=${CC:-cc}
flags=$(pkg-config --cflags --libs openblas 2> /dev/null) || flags=-lopenblas
# shellcheck disable=SC2086
echo '#include <cblas.h>' | "$CC" -x c -fsyntax-only $flags - 2> /dev/null ||
  { echo "skipped <cblas.h> is not installed (libopenblas-dev, openblas): ./build.sh --setup"; exit 0; }
mkdir -p "$OUT"
# shellcheck disable=SC2086
"$CC" -O2 -Wall -Wextra -Werror tests/openblas.c -o "$OUT/openblas" $flags -lm -pthread || exit 1
"$OUT/openblas" lessons/models/tutor.gguf
