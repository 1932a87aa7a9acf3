/* § 4 and the peaks of § 48: this machine against what its own tools say, and other machines
   from recorded files: small trees of /proc and /sys below a directory of our own, and rows of CPUID. */
#include "prodml.h"
#include "test.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[256];
static pml_hardware hw;

/* ── recorded machines ────────────────────────────────────────────────────── */

static void put(const char *path, const char *text) {
  char full[512];
  snprintf(full, sizeof full, "%s%s", root, path);
  for (char *s = full + strlen(root) + 1; (s = strchr(s, '/')) != NULL; *s++ = '/') {
    *s = 0;
    mkdir(full, 0755);
  }
  FILE *f = fopen(full, "w");
  if (f) fputs(text, f), fclose(f);
  CHECK_MSG(f != NULL, "%s", full);
}

static void put_number(const char *fmt, int cpu, int index, const char *text) {
  char path[256];
  snprintf(path, sizeof path, fmt, cpu, index);
  put(path, text);
}

static void clear_tree(void) {
  char cmd[640];
  snprintf(cmd, sizeof cmd, "rm -rf '%s' && mkdir '%s'", root, root);
  CHECK(system(cmd) == 0);
}

static void put_cache(int cpu, int index, const char *level, const char *type, const char *size, const char *ways, const char *shared) {
  static const char dir[] = "/sys/devices/system/cpu/cpu%d/cache/index%d/";
  const char *const files[][2] = {{"level", level}, {"type", type}, {"size", size}, {"ways_of_associativity", ways},
                                  {"shared_cpu_list", shared}, {"coherency_line_size", "64\n"}};
  for (int i = 0; i < 6; i++) {
    char fmt[128];
    snprintf(fmt, sizeof fmt, "%s%s", dir, files[i][0]);
    put_number(fmt, cpu, index, files[i][1]);
  }
}

