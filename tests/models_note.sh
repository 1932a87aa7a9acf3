#!/bin/bash
# Writes notes/models.md: what each shipped model knows, asked in strict mode.
#   tests/models_note.sh            writes the page (make models does it)
#   tests/models_note.sh --check    compares the committed page with what the models answer
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
page=notes/models.md
new=$OUT/models.md
APR=$OUT/apr
field() { sed -nE "s/.*\"$1\":(\"([^\"]*)\"|([0-9.]+)).*/\2\3/p"; }
pct() { awk -v x="$1" 'BEGIN { printf "%.1f %%", 100 * x }'; }

{
  echo "# The models in the box"
  echo
  echo "Three models of the Qwen2 architecture, trained by this header in strict mode on the questions and answers in"
  echo "[lessons/data](../lessons/data). They know this course and nothing else. \`make models\` trains them again, byte for"
  echo "byte; \`make models-verify\` proves it."
  echo
  echo "Each topic has one answer, at least 16 taught phrasings of its question, and at least 2 held-out ones. A held-out"
  echo "phrasing was never trained on and shares at most half of its content words with any single taught phrasing. An"
  echo "answer counts as right when it equals the taught one after lower-casing and joining white space."
  echo
  echo "| model | parameters | shape | held-out questions right | BM25, nearest taught question | perplexity of the answers |"
  echo "|---|---:|---|---:|---:|---:|"
  for m in tutor teacher draft; do
    file=lessons/models/$m.gguf
    [ -f "$file" ] || { echo "no $file: make models" >&2; exit 1; }
    eval_json=$("$APR" eval "$file" --qa lessons/data --strict --output json) || exit 1
    params=$("$APR" inspect "$file" | sed -nE 's/.* ([0-9]+) parameters.*/\1/p')
    get() { "$APR" inspect "$file" | awk -v k="$1" '$1 == k { print $2 }'; }
    shape="d $(get qwen2.embedding_length), $(get qwen2.block_count) layers, $(get qwen2.attention.head_count) heads, $(get qwen2.attention.head_count_kv) kv, f $(get qwen2.feed_forward_length)"
    n=$(field questions <<< "$eval_json")
    echo "| \`$m.gguf\` | $params | $shape | $(field right <<< "$eval_json") of $n, $(pct "$(field share <<< "$eval_json")") | $(field bm25_right <<< "$eval_json") of $n, $(pct "$(field bm25_share <<< "$eval_json")") | $(field perplexity <<< "$eval_json") |"
  done
  echo
  echo "The shape and the length of the training were chosen by this same figure, so it is a validation result: expect a"
  echo "little less on questions that nobody has asked yet."
  echo
  echo "The control is a search: BM25 over all taught phrasings answers with the topic of the nearest one. It never writes a"
  echo "wrong word, and it cannot answer with anything but a stored text."
  echo
  echo "| file | remade by | seed | SHA-256 of the data |"
  echo "|---|---|---:|---|"
  for m in tutor teacher draft; do
    "$APR" inspect "lessons/models/$m.gguf" --output json | python3 -c "
import json, sys
k = json.load(sys.stdin)['metadata']
print('| \`$m.gguf\` | \`%s\` | %s | \`%s\` |' % tuple(k['prodml.' + f] for f in ('command', 'seed', 'data_sha256')))"
  done
} > "$new" || exit 1
if [ "${1:-}" = --check ]; then cmp -s "$new" "$page"; else cp "$new" "$page"; fi
