#!/bin/bash
# Every tokenizer against a current llama.cpp (node-llama-cpp): small vocabularies made for
# the purpose, 1,400 nasty texts, equal ids for every name of a cutting rule that it knows.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
DIR=$OUT/peer_tokenizers
CC=${CC:-cc}
failed=0

if ! command -v node > /dev/null || [ ! -d tests/node_modules/node-llama-cpp ] || [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "skipped node-llama-cpp is not installed (./build.sh --setup)"
  exit 0
fi
mkdir -p "$DIR"
rm -f "$DIR"/*
"$CC" -O2 -w -std=c11 -I. tests/prodml_impl.c tests/tokenize_cases.c -o "$DIR/tokenize_cases" -lm -pthread ||
  { echo "FAILED tokenize_cases does not compile"; exit 1; }

# Two names are ours alone or end the peer: gpt2 is another spelling of gpt-2; whitespace
# stops it at the first double space.
names=$("$DIR/tokenize_cases" --names | grep -vx -e gpt2 -e whitespace | tr '\n' ' ')
# shellcheck disable=SC2086
python3 tests/make_vocab.py "$DIR" $names || { echo "FAILED make_vocab.py"; exit 1; }
case $DIR in /*) here=$DIR ;; *) here=$PWD/$DIR ;; esac
peer() { (cd tests && node peer_tokenize.mjs "$@" 2> "$here/peer.err") || tail -n 1 "$here/peer.err"; }
peer "$here/cases.txt" "$here"/bpe-*.gguf "$here"/spm-*.gguf "$here"/unigram-*.gguf
peer "$here/cases-wordpiece.txt" "$here"/wordpiece-*.gguf

n=0
for vocab in "$DIR"/*.gguf; do
  cases=$DIR/cases.txt
  case $vocab in *wordpiece*) cases=$DIR/cases-wordpiece.txt ;; esac
  name=$(basename "$vocab" .gguf)
  [ -s "$vocab.peer" ] || { echo "FAILED $name: the peer gave nothing"; failed=1; continue; }
  "$DIR/tokenize_cases" "$vocab" "$cases" > "$vocab.ours" || { echo "FAILED $name"; failed=1; continue; }
  differ=$(diff "$vocab.ours" "$vocab.peer" | grep -c '^<')
  if [ "$differ" -eq 0 ]; then n=$((n + 1)); else echo "FAILED $name: $differ texts have other ids"; failed=1; fi
done
if [ "$n" -ge 90 ]; then
  echo "ok $n vocabularies, $(wc -l < "$DIR/bpe-qwen2.gguf.ours") texts each: the same ids as llama.cpp"
else echo "FAILED only $n vocabularies agree"; failed=1; fi
exit "$failed"