/* Two sockets, four cores each, two threads a core: 16 threads; thread c+8 is the sibling of c. */
static void epyc_tree(void) {
  clear_tree();
  put("/sys/devices/system/cpu/online", "0-15\n");
  put("/sys/devices/system/node/online", "0-1\n");
  for (int c = 0; c < 16; c++) {
    char own[32], package[32];
    int core = c % 8, first = core / 4 * 4;
    snprintf(own, sizeof own, "%d,%d\n", core, core + 8);
    snprintf(package, sizeof package, "%d-%d,%d-%d\n", first, first + 3, first + 8, first + 11);
    put_number("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c, 0, own);
    put_number("/sys/devices/system/cpu/cpu%d/topology/core_siblings_list", c, 0, package);
    put_cache(c, 0, "1\n", "Data\n", "32K\n", "8\n", own);
    put_cache(c, 1, "1\n", "Instruction\n", "32K\n", "8\n", own);
    put_cache(c, 2, "2\n", "Unified\n", "1024K\n", "8\n", own);
    put_cache(c, 3, "3\n", "Unified\n", "32768K\n", "16\n", package);
  }
  put("/proc/meminfo", "MemTotal:       65536000 kB\nMemFree:  1 kB\nMemAvailable:   60000000 kB\nSwapTotal:       8388604 kB\n"
      "SwapFree:        8388600 kB\nHugePages_Total:      64\nHugePages_Free:       60\nHugepagesize:       2048 kB\n");
  put("/proc/self/status", "Name:\tx\nCpus_allowed:\tffff\nCpus_allowed_list:\t0-3,8-11\n");
  put("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
  put("/proc/self/cgroup", "0::/user.slice/app.service\n");
  put("/proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  put("/sys/fs/cgroup/user.slice/app.service/cpu.max", "max 100000\n");
  put("/sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n");
  put("/sys/fs/cgroup/user.slice/app.service/memory.max", "max\n");
  put("/sys/fs/cgroup/user.slice/app.service/memory.current", "123456789\n");
  put("/sys/fs/cgroup/user.slice/memory.max", "8589934592\n");
}

/* "AuthenticAMD", family 25, model 17, a 64-byte-register processor. */
static const pml_cpuid_row epyc_cpuid[] = {
    {0, 0, 16, 0x68747541, 0x444D4163, 0x69746E65}, {1, 0, 0x00A10F11, 0, 0x7EFA320B, 0x178BFBFF},
    {7, 0, 1, 0xF1BF97A9, 0x00405FCE, 0x10000010}, {7, 1, 0x20, 0, 0, 0},
    {0x80000002u, 0, 0x20444D41, 0x43595045, 0x34353920, 0x33312030},
    {0x80000003u, 0, 0x6F432D32, 0x50206572, 0x65636F72, 0x726F7373},
    {0x80000004u, 0, 0x20202020, 0x20202020, 0x20202020, 0x00202020},
    {0x8000001Du, 0, 0x00004121, 0x01C0003F, 63, 0}, {0x8000001Du, 1, 0x00004122, 0x01C0003F, 63, 0},
    {0x8000001Du, 2, 0x00004143, 0x01C0003F, 2047, 2}, {0x8000001Du, 3, 0x0003C163, 0x03C0003F, 32767, 1}};
static const pml_hardware_source epyc = {.root = root, .arch = "x86_64", .cpuid = epyc_cpuid,
                                         .n_cpuid = sizeof epyc_cpuid / sizeof epyc_cpuid[0], .xcr0 = 0xE7};

static bool has(pml_cpu_feature f) { return hw.features >> f & 1; }

static const pml_cache *find_cache(int level, char type, int skip) {
  for (int i = 0; i < hw.n_caches; i++)
    if (hw.cache[i].level == level && hw.cache[i].type == type && skip-- == 0) return &hw.cache[i];
  return NULL;
}

static bool cache_is(int level, char type, uint64_t bytes, int threads, int instances) {
  const pml_cache *c = find_cache(level, type, 0);
  return c && c->bytes == bytes && c->threads == threads && c->instances == instances && c->line == 64;
}

static void two_sockets(void) {
  TEST("two sockets with hyper-threads, a quota and a memory limit above the own directory");
  epyc_tree();
  pml_hardware_detect(&hw, &epyc);
  CHECK(hw.packages == 2 && hw.cores == 8 && hw.threads == 16 && hw.nodes == 2);
  CHECK_MSG(hw.allowed == 8 && hw.usable == 2 && fabs(hw.quota - 1.5) < 1e-9, "%d %d %g", hw.allowed, hw.usable, hw.quota);
  CHECK(hw.n_caches == 4 && cache_is(1, 'd', 32768, 2, 8) && cache_is(1, 'i', 32768, 2, 8));
  CHECK(cache_is(2, 'u', 1 << 20, 2, 8) && cache_is(3, 'u', 32 << 20, 8, 2) && find_cache(3, 'u', 0)->ways == 16);
  CHECK(hw.ram == 65536000ull * 1024 && hw.ram_available == 60000000ull * 1024);
  CHECK(hw.swap == 8388604ull * 1024 && hw.swap_free == 8388600ull * 1024);
  CHECK(hw.huge_page == 2 << 20 && hw.huge_pages == 64 && hw.huge_pages_free == 60 && !strcmp(hw.thp, "always"));
  CHECK(hw.memory_limit == 8589934592ull && hw.memory_used == 123456789);
  CHECK(!strcmp(hw.vendor, "AuthenticAMD") && !strcmp(hw.model, "AMD EPYC 9540 132-Core Processor"));
  CHECK_MSG(hw.family == 25 && hw.model_id == 17 && hw.stepping == 1, "%d %d %d", hw.family, hw.model_id, hw.stepping);
  CHECK(hw.level == PML_CPU_AVX512 && !hw.blocked && !*hw.hypervisor && !hw.container);
  CHECK(has(PML_FEATURE_SSE2) && has(PML_FEATURE_FMA) && has(PML_FEATURE_F16C) && has(PML_FEATURE_AVX512_VNNI) && has(PML_FEATURE_AVX512_BF16));
  CHECK(!has(PML_FEATURE_AVX_VNNI) && !has(PML_FEATURE_AVX512_FP16) && !has(PML_FEATURE_AMX_TILE) && !has(PML_FEATURE_NEON));
}

static void consent(void) {
  pml_hardware_source s = epyc;
  TEST("an operating system that does not save the wide registers");
  s.xcr0 = 7;
  pml_hardware_detect(&hw, &s);
  CHECK(hw.level == PML_CPU_AVX2 && has(PML_FEATURE_AVX2) && !has(PML_FEATURE_AVX512F));
  CHECK((hw.blocked >> PML_FEATURE_AVX512F & 1) && (hw.blocked >> PML_FEATURE_AVX512_VNNI & 1) && !(hw.blocked & hw.features));
  s.xcr0 = 3;
  pml_hardware_detect(&hw, &s);
  CHECK(hw.level == PML_CPU_SCALAR && has(PML_FEATURE_SSE4_2) && !has(PML_FEATURE_AVX) && !has(PML_FEATURE_FMA) && (hw.blocked >> PML_FEATURE_AVX & 1));
  TEST("an operating system that has not switched XGETBV on");
  pml_cpuid_row rows[16];
  memcpy(rows, epyc_cpuid, sizeof epyc_cpuid);
  rows[1].ecx &= ~(1u << 27);
  s.cpuid = rows;
  s.xcr0 = 0xE7;
  pml_hardware_detect(&hw, &s);
  CHECK(hw.level == PML_CPU_SCALAR && !has(PML_FEATURE_AVX) && has(PML_FEATURE_SSE2));
  TEST("AVX-512 without one of its parts is AVX2");
  memcpy(rows, epyc_cpuid, sizeof epyc_cpuid);
  rows[2].ebx &= ~(1u << 31); /* VL */
  pml_hardware_detect(&hw, &s);
  CHECK(hw.level == PML_CPU_AVX2 && has(PML_FEATURE_AVX512F));
  TEST("a hypervisor says its name");
  memcpy(rows, epyc_cpuid, sizeof epyc_cpuid);
  rows[1].ecx |= 1u << 31;
  rows[11] = (pml_cpuid_row){0x40000000u, 0, 0, 0x4B4D564B, 0x564B4D56, 0x4D};
  s.n_cpuid = 12;
  pml_hardware_detect(&hw, &s);
  CHECK_MSG(!strcmp(hw.hypervisor, "KVM"), "'%s'", hw.hypervisor);
}

static void no_files(void) {
  TEST("no /proc and no /sys: caches from CPUID, one core");
  clear_tree();
  pml_hardware_detect(&hw, &epyc);
  CHECK(hw.packages == 1 && hw.cores == 1 && hw.threads == 1 && hw.nodes == 1 && hw.allowed == 1 && hw.usable == 1 && hw.quota == 0);
  CHECK(hw.n_caches == 4 && cache_is(1, 'd', 32768, 1, 1) && cache_is(2, 'u', 1 << 20, 1, 1) && cache_is(3, 'u', 32 << 20, 1, 1));
  CHECK(hw.ram == 0 && hw.memory_limit == 0 && hw.page == 4096 && !strcmp(hw.thp, "unknown") && hw.level == PML_CPU_AVX512);
  TEST("Intel's leaf 4 has the same form");
  static const pml_cpuid_row intel[] = {{0, 0, 31, 0x756E6547, 0x6C65746E, 0x49656E69}, {4, 0, 0x04004121, 0x02C0003F, 63, 0},
                                        {4, 1, 0x04004122, 0x01C0003F, 63, 0}, {4, 2, 0x04004143, 0x03C0003F, 2047, 0}};
  pml_hardware_source s = {.root = root, .arch = "x86_64", .cpuid = intel, .n_cpuid = 4};
  pml_hardware_detect(&hw, &s);
  CHECK(!strcmp(hw.vendor, "GenuineIntel") && cache_is(1, 'd', 49152, 1, 1) && cache_is(2, 'u', 2 << 20, 1, 1) && !strcmp(hw.model, "unknown"));
  TEST("nothing is known at all");
  s = (pml_hardware_source){.root = "/nowhere/at/all", .arch = "riscv64"};
  pml_hardware_detect(&hw, &s);
  CHECK(hw.cores == 1 && hw.threads == 1 && hw.usable == 1 && hw.n_caches == 0 && hw.features == 0 && hw.level == PML_CPU_SCALAR);
  CHECK(!strcmp(hw.arch, "unknown") && !strcmp(hw.vendor, "unknown") && !strcmp(hw.model, "unknown"));
  pml_buf text = {0};
  pml_hardware_text(&text, &hw);
  CHECK(strstr(text.data, "caches      unknown") && strstr(text.data, "memory      unknown"));
  pml_buf_free(&text);
  TEST("no /sys: /proc/cpuinfo counts the processors");
  put("/proc/cpuinfo", "processor\t: 0\nmodel name\t:   Some   Processor  \n\nprocessor\t: 1\n\nprocessor\t: 2\nvendor_id: z\n");
  s = (pml_hardware_source){.root = root, .arch = "x86_64"};
  pml_hardware_detect(&hw, &s);
  CHECK(hw.threads == 3 && hw.cores == 3 && hw.usable == 3 && !strcmp(hw.model, "Some Processor"));
}

static void cgroup_v1(void) {
  TEST("cgroup version 1, the container's directory is the root of the mount");
  epyc_tree();
  put("/proc/self/cgroup", "11:memory:/docker/abc/sub\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n");
  put("/proc/self/mountinfo", "33 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
      "36 31 0:32 /docker/abc /sys/fs/cgroup/memory ro master:1 - cgroup cgroup rw,memory\n");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4294967296\n");
  put("/sys/fs/cgroup/memory/sub/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/sub/memory.usage_in_bytes", "1000\n");
  pml_hardware_detect(&hw, &epyc);
  CHECK_MSG(fabs(hw.quota - 2.5) < 1e-9 && hw.usable == 3, "%g %d", hw.quota, hw.usable);
  CHECK(hw.memory_limit == 4294967296ull && hw.memory_used == 1000);
  TEST("no limits: -1 and 2^63");
  put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  pml_hardware_detect(&hw, &epyc);
  CHECK(hw.quota == 0 && hw.usable == 8 && hw.memory_limit == 0);
  TEST("the path of another namespace falls back to the mount point");
  put("/proc/self/cgroup", "0::/../../elsewhere\n");
  put("/proc/self/mountinfo", "29 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  pml_hardware_detect(&hw, &epyc);
  CHECK(fabs(hw.quota - 0.5) < 1e-9 && hw.usable == 1);
  TEST("without mountinfo the usual places are tried");
  char path[300];
  snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
  unlink(path);
  put("/proc/self/cgroup", "0::/\n");
  pml_hardware_detect(&hw, &epyc);
  CHECK(fabs(hw.quota - 0.5) < 1e-9);
  TEST("a quota above the affinity mask changes nothing");
  put("/sys/fs/cgroup/cpu.max", "90000000 100000\n");
  pml_hardware_detect(&hw, &epyc);
  CHECK(hw.usable == 8);
}

static void hybrid(void) {
  TEST("two kinds of cores: four threads on two large cores, four small ones that share a cache");
  clear_tree();
  put("/sys/devices/system/cpu/online", "0-7\n");
  for (int c = 0; c < 8; c++) {
    char own[16];
    if (c < 4) snprintf(own, sizeof own, "%d-%d\n", c / 2 * 2, c / 2 * 2 + 1);
    else snprintf(own, sizeof own, "%d\n", c);
    put_number("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", c, 0, own);
    put_number("/sys/devices/system/cpu/cpu%d/topology/core_siblings_list", c, 0, "0-7\n");
    put_cache(c, 0, "1\n", "Data\n", c < 4 ? "48K\n" : "32K\n", "8\n", own);
    put_cache(c, 1, "2\n", "Unified\n", c < 4 ? "2M\n" : "4096K\n", "16\n", c < 4 ? own : "4-7\n");
    put_cache(c, 2, "3\n", "Unified\n", "36864K\n", "12\n", "0-7\n");
  }
  pml_hardware_detect(&hw, &epyc);
  CHECK(hw.packages == 1 && hw.cores == 6 && hw.threads == 8);
  CHECK_MSG(hw.n_caches == 5, "%d kinds", hw.n_caches);
  const pml_cache *large = find_cache(2, 'u', 0), *small = find_cache(2, 'u', 1);
  CHECK(large && small && large->bytes == 2 << 20 && large->instances == 2 && large->threads == 2);
  CHECK(small && small->bytes == 4 << 20 && small->instances == 1 && small->threads == 4);
  CHECK(cache_is(3, 'u', 36864ull << 10, 8, 1));
}

static void arm(void) {
  TEST("ARM64 from HWCAP and MIDR");
  clear_tree();
  put("/sys/devices/system/cpu/online", "0-3\n");
  put("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "0x00000000414fd0c1\n");
  pml_hardware_source s = {.root = root, .arch = "aarch64", .hwcap = 0x100FFF};
  pml_hardware_detect(&hw, &s);
  CHECK(!strcmp(hw.arch, "aarch64") && !strcmp(hw.vendor, "ARM") && !strcmp(hw.model, "Neoverse-N1"));
  CHECK(hw.level == PML_CPU_NEON && has(PML_FEATURE_NEON) && has(PML_FEATURE_FP16) && has(PML_FEATURE_DOTPROD));
  CHECK(!has(PML_FEATURE_I8MM) && !has(PML_FEATURE_SVE) && !has(PML_FEATURE_SVE2) && !has(PML_FEATURE_BF16) && !has(PML_FEATURE_SSE2));
  CHECK(hw.threads == 4 && hw.usable == 4);
  s.hwcap = 0x887;
  s.midr = 0x410FD083;
  pml_hardware_detect(&hw, &s);
  CHECK(!strcmp(hw.model, "Cortex-A72") && has(PML_FEATURE_NEON) && !has(PML_FEATURE_FP16) && !has(PML_FEATURE_DOTPROD));
  s.hwcap = 0x400002;
  s.hwcap2 = 1 << 1 | 1 << 13 | 1 << 14;
  s.midr = 0xC00FFFF0;
  pml_hardware_detect(&hw, &s);
  CHECK(has(PML_FEATURE_SVE) && has(PML_FEATURE_SVE2) && has(PML_FEATURE_I8MM) && has(PML_FEATURE_BF16) && !strcmp(hw.vendor, "Ampere"));
  CHECK_MSG(!strcmp(hw.model, "Ampere part 0xfff"), "%s", hw.model);
  TEST("MIDR from /proc/cpuinfo");
  clear_tree();
  put("/proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd4f\n");
  s.midr = 0;
  pml_hardware_detect(&hw, &s);
  CHECK(!strcmp(hw.model, "Neoverse-V2"));
}

/* What must hold however odd the files are. */
static bool sane(void) {
  bool ok = hw.packages >= 1 && hw.cores >= 1 && hw.threads >= 1 && hw.nodes >= 1 && hw.allowed >= 1 && hw.usable >= 1 && hw.usable <= hw.allowed;
  ok = ok && hw.quota >= 0 && hw.quota < 65536 && hw.ram_available <= hw.ram && hw.n_caches >= 0 && hw.n_caches <= 12;
  for (int i = 0; i < hw.n_caches; i++)
    ok = ok && hw.cache[i].bytes > 0 && hw.cache[i].threads >= 1 && hw.cache[i].instances >= 1 && hw.cache[i].level >= 1 && hw.cache[i].level <= 9;
  return ok && memchr(hw.model, 0, sizeof hw.model) && memchr(hw.thp, 0, sizeof hw.thp);
}

static void malformed(void) {
  static const char *const files[] = {
      "/sys/devices/system/cpu/online", "/sys/devices/system/node/online", "/proc/meminfo", "/proc/self/status", "/proc/self/cgroup",
      "/proc/self/mountinfo", "/sys/fs/cgroup/user.slice/cpu.max", "/sys/fs/cgroup/user.slice/memory.max",
      "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
      "/sys/devices/system/cpu/cpu0/cache/index0/size", "/sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list",
      "/sys/devices/system/cpu/cpu0/cache/index0/level", "/sys/devices/system/cpu/cpu0/cache/index0/type"};
  static char long_line[20000];
  memset(long_line, '7', sizeof long_line - 1);
  const char *const texts[] = {"", "\n", "abc\n", "-1\n", "-", "5-2\n", "0-", ",,,", "0-99999999999999999999\n", "99999999999999999999999999K\n",
                               "1e400 1\n", "nan nan\n", "0 0\n", "max\n", "[\n", "[]", "\xff\xfe\x01", "::\n0::\n:::\n", "0::/a/../../..\n", " - \n",
                               "1 2 3 4\n", "MemTotal: -5 kB\nMemAvailable: 99999999999999999 kB\n", "MemTotal:\n", "MemTotal", long_line};
  TEST("odd files");
  epyc_tree();
  for (size_t f = 0; f < sizeof files / sizeof files[0]; f++)
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
      if (t == 0) {
        epyc_tree();
        put("/sys/devices/system/cpu/online", "0-1\n"); /* fewer files to read, the same code */
      }
      put(files[f], texts[t]);
      pml_hardware_detect(&hw, &epyc);
      CHECK_MSG(sane(), "%s with text %zu", files[f], t);
    }
  TEST("a directory in the place of a file, and a deep cgroup path");
  epyc_tree();
  char deep[3000] = "0::";
  for (int i = 0; i < 600; i++) strcat(deep, "/abc");
  put("/proc/self/cgroup", strcat(deep, "\n"));
  char path[300];
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  unlink(path);
  put("/proc/meminfo/x", "");
  pml_hardware_detect(&hw, &epyc);
  CHECK(sane());
}

/* ── this machine ─────────────────────────────────────────────────────────── */

/* The text behind "key:" in the output of a command or file; false when there is none. */
static bool field(FILE *f, const char *key, char *out, size_t size) {
  char line[8192];
  bool found = false;
  while (f && fgets(line, sizeof line, f)) {
    size_t n = strlen(key);
    if (found || strncmp(line, key, n) != 0 || line[n + strspn(line + n, " \t")] != ':') continue;
    char *s = strchr(line, ':') + 1;
    s += strspn(s, " \t");
    s[strcspn(s, "\n")] = 0;
    snprintf(out, size, "%s", s);
    found = true;
  }
  return found;
}

static bool lscpu(const char *key, char *out, size_t size) {
  FILE *f = popen("LC_ALL=C lscpu -B 2> /dev/null", "r");
  bool found = field(f, key, out, size);
  if (f) pclose(f);
  return found;
}

static void agrees_with_lscpu(void) {
  char text[256];
  TEST("agreement with lscpu");
  if (!lscpu("CPU(s)", text, sizeof text) || !lscpu("Core(s) per socket", text, sizeof text)) {
    SKIP("there is no lscpu, or it knows no sockets");
    return;
  }
  CHECK(lscpu("On-line CPU(s) list", text, sizeof text));
  CHECK(lscpu("CPU(s)", text, sizeof text) && atoi(text) >= hw.threads);
  CHECK(lscpu("Vendor ID", text, sizeof text) && !strcmp(text, hw.vendor));
  CHECK_MSG(lscpu("Model name", text, sizeof text) && !strcmp(text, hw.model), "'%s', not '%s'", hw.model, text);
  CHECK(lscpu("Socket(s)", text, sizeof text) && atoi(text) == hw.packages);
  CHECK(lscpu("Core(s) per socket", text, sizeof text) && atoi(text) * hw.packages == hw.cores);
  if (lscpu("CPU family", text, sizeof text)) CHECK(atoi(text) == hw.family);
  if (lscpu("Model", text, sizeof text) && !strcmp(hw.arch, "x86_64")) CHECK(atoi(text) == hw.model_id);
  if (lscpu("NUMA node(s)", text, sizeof text)) CHECK(atoi(text) == hw.nodes);
  if (lscpu("Hypervisor vendor", text, sizeof text)) CHECK_MSG(*hw.hypervisor, "lscpu sees %s", text);
  static const struct { const char *key; int level; char type; } cache[] = {
      {"L1d cache", 1, 'd'}, {"L1i cache", 1, 'i'}, {"L2 cache", 2, 'u'}, {"L3 cache", 3, 'u'}};
  for (int i = 0; i < 4; i++) {
    unsigned long long all = 0, ours = 0;
    if (!lscpu(cache[i].key, text, sizeof text)) continue;
    all = strtoull(text, NULL, 10); /* of all instances together */
    for (int k = 0; k < hw.n_caches; k++)
      if (hw.cache[k].level == cache[i].level && hw.cache[k].type == cache[i].type) ours += hw.cache[k].bytes * (unsigned)hw.cache[k].instances;
    CHECK_MSG(all == ours, "%s: %llu, lscpu says %llu", cache[i].key, ours, all);
  }
}

static void agrees_with_cpuinfo(void) {
  static const struct { pml_cpu_feature f; const char *flag; } names[] = {
      {PML_FEATURE_SSE2, "sse2"}, {PML_FEATURE_SSE3, "pni"}, {PML_FEATURE_SSSE3, "ssse3"}, {PML_FEATURE_SSE4_1, "sse4_1"},
      {PML_FEATURE_SSE4_2, "sse4_2"}, {PML_FEATURE_AVX, "avx"}, {PML_FEATURE_F16C, "f16c"}, {PML_FEATURE_FMA, "fma"},
      {PML_FEATURE_AVX2, "avx2"}, {PML_FEATURE_AVX_VNNI, "avx_vnni"}, {PML_FEATURE_AVX512F, "avx512f"}, {PML_FEATURE_AVX512BW, "avx512bw"},
      {PML_FEATURE_AVX512DQ, "avx512dq"}, {PML_FEATURE_AVX512VL, "avx512vl"}, {PML_FEATURE_AVX512_VNNI, "avx512_vnni"},
      {PML_FEATURE_AVX512_BF16, "avx512_bf16"}, {PML_FEATURE_AVX512_FP16, "avx512_fp16"}, {PML_FEATURE_AVX512_VBMI, "avx512vbmi"},
      {PML_FEATURE_AVX512_VBMI2, "avx512_vbmi2"}, {PML_FEATURE_AVX512_BITALG, "avx512_bitalg"},
      {PML_FEATURE_AVX512_VPOPCNTDQ, "avx512_vpopcntdq"}, {PML_FEATURE_AMX_TILE, "amx_tile"}, {PML_FEATURE_AMX_INT8, "amx_int8"},
      {PML_FEATURE_AMX_BF16, "amx_bf16"}, {PML_FEATURE_SHA_NI, "sha_ni"}, {PML_FEATURE_NEON, "asimd"}, {PML_FEATURE_FP16, "asimdhp"},
      {PML_FEATURE_DOTPROD, "asimddp"}, {PML_FEATURE_I8MM, "i8mm"}, {PML_FEATURE_BF16, "bf16"}, {PML_FEATURE_SVE, "sve"},
      {PML_FEATURE_SVE2, "sve2"}, {PML_FEATURE_SHA2, "sha2"}};
  char flags[8192], word[64];
  TEST("agreement with the flags of /proc/cpuinfo");
  FILE *f = fopen("/proc/cpuinfo", "r");
  bool found = field(f, strcmp(hw.arch, "aarch64") ? "flags" : "Features", flags + 1, sizeof flags - 2);
  if (f) fclose(f);
  if (!found) {
    SKIP("no flags there");
    return;
  }
  flags[0] = ' ';
  strcat(flags, " ");
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    snprintf(word, sizeof word, " %s ", names[i].flag);
    CHECK_MSG(has(names[i].f) == (strstr(flags, word) != NULL), "%s", pml_cpu_feature_name(names[i].f));
  }
}

static uint64_t meminfo(const char *key) {
  char text[64];
  FILE *f = fopen("/proc/meminfo", "r");
  bool found = field(f, key, text, sizeof text);
  if (f) fclose(f);
  return found ? strtoull(text, NULL, 10) * 1024 : 0;
}

static void this_machine(void) {
  pml_hardware_detect(&hw, NULL);
  TEST("this machine");
  CHECK(sane() && hw.usable == pml_cpu_count() && !strcmp(hw.model, pml_cpu_model()) && *hw.gpu_state);
  CHECK(hw.level == pml_cpu_level() && pml_cpu_best() == hw.level);
  agrees_with_lscpu();
  agrees_with_cpuinfo();
  TEST("agreement with /proc/meminfo");
  if (!meminfo("MemTotal")) SKIP("no /proc/meminfo");
  else {
    double available = (double)meminfo("MemAvailable"), swap_free = (double)meminfo("SwapFree");
    CHECK(hw.ram == meminfo("MemTotal") && hw.swap == meminfo("SwapTotal"));
    CHECK(fabs((double)hw.ram_available - available) < 0.2 * (double)hw.ram && fabs((double)hw.swap_free - swap_free) <= 0.2 * (double)hw.swap);
    CHECK(hw.huge_page == meminfo("Hugepagesize"));
  }
#if defined(__linux__)
  TEST("one core by affinity is one core");
  cpu_set_t before, one;
  if (sched_getaffinity(0, sizeof before, &before) == 0) {
    int c = 0;
    while (c < CPU_SETSIZE - 1 && !CPU_ISSET(c, &before)) c++;
    CPU_ZERO(&one);
    CPU_SET(c, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(pml_cpu_count() == 1);
    sched_setaffinity(0, sizeof before, &before);
  }
#endif
}

/* ── rendering ────────────────────────────────────────────────────────────── */

static void rendering(void) {
  TEST("the JSON says what the struct holds");
  epyc_tree();
  pml_hardware_source s = epyc;
  s.xcr0 = 7;
  pml_hardware_detect(&hw, &s);
  snprintf(hw.model, sizeof hw.model, "a \"quoted\" \\ name\n");
  hw.gpu[0] = (pml_gpu){.name = "NVIDIA H200", .major = 9, .memory = 150754820096, .multiprocessors = 132, .bandwidth = 4.8e12};
  hw.n_gpus = 1;
  pml_buf json = {0}, text = {0};
  pml_hardware_json(&json, &hw);
  pml_hardware_text(&text, &hw);
  pml_json j, level;
  uint64_t ram = 0;
  CHECK_MSG(pml_json_open(&j, json.data, json.len, "hardware") == PML_OK, "%s", pml_error());
  CHECK(pml_json_uint(pml_json_get(j, "ram"), &ram) && ram == hw.ram && pml_json_count(pml_json_get(j, "caches")) == 4);
  CHECK(pml_json_is(pml_json_get(j, "model"), hw.model, strlen(hw.model)));
  level = pml_json_get(j, "level");
  CHECK(pml_json_is(level, "avx2", 4) && pml_json_count(pml_json_get(j, "gpus")) == 1);
  CHECK(strstr(json.data, "\"withheld\":[\"avx512f\"") && strstr(json.data, "\"quota\":1.500") && strstr(json.data, "\"compute_capability\":\"9.0\""));
  CHECK(strstr(text.data, "a quota of 1.50") && strstr(text.data, "withheld by the operating system: avx512f"));
  CHECK(strstr(text.data, "8 cores, 16 threads, 2 packages, 2 NUMA nodes") && strstr(text.data, "123 MB of 8 GiB used"));
  CHECK(strstr(text.data, "NVIDIA H200, compute capability 9.0, 150.8 GB, 132 multiprocessors, 4800 GB/s"));
  pml_buf_free(&json);
  pml_buf_free(&text);
  TEST("sizes for people");
  static const struct { uint64_t bytes; const char *text; } sizes[] = {
      {0, "0 bytes"}, {1, "1 bytes"}, {999, "999 bytes"}, {1024, "1 KiB"}, {49152, "48 KiB"}, {2097152, "2 MiB"}, {272629760, "260 MiB"},
      {25276510208, "25.3 GB"}, {1000, "1.0 kB"}, {150754820096, "150.8 GB"}, {123456789, "123 MB"}, {8589934592, "8 GiB"}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char out[32];
    pml_bytes_text(out, sizes[i].bytes);
    CHECK_MSG(!strcmp(out, sizes[i].text), "%" PRIu64 ": '%s', not '%s'", sizes[i].bytes, out, sizes[i].text);
  }
}

/* ── masks ────────────────────────────────────────────────────────────────── */

static void refused(const char *text, pml_status want, const char *part) {
  pml_cpu_level_t before = pml_cpu_level();
  pml_status st = pml_cpu_select(text);
  CHECK_MSG(st == want && strstr(pml_error(), part) && pml_cpu_level() == before, "'%s': %s, %s", text, pml_status_name(st), pml_error());
  setenv("PML_CPU", text, 1);
  CHECK_MSG(pml_cpu_level_check() == want, "PML_CPU=%s", text);
  unsetenv("PML_CPU");
}

static void masks(void) {
  pml_cpu_level_t best = pml_cpu_best();
  TEST("levels");
  CHECK(pml_cpu_supports(PML_CPU_SCALAR) && pml_cpu_supports(best) && !pml_cpu_supports((pml_cpu_level_t)PML_CPU_LEVELS) && !pml_cpu_supports((pml_cpu_level_t)-1));
  for (int i = 0; i < PML_CPU_LEVELS; i++) {
    const char *name = pml_cpu_level_name((pml_cpu_level_t)i);
    if (!pml_cpu_supports((pml_cpu_level_t)i)) {
      refused(name, PML_E_UNSUPPORTED, name);
      CHECK(pml_cpu_level_set((pml_cpu_level_t)i) == PML_E_UNSUPPORTED);
      continue;
    }
    CHECK(pml_cpu_select(name) == PML_OK && pml_cpu_level() == (pml_cpu_level_t)i && pml_cpu_best() == best);
    setenv("PML_CPU", name, 1);
    CHECK(pml_cpu_level_check() == PML_OK);
    unsetenv("PML_CPU");
  }
  CHECK(pml_cpu_select(NULL) == PML_OK && pml_cpu_level() == best);
  TEST("features are masked by a part of their name");
  for (int f = 0; f < PML_CPU_FEATURES; f++) {
    char text[64];
    bool here = pml_cpu_has((pml_cpu_feature)f);
    snprintf(text, sizeof text, "-%s", pml_cpu_feature_name((pml_cpu_feature)f));
    CHECK(pml_cpu_select(text) == PML_OK && !pml_cpu_has((pml_cpu_feature)f));
    pml_cpu_select("");
    CHECK(pml_cpu_has((pml_cpu_feature)f) == here && *pml_cpu_feature_about((pml_cpu_feature)f));
    if (here) CHECK(pml_cpu_select(text + 1) == PML_OK || pml_cpu_supports(PML_CPU_AVX2));
  }
  CHECK(!pml_cpu_has((pml_cpu_feature)-1) && !pml_cpu_has(PML_CPU_FEATURES) && !strcmp(pml_cpu_feature_name(PML_CPU_FEATURES), "unknown"));
  pml_cpu_select(NULL);
  if (pml_cpu_supports(PML_CPU_AVX512)) {
    CHECK(pml_cpu_select("avx512,-vnni") == PML_OK && pml_cpu_level() == PML_CPU_AVX512 && !pml_cpu_has(PML_FEATURE_AVX512_VNNI));
    CHECK(pml_cpu_select("-avx512") == PML_OK && pml_cpu_level() == PML_CPU_AVX2 && pml_cpu_best() == PML_CPU_AVX2);
    CHECK(pml_cpu_level_set(PML_CPU_AVX512) == PML_E_UNSUPPORTED);
    pml_cpu_select(NULL);
    refused("avx512,-avx512bw", PML_E_UNSUPPORTED, "masked");
    refused("vnni,-vnni", PML_E_UNSUPPORTED, "vnni");
  }
  TEST("what cannot be obeyed is refused");
  refused("fast", PML_E_USAGE, "'fast'");
  refused("-", PML_E_USAGE, "'-'");
  refused("avx3", PML_E_USAGE, "'avx3'");
  refused("scalar,-nothing", PML_E_USAGE, "-nothing");
  refused(pml_cpu_has(PML_FEATURE_NEON) ? "avx2" : "neon", PML_E_UNSUPPORTED, pml_cpu_level_name(best));
  refused(pml_cpu_has(PML_FEATURE_NEON) ? "f16c" : "dotprod", PML_E_UNSUPPORTED, "has no");
  CHECK(pml_cpu_select(",,scalar,") == PML_OK && pml_cpu_level() == PML_CPU_SCALAR);
  CHECK(pml_cpu_select("scalar -sha") == PML_OK && !pml_cpu_has(PML_FEATURE_SHA_NI) && !pml_cpu_has(PML_FEATURE_SHA2));
  pml_cpu_select(NULL);
}

/* ── rates ────────────────────────────────────────────────────────────────── */

static void rates(void) {
  pml_level_run run[PML_CPU_LEVELS];
  const char *how = NULL;
  TEST("every level computes the same");
  pml_strict_set(true);
  CHECK(pml_bench_levels(run, 7) == PML_OK && pml_strict() && pml_cpu_level() == pml_cpu_best());
  pml_strict_set(false);
  for (int i = 0; i < PML_CPU_LEVELS; i++) {
    CHECK(run[i].here == pml_cpu_supports((pml_cpu_level_t)i));
    if (run[i].here) CHECK_MSG(run[i].equal && run[i].worst <= 1 && run[i].seconds[0] > 0, "%s: %g", pml_cpu_level_name((pml_cpu_level_t)i), run[i].worst);
  }
  CHECK(run[PML_CPU_SCALAR].worst == 0);
  TEST("the instruction of the 8-bit peak follows the mask");
  static const struct { const char *select, *how; } paths[] = {
      {"scalar", "plain C"}, {"avx2,-vnni", "vpmaddubsw ymm"}, {"avx2,avx_vnni", "vpdpbusd ymm"}, {"avx512,avx512_vnni", "vpdpbusd zmm"},
      {"neon,-dotprod,-i8mm", "smull"}, {"neon,dotprod,-i8mm", "sdot"}, {"neon,i8mm", "smmla"}};
  double least = 1e300;
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    if (pml_cpu_select(paths[i].select) != PML_OK) continue;
    double f32 = pml_bench_peak_f32(), int8 = pml_bench_peak_int8(&how);
    CHECK_MSG(f32 > 1e7 && f32 < 1e15 && int8 > 1e7 && int8 < 1e16 && !strcmp(how, paths[i].how), "%s: %g %g %s", paths[i].select, f32, int8, how);
    if (i == 0) least = f32;
    else CHECK_MSG(f32 > least, "%s: %g, plain C %g", paths[i].select, f32, least);
  }
  pml_cpu_select(NULL);
  TEST("bandwidth");
  double small = pml_bench_bandwidth(16384, 1, 0.01), large = pml_bench_bandwidth((size_t)32 << 20, 0, 0.01);
  CHECK_MSG(small > 1e8 && large > 1e7 && small < 1e13 && large < 1e13, "%g %g", small, large);
  CHECK(pml_bench_bandwidth(100, 1, 0.01) == 0 && strstr(pml_error(), "at least 256"));
  hw.ram_available = (uint64_t)1 << 30;
  hw.memory_limit = 0;
  CHECK(pml_bench_set_bytes(0, 2, &hw) == 16384 && pml_bench_set_bytes(6, 2, &hw) == 64 << 20 && pml_bench_set_bytes(7, 2, &hw) == 0);
  hw.memory_limit = (uint64_t)1 << 20;
  hw.memory_used = 1000;
  CHECK(pml_bench_set_bytes(1, 1, &hw) == 65536 && pml_bench_set_bytes(2, 1, &hw) == 0);
  CHECK(pml_bench_set_bytes(-1, 1, &hw) == 0 && pml_bench_set_bytes(PML_BENCH_SETS, 1, &hw) == 0);
  pml_threads_stop();
}

int main(void) {
  char dir[] = "/tmp/prodml_hardware_XXXXXX";
  if (!mkdtemp(dir)) return 1;
  snprintf(root, sizeof root, "%s/root", dir);
  unsetenv("PML_CPU");
  pml_hardware_detect(&hw, NULL);
  this_machine();
  two_sockets();
  consent();
  no_files();
  cgroup_v1();
  hybrid();
  arm();
  malformed();
  rendering();
  masks();
  rates();
  clear_tree();
  rmdir(root);
  rmdir(dir);
  return TEST_END();
}
