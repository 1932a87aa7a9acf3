#!/bin/bash
# out/apr as a user meets it: help, statuses, bad input, Ctrl-C, pipes.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-out}
APR=$PWD/$OUT/apr
case $OUT in /*) APR=$OUT/apr ;; esac
DIR=$(mktemp -d) || exit 1
trap 'rm -rf "$DIR"' EXIT
failed=0
make --no-print-directory -s "$OUT/apr" || { echo "FAILED apr does not compile"; exit 1; }

ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }
check() { local name=$1; shift; if "$@"; then ok "$name"; else no "$name"; fi; }

# NAME STATUS TEXT CMD…: the command ends with STATUS, stderr holds TEXT, nothing crashes.
expect() {
  local name=$1 status=$2 text=$3 rc
  shift 3
  "$@" > "$DIR/out" 2> "$DIR/err" < /dev/null
  rc=$?
  if [ "$rc" -ne "$status" ]; then no "$name: status $rc, expected $status: $(head -c 200 "$DIR/err")"
  elif ! grep -aqF -- "$text" "$DIR/err"; then no "$name: stderr lacks '$text': $(head -c 200 "$DIR/err")"
  elif [ "$status" -ne 0 ] && [ "$(wc -l < "$DIR/err")" -gt 3 ] && [ -n "$text" ] && [ "$text" != "usage:" ]; then
    no "$name: more than a sentence on stderr"
  else ok "$name"; fi
}

# ── help and usage ──
expect "no command" 2 "usage:" "$APR"
expect "unknown command" 2 "no command 'dance'" "$APR" dance
check "--help" [ "$("$APR" --help | grep -c '^  [a-z]')" -ge 8 ]
for c in run chat tokenize inspect trace eval train bench hardware; do
  "$APR" $c --help > "$DIR/out" 2> "$DIR/err" && grep -q "^  $APR\|Example:" "$DIR/out" && [ ! -s "$DIR/err" ] && ok "$c --help" || no "$c --help"
  expect "$c: unknown flag" 2 "unknown option '--frobnicate'" "$APR" $c --frobnicate
done
expect "no model" 2 "which model" "$APR" run
expect "a number is needed" 2 "needs a number" "$APR" run x.gguf --max-tokens ten
expect "a value is needed" 2 "needs a value" "$APR" run x.gguf --seed

# ── a model to talk to ──
M=$DIR/tiny.gguf
"$APR" train --preset tiny --steps 20 -o "$M" --strict --quiet > "$DIR/train" 2>&1 || no "training a tiny model: $(tail -n 1 "$DIR/train")"
check "trained model opens" "$APR" inspect "$M" > /dev/null

# ── run ──
"$APR" run "$M" -p "What is a token?" --max-tokens 8 --quiet > "$DIR/a" 2> "$DIR/err"
check "run --quiet writes nothing to stderr" [ ! -s "$DIR/err" ]
check "run writes its text" [ -s "$DIR/a" ]
printf 'What is a token?' | "$APR" run "$M" --max-tokens 8 --quiet > "$DIR/b"
check "a prompt from stdin answers the same" cmp -s "$DIR/a" "$DIR/b"
"$APR" run "$M" -p "What is a token?" --max-tokens 8 --quiet --threads 1 > "$DIR/b"
check "one thread answers the same" cmp -s "$DIR/a" "$DIR/b"
for s in 1 2; do "$APR" run "$M" -p x --max-tokens 12 --temperature 1 --top-k 20 --top-p 0.9 --seed $s --ignore-eos --quiet --print-ids > "$DIR/s$s"; done
"$APR" run "$M" -p x --max-tokens 12 --temperature 1 --top-k 20 --top-p 0.9 --seed 1 --ignore-eos --quiet --print-ids > "$DIR/s3"
check "one seed, one text" cmp -s "$DIR/s1" "$DIR/s3"
check "another seed, another text" [ "$(cmp -s "$DIR/s1" "$DIR/s2"; echo $?)" = 1 ]
check "--max-tokens counts" [ "$(wc -w < "$DIR/s1")" = 12 ]

"$APR" run "$M" -p "What is a token?" --max-tokens 8 --quiet --chat-template chatml > "$DIR/b"
check "--chat-template with the file's own format answers the same" cmp -s "$DIR/a" "$DIR/b"
"$APR" run "$M" -p "What is a token?" --max-tokens 8 --quiet --chat-template alpaca > "$DIR/b"
check "another --chat-template answers otherwise" [ "$(cmp -s "$DIR/a" "$DIR/b"; echo $?)" = 1 ]
expect "--chat-template names a format" 2 "zephyr" "$APR" run "$M" -p x --chat-template klingon
check "inspect says what the model is" grep -q "RMSNorm, SwiGLU, QKV bias, head tied" <("$APR" inspect "$M")
check "inspect --output json says so too" python3 -c "import json,subprocess,sys; m=json.loads(subprocess.check_output([sys.argv[1],'inspect',sys.argv[2],'--output','json']))['model']; assert m['arch']=='qwen2' and m['rope']['scaling']=='none' and m['chat_format']=='chatml'" "$APR" "$M"
expect "trace: more tokens than --ctx" 1 "do not fit into --ctx 2" "$APR" trace "$M" --ids 1,2,3 --ctx 2
expect "--max-tokens 0" 2 "max-tokens" "$APR" run "$M" -p x --max-tokens 0
expect "--top-p 0" 1 "top-p" "$APR" run "$M" -p x --top-p 0 --temperature 1
expect "temperature below 0" 1 "temperature" "$APR" run "$M" -p x --temperature -1
expect "0 threads too many" 2 "threads" "$APR" run "$M" -p x --threads 9999
expect "an empty raw prompt" 1 "prompt is empty" "$APR" run "$M" -p "" --raw
expect "invalid UTF-8" 1 "not valid UTF-8" "$APR" run "$M" -p "$(printf '\xff\xfe')"
expect "a prompt longer than the context" 1 "context holds" "$APR" run "$M" --raw -p "$(head -c 20000 README.md | iconv -c -t ascii)"
expect "a context larger than the model's" 1 "trained for" "$APR" run "$M" -p x --ctx 1000000
expect "--ids and --prompt" 2 "exclude" "$APR" run "$M" -p x --ids 1
expect "a token outside the vocabulary" 1 "outside the vocabulary" "$APR" run "$M" --ids 99999999
expect "a full disk under stdout" 1 "stdout" bash -c "'$APR' run '$M' -p x --max-tokens 4 --quiet > /dev/full"

# ── files that are no model ──
: > "$DIR/empty.gguf"
head -c 3000 "$M" > "$DIR/cut.gguf"
head -c 100 README.md > "$DIR/text.gguf"
for c in "run -p x" inspect "tokenize -p x" "trace --ids 1" bench "eval --text README.md"; do
  set -- $c
  expect "$1: missing file" 1 "absent.gguf" "$APR" "$@" "$DIR/absent.gguf"
  expect "$1: empty file" 1 "empty.gguf" "$APR" "$@" "$DIR/empty.gguf"
  expect "$1: a directory" 1 "directory" "$APR" "$@" "$DIR"
  expect "$1: a cut file" 1 "cut.gguf" "$APR" "$@" "$DIR/cut.gguf"
  expect "$1: a text file" 1 "text.gguf" "$APR" "$@" "$DIR/text.gguf"
done

# ── tokenize ──
check "tokenize an empty text" [ -z "$(printf '' | "$APR" tokenize "$M")" ]
check "tokenize counts" [ "$("$APR" tokenize "$M" -p 'a b' --count)" -ge 2 ]
"$APR" tokenize "$M" -p "x <|im_end|>" > "$DIR/a"
"$APR" tokenize "$M" -p "x <|im_end|>" --special > "$DIR/b"
check "control tokens only with --special" [ "$(wc -w < "$DIR/a")" -gt "$(wc -w < "$DIR/b")" ]
check "tokenize --output json" python3 -c "import json,subprocess,sys; d=json.loads(subprocess.check_output([sys.argv[1],'tokenize',sys.argv[2],'-p','a \"quoted\" é','--output','json'])); assert len(d['ids'])==len(d['pieces'])>0" "$APR" "$M"
expect "tokenize --bos without one" 1 "" "$APR" tokenize "$M" -p x --bos

# ── trace, eval, bench ──
"$APR" trace "$M" --ids 1,2,3,4,5 --dump-logits "$DIR/l0" --strict --threads 1 > "$DIR/trace"
check "trace lists layers" grep -q attention "$DIR/trace"
for v in scalar avx2 avx512 neon; do
  if ! PML_CPU=$v "$APR" trace "$M" --ids 1,2,3,4,5 --dump-logits "$DIR/l1" --strict --threads 3 > /dev/null 2> "$DIR/err"; then
    check "PML_CPU=$v is refused with a sentence" grep -q "cannot run $v kernels" "$DIR/err"
    continue
  fi
  check "strict logits are the same bytes with $v" cmp -s "$DIR/l0" "$DIR/l1"
done
"$APR" trace "$M" --ids 1,2,3,4,5 --dump-logits "$DIR/l1" > /dev/null
check "default and strict logits differ by rounding only" python3 -c "
import array,sys
a,b=array.array('f'),array.array('f')
a.frombytes(open(sys.argv[1],'rb').read()); b.frombytes(open(sys.argv[2],'rb').read())
assert len(a)==len(b)>0 and max(abs(x-y) for x,y in zip(a,b))<1e-3" "$DIR/l0" "$DIR/l1"
check "trace --output json" python3 -c "import json,subprocess,sys; d=json.loads(subprocess.check_output([sys.argv[1],'trace',sys.argv[2],'--ids','1,2','--output','json'])); assert len(d['top'])==10 and d['spans']" "$APR" "$M"
expect "trace: a full disk" 1 "/dev/full" "$APR" trace "$M" --ids 1 --dump-logits /dev/full
expect "trace: bad ids" 1 "--ids" "$APR" trace "$M" --ids 1,x
check "eval --text" python3 -c "import json,subprocess,sys; d=json.loads(subprocess.check_output([sys.argv[1],'eval',sys.argv[2],'--text','LICENSE','--output','json'])); assert d['perplexity']>1" "$APR" "$M"
expect "eval: an empty text" 1 "at least two" "$APR" eval "$M" --text "$DIR/empty.gguf"
expect "eval: neither" 2 "give --text or --qa" "$APR" eval "$M"
check "bench --output json" python3 -c "import json,subprocess,sys; d=json.loads(subprocess.check_output([sys.argv[1],'bench',sys.argv[2],'-p','16','-n','8','-t','2','-r','2','--output','json'])); assert min(d[k] for k in ('pp_tok_s','tg_tok_s','read_gb_s','tg_share_of_limit','pp_share_of_limit'))>0" "$APR" "$M"
expect "bench: nothing to measure" 1 "benchmark" "$APR" bench "$M" -p 0 -n 0

# ── hardware ──
"$APR" hardware > "$DIR/out" 2> "$DIR/err"
check "hardware names the processor and the memory" grep -q '^memory ' "$DIR/out"
check "hardware --features explains them" grep -qE '^(avx2|neon|simd128) ' <("$APR" hardware --features)
check "hardware --output json" python3 -c "
import json,os,subprocess,sys
d=json.loads(subprocess.check_output([sys.argv[1],'hardware','--output','json']))
h=d['hardware']
assert h['usable']>=1 and h['allowed']==len(os.sched_getaffinity(0)) and 0<h['ram']<=os.sysconf('SC_PHYS_PAGES')*os.sysconf('SC_PAGE_SIZE')
assert 'measured' not in d and d['provenance']['hardware']['cpu']==h['model']" "$APR"
expect "PML_CPU with an unknown word" 1 "'fast' is no kernel level" env PML_CPU=fast "$APR" hardware
expect "PML_CPU with what is missing" 1 "cannot run simd128 kernels" env PML_CPU=simd128 "$APR" hardware
expect "PML_CPU is refused before a model is opened" 1 "cannot run simd128 kernels" env PML_CPU=simd128 "$APR" run "$M" -p x
check "PML_CPU=scalar is obeyed" grep -q '^kernels     scalar' <(PML_CPU=scalar "$APR" hardware)

# ── chat ──
printf '/help\nhello\n/stats\n/history\n/undo\n/history\n/nonsense\n\n/exit\n' | "$APR" chat "$M" --max-tokens 6 > "$DIR/chat" 2>&1
check "chat runs a script of commands" grep -q 'There is no /nonsense' "$DIR/chat"
check "chat keeps and undoes turns" [ "$(grep -c '^\(> \)\?user: hello' "$DIR/chat")" = 1 ]
printf 'hello' | "$APR" chat "$M" --max-tokens 3 --quiet > "$DIR/chat" 2>&1
check "chat answers a last line without a newline" [ $? = 0 ]

# ── training is interrupted and goes on ──
"$APR" train --preset tiny --steps 3000 -o "$DIR/t.gguf" --strict --quiet > /dev/null 2> "$DIR/err" &
pid=$!
sleep 3
kill -INT $pid
wait $pid
rc=$?
check "Ctrl-C ends training with 130" [ "$rc" = 130 ]
check "the checkpoint is kept and named" [ -s "$DIR/t.gguf.checkpoint" ]
check "the sentence says how to go on" grep -q -- "--resume" "$DIR/err"
expect "a checkpoint of another run is refused" 1 "checkpoint" "$APR" train --preset tiny --steps 50 --seed 7 --resume -o "$DIR/t.gguf" --strict --quiet
expect "training on a folder without data" 1 "$DIR" "$APR" train --preset tiny --data "$DIR" -o "$DIR/x.gguf" --quiet
expect "training into a folder that is not there" 1 "nowhere" "$APR" train --preset tiny --steps 2 -o "$DIR/nowhere/x.gguf" --quiet
expect "an unknown preset" 1 "preset" "$APR" train --preset giant -o "$DIR/x.gguf"
exit "$failed"
