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
  atomic_uint epoch;         /* counts regions; a change is the signal to work */
  atomic_int pending;        /* workers that have not finished this region */
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
PML__FN unsigned pml__pool_wait(unsigned seen) {
  for (int spin = 0; spin < 2000; spin++) {
    unsigned now = atomic_load_explicit(&pml__pool.epoch, memory_order_acquire);
    if (now != seen) return now;
    pml__cpu_pause();
  }
  pthread_mutex_lock(&pml__pool.sleep);
  unsigned now;
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

PML__FN void *pml__pool_main(void *arg) {
  unsigned seen = (unsigned)(uintptr_t)arg;
  for (;;) {
    seen = pml__pool_wait(seen);
    if (atomic_load(&pml__pool.quit)) return NULL;
    pml__pool_work();
    atomic_fetch_sub(&pml__pool.pending, 1);
  }
}

/* The caller holds pml__pool.call. */
PML__FN void pml__pool_start(void) {
  int want = pml_threads() - 1;
  unsigned epoch = atomic_load(&pml__pool.epoch);
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
  atomic_store(&pml__pool.pending, pml__pool.n_workers);
  pml__pool_signal();
  pml__pool_work();
  for (int spin = 0; atomic_load_explicit(&pml__pool.pending, memory_order_acquire) > 0; spin++) {
    if (spin < 100000) pml__cpu_pause();
    else sched_yield();
  }
  pthread_mutex_unlock(&pml__pool.call);
}

#endif /* § 5 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 6  FILES AND BYTES                                            needs § 1 § 2
   ─────────────────────────────────────────────────────────────────────────────
   Mapping, atomic writes, a bounded reader.
   ═════════════════════════════════════════════════════════════════════════════ */

/* A file mapped read-only, or read into memory where mapping is impossible. */
typedef struct {
  const unsigned char *data;
  size_t size;
  bool mapped;   /* false: data came from pml_alloc */
  char *path;    /* owned copy, for error sentences */
} pml_file;
PML_API pml_status pml_file_open(pml_file *f, const char *path); /* a directory, an empty path: a sentence */
PML_API void pml_file_close(pml_file *f);

/* Reads a whole file into memory (`*data` ends with an extra 0 byte; pml_free it). */
PML_API pml_status pml_file_read(const char *path, char **data, size_t *size);

/* Writes path so that readers see the old file or the whole new one: temporary
   file beside it, fsync, rename.  A full disk leaves the old file untouched. */
PML_API pml_status pml_file_write(const char *path, const void *data, size_t size);
PML_API bool pml_file_exists(const char *path);
PML_API pml_status pml_mkdirs(const char *path);

/* The same atomic write as a stream, for files too large to hold twice. */
typedef struct pml_writer pml_writer;
PML_API pml_status pml_writer_open(pml_writer **w, const char *path);
PML_API pml_status pml_writer_add(pml_writer *w, const void *data, size_t size);
PML_API uint64_t pml_writer_offset(const pml_writer *w);
PML_API pml_status pml_writer_commit(pml_writer *w); /* fsync, rename, frees w */
PML_API void pml_writer_cancel(pml_writer *w);       /* removes the temporary, frees w */

/* A bounded little-endian reader over bytes.  After the first read past the end
   `failed` is set and everything reads as 0, so a parser checks once per record. */
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
PML_API pml_str pml_str_of(const char *s);
PML_API bool pml_str_eq(pml_str a, const char *b);

#ifdef PML__IMPL
#endif /* § 6 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 7  CHECKSUMS AND IDENTIFIERS                                      needs § 1
   ─────────────────────────────────────────────────────────────────────────────
   CRC-32, SHA-256, UUID version 5.
   ═════════════════════════════════════════════════════════════════════════════ */

PML_API uint32_t pml_crc32(uint32_t crc, const void *data, size_t size); /* start with crc = 0 */
typedef struct {
  uint32_t h[8];
  uint64_t n_bytes;
  unsigned char block[64];
} pml_sha256;
PML_API void pml_sha256_init(pml_sha256 *s);
PML_API void pml_sha256_add(pml_sha256 *s, const void *data, size_t size);
PML_API void pml_sha256_done(pml_sha256 *s, unsigned char digest[32]);
PML_API void pml_sha256_hex(const void *data, size_t size, char hex[65]);
PML_API pml_status pml_sha256_file(const char *path, char hex[65]);
/* UUID version 5 (SHA-1 of namespace and name), RFC 4122; ns NULL is the DNS namespace. */
PML_API void pml_uuid5(const unsigned char ns[16], const void *name, size_t size, char text[37]);

#ifdef PML__IMPL
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
   § 9  STATISTICS                                                 needs § 2 § 3
   ─────────────────────────────────────────────────────────────────────────────
   Percentiles, MAD, bootstrap intervals.
   ═════════════════════════════════════════════════════════════════════════════ */

/* x is reordered in the quantile functions' own copy; n >= 1. */
PML_API double pml_mean(const double *x, size_t n);
PML_API double pml_stddev(const double *x, size_t n);          /* of the sample, n - 1 */
PML_API double pml_quantile(const double *x, size_t n, double q); /* linear interpolation, q in [0,1] */
PML_API double pml_median(const double *x, size_t n);
PML_API double pml_mad(const double *x, size_t n);             /* median absolute deviation */
/* 95 % (level 0.95) bootstrap interval of the median, 1000 resamples, seeded. */
PML_API void pml_bootstrap(const double *x, size_t n, double level, uint64_t seed, double *lo, double *hi);

#ifdef PML__IMPL
#endif /* § 9 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 10  TRACE AND PROVENANCE                                    needs § 1 – § 9
   ─────────────────────────────────────────────────────────────────────────────
   Spans, counters, who computed this.
   ═════════════════════════════════════════════════════════════════════════════ */

/* A hook that later chapters call.  Without one, a span costs one comparison. */
typedef struct {
  const char *name;      /* "layer", "attention", "sample" … */
  int layer;             /* -1 where it has no meaning */
  uint64_t begin_ns, end_ns;
  const float *data;     /* the values the span produced, or NULL */
  size_t n;
} pml_span;
typedef void (*pml_trace_fn)(void *user, const pml_span *span);
PML_API void pml_trace_set(pml_trace_fn fn, void *user);
PML_API bool pml_tracing(void);
PML_API uint64_t pml_trace_begin(void);   /* 0 when not tracing */
PML_API void pml_trace_end(uint64_t begin, const char *name, int layer, const float *data, size_t n);

/* Who computed a number: appended to JSON output as one object.  PML_GIT_SHA and
   PML_CFLAGS are defined by the build; "unknown" without. */
PML_API void pml_provenance_json(pml_buf *out, const char *program, uint64_t seed);

#ifdef PML__IMPL
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
                 184 bytes, 0.2 a operation instead of 4.  Why 14 × 32: two
                 multiply-adds start each cycle and take 4 cycles, so at least 8
                 must be in flight; 28 are.  Loads per multiply-add are
                 (14 + 2) / 28; taller and wider tiles do not fit, 32 × 14 would
                 need 32 + 1 loads.  The last registers hold B (2), A, a product.
     L1          the sliver of A, 14 rows × 256 k, 16 KB, is used by all columns.
     L2          the panel of B, 256 k × up to 768 columns, 768 KB, is used by
                 all rows.  It streams through the tile: 128 bytes in 14 cycles.
     memory      A is read once per panel of B; C is read and written once per
                 256 k, that is 8 bytes for 512 operations.

   AVX2 has 16 registers of 8: its tile is 6 × 16.

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
   ARM64); elsewhere a software fmaf would take 20 times longer, so there the
   scalar default equals strict.

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
  float acc[4][16];
  for (size_t m = 0; m < 4; m++)
    for (size_t n = 0; n < 16; n++) acc[m][n] = load ? c[m * ldc + n] : 0.0f;
  for (size_t k = 0; k < kc; k++, a += 4, b += 16)
    for (size_t m = 0; m < 4; m++)
      for (size_t n = 0; n < 16; n++) {
#if defined(__FP_FAST_FMAF)
        acc[m][n] = strict ? acc[m][n] + a[m] * b[n] : fmaf(a[m], b[n], acc[m][n]);
#else
        (void)strict;
        acc[m][n] += a[m] * b[n];
#endif
      }
  for (size_t m = 0; m < 4; m++)
    for (size_t n = 0; n < 16; n++) c[m * ldc + n] = acc[m][n];
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
  return (pml__gemm_kernel){4, 16, 4, strict ? pml__gemm_scalar_strict : pml__gemm_scalar,
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
   § 16  UNICODE                                                       needs § 1
   ─────────────────────────────────────────────────────────────────────────────
   UTF-8 and the categories a pre-tokenizer needs.
   ═════════════════════════════════════════════════════════════════════════════ */

/* Decodes one character at s (len >= 1): returns its length, *cp the code point.
   A byte that is not valid UTF-8 gives length 1 and *cp = 0xFFFFFFFF. */
PML_API int pml_utf8_decode(const char *s, size_t len, uint32_t *cp);
PML_API int pml_utf8_encode(uint32_t cp, char out[4]);
PML_API bool pml_utf8_valid(const char *s, size_t len);
PML_API bool pml_is_letter(uint32_t cp);   /* \p{L} */
PML_API bool pml_is_number(uint32_t cp);   /* \p{N} */
PML_API bool pml_is_space(uint32_t cp);    /* \s */
PML_API int pml_display_width(uint32_t cp); /* 0, 1 or 2 terminal columns */

#ifdef PML__IMPL
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
   Keys and values in blocks.
   ═════════════════════════════════════════════════════════════════════════════ */

/* One pool of blocks; a block holds block_size positions of every layer:
   k and v are [n_layers][n_blocks][block_size][n_kv_heads·head_dim] f32.  A
   contiguous cache is a pool whose sequences use one block each. */
typedef struct {
  int n_layers, n_blocks, block_size, n_free;
  size_t stride;              /* n_kv_heads · head_dim floats per position */
  float *k, *v;
  int32_t *free_list;         /* [n_blocks] a stack of free block numbers */
} pml_kv;

/* A sequence: its block table and how many positions are filled. */
typedef struct {
  int32_t *table;
  int n_blocks, cap_blocks, n_tokens;
} pml_seq;

#ifdef PML__IMPL
#endif /* § 24 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 25  MODEL                                              needs § 11 § 17 § 18
   ─────────────────────────────────────────────────────────────────────────────
   Configuration, weights, the backend seam.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef struct {
  char arch[16];              /* "qwen2", "llama" */
  int n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ffn, n_vocab, n_ctx;
  int rope_dim;               /* dimensions of a head that rotate, usually head_dim */
  bool rope_split;            /* true: qwen2's pairs (i, i+rope_dim/2); false: llama's (2i, 2i+1) */
  bool qkv_bias, tied_head;
  float rope_theta, rms_eps;
} pml_config;

#ifdef PML__IMPL
#endif /* § 25 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 26  TRANSFORMER                                   needs § 11 § 14 § 24 § 25
   ─────────────────────────────────────────────────────────────────────────────
   The forward pass on the CPU.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 26: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 27  SAMPLING                                                  needs § 3 § 8
   ─────────────────────────────────────────────────────────────────────────────
   From logits to one token.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 27: not written yet */

/* ═════════════════════════════════════════════════════════════════════════════
   § 28  CHAT AND GENERATION                                needs § 17 § 26 § 27
   ─────────────────────────────────────────────────────────────────────────────
   Templates, stop sequences, streaming.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 28: not written yet */

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
   § 48  BENCHMARKS AND ARROW                                     needs § 9 § 10
   ─────────────────────────────────────────────────────────────────────────────
   Rates beside their limits.
   ═════════════════════════════════════════════════════════════════════════════ */

/* § 48: not written yet */

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
