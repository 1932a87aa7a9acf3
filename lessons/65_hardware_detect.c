/* 65 hardware_detect: what is this machine, and which kernels may run on it?

     cc -O2 lessons/65_hardware_detect.c -o a -lm -pthread
     ./a                                  detects it, compares every kernel level, times every memory
     ./a --cpu x86-avx2                   with a mask; PML_CPU=avx2 does the same for any program
     ./a --gpu nvidia-rtx40               which models another machine could run, by its data sheet
     PML_CPU=scalar ./a --require-simd    a demand that cannot be met is refused

   You see that three must agree before an instruction is used, that all kernels compute the same, and how much
   slower memory is than a cache.  To change: the mask, the machine, the seed of the numbers. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { NEAR = 4 };
static const char *const near[NEAR] = {"L1", "L2", "L3", "memory"};
static struct { const char *cpu, *gpu; double ram; bool require_simd; } flag = {.cpu = "", .gpu = "none"};
static pml_hardware hw;
static struct {
  pml_number size[NEAR]; /* KiB */
  pml_curve read[2];     /* GB/s by one thread and by all, over the size of what is read */
} r;

/* --cpu is an architecture and a level, "x86-avx2"; the level is what PML_CPU would say. */
static pml_status choose(pml_ctx *ctx) {
  const char *dash = strchr(flag.cpu, '-');
  pml_status st = pml_cpu_select(dash ? dash + 1 : *flag.cpu ? flag.cpu : getenv("PML_CPU"));
  (void)ctx;
  if (st == PML_OK && flag.require_simd && pml_cpu_level() == PML_CPU_SCALAR)
    st = pml_fail(PML_E_UNSUPPORTED, "--require-simd: only scalar kernels can run; unset PML_CPU, or leave it out");
  return st;
}

static pml_status detect(pml_ctx *ctx) {
  pml_buf text = {0};
  pml_hardware_detect(&hw, NULL);
  pml_hardware_text(&text, &hw);
  pml_heading(ctx, "The machine");
  if (pml_measures(ctx) && !text.failed) pml_emit(ctx, text.data, text.len);
  else pml_say(ctx, "  (yours stands here when you run it; the numbers below are recorded)");
  pml_buf_free(&text);
  pml_expect(ctx, hw.usable >= 1 && hw.usable <= hw.allowed && hw.allowed <= hw.threads,
             "threads: usable <= allowed by the affinity mask <= online");
  pml_expect(ctx, !(hw.features & hw.blocked), "no feature is both usable and withheld by the operating system");
  return PML_OK;
}

static pml_status levels(pml_ctx *ctx) {
  pml_level_run run[PML_CPU_LEVELS];
  bool equal = true;
  double worst = 0;
  pml_heading(ctx, "The kernels: one row through a layer of %d × %d", PML_LEVEL_OUT, PML_LEVEL_IN);
  pml_status st = pml_bench_levels(run, ctx->seed);
  for (int l = 0; l < PML_CPU_LEVELS && st == PML_OK; l++) {
    char name[48];
    snprintf(name, sizeof name, "layer, %s", pml_cpu_level_name((pml_cpu_level_t)l));
    if (run[l].here) equal = equal && run[l].equal, worst = fmax(worst, run[l].worst);
    for (int k = 0; k < PML_LEVEL_RUNS; k++) run[l].seconds[k] *= 1e6;
    if (pml_measures(ctx) ? run[l].here : ctx->recorded && pml_record_find(&ctx->old, name))
      pml_measure(ctx, name, "µs", run[l].seconds, PML_LEVEL_RUNS);
  }
  pml_expect(ctx, equal, "strict: every level that can run here gives the bits of the plain C");
  pml_expect(ctx, worst <= 1, "default: every level stays within the bound for another order of adding");
  const char *foreign = pml_cpu_has(PML_FEATURE_NEON) ? "avx2" : "neon";
  pml_expect(ctx, pml_cpu_select(foreign) == PML_E_UNSUPPORTED, "kernels of another architecture are refused");
  bool masked = pml_cpu_select("scalar") == PML_OK && pml_cpu_level() == PML_CPU_SCALAR;
  pml_expect(ctx, masked && pml_cpu_select(NULL) == PML_OK && pml_cpu_level() == pml_cpu_best(),
             "a mask lowers the level, and taking it away brings it back");
  return st == PML_OK ? choose(ctx) : st;
}

