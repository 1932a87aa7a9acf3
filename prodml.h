/* ═════════════════════════════════════════════════════════════════════════════
   prodml.h   one header, one production-ML course, everything for real
   ═════════════════════════════════════════════════════════════════════════════

   PURPOSE
     A C11 library that holds every mechanism of a production-ML course:
     tokenizers, model files, a transformer with its KV cache, sampling, a
     hand-written backward pass, and the tools around them.  It loads real
     Qwen2 and Llama models.  It is written to be read from top to bottom:
     a chapter uses only chapters above it.

   QUICK START
     Put this file and a GGUF model next to main.c:

       #define PRODML_IMPLEMENTATION
       #include "prodml.h"

       static bool print_piece(void *user, const char *text, size_t len) {
         (void)user;
         return fwrite(text, 1, len, stdout) == len;      // false stops early
       }

       int main(void) {
         pml_model *model;
         if (pml_model_open(&model, "tutor.gguf", NULL) != PML_OK) {
           fprintf(stderr, "%s\n", pml_error());
           return 1;
         }
         pml_generate_options opt = pml_generate_defaults();
         opt.max_tokens = 80;
         opt.on_text = print_piece;
         pml_status st = pml_chat_once(model, "What is a KV cache?", &opt);
         if (st != PML_OK) fprintf(stderr, "%s\n", pml_error());
         pml_model_close(model);
         return st != PML_OK;
       }

       cc -O2 main.c -o main -lm -pthread && ./main

   HOW TO INCLUDE
     PRODML_IMPLEMENTATION   define it in one .c file before the include.
     PRODML_EXTERN           also define it when several files of one program
                             include the header: the functions then have
                             external linkage and exist once.  Without it they
                             are static, the compiler drops what you do not
                             call, and one file compiles in seconds.  Two
                             static implementations in one program are not
                             supported: each would have its own thread pool.
     PRODML_USE_xxx          optional libraries, all off by default:
       OPENBLAS  f32 GEMM for training and as a baseline    -lopenblas
       CJSON     cJSON, for bodies and reports              -lcjson
       STB       stb_image_write, for --png
     The core needs libc, libm and pthread.  Linux and macOS, gcc >= 11,
     clang >= 14.  From C++ only the declarations are visible.

   CONTENTS
     PART I   GROUND
       § 1   Status and errors            what failed, where, what to do
       § 2   Memory                       checked sizes, counted allocation, arenas
       § 3   Clock and random numbers     monotonic time, a documented generator
       § 4   Hardware                     which kernels this processor can run
       § 5   Threads                      a pool that spins, then sleeps
       § 6   Files and bytes              mapping, atomic writes, a bounded reader
       § 7   Checksums and identifiers    CRC-32, SHA-256, UUID version 5
       § 8   Numbers                      f16, bf16, strict mathematics
       § 9   Statistics                   percentiles, MAD, bootstrap intervals
       § 10  Trace and provenance         spans, counters, who computed this
     PART II   COMPUTE
       § 11  Vector kernels               dot, linear layer, norms, softmax, RoPE, activations
       § 12  Matrix multiplication        the GEMM that training runs on
       § 13  Quantised blocks             8 to 2 bits a weight
       § 14  Attention                    queries meet keys through a block table
     PART III   FILES
       § 15  JSON                         a small bounded reader and writer
       § 16  Unicode                      UTF-8 and the categories a pre-tokenizer needs
       § 17  Tokenizer                    byte-level BPE, trained and applied
       § 18  GGUF                         one file: metadata, tokenizer, tensors
       § 19  safetensors                  a JSON header and raw tensors
       § 20  APR                          the course's own format
       § 21  Rosetta and checks           six conversions, what each loses
       § 22  Signing and encryption       who made this model, who may read it
       § 23  Registry and hub             one address, all artifacts
     PART IV   INFERENCE
       § 24  KV cache                     keys and values in blocks
       § 25  Model                        configuration, weights, the backend seam
       § 26  Transformer                  the forward pass on the CPU
       § 27  Sampling                     from logits to one token
       § 28  Chat and generation          templates, stop sequences, streaming
       § 29  Speculative decoding         a small model guesses, the large one checks
       § 30  Tensor parallelism           one layer on several workers
     PART V   LEARNING
       § 31  Backward pass                a derivative beside each forward
       § 32  Optimiser                    AdamW, warm-up, cosine, clipping
       § 33  Training                     batches, checkpoints, exact resume
       § 34  Evaluation                   perplexity, right answers, BM25
       § 35  Pruning                      weights that can go
       § 36  Distillation                 a teacher, a student, a temperature
       § 37  LoRA family                  small adapters on frozen weights
       § 38  Classical models             when a tree is enough
     PART VI   SERVING
       § 39  Scheduler                    continuous batching
       § 40  HTTP and SSE                 an API that real clients trust
       § 41  Serverless                   cold start, warm start
     PART VII   EDGE
       § 42  WASM                         the same code in a browser
       § 43  UI                           measure, lay out, paint
     PART VIII   SHOWCASE
       § 44  Speech                       from samples to words
       § 45  Transpiler                   Python in, C out
       § 46  Shell completion             n-grams on a history file
       § 47  Corpus                       extract, filter, falsify, publish
     PART IX   THE COURSE
       § 48  Benchmarks and Arrow         rates beside their limits
       § 49  SVG                          diagrams that measure their text
       § 50  Pages                        Markdown from a run
       § 51  Lessons                      arguments, outputs, checks

   NOTATION AND SHAPES
     T        tokens in a batch or sequence        S   positions already in the cache
     V        n_vocab, vocabulary size             L   n_layers
     d        d_model, width of the residual       f   d_ffn, width inside the feed-forward
     H        n_heads, query heads                 G   n_kv_heads, key and value heads
     h        head_dim, width of one head          B   sequences in a batch
     X[T,d]   a row-major array of T rows of d floats; the last index is contiguous.
     W[o,i]   a weight matrix: o outputs, i inputs, one row per output, as GGUF
              and safetensors store it.  A linear layer is Y[T,o] = X[T,i] · W[o,i]ᵀ.
     GGUF prints shapes the other way round: its ne[0] is the contiguous index.

   THREADS
     A model is read-only after it is opened and may be shared by threads.  A
     context (KV cache, session) belongs to one thread at a time.  The thread
     pool, the error text (one per thread) and the kernel choice are global.
     Results do not depend on the number of threads (§ 5, § 11).

   ERRORS
     What can fail returns pml_status.  pml_error() then holds one sentence:
     what, where, what to do.  The library never exits, aborts or prints; it
     logs through pml_log_set (§ 1).

   MEMORY
     Weights are memory-mapped and read in place.  Everything else comes from
     pml_alloc (§ 2), which pml_allocator_set can redirect.  Decoding a token
     allocates nothing.

   SUPPORTED MODELS
     arch "qwen2"  Qwen2, Qwen2.5, Qwen2.5-Coder     GQA, split-half RoPE, QKV bias
     arch "llama"  Llama 1-3, Mistral-shaped         GQA, adjacent-pair RoPE
     Tensor types computed today: F32, F16, BF16.  The other GGUF types are
     known by name and size, and refused with a sentence.

   LIMITS
     2^31-1 tokens in a vocabulary, 4 dimensions in a tensor, little-endian
     machines only.

   HISTORY
     0.1.0  2026-11  One header trains a language model, runs it, and the course
                     writes itself: ground, kernels, tokenizer, GGUF, transformer,
                     learning, lessons 02-06, apr.

   LICENCE  Apache-2.0, see LICENSE.
   ═════════════════════════════════════════════════════════════════════════════ */
#ifndef PRODML_H
#define PRODML_H

#define PML_VERSION "0.1.0"

/* POSIX names are hidden by -std=c11 unless they are asked for before the
   first system header.  So include prodml.h first. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
#if !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif
#if defined(__APPLE__) && !defined(_DARWIN_C_SOURCE)
#define _DARWIN_C_SOURCE 1
#endif

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Linkage, as HOW TO INCLUDE describes it.  PML_API marks public functions,
   PML__FN private ones, in declarations and definitions alike. */
#if defined(__GNUC__)
#define PML__UNUSED __attribute__((unused))
#define PML__PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define PML__UNUSED
#define PML__PRINTF(fmt, args)
#endif
#if defined(__cplusplus)
#define PML_API extern "C"
#elif defined(PRODML_IMPLEMENTATION) && !defined(PRODML_EXTERN)
#define PML_API static PML__UNUSED
#else
#define PML_API
#endif
#define PML__FN static PML__UNUSED

#if defined(PRODML_IMPLEMENTATION) && !defined(__cplusplus)
#define PML__IMPL 1
#if defined(__FAST_MATH__)
#error "prodml.h: do not compile with -ffast-math: strict mode promises exact bits (see § 8)"
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "prodml.h: little-endian machines only: model files are read in place"
#endif
/* Without this, gcc fuses a*b+c on machines that can, and the bits of a result
   would depend on the target.  Kernels that want a fused multiply-add ask for
   it by name. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define PML__X86 1
#elif defined(__aarch64__)
#include <arm_neon.h>
#define PML__ARM 1
#endif
#endif

/* ═════════════════════════════════════════════════════════════════════════════
   PART I   GROUND
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 1  STATUS AND ERRORS                                             needs nothing
   ─────────────────────────────────────────────────────────────────────────────
   A library must not decide for its caller that an error ends the program.  So
   what can fail returns a pml_status, a small number for the program to branch
   on, and leaves a sentence for the person: what failed, where, what to do.

     model.gguf: tensor 'blk.0.attn_q.weight' needs 802816 bytes at offset 91136,
     the file ends at 65536: the download was cut, pull it again

   The sentence is kept per thread, so a server's workers cannot overwrite each
   other's.  It stays valid until the next failure on the same thread.

   The trap: an error path that frees things may itself fail and replace the
   first sentence.  Set the sentence last, or clean up with functions that
   cannot fail.  Every pml_xxx_close and pml_xxx_free accepts NULL and returns
   nothing.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef enum {
  PML_OK = 0,
  PML_E_USAGE,        /* the caller's arguments make no sense */
  PML_E_IO,           /* the operating system refused: open, read, write, map */
  PML_E_FORMAT,       /* a file or text is not what it claims to be */
  PML_E_LIMIT,        /* valid, but larger than a stated limit or a buffer */
  PML_E_MEMORY,       /* an allocation failed */
  PML_E_UNSUPPORTED,  /* valid, but this build or machine cannot do it */
  PML_E_CANCELLED,    /* a callback or a signal asked to stop */
  PML_E_CHECK         /* an assertion of a lesson or a verification failed */
} pml_status;

/* The sentence of the last failure on this thread, "" if there was none. */
PML_API const char *pml_error(void);

/* Sets the sentence and returns st, so that code can say
   `return pml_fail(PML_E_IO, "%s: ...", path);`.  Text over 1023 bytes is cut. */
PML_API pml_status pml_fail(pml_status st, const char *fmt, ...) PML__PRINTF(2, 3);

/* The short name of a status: "ok", "usage", "io" ... */
PML_API const char *pml_status_name(pml_status st);

/* Where the library's log lines go.  level: 0 debug, 1 info, 2 warning.  NULL,
   the default, drops them.  Not thread-safe against concurrent logging: set it
   once at the start. */
typedef void (*pml_log_fn)(void *user, int level, const char *line);
PML_API void pml_log_set(pml_log_fn fn, void *user);
PML_API void pml_log(int level, const char *fmt, ...) PML__PRINTF(2, 3);

#ifdef PML__IMPL

static _Thread_local char pml__error_text[1024];
static pml_log_fn pml__log_fn;
static void *pml__log_user;

PML_API const char *pml_error(void) { return pml__error_text; }

PML_API pml_status pml_fail(pml_status st, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(pml__error_text, sizeof pml__error_text, fmt, ap);
  va_end(ap);
  return st;
}

PML_API const char *pml_status_name(pml_status st) {
  static const char *const names[] = {"ok",     "usage",       "io",        "format", "limit",
                                      "memory", "unsupported", "cancelled", "check"};
  return (size_t)st < sizeof names / sizeof names[0] ? names[st] : "unknown";
}

PML_API void pml_log_set(pml_log_fn fn, void *user) {
  pml__log_fn = fn;
  pml__log_user = user;
}

PML_API void pml_log(int level, const char *fmt, ...) {
  if (!pml__log_fn) return;
  char line[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  pml__log_fn(pml__log_user, level, line);
}

#endif /* § 1 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 2  MEMORY                                                            needs § 1
   ─────────────────────────────────────────────────────────────────────────────
   Two rules keep a parser safe and a decoder fast.

   Sizes from a file are hostile until checked: 2^40 rows × 2^40 columns × 4
   bytes wraps around 64 bits to 0, malloc(0) succeeds, and the copy that
   follows writes over the heap.  So a size is computed by pml_size_mul and
   pml_size_add, which say when the true result does not fit.

   Buffers that live together are allocated together.  An arena hands out
   64-byte aligned pieces of large blocks and frees them all at once; a cache
   line and an AVX-512 register are both 64 bytes.

   Cost: an arena allocation is one addition and one comparison.  pml_alloc
   counts the bytes in use and the high-water mark, so a lesson can print what
   training really needed instead of an estimate.
   The trap: memory from pml_alloc is uninitialised.  Use pml_calloc where a
   sum starts at zero.
   ═════════════════════════════════════════════════════════════════════════════ */

/* true and *out = a·b (a+b) when the result fits size_t; else false and *out = 0. */
PML_API bool pml_size_mul(size_t a, size_t b, size_t *out);
PML_API bool pml_size_add(size_t a, size_t b, size_t *out);

/* 64-byte aligned memory, NULL with pml_error set when there is none.  size 0
   gives a valid pointer.  Free with pml_free, which accepts NULL. */
PML_API void *pml_alloc(size_t size);
PML_API void *pml_calloc(size_t count, size_t size);
PML_API void *pml_realloc(void *p, size_t size);
PML_API void pml_free(void *p);
PML_API char *pml_strdup(const char *s);
PML_API char *pml_strndup(const char *s, size_t len); /* adds the final 0 */

/* Redirects the memory behind pml_alloc.  Call it before anything else.  Both
   functions must be given; alloc returns memory aligned to 16 bytes or NULL. */
PML_API void pml_allocator_set(void *(*alloc)(size_t), void (*release)(void *));

/* Bytes in use now, and the most that were ever in use since the last reset. */
PML_API size_t pml_memory_in_use(void);
PML_API size_t pml_memory_peak(void);
PML_API void pml_memory_peak_reset(void);

/* An arena: `pml_arena a = {0};` is a valid empty one.  Pieces are aligned to
   64 bytes, uninitialised, and live until pml_arena_free. */
typedef struct pml_arena {
  struct pml__arena_block *block;
  size_t block_size; /* of the next block; 0 means 1 MiB */
} pml_arena;
PML_API void *pml_arena_alloc(pml_arena *a, size_t size); /* NULL: out of memory */
PML_API void *pml_arena_calloc(pml_arena *a, size_t count, size_t size);
PML_API void pml_arena_free(pml_arena *a);

/* A growing byte string.  `pml_buf b = {0};` is empty.  data always ends with a
   0 byte that len does not count.  A failed allocation sets `failed` and later
   calls do nothing, so a writer checks once, at the end. */
typedef struct {
  char *data;
  size_t len, cap;
  bool failed;
} pml_buf;
PML_API void pml_buf_add(pml_buf *b, const void *bytes, size_t len);
PML_API void pml_buf_puts(pml_buf *b, const char *s);
PML_API void pml_buf_printf(pml_buf *b, const char *fmt, ...) PML__PRINTF(2, 3);
PML_API void pml_buf_free(pml_buf *b);

#ifdef PML__IMPL

static void *(*pml__alloc_fn)(size_t);
static void (*pml__release_fn)(void *);
static atomic_size_t pml__mem_now, pml__mem_peak;

PML_API bool pml_size_mul(size_t a, size_t b, size_t *out) {
  bool fits = a == 0 || b <= SIZE_MAX / a;
  *out = fits ? a * b : 0;
  return fits;
}

PML_API bool pml_size_add(size_t a, size_t b, size_t *out) {
  bool fits = b <= SIZE_MAX - a;
  *out = fits ? a + b : 0;
  return fits;
}

PML_API void pml_allocator_set(void *(*alloc)(size_t), void (*release)(void *)) {
  pml__alloc_fn = alloc;
  pml__release_fn = release;
}

/* In front of every piece lie 64 bytes: the pointer the allocator gave and the
   size the caller asked for. */
typedef struct {
  void *raw;
  size_t size;
} pml__mem_head;

PML_API void *pml_alloc(size_t size) {
  size_t total;
  void *raw = NULL;
  if (pml_size_add(size, 128, &total))
    raw = pml__alloc_fn ? pml__alloc_fn(total) : malloc(total);
  if (!raw) {
    pml_fail(PML_E_MEMORY, "out of memory: %zu bytes could not be allocated", size);
    return NULL;
  }
  uintptr_t p = ((uintptr_t)raw + 64 + 63) & ~(uintptr_t)63;
  pml__mem_head *head = (pml__mem_head *)(p - 64);
  head->raw = raw;
  head->size = size;
  size_t now = atomic_fetch_add(&pml__mem_now, size) + size;
  size_t peak = atomic_load(&pml__mem_peak);
  while (now > peak && !atomic_compare_exchange_weak(&pml__mem_peak, &peak, now)) {}
  return (void *)p;
}

PML_API void *pml_calloc(size_t count, size_t size) {
  size_t total;
  if (!pml_size_mul(count, size, &total)) {
    pml_fail(PML_E_MEMORY, "out of memory: %zu pieces of %zu bytes do not fit", count, size);
    return NULL;
  }
  void *p = pml_alloc(total);
  if (p) memset(p, 0, total);
  return p;
}

PML_API void pml_free(void *p) {
  if (!p) return;
  pml__mem_head *head = (pml__mem_head *)((uintptr_t)p - 64);
  atomic_fetch_sub(&pml__mem_now, head->size);
  if (pml__release_fn) pml__release_fn(head->raw);
  else free(head->raw);
}

PML_API void *pml_realloc(void *p, size_t size) {
  void *q = pml_alloc(size);
  if (p && q) {
    size_t old = ((pml__mem_head *)((uintptr_t)p - 64))->size;
    memcpy(q, p, old < size ? old : size);
    pml_free(p);
  }
  return q;
}

PML_API char *pml_strndup(const char *s, size_t len) {
  char *copy = len < SIZE_MAX ? (char *)pml_alloc(len + 1) : NULL;
  if (!copy) return NULL;
  memcpy(copy, s, len);
  copy[len] = 0;
  return copy;
}

PML_API char *pml_strdup(const char *s) { return pml_strndup(s, strlen(s)); }

PML_API size_t pml_memory_in_use(void) { return atomic_load(&pml__mem_now); }
PML_API size_t pml_memory_peak(void) { return atomic_load(&pml__mem_peak); }
PML_API void pml_memory_peak_reset(void) { atomic_store(&pml__mem_peak, atomic_load(&pml__mem_now)); }

struct pml__arena_block {
  struct pml__arena_block *next;
  size_t size, used;
};

PML_API void *pml_arena_alloc(pml_arena *a, size_t size) {
  size_t need;
  if (!pml_size_add(size, 127, &need)) {
    pml_fail(PML_E_MEMORY, "out of memory: %zu bytes could not be allocated", size);
    return NULL;
  }
  need = (size + 63) & ~(size_t)63;
  struct pml__arena_block *b = a->block;
  if (!b || b->size - b->used < need) {
    size_t block = a->block_size ? a->block_size : (size_t)1 << 20;
    if (block < need) block = need;
    b = (struct pml__arena_block *)pml_alloc(block + 64);
    if (!b) return NULL;
    b->next = a->block;
    b->size = block;
    b->used = 0;
    a->block = b;
  }
  void *p = (char *)b + 64 + b->used;
  b->used += need;
  return p;
}

PML_API void *pml_arena_calloc(pml_arena *a, size_t count, size_t size) {
  size_t total;
  if (!pml_size_mul(count, size, &total)) {
    pml_fail(PML_E_MEMORY, "out of memory: %zu pieces of %zu bytes do not fit", count, size);
    return NULL;
  }
  void *p = pml_arena_alloc(a, total);
  if (p) memset(p, 0, total);
  return p;
}

PML_API void pml_arena_free(pml_arena *a) {
  while (a->block) {
    struct pml__arena_block *next = a->block->next;
    pml_free(a->block);
    a->block = next;
  }
}

PML__FN bool pml__buf_reserve(pml_buf *b, size_t extra) {
  size_t need;
  if (b->failed || !pml_size_add(b->len, extra, &need) || need == SIZE_MAX) b->failed = true;
  else if (need + 1 > b->cap) {
    size_t cap = b->cap < 128 ? 256 : b->cap + b->cap / 2;
    if (cap < need + 1) cap = need + 1;
    char *data = (char *)pml_realloc(b->data, cap);
    if (data) {
      b->data = data;
      b->cap = cap;
    } else b->failed = true;
  }
  return !b->failed;
}

PML_API void pml_buf_add(pml_buf *b, const void *bytes, size_t len) {
  if (!pml__buf_reserve(b, len)) return;
  if (len) memcpy(b->data + b->len, bytes, len);
  b->len += len;
  b->data[b->len] = 0;
}

PML_API void pml_buf_puts(pml_buf *b, const char *s) { pml_buf_add(b, s, strlen(s)); }

PML_API void pml_buf_printf(pml_buf *b, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n >= 0 && pml__buf_reserve(b, (size_t)n)) {
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
  }
  va_end(again);
  va_end(ap);
}

PML_API void pml_buf_free(pml_buf *b) {
  pml_free(b->data);
  memset(b, 0, sizeof *b);
}

#endif /* § 2 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 3  CLOCK AND RANDOM NUMBERS                                          needs § 1
   ─────────────────────────────────────────────────────────────────────────────
   Time is read from the monotonic clock: the wall clock may jump when it is
   set, and a negative latency is hard to explain.

   Random numbers must be the same on every machine, or no run can be repeated.
   So we do not use rand().  The generator is xoshiro256**: 256 bits of state,
   period 2^256 - 1, a few shifts per number.  Its state is filled from a 64-bit
   seed by SplitMix64, so that seeds 1 and 2 start far apart.

     uniform   u = (next >> 40) · 2^-24            24 bits, exact in a float, in [0,1)
     below n   take next·n / 2^64, reject the few values that would be biased
     normal    sum of twelve 16-bit uniforms, minus 6  (Irwin-Hall): no logarithm,
               so the same bits everywhere; its tails end at ±6

   The trap: two parts of a program that share one generator influence each
   other.  Give each its own, seeded from pml_rng_split.
   Source: Blackman and Vigna 2021, Scrambled Linear PRNGs (arXiv:1805.01407).
   ═════════════════════════════════════════════════════════════════════════════ */

/* Seconds and nanoseconds since an arbitrary fixed moment; never decreases. */
PML_API double pml_time(void);
PML_API uint64_t pml_time_ns(void);

typedef struct {
  uint64_t s[4];
} pml_rng;
PML_API pml_rng pml_rng_seed(uint64_t seed);
PML_API uint64_t pml_rng_next(pml_rng *r);                /* 64 uniform bits */
PML_API float pml_rng_uniform(pml_rng *r);                /* [0,1), 24 bits */
PML_API uint32_t pml_rng_below(pml_rng *r, uint32_t n);   /* 0 … n-1, unbiased; n > 0 */
PML_API float pml_rng_normal(pml_rng *r);                 /* mean 0, variance 1 */
PML_API pml_rng pml_rng_split(pml_rng *r);                /* an independent generator */

#ifdef PML__IMPL

PML_API uint64_t pml_time_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

PML_API double pml_time(void) { return (double)pml_time_ns() * 1e-9; }

PML__FN uint64_t pml__splitmix(uint64_t *x) {
  uint64_t z = (*x += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

PML__FN uint64_t pml__rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

PML_API pml_rng pml_rng_seed(uint64_t seed) {
  pml_rng r;
  for (int i = 0; i < 4; i++) r.s[i] = pml__splitmix(&seed);
  return r;
}

PML_API uint64_t pml_rng_next(pml_rng *r) {
  uint64_t *s = r->s, out = pml__rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = pml__rotl(s[3], 45);
  return out;
}

PML_API float pml_rng_uniform(pml_rng *r) {
  return (float)(uint32_t)(pml_rng_next(r) >> 40) * 0x1p-24f;
}

/* Lemire's method on 32 bits: the product of a random 32-bit number and n has
   its quotient in the high half; low halves under 2^32 mod n are rejected. */
PML_API uint32_t pml_rng_below(pml_rng *r, uint32_t n) {
  uint32_t reject = (0u - n) % n;
  for (;;) {
    uint64_t m = (pml_rng_next(r) >> 32) * n;
    if ((uint32_t)m >= reject) return (uint32_t)(m >> 32);
  }
}

PML_API float pml_rng_normal(pml_rng *r) {
  uint32_t sum = 0;
  for (int i = 0; i < 3; i++) {
    uint64_t x = pml_rng_next(r);
    for (int j = 0; j < 4; j++, x >>= 16) sum += (uint32_t)(x & 0xFFFF);
  }
  return ((float)sum + 6.0f) * 0x1p-16f - 6.0f; /* sum < 2^20: exact; +6: centre of 12 half steps */
}

PML_API pml_rng pml_rng_split(pml_rng *r) { return pml_rng_seed(pml_rng_next(r)); }

#endif /* § 3 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 4  HARDWARE                                                          needs § 1
   ─────────────────────────────────────────────────────────────────────────────
   One binary runs on every x86-64: each kernel exists in several versions, and
   the processor is asked once which of them it can execute.  Three levels:

     PML_CPU_SCALAR   plain C, the definition
     PML_CPU_AVX2     AVX2 + FMA + F16C:  8 floats per register, 16 registers
     PML_CPU_AVX512   AVX-512 F/BW/DQ/VL: 16 floats per register, 32 registers

   The environment variable PML_CPU=scalar|avx2|avx512 lowers the level, so that
   every path can be tested on one machine.  Asking for more than the machine
   has is refused by pml_cpu_level_set with a sentence; the variable is then
   ignored and a warning is logged.

   The trap: CPUID alone is not enough.  The operating system must also save the
   wide registers on a context switch (XGETBV); __builtin_cpu_supports checks
   both.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef enum { PML_CPU_SCALAR = 0, PML_CPU_AVX2 = 1, PML_CPU_AVX512 = 2 } pml_cpu_level_t;

PML_API pml_cpu_level_t pml_cpu_level(void);  /* the level kernels use now */
PML_API pml_cpu_level_t pml_cpu_best(void);   /* the best this machine can do */
PML_API pml_status pml_cpu_level_set(pml_cpu_level_t level);
PML_API const char *pml_cpu_level_name(pml_cpu_level_t level);
PML_API const char *pml_cpu_model(void);      /* "Intel(R) Xeon(R) …", "unknown" */
PML_API int pml_cpu_count(void);              /* cores this process may use, >= 1 */
PML_API size_t pml_ram_bytes(void);           /* of the machine; 0 if unknown */

#ifdef PML__IMPL

static atomic_int pml__cpu_level = -1;

PML_API pml_cpu_level_t pml_cpu_best(void) {
#ifdef PML__X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("fma"))
    return PML_CPU_AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return PML_CPU_AVX2;
#endif
  return PML_CPU_SCALAR;
}

PML_API const char *pml_cpu_level_name(pml_cpu_level_t level) {
  static const char *const names[] = {"scalar", "avx2", "avx512"};
  return (size_t)level < 3 ? names[level] : "unknown";
}

PML_API pml_status pml_cpu_level_set(pml_cpu_level_t level) {
  if (level > pml_cpu_best() || (int)level < 0)
    return pml_fail(PML_E_UNSUPPORTED,
                    "this processor cannot run %s kernels, its best is %s: ask for that or less",
                    pml_cpu_level_name(level), pml_cpu_level_name(pml_cpu_best()));
  atomic_store(&pml__cpu_level, (int)level);
  return PML_OK;
}

PML_API pml_cpu_level_t pml_cpu_level(void) {
  int level = atomic_load_explicit(&pml__cpu_level, memory_order_relaxed);
  if (level >= 0) return (pml_cpu_level_t)level;
  pml_cpu_level_t chosen = pml_cpu_best();
  const char *env = getenv("PML_CPU");
  if (env && *env) {
    int i = 0;
    while (i < 3 && strcmp(env, pml_cpu_level_name((pml_cpu_level_t)i)) != 0) i++;
    if (i <= (int)chosen) chosen = (pml_cpu_level_t)i;
    else pml_log(2, "PML_CPU=%s is not available here, using %s", env, pml_cpu_level_name(chosen));
  }
  atomic_store(&pml__cpu_level, (int)chosen);
  return chosen;
}

PML_API int pml_cpu_count(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    int n = CPU_COUNT(&set);
    if (n > 0) return n;
  }
#endif
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 && n < INT_MAX ? (int)n : 1;
}

PML_API size_t pml_ram_bytes(void) {
  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
}

PML_API const char *pml_cpu_model(void) {
  static char name[128];
  if (name[0]) return name;
  FILE *f = fopen("/proc/cpuinfo", "r");
  char line[256];
  while (f && fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) || !colon) continue;
    colon[strcspn(colon, "\n")] = 0;
    snprintf(name, sizeof name, "%s", colon + 2);
    break;
  }
  if (f) fclose(f);
  if (!name[0]) snprintf(name, sizeof name, "unknown");
  return name;
}

#endif /* § 4 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 5  THREADS                                                     needs § 1 § 2 § 4
   ─────────────────────────────────────────────────────────────────────────────
   A decode step of a small model is over in a millisecond and holds hundreds of
   parallel regions.  Creating threads costs about 20 µs each, waking a sleeping
   one about 5 µs, so workers first spin on an atomic counter for a moment and
   only then sleep on a condition variable.

     pml_parallel(n, grain, fn, ctx)   calls fn(ctx, begin, end) over [0,n)

   The range is cut into chunks of `grain` items that threads take from a shared
   counter.  Which thread takes which chunk is left open, so fn must compute
   each item from its inputs alone.  Then the result cannot depend on the number
   of threads: that promise is tested, not hoped for.

   A worker that the system has put aside (another program wants the core) must
   not hold up a region it never joined: the caller takes the chunks itself and
   waits only for workers that hold one.  With one busy neighbour on two cores
   that made a matrix product 1.7 times as fast (85 to 150 GFLOP/s).

   The trap: two threads calling pml_parallel at once.  The second finds the
   pool busy and runs its range alone; it waits for nothing and gets the same
   bits.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef void (*pml_range_fn)(void *ctx, size_t begin, size_t end);

/* Number of threads that pml_parallel uses, the caller's included.  n = 0 means
   one per core of this process; the default.  At most 256. */
PML_API pml_status pml_threads_set(int n);
PML_API int pml_threads(void);

/* Runs fn over [0,n) in chunks of at least `grain` items, on all threads, and
   returns when all is done.  n <= grain runs in the caller at once. */
PML_API void pml_parallel(size_t n, size_t grain, pml_range_fn fn, void *ctx);

/* Ends the workers and frees the pool.  A later pml_parallel starts it again. */
PML_API void pml_threads_stop(void);

#ifdef PML__IMPL

#define PML__MAX_THREADS 256

static struct {
  pthread_mutex_t call;      /* held by the thread whose region is running */
  pthread_mutex_t sleep;
  pthread_cond_t wake;
  pthread_t worker[PML__MAX_THREADS];
  int n_threads, n_workers;  /* wanted (0: not chosen yet), started */
  atomic_size_t epoch;       /* counts regions; a change is the signal to work */
  atomic_size_t open;        /* epoch of the region that may be joined, 0: none */
  atomic_int inside;         /* workers between joining and leaving */
  atomic_size_t next;        /* first item nobody has taken */
  atomic_bool quit;
  size_t n, grain;
  pml_range_fn fn;
  void *ctx;
} pml__pool = {.call = PTHREAD_MUTEX_INITIALIZER,
               .sleep = PTHREAD_MUTEX_INITIALIZER,
               .wake = PTHREAD_COND_INITIALIZER};

PML__FN void pml__cpu_pause(void) {
#if defined(PML__X86)
  _mm_pause();
#elif defined(PML__ARM)
  __asm__ volatile("yield");
#endif
}

