#!/bin/bash
# § 4 and the NVIDIA driver: what is said when it is absent, broken, without a device, or there.
# The drivers are small libraries of our own, found through LD_LIBRARY_PATH.
set -u
cd "$(dirname "$0")/.." || exit 1
GCC=${GCC:-gcc}
[ "$(uname -s)" = Linux ] || { echo "skipped: the driver is asked on Linux only"; exit 0; }
DIR=$(mktemp -d) || exit 1
trap 'rm -rf "$DIR"' EXIT
failed=0
ok() { echo "ok $*"; }
no() { echo "FAILED $*"; failed=1; }
"$GCC" -std=c11 -O1 -I. tests/print_hardware.c -o "$DIR/probe" -lm -pthread || exit 1

cat > "$DIR/driver.c" << 'C'
#include <stddef.h>
#include <string.h>
#ifndef INIT
#define INIT 0
#endif
#ifndef COUNT
#define COUNT 2
#endif
int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuDriverGetVersion(int *v) { *v = 12040; return 0; }
int cuDeviceGetCount(int *n) { *n = COUNT; return 0; }
int cuDeviceGet(int *d, int i) { *d = 70 + i; return 0; }
int cuDeviceGetName(char *s, int n, int d) {
  if (d == 71) { memset(s, 'x', (size_t)n); return 0; } /* a name that does not end */
  strncpy(s, "NVIDIA  Test\n GPU", (size_t)n);
  return 0;
}
int cuDeviceGetAttribute(int *v, int what, int d) {
  (void)d;
  *v = what == 75 ? 9 : what == 76 ? 0 : what == 16 ? 132 : what == 36 ? 3201000 : what == 37 ? 6144 : -1;
  return what == FAILS;
}
#ifndef INCOMPLETE
int cuDeviceTotalMem_v2(size_t *n, int d) { *n = (size_t)141 << 30; return d < 70; }
#endif
C

# NAME, what the JSON must hold, flags of the driver
try() {
  local name=$1 want=$2 out rc
  shift 2
  mkdir -p "$DIR/lib"
  "$GCC" -w -shared -fPIC -DFAILS=-5 "$@" "$DIR/driver.c" -o "$DIR/lib/libcuda.so.1" || { no "$name: no driver"; return; }
  out=$(LD_LIBRARY_PATH=$DIR/lib "$DIR/probe" 2>&1)
  rc=$?
  if [ "$rc" -eq 0 ] && grep -qF -- "$want" <<< "$out"; then ok "$name"; else no "$name: status $rc, no '$want' in: $(grep -o '"gpu_state.*' <<< "$out" | head -c 300)"; fi
}

out=$(env -u LD_LIBRARY_PATH "$DIR/probe")
if grep -qE '"gpu_state":"(none: [a-zA-Z0-9 ().]+|[0-9]+ devices?)"' <<< "$out"; then ok "this machine: $(grep -o '"gpu_state":"[^"]*"' <<< "$out")"
else no "this machine"; fi
: > "$DIR/text"
mkdir "$DIR/lib" && cp "$DIR/text" "$DIR/lib/libcuda.so.1"
if LD_LIBRARY_PATH=$DIR/lib "$DIR/probe" | grep -qE '"gpu_state":"(none|[0-9])'; then ok "a file that is no library"; else no "a file that is no library"; fi
try "two devices" '"gpu_state":"2 devices"'
try "name, capability, memory, bandwidth" '{"name":"NVIDIA Test GPU","compute_capability":"9.0","memory":151397597184,"multiprocessors":132,"bandwidth":4916736000000}'
try "a name without an end is cut" '"name":"xxxxxxxxxx'
try "the driver's version" '"cuda":12040'
try "a driver without a device" '"gpu_state":"none: the NVIDIA driver has no device"' -DCOUNT=0
try "a negative count" '"gpu_state":"none: the NVIDIA driver has no device"' -DCOUNT=-3
try "a count beyond reason" '"gpu_state":"16 devices"' -DCOUNT=1000000
try "no device by error 100" 'none: the NVIDIA driver answers with error 100' -DINIT=100
try "the toolkit's stub, error 34" 'none: the NVIDIA driver answers with error 34' -DINIT=34
try "a driver that is too old" 'lacks a function' -DINCOMPLETE
try "a device that does not answer is left out" 'none: the NVIDIA driver has no device' -DFAILS=75
if "$GCC" -std=c11 -O1 -I. -static tests/print_hardware.c -o "$DIR/static" -lm -pthread > "$DIR/log" 2>&1; then
  if "$DIR/static" | grep -q '"gpu_state":"none: a static build'; then ok "a static build says so"; else no "a static build says so"; fi
  if [ -s "$DIR/log" ]; then no "a static build draws a warning: $(head -n 1 "$DIR/log")"; else ok "a static build draws no warning"; fi
else echo "skipped: no static libraries here"; fi
exit "$failed"
