#!/bin/bash
# Ten megabytes of mixed text, the vocabularies of GPT-2 and Llama 2, llama.cpp and us in one
# run, seconds of the processor: tests/bench_tokenizer.sh [RUNS]
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
SHARED=${PRODML_SHARED:-../shared}
DIR=$OUT/bench/tokenizer
RUNS=${1:-3}
mkdir -p "$DIR"
python3 - "$DIR/mixed.txt" << 'PY'
import glob, random, sys
rng = random.Random(5)
files = [open(f, encoding='utf8').read() for f in ['prodml.h'] + sorted(
    glob.glob('lessons/*.c') + glob.glob('lessons/data/*.txt') + glob.glob('notes/*.md'))]
lines = ['нещо на Български език', '今天天气很好，我们去公园散步吧。', '日本語の文章を分割する。', '한국어 텍스트도 조금', 'مرحبا بالعالم',
         'नमस्ते दुनिया', 'ภาษาไทยไม่มีช่องว่าง', 'Fußgängerübergänge überqueren', 'déjà vu façade naïve', '🚀 (normal) 😶‍🌫️ ✅']
out, n = [], 0
while n < 10_000_000:
    text = rng.choice(files)
    at = rng.randrange(max(1, len(text) - 3000))
    part = text[at:at + rng.randint(300, 3000)] + '\n' + ' '.join(rng.choice(lines) for _ in range(4)) + \
        ' %d %.4f\n' % (rng.getrandbits(60), rng.random())
    out.append(part)
    n += len(part.encode())
open(sys.argv[1], 'w', newline='').write(''.join(out))
PY
make --no-print-directory -s "$OUT/bench_tokenizer" || exit 1
case $DIR in /*) here=$DIR ;; *) here=$PWD/$DIR ;; esac
for name in gpt-2 llama-spm; do
  vocab=$SHARED/data/ggml-vocab-$name.gguf
  [ -f "$vocab" ] || { echo "skipped $vocab is absent"; continue; }
  ours=$("$OUT/bench_tokenizer" "$vocab" "$DIR/mixed.txt" "$RUNS") || exit 1
  echo "$name, ours:      $ours"
  if [ -d tests/node_modules/node-llama-cpp ]; then
    cp "$vocab" "$DIR/$name.gguf"
    peer=$(cd tests && node peer_tokenize.mjs --time "$here/mixed.txt" "$here/$name.gguf" 2> /dev/null | tail -n 1)
    echo "$name, llama.cpp: $peer"
    awk -v a="${peer%% *}" -v b="$(sed 's/.*median \([0-9.]*\) s.*/\1/' <<< "$ours")" 'BEGIN { if (b > 0) printf "  %.1f times as fast\n", a / b }'
  else echo "skipped node-llama-cpp is not installed (./build.sh --setup)"; fi
done
