#!/bin/bash
# Every model family with random weights (tests/make_gguf.py --families), through llama.cpp and
# through us: the same greedy tokens, and the best ten log-probabilities equal to LIMIT, for a short
# text and for one past the original context.  Then each feature is left out of the same weights:
# the answer must change, or the comparison would not have seen it.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
DIR=$OUT/families
case $DIR in /*) ;; *) DIR=$PWD/$DIR ;; esac
LIMIT=0.005 # f32 weights on both sides; llama.cpp's GELU goes through a table of f16
failed=0
mkdir -p "$DIR"
make --no-print-directory -s "$OUT/apr" || { echo "FAILED apr does not compile"; exit 1; }

ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }
ids() { # HOW-MANY
  awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "%s%d", i ? "," : "", (i * i * 7 + i * 13 + 5) % 507 }'
}
make_model() { # NAME ARGS…
  local name=$1
  shift
  [ -f "$DIR/$name.gguf" ] && [ "$DIR/$name.gguf" -nt tests/make_gguf.py ] && return
  python3 tests/make_gguf.py "$DIR/$name.gguf" --type f32 "$@" > /dev/null || no "make_gguf.py $*"
}
greedy() { # NAME TOKENS CTX N
  "$OUT/apr" run "$DIR/$1.gguf" --ids "$(ids "$2")" --ctx "$3" -n "$4" -t 1 --ignore-eos --print-ids --quiet
}

peer=""
if command -v node > /dev/null && [ -d tests/node_modules/node-llama-cpp ] && [ "$(uname -sm)" = "Linux x86_64" ]; then peer=yes
else echo "skipped node-llama-cpp is not installed (./build.sh --setup)"; fi

# NAME TOKENS CTX N
same_as_peer() {
  local label="$1, $2 tokens in a context of $3" ours theirs
  [ -n "$peer" ] || return
  (cd tests && node peer.mjs "$DIR/$1.gguf" --ids "$(ids "$2")" -n "$4" --ctx "$3" --probs 10 --kv f32 --threads 1) > "$DIR/$1.peer" 2> "$DIR/$1.err" ||
    { no "$label: the peer: $(tail -n 1 "$DIR/$1.err")"; return; }
  "$OUT/apr" trace "$DIR/$1.gguf" --ids "$(ids "$2")" --ctx "$3" -t 1 --dump-logits "$DIR/$1.f32" > /dev/null || { no "$label: apr trace"; return; }
  ours=$(python3 tests/peer_compare.py "$DIR/$1.f32" "$DIR/$1.peer" "$LIMIT") && ok "$label: $ours" || no "$label: $ours"
  theirs=$(tail -n 1 "$DIR/$1.peer")
  ours=$(greedy "$1" "$2" "$3" "$4")
  if [ "$ours" = "$theirs" ]; then ok "$label: the same $4 greedy tokens"; else no "$label: tokens $ours, the peer $theirs"; fi
}

# FAMILY FEATURE TOKENS CTX: without the feature other tokens come out.
matters() {
  local with without
  make_model "$1-without-$2" --family "$1" --without "$2"
  with=$(greedy "$1" "$3" "$4" 16)
  without=$(greedy "$1-without-$2" "$3" "$4" 16)
  rm -f "$DIR/$1-without-$2.gguf"
  if [ -z "$without" ]; then no "$1 without $2 does not run"
  elif [ "$with" != "$without" ]; then ok "$1: without $2 the answer is another"
  else no "$1: without $2 the answer is the same: this test cannot see it"; fi
}

python3 tests/make_gguf.py --families > "$DIR/list" || no "make_gguf.py --families"
while read -r family _; do
  make_model "$family" --family "$family"
  case $family in
    llama-yarn | qwen2-yarn | qwen3-yarn | llama31) same_as_peer "$family" 24 512 16; same_as_peer "$family" 300 512 8 ;;
    phi3-long) same_as_peer "$family" 24 512 16; same_as_peer "$family" 1100 2048 8 ;;
    phi4-mini) same_as_peer "$family" 24 512 16; same_as_peer "$family" 24 2048 16 ;;
    *) same_as_peer "$family" 150 256 16 ;;
  esac
done < "$DIR/list"

matters llama31 rope_freqs 100 256
matters llama-linear linear 24 256
matters llama-yarn yarn 100 256
matters llama-yarn gain 100 256
for f in attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down; do matters llama-bias $f 24 256; done
for f in attn_q attn_k attn_v; do matters qwen2 $f 24 256; done
matters qwen3 attn_q_norm 24 256
matters qwen3 attn_k_norm 24 256
matters qwen3-yarn yarn 100 256
for f in partial attn_q attn_k attn_v attn_output ffn_up ffn_down attn_norm output_norm output; do matters phi2 $f 24 256; done
matters phi3-long longrope 100 512
matters phi3-long longrope 100 2048
matters phi3-long gain 100 512
matters phi4-mini partial 100 512
if [ "$(greedy phi3-long 100 512 16)" != "$(greedy phi3-long 100 2048 16)" ]; then ok "phi3-long: a longer context takes the other factors"
else no "phi3-long: the length of the context changes nothing"; fi

# A window of 40.  llama.cpp reads the whole text for these families, whatever the file says.  But one
# layer knows positions only by their distance, so its last row after 100 tokens, which sees the last
# 40, is that of the last 40 alone.
for family in mistral qwen2 phi3; do
  make_model "$family-window" --family "$family" --layers 1 --window 40
  make_model "$family-whole" --family "$family" --layers 1
  tail40=$(ids 100 | tr ',' '\n' | tail -n 40 | paste -sd,)
  "$OUT/apr" trace "$DIR/$family-window.gguf" --ids "$(ids 100)" -t 1 --dump-logits "$DIR/window.f32" > /dev/null
  "$OUT/apr" trace "$DIR/$family-whole.gguf" --ids "$(ids 100)" -t 1 --dump-logits "$DIR/whole.f32" > /dev/null
  if cmp -s "$DIR/window.f32" "$DIR/whole.f32"; then no "$family: the window changes nothing"; else ok "$family: the window matters"; fi
  [ -n "$peer" ] || continue
  (cd tests && node peer.mjs "$DIR/$family-whole.gguf" --ids "$tail40" -n 1 --probs 10 --kv f32 --threads 1) > "$DIR/window.peer" 2> "$DIR/window.err" ||
    { no "$family, window: the peer: $(tail -n 1 "$DIR/window.err")"; continue; }
  said=$(python3 tests/peer_compare.py "$DIR/window.f32" "$DIR/window.peer" "$LIMIT") && ok "$family, window of 40 after 100 tokens: $said" ||
    no "$family, window: $said"
done
exit "$failed"
