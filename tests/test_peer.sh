#!/bin/bash
# The same files through llama.cpp (node-llama-cpp) and through us: equal tokens, equal
# probabilities; and tokenizer cases that llama.cpp publishes.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
SHARED=${PRODML_SHARED:-../shared}
VOCAB=$SHARED/data/ggml-vocab-gpt-2.gguf
DIR=$OUT/peer
failed=0
mkdir -p "$DIR"
make --no-print-directory -s "$OUT/apr" || { echo "FAILED apr does not compile"; exit 1; }

ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }

tokenizer_cases() {
  local n=0 bad=0 i
  python3 - "$VOCAB" "$DIR" << 'PY'
import sys
text = open(sys.argv[1] + '.inp', 'rb').read().split(b'\n__ggml_vocab_test__\n')
ids = open(sys.argv[1] + '.out').read().split('\n')
for i, t in enumerate(text):
    open(f'{sys.argv[2]}/case{i}.txt', 'wb').write(t)
    open(f'{sys.argv[2]}/case{i}.ids', 'w').write(ids[i].strip() if i < len(ids) else '')
PY
  for i in "$DIR"/case*.txt; do
    n=$((n + 1))
    if [ "$("$OUT/apr" tokenize "$VOCAB" < "$i" | sed 's/ *$//')" != "$(cat "${i%.txt}.ids")" ]; then
      bad=$((bad + 1))
      echo "  case $i differs"
    fi
  done
  if [ "$n" -gt 40 ] && [ "$bad" -eq 0 ]; then ok "$n published GPT-2 tokenizer cases"; else no "$bad of $n tokenizer cases"; fi
}

# FILE IDS N LIMIT: greedy tokens (N > 0) and the ten best log-probabilities.
same_as_peer() {
  local name=$1 file=$2 ids=$3 n=$4 limit=$5 ours peer
  (cd tests && node peer.mjs "$file" --ids "$ids" -n "$n" --probs 10) > "$DIR/$name.peer" 2> "$DIR/$name.err" ||
    { no "$name: the peer: $(tail -n 1 "$DIR/$name.err")"; return; }
  "$OUT/apr" trace "$file" --ids "$ids" --dump-logits "$DIR/$name.f32" > /dev/null || { no "$name: apr trace"; return; }
  ours=$(python3 tests/peer_compare.py "$DIR/$name.f32" "$DIR/$name.peer" "$limit") && ok "$name: $ours" || no "$name: $ours"
  [ "$n" -gt 0 ] || return
  peer=$(tail -n 1 "$DIR/$name.peer")
  ours=$("$OUT/apr" run "$file" --ids "$ids" --max-tokens "$n" --ignore-eos --print-ids --quiet)
  if [ "$ours" = "$peer" ]; then ok "$name: the same $n greedy tokens"; else no "$name: tokens $ours, the peer $peer"; fi
}

if [ -f "$VOCAB" ]; then tokenizer_cases; else echo "skipped $VOCAB is absent"; fi

if ! command -v node > /dev/null || [ ! -d tests/node_modules/node-llama-cpp ] || [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "skipped node-llama-cpp is not installed (./build.sh --setup)"
  exit "$failed"
fi
here=$PWD
case $DIR in /*) ;; *) DIR=$here/$DIR ;; esac

if [ -f "$VOCAB" ]; then
  for kind in "qwen2 f32" "qwen2 f16" "llama f16"; do
    set -- $kind
    [ -f "$DIR/tiny-$1-$2.gguf" ] || python3 tests/make_gguf.py "$DIR/tiny-$1-$2.gguf" --arch "$1" --type "$2" --vocab "$VOCAB" > /dev/null
    same_as_peer "tiny-$1-$2" "$DIR/tiny-$1-$2.gguf" 1,2,3,464,2068 16 0.05
  done
  if [ "$(df -Pk "$DIR" | awk 'NR==2 {print $4}')" -gt 3000000 ]; then
    [ -f "$DIR/q05b-f16.gguf" ] || python3 tests/make_gguf.py "$DIR/q05b-f16.gguf" --preset 0.5b --type f16 --vocab "$VOCAB" --pad-vocab > /dev/null
    same_as_peer "qwen2.5-0.5b-shape-f16" "$DIR/q05b-f16.gguf" 5000,40000,22,198 8 0.05
  else
    echo "skipped not enough disk space for a 1 GB model"
  fi
fi

# What we wrote ourselves, read by the peer: the same answers.
for model in tutor teacher draft; do
  file=$here/lessons/models/$model.gguf
  [ -f "$file" ] || { echo "skipped lessons/models/$model.gguf is absent"; continue; }
  for q in "What is a KV cache?" "Why is decoding bound by memory?" "how does rope encode positions"; do
    ids=$("$OUT/apr" tokenize "$file" --special -p "<|im_start|>user
$q<|im_end|>
<|im_start|>assistant
" | tr ' ' ',')
    same_as_peer "$model" "$file" "$ids" 24 0.05
  done
done
exit "$failed"
