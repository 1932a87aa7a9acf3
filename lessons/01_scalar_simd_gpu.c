/* 01 scalar, SIMD, GPU: one product computed in several ways, and where each of them loses

     cc -O2 lessons/01_scalar_simd_gpu.c -o a -lm -pthread && ./a
     ./a --matmul-size 1024 --dot-size 100000 -i 50   other sizes, at most 50 rounds of timing
     ./a --full                                       larger sizes, more time for each
     ./a --error                                      a sum in another order: only its bits give it away
   With a column for OpenBLAS: cc -O2 -DPRODML_USE_OPENBLAS … -lopenblas.  To change: PML_CPU=avx2 or scalar. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { CUT = 64, NEAR = 3 }; /* NEAR: the size 64·4³ = 4096, which fits the first cache */
static struct { int dot, matmul, rounds; bool error; } flag = {10000, 512, 20, false};
static struct {
  pml_study gemm, add, dot;
  pml_roof roof[PML_ROOFS];
} r;

static pml_status matrices(pml_ctx *ctx) {
  const char *core = pml_blas_core();
  char from[48] = "at no size that was measured";
  int last = ctx->full ? 2 * flag.matmul : flag.matmul;
  pml_heading(ctx, "C[n,n] = A[n,n] · B[n,n]: 2·n³ operations on 3·n² numbers");
  pml_say(ctx, "  OpenBLAS: %s", core ? core : "not in this build (-DPRODML_USE_OPENBLAS and -lopenblas)");
  if (core && !strcmp(core, "Prescott")) pml_say(ctx, "  It does not know this processor: set OPENBLAS_CORETYPE.");
  pml_status st = pml_measure_ways(ctx, &r.gemm, PML_OP_GEMM, 4, 2, last, flag.rounds, ctx->full ? 6 : 0.8);
  double plain = pml_study_rate(&r.gemm, PML_WAY_PLAIN), blocked = pml_study_rate(&r.gemm, PML_WAY_BLOCKED);
  double simd = pml_study_rate(&r.gemm, PML_WAY_SIMD), cuts = plain > 0 ? blocked / plain : 0;
  if (r.gemm.threads_from > 0) snprintf(from, sizeof from, "from n = %.0f on", r.gemm.threads_from);
  pml_value(ctx, "n", last, ""), pml_value_text(ctx, "threads_lead", from);
  pml_value(ctx, "cuts", cuts, "times"), pml_value(ctx, "vectors", blocked > 0 ? simd / blocked : 0, "times");
  if (plain > 0 && last >= 64 && pml_cpu_level() != PML_CPU_SCALAR)
    pml_expect(ctx, simd > plain, "n = %d: cuts bring %.1f times the speed, vectors %.1f times more", last, cuts,
               simd / blocked);
  return st;
}

static pml_status order(pml_ctx *ctx) {
  static float half[CUT * CUT];
  pml_bench_case c;
  bool equal, was_strict = pml_strict();
  pml_heading(ctx, "A fault that is hard to see: k in two halves, added at the end");
  pml_status st = pml_bench_case_open(&c, PML_OP_GEMM, CUT, ctx->seed);
  if (st != PML_OK) return st;
  pml_strict_set(true);
  st = pml_gemm(c.got, CUT, c.a, CUT, false, c.b, CUT, false, CUT, CUT, CUT / 2, false);
  if (st == PML_OK)
    st = pml_gemm(half, CUT, c.a + CUT / 2, CUT, false, c.b + CUT * CUT / 2, CUT, false, CUT, CUT, CUT / 2, false);
  pml_add(c.got, half, CUT * CUT);
  pml_strict_set(was_strict);
  double off = pml_bench_case_compare(&c, &equal);
  if (flag.error) pml_expect(ctx, equal, "strict: the two halves have the bits of the definition");
  else pml_expect(ctx, !equal && off <= 1, "other bits, %.3f of the bound: a bound lets it pass, the bits do not", off);
  pml_value(ctx, "halves", off, "of the bound");
  pml_bench_case_close(&c);
  return st;
}

static pml_status vectors(pml_ctx *ctx) {
  int last = ctx->full ? 1 << 24 : 1 << 22;
  pml_number t[2];
  pml_heading(ctx, "y[n] += x[n]: n operations on 12·n bytes");
  pml_status st = pml_measure_ways(ctx, &r.add, PML_OP_ADD, 64, 4, last, flag.rounds, 0.4);
  pml_heading(ctx, "Σ x[n]·y[n]: 2·n operations on 8·n bytes");
  if (st == PML_OK) st = pml_measure_ways(ctx, &r.dot, PML_OP_DOT, 64, 4, last, flag.rounds, 0.4);
  pml_heading(ctx, "The same dot product with its numbers in memory only, and then near");
  if (st == PML_OK) st = pml_measure_cold(ctx, t, PML_OP_DOT, PML_WAY_SIMD, flag.dot, flag.rounds);
  pml_heading(ctx, "The limits: memory is read, peaks are multiply-adds in registers");
  pml_measure_roofs(ctx, r.roof, 8.0 * last);
  return st;
}

