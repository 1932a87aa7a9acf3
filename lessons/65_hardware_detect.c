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

static struct { const char *cpu, *gpu; double ram; bool require_simd; } flag = {.cpu = "", .gpu = "none"};
static pml_hardware hw;
static pml_staircase r;
static pml_gpu card; /* --gpu; all 0 for none */
/* --cpu is an architecture and a level, "x86-avx2"; the level is what PML_CPU would say. */
static pml_status choose(pml_ctx *ctx) {
  const char *dash = strchr(flag.cpu, '-');
  pml_status st = pml_cpu_select(dash ? dash + 1 : *flag.cpu ? flag.cpu : getenv("PML_CPU"));
  (void)ctx;
  if (st == PML_OK && flag.require_simd && pml_cpu_level() == PML_CPU_SCALAR)
    st = pml_fail(PML_E_UNSUPPORTED, "--require-simd: only scalar kernels can run; unset PML_CPU, or leave it out");
  if (!pml_gpu_datasheet(&card, flag.gpu) && strcmp(flag.gpu, "none"))
    st = pml_fail(PML_E_USAGE, "--gpu %s: none, nvidia-rtx30, -rtx40, -a100, -h100 or -h200", flag.gpu);
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
  pml_expect(ctx, hw.usable <= hw.allowed && hw.allowed <= hw.threads, "threads: usable <= allowed <= online");
  pml_expect(ctx, !(hw.features & hw.blocked), "no feature is both usable and withheld by the operating system");
  return PML_OK;
}

static pml_status levels(pml_ctx *ctx) {
  bool equal;
  double worst;
  pml_heading(ctx, "The kernels: one row through a layer of %d × %d", PML_LEVEL_OUT, PML_LEVEL_IN);
  pml_status st = pml_measure_levels(ctx, &equal, &worst);
  if (st != PML_OK) return st;
  pml_expect(ctx, equal, "strict: every level that can run here gives the bits of the plain C");
  pml_expect(ctx, worst <= 1, "default: every level stays within the bound for another order of adding");
  st = pml_cpu_select(pml_cpu_has(PML_FEATURE_NEON) ? "avx2" : "neon");
  pml_expect(ctx, st == PML_E_UNSUPPORTED, "kernels of another architecture are refused");
  bool masked = pml_cpu_select("scalar") == PML_OK && pml_cpu_level() == PML_CPU_SCALAR;
  masked = masked && pml_cpu_select(NULL) == PML_OK && pml_cpu_level() == pml_cpu_best();
  pml_expect(ctx, masked, "a mask lowers the level, and taking it away brings it back");
  return choose(ctx);
}

static pml_status measure(pml_ctx *ctx) {
  const char *how = "";
  double f32 = pml_measures(ctx) ? pml_bench_peak_f32() / 1e9 : 0;
  double int8 = pml_measures(ctx) ? pml_bench_peak_int8(&how) / 1e9 : 0;
  pml_heading(ctx, "The arithmetic: multiply-adds in a loop of assembly%s%s", *how ? ", 8 bits by " : "", how);
  pml_number f = pml_measure(ctx, "f32 peak", "GFLOP/s", &f32, 1);
  pml_number i = pml_measure(ctx, "8-bit peak", "GOP/s", &int8, 1);
  pml_heading(ctx, "The memories: how large, and how fast a set of each size is read again and again");
  pml_measure_staircase(ctx, &hw, &r);
  int last = r.read[1].n > 0 ? r.read[1].n - 1 : 0;
  double first = r.read[0].y[0], far = r.read[0].y[last], bytes = r.read[1].y[last];
  pml_value(ctx, "per_byte", bytes > 0 ? f.median / bytes : 0, "FLOP");
  if (bytes <= 0) return PML_OK;
  pml_expect(ctx, first > far, "one thread reads the smallest set %.0f times as fast as the largest", first / far);
  pml_expect(ctx, f.median > bytes, "per byte from memory there is time for %.0f operations in f32, %.0f on 8 bits",
             f.median / bytes, i.median / bytes);
  return PML_OK;
}

/* A token needs each weight once: at most bandwidth / bytes tokens per second. */
static pml_status models(pml_ctx *ctx) {
  static const struct { const char *name; double weights; } m[] = {
      {"Qwen2.5 0.5B", 0.494e9}, {"Qwen2.5 1.5B", 1.544e9}, {"Qwen2.5 7B", 7.616e9}, {"Qwen2.5 32B", 32.764e9}};
  double room = flag.ram > 0 ? flag.ram : r.size[PML_NEAR - 1].median * 1024 / 1e9;
  double gb_s = r.read[1].n ? r.read[1].y[r.read[1].n - 1] : 0;
  if (*card.name) room = (double)card.memory / 1e9, gb_s = card.bandwidth / 1e9;
  const char *source = *card.name ? " by the data sheet" : "";
  pml_heading(ctx, "What it could run, at 8 bits a weight: %.1f GB, %.1f GB/s%s", room, gb_s, source);
  for (int i = 0; i < 4 && gb_s > 0; i++) {
    double gb = m[i].weights * 34 / 32 / 1e9; /* Q8_0: 34 bytes for 32 weights; a fifth more for keys and values */
    if (gb * 1.2 < room) pml_say(ctx, "  %-12s  %4.1f GB: at most %.1f tokens/s", m[i].name, gb, gb_s / gb);
    else pml_say(ctx, "  %-12s  %4.1f GB: does not fit", m[i].name, gb);
  }
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  double last = r.read[0].n ? r.read[0].y[r.read[0].n - 1] : 1, ratio = r.read[0].y[0] / last;
  pml_lesson_title(ctx, s, "From the first cache one thread reads %.0f times as fast as from memory", ratio);
  pml_svg_staircase(s, pml_box_inset(pml_svg_body(s), 20, 10), &r);
  return PML_OK;
}

static pml_status draw_scale(pml_ctx *ctx, pml_svg *s) {
  char times[48];
  pml_number_text(times, r.size[0].n ? r.size[PML_NEAR - 1].median / r.size[0].median : 0, 0);
  pml_lesson_title(ctx, s, "What is near is small: memory holds %s times as much as the first cache", times);
  pml_svg_memories(s, pml_svg_body(s), &r);
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
@quote detect
Each feature is a bit of a register that CPUID fills, or of a word from the kernel. The operating system agrees when
XCR0 has a bit for each register file that it saves:
@quote xcr0
How much of the machine this process may use stands in the files of its cgroup and of all above it:
@quote cgroup
Whatever level was chosen, the numbers must be those of the plain C:
@quote levels
## Break it
`PML_CPU=scalar` before any program of the course: slower, the same text. `PML_CPU=avx512,-vnni` takes one instruction
away; what is not there (`PML_CPU=neon` on x86-64) is refused. In `pml__features` (§ 4), leave out `xcr0`: nothing
changes where the kernel saves all registers, and that is the danger; `tests/test_hardware.c` has one that does not.
## Check yourself
### CPUID announces AVX-512. Why may a program still not use it?
The operating system must save the 512-bit registers when it switches threads, and XCR0 says whether it does. If not,
the registers of two programs would be mixed, at a random moment.
### A container sees 64 cores and has a quota of 2. How many threads should a matrix product use?
Two. 64 threads use up the time of a period in a thirty-second of it, and then all stand still.
### Per byte from memory there is time for {per_byte:.0f} operations in f32. What does decoding one token need?
Two per weight: half an operation per byte in f32, two in 8 bits. So memory is the limit, not arithmetic.
### The L3 cache of a virtual machine is 260 MiB. Is all of it ours?
No. Its host's other guests share it. The staircase shows where the speed really falls.
*/
