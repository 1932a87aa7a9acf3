#!/bin/bash
# The promise of README: the header, a model and the main.c printed there, alone in an
# empty folder, generate text.  And two source files with PRODML_EXTERN link.
set -u
cd "$(dirname "$0")/.." || exit 1
DIR=$(mktemp -d) || exit 1
trap 'rm -rf "$DIR"' EXIT
failed=0
ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }

cp prodml.h "$DIR/"
cp lessons/models/tutor.gguf "$DIR/" 2> /dev/null || { no "lessons/models/tutor.gguf is absent"; exit 1; }
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md > "$DIR/main.c"
grep -q pml_chat_once "$DIR/main.c" || no "README.md holds no main.c"
line=$(grep -m1 -E '^cc -O2 main.c' README.md | sed 's/ && .*//; s/^cc //')
cd "$DIR" || exit 1
for cc in "${GCC:-gcc}" "${CLANG:-clang}"; do
  command -v "$cc" > /dev/null || { echo "skipped $cc is not installed"; continue; }
  if $cc -Wall -Wextra $line > log 2>&1 && [ ! -s log ]; then
    answer=$(./main)
    case $answer in "A KV cache "*) ok "$cc $line: $answer" ;; *) no "$cc $line answers '$answer'" ;; esac
  else no "$cc $line: $(head -n 3 log)"; fi
done

# The quick start in the header's manual is the same program.
awk '/^   QUICK START/ { on = 1 } /^       cc -O2 main.c/ { on = 0 } on && /^       / { sub(/^       /, ""); print }' prodml.h > quick.c
strip() { sed -E 's%//.*%%; s/[[:space:]]//g' "$1" | grep -v '^$'; }
if [ "$(strip quick.c)" = "$(strip main.c)" ]; then ok "the manual's quick start is README's main.c"; else no "the manual's quick start and README's main.c differ"; fi

cat > a.c << 'C'
#define PRODML_EXTERN
#define PRODML_IMPLEMENTATION
#include "prodml.h"
C
cat > b.c << 'C'
#define PRODML_EXTERN
#include "prodml.h"
int main(void) {
  pml_model *m;
  if (pml_model_open(&m, "tutor.gguf", NULL) != PML_OK) return 1;
  printf("%d layers\n", m->cfg.n_layers);
  pml_model_close(m);
  return 0;
}
C
if "${GCC:-gcc}" -O1 -Wall -Wextra -Werror a.c b.c -o two -lm -pthread > log 2>&1 && ./two | grep -q layers; then ok "two source files with PRODML_EXTERN"; else no "two source files: $(head -n 3 log)"; fi
exit $failed