static pml_status measure(pml_ctx *ctx) {
  const char *how = "";
  double f32 = pml_measures(ctx) ? pml_bench_peak_f32() / 1e9 : 0;
  double int8 = pml_measures(ctx) ? pml_bench_peak_int8(&how) / 1e9 : 0;
  pml_heading(ctx, "The arithmetic: multiply-adds in a loop of assembly, all threads");
  pml_number f = pml_measure(ctx, "f32 peak", "GFLOP/s", &f32, 1);
  pml_number i = pml_measure(ctx, "8-bit peak", "GOP/s", &int8, 1);
  if (*how) pml_say(ctx, "  8 bits by %s", how);
  pml_heading(ctx, "The memories: how large, and how fast a set of each size is read again and again");
  for (int k = 0; k < NEAR; k++) {
    double kib = (double)(k < NEAR - 1 ? pml_hardware_cache(&hw, k + 1) : hw.ram) / 1024;
    if (pml_measures(ctx) ? kib > 0 : ctx->recorded && pml_record_find(&ctx->old, near[k]))
      r.size[k] = pml_measure(ctx, near[k], "KiB", &kib, 1);
  }
  pml_measure_staircase(ctx, &hw, r.read);
  if (!f.n || !r.read[1].n) return PML_OK;
  double first = r.read[0].y[0], far = r.read[0].y[r.read[0].n - 1], bytes = r.read[1].y[r.read[1].n - 1];
  pml_value(ctx, "per_byte", f.median / bytes, "FLOP");
  pml_expect(ctx, first > far, "one thread reads the smallest set %.0f times as fast as the largest", first / far);
  pml_expect(ctx, f.median > bytes, "per byte from memory there is time for %.0f operations in f32, %.0f on 8 bits",
             f.median / bytes, i.median / bytes);
  return PML_OK;
}

/* A token needs each weight once, so tokens per second cannot pass bandwidth / bytes. */
static pml_status models(pml_ctx *ctx) {
  static const struct { const char *name; double gb, gb_s; } card[] = {{"none", 0, 0}, {"nvidia-rtx30", 24, 936},
      {"nvidia-rtx40", 24, 1008}, {"nvidia-a100", 80, 2039}, {"nvidia-h100", 80, 3350}, {"nvidia-h200", 141, 4800}};
  static const struct { const char *name; double weights; } m[] = {
      {"Qwen2.5 0.5B", 0.494e9}, {"Qwen2.5 1.5B", 1.544e9}, {"Qwen2.5 7B", 7.616e9}, {"Qwen2.5 32B", 32.764e9}};
  int c = 5, last = r.read[1].n - 1;
  while (c >= 0 && strcmp(card[c].name, flag.gpu)) c--;
  if (c < 0) return pml_fail(PML_E_USAGE, "--gpu %s: none, nvidia-rtx30, -rtx40, -a100, -h100 or -h200", flag.gpu);
  double room = c ? card[c].gb : flag.ram > 0 ? flag.ram : r.size[NEAR - 1].median * 1024 / 1e9;
  double gb_s = c ? card[c].gb_s : last >= 0 ? r.read[1].y[last] : 0;
  pml_heading(ctx, "What it could run, at 8 bits a weight: %.1f GB, %.1f GB/s%s", room, gb_s,
              c ? " by the data sheet, not measured" : "");
  for (int i = 0; i < 4 && gb_s > 0; i++) {
    double gb = m[i].weights * 34 / 32 / 1e9; /* Q8_0: 34 bytes for 32 weights; a fifth more for keys and values */
    if (gb * 1.2 < room) pml_say(ctx, "  %-12s  %4.1f GB: at most %.1f tokens/s", m[i].name, gb, gb_s / gb);
    else pml_say(ctx, "  %-12s  %4.1f GB: does not fit", m[i].name, gb);
  }
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  const char *names[PML_BENCH_SETS];
  char name[PML_BENCH_SETS][32];
  int n = r.read[1].n;
  for (int i = 0; i < PML_BENCH_SETS; i++) pml_bytes_text(name[i], (uint64_t)16384 << 2 * i), names[i] = name[i];
  pml_lesson_title(ctx, s, "From the first cache one thread reads %.0f times as fast as from memory",
                   n ? r.read[0].y[0] / r.read[0].y[n - 1] : 0);
  pml_axis sets = {.label = "set that each thread reads again and again", .names = names, .n_names = n};
  if (!n) return PML_OK;
  pml_box b = pml_box_inset(pml_svg_body(s), 20, 10);
  pml_plot p = pml_svg_pair(s, b, sets, (pml_axis){.label = "read (GB/s)", .log = true}, "all threads", &r.read[1],
                            "one thread", &r.read[0]);
  pml_font f = {.size = 26, .colour = PML_MUTED, .anchor = PML_END};
  for (int i = 0; i < NEAR; i++) { /* four times the size is one step to the right */
    double at = r.size[i].n ? pml_plot_x(&p, pml_logd(r.size[i].median / 16) / pml_logd(4)) : p.area.x;
    if (at <= p.area.x || at >= p.area.x + p.area.w) continue;
    pml_svg_rule(s, at, p.area.y, at, p.area.y + p.area.h);
    pml_svg_textf(s, at - 12, p.area.y + p.area.h - 24, f, "%s ends", near[i]);
  }
  return PML_OK;
}