PML__FN void pml__pool_work(void) {
  size_t begin;
  while ((begin = atomic_fetch_add(&pml__pool.next, pml__pool.grain)) < pml__pool.n) {
    size_t end = pml__pool.n - begin < pml__pool.grain ? pml__pool.n : begin + pml__pool.grain;
    pml__pool.fn(pml__pool.ctx, begin, end);
  }
}

/* Waits until the epoch differs from `seen`: some 2000 pauses (0.1 ms) of spinning, then sleep. */
PML__FN size_t pml__pool_wait(size_t seen) {
  for (int spin = 0; spin < 2000; spin++) {
    size_t now = atomic_load_explicit(&pml__pool.epoch, memory_order_acquire);
    if (now != seen) return now;
    pml__cpu_pause();
  }
  pthread_mutex_lock(&pml__pool.sleep);
  size_t now;
  while ((now = atomic_load(&pml__pool.epoch)) == seen)
    pthread_cond_wait(&pml__pool.wake, &pml__pool.sleep);
  pthread_mutex_unlock(&pml__pool.sleep);
  return now;
}

PML__FN void pml__pool_signal(void) {
  pthread_mutex_lock(&pml__pool.sleep);
  atomic_fetch_add(&pml__pool.epoch, 1);
  pthread_cond_broadcast(&pml__pool.wake);
  pthread_mutex_unlock(&pml__pool.sleep);
}

/* A worker joins first and looks second; the caller closes first and counts
   second.  So a worker that comes too late never touches the range, and the
   caller never leaves while one is at work. */
PML__FN void *pml__pool_main(void *arg) {
  size_t seen = (size_t)(uintptr_t)arg;
  for (;;) {
    seen = pml__pool_wait(seen);
    if (atomic_load(&pml__pool.quit)) return NULL;
    atomic_fetch_add(&pml__pool.inside, 1);
    if (atomic_load(&pml__pool.open) == seen) pml__pool_work();
    atomic_fetch_sub(&pml__pool.inside, 1);
  }
}

/* The caller holds pml__pool.call. */
PML__FN void pml__pool_start(void) {
  int want = pml_threads() - 1;
  size_t epoch = atomic_load(&pml__pool.epoch);
  while (pml__pool.n_workers < want) {
    pthread_t *t = &pml__pool.worker[pml__pool.n_workers];
    if (pthread_create(t, NULL, pml__pool_main, (void *)(uintptr_t)epoch) != 0) {
      pml_log(2, "only %d of %d threads could be started", pml__pool.n_workers + 1, want + 1);
      pml__pool.n_threads = pml__pool.n_workers + 1;
      return;
    }
    pml__pool.n_workers++;
  }
}

PML__FN void pml__pool_stop_locked(void) {
  atomic_store(&pml__pool.quit, true);
  pml__pool_signal();
  for (int i = 0; i < pml__pool.n_workers; i++) pthread_join(pml__pool.worker[i], NULL);
  pml__pool.n_workers = 0;
  atomic_store(&pml__pool.quit, false);
}

PML_API int pml_threads(void) {
  if (pml__pool.n_threads == 0) {
    int n = pml_cpu_count();
    pml__pool.n_threads = n < PML__MAX_THREADS ? n : PML__MAX_THREADS;
  }
  return pml__pool.n_threads;
}

PML_API pml_status pml_threads_set(int n) {
  if (n < 0 || n > PML__MAX_THREADS)
    return pml_fail(PML_E_USAGE, "%d threads asked for: give 1 to %d, or 0 for one per core", n,
                    PML__MAX_THREADS);
  pthread_mutex_lock(&pml__pool.call);
  if (pml__pool.n_workers && n != pml__pool.n_threads) pml__pool_stop_locked();
  pml__pool.n_threads = n;
  pthread_mutex_unlock(&pml__pool.call);
  return PML_OK;
}

PML_API void pml_threads_stop(void) {
  pthread_mutex_lock(&pml__pool.call);
  if (pml__pool.n_workers) pml__pool_stop_locked();
  pthread_mutex_unlock(&pml__pool.call);
}

PML_API void pml_parallel(size_t n, size_t grain, pml_range_fn fn, void *ctx) {
  if (grain == 0) grain = 1;
  if (n == 0) return;
  if (n <= grain || pthread_mutex_trylock(&pml__pool.call) != 0) {
    fn(ctx, 0, n);
    return;
  }
  if (pml__pool.n_workers < pml_threads() - 1) pml__pool_start();
  if (pml__pool.n_workers == 0) {
    pthread_mutex_unlock(&pml__pool.call);
    fn(ctx, 0, n);
    return;
  }
  pml__pool.n = n;
  pml__pool.grain = grain;
  pml__pool.fn = fn;
  pml__pool.ctx = ctx;
  atomic_store(&pml__pool.next, 0);
  atomic_store(&pml__pool.open, atomic_load(&pml__pool.epoch) + 1);
  pml__pool_signal();
  pml__pool_work();
  atomic_store(&pml__pool.open, 0);
  for (int spin = 0; atomic_load(&pml__pool.inside) > 0; spin++) {
    if (spin < 1000) pml__cpu_pause();
    else sched_yield();
  }
  pthread_mutex_unlock(&pml__pool.call);
}

#endif /* § 5 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 6  FILES AND BYTES                                            needs § 1 § 2
   ─────────────────────────────────────────────────────────────────────────────
   A model file is read by mapping it: the operating system lends us addresses,
   and a page of 4096 bytes comes from the disk when it is first touched.
   Opening a 5 GB model takes microseconds, and two programs that map the same
   file share one copy in memory.

   A file is written beside its final name and renamed at the end:

     write  model.gguf.4711-0.tmp     fsync: its bytes are on the disk
     rename to model.gguf             one step: readers see the old or the new
     fsync the directory              the name is on the disk too

   A crash, a full disk or Ctrl-C therefore never leaves half a model under the
   real name.

   Bytes from a file are taken by a reader that knows where they end.  A read
   past the end gives 0 and sets a flag; so a parser writes its reads one after
   the other and checks the flag once per record.

   Cost: the writer holds 1 MiB; an atomic write needs the disk space of both
   files for a moment.
   Where it goes wrong: (1) a file that is cut by someone else while it is mapped
   ends the process with SIGBUS at the next touch of a lost page; replace model
   files by rename, as the writer does, never in place.  (2) write() may write
   less than asked, and a full disk may be noticed only by fsync or close: every
   one of the four results is checked.
   Source: Pillai et al. 2014, All File Systems Are Not Created Equal (OSDI).
   ═════════════════════════════════════════════════════════════════════════════ */

/* A file mapped read-only, or read into memory where mapping is impossible. */
typedef struct {
  const unsigned char *data;
  size_t size;
  bool mapped;   /* false: data came from pml_alloc */
  char *path;    /* owned copy, for error sentences */
} pml_file;

/* Opens a regular file.  An empty file is valid: size 0 and data not NULL.
   PML_E_USAGE: no name.  PML_E_IO with the system's reason: missing, no
   permission, a directory, a pipe or a device.  On failure *f is all zero.  The
   bytes live until pml_file_close, which accepts a zeroed f. */
PML_API pml_status pml_file_open(pml_file *f, const char *path);
PML_API void pml_file_close(pml_file *f);

/* Reads a whole regular file into memory.  *data holds *size bytes and one 0
   byte after them; pml_free it.  size may be NULL.  On failure *data is NULL.
   A file that ends before the size it had when it was opened is PML_E_IO. */
PML_API pml_status pml_file_read(const char *path, char **data, size_t *size);

/* Writes size bytes to path so that readers see the old file or the whole new
   one.  On failure the old file is untouched and nothing is left beside it. */
PML_API pml_status pml_file_write(const char *path, const void *data, size_t size);

/* true when something of this name exists, a directory included. */
PML_API bool pml_file_exists(const char *path);

/* Creates the directory and those above it; existing ones are fine. */
PML_API pml_status pml_mkdirs(const char *path);

/* The same atomic write as a stream, for files too large to hold twice.  A
   symbolic link is followed, and an existing file's permissions are kept.  A
   device or pipe (/dev/stdout) cannot be replaced by a rename, so it is written
   directly.  The first error is remembered: every later call returns it, so
   only the result of commit needs checking. */
typedef struct pml_writer pml_writer;
PML_API pml_status pml_writer_open(pml_writer **w, const char *path); /* *w is NULL on failure */
PML_API pml_status pml_writer_add(pml_writer *w, const void *data, size_t size);
PML_API uint64_t pml_writer_offset(const pml_writer *w); /* bytes added so far */
PML_API pml_status pml_writer_commit(pml_writer *w);     /* fsync, rename; frees w in any case */
PML_API void pml_writer_cancel(pml_writer *w);           /* removes the temporary, frees w; NULL is fine */

/* A bounded little-endian reader over bytes.  After the first read past the end
   `failed` is set, `at` stays, and everything reads as 0.  Set data and size,
   leave the rest 0; `at` may be set to any value <= size. */
typedef struct {
  const unsigned char *data;
  size_t size, at;
  bool failed;
} pml_reader;
PML_API uint8_t pml_read_u8(pml_reader *r);
PML_API uint16_t pml_read_u16(pml_reader *r);
PML_API uint32_t pml_read_u32(pml_reader *r);
PML_API uint64_t pml_read_u64(pml_reader *r);
PML_API float pml_read_f32(pml_reader *r);
PML_API double pml_read_f64(pml_reader *r);
PML_API const unsigned char *pml_read_bytes(pml_reader *r, uint64_t n); /* NULL when fewer are left */

/* Borrowed bytes: not 0-terminated, owned by someone else. */
typedef struct {
  const char *ptr;
  size_t len;
} pml_str;
PML_API pml_str pml_str_of(const char *s);              /* NULL gives {NULL, 0} */
PML_API bool pml_str_eq(pml_str a, const char *b);

#ifdef PML__IMPL

/* "model.gguf: cannot open: No such file or directory: check the name".  Of a
   very long path the end is shown: the reason must fit the sentence too. */
PML__FN pml_status pml__fail_errno(const char *path, const char *verb, int err) {
  const char *advice = "";
  size_t n = strlen(path);
  if (err == ENOENT) advice = ": check the name and that its directory exists";
  else if (err == EACCES || err == EPERM || err == EROFS)
    advice = ": check the permissions, or choose another place";
  else if (err == ENOSPC || err == EDQUOT) advice = ": the disk is full, free some space and repeat";
  else if (err == EFBIG) advice = ": this file system or process has a limit on file size (ulimit -f)";
  else if (err == ENOTDIR) advice = ": a part of the path is a file, not a directory";
  else if (err == EMFILE || err == ENFILE) advice = ": too many files are open (ulimit -n)";
  return pml_fail(PML_E_IO, "%s%s: cannot %s: %s%s", n > 500 ? "..." : "", n > 500 ? path + n - 500 : path,
                  verb, strerror(err), advice);
}

/* Opens a regular file for reading, without waiting should it be a pipe. */
PML__FN pml_status pml__file_fd(const char *path, int *fd, size_t *size) {
  struct stat info;
  if (!path || !*path) return pml_fail(PML_E_USAGE, "no file name was given");
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0) return pml__fail_errno(path, "open", errno);
  pml_status st = PML_OK;
  if (fstat(*fd, &info) != 0) st = pml__fail_errno(path, "read", errno);
  else if (S_ISDIR(info.st_mode))
    st = pml_fail(PML_E_IO, "%s: is a directory: name a file in it", path);
  else if (!S_ISREG(info.st_mode))
    st = pml_fail(PML_E_IO, "%s: is a pipe or a device, not a file: save its content to a file first", path);
  else if ((uint64_t)info.st_size > SIZE_MAX / 2)
    st = pml_fail(PML_E_LIMIT, "%s: is too large for this machine's addresses", path);
  else *size = (size_t)info.st_size;
  if (st != PML_OK) {
    close(*fd);
    *fd = -1;
  }
  return st;
}

/* Reads to the end.  `size` is a hint and the least that must come: files under
   /proc say 0 and are longer. */
PML__FN pml_status pml__fd_read(const char *path, int fd, size_t size, char **data, size_t *got) {
  size_t cap = size + 1, n = 0;
  char *p = (char *)pml_alloc(cap + 1);
  while (p) {
    if (n == cap) {
      cap += cap / 2 + 65536;
      char *larger = (char *)pml_realloc(p, cap + 1);
      if (!larger) break;
      p = larger;
    }
    size_t want = cap - n < (size_t)1 << 30 ? cap - n : (size_t)1 << 30;
    ssize_t k = read(fd, p + n, want);
    if (k > 0) n += (size_t)k;
    else if (k == 0 && n >= size) {
      p[n] = 0;
      *data = p;
      *got = n;
      return PML_OK;
    } else if (k == 0 || errno != EINTR) {
      pml_free(p);
      if (k < 0) return pml__fail_errno(path, "read", errno);
      return pml_fail(PML_E_IO, "%s: ended at byte %zu of %zu: it was cut while being read", path, n, size);
    }
  }
  pml_free(p);
  return PML_E_MEMORY;
}

PML_API pml_status pml_file_read(const char *path, char **data, size_t *size) {
  int fd;
  size_t expected, got = 0;
  *data = NULL;
  if (size) *size = 0;
  pml_status st = pml__file_fd(path, &fd, &expected);
  if (st != PML_OK) return st;
  st = pml__fd_read(path, fd, expected, data, &got);
  close(fd);
  if (size) *size = got;
  return st;
}

/* @file_open */
PML_API pml_status pml_file_open(pml_file *f, const char *path) {
  int fd;
  memset(f, 0, sizeof *f);
  pml_status st = pml__file_fd(path, &fd, &f->size);
  if (st != PML_OK) return st;
  f->path = pml_strdup(path);
  if (!f->path) st = PML_E_MEMORY;
  else {
    void *p = f->size ? mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    char *copy = NULL;
    f->mapped = p != MAP_FAILED;
    if (!f->mapped) st = pml__fd_read(path, fd, f->size, &copy, &f->size);
    f->data = f->mapped ? (const unsigned char *)p : (const unsigned char *)copy;
  }
  close(fd); /* the mapping stays */
  if (st != PML_OK) pml_file_close(f);
  return st;
}
/* @end */

PML_API void pml_file_close(pml_file *f) {
  if (!f) return;
  if (f->mapped) munmap((void *)(uintptr_t)f->data, f->size);
  else pml_free((void *)(uintptr_t)f->data);
  pml_free(f->path);
  memset(f, 0, sizeof *f);
}

PML_API bool pml_file_exists(const char *path) {
  struct stat info;
  return path && *path && stat(path, &info) == 0;
}

PML_API pml_status pml_mkdirs(const char *path) {
  if (!path || !*path) return pml_fail(PML_E_USAGE, "no directory name was given");
  struct stat info;
  char *p = pml_strdup(path);
  if (!p) return PML_E_MEMORY;
  pml_status st = PML_OK;
  for (char *end = p + 1; st == PML_OK; end++) {
    if (*end && *end != '/') continue;
    char keep = *end;
    *end = 0;
    if (mkdir(p, 0777) != 0) {
      int err = errno;
      if (stat(p, &info) != 0) st = pml__fail_errno(p, "create the directory", err);
      else if (!S_ISDIR(info.st_mode))
        st = pml_fail(PML_E_IO, "%s: cannot create the directory: a file of this name exists", p);
    }
    *end = keep;
    if (!keep) break;
  }
  pml_free(p);
  return st;
}

#define PML__WRITER_BUFFER ((size_t)1 << 20)

struct pml_writer {
  int fd;
  char *path;             /* where the file shall be, links resolved */
  char *temp;             /* where it is until commit; NULL: written directly */
  unsigned char *buffer;
  size_t fill;
  uint64_t offset;
  pml_status status;      /* the first error ... */
  char why[1024];         /* ... and its sentence */
};

PML__FN pml_status pml__writer_fail(pml_writer *w, const char *verb, int err) {
  w->status = pml__fail_errno(w->path, verb, err);
  snprintf(w->why, sizeof w->why, "%s", pml_error());
  return w->status;
}

PML__FN void pml__writer_free(pml_writer *w) {
  if (!w) return;
  if (w->fd >= 0) close(w->fd);
  pml_free(w->path);
  pml_free(w->temp);
  pml_free(w->buffer);
  pml_free(w);
}

/* Creates "PATH.PID-N.tmp"; N grows past names that exist already. */
PML__FN pml_status pml__writer_temp(pml_writer *w, const struct stat *old) {
  static atomic_uint serial;
  size_t cap = strlen(w->path) + 48;
  w->temp = (char *)pml_alloc(cap);
  if (!w->temp) return PML_E_MEMORY;
  for (int tries = 0; w->fd < 0 && tries < 1000; tries++) {
    snprintf(w->temp, cap, "%s.%ld-%u.tmp", w->path, (long)getpid(), atomic_fetch_add(&serial, 1u));
    w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (w->fd < 0 && errno != EEXIST) break;
  }
  if (w->fd < 0) {
    int err = errno;
    pml_free(w->temp);
    w->temp = NULL;
    return pml__fail_errno(w->path, "create", err);
  }
  if (old && fchmod(w->fd, old->st_mode & 0777) != 0) return pml__fail_errno(w->path, "set permissions", errno);
  return PML_OK;
}

