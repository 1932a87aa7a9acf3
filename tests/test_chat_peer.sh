#!/bin/bash
# The texts in tests/chat_formats.json, which test_chat.c holds us to, are what the templates give
# when @huggingface/jinja runs them; and most are what llama.cpp makes of them.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0
ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }
if ! command -v node > /dev/null || [ ! -d tests/node_modules/@huggingface/jinja ]; then
  echo "skipped @huggingface/jinja is not installed (./build.sh --setup)"
  exit 0
fi
said=$(cd tests && node chat_peer.mjs chat_formats.json 2>&1) && ok "templates: $said" || no "templates: $said"
lib=$(ls -d tests/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64 2> /dev/null)
if [ -z "$lib" ] || [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "skipped llama.cpp's library is not installed"
else
  said=$(python3 tests/chat_llama.py "$lib" tests/chat_formats.json 70 2>&1) && ok "llama.cpp: $said" || no "llama.cpp: $said"
fi
exit $failed