static pml_status draw_scale(pml_ctx *ctx, pml_svg *s) {
  pml_scale_part part[NEAR];
  char shown[NEAR + 1][48];
  int n = 0;
  for (int i = NEAR - 1; i >= 0; i--) {
    int set = r.read[0].n - 1; /* the largest that fits half of it; for memory the largest of all */
    while (set > 0 && i < NEAR - 1 && (double)(16 << 2 * set) > r.size[i].median / 2) set--;
    pml_bytes_text(shown[i], (uint64_t)r.size[i].median * 1024);
    if (r.size[i].n && set >= 0) part[n++] = (pml_scale_part){near[i], shown[i], r.size[i].median, r.read[0].y[set]};
  }
  pml_number_text(shown[NEAR], n ? part[0].amount / part[n - 1].amount : 0, 0);
  pml_lesson_title(ctx, s, "What is near is small: memory holds %s times as much as the first cache", shown[NEAR]);
  pml_svg_scale(s, pml_svg_body(s), part, n, "GB/s, one thread");
  return PML_OK;
}

static const pml_lesson lesson = {
  .number = "65", .name = "hardware_detect", .title = "What the machine can do", .file = __FILE__,
  .summary = "Processor, operating system and user must agree before an instruction is used. Then measure: the data "
             "sheet knows neither the container nor the neighbours.",
  .sections = {4, 48}, .result = &r, .result_size = sizeof r,
  .flags = {{"cpu", "mask the kernels: x86-avx2, x86-avx512, arm-neon, scalar", PML_FLAG_STRING, &flag.cpu},
            {"gpu", "as if: none, nvidia-rtx30, -rtx40, -a100, -h100, -h200", PML_FLAG_STRING, &flag.gpu},
            {"ram", "as if there were so many GB", PML_FLAG_FLOAT, &flag.ram},
            {"require-simd", "refuse to run on scalar kernels", PML_FLAG_BOOL, &flag.require_simd}},
  .run = {choose, detect, levels, measure, models}, .draw = draw, .bench = detect, .pictures = {{"scale", draw_scale}}};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- say which three parties must agree before an instruction is used, and check each;
- find out how many cores and how much memory a process may really use, in a container too;
- read a staircase of bandwidths, and bound the tokens per second of a model on a machine.
## The mechanism
Each feature is a bit of a register that CPUID fills, or of a word from the kernel:
@quote detect
The operating system agrees when XCR0 has a bit for each register file that it saves:
@quote xcr0
How much of the machine this process may use stands in the files of its cgroup and of all above it:
@quote cgroup
Whatever level was chosen, the numbers must be those of the plain C:
@quote levels
## Break it
`PML_CPU=scalar` before any program of the course: it gets slower and says the same. `PML_CPU=avx512,-vnni` takes one
instruction away. Ask for what is not there (`PML_CPU=neon` on x86-64, `PML_CPU=avx2` on ARM64), and the program
refuses with status 1 and a sentence. In `pml__features` (§ 4), leave out the comparison with `xcr0`: nothing changes
where the kernel saves every register, and that is the danger. `tests/test_hardware.c` has a machine where it does not.
## Check yourself
### CPUID announces AVX-512. Why may a program still not use it?
The operating system must save the 512-bit registers when it switches threads, and XCR0 says whether it does. If not,
the registers of two programs would be mixed, at a random moment.
### A container sees 64 cores and has a quota of 2. How many threads should a matrix product use?
Two. 64 threads use up the time of a period in a thirty-second of it, and then all stand still. The affinity mask does
not show this; the cgroup's files do.
### Per byte from memory there is time for {per_byte:.0f} operations in f32. What does decoding one token need?
Two per weight, half an operation per byte in f32 and two in 8 bits. So memory is the limit, not arithmetic. A prompt
uses each weight for many tokens; there arithmetic counts.
### The L3 cache of a virtual machine is 260 MiB. Is all of it ours?
No. The hypervisor shows the host's processor, and its guests share the cache. The staircase shows where the speed
really falls.
*/