PML_API pml_status pml_writer_open(pml_writer **out, const char *path) {
  struct stat info;
  *out = NULL;
  if (!path || !*path) return pml_fail(PML_E_USAGE, "no file name was given");
  bool exists = stat(path, &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    return pml_fail(PML_E_IO, "%s: is a directory: name a file in it", path);
  if (exists && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0) return pml__fail_errno(path, "write", errno);
  pml_writer *w = (pml_writer *)pml_calloc(1, sizeof *w);
  if (!w) return PML_E_MEMORY;
  w->fd = -1;
  w->buffer = (unsigned char *)pml_alloc(PML__WRITER_BUFFER);
  char *real = exists ? realpath(path, NULL) : NULL; /* so that a link stays a link */
  w->path = pml_strdup(real ? real : path);
  free(real);
  pml_status st = w->buffer && w->path ? PML_OK : PML_E_MEMORY;
  if (st == PML_OK && exists && !S_ISREG(info.st_mode)) {
    w->fd = open(path, O_WRONLY | O_CLOEXEC);
    if (w->fd < 0) st = pml__fail_errno(path, "open", errno);
  } else if (st == PML_OK) st = pml__writer_temp(w, exists ? &info : NULL);
  if (st == PML_OK) *out = w;
  else {
    if (w->temp) unlink(w->temp);
    pml__writer_free(w);
  }
  return st;
}

PML__FN pml_status pml__writer_put(pml_writer *w, const unsigned char *p, size_t n) {
  while (n && w->status == PML_OK) {
    ssize_t k = write(w->fd, p, n < (size_t)1 << 30 ? n : (size_t)1 << 30);
    if (k < 0 && errno != EINTR) return pml__writer_fail(w, "write", errno);
    if (k > 0) {
      p += k;
      n -= (size_t)k;
    }
  }
  return w->status;
}

PML__FN pml_status pml__writer_flush(pml_writer *w) {
  size_t n = w->fill;
  w->fill = 0;
  return pml__writer_put(w, w->buffer, n);
}

PML_API pml_status pml_writer_add(pml_writer *w, const void *data, size_t size) {
  if (w->status != PML_OK) return pml_fail(w->status, "%s", w->why);
  w->offset += size;
  if (size > PML__WRITER_BUFFER - w->fill && pml__writer_flush(w) != PML_OK) return w->status;
  if (size >= PML__WRITER_BUFFER) return pml__writer_put(w, (const unsigned char *)data, size);
  if (size) memcpy(w->buffer + w->fill, data, size);
  w->fill += size;
  return PML_OK;
}

PML_API uint64_t pml_writer_offset(const pml_writer *w) { return w->offset; }

/* After the rename the new name must reach the disk.  Some file systems cannot
   sync a directory; the file is whole either way, so the result is not used. */
PML__FN void pml__sync_dir_of(char *path) {
  char *slash = strrchr(path, '/');
  if (slash) slash[slash == path] = 0;
  int fd = open(slash ? path : ".", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)fsync(fd);
  close(fd);
}

/* @writer_commit */
PML_API pml_status pml_writer_commit(pml_writer *w) {
  pml_status st = w->status;
  if (st == PML_OK) st = pml__writer_flush(w);
  if (st == PML_OK && w->temp && fsync(w->fd) != 0) st = pml__writer_fail(w, "write", errno);
  int closed = close(w->fd);
  w->fd = -1;
  if (st == PML_OK && closed != 0) st = pml__writer_fail(w, "write", errno);
  if (st == PML_OK && w->temp && rename(w->temp, w->path) != 0) st = pml__writer_fail(w, "replace", errno);
  if (st == PML_OK && w->temp) pml__sync_dir_of(w->temp);
  else if (st != PML_OK && w->temp) unlink(w->temp);
  if (st != PML_OK) pml_fail(st, "%s", w->why);
  pml__writer_free(w);
  return st;
}
/* @end */

PML_API void pml_writer_cancel(pml_writer *w) {
  if (w && w->temp) unlink(w->temp);
  pml__writer_free(w);
}

PML_API pml_status pml_file_write(const char *path, const void *data, size_t size) {
  pml_writer *w;
  pml_status st = pml_writer_open(&w, path);
  if (st != PML_OK) return st;
  (void)pml_writer_add(w, data, size); /* commit repeats its error */
  return pml_writer_commit(w);
}

/* @reader */
PML_API const unsigned char *pml_read_bytes(pml_reader *r, uint64_t n) {
  if (r->failed || n > r->size - r->at) {
    r->failed = true;
    return NULL;
  }
  const unsigned char *p = n ? r->data + r->at : (const unsigned char *)"";
  r->at += (size_t)n;
  return p;
}

PML__FN uint64_t pml__read_le(pml_reader *r, unsigned n) {
  const unsigned char *p = pml_read_bytes(r, n);
  uint64_t v = 0;
  for (unsigned i = 0; p && i < n; i++) v |= (uint64_t)p[i] << (8 * i);
  return v;
}
/* @end */

PML_API uint8_t pml_read_u8(pml_reader *r) { return (uint8_t)pml__read_le(r, 1); }
PML_API uint16_t pml_read_u16(pml_reader *r) { return (uint16_t)pml__read_le(r, 2); }
PML_API uint32_t pml_read_u32(pml_reader *r) { return (uint32_t)pml__read_le(r, 4); }
PML_API uint64_t pml_read_u64(pml_reader *r) { return pml__read_le(r, 8); }

PML_API float pml_read_f32(pml_reader *r) {
  uint32_t bits = pml_read_u32(r);
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

PML_API double pml_read_f64(pml_reader *r) {
  uint64_t bits = pml_read_u64(r);
  double d;
  memcpy(&d, &bits, sizeof d);
  return d;
}

PML_API pml_str pml_str_of(const char *s) {
  pml_str out = {s, s ? strlen(s) : 0};
  return out;
}

PML_API bool pml_str_eq(pml_str a, const char *b) {
  size_t n = strlen(b);
  return a.len == n && (n == 0 || memcmp(a.ptr, b, n) == 0);
}

#endif /* § 6 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 7  CHECKSUMS AND IDENTIFIERS                                  needs § 1 § 4
   ─────────────────────────────────────────────────────────────────────────────
   Three answers to three questions about bytes.

   Did the disk or the line damage them?  CRC-32 treats the bytes as one long
   polynomial over {0,1} and keeps the remainder of its division by
   x^32 + x^26 + x^23 + … + 1, written 0xEDB88320 with its bits reversed.  Every
   burst of errors up to 32 bits long changes the remainder.  An attacker can
   restore it with four chosen bytes, so it proves nothing against malice.

   Are they the bytes that were published?  SHA-256 mixes 64 bytes at a time into
   eight 32-bit words, 64 rounds each, made of rotations, additions and two
   bitwise choices.  Nobody has found two inputs with one digest.

   What is this thing called, in every country and year?  UUID version 5 hashes
   a namespace and a name with SHA-1 and keeps 122 bits: the same name gives the
   same identifier, and nobody has to hand numbers out.

   Cost, measured on one Zen 4 core: CRC-32 2 bytes per ns (eight table lookups
   per eight bytes, which do not wait for each other); SHA-256 0.27 bytes per ns
   in C, 1.5 with the SHA instructions of x86-64.  So the digest of a 500 MB model
   takes 0.3 s instead of 1.8.
   The trap: SHA-256 without its last step.  The length in bits, big-endian, ends
   the last block; a message of 56 to 63 bytes (mod 64) needs one block more for
   it.  The test hashes every length from 0 to 200 in pieces of every size.
   Source: ISO 3309 and Kounavis and Berry 2005, slicing (CRC-32); FIPS 180-4
   (SHA-1, SHA-256); RFC 9562 (UUID).
   ═════════════════════════════════════════════════════════════════════════════ */

/* The CRC-32 of zlib, PNG and gzip.  Start with crc = 0; feed the result back in
   with the next piece: crc(crc(0, a), b) is the CRC of a followed by b. */
PML_API uint32_t pml_crc32(uint32_t crc, const void *data, size_t size);

/* SHA-256 of bytes that come in pieces: init, add …, done.  After done the state
   must be initialised again.  data may be NULL when size is 0. */
typedef struct {
  uint32_t h[8];
  uint64_t n_bytes;
  unsigned char block[64];
} pml_sha256;
PML_API void pml_sha256_init(pml_sha256 *s);
PML_API void pml_sha256_add(pml_sha256 *s, const void *data, size_t size);
PML_API void pml_sha256_done(pml_sha256 *s, unsigned char digest[32]);

/* The digest of size bytes as 64 lower-case hexadecimal digits and a final 0. */
PML_API void pml_sha256_hex(const void *data, size_t size, char hex[65]);

/* The same for a file of any size, read in pieces of 64 KiB; PML_E_IO with a
   sentence when it cannot be read, and hex is then "". */
PML_API pml_status pml_sha256_file(const char *path, char hex[65]);

/* UUID version 5 of `size` bytes of name in the namespace ns (16 bytes in network
   order; NULL is the DNS namespace 6ba7b810-…), as 36 characters and a final 0. */
PML_API void pml_uuid5(const unsigned char ns[16], const void *name, size_t size, char text[37]);

#ifdef PML__IMPL

/* pml__crc_table[k][b] is the remainder of byte b followed by k zero bytes. */
static uint32_t pml__crc_table[8][256];
static pthread_once_t pml__crc_once = PTHREAD_ONCE_INIT;

PML__FN void pml__crc_init(void) {
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t r = b;
    for (int i = 0; i < 8; i++) r = (r >> 1) ^ (r & 1 ? 0xEDB88320u : 0);
    pml__crc_table[0][b] = r;
  }
  for (int k = 1; k < 8; k++)
    for (int b = 0; b < 256; b++) {
      uint32_t r = pml__crc_table[k - 1][b];
      pml__crc_table[k][b] = (r >> 8) ^ pml__crc_table[0][r & 255];
    }
}

/* @crc32 */
/* Eight bytes at a time: a byte that stands k places before the end of the eight
   contributes its remainder followed by k zero bytes, and remainders add by xor. */
PML_API uint32_t pml_crc32(uint32_t crc, const void *data, size_t size) {
  const unsigned char *p = (const unsigned char *)data;
  const uint32_t(*t)[256] = (const uint32_t(*)[256])pml__crc_table;
  pthread_once(&pml__crc_once, pml__crc_init);
  crc = ~crc;
  for (; size >= 8; p += 8, size -= 8) {
    uint32_t lo, hi;
    memcpy(&lo, p, 4);
    memcpy(&hi, p + 4, 4);
    lo ^= crc;
    crc = t[7][lo & 255] ^ t[6][lo >> 8 & 255] ^ t[5][lo >> 16 & 255] ^ t[4][lo >> 24] ^
          t[3][hi & 255] ^ t[2][hi >> 8 & 255] ^ t[1][hi >> 16 & 255] ^ t[0][hi >> 24];
  }
  for (; size > 0; p++, size--) crc = (crc >> 8) ^ t[0][(crc ^ *p) & 255];
  return ~crc;
}
/* @end */

PML__FN uint32_t pml__rotr32(uint32_t x, int k) { return (x >> k) | (x << (32 - k)); }

PML__FN uint32_t pml__load_be32(const unsigned char *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

PML__FN void pml__store_be32(unsigned char *p, uint32_t x) {
  for (int i = 0; i < 4; i++) p[i] = (unsigned char)(x >> (24 - 8 * i));
}

/* The first 32 bits of the fractions of the cube roots of the first 64 primes:
   numbers that nobody could have chosen to hide a weakness. */
static const uint32_t pml__sha256_k[64] PML__UNUSED = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* @sha256_block */
/* The definition: h[8] takes in one block of 64 bytes. */
PML__FN void pml__sha256_block(uint32_t h[8], const unsigned char *p) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++) w[i] = pml__load_be32(p + 4 * i);
  for (int i = 16; i < 64; i++) {
    uint32_t x = w[i - 15], y = w[i - 2];
    uint32_t s0 = pml__rotr32(x, 7) ^ pml__rotr32(x, 18) ^ (x >> 3);
    uint32_t s1 = pml__rotr32(y, 17) ^ pml__rotr32(y, 19) ^ (y >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], z = h[7];
  for (int i = 0; i < 64; i++) {
    uint32_t s1 = pml__rotr32(e, 6) ^ pml__rotr32(e, 11) ^ pml__rotr32(e, 25);
    uint32_t t1 = z + s1 + ((e & f) ^ (~e & g)) + pml__sha256_k[i] + w[i];
    uint32_t s0 = pml__rotr32(a, 2) ^ pml__rotr32(a, 13) ^ pml__rotr32(a, 22);
    uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    z = g, g = f, f = e, e = d + t1;
    d = c, c = b, b = a, a = t1 + t2;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += z;
}
/* @end */

#if defined(PML__X86)
/* The same with the SHA instructions: one of them does two rounds.  They keep the
   eight words as two registers of four, {A,B,E,F} and {C,D,G,H}; two rounds turn
   ABEF into the next CDGH, so the two names take turns. */
__attribute__((target("sha,sse4.1"))) PML__FN void pml__sha256_blocks_ni(uint32_t h[8], const unsigned char *p,
                                                                        size_t n) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
  __m128i cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
  for (; n > 0; n--, p += 64) {
    __m128i abef0 = abef, cdgh0 = cdgh, w[4];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) { /* four rounds each; w[i & 3] holds w[4i … 4i+3] */
      __m128i last = w[(i + 3) & 3], x;
      if (i < 4) {
        x = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
      } else {
        x = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
        x = _mm_add_epi32(x, _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
        x = _mm_sha256msg2_epu32(x, last);
      }
      w[i & 3] = x;
      x = _mm_add_epi32(x, _mm_loadu_si128((const __m128i *)(const void *)(pml__sha256_k + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, x);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(x, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef0);
    cdgh = _mm_add_epi32(cdgh, cdgh0);
  }
  uint32_t a[4], c[4];
  _mm_storeu_si128((__m128i *)(void *)a, abef);
  _mm_storeu_si128((__m128i *)(void *)c, cdgh);
  h[0] = a[3], h[1] = a[2], h[4] = a[1], h[5] = a[0];
  h[2] = c[3], h[3] = c[2], h[6] = c[1], h[7] = c[0];
}

/* CPUID leaf 7, EBX bit 29: the SHA instructions; they use no wide register that
   the operating system would have to know about. */
PML__FN bool pml__has_sha_ni(void) {
  static atomic_int known = -1;
  int yes = atomic_load_explicit(&known, memory_order_relaxed);
  if (yes < 0) {
    unsigned a, b, c, d;
    yes = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) && __builtin_cpu_supports("sse4.1");
    atomic_store_explicit(&known, yes, memory_order_relaxed);
  }
  return yes && pml_cpu_level() != PML_CPU_SCALAR;
}
#endif

PML__FN void pml__sha256_blocks(uint32_t h[8], const unsigned char *p, size_t n) {
#if defined(PML__X86)
  if (pml__has_sha_ni()) {
    pml__sha256_blocks_ni(h, p, n);
    return;
  }
#endif
  for (; n > 0; n--, p += 64) pml__sha256_block(h, p);
}

PML_API void pml_sha256_init(pml_sha256 *s) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(s->h, start, sizeof start);
  s->n_bytes = 0;
}

PML_API void pml_sha256_add(pml_sha256 *s, const void *data, size_t size) {
  const unsigned char *p = (const unsigned char *)data;
  size_t held = (size_t)(s->n_bytes & 63);
  if (size == 0) return;
  s->n_bytes += size;
  if (held > 0) {
    size_t take = size < 64 - held ? size : 64 - held;
    memcpy(s->block + held, p, take);
    p += take;
    size -= take;
    if (held + take < 64) return;
    pml__sha256_blocks(s->h, s->block, 1);
  }
  pml__sha256_blocks(s->h, p, size / 64);
  memcpy(s->block, p + (size & ~(size_t)63), size & 63);
}

PML_API void pml_sha256_done(pml_sha256 *s, unsigned char digest[32]) {
  static const unsigned char pad[64] = {0x80};
  uint64_t bits = s->n_bytes * 8;
  unsigned char tail[8];
  pml__store_be32(tail, (uint32_t)(bits >> 32));
  pml__store_be32(tail + 4, (uint32_t)bits);
  size_t held = (size_t)(s->n_bytes & 63);
  pml_sha256_add(s, pad, held < 56 ? 56 - held : 120 - held);
  pml_sha256_add(s, tail, 8);
  for (int i = 0; i < 8; i++) pml__store_be32(digest + 4 * i, s->h[i]);
}

PML__FN void pml__hex(char *out, const unsigned char *bytes, size_t n) {
  for (size_t i = 0; i < n; i++) {
    out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
    out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
  }
  out[2 * n] = 0;
}

PML_API void pml_sha256_hex(const void *data, size_t size, char hex[65]) {
  pml_sha256 s;
  unsigned char digest[32];
  pml_sha256_init(&s);
  pml_sha256_add(&s, data, size);
  pml_sha256_done(&s, digest);
  pml__hex(hex, digest, 32);
}

/* Reads instead of mapping: a file that someone cuts while it is hashed gives an
   error or another digest, never a bus error. */
PML_API pml_status pml_sha256_file(const char *path, char hex[65]) {
  unsigned char buf[65536], digest[32];
  pml_sha256 s;
  pml_status st = PML_OK;
  hex[0] = 0;
  FILE *f = fopen(path, "rb");
  if (!f) return pml_fail(PML_E_IO, "%s: cannot be opened for its checksum: %s", path, strerror(errno));
  pml_sha256_init(&s);
  for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) pml_sha256_add(&s, buf, n);
  if (ferror(f)) st = pml_fail(PML_E_IO, "%s: reading for its checksum failed: %s", path, strerror(errno));
  fclose(f);
  if (st != PML_OK) return st;
  pml_sha256_done(&s, digest);
  pml__hex(hex, digest, 32);
  return PML_OK;
}

/* SHA-1 is broken for signatures (collisions cost days); UUID version 5 is defined
   by it and needs only that names scatter.  So it stays private. */
PML__FN void pml__sha1_block(uint32_t h[5], const unsigned char *p) {
  uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
  for (int i = 0; i < 80; i++) {
    if (i < 16) w[i] = pml__load_be32(p + 4 * i);
    else w[i] = pml__rotr32(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 31);
    uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                 : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                 : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                          : (b ^ c ^ d) + 0xca62c1d6;
    uint32_t t = pml__rotr32(a, 27) + f + e + w[i];
    e = d;
    d = c;
    c = pml__rotr32(b, 2);
    b = a;
    a = t;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* SHA-1 of the 16 bytes of ns followed by the name. */
PML__FN void pml__sha1_pair(const unsigned char ns[16], const unsigned char *name, size_t size,
                            unsigned char digest[20]) {
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  unsigned char block[64];
  uint64_t bits = ((uint64_t)size + 16) * 8;
  size_t held = 16;
  memcpy(block, ns, 16);
  for (size_t i = 0; i < size; i++) {
    block[held++] = name[i];
    if (held == 64) pml__sha1_block(h, block), held = 0;
  }
  block[held++] = 0x80;
  if (held > 56) {
    memset(block + held, 0, 64 - held);
    pml__sha1_block(h, block);
    held = 0;
  }
  memset(block + held, 0, 56 - held);
  pml__store_be32(block + 56, (uint32_t)(bits >> 32));
  pml__store_be32(block + 60, (uint32_t)bits);
  pml__sha1_block(h, block);
  for (int i = 0; i < 5; i++) pml__store_be32(digest + 4 * i, h[i]);
}

PML_API void pml_uuid5(const unsigned char ns[16], const void *name, size_t size, char text[37]) {
  static const unsigned char dns[16] = {0x6b, 0xa7, 0xb8, 0x10, 0x9d, 0xad, 0x11, 0xd1,
                                        0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
  unsigned char u[20];
  char hex[33];
  pml__sha1_pair(ns ? ns : dns, (const unsigned char *)name, size, u);
  u[6] = (unsigned char)((u[6] & 0x0F) | 0x50); /* version 5 */
  u[8] = (unsigned char)((u[8] & 0x3F) | 0x80); /* the variant of the standard */
  pml__hex(hex, u, 16);
  snprintf(text, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

#endif /* § 7 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 8  NUMBERS                                                        needs § 1
   ─────────────────────────────────────────────────────────────────────────────
   F16, bf16, strict mathematics.
   ═════════════════════════════════════════════════════════════════════════════ */

PML_API float pml_f16_to_f32(uint16_t h);
PML_API uint16_t pml_f32_to_f16(float f);   /* round to nearest even */
PML_API float pml_bf16_to_f32(uint16_t h);
PML_API uint16_t pml_f32_to_bf16(float f);  /* round to nearest even, NaN stays NaN */

/* Strict mode: the same bits on every processor (see the prose above).  Global;
   set it once before work starts. */
PML_API void pml_strict_set(bool on);
PML_API bool pml_strict(void);

/* Elementary functions made of +, -, *, / and bit moves only: no libm, no fused
   multiply-add, so the same bits everywhere and in every vector width.  The
   stated error holds over the whole range. */
PML_API float pml_expf(float x);
PML_API float pml_logf(float x);
PML_API float pml_tanhf(float x);
PML_API float pml_sigmoidf(float x);
PML_API float pml_sinf(float x);   /* |x| up to 1e6 radians */
PML_API float pml_cosf(float x);
PML_API double pml_expd(double x);
PML_API double pml_logd(double x);
PML_API double pml_sind(double x);
PML_API double pml_cosd(double x);
PML_API double pml_powd(double x, double y); /* x > 0 */

#ifdef PML__IMPL
#endif /* § 8 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 9  STATISTICS                                             needs § 1 § 2 § 3
   ─────────────────────────────────────────────────────────────────────────────
   A time measured once is an anecdote.  Measured a thousand times it is a
   distribution with a long right tail: nothing runs faster than the machine can,
   but an interrupt may make any run slower.  So the mean says little and the
   quantiles say much.

     quantile q    sort x[0 … n-1];  at p = q·(n-1) interpolate between x[⌊p⌋] and
                   x[⌊p⌋+1].  q = 0.5 is the median, 0.99 the P99: one request in a
                   hundred is slower.
     MAD           median of |x[i] - median(x)|: the spread, unmoved by a few
                   outliers.  1.4826·MAD estimates σ when the bulk is normal.
     bootstrap     how sure are we of the median?  Draw n values from x with
                   replacement, take their median, 1000 times.  The middle 95 %
                   of those medians is the interval.

   Cost: one sort, n·log n; the bootstrap adds 1000·2n steps and no further sort,
   because a resample of sorted values is a count per rank: walk the counts until
   half are passed.
   The trap: a P99 of 50 runs.  It is an interpolation between the two slowest and
   says nothing about the 1 %.  Give n beside it; the lessons use 1000.  And two
   intervals that overlap are no proof that nothing changed: compare paired
   ratios, A/B/A/B in one run.
   Source: Hyndman and Fan 1996 (the quantile is their definition 7); Efron and
   Tibshirani 1993, An Introduction to the Bootstrap (percentile method).
   ═════════════════════════════════════════════════════════════════════════════ */

/* All functions leave x[n] as it is and work on a sorted copy.  They return NaN
   when n is 0, a value is NaN, or the copy cannot be allocated (pml_error says). */
PML_API double pml_mean(const double *x, size_t n);
PML_API double pml_stddev(const double *x, size_t n);             /* of the sample, n - 1; 0 when n = 1 */
PML_API double pml_quantile(const double *x, size_t n, double q); /* linear interpolation, q in [0,1] */
PML_API double pml_median(const double *x, size_t n);
PML_API double pml_mad(const double *x, size_t n);                /* median absolute deviation */

/* The bootstrap interval *lo … *hi of the median at `level` (0.95 is customary):
   1000 resamples, drawn from pml_rng_seed(seed), so the same x and seed give the
   same interval everywhere.  n < 2^32. */
PML_API void pml_bootstrap(const double *x, size_t n, double level, uint64_t seed, double *lo, double *hi);

/* What a benchmark prints, from one sort: in the unit of x. */
typedef struct {
  size_t n;
  double mean, stddev, min, p50, p90, p99, max, mad;
  double lo, hi; /* 95 % bootstrap interval of p50 */
} pml_summary;
PML_API pml_status pml_summarize(pml_summary *out, const double *x, size_t n, uint64_t seed);

#ifdef PML__IMPL

PML__FN int pml__double_order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* *s is a sorted copy to pml_free, or NULL. */
PML__FN pml_status pml__sorted(double **s, const double *x, size_t n) {
  *s = NULL;
  if (n == 0 || n > SIZE_MAX / sizeof *x)
    return pml_fail(PML_E_USAGE, "statistics of %zu values asked for: at least 1 is needed", n);
  for (size_t i = 0; i < n; i++)
    if (isnan(x[i])) return pml_fail(PML_E_USAGE, "statistics: value %zu of %zu is not a number", i, n);
  *s = (double *)pml_alloc(n * sizeof *x);
  if (!*s) return PML_E_MEMORY;
  memcpy(*s, x, n * sizeof *x);
  qsort(*s, n, sizeof *x, pml__double_order);
  return PML_OK;
}

/* @quantile */
PML__FN double pml__quantile_sorted(const double *s, size_t n, double q) {
  double p = (q < 0 ? 0 : q > 1 ? 1 : q) * (double)(n - 1);
  size_t i = (size_t)p;
  if (i + 1 >= n) return s[n - 1];
  double part = p - (double)i;
  return part > 0 && s[i] < s[i + 1] ? s[i] + part * (s[i + 1] - s[i]) : s[i];
}
/* @end */

/* The median of |s[i] - m|: the deviations fall towards the median from both ends
   of sorted s, so the k-th largest is found by taking the larger end k times. */
PML__FN double pml__mad_sorted(const double *s, size_t n) {
  double m = pml__quantile_sorted(s, n, 0.5), upper = 0, lower = 0;
  size_t i = 0, j = n - 1;
  for (size_t taken = 0; taken <= n / 2; taken++) {
    upper = lower;
    lower = m - s[i] > s[j] - m ? m - s[i++] : s[j--] - m;
  }
  return n % 2 ? lower : lower + (upper - lower) / 2;
}

/* @bootstrap */
/* One resample of sorted s[n]: count how often each rank is drawn, then walk to
   the middle.  Draws n/2 + 1 and, for even n, the one before make the median. */
PML__FN double pml__resample_median(const double *s, size_t n, uint32_t *count, pml_rng *rng) {
  memset(count, 0, n * sizeof *count);
  for (size_t i = 0; i < n; i++) count[pml_rng_below(rng, (uint32_t)n)]++;
  size_t rank = 0, passed = count[0];
  while (passed < (n + 1) / 2) passed += count[++rank];
  double low = s[rank];
  while (passed < n / 2 + 1) passed += count[++rank];
  return s[rank] > low ? low + (s[rank] - low) / 2 : low;
}
/* @end */

PML__FN void pml__bootstrap_sorted(const double *s, size_t n, double level, uint64_t seed, double *lo,
                                   double *hi) {
  enum { RESAMPLES = 1000 };
  double medians[RESAMPLES];
  uint32_t *count = NULL;
  *lo = *hi = (double)NAN;
  if (n > UINT32_MAX) pml_fail(PML_E_LIMIT, "bootstrap of %zu values: at most 2^32 - 1 are supported", n);
  else count = (uint32_t *)pml_alloc(n * sizeof *count);
  if (!count) return;
  pml_rng rng = pml_rng_seed(seed);
  for (int i = 0; i < RESAMPLES; i++) medians[i] = pml__resample_median(s, n, count, &rng);
  pml_free(count);
  qsort(medians, RESAMPLES, sizeof medians[0], pml__double_order);
  *lo = pml__quantile_sorted(medians, RESAMPLES, (1 - level) / 2);
  *hi = pml__quantile_sorted(medians, RESAMPLES, (1 + level) / 2);
}

PML_API double pml_mean(const double *x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += x[i];
  return n ? sum / (double)n : (double)NAN;
}

PML_API double pml_stddev(const double *x, size_t n) {
  double mean = pml_mean(x, n), sum = 0;
  for (size_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
  if (n < 2) return n ? sum : (double)NAN;
  return sqrt(sum / (double)(n - 1));
}

PML_API double pml_quantile(const double *x, size_t n, double q) {
  double *s, v = pml__sorted(&s, x, n) == PML_OK ? pml__quantile_sorted(s, n, q) : (double)NAN;
  pml_free(s);
  return v;
}

PML_API double pml_median(const double *x, size_t n) { return pml_quantile(x, n, 0.5); }

PML_API double pml_mad(const double *x, size_t n) {
  double *s, v = pml__sorted(&s, x, n) == PML_OK ? pml__mad_sorted(s, n) : (double)NAN;
  pml_free(s);
  return v;
}

PML_API void pml_bootstrap(const double *x, size_t n, double level, uint64_t seed, double *lo, double *hi) {
  double *s;
  *lo = *hi = (double)NAN;
  if (pml__sorted(&s, x, n) == PML_OK) pml__bootstrap_sorted(s, n, level, seed, lo, hi);
  pml_free(s);
}

PML_API pml_status pml_summarize(pml_summary *out, const double *x, size_t n, uint64_t seed) {
  double *s;
  memset(out, 0, sizeof *out);
  pml_status st = pml__sorted(&s, x, n);
  if (st != PML_OK) return st;
  out->n = n;
  out->mean = pml_mean(x, n);
  out->stddev = pml_stddev(x, n);
  out->min = s[0];
  out->p50 = pml__quantile_sorted(s, n, 0.5);
  out->p90 = pml__quantile_sorted(s, n, 0.9);
  out->p99 = pml__quantile_sorted(s, n, 0.99);
  out->max = s[n - 1];
  out->mad = pml__mad_sorted(s, n);
  pml__bootstrap_sorted(s, n, 0.95, seed, &out->lo, &out->hi);
  pml_free(s);
  return isnan(out->lo) ? PML_E_MEMORY : PML_OK;
}

#endif /* § 9 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 10  TRACE AND PROVENANCE                                needs § 1 § 2 § 3 § 4 § 8
   ─────────────────────────────────────────────────────────────────────────────
   A trace answers: where did the time go, and where did the numbers go wrong?
   Code that may be watched brackets its work:

     uint64_t t = pml_trace_begin();
     … compute y[n] …
     pml_trace_end(t, "attention", layer, y, n);

   A span is a name, a layer, two moments and the values that came out.  Whoever
   installs a hook sees every span when it ends, inner ones before outer ones, on
   the thread that computed it.  A counter is a span without duration and with one
   value.

   Provenance answers: who computed this number?  Program, version, commit,
   compiler, flags, processor, seed, mode: two results that differ can then be
   told apart, and one that surprises can be made again.

   Cost: without a hook a span is two comparisons and no clock; with one, two reads
   of the clock, about 25 ns each.
   The trap: a hook that copies every span's values moves more memory than the
   model itself and slows what it measures.  Look at a few rows, or keep a norm.
   And the hook is global: set it while nothing runs.
   ═════════════════════════════════════════════════════════════════════════════ */

/* What a hook sees.  data is borrowed and valid during the call only. */
typedef struct {
  const char *name;      /* "layer", "attention", "sample" …; a string that lives on */
  int layer;             /* -1 where it has no meaning */
  uint64_t begin_ns, end_ns; /* pml_time_ns; equal for a counter */
  const float *data;     /* the values the span produced, or NULL */
  size_t n;
} pml_span;
typedef void (*pml_trace_fn)(void *user, const pml_span *span);

/* Installs the hook, NULL removes it.  Call it while no other thread computes.  A
   span that was open at the call is not reported. */
PML_API void pml_trace_set(pml_trace_fn fn, void *user);
PML_API bool pml_tracing(void);
PML_API uint64_t pml_trace_begin(void);   /* 0 when not tracing */
PML_API void pml_trace_end(uint64_t begin, const char *name, int layer, const float *data, size_t n);
PML_API void pml_trace_count(const char *name, int layer, float value);

/* Appends one JSON object: {"program":"…","version":"…","git_sha":"…",
   "compiler":"gcc 12.2.0","flags":"…","hardware":{"cpu":"…","level":"avx512",
   "cores":2,"ram_bytes":…},"seed":42,"strict":false}.  PML_GIT_SHA and PML_CFLAGS
   are string literals that the build defines; "unknown" without.  Bytes outside
   ASCII become '?'. */
PML_API void pml_provenance_json(pml_buf *out, const char *program, uint64_t seed);

#ifdef PML__IMPL

#ifndef PML_GIT_SHA
#define PML_GIT_SHA "unknown"
#endif
#ifndef PML_CFLAGS
#define PML_CFLAGS "unknown"
#endif

static pml_trace_fn pml__trace_fn;
static void *pml__trace_user;

PML_API void pml_trace_set(pml_trace_fn fn, void *user) {
  pml__trace_fn = fn;
  pml__trace_user = user;
}

PML_API bool pml_tracing(void) { return pml__trace_fn != NULL; }

/* @trace */
PML_API uint64_t pml_trace_begin(void) { return pml__trace_fn ? pml_time_ns() : 0; }

PML_API void pml_trace_end(uint64_t begin, const char *name, int layer, const float *data, size_t n) {
  if (!begin || !pml__trace_fn) return;
  pml_span span = {name, layer, begin, pml_time_ns(), data, n};
  pml__trace_fn(pml__trace_user, &span);
}
/* @end */

PML_API void pml_trace_count(const char *name, int layer, float value) {
  if (!pml__trace_fn) return;
  uint64_t now = pml_time_ns();
  pml_span span = {name, layer, now, now, &value, 1};
  pml__trace_fn(pml__trace_user, &span);
}

/* "key":"value", where only ASCII can occur (§ 15 writes any text). */
PML__FN void pml__provenance_text(pml_buf *out, const char *key, const char *value) {
  pml_buf_printf(out, "\"%s\":\"", key);
  for (const char *s = value; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') pml_buf_printf(out, "\\%c", c);
    else if (c < 0x20) pml_buf_printf(out, "\\u%04x", (unsigned)c);
    else pml_buf_printf(out, "%c", c < 0x7F ? c : '?');
  }
  pml_buf_puts(out, "\"");
}

PML__FN const char *pml__compiler(void) {
#define PML__TEXT_(x) #x
#define PML__TEXT(x) PML__TEXT_(x)
#if defined(__clang__)
  return "clang " PML__TEXT(__clang_major__) "." PML__TEXT(__clang_minor__) "." PML__TEXT(__clang_patchlevel__);
#elif defined(__GNUC__)
  return "gcc " PML__TEXT(__GNUC__) "." PML__TEXT(__GNUC_MINOR__) "." PML__TEXT(__GNUC_PATCHLEVEL__);
#else
  return "unknown";
#endif
}

PML_API void pml_provenance_json(pml_buf *out, const char *program, uint64_t seed) {
  static const char *const keys[] = {"program", "version", "git_sha", "compiler", "flags"};
  const char *values[] = {program, PML_VERSION, PML_GIT_SHA, pml__compiler(), PML_CFLAGS};
  for (int i = 0; i < 5; i++) {
    pml_buf_puts(out, i ? "," : "{");
    pml__provenance_text(out, keys[i], values[i]);
  }
  pml_buf_puts(out, ",\"hardware\":{");
  pml__provenance_text(out, "cpu", pml_cpu_model());
  pml_buf_puts(out, ",");
  pml__provenance_text(out, "level", pml_cpu_level_name(pml_cpu_level()));
  pml_buf_printf(out, ",\"cores\":%d,\"ram_bytes\":%zu},\"seed\":%" PRIu64 ",\"strict\":%s}", pml_cpu_count(),
                 pml_ram_bytes(), seed, pml_strict() ? "true" : "false");
}

#endif /* § 10 */

/* ═════════════════════════════════════════════════════════════════════════════
   PART II   COMPUTE
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 11  VECTOR KERNELS                                        needs § 4 § 5 § 8
   ─────────────────────────────────────────────────────────────────────────────
   Dot, linear layer, norms, softmax, RoPE, activations.
   ═════════════════════════════════════════════════════════════════════════════ */

/* The type of a tensor's elements; numbers are GGUF's. */
typedef enum {
  PML_F32 = 0, PML_F16 = 1, PML_Q4_0 = 2, PML_Q4_1 = 3, PML_Q5_0 = 6, PML_Q5_1 = 7,
  PML_Q8_0 = 8, PML_Q8_1 = 9, PML_Q2_K = 10, PML_Q3_K = 11, PML_Q4_K = 12, PML_Q5_K = 13,
  PML_Q6_K = 14, PML_Q8_K = 15, PML_IQ4_NL = 20, PML_IQ4_XS = 23, PML_I8 = 24, PML_I16 = 25,
  PML_I32 = 26, PML_I64 = 27, PML_F64 = 28, PML_BF16 = 30
} pml_dtype;
/* name, weights per block, bytes per block; NULL for an unknown number. */
typedef struct { const char *name; int block, bytes; } pml_dtype_info_t;
PML_API const pml_dtype_info_t *pml_dtype_info(int type);

/* A weight matrix W[n_out, n_in], one row per output, borrowed bytes. */
typedef struct {
  pml_dtype type;
  int n_out, n_in;
  const void *data;
} pml_mat;

/* Σ a[i]·b[i]: sixteen lanes, lane j sums i ≡ j mod 16, then one fixed tree. */
PML_API float pml_dot(const float *a, const float *b, size_t n);
/* One row of a matrix as f32 (types F32, F16, BF16). */
PML_API pml_status pml_row_to_f32(float *y, const pml_mat *w, int row);
/* y[rows,n_out] = x[rows,n_in] · Wᵀ (+ bias[n_out] if not NULL).  Each output is
   the dot above, whatever `rows` and the thread count are: batch-invariant. */
PML_API pml_status pml_linear(float *y, const float *x, int rows, const pml_mat *w, const float *bias);
/* y = x / sqrt(mean(x²) + eps) · w, per row of d; y may be x. */
PML_API void pml_rmsnorm(float *y, const float *x, const float *w, int rows, int d, float eps);
PML_API void pml_layernorm(float *y, const float *x, const float *w, const float *b, int rows, int d, float eps);
PML_API void pml_softmax(float *x, size_t n);   /* in place; n >= 1; -inf allowed */
/* Rotary position: x[n_heads, head_dim] of one position, in place.  freqs[rope_dim/2]
   in radians per position; split: pairs (i, i + rope_dim/2), else (2i, 2i + 1). */
PML_API void pml_rope(float *x, int n_heads, int head_dim, int rope_dim, int pos, const float *freqs, bool split);
PML_API void pml_rope_freqs(float *freqs, int rope_dim, float theta); /* theta^(-2i/rope_dim) */
PML_API void pml_silu(float *y, const float *x, size_t n);            /* x·sigmoid(x) */
PML_API void pml_gelu(float *y, const float *x, size_t n);            /* tanh form */
PML_API void pml_swiglu(float *y, const float *gate, const float *up, size_t n); /* silu(gate)·up */
PML_API void pml_add(float *y, const float *x, size_t n);             /* y += x */
PML_API void pml_axpy(float *y, float a, const float *x, size_t n);   /* y += a·x, rounded twice */
PML_API void pml_scale(float *y, float a, size_t n);

#ifdef PML__IMPL
#endif /* § 11 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 12  MATRIX MULTIPLICATION                             needs § 1 § 2 § 4 § 5 § 8
   ─────────────────────────────────────────────────────────────────────────────
   Nine tenths of a training step are products of two matrices.  The definition
   is three loops:

     C[m,n] = Σ_k op(A)[m,k] · op(B)[k,n]        C[M,N], op(A)[M,K], op(B)[K,N]

   Each output starts from 0, or with `accumulate` from the old C[m,n], and adds
   its K products one after the other, k = 0, 1, 2 …  A dot product split into
   lanes would be another sum with other bits.  So a vector register holds
   sixteen neighbouring n of the same m, never sixteen k.  Then every width of
   vector, every tile size and every number of threads gives the same bits.

   A layer Y[T,o] = X[T,i] · W[o,i]ᵀ needs three products to learn:

     forward    Y  = X · Wᵀ      tb                     K = i
     input      dX = dY · W      no transposes          K = o
     weight     dW += dYᵀ · X    ta, accumulate         K = T, the tokens

   What it costs.  2·M·N·K operations on M·K + K·N + M·N numbers: for 1000³ that
   is 2·10⁹ operations on 12 MB, so memory is not the limit, if each number is
   used many times while it is near.  The three loops as written fetch two
   numbers (8 bytes) for 2 operations.  A core that can do 64 operations a cycle
   would need 256 bytes a cycle; its first cache gives 128, its second 30 to 60,
   the memory 5 to 10.  So the product is cut once for each level:

     registers   a tile of C, 14 × 32 numbers, in 28 of the 32 AVX-512 registers.
                 One step of k loads 32 numbers of B (2 registers) and 14 of A
                 (each spread over a register) and does 14·32·2 = 896 operations:
                 184 bytes, 0.2 an operation instead of 4.  Why 14 × 32: two
                 multiply-adds start each cycle and take 4 cycles, so at least 8
                 must be in flight; 28 are.  They need 14 + 2 loads, and two
                 loads start each cycle too.  28 × 16 fills as many registers
                 and would need 28 + 1.  The last four hold B (2), A, a product.
     L1          the sliver of A, 14 rows × 256 k, 16 KB, is used by all columns.
     L2          the panel of B, 256 k × up to 768 columns, 768 KB, is used by
                 all rows.  It streams through the tile: 128 bytes in 14 cycles.
     memory      A is read once per panel of B; C is read and written once per
                 256 k, that is 8 bytes for 512 operations.

   AVX2 has 16 registers of 8: its tile is 6 × 16.  Plain C, which compilers turn
   into 4-wide vectors, has 4 × 8.

   Packing.  The tile wants A and B in the order it reads them: for each k the
   14 numbers of A side by side, then the 32 of B side by side.  Packing copies
   them so, and there the transposes disappear: ta and tb only change how the
   copy reads.  It costs M·K + K·N moves against M·N·K multiply-adds: with N =
   256 a vectorised transposition is about 5 % of the time, a plain loop 20 %.
   Rows and columns that are missing at the edge are packed as zeros; the tile
   is then computed in a small buffer and only its true part copied out.

     for each 768 columns, for each 256 k:                         (in order)
       pack the panel of B                                         (in parallel)
       for each 14 rows:  pack the sliver of A, run the tiles      (in parallel)

   Rounding.  Default: acc = fma(a, b, acc), one rounding, AVX2 = AVX-512 bit for
   bit.  Strict: acc = round(acc + round(a·b)), two roundings, because not every
   machine has fma; scalar = AVX2 = AVX-512 bit for bit.  It costs two
   instructions instead of one, so about twice the time.  The scalar level uses
   fmaf only where the machine has it as an instruction (__FP_FAST_FMAF, as on
   ARM64); elsewhere it is a function call per product, so there the scalar
   default equals strict.

   Where it goes wrong.  (1) k cut into blocks whose sums are added at the end is
   faster to write and has other bits: each block must start from the C that the
   block before left.  (2) Skipping zeros of A, as a sparse matrix would, loses
   0·∞ = NaN, and a diverged training goes on without a sign.  (3) The compiler
   fuses a·b + c on its own unless told not to (top of this file).
   tests/test_gemm.c compares every kernel with the three loops, bit for bit.
   When two NaN meet, which payload survives is the processor's choice: NaN are
   in the same places, their bits may differ.

   For few rows (decoding, M below 14) packing B costs as much as the product:
   pml_linear (§ 11) reads the weights in place.

   Source: Goto and van de Geijn 2008, Anatomy of High-Performance Matrix
   Multiplication; Van Zee and van de Geijn 2015, BLIS.
   ═════════════════════════════════════════════════════════════════════════════ */

/* C[M,N] = op(A)[M,K] · op(B)[K,N], or C += with accumulate.  f32, row-major.
   With ta A is stored [K,M], else [M,K]; with tb B is stored [N,K], else [K,N].
   lda, ldb, ldc are the stored row lengths in floats, at least the number of
   columns stored.  C must not overlap A or B.  Numbers between N and ldc are
   neither read nor written.  K = 0 gives zeros (accumulate: C unchanged).
   Every output adds its K products to 0, or to the old C, in the order k = 0, 1,
   2 …, in strict mode with separate rounding, otherwise with fused multiply-add;
   so the bits do not depend on threads, tiles or vector width.
   Needs up to 768 KB of packing memory, freed on return.  Errors: PML_E_USAGE for
   negative sizes, short rows or NULL; PML_E_MEMORY; C is then unchanged.
   With PRODML_USE_OPENBLAS, and not strict, the work goes to cblas_sgemm: its order
   of summation is its own.  Source: Goto and van de Geijn 2008. */
PML_API pml_status pml_gemm(float *C, int ldc, const float *A, int lda, bool ta, const float *B, int ldb,
                            bool tb, int M, int N, int K, bool accumulate);

#ifdef PML__IMPL

#if defined(PRODML_USE_OPENBLAS)
#if defined(__has_include)
#if !__has_include(<cblas.h>)
#error "PRODML_USE_OPENBLAS needs <cblas.h>: apt install libopenblas-dev, or brew install openblas"
#endif
#endif
#include <cblas.h>
#endif

#define PML__GEMM_KC 256               /* k per block: a sliver of A is 16 · 256 · 4 bytes = 16 KB */
#define PML__GEMM_NC 768               /* columns per panel of B, a multiple of every tile's width */
#define PML__GEMM_MR_MAX 14
#define PML__GEMM_NR_MAX 32
#define PML__GEMM_STRIDE_MAX 16
#define PML__GEMM_SERIAL 65536         /* multiply-adds below which waking a thread costs more */

/* The accumulators of a tile are arrays in C and registers in the program; for
   that the loops over them must be unrolled at -O2. */
#if defined(__clang__)
#define PML__GEMM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PML__GEMM_UNROLL _Pragma("GCC unroll 16")
#endif
#if defined(__FP_FAST_FMAF)
#define PML__GEMM_FMA(a, b, c) fmaf(a, b, c)
#else
#define PML__GEMM_FMA(a, b, c) ((c) + (a) * (b))
#endif
#define PML__GEMM_INLINE static inline PML__UNUSED __attribute__((always_inline))

/* c[mr,nr] = (load ? c : 0) + Σ_k a[k,stride] ⊗ b[k,nr], for a full tile. */
typedef void (*pml__gemm_tile_fn)(size_t kc, const float *a, const float *b, float *c, size_t ldc, bool load);

/* dst[k,stride] = src[r,ld] transposed: dst[k·stride + r] = src[r·ld + k] for
   r < rows, 0 for rows <= r < stride. */
typedef void (*pml__gemm_turn_fn)(float *dst, size_t stride, const float *src, size_t ld, size_t rows, size_t kc);

/* dst[k,stride] = src[k,ld]: `rows` numbers of each, 0 up to stride. */
typedef pml__gemm_turn_fn pml__gemm_copy_fn;

typedef struct {
  size_t mr, nr;          /* the tile */
  size_t stride;          /* floats per k in a packed sliver of A: mr rounded up for the transposition */
  pml__gemm_tile_fn tile;
  pml__gemm_turn_fn turn;
  pml__gemm_copy_fn copy;
} pml__gemm_kernel;

/* The definition: one tile in plain C.  `strict` is a constant in each caller. */
/* @gemm_tile_scalar */
PML__GEMM_INLINE void pml__gemm_tile_scalar(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                            bool load, bool strict) {
  float acc[4][8];
  for (size_t m = 0; m < 4; m++)
    for (size_t n = 0; n < 8; n++) acc[m][n] = load ? c[m * ldc + n] : 0.0f;
  for (size_t k = 0; k < kc; k++, a += 4, b += 8)
    PML__GEMM_UNROLL for (size_t m = 0; m < 4; m++)
      PML__GEMM_UNROLL for (size_t n = 0; n < 8; n++)
        acc[m][n] = strict ? acc[m][n] + a[m] * b[n] : PML__GEMM_FMA(a[m], b[n], acc[m][n]);
  for (size_t m = 0; m < 4; m++)
    for (size_t n = 0; n < 8; n++) c[m * ldc + n] = acc[m][n];
}
/* @end */

PML__FN void pml__gemm_scalar(size_t kc, const float *a, const float *b, float *c, size_t ldc, bool load) {
  pml__gemm_tile_scalar(kc, a, b, c, ldc, load, false);
}
PML__FN void pml__gemm_scalar_strict(size_t kc, const float *a, const float *b, float *c, size_t ldc, bool load) {
  pml__gemm_tile_scalar(kc, a, b, c, ldc, load, true);
}

PML__FN void pml__gemm_turn_scalar(float *dst, size_t stride, const float *src, size_t ld, size_t rows, size_t kc) {
  for (size_t k = 0; k < kc; k++)
    for (size_t r = 0; r < stride; r++) dst[k * stride + r] = r < rows ? src[r * ld + k] : 0.0f;
}

PML__FN void pml__gemm_copy_scalar(float *dst, size_t stride, const float *src, size_t ld, size_t rows, size_t kc) {
  for (size_t k = 0; k < kc; k++)
    for (size_t r = 0; r < stride; r++) dst[k * stride + r] = r < rows ? src[k * ld + r] : 0.0f;
}

#if defined(PML__X86)
#define PML__GEMM_AVX2 __attribute__((target("avx2,fma")))
#define PML__GEMM_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))

/* @gemm_tile_avx512 */
PML__GEMM_AVX512 PML__GEMM_INLINE void pml__gemm_tile_avx512(size_t kc, const float *a, const float *b, float *c,
                                                             size_t ldc, bool load, bool strict) {
  __m512 acc[14][2];
  PML__GEMM_UNROLL for (int m = 0; m < 14; m++) {
    acc[m][0] = load ? _mm512_loadu_ps(c + (size_t)m * ldc) : _mm512_setzero_ps();
    acc[m][1] = load ? _mm512_loadu_ps(c + (size_t)m * ldc + 16) : _mm512_setzero_ps();
  }
  for (size_t k = 0; k < kc; k++, a += 16, b += 32) {
    __m512 b0 = _mm512_load_ps(b), b1 = _mm512_load_ps(b + 16);
    PML__GEMM_UNROLL for (int m = 0; m < 14; m++) {
      __m512 am = _mm512_set1_ps(a[m]);
      acc[m][0] = strict ? _mm512_add_ps(acc[m][0], _mm512_mul_ps(am, b0)) : _mm512_fmadd_ps(am, b0, acc[m][0]);
      acc[m][1] = strict ? _mm512_add_ps(acc[m][1], _mm512_mul_ps(am, b1)) : _mm512_fmadd_ps(am, b1, acc[m][1]);
    }
  }
  PML__GEMM_UNROLL for (int m = 0; m < 14; m++) {
    _mm512_storeu_ps(c + (size_t)m * ldc, acc[m][0]);
    _mm512_storeu_ps(c + (size_t)m * ldc + 16, acc[m][1]);
  }
}
/* @end */

PML__GEMM_AVX512 PML__FN void pml__gemm_avx512(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                               bool load) {
  pml__gemm_tile_avx512(kc, a, b, c, ldc, load, false);
}
PML__GEMM_AVX512 PML__FN void pml__gemm_avx512_strict(size_t kc, const float *a, const float *b, float *c,
                                                      size_t ldc, bool load) {
  pml__gemm_tile_avx512(kc, a, b, c, ldc, load, true);
}

PML__GEMM_AVX2 PML__GEMM_INLINE void pml__gemm_tile_avx2(size_t kc, const float *a, const float *b, float *c,
                                                         size_t ldc, bool load, bool strict) {
  __m256 acc[6][2];
  PML__GEMM_UNROLL for (int m = 0; m < 6; m++) {
    acc[m][0] = load ? _mm256_loadu_ps(c + (size_t)m * ldc) : _mm256_setzero_ps();
    acc[m][1] = load ? _mm256_loadu_ps(c + (size_t)m * ldc + 8) : _mm256_setzero_ps();
  }
  for (size_t k = 0; k < kc; k++, a += 8, b += 16) {
    __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
    PML__GEMM_UNROLL for (int m = 0; m < 6; m++) {
      __m256 am = _mm256_broadcast_ss(a + m);
      acc[m][0] = strict ? _mm256_add_ps(acc[m][0], _mm256_mul_ps(am, b0)) : _mm256_fmadd_ps(am, b0, acc[m][0]);
      acc[m][1] = strict ? _mm256_add_ps(acc[m][1], _mm256_mul_ps(am, b1)) : _mm256_fmadd_ps(am, b1, acc[m][1]);
    }
  }
  PML__GEMM_UNROLL for (int m = 0; m < 6; m++) {
    _mm256_storeu_ps(c + (size_t)m * ldc, acc[m][0]);
    _mm256_storeu_ps(c + (size_t)m * ldc + 8, acc[m][1]);
  }
}

PML__GEMM_AVX2 PML__FN void pml__gemm_avx2(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                           bool load) {
  pml__gemm_tile_avx2(kc, a, b, c, ldc, load, false);
}
PML__GEMM_AVX2 PML__FN void pml__gemm_avx2_strict(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                                  bool load) {
  pml__gemm_tile_avx2(kc, a, b, c, ldc, load, true);
}

/* Turns an 8 × 8 block in registers: pairs, then fours, then the two halves. */
PML__GEMM_AVX2 PML__GEMM_INLINE void pml__gemm_turn8(__m256 v[8]) {
  __m256 p[8], q[8];
  PML__GEMM_UNROLL for (int i = 0; i < 8; i += 2) {
    p[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    p[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  PML__GEMM_UNROLL for (int i = 0; i < 8; i += 4) {
    q[i] = _mm256_shuffle_ps(p[i], p[i + 2], 0x44);
    q[i + 1] = _mm256_shuffle_ps(p[i], p[i + 2], 0xEE);
    q[i + 2] = _mm256_shuffle_ps(p[i + 1], p[i + 3], 0x44);
    q[i + 3] = _mm256_shuffle_ps(p[i + 1], p[i + 3], 0xEE);
  }
  PML__GEMM_UNROLL for (int i = 0; i < 4; i++) {
    v[i] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x20);
    v[i + 4] = _mm256_permute2f128_ps(q[i], q[i + 4], 0x31);
  }
}

/* stride is a multiple of 8. */
PML__GEMM_AVX2 PML__FN void pml__gemm_turn_avx2(float *dst, size_t stride, const float *src, size_t ld,
                                                size_t rows, size_t kc) {
  for (size_t r = 0; r < stride; r += 8) {
    size_t have = r >= rows ? 0 : rows - r < 8 ? rows - r : 8, k = 0;
    for (; k + 8 <= kc; k += 8) {
      __m256 v[8];
      PML__GEMM_UNROLL for (size_t i = 0; i < 8; i++)
        v[i] = i < have ? _mm256_loadu_ps(src + (r + i) * ld + k) : _mm256_setzero_ps();
      pml__gemm_turn8(v);
      PML__GEMM_UNROLL for (size_t i = 0; i < 8; i++) _mm256_store_ps(dst + (k + i) * stride + r, v[i]);
    }
    for (; k < kc; k++)
      for (size_t i = 0; i < 8; i++) dst[k * stride + r + i] = i < have ? src[(r + i) * ld + k] : 0.0f;
  }
}

/* A masked load reads nothing where the mask is 0, not even at the end of the array. */
PML__GEMM_AVX2 PML__FN void pml__gemm_copy_avx2(float *dst, size_t stride, const float *src, size_t ld,
                                                size_t rows, size_t kc) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i mask[PML__GEMM_NR_MAX / 8];
  for (size_t r = 0; r < stride; r += 8)
    mask[r / 8] = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)rows - (int)r), lane);
  for (size_t k = 0; k < kc; k++, src += ld, dst += stride)
    for (size_t r = 0; r < stride; r += 8)
      _mm256_store_ps(dst + r, r < rows ? _mm256_maskload_ps(src + r, mask[r / 8]) : _mm256_setzero_ps());
}
#endif /* PML__X86 */

PML__FN pml__gemm_kernel pml__gemm_choose(pml_cpu_level_t level, bool strict) {
#if defined(PML__X86)
  if (level == PML_CPU_AVX512)
    return (pml__gemm_kernel){14, 32, 16, strict ? pml__gemm_avx512_strict : pml__gemm_avx512,
                              pml__gemm_turn_avx2, pml__gemm_copy_avx2};
  if (level == PML_CPU_AVX2)
    return (pml__gemm_kernel){6, 16, 8, strict ? pml__gemm_avx2_strict : pml__gemm_avx2,
                              pml__gemm_turn_avx2, pml__gemm_copy_avx2};
#endif
  (void)level;
  return (pml__gemm_kernel){4, 8, 4, strict ? pml__gemm_scalar_strict : pml__gemm_scalar,
                            pml__gemm_turn_scalar, pml__gemm_copy_scalar};
}

/* One panel: columns [n0, n0+nc) and products [k0, k0+kc). */
typedef struct {
  pml__gemm_kernel kern;
  float *C, *packed;      /* packed B: [nc/nr slivers][kc][nr] */
  const float *A, *B;
  size_t ldc, lda, ldb, M, n0, nc, k0, kc;
  size_t row_slivers, col_slivers, group; /* group: column slivers per work item */
  bool ta, tb, load;
} pml__gemm_job;

/* Packs slivers [begin, end) of the panel of B. */
PML__FN void pml__gemm_pack_b(void *ctx, size_t begin, size_t end) {
  const pml__gemm_job *j = (const pml__gemm_job *)ctx;
  size_t nr = j->kern.nr;
  for (size_t s = begin; s < end; s++) {
    size_t n = j->n0 + s * nr, left = j->nc - s * nr, have = left < nr ? left : nr;
    float *dst = j->packed + s * nr * j->kc;
    if (j->tb) j->kern.turn(dst, nr, j->B + n * j->ldb + j->k0, j->ldb, have, j->kc);
    else j->kern.copy(dst, nr, j->B + j->k0 * j->ldb + n, j->ldb, have, j->kc);
  }
}

/* A tile at the edge: the true rows × cols part goes through a full-sized buffer. */
PML__FN void pml__gemm_edge(const pml__gemm_job *j, const float *a, const float *b, float *c, size_t rows,
                            size_t cols) {
  _Alignas(64) float t[PML__GEMM_MR_MAX * PML__GEMM_NR_MAX] = {0};
  size_t nr = j->kern.nr;
  if (j->load)
    for (size_t m = 0; m < rows; m++) memcpy(t + m * nr, c + m * j->ldc, cols * sizeof *t);
  j->kern.tile(j->kc, a, b, t, nr, j->load);
  for (size_t m = 0; m < rows; m++) memcpy(c + m * j->ldc, t + m * nr, cols * sizeof *t);
}

/* Work items [begin, end): item i is row sliver i mod row_slivers against the
   i / row_slivers-th group of column slivers. */
/* @gemm_rows */
PML__FN void pml__gemm_rows(void *ctx, size_t begin, size_t end) {
  const pml__gemm_job *j = (const pml__gemm_job *)ctx;
  size_t mr = j->kern.mr, nr = j->kern.nr, stride = j->kern.stride;
  _Alignas(64) float a[PML__GEMM_KC * PML__GEMM_STRIDE_MAX];
  for (size_t item = begin; item < end; item++) {
    size_t m = item % j->row_slivers * mr, rows = j->M - m < mr ? j->M - m : mr;
    if (j->ta) j->kern.copy(a, stride, j->A + j->k0 * j->lda + m, j->lda, rows, j->kc);
    else j->kern.turn(a, stride, j->A + m * j->lda + j->k0, j->lda, rows, j->kc);
    size_t s = item / j->row_slivers * j->group, last = s + j->group;
    if (last > j->col_slivers) last = j->col_slivers;
    for (; s < last; s++) {
      size_t n = s * nr, cols = j->nc - n < nr ? j->nc - n : nr;
      const float *b = j->packed + n * j->kc;
      float *c = j->C + m * j->ldc + j->n0 + n;
      if (rows == mr && cols == nr) j->kern.tile(j->kc, a, b, c, j->ldc, j->load);
      else pml__gemm_edge(j, a, b, c, rows, cols);
    }
  }
}
/* @end */

/* Packs B and runs the tiles of one panel.  Few rows and many threads: the
   columns are cut too, so that each thread finds about four items. */
PML__FN void pml__gemm_panel(pml__gemm_job *j, bool parallel) {
  size_t want = parallel ? 4 * (size_t)pml_threads() : 1;
  size_t groups = (want + j->row_slivers - 1) / j->row_slivers;
  if (groups > j->col_slivers) groups = j->col_slivers;
  j->group = (j->col_slivers + groups - 1) / groups;
  groups = (j->col_slivers + j->group - 1) / j->group;
  size_t items = j->row_slivers * groups;
  pml_parallel(j->col_slivers, parallel ? 1 : j->col_slivers, pml__gemm_pack_b, j);
  pml_parallel(items, parallel ? 1 : items, pml__gemm_rows, j);
}

PML__FN pml_status pml__gemm_check(const float *C, int ldc, const float *A, int lda, bool ta, const float *B,
                                   int ldb, bool tb, int M, int N, int K) {
  if (M < 0 || N < 0 || K < 0)
    return pml_fail(PML_E_USAGE, "pml_gemm: the sizes M=%d N=%d K=%d must not be negative", M, N, K);
  if (ldc < N || lda < (ta ? M : K) || ldb < (tb ? K : N))
    return pml_fail(PML_E_USAGE,
                    "pml_gemm: a row is shorter than its matrix: lda=%d must be at least %d, ldb=%d at least "
                    "%d, ldc=%d at least %d", lda, ta ? M : K, ldb, tb ? K : N, ldc, N);
  if (M > 0 && N > 0 && (!C || (K > 0 && (!A || !B))))
    return pml_fail(PML_E_USAGE, "pml_gemm: a matrix is NULL");
  return PML_OK;
}

PML_API pml_status pml_gemm(float *C, int ldc, const float *A, int lda, bool ta, const float *B, int ldb,
                            bool tb, int M, int N, int K, bool accumulate) {
  pml_status st = pml__gemm_check(C, ldc, A, lda, ta, B, ldb, tb, M, N, K);
  if (st != PML_OK || M == 0 || N == 0) return st;
  if (K == 0) {
    for (size_t m = 0; m < (size_t)M && !accumulate; m++) memset(C + m * (size_t)ldc, 0, (size_t)N * sizeof *C);
    return PML_OK;
  }
#if defined(PRODML_USE_OPENBLAS)
  if (!pml_strict()) {
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N, K, 1.0f, A,
                lda, B, ldb, accumulate ? 1.0f : 0.0f, C, ldc);
    return PML_OK;
  }
#endif
  pml__gemm_job j = {.kern = pml__gemm_choose(pml_cpu_level(), pml_strict()), .C = C, .A = A, .B = B,
                     .ldc = (size_t)ldc, .lda = (size_t)lda, .ldb = (size_t)ldb, .M = (size_t)M, .ta = ta, .tb = tb};
  size_t n_all = (size_t)N, k_all = (size_t)K, nr = j.kern.nr;
  size_t nc_max = n_all < PML__GEMM_NC ? (n_all + nr - 1) / nr * nr : PML__GEMM_NC;
  j.packed = (float *)pml_alloc(nc_max * (k_all < PML__GEMM_KC ? k_all : PML__GEMM_KC) * sizeof(float));
  if (!j.packed) return PML_E_MEMORY;
  bool parallel = (double)M * N * K >= PML__GEMM_SERIAL;
  j.row_slivers = (j.M + j.kern.mr - 1) / j.kern.mr;
  for (j.n0 = 0; j.n0 < n_all; j.n0 += j.nc) {
    j.nc = n_all - j.n0 < PML__GEMM_NC ? n_all - j.n0 : PML__GEMM_NC;
    j.col_slivers = (j.nc + nr - 1) / nr;
    for (j.k0 = 0; j.k0 < k_all; j.k0 += j.kc) {
      j.kc = k_all - j.k0 < PML__GEMM_KC ? k_all - j.k0 : PML__GEMM_KC;
      j.load = accumulate || j.k0 > 0;
      pml__gemm_panel(&j, parallel);
    }
  }
  pml_free(j.packed);
  return PML_OK;
}

#endif /* § 12 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 13  QUANTISED BLOCKS                                             needs § 11
   ─────────────────────────────────────────────────────────────────────────────
   8 to 2 bits a weight.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 13: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 14  ATTENTION                                                needs § 5 § 11
   ─────────────────────────────────────────────────────────────────────────────
   Queries meet keys through a block table.
   ═════════════════════════════════════════════════════════════════════════════ */

/* Where a sequence's keys and values lie: position p is row p mod block_size of
   block table[p / block_size]; k and v point at block 0 of one layer, a position
   is `stride` floats (n_kv_heads · head_dim), a block is block_size·stride. */
typedef struct {
  const float *k, *v;
  const int32_t *table;
  int block_size;
  size_t stride;
} pml_kv_view;

/* out[T,H,h] = softmax(q·Kᵀ / √h)·V for T query rows.  Row t sees the first
   n_visible[t] positions of view[t]; query head i reads kv head i·G/H. Causal
   masking is n_visible = position + 1. */
PML_API pml_status pml_attention(float *out, const float *q, int T, int n_heads, int n_kv_heads, int head_dim,
                                 const pml_kv_view *const *view, const int32_t *n_visible);

#ifdef PML__IMPL
#endif /* § 14 */

/* ═════════════════════════════════════════════════════════════════════════════
   PART III   FILES
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 15  JSON                                                          needs § 2
   ─────────────────────────────────────────────────────────────────────────────
   A small bounded reader and writer.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 15: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 16  UNICODE                                                   needs nothing
   ─────────────────────────────────────────────────────────────────────────────
   Text arrives as bytes.  UTF-8 spells a code point, a number up to 10FFFF
   (hexadecimal), in one to four of them; the first byte says how many follow:

     00 to 7F       0xxxxxxx                              7 bits   a
     80 to 7FF      110xxxxx 10xxxxxx                    11 bits   é
     800 to FFFF    1110xxxx 10xxxxxx 10xxxxxx           16 bits   €
     10000 and up   11110xxx 10xxxxxx 10xxxxxx 10xxxxxx  21 bits   😀

   A tokenizer splits text into words before it merges anything, and for that it
   asks of each code point: letter, number or white space?  Unicode 15 answers
   for 1,114,112 of them.  The answer rarely changes from one to the next, so the
   table lists only the places where it does: 1,564 entries of code point · 4 +
   class.  A lookup finds the last entry not above the code point by bisection,
   11 steps; ASCII never gets there.  A second table of the same form holds the
   columns that a character takes in a terminal: 0 for combining marks, 2 for
   Chinese, Japanese, Korean and most emoji.

   Where it goes wrong: "letter" is not "a to z", and a byte is not a character.
   é is two bytes or, as e and a combining accent, three; the accent alone is not
   a letter but a mark.  And bytes need not be UTF-8 at all: a cut file ends in
   the middle of a character.  The strict decoder here refuses what the standard
   refuses: too long forms (C0 80 for 0), surrogates, numbers above 10FFFF.  It
   hands such bytes on one at a time as 0xFFFFFFFF, which has no class, so no
   byte is ever lost.  The test compares the tables with the Unicode files.
   Source: The Unicode Standard 15.0, chapter 3.9 and annexes 11 and 44.
   ═════════════════════════════════════════════════════════════════════════════ */

/* Decodes one character at s (len >= 1): returns its length in bytes, 1 to 4,
   and *cp the code point.  A byte that does not begin a valid character gives
   length 1 and *cp = 0xFFFFFFFF. */
PML_API int pml_utf8_decode(const char *s, size_t len, uint32_t *cp);
/* Writes cp to out and returns the number of bytes; 0 when cp is a surrogate or
   above 10FFFF, which UTF-8 cannot hold. */
PML_API int pml_utf8_encode(uint32_t cp, char out[4]);
/* true when all len bytes form valid characters; "" is valid. */
PML_API bool pml_utf8_valid(const char *s, size_t len);

/* The classes of a code point; any number may be asked, those above 10FFFF have none. */
PML_API bool pml_is_letter(uint32_t cp); /* \p{L}: general category L* */
PML_API bool pml_is_number(uint32_t cp); /* \p{N}: general category N*, ² and Ⅷ included */
PML_API bool pml_is_space(uint32_t cp);  /* \s: property White_Space */

/* Terminal columns: 0 for controls, combining marks and formats, 2 for East
   Asian wide and fullwidth characters, else 1 (0xFFFFFFFF too: it is shown as �). */
PML_API int pml_display_width(uint32_t cp);

#ifdef PML__IMPL

/* clang-format off */
/* generated from Unicode 15.0.0 by tests/gen_unicode.c: begin */
static const uint32_t pml__class_table[] PML__UNUSED = {
  0x0,0x27,0x38,0x83,0x84,0xC2,0xE8,0x105,0x16C,0x185,0x1EC,0x217,0x218,0x283,0x284,0x2A9,0x2AC,0x2CA,
  0x2D0,0x2D5,0x2D8,0x2E6,0x2E9,0x2EC,0x2F2,0x2FC,0x301,0x35C,0x361,0x3DC,0x3E1,0xB08,0xB19,0xB48,0xB81,
  0xB94,0xBB1,0xBB4,0xBB9,0xBBC,0xDC1,0xDD4,0xDD9,0xDE0,0xDE9,0xDF8,0xDFD,0xE00,0xE19,0xE1C,0xE21,0xE2C,
  0xE31,0xE34,0xE39,0xE88,0xE8D,0xFD8,0xFDD,0x1208,0x1229,0x14C0,0x14C5,0x155C,0x1565,0x1568,0x1581,0x1624,
  0x1741,0x17AC,0x17BD,0x17CC,0x1881,0x192C,0x1982,0x19A8,0x19B9,0x19C0,0x19C5,0x1B50,0x1B55,0x1B58,0x1B95,
  0x1B9C,0x1BB9,0x1BC2,0x1BE9,0x1BF4,0x1BFD,0x1C00,0x1C41,0x1C44,0x1C49,0x1CC0,0x1D35,0x1E98,0x1EC5,0x1EC8,
  0x1F02,0x1F29,0x1FAC,0x1FD1,0x1FD8,0x1FE9,0x1FEC,0x2001,0x2058,0x2069,0x206C,0x2091,0x2094,0x20A1,0x20A4,
  0x2101,0x2164,0x2181,0x21AC,0x21C1,0x2220,0x2225,0x223C,0x2281,0x2328,0x2411,0x24E8,0x24F5,0x24F8,0x2541,
  0x2544,0x2561,0x2588,0x259A,0x25C0,0x25C5,0x2604,0x2615,0x2634,0x263D,0x2644,0x264D,0x26A4,0x26A9,0x26C4,
  0x26C9,0x26CC,0x26D9,0x26E8,0x26F5,0x26F8,0x2739,0x273C,0x2771,0x2778,0x277D,0x2788,0x279A,0x27C1,0x27C8,
  0x27D2,0x27E8,0x27F1,0x27F4,0x2815,0x282C,0x283D,0x2844,0x284D,0x28A4,0x28A9,0x28C4,0x28C9,0x28D0,0x28D5,
  0x28DC,0x28E1,0x28E8,0x2965,0x2974,0x2979,0x297C,0x299A,0x29C0,0x29C9,0x29D4,0x2A15,0x2A38,0x2A3D,0x2A48,
  0x2A4D,0x2AA4,0x2AA9,0x2AC4,0x2AC9,0x2AD0,0x2AD5,0x2AE8,0x2AF5,0x2AF8,0x2B41,0x2B44,0x2B81,0x2B88,0x2B9A,
  0x2BC0,0x2BE5,0x2BE8,0x2C15,0x2C34,0x2C3D,0x2C44,0x2C4D,0x2CA4,0x2CA9,0x2CC4,0x2CC9,0x2CD0,0x2CD5,0x2CE8,
  0x2CF5,0x2CF8,0x2D71,0x2D78,0x2D7D,0x2D88,0x2D9A,0x2DC0,0x2DC5,0x2DCA,0x2DE0,0x2E0D,0x2E10,0x2E15,0x2E2C,
  0x2E39,0x2E44,0x2E49,0x2E58,0x2E65,0x2E6C,0x2E71,0x2E74,0x2E79,0x2E80,0x2E8D,0x2E94,0x2EA1,0x2EAC,0x2EB9,
  0x2EE8,0x2F41,0x2F44,0x2F9A,0x2FCC,0x3015,0x3034,0x3039,0x3044,0x3049,0x30A4,0x30A9,0x30E8,0x30F5,0x30F8,
  0x3161,0x316C,0x3175,0x3178,0x3181,0x3188,0x319A,0x31C0,0x31E2,0x31FC,0x3201,0x3204,0x3215,0x3234,0x3239,
  0x3244,0x3249,0x32A4,0x32A9,0x32D0,0x32D5,0x32E8,0x32F5,0x32F8,0x3375,0x337C,0x3381,0x3388,0x339A,0x33C0,
  0x33C5,0x33CC,0x3411,0x3434,0x3439,0x3444,0x3449,0x34EC,0x34F5,0x34F8,0x3539,0x353C,0x3551,0x355C,0x3562,
  0x357D,0x3588,0x359A,0x35E4,0x35E9,0x3600,0x3615,0x365C,0x3669,0x36C8,0x36CD,0x36F0,0x36F5,0x36F8,0x3701,
  0x371C,0x379A,0x37C0,0x3805,0x38C4,0x38C9,0x38D0,0x3901,0x391C,0x3942,0x3968,0x3A05,0x3A0C,0x3A11,0x3A14,
  0x3A19,0x3A2C,0x3A31,0x3A90,0x3A95,0x3A98,0x3A9D,0x3AC4,0x3AC9,0x3AD0,0x3AF5,0x3AF8,0x3B01,0x3B14,0x3B19,
  0x3B1C,0x3B42,0x3B68,0x3B71,0x3B80,0x3C01,0x3C04,0x3C82,0x3CD0,0x3D01,0x3D20,0x3D25,0x3DB4,0x3E21,0x3E34,
  0x4001,0x40AC,0x40FD,0x4102,0x4128,0x4141,0x4158,0x4169,0x4178,0x4185,0x4188,0x4195,0x419C,0x41B9,0x41C4,
  0x41D5,0x4208,0x4239,0x423C,0x4242,0x4268,0x4281,0x4318,0x431D,0x4320,0x4335,0x4338,0x4341,0x43EC,0x43F1,
  0x4924,0x4929,0x4938,0x4941,0x495C,0x4961,0x4964,0x4969,0x4978,0x4981,0x4A24,0x4A29,0x4A38,0x4A41,0x4AC4,
  0x4AC9,0x4AD8,0x4AE1,0x4AFC,0x4B01,0x4B04,0x4B09,0x4B18,0x4B21,0x4B5C,0x4B61,0x4C44,0x4C49,0x4C58,0x4C61,
  0x4D6C,0x4DA6,0x4DF4,0x4E01,0x4E40,0x4E81,0x4FD8,0x4FE1,0x4FF8,0x5005,0x59B4,0x59BD,0x5A03,0x5A05,0x5A6C,
  0x5A81,0x5BAC,0x5BBA,0x5BC5,0x5BE4,0x5C01,0x5C48,0x5C7D,0x5CC8,0x5D01,0x5D48,0x5D81,0x5DB4,0x5DB9,0x5DC4,
  0x5E01,0x5ED0,0x5F5D,0x5F60,0x5F71,0x5F74,0x5F82,0x5FA8,0x5FC2,0x5FE8,0x6042,0x6068,0x6081,0x61E4,0x6201,
  0x6214,0x621D,0x62A4,0x62A9,0x62AC,0x62C1,0x63D8,0x6401,0x647C,0x651A,0x6541,0x65B8,0x65C1,0x65D4,0x6601,
  0x66B0,0x66C1,0x6728,0x6742,0x676C,0x6801,0x685C,0x6881,0x6954,0x6A02,0x6A28,0x6A42,0x6A68,0x6A9D,0x6AA0,
  0x6C15,0x6CD0,0x6D15,0x6D34,0x6D42,0x6D68,0x6E0D,0x6E84,0x6EB9,0x6EC2,0x6EE9,0x6F98,0x7001,0x7090,0x7102,
  0x7128,0x7135,0x7142,0x7169,0x71F8,0x7201,0x7224,0x7241,0x72EC,0x72F5,0x7300,0x73A5,0x73B4,0x73B9,0x73D0,
  0x73D5,0x73DC,0x73E9,0x73EC,0x7401,0x7700,0x7801,0x7C58,0x7C61,0x7C78,0x7C81,0x7D18,0x7D21,0x7D38,0x7D41,
  0x7D60,0x7D65,0x7D68,0x7D6D,0x7D70,0x7D75,0x7D78,0x7D7D,0x7DF8,0x7E01,0x7ED4,0x7ED9,0x7EF4,0x7EF9,0x7EFC,
  0x7F09,0x7F14,0x7F19,0x7F34,0x7F41,0x7F50,0x7F59,0x7F70,0x7F81,0x7FB4,0x7FC9,0x7FD4,0x7FD9,0x7FF4,0x8003,
  0x802C,0x803B,0x8040,0x80A3,0x80A8,0x80BF,0x80C0,0x817F,0x8180,0x81C2,0x81C5,0x81C8,0x81D2,0x81E8,0x81FD,
  0x8202,0x8228,0x8241,0x8274,0x8409,0x840C,0x841D,0x8420,0x8429,0x8450,0x8455,0x8458,0x8465,0x8478,0x8491,
  0x8494,0x8499,0x849C,0x84A1,0x84A4,0x84A9,0x84B8,0x84BD,0x84E8,0x84F1,0x8500,0x8515,0x8528,0x8539,0x853C,
  0x8542,0x860D,0x8616,0x8628,0x9182,0x9270,0x93AA,0x9400,0x9DDA,0x9E50,0xB001,0xB394,0xB3AD,0xB3BC,0xB3C9,
  0xB3D0,0xB3F6,0xB3F8,0xB401,0xB498,0xB49D,0xB4A0,0xB4B5,0xB4B8,0xB4C1,0xB5A0,0xB5BD,0xB5C0,0xB601,0xB65C,
  0xB681,0xB69C,0xB6A1,0xB6BC,0xB6C1,0xB6DC,0xB6E1,0xB6FC,0xB701,0xB71C,0xB721,0xB73C,0xB741,0xB75C,0xB761,
  0xB77C,0xB8BD,0xB8C0,0xC003,0xC004,0xC015,0xC01E,0xC020,0xC086,0xC0A8,0xC0C5,0xC0D8,0xC0E2,0xC0ED,0xC0F4,
  0xC105,0xC25C,0xC275,0xC280,0xC285,0xC3EC,0xC3F1,0xC400,0xC415,0xC4C0,0xC4C5,0xC63C,0xC64A,0xC658,0xC681,
  0xC700,0xC7C1,0xC800,0xC882,0xC8A8,0xC922,0xC940,0xC946,0xC980,0xCA02,0xCA28,0xCAC6,0xCB00,0xD001,0x13700,
  0x13801,0x29234,0x29341,0x293F8,0x29401,0x29834,0x29841,0x29882,0x298A9,0x298B0,0x29901,0x299BC,0x299FD,
  0x29A78,0x29A81,0x29B9A,0x29BC0,0x29C5D,0x29C80,0x29C89,0x29E24,0x29E2D,0x29F2C,0x29F41,0x29F48,0x29F4D,
  0x29F50,0x29F55,0x29F68,0x29FC9,0x2A008,0x2A00D,0x2A018,0x2A01D,0x2A02C,0x2A031,0x2A08C,0x2A0C2,0x2A0D8,
  0x2A101,0x2A1D0,0x2A209,0x2A2D0,0x2A342,0x2A368,0x2A3C9,0x2A3E0,0x2A3ED,0x2A3F0,0x2A3F5,0x2A3FC,0x2A402,
  0x2A429,0x2A498,0x2A4C1,0x2A51C,0x2A581,0x2A5F4,0x2A611,0x2A6CC,0x2A73D,0x2A742,0x2A768,0x2A781,0x2A794,
  0x2A799,0x2A7C2,0x2A7E9,0x2A7FC,0x2A801,0x2A8A4,0x2A901,0x2A90C,0x2A911,0x2A930,0x2A942,0x2A968,0x2A981,
  0x2A9DC,0x2A9E9,0x2A9EC,0x2A9F9,0x2AAC0,0x2AAC5,0x2AAC8,0x2AAD5,0x2AADC,0x2AAE5,0x2AAF8,0x2AB01,0x2AB04,
  0x2AB09,0x2AB0C,0x2AB6D,0x2AB78,0x2AB81,0x2ABAC,0x2ABC9,0x2ABD4,0x2AC05,0x2AC1C,0x2AC25,0x2AC3C,0x2AC45,
  0x2AC5C,0x2AC81,0x2AC9C,0x2ACA1,0x2ACBC,0x2ACC1,0x2AD6C,0x2AD71,0x2ADA8,0x2ADC1,0x2AF8C,0x2AFC2,0x2AFE8,
  0x2B001,0x35E90,0x35EC1,0x35F1C,0x35F2D,0x35FF0,0x3E401,0x3E9B8,0x3E9C1,0x3EB68,0x3EC01,0x3EC1C,0x3EC4D,
  0x3EC60,0x3EC75,0x3EC78,0x3EC7D,0x3ECA4,0x3ECA9,0x3ECDC,0x3ECE1,0x3ECF4,0x3ECF9,0x3ECFC,0x3ED01,0x3ED08,
  0x3ED0D,0x3ED14,0x3ED19,0x3EEC8,0x3EF4D,0x3F4F8,0x3F541,0x3F640,0x3F649,0x3F720,0x3F7C1,0x3F7F0,0x3F9C1,
  0x3F9D4,0x3F9D9,0x3FBF4,0x3FC42,0x3FC68,0x3FC85,0x3FCEC,0x3FD05,0x3FD6C,0x3FD99,0x3FEFC,0x3FF09,0x3FF20,
  0x3FF29,0x3FF40,0x3FF49,0x3FF60,0x3FF69,0x3FF74,0x40001,0x40030,0x40035,0x4009C,0x400A1,0x400EC,0x400F1,
  0x400F8,0x400FD,0x40138,0x40141,0x40178,0x40201,0x403EC,0x4041E,0x404D0,0x40502,0x405E4,0x4062A,0x40630,
  0x40A01,0x40A74,0x40A81,0x40B44,0x40B86,0x40BF0,0x40C01,0x40C82,0x40C90,0x40CB5,0x40D06,0x40D09,0x40D2A,
  0x40D2C,0x40D41,0x40DD8,0x40E01,0x40E78,0x40E81,0x40F10,0x40F21,0x40F40,0x40F46,0x40F58,0x41001,0x41278,
  0x41282,0x412A8,0x412C1,0x41350,0x41361,0x413F0,0x41401,0x414A0,0x414C1,0x41590,0x415C1,0x415EC,0x415F1,
  0x4162C,0x41631,0x4164C,0x41651,0x41658,0x4165D,0x41688,0x4168D,0x416C8,0x416CD,0x416E8,0x416ED,0x416F4,
  0x41801,0x41CDC,0x41D01,0x41D58,0x41D81,0x41DA0,0x41E01,0x41E18,0x41E1D,0x41EC4,0x41EC9,0x41EEC,0x42001,
  0x42018,0x42021,0x42024,0x42029,0x420D8,0x420DD,0x420E4,0x420F1,0x420F4,0x420FD,0x42158,0x42162,0x42181,
  0x421DC,0x421E6,0x42201,0x4227C,0x4229E,0x422C0,0x42381,0x423CC,0x423D1,0x423D8,0x423EE,0x42401,0x4245A,
  0x42470,0x42481,0x424E8,0x42601,0x426E0,0x426F2,0x426F9,0x42702,0x42740,0x4274A,0x42801,0x42804,0x42841,
  0x42850,0x42855,0x42860,0x42865,0x428D8,0x42902,0x42924,0x42981,0x429F6,0x429FC,0x42A01,0x42A76,0x42A80,
  0x42B01,0x42B20,0x42B25,0x42B94,0x42BAE,0x42BC0,0x42C01,0x42CD8,0x42D01,0x42D58,0x42D62,0x42D81,0x42DCC,
  0x42DE2,0x42E01,0x42E48,0x42EA6,0x42EC0,0x43001,0x43124,0x43201,0x432CC,0x43301,0x433CC,0x433EA,0x43401,
  0x43490,0x434C2,0x434E8,0x43982,0x439FC,0x43A01,0x43AA8,0x43AC1,0x43AC8,0x43C01,0x43C76,0x43C9D,0x43CA0,
  0x43CC1,0x43D18,0x43D46,0x43D54,0x43DC1,0x43E08,0x43EC1,0x43F16,0x43F30,0x43F81,0x43FDC,0x4400D,0x440E0,
  0x4414A,0x441C0,0x441C5,0x441CC,0x441D5,0x441D8,0x4420D,0x442C0,0x44341,0x443A4,0x443C2,0x443E8,0x4440D,
  0x4449C,0x444DA,0x44500,0x44511,0x44514,0x4451D,0x44520,0x44541,0x445CC,0x445D9,0x445DC,0x4460D,0x446CC,
  0x44705,0x44714,0x44742,0x44769,0x4476C,0x44771,0x44774,0x44786,0x447D4,0x44801,0x44848,0x4484D,0x448B0,
  0x448FD,0x44904,0x44A01,0x44A1C,0x44A21,0x44A24,0x44A29,0x44A38,0x44A3D,0x44A78,0x44A7D,0x44AA4,0x44AC1,
  0x44B7C,0x44BC2,0x44BE8,0x44C15,0x44C34,0x44C3D,0x44C44,0x44C4D,0x44CA4,0x44CA9,0x44CC4,0x44CC9,0x44CD0,
  0x44CD5,0x44CE8,0x44CF5,0x44CF8,0x44D41,0x44D44,0x44D75,0x44D88,0x45001,0x450D4,0x4511D,0x4512C,0x45142,
  0x45168,0x4517D,0x45188,0x45201,0x452C0,0x45311,0x45318,0x4531D,0x45320,0x45342,0x45368,0x45601,0x456BC,
  0x45761,0x45770,0x45801,0x458C0,0x45911,0x45914,0x45942,0x45968,0x45A01,0x45AAC,0x45AE1,0x45AE4,0x45B02,
  0x45B28,0x45C01,0x45C6C,0x45CC2,0x45CF0,0x45D01,0x45D1C,0x46001,0x460B0,0x46281,0x46382,0x463CC,0x463FD,
  0x4641C,0x46425,0x46428,0x46431,0x46450,0x46455,0x4645C,0x46461,0x464C0,0x464FD,0x46500,0x46505,0x46508,
  0x46542,0x46568,0x46681,0x466A0,0x466A9,0x46744,0x46785,0x46788,0x4678D,0x46790,0x46801,0x46804,0x4682D,
  0x468CC,0x468E9,0x468EC,0x46941,0x46944,0x46971,0x46A28,0x46A75,0x46A78,0x46AC1,0x46BE4,0x47001,0x47024,
  0x47029,0x470BC,0x47101,0x47104,0x47142,0x471B4,0x471C9,0x47240,0x47401,0x4741C,0x47421,0x47428,0x4742D,
  0x474C4,0x47519,0x4751C,0x47542,0x47568,0x47581,0x47598,0x4759D,0x475A4,0x475A9,0x47628,0x47661,0x47664,
  0x47682,0x476A8,0x47B81,0x47BCC,0x47C09,0x47C0C,0x47C11,0x47C44,0x47C49,0x47CD0,0x47D42,0x47D68,0x47EC1,
  0x47EC4,0x47F02,0x47F54,0x48001,0x48E68,0x49002,0x491BC,0x49201,0x49510,0x4BE41,0x4BFC4,0x4C001,0x4D0C0,
  0x4D105,0x4D11C,0x51001,0x5191C,0x5A001,0x5A8E4,0x5A901,0x5A97C,0x5A982,0x5A9A8,0x5A9C1,0x5AAFC,0x5AB02,
  0x5AB28,0x5AB41,0x5ABB8,0x5AC01,0x5ACC0,0x5AD01,0x5AD10,0x5AD42,0x5AD68,0x5AD6E,0x5AD88,0x5AD8D,0x5ADE0,
  0x5ADF5,0x5AE40,0x5B901,0x5BA02,0x5BA5C,0x5BC01,0x5BD2C,0x5BD41,0x5BD44,0x5BE4D,0x5BE80,0x5BF81,0x5BF88,
  0x5BF8D,0x5BF90,0x5C001,0x61FE0,0x62001,0x63358,0x63401,0x63424,0x6BFC1,0x6BFD0,0x6BFD5,0x6BFF0,0x6BFF5,
  0x6BFFC,0x6C001,0x6C48C,0x6C4C9,0x6C4CC,0x6C541,0x6C54C,0x6C555,0x6C558,0x6C591,0x6C5A0,0x6C5C1,0x6CBF0,
  0x6F001,0x6F1AC,0x6F1C1,0x6F1F4,0x6F201,0x6F224,0x6F241,0x6F268,0x74B02,0x74B50,0x74B82,0x74BD0,0x74D82,
  0x74DE4,0x75001,0x75154,0x75159,0x75274,0x75279,0x75280,0x75289,0x7528C,0x75295,0x7529C,0x752A5,0x752B4,
  0x752B9,0x752E8,0x752ED,0x752F0,0x752F5,0x75310,0x75315,0x75418,0x7541D,0x7542C,0x75435,0x75454,0x75459,
  0x75474,0x75479,0x754E8,0x754ED,0x754FC,0x75501,0x75514,0x75519,0x7551C,0x75529,0x75544,0x75549,0x75A98,
  0x75AA1,0x75B04,0x75B09,0x75B6C,0x75B71,0x75BEC,0x75BF1,0x75C54,0x75C59,0x75CD4,0x75CD9,0x75D3C,0x75D41,
  0x75DBC,0x75DC1,0x75E24,0x75E29,0x75EA4,0x75EA9,0x75F0C,0x75F11,0x75F30,0x75F3A,0x76000,0x77C01,0x77C7C,
  0x77C95,0x77CAC,0x780C1,0x781B8,0x78401,0x784B4,0x784DD,0x784F8,0x78502,0x78528,0x78539,0x7853C,0x78A41,
  0x78AB8,0x78B01,0x78BB0,0x78BC2,0x78BE8,0x79341,0x793B0,0x793C2,0x793E8,0x79F81,0x79F9C,0x79FA1,0x79FB0,
  0x79FB5,0x79FBC,0x79FC1,0x79FFC,0x7A001,0x7A314,0x7A31E,0x7A340,0x7A401,0x7A510,0x7A52D,0x7A530,0x7A542,
  0x7A568,0x7B1C6,0x7B2B0,0x7B2B6,0x7B2C0,0x7B2C6,0x7B2D4,0x7B406,0x7B4B8,0x7B4BE,0x7B4F8,0x7B801,0x7B810,
  0x7B815,0x7B880,0x7B885,0x7B88C,0x7B891,0x7B894,0x7B89D,0x7B8A0,0x7B8A5,0x7B8CC,0x7B8D1,0x7B8E0,0x7B8E5,
  0x7B8E8,0x7B8ED,0x7B8F0,0x7B909,0x7B90C,0x7B91D,0x7B920,0x7B925,0x7B928,0x7B92D,0x7B930,0x7B935,0x7B940,
  0x7B945,0x7B94C,0x7B951,0x7B954,0x7B95D,0x7B960,0x7B965,0x7B968,0x7B96D,0x7B970,0x7B975,0x7B978,0x7B97D,
  0x7B980,0x7B985,0x7B98C,0x7B991,0x7B994,0x7B99D,0x7B9AC,0x7B9B1,0x7B9CC,0x7B9D1,0x7B9E0,0x7B9E5,0x7B9F4,
  0x7B9F9,0x7B9FC,0x7BA01,0x7BA28,0x7BA2D,0x7BA70,0x7BA85,0x7BA90,0x7BA95,0x7BAA8,0x7BAAD,0x7BAF0,0x7C402,
  0x7C434,0x7EFC2,0x7EFE8,0x80001,0xA9B80,0xA9C01,0xADCE8,0xADD01,0xAE078,0xAE081,0xB3A88,0xB3AC1,0xBAF84,
  0xBE001,0xBE878,0xC0001,0xC4D2C,0xC4D41,0xC8EC0,
};
static const uint32_t pml__width_table[] PML__UNUSED = {
  0x0,0x81,0x1FC,0x281,0xC00,0xDC1,0x120C,0x1229,0x1644,0x16F9,0x16FC,0x1701,0x1704,0x170D,0x1710,0x1719,
  0x171C,0x1721,0x1840,0x186D,0x1870,0x1875,0x192C,0x1981,0x19C0,0x19C5,0x1B58,0x1B75,0x1B7C,0x1B95,0x1B9C,
  0x1BA5,0x1BA8,0x1BB9,0x1C44,0x1C49,0x1CC0,0x1D2D,0x1E98,0x1EC5,0x1FAC,0x1FD1,0x1FF4,0x1FF9,0x2058,0x2069,
  0x206C,0x2091,0x2094,0x20A1,0x20A4,0x20B9,0x2164,0x2171,0x2260,0x2281,0x2328,0x2389,0x238C,0x240D,0x24E8,
  0x24ED,0x24F0,0x24F5,0x2504,0x2525,0x2534,0x2539,0x2544,0x2561,0x2588,0x2591,0x2604,0x2609,0x26F0,0x26F5,
  0x2704,0x2715,0x2734,0x2739,0x2788,0x2791,0x27F8,0x27FD,0x2804,0x280D,0x28F0,0x28F5,0x2904,0x290D,0x291C,
  0x2925,0x292C,0x2939,0x2944,0x2949,0x29C0,0x29C9,0x29D4,0x29D9,0x2A04,0x2A0D,0x2AF0,0x2AF5,0x2B04,0x2B19,
  0x2B1C,0x2B25,0x2B34,0x2B39,0x2B88,0x2B91,0x2BE8,0x2C01,0x2C04,0x2C09,0x2CF0,0x2CF5,0x2CFC,0x2D01,0x2D04,
  0x2D15,0x2D34,0x2D39,0x2D54,0x2D5D,0x2D88,0x2D91,0x2E08,0x2E0D,0x2F00,0x2F05,0x2F34,0x2F39,0x3000,0x3005,
  0x3010,0x3015,0x30F0,0x30F5,0x30F8,0x3105,0x3118,0x3125,0x3128,0x3139,0x3154,0x315D,0x3188,0x3191,0x3204,
  0x3209,0x32F0,0x32F5,0x32FC,0x3301,0x3318,0x331D,0x3330,0x3339,0x3388,0x3391,0x3400,0x3409,0x34EC,0x34F5,
  0x3504,0x3515,0x3534,0x3539,0x3588,0x3591,0x3604,0x3609,0x3728,0x372D,0x3748,0x3755,0x3758,0x375D,0x38C4,
  0x38C9,0x38D0,0x38ED,0x391C,0x393D,0x3AC4,0x3AC9,0x3AD0,0x3AF5,0x3B20,0x3B3D,0x3C60,0x3C69,0x3CD4,0x3CD9,
  0x3CDC,0x3CE1,0x3CE4,0x3CE9,0x3DC4,0x3DFD,0x3E00,0x3E15,0x3E18,0x3E21,0x3E34,0x3E61,0x3E64,0x3EF5,0x3F18,
  0x3F1D,0x40B4,0x40C5,0x40C8,0x40E1,0x40E4,0x40ED,0x40F4,0x40FD,0x4160,0x4169,0x4178,0x4185,0x41C4,0x41D5,
  0x4208,0x420D,0x4214,0x421D,0x4234,0x4239,0x4274,0x4279,0x4402,0x4580,0x4801,0x4D74,0x4D81,0x5C48,0x5C55,
  0x5CC8,0x5CD1,0x5D48,0x5D51,0x5DC8,0x5DD1,0x5ED0,0x5ED9,0x5EDC,0x5EF9,0x5F18,0x5F1D,0x5F24,0x5F51,0x5F74,
  0x5F79,0x602C,0x6041,0x6214,0x621D,0x62A4,0x62A9,0x6480,0x648D,0x649C,0x64A5,0x64C8,0x64CD,0x64E4,0x64F1,
  0x685C,0x6865,0x686C,0x6871,0x6958,0x695D,0x6960,0x697D,0x6980,0x6985,0x6988,0x698D,0x6994,0x69B5,0x69CC,
  0x69F5,0x69FC,0x6A01,0x6AC0,0x6B3D,0x6C00,0x6C11,0x6CD0,0x6CD5,0x6CD8,0x6CED,0x6CF0,0x6CF5,0x6D08,0x6D0D,
  0x6DAC,0x6DD1,0x6E00,0x6E09,0x6E88,0x6E99,0x6EA0,0x6EA9,0x6EAC,0x6EB9,0x6F98,0x6F9D,0x6FA0,0x6FA9,0x6FB4,
  0x6FB9,0x6FBC,0x6FC9,0x70B0,0x70D1,0x70D8,0x70E1,0x7340,0x734D,0x7350,0x7385,0x7388,0x73A5,0x73B4,0x73B9,
  0x73D0,0x73D5,0x73E0,0x73E9,0x7700,0x7801,0x802C,0x8041,0x80A8,0x80BD,0x8180,0x8195,0x8198,0x81C1,0x8340,
  0x83C5,0x8C6A,0x8C71,0x8CA6,0x8CAD,0x8FA6,0x8FB5,0x8FC2,0x8FC5,0x8FCE,0x8FD1,0x97F6,0x97FD,0x9852,0x9859,
  0x9922,0x9951,0x99FE,0x9A01,0x9A4E,0x9A51,0x9A86,0x9A89,0x9AAA,0x9AB1,0x9AF6,0x9AFD,0x9B12,0x9B19,0x9B3A,
  0x9B3D,0x9B52,0x9B55,0x9BAA,0x9BAD,0x9BCA,0x9BD1,0x9BD6,0x9BD9,0x9BEA,0x9BED,0x9BF6,0x9BF9,0x9C16,0x9C19,
  0x9C2A,0x9C31,0x9CA2,0x9CA5,0x9D32,0x9D35,0x9D3A,0x9D3D,0x9D4E,0x9D59,0x9D5E,0x9D61,0x9E56,0x9E61,0x9EC2,
  0x9EC5,0x9EFE,0x9F01,0xAC6E,0xAC75,0xAD42,0xAD45,0xAD56,0xAD59,0xB3BC,0xB3C9,0xB5FC,0xB601,0xB780,0xB801,
  0xBA02,0xBA69,0xBA6E,0xBBD1,0xBC02,0xBF59,0xBFC2,0xBFF1,0xC002,0xC0A8,0xC0BA,0xC0FD,0xC106,0xC25D,0xC264,
  0xC26E,0xC401,0xC416,0xC4C1,0xC4C6,0xC63D,0xC642,0xC791,0xC7C2,0xC87D,0xC882,0xC921,0xC942,0x13701,0x13802,
  0x29235,0x29242,0x2931D,0x299BC,0x299CD,0x299D0,0x299F9,0x29A78,0x29A81,0x29BC0,0x29BC9,0x2A008,0x2A00D,
  0x2A018,0x2A01D,0x2A02C,0x2A031,0x2A094,0x2A09D,0x2A0B0,0x2A0B5,0x2A310,0x2A319,0x2A380,0x2A3C9,0x2A3FC,
  0x2A401,0x2A498,0x2A4B9,0x2A51C,0x2A549,0x2A582,0x2A5F5,0x2A600,0x2A60D,0x2A6CC,0x2A6D1,0x2A6D8,0x2A6E9,
  0x2A6F0,0x2A6F9,0x2A794,0x2A799,0x2A8A4,0x2A8BD,0x2A8C4,0x2A8CD,0x2A8D4,0x2A8DD,0x2A90C,0x2A911,0x2A930,
  0x2A935,0x2A9F0,0x2A9F5,0x2AAC0,0x2AAC5,0x2AAC8,0x2AAD5,0x2AADC,0x2AAE5,0x2AAF8,0x2AB01,0x2AB04,0x2AB09,
  0x2ABB0,0x2ABB9,0x2ABD8,0x2ABDD,0x2AF94,0x2AF99,0x2AFA0,0x2AFA5,0x2AFB4,0x2AFB9,0x2B002,0x35E91,0x3E402,
  0x3EC01,0x3EC78,0x3EC7D,0x3F800,0x3F842,0x3F869,0x3F880,0x3F8C2,0x3F94D,0x3F952,0x3F99D,0x3F9A2,0x3F9B1,
  0x3FBFC,0x3FC01,0x3FC06,0x3FD85,0x3FF82,0x3FF9D,0x3FFE4,0x3FFF1,0x407F4,0x407F9,0x40B80,0x40B85,0x40DD8,
  0x40DED,0x42804,0x42811,0x42814,0x4281D,0x42830,0x42841,0x428E0,0x428ED,0x428FC,0x42901,0x42B94,0x42B9D,
  0x43490,0x434A1,0x43AAC,0x43AB5,0x43BF4,0x43C01,0x43D18,0x43D45,0x43E08,0x43E19,0x44004,0x44009,0x440E0,
  0x4411D,0x441C0,0x441C5,0x441CC,0x441D5,0x441FC,0x44209,0x442CC,0x442DD,0x442E4,0x442ED,0x44308,0x4430D,
  0x44400,0x4440D,0x4449C,0x444B1,0x444B4,0x444D5,0x445CC,0x445D1,0x44600,0x44609,0x446D8,0x446FD,0x44724,
  0x44735,0x4473C,0x44741,0x448BC,0x448C9,0x448D0,0x448D5,0x448D8,0x448E1,0x448F8,0x448FD,0x44904,0x44909,
  0x44B7C,0x44B81,0x44B8C,0x44BAD,0x44C00,0x44C09,0x44CEC,0x44CF5,0x44D00,0x44D05,0x44D98,0x44DB5,0x44DC0,
  0x44DD5,0x450E0,0x45101,0x45108,0x45115,0x45118,0x4511D,0x45178,0x4517D,0x452CC,0x452E5,0x452E8,0x452ED,
  0x452FC,0x45305,0x45308,0x45311,0x456C8,0x456D9,0x456F0,0x456F9,0x456FC,0x45705,0x45770,0x45779,0x458CC,
  0x458ED,0x458F4,0x458F9,0x458FC,0x45905,0x45AAC,0x45AB1,0x45AB4,0x45AB9,0x45AC0,0x45AD9,0x45ADC,0x45AE1,
  0x45C74,0x45C81,0x45C88,0x45C99,0x45C9C,0x45CB1,0x460BC,0x460E1,0x460E4,0x460ED,0x464EC,0x464F5,0x464F8,
  0x464FD,0x4650C,0x46511,0x46750,0x46761,0x46768,0x46771,0x46780,0x46785,0x46804,0x4682D,0x468CC,0x468E5,
  0x468EC,0x468FD,0x4691C,0x46921,0x46944,0x4695D,0x46964,0x46971,0x46A28,0x46A5D,0x46A60,0x46A69,0x470C0,
  0x470DD,0x470E0,0x470F9,0x470FC,0x47101,0x47248,0x472A1,0x472A8,0x472C5,0x472C8,0x472D1,0x472D4,0x472DD,
  0x474C4,0x474DD,0x474E8,0x474ED,0x474F0,0x474F9,0x474FC,0x47519,0x4751C,0x47521,0x47640,0x47649,0x47654,
  0x47659,0x4765C,0x47661,0x47BCC,0x47BD5,0x47C00,0x47C09,0x47CD8,0x47CED,0x47D00,0x47D05,0x47D08,0x47D0D,
  0x4D0C0,0x4D105,0x4D11C,0x4D159,0x5ABC0,0x5ABD5,0x5ACC0,0x5ACDD,0x5BD3C,0x5BD41,0x5BE3C,0x5BE4D,0x5BF82,
  0x5BF90,0x5BF95,0x5BFC2,0x5BFC9,0x5C002,0x61FE1,0x62002,0x63359,0x63402,0x63425,0x6BFC2,0x6BFD1,0x6BFD6,
  0x6BFF1,0x6BFF6,0x6BFFD,0x6C002,0x6C48D,0x6C4CA,0x6C4CD,0x6C542,0x6C54D,0x6C556,0x6C559,0x6C592,0x6C5A1,
  0x6C5C2,0x6CBF1,0x6F274,0x6F27D,0x6F280,0x6F291,0x73C00,0x73CB9,0x73CC0,0x73D1D,0x7459C,0x745A9,0x745CC,
  0x7460D,0x74614,0x74631,0x746A8,0x746B9,0x74908,0x74915,0x76800,0x768DD,0x768EC,0x769B5,0x769D4,0x769D9,
  0x76A10,0x76A15,0x76A6C,0x76A81,0x76A84,0x76AC1,0x78000,0x7801D,0x78020,0x78065,0x7806C,0x78089,0x7808C,
  0x78095,0x78098,0x780AD,0x7823C,0x78241,0x784C0,0x784DD,0x78AB8,0x78ABD,0x78BB0,0x78BC1,0x793B0,0x793C1,
  0x7A340,0x7A35D,0x7A510,0x7A52D,0x7C012,0x7C015,0x7C33E,0x7C341,0x7C63A,0x7C63D,0x7C646,0x7C66D,0x7C802,
  0x7C80D,0x7C842,0x7C8F1,0x7C902,0x7C925,0x7C942,0x7C949,0x7C982,0x7C999,0x7CC02,0x7CC85,0x7CCB6,0x7CCD9,
  0x7CCDE,0x7CDF5,0x7CDFA,0x7CE51,0x7CE82,0x7CF2D,0x7CF3E,0x7CF51,0x7CF82,0x7CFC5,0x7CFD2,0x7CFD5,0x7CFE2,
  0x7D0FD,0x7D102,0x7D105,0x7D10A,0x7D3F5,0x7D3FE,0x7D4F9,0x7D52E,0x7D53D,0x7D542,0x7D5A1,0x7D5EA,0x7D5ED,
  0x7D656,0x7D65D,0x7D692,0x7D695,0x7D7EE,0x7D941,0x7DA02,0x7DB19,0x7DB32,0x7DB35,0x7DB42,0x7DB4D,0x7DB56,
  0x7DB61,0x7DB72,0x7DB81,0x7DBAE,0x7DBB5,0x7DBD2,0x7DBF5,0x7DF82,0x7DFB1,0x7DFC2,0x7DFC5,0x7E432,0x7E4ED,
  0x7E4F2,0x7E519,0x7E51E,0x7E801,0x7E9C2,0x7E9F5,0x7EA02,0x7EA25,0x7EA42,0x7EAF9,0x7EAFE,0x7EB19,0x7EB3A,
  0x7EB71,0x7EB82,0x7EBA5,0x7EBC2,0x7EBE5,0x80002,0xBFFF9,0xC0002,0xFFFF9,0x380004,0x380009,0x380080,0x380201,
  0x380400,0x3807C1,
};
/* generated: end */
/* clang-format on */

/* Entry i of a table holds from its code point up to that of entry i + 1. */
PML__FN unsigned pml__table_value(const uint32_t *table, size_t n, uint32_t cp) {
  uint32_t key = cp * 4 + 3;
  size_t lo = 0;
  while (n > 1) {
    size_t half = n / 2;
    if (table[lo + half] <= key) lo += half;
    n -= half;
  }
  return table[lo] & 3;
}

enum { PML__OTHER, PML__LETTER, PML__NUMBER, PML__SPACE };

PML__FN int pml__class_of(uint32_t cp) {
  if (cp < 128) {
    if ((cp | 32) - 'a' < 26) return PML__LETTER;
    if (cp - '0' < 10) return PML__NUMBER;
    return cp == ' ' || cp - '\t' < 5 ? PML__SPACE : PML__OTHER;
  }
  if (cp > 0x10FFFF) return PML__OTHER;
  return (int)pml__table_value(pml__class_table, sizeof pml__class_table / sizeof pml__class_table[0], cp);
}

PML_API bool pml_is_letter(uint32_t cp) { return pml__class_of(cp) == PML__LETTER; }
PML_API bool pml_is_number(uint32_t cp) { return pml__class_of(cp) == PML__NUMBER; }
PML_API bool pml_is_space(uint32_t cp) { return pml__class_of(cp) == PML__SPACE; }

PML_API int pml_display_width(uint32_t cp) {
  if (cp - ' ' < 95 || cp > 0x10FFFF) return 1;
  return (int)pml__table_value(pml__width_table, sizeof pml__width_table / sizeof pml__width_table[0], cp);
}

/* @utf8_decode */
PML_API int pml_utf8_decode(const char *s, size_t len, uint32_t *cp) {
  const unsigned char *p = (const unsigned char *)s;
  uint32_t c = p[0];
  *cp = c;
  if (c < 0x80) return 1;
  int n = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
  static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
  *cp = 0xFFFFFFFF;
  if (c < 0xC2 || c > 0xF4 || len < (size_t)n) return 1;
  c &= 0x7Fu >> n;
  for (int i = 1; i < n; i++) {
    if ((p[i] & 0xC0) != 0x80) return 1;
    c = c << 6 | (p[i] & 0x3F);
  }
  if (c < smallest[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 1;
  *cp = c;
  return n;
}
/* @end */

PML_API int pml_utf8_encode(uint32_t cp, char out[4]) {
  if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) return 0;
  int n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
  for (int i = n - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
  static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
  out[0] = (char)(lead[n] | cp);
  return n;
}

PML_API bool pml_utf8_valid(const char *s, size_t len) {
  uint32_t cp = 0;
  for (size_t at = 0; at < len && cp != 0xFFFFFFFF;) at += (size_t)pml_utf8_decode(s + at, len - at, &cp);
  return cp != 0xFFFFFFFF;
}

#endif /* § 16 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 17  TOKENIZER                                                needs § 2 § 16
   ─────────────────────────────────────────────────────────────────────────────
   Byte-level BPE, trained and applied.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef enum { PML_PRE_GPT2 = 0, PML_PRE_QWEN2 = 1 } pml_pre; /* the splitting rule before merging */

/* What a tokenizer is made of, as GGUF stores it: tokens in the printable
   byte-to-unicode form of GPT-2, merges as "left right". */
typedef struct {
  pml_pre pre;
  int n_vocab;
  const pml_str *tokens;       /* [n_vocab] */
  const int32_t *types;        /* [n_vocab] 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte; NULL: all 1 */
  size_t n_merges;
  const pml_str *merges;
  int bos, eos, eot, pad;      /* -1: none */
  bool add_bos;
} pml_tokenizer_spec;

typedef struct pml_tokenizer pml_tokenizer;
PML_API pml_status pml_tokenizer_create(pml_tokenizer **out, const pml_tokenizer_spec *spec); /* copies */
PML_API void pml_tokenizer_free(pml_tokenizer *t);
PML_API const pml_tokenizer_spec *pml_tokenizer_spec_of(const pml_tokenizer *t); /* for writers; lives as t */

enum { PML_ENCODE_BOS = 1, PML_ENCODE_SPECIAL = 2 }; /* SPECIAL: control tokens in the text become one id */
/* *ids from pml_alloc, pml_free it; empty text gives *n = 0 and a valid pointer. */
PML_API pml_status pml_encode(const pml_tokenizer *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n);
/* Appends the exact bytes.  Control tokens give their text with PML_ENCODE_SPECIAL, nothing without. */
PML_API pml_status pml_decode(const pml_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, pml_buf *out);
PML_API pml_str pml_token_bytes(const pml_tokenizer *t, int32_t id); /* raw bytes, {NULL,0} out of range */
PML_API int32_t pml_token_find(const pml_tokenizer *t, const char *text); /* a whole token by its text, -1 */

typedef struct {
  int n_vocab;                 /* wanted, specials included; >= 256 + n_specials */
  pml_pre pre;
  const char *const *specials; /* control tokens, get the last ids */
  int n_specials;
  const char *bos, *eos, *eot, *pad; /* names among specials, or NULL */
  bool (*progress)(void *user, int done, int total); /* may be NULL; false cancels */
  void *user;
} pml_bpe_options;
/* Learns merges from docs: highest count first, ties by the smaller (left, right)
   pair of token ids. */
PML_API pml_status pml_bpe_train(pml_tokenizer **out, const pml_str *docs, size_t n_docs, const pml_bpe_options *o);

#ifdef PML__IMPL
#endif /* § 17 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 18  GGUF                                                needs § 6 § 11 § 17
   ─────────────────────────────────────────────────────────────────────────────
   One file: metadata, tokenizer, tensors.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef enum {
  PML_GGUF_U8, PML_GGUF_I8, PML_GGUF_U16, PML_GGUF_I16, PML_GGUF_U32, PML_GGUF_I32, PML_GGUF_F32,
  PML_GGUF_BOOL, PML_GGUF_STR, PML_GGUF_ARR, PML_GGUF_U64, PML_GGUF_I64, PML_GGUF_F64
} pml_gguf_type;

typedef struct {
  pml_str name;
  int type;             /* GGUF number; pml_dtype_info(type) may be NULL */
  int n_dims;
  uint64_t ne[4];       /* ne[0] is contiguous; unused ones are 1 */
  const void *data;     /* borrowed from the mapping */
  size_t size;          /* bytes */
} pml_tensor;

typedef struct pml_gguf pml_gguf;
PML_API pml_status pml_gguf_open(pml_gguf **out, const char *path);
/* data must outlive the handle; name is for error sentences. */
PML_API pml_status pml_gguf_open_memory(pml_gguf **out, const void *data, size_t size, const char *name);
PML_API void pml_gguf_close(pml_gguf *g);
PML_API const char *pml_gguf_path(const pml_gguf *g);
PML_API size_t pml_gguf_n_tensors(const pml_gguf *g);
PML_API const pml_tensor *pml_gguf_tensor_at(const pml_gguf *g, size_t i);
PML_API const pml_tensor *pml_gguf_tensor(const pml_gguf *g, const char *name); /* NULL: none */
/* Metadata.  A getter returns false when the key is absent or has another type;
   any integer type satisfies get_int, any number get_float. */
PML_API size_t pml_gguf_n_kv(const pml_gguf *g);
PML_API pml_str pml_gguf_key_at(const pml_gguf *g, size_t i, pml_gguf_type *type);
PML_API bool pml_gguf_get_int(const pml_gguf *g, const char *key, int64_t *v);
PML_API bool pml_gguf_get_float(const pml_gguf *g, const char *key, double *v);
PML_API bool pml_gguf_get_bool(const pml_gguf *g, const char *key, bool *v);
PML_API bool pml_gguf_get_str(const pml_gguf *g, const char *key, pml_str *v);
/* Arrays: element type and count; str_at for strings, data for fixed-size elements (may be unaligned). */
PML_API bool pml_gguf_get_arr(const pml_gguf *g, const char *key, pml_gguf_type *type, size_t *n, const void **data);
PML_API bool pml_gguf_get_arr_str(const pml_gguf *g, const char *key, size_t i, pml_str *v);
/* Any value as short text, for listings ("[151936] \"!\", …"). */
PML_API void pml_gguf_value_text(const pml_gguf *g, size_t i, pml_buf *out);
/* The tokenizer in the file (tokenizer.ggml.*).  PML_E_UNSUPPORTED names a model or
   pre-tokenizer that is not written yet. */
PML_API pml_status pml_gguf_tokenizer(const pml_gguf *g, pml_tokenizer **out);

/* Writing.  Keys and tensors are kept in call order; data is borrowed until finish.
   A failed call is remembered: only the result of finish needs checking. */
typedef struct pml_gguf_writer pml_gguf_writer;
PML_API pml_status pml_gguf_writer_create(pml_gguf_writer **out);
PML_API void pml_gguf_add_u32(pml_gguf_writer *w, const char *key, uint32_t v);
PML_API void pml_gguf_add_u64(pml_gguf_writer *w, const char *key, uint64_t v);
PML_API void pml_gguf_add_f32(pml_gguf_writer *w, const char *key, float v);
PML_API void pml_gguf_add_bool(pml_gguf_writer *w, const char *key, bool v);
PML_API void pml_gguf_add_str(pml_gguf_writer *w, const char *key, const char *v);
PML_API void pml_gguf_add_arr_str(pml_gguf_writer *w, const char *key, const pml_str *v, size_t n);
PML_API void pml_gguf_add_arr_i32(pml_gguf_writer *w, const char *key, const int32_t *v, size_t n);
PML_API void pml_gguf_add_tokenizer(pml_gguf_writer *w, const pml_tokenizer *t);
PML_API void pml_gguf_add_tensor(pml_gguf_writer *w, const char *name, pml_dtype type, int n_dims, const uint64_t *ne, const void *data);
PML_API pml_status pml_gguf_writer_finish(pml_gguf_writer *w, const char *path); /* atomic; frees w */

#ifdef PML__IMPL
#endif /* § 18 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 19  SAFETENSORS                                              needs § 6 § 15
   ─────────────────────────────────────────────────────────────────────────────
   A JSON header and raw tensors.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 19: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 20  APR                                                  needs § 6 § 7 § 15
   ─────────────────────────────────────────────────────────────────────────────
   The course's own format.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 20: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 21  ROSETTA AND CHECKS                                    needs § 18 – § 20
   ─────────────────────────────────────────────────────────────────────────────
   Six conversions, what each loses.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 21: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 22  SIGNING AND ENCRYPTION                                   needs § 7 § 20
   ─────────────────────────────────────────────────────────────────────────────
   Who made this model, who may read it.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 22: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 23  REGISTRY AND HUB                                     needs § 6 § 7 § 22
   ─────────────────────────────────────────────────────────────────────────────
   One address, all artifacts.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 23: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   PART IV   INFERENCE
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 24  KV CACHE                                                 needs § 2 § 14
   ─────────────────────────────────────────────────────────────────────────────
   Attention at position p needs the keys and values of positions 0 … p.  They
   depend only on tokens already seen, so they are computed once and kept.  A
   decode step then computes one new row instead of p + 1.

     bytes per position = 2 · n_layers · n_kv_heads · head_dim · 4      (f32 here)
     Qwen2.5-0.5B:        2 · 24 · 2 · 64 · 4 = 24,576 bytes
     4,096 positions:     96 MiB

   A sequence does not own a stretch of the cache but a table of blocks, each
   block_size positions long, taken from one pool.  Position p lies in block
   table[p / block_size], row p mod block_size.  So sequences of unknown length
   share one pool without reserving their maximum each: at most block_size - 1
   positions per sequence are wasted.  A contiguous cache is the same thing with
   one block of the full length.

   The trap: rows beyond n_tokens hold whatever was there before.  They are never
   read, because attention is told how many positions are visible; truncating a
   sequence therefore only moves a number.
   Source: Kwon et al. 2023, PagedAttention (arXiv:2309.06180).
   ═════════════════════════════════════════════════════════════════════════════ */

/* One pool of blocks; a block holds block_size positions of every layer:
   k and v are [n_layers][n_blocks][block_size][n_kv_heads·head_dim] f32. */
typedef struct {
  int n_layers, n_blocks, block_size, n_free;
  size_t stride;              /* n_kv_heads · head_dim floats per position */
  float *k, *v;
  int32_t *free_list;         /* [n_blocks] a stack of free block numbers */
} pml_kv;

/* A sequence: its block table and how many positions are filled.
   `pml_seq s = {0};` is an empty one.  Release it with pml_seq_free before the
   pool goes. */
typedef struct {
  int32_t *table;
  int n_blocks, cap_blocks, n_tokens;
} pml_seq;

/* Allocates the pool; memory that is never written is never touched.
   PML_E_USAGE for numbers < 1, PML_E_MEMORY. */
PML_API pml_status pml_kv_create(pml_kv **out, int n_layers, int n_kv_heads, int head_dim, int n_blocks,
                                 int block_size);
PML_API void pml_kv_free(pml_kv *kv);
PML_API size_t pml_kv_bytes(const pml_kv *kv); /* of the whole pool */

/* Gives seq blocks for n_tokens positions in all.  PML_E_LIMIT when the pool has
   too few; the sequence is then unchanged. */
PML_API pml_status pml_seq_reserve(pml_kv *kv, pml_seq *seq, int n_tokens);
/* Forgets positions n_tokens … and returns their whole blocks to the pool. */
PML_API void pml_seq_truncate(pml_kv *kv, pml_seq *seq, int n_tokens);
PML_API void pml_seq_free(pml_kv *kv, pml_seq *seq);

/* The key (value) row of one position, n_kv_heads·head_dim floats. */
PML_API float *pml_kv_k_row(const pml_kv *kv, const pml_seq *seq, int layer, int pos);
PML_API float *pml_kv_v_row(const pml_kv *kv, const pml_seq *seq, int layer, int pos);
/* The same as § 14 wants it: one layer through the block table. */
PML_API pml_kv_view pml_kv_view_of(const pml_kv *kv, const pml_seq *seq, int layer);

#ifdef PML__IMPL

PML_API pml_status pml_kv_create(pml_kv **out, int n_layers, int n_kv_heads, int head_dim, int n_blocks,
                                 int block_size) {
  *out = NULL;
  if (n_layers < 1 || n_kv_heads < 1 || head_dim < 1 || n_blocks < 1 || block_size < 1)
    return pml_fail(PML_E_USAGE, "KV cache: layers, heads, sizes and blocks must be at least 1");
  size_t n;
  bool fits = pml_size_mul((size_t)n_kv_heads, (size_t)head_dim, &n) &&
              pml_size_mul(n, (size_t)n_layers, &n) && pml_size_mul(n, (size_t)n_blocks, &n) &&
              pml_size_mul(n, (size_t)block_size, &n) && pml_size_mul(n, sizeof(float), &n);
  pml_kv *kv = fits ? (pml_kv *)pml_calloc(1, sizeof *kv) : NULL;
  if (!kv) return fits ? PML_E_MEMORY : pml_fail(PML_E_MEMORY, "KV cache: its size does not fit");
  kv->n_layers = n_layers;
  kv->n_blocks = kv->n_free = n_blocks;
  kv->block_size = block_size;
  kv->stride = (size_t)n_kv_heads * (size_t)head_dim;
  kv->k = (float *)pml_alloc(n);
  kv->v = (float *)pml_alloc(n);
  kv->free_list = (int32_t *)pml_alloc((size_t)n_blocks * sizeof(int32_t));
  if (!kv->k || !kv->v || !kv->free_list) {
    pml_kv_free(kv);
    return PML_E_MEMORY;
  }
  for (int i = 0; i < n_blocks; i++) kv->free_list[i] = n_blocks - 1 - i; /* block 0 leaves first */
  *out = kv;
  return PML_OK;
}

PML_API void pml_kv_free(pml_kv *kv) {
  if (!kv) return;
  pml_free(kv->k);
  pml_free(kv->v);
  pml_free(kv->free_list);
  pml_free(kv);
}

PML_API size_t pml_kv_bytes(const pml_kv *kv) {
  return 2 * sizeof(float) * kv->stride * (size_t)kv->n_layers * (size_t)kv->n_blocks * (size_t)kv->block_size;
}

PML_API pml_status pml_seq_reserve(pml_kv *kv, pml_seq *seq, int n_tokens) {
  int want = n_tokens / kv->block_size + (n_tokens % kv->block_size != 0);
  int more = want - seq->n_blocks;
  if (more <= 0) return PML_OK;
  if (more > kv->n_free)
    return pml_fail(PML_E_LIMIT,
                    "the KV cache is full: %d positions need %d more blocks of %d, %d are free: "
                    "shorten the text or open a larger context",
                    n_tokens, more, kv->block_size, kv->n_free);
  if (want > seq->cap_blocks) {
    int cap = want + want / 2;
    int32_t *table = (int32_t *)pml_realloc(seq->table, (size_t)cap * sizeof(int32_t));
    if (!table) return PML_E_MEMORY;
    seq->table = table;
    seq->cap_blocks = cap;
  }
  while (seq->n_blocks < want) seq->table[seq->n_blocks++] = kv->free_list[--kv->n_free];
  return PML_OK;
}

PML_API void pml_seq_truncate(pml_kv *kv, pml_seq *seq, int n_tokens) {
  if (n_tokens < 0) n_tokens = 0;
  if (n_tokens < seq->n_tokens) seq->n_tokens = n_tokens;
  int keep = seq->n_tokens / kv->block_size + (seq->n_tokens % kv->block_size != 0);
  while (seq->n_blocks > keep) kv->free_list[kv->n_free++] = seq->table[--seq->n_blocks];
}

PML_API void pml_seq_free(pml_kv *kv, pml_seq *seq) {
  if (kv) pml_seq_truncate(kv, seq, 0);
  pml_free(seq->table);
  memset(seq, 0, sizeof *seq);
}

PML__FN size_t pml__kv_at(const pml_kv *kv, const pml_seq *seq, int layer, int pos) {
  size_t block = (size_t)seq->table[pos / kv->block_size];
  size_t row = ((size_t)layer * (size_t)kv->n_blocks + block) * (size_t)kv->block_size +
               (size_t)(pos % kv->block_size);
  return row * kv->stride;
}

PML_API float *pml_kv_k_row(const pml_kv *kv, const pml_seq *seq, int layer, int pos) {
  return kv->k + pml__kv_at(kv, seq, layer, pos);
}

PML_API float *pml_kv_v_row(const pml_kv *kv, const pml_seq *seq, int layer, int pos) {
  return kv->v + pml__kv_at(kv, seq, layer, pos);
}

PML_API pml_kv_view pml_kv_view_of(const pml_kv *kv, const pml_seq *seq, int layer) {
  size_t base = (size_t)layer * (size_t)kv->n_blocks * (size_t)kv->block_size * kv->stride;
  return (pml_kv_view){kv->k + base, kv->v + base, seq->table, kv->block_size, kv->stride};
}

#endif /* § 24 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 25  MODEL                                             needs § 8 § 11 § 17 § 18
   ─────────────────────────────────────────────────────────────────────────────
   A model file answers two questions: how are the numbers wired (the
   configuration), and what are they (the weights).  Opening a model checks that
   the two agree, tensor by tensor, before anything is computed.

     tensor                    shape [out,in]    what it does
     token_embd.weight         [V,d]             row t is the vector of token t
     blk.i.attn_norm.weight    [d]               scale of the first RMSNorm
     blk.i.attn_q.weight       [H·h,d]  +bias    queries
     blk.i.attn_k.weight       [G·h,d]  +bias    keys
     blk.i.attn_v.weight       [G·h,d]  +bias    values
     blk.i.attn_output.weight  [d,H·h]           heads back to the residual
     blk.i.ffn_norm.weight     [d]
     blk.i.ffn_gate.weight     [f,d]
     blk.i.ffn_up.weight       [f,d]
     blk.i.ffn_down.weight     [d,f]
     output_norm.weight        [d]
     output.weight             [V,d]             the head; absent: token_embd again ("tied")

   Cost: one layer of Qwen2.5-0.5B (d 896, H 14, G 2, h 64, f 4864) holds
   896·(896+128+128+896) + 3·896·4864 = 14.9 million weights; 87 % are the FFN's.
   Matrices stay in the mapping and are read where they lie.  Opening a 1 GB file
   therefore takes milliseconds; the pages arrive when they are first used.

   The trap: a tokenizer from another model fits the types but not the meaning.
   Where the tokenizer has more tokens than the embedding has rows, the file is
   refused here, at load, and not by a wild read at the first rare token.
   Source: Qwen Team 2024 (arXiv:2407.10671), Touvron et al. 2023 (arXiv:2302.13971).
   ═════════════════════════════════════════════════════════════════════════════ */

typedef struct {
  char arch[16];              /* "qwen2", "llama" */
  int n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ffn, n_vocab, n_ctx;
  int rope_dim;               /* dimensions of a head that rotate, usually head_dim */
  bool rope_split;            /* true: qwen2's pairs (i, i+rope_dim/2); false: llama's (2i, 2i+1) */
  bool qkv_bias, tied_head;
  float rope_theta, rms_eps;
} pml_config;

/* Parameters that pml_config describes, counted from the shapes. */
PML_API uint64_t pml_config_n_params(const pml_config *c);

typedef struct {
  const float *attn_norm, *ffn_norm; /* [d] */
  const float *bq, *bk, *bv;         /* [H·h], [G·h], [G·h]; NULL without biases */
  pml_mat wq, wk, wv, wo;
  pml_mat w_gate, w_up, w_down;
} pml_layer;

/* Read-only after opening; free to share between threads. */
typedef struct pml_model {
  pml_config cfg;
  pml_mat embed;              /* [V,d] */
  pml_mat head;               /* [V,d]; the same bytes as embed when tied */
  const float *final_norm;    /* [d] */
  pml_layer *layers;          /* [n_layers] */
  float *rope_freqs;          /* [rope_dim/2] radians per position */
  pml_tokenizer *tokenizer;   /* NULL when the file has none that we can read */
  char *name;                 /* general.name, or the path */
  char *chat_template;        /* tokenizer.chat_template, or NULL */
  pml_gguf *file;
  pml_arena arena;
} pml_model;

typedef struct {
  bool allow_no_tokenizer;    /* open a file whose tokenizer is missing or unsupported */
} pml_model_options;

/* Opens a GGUF model.  o may be NULL.  Close with pml_model_close.  PML_E_FORMAT
   names the first tensor that does not fit; PML_E_UNSUPPORTED an architecture or
   tensor type this version cannot compute. */
PML_API pml_status pml_model_open(pml_model **out, const char *path, const pml_model_options *o);
/* The same from bytes that outlive the model; name is for error sentences. */
PML_API pml_status pml_model_open_memory(pml_model **out, const void *data, size_t size, const char *name,
                                         const pml_model_options *o);
PML_API void pml_model_close(pml_model *m);

/* Bytes of weights that one decode step reads: all matrices, norms and biases,
   and one row of the embedding. */
PML_API size_t pml_model_bytes_per_token(const pml_model *m);

/* The backend seam.  A backend runs a model somewhere: the CPU of § 26 is the
   first, a GPU the second.  Everything crosses it in plain types.  A segment is
   a run of new tokens of one sequence; a batch is any mix of segments, prefill
   and decode together. */
typedef struct {
  pml_seq *seq;               /* new tokens go to positions seq->n_tokens … */
  const int32_t *tokens;      /* [n_tokens] */
  int n_tokens;
  int n_logits;               /* logits wanted for the last n_logits positions, 0 … n_tokens */
} pml_segment;

typedef struct {
  int n_ctx;                  /* positions in the KV pool; 0: min(model's n_ctx, 4096) */
  int block_size;             /* positions per KV block; 0: 16 */
  int max_batch;              /* rows computed together; 0: 512 */
  const volatile int *cancel; /* NULL, or a flag: not 0 ends a run with PML_E_CANCELLED */
} pml_context_options;

typedef struct pml_backend {
  const char *name;
  /* Uploads weights if needed, allocates the KV cache and scratch buffers. */
  pml_status (*open)(void **state, const pml_model *m, const pml_context_options *o);
  /* Runs all segments; logits[Σ n_logits][V] in segment order.  On success every
     seq->n_tokens has grown by its segment's n_tokens; on failure none has. */
  pml_status (*run)(void *state, const pml_segment *segs, int n_segs, float *logits);
  /* Gives back the positions >= n_tokens of a sequence. */
  void (*truncate)(void *state, pml_seq *seq, int n_tokens);
  void (*close)(void *state);
} pml_backend;

#ifdef PML__IMPL

PML_API uint64_t pml_config_n_params(const pml_config *c) {
  uint64_t d = (uint64_t)c->d_model, f = (uint64_t)c->d_ffn, v = (uint64_t)c->n_vocab;
  uint64_t q = (uint64_t)c->n_heads * (uint64_t)c->head_dim, kv = (uint64_t)c->n_kv_heads * (uint64_t)c->head_dim;
  uint64_t layer = 2 * d + 2 * q * d + 2 * kv * d + 3 * f * d + (c->qkv_bias ? q + 2 * kv : 0);
  return (uint64_t)c->n_layers * layer + d + v * d * (c->tied_head ? 1 : 2);
}

/* "arch.key" as an integer in [lo,hi].  An absent key gives `absent`; absent < 0
   makes the key required. */
PML__FN pml_status pml__cfg_int(const pml_gguf *g, const char *arch, const char *key, int64_t lo, int64_t hi,
                                int absent, int *out) {
  char name[128];
  int64_t v;
  snprintf(name, sizeof name, "%s.%s", arch, key);
  if (!pml_gguf_get_int(g, name, &v)) {
    if (absent < 0)
      return pml_fail(PML_E_FORMAT, "%s: metadata '%s' is missing: this is not a complete model file",
                      pml_gguf_path(g), name);
    *out = absent;
    return PML_OK;
  }
  if (v < lo || v > hi)
    return pml_fail(PML_E_FORMAT, "%s: metadata '%s' is %" PRId64 ", it must lie between %" PRId64 " and %" PRId64,
                    pml_gguf_path(g), name, v, lo, hi);
  *out = (int)v;
  return PML_OK;
}

PML__FN float pml__cfg_float(const pml_gguf *g, const char *arch, const char *key, float absent) {
  char name[128];
  double v;
  snprintf(name, sizeof name, "%s.%s", arch, key);
  return pml_gguf_get_float(g, name, &v) ? (float)v : absent;
}

PML__FN pml_status pml__cfg_arch(const pml_gguf *g, pml_config *c) {
  pml_str arch;
  if (!pml_gguf_get_str(g, "general.architecture", &arch))
    return pml_fail(PML_E_FORMAT, "%s: metadata 'general.architecture' is missing: this is not a model file",
                    pml_gguf_path(g));
  if (!pml_str_eq(arch, "qwen2") && !pml_str_eq(arch, "llama"))
    return pml_fail(PML_E_UNSUPPORTED, "%s: architecture '%.*s' is not supported: qwen2 and llama are",
                    pml_gguf_path(g), (int)(arch.len < 40 ? arch.len : 40), arch.ptr);
  snprintf(c->arch, sizeof c->arch, "%.*s", (int)arch.len, arch.ptr);
  c->rope_split = pml_str_eq(arch, "qwen2");
  return PML_OK;
}

PML__FN pml_status pml__cfg_sizes(const pml_gguf *g, pml_config *c) {
  static const struct {
    const char *key;
    int lo, hi;
    size_t field;
  } need[] = {{"block_count", 1, 4096, offsetof(pml_config, n_layers)},
              {"embedding_length", 1, 1 << 20, offsetof(pml_config, d_model)},
              {"attention.head_count", 1, 4096, offsetof(pml_config, n_heads)},
              {"feed_forward_length", 1, 1 << 22, offsetof(pml_config, d_ffn)}};
  for (size_t i = 0; i < sizeof need / sizeof need[0]; i++) {
    int *field = (int *)(void *)((char *)c + need[i].field);
    pml_status st = pml__cfg_int(g, c->arch, need[i].key, need[i].lo, need[i].hi, -1, field);
    if (st != PML_OK) return st;
  }
  int head = c->d_model / c->n_heads;
  pml_status st;
  if ((st = pml__cfg_int(g, c->arch, "attention.head_count_kv", 1, 4096, c->n_heads, &c->n_kv_heads)) ||
      (st = pml__cfg_int(g, c->arch, "attention.key_length", 2, 4096, head, &c->head_dim)) ||
      (st = pml__cfg_int(g, c->arch, "rope.dimension_count", 2, 4096, c->head_dim, &c->rope_dim)) ||
      (st = pml__cfg_int(g, c->arch, "context_length", 1, INT_MAX, 2048, &c->n_ctx)))
    return st;
  int window = 0; /* attention within a window equals full attention up to its length */
  if ((st = pml__cfg_int(g, c->arch, "attention.sliding_window", 0, INT_MAX, 0, &window)) != PML_OK) return st;
  if (window > 0 && window < c->n_ctx) c->n_ctx = window;
  if (c->n_heads % c->n_kv_heads || c->head_dim % 2 || c->rope_dim % 2 || c->rope_dim > c->head_dim)
    return pml_fail(PML_E_FORMAT, "%s: %d heads, %d key heads of %d dimensions, %d rotated: these do not fit together",
                    pml_gguf_path(g), c->n_heads, c->n_kv_heads, c->head_dim, c->rope_dim);
  return PML_OK;
}

/* Finds a matrix and checks its shape [n_out, n_in] and type. */
PML__FN pml_status pml__model_mat(const pml_gguf *g, const char *name, int n_out, int n_in, pml_mat *w) {
  const pml_tensor *t = pml_gguf_tensor(g, name);
  if (!t)
    return pml_fail(PML_E_FORMAT, "%s: tensor '%s' is missing: the file is not a complete model", pml_gguf_path(g),
                    name);
  if (t->ne[0] != (uint64_t)n_in || t->ne[1] != (uint64_t)n_out || t->ne[2] != 1 || t->ne[3] != 1)
    return pml_fail(PML_E_FORMAT,
                    "%s: tensor '%s' is [%" PRIu64 ",%" PRIu64 "] (out,in), the configuration asks for [%d,%d]",
                    pml_gguf_path(g), name, t->ne[1], t->ne[0], n_out, n_in);
  if (t->type != PML_F32 && t->type != PML_F16 && t->type != PML_BF16) {
    const pml_dtype_info_t *info = pml_dtype_info(t->type);
    return pml_fail(PML_E_UNSUPPORTED, "%s: tensor '%s' has type %s (%d), which cannot be computed yet: convert the "
                    "model to F16", pml_gguf_path(g), name, info ? info->name : "unknown", t->type);
  }
  *w = (pml_mat){(pml_dtype)t->type, n_out, n_in, t->data};
  return PML_OK;
}

/* A vector as f32: in place when it is stored so, else converted into the arena. */
PML__FN pml_status pml__model_vec(pml_model *m, const char *name, int n, const float **v) {
  pml_mat w;
  pml_status st = pml__model_mat(m->file, name, 1, n, &w);
  if (st != PML_OK) return st;
  if (w.type == PML_F32) {
    *v = (const float *)w.data;
    return PML_OK;
  }
  float *copy = (float *)pml_arena_alloc(&m->arena, (size_t)n * sizeof(float));
  if (!copy) return PML_E_MEMORY;
  *v = copy;
  return pml_row_to_f32(copy, &w, 0);
}

PML__FN pml_status pml__model_layer(pml_model *m, int i) {
  const pml_config *c = &m->cfg;
  pml_layer *l = &m->layers[i];
  int q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
  struct {
    const char *suffix;
    int n_out, n_in;
    pml_mat *mat;
    const float **vec; /* exactly one of mat and vec is set */
  } want[] = {{"attn_norm.weight", 1, c->d_model, NULL, &l->attn_norm},
              {"attn_q.weight", q, c->d_model, &l->wq, NULL},
              {"attn_k.weight", kv, c->d_model, &l->wk, NULL},
              {"attn_v.weight", kv, c->d_model, &l->wv, NULL},
              {"attn_output.weight", c->d_model, q, &l->wo, NULL},
              {"ffn_norm.weight", 1, c->d_model, NULL, &l->ffn_norm},
              {"ffn_gate.weight", c->d_ffn, c->d_model, &l->w_gate, NULL},
              {"ffn_up.weight", c->d_ffn, c->d_model, &l->w_up, NULL},
              {"ffn_down.weight", c->d_model, c->d_ffn, &l->w_down, NULL},
              {"attn_q.bias", 1, q, NULL, &l->bq},
              {"attn_k.bias", 1, kv, NULL, &l->bk},
              {"attn_v.bias", 1, kv, NULL, &l->bv}};
  size_t n = sizeof want / sizeof want[0] - (c->qkv_bias ? 0 : 3);
  for (size_t j = 0; j < n; j++) {
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", i, want[j].suffix);
    pml_status st = want[j].mat ? pml__model_mat(m->file, name, want[j].n_out, want[j].n_in, want[j].mat)
                                : pml__model_vec(m, name, want[j].n_in, want[j].vec);
    if (st != PML_OK) return st;
  }
  return PML_OK;
}

/* theta^(-2i/rope_dim), divided by the per-pair factors of Llama 3.1 ("rope_freqs")
   and by a linear context-extension factor. */
PML__FN pml_status pml__model_rope(pml_model *m) {
  pml_config *c = &m->cfg;
  int half = c->rope_dim / 2;
  m->rope_freqs = (float *)pml_arena_alloc(&m->arena, (size_t)half * sizeof(float));
  if (!m->rope_freqs) return PML_E_MEMORY;
  pml_rope_freqs(m->rope_freqs, c->rope_dim, c->rope_theta);
  if (pml_gguf_tensor(m->file, "rope_freqs.weight")) {
    const float *factor = NULL;
    pml_status st = pml__model_vec(m, "rope_freqs.weight", half, &factor);
    if (st != PML_OK) return st;
    for (int i = 0; i < half; i++) m->rope_freqs[i] /= factor[i];
  }
  char key[64];
  pml_str type;
  snprintf(key, sizeof key, "%s.rope.scaling.type", c->arch);
  if (!pml_gguf_get_str(m->file, key, &type) || pml_str_eq(type, "none")) return PML_OK;
  if (!pml_str_eq(type, "linear"))
    return pml_fail(PML_E_UNSUPPORTED, "%s: RoPE scaling '%.*s' is not supported: linear is", pml_gguf_path(m->file),
                    (int)(type.len < 40 ? type.len : 40), type.ptr);
  float factor = pml__cfg_float(m->file, c->arch, "rope.scaling.factor", 1.0f);
  if (!(factor >= 1.0f && factor <= 1e6f))
    return pml_fail(PML_E_FORMAT, "%s: rope.scaling.factor must lie between 1 and 1000000", pml_gguf_path(m->file));
  for (int i = 0; i < half; i++) m->rope_freqs[i] /= factor;
  return PML_OK;
}

PML__FN pml_status pml__model_texts(pml_model *m, const pml_model_options *o) {
  pml_str s;
  if (pml_gguf_get_str(m->file, "general.name", &s)) m->name = pml_strndup(s.ptr, s.len);
  else m->name = pml_strdup(pml_gguf_path(m->file));
  if (!m->name) return PML_E_MEMORY;
  if (pml_gguf_get_str(m->file, "tokenizer.chat_template", &s) &&
      !(m->chat_template = pml_strndup(s.ptr, s.len)))
    return PML_E_MEMORY;
  pml_status st = pml_gguf_tokenizer(m->file, &m->tokenizer);
  if (st != PML_OK) return o && o->allow_no_tokenizer ? PML_OK : st;
  int n_tokens = pml_tokenizer_spec_of(m->tokenizer)->n_vocab;
  if (n_tokens > m->cfg.n_vocab)
    return pml_fail(PML_E_FORMAT, "%s: the tokenizer has %d tokens but the embedding has %d rows: the tokenizer "
                    "belongs to another model", pml_gguf_path(m->file), n_tokens, m->cfg.n_vocab);
  return PML_OK;
}

PML__FN pml_status pml__model_load(pml_model *m, const pml_model_options *o) {
  pml_config *c = &m->cfg;
  const pml_gguf *g = m->file;
  pml_status st;
  if ((st = pml__cfg_arch(g, c)) != PML_OK) return st;
  if (pml_gguf_n_tensors(g) == 0)
    return pml_fail(PML_E_FORMAT, "%s: the file holds a vocabulary but no weights: it can tokenize, not generate",
                    pml_gguf_path(g));
  if ((st = pml__cfg_sizes(g, c)) != PML_OK) return st;
  c->rms_eps = pml__cfg_float(g, c->arch, "attention.layer_norm_rms_epsilon", 1e-5f);
  c->rope_theta = pml__cfg_float(g, c->arch, "rope.freq_base", 10000.0f);
  if (!(c->rms_eps > 0.0f && c->rms_eps < 1.0f) || !(c->rope_theta > 1.0f && c->rope_theta < 1e12f))
    return pml_fail(PML_E_FORMAT, "%s: RMSNorm epsilon or RoPE base out of range", pml_gguf_path(g));
  const pml_tensor *e = pml_gguf_tensor(g, "token_embd.weight");
  if (!e || e->ne[1] > INT_MAX)
    return pml_fail(PML_E_FORMAT, "%s: tensor 'token_embd.weight' is missing or too large", pml_gguf_path(g));
  c->n_vocab = (int)e->ne[1];
  c->tied_head = !pml_gguf_tensor(g, "output.weight");
  c->qkv_bias = pml_gguf_tensor(g, "blk.0.attn_q.bias") != NULL;
  if ((st = pml__model_mat(g, "token_embd.weight", c->n_vocab, c->d_model, &m->embed)) != PML_OK) return st;
  const char *head = c->tied_head ? "token_embd.weight" : "output.weight";
  if ((st = pml__model_mat(g, head, c->n_vocab, c->d_model, &m->head)) != PML_OK) return st;
  if ((st = pml__model_vec(m, "output_norm.weight", c->d_model, &m->final_norm)) != PML_OK) return st;
  m->layers = (pml_layer *)pml_arena_calloc(&m->arena, (size_t)c->n_layers, sizeof(pml_layer));
  if (!m->layers) return PML_E_MEMORY;
  for (int i = 0; i < c->n_layers; i++)
    if ((st = pml__model_layer(m, i)) != PML_OK) return st;
  if ((st = pml__model_rope(m)) != PML_OK) return st;
  return pml__model_texts(m, o);
}

PML__FN pml_status pml__model_from(pml_model **out, pml_gguf *g, const pml_model_options *o) {
  pml_model *m = (pml_model *)pml_calloc(1, sizeof *m);
  if (!m) {
    pml_gguf_close(g);
    return PML_E_MEMORY;
  }
  m->file = g;
  pml_status st = pml__model_load(m, o);
  if (st != PML_OK) {
    pml_model_close(m);
    return st;
  }
  *out = m;
  return PML_OK;
}

PML_API pml_status pml_model_open(pml_model **out, const char *path, const pml_model_options *o) {
  *out = NULL;
  pml_gguf *g;
  pml_status st = pml_gguf_open(&g, path);
  return st == PML_OK ? pml__model_from(out, g, o) : st;
}

PML_API pml_status pml_model_open_memory(pml_model **out, const void *data, size_t size, const char *name,
                                         const pml_model_options *o) {
  *out = NULL;
  pml_gguf *g;
  pml_status st = pml_gguf_open_memory(&g, data, size, name);
  return st == PML_OK ? pml__model_from(out, g, o) : st;
}

PML_API void pml_model_close(pml_model *m) {
  if (!m) return;
  pml_tokenizer_free(m->tokenizer);
  pml_free(m->name);
  pml_free(m->chat_template);
  pml_gguf_close(m->file);
  pml_arena_free(&m->arena);
  pml_free(m);
}

PML__FN size_t pml__mat_bytes(const pml_mat *w) {
  const pml_dtype_info_t *info = pml_dtype_info((int)w->type);
  return (size_t)w->n_out * ((size_t)w->n_in / (size_t)info->block * (size_t)info->bytes);
}

PML_API size_t pml_model_bytes_per_token(const pml_model *m) {
  const pml_config *c = &m->cfg;
  size_t d = (size_t)c->d_model, n = pml__mat_bytes(&m->head) + d * sizeof(float);
  for (int i = 0; i < c->n_layers; i++) {
    const pml_layer *l = &m->layers[i];
    const pml_mat *w[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->w_gate, &l->w_up, &l->w_down};
    for (size_t j = 0; j < sizeof w / sizeof w[0]; j++) n += pml__mat_bytes(w[j]);
    n += 2 * d * sizeof(float);
    if (c->qkv_bias) n += (size_t)(c->n_heads + 2 * c->n_kv_heads) * (size_t)c->head_dim * sizeof(float);
  }
  return n + pml__mat_bytes(&m->embed) / (size_t)c->n_vocab;
}

#endif /* § 25 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 26  TRANSFORMER                                   needs § 10 § 11 § 14 § 24 § 25
   ─────────────────────────────────────────────────────────────────────────────
   A decoder is a residual stream x that every layer reads, normalised, and adds
   to.  Attention moves information between positions, the feed-forward network
   transforms each position alone; nothing else happens.

     x[T,d]   = embed[token]                              one row per token
     for each layer:
       n      = rmsnorm(x)
       q,k,v  = n·Wqᵀ + bq,  n·Wkᵀ + bk,  n·Wvᵀ + bv      [T,H·h] [T,G·h] [T,G·h]
       q,k    = rope(q,k, position)                        rotate pairs by position
       cache  ← k, v                                       at this position
       x     += attention(q, cache)·Woᵀ
       n      = rmsnorm(x)
       x     += (silu(n·Wgᵀ) ∘ (n·Wuᵀ))·Wdᵀ                SwiGLU, f wide inside
     logits   = rmsnorm(x)·headᵀ                           [T,V], only where wanted

   Cost per token: 2 operations per weight, and one read of every weight per
   *batch*.  A prefill of 512 tokens reads the weights once for 512 rows and is
   bound by arithmetic; a decode step reads them for one row and is bound by
   memory.  That is why a prompt is read 10 times faster than an answer is
   written, and why servers batch.

   Batch invariance: a row's numbers depend on its own sequence only, never on
   how many rows run beside it, where its blocks lie, or how many threads there
   are.  Each kernel of § 11 and § 14 promises that, so this chapter inherits it.

   The trap: computing logits for every prompt position.  For V = 151,936 the
   head is 28 % of Qwen2.5-0.5B's arithmetic; a prompt needs it once.
   Source: Vaswani et al. 2017 (arXiv:1706.03762); Su et al. 2021, RoPE (arXiv:
   2104.09864); Shazeer 2020, GLU variants (arXiv:2002.05202); Ainslie et al.
   2023, GQA (arXiv:2305.13245).
   ═════════════════════════════════════════════════════════════════════════════ */

/* The backend of this chapter. */
PML_API const pml_backend *pml_backend_cpu(void);

/* A context: one model on one backend with its KV pool.  One thread at a time.
   The model must outlive it.  backend NULL means the CPU; o may be NULL. */
typedef struct pml_context {
  const pml_model *model;
  const pml_backend *backend;
  void *state;
  pml_context_options options; /* as chosen, no zeros left */
} pml_context;
PML_API pml_status pml_context_open(pml_context **out, const pml_model *m, const pml_backend *backend,
                                    const pml_context_options *o);
PML_API void pml_context_close(pml_context *ctx);

/* Runs new tokens and writes the wanted logits, [Σ n_logits][V] (NULL when none
   are wanted).  PML_E_USAGE for a token outside the vocabulary, PML_E_LIMIT when
   positions run out; the sequences are then unchanged. */
PML_API pml_status pml_forward(pml_context *ctx, const pml_segment *segs, int n_segs, float *logits);
/* One sequence, logits of the last token only. */
PML_API pml_status pml_forward_one(pml_context *ctx, pml_seq *seq, const int32_t *tokens, int n, float *logits);
PML_API void pml_context_truncate(pml_context *ctx, pml_seq *seq, int n_tokens);
PML_API void pml_context_seq_free(pml_context *ctx, pml_seq *seq);

#ifdef PML__IMPL

/* The CPU backend's buffers, sized once for max_batch rows. */
typedef struct {
  const pml_model *model;
  pml_kv *kv;
  pml_arena arena;
  int max_batch;
  const volatile int *cancel;
  float *x, *n;              /* [B,d] residual stream, its normalised copy */
  float *q, *k, *v, *att;    /* [B,H·h] [B,G·h] [B,G·h] [B,H·h] */
  float *gate, *up;          /* [B,f] */
  int32_t *pos, *visible;    /* [B] position, positions that attention sees */
  int32_t *row_seg;          /* [B] segment of each row */
  int32_t *tokens;           /* [B] of the chunk */
  int32_t *end_pos;          /* [B] per segment: its length after the run */
  pml_kv_view *views;        /* [max_batch] one per segment of the chunk */
  const pml_kv_view **row_view; /* [B] */
} pml__cpu;

PML__FN void pml__cpu_close(void *state) {
  pml__cpu *s = (pml__cpu *)state;
  if (!s) return;
  pml_kv_free(s->kv);
  pml_arena_free(&s->arena);
  pml_free(s);
}

PML__FN pml_status pml__cpu_open(void **state, const pml_model *m, const pml_context_options *o) {
  const pml_config *c = &m->cfg;
  pml__cpu *s = (pml__cpu *)pml_calloc(1, sizeof *s);
  if (!s) return PML_E_MEMORY;
  s->model = m;
  s->max_batch = o->max_batch;
  s->cancel = o->cancel;
  size_t b = (size_t)o->max_batch, q = (size_t)c->n_heads * (size_t)c->head_dim;
  size_t kv = (size_t)c->n_kv_heads * (size_t)c->head_dim;
  struct {
    float **p;
    size_t width;
  } buf[] = {{&s->x, (size_t)c->d_model}, {&s->n, (size_t)c->d_model}, {&s->q, q},
             {&s->k, kv},                 {&s->v, kv},                 {&s->att, q},
             {&s->gate, (size_t)c->d_ffn}, {&s->up, (size_t)c->d_ffn}};
  bool ok = true;
  for (size_t i = 0; i < sizeof buf / sizeof buf[0]; i++)
    ok = ok && (*buf[i].p = (float *)pml_arena_alloc(&s->arena, b * buf[i].width * sizeof(float))) != NULL;
  s->pos = (int32_t *)pml_arena_alloc(&s->arena, b * sizeof(int32_t));
  s->visible = (int32_t *)pml_arena_alloc(&s->arena, b * sizeof(int32_t));
  s->row_seg = (int32_t *)pml_arena_alloc(&s->arena, b * sizeof(int32_t));
  s->tokens = (int32_t *)pml_arena_alloc(&s->arena, b * sizeof(int32_t));
  s->end_pos = (int32_t *)pml_arena_alloc(&s->arena, b * sizeof(int32_t));
  s->views = (pml_kv_view *)pml_arena_alloc(&s->arena, b * sizeof(pml_kv_view));
  s->row_view = (const pml_kv_view **)pml_arena_alloc(&s->arena, b * sizeof(pml_kv_view *));
  ok = ok && s->pos && s->visible && s->row_seg && s->tokens && s->end_pos && s->views && s->row_view;
  int n_blocks = o->n_ctx / o->block_size + (o->n_ctx % o->block_size != 0);
  pml_status st = ok ? pml_kv_create(&s->kv, c->n_layers, c->n_kv_heads, c->head_dim, n_blocks, o->block_size)
                     : PML_E_MEMORY;
  if (st != PML_OK) {
    pml__cpu_close(s);
    return st;
  }
  *state = s;
  return PML_OK;
}

typedef struct {
  pml__cpu *s;
  const pml_segment *segs;
  int layer;
} pml__cpu_job;

/* Rotates q and k of rows [begin,end) and stores k and v in the cache. */
PML__FN void pml__cpu_rope_store(void *ctx, size_t begin, size_t end) {
  const pml__cpu_job *job = (const pml__cpu_job *)ctx;
  pml__cpu *s = job->s;
  const pml_config *c = &s->model->cfg;
  const float *freqs = s->model->rope_freqs;
  size_t qw = (size_t)c->n_heads * (size_t)c->head_dim, kw = s->kv->stride;
  for (size_t r = begin; r < end; r++) {
    const pml_seq *seq = job->segs[s->row_seg[r]].seq;
    float *k = s->k + r * kw;
    pml_rope(s->q + r * qw, c->n_heads, c->head_dim, c->rope_dim, s->pos[r], freqs, c->rope_split);
    pml_rope(k, c->n_kv_heads, c->head_dim, c->rope_dim, s->pos[r], freqs, c->rope_split);
    memcpy(pml_kv_k_row(s->kv, seq, job->layer, s->pos[r]), k, kw * sizeof(float));
    memcpy(pml_kv_v_row(s->kv, seq, job->layer, s->pos[r]), s->v + r * kw, kw * sizeof(float));
  }
}

PML__FN void pml__cpu_swiglu(void *ctx, size_t begin, size_t end) {
  pml__cpu *s = (pml__cpu *)ctx;
  pml_swiglu(s->gate + begin, s->gate + begin, s->up + begin, end - begin);
}

/* @attention_block: x += attention(rmsnorm(x))·Woᵀ for T rows. */
PML__FN pml_status pml__cpu_attention(pml__cpu *s, const pml_segment *segs, int T, int layer) {
  const pml_config *c = &s->model->cfg;
  const pml_layer *l = &s->model->layers[layer];
  pml_status st;
  uint64_t t0 = pml_trace_begin();
  pml_rmsnorm(s->n, s->x, l->attn_norm, T, c->d_model, c->rms_eps);
  if ((st = pml_linear(s->q, s->n, T, &l->wq, l->bq)) != PML_OK) return st;
  if ((st = pml_linear(s->k, s->n, T, &l->wk, l->bk)) != PML_OK) return st;
  if ((st = pml_linear(s->v, s->n, T, &l->wv, l->bv)) != PML_OK) return st;
  pml__cpu_job job = {.s = s, .segs = segs, .layer = layer};
  pml_parallel((size_t)T, 4, pml__cpu_rope_store, &job);
  for (int r = 0; r < T; r++) {
    pml_kv_view *view = &s->views[s->row_seg[r]];
    if (r == 0 || s->row_seg[r] != s->row_seg[r - 1]) *view = pml_kv_view_of(s->kv, segs[s->row_seg[r]].seq, layer);
    s->row_view[r] = view;
  }
  st = pml_attention(s->att, s->q, T, c->n_heads, c->n_kv_heads, c->head_dim, s->row_view, s->visible);
  if (st != PML_OK) return st;
  if ((st = pml_linear(s->n, s->att, T, &l->wo, NULL)) != PML_OK) return st;
  pml_add(s->x, s->n, (size_t)T * (size_t)c->d_model);
  pml_trace_end(t0, "attention", layer, s->x, (size_t)T * (size_t)c->d_model);
  return PML_OK;
}
/* @end */

/* @ffn_block: x += (silu(n·Wgᵀ) ∘ (n·Wuᵀ))·Wdᵀ with n = rmsnorm(x). */
PML__FN pml_status pml__cpu_ffn(pml__cpu *s, int T, int layer) {
  const pml_config *c = &s->model->cfg;
  const pml_layer *l = &s->model->layers[layer];
  pml_status st;
  uint64_t t0 = pml_trace_begin();
  pml_rmsnorm(s->n, s->x, l->ffn_norm, T, c->d_model, c->rms_eps);
  if ((st = pml_linear(s->gate, s->n, T, &l->w_gate, NULL)) != PML_OK) return st;
  if ((st = pml_linear(s->up, s->n, T, &l->w_up, NULL)) != PML_OK) return st;
  pml_parallel((size_t)T * (size_t)c->d_ffn, 4096, pml__cpu_swiglu, s);
  if ((st = pml_linear(s->n, s->gate, T, &l->w_down, NULL)) != PML_OK) return st;
  pml_add(s->x, s->n, (size_t)T * (size_t)c->d_model);
  pml_trace_end(t0, "ffn", layer, s->x, (size_t)T * (size_t)c->d_model);
  return PML_OK;
}
/* @end */

/* One chunk of at most max_batch rows; the rows' pos, visible and row_seg are set. */
PML__FN pml_status pml__cpu_chunk(pml__cpu *s, const pml_segment *segs, int T) {
  const pml_config *c = &s->model->cfg;
  uint64_t t0 = pml_trace_begin();
  for (int r = 0; r < T; r++) {
    pml_status st = pml_row_to_f32(s->x + (size_t)r * (size_t)c->d_model, &s->model->embed, s->tokens[r]);
    if (st != PML_OK) return st;
  }
  pml_trace_end(t0, "embed", -1, s->x, (size_t)T * (size_t)c->d_model);
  for (int i = 0; i < c->n_layers; i++) {
    if (s->cancel && *s->cancel) return pml_fail(PML_E_CANCELLED, "cancelled in layer %d of %d", i, c->n_layers);
    pml_status st = pml__cpu_attention(s, segs, T, i);
    if (st == PML_OK) st = pml__cpu_ffn(s, T, i);
    if (st != PML_OK) return st;
  }
  return PML_OK;
}

/* Logits of the rows of a chunk whose position is among the last n_logits of their
   segment; returns how many rows were written through *written. */
PML__FN pml_status pml__cpu_logits(pml__cpu *s, const pml_segment *segs, int T, float *logits, int *written) {
  const pml_config *c = &s->model->cfg;
  size_t d = (size_t)c->d_model;
  int rows = 0;
  for (int r = 0; r < T; r++) {
    if (s->pos[r] < s->end_pos[s->row_seg[r]] - segs[s->row_seg[r]].n_logits) continue;
    if (rows != r) memmove(s->x + (size_t)rows * d, s->x + (size_t)r * d, d * sizeof(float));
    rows++;
  }
  *written = rows;
  if (rows == 0) return PML_OK;
  uint64_t t0 = pml_trace_begin();
  pml_rmsnorm(s->n, s->x, s->model->final_norm, rows, c->d_model, c->rms_eps);
  pml_status st = pml_linear(logits, s->n, rows, &s->model->head, NULL);
  pml_trace_end(t0, "head", -1, logits, (size_t)rows * (size_t)c->n_vocab);
  return st;
}

PML__FN pml_status pml__cpu_check(pml__cpu *s, const pml_segment *segs, int n_segs) {
  for (int i = 0; i < n_segs; i++) {
    const pml_segment *g = &segs[i];
    if (g->n_tokens < 0 || g->n_logits < 0 || g->n_logits > g->n_tokens)
      return pml_fail(PML_E_USAGE, "segment %d: %d logits of %d tokens", i, g->n_logits, g->n_tokens);
    for (int t = 0; t < g->n_tokens; t++)
      if (g->tokens[t] < 0 || g->tokens[t] >= s->model->cfg.n_vocab)
        return pml_fail(PML_E_USAGE, "token id %d at position %d is outside the vocabulary of %d", g->tokens[t],
                        g->seq->n_tokens + t, s->model->cfg.n_vocab);
    if (g->n_tokens > INT_MAX - g->seq->n_tokens)
      return pml_fail(PML_E_LIMIT, "segment %d: more than %d positions", i, INT_MAX);
    pml_status st = pml_seq_reserve(s->kv, g->seq, g->seq->n_tokens + g->n_tokens);
    if (st != PML_OK) return st;
  }
  return PML_OK;
}

PML__FN pml_status pml__cpu_run(void *state, const pml_segment *segs, int n_segs, float *logits) {
  pml__cpu *s = (pml__cpu *)state;
  if (n_segs > s->max_batch)
    return pml_fail(PML_E_LIMIT, "%d segments in one batch, the context allows %d", n_segs, s->max_batch);
  pml_status st = pml__cpu_check(s, segs, n_segs);
  int seg = 0, at = 0;
  for (int i = 0; st == PML_OK && i < n_segs; i++) s->end_pos[i] = segs[i].seq->n_tokens + segs[i].n_tokens;
  while (st == PML_OK && seg < n_segs) {
    int T = 0, written = 0;
    for (; seg < n_segs && T < s->max_batch; seg++, at = 0) {
      for (; at < segs[seg].n_tokens && T < s->max_batch; at++, T++) {
        s->tokens[T] = segs[seg].tokens[at];
        s->pos[T] = segs[seg].seq->n_tokens + at;
        s->visible[T] = s->pos[T] + 1;
        s->row_seg[T] = seg;
      }
      if (at < segs[seg].n_tokens) break;
    }
    if (T == 0) break;
    st = pml__cpu_chunk(s, segs, T);
    if (st == PML_OK) st = pml__cpu_logits(s, segs, T, logits, &written);
    if (logits) logits += (size_t)written * (size_t)s->model->cfg.n_vocab;
  }
  for (int i = 0; i < n_segs; i++) {
    if (st == PML_OK) segs[i].seq->n_tokens += segs[i].n_tokens;
    else pml_seq_truncate(s->kv, segs[i].seq, segs[i].seq->n_tokens);
  }
  return st;
}

PML__FN void pml__cpu_truncate(void *state, pml_seq *seq, int n_tokens) {
  pml_seq_truncate(((pml__cpu *)state)->kv, seq, n_tokens);
}

PML_API const pml_backend *pml_backend_cpu(void) {
  static const pml_backend cpu = {"cpu", pml__cpu_open, pml__cpu_run, pml__cpu_truncate, pml__cpu_close};
  return &cpu;
}

PML_API pml_status pml_context_open(pml_context **out, const pml_model *m, const pml_backend *backend,
                                    const pml_context_options *o) {
  *out = NULL;
  pml_context_options opt = o ? *o : (pml_context_options){0};
  if (opt.n_ctx < 0 || opt.block_size < 0 || opt.max_batch < 0)
    return pml_fail(PML_E_USAGE, "context: sizes must not be negative");
  if (opt.n_ctx == 0) opt.n_ctx = m->cfg.n_ctx < 4096 ? m->cfg.n_ctx : 4096;
  if (opt.n_ctx > m->cfg.n_ctx)
    return pml_fail(PML_E_LIMIT, "a context of %d positions was asked for, the model was trained for %d", opt.n_ctx,
                    m->cfg.n_ctx);
  if (opt.block_size == 0) opt.block_size = 16;
  if (opt.max_batch == 0) opt.max_batch = opt.n_ctx < 512 ? opt.n_ctx : 512;
  pml_context *ctx = (pml_context *)pml_calloc(1, sizeof *ctx);
  if (!ctx) return PML_E_MEMORY;
  ctx->model = m;
  ctx->backend = backend ? backend : pml_backend_cpu();
  ctx->options = opt;
  pml_status st = ctx->backend->open(&ctx->state, m, &opt);
  if (st != PML_OK) {
    pml_free(ctx);
    return st;
  }
  *out = ctx;
  return PML_OK;
}

PML_API void pml_context_close(pml_context *ctx) {
  if (!ctx) return;
  ctx->backend->close(ctx->state);
  pml_free(ctx);
}

PML_API pml_status pml_forward(pml_context *ctx, const pml_segment *segs, int n_segs, float *logits) {
  return ctx->backend->run(ctx->state, segs, n_segs, logits);
}

PML_API pml_status pml_forward_one(pml_context *ctx, pml_seq *seq, const int32_t *tokens, int n, float *logits) {
  pml_segment seg = {seq, tokens, n, n > 0 && logits ? 1 : 0};
  return pml_forward(ctx, &seg, 1, logits);
}

PML_API void pml_context_truncate(pml_context *ctx, pml_seq *seq, int n_tokens) {
  ctx->backend->truncate(ctx->state, seq, n_tokens);
}

PML_API void pml_context_seq_free(pml_context *ctx, pml_seq *seq) {
  pml_context_truncate(ctx, seq, 0);
  pml_seq_free(NULL, seq);
}

#endif /* § 26 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 27  SAMPLING                                                   needs § 2 § 3 § 8
   ─────────────────────────────────────────────────────────────────────────────
   The head gives one logit per token of the vocabulary.  Turning them into one
   token is a chain of steps, each with a knob, in this order:

     repetition  a token of the recent text: logit / r if positive, logit · r if not
     temperature logit / T; T = 0 means greedy: the largest logit, lowest id on ties
     top-k       keep the k largest
     softmax     p[i] = exp(l[i] - max) / Σ exp(l[j] - max)
     top-p       keep the smallest set of largest p whose sum reaches P
     min-p       keep p[i] >= m · p[largest]
     draw        u in [0,1): the first token where the running sum passes u · Σ kept

   Subtracting the maximum changes nothing in the quotient and keeps exp() from
   overflowing: logits of 100 are common, exp(100) does not fit a float.

   Cost: V operations, about 0.1 ms for 151,936 tokens.  Only the candidates that
   can matter are sorted: for top-p, those above a falling threshold until they
   hold the mass P.

   The trap: NaN logits.  Every comparison with NaN is false, so a maximum search
   would return token 0 and the text would look merely bad.  A NaN or a row with
   nothing finite is an error here.
   Source: Holtzman et al. 2020, nucleus sampling (arXiv:1904.09751); Keskar et
   al. 2019, repetition penalty (arXiv:1909.05858); Nguyen et al. 2024, min-p
   (arXiv:2407.01082).
   ═════════════════════════════════════════════════════════════════════════════ */

typedef struct {
  float temperature;    /* 0: greedy */
  int top_k;            /* 0: off */
  float top_p;          /* 1: off */
  float min_p;          /* 0: off */
  float repeat_penalty; /* 1: off */
  int repeat_last;      /* how many recent tokens the penalty looks at */
  uint64_t seed;
} pml_sampler_options;

/* Greedy, everything off, seed 42, penalty window 64. */
PML_API pml_sampler_options pml_sampler_defaults(void);

typedef struct pml_sampler pml_sampler;
/* PML_E_USAGE names the option that is out of range. */
PML_API pml_status pml_sampler_create(pml_sampler **out, int n_vocab, const pml_sampler_options *o);
PML_API void pml_sampler_free(pml_sampler *s);
/* Chooses a token from logits[n_vocab], which it may change.  history[n_history]
   are the tokens so far, oldest first.  PML_E_FORMAT when the logits are NaN. */
PML_API pml_status pml_sample(pml_sampler *s, float *logits, const int32_t *history, int n_history,
                              int32_t *token);

#ifdef PML__IMPL

typedef struct {
  float p;      /* first the logit, then its unnormalised probability */
  int32_t id;
} pml__candidate;

struct pml_sampler {
  pml_sampler_options o;
  int n_vocab;
  pml_rng rng;
  pml__candidate *c; /* [n_vocab] */
};

PML_API pml_sampler_options pml_sampler_defaults(void) {
  return (pml_sampler_options){.temperature = 0, .top_p = 1, .repeat_penalty = 1, .repeat_last = 64, .seed = 42};
}

PML_API pml_status pml_sampler_create(pml_sampler **out, int n_vocab, const pml_sampler_options *o) {
  *out = NULL;
  if (!(o->temperature >= 0 && o->temperature <= 100))
    return pml_fail(PML_E_USAGE, "temperature %g: give 0 (greedy) to 100", (double)o->temperature);
  if (o->top_k < 0) return pml_fail(PML_E_USAGE, "top-k %d: give 0 (off) or more", o->top_k);
  if (!(o->top_p > 0 && o->top_p <= 1))
    return pml_fail(PML_E_USAGE, "top-p %g: give a number above 0, at most 1 (off)", (double)o->top_p);
  if (!(o->min_p >= 0 && o->min_p <= 1)) return pml_fail(PML_E_USAGE, "min-p %g: give 0 (off) to 1", (double)o->min_p);
  if (!(o->repeat_penalty > 0 && o->repeat_penalty <= 100) || o->repeat_last < 0)
    return pml_fail(PML_E_USAGE, "repetition penalty %g over %d tokens: give a factor above 0, 1 is off",
                    (double)o->repeat_penalty, o->repeat_last);
  pml_sampler *s = (pml_sampler *)pml_calloc(1, sizeof *s);
  if (!s) return PML_E_MEMORY;
  s->o = *o;
  s->n_vocab = n_vocab;
  s->rng = pml_rng_seed(o->seed);
  s->c = (pml__candidate *)pml_alloc((size_t)n_vocab * sizeof *s->c);
  if (!s->c) {
    pml_free(s);
    return PML_E_MEMORY;
  }
  *out = s;
  return PML_OK;
}

PML_API void pml_sampler_free(pml_sampler *s) {
  if (!s) return;
  pml_free(s->c);
  pml_free(s);
}

/* Divides each recent token's logit once, however often the token occurs. */
PML__FN void pml__sample_penalty(const pml_sampler *s, float *logits, const int32_t *history, int n) {
  float r = s->o.repeat_penalty;
  int first = n > s->o.repeat_last ? n - s->o.repeat_last : 0;
  if (r == 1.0f) return;
  for (int i = first; i < n; i++) {
    bool seen = false;
    for (int j = first; j < i && !seen; j++) seen = history[j] == history[i];
    if (seen || history[i] < 0 || history[i] >= s->n_vocab) continue;
    float *l = &logits[history[i]];
    *l = *l > 0 ? *l / r : *l * r;
  }
}

/* Largest p first; equal ones by the smaller id, so that the order is total. */
PML__FN int pml__candidate_order(const void *a, const void *b) {
  const pml__candidate *x = (const pml__candidate *)a, *y = (const pml__candidate *)b;
  if (x->p != y->p) return x->p > y->p ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

/* Moves the candidates with p >= t to the front; returns how many. */
PML__FN int pml__candidate_above(pml__candidate *c, int n, float t) {
  int m = 0;
  for (int i = 0; i < n; i++) {
    if (!(c[i].p >= t)) continue;
    pml__candidate swap = c[m];
    c[m++] = c[i];
    c[i] = swap;
  }
  return m;
}

/* Keeps the k best, sorted.  The threshold falls until at least k lie above it. */
PML__FN int pml__sample_top_k(pml__candidate *c, int n, int k, float max) {
  if (k <= 0 || k >= n) return n;
  float width = 1.0f;
  int m = 0;
  while (m < k && width < 1e30f) {
    m = pml__candidate_above(c, n, max - width);
    width *= 2.0f;
  }
  if (m < k) m = n;
  qsort(c, (size_t)m, sizeof *c, pml__candidate_order);
  return k;
}

/* Keeps the smallest set of the largest p with sum >= top_p·total, sorted. */
PML__FN int pml__sample_top_p(pml__candidate *c, int n, float top_p, float total) {
  if (top_p >= 1.0f) return n;
  float t = 0.1f, sum = 0, need = top_p * total;
  int m = 0;
  while (t > 1e-30f) {
    m = pml__candidate_above(c, n, t);
    sum = 0;
    for (int i = 0; i < m; i++) sum += c[i].p;
    if (sum >= need) break;
    t *= 0.1f;
  }
  if (sum < need) m = n;
  qsort(c, (size_t)m, sizeof *c, pml__candidate_order);
  sum = 0;
  for (int i = 0; i < m; i++)
    if ((sum += c[i].p) >= need) return i + 1;
  return m;
}

/* @sample */
PML_API pml_status pml_sample(pml_sampler *s, float *logits, const int32_t *history, int n_history,
                              int32_t *token) {
  int n = s->n_vocab, best = 0;
  pml__candidate *c = s->c;
  pml__sample_penalty(s, logits, history, n_history);
  for (int i = 0; i < n; i++) {
    if (isnan(logits[i])) return pml_fail(PML_E_FORMAT, "logit %d is NaN: the weights or the cache are damaged", i);
    if (logits[i] > logits[best]) best = i;
  }
  if (isinf(logits[best])) return pml_fail(PML_E_FORMAT, "no finite logit: the weights or the cache are damaged");
  *token = best;
  if (s->o.temperature == 0) return PML_OK;
  for (int i = 0; i < n; i++) c[i] = (pml__candidate){logits[i] / s->o.temperature, i};
  float max = c[best].p, sum = 0;
  n = pml__sample_top_k(c, n, s->o.top_k, max);
  for (int i = 0; i < n; i++) sum += c[i].p = pml_expf(c[i].p - max);
  n = pml__sample_top_p(c, n, s->o.top_p, sum);
  if (s->o.min_p > 0) n = pml__candidate_above(c, n, s->o.min_p); /* the largest p is exp(0) = 1 */
  sum = 0;
  for (int i = 0; i < n; i++) sum += c[i].p;
  float u = pml_rng_uniform(&s->rng) * sum;
  for (int i = 0; i < n; i++) {
    *token = c[i].id;
    if ((u -= c[i].p) < 0) break;
  }
  return PML_OK;
}
/* @end */

#endif /* § 27 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 28  CHAT AND GENERATION                              needs § 16 § 17 § 25 – § 27
   ─────────────────────────────────────────────────────────────────────────────
   Generation is a loop: run the new tokens, take the last logits, sample one
   token, append it, stop or repeat.  Three things around the loop make it usable.

   Chat template.  A chat model was trained on text with role markers and answers
   well only in that form.  ChatML, which Qwen2 and our tutor use:

     <|im_start|>user\nWhat is a KV cache?<|im_end|>\n<|im_start|>assistant\n

   The markers are single control tokens.  The text between them is encoded with
   control-token parsing off: a user who types "<|im_end|>" sends seven ordinary
   tokens, not the end of his turn.

   Streaming.  A token is bytes, not characters: "é" may arrive as two tokens.
   Text is handed out only in whole UTF-8 characters, and a tail that could be
   the beginning of a stop sequence is held back until it is decided.

   Prefix reuse.  A session remembers the tokens whose keys and values are in its
   cache.  A new prompt keeps the longest common prefix and computes the rest, so
   the tenth turn of a chat costs one turn and not ten.

   The trap: after a stop, the last sampled token is not in the cache yet.  The
   session counts only tokens that were run.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef struct {
  const char *role;    /* "system", "user", "assistant" */
  const char *content; /* 0-terminated UTF-8 */
} pml_message;

/* Messages as token ids for this model, ending with the opening of an assistant
   turn.  *ids from pml_alloc.  PML_E_UNSUPPORTED when the model's template is not
   ChatML or it has no tokenizer.  A system message that the template itself
   supplies is added when messages has none. */
PML_API pml_status pml_chat_encode(const pml_model *m, const pml_message *messages, int n, int32_t **ids,
                                   size_t *n_ids);
/* The same as text, for eyes. */
PML_API pml_status pml_chat_text(const pml_model *m, const pml_message *messages, int n, pml_buf *out);
/* True when the model carries a ChatML template or the ChatML tokens. */
PML_API bool pml_model_is_chat(const pml_model *m);

typedef enum { PML_FINISH_STOP = 0, PML_FINISH_LENGTH, PML_FINISH_CANCELLED } pml_finish;

typedef struct {
  int n_prompt;          /* tokens of the prompt, reused ones included */
  int n_reused;          /* of these, taken from the cache */
  int n_generated;       /* tokens sampled, the stop token included */
  double prefill_s;      /* until the first logits: the time to first token */
  double decode_s;       /* from there to the end */
  pml_finish finish;
} pml_generate_stats;

typedef struct {
  pml_sampler_options sampler;
  int max_tokens;               /* at least 1 */
  const char *const *stop;      /* [n_stop] texts that end the answer and are not part of it */
  int n_stop;
  bool ignore_eos;              /* keep going after an end token */
  bool show_special;            /* hand out control tokens as text */
  /* Called with whole characters; false ends the answer as cancelled. */
  bool (*on_text)(void *user, const char *text, size_t len);
  /* Called for every sampled token before its text; NULL: not called. */
  bool (*on_token)(void *user, int32_t token, const float *logits);
  void *user;
  pml_generate_stats *stats;    /* filled when not NULL */
} pml_generate_options;

/* Greedy, 256 tokens, no callbacks. */
PML_API pml_generate_options pml_generate_defaults(void);

/* A context, one sequence, and the tokens that are in its cache. */
typedef struct {
  pml_context *ctx;
  pml_seq seq;
  int32_t *tokens;              /* [n_ctx]; seq.n_tokens of them are cached */
  float *logits;                /* [V] of the last run */
} pml_session;
PML_API pml_status pml_session_open(pml_session **out, const pml_model *m, const pml_backend *backend,
                                    const pml_context_options *o);
PML_API void pml_session_close(pml_session *s);
/* Runs the prompt (n >= 1), then generates.  The context's end finishes the answer
   with PML_FINISH_LENGTH; a prompt that fills it is PML_E_LIMIT.  Cancelling is a
   normal end: PML_OK with PML_FINISH_CANCELLED. */
PML_API pml_status pml_generate(pml_session *s, const int32_t *prompt, size_t n, const pml_generate_options *o);

/* Opens a session, asks one question, closes it. */
PML_API pml_status pml_chat_once(const pml_model *m, const char *question, const pml_generate_options *o);

#ifdef PML__IMPL

PML_API bool pml_model_is_chat(const pml_model *m) {
  if (!m->tokenizer || pml_token_find(m->tokenizer, "<|im_start|>") < 0) return false;
  return pml_token_find(m->tokenizer, "<|im_end|>") >= 0;
}

/* The system text that a ChatML template supplies when the messages have none: in
   the Jinja source it stands as  <|im_start|>system\nTEXT<|im_end|>  with a literal
   backslash-n.  Templates that insert a variable there have a quote in it. */
PML__FN pml_str pml__chat_default_system(const pml_model *m) {
  static const char open[] = "<|im_start|>system\\n";
  pml_str none = {NULL, 0};
  for (const char *p = m->chat_template; p && (p = strstr(p, open)) != NULL;) {
    p += sizeof open - 1;
    const char *end = strstr(p, "<|im_end|>");
    if (!end) return none;
    size_t len = (size_t)(end - p);
    if (len && len < 1024 && !memchr(p, '\'', len) && !memchr(p, '{', len) && !memchr(p, '"', len))
      return (pml_str){p, len};
  }
  return none;
}

typedef struct {
  const pml_model *m;
  pml_buf ids;   /* int32_t, or text when as_text */
  bool as_text;
} pml__chat_out;

PML__FN pml_status pml__chat_add(pml__chat_out *o, const char *text, size_t len, unsigned flags) {
  if (o->as_text) {
    pml_buf_add(&o->ids, text, len);
    return PML_OK;
  }
  int32_t *ids;
  size_t n;
  pml_status st = pml_encode(o->m->tokenizer, text, len, flags, &ids, &n);
  if (st != PML_OK) return st;
  pml_buf_add(&o->ids, ids, n * sizeof *ids);
  pml_free(ids);
  return PML_OK;
}

PML__FN pml_status pml__chat_turn(pml__chat_out *o, const char *role, const char *content, size_t len) {
  char head[64];
  int n = snprintf(head, sizeof head, "<|im_start|>%s\n", role);
  pml_status st = pml__chat_add(o, head, (size_t)n, PML_ENCODE_SPECIAL);
  if (st == PML_OK) st = pml__chat_add(o, content, len, 0);
  if (st == PML_OK) st = pml__chat_add(o, "<|im_end|>\n", 11, PML_ENCODE_SPECIAL);
  return st;
}

PML__FN pml_status pml__chat_build(pml__chat_out *o, const pml_message *messages, int n) {
  if (!pml_model_is_chat(o->m))
    return pml_fail(PML_E_UNSUPPORTED, "%s has no ChatML tokens, so it is not a chat model we know: use plain text "
                    "(apr run)", o->m->name);
  pml_str system = pml__chat_default_system(o->m);
  pml_status st = PML_OK;
  if (system.len && (n == 0 || strcmp(messages[0].role, "system") != 0))
    st = pml__chat_turn(o, "system", system.ptr, system.len);
  for (int i = 0; i < n && st == PML_OK; i++) {
    const char *role = messages[i].role;
    if (strcmp(role, "system") && strcmp(role, "user") && strcmp(role, "assistant"))
      return pml_fail(PML_E_USAGE, "message %d has the role '%.20s': system, user and assistant exist", i, role);
    st = pml__chat_turn(o, role, messages[i].content, strlen(messages[i].content));
  }
  if (st == PML_OK) st = pml__chat_add(o, "<|im_start|>assistant\n", 22, PML_ENCODE_SPECIAL);
  if (st == PML_OK && o->ids.failed) st = PML_E_MEMORY;
  return st;
}

PML_API pml_status pml_chat_encode(const pml_model *m, const pml_message *messages, int n, int32_t **ids,
                                   size_t *n_ids) {
  pml__chat_out o = {.m = m};
  pml_status st = pml__chat_build(&o, messages, n);
  *ids = NULL;
  *n_ids = 0;
  if (st == PML_OK) {
    *ids = (int32_t *)(void *)o.ids.data;
    *n_ids = o.ids.len / sizeof(int32_t);
  } else pml_buf_free(&o.ids);
  return st;
}

PML_API pml_status pml_chat_text(const pml_model *m, const pml_message *messages, int n, pml_buf *out) {
  pml__chat_out o = {.m = m, .as_text = true};
  pml_status st = pml__chat_build(&o, messages, n);
  if (st == PML_OK) pml_buf_add(out, o.ids.data, o.ids.len);
  pml_buf_free(&o.ids);
  return st;
}

PML_API pml_generate_options pml_generate_defaults(void) {
  return (pml_generate_options){.sampler = pml_sampler_defaults(), .max_tokens = 256};
}

PML_API pml_status pml_session_open(pml_session **out, const pml_model *m, const pml_backend *backend,
                                    const pml_context_options *o) {
  *out = NULL;
  pml_session *s = (pml_session *)pml_calloc(1, sizeof *s);
  if (!s) return PML_E_MEMORY;
  pml_status st = pml_context_open(&s->ctx, m, backend, o);
  if (st == PML_OK) {
    s->tokens = (int32_t *)pml_alloc((size_t)s->ctx->options.n_ctx * sizeof(int32_t));
    s->logits = (float *)pml_alloc((size_t)m->cfg.n_vocab * sizeof(float));
    if (!s->tokens || !s->logits) st = PML_E_MEMORY;
  }
  if (st == PML_OK) *out = s;
  else pml_session_close(s);
  return st;
}

PML_API void pml_session_close(pml_session *s) {
  if (!s) return;
  if (s->ctx) pml_context_seq_free(s->ctx, &s->seq);
  pml_context_close(s->ctx);
  pml_free(s->tokens);
  pml_free(s->logits);
  pml_free(s);
}

/* Text on its way out: what was decoded but not handed over yet. */
typedef struct {
  const pml_generate_options *o;
  pml_buf held;
  bool stopped, cancelled;
} pml__stream;

/* Length of an incomplete UTF-8 character at the end of s, 0 to 3. */
PML__FN size_t pml__utf8_tail(const char *s, size_t len) {
  for (size_t back = 1; back <= 3 && back <= len; back++) {
    unsigned char c = (unsigned char)s[len - back];
    if ((c & 0xC0) == 0x80) continue;
    size_t want = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
    return want > back ? back : 0;
  }
  return 0;
}

/* Longest tail of s that is a proper beginning of some stop text. */
PML__FN size_t pml__stop_tail(const pml_generate_options *o, const char *s, size_t len) {
  size_t best = 0;
  for (int i = 0; i < o->n_stop; i++) {
    size_t n = strlen(o->stop[i]);
    for (size_t t = n > 1 ? n - 1 : 0; t > best; t--)
      if (t <= len && memcmp(s + len - t, o->stop[i], t) == 0) best = t;
  }
  return best;
}

/* First complete stop text in s: its offset, or len. */
PML__FN size_t pml__stop_find(const pml_generate_options *o, const char *s, size_t len) {
  size_t first = len;
  for (int i = 0; i < o->n_stop; i++) {
    size_t n = strlen(o->stop[i]);
    for (size_t at = 0; n && at + n <= len && at < first; at++)
      if (memcmp(s + at, o->stop[i], n) == 0) first = at;
  }
  return first;
}

PML__FN void pml__stream_out(pml__stream *st, size_t len) {
  if (len && st->o->on_text && !st->o->on_text(st->o->user, st->held.data, len)) st->cancelled = true;
  memmove(st->held.data, st->held.data + len, st->held.len - len + 1);
  st->held.len -= len;
}

PML__FN void pml__stream_add(pml__stream *st, pml_str bytes) {
  pml_buf_add(&st->held, bytes.ptr, bytes.len);
  if (st->held.failed || st->held.len == 0) return;
  size_t stop = pml__stop_find(st->o, st->held.data, st->held.len);
  if (stop < st->held.len) {
    pml__stream_out(st, stop);
    st->held.len = 0;
    st->stopped = true;
    return;
  }
  size_t tail = pml__utf8_tail(st->held.data, st->held.len);
  size_t pending = pml__stop_tail(st->o, st->held.data, st->held.len);
  pml__stream_out(st, st->held.len - (pending > tail ? pending : tail));
}

PML__FN bool pml__is_end(const pml_tokenizer *t, int32_t token) {
  if (!t) return false;
  const pml_tokenizer_spec *spec = pml_tokenizer_spec_of(t);
  return token == spec->eos || token == spec->eot ||
         (spec->types && token < spec->n_vocab && spec->types[token] == 3 &&
          (pml_str_eq(pml_token_bytes(t, token), "<|im_end|>") ||
           pml_str_eq(pml_token_bytes(t, token), "<|endoftext|>")));
}

/* Keeps the common prefix with what is cached and runs the rest of the prompt. */
PML__FN pml_status pml__session_prefill(pml_session *s, const int32_t *prompt, size_t n, int *reused) {
  int n_ctx = s->ctx->options.n_ctx;
  if (n == 0) return pml_fail(PML_E_USAGE, "the prompt is empty: give at least one token");
  if (n >= (size_t)n_ctx)
    return pml_fail(PML_E_LIMIT, "the prompt has %zu tokens, the context holds %d and the answer needs room: shorten "
                    "the prompt or open a larger context", n, n_ctx);
  int keep = 0;
  while (keep < s->seq.n_tokens && keep < (int)n - 1 && s->tokens[keep] == prompt[keep]) keep++;
  pml_context_truncate(s->ctx, &s->seq, keep);
  memcpy(s->tokens, prompt, n * sizeof *prompt);
  *reused = keep;
  return pml_forward_one(s->ctx, &s->seq, prompt + keep, (int)n - keep, s->logits);
}

/* Samples until something ends the answer. */
PML__FN pml_status pml__decode_loop(pml_session *s, pml_sampler *sampler, pml__stream *out,
                                    pml_generate_stats *stats) {
  const pml_generate_options *o = out->o;
  const pml_tokenizer *tok = s->ctx->model->tokenizer;
  int n_ctx = s->ctx->options.n_ctx;
  stats->finish = PML_FINISH_LENGTH;
  while (stats->n_generated < o->max_tokens) {
    int32_t token;
    pml_status st = pml_sample(sampler, s->logits, s->tokens, s->seq.n_tokens, &token);
    if (st != PML_OK) return st;
    stats->n_generated++;
    if (o->on_token && !o->on_token(o->user, token, s->logits)) out->cancelled = true;
    bool end = !o->ignore_eos && pml__is_end(tok, token);
    if (tok && !(end && !o->show_special)) {
      const pml_tokenizer_spec *spec = pml_tokenizer_spec_of(tok);
      bool control = spec->types && token < spec->n_vocab && spec->types[token] == 3;
      if (!control || o->show_special) pml__stream_add(out, pml_token_bytes(tok, token));
    }
    if (out->held.failed) return PML_E_MEMORY;
    if (out->cancelled || end || out->stopped) {
      stats->finish = out->cancelled ? PML_FINISH_CANCELLED : PML_FINISH_STOP;
      return PML_OK;
    }
    if (s->seq.n_tokens + 1 >= n_ctx || stats->n_generated == o->max_tokens) return PML_OK;
    s->tokens[s->seq.n_tokens] = token;
    st = pml_forward_one(s->ctx, &s->seq, &token, 1, s->logits);
    if (st != PML_OK) return st;
  }
  return PML_OK;
}

PML_API pml_status pml_generate(pml_session *s, const int32_t *prompt, size_t n, const pml_generate_options *o) {
  pml_generate_stats stats = {.n_prompt = n < INT_MAX ? (int)n : INT_MAX};
  pml__stream out = {.o = o};
  pml_sampler *sampler = NULL;
  if (o->max_tokens < 1) return pml_fail(PML_E_USAGE, "max-tokens is %d: give at least 1", o->max_tokens);
  pml_status st = pml_sampler_create(&sampler, s->ctx->model->cfg.n_vocab, &o->sampler);
  double t0 = pml_time(), t1 = t0;
  if (st == PML_OK) st = pml__session_prefill(s, prompt, n, &stats.n_reused);
  if (st == PML_OK) {
    t1 = pml_time();
    st = pml__decode_loop(s, sampler, &out, &stats);
  }
  if (st == PML_E_CANCELLED) {
    stats.finish = PML_FINISH_CANCELLED;
    st = PML_OK;
  }
  if (st == PML_OK && !out.stopped && !out.cancelled && out.held.len) pml__stream_out(&out, out.held.len);
  stats.prefill_s = t1 - t0;
  stats.decode_s = pml_time() - t1;
  if (o->stats) *o->stats = stats;
  pml_sampler_free(sampler);
  pml_buf_free(&out.held);
  return st;
}

PML_API pml_status pml_chat_once(const pml_model *m, const char *question, const pml_generate_options *o) {
  pml_message message = {"user", question};
  pml_session *s = NULL;
  int32_t *ids = NULL;
  size_t n;
  pml_status st = pml_chat_encode(m, &message, 1, &ids, &n);
  if (st == PML_OK) st = pml_session_open(&s, m, NULL, NULL);
  if (st == PML_OK) st = pml_generate(s, ids, n, o);
  pml_session_close(s);
  pml_free(ids);
  return st;
}

#endif /* § 28 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 29  SPECULATIVE DECODING                                  needs § 26 – § 28
   ─────────────────────────────────────────────────────────────────────────────
   A small model guesses, the large one checks.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 29: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 30  TENSOR PARALLELISM                                      needs § 11 § 26
   ─────────────────────────────────────────────────────────────────────────────
   One layer on several workers.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 30: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   PART V   LEARNING
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 31  BACKWARD PASS                                           needs § 11 § 12
   ─────────────────────────────────────────────────────────────────────────────
   A derivative beside each forward.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 31: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 32  OPTIMISER                                                needs § 8 § 31
   ─────────────────────────────────────────────────────────────────────────────
   AdamW, warm-up, cosine, clipping.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 32: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 33  TRAINING                                      needs § 17 § 18 § 31 § 32
   ─────────────────────────────────────────────────────────────────────────────
   Batches, checkpoints, exact resume.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 33: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 34  EVALUATION                                               needs § 9 § 28
   ─────────────────────────────────────────────────────────────────────────────
   Perplexity, right answers, BM25.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 34: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 35  PRUNING                                                      needs § 33
   ─────────────────────────────────────────────────────────────────────────────
   Weights that can go.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 35: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 36  DISTILLATION                                                 needs § 33
   ─────────────────────────────────────────────────────────────────────────────
   A teacher, a student, a temperature.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 36: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 37  LORA FAMILY                                                  needs § 33
   ─────────────────────────────────────────────────────────────────────────────
   Small adapters on frozen weights.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 37: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 38  CLASSICAL MODELS                                              needs § 9
   ─────────────────────────────────────────────────────────────────────────────
   When a tree is enough.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 38: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   PART VI   SERVING
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 39  SCHEDULER                                             needs § 24 – § 28
   ─────────────────────────────────────────────────────────────────────────────
   Continuous batching.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 39: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 40  HTTP AND SSE                                            needs § 15 § 39
   ─────────────────────────────────────────────────────────────────────────────
   An API that real clients trust.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 40: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 41  SERVERLESS                                                   needs § 40
   ─────────────────────────────────────────────────────────────────────────────
   Cold start, warm start.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 41: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   PART VII   EDGE
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 42  WASM                                                         needs § 26
   ─────────────────────────────────────────────────────────────────────────────
   The same code in a browser.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 42: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 43  UI                                                           needs § 10
   ─────────────────────────────────────────────────────────────────────────────
   Measure, lay out, paint.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 43: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   PART VIII   SHOWCASE
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 44  SPEECH                                                       needs § 11
   ─────────────────────────────────────────────────────────────────────────────
   From samples to words.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 44: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 45  TRANSPILER                                                    needs § 2
   ─────────────────────────────────────────────────────────────────────────────
   Python in, C out.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 45: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 46  SHELL COMPLETION                                              needs § 2
   ─────────────────────────────────────────────────────────────────────────────
   N-grams on a history file.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 46: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 47  CORPUS                                                   needs § 7 § 15
   ─────────────────────────────────────────────────────────────────────────────
   Extract, filter, falsify, publish.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 47: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   PART IX   THE COURSE
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 48  BENCHMARKS AND ARROW                      needs § 3 § 4 § 5 § 9 § 25 § 26
   ─────────────────────────────────────────────────────────────────────────────
   A rate alone says little: 50 tokens per second is slow on one machine and
   impossible on another.  So each rate stands beside its limit, measured in the
   same run on the same machine.

     decode    limit = bandwidth / bytes of weights read per token
     prefill   limit = peak / operations per token
               operations = 2·weights (head once per prompt) + attention,
               attention of a prompt of T tokens = 4·L·H·h·T(T+1)/2

   The bandwidth is that of the model's own pages, read by all threads in the
   order the kernels read them: on virtual machines it depends on where the pages
   happen to lie.  The peak is that of fused multiply-adds in the widest register
   this processor level has, from a loop in assembly with sixteen independent
   accumulators: four cycles of latency on two units keep eight in flight, and a
   compiler's own loop can be half as fast and flatter everyone.

   Each figure is the median of its repetitions, with the smallest and largest.
   Repetitions of prefill and decode alternate, so that a slow minute of the
   machine hits both.

   The trap: the first pass faults the pages in.  One unmeasured pass goes first.
   Source: Williams, Waterman and Patterson 2009, Roofline.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef struct {
  double median, lo, hi;
} pml_figure;

typedef struct {
  int n_prompt;        /* prefill length; 0 skips it */
  int n_decode;        /* decode steps from an empty cache; 0 skips them */
  int repetitions;     /* at least 1 */
  const volatile int *cancel;
} pml_bench_options;

typedef struct {
  pml_figure pp_tok_s, tg_tok_s; /* tokens per second */
  pml_figure read_gb_s;          /* 1e9 bytes per second, this model's pages, all threads */
  double peak_gflop_s;           /* f32 multiply-adds, 2 operations each, all threads */
  double pp_limit, tg_limit;     /* tokens per second */
  double pp_share, tg_share;     /* median / limit */
  size_t bytes_per_token;        /* weights read by a decode step */
  size_t memory_peak;            /* bytes from pml_alloc */
} pml_bench_result;

/* Measures a model on the CPU.  PML_E_USAGE for sizes the context cannot hold. */
PML_API pml_status pml_bench_model(const pml_model *m, const pml_bench_options *o, pml_bench_result *r);

/* Bytes per second at which all threads read data[size] once. */
PML_API double pml_bench_read(const void *data, size_t size);
/* f32 operations per second of all threads: fused multiply-adds where the processor
   level has them, else separate ones. */
PML_API double pml_bench_peak_f32(void);
/* Median, minimum and maximum of n >= 1 values. */
PML_API pml_figure pml_figure_of(const double *x, size_t n);

#ifdef PML__IMPL

PML_API pml_figure pml_figure_of(const double *x, size_t n) {
  pml_figure f = {pml_median(x, n), x[0], x[0]};
  for (size_t i = 1; i < n; i++) {
    if (x[i] < f.lo) f.lo = x[i];
    if (x[i] > f.hi) f.hi = x[i];
  }
  return f;
}

typedef struct {
  const unsigned char *data;
  size_t size;
  atomic_uint_least64_t sink; /* keeps the compiler from dropping the reads */
} pml__walk;

#ifdef PML__X86
__attribute__((target("avx2"))) PML__FN uint64_t pml__walk_avx2(const unsigned char *p, size_t n) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (; n >= 128; n -= 128, p += 128) {
    a = _mm256_xor_si256(a, _mm256_loadu_si256((const __m256i *)(const void *)p));
    b = _mm256_xor_si256(b, _mm256_loadu_si256((const __m256i *)(const void *)(p + 32)));
    c = _mm256_xor_si256(c, _mm256_loadu_si256((const __m256i *)(const void *)(p + 64)));
    d = _mm256_xor_si256(d, _mm256_loadu_si256((const __m256i *)(const void *)(p + 96)));
  }
  a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  return (uint64_t)_mm256_extract_epi64(a, 0) ^ (uint64_t)_mm256_extract_epi64(a, 2);
}
#endif

PML__FN uint64_t pml__walk_plain(const unsigned char *p, size_t n) {
  uint64_t a = 0, b = 0, x[2];
  for (; n >= 16; n -= 16, p += 16) {
    memcpy(x, p, 16);
    a ^= x[0];
    b ^= x[1];
  }
  return a ^ b;
}

PML__FN void pml__walk_range(void *ctx, size_t begin, size_t end) {
  pml__walk *w = (pml__walk *)ctx;
  uint64_t x;
#ifdef PML__X86
  if (pml_cpu_level() >= PML_CPU_AVX2) x = pml__walk_avx2(w->data + begin, end - begin);
  else
#endif
    x = pml__walk_plain(w->data + begin, end - begin);
  atomic_fetch_xor(&w->sink, x);
}

PML_API double pml_bench_read(const void *data, size_t size) {
  pml__walk w = {.data = (const unsigned char *)data, .size = size};
  double t0 = pml_time();
  pml_parallel(size, (size_t)1 << 20, pml__walk_range, &w);
  double t = pml_time() - t0;
  return t > 0 ? (double)size / t : 0;
}

enum { PML__PEAK_LOOPS = 4000000 }; /* iterations of 16 vector instructions, 10 to 30 ms */

/* One thread's share: returns the operations it did. */
PML__FN double pml__peak_work(void) {
  uint64_t n = PML__PEAK_LOOPS;
#ifdef PML__X86
  if (pml_cpu_level() == PML_CPU_AVX512) {
    __asm__ volatile(
        "1:\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm0\n vfmadd231ps %%zmm16,%%zmm17,%%zmm1\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm2\n vfmadd231ps %%zmm16,%%zmm17,%%zmm3\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm4\n vfmadd231ps %%zmm16,%%zmm17,%%zmm5\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm6\n vfmadd231ps %%zmm16,%%zmm17,%%zmm7\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm8\n vfmadd231ps %%zmm16,%%zmm17,%%zmm9\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm10\n vfmadd231ps %%zmm16,%%zmm17,%%zmm11\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm12\n vfmadd231ps %%zmm16,%%zmm17,%%zmm13\n"
        "vfmadd231ps %%zmm16,%%zmm17,%%zmm14\n vfmadd231ps %%zmm16,%%zmm17,%%zmm15\n"
        "dec %0\n jnz 1b\n vzeroupper\n"
        : "+r"(n)
        :
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
          "xmm12", "xmm13", "xmm14", "xmm15");
    return (double)PML__PEAK_LOOPS * 16 * 16 * 2;
  }
  if (pml_cpu_level() == PML_CPU_AVX2) {
    __asm__ volatile(
        "1:\n"
        "vfmadd231ps %%ymm14,%%ymm15,%%ymm0\n vfmadd231ps %%ymm14,%%ymm15,%%ymm1\n"
        "vfmadd231ps %%ymm14,%%ymm15,%%ymm2\n vfmadd231ps %%ymm14,%%ymm15,%%ymm3\n"
        "vfmadd231ps %%ymm14,%%ymm15,%%ymm4\n vfmadd231ps %%ymm14,%%ymm15,%%ymm5\n"
        "vfmadd231ps %%ymm14,%%ymm15,%%ymm6\n vfmadd231ps %%ymm14,%%ymm15,%%ymm7\n"
        "vfmadd231ps %%ymm14,%%ymm15,%%ymm8\n vfmadd231ps %%ymm14,%%ymm15,%%ymm9\n"
        "vfmadd231ps %%ymm14,%%ymm15,%%ymm10\n vfmadd231ps %%ymm14,%%ymm15,%%ymm11\n"
        "dec %0\n jnz 1b\n vzeroupper\n"
        : "+r"(n)
        :
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
          "xmm12", "xmm13", "xmm14", "xmm15");
    return (double)PML__PEAK_LOOPS * 12 * 8 * 2;
  }
#endif
  volatile float keep;
  float acc[16] = {0}, x = 1.0f + (float)n * 1e-30f, y = 0.5f;
  for (uint64_t i = 0; i < n / 8; i++)
    for (int j = 0; j < 16; j++) acc[j] = acc[j] * y + x;
  keep = acc[0];
  for (int j = 1; j < 16; j++) keep = acc[j];
  (void)keep;
  return (double)(PML__PEAK_LOOPS / 8) * 16 * 2;
}

PML__FN void pml__peak_range(void *ctx, size_t begin, size_t end) {
  double *ops = (double *)ctx;
  for (size_t i = begin; i < end; i++) ops[i] = pml__peak_work();
}

PML_API double pml_bench_peak_f32(void) {
  double ops[256], best = 0;
  size_t n = (size_t)pml_threads();
  for (int pass = 0; pass < 5; pass++) {
    double total = 0, t0 = pml_time();
    pml_parallel(n, 1, pml__peak_range, ops);
    double t = pml_time() - t0;
    for (size_t i = 0; i < n; i++) total += ops[i];
    if (t > 0 && total / t > best) best = total / t;
  }
  return best;
}

/* Reads every matrix of the model once, as a decode step does; seconds. */
PML__FN double pml__bench_walk(const pml_model *m) {
  double t0 = pml_time();
  for (int i = 0; i < m->cfg.n_layers; i++) {
    const pml_layer *l = &m->layers[i];
    const pml_mat *w[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->w_gate, &l->w_up, &l->w_down};
    for (size_t j = 0; j < sizeof w / sizeof w[0]; j++) pml_bench_read(w[j]->data, pml__mat_bytes(w[j]));
  }
  pml_bench_read(m->head.data, pml__mat_bytes(&m->head));
  return pml_time() - t0;
}

/* Operations of a prompt of T tokens with logits for its last one. */
PML__FN double pml__bench_prefill_ops(const pml_config *c, double T) {
  double head = (double)c->n_vocab * c->d_model;
  double weights = (double)pml_config_n_params(c) - head * (c->tied_head ? 1 : 2);
  double attention = 4.0 * c->n_layers * c->n_heads * c->head_dim * T * (T + 1) / 2;
  return 2 * weights * T + 2 * head + attention;
}

PML__FN pml_status pml__bench_once(pml_context *ctx, const pml_bench_options *o, const int32_t *tokens, float *logits,
                                   double *pp, double *tg) {
  pml_seq seq = {0};
  pml_status st = PML_OK;
  double t0 = pml_time();
  if (o->n_prompt) st = pml_forward_one(ctx, &seq, tokens, o->n_prompt, logits);
  *pp = o->n_prompt / (pml_time() - t0);
  pml_context_truncate(ctx, &seq, 0);
  t0 = pml_time();
  for (int i = 0; i < o->n_decode && st == PML_OK; i++) st = pml_forward_one(ctx, &seq, tokens + i, 1, logits);
  *tg = o->n_decode / (pml_time() - t0);
  pml_context_seq_free(ctx, &seq);
  return st;
}

PML_API pml_status pml_bench_model(const pml_model *m, const pml_bench_options *o, pml_bench_result *r) {
  int longest = o->n_prompt > o->n_decode ? o->n_prompt : o->n_decode;
  memset(r, 0, sizeof *r);
  if (o->n_prompt < 0 || o->n_decode < 0 || longest < 1 || o->repetitions < 1 || o->repetitions > 1000)
    return pml_fail(PML_E_USAGE, "benchmark: give a prompt or decode length of at least 1 and 1 to 1000 repetitions");
  pml_context *ctx = NULL;
  pml_context_options co = {.n_ctx = longest, .cancel = o->cancel};
  pml_status st = pml_context_open(&ctx, m, NULL, &co);
  size_t reps = (size_t)o->repetitions;
  int32_t *tokens = (int32_t *)pml_alloc((size_t)longest * sizeof(int32_t));
  float *logits = (float *)pml_alloc((size_t)m->cfg.n_vocab * sizeof(float));
  double *x = (double *)pml_alloc(3 * reps * sizeof(double)), skip;
  if (st == PML_OK && (!tokens || !logits || !x)) st = PML_E_MEMORY;
  pml_rng rng = pml_rng_seed(42);
  for (int i = 0; st == PML_OK && i < longest; i++)
    tokens[i] = (int32_t)pml_rng_below(&rng, (uint32_t)m->cfg.n_vocab);
  if (st == PML_OK) pml__bench_walk(m);
  pml_bench_options warm = {.n_prompt = o->n_prompt ? 1 : 0, .n_decode = o->n_decode ? 1 : 0};
  if (st == PML_OK) st = pml__bench_once(ctx, &warm, tokens, logits, &skip, &skip);
  r->bytes_per_token = pml_model_bytes_per_token(m);
  for (size_t i = 0; st == PML_OK && i < reps; i++) {
    x[2 * reps + i] = (double)r->bytes_per_token / pml__bench_walk(m) / 1e9;
    st = pml__bench_once(ctx, o, tokens, logits, &x[i], &x[reps + i]);
  }
  if (st == PML_OK) {
    r->pp_tok_s = pml_figure_of(x, reps);
    r->tg_tok_s = pml_figure_of(x + reps, reps);
    r->read_gb_s = pml_figure_of(x + 2 * reps, reps);
    r->peak_gflop_s = pml_bench_peak_f32() / 1e9;
    r->tg_limit = r->read_gb_s.median * 1e9 / (double)r->bytes_per_token;
    r->pp_limit = o->n_prompt ? r->peak_gflop_s * 1e9 * o->n_prompt / pml__bench_prefill_ops(&m->cfg, o->n_prompt) : 0;
    r->pp_share = o->n_prompt ? r->pp_tok_s.median / r->pp_limit : 0;
    r->tg_share = o->n_decode ? r->tg_tok_s.median / r->tg_limit : 0;
    r->memory_peak = pml_memory_peak();
  }
  pml_free(x);
  pml_free(logits);
  pml_free(tokens);
  pml_context_close(ctx);
  return st;
}

#endif /* § 48 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 49  SVG                                                       needs § 2 § 9
   ─────────────────────────────────────────────────────────────────────────────
   Diagrams that measure their text.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 49: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 50  PAGES                                                    needs § 2 § 49
   ─────────────────────────────────────────────────────────────────────────────
   Markdown from a run.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 50: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 51  LESSONS                                            needs § 10 § 49 § 50
   ─────────────────────────────────────────────────────────────────────────────
   Arguments, outputs, checks.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 51: not written yet */

#endif /* PRODML_H */
