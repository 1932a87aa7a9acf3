#!/bin/bash
# The plain and the blocked way are what a comparison takes as "no vectors".  Compiled with everything a
# compiler can do, no instruction in them may multiply or add more than one number.
set -u
cd "$(dirname "$0")/.." || exit 1
command -v objdump > /dev/null || { echo "skipped objdump is absent (apt install binutils)"; exit 0; }
[ "$(uname -m)" = x86_64 ] || { echo "skipped the names of instructions are known for x86-64 only"; exit 0; }
DIR=$(mktemp -d) || exit 1
trap 'rm -rf "$DIR"' EXIT
cat > "$DIR/plain.c" << 'C'
#define PRODML_IMPLEMENTATION
#include "prodml.h"
static __attribute__((noinline)) void vectors(float *y, const float *x, size_t n) { for (size_t i = 0; i < n; i++) y[i] += x[i]; }
int main(int argc, char **argv) {
  static float a[64], b[64], c[64];
  void (*volatile keep[])(float *, const float *, size_t) = {vectors, pml_add_plain};
  float (*volatile dot)(const float *, const float *, size_t) = pml_dot_plain;
  keep[argc > 1](c, a, 64);
  pml_gemm_by((pml_way)(argc > 2 ? atoi(argv[1]) : 0), c, a, b, argc + 6, argc + 7, argc + 8);
  return (int)dot(a, b, 64);
}
C
packed='\b(v?(add|sub|mul)ps|v?f(n?m)(add|sub)[0-9a-z]*ps)\b'
rc=0
for cc in "${GCC:-gcc}" "${CLANG:-clang}"; do
  "$cc" -O3 -march=native -I. "$DIR/plain.c" -o "$DIR/plain" -lm -pthread || { echo "FAILED $cc"; rc=1; continue; }
  for f in vectors pml_add_plain pml_dot_plain pml__gemm_loops pml__gemm_alone; do # a compiler may copy f as f.constprop.0
    objdump -d --no-show-raw-insn "$DIR/plain" | awk -v f="$f" '/^[0-9a-f]+ </ { on = index($0, "<" f ">") || index($0, "<" f ".") } on' > "$DIR/$f.s"
    sums=$(grep -cE '\bv?(add|mul|fn?madd[0-9]*)ss\b' "$DIR/$f.s")
    wide=$(grep -cE "$packed" "$DIR/$f.s")
    if [ "$f" = vectors ]; then # the control: an ordinary loop is vectorised, and the pattern sees it
      if [ "$wide" -gt 0 ]; then echo "ok $cc: an ordinary loop has $wide wide instructions"
      else echo "FAILED $cc: the control has no wide instruction"; rc=1; fi
    elif [ "$wide" -eq 0 ] && [ "$sums" -gt 0 ]; then echo "ok $cc: $f, $sums products and sums of one number"
    else echo "FAILED $cc: $f has $wide wide and $sums single products and sums"; rc=1; fi
  done
done
exit $rc
