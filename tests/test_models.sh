#!/bin/bash
# The shipped models: what notes/models.md says they know is what they answer now, the
# tutor knows enough, the files are small enough, and they carry their provenance.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
failed=0
ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }
make --no-print-directory -s "$OUT/apr" || { echo "FAILED apr does not compile"; exit 1; }

if tests/models_note.sh --check; then ok "notes/models.md is what the models answer"; else no "notes/models.md differs from $OUT/models.md"; fi
row=$(grep '^| `tutor.gguf` | [0-9]' "$OUT/models.md")
# shellcheck disable=SC2046
set -- $(grep -oE '[0-9]+ of [0-9]+' <<< "$row" | tr -d of)
if [ $# -eq 4 ] && [ $(($1 * 100)) -ge $(($2 * 75)) ]; then ok "tutor: $1 of $2 held-out questions, at least 75 %"; else no "tutor: ${1:-?} of ${2:-?} held-out questions"; fi
if [ $# -eq 4 ] && [ "$1" -gt "$3" ]; then ok "tutor: above the BM25 control, $3"; else no "tutor: ${1:-?} against ${3:-?} of BM25"; fi
bytes=$(cat lessons/models/*.gguf | wc -c)
if [ "$bytes" -le 24000000 ]; then ok "lessons/models holds $bytes bytes"; else no "lessons/models holds $bytes bytes, 24000000 allowed"; fi
params() { sed -nE "s/^\| .$1.gguf. \| ([0-9]+) .*/\1/p" "$OUT/models.md"; }
if [ $((10 * $(params draft))) -le "$(params teacher)" ]; then ok "the draft is at most a tenth of the teacher"; else no "draft $(params draft), teacher $(params teacher)"; fi
data=$("$OUT/apr" inspect lessons/models/tutor.gguf --output json | sed -nE 's/.*"prodml.data_sha256":"([0-9a-f]{64})".*/\1/p')
now=$("$OUT/apr" train --preset tiny --steps 1 --quiet -o "$OUT/one.gguf" | sed -n 's/^data //p')
if [ -n "$data" ] && [ "$data" = "$now" ]; then ok "the models were trained on the data that is here"; else no "data $now, the tutor was trained on $data"; fi
answer=$("$OUT/apr" run lessons/models/tutor.gguf -p "What is a KV cache?" --quiet --strict)
case $answer in "A KV cache keeps"*) ok "tutor: $answer" ;; *) no "tutor: $answer" ;; esac
exit $failed