static pml_status gpu(pml_ctx *ctx) {
  static pml_hardware hw;
  double n = 0;
  pml_heading(ctx, "The column of the GPU");
  if (pml_measures(ctx)) pml_hardware_detect(&hw, NULL), n = hw.n_gpus, pml_say(ctx, "  driver: %s", hw.gpu_state);
  n = pml_measure(ctx, "GPUs", "", &n, 1).median;
  pml_say(ctx, "  The column stays empty: %s.", n > 0 ? "a GPU is there, this build has no CUDA part" : "no GPU here");
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  double plain = pml_study_rate(&r.gemm, PML_WAY_PLAIN);
  double best = fmax(pml_study_rate(&r.gemm, PML_WAY_SIMD), pml_study_rate(&r.gemm, PML_WAY_THREADS));
  int last = r.gemm.n ? (int)r.gemm.size[r.gemm.n - 1] : 0;
  pml_lesson_title(ctx, s, "%d × %d: the same product, %.0f times as fast as three plain loops", last, last,
                   plain > 0 ? best / plain : 0);
  pml_svg_study(s, pml_box_inset(pml_svg_body(s), 20, 10), &r.gemm, "rows n of A, B and C");
  return PML_OK;
}

static pml_status draw_roofline(pml_ctx *ctx, pml_svg *s) {
  const pml_study_mark mark[] = {
    {&r.add, PML_WAY_PLAIN, -1, NULL}, {&r.add, PML_WAY_THREADS, -1, NULL}, {&r.add, PML_WAY_SIMD, -1, "add"},
    {&r.dot, PML_WAY_PLAIN, -1, NULL}, {&r.dot, PML_WAY_SIMD, -1, "dot, far"},
    {&r.dot, PML_WAY_SIMD, NEAR, "dot, near"}, {&r.gemm, PML_WAY_PLAIN, -1, "gemm, plain"},
    {&r.gemm, PML_WAY_BLOCKED, -1, "blocked"},
    {&r.gemm, PML_WAY_SIMD, -1, "SIMD"}, {&r.gemm, PML_WAY_THREADS, -1, "threads"}};
  double add = fmax(pml_study_rate(&r.add, PML_WAY_SIMD), pml_study_rate(&r.add, PML_WAY_THREADS));
  pml_lesson_title(ctx, s, "Adding long vectors: %.1f of %.0f GFLOP/s, memory is the limit", add, r.roof[4].rate);
  pml_svg_study_roofs(s, pml_box_inset(pml_svg_body(s), 20, 10), r.roof, PML_ROOFS, mark, sizeof mark / sizeof *mark);
  return PML_OK;
}

static pml_status bench(pml_ctx *ctx) { /* one product of 256 × 256, all threads */
  static pml_bench_case c;
  pml_status st = c.n ? PML_OK : pml_bench_case_open(&c, PML_OP_GEMM, 256, ctx->seed);
  return st == PML_OK ? pml_bench_case_run(&c, PML_WAY_THREADS) : st;
}

static const pml_lesson lesson = {
  .number = "01", .name = "scalar_simd_gpu", .title = "Scalar, SIMD, GPU", .file = __FILE__, .sections = {12, 48},
  .summary = "The same sums in several ways, equal before they are timed: what cuts, vectors and threads bring.",
  .result = &r, .result_size = sizeof r, .flags = {
    {"matmul-size", "rows of the largest matrices", PML_FLAG_INT, &flag.matmul},
    {"dot-size", "numbers of the dot product that is timed cold and warm", PML_FLAG_INT, &flag.dot},
    {"iterations|i", "rounds of timing, 1 to 1000; fewer where they take long", PML_FLAG_INT, &flag.rounds},
    {"error", "claim that another order of adding has the same bits", PML_FLAG_BOOL, &flag.error}},
  .run = {matrices, order, vectors, gpu}, .draw = draw, .pictures = {{"roofline", draw_roofline}}, .bench = bench};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- say what of a speed-up comes from cuts, from vectors and from threads, and find the size below which each loses;
- tell from operations per byte whether memory or arithmetic limits an operation, before writing it.
## The mechanism
The definition, and the fair control: the same cuts and packing as the fast kernel, one number per instruction.
@quote gemm_alone
A compiler would put four numbers of such a loop into one register. An empty instruction keeps each alone:
@quote alone
`tests/test_plain.sh` disassembles both and finds no instruction that multiplies or adds more than one number.
Equal first, in strict mode bit for bit; only then the ways are timed, in turn:
@quote case_run
@quote turns
## Break it
`make demo-scalar-simd-gpu ARGS=--error` claims that k in two halves gives the same bits, and ends with status 1. The
difference is {halves:.3f} of what the order of a sum may change, so a comparison by a bound would let it pass: that is
why strict mode fixes the order. `PML_CPU=scalar` takes the vectors away: the column SIMD is then the tile in plain C.
## Check yourself
### At n = {n} cuts bring {cuts:.1f} times the speed, vectors {vectors:.1f} times more. What would one number hide?
Which of the two did it. Cuts are free in every language, and easily sold as the gain of vector instructions.
### Threads lead {threads_lead}. Why not always?
Waking another core takes microseconds. A product of 32 × 32 is 65,536 operations: one core with vectors is done before
the other has begun. `pml_gemm` (§ 12) stays on one thread below 40³. And a core that is busy comes late.
### Why do vectors help less the longer the arrays are that are added?
An addition moves 12 bytes for one operation. In the first cache they are there; from memory they are waited for. (Its
writes travel beside its reads: in the roofline its point may lie above the line of memory, which is that of reads.)
### What must the time of a GPU contain to stand in this table?
The copies of A, B and C over the bus, unless they stay there: n/6 operations per byte must pay for them.
*/
