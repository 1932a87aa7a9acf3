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
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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
  int fd = -1;
  size_t expected = 0, got = 0;
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
  int fd = -1;
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
  if (!old || fchmod(w->fd, old->st_mode & 0777) == 0) return PML_OK;
  return pml__fail_errno(w->path, "set permissions", errno);
}

PML_API pml_status pml_writer_open(pml_writer **out, const char *path) {
  struct stat info;
  *out = NULL;
  if (!path || !*path) return pml_fail(PML_E_USAGE, "no file name was given");
  bool exists = stat(path, &info) == 0;
  if (exists && S_ISDIR(info.st_mode))
    return pml_fail(PML_E_IO, "%s: is a directory: name a file in it", path);
  if (exists && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0)
    return pml__fail_errno(path, "write", errno);
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
      __m128i x;
      if (i < 4) {
        x = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
      } else {
        x = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
        x = _mm_add_epi32(x, _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4));
        x = _mm_sha256msg2_epu32(x, w[(i + 3) & 3]);
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
   A weight is stored in as few bits as the model tolerates and computed with in
   32.  Three formats, all "sign, exponent, fraction":

     f32    1 + 8 + 23 bits   largest 3.4e38   24 significant bits
     f16    1 + 5 + 10        largest 65504    11 bits; below 6.1e-5 it thins out
     bf16   1 + 8 + 7         largest 3.4e38    8 bits; the upper half of an f32

   Going down rounds to the nearest value, ties to the even one.  That is plain
   integer work: the bits of a positive float, read as an integer, are in the
   same order as the floats, so a rounding carry runs into the exponent by itself.

   The second half is mathematics that gives the same bits everywhere.  IEEE 754
   fixes the result of +, -, ·, / and sqrt to the last bit, but not of exp or
   sin: two C libraries may differ, and a model trained on one machine could not
   be retrained byte for byte on another.  So exp, log, sin, cos and tanh are
   built here from those operations.  All follow one plan: bring the argument
   into a small interval by a symmetry of the function, put a polynomial there,
   undo the symmetry.

     exp   x = n·ln2 + r, |r| <= 0.35:  e^x = 2^n · e^r
     log   x = 2^n · m, m in [0.71, 1.41]:  log x = n·ln2 + log m
     sin   x = n·π/2 + r, |r| <= 0.79:  the quarter turn n picks ±sin r or ±cos r

   Cost: expf is 13 multiplications and additions; a vector kernel does the same
   ones in the same order on 8 numbers at once (§ 11).
   The trap: r is the small difference of two large numbers.  With n·ln2 rounded
   to a float, r keeps few true bits.  So ln2 is split: the upper part has so few
   bits that n times it is exact, the lower part carries the rest.  The test
   compares with the C library in double precision and counts units in the last
   place (ulp); a lost bit shows at once.
   The other trap: a compiler may fuse a·b + c into one rounding where the
   machine can.  The pragma at the head of the implementation forbids it; the
   test hashes a million results and holds one constant for every compiler,
   optimisation level and machine.
   Source: Muller et al. 2018, Handbook of Floating-Point Arithmetic; Cody and
   Waite 1980, Software Manual for the Elementary Functions.
   ═════════════════════════════════════════════════════════════════════════════ */

/* Exact: every f16 and bf16 is a float.  A signalling NaN becomes quiet in
   pml_f16_to_f32, as the processor's own instruction does it. */
PML_API float pml_f16_to_f32(uint16_t h);
PML_API float pml_bf16_to_f32(uint16_t h);

/* Nearest, ties to even.  Too large becomes infinity (from 65520 in f16), too
   small becomes a subnormal or a signed zero, NaN stays NaN. */
PML_API uint16_t pml_f32_to_f16(float f);
PML_API uint16_t pml_f32_to_bf16(float f);

/* Strict mode: the same bits on every processor (see the prose above).  Global;
   set it once before work starts.  The environment variable PML_STRICT=1 turns
   it on before the first pml_strict_set. */
PML_API void pml_strict_set(bool on);
PML_API bool pml_strict(void);

/* Elementary functions made of +, -, ·, / and bit moves only: no libm, no fused
   multiply-add, so the same bits everywhere and in every vector width.  Each
   line states the largest error over the whole range, in units in the last
   place of the result; NaN gives NaN everywhere. */
PML_API float pml_expf(float x);       /* 1 ulp; x > 88.73 inf, x < -103.98 zero */
PML_API float pml_logf(float x);       /* 0.51 ulp; log 0 = -inf, x < 0 NaN */
PML_API float pml_tanhf(float x);      /* 2 ulp */
PML_API float pml_sigmoidf(float x);   /* 3 ulp, for x far below 0 too: 1 / (1 + e^-x) */
PML_API float pml_sinf(float x);       /* 0.51 ulp; |x| > 1e6 radians gives NaN, */
PML_API float pml_cosf(float x);       /* since so little of such an angle is known */
PML_API double pml_expd(double x);     /* 1 ulp */
PML_API double pml_logd(double x);     /* 1 ulp */
PML_API double pml_sind(double x);     /* 1 ulp for |x| <= 1e6, NaN beyond */
PML_API double pml_cosd(double x);
/* x^y = e^(y·log x) for x > 0 (else NaN; 0^y is 0, 1 or inf).  The error of the
   logarithm is multiplied: at most 2 + 2·|y·log x| ulp, 10 at 1e6^-0.3. */
PML_API double pml_powd(double x, double y);

#ifdef PML__IMPL

PML__FN uint32_t pml__bits_f32(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

PML__FN float pml__f32_of(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}

PML__FN uint64_t pml__bits_f64(double d) {
  uint64_t u;
  memcpy(&u, &d, 8);
  return u;
}

PML__FN double pml__f64_of(uint64_t u) {
  double d;
  memcpy(&d, &u, 8);
  return d;
}

/* @f16 */
PML_API float pml_f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 0x3FF;
  if (e == 31) return pml__f32_of(sign | 0x7F800000 | (m ? 0x400000 | m << 13 : 0));
  if (e == 0) { /* subnormal: m · 2^-24, exact in a float */
    float f = (float)m * 0x1p-24f;
    return sign ? -f : f;
  }
  return pml__f32_of(sign | (e + 112) << 23 | m << 13); /* 112 = 127 - 15, the two biases */
}

PML_API uint16_t pml_f32_to_f16(float f) {
  uint32_t u = pml__bits_f32(f), a = u & 0x7FFFFFFF, r;
  uint16_t sign = (uint16_t)((u >> 16) & 0x8000);
  if (a > 0x7F800000) r = 0x7E00 | ((a >> 13) & 0x3FF);
  else if (a >= 0x47800000) r = 0x7C00;  /* 65536 and above */
  else if (a >= 0x38800000) {            /* normal: 2^-14 and above */
    r = a - (112u << 23);
    r = (r + 0xFFF + ((r >> 13) & 1)) >> 13;
  } else if (a < 0x33000000) r = 0;      /* below half of the smallest subnormal */
  else {                                 /* subnormal: drop 14 to 24 bits of the significand */
    uint32_t m = (a & 0x7FFFFF) | 0x800000, drop = 126 - (a >> 23);
    uint32_t rest = m & ((1u << drop) - 1), half = 1u << (drop - 1);
    r = m >> drop;
    if (rest > half || (rest == half && (r & 1))) r++;
  }
  return (uint16_t)(sign | r);
}
/* @end */

PML_API float pml_bf16_to_f32(uint16_t h) { return pml__f32_of((uint32_t)h << 16); }

PML_API uint16_t pml_f32_to_bf16(float f) {
  uint32_t u = pml__bits_f32(f);
  if ((u & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

static atomic_int pml__strict_flag = -1; /* -1: nobody has asked yet */

PML_API void pml_strict_set(bool on) { atomic_store(&pml__strict_flag, on ? 1 : 0); }

PML_API bool pml_strict(void) {
  int flag = atomic_load_explicit(&pml__strict_flag, memory_order_relaxed);
  if (flag < 0) {
    const char *env = getenv("PML_STRICT");
    int wanted = env && *env && strcmp(env, "0") != 0, unset = -1;
    atomic_compare_exchange_strong(&pml__strict_flag, &unset, wanted);
    flag = atomic_load(&pml__strict_flag);
  }
  return flag != 0;
}

/* The constants of expf; § 11 uses the same ones in vectors.  The polynomial is
   1 + r + r²·(c2 + c3·r + … + c6·r⁴): the Taylor coefficients 1/2, 1/6, 1/24 …
   nudged so that the error is spread evenly over |r| <= 0.3467 (at most 3.1e-9). */
#define PML__EXP_LOG2E 1.44269504f
#define PML__EXP_LN2_HI 0.693145752f   /* 14 bits: exact times any |n| < 1024 */
#define PML__EXP_LN2_LO 1.42860677e-6f
#define PML__EXP_ROUND 12582912.0f     /* 1.5·2^23: adding it rounds to an integer */
#define PML__EXP_C2 0.49999994f
#define PML__EXP_C3 0.166665211f
#define PML__EXP_C4 0.041668389f
#define PML__EXP_C5 0.00836874451f
#define PML__EXP_C6 0.00138145697f

/* @expf */
PML_API float pml_expf(float x) {
  x = -104.0f > x ? -104.0f : x; /* written so that NaN passes through */
  x = 89.0f < x ? 89.0f : x;
  float t = x * PML__EXP_LOG2E + PML__EXP_ROUND; /* the low bits of t now hold n */
  float n = t - PML__EXP_ROUND;
  float r = x - n * PML__EXP_LN2_HI;
  r = r - n * PML__EXP_LN2_LO;
  float p = PML__EXP_C6;
  p = p * r + PML__EXP_C5;
  p = p * r + PML__EXP_C4;
  p = p * r + PML__EXP_C3;
  p = p * r + PML__EXP_C2;
  p = p * (r * r) + r;
  p = p + 1.0f;
  /* 2^n in two factors: n reaches from -150 to 128, an exponent field only from
     -126 to 127.  The second product rounds once, into the subnormals if need be. */
  uint32_t k = pml__bits_f32(t) - pml__bits_f32(PML__EXP_ROUND);
  uint32_t k1 = (uint32_t)((int32_t)k >> 1), k2 = k - k1;
  return p * pml__f32_of((k1 + 127) << 23) * pml__f32_of((k2 + 127) << 23);
}
/* @end */

/* e^-|x| never overflows, and e^x / (1 + e^x) keeps its digits where 1 - 1/(…) loses them. */
PML_API float pml_sigmoidf(float x) {
  float e = pml_expf(x < 0 ? x : -x);
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

/* tanh x = 1 - 2/(e^2x + 1) cancels near 0; there an odd polynomial serves.  Both
   work on |x|, and the sign bit is put back: tanh(-x) = -tanh x to the last bit. */
PML_API float pml_tanhf(float x) {
  uint32_t sign = pml__bits_f32(x) & 0x80000000;
  float a = pml__f32_of(pml__bits_f32(x) ^ sign), t;
  if (a < 0.625f) {
    float z = a * a, p = -0.00571704702f;
    p = p * z + 0.0206505898f;
    p = p * z - 0.0537435003f;
    p = p * z + 0.133314908f;
    p = p * z - 0.333332837f;
    t = a + a * (z * p);
  } else t = 1.0f - 2.0f / (pml_expf(2.0f * a) + 1.0f);
  return pml__f32_of(pml__bits_f32(t) | sign);
}

/* ln 2 in 32 and 53 more bits. */
#define PML__LN2_HI 0x1.62e42fee00000p-1
#define PML__LN2_LO 0x1.a39ef35793c76p-33
#define PML__ROUND64 0x1.8p52

/* The Taylor series to r^13; the next term is below 5e-18. */
PML_API double pml_expd(double x) {
  static const double inv[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800,
                               1.0 / 362880,     1.0 / 40320,     1.0 / 5040,     1.0 / 720,
                               1.0 / 120,        1.0 / 24,        1.0 / 6,        1.0 / 2};
  x = -746.0 > x ? -746.0 : x;
  x = 710.0 < x ? 710.0 : x;
  double t = x * 0x1.71547652b82fep0 + PML__ROUND64, n = t - PML__ROUND64;
  double hi = x - n * PML__LN2_HI, lo = n * PML__LN2_LO, r = hi - lo, p = inv[0];
  for (int i = 1; i < 12; i++) p = p * r + inv[i];
  double tail = (hi - r) - lo; /* what rounding r lost */
  p = 1.0 + (r + (p * (r * r) + tail));
  uint64_t k = pml__bits_f64(t) - pml__bits_f64(PML__ROUND64);
  uint64_t k1 = (uint64_t)((int64_t)k >> 1), k2 = k - k1;
  return p * pml__f64_of((k1 + 1023) << 52) * pml__f64_of((k2 + 1023) << 52);
}

/* With f = m - 1 and s = f/(2 + f):  log m = 2·atanh s = 2s + s·R(s²), where
   R = 2z/3 + 2z²/5 + …, z = s².  Since 2s = f - s·f the large part f is exact,
   and everything else is a correction to it. */
PML_API double pml_logd(double x) {
  uint64_t u = pml__bits_f64(x), a = u & ~((uint64_t)1 << 63);
  if (a == 0) return -HUGE_VAL;
  if (a > 0x7FF0000000000000 || u == 0x7FF0000000000000) return x;
  if (u >> 63) return pml__f64_of(0x7FF8000000000000);
  int n = 0;
  if (u < 0x0010000000000000) { /* subnormal: scale it up */
    u = pml__bits_f64(x * 0x1p54);
    n = -54;
  }
  n += (int)(u >> 52) - 1023;
  double m = pml__f64_of((u & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    n++;
  }
  double f = m - 1.0, s = f / (2.0 + f), z = s * s, R = 2.0 / 23;
  for (int k = 21; k >= 3; k -= 2) R = R * z + 2.0 / k;
  R *= z;
  double half = 0.5 * f * f, dn = n;
  return dn * PML__LN2_HI - ((half - (s * (half + R) + dn * PML__LN2_LO)) - f);
}

/* Takes whole quarter turns from x: returns n mod 4, leaves the rest, |r| <= π/4,
   as an unevaluated sum r[0] + r[1].  π/2 is split into 32, 33 and 53 bits, so the
   first two products are exact for n < 2^20. */
PML__FN int pml__quarter_turns(double x, double r[2]) {
  double t = x * 0x1.45f306dc9c883p-1 + PML__ROUND64, n = t - PML__ROUND64;
  double a = x - n * 0x1.921fb54400000p0, b = n * 0x1.0b4611a600000p-34;
  double c = a - b, lost = (a - c) - b, d = n * 0x1.3198a2e037073p-69 - lost;
  r[0] = c - d;
  r[1] = (c - r[0]) - d;
  return (int)(pml__bits_f64(t) & 3);
}

/* sin and cos of r[0] + r[1] by their Taylor series, the small part to first order. */
PML__FN double pml__sin_part(const double r[2]) {
  double x = r[0], z = x * x, p = 1.0 / 355687428096000;
  static const double inv[] = {-1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880,
                               -1.0 / 5040,          1.0 / 120,        -1.0 / 6};
  for (int i = 0; i < 7; i++) p = p * z + inv[i];
  return x + (x * z * p + r[1] * (1.0 - 0.5 * z));
}

PML__FN double pml__cos_part(const double r[2]) {
  double x = r[0], z = x * x, p = 1.0 / 20922789888000;
  static const double inv[] = {-1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800,
                               1.0 / 40320,        -1.0 / 720,      1.0 / 24};
  for (int i = 0; i < 6; i++) p = p * z + inv[i];
  double half = 0.5 * z, w = 1.0 - half;
  return w + (((1.0 - w) - half) + (z * z * p - x * r[1]));
}

PML_API double pml_sind(double x) {
  if (!(x >= -1e6 && x <= 1e6)) return pml__f64_of(0x7FF8000000000000);
  if (x > -0x1p-27 && x < 0x1p-27) return x; /* keeps -0 */
  double r[2];
  int q = pml__quarter_turns(x, r);
  double v = q & 1 ? pml__cos_part(r) : pml__sin_part(r);
  return q & 2 ? -v : v;
}

PML_API double pml_cosd(double x) {
  if (!(x >= -1e6 && x <= 1e6)) return pml__f64_of(0x7FF8000000000000);
  double r[2];
  int q = pml__quarter_turns(x, r) + 1;
  double v = q & 1 ? pml__cos_part(r) : pml__sin_part(r);
  return q & 2 ? -v : v;
}

PML_API double pml_powd(double x, double y) {
  if (x == 0) return y > 0 ? 0.0 : y < 0 ? HUGE_VAL : y == 0 ? 1.0 : y;
  return y == 0 ? 1.0 : pml_expd(y * pml_logd(x));
}

/* In double precision the float is right up to one unlucky rounding. */
PML_API float pml_logf(float x) { return (float)pml_logd((double)x); }
PML_API float pml_sinf(float x) { return (float)pml_sind((double)x); }
PML_API float pml_cosf(float x) { return (float)pml_cosd((double)x); }

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

/* Where the time of a repeated step goes.  While { names, n } is installed, pml_trace_set(pml_stages_see,
   &stages), it adds up the microseconds of the spans of each name; whoever drives the loop counts `step`.
   Steps beyond the last are not timed. */
enum { PML_STAGES_MAX = 8, PML_STAGE_STEPS = 128 };
typedef struct {
  const char *const *names; /* [n] */
  int n, step;
  int spans[PML_STAGES_MAX];  /* how many were seen */
  double us[PML_STAGES_MAX][PML_STAGE_STEPS];
} pml_stages;
PML_API void pml_stages_see(void *stages, const pml_span *span);

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

PML_API void pml_stages_see(void *stages, const pml_span *span) {
  pml_stages *t = (pml_stages *)stages;
  for (int i = 0; i < t->n && t->step < PML_STAGE_STEPS; i++)
    if (strcmp(t->names[i], span->name) == 0) {
      t->us[i][t->step] += (double)(span->end_ns - span->begin_ns) / 1e3;
      t->spans[i]++;
    }
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
   § 11  VECTOR KERNELS                                    needs § 1 § 2 § 4 § 5 § 8
   ─────────────────────────────────────────────────────────────────────────────
   A transformer is a few operations repeated: a dot product, and some arithmetic
   on each element.  This chapter has each of them twice or three times: once as a
   definition in plain C, and again for registers of 8 (AVX2) and 16 (AVX-512)
   floats.  A table per processor level holds the versions; the caller never sees
   which one ran, because all give the same bits.

   How can they?  Addition of floats is not associative: (1 + 1e8) - 1e8 = 0, but
   1 + (1e8 - 1e8) = 1.  A sum is therefore only defined with its order, and a wide
   register wants another order than a plain loop.  So the order is chosen once,
   for the widest register, and everyone follows:

     lane[j] = Σ x[i]  over i = j, j+16, j+32 …                  j = 0 … 15
     lane[j] += lane[j+8] (j < 8), += lane[j+4], += lane[j+2], += lane[j+1]

   AVX-512 keeps the lanes in one register, AVX2 in two, plain C in an array.
   What is missing at the end of a row counts as 0·0.

   Strict and default differ in one place: how a product joins its lane.
     strict    lane = round(lane + round(a·b))    the same on every processor
     default   lane = round(lane + a·b)           fused, one instruction instead of two
   Default is for AVX2 and AVX-512, which agree with each other; plain C stays with
   two roundings, since a fused multiply-add without the instruction costs twenty
   times as much.  All else (norms, softmax, activations) has one definition.

   Linear layer   Y[T,o] = X[T,i] · W[o,i]ᵀ + b[o]
     One row (decoding): every weight is read once and used once: 2·o·i bytes of
     F16 against 2·o·i operations.  Memory is the limit.  Eight rows of W are read
     side by side, so that eight sums are in flight and x is loaded once for eight.
     Many rows (prefill): the weights are converted to f32 in pieces of 32 outputs
     × 1024 inputs that stay in the second cache.  A tile of 6 rows × 4 outputs keeps
     its 24 sums, of 16 lanes each, in 24 of 32 registers; one step loads 10
     registers and does 24 multiply-adds.  A long row is cut into pieces; the lanes,
     not their total, are carried from piece to piece, so the order stays.
   Each output is the same dot product in both forms, so a row's result does not
   depend on the rows beside it: batch invariance.  Servers need it: a request must
   not change its answer because another one arrived (He et al. 2025).

   Norms     rmsnorm(x) = x / √(mean(x²) + ε) · w;  layernorm takes the mean off first
   Softmax   p[i] = e^(x[i] - max) / Σ e^(x[j] - max): the maximum keeps e^x finite
   RoPE      turns pair i of a head by pos · θ^(-2i/d): (a,b) → (a·cos - b·sin, a·sin + b·cos)
   SiLU      x · σ(x);  SwiGLU  silu(gate) · up;  GELU  x · σ(1.5958·(x + 0.0447·x³))

   The traps.  RoPE pairs: Qwen turns (i, i + d/2), Llama's GGUF files (2i, 2i + 1);
   the wrong choice still gives fluent nonsense.  x² of a float overflows at 1.8e19.
   GELU's usual form 0.5·x·(1 + tanh u) cancels for x < -3; 1 + tanh u = 2·σ(2u) does not.
   tests/test_kernels.c compares every version with the definition bit for bit.
   Which of two NaN survives a sum is the processor's choice: NaN are in the same
   places, their payload bits may differ.

   Source: Zhang and Sennrich 2019, RMSNorm (arXiv:1910.07467); Su et al. 2021, RoFormer
   (arXiv:2104.09864); Shazeer 2020, GLU Variants (arXiv:2002.05202); Hendrycks and
   Gimpel 2016, GELU (arXiv:1606.08415); He et al. 2025, Defeating Nondeterminism in
   LLM Inference.
   ═════════════════════════════════════════════════════════════════════════════ */

/* The type of a tensor's elements; numbers are GGUF's. */
typedef enum {
  PML_F32 = 0, PML_F16 = 1, PML_Q4_0 = 2, PML_Q4_1 = 3, PML_Q5_0 = 6, PML_Q5_1 = 7,
  PML_Q8_0 = 8, PML_Q8_1 = 9, PML_Q2_K = 10, PML_Q3_K = 11, PML_Q4_K = 12, PML_Q5_K = 13,
  PML_Q6_K = 14, PML_Q8_K = 15, PML_IQ4_NL = 20, PML_IQ4_XS = 23, PML_I8 = 24, PML_I16 = 25,
  PML_I32 = 26, PML_I64 = 27, PML_F64 = 28, PML_BF16 = 30
} pml_dtype;

/* Name ("F16", "Q4_K"), weights per block, bytes per block; NULL for an unknown number. */
typedef struct { const char *name; int block, bytes; } pml_dtype_info_t;
PML_API const pml_dtype_info_t *pml_dtype_info(int type);

/* A weight matrix W[n_out, n_in], one row per output, borrowed bytes.  Rows follow
   each other without gaps; data needs no alignment beyond its element's. */
typedef struct {
  pml_dtype type;
  int n_out, n_in;
  const void *data;
} pml_mat;

/* *bytes = what W's elements occupy.  false (and 0): unknown type, a negative size,
   n_in not a multiple of the type's block, or more than size_t holds. */
PML_API bool pml_mat_bytes(const pml_mat *w, size_t *bytes);

/* Σ a[i]·b[i], i < n, in the order of the prose above; 0 for n = 0. */
PML_API float pml_dot(const float *a, const float *b, size_t n);

/* y[n_in] = row `row` of W as f32.  Types F32, F16, BF16, else PML_E_UNSUPPORTED;
   a row outside 0 … n_out-1 is PML_E_USAGE. */
PML_API pml_status pml_row_to_f32(float *y, const pml_mat *w, int row);

/* y[rows,n_out] = x[rows,n_in] · Wᵀ (+ bias[n_out] if not NULL), W of type F32, F16
   or BF16.  Each output is pml_dot of a row of x and a row of W, plus the bias,
   whatever `rows` and the number of threads are.  y overlaps nothing.  Runs on all
   threads; allocates nothing.  Errors: PML_E_USAGE, PML_E_UNSUPPORTED; y untouched. */
PML_API pml_status pml_linear(float *y, const float *x, int rows, const pml_mat *w, const float *bias);

/* x, y are [rows,d], w and b [d]; y may be x.  pml_rmsnorm: y = x·s·w with
   s = 1/√(mean(x²) + eps).  pml_layernorm: y = (x - mean)·s·w + b with s from the
   mean of (x - mean)²; b may be NULL. */
PML_API void pml_rmsnorm(float *y, const float *x, const float *w, int rows, int d, float eps);
PML_API void pml_layernorm(float *y, const float *x, const float *w, const float *b, int rows, int d,
                           float eps);

/* x[n] becomes e^(x - max) / Σ e^(x - max), in place.  -inf becomes 0.  A NaN, +inf
   or nothing but -inf makes all of it NaN.  n = 0 does nothing. */
PML_API void pml_softmax(float *x, size_t n);

/* The first index of the largest element; NaN is never the largest.  0 for n = 0. */
PML_API size_t pml_argmax(const float *x, size_t n);

/* freqs[rope_dim/2]: theta^(-2i/rope_dim) radians per position. */
PML_API void pml_rope_freqs(float *freqs, int rope_dim, float theta);

/* Turns x[n_heads,head_dim] of position `pos` in place: pair i by pos·freqs[i]
   radians (at most 1e6), for i < rope_dim/2.  split: pairs (i, i + rope_dim/2), else
   (2i, 2i + 1).  Dimensions from rope_dim on stay. */
PML_API void pml_rope(float *x, int n_heads, int head_dim, int rope_dim, int pos, const float *freqs,
                      bool split);

/* The same in two steps, for callers that turn many heads or layers by the same
   angles: cs[rope_dim] gets rope_dim/2 cosines, then as many sines. */
PML_API void pml_rope_angles(float *cs, int rope_dim, int pos, const float *freqs);
PML_API void pml_rope_apply(float *x, int n_heads, int head_dim, int rope_dim, const float *cs, bool split);

/* Elementwise over n floats; y may be x (or gate, or up). */
PML_API void pml_silu(float *y, const float *x, size_t n);            /* x·sigmoid(x) */
PML_API void pml_gelu(float *y, const float *x, size_t n);            /* tanh form */
PML_API void pml_swiglu(float *y, const float *gate, const float *up, size_t n); /* silu(gate)·up */
PML_API void pml_add(float *y, const float *x, size_t n);             /* y += x */
PML_API void pml_axpy(float *y, float a, const float *x, size_t n);   /* y += a·x, rounded twice */
PML_API void pml_scale(float *y, float a, size_t n);                  /* y *= a */

#ifdef PML__IMPL

PML_API const pml_dtype_info_t *pml_dtype_info(int type) {
  static const pml_dtype_info_t info[] = {
      [PML_F32] = {"F32", 1, 4},       [PML_F16] = {"F16", 1, 2},       [PML_Q4_0] = {"Q4_0", 32, 18},
      [PML_Q4_1] = {"Q4_1", 32, 20},   [PML_Q5_0] = {"Q5_0", 32, 22},   [PML_Q5_1] = {"Q5_1", 32, 24},
      [PML_Q8_0] = {"Q8_0", 32, 34},   [PML_Q8_1] = {"Q8_1", 32, 36},   [PML_Q2_K] = {"Q2_K", 256, 84},
      [PML_Q3_K] = {"Q3_K", 256, 110}, [PML_Q4_K] = {"Q4_K", 256, 144}, [PML_Q5_K] = {"Q5_K", 256, 176},
      [PML_Q6_K] = {"Q6_K", 256, 210}, [PML_Q8_K] = {"Q8_K", 256, 292}, [PML_IQ4_NL] = {"IQ4_NL", 32, 18},
      [PML_IQ4_XS] = {"IQ4_XS", 256, 136}, [PML_I8] = {"I8", 1, 1},     [PML_I16] = {"I16", 1, 2},
      [PML_I32] = {"I32", 1, 4},       [PML_I64] = {"I64", 1, 8},       [PML_F64] = {"F64", 1, 8},
      [PML_BF16] = {"BF16", 1, 2}};
  if (type < 0 || (size_t)type >= sizeof info / sizeof info[0] || !info[type].name) return NULL;
  return &info[type];
}

PML_API bool pml_mat_bytes(const pml_mat *w, size_t *bytes) {
  const pml_dtype_info_t *info = pml_dtype_info((int)w->type);
  size_t blocks;
  *bytes = 0;
  if (!info || w->n_out < 0 || w->n_in < 0 || w->n_in % info->block) return false;
  return pml_size_mul((size_t)w->n_out, (size_t)(w->n_in / info->block), &blocks) &&
         pml_size_mul(blocks, (size_t)info->bytes, bytes);
}

/* One tile of a linear layer: `rows` rows of x against four rows of weights in f32,
   over k products.  A row longer than one piece is done in several calls, and
   acc[rows][4][16] carries the lanes from one to the next. */
typedef struct {
  const float *x, *w[4];
  size_t ldx, k;
  int rows, n_out;       /* 1 … tile_rows; outputs to store, 1 … 4 */
  bool first, last;      /* the first piece starts at 0, the last one writes y */
  float *acc, *y;        /* y[rows,4], rows ldy apart */
  size_t ldy;
  const float *bias;     /* of these four outputs, or NULL */
} pml__tile;

typedef enum { PML__SILU, PML__GELU, PML__SWIGLU } pml__act_kind;

/* The versions of one level.  A level may borrow a narrower one's where width gains little. */
typedef struct {
  int tile_rows;         /* the most rows a tile can have */
  float (*dot)(const float *a, const float *b, size_t n);
  void (*matvec)(float *y, const float *x, const pml_mat *w, const float *bias, size_t begin, size_t end);
  void (*tile)(const pml__tile *t);
  void (*expand)(float *y, const void *w, pml_dtype type, size_t n);          /* to f32 */
  float (*max)(const float *x, size_t n);                                     /* -inf for n = 0 */
  float (*sum)(const float *x, size_t n);
  float (*sum_sq)(const float *x, size_t n, float mean);                      /* Σ (x - mean)² */
  float (*exp_sum)(float *x, size_t n, float max);                            /* x = e^(x - max); their sum */
  void (*norm)(float *y, const float *x, const float *w, const float *b, size_t n, float mean, float inv);
  void (*act)(float *y, const float *x, const float *up, size_t n, pml__act_kind kind);
  void (*axpy)(float *y, float a, const float *x, size_t n);
  void (*scale)(float *y, float a, size_t n);
  /* turns the pairs (a[i], b[i]); with b NULL the pairs (a[2i], a[2i+1]) */
  void (*rope)(float *a, float *b, const float *cos, const float *sin, size_t n);
  /* out[heads,dim] += Σ_p prob[head,p] · v[p][dim], p = 0, 1, 2 …; rows ldo and ldp apart; heads <= 8 */
  void (*mix)(float *out, size_t ldo, const float *prob, size_t ldp, const float *const *v, size_t n_pos,
              int heads, size_t dim);
} pml__kernels;

#define PML__INLINE static inline PML__UNUSED __attribute__((always_inline))
/* Sums kept in an array live in registers only when the loop over them is unrolled. */
#if defined(__clang__)
#define PML__UNROLL _Pragma("clang loop unroll(full)")
#else
#define PML__UNROLL _Pragma("GCC unroll 16")
#endif

/* ── the definitions, in plain C ── */

/* @tree */
PML__FN float pml__lanes_sum(float lane[16]) {
  for (int w = 8; w >= 1; w /= 2)
    for (int j = 0; j < w; j++) lane[j] += lane[j + w];
  return lane[0];
}
/* @end */

PML__FN void pml__expand_scalar(float *y, const void *w, pml_dtype type, size_t n) {
  const uint16_t *h = (const uint16_t *)w;
  if (type == PML_F32 && n) memcpy(y, w, n * sizeof(float));
  if (type == PML_F16) for (size_t i = 0; i < n; i++) y[i] = pml_f16_to_f32(h[i]);
  if (type == PML_BF16) for (size_t i = 0; i < n; i++) y[i] = pml_bf16_to_f32(h[i]);
}

/* @dot */
PML__FN void pml__lanes_add(float lane[16], const float *a, const float *b, size_t n) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (size_t j = 0; j < 16; j++) lane[j] += a[i + j] * b[i + j];
  for (size_t j = 0; i + j < n; j++) lane[j] += a[i + j] * b[i + j];
}

PML__FN float pml__dot_scalar(const float *a, const float *b, size_t n) {
  float lane[16] = {0};
  pml__lanes_add(lane, a, b, n);
  return pml__lanes_sum(lane);
}
/* @end */

PML__FN void pml__matvec_scalar(float *y, const float *x, const pml_mat *w, const float *bias, size_t begin,
                                size_t end) {
  size_t n = (size_t)w->n_in, size = w->type == PML_F32 ? 4 : 2;
  for (size_t o = begin; o < end; o++) {
    const unsigned char *row = (const unsigned char *)w->data + o * n * size;
    float lane[16] = {0}, piece[256];
    for (size_t k = 0; k < n; k += 256) {
      size_t len = n - k < 256 ? n - k : 256;
      pml__expand_scalar(piece, row + k * size, w->type, len);
      pml__lanes_add(lane, x + k, piece, len);
    }
    y[o] = pml__lanes_sum(lane);
    if (bias) y[o] += bias[o];
  }
}

PML__FN void pml__tile_scalar(const pml__tile *t) {
  for (int r = 0; r < t->rows; r++)
    for (int o = 0; o < t->n_out; o++) {
      float zero[16] = {0}, *lane = t->first && t->last ? zero : t->acc + (r * 4 + o) * 16;
      if (t->first) memset(lane, 0, 16 * sizeof(float));
      pml__lanes_add(lane, t->x + (size_t)r * t->ldx, t->w[o], t->k);
      if (!t->last) continue;
      float sum = pml__lanes_sum(lane);
      t->y[(size_t)r * t->ldy + (size_t)o] = t->bias ? sum + t->bias[o] : sum;
    }
}

PML__FN float pml__max_scalar(const float *x, size_t n) {
  float m = -HUGE_VALF;
  for (size_t i = 0; i < n; i++) m = x[i] > m ? x[i] : m;
  return m;
}

PML__FN float pml__sum_scalar(const float *x, size_t n) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] += x[i];
  return pml__lanes_sum(lane);
}

PML__FN float pml__sum_sq_scalar(const float *x, size_t n, float mean) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] += (x[i] - mean) * (x[i] - mean);
  return pml__lanes_sum(lane);
}

PML__FN float pml__exp_sum_scalar(float *x, size_t n, float max) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] += x[i] = pml_expf(x[i] - max);
  return pml__lanes_sum(lane);
}

PML__FN void pml__norm_scalar(float *y, const float *x, const float *w, const float *b, size_t n, float mean,
                              float inv) {
  for (size_t i = 0; i < n; i++) {
    float v = (x[i] - mean) * inv * w[i];
    y[i] = b ? v + b[i] : v;
  }
}

/* @activations */
#define PML__GELU_A 1.59576912f /* 2·√(2/π) */
#define PML__GELU_B 0.044715f

PML__FN void pml__act_scalar(float *y, const float *x, const float *up, size_t n, pml__act_kind kind) {
  for (size_t i = 0; i < n; i++) {
    float v = x[i], u = v;
    if (kind == PML__GELU) u = PML__GELU_A * (v + PML__GELU_B * (v * v * v));
    float s = v * pml_sigmoidf(u);
    y[i] = kind == PML__SWIGLU ? s * up[i] : s;
  }
}
/* @end */

PML__FN void pml__axpy_scalar(float *y, float a, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

PML__FN void pml__scale_scalar(float *y, float a, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] *= a;
}

/* @rope */
PML__FN void pml__rope_scalar(float *a, float *b, const float *cos, const float *sin, size_t n) {
  size_t step = b ? 1 : 2;
  if (!b) b = a + 1;
  for (size_t i = 0; i < n; i++) {
    float u = a[i * step], v = b[i * step];
    a[i * step] = u * cos[i] - v * sin[i];
    b[i * step] = u * sin[i] + v * cos[i];
  }
}
/* @end */

PML__FN void pml__mix_scalar(float *out, size_t ldo, const float *prob, size_t ldp, const float *const *v,
                             size_t n_pos, int heads, size_t dim) {
  for (int h = 0; h < heads; h++)
    for (size_t p = 0; p < n_pos; p++)
      for (size_t i = 0; i < dim; i++) out[(size_t)h * ldo + i] += prob[(size_t)h * ldp + p] * v[p][i];
}

#if defined(PML__X86)

/* Asks for the cache line `ahead` bytes after p; an address past the end of memory is ignored. */
PML__INLINE void pml__prefetch(const void *p, size_t ahead) {
  __builtin_prefetch((const char *)((uintptr_t)p + ahead));
}

#define PML__AVX2 __attribute__((target("avx2,fma,f16c")))
#define PML__AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))

/* ── AVX2: the sixteen lanes are two registers, lo = lanes 0-7, hi = 8-15 ── */

PML__AVX2 PML__INLINE __m256 pml__madd8(__m256 a, __m256 b, __m256 acc, bool strict) {
  return strict ? _mm256_add_ps(acc, _mm256_mul_ps(a, b)) : _mm256_fmadd_ps(a, b, acc);
}

/* 8 elements of any type as f32. */
PML__AVX2 PML__INLINE __m256 pml__load8(const void *p, pml_dtype type) {
  if (type == PML_F32) return _mm256_loadu_ps((const float *)p);
  __m128i h = _mm_loadu_si128((const __m128i *)p);
  if (type == PML_F16) return _mm256_cvtph_ps(h);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The tree for four sums at once, from 8 lanes on: a, b, c, d hold lane j + lane j+8. */
PML__AVX2 PML__INLINE __m128 pml__tree8(__m256 a, __m256 b, __m256 c, __m256 d) {
  __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
  __m256 t = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xEE));
  t = _mm256_add_ps(t, _mm256_permute_ps(t, 0xB1)); /* now a, a, c, c | b, b, d, d */
  __m128 acbd = _mm_shuffle_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1), 0x88);
  return _mm_permute_ps(acbd, 0xD8);
}

PML__AVX2 PML__INLINE float pml__tree8_one(__m256 lo, __m256 hi) {
  __m256 v = _mm256_add_ps(lo, hi);
  return _mm_cvtss_f32(pml__tree8(v, v, v, v));
}

PML__AVX2 PML__INLINE float pml__dot8(const float *a, const float *b, size_t n, bool strict) {
  __m256 lo = _mm256_setzero_ps(), hi = lo;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    lo = pml__madd8(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), lo, strict);
    hi = pml__madd8(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), hi, strict);
  }
  if (i < n) {
    float ta[16] = {0}, tb[16] = {0};
    memcpy(ta, a + i, (n - i) * sizeof(float));
    memcpy(tb, b + i, (n - i) * sizeof(float));
    lo = pml__madd8(_mm256_loadu_ps(ta), _mm256_loadu_ps(tb), lo, strict);
    hi = pml__madd8(_mm256_loadu_ps(ta + 8), _mm256_loadu_ps(tb + 8), hi, strict);
  }
  return pml__tree8_one(lo, hi);
}
PML__AVX2 PML__FN float pml__dot_avx2(const float *a, const float *b, size_t n) {
  return pml__dot8(a, b, n, false);
}
PML__AVX2 PML__FN float pml__dot_avx2_strict(const float *a, const float *b, size_t n) {
  return pml__dot8(a, b, n, true);
}

/* Four outputs at once; past the end the last row is computed again and dropped. */
PML__AVX2 PML__INLINE void pml__matvec8(float *y, const float *x, const pml_mat *w, const float *bias,
                                        size_t begin, size_t end, pml_dtype type, bool strict) {
  size_t n = (size_t)w->n_in, size = type == PML_F32 ? 4 : 2;
  size_t ahead = 4 * n * size <= 32768 ? 4 * n * size : 1024;
  for (size_t o = begin; o < end; o += 4) {
    const unsigned char *row[4];
    __m256 lo[4], hi[4];
    PML__UNROLL for (size_t r = 0; r < 4; r++) {
      row[r] = (const unsigned char *)w->data + (o + r < end ? o + r : end - 1) * n * size;
      lo[r] = hi[r] = _mm256_setzero_ps();
    }
    size_t k = 0;
    for (; k + 16 <= n; k += 16) {
      __m256 x0 = _mm256_loadu_ps(x + k), x1 = _mm256_loadu_ps(x + k + 8);
      PML__UNROLL for (size_t r = 0; r < 4; r++) {
        pml__prefetch(row[r] + k * size, ahead);
        lo[r] = pml__madd8(pml__load8(row[r] + k * size, type), x0, lo[r], strict);
        hi[r] = pml__madd8(pml__load8(row[r] + (k + 8) * size, type), x1, hi[r], strict);
      }
    }
    if (k < n) {
      float tx[16] = {0};
      memcpy(tx, x + k, (n - k) * sizeof(float));
      PML__UNROLL for (size_t r = 0; r < 4; r++) {
        unsigned char tw[64] = {0};
        memcpy(tw, row[r] + k * size, (n - k) * size);
        lo[r] = pml__madd8(pml__load8(tw, type), _mm256_loadu_ps(tx), lo[r], strict);
        hi[r] = pml__madd8(pml__load8(tw + 8 * size, type), _mm256_loadu_ps(tx + 8), hi[r], strict);
      }
    }
    float sum[4];
    _mm_storeu_ps(sum, pml__tree8(_mm256_add_ps(lo[0], hi[0]), _mm256_add_ps(lo[1], hi[1]),
                                  _mm256_add_ps(lo[2], hi[2]), _mm256_add_ps(lo[3], hi[3])));
    for (size_t r = 0; r < 4 && o + r < end; r++) y[o + r] = bias ? sum[r] + bias[o + r] : sum[r];
  }
}

/* One function for each level and mode; the type is chosen once per call. */
#define PML__MATVEC(name, target, body, strict)                                                          \
  target PML__FN void name(float *y, const float *x, const pml_mat *w, const float *bias, size_t begin,  \
                           size_t end) {                                                                 \
    if (w->type == PML_F16) body(y, x, w, bias, begin, end, PML_F16, strict);                            \
    else if (w->type == PML_BF16) body(y, x, w, bias, begin, end, PML_BF16, strict);                     \
    else body(y, x, w, bias, begin, end, PML_F32, strict);                                               \
  }
PML__MATVEC(pml__matvec_avx2, PML__AVX2, pml__matvec8, false)
PML__MATVEC(pml__matvec_avx2_strict, PML__AVX2, pml__matvec8, true)

/* Up to 3 rows × 2 outputs, 12 registers of lanes; the four outputs are done in two passes. */
PML__AVX2 PML__INLINE void pml__tile8(const pml__tile *t, int R, bool strict) {
  for (int o = 0; o < 4; o += 2) {
    __m256 acc[3][2][2];
    PML__UNROLL for (int r = 0; r < R; r++)
      PML__UNROLL for (int c = 0; c < 4; c++)
        acc[r][c / 2][c % 2] = t->first ? _mm256_setzero_ps()
                                        : _mm256_loadu_ps(t->acc + (r * 4 + o + c / 2) * 16 + c % 2 * 8);
    float tx[3][16] = {{0}}, tw[2][16] = {{0}};
    const float *x = t->x, *w0 = t->w[o], *w1 = t->w[o + 1];
    size_t ldx = t->ldx;
    for (size_t k = 0; k < t->k; k += 16, x += 16, w0 += 16, w1 += 16) {
      size_t rest = t->k - k;
      if (rest < 16) { /* the missing end counts as 0·0 */
        for (int r = 0; r < R; r++) memcpy(tx[r], x + (size_t)r * ldx, rest * sizeof(float));
        memcpy(tw[0], w0, rest * sizeof(float));
        memcpy(tw[1], w1, rest * sizeof(float));
        x = tx[0], ldx = 16, w0 = tw[0], w1 = tw[1];
      }
      PML__UNROLL for (size_t half = 0; half < 16; half += 8) {
        __m256 a = _mm256_loadu_ps(w0 + half), b = _mm256_loadu_ps(w1 + half);
        PML__UNROLL for (int r = 0; r < R; r++) {
          __m256 v = _mm256_loadu_ps(x + (size_t)r * ldx + half);
          acc[r][0][half / 8] = pml__madd8(a, v, acc[r][0][half / 8], strict);
          acc[r][1][half / 8] = pml__madd8(b, v, acc[r][1][half / 8], strict);
        }
      }
    }
    PML__UNROLL for (int r = 0; r < R; r++) {
      if (t->last) {
        float sum[4];
        __m256 a = _mm256_add_ps(acc[r][0][0], acc[r][0][1]), b = _mm256_add_ps(acc[r][1][0], acc[r][1][1]);
        _mm_storeu_ps(sum, pml__tree8(a, b, a, b));
        for (int c = 0; c < 2 && o + c < t->n_out; c++)
          t->y[(size_t)r * t->ldy + (size_t)(o + c)] = t->bias ? sum[c] + t->bias[o + c] : sum[c];
      } else {
        PML__UNROLL for (int c = 0; c < 4; c++)
          _mm256_storeu_ps(t->acc + (r * 4 + o + c / 2) * 16 + c % 2 * 8, acc[r][c / 2][c % 2]);
      }
    }
  }
}
PML__AVX2 PML__FN void pml__tile_avx2(const pml__tile *t) {
  if (t->rows == 3) pml__tile8(t, 3, false);
  else if (t->rows == 2) pml__tile8(t, 2, false);
  else pml__tile8(t, 1, false);
}
PML__AVX2 PML__FN void pml__tile_avx2_strict(const pml__tile *t) {
  if (t->rows == 3) pml__tile8(t, 3, true);
  else if (t->rows == 2) pml__tile8(t, 2, true);
  else pml__tile8(t, 1, true);
}

PML__AVX2 PML__FN void pml__expand_avx2(float *y, const void *w, pml_dtype type, size_t n) {
  const uint16_t *h = (const uint16_t *)w;
  size_t i = 0;
  if (type == PML_F16 || type == PML_BF16)
    for (; i + 8 <= n; i += 8) {
      pml__prefetch(h + i, 2048);
      _mm256_storeu_ps(y + i, type == PML_F16 ? pml__load8(h + i, PML_F16) : pml__load8(h + i, PML_BF16));
    }
  pml__expand_scalar(y + i, h + i, type, n - i);
}

PML__AVX2 PML__FN float pml__max_avx2(const float *x, size_t n) {
  float lane[16];
  __m256 lo = _mm256_set1_ps(-HUGE_VALF), hi = lo;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    lo = _mm256_max_ps(_mm256_loadu_ps(x + i), lo); /* the second operand wins over NaN */
    hi = _mm256_max_ps(_mm256_loadu_ps(x + i + 8), hi);
  }
  _mm256_storeu_ps(lane, lo);
  _mm256_storeu_ps(lane + 8, hi);
  float m = pml__max_scalar(lane, 16), rest = pml__max_scalar(x + i, n - i);
  return rest > m ? rest : m;
}

/* Two registers of lanes as an array, the last n elements added, and the tree. */
PML__AVX2 PML__INLINE float pml__finish8(__m256 lo, __m256 hi, const float *x, size_t n) {
  float lane[16];
  _mm256_storeu_ps(lane, lo);
  _mm256_storeu_ps(lane + 8, hi);
  for (size_t j = 0; j < n; j++) lane[j] += x[j];
  return pml__lanes_sum(lane);
}

PML__AVX2 PML__FN float pml__sum_avx2(const float *x, size_t n) {
  __m256 lo = _mm256_setzero_ps(), hi = lo;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    lo = _mm256_add_ps(lo, _mm256_loadu_ps(x + i));
    hi = _mm256_add_ps(hi, _mm256_loadu_ps(x + i + 8));
  }
  return pml__finish8(lo, hi, x + i, n - i);
}

PML__AVX2 PML__FN float pml__sum_sq_avx2(const float *x, size_t n, float mean) {
  __m256 lo = _mm256_setzero_ps(), hi = lo, m = _mm256_set1_ps(mean);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256 a = _mm256_sub_ps(_mm256_loadu_ps(x + i), m), b = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8), m);
    lo = _mm256_add_ps(lo, _mm256_mul_ps(a, a));
    hi = _mm256_add_ps(hi, _mm256_mul_ps(b, b));
  }
  float rest[16];
  for (size_t j = 0; i + j < n; j++) rest[j] = (x[i + j] - mean) * (x[i + j] - mean);
  return pml__finish8(lo, hi, rest, n - i);
}

/* pml_expf (§ 8), operation by operation, on 8 numbers. */
/* @exp8 */
PML__AVX2 PML__INLINE __m256 pml__exp8(__m256 x) {
  const __m256 round = _mm256_set1_ps(PML__EXP_ROUND);
  x = _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-104.0f), x));
  __m256 t = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(PML__EXP_LOG2E)), round);
  __m256 n = _mm256_sub_ps(t, round);
  __m256 r = _mm256_sub_ps(x, _mm256_mul_ps(n, _mm256_set1_ps(PML__EXP_LN2_HI)));
  r = _mm256_sub_ps(r, _mm256_mul_ps(n, _mm256_set1_ps(PML__EXP_LN2_LO)));
  __m256 p = _mm256_set1_ps(PML__EXP_C6);
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(PML__EXP_C5));
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(PML__EXP_C4));
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(PML__EXP_C3));
  p = _mm256_add_ps(_mm256_mul_ps(p, r), _mm256_set1_ps(PML__EXP_C2));
  p = _mm256_add_ps(_mm256_mul_ps(p, _mm256_mul_ps(r, r)), r);
  p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
  __m256i k = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(round));
  __m256i k1 = _mm256_srai_epi32(k, 1), k2 = _mm256_sub_epi32(k, k1), bias = _mm256_set1_epi32(127);
  p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k1, bias), 23)));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k2, bias), 23)));
}
/* @end */

PML__AVX2 PML__FN float pml__exp_sum_avx2(float *x, size_t n, float max) {
  __m256 lo = _mm256_setzero_ps(), hi = lo, m = _mm256_set1_ps(max);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256 a = pml__exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i), m));
    __m256 b = pml__exp8(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8), m));
    _mm256_storeu_ps(x + i, a);
    _mm256_storeu_ps(x + i + 8, b);
    lo = _mm256_add_ps(lo, a);
    hi = _mm256_add_ps(hi, b);
  }
  float rest[16] = {0};
  if (i < n) memcpy(rest, x + i, (n - i) * sizeof(float));
  for (size_t j = n - i; j < 16; j++) rest[j] = max; /* e^0 is cheap, a subnormal result would not be */
  _mm256_storeu_ps(rest, pml__exp8(_mm256_sub_ps(_mm256_loadu_ps(rest), m)));
  _mm256_storeu_ps(rest + 8, pml__exp8(_mm256_sub_ps(_mm256_loadu_ps(rest + 8), m)));
  if (i < n) memcpy(x + i, rest, (n - i) * sizeof(float));
  return pml__finish8(lo, hi, rest, n - i);
}

PML__AVX2 PML__FN void pml__norm_avx2(float *y, const float *x, const float *w, const float *b, size_t n,
                                      float mean, float inv) {
  __m256 m = _mm256_set1_ps(mean), s = _mm256_set1_ps(inv);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256 v = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), m), s);
    v = _mm256_mul_ps(v, _mm256_loadu_ps(w + i));
    if (b) v = _mm256_add_ps(v, _mm256_loadu_ps(b + i));
    _mm256_storeu_ps(y + i, v);
  }
  pml__norm_scalar(y + i, x + i, w + i, b ? b + i : NULL, n - i, mean, inv);
}

PML__AVX2 PML__INLINE __m256 pml__sigmoid8(__m256 x) {
  __m256 one = _mm256_set1_ps(1.0f), e = pml__exp8(_mm256_or_ps(x, _mm256_set1_ps(-0.0f)));
  __m256 below = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ);
  return _mm256_div_ps(_mm256_blendv_ps(one, e, below), _mm256_add_ps(one, e));
}

PML__AVX2 PML__FN void pml__act_avx2(float *y, const float *x, const float *up, size_t n,
                                     pml__act_kind kind) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256 v = _mm256_loadu_ps(x + i), u = v;
    if (kind == PML__GELU) {
      u = _mm256_mul_ps(_mm256_mul_ps(v, v), v);
      u = _mm256_add_ps(v, _mm256_mul_ps(_mm256_set1_ps(PML__GELU_B), u));
      u = _mm256_mul_ps(_mm256_set1_ps(PML__GELU_A), u);
    }
    v = _mm256_mul_ps(v, pml__sigmoid8(u));
    if (kind == PML__SWIGLU) v = _mm256_mul_ps(v, _mm256_loadu_ps(up + i));
    _mm256_storeu_ps(y + i, v);
  }
  pml__act_scalar(y + i, x + i, up ? up + i : NULL, n - i, kind);
}

PML__AVX2 PML__FN void pml__axpy_avx2(float *y, float a, const float *x, size_t n) {
  __m256 v = _mm256_set1_ps(a);
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_mul_ps(v, _mm256_loadu_ps(x + i))));
  pml__axpy_scalar(y + i, a, x + i, n - i);
}

PML__AVX2 PML__FN void pml__scale_avx2(float *y, float a, size_t n) {
  __m256 v = _mm256_set1_ps(a);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(y + i), v));
  pml__scale_scalar(y + i, a, n - i);
}

/* Side by side, x = a0 b0 a1 b1 …: x·(c c) -/+ swapped·(s s), subtracting in the even places. */
PML__AVX2 PML__FN void pml__rope_avx2(float *a, float *b, const float *cos, const float *sin, size_t n) {
  size_t i = 0;
  if (b) {
    for (; i + 8 <= n; i += 8) {
      __m256 u = _mm256_loadu_ps(a + i), v = _mm256_loadu_ps(b + i);
      __m256 c = _mm256_loadu_ps(cos + i), s = _mm256_loadu_ps(sin + i);
      _mm256_storeu_ps(a + i, _mm256_sub_ps(_mm256_mul_ps(u, c), _mm256_mul_ps(v, s)));
      _mm256_storeu_ps(b + i, _mm256_add_ps(_mm256_mul_ps(u, s), _mm256_mul_ps(v, c)));
    }
    pml__rope_scalar(a + i, b + i, cos + i, sin + i, n - i);
    return;
  }
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  for (; i + 4 <= n; i += 4) {
    __m256 x = _mm256_loadu_ps(a + 2 * i);
    __m256 c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cos + i)), twice);
    __m256 s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sin + i)), twice);
    __m256 swapped = _mm256_mul_ps(_mm256_permute_ps(x, 0xB1), s);
    _mm256_storeu_ps(a + 2 * i, _mm256_addsub_ps(_mm256_mul_ps(x, c), swapped));
  }
  pml__rope_scalar(a + 2 * i, NULL, cos + i, sin + i, n - i);
}

/* N heads × 8 components stay in registers while the positions pass. */
PML__AVX2 PML__INLINE void pml__mix8(float *out, size_t ldo, const float *prob, size_t ldp,
                                     const float *const *v, size_t n_pos, int heads, size_t dim, int N) {
  size_t i = 0;
  for (; i + 8 <= dim; i += 8) {
    __m256 acc[8];
    const float *pr[8];
    PML__UNROLL for (int h = 0; h < N; h++) {
      size_t row = (size_t)(h < heads ? h : 0);
      acc[h] = _mm256_loadu_ps(out + row * ldo + i);
      pr[h] = prob + row * ldp;
    }
    for (size_t p = 0; p < n_pos; p++) {
      __m256 x = _mm256_loadu_ps(v[p] + i);
      PML__UNROLL for (int h = 0; h < N; h++)
        acc[h] = _mm256_add_ps(acc[h], _mm256_mul_ps(_mm256_broadcast_ss(pr[h] + p), x));
    }
    PML__UNROLL for (int h = 0; h < N; h++)
      if (h < heads) _mm256_storeu_ps(out + (size_t)h * ldo + i, acc[h]);
  }
  for (int h = 0; h < heads && i < dim; h++)
    for (size_t p = 0; p < n_pos; p++)
      for (size_t j = i; j < dim; j++) out[(size_t)h * ldo + j] += prob[(size_t)h * ldp + p] * v[p][j];
}
PML__AVX2 PML__FN void pml__mix_avx2(float *out, size_t ldo, const float *prob, size_t ldp,
                                     const float *const *v, size_t n_pos, int heads, size_t dim) {
  if (heads > 4) pml__mix8(out, ldo, prob, ldp, v, n_pos, heads, dim, 8);
  else if (heads > 2) pml__mix8(out, ldo, prob, ldp, v, n_pos, heads, dim, 4);
  else if (heads > 1) pml__mix8(out, ldo, prob, ldp, v, n_pos, heads, dim, 2);
  else pml__mix8(out, ldo, prob, ldp, v, n_pos, heads, dim, 1);
}

/* ── AVX-512: one register holds the sixteen lanes; a mask reads nothing past the end ── */

PML__AVX512 PML__INLINE __m512 pml__madd16(__m512 a, __m512 b, __m512 acc, bool strict) {
  return strict ? _mm512_add_ps(acc, _mm512_mul_ps(a, b)) : _mm512_fmadd_ps(a, b, acc);
}

PML__AVX512 PML__INLINE __m512 pml__load16(const void *p, pml_dtype type) {
  if (type == PML_F32) return _mm512_loadu_ps(p);
  __m256i h = _mm256_loadu_si256((const __m256i *)p);
  if (type == PML_F16) return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

PML__AVX512 PML__INLINE __m512 pml__load16_mask(const void *p, pml_dtype type, __mmask16 m) {
  if (type == PML_F32) return _mm512_maskz_loadu_ps(m, p);
  __m256i h = _mm256_maskz_loadu_epi16(m, p);
  if (type == PML_F16) return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* The tree for four sums at once: 8, 4, 2, 1. */
PML__AVX512 PML__INLINE __m128 pml__tree16(__m512 a, __m512 b, __m512 c, __m512 d) {
  __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
  __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
  __m512 t = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
  t = _mm512_add_ps(t, _mm512_permute_ps(t, 0x4E));
  t = _mm512_add_ps(t, _mm512_permute_ps(t, 0xB1));
  const __m512i pick = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(pick, t));
}

PML__AVX512 PML__INLINE float pml__dot16(const float *a, const float *b, size_t n, bool strict) {
  __m512 acc = _mm512_setzero_ps();
  size_t i = 0;
  for (; i + 16 <= n; i += 16) acc = pml__madd16(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), acc, strict);
  if (i < n) {
    __mmask16 m = (__mmask16)((1u << (n - i)) - 1);
    acc = pml__madd16(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), acc, strict);
  }
  return _mm_cvtss_f32(pml__tree16(acc, acc, acc, acc));
}
PML__AVX512 PML__FN float pml__dot_avx512(const float *a, const float *b, size_t n) {
  return pml__dot16(a, b, n, false);
}
PML__AVX512 PML__FN float pml__dot_avx512_strict(const float *a, const float *b, size_t n) {
  return pml__dot16(a, b, n, true);
}

/* @matvec */
PML__AVX512 PML__INLINE void pml__matvec16(float *y, const float *x, const pml_mat *w, const float *bias,
                                           size_t begin, size_t end, pml_dtype type, bool strict) {
  size_t n = (size_t)w->n_in, size = type == PML_F32 ? 4 : 2;
  /* The processor's own prefetch follows a row, but not the jump to the next eight. */
  size_t ahead = 8 * n * size <= 32768 ? 8 * n * size : 1024;
  for (size_t o = begin; o < end; o += 8) {
    const unsigned char *row[8]; /* past the end the last row is computed again and dropped */
    __m512 acc[8];
    PML__UNROLL for (size_t r = 0; r < 8; r++) {
      row[r] = (const unsigned char *)w->data + (o + r < end ? o + r : end - 1) * n * size;
      acc[r] = _mm512_setzero_ps();
    }
    size_t k = 0;
    for (; k + 16 <= n; k += 16) {
      __m512 v = _mm512_loadu_ps(x + k);
      PML__UNROLL for (size_t r = 0; r < 8; r++) {
        pml__prefetch(row[r] + k * size, ahead);
        acc[r] = pml__madd16(pml__load16(row[r] + k * size, type), v, acc[r], strict);
      }
    }
    if (k < n) {
      __mmask16 m = (__mmask16)((1u << (n - k)) - 1);
      __m512 v = _mm512_maskz_loadu_ps(m, x + k);
      PML__UNROLL for (size_t r = 0; r < 8; r++)
        acc[r] = pml__madd16(pml__load16_mask(row[r] + k * size, type, m), v, acc[r], strict);
    }
    float sum[8];
    _mm_storeu_ps(sum, pml__tree16(acc[0], acc[1], acc[2], acc[3]));
    _mm_storeu_ps(sum + 4, pml__tree16(acc[4], acc[5], acc[6], acc[7]));
    for (size_t r = 0; r < 8 && o + r < end; r++) y[o + r] = bias ? sum[r] + bias[o + r] : sum[r];
  }
}
/* @end */
PML__MATVEC(pml__matvec_avx512, PML__AVX512, pml__matvec16, false)
PML__MATVEC(pml__matvec_avx512_strict, PML__AVX512, pml__matvec16, true)

PML__AVX512 PML__INLINE void pml__tile16_step(__m512 acc[6][4], const pml__tile *t, size_t k, int R,
                                              bool strict, bool whole, __mmask16 m) {
  __m512 w[4];
  PML__UNROLL for (int o = 0; o < 4; o++)
    w[o] = whole ? _mm512_loadu_ps(t->w[o] + k) : _mm512_maskz_loadu_ps(m, t->w[o] + k);
  PML__UNROLL for (int r = 0; r < R; r++) {
    const float *x = t->x + (size_t)r * t->ldx + k;
    __m512 v = whole ? _mm512_loadu_ps(x) : _mm512_maskz_loadu_ps(m, x);
    PML__UNROLL for (int o = 0; o < 4; o++) acc[r][o] = pml__madd16(w[o], v, acc[r][o], strict);
  }
}

/* @tile */
PML__AVX512 PML__INLINE void pml__tile16(const pml__tile *tile, int R, bool strict) {
  const pml__tile t = *tile;
  __m512 acc[6][4];
  PML__UNROLL for (int r = 0; r < R; r++)
    PML__UNROLL for (int o = 0; o < 4; o++)
      acc[r][o] = t.first ? _mm512_setzero_ps() : _mm512_loadu_ps(t.acc + (r * 4 + o) * 16);
  size_t k = 0;
  for (; k + 16 <= t.k; k += 16) pml__tile16_step(acc, &t, k, R, strict, true, 0);
  if (k < t.k) pml__tile16_step(acc, &t, k, R, strict, false, (__mmask16)((1u << (t.k - k)) - 1));
  if (!t.last) {
    PML__UNROLL for (int r = 0; r < R; r++)
      PML__UNROLL for (int o = 0; o < 4; o++) _mm512_storeu_ps(t.acc + (r * 4 + o) * 16, acc[r][o]);
    return;
  }
  __mmask8 valid = (__mmask8)((1u << t.n_out) - 1);
  __m128 bias = t.bias ? _mm_maskz_loadu_ps(valid, t.bias) : _mm_setzero_ps();
  PML__UNROLL for (int r = 0; r < R; r++) {
    __m128 sum = pml__tree16(acc[r][0], acc[r][1], acc[r][2], acc[r][3]);
    if (t.bias) sum = _mm_add_ps(sum, bias);
    _mm_mask_storeu_ps(t.y + (size_t)r * t.ldy, valid, sum);
  }
}
/* @end */

#define PML__TILE16(name, strict)                      \
  PML__AVX512 PML__FN void name(const pml__tile *t) {  \
    switch (t->rows) {                                 \
      case 1: pml__tile16(t, 1, strict); break;        \
      case 2: pml__tile16(t, 2, strict); break;        \
      case 3: pml__tile16(t, 3, strict); break;        \
      case 4: pml__tile16(t, 4, strict); break;        \
      case 5: pml__tile16(t, 5, strict); break;        \
      default: pml__tile16(t, 6, strict); break;       \
    }                                                  \
  }
PML__TILE16(pml__tile_avx512, false)
PML__TILE16(pml__tile_avx512_strict, true)

PML__AVX512 PML__FN void pml__expand_avx512(float *y, const void *w, pml_dtype type, size_t n) {
  const uint16_t *h = (const uint16_t *)w;
  size_t i = 0;
  if (type == PML_F16 || type == PML_BF16)
    for (; i + 16 <= n; i += 16) {
      pml__prefetch(h + i, 2048);
      _mm512_storeu_ps(y + i, type == PML_F16 ? pml__load16(h + i, PML_F16) : pml__load16(h + i, PML_BF16));
    }
  pml__expand_scalar(y + i, h + i, type, n - i);
}

/* The same operations again, on 16.  One instruction scales by 2^n with one rounding; so do the two
   products of pml_expf, of which the first is exact. */
PML__AVX512 PML__INLINE __m512 pml__exp16(__m512 x) {
  const __m512 round = _mm512_set1_ps(PML__EXP_ROUND);
  x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-104.0f), x));
  __m512 t = _mm512_add_ps(_mm512_mul_ps(x, _mm512_set1_ps(PML__EXP_LOG2E)), round);
  __m512 n = _mm512_sub_ps(t, round);
  __m512 r = _mm512_sub_ps(x, _mm512_mul_ps(n, _mm512_set1_ps(PML__EXP_LN2_HI)));
  r = _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(PML__EXP_LN2_LO)));
  __m512 p = _mm512_set1_ps(PML__EXP_C6);
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(PML__EXP_C5));
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(PML__EXP_C4));
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(PML__EXP_C3));
  p = _mm512_add_ps(_mm512_mul_ps(p, r), _mm512_set1_ps(PML__EXP_C2));
  p = _mm512_add_ps(_mm512_mul_ps(p, _mm512_mul_ps(r, r)), r);
  return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

PML__AVX512 PML__FN float pml__exp_sum_avx512(float *x, size_t n, float max) {
  __m512 acc = _mm512_setzero_ps(), m = _mm512_set1_ps(max);
  for (size_t i = 0; i < n; i += 16) {
    __mmask16 k = (__mmask16)(n - i >= 16 ? 0xFFFF : (1u << (n - i)) - 1);
    __m512 e = pml__exp16(_mm512_sub_ps(_mm512_mask_loadu_ps(m, k, x + i), m));
    _mm512_mask_storeu_ps(x + i, k, e);
    acc = _mm512_mask_add_ps(acc, k, acc, e);
  }
  return _mm_cvtss_f32(pml__tree16(acc, acc, acc, acc));
}

PML__AVX512 PML__FN float pml__max_avx512(const float *x, size_t n) {
  __m512 low = _mm512_set1_ps(-HUGE_VALF), acc = low;
  for (size_t i = 0; i < n; i += 16) {
    __mmask16 k = (__mmask16)(n - i >= 16 ? 0xFFFF : (1u << (n - i)) - 1);
    acc = _mm512_max_ps(_mm512_mask_loadu_ps(low, k, x + i), acc); /* the second operand wins over NaN */
  }
  return _mm512_reduce_max_ps(acc);
}

PML__AVX512 PML__INLINE void pml__mix16(float *out, size_t ldo, const float *prob, size_t ldp,
                                        const float *const *v, size_t n_pos, int heads, size_t dim, int N) {
  for (size_t i = 0; i < dim; i += 16) {
    __mmask16 m = (__mmask16)(dim - i >= 16 ? 0xFFFF : (1u << (dim - i)) - 1);
    __m512 acc[8];
    const float *pr[8];
    PML__UNROLL for (int h = 0; h < N; h++) {
      size_t row = (size_t)(h < heads ? h : 0);
      acc[h] = _mm512_maskz_loadu_ps(m, out + row * ldo + i);
      pr[h] = prob + row * ldp;
    }
    for (size_t p = 0; p < n_pos; p++) {
      __m512 x = _mm512_maskz_loadu_ps(m, v[p] + i);
      PML__UNROLL for (int h = 0; h < N; h++)
        acc[h] = _mm512_add_ps(acc[h], _mm512_mul_ps(_mm512_set1_ps(pr[h][p]), x));
    }
    PML__UNROLL for (int h = 0; h < N; h++)
      if (h < heads) _mm512_mask_storeu_ps(out + (size_t)h * ldo + i, m, acc[h]);
  }
}
PML__AVX512 PML__FN void pml__mix_avx512(float *out, size_t ldo, const float *prob, size_t ldp,
                                         const float *const *v, size_t n_pos, int heads, size_t dim) {
  if (heads > 4) pml__mix16(out, ldo, prob, ldp, v, n_pos, heads, dim, 8);
  else if (heads > 2) pml__mix16(out, ldo, prob, ldp, v, n_pos, heads, dim, 4);
  else if (heads > 1) pml__mix16(out, ldo, prob, ldp, v, n_pos, heads, dim, 2);
  else pml__mix16(out, ldo, prob, ldp, v, n_pos, heads, dim, 1);
}

#endif /* PML__X86 */

/* ── the table, and what the rest of the library calls ── */

#define PML__KERNELS_AVX2                                                                              \
  .sum = pml__sum_avx2, .sum_sq = pml__sum_sq_avx2, .norm = pml__norm_avx2, .act = pml__act_avx2,        \
  .axpy = pml__axpy_avx2, .scale = pml__scale_avx2, .rope = pml__rope_avx2

/* Read on each public call, so that the level and the mode can change between calls. */
PML__FN const pml__kernels *pml__kernels_now(void) {
  static const pml__kernels scalar = {
      4, pml__dot_scalar, pml__matvec_scalar, pml__tile_scalar, pml__expand_scalar, pml__max_scalar,
      pml__sum_scalar, pml__sum_sq_scalar, pml__exp_sum_scalar, pml__norm_scalar, pml__act_scalar,
      pml__axpy_scalar, pml__scale_scalar, pml__rope_scalar, pml__mix_scalar};
#if defined(PML__X86)
  static const pml__kernels avx2[2] = {
      {.tile_rows = 3, .dot = pml__dot_avx2, .matvec = pml__matvec_avx2, .tile = pml__tile_avx2,
       .expand = pml__expand_avx2, .max = pml__max_avx2, .exp_sum = pml__exp_sum_avx2,
       .mix = pml__mix_avx2, PML__KERNELS_AVX2},
      {.tile_rows = 3, .dot = pml__dot_avx2_strict, .matvec = pml__matvec_avx2_strict,
       .tile = pml__tile_avx2_strict, .expand = pml__expand_avx2, .max = pml__max_avx2,
       .exp_sum = pml__exp_sum_avx2, .mix = pml__mix_avx2, PML__KERNELS_AVX2}};
  static const pml__kernels avx512[2] = {
      {.tile_rows = 6, .dot = pml__dot_avx512, .matvec = pml__matvec_avx512, .tile = pml__tile_avx512,
       .expand = pml__expand_avx512, .max = pml__max_avx512, .exp_sum = pml__exp_sum_avx512,
       .mix = pml__mix_avx512, PML__KERNELS_AVX2},
      {.tile_rows = 6, .dot = pml__dot_avx512_strict, .matvec = pml__matvec_avx512_strict,
       .tile = pml__tile_avx512_strict, .expand = pml__expand_avx512, .max = pml__max_avx512,
       .exp_sum = pml__exp_sum_avx512, .mix = pml__mix_avx512, PML__KERNELS_AVX2}};
  pml_cpu_level_t level = pml_cpu_level();
  if (level == PML_CPU_AVX512) return &avx512[pml_strict()];
  if (level == PML_CPU_AVX2) return &avx2[pml_strict()];
#endif
  return &scalar;
}

PML_API float pml_dot(const float *a, const float *b, size_t n) { return pml__kernels_now()->dot(a, b, n); }

PML__FN pml_status pml__mat_check(const pml_mat *w, const char *who) {
  if (w->type != PML_F32 && w->type != PML_F16 && w->type != PML_BF16) {
    const pml_dtype_info_t *info = pml_dtype_info((int)w->type);
    return pml_fail(PML_E_UNSUPPORTED,
                    "%s: weights of type %s (%d) are not computed: convert to F32, F16 or BF16",
                    who, info ? info->name : "unknown", (int)w->type);
  }
  if (w->n_out < 0 || w->n_in < 0 || (!w->data && w->n_out && w->n_in))
    return pml_fail(PML_E_USAGE, "%s: a matrix of %d outputs and %d inputs without data makes no sense", who,
                    w->n_out, w->n_in);
  return PML_OK;
}

PML_API pml_status pml_row_to_f32(float *y, const pml_mat *w, int row) {
  pml_status st = pml__mat_check(w, "pml_row_to_f32");
  if (st != PML_OK) return st;
  if (row < 0 || row >= w->n_out)
    return pml_fail(PML_E_USAGE, "pml_row_to_f32: row %d asked for, the matrix has %d", row, w->n_out);
  size_t n = (size_t)w->n_in, size = w->type == PML_F32 ? 4 : 2;
  pml__kernels_now()->expand(y, (const unsigned char *)w->data + (size_t)row * n * size, w->type, n);
  return PML_OK;
}

#define PML__LINEAR_ROWS 96     /* rows of x per task: 96 · 1024 · 4 bytes stay in the second cache */
#define PML__LINEAR_OUTS 32     /* outputs per task; 8 for few rows, whose weights then stay in the first */
#define PML__LINEAR_K 1024      /* inputs per piece */
#define PML__LINEAR_SERIAL 65536 /* multiply-adds below which waking a thread costs more */

/* A thread's own weights in f32 and lanes between pieces: 330 KB, touched only when used.  The
   16 floats after each row keep rows of a power of two out of each other's cache sets. */
static PML__UNUSED _Thread_local _Alignas(64) float pml__linear_w[PML__LINEAR_OUTS][PML__LINEAR_K + 16];
static PML__UNUSED _Thread_local _Alignas(64) float pml__linear_acc[PML__LINEAR_ROWS * PML__LINEAR_OUTS * 16];

typedef struct {
  const pml__kernels *kernels;
  float *y;
  const float *x, *bias;
  const pml_mat *w;
  size_t rows, block;          /* rows in all and per task */
  size_t outs, n_panels, piece; /* outputs per task, tasks per block of rows, inputs per piece */
} pml__linear_job;

PML__FN void pml__linear_one(void *ctx, size_t begin, size_t end) {
  const pml__linear_job *j = (const pml__linear_job *)ctx;
  j->kernels->matvec(j->y, j->x, j->w, j->bias, begin, end);
}

/* Rows [r0,r1) × outputs [o0,o1) × inputs [k,k+len).  A tile of x stays in the first cache while
   the weights of the panel pass. */
PML__FN void pml__linear_piece(const pml__linear_job *j, size_t r0, size_t r1, size_t o0, size_t o1, size_t k,
                               size_t len) {
  size_t n_in = (size_t)j->w->n_in, n_out = (size_t)j->w->n_out, most = (size_t)j->kernels->tile_rows;
  const float *w = &pml__linear_w[0][0];
  size_t ldw = PML__LINEAR_K + 16;
  if (j->w->type == PML_F32) {
    w = (const float *)j->w->data + o0 * n_in + k;
    ldw = n_in;
  } else {
    const uint16_t *h = (const uint16_t *)j->w->data + o0 * n_in + k;
    for (size_t o = 0; o < o1 - o0; o++) j->kernels->expand(pml__linear_w[o], h + o * n_in, j->w->type, len);
  }
  float *acc = pml__linear_acc;
  for (size_t r = r0, take; r < r1; r += take) {
    size_t left = r1 - r, tiles = (left + most - 1) / most;
    take = (left + tiles - 1) / tiles; /* 7 rows are 4 + 3, not 6 + 1 */
    for (size_t o = o0; o < o1; o += 4, acc += take * 64) {
      size_t n = o1 - o < 4 ? o1 - o : 4;
      pml__tile t = {.x = j->x + r * n_in + k, .ldx = n_in, .k = len, .rows = (int)take, .n_out = (int)n,
                     .first = k == 0, .last = k + len == n_in, .acc = acc, .y = j->y + r * n_out + o,
                     .ldy = n_out, .bias = j->bias ? j->bias + o : NULL};
      for (size_t c = 0; c < 4; c++) t.w[c] = w + (o - o0 + (c < n ? c : n - 1)) * ldw;
      j->kernels->tile(&t);
    }
  }
}

PML__FN void pml__linear_many(void *ctx, size_t begin, size_t end) {
  const pml__linear_job *j = (const pml__linear_job *)ctx;
  size_t n_in = (size_t)j->w->n_in, n_out = (size_t)j->w->n_out;
  for (size_t task = begin; task < end; task++) {
    size_t r0 = task / j->n_panels * j->block, o0 = task % j->n_panels * j->outs;
    size_t r1 = j->rows - r0 < j->block ? j->rows : r0 + j->block;
    size_t o1 = n_out - o0 < j->outs ? n_out : o0 + j->outs, k = 0;
    do { /* once even for n_in = 0: the sums are 0 and must be written */
      size_t len = n_in - k < j->piece ? n_in - k : j->piece;
      pml__linear_piece(j, r0, r1, o0, o1, k, len);
      k += len;
    } while (k < n_in);
  }
}

PML_API pml_status pml_linear(float *y, const float *x, int rows, const pml_mat *w, const float *bias) {
  pml_status st = pml__mat_check(w, "pml_linear");
  if (st != PML_OK) return st;
  if (rows < 0) return pml_fail(PML_E_USAGE, "pml_linear: %d rows asked for", rows);
  if (rows == 0 || w->n_out == 0) return PML_OK;
  size_t n_in = (size_t)w->n_in, n_out = (size_t)w->n_out;
  pml__linear_job j = {.kernels = pml__kernels_now(), .y = y, .x = x, .bias = bias, .w = w,
                       .rows = (size_t)rows};
  size_t work = n_in ? n_in : 1;
  if (rows == 1) { /* chunks of 64 KB or more, whole groups of 8 outputs */
    size_t grain = (PML__LINEAR_SERIAL / 2 / work + 8) & ~(size_t)7;
    pml_parallel(n_out, n_out * work < PML__LINEAR_SERIAL ? n_out : grain, pml__linear_one, &j);
    return PML_OK;
  }
  size_t blocks = (j.rows + PML__LINEAR_ROWS - 1) / PML__LINEAR_ROWS;
  size_t pieces = (n_in + PML__LINEAR_K - 1) / PML__LINEAR_K;
  j.block = ((j.rows + blocks - 1) / blocks + 11) / 12 * 12; /* whole tiles of 6, 4 and 3 */
  j.outs = rows <= 12 ? 8 : PML__LINEAR_OUTS;
  j.n_panels = (n_out + j.outs - 1) / j.outs;
  j.piece = pieces ? ((n_in + pieces - 1) / pieces + 15) & ~(size_t)15 : 16;
  blocks = (j.rows + j.block - 1) / j.block;
  size_t tasks = blocks * j.n_panels;
  pml_parallel(tasks, j.rows * n_out * work < PML__LINEAR_SERIAL ? tasks : 1, pml__linear_many, &j);
  return PML_OK;
}

typedef struct {
  const pml__kernels *kernels;
  float *y;
  const float *x, *w, *b;
  size_t d;
  float eps;
  bool centre;
  pml__act_kind kind;
} pml__row_job;

/* @norm */
PML__FN void pml__norm_rows(void *ctx, size_t begin, size_t end) {
  const pml__row_job *j = (const pml__row_job *)ctx;
  for (size_t r = begin; r < end; r++) {
    const float *x = j->x + r * j->d;
    float mean = j->centre ? j->kernels->sum(x, j->d) / (float)j->d : 0.0f;
    float var = j->kernels->sum_sq(x, j->d, mean) / (float)j->d;
    j->kernels->norm(j->y + r * j->d, x, j->w, j->b, j->d, mean, 1.0f / sqrtf(var + j->eps));
  }
}
/* @end */

PML_API void pml_rmsnorm(float *y, const float *x, const float *w, int rows, int d, float eps) {
  if (rows <= 0 || d <= 0) return;
  pml__row_job j = {.kernels = pml__kernels_now(), .y = y, .x = x, .w = w, .d = (size_t)d, .eps = eps};
  pml_parallel((size_t)rows, 16384 / j.d + 1, pml__norm_rows, &j);
}

PML_API void pml_layernorm(float *y, const float *x, const float *w, const float *b, int rows, int d,
                           float eps) {
  if (rows <= 0 || d <= 0) return;
  pml__row_job j = {.kernels = pml__kernels_now(), .y = y, .x = x, .w = w, .b = b, .d = (size_t)d, .eps = eps,
                    .centre = true};
  pml_parallel((size_t)rows, 16384 / j.d + 1, pml__norm_rows, &j);
}

/* @softmax */
PML_API void pml_softmax(float *x, size_t n) {
  const pml__kernels *k = pml__kernels_now();
  float max = k->max(x, n), sum = k->exp_sum(x, n, max);
  k->scale(x, 1.0f / sum, n);
}
/* @end */

PML_API size_t pml_argmax(const float *x, size_t n) {
  size_t best = 0;
  float m = -HUGE_VALF;
  for (size_t i = 0; i < n; i++)
    if (x[i] > m) {
      m = x[i];
      best = i;
    }
  return best;
}

PML_API void pml_rope_freqs(float *freqs, int rope_dim, float theta) {
  for (int i = 0; i < rope_dim / 2; i++) freqs[i] = (float)pml_powd((double)theta, -2.0 * i / rope_dim);
}

/* cos and sin of n pairs.  The angle is a double: a float of 1e5 radians is only known to 0.004. */
PML__FN void pml__rope_cs(float *cos, float *sin, size_t n, int pos, const float *freqs) {
  for (size_t i = 0; i < n; i++) {
    double angle = (double)pos * (double)freqs[i];
    cos[i] = (float)pml_cosd(angle);
    sin[i] = (float)pml_sind(angle);
  }
}

/* Pairs [at, at+n) of every head. */
PML__FN void pml__rope_heads(float *x, int n_heads, int head_dim, int rope_dim, size_t at, size_t n,
                             const float *cos, const float *sin, bool split) {
  const pml__kernels *k = pml__kernels_now();
  for (int h = 0; h < n_heads; h++, x += head_dim)
    if (split) k->rope(x + at, x + at + rope_dim / 2, cos, sin, n);
    else k->rope(x + 2 * at, NULL, cos, sin, n);
}

PML_API void pml_rope_angles(float *cs, int rope_dim, int pos, const float *freqs) {
  if (rope_dim > 1) pml__rope_cs(cs, cs + rope_dim / 2, (size_t)rope_dim / 2, pos, freqs);
}

PML_API void pml_rope_apply(float *x, int n_heads, int head_dim, int rope_dim, const float *cs, bool split) {
  if (rope_dim > 1)
    pml__rope_heads(x, n_heads, head_dim, rope_dim, 0, (size_t)rope_dim / 2, cs, cs + rope_dim / 2, split);
}

PML_API void pml_rope(float *x, int n_heads, int head_dim, int rope_dim, int pos, const float *freqs,
                      bool split) {
  float cos[64], sin[64];
  size_t pairs = rope_dim > 1 ? (size_t)rope_dim / 2 : 0;
  for (size_t at = 0; at < pairs; at += 64) {
    size_t n = pairs - at < 64 ? pairs - at : 64;
    pml__rope_cs(cos, sin, n, pos, freqs + at);
    pml__rope_heads(x, n_heads, head_dim, rope_dim, at, n, cos, sin, split);
  }
}

PML__FN void pml__act_range(void *ctx, size_t begin, size_t end) {
  const pml__row_job *j = (const pml__row_job *)ctx;
  j->kernels->act(j->y + begin, j->x + begin, j->b ? j->b + begin : NULL, end - begin, j->kind);
}

PML__FN void pml__act(float *y, const float *x, const float *up, size_t n, pml__act_kind kind) {
  pml__row_job j = {.kernels = pml__kernels_now(), .y = y, .x = x, .b = up, .kind = kind};
  pml_parallel(n, 16384, pml__act_range, &j);
}

PML_API void pml_silu(float *y, const float *x, size_t n) { pml__act(y, x, NULL, n, PML__SILU); }
PML_API void pml_gelu(float *y, const float *x, size_t n) { pml__act(y, x, NULL, n, PML__GELU); }
PML_API void pml_swiglu(float *y, const float *gate, const float *up, size_t n) {
  pml__act(y, gate, up, n, PML__SWIGLU);
}

PML_API void pml_add(float *y, const float *x, size_t n) { pml__kernels_now()->axpy(y, 1.0f, x, n); }
PML_API void pml_axpy(float *y, float a, const float *x, size_t n) { pml__kernels_now()->axpy(y, a, x, n); }
PML_API void pml_scale(float *y, float a, size_t n) { pml__kernels_now()->scale(y, a, n); }

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
typedef void (*pml__gemm_turn_fn)(float *dst, size_t stride, const float *src, size_t ld, size_t rows,
                                  size_t kc);

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
PML__FN void pml__gemm_scalar_strict(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                     bool load) {
  pml__gemm_tile_scalar(kc, a, b, c, ldc, load, true);
}

PML__FN void pml__gemm_turn_scalar(float *dst, size_t stride, const float *src, size_t ld, size_t rows,
                                  size_t kc) {
  for (size_t k = 0; k < kc; k++)
    for (size_t r = 0; r < stride; r++) dst[k * stride + r] = r < rows ? src[r * ld + k] : 0.0f;
}

PML__FN void pml__gemm_copy_scalar(float *dst, size_t stride, const float *src, size_t ld, size_t rows,
                                  size_t kc) {
  for (size_t k = 0; k < kc; k++)
    for (size_t r = 0; r < stride; r++) dst[k * stride + r] = r < rows ? src[k * ld + r] : 0.0f;
}

#if defined(PML__X86)
#define PML__GEMM_AVX2 __attribute__((target("avx2,fma")))
#define PML__GEMM_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))

/* @gemm_tile_avx512 */
PML__GEMM_AVX512
PML__GEMM_INLINE void pml__gemm_tile_avx512(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                            bool load, bool strict) {
  __m512 acc[14][2];
  PML__GEMM_UNROLL for (int m = 0; m < 14; m++) {
    acc[m][0] = load ? _mm512_loadu_ps(c + (size_t)m * ldc) : _mm512_setzero_ps();
    acc[m][1] = load ? _mm512_loadu_ps(c + (size_t)m * ldc + 16) : _mm512_setzero_ps();
  }
  for (size_t k = 0; k < kc; k++, a += 16, b += 32) {
    __m512 b0 = _mm512_load_ps(b), b1 = _mm512_load_ps(b + 16);
    PML__GEMM_UNROLL for (int m = 0; m < 14; m++) {
      __m512 am = _mm512_set1_ps(a[m]);
      acc[m][0] = strict ? _mm512_add_ps(acc[m][0], _mm512_mul_ps(am, b0))
                         : _mm512_fmadd_ps(am, b0, acc[m][0]);
      acc[m][1] = strict ? _mm512_add_ps(acc[m][1], _mm512_mul_ps(am, b1))
                         : _mm512_fmadd_ps(am, b1, acc[m][1]);
    }
  }
  PML__GEMM_UNROLL for (int m = 0; m < 14; m++) {
    _mm512_storeu_ps(c + (size_t)m * ldc, acc[m][0]);
    _mm512_storeu_ps(c + (size_t)m * ldc + 16, acc[m][1]);
  }
}
/* @end */

PML__GEMM_AVX512
PML__FN void pml__gemm_avx512(size_t kc, const float *a, const float *b, float *c, size_t ldc, bool load) {
  pml__gemm_tile_avx512(kc, a, b, c, ldc, load, false);
}
PML__GEMM_AVX512
PML__FN void pml__gemm_avx512_strict(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                     bool load) {
  pml__gemm_tile_avx512(kc, a, b, c, ldc, load, true);
}

PML__GEMM_AVX2
PML__GEMM_INLINE void pml__gemm_tile_avx2(size_t kc, const float *a, const float *b, float *c, size_t ldc,
                                          bool load, bool strict) {
  __m256 acc[6][2];
  PML__GEMM_UNROLL for (int m = 0; m < 6; m++) {
    acc[m][0] = load ? _mm256_loadu_ps(c + (size_t)m * ldc) : _mm256_setzero_ps();
    acc[m][1] = load ? _mm256_loadu_ps(c + (size_t)m * ldc + 8) : _mm256_setzero_ps();
  }
  for (size_t k = 0; k < kc; k++, a += 8, b += 16) {
    __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
    PML__GEMM_UNROLL for (int m = 0; m < 6; m++) {
      __m256 am = _mm256_broadcast_ss(a + m);
      acc[m][0] = strict ? _mm256_add_ps(acc[m][0], _mm256_mul_ps(am, b0))
                         : _mm256_fmadd_ps(am, b0, acc[m][0]);
      acc[m][1] = strict ? _mm256_add_ps(acc[m][1], _mm256_mul_ps(am, b1))
                         : _mm256_fmadd_ps(am, b1, acc[m][1]);
    }
  }
  PML__GEMM_UNROLL for (int m = 0; m < 6; m++) {
    _mm256_storeu_ps(c + (size_t)m * ldc, acc[m][0]);
    _mm256_storeu_ps(c + (size_t)m * ldc + 8, acc[m][1]);
  }
}

PML__GEMM_AVX2
PML__FN void pml__gemm_avx2(size_t kc, const float *a, const float *b, float *c, size_t ldc, bool load) {
  pml__gemm_tile_avx2(kc, a, b, c, ldc, load, false);
}
PML__GEMM_AVX2
PML__FN void pml__gemm_avx2_strict(size_t kc, const float *a, const float *b, float *c, size_t ldc,
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
    for (size_t m = 0; m < (size_t)M && !accumulate; m++)
      memset(C + m * (size_t)ldc, 0, (size_t)N * sizeof *C);
    return PML_OK;
  }
#if defined(PRODML_USE_OPENBLAS)
  if (!pml_strict()) {
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N, K, 1.0f,
                A, lda, B, ldb, accumulate ? 1.0f : 0.0f, C, ldc);
    return PML_OK;
  }
#endif
  pml__gemm_job j = {.kern = pml__gemm_choose(pml_cpu_level(), pml_strict()), .C = C, .A = A, .B = B,
                     .ldc = (size_t)ldc, .lda = (size_t)lda, .ldb = (size_t)ldb, .M = (size_t)M,
                     .ta = ta, .tb = tb};
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
   § 14  ATTENTION                                              needs § 1 § 5 § 8 § 11
   ─────────────────────────────────────────────────────────────────────────────
   A token asks the tokens before it: who has something for me?  Its query is
   compared with every key; the answers become weights that add up to 1; the
   result is the weighted mean of the values.

     score[p] = q[h] · K[p,h] / √h                    p = 0 … S-1, the visible positions
     prob     = softmax(score)
     out[h]   = Σ_p prob[p] · V[p,h]

   for each of H query heads.  With grouped queries several heads share one key and
   value head: query head i reads kv head i·G/H.  Those heads are done together, so
   that a row of K and V is fetched once for all of them.

   Where the keys lie.  A cache in one piece must be as long as the longest answer
   could be.  Cut into blocks, it is allocated as the answer grows, and a table says
   which block holds positions 0 … 15, which 16 … 31, and so on (§ 24).  A cache in
   one piece is a table with one entry.

   Softmax without the whole row.  A row of 131072 scores for 8 heads is 4 MB.
   Instead the positions are taken 256 at a time, always cut at multiples of 256.
   Three numbers carry the state: the maximum m so far, the sum l of e^(score - m),
   and out = Σ e^(score - m)·V.  When a chunk raises the maximum from m to m', l and
   out are multiplied by e^(m - m'); at the end out is divided by l.  The memory is
   8·256 scores, on the stack, at any length.

   Cost per row and head: 2·S·h multiply-adds.  Decoding reads K and V once, 2·S·G·h
   numbers: at 32768 positions and G·h = 128 that is 33 MB a layer.
   The traps.  Cutting the sum where the cache's blocks end would make the result
   depend on block_size, and sharing the positions out to threads would make it
   depend on their number: two rounding orders, two texts.  Here the cut is fixed
   and positions are added in order; tests/test_attention.c compares block sizes 1,
   3, 16 and 4096, shuffled tables and 1, 2, 3, 7 threads bit for bit.  And a mask
   that is applied after softmax leaves weight on the future: n_visible cuts first.
   Source: Vaswani et al. 2017 (arXiv:1706.03762); Milakov and Gimelshein 2018, Online
   normalizer calculation for softmax (arXiv:1805.02867); Dao et al. 2022,
   FlashAttention (arXiv:2205.14135); Kwon et al. 2023, PagedAttention (arXiv:2309.06180).
   ═════════════════════════════════════════════════════════════════════════════ */

/* Where a sequence's keys and values lie: position p is row p mod block_size of
   block table[p / block_size]; k and v point at block 0 of one layer, a position
   is `stride` floats (n_kv_heads · head_dim), a block is block_size·stride.  All borrowed. */
typedef struct {
  const float *k, *v;
  const int32_t *table;
  int block_size;
  size_t stride;
} pml_kv_view;

/* out[T,H,h] = softmax(q·Kᵀ / √h)·V for T query rows q[T,H,h].  Row t sees the
   first n_visible[t] positions of view[t] (the rows may belong to different
   sequences); causal masking is n_visible = position + 1.  A row that sees nothing
   becomes zeros.  n_heads is a multiple of n_kv_heads, out overlaps nothing.  Runs
   on all threads, allocates nothing; a row's bits depend only on its query and the
   keys and values it sees.  Errors: PML_E_USAGE; out is then untouched. */
PML_API pml_status pml_attention(float *out, const float *q, int T, int n_heads, int n_kv_heads, int head_dim,
                                 const pml_kv_view *const *view, const int32_t *n_visible);

#ifdef PML__IMPL

#define PML__ATT_CHUNK 256   /* positions between two looks at the maximum */
#define PML__ATT_HEADS 8     /* query heads done together */

typedef struct {
  const pml__kernels *kernels;
  float *out;
  const float *q;
  int T, n_heads, n_kv_heads, head_dim;
  const pml_kv_view *const *view;
  const int32_t *n_visible;
} pml__att_job;

/* k[i], v[i]: the rows of positions first … first+n-1 of one kv head, offset floats into a position. */
PML__FN void pml__att_rows(const float **k, const float **v, const pml_kv_view *view, size_t first, size_t n,
                           size_t offset) {
  size_t bs = (size_t)view->block_size, in = first % bs;
  const int32_t *block = view->table + first / bs;
  for (size_t i = 0; i < n; i++) {
    size_t at = ((size_t)*block * bs + in) * view->stride + offset;
    k[i] = view->k + at;
    v[i] = view->v + at;
    if (++in == bs) {
      in = 0;
      block++;
    }
  }
}

/* A row of K or V on its way to the cache: rows lie apart, and the processor does not guess the next. */
PML__FN void pml__att_fetch(const float *row, size_t dim) {
  for (size_t i = 0; i < dim; i += 16) __builtin_prefetch(row + i);
}

/* score[heads][CHUNK] = q[heads,dim] · k[n]ᵀ: small tiles of the linear layer (§ 11), so each score is
   pml_dot of a query and a key. */
PML__FN void pml__att_scores(const pml__kernels *kn, float *score, const float *q, int heads, size_t dim,
                             const float *const *k, const float *const *v, size_t n) {
  for (size_t p = 0; p < n; p += 4) {
    size_t m = n - p < 4 ? n - p : 4;
    for (size_t c = p; c < p + m; c++) {
      if (c + 16 < n) pml__att_fetch(k[c + 16], dim);
      pml__att_fetch(v[c], dim);
    }
    pml__tile t = {.ldx = dim, .k = dim, .n_out = (int)m, .first = true, .last = true, .ldy = PML__ATT_CHUNK};
    for (size_t c = 0; c < 4; c++) t.w[c] = k[p + (c < m ? c : m - 1)];
    for (int h = 0; h < heads; h += t.rows) {
      int left = heads - h, tiles = (left + kn->tile_rows - 1) / kn->tile_rows;
      t.rows = (left + tiles - 1) / tiles;
      t.x = q + (size_t)h * dim;
      t.y = score + (size_t)h * PML__ATT_CHUNK + p;
      kn->tile(&t);
    }
  }
}

/* One row's `heads` query heads (at most 8) that share one kv head.  out[heads,dim] holds the sums. */
/* @attention */
PML__FN void pml__att_heads(const pml__kernels *kn, float *out, const float *q, int heads, size_t dim,
                            const pml_kv_view *view, size_t n_visible, size_t offset) {
  _Alignas(64) float score[PML__ATT_HEADS * PML__ATT_CHUNK];
  const float *k[PML__ATT_CHUNK], *v[PML__ATT_CHUNK];
  float m[PML__ATT_HEADS], l[PML__ATT_HEADS], scale = 1.0f / sqrtf((float)dim);
  for (int h = 0; h < heads; h++) {
    m[h] = -HUGE_VALF;
    l[h] = 0;
  }
  memset(out, 0, (size_t)heads * dim * sizeof(float));
  for (size_t first = 0; first < n_visible; first += PML__ATT_CHUNK) {
    size_t n = n_visible - first < PML__ATT_CHUNK ? n_visible - first : PML__ATT_CHUNK;
    pml__att_rows(k, v, view, first, n, offset);
    pml__att_scores(kn, score, q, heads, dim, k, v, n);
    for (int h = 0; h < heads; h++) {
      float *s = score + h * PML__ATT_CHUNK;
      kn->scale(s, scale, n);
      float top = kn->max(s, n);
      if (top > m[h] && first > 0) { /* a new maximum: what was summed so far shrinks */
        float shrink = pml_expf(m[h] - top);
        l[h] *= shrink;
        kn->scale(out + (size_t)h * dim, shrink, dim);
      }
      if (top > m[h]) m[h] = top;
      l[h] += kn->exp_sum(s, n, m[h]);
    }
    kn->mix(out, dim, score, PML__ATT_CHUNK, v, n, heads, dim);
  }
  for (int h = 0; h < heads && n_visible > 0; h++) kn->scale(out + (size_t)h * dim, 1.0f / l[h], dim);
}
/* @end */

/* Item = kv head · T + row: the rows of one head follow each other, its keys stay in the cache. */
PML__FN void pml__att_range(void *ctx, size_t begin, size_t end) {
  const pml__att_job *j = (const pml__att_job *)ctx;
  int group = j->n_heads / j->n_kv_heads;
  size_t T = (size_t)j->T, dim = (size_t)j->head_dim;
  for (size_t item = begin; item < end; item++) {
    size_t g = item / T, t = item % T;
    for (int h = 0; h < group; h += PML__ATT_HEADS) {
      int heads = group - h < PML__ATT_HEADS ? group - h : PML__ATT_HEADS;
      size_t at = (t * (size_t)j->n_heads + g * (size_t)group + (size_t)h) * dim;
      pml__att_heads(j->kernels, j->out + at, j->q + at, heads, dim, j->view[t], (size_t)j->n_visible[t],
                     g * dim);
    }
  }
}

PML_API pml_status pml_attention(float *out, const float *q, int T, int n_heads, int n_kv_heads, int head_dim,
                                 const pml_kv_view *const *view, const int32_t *n_visible) {
  if (T < 0 || n_heads < 1 || n_kv_heads < 1 || head_dim < 1 || n_heads % n_kv_heads)
    return pml_fail(PML_E_USAGE, "pml_attention: %d rows, %d query heads, %d kv heads of %d do not fit", T,
                    n_heads, n_kv_heads, head_dim);
  double work = 0;
  for (int t = 0; t < T; t++) {
    if (n_visible[t] < 0 || (n_visible[t] > 0 && view[t]->block_size < 1))
      return pml_fail(PML_E_USAGE, "pml_attention: row %d sees %d positions in blocks of %d", t,
                      (int)n_visible[t], view[t]->block_size);
    work += (double)n_visible[t] * n_heads * head_dim;
  }
  pml__att_job j = {pml__kernels_now(), out, q, T, n_heads, n_kv_heads, head_dim, view, n_visible};
  size_t items = (size_t)T * (size_t)n_kv_heads;
  pml_parallel(items, work < 32768 ? items : 1, pml__att_range, &j);
  return PML_OK;
}

#endif /* § 14 */

/* ═════════════════════════════════════════════════════════════════════════════
   PART III   FILES
   ═════════════════════════════════════════════════════════════════════════════ */

/* ═════════════════════════════════════════════════════════════════════════════
   § 15  JSON                                                        needs § 1 § 2
   ─────────────────────────────────────────────────────────────────────────────
   Headers of model files, training data and API bodies are JSON, and all of them
   come from strangers.  Most readers build a tree in memory: a 1 MB body of "[[[["
   becomes a million small allocations before the first field is looked at.

   This one allocates nothing.  It reads twice:

     open    walks the text once and checks every byte against RFC 8259.  It needs
             one bit per open bracket (object or array), 64 of them, in one integer.
     walk    a value is then a span of text that is known to be good: {type, ptr,
             len}, 24 bytes, copied freely.  Its members are found by counting
             brackets; nothing can go wrong any more, so walking returns no errors.

   Numbers stay text until somebody asks.  A tensor's offset of 2^53 + 1 is exact as
   int64 and would be 2^53 as a double; the caller knows which one is meant.

   Cost: open 0.45 GB/s on one Zen 4 core, walking the same; finding one of K members of an object reads the
   object, so asking for all of them by name costs K passes.  Iterate instead when
   K is large: a safetensors header has hundreds.
   The traps.  Duplicate names are legal: pml_json_get takes the first, and a format
   that forbids them must look.  "\u0000" is legal: an unescaped string may hold a 0
   byte, so use its length.  And strtod obeys the locale: in Germany "0.5" is 0.
   The conversions below never show it a decimal point.
   Source: RFC 8259; Clinger 1990, How to Read Floating Point Numbers Accurately
   (why 768 digits decide every double).
   ═════════════════════════════════════════════════════════════════════════════ */

typedef enum {
  PML_JSON_NONE = 0, /* no value: a member that is not there */
  PML_JSON_NULL,
  PML_JSON_FALSE,
  PML_JSON_TRUE,
  PML_JSON_NUMBER,
  PML_JSON_STRING,
  PML_JSON_ARRAY,
  PML_JSON_OBJECT
} pml_json_type;

/* A value: its type and its text, quotes and brackets included.  Borrowed from the
   text given to pml_json_open and valid as long as that is. */
typedef struct {
  pml_json_type type;
  const char *ptr;
  size_t len;
} pml_json;

#define PML_JSON_MAX_DEPTH 64

/* Checks that text[len] is exactly one JSON value with white space around it, in
   UTF-8, nested at most 64 deep; *root is that value.  On failure *root is NONE and
   the sentence begins with `name` and the byte: "body: byte 17: a ',' or ']' is
   missing".  PML_E_LIMIT when too deep, otherwise PML_E_FORMAT.  A byte order mark
   and half a surrogate pair ("\ud800") are refused. */
PML_API pml_status pml_json_open(pml_json *root, const char *text, size_t len, const char *name);

/* The walk.  `for (pml_json_iter it = pml_json_each(v); pml_json_next(&it);)` visits
   the members of an object or the elements of an array in their order; any other
   value has none.  key is a STRING in an object, NONE in an array. */
typedef struct {
  pml_json key, value;
  size_t index;         /* 0, 1, 2 … of value */
  const char *at, *end; /* private: the text that is left */
  bool object;
} pml_json_iter;
PML_API pml_json_iter pml_json_each(pml_json v);
PML_API bool pml_json_next(pml_json_iter *it);

/* The first member called key, the i-th element; NONE when there is none or v is of
   another type.  So lookups chain: pml_json_get(pml_json_get(v, "a"), "b"). */
PML_API pml_json pml_json_get(pml_json v, const char *key);
PML_API pml_json pml_json_at(pml_json v, size_t i);
PML_API size_t pml_json_count(pml_json v); /* members or elements */

/* The value as C.  false, with *out unchanged, when v is of another type or does not
   fit.  Integers have no '.', no exponent ("1e3" is not one) and are exact; doubles
   are the nearest one, and 1e400 does not fit.  So a field with a default reads:
   int64_t n = 16; pml_json_int(pml_json_get(v, "max_tokens"), &n); */
PML_API bool pml_json_int(pml_json v, int64_t *out);
PML_API bool pml_json_uint(pml_json v, uint64_t *out);
PML_API bool pml_json_double(pml_json v, double *out);
PML_API bool pml_json_bool(pml_json v, bool *out);

/* A string without its escapes, appended to out as UTF-8.  false when v is no string
   or memory ran out (out->failed). */
PML_API bool pml_json_text(pml_json v, pml_buf *out);
/* Whether v is a string that unescapes to text[len]; allocates nothing. */
PML_API bool pml_json_is(pml_json v, const char *text, size_t len);

/* The writer: a string with quotes and escapes (a byte that is not UTF-8 becomes
   U+FFFD), and a number in the fewest digits that read back as the same double
   (NaN and infinities become null: JSON has none).  -0.0 is written "-0". */
PML_API void pml_json_put_str(pml_buf *out, const char *s, size_t len);
PML_API void pml_json_put_num(pml_buf *out, double x);

#ifdef PML__IMPL

/* Text being checked; `why` is set by the first thing that is wrong at `at`. */
typedef struct {
  const char *s;
  size_t n, at;
  const char *why;
} pml__json_in;

PML__FN bool pml__json_no(pml__json_in *in, const char *why) {
  in->why = why;
  return false;
}

/* The byte at `at`, 0 at the end; a 0 byte is valid nowhere, so the two may mix. */
PML__FN char pml__json_peek(const pml__json_in *in) { return in->at < in->n ? in->s[in->at] : 0; }

PML__FN bool pml__json_is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

PML__FN void pml__json_space(pml__json_in *in) {
  while (pml__json_is_space(pml__json_peek(in))) in->at++;
}

/* Length of the UTF-8 sequence at p (n >= 1 bytes left), 0 when it is not one:
   stray or missing continuation bytes, overlong forms, surrogates, over U+10FFFF. */
PML__FN size_t pml__json_utf8(const char *p, size_t n) {
  const unsigned char *u = (const unsigned char *)p;
  size_t len = u[0] < 0x80 ? 1 : u[0] < 0xC2 ? 0 : u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : u[0] < 0xF5 ? 4 : 0;
  if (len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((u[i] & 0xC0) != 0x80) return 0;
  if ((u[0] == 0xE0 && u[1] < 0xA0) || (u[0] == 0xED && u[1] > 0x9F)) return 0;
  if ((u[0] == 0xF0 && u[1] < 0x90) || (u[0] == 0xF4 && u[1] > 0x8F)) return 0;
  return len;
}

/* Four hexadecimal digits at p, -1 when they are not. */
PML__FN int pml__json_hex4(const char *p) {
  int x = 0;
  for (int i = 0; i < 4; i++) {
    char c = p[i];
    int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
    if (d < 0) return -1;
    x = x << 4 | d;
  }
  return x;
}

/* A \u escape at `at`; the second half of a surrogate pair must follow the first. */
PML__FN bool pml__json_check_u(pml__json_in *in) {
  const char *p = in->s + in->at;
  size_t left = in->n - in->at;
  int cp = left < 6 ? -1 : pml__json_hex4(p + 2);
  if (cp < 0) return pml__json_no(in, "\\u needs four hexadecimal digits");
  in->at += 6;
  if (cp < 0xD800 || cp > 0xDFFF) return true;
  int low = left < 12 || p[6] != '\\' || p[7] != 'u' ? -1 : pml__json_hex4(p + 8);
  if (cp < 0xDC00 && low >= 0xDC00 && low <= 0xDFFF) {
    in->at += 6;
    return true;
  }
  in->at -= 6;
  return pml__json_no(in, "half a surrogate pair");
}

PML__FN bool pml__json_check_string(pml__json_in *in) {
  in->at++; /* the opening quote */
  while (in->at < in->n) {
    char c = in->s[in->at];
    if (c == '"') {
      in->at++;
      return true;
    }
    if ((unsigned char)c < 0x20) return pml__json_no(in, "a control character must be escaped in a string");
    if (c == '\\') {
      char e = in->at + 1 < in->n ? in->s[in->at + 1] : 0;
      if (e == 'u') {
        if (!pml__json_check_u(in)) return false;
      } else if (e && strchr("\"\\/bfnrt", e)) in->at += 2;
      else return pml__json_no(in, "an unknown escape in a string");
    } else {
      size_t len = pml__json_utf8(in->s + in->at, in->n - in->at);
      if (len == 0) return pml__json_no(in, "not UTF-8");
      in->at += len;
    }
  }
  return pml__json_no(in, "the text ends inside a string");
}

PML__FN bool pml__json_digits(pml__json_in *in) {
  size_t start = in->at;
  while (pml__json_peek(in) >= '0' && pml__json_peek(in) <= '9') in->at++;
  return in->at > start || pml__json_no(in, "a digit is missing");
}

PML__FN bool pml__json_check_number(pml__json_in *in) {
  if (pml__json_peek(in) == '-') in->at++;
  if (pml__json_peek(in) == '0') in->at++; /* nothing but '.', 'e' or the end may follow a leading 0 */
  else if (!pml__json_digits(in)) return false;
  if (pml__json_peek(in) == '.') {
    in->at++;
    if (!pml__json_digits(in)) return false;
  }
  if ((pml__json_peek(in) | 32) == 'e') {
    in->at++;
    if (pml__json_peek(in) == '+' || pml__json_peek(in) == '-') in->at++;
    return pml__json_digits(in);
  }
  return true;
}

PML__FN bool pml__json_check_word(pml__json_in *in, const char *word) {
  size_t len = strlen(word);
  if (in->n - in->at < len || memcmp(in->s + in->at, word, len) != 0)
    return pml__json_no(in, "a value was expected");
  in->at += len;
  return true;
}

PML__FN bool pml__json_check_scalar(pml__json_in *in) {
  char c = pml__json_peek(in);
  if (c == '"') return pml__json_check_string(in);
  if (c == '-' || (c >= '0' && c <= '9')) return pml__json_check_number(in);
  if (in->at >= in->n) return pml__json_no(in, "the text ends where a value was expected");
  return pml__json_check_word(in, c == 't' ? "true" : c == 'f' ? "false" : "null");
}

/* "name": of a member. */
PML__FN bool pml__json_check_key(pml__json_in *in) {
  pml__json_space(in);
  if (pml__json_peek(in) != '"') return pml__json_no(in, "a member's name in quotes was expected");
  if (!pml__json_check_string(in)) return false;
  pml__json_space(in);
  if (pml__json_peek(in) != ':') return pml__json_no(in, "a ':' is missing after a member's name");
  in->at++;
  return true;
}

/* @json_check */
/* One value with everything in it.  Bit k of `objects` says whether the bracket at
   depth k + 1 is a '{': the whole stack of a recursive parser in one integer. */
PML__FN bool pml__json_check(pml__json_in *in) {
  uint64_t objects = 0;
  int depth = 0;
  for (;;) {
    pml__json_space(in);
    char c = pml__json_peek(in);
    bool opened = c == '{' || c == '[';
    if (opened) {
      if (depth == PML_JSON_MAX_DEPTH) return pml__json_no(in, NULL);
      objects = objects << 1 | (c == '{');
      depth++;
      in->at++;
    } else if (!pml__json_check_scalar(in)) return false;
    for (;; opened = false) { /* after a value, or just inside a bracket */
      if (depth == 0) return true;
      bool object = objects & 1;
      pml__json_space(in);
      c = pml__json_peek(in);
      if (c == (object ? '}' : ']')) {
        objects >>= 1;
        depth--;
        in->at++;
        continue;
      }
      if (!opened) {
        if (c != ',') return pml__json_no(in, object ? "a ',' or '}' is missing" : "a ',' or ']' is missing");
        in->at++;
      }
      if (object && !pml__json_check_key(in)) return false;
      break;
    }
  }
}
/* @end */

PML__FN pml_json_type pml__json_type_of(char c) {
  switch (c) {
    case '{': return PML_JSON_OBJECT;
    case '[': return PML_JSON_ARRAY;
    case '"': return PML_JSON_STRING;
    case 't': return PML_JSON_TRUE;
    case 'f': return PML_JSON_FALSE;
    case 'n': return PML_JSON_NULL;
    default: return PML_JSON_NUMBER;
  }
}

PML_API pml_status pml_json_open(pml_json *root, const char *text, size_t len, const char *name) {
  pml__json_in in = {text, len, 0, NULL};
  *root = (pml_json){PML_JSON_NONE, NULL, 0};
  pml__json_space(&in);
  size_t start = in.at;
  bool good = pml__json_check(&in);
  size_t end = in.at;
  if (good) {
    pml__json_space(&in);
    good = in.at == len || pml__json_no(&in, "more text after the end of the value");
  }
  if (!good && !in.why)
    return pml_fail(PML_E_LIMIT, "%s: byte %zu: JSON nested deeper than %d", name, in.at, PML_JSON_MAX_DEPTH);
  if (!good) return pml_fail(PML_E_FORMAT, "%s: byte %zu: invalid JSON: %s", name, in.at, in.why);
  *root = (pml_json){pml__json_type_of(text[start]), text + start, end - start};
  return PML_OK;
}

/* The end of the string that opens at p, in checked text. */
PML__FN const char *pml__json_skip_string(const char *p) {
  for (p++; *p != '"'; p++)
    if (*p == '\\') p++;
  return p + 1;
}

/* @json_skip */
/* The end of the value at p, in checked text: count brackets, step over strings. */
PML__FN const char *pml__json_skip(const char *p, const char *end) {
  int depth = 0;
  do {
    if (*p == '"') p = pml__json_skip_string(p);
    else if (*p == '{' || *p == '[') p++, depth++;
    else if (*p == '}' || *p == ']') p++, depth--;
    else if (depth > 0) p++;
    else
      while (p < end && *p != ',' && *p != '}' && *p != ']' && !pml__json_is_space(*p)) p++;
  } while (depth > 0);
  return p;
}
/* @end */

PML_API pml_json_iter pml_json_each(pml_json v) {
  pml_json_iter it = {{PML_JSON_NONE, NULL, 0}, {PML_JSON_NONE, NULL, 0}, SIZE_MAX, NULL, NULL, false};
  if (v.type != PML_JSON_OBJECT && v.type != PML_JSON_ARRAY) return it;
  it.object = v.type == PML_JSON_OBJECT;
  it.at = v.ptr + 1;
  it.end = v.ptr + v.len - 1; /* the closing bracket */
  return it;
}

PML__FN pml_json pml__json_take(pml_json_iter *it) {
  while (pml__json_is_space(*it->at)) it->at++;
  pml_json v = {pml__json_type_of(*it->at), it->at, 0};
  it->at = pml__json_skip(it->at, it->end);
  v.len = (size_t)(it->at - v.ptr);
  while (pml__json_is_space(*it->at)) it->at++;
  return v;
}

PML_API bool pml_json_next(pml_json_iter *it) {
  while (it->at < it->end && pml__json_is_space(*it->at)) it->at++;
  if (it->at >= it->end) return false;
  it->index++;
  if (it->object) {
    it->key = pml__json_take(it);
    it->at++; /* ':' */
  }
  it->value = pml__json_take(it);
  if (it->at < it->end) it->at++; /* ',' */
  return true;
}

PML_API pml_json pml_json_get(pml_json v, const char *key) {
  size_t len = strlen(key);
  if (v.type == PML_JSON_OBJECT)
    for (pml_json_iter it = pml_json_each(v); pml_json_next(&it);)
      if (pml_json_is(it.key, key, len)) return it.value;
  return (pml_json){PML_JSON_NONE, NULL, 0};
}

PML_API pml_json pml_json_at(pml_json v, size_t i) {
  if (v.type == PML_JSON_ARRAY)
    for (pml_json_iter it = pml_json_each(v); pml_json_next(&it);)
      if (it.index == i) return it.value;
  return (pml_json){PML_JSON_NONE, NULL, 0};
}

PML_API size_t pml_json_count(pml_json v) {
  size_t n = 0;
  for (pml_json_iter it = pml_json_each(v); pml_json_next(&it);) n++;
  return n;
}

/* The magnitude of an integer's digits; false when there is more than digits in it
   or it exceeds `most`. */
PML__FN bool pml__json_magnitude(const char *p, const char *end, uint64_t most, uint64_t *out) {
  uint64_t x = 0;
  for (; p < end; p++) {
    if (*p < '0' || *p > '9') return false;
    uint64_t d = (uint64_t)(*p - '0');
    if (x > (most - d) / 10) return false;
    x = x * 10 + d;
  }
  *out = x;
  return true;
}

PML_API bool pml_json_uint(pml_json v, uint64_t *out) {
  return v.type == PML_JSON_NUMBER && pml__json_magnitude(v.ptr, v.ptr + v.len, UINT64_MAX, out);
}

PML_API bool pml_json_int(pml_json v, int64_t *out) {
  if (v.type != PML_JSON_NUMBER) return false;
  bool minus = v.ptr[0] == '-';
  uint64_t x, most = (uint64_t)INT64_MAX + minus;
  if (!pml__json_magnitude(v.ptr + minus, v.ptr + v.len, most, &x)) return false;
  *out = minus ? (int64_t)(0 - x) : (int64_t)x;
  return true;
}

/* A number's text as digits · 10^exponent without leading zeros or a decimal point.
   After 768 digits only "is there anything but zeros?" can still decide which double
   is nearest, so a last 1 stands for all the rest. */
typedef struct {
  char digits[770];
  int n;
  int64_t exponent;
  bool minus;
} pml__json_decimal;

PML__FN void pml__json_decimal_of(pml__json_decimal *d, const char *p, const char *end) {
  bool fraction = false, rest = false;
  d->n = 0;
  d->exponent = 0;
  d->minus = p < end && *p == '-';
  for (p += d->minus; p < end && (*p | 32) != 'e'; p++) {
    if (*p == '.') {
      fraction = true;
      continue;
    }
    bool leading = d->n == 0 && *p == '0', full = d->n == 768;
    if (full) rest = rest || *p != '0';
    else if (!leading) d->digits[d->n++] = *p;
    d->exponent += full - fraction;
  }
  if (rest) {
    d->digits[d->n++] = '1';
    d->exponent--;
  }
  if (p == end) return;
  p++;
  bool minus = *p == '-';
  int64_t e = 0;
  for (p += minus || *p == '+'; p < end; p++)
    if (e < INT64_MAX / 100) e = e * 10 + (*p - '0');
  d->exponent += minus ? -e : e;
}

/* strtod on "digits e exponent": no decimal point, so no locale; correctly rounded. */
PML__FN double pml__json_decimal_value(const pml__json_decimal *d) {
  char text[800];
  int64_t e = d->exponent < -9999 ? -9999 : d->exponent > 9999 ? 9999 : d->exponent;
  if (d->n == 0) return d->minus ? -0.0 : 0.0;
  snprintf(text, sizeof text, "%s%.*se%d", d->minus ? "-" : "", d->n, d->digits, (int)e);
  return strtod(text, NULL);
}

PML_API bool pml_json_double(pml_json v, double *out) {
  pml__json_decimal d;
  if (v.type != PML_JSON_NUMBER) return false;
  pml__json_decimal_of(&d, v.ptr, v.ptr + v.len);
  double x = pml__json_decimal_value(&d);
  if (isinf(x)) return false;
  *out = x;
  return true;
}

PML_API bool pml_json_bool(pml_json v, bool *out) {
  if (v.type != PML_JSON_TRUE && v.type != PML_JSON_FALSE) return false;
  *out = v.type == PML_JSON_TRUE;
  return true;
}

/* The character at p of a checked string as UTF-8 in out[4]; returns its length and
   moves *p behind it. */
PML__FN size_t pml__json_char(const char **p, char out[4]) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  const char *s = *p;
  if (*s != '\\' || s[1] != 'u') {
    out[0] = *s != '\\' ? *s : to[strchr(from, s[1]) - from];
    *p = s + (*s != '\\' ? 1 : 2);
    return 1;
  }
  uint32_t cp = (uint32_t)pml__json_hex4(s + 2);
  *p = s + 6;
  if (cp >= 0xD800 && cp < 0xE000) {
    cp = 0x10000 + ((cp - 0xD800) << 10) + ((uint32_t)pml__json_hex4(s + 8) - 0xDC00);
    *p = s + 12;
  }
  size_t len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
  static const unsigned char first[5] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (size_t i = len; i-- > 1; cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3F));
  out[0] = (char)(first[len] | cp);
  return len;
}

PML_API bool pml_json_text(pml_json v, pml_buf *out) {
  if (v.type != PML_JSON_STRING) return false;
  const char *p = v.ptr + 1, *end = v.ptr + v.len - 1;
  pml_buf_add(out, "", 0); /* an empty string is a string too: data must not stay NULL */
  while (p < end) {
    const char *plain = p;
    while (p < end && *p != '\\') p++;
    pml_buf_add(out, plain, (size_t)(p - plain));
    char c[4];
    if (p < end) {
      size_t len = pml__json_char(&p, c);
      pml_buf_add(out, c, len);
    }
  }
  return !out->failed;
}

PML_API bool pml_json_is(pml_json v, const char *text, size_t len) {
  if (v.type != PML_JSON_STRING) return false;
  const char *p = v.ptr + 1, *end = v.ptr + v.len - 1;
  size_t i = 0;
  while (p < end) {
    char c[4];
    size_t n = pml__json_char(&p, c);
    if (n > len - i || memcmp(text + i, c, n) != 0) return false;
    i += n;
  }
  return i == len;
}

PML_API void pml_json_put_str(pml_buf *out, const char *s, size_t len) {
  static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
  pml_buf_puts(out, "\"");
  for (size_t i = 0, n; i < len; i += n) {
    unsigned char c = (unsigned char)s[i];
    const char *known = c ? strchr(from, c) : NULL;
    n = pml__json_utf8(s + i, len - i);
    if (known) pml_buf_printf(out, "\\%c", to[known - from]);
    else if (c < 0x20) pml_buf_printf(out, "\\u%04x", (unsigned)c);
    else if (n > 0) pml_buf_add(out, s + i, n);
    else {
      pml_buf_puts(out, "\xEF\xBF\xBD");
      n = 1;
    }
  }
  pml_buf_puts(out, "\"");
}

/* x != 0 rounded to p significant digits, trailing zeros dropped; printf's decimal
   point (which the locale chooses) is skipped over. */
PML__FN void pml__json_round(pml__json_decimal *d, double x, int p) {
  char text[64], *s = text;
  snprintf(text, sizeof text, "%.*e", p - 1, x);
  d->minus = *s == '-';
  d->n = 0;
  for (s += d->minus; *s != 'e'; s++)
    if (*s >= '0' && *s <= '9') d->digits[d->n++] = *s;
  while (d->n > 1 && d->digits[d->n - 1] == '0') d->n--;
  d->exponent = strtol(s + 1, NULL, 10) + 1 - d->n;
}

PML_API void pml_json_put_num(pml_buf *out, double x) {
  if (!isfinite(x)) {
    pml_buf_puts(out, "null");
    return;
  }
  if (x == 0) {
    pml_buf_puts(out, signbit(x) ? "-0" : "0");
    return;
  }
  /* A decimal of at most 15 digits survives the way through a double, unless that is
     subnormal; so rounding to 15 and dropping zeros finds the shortest of those. */
  pml__json_decimal d;
  int p = fabs(x) < 0x1p-1022 ? 1 : 15;
  do pml__json_round(&d, x, p++);
  while (pml__json_decimal_value(&d) != x);
  int point = d.n + (int)d.exponent; /* digits before the decimal point */
  if (d.minus) pml_buf_puts(out, "-");
  if (point > 0 && point <= 21) {
    int whole = d.n < point ? d.n : point;
    pml_buf_printf(out, "%.*s%.*s", whole, d.digits, point - whole, "000000000000000000000");
    if (d.n > point) pml_buf_printf(out, ".%.*s", d.n - point, d.digits + point);
  } else if (point <= 0 && point > -6) {
    pml_buf_printf(out, "0.%.*s%.*s", -point, "000000", d.n, d.digits);
  } else {
    pml_buf_printf(out, "%c", d.digits[0]);
    if (d.n > 1) pml_buf_printf(out, ".%.*s", d.n - 1, d.digits + 1);
    pml_buf_printf(out, "e%d", point - 1);
  }
}

#endif /* § 15 */

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
   table lists only the places where it does: 1,562 entries of code point · 4 +
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
  0x802C,0x80A3,0x80A8,0x80BF,0x80C0,0x817F,0x8180,0x81C2,0x81C5,0x81C8,0x81D2,0x81E8,0x81FD,0x8202,0x8228,
  0x8241,0x8274,0x8409,0x840C,0x841D,0x8420,0x8429,0x8450,0x8455,0x8458,0x8465,0x8478,0x8491,0x8494,0x8499,
  0x849C,0x84A1,0x84A4,0x84A9,0x84B8,0x84BD,0x84E8,0x84F1,0x8500,0x8515,0x8528,0x8539,0x853C,0x8542,0x860D,
  0x8616,0x8628,0x9182,0x9270,0x93AA,0x9400,0x9DDA,0x9E50,0xB001,0xB394,0xB3AD,0xB3BC,0xB3C9,0xB3D0,0xB3F6,
  0xB3F8,0xB401,0xB498,0xB49D,0xB4A0,0xB4B5,0xB4B8,0xB4C1,0xB5A0,0xB5BD,0xB5C0,0xB601,0xB65C,0xB681,0xB69C,
  0xB6A1,0xB6BC,0xB6C1,0xB6DC,0xB6E1,0xB6FC,0xB701,0xB71C,0xB721,0xB73C,0xB741,0xB75C,0xB761,0xB77C,0xB8BD,
  0xB8C0,0xC003,0xC004,0xC015,0xC01E,0xC020,0xC086,0xC0A8,0xC0C5,0xC0D8,0xC0E2,0xC0ED,0xC0F4,0xC105,0xC25C,
  0xC275,0xC280,0xC285,0xC3EC,0xC3F1,0xC400,0xC415,0xC4C0,0xC4C5,0xC63C,0xC64A,0xC658,0xC681,0xC700,0xC7C1,
  0xC800,0xC882,0xC8A8,0xC922,0xC940,0xC946,0xC980,0xCA02,0xCA28,0xCAC6,0xCB00,0xD001,0x13700,0x13801,
  0x29234,0x29341,0x293F8,0x29401,0x29834,0x29841,0x29882,0x298A9,0x298B0,0x29901,0x299BC,0x299FD,0x29A78,
  0x29A81,0x29B9A,0x29BC0,0x29C5D,0x29C80,0x29C89,0x29E24,0x29E2D,0x29F2C,0x29F41,0x29F48,0x29F4D,0x29F50,
  0x29F55,0x29F68,0x29FC9,0x2A008,0x2A00D,0x2A018,0x2A01D,0x2A02C,0x2A031,0x2A08C,0x2A0C2,0x2A0D8,0x2A101,
  0x2A1D0,0x2A209,0x2A2D0,0x2A342,0x2A368,0x2A3C9,0x2A3E0,0x2A3ED,0x2A3F0,0x2A3F5,0x2A3FC,0x2A402,0x2A429,
  0x2A498,0x2A4C1,0x2A51C,0x2A581,0x2A5F4,0x2A611,0x2A6CC,0x2A73D,0x2A742,0x2A768,0x2A781,0x2A794,0x2A799,
  0x2A7C2,0x2A7E9,0x2A7FC,0x2A801,0x2A8A4,0x2A901,0x2A90C,0x2A911,0x2A930,0x2A942,0x2A968,0x2A981,0x2A9DC,
  0x2A9E9,0x2A9EC,0x2A9F9,0x2AAC0,0x2AAC5,0x2AAC8,0x2AAD5,0x2AADC,0x2AAE5,0x2AAF8,0x2AB01,0x2AB04,0x2AB09,
  0x2AB0C,0x2AB6D,0x2AB78,0x2AB81,0x2ABAC,0x2ABC9,0x2ABD4,0x2AC05,0x2AC1C,0x2AC25,0x2AC3C,0x2AC45,0x2AC5C,
  0x2AC81,0x2AC9C,0x2ACA1,0x2ACBC,0x2ACC1,0x2AD6C,0x2AD71,0x2ADA8,0x2ADC1,0x2AF8C,0x2AFC2,0x2AFE8,0x2B001,
  0x35E90,0x35EC1,0x35F1C,0x35F2D,0x35FF0,0x3E401,0x3E9B8,0x3E9C1,0x3EB68,0x3EC01,0x3EC1C,0x3EC4D,0x3EC60,
  0x3EC75,0x3EC78,0x3EC7D,0x3ECA4,0x3ECA9,0x3ECDC,0x3ECE1,0x3ECF4,0x3ECF9,0x3ECFC,0x3ED01,0x3ED08,0x3ED0D,
  0x3ED14,0x3ED19,0x3EEC8,0x3EF4D,0x3F4F8,0x3F541,0x3F640,0x3F649,0x3F720,0x3F7C1,0x3F7F0,0x3F9C1,0x3F9D4,
  0x3F9D9,0x3FBF4,0x3FC42,0x3FC68,0x3FC85,0x3FCEC,0x3FD05,0x3FD6C,0x3FD99,0x3FEFC,0x3FF09,0x3FF20,0x3FF29,
  0x3FF40,0x3FF49,0x3FF60,0x3FF69,0x3FF74,0x40001,0x40030,0x40035,0x4009C,0x400A1,0x400EC,0x400F1,0x400F8,
  0x400FD,0x40138,0x40141,0x40178,0x40201,0x403EC,0x4041E,0x404D0,0x40502,0x405E4,0x4062A,0x40630,0x40A01,
  0x40A74,0x40A81,0x40B44,0x40B86,0x40BF0,0x40C01,0x40C82,0x40C90,0x40CB5,0x40D06,0x40D09,0x40D2A,0x40D2C,
  0x40D41,0x40DD8,0x40E01,0x40E78,0x40E81,0x40F10,0x40F21,0x40F40,0x40F46,0x40F58,0x41001,0x41278,0x41282,
  0x412A8,0x412C1,0x41350,0x41361,0x413F0,0x41401,0x414A0,0x414C1,0x41590,0x415C1,0x415EC,0x415F1,0x4162C,
  0x41631,0x4164C,0x41651,0x41658,0x4165D,0x41688,0x4168D,0x416C8,0x416CD,0x416E8,0x416ED,0x416F4,0x41801,
  0x41CDC,0x41D01,0x41D58,0x41D81,0x41DA0,0x41E01,0x41E18,0x41E1D,0x41EC4,0x41EC9,0x41EEC,0x42001,0x42018,
  0x42021,0x42024,0x42029,0x420D8,0x420DD,0x420E4,0x420F1,0x420F4,0x420FD,0x42158,0x42162,0x42181,0x421DC,
  0x421E6,0x42201,0x4227C,0x4229E,0x422C0,0x42381,0x423CC,0x423D1,0x423D8,0x423EE,0x42401,0x4245A,0x42470,
  0x42481,0x424E8,0x42601,0x426E0,0x426F2,0x426F9,0x42702,0x42740,0x4274A,0x42801,0x42804,0x42841,0x42850,
  0x42855,0x42860,0x42865,0x428D8,0x42902,0x42924,0x42981,0x429F6,0x429FC,0x42A01,0x42A76,0x42A80,0x42B01,
  0x42B20,0x42B25,0x42B94,0x42BAE,0x42BC0,0x42C01,0x42CD8,0x42D01,0x42D58,0x42D62,0x42D81,0x42DCC,0x42DE2,
  0x42E01,0x42E48,0x42EA6,0x42EC0,0x43001,0x43124,0x43201,0x432CC,0x43301,0x433CC,0x433EA,0x43401,0x43490,
  0x434C2,0x434E8,0x43982,0x439FC,0x43A01,0x43AA8,0x43AC1,0x43AC8,0x43C01,0x43C76,0x43C9D,0x43CA0,0x43CC1,
  0x43D18,0x43D46,0x43D54,0x43DC1,0x43E08,0x43EC1,0x43F16,0x43F30,0x43F81,0x43FDC,0x4400D,0x440E0,0x4414A,
  0x441C0,0x441C5,0x441CC,0x441D5,0x441D8,0x4420D,0x442C0,0x44341,0x443A4,0x443C2,0x443E8,0x4440D,0x4449C,
  0x444DA,0x44500,0x44511,0x44514,0x4451D,0x44520,0x44541,0x445CC,0x445D9,0x445DC,0x4460D,0x446CC,0x44705,
  0x44714,0x44742,0x44769,0x4476C,0x44771,0x44774,0x44786,0x447D4,0x44801,0x44848,0x4484D,0x448B0,0x448FD,
  0x44904,0x44A01,0x44A1C,0x44A21,0x44A24,0x44A29,0x44A38,0x44A3D,0x44A78,0x44A7D,0x44AA4,0x44AC1,0x44B7C,
  0x44BC2,0x44BE8,0x44C15,0x44C34,0x44C3D,0x44C44,0x44C4D,0x44CA4,0x44CA9,0x44CC4,0x44CC9,0x44CD0,0x44CD5,
  0x44CE8,0x44CF5,0x44CF8,0x44D41,0x44D44,0x44D75,0x44D88,0x45001,0x450D4,0x4511D,0x4512C,0x45142,0x45168,
  0x4517D,0x45188,0x45201,0x452C0,0x45311,0x45318,0x4531D,0x45320,0x45342,0x45368,0x45601,0x456BC,0x45761,
  0x45770,0x45801,0x458C0,0x45911,0x45914,0x45942,0x45968,0x45A01,0x45AAC,0x45AE1,0x45AE4,0x45B02,0x45B28,
  0x45C01,0x45C6C,0x45CC2,0x45CF0,0x45D01,0x45D1C,0x46001,0x460B0,0x46281,0x46382,0x463CC,0x463FD,0x4641C,
  0x46425,0x46428,0x46431,0x46450,0x46455,0x4645C,0x46461,0x464C0,0x464FD,0x46500,0x46505,0x46508,0x46542,
  0x46568,0x46681,0x466A0,0x466A9,0x46744,0x46785,0x46788,0x4678D,0x46790,0x46801,0x46804,0x4682D,0x468CC,
  0x468E9,0x468EC,0x46941,0x46944,0x46971,0x46A28,0x46A75,0x46A78,0x46AC1,0x46BE4,0x47001,0x47024,0x47029,
  0x470BC,0x47101,0x47104,0x47142,0x471B4,0x471C9,0x47240,0x47401,0x4741C,0x47421,0x47428,0x4742D,0x474C4,
  0x47519,0x4751C,0x47542,0x47568,0x47581,0x47598,0x4759D,0x475A4,0x475A9,0x47628,0x47661,0x47664,0x47682,
  0x476A8,0x47B81,0x47BCC,0x47C09,0x47C0C,0x47C11,0x47C44,0x47C49,0x47CD0,0x47D42,0x47D68,0x47EC1,0x47EC4,
  0x47F02,0x47F54,0x48001,0x48E68,0x49002,0x491BC,0x49201,0x49510,0x4BE41,0x4BFC4,0x4C001,0x4D0C0,0x4D105,
  0x4D11C,0x51001,0x5191C,0x5A001,0x5A8E4,0x5A901,0x5A97C,0x5A982,0x5A9A8,0x5A9C1,0x5AAFC,0x5AB02,0x5AB28,
  0x5AB41,0x5ABB8,0x5AC01,0x5ACC0,0x5AD01,0x5AD10,0x5AD42,0x5AD68,0x5AD6E,0x5AD88,0x5AD8D,0x5ADE0,0x5ADF5,
  0x5AE40,0x5B901,0x5BA02,0x5BA5C,0x5BC01,0x5BD2C,0x5BD41,0x5BD44,0x5BE4D,0x5BE80,0x5BF81,0x5BF88,0x5BF8D,
  0x5BF90,0x5C001,0x61FE0,0x62001,0x63358,0x63401,0x63424,0x6BFC1,0x6BFD0,0x6BFD5,0x6BFF0,0x6BFF5,0x6BFFC,
  0x6C001,0x6C48C,0x6C4C9,0x6C4CC,0x6C541,0x6C54C,0x6C555,0x6C558,0x6C591,0x6C5A0,0x6C5C1,0x6CBF0,0x6F001,
  0x6F1AC,0x6F1C1,0x6F1F4,0x6F201,0x6F224,0x6F241,0x6F268,0x74B02,0x74B50,0x74B82,0x74BD0,0x74D82,0x74DE4,
  0x75001,0x75154,0x75159,0x75274,0x75279,0x75280,0x75289,0x7528C,0x75295,0x7529C,0x752A5,0x752B4,0x752B9,
  0x752E8,0x752ED,0x752F0,0x752F5,0x75310,0x75315,0x75418,0x7541D,0x7542C,0x75435,0x75454,0x75459,0x75474,
  0x75479,0x754E8,0x754ED,0x754FC,0x75501,0x75514,0x75519,0x7551C,0x75529,0x75544,0x75549,0x75A98,0x75AA1,
  0x75B04,0x75B09,0x75B6C,0x75B71,0x75BEC,0x75BF1,0x75C54,0x75C59,0x75CD4,0x75CD9,0x75D3C,0x75D41,0x75DBC,
  0x75DC1,0x75E24,0x75E29,0x75EA4,0x75EA9,0x75F0C,0x75F11,0x75F30,0x75F3A,0x76000,0x77C01,0x77C7C,0x77C95,
  0x77CAC,0x780C1,0x781B8,0x78401,0x784B4,0x784DD,0x784F8,0x78502,0x78528,0x78539,0x7853C,0x78A41,0x78AB8,
  0x78B01,0x78BB0,0x78BC2,0x78BE8,0x79341,0x793B0,0x793C2,0x793E8,0x79F81,0x79F9C,0x79FA1,0x79FB0,0x79FB5,
  0x79FBC,0x79FC1,0x79FFC,0x7A001,0x7A314,0x7A31E,0x7A340,0x7A401,0x7A510,0x7A52D,0x7A530,0x7A542,0x7A568,
  0x7B1C6,0x7B2B0,0x7B2B6,0x7B2C0,0x7B2C6,0x7B2D4,0x7B406,0x7B4B8,0x7B4BE,0x7B4F8,0x7B801,0x7B810,0x7B815,
  0x7B880,0x7B885,0x7B88C,0x7B891,0x7B894,0x7B89D,0x7B8A0,0x7B8A5,0x7B8CC,0x7B8D1,0x7B8E0,0x7B8E5,0x7B8E8,
  0x7B8ED,0x7B8F0,0x7B909,0x7B90C,0x7B91D,0x7B920,0x7B925,0x7B928,0x7B92D,0x7B930,0x7B935,0x7B940,0x7B945,
  0x7B94C,0x7B951,0x7B954,0x7B95D,0x7B960,0x7B965,0x7B968,0x7B96D,0x7B970,0x7B975,0x7B978,0x7B97D,0x7B980,
  0x7B985,0x7B98C,0x7B991,0x7B994,0x7B99D,0x7B9AC,0x7B9B1,0x7B9CC,0x7B9D1,0x7B9E0,0x7B9E5,0x7B9F4,0x7B9F9,
  0x7B9FC,0x7BA01,0x7BA28,0x7BA2D,0x7BA70,0x7BA85,0x7BA90,0x7BA95,0x7BAA8,0x7BAAD,0x7BAF0,0x7C402,0x7C434,
  0x7EFC2,0x7EFE8,0x80001,0xA9B80,0xA9C01,0xADCE8,0xADD01,0xAE078,0xAE081,0xB3A88,0xB3AC1,0xBAF84,0xBE001,
  0xBE878,0xC0001,0xC4D2C,0xC4D41,0xC8EC0,
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
/* The same for ASCII: one row is 32 characters, controls, then digits, A to Z, a to z. */
static const uint8_t pml__ascii_class[128] PML__UNUSED = {
  0,0,0,0,0,0,0,0,0,3,3,3,3,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,
  3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,2,2,2,2,2,2,2,2,2,2,0,0,0,0,0,0,
  0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0,
  0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,0,0,0,0,0};
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
  if (cp < 128) return pml__ascii_class[cp];
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
   § 17  TOKENIZER                                         needs § 2 § 3 § 6 § 16
   ─────────────────────────────────────────────────────────────────────────────
   A model computes with numbers, so text must become a sequence of ids.  Letters
   make long sequences, and every position costs time.  Whole words make short
   ones, but no list of words is ever complete.  Byte-pair encoding lies between:
   begin with the 256 bytes, and again and again let the two neighbours that
   occur together most often become one new token.  Frequent words end up as one
   token, rare ones as a few pieces.

   Learning, from "low" 5 times, "lower" 2, "newest" 6, "widest" 3:

     rank 0   e  + s   9 times, in newest and widest; s + t too: a tie, and the
     rank 1   es + t   9   smaller pair of ids (101,115) wins over (115,116)
     rank 2   l  + o   7
     rank 3   lo + w   7   ...

   Encoding "lowest", which the text never had.  The lowest rank goes first, not
   the longest match and not left to right:

     l o w e s t    →  l o w es t   →  l o w est   →  lo w est   →  low est
               rank 0          rank 1         rank 2        rank 3

   Why there is no unknown token: a character outside the text, say 😀, is four
   bytes, and each byte is a token.  So decode(encode(x)) = x for any bytes x,
   even for bytes that are no text.  Files want tokens as text, so each byte is
   written as a character with a picture: A as A, the space as Ġ, the line feed
   as Ċ.  " the" is stored as "Ġthe".

   First the text is cut into words, and no merge crosses a cut; otherwise
   "dog.", "dog!" and "dog?" would all become tokens.  The rule is part of the
   tokenizer, for a model has only seen text cut by its own:

     GPT-2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+
              |\s+(?!\S)|\s+                      I'm 42  →  I|'m| 42
     Qwen2    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}
              | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
                                                  I'm 42  →  I|'m| |4|2

   A space belongs to the word after it.  Bytes that are not UTF-8 count as
   characters that are neither letter, number nor space.

   Cost: a word of n bytes needs at most n - 1 merges.  Up to 64 bytes we search
   the lowest rank anew each time, n² comparisons of neighbours in one cache
   line; a longer word keeps its pairs in a priority queue, n · log n.  So a
   megabyte of "a", one single word, takes half a second and not an hour.  A call
   with a long text remembers the words it met: English runs at 30 MB/s and more.
   Training touches only the pairs beside each merge: 1 MB of English and 1,280
   tokens take a tenth of a second.

   The control at the end of the chapter is what came before: a list of the most
   frequent words, and one token, [UNK], for all others.  What it reads as [UNK]
   is lost; no decoder can bring it back.

   Where it goes wrong.  Control tokens such as <|im_end|> end a turn of a chat.
   If their text in a user's message became the token, the user could speak as
   the system.  So text never yields one unless PML_ENCODE_SPECIAL is given, and
   pml_tokenizer_create refuses a vocabulary whose merges could spell one.  And
   ties: if the winner hangs on the order of a hash table, the same text trains a
   different tokenizer on every run; here the smaller ids win, and the test
   compares with a trainer that counts everything anew.
   Source: Gage 1994, A New Algorithm for Data Compression; Sennrich, Haddow and
   Birch 2016, Neural Machine Translation of Rare Words with Subword Units
   (arXiv:1508.07909); Radford et al. 2019, Language Models are Unsupervised
   Multitask Learners, for the bytes and the cutting rule.
   ═════════════════════════════════════════════════════════════════════════════ */

/* The splitting rule before merging. */
typedef enum { PML_PRE_GPT2 = 0, PML_PRE_QWEN2 = 1 } pml_pre;

/* The length in bytes of the first word of text, 1 to len; 0 when len is 0.  A
   word never depends on what stood before it, so cutting words off the front
   splits any text. */
PML_API size_t pml_pre_token(pml_pre pre, const char *text, size_t len);

/* All words of text: (*words)[*n], borrowed from text, which they cover without
   a gap.  The array is from pml_alloc, pml_free it; empty text gives *n = 0 and
   a valid pointer.  Errors: PML_E_MEMORY. */
PML_API pml_status pml_pre_tokenize(pml_pre pre, const char *text, size_t len, pml_str **words, size_t *n);

/* What a tokenizer is made of, as GGUF stores it: tokens in the printable form
   of the table above, merges as "left right", the most wanted first.  Control,
   user-defined, unknown and unused tokens are taken literally. */
typedef struct {
  pml_pre pre;
  int n_vocab;
  const pml_str *tokens; /* [n_vocab] */
  /* [n_vocab] 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte (read like 1); NULL: all 1 */
  const int32_t *types;
  size_t n_merges;
  const pml_str *merges;  /* [n_merges] */
  int bos, eos, eot, pad; /* -1: none */
  bool add_bos;           /* what the file asks for; pml_encode asks its flags only */
} pml_tokenizer_spec;

typedef struct pml_tokenizer pml_tokenizer;

/* Checks and copies spec; free the result with pml_tokenizer_free, which takes
   NULL.  PML_E_FORMAT with the index: an empty, doubled or misspelt token, one
   of the 256 bytes missing, a merge of or into something that is no token, or
   into a control token (plain text could then spell it) or an unknown or unused
   one (decoding leaves those out), or whose bytes are not left + right.  PML_E_LIMIT: more than 2^31-1 merges, a control or user-defined
   token over 1024 bytes.  PML_E_USAGE: n_vocab < 1, an id outside the vocabulary.
   Read-only afterwards: any number of threads may share it. */
PML_API pml_status pml_tokenizer_create(pml_tokenizer **out, const pml_tokenizer_spec *spec);
PML_API void pml_tokenizer_free(pml_tokenizer *t);
/* The copy of the spec, for writers; lives as long as t.  types is never NULL. */
PML_API const pml_tokenizer_spec *pml_tokenizer_spec_of(const pml_tokenizer *t);

enum {
  PML_ENCODE_BOS = 1,    /* the first id is bos; PML_E_USAGE when there is none */
  PML_ENCODE_SPECIAL = 2 /* the text of a control token becomes its id */
};
/* text[len], any bytes, becomes (*ids)[*n]: never more ids than bytes, + 1 with
   BOS.  User-defined tokens are always found whole, control tokens only with
   SPECIAL; where several begin, the longest wins.  Without SPECIAL no control
   token comes out (a user's text cannot end the conversation), and pml_decode
   gives back exactly the bytes.  *ids is from pml_alloc, pml_free it; empty text
   gives *n = 0 and a valid pointer.  Errors: PML_E_LIMIT over 2^31-1 bytes,
   PML_E_MEMORY.  Time: O(len · log len) at worst. */
PML_API pml_status pml_encode(const pml_tokenizer *t, const char *text, size_t len, unsigned flags,
                              int32_t **ids, size_t *n);

/* Appends the exact bytes of ids[n] to out.  Control, unknown and unused tokens
   give their text with PML_ENCODE_SPECIAL, nothing without; other flags mean
   nothing here.  PML_E_USAGE for an id outside the vocabulary: out is then
   untouched.  A token may end inside a character: collect the bytes before
   showing them. */
PML_API pml_status pml_decode(const pml_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                              pml_buf *out);

/* The raw bytes of one token, {NULL,0} out of range; lives as long as t. */
PML_API pml_str pml_token_bytes(const pml_tokenizer *t, int32_t id);
/* The id of the token with these bytes: " the", "<|im_end|>"; -1 when there is
   none.  A literal token wins over a normal one of the same bytes. */
PML_API int32_t pml_token_find(const pml_tokenizer *t, const char *text);

/* How many merges, the most wanted first, two tokenizers have in common. */
PML_API size_t pml_merges_shared(const pml_tokenizer *a, const pml_tokenizer *b);

/* The merge steps of one word: calls seen first with the ids of its bytes and
   rank -1, then after each merge with what is left and the rank of the merge.
   ids belongs to the library.  Time O(len²): for showing, not for encoding. */
typedef void (*pml_merge_fn)(void *user, const int32_t *ids, size_t n, int32_t rank);
PML_API pml_status pml_bpe_steps(const pml_tokenizer *t, const char *word, size_t len, pml_merge_fn seen,
                                 void *user);

typedef struct {
  int n_vocab; /* wanted, specials included; >= 256 + n_specials */
  pml_pre pre;
  const char *const *specials; /* control tokens, get the last ids */
  int n_specials;
  const char *bos, *eos, *eot, *pad;                 /* names among specials, or NULL */
  bool (*progress)(void *user, int done, int total); /* may be NULL; false cancels */
  void *user;
} pml_bpe_options;

/* Learns merges from docs[n_docs], any bytes: the pair with the highest count
   first, ties by the smaller (left, right) pair of token ids; the same docs give
   the same tokenizer, in whatever order they come.  Ids 0 to 255 are the bytes,
   then follow the learned tokens, the specials last.  Where a doc contains the
   text of a special, it is cut there and the special is not learned from.  A
   pair seen once is no pattern: when no pair is left that occurs twice, the
   remaining ids become unused tokens "[unused300]", so n_vocab is as asked.
   Free with pml_tokenizer_free.  PML_E_USAGE for options that make no sense,
   PML_E_CANCELLED when progress says so, PML_E_LIMIT when the different words
   hold more than 2^31-1 bytes together. */
PML_API pml_status pml_bpe_train(pml_tokenizer **out, const pml_str *docs, size_t n_docs,
                                 const pml_bpe_options *o);

/* The control, a word tokenizer: id 0 is [UNK], ids 1 to n_words are the words of a
   text, the most frequent first.  So the list of the v - 1 most frequent words is
   this one with every id >= v read as [UNK]. */
typedef struct {
  pml_pre pre;
  int n_words;
  pml_str *words;        /* [n_words + 1], words[0] is "[UNK]" */
  uint64_t *counts;      /* [n_words + 1], counts[0] is what the list leaves out */
  struct pml__wordlist *index;
} pml_wordlist;

/* The at most n_words most frequent words of docs, cut by the same rule as for BPE;
   of equally frequent ones the smaller bytes come first.  Copies what it keeps; free
   with pml_wordlist_free, which takes NULL.  PML_E_USAGE: n_words < 1; PML_E_MEMORY. */
PML_API pml_status pml_wordlist_train(pml_wordlist **out, pml_pre pre, const pml_str *docs, size_t n_docs,
                                      int n_words);
PML_API void pml_wordlist_free(pml_wordlist *w);
/* text[len] becomes (*ids)[*n], one id a word; pml_free *ids.  PML_E_MEMORY. */
PML_API pml_status pml_wordlist_encode(const pml_wordlist *w, const char *text, size_t len, int32_t **ids,
                                       size_t *n);
/* Appends the words; [UNK] is all that is left of an unknown one.  PML_E_USAGE for
   an id outside the list, PML_E_MEMORY. */
PML_API pml_status pml_wordlist_decode(const pml_wordlist *w, const int32_t *ids, size_t n, pml_buf *out);

/* What a text costs: its words; how many of them the v - 1 most frequent words of the list do not have; its
   tokens. */
typedef struct {
  size_t words, unknown, tokens;
} pml_token_cost;
PML_API pml_status pml_tokenizer_compare(pml_token_cost *out, const pml_tokenizer *t, const pml_wordlist *w, int v,
                                         const char *text, size_t len);

/* The same for several sizes: BPE of sizes[i] entries, trained on doc, and the list cut to as many.  *bpe is the
   one of the last size; pml_tokenizer_free it. */
PML_API pml_status pml_tokenizer_sweep(pml_token_cost *cost, pml_tokenizer **bpe, const pml_wordlist *w, const int *sizes,
                                       int n, pml_str doc, pml_str held);
/* Whether training is repeatable: learns once more as t did, from the lines of doc with its halves swapped, and
   says how many merges, the most wanted first, came out the same. */
PML_API pml_status pml_bpe_again(const pml_tokenizer *t, pml_str doc, size_t *same);
/* The first merge that docs teach, "e s". */
PML_API pml_status pml_bpe_first(const pml_str *docs, size_t n, char out[64]);

/* A text through one of the two and back: through t, or when t is NULL through w. */
enum { PML_CUT_MAX = 64 };
typedef struct {
  int n, lost;                 /* pieces; those of them that are [UNK] */
  bool same;                   /* decoding gave the text back; false also when memory ran out */
  pml_str piece[PML_CUT_MAX];  /* the first ones; they live as long as t or w */
  bool unknown[PML_CUT_MAX];
  char back[256];              /* the beginning of what decoding gave */
} pml_cut;
PML_API pml_cut pml_cut_text(const pml_tokenizer *t, const pml_wordlist *w, pml_str text);
/* How many texts survive the way there and back: n of random bytes and PML_HARD_TEXTS of many scripts. */
enum { PML_HARD_TEXTS = 8 };
PML_API int pml_round_trips(const pml_tokenizer *t, const pml_wordlist *w, int n, uint64_t seed);

#ifdef PML__IMPL

/* Room for n elements of `size` bytes at p, which holds *cap of them: the new
   address, or NULL with p unharmed. */
PML__FN void *pml__grow(void *p, size_t *cap, size_t n, size_t size) {
  if (n <= *cap && p) return p;
  size_t want = *cap + *cap / 2 < n ? n : *cap + *cap / 2, bytes;
  if (want < 16) want = 16;
  if (!pml_size_mul(want, size, &bytes)) {
    pml_fail(PML_E_MEMORY, "out of memory: %zu pieces of %zu bytes do not fit", want, size);
    return NULL;
  }
  void *q = pml_realloc(p, bytes);
  if (q) *cap = want;
  return q;
}

PML__FN uint64_t pml__mix64(uint64_t x) {
  x = (x ^ (x >> 32)) * 0x9E3779B97F4A7C15u;
  return x ^ (x >> 29);
}

PML__FN uint64_t pml__hash_bytes(const char *s, size_t len) {
  uint64_t h = len, x;
  for (; len >= 8; len -= 8, s += 8) {
    memcpy(&x, s, 8);
    h = pml__mix64(h ^ x) * 0xBF58476D1CE4E5B9u;
  }
  x = 0;
  if (len) memcpy(&x, s, len);
  return pml__mix64(h ^ x);
}

/* From a string to its index in an array of strings: open addressing, slots
   hold index + 1, at most half of them are taken. */
typedef struct {
  uint32_t *slot;
  size_t n_slots, used; /* n_slots is 0 or a power of two */
} pml__strmap;

PML__FN bool pml__same(pml_str a, pml_str b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

PML__FN size_t pml__strmap_slot(const pml__strmap *m, const pml_str *keys, pml_str key) {
  size_t i = pml__hash_bytes(key.ptr, key.len) & (m->n_slots - 1);
  while (m->slot[i] && !pml__same(keys[m->slot[i] - 1], key)) i = (i + 1) & (m->n_slots - 1);
  return i;
}

/* The index of key, -1 when it is not there. */
PML__FN int64_t pml__strmap_find(const pml__strmap *m, const pml_str *keys, pml_str key) {
  return m->n_slots ? (int64_t)m->slot[pml__strmap_slot(m, keys, key)] - 1 : -1;
}

PML__FN bool pml__strmap_reserve(pml__strmap *m, const pml_str *keys, size_t n) {
  size_t n_slots = m->n_slots ? m->n_slots : 64;
  while (n_slots / 2 < n && n_slots <= SIZE_MAX / 4) n_slots *= 2;
  if (n_slots == m->n_slots) return true;
  pml__strmap old = *m;
  m->slot = (uint32_t *)pml_calloc(n_slots, sizeof *m->slot);
  if (!m->slot) {
    *m = old;
    return false;
  }
  m->n_slots = n_slots;
  for (size_t i = 0; i < old.n_slots; i++)
    if (old.slot[i]) m->slot[pml__strmap_slot(m, keys, keys[old.slot[i] - 1])] = old.slot[i];
  pml_free(old.slot);
  return true;
}

/* keys[index], which is not there yet; false when memory runs out. */
PML__FN bool pml__strmap_add(pml__strmap *m, const pml_str *keys, size_t index) {
  if (!pml__strmap_reserve(m, keys, m->used + 1)) return false;
  m->slot[pml__strmap_slot(m, keys, keys[index])] = (uint32_t)index + 1;
  m->used++;
  return true;
}

/* A text as an error sentence may show it: at most 40 bytes, no control characters. */
typedef struct {
  char text[48];
} pml__shown;
PML__FN pml__shown pml__show(pml_str s) {
  pml__shown out;
  size_t n = s.len < 40 ? s.len : 40;
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)s.ptr[i];
    out.text[i] = (char)(c < 32 || c == 127 ? '?' : c);
  }
  memcpy(out.text + n, s.len > n ? "..." : "", s.len > n ? 4 : 1);
  return out;
}

/* ── Words ──────────────────────────────────────────────────────────────────── */

/* The length of the character at s[at], and its class. */
PML__FN size_t pml__char_at(const char *s, size_t len, size_t at, int *class_of) {
  uint32_t cp = (unsigned char)s[at];
  if (cp < 128) {
    *class_of = pml__ascii_class[cp];
    return 1;
  }
  int n = pml_utf8_decode(s + at, len - at, &cp);
  *class_of = pml__class_of(cp);
  return (size_t)n;
}

/* Where the run of characters of this class ends that begins at `at`. */
PML__FN size_t pml__run_end(const char *s, size_t len, size_t at, int class_of) {
  while (at < len) {
    int c;
    size_t n = pml__char_at(s, len, at, &c);
    if (c != class_of) break;
    at += n;
  }
  return at;
}

/* 's 't 'm 'd 're 've 'll: the length, or 0.  Case folding counts ſ (U+017F) as an s. */
PML__FN size_t pml__contraction(const char *s, size_t len, bool any_case) {
  if (len < 2 || s[0] != '\'') return 0;
  int fold = any_case ? 32 : 0, a = s[1] | fold, b = len > 2 ? s[2] | fold : 0;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
  return any_case && len > 2 && memcmp(s + 1, "\xC5\xBF", 2) == 0 ? 3 : 0;
}

/* \s+(?!\S)|\s+ at a space: the run of spaces without its last character, which
   goes with the next word; the whole run at the end of the text, or if it is one. */
PML__FN size_t pml__spaces(const char *s, size_t len) {
  size_t at = 0, last = 0;
  while (at < len) {
    int c;
    size_t n = pml__char_at(s, len, at, &c);
    if (c != PML__SPACE) break;
    last = at;
    at += n;
  }
  return at == len || last == 0 ? at : last;
}

/* @pre_gpt2 */
/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
PML__FN size_t pml__word_gpt2(const char *s, size_t len) {
  size_t n = pml__contraction(s, len, false);
  if (n) return n;
  int first, second = PML__SPACE;
  pml__char_at(s, len, 0, &first);
  if (s[0] == ' ' && len > 1) pml__char_at(s, len, 1, &second);
  if (second != PML__SPACE) return pml__run_end(s, len, 1, second);
  if (first != PML__SPACE) return pml__run_end(s, len, 0, first);
  return pml__spaces(s, len);
}
/* @end */

PML__FN bool pml__is_newline(char c) { return c == '\r' || c == '\n'; }

/* \s*[\r\n]+ : up to the last line break in the run of spaces at s, 0 if there is none. */
PML__FN size_t pml__line_breaks(const char *s, size_t len) {
  size_t at = 0, end = 0;
  while (at < len) {
    int c;
    size_t n = pml__char_at(s, len, at, &c);
    if (c != PML__SPACE) break;
    at += n;
    if (pml__is_newline(s[at - 1])) end = at;
  }
  return end;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*
   |\s*[\r\n]+|\s+(?!\S)|\s+ */
PML__FN size_t pml__word_qwen2(const char *s, size_t len) {
  size_t n = pml__contraction(s, len, true);
  if (n) return n;
  int first, second = -1;
  n = pml__char_at(s, len, 0, &first);
  if (first == PML__NUMBER) return n;
  if (first == PML__LETTER) return pml__run_end(s, len, n, PML__LETTER);
  if (n < len) pml__char_at(s, len, n, &second);
  if (second == PML__LETTER && !pml__is_newline(s[0])) return pml__run_end(s, len, n, PML__LETTER);
  if (first == PML__OTHER || (s[0] == ' ' && second == PML__OTHER)) {
    size_t end = pml__run_end(s, len, n, PML__OTHER);
    while (end < len && pml__is_newline(s[end])) end++;
    return end;
  }
  n = pml__line_breaks(s, len);
  return n ? n : pml__spaces(s, len);
}

PML_API size_t pml_pre_token(pml_pre pre, const char *text, size_t len) {
  if (len == 0) return 0;
  return pre == PML_PRE_QWEN2 ? pml__word_qwen2(text, len) : pml__word_gpt2(text, len);
}

PML_API pml_status pml_pre_tokenize(pml_pre pre, const char *text, size_t len, pml_str **words, size_t *n) {
  size_t cap = 0;
  *n = 0;
  *words = (pml_str *)pml__grow(NULL, &cap, len / 4 + 1, sizeof **words);
  for (size_t at = 0; at < len && *words;) {
    pml_str *w = (pml_str *)pml__grow(*words, &cap, *n + 1, sizeof *w);
    if (!w) {
      pml_free(*words);
      *words = NULL;
      *n = 0;
      return PML_E_MEMORY;
    }
    *words = w;
    w[*n].ptr = text + at;
    w[*n].len = pml_pre_token(pre, text + at, len - at);
    at += w[(*n)++].len;
  }
  return *words ? PML_OK : PML_E_MEMORY;
}

/* ── Bytes in printable form ────────────────────────────────────────────────── */

/* Bytes with a picture in Latin-1 stand for themselves, the other 68 take the
   code points from 256 on, in order. */
PML__FN uint32_t pml__byte_to_cp(unsigned b) {
  if (b < 33) return 256 + b;
  if (b >= 127 && b < 161) return 256 + 33 + (b - 127);
  return b == 173 ? 256 + 67 : b;
}

PML__FN int pml__cp_to_byte(uint32_t cp) { /* -1: stands for no byte */
  if (cp < 256) return pml__byte_to_cp(cp) == cp ? (int)cp : -1;
  if (cp < 256 + 33) return (int)cp - 256;
  if (cp < 256 + 67) return (int)cp - 256 - 33 + 127;
  return cp == 256 + 67 ? 173 : -1;
}

/* out has room for text.len bytes; returns how many were written, SIZE_MAX when
   text is not in printable form. */
PML__FN size_t pml__from_printable(pml_str text, char *out) {
  size_t n = 0;
  for (size_t at = 0; at < text.len;) {
    uint32_t cp;
    at += (size_t)pml_utf8_decode(text.ptr + at, text.len - at, &cp);
    int b = pml__cp_to_byte(cp);
    if (b < 0) return SIZE_MAX;
    out[n++] = (char)b;
  }
  return n;
}

/* out has room for 2 · bytes.len. */
PML__FN size_t pml__to_printable(pml_str bytes, char *out) {
  size_t n = 0;
  for (size_t i = 0; i < bytes.len; i++)
    n += (size_t)pml_utf8_encode(pml__byte_to_cp((unsigned char)bytes.ptr[i]), out + n);
  return n;
}

/* ── Special tokens: found whole, the longest at the leftmost place ─────────── */

typedef struct {
  pml_str text;
  int32_t id;
} pml__special;

typedef struct {
  pml__special *at; /* sorted by text, bytewise */
  size_t n;
  bool starts[256]; /* a text begins with this byte */
} pml__specials;

PML__FN int pml__special_order(const void *a, const void *b) {
  pml_str x = ((const pml__special *)a)->text, y = ((const pml__special *)b)->text;
  int c = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
  return c ? c : (x.len > y.len) - (x.len < y.len);
}

PML__FN void pml__specials_sort(pml__specials *list) {
  if (list->n) qsort(list->at, list->n, sizeof *list->at, pml__special_order);
  for (size_t i = 0; i < list->n; i++) list->starts[(unsigned char)list->at[i].text.ptr[0]] = true;
}

/* The first in [lo,hi) whose byte `depth` is >= c; a text that ends before sorts first. */
PML__FN size_t pml__special_bound(const pml__specials *list, size_t lo, size_t hi, size_t depth, int c) {
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    pml_str text = list->at[mid].text;
    if ((text.len > depth ? (unsigned char)text.ptr[depth] : -1) < c) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/* The length of the longest special that s begins with, 0 for none.  Every byte
   narrows the sorted list to those that share it. */
PML__FN size_t pml__special_match(const pml__specials *list, const char *s, size_t len, int32_t *id) {
  size_t lo = 0, hi = list->n, best = 0;
  for (size_t d = 0; d < len && lo < hi; d++) {
    int c = (unsigned char)s[d];
    lo = pml__special_bound(list, lo, hi, d, c);
    hi = pml__special_bound(list, lo, hi, d, c + 1);
    if (lo < hi && list->at[lo].text.len == d + 1) {
      best = d + 1;
      *id = list->at[lo].id;
    }
  }
  return best;
}

/* Where the next special begins at or after `at`; len when there is none. */
PML__FN size_t pml__special_next(const pml__specials *list, const char *s, size_t len, size_t at,
                                 size_t *found, int32_t *id) {
  *found = 0;
  if (list->n == 0) return len;
  for (; at < len; at++)
    if (list->starts[(unsigned char)s[at]] && (*found = pml__special_match(list, s + at, len - at, id)) > 0)
      return at;
  return len;
}

/* ── The tokenizer ──────────────────────────────────────────────────────────── */

typedef struct {
  uint64_t pair; /* left id · 2^32 + right id; all ones: empty */
  int32_t rank;
} pml__merge_slot;

struct pml_tokenizer {
  pml_tokenizer_spec spec; /* points into the arena */
  pml_arena arena;
  pml_str *bytes;      /* [n_vocab] raw */
  pml__strmap by_text; /* from spec.tokens to ids */
  int32_t byte_id[256];
  pml__merge_slot *merge; /* [merge_mask + 1] pair to rank */
  size_t merge_mask;
  int32_t *merged;         /* [n_merges] rank to the id of left + right */
  pml__specials user, all; /* user-defined tokens; those and control tokens */
};

enum { PML__NO_MERGE = INT32_MAX, PML__MAX_SPECIAL = 1024 };

PML__FN bool pml__is_literal(int32_t type) { return type >= 2 && type <= 5; }

PML__FN pml__merge_slot *pml__merge_find(const pml_tokenizer *t, int32_t left, int32_t right) {
  uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  size_t i = pml__mix64(pair) & t->merge_mask;
  while (t->merge[i].pair != pair && t->merge[i].pair != UINT64_MAX) i = (i + 1) & t->merge_mask;
  return &t->merge[i];
}

PML__FN int32_t pml__rank_of(const pml_tokenizer *t, int32_t left, int32_t right) {
  return pml__merge_find(t, left, right)->rank; /* an empty slot says PML__NO_MERGE */
}

PML__FN pml_status pml__copy_strs(pml_arena *arena, const pml_str *in, size_t n, const pml_str **out) {
  size_t total = 0;
  for (size_t i = 0; i < n; i++)
    if (!pml_size_add(total, in[i].len, &total)) return pml_fail(PML_E_LIMIT, "the texts exceed the memory");
  pml_str *copy = (pml_str *)pml_arena_calloc(arena, n, sizeof *copy);
  char *text = (char *)pml_arena_alloc(arena, total);
  if (!copy || !text) return PML_E_MEMORY;
  for (size_t i = 0; i < n; i++) {
    copy[i].ptr = text;
    copy[i].len = in[i].len;
    if (in[i].len) memcpy(text, in[i].ptr, in[i].len);
    text += in[i].len;
  }
  *out = copy;
  return PML_OK;
}

PML__FN pml_status pml__spec_check(const pml_tokenizer_spec *s) {
  if (s->n_vocab < 1 || !s->tokens)
    return pml_fail(PML_E_USAGE, "a tokenizer needs at least one token, %d given", s->n_vocab);
  if (s->pre != PML_PRE_GPT2 && s->pre != PML_PRE_QWEN2)
    return pml_fail(PML_E_USAGE, "pre-tokenizer %d is not known", (int)s->pre);
  if (s->n_merges >= INT32_MAX) return pml_fail(PML_E_LIMIT, "%zu merges are more than 2^31-1", s->n_merges);
  if (s->n_merges && !s->merges) return pml_fail(PML_E_USAGE, "%zu merges, but no list of them", s->n_merges);
  const struct {
    const char *name;
    int id;
  } ids[] = {{"bos", s->bos}, {"eos", s->eos}, {"eot", s->eot}, {"pad", s->pad}};
  for (int i = 0; i < 4; i++)
    if (ids[i].id < -1 || ids[i].id >= s->n_vocab)
      return pml_fail(PML_E_USAGE, "the %s token has id %d, the vocabulary has ids 0 to %d", ids[i].name,
                      ids[i].id, s->n_vocab - 1);
  if (s->add_bos && s->bos < 0) return pml_fail(PML_E_USAGE, "add_bos is set, but there is no bos token");
  return PML_OK;
}

PML__FN pml_status pml__spec_copy(pml_tokenizer *t, const pml_tokenizer_spec *s) {
  t->spec = *s;
  pml_status st = pml__copy_strs(&t->arena, s->tokens, (size_t)s->n_vocab, &t->spec.tokens);
  if (st == PML_OK) st = pml__copy_strs(&t->arena, s->merges, s->n_merges, &t->spec.merges);
  int32_t *types = (int32_t *)pml_arena_calloc(&t->arena, (size_t)s->n_vocab, sizeof *types);
  if (st != PML_OK || !types) return PML_E_MEMORY;
  for (int i = 0; i < s->n_vocab; i++) {
    types[i] = s->types ? s->types[i] : 1;
    if (types[i] < 1 || types[i] > 6)
      return pml_fail(PML_E_FORMAT, "token %d has type %d, known are 1 to 6", i, (int)types[i]);
  }
  t->spec.types = types;
  return PML_OK;
}

/* Fills bytes, by_text and byte_id. */
PML__FN pml_status pml__index_tokens(pml_tokenizer *t) {
  size_t n = (size_t)t->spec.n_vocab, total = 0;
  for (size_t i = 0; i < n; i++) total += t->spec.tokens[i].len;
  t->bytes = (pml_str *)pml_arena_calloc(&t->arena, n, sizeof *t->bytes);
  char *raw = (char *)pml_arena_alloc(&t->arena, total);
  if (!t->bytes || !raw || !pml__strmap_reserve(&t->by_text, t->spec.tokens, n)) return PML_E_MEMORY;
  for (int b = 0; b < 256; b++) t->byte_id[b] = -1;
  for (size_t i = 0; i < n; i++) {
    pml_str text = t->spec.tokens[i];
    if (text.len == 0) return pml_fail(PML_E_FORMAT, "token %zu is empty", i);
    int64_t other = pml__strmap_find(&t->by_text, t->spec.tokens, text);
    if (other >= 0)
      return pml_fail(PML_E_FORMAT, "token %zu '%s' is the same as token %" PRId64, i, pml__show(text).text,
                      other);
    if (!pml__strmap_add(&t->by_text, t->spec.tokens, i)) return PML_E_MEMORY;
    size_t len = text.len;
    if (pml__is_literal(t->spec.types[i])) memcpy(raw, text.ptr, len);
    else if ((len = pml__from_printable(text, raw)) == SIZE_MAX)
      return pml_fail(PML_E_FORMAT, "token %zu '%s' has a character that stands for no byte", i,
                      pml__show(text).text);
    else if (len == 1) t->byte_id[(unsigned char)raw[0]] = (int32_t)i;
    t->bytes[i].ptr = raw;
    t->bytes[i].len = len;
    raw += len;
  }
  for (int b = 0; b < 256; b++)
    if (t->byte_id[b] < 0)
      return pml_fail(PML_E_FORMAT, "no token stands for byte 0x%02X: byte-level BPE needs all 256",
                      (unsigned)b);
  return PML_OK;
}

/* id: of left, of right, and of left + right; joined is scratch. */
PML__FN pml_status pml__merge_parse(const pml_tokenizer *t, size_t rank, pml_buf *joined, int32_t id[3]) {
  pml_str m = t->spec.merges[rank], part[3];
  const char *space = m.len > 1 ? (const char *)memchr(m.ptr + 1, ' ', m.len - 1) : NULL;
  if (!space || space + 1 == m.ptr + m.len)
    return pml_fail(PML_E_FORMAT, "merge %zu '%s' is not two tokens with a space between", rank,
                    pml__show(m).text);
  part[0].ptr = m.ptr;
  part[0].len = (size_t)(space - m.ptr);
  part[1].ptr = space + 1;
  part[1].len = m.len - part[0].len - 1;
  joined->len = 0;
  pml_buf_add(joined, part[0].ptr, part[0].len);
  pml_buf_add(joined, part[1].ptr, part[1].len);
  if (joined->failed) return PML_E_MEMORY;
  part[2].ptr = joined->data;
  part[2].len = joined->len;
  for (int i = 0; i < 3; i++) {
    id[i] = (int32_t)pml__strmap_find(&t->by_text, t->spec.tokens, part[i]);
    if (id[i] < 0)
      return pml_fail(PML_E_FORMAT, "merge %zu '%s' %s '%s', which is no token", rank, pml__show(m).text,
                      i == 2 ? "makes" : "names", pml__show(part[i]).text);
  }
  return PML_OK;
}

/* What every merge must keep: text never becomes a control token, and no byte is lost. */
PML__FN pml_status pml__merge_check(const pml_tokenizer *t, size_t rank, const int32_t id[3]) {
  pml_str a = t->bytes[id[0]], b = t->bytes[id[1]], c = t->bytes[id[2]];
  if (t->spec.types[id[2]] == 3)
    return pml_fail(PML_E_FORMAT, "merge %zu makes the control token %d '%s': plain text could then spell it",
                    rank, (int)id[2], pml__show(c).text);
  if (t->spec.types[id[2]] == 2 || t->spec.types[id[2]] == 5)
    return pml_fail(PML_E_FORMAT, "merge %zu makes token %d '%s', which is marked unknown or unused: its text would be "
                    "lost in decoding", rank, (int)id[2], pml__show(c).text);
  if (a.len + b.len != c.len || memcmp(c.ptr, a.ptr, a.len) != 0 || memcmp(c.ptr + a.len, b.ptr, b.len) != 0)
    return pml_fail(PML_E_FORMAT, "merge %zu makes token %d '%s', which has other bytes than its parts", rank,
                    (int)id[2], pml__show(c).text);
  return PML_OK;
}

/* Fills merge and merged.  A pair listed twice keeps its first rank. */
PML__FN pml_status pml__index_merges(pml_tokenizer *t) {
  size_t n = t->spec.n_merges, n_slots = 64;
  while (n_slots / 2 < n) n_slots *= 2;
  t->merge = (pml__merge_slot *)pml_arena_calloc(&t->arena, n_slots, sizeof *t->merge);
  t->merged = (int32_t *)pml_arena_calloc(&t->arena, n, sizeof *t->merged);
  if (!t->merge || !t->merged) return PML_E_MEMORY;
  t->merge_mask = n_slots - 1;
  for (size_t i = 0; i < n_slots; i++) t->merge[i] = (pml__merge_slot){UINT64_MAX, PML__NO_MERGE};
  pml_buf joined = {0};
  pml_status st = PML_OK;
  for (size_t rank = 0; rank < n && st == PML_OK; rank++) {
    int32_t id[3] = {0};
    st = pml__merge_parse(t, rank, &joined, id);
    if (st == PML_OK) st = pml__merge_check(t, rank, id);
    if (st != PML_OK) break;
    pml__merge_slot *slot = pml__merge_find(t, id[0], id[1]);
    if (slot->rank == PML__NO_MERGE)
      *slot = (pml__merge_slot){(uint64_t)(uint32_t)id[0] << 32 | (uint32_t)id[1], (int32_t)rank};
    t->merged[rank] = id[2];
  }
  pml_buf_free(&joined);
  return st;
}

PML__FN pml_status pml__index_specials(pml_tokenizer *t) {
  size_t n_user = 0, n_all = 0;
  for (int i = 0; i < t->spec.n_vocab; i++) {
    n_user += t->spec.types[i] == 4;
    n_all += t->spec.types[i] == 3 || t->spec.types[i] == 4;
  }
  t->user.at = (pml__special *)pml_arena_calloc(&t->arena, n_user, sizeof *t->user.at);
  t->all.at = (pml__special *)pml_arena_calloc(&t->arena, n_all, sizeof *t->all.at);
  if (!t->user.at || !t->all.at) return PML_E_MEMORY;
  for (int i = 0; i < t->spec.n_vocab; i++) {
    if (t->spec.types[i] != 3 && t->spec.types[i] != 4) continue;
    if (t->bytes[i].len > PML__MAX_SPECIAL)
      return pml_fail(PML_E_LIMIT, "token %d is a special token of %zu bytes, at most %d are supported", i,
                      t->bytes[i].len, (int)PML__MAX_SPECIAL);
    pml__special s = {t->bytes[i], i};
    t->all.at[t->all.n++] = s;
    if (t->spec.types[i] == 4) t->user.at[t->user.n++] = s;
  }
  pml__specials_sort(&t->user);
  pml__specials_sort(&t->all);
  return PML_OK;
}

PML_API pml_status pml_tokenizer_create(pml_tokenizer **out, const pml_tokenizer_spec *spec) {
  *out = NULL;
  pml_status st = pml__spec_check(spec);
  if (st != PML_OK) return st;
  pml_tokenizer *t = (pml_tokenizer *)pml_calloc(1, sizeof *t);
  if (!t) return PML_E_MEMORY;
  st = pml__spec_copy(t, spec);
  if (st == PML_OK) st = pml__index_tokens(t);
  if (st == PML_OK) st = pml__index_merges(t);
  if (st == PML_OK) st = pml__index_specials(t);
  if (st == PML_OK) *out = t;
  else pml_tokenizer_free(t);
  return st;
}

PML_API void pml_tokenizer_free(pml_tokenizer *t) {
  if (!t) return;
  pml_free(t->by_text.slot);
  pml_arena_free(&t->arena);
  pml_free(t);
}

PML_API const pml_tokenizer_spec *pml_tokenizer_spec_of(const pml_tokenizer *t) { return &t->spec; }

PML_API pml_str pml_token_bytes(const pml_tokenizer *t, int32_t id) {
  pml_str none = {NULL, 0};
  return id >= 0 && id < t->spec.n_vocab ? t->bytes[id] : none;
}

PML_API int32_t pml_token_find(const pml_tokenizer *t, const char *text) {
  pml_str key = {text, text ? strlen(text) : 0};
  int64_t id = pml__strmap_find(&t->by_text, t->spec.tokens, key);
  if (id >= 0 && pml__is_literal(t->spec.types[id])) return (int32_t)id;
  char *printable = key.len < SIZE_MAX / 2 ? (char *)pml_alloc(2 * key.len) : NULL;
  if (!printable) return -1;
  key.len = pml__to_printable(key, printable);
  key.ptr = printable;
  id = pml__strmap_find(&t->by_text, t->spec.tokens, key);
  pml_free(printable);
  return id >= 0 && !pml__is_literal(t->spec.types[id]) ? (int32_t)id : -1;
}

/* ── Encoding ───────────────────────────────────────────────────────────────── */

/* @bpe_merge */
/* Merges ids[n] in place and returns how many are left.  ranks[n] is scratch:
   ranks[i] belongs to the pair (ids[i], ids[i+1]).  The lowest rank goes first,
   of equal ones the leftmost. */
PML__FN size_t pml__bpe_short(const pml_tokenizer *t, int32_t *ids, int32_t *ranks, size_t n,
                              pml_merge_fn seen, void *user) {
  for (size_t i = 0; i + 1 < n; i++) ranks[i] = pml__rank_of(t, ids[i], ids[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++)
      if (ranks[i] < ranks[best]) best = i;
    int32_t rank = ranks[best];
    if (rank == PML__NO_MERGE) break;
    ids[best] = t->merged[rank];
    size_t after = n - best - 2;
    memmove(ids + best + 1, ids + best + 2, after * sizeof *ids);
    memmove(ranks + best + 1, ranks + best + 2, after * sizeof *ranks);
    n--;
    if (best > 0) ranks[best - 1] = pml__rank_of(t, ids[best - 1], ids[best]);
    if (best + 1 < n) ranks[best] = pml__rank_of(t, ids[best], ids[best + 1]);
    if (seen) seen(user, ids, n, rank);
  }
  return n;
}
/* @end */

PML_API size_t pml_merges_shared(const pml_tokenizer *a, const pml_tokenizer *b) {
  size_t n = 0;
  while (n < a->spec.n_merges && n < b->spec.n_merges && pml__same(a->spec.merges[n], b->spec.merges[n])) n++;
  return n;
}

PML_API pml_status pml_bpe_steps(const pml_tokenizer *t, const char *word, size_t len, pml_merge_fn seen,
                                 void *user) {
  int32_t *ids = (int32_t *)pml_calloc(len, 2 * sizeof *ids);
  if (!ids) return PML_E_MEMORY;
  for (size_t i = 0; i < len; i++) ids[i] = t->byte_id[(unsigned char)word[i]];
  seen(user, ids, len, -1);
  pml__bpe_short(t, ids, ids + len, len, seen, user);
  pml_free(ids);
  return PML_OK;
}

/* A remembered word of up to 16 bytes and its ids: one cache line. */
typedef struct {
  uint64_t key[2];
  uint32_t len, n;
  int32_t ids[10];
} pml__known_word;

enum { PML__SHORT_WORD = 64, PML__KNOWN_WORDS = 4096 };

/* A symbol of a long word, in a doubly linked list. */
typedef struct {
  int32_t id, rank; /* rank of the pair with the next one */
  uint32_t prev, next;
} pml__bpe_symbol;

typedef struct {
  const pml_tokenizer *t;
  int32_t *ids;
  size_t n, cap;
  pml__known_word *known;  /* [PML__KNOWN_WORDS], NULL for a short text */
  pml__bpe_symbol *symbol; /* scratch of long words */
  uint64_t *heap;
  size_t n_heap, symbol_cap, heap_cap;
  bool failed;
} pml__encoder;

PML__FN void pml__bpe_push(pml__encoder *e, uint64_t x) {
  size_t i = e->n_heap++;
  for (; i > 0 && e->heap[(i - 1) / 2] > x; i = (i - 1) / 2) e->heap[i] = e->heap[(i - 1) / 2];
  e->heap[i] = x;
}

PML__FN uint64_t pml__bpe_pop(pml__encoder *e) {
  uint64_t top = e->heap[0], x = e->heap[--e->n_heap];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < e->n_heap; i = child) {
    if (child + 1 < e->n_heap && e->heap[child + 1] < e->heap[child]) child++;
    if (e->heap[child] >= x) break;
    e->heap[i] = e->heap[child];
  }
  e->heap[i] = x;
  return top;
}

/* Sets the rank of the pair that begins at symbol i and queues it: rank · 2^32 + i,
   so that the smallest number is the lowest rank and, of equal ones, the leftmost. */
PML__FN void pml__bpe_queue(pml__encoder *e, uint32_t i, uint32_t n) {
  pml__bpe_symbol *s = e->symbol;
  s[i].rank = s[i].next < n ? pml__rank_of(e->t, s[i].id, s[s[i].next].id) : PML__NO_MERGE;
  if (s[i].rank != PML__NO_MERGE) pml__bpe_push(e, (uint64_t)(uint32_t)s[i].rank << 32 | i);
}

/* The same merges as pml__bpe_short in O(n · log n).  A queued pair whose rank is
   no longer that of its symbol was changed by a neighbour and is skipped. */
PML__FN size_t pml__bpe_long(pml__encoder *e, const char *word, uint32_t n, int32_t *out) {
  size_t twice = 2 * (size_t)n; /* each merge takes one from the queue and adds two at most */
  pml__bpe_symbol *s = (pml__bpe_symbol *)pml__grow(e->symbol, &e->symbol_cap, n, sizeof *s);
  if (s) e->symbol = s;
  uint64_t *heap = s ? (uint64_t *)pml__grow(e->heap, &e->heap_cap, twice, sizeof *heap) : NULL;
  if (!heap) {
    e->failed = true;
    return 0;
  }
  e->heap = heap;
  e->n_heap = 0;
  for (uint32_t i = 0; i < n; i++)
    s[i] = (pml__bpe_symbol){e->t->byte_id[(unsigned char)word[i]], 0, i - 1, i + 1};
  for (uint32_t i = 0; i < n; i++) pml__bpe_queue(e, i, n);
  while (e->n_heap) {
    uint64_t top = pml__bpe_pop(e);
    uint32_t i = (uint32_t)top, next = s[i].next;
    int32_t rank = (int32_t)(top >> 32);
    if (s[i].rank != rank) continue;
    s[i].id = e->t->merged[rank];
    s[i].next = s[next].next;
    if (s[i].next < n) s[s[i].next].prev = i;
    s[next].rank = PML__NO_MERGE; /* gone */
    pml__bpe_queue(e, i, n);
    if (s[i].prev < n) pml__bpe_queue(e, s[i].prev, n);
  }
  size_t n_out = 0;
  for (uint32_t i = 0; i < n; i = s[i].next) out[n_out++] = s[i].id;
  return n_out;
}

PML__FN void pml__encode_word(pml__encoder *e, const char *word, size_t len) {
  int32_t *ids = (int32_t *)pml__grow(e->ids, &e->cap, e->n + len, sizeof *ids), ranks[PML__SHORT_WORD];
  if (!ids) {
    e->failed = true;
    return;
  }
  e->ids = ids;
  ids += e->n;
  pml__known_word *known = NULL;
  uint64_t key[2] = {0, 0};
  if (e->known && len > 1 && len <= 16) {
    memcpy(key, word, len);
    known = &e->known[pml__mix64(key[0] ^ pml__mix64(key[1])) & (PML__KNOWN_WORDS - 1)];
    if (known->len == len && known->key[0] == key[0] && known->key[1] == key[1]) {
      memcpy(ids, known->ids, known->n * sizeof *ids);
      e->n += known->n;
      return;
    }
  }
  size_t n = len;
  if (len <= PML__SHORT_WORD) {
    for (size_t i = 0; i < len; i++) ids[i] = e->t->byte_id[(unsigned char)word[i]];
    n = pml__bpe_short(e->t, ids, ranks, len, NULL, NULL);
  } else n = pml__bpe_long(e, word, (uint32_t)len, ids);
  e->n += n;
  if (!known || n > sizeof known->ids / sizeof known->ids[0]) return;
  *known = (pml__known_word){{key[0], key[1]}, (uint32_t)len, (uint32_t)n, {0}};
  memcpy(known->ids, ids, n * sizeof *ids);
}

PML__FN void pml__encode_id(pml__encoder *e, int32_t id) {
  int32_t *ids = (int32_t *)pml__grow(e->ids, &e->cap, e->n + 1, sizeof *ids);
  if (!ids) {
    e->failed = true;
    return;
  }
  e->ids = ids;
  ids[e->n++] = id;
}

PML_API pml_status pml_encode(const pml_tokenizer *t, const char *text, size_t len, unsigned flags,
                              int32_t **ids, size_t *n) {
  *ids = NULL;
  *n = 0;
  if (len > INT32_MAX)
    return pml_fail(PML_E_LIMIT, "a text of %zu bytes: encode at most 2^31-1 at once", len);
  if ((flags & PML_ENCODE_BOS) && t->spec.bos < 0)
    return pml_fail(PML_E_USAGE, "a BOS token was asked for, but this tokenizer has none");
  const pml__specials *specials = flags & PML_ENCODE_SPECIAL ? &t->all : &t->user;
  pml__encoder e = {.t = t};
  e.ids = (int32_t *)pml__grow(NULL, &e.cap, len / 3 + 16, sizeof *e.ids);
  if (len >= 8192) e.known = (pml__known_word *)pml_calloc(PML__KNOWN_WORDS, sizeof *e.known);
  e.failed = !e.ids || (len >= 8192 && !e.known);
  if (!e.failed && (flags & PML_ENCODE_BOS)) pml__encode_id(&e, t->spec.bos);
  for (size_t at = 0; at < len && !e.failed;) {
    int32_t id = -1;
    size_t found, end = pml__special_next(specials, text, len, at, &found, &id);
    while (at < end && !e.failed) {
      size_t word = pml_pre_token(t->spec.pre, text + at, end - at);
      pml__encode_word(&e, text + at, word);
      at += word;
    }
    if (found && !e.failed) pml__encode_id(&e, id);
    at += found;
  }
  pml_free(e.known);
  pml_free(e.symbol);
  pml_free(e.heap);
  if (e.failed) {
    pml_free(e.ids);
    return PML_E_MEMORY;
  }
  *ids = e.ids;
  *n = e.n;
  return PML_OK;
}

PML_API pml_status pml_decode(const pml_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                              pml_buf *out) {
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= t->spec.n_vocab)
      return pml_fail(PML_E_USAGE, "id %d at position %zu is outside the vocabulary of %d tokens",
                      (int)ids[i], i, t->spec.n_vocab);
  for (size_t i = 0; i < n; i++) {
    int32_t type = t->spec.types[ids[i]];
    bool silent = type == 2 || type == 3 || type == 5;
    if (!silent || (flags & PML_ENCODE_SPECIAL)) pml_buf_add(out, t->bytes[ids[i]].ptr, t->bytes[ids[i]].len);
  }
  return out->failed ? pml_fail(PML_E_MEMORY, "out of memory while decoding %zu tokens", n) : PML_OK;
}

/* ── Training ───────────────────────────────────────────────────────────────── */

/* A pair of neighbouring tokens: how often it occurs (a word seen 9 times counts
   9) and a list of the places where it was seen.  Places that have changed since
   are skipped when the list is walked. */
typedef struct {
  int32_t left, right, first, last; /* of the list, -1: empty */
  int64_t count;
} pml__bpe_pair;

typedef struct {
  int32_t symbol, next;
} pml__bpe_place;

typedef struct {
  int32_t id, prev, next; /* -1: gone; the word ends here */
  uint32_t word;
} pml__bpe_letter;

/* A candidate with the count it had when it was queued. */
typedef struct {
  int64_t count;
  int32_t left, right;
  size_t pair;
} pml__bpe_cand;

typedef struct {
  const pml_bpe_options *opt;
  pml_arena arena;
  pml__specials specials;
  pml_str *word; /* different words, borrowed from the docs */
  int64_t *word_count;
  pml__strmap words;
  size_t n_words, word_cap, count_cap;
  pml__bpe_letter *letter; /* the symbols of all words, one after the other */
  pml__bpe_pair *pair;
  uint32_t *pair_slot; /* hash from (left, right) to pair index + 1 */
  size_t n_pairs, n_queued, pair_cap, n_slots;
  pml__bpe_place *place;
  size_t n_places, place_cap;
  pml__bpe_cand *heap;
  size_t n_heap, heap_cap;
  pml_str *token; /* raw bytes of each token, in the arena */
  size_t n_tokens, token_cap;
  int32_t (*merge)[2];
  size_t n_merges, merge_cap;
} pml__bpe_trainer;

PML__FN void pml__bpe_trainer_free(pml__bpe_trainer *r) {
  void *owned[] = {r->word,      r->word_count, r->words.slot, r->letter, r->pair,
                   r->pair_slot, r->place,      r->heap,       r->token,  r->merge};
  for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) pml_free(owned[i]);
  pml_arena_free(&r->arena);
}

PML__FN bool pml__bpe_cand_less(const pml__bpe_cand *a, const pml__bpe_cand *b) {
  if (a->count != b->count) return a->count < b->count;
  if (a->left != b->left) return a->left > b->left;
  return a->right > b->right;
}

PML__FN bool pml__bpe_cand_push(pml__bpe_trainer *r, size_t pair) {
  pml__bpe_cand *h = (pml__bpe_cand *)pml__grow(r->heap, &r->heap_cap, r->n_heap + 1, sizeof *h);
  if (!h) return false;
  r->heap = h;
  const pml__bpe_pair *p = &r->pair[pair];
  pml__bpe_cand x = {p->count, p->left, p->right, pair};
  size_t i = r->n_heap++;
  for (; i > 0 && pml__bpe_cand_less(&h[(i - 1) / 2], &x); i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
  h[i] = x;
  return true;
}

PML__FN pml__bpe_cand pml__bpe_cand_pop(pml__bpe_trainer *r) {
  pml__bpe_cand *h = r->heap, top = h[0], x = h[--r->n_heap];
  size_t i = 0;
  for (size_t child; (child = 2 * i + 1) < r->n_heap; i = child) {
    if (child + 1 < r->n_heap && pml__bpe_cand_less(&h[child], &h[child + 1])) child++;
    if (!pml__bpe_cand_less(&x, &h[child])) break;
    h[i] = h[child];
  }
  h[i] = x;
  return top;
}

/* The index of the word, counted once more; a word of one byte has no pair. */
PML__FN bool pml__bpe_train_word(pml__bpe_trainer *r, pml_str word) {
  if (word.len < 2) return true;
  int64_t i = pml__strmap_find(&r->words, r->word, word);
  if (i >= 0) {
    r->word_count[i]++;
    return true;
  }
  pml_str *w = (pml_str *)pml__grow(r->word, &r->word_cap, r->n_words + 1, sizeof *w);
  if (w) r->word = w;
  int64_t *c = (int64_t *)pml__grow(r->word_count, &r->count_cap, r->n_words + 1, sizeof *c);
  if (c) r->word_count = c;
  if (!w || !c) return false;
  w[r->n_words] = word;
  c[r->n_words] = 1;
  return pml__strmap_add(&r->words, w, r->n_words++);
}

PML__FN bool pml__bpe_train_doc(pml__bpe_trainer *r, pml_str doc) {
  for (size_t at = 0; at < doc.len;) {
    int32_t id;
    size_t found, end = pml__special_next(&r->specials, doc.ptr, doc.len, at, &found, &id);
    while (at < end) {
      pml_str word = {doc.ptr + at, pml_pre_token(r->opt->pre, doc.ptr + at, end - at)};
      if (!pml__bpe_train_word(r, word)) return false;
      at += word.len;
    }
    at += found;
  }
  return true;
}

PML__FN size_t pml__bpe_pair_slot_of(const pml__bpe_trainer *r, int32_t left, int32_t right) {
  size_t i = pml__mix64((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & (r->n_slots - 1);
  for (; r->pair_slot[i]; i = (i + 1) & (r->n_slots - 1)) {
    const pml__bpe_pair *p = &r->pair[r->pair_slot[i] - 1];
    if (p->left == left && p->right == right) break;
  }
  return i;
}

PML__FN bool pml__bpe_pair_slots_grow(pml__bpe_trainer *r) {
  size_t n = r->n_slots ? 2 * r->n_slots : 1024;
  uint32_t *slot = (uint32_t *)pml_calloc(n, sizeof *slot);
  if (!slot) return false;
  pml_free(r->pair_slot);
  r->pair_slot = slot;
  r->n_slots = n;
  for (size_t i = 0; i < r->n_pairs; i++)
    slot[pml__bpe_pair_slot_of(r, r->pair[i].left, r->pair[i].right)] = (uint32_t)i + 1;
  return true;
}

/* The pair (left, right) occurs `count` times more, at this symbol. */
PML__FN bool pml__bpe_pair_add(pml__bpe_trainer *r, int32_t left, int32_t right, int64_t count,
                               int32_t symbol) {
  if (r->n_pairs + 1 > r->n_slots / 2 && !pml__bpe_pair_slots_grow(r)) return false;
  size_t slot = pml__bpe_pair_slot_of(r, left, right);
  if (!r->pair_slot[slot]) {
    pml__bpe_pair *p = (pml__bpe_pair *)pml__grow(r->pair, &r->pair_cap, r->n_pairs + 1, sizeof *p);
    if (!p) return false;
    r->pair = p;
    p[r->n_pairs++] = (pml__bpe_pair){left, right, -1, -1, 0};
    r->pair_slot[slot] = (uint32_t)r->n_pairs;
  }
  size_t index = r->pair_slot[slot] - 1;
  pml__bpe_place *places =
      (pml__bpe_place *)pml__grow(r->place, &r->place_cap, r->n_places + 1, sizeof *places);
  if (!places) return false;
  r->place = places;
  pml__bpe_pair *p = &r->pair[index];
  if (p->last >= 0) places[p->last].next = (int32_t)r->n_places;
  else p->first = (int32_t)r->n_places;
  p->last = (int32_t)r->n_places;
  places[r->n_places++] = (pml__bpe_place){symbol, -1};
  p->count += count;
  return true;
}

PML__FN void pml__bpe_pair_sub(pml__bpe_trainer *r, int32_t left, int32_t right, int64_t count) {
  r->pair[r->pair_slot[pml__bpe_pair_slot_of(r, left, right)] - 1].count -= count;
}

/* Queues the pairs that are new since the last call.  A pair is new when its younger
   token is; from then on its count can only fall. */
PML__FN bool pml__bpe_train_queue(pml__bpe_trainer *r) {
  while (r->n_queued < r->n_pairs)
    if (!pml__bpe_cand_push(r, r->n_queued++)) return false;
  return true;
}

/* Lays the words out as letters and counts their pairs. */
PML__FN pml_status pml__bpe_train_count(pml__bpe_trainer *r) {
  size_t n = 0;
  for (size_t w = 0; w < r->n_words; w++)
    if (!pml_size_add(n, r->word[w].len, &n) || n > INT32_MAX / 3) /* two more places per merged letter */
      return pml_fail(PML_E_LIMIT,
                      "the different words of the text are too long together: give fewer documents");
  r->letter = (pml__bpe_letter *)pml_calloc(n + 1, sizeof *r->letter);
  if (!r->letter) return PML_E_MEMORY;
  int32_t at = 0;
  for (size_t w = 0; w < r->n_words; w++) {
    size_t len = r->word[w].len;
    for (size_t i = 0; i < len; i++, at++) {
      int32_t id = (unsigned char)r->word[w].ptr[i];
      r->letter[at] = (pml__bpe_letter){id, i ? at - 1 : -1, i + 1 < len ? at + 1 : -1, (uint32_t)w};
      if (i && !pml__bpe_pair_add(r, r->letter[at - 1].id, id, r->word_count[w], at - 1)) return PML_E_MEMORY;
    }
  }
  return pml__bpe_train_queue(r) ? PML_OK : PML_E_MEMORY;
}

/* @bpe_train_merge */
/* Replaces the pair by the token id everywhere.  Only the pairs with a neighbour
   change their counts: in  p left right q  the pairs (p, left) and (right, q)
   vanish, (p, id) and (id, q) appear. */
PML__FN bool pml__bpe_train_merge(pml__bpe_trainer *r, size_t pair, int32_t id) {
  int32_t left = r->pair[pair].left, right = r->pair[pair].right;
  for (int32_t o = r->pair[pair].first; o >= 0; o = r->place[o].next) {
    pml__bpe_letter *s = r->letter;
    int32_t a = r->place[o].symbol, b = s[a].next;
    if (s[a].id != left || b < 0 || s[b].id != right) continue;
    int32_t p = s[a].prev, q = s[b].next;
    int64_t count = r->word_count[s[a].word];
    if (p >= 0) pml__bpe_pair_sub(r, s[p].id, left, count);
    if (q >= 0) pml__bpe_pair_sub(r, right, s[q].id, count);
    s[a].id = id;
    s[a].next = q;
    s[b].id = -1;
    if (q >= 0) s[q].prev = a;
    if (p >= 0 && !pml__bpe_pair_add(r, s[p].id, id, count, p)) return false;
    if (q >= 0 && !pml__bpe_pair_add(r, id, s[q].id, count, a)) return false;
  }
  r->pair[pair].count = 0;
  return pml__bpe_train_queue(r);
}
/* @end */

/* Adds the token left + right; its id is the number of tokens before it.  It is
   always new: whether and how a stretch of text becomes one token depends on its
   own bytes only, as long as no merge crosses its ends, and then no merge did.  So
   "ab" + "c" and "a" + "bc" are never both learned. */
PML__FN bool pml__bpe_train_token(pml__bpe_trainer *r, pml_str left, pml_str right) {
  pml_str *token = (pml_str *)pml__grow(r->token, &r->token_cap, r->n_tokens + 1, sizeof *token);
  char *bytes = (char *)pml_arena_alloc(&r->arena, left.len + right.len);
  if (token) r->token = token;
  if (!token || !bytes) return false;
  memcpy(bytes, left.ptr, left.len);
  if (right.len) memcpy(bytes + left.len, right.ptr, right.len);
  token[r->n_tokens++] = (pml_str){bytes, left.len + right.len};
  return true;
}

PML__FN bool pml__bpe_train_learn(pml__bpe_trainer *r, size_t pair) {
  int32_t left = r->pair[pair].left, right = r->pair[pair].right, id = (int32_t)r->n_tokens;
  int32_t(*merge)[2] = (int32_t(*)[2])pml__grow(r->merge, &r->merge_cap, r->n_merges + 1, sizeof *merge);
  if (!merge) return false;
  r->merge = merge;
  merge[r->n_merges][0] = left;
  merge[r->n_merges++][1] = right;
  return pml__bpe_train_token(r, r->token[left], r->token[right]) && pml__bpe_train_merge(r, pair, id);
}

PML__FN pml_status pml__bpe_train_merges(pml__bpe_trainer *r) {
  size_t wanted = (size_t)(r->opt->n_vocab - r->opt->n_specials);
  while (r->n_tokens < wanted && r->n_heap) {
    pml__bpe_cand best = pml__bpe_cand_pop(r);
    int64_t count = r->pair[best.pair].count;
    if (count < best.count) { /* neighbours took some since it was queued */
      if (count > 1 && !pml__bpe_cand_push(r, best.pair)) return PML_E_MEMORY;
      continue;
    }
    if (count < 2) break;
    if (!pml__bpe_train_learn(r, best.pair)) return PML_E_MEMORY;
    if (r->opt->progress && !r->opt->progress(r->opt->user, (int)(r->n_tokens - 256), (int)(wanted - 256)))
      return pml_fail(PML_E_CANCELLED, "the tokenizer's training was stopped after %zu merges", r->n_merges);
  }
  return PML_OK;
}

PML__FN int pml__special_index(const pml_bpe_options *o, const char *name) {
  int i = 0;
  while (i < o->n_specials && strcmp(o->specials[i], name) != 0) i++;
  return i < o->n_specials ? i : -1;
}

/* Checks the options and prepares the trainer's specials. */
PML__FN pml_status pml__bpe_train_options(pml__bpe_trainer *r, const pml_bpe_options *o) {
  r->opt = o;
  if (o->n_specials < 0 || (o->n_specials && !o->specials))
    return pml_fail(PML_E_USAGE, "%d special tokens, but no list of them", o->n_specials);
  if ((int64_t)o->n_vocab - o->n_specials < 256)
    return pml_fail(PML_E_USAGE,
                    "a vocabulary of %d is too small: 256 bytes and %d special tokens need %" PRId64,
                    o->n_vocab, o->n_specials, (int64_t)o->n_specials + 256);
  if (o->pre != PML_PRE_GPT2 && o->pre != PML_PRE_QWEN2)
    return pml_fail(PML_E_USAGE, "pre-tokenizer %d is not known", (int)o->pre);
  const char *names[] = {o->bos, o->eos, o->eot, o->pad};
  for (int i = 0; i < 4; i++)
    if (names[i] && pml__special_index(o, names[i]) < 0)
      return pml_fail(PML_E_USAGE, "'%s' is to be a special token, but is not among the specials", names[i]);
  r->specials.at = (pml__special *)pml_arena_calloc(&r->arena, (size_t)o->n_specials, sizeof *r->specials.at);
  if (!r->specials.at) return PML_E_MEMORY;
  for (int i = 0; i < o->n_specials; i++) {
    pml_str text = {o->specials[i], o->specials[i] ? strlen(o->specials[i]) : 0};
    if (text.len == 0 || text.len > PML__MAX_SPECIAL)
      return pml_fail(PML_E_USAGE, "special token %d is %s: give 1 to %d bytes", i,
                      text.len ? "too long" : "empty", (int)PML__MAX_SPECIAL);
    r->specials.at[r->specials.n++] = (pml__special){text, i};
  }
  pml__specials_sort(&r->specials);
  return PML_OK;
}

PML__FN bool pml__bpe_train_bytes(pml__bpe_trainer *r) {
  for (int b = 0; b < 256; b++) {
    char byte = (char)b;
    if (!pml__bpe_train_token(r, (pml_str){&byte, 1}, (pml_str){NULL, 0})) return false;
  }
  return true;
}

/* The printable form of a raw text, in the trainer's arena; ptr NULL: no memory. */
PML__FN pml_str pml__bpe_train_printable(pml__bpe_trainer *r, pml_str raw) {
  char *text = (char *)pml_arena_alloc(&r->arena, 2 * raw.len);
  return (pml_str){text, text ? pml__to_printable(raw, text) : 0};
}

/* "[unused300]" for id 300.  No learned token is called so: no rule leaves brackets,
   letters and digits in one word. */
PML__FN pml_str pml__bpe_unused_name(pml__bpe_trainer *r, size_t id) {
  char *text = (char *)pml_arena_alloc(&r->arena, 32);
  return (pml_str){text, text ? (size_t)snprintf(text, 32, "[unused%zu]", id) : 0};
}

PML__FN pml_str pml__special_name(const pml_bpe_options *o, size_t i) {
  return (pml_str){o->specials[i], strlen(o->specials[i])};
}

/* tokens and types of the finished vocabulary: bytes and learned, unused, specials. */
PML__FN bool pml__bpe_train_vocab(pml__bpe_trainer *r, pml_str *tokens, int32_t *types) {
  size_t n = (size_t)r->opt->n_vocab, n_specials = (size_t)r->opt->n_specials;
  for (size_t i = 0; i < n; i++) {
    if (i < r->n_tokens) tokens[i] = pml__bpe_train_printable(r, r->token[i]);
    else if (i < n - n_specials) tokens[i] = pml__bpe_unused_name(r, i);
    else tokens[i] = pml__special_name(r->opt, i - (n - n_specials));
    types[i] = i < r->n_tokens ? 1 : i < n - n_specials ? 5 : 3;
    if (!tokens[i].ptr) return false;
  }
  return true;
}

PML__FN bool pml__bpe_train_merge_texts(pml__bpe_trainer *r, const pml_str *tokens, pml_str *merges) {
  for (size_t i = 0; i < r->n_merges; i++) {
    pml_str a = tokens[r->merge[i][0]], b = tokens[r->merge[i][1]];
    char *text = (char *)pml_arena_alloc(&r->arena, a.len + b.len + 1);
    if (!text) return false;
    memcpy(text, a.ptr, a.len);
    text[a.len] = ' ';
    memcpy(text + a.len + 1, b.ptr, b.len);
    merges[i] = (pml_str){text, a.len + b.len + 1};
  }
  return true;
}

PML__FN pml_status pml__bpe_train_finish(pml__bpe_trainer *r, pml_tokenizer **out) {
  const pml_bpe_options *o = r->opt;
  pml_str *tokens = (pml_str *)pml_arena_calloc(&r->arena, (size_t)o->n_vocab, sizeof *tokens);
  pml_str *merges = (pml_str *)pml_arena_calloc(&r->arena, r->n_merges, sizeof *merges);
  int32_t *types = (int32_t *)pml_arena_calloc(&r->arena, (size_t)o->n_vocab, sizeof *types);
  if (!tokens || !merges || !types || !pml__bpe_train_vocab(r, tokens, types) ||
      !pml__bpe_train_merge_texts(r, tokens, merges))
    return PML_E_MEMORY;
  int first = o->n_vocab - o->n_specials;
  pml_tokenizer_spec spec = {.pre = o->pre,
                             .n_vocab = o->n_vocab,
                             .tokens = tokens,
                             .types = types,
                             .n_merges = r->n_merges,
                             .merges = merges};
  spec.bos = o->bos ? first + pml__special_index(o, o->bos) : -1;
  spec.eos = o->eos ? first + pml__special_index(o, o->eos) : -1;
  spec.eot = o->eot ? first + pml__special_index(o, o->eot) : -1;
  spec.pad = o->pad ? first + pml__special_index(o, o->pad) : -1;
  return pml_tokenizer_create(out, &spec);
}

PML_API pml_status pml_bpe_train(pml_tokenizer **out, const pml_str *docs, size_t n_docs,
                                 const pml_bpe_options *o) {
  *out = NULL;
  pml__bpe_trainer r = {0};
  pml_status st = pml__bpe_train_options(&r, o);
  if (st == PML_OK && !pml__bpe_train_bytes(&r)) st = PML_E_MEMORY;
  for (size_t i = 0; i < n_docs && st == PML_OK; i++)
    if (!pml__bpe_train_doc(&r, docs[i])) st = PML_E_MEMORY;
  if (st == PML_OK) st = pml__bpe_train_count(&r);
  if (st == PML_OK) st = pml__bpe_train_merges(&r);
  if (st == PML_OK) st = pml__bpe_train_finish(&r, out);
  pml__bpe_trainer_free(&r);
  return st;
}

/* ── The control: a list of words ─────────────────────────────────────────────── */

struct pml__wordlist {
  pml__strmap map; /* word to index in words; [UNK] is not in it */
  pml_arena arena; /* the bytes of the words */
};

typedef struct {
  pml_str word;
  uint64_t count;
} pml__counted_word;

PML__FN int pml__counted_order(const void *a, const void *b) {
  const pml__counted_word *x = (const pml__counted_word *)a, *y = (const pml__counted_word *)b;
  if (x->count != y->count) return x->count > y->count ? -1 : 1;
  int order = memcmp(x->word.ptr, y->word.ptr, x->word.len < y->word.len ? x->word.len : y->word.len);
  return order ? order : (x->word.len > y->word.len) - (x->word.len < y->word.len);
}

/* Every different word of docs with its count, unsorted; words point into docs. */
PML__FN bool pml__count_words(pml_pre pre, const pml_str *docs, size_t n_docs, pml__counted_word **out, size_t *n) {
  pml__strmap map = {0};
  pml_str *keys = NULL;
  size_t cap = 0, cap_keys = 0;
  bool ok = true;
  *out = NULL;
  *n = 0;
  for (size_t d = 0; d < n_docs && ok; d++)
    for (size_t at = 0, len; at < docs[d].len && ok; at += len) {
      len = pml_pre_token(pre, docs[d].ptr + at, docs[d].len - at);
      pml_str word = {docs[d].ptr + at, len};
      int64_t i = pml__strmap_find(&map, keys, word);
      if (i >= 0) {
        (*out)[i].count++;
        continue;
      }
      pml_str *k = (pml_str *)pml__grow(keys, &cap_keys, *n + 1, sizeof *keys);
      if (k) keys = k;
      pml__counted_word *w = k ? (pml__counted_word *)pml__grow(*out, &cap, *n + 1, sizeof **out) : NULL;
      if (w) *out = w;
      if (!(ok = w != NULL)) break;
      keys[*n] = word;
      w[*n] = (pml__counted_word){word, 1};
      ok = pml__strmap_add(&map, keys, *n);
      ++*n;
    }
  pml_free(map.slot);
  pml_free(keys);
  return ok;
}

/* words[i] = a copy of word, found again through the map. */
PML__FN bool pml__wordlist_add(pml_wordlist *w, int i, pml__counted_word c) {
  char *text = (char *)pml_arena_alloc(&w->index->arena, c.word.len);
  if (!text) return false;
  memcpy(text, c.word.ptr, c.word.len);
  w->words[i] = (pml_str){text, c.word.len};
  w->counts[i] = c.count;
  w->n_words = i > w->n_words ? i : w->n_words;
  return i == 0 || pml__strmap_add(&w->index->map, w->words, (size_t)i);
}

PML_API void pml_wordlist_free(pml_wordlist *w) {
  if (!w) return;
  if (w->index) {
    pml_free(w->index->map.slot);
    pml_arena_free(&w->index->arena);
  }
  pml_free(w->index);
  pml_free(w->words);
  pml_free(w->counts);
  pml_free(w);
}

PML_API pml_status pml_wordlist_train(pml_wordlist **out, pml_pre pre, const pml_str *docs, size_t n_docs,
                                      int n_words) {
  pml__counted_word *counted;
  size_t n;
  *out = NULL;
  if (n_words < 1) return pml_fail(PML_E_USAGE, "a list of %d words: give at least 1", n_words);
  bool ok = pml__count_words(pre, docs, n_docs, &counted, &n);
  pml_wordlist *w = (pml_wordlist *)pml_calloc(1, sizeof *w);
  size_t keep = n < (size_t)n_words ? n : (size_t)n_words;
  if (w) {
    w->pre = pre;
    w->words = (pml_str *)pml_calloc(keep + 1, sizeof *w->words);
    w->counts = (uint64_t *)pml_calloc(keep + 1, sizeof *w->counts);
    w->index = (struct pml__wordlist *)pml_calloc(1, sizeof *w->index);
  }
  ok = ok && w && w->words && w->counts && w->index;
  if (n) qsort(counted, n, sizeof *counted, pml__counted_order);
  ok = ok && pml__wordlist_add(w, 0, (pml__counted_word){{"[UNK]", 5}, 0});
  for (size_t i = 0; i < keep && ok; i++) ok = pml__wordlist_add(w, (int)i + 1, counted[i]);
  for (size_t i = keep; i < n && ok; i++) w->counts[0] += counted[i].count;
  pml_free(counted);
  if (ok) *out = w;
  else pml_wordlist_free(w);
  return ok ? PML_OK : PML_E_MEMORY;
}

/* @wordlist */
PML_API pml_status pml_wordlist_encode(const pml_wordlist *w, const char *text, size_t len, int32_t **ids,
                                       size_t *n) {
  pml_str *words;
  *ids = NULL;
  pml_status st = pml_pre_tokenize(w->pre, text, len, &words, n);
  if (st != PML_OK) return st;
  *ids = (int32_t *)pml_alloc(*n * sizeof **ids);
  for (size_t i = 0; i < *n && *ids; i++) {
    int64_t known = pml__strmap_find(&w->index->map, w->words, words[i]);
    (*ids)[i] = known > 0 ? (int32_t)known : 0; /* a word that is not in the list is forgotten here */
  }
  pml_free(words);
  return *ids ? PML_OK : PML_E_MEMORY;
}
/* @end */

PML_API pml_status pml_wordlist_decode(const pml_wordlist *w, const int32_t *ids, size_t n, pml_buf *out) {
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] > w->n_words)
      return pml_fail(PML_E_USAGE, "id %d at position %zu is outside the list of %d words and [UNK]", (int)ids[i], i,
                      w->n_words);
  for (size_t i = 0; i < n; i++) pml_buf_add(out, w->words[ids[i]].ptr, w->words[ids[i]].len);
  return out->failed ? pml_fail(PML_E_MEMORY, "out of memory while decoding %zu words", n) : PML_OK;
}
/* @compare */
PML_API pml_status pml_tokenizer_compare(pml_token_cost *out, const pml_tokenizer *t, const pml_wordlist *w, int v,
                                         const char *text, size_t len) {
  int32_t *tokens = NULL, *words = NULL;
  memset(out, 0, sizeof *out);
  pml_status st = pml_encode(t, text, len, 0, &tokens, &out->tokens);
  if (st == PML_OK) st = pml_wordlist_encode(w, text, len, &words, &out->words);
  for (size_t i = 0; st == PML_OK && i < out->words; i++) out->unknown += words[i] == 0 || words[i] >= v;
  pml_free(tokens);
  pml_free(words);
  return st;
}
/* @end */

PML_API pml_status pml_tokenizer_sweep(pml_token_cost *cost, pml_tokenizer **bpe, const pml_wordlist *w, const int *sizes,
                                       int n, pml_str doc, pml_str held) {
  pml_status st = PML_OK;
  *bpe = NULL;
  for (int i = 0; i < n && st == PML_OK; i++) {
    pml_tokenizer_free(*bpe);
    *bpe = NULL;
    st = pml_bpe_train(bpe, &doc, 1, &(pml_bpe_options){.n_vocab = sizes[i], .pre = w->pre});
    if (st == PML_OK) st = pml_tokenizer_compare(&cost[i], *bpe, w, sizes[i], held.ptr, held.len);
  }
  return st;
}

PML_API pml_status pml_bpe_again(const pml_tokenizer *t, pml_str doc, size_t *same) {
  const pml_tokenizer_spec *spec = pml_tokenizer_spec_of(t);
  size_t cut = doc.len / 2;
  while (cut < doc.len && doc.ptr[cut] != '\n') cut++;
  const pml_str half[] = {{doc.ptr + cut, doc.len - cut}, {doc.ptr, cut}};
  pml_tokenizer *again;
  pml_status st = pml_bpe_train(&again, half, 2, &(pml_bpe_options){.n_vocab = spec->n_vocab, .pre = spec->pre});
  *same = st == PML_OK ? pml_merges_shared(t, again) : 0;
  pml_tokenizer_free(again);
  return st;
}

PML_API pml_status pml_bpe_first(const pml_str *docs, size_t n, char out[64]) {
  pml_tokenizer *t;
  pml_status st = pml_bpe_train(&t, docs, n, &(pml_bpe_options){.n_vocab = 257, .pre = PML_PRE_QWEN2});
  bool any = st == PML_OK && pml_tokenizer_spec_of(t)->n_merges > 0;
  pml_str first = any ? pml_tokenizer_spec_of(t)->merges[0] : (pml_str){"", 0};
  snprintf(out, 64, "%.*s", (int)(first.len < 63 ? first.len : 63), first.ptr);
  pml_tokenizer_free(t);
  return st;
}

PML_API pml_cut pml_cut_text(const pml_tokenizer *t, const pml_wordlist *w, pml_str text) {
  pml_cut c = {0, 0, false, {{NULL, 0}}, {false}, ""};
  int32_t *ids = NULL;
  size_t n = 0;
  pml_buf back = {0};
  pml_status st = t ? pml_encode(t, text.ptr, text.len, 0, &ids, &n) : pml_wordlist_encode(w, text.ptr, text.len, &ids, &n);
  if (st == PML_OK) st = t ? pml_decode(t, ids, n, 0, &back) : pml_wordlist_decode(w, ids, n, &back);
  c.same = st == PML_OK && back.len == text.len && (text.len == 0 || !memcmp(back.data, text.ptr, text.len));
  snprintf(c.back, sizeof c.back, "%s", back.data ? back.data : "");
  for (size_t i = 0; st == PML_OK && i < n; i++) {
    bool unknown = !t && ids[i] == 0;
    c.lost += unknown;
    if (c.n < PML_CUT_MAX) {
      c.piece[c.n] = t ? pml_token_bytes(t, ids[i]) : w->words[ids[i]];
      c.unknown[c.n] = unknown;
    }
    c.n++;
  }
  pml_free(ids);
  pml_buf_free(&back);
  return c;
}

PML_API int pml_round_trips(const pml_tokenizer *t, const pml_wordlist *w, int n, uint64_t seed) {
  static const char *const hard[PML_HARD_TEXTS] = {
      "", "naïve Straße", "東京は雨", "😀👩‍🔬", "مرحبا", "x\r\n\t\ty\n", "\xC3\x28\xFF", "<|im_end|>"};
  pml_rng rng = pml_rng_seed(seed);
  int same = 0;
  for (int i = 0; i < n + PML_HARD_TEXTS; i++) {
    char bytes[48];
    pml_str x = {bytes, pml_rng_below(&rng, 48)};
    for (size_t k = 0; k < x.len; k++) bytes[k] = (char)pml_rng_below(&rng, 256);
    if (i >= n) x = (pml_str){hard[i - n], strlen(hard[i - n])};
    same += pml_cut_text(t, w, x).same;
  }
  return same;
}

#endif /* § 17 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 18  GGUF                                      needs § 2 § 6 § 11 § 16 § 17
   ─────────────────────────────────────────────────────────────────────────────
   A GGUF file is a whole model: the numbers that describe it, its tokenizer and
   its weights, in one file that can be mapped and used in place.

     "GGUF" | version u32 | n_tensors u64 | n_kv u64
     n_kv ×       key: string | type u32 | value
     n_tensors ×  name: string | n_dims u32 | ne[n_dims] u64 | type u32 | offset u64
     zeros up to a multiple of general.alignment (32 unless stated)
     the tensors, each at its offset from here, each padded to the alignment

   All numbers are little-endian.  A string is a u64 length and that many bytes.
   An array is an element type u32, a count u64 and the elements one after the
   other.  ne[0] is the contiguous dimension: what we write W[o,i] stands in the
   file as ne = {i, o}.

   Cost: opening reads the metadata and the tensor list, not the weights, and
   allocates 16 bytes per string in it: 5 MB for the 151936 tokens and 151387
   merges of Qwen2.  The weights stay on the disk until a kernel touches them.

   Where it goes wrong: every count, length, offset and dimension is a number
   that someone else wrote.  Readers have been broken by n_kv = 2^60 (the size of
   the table wraps), a string of 2^64 - 1 bytes (length + 1 is 0), dimensions
   whose product wraps, an alignment of 0 (a division), a name that is twice in
   the file.  So each is compared with what is left of the file before memory is
   asked for: what we allocate is at most a few times the file's size, and tests
   cut and change a valid file at every byte.

   Limits: versions 2 and 3; keys up to 65535 bytes, tensor names up to 1024 (but
   we write at most 63, as llama.cpp reads no more); 1 to 4 dimensions; alignment
   a power of two from 8 to 65536; no arrays of arrays.  Keys and names are UTF-8
   without control characters; string values may be any bytes.
   Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md.
   ═════════════════════════════════════════════════════════════════════════════ */

/* The type of a metadata value; the numbers are the file's. */
typedef enum {
  PML_GGUF_U8, PML_GGUF_I8, PML_GGUF_U16, PML_GGUF_I16, PML_GGUF_U32, PML_GGUF_I32, PML_GGUF_F32,
  PML_GGUF_BOOL, PML_GGUF_STR, PML_GGUF_ARR, PML_GGUF_U64, PML_GGUF_I64, PML_GGUF_F64
} pml_gguf_type;
PML_API const char *pml_gguf_type_name(pml_gguf_type type); /* "u8" … "f64", "unknown" */

typedef struct {
  pml_str name;
  int type;             /* GGUF number; pml_dtype_info(type) may be NULL */
  int n_dims;           /* 1 … 4 */
  uint64_t ne[4];       /* ne[0] is contiguous; unused ones are 1 */
  const void *data;     /* borrowed from the mapping; NULL when size is 0 */
  size_t size;          /* bytes; of an unknown type: up to the next tensor, 0 if that is no help */
} pml_tensor;

/* Opens a model file.  A file without tensors (a vocabulary) is valid.  PML_E_IO
   as pml_file_open; PML_E_FORMAT for what is cut, damaged or no GGUF file, with
   a sentence that says what it seems to be; PML_E_UNSUPPORTED for version 1,
   versions after 3, big-endian files and arrays of arrays.  On failure *out is
   NULL.  The handle is read-only and may be shared by threads. */
typedef struct pml_gguf pml_gguf;
PML_API pml_status pml_gguf_open(pml_gguf **out, const char *path);

/* The same for bytes in memory.  data must be aligned to 8 bytes and outlive the
   handle; name is for error sentences. */
PML_API pml_status pml_gguf_open_memory(pml_gguf **out, const void *data, size_t size, const char *name);
PML_API void pml_gguf_close(pml_gguf *g); /* NULL is fine; tensors and strings end with it */

PML_API const char *pml_gguf_path(const pml_gguf *g);
PML_API int pml_gguf_version(const pml_gguf *g);      /* 2 or 3 */
PML_API size_t pml_gguf_alignment(const pml_gguf *g); /* bytes */
PML_API size_t pml_gguf_n_tensors(const pml_gguf *g);
PML_API const pml_tensor *pml_gguf_tensor_at(const pml_gguf *g, size_t i); /* in file order, or NULL */
PML_API const pml_tensor *pml_gguf_tensor(const pml_gguf *g, const char *name); /* NULL: none */

/* Metadata.  A getter returns false, and leaves *v alone, when the key is absent
   or has another type.  Any integer that fits int64 satisfies get_int, any
   number get_float.  Strings are borrowed from the file. */
PML_API size_t pml_gguf_n_kv(const pml_gguf *g);
PML_API pml_str pml_gguf_key_at(const pml_gguf *g, size_t i, pml_gguf_type *type); /* type may be NULL */
PML_API bool pml_gguf_get_int(const pml_gguf *g, const char *key, int64_t *v);
PML_API bool pml_gguf_get_float(const pml_gguf *g, const char *key, double *v);
PML_API bool pml_gguf_get_bool(const pml_gguf *g, const char *key, bool *v);
PML_API bool pml_gguf_get_str(const pml_gguf *g, const char *key, pml_str *v);

/* Arrays.  get_arr gives element type, count and the elements as they lie in the
   file, maybe unaligned (memcpy them); *data is NULL for strings.  Each of the
   three may be NULL.  get_arr_str gives string i; false when i >= n. */
PML_API bool pml_gguf_get_arr(const pml_gguf *g, const char *key, pml_gguf_type *type, size_t *n,
                              const void **data);
PML_API bool pml_gguf_get_arr_str(const pml_gguf *g, const char *key, size_t i, pml_str *v);

/* Appends value i as one line of printable text, for listings: 24, 1e-06, true,
   "gpt2", [151936] "!", "\"", "#", ...  Strings are cut after about 60 bytes. */
PML_API void pml_gguf_value_text(const pml_gguf *g, size_t i, pml_buf *out);

/* The tokenizer in the file (tokenizer.ggml.*).  PML_E_UNSUPPORTED names a model
   or pre-tokenizer that is not written yet; PML_E_FORMAT: keys are missing, have
   the wrong type, or name a token outside the vocabulary. */
PML_API pml_status pml_gguf_tokenizer(const pml_gguf *g, pml_tokenizer **out);

/* Writing, version 3.  Keys and tensors are written in call order, so equal calls
   give equal bytes.  Metadata is copied at once; tensor data is borrowed until
   finish.  A failed call is remembered: only the result of finish needs checking.
   Adding the u32 "general.alignment" also sets the alignment. */
typedef struct pml_gguf_writer pml_gguf_writer;
PML_API pml_status pml_gguf_writer_create(pml_gguf_writer **out);
PML_API void pml_gguf_add_u32(pml_gguf_writer *w, const char *key, uint32_t v);
PML_API void pml_gguf_add_u64(pml_gguf_writer *w, const char *key, uint64_t v);
PML_API void pml_gguf_add_f32(pml_gguf_writer *w, const char *key, float v);
PML_API void pml_gguf_add_bool(pml_gguf_writer *w, const char *key, bool v);
PML_API void pml_gguf_add_str(pml_gguf_writer *w, const char *key, const char *v);
PML_API void pml_gguf_add_arr_str(pml_gguf_writer *w, const char *key, const pml_str *v, size_t n);
PML_API void pml_gguf_add_arr_i32(pml_gguf_writer *w, const char *key, const int32_t *v, size_t n);

/* The general forms.  value: one number of the type (one byte 0 or 1 for BOOL), or
   a pml_str.  data: n elements, packed, of any type but strings and arrays. */
PML_API void pml_gguf_add_value(pml_gguf_writer *w, const char *key, pml_gguf_type type, const void *value);
PML_API void pml_gguf_add_arr(pml_gguf_writer *w, const char *key, pml_gguf_type type, const void *data,
                              size_t n);

/* All tokenizer.ggml.* keys that llama.cpp needs for a byte-level BPE. */
PML_API void pml_gguf_add_tokenizer(pml_gguf_writer *w, const pml_tokenizer *t);

/* name: 1 to 63 bytes.  ne[n_dims], ne[0] contiguous and a multiple of the type's
   block.  data: as many bytes as type and shape say. */
PML_API void pml_gguf_add_tensor(pml_gguf_writer *w, const char *name, pml_dtype type, int n_dims,
                                 const uint64_t *ne, const void *data);
PML_API pml_status pml_gguf_writer_finish(pml_gguf_writer *w, const char *path); /* atomic; frees w */
PML_API void pml_gguf_writer_cancel(pml_gguf_writer *w); /* frees w, writes nothing; NULL is fine */

#ifdef PML__IMPL

/* Bytes of one value; 0 for strings and arrays, which have no fixed size. */
static const unsigned char pml__gguf_size[13] PML__UNUSED = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

#define PML__GGUF_N_TYPES 13u
#define PML__GGUF_MAX_KEY 65535u
#define PML__GGUF_MAX_NAME 1024u /* read */
#define PML__GGUF_OUR_NAME 63u   /* written */

typedef struct {
  pml_str key;               /* first: the sorted index points at it */
  pml_gguf_type type, elem;  /* elem: of an array; else = type */
  size_t n;                  /* elements; 1 unless an array */
  const unsigned char *data; /* numbers: n elements */
  const pml_str *strings;    /* strings: n of them */
  pml_str string;            /* where strings points for a single one */
} pml__gguf_kv;

typedef struct {
  pml_tensor t;              /* first: its name is first in it */
  uint64_t offset;           /* from the start of the tensor data */
} pml__gguf_info;

struct pml_gguf {
  pml_file file;             /* all zero when opened from memory */
  pml_arena arena;           /* everything below */
  const char *name;
  const unsigned char *data;
  size_t size;
  int version;
  size_t alignment, n_kv, n_tensors;
  pml__gguf_kv *kv;
  pml__gguf_info *info;
  const void **by_key, **by_name; /* pointers to kv and info, sorted by their strings */
};

PML_API const char *pml_gguf_type_name(pml_gguf_type type) {
  static const char *const names[] = {"u8",   "i8",  "u16", "i16", "u32", "i32", "f32",
                                      "bool", "str", "arr", "u64", "i64", "f64"};
  return (unsigned)type < PML__GGUF_N_TYPES ? names[type] : "unknown";
}

/* ── Sorted names ─────────────────────────────────────────────────────────────
   Keys and names are found, and duplicates noticed, through an array of pointers
   sorted by heapsort: n log n for any input.  A hash table would be faster until
   someone chooses names that all fall into one slot.  What is pointed at begins
   with its pml_str. */

PML__FN int pml__str_cmp(const void *a, const void *b) {
  const pml_str *x = (const pml_str *)a, *y = (const pml_str *)b;
  size_t n = x->len < y->len ? x->len : y->len;
  int c = n ? memcmp(x->ptr, y->ptr, n) : 0;
  return c ? c : (x->len > y->len) - (x->len < y->len);
}

PML__FN void pml__sift_down(const void **p, size_t i, size_t n, int (*cmp)(const void *, const void *)) {
  const void *item = p[i];
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && cmp(p[child], p[child + 1]) < 0) child++;
    if (cmp(item, p[child]) >= 0) break;
    p[i] = p[child];
  }
  p[i] = item;
}

PML__FN void pml__sort_pointers(const void **p, size_t n, int (*cmp)(const void *, const void *)) {
  for (size_t i = n / 2; i-- > 0;) pml__sift_down(p, i, n, cmp);
  for (size_t i = n; i-- > 1;) {
    const void *top = p[0];
    p[0] = p[i];
    p[i] = top;
    pml__sift_down(p, 0, i, cmp);
  }
}

/* In a sorted array equal names are neighbours: the first that is there twice, or NULL. */
PML__FN const pml_str *pml__str_twice(const void *const *p, size_t n) {
  for (size_t i = 1; i < n; i++)
    if (pml__str_cmp(p[i - 1], p[i]) == 0) return (const pml_str *)p[i];
  return NULL;
}

PML__FN const void *pml__str_find(const void *const *p, size_t n, const char *name) {
  pml_str want = pml_str_of(name);
  for (size_t lo = 0, hi = n; lo < hi;) {
    size_t mid = lo + (hi - lo) / 2;
    int c = pml__str_cmp(&want, p[mid]);
    if (c == 0) return p[mid];
    if (c < 0) hi = mid;
    else lo = mid + 1;
  }
  return NULL;
}

/* How much of a name a sentence shows: at most 80 bytes, whole characters. */
PML__FN int pml__gguf_shown(pml_str s) {
  size_t n = s.len < 80 ? s.len : 80;
  while (n < s.len && n > 0 && ((unsigned char)s.ptr[n] & 0xC0) == 0x80) n--;
  return (int)n;
}

/* A name must print safely: UTF-8, no control character. */
PML__FN bool pml__name_clean(pml_str s) {
  for (size_t i = 0; i < s.len; i++)
    if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7F) return false;
  return pml_utf8_valid(s.ptr, s.len);
}

/* ── Reading ────────────────────────────────────────────────────────────────── */

/* What a file that is no GGUF seems to be, and what to do. */
PML__FN const char *pml__gguf_seems(const unsigned char *p, size_t n) {
  static const struct { const char *begin, *text; } known[] = {
      {"<!", "this is an HTML page: the download failed, get the file itself"},
      {"<html", "this is an HTML page: the download failed, get the file itself"},
      {"version https://git-lfs", "this is a Git LFS pointer, not the file: run git lfs pull"},
      {"PK\003\004", "this is a PyTorch checkpoint or zip archive: convert it to GGUF first"},
      {"APR", "this is an APR file: open it as one, or convert it to GGUF"},
      {"lmgg", "this is a GGML file from before GGUF: convert it again from its source"},
      {"tjgg", "this is a GGML file from before GGUF: convert it again from its source"},
      {"fmgg", "this is a GGML file from before GGUF: convert it again from its source"},
      {"{", "this is a JSON text, perhaps a server's error message: look into it"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    size_t len = strlen(known[i].begin);
    if (n >= len && memcmp(p, known[i].begin, len) == 0) return known[i].text;
  }
  if (n > 8 && p[8] == '{' && p[5] == 0 && p[6] == 0 && p[7] == 0) /* after the length of a JSON header */
    return "this is a safetensors file: convert it to GGUF first";
  return "it does not begin with \"GGUF\"";
}

PML__FN pml_status pml__gguf_header(pml_gguf *g, pml_reader *r) {
  if (g->size == 0) return pml_fail(PML_E_FORMAT, "%s: the file is empty: pull it again", g->name);
  if (g->size < 4 || memcmp(g->data, "GGUF", 4) != 0)
    return pml_fail(PML_E_FORMAT, "%s: is not a GGUF file: %s", g->name, pml__gguf_seems(g->data, g->size));
  (void)pml_read_bytes(r, 4);
  uint32_t version = pml_read_u32(r);
  uint64_t n_tensors = pml_read_u64(r), n_kv = pml_read_u64(r);
  if (r->failed)
    return pml_fail(PML_E_FORMAT, "%s: ends at byte %zu, inside the header: the download was cut, pull it "
                    "again", g->name, g->size);
  if (version && (version & 0xFFFF) == 0)
    return pml_fail(PML_E_UNSUPPORTED, "%s: is a big-endian GGUF file: get the little-endian one", g->name);
  if (version == 1)
    return pml_fail(PML_E_UNSUPPORTED, "%s: GGUF version 1 was replaced in 2023: get a newer file", g->name);
  if (version != 2 && version != 3)
    return pml_fail(PML_E_UNSUPPORTED, "%s: GGUF version %" PRIu32 " is unknown here, 2 and 3 are read",
                    g->name, version);
  size_t left = g->size - r->at;
  if (n_kv > left / 13) /* 8 for a key's length, 4 for its type, 1 for the smallest value */
    return pml_fail(PML_E_FORMAT, "%s: claims %" PRIu64 " metadata entries, only %zu bytes follow: the "
                    "download was cut or the file is damaged, pull it again", g->name, n_kv, left);
  if (n_tensors > left / 32) /* 8 + 4 + 8 + 4 + 8 */
    return pml_fail(PML_E_FORMAT, "%s: claims %" PRIu64 " tensors, only %zu bytes follow: the download was "
                    "cut or the file is damaged, pull it again", g->name, n_tensors, left);
  g->version = (int)version;
  g->n_kv = (size_t)n_kv;
  g->n_tensors = (size_t)n_tensors;
  return PML_OK;
}

PML__FN pml_status pml__gguf_cut(const pml_gguf *g, const char *what, size_t i, size_t n) {
  return pml_fail(PML_E_FORMAT, "%s: ends at byte %zu, inside %s %zu of %zu: the download was cut, pull it "
                  "again", g->name, g->size, what, i + 1, n);
}

/* A key or a tensor's name: length, bytes, and a check that they can be printed. */
PML__FN pml_status pml__gguf_name(const pml_gguf *g, pml_reader *r, pml_str *s, const char *what, size_t i,
                                  size_t n, size_t limit) {
  uint64_t len = pml_read_u64(r);
  if (r->failed) return pml__gguf_cut(g, what, i, n);
  if (len == 0 || len > limit)
    return pml_fail(PML_E_FORMAT, "%s: the name of %s %zu has %" PRIu64 " bytes, 1 to %zu are possible: the "
                    "file is damaged", g->name, what, i + 1, len, limit);
  s->ptr = (const char *)pml_read_bytes(r, len);
  if (!s->ptr) return pml__gguf_cut(g, what, i, n);
  s->len = (size_t)len;
  if (!pml__name_clean(*s))
    return pml_fail(PML_E_FORMAT, "%s: the name of %s %zu is not printable UTF-8: the file is damaged",
                    g->name, what, i + 1);
  return PML_OK;
}

PML__FN pml_status pml__gguf_strings(pml_gguf *g, pml_reader *r, pml__gguf_kv *kv) {
  pml_str *s = &kv->string;
  if (kv->type == PML_GGUF_ARR) s = (pml_str *)pml_arena_calloc(&g->arena, kv->n, sizeof *s);
  if (!s) return PML_E_MEMORY;
  kv->strings = s;
  for (size_t i = 0; i < kv->n; i++) {
    uint64_t len = pml_read_u64(r);
    size_t left = r->size - r->at;
    s[i].ptr = (const char *)pml_read_bytes(r, len);
    s[i].len = (size_t)len;
    if (r->failed)
      return pml_fail(PML_E_FORMAT, "%s: '%.*s': a string of %" PRIu64 " bytes, only %zu are left: the "
                      "download was cut or the file is damaged, pull it again", g->name,
                      pml__gguf_shown(kv->key), kv->key.ptr, len, left);
  }
  return PML_OK;
}

/* @gguf_value */
PML__FN pml_status pml__gguf_value(pml_gguf *g, pml_reader *r, pml__gguf_kv *kv, size_t i) {
  uint32_t type = pml_read_u32(r), elem = type;
  uint64_t n = 1;
  if (type == PML_GGUF_ARR) {
    elem = pml_read_u32(r);
    n = pml_read_u64(r);
  }
  if (r->failed) return pml__gguf_cut(g, "metadata entry", i, g->n_kv);
  if (type >= PML__GGUF_N_TYPES || elem >= PML__GGUF_N_TYPES)
    return pml_fail(PML_E_FORMAT, "%s: '%.*s' has the unknown value type %" PRIu32 ": the file is damaged or "
                    "newer than this program", g->name, pml__gguf_shown(kv->key), kv->key.ptr,
                    type == PML_GGUF_ARR ? elem : type);
  if (elem == PML_GGUF_ARR)
    return pml_fail(PML_E_UNSUPPORTED, "%s: '%.*s' is an array of arrays, which is not read", g->name,
                    pml__gguf_shown(kv->key), kv->key.ptr);
  size_t each = elem == PML_GGUF_STR ? 8 : pml__gguf_size[elem], left = r->size - r->at;
  if (n > left / each)
    return pml_fail(PML_E_FORMAT, "%s: '%.*s' claims %" PRIu64 " values, only %zu bytes follow: the download "
                    "was cut or the file is damaged, pull it again", g->name, pml__gguf_shown(kv->key),
                    kv->key.ptr, n, left);
  kv->type = (pml_gguf_type)type;
  kv->elem = (pml_gguf_type)elem;
  kv->n = (size_t)n;
  if (elem == PML_GGUF_STR) return pml__gguf_strings(g, r, kv);
  kv->data = pml_read_bytes(r, n * each);
  for (size_t k = 0; elem == PML_GGUF_BOOL && k < kv->n; k++)
    if (kv->data[k] > 1)
      return pml_fail(PML_E_FORMAT, "%s: '%.*s' is a bool and holds %d: the file is damaged", g->name,
                      pml__gguf_shown(kv->key), kv->key.ptr, kv->data[k]);
  return PML_OK;
}
/* @end */

PML__FN pml_status pml__gguf_read_kvs(pml_gguf *g, pml_reader *r) {
  g->kv = (pml__gguf_kv *)pml_arena_calloc(&g->arena, g->n_kv, sizeof *g->kv);
  g->by_key = (const void **)pml_arena_calloc(&g->arena, g->n_kv, sizeof *g->by_key);
  if (!g->kv || !g->by_key) return PML_E_MEMORY;
  for (size_t i = 0; i < g->n_kv; i++) {
    pml__gguf_kv *kv = &g->kv[i];
    pml_status st = pml__gguf_name(g, r, &kv->key, "metadata entry", i, g->n_kv, PML__GGUF_MAX_KEY);
    if (st == PML_OK) st = pml__gguf_value(g, r, kv, i);
    if (st != PML_OK) return st;
    g->by_key[i] = kv;
  }
  pml__sort_pointers(g->by_key, g->n_kv, pml__str_cmp);
  const pml_str *twice = pml__str_twice(g->by_key, g->n_kv);
  if (twice)
    return pml_fail(PML_E_FORMAT, "%s: the key '%.*s' is there twice: the file is damaged", g->name,
                    pml__gguf_shown(*twice), twice->ptr);
  return PML_OK;
}

PML__FN bool pml__gguf_alignment_ok(uint64_t a) { return a >= 8 && a <= 65536 && (a & (a - 1)) == 0; }

PML__FN pml_status pml__gguf_read_alignment(pml_gguf *g) {
  int64_t a = 32;
  bool given = pml__str_find(g->by_key, g->n_kv, "general.alignment") != NULL;
  if (given && !pml_gguf_get_int(g, "general.alignment", &a)) a = 0;
  if (a < 0 || !pml__gguf_alignment_ok((uint64_t)a))
    return pml_fail(PML_E_FORMAT, "%s: general.alignment is %" PRId64 ", it must be a power of two from 8 to "
                    "65536: the file is damaged", g->name, a);
  g->alignment = (size_t)a;
  return PML_OK;
}

/* Checks type and shape, and computes t->size where the type is known (else 0).
   The reader and the writer share it, so that we write nothing we would refuse. */
PML__FN pml_status pml__gguf_shape(const char *file, pml_tensor *t) {
  const pml_dtype_info_t *info = pml_dtype_info(t->type);
  size_t block = info ? (size_t)info->block : 1, n = 1, bytes;
  int shown = pml__gguf_shown(t->name);
  bool fits = true;
  for (int d = 0; d < t->n_dims; d++) {
    if (t->ne[d] == 0)
      return pml_fail(PML_E_FORMAT, "%s: tensor '%.*s': dimension %d is 0, at least 1 is needed", file,
                      shown, t->name.ptr, d + 1);
    fits = fits && t->ne[d] <= INT64_MAX && pml_size_mul(n, (size_t)t->ne[d], &n);
  }
  if (fits && t->ne[0] % block != 0)
    return pml_fail(PML_E_FORMAT, "%s: tensor '%.*s': rows of %" PRIu64 " do not divide into %s blocks of "
                    "%zu", file, shown, t->name.ptr, t->ne[0], info ? info->name : "?", block);
  fits = fits && n <= INT64_MAX && pml_size_mul(n / block, info ? (size_t)info->bytes : 0, &bytes);
  if (!fits)
    return pml_fail(PML_E_FORMAT, "%s: tensor '%.*s': the product of its dimensions does not fit 63 bits",
                    file, shown, t->name.ptr);
  t->size = bytes;
  return PML_OK;
}

PML__FN pml_status pml__gguf_read_info(pml_gguf *g, pml_reader *r, size_t i) {
  pml__gguf_info *info = &g->info[i];
  pml_tensor *t = &info->t;
  pml_status st = pml__gguf_name(g, r, &t->name, "tensor", i, g->n_tensors, PML__GGUF_MAX_NAME);
  if (st != PML_OK) return st;
  uint32_t n_dims = pml_read_u32(r);
  if (!r->failed && (n_dims < 1 || n_dims > 4))
    return pml_fail(PML_E_FORMAT, "%s: tensor '%.*s' has %" PRIu32 " dimensions, 1 to 4 are possible: the "
                    "file is damaged", g->name, pml__gguf_shown(t->name), t->name.ptr, n_dims);
  for (uint32_t d = 0; d < 4; d++) t->ne[d] = d < n_dims ? pml_read_u64(r) : 1;
  uint32_t type = pml_read_u32(r);
  info->offset = pml_read_u64(r);
  if (r->failed) return pml__gguf_cut(g, "tensor", i, g->n_tensors);
  if (type > INT32_MAX)
    return pml_fail(PML_E_FORMAT, "%s: tensor '%.*s' has the impossible type %" PRIu32 ": the file is "
                    "damaged", g->name, pml__gguf_shown(t->name), t->name.ptr, type);
  t->n_dims = (int)n_dims;
  t->type = (int)type;
  if (info->offset % g->alignment != 0)
    return pml_fail(PML_E_FORMAT, "%s: tensor '%.*s' lies at offset %" PRIu64 ", no multiple of the "
                    "alignment %zu: the file is damaged", g->name, pml__gguf_shown(t->name), t->name.ptr,
                    info->offset, g->alignment);
  return pml__gguf_shape(g->name, t);
}

PML__FN pml_status pml__gguf_read_infos(pml_gguf *g, pml_reader *r) {
  g->info = (pml__gguf_info *)pml_arena_calloc(&g->arena, g->n_tensors, sizeof *g->info);
  g->by_name = (const void **)pml_arena_calloc(&g->arena, g->n_tensors, sizeof *g->by_name);
  if (!g->info || !g->by_name) return PML_E_MEMORY;
  for (size_t i = 0; i < g->n_tensors; i++) {
    pml_status st = pml__gguf_read_info(g, r, i);
    if (st != PML_OK) return st;
    g->by_name[i] = &g->info[i];
  }
  pml__sort_pointers(g->by_name, g->n_tensors, pml__str_cmp);
  const pml_str *twice = pml__str_twice(g->by_name, g->n_tensors);
  if (twice)
    return pml_fail(PML_E_FORMAT, "%s: the tensor '%.*s' is there twice: the file is damaged", g->name,
                    pml__gguf_shown(*twice), twice->ptr);
  return PML_OK;
}

PML__FN int pml__gguf_offset_cmp(const void *a, const void *b) {
  uint64_t x = ((const pml__gguf_info *)a)->offset, y = ((const pml__gguf_info *)b)->offset;
  return (x > y) - (x < y);
}

/* Gives every tensor its bytes.  In order of offset each must end before the next
   one begins, and the last before the file ends. */
PML__FN pml_status pml__gguf_place(pml_gguf *g, size_t header_end) {
  size_t pad = (g->alignment - header_end % g->alignment) % g->alignment;
  size_t start = pad <= g->size - header_end ? header_end + pad : g->size, room = g->size - start;
  const void **order = (const void **)pml_arena_alloc(&g->arena, g->n_tensors * sizeof *order);
  if (!order) return PML_E_MEMORY;
  memcpy(order, g->by_name, g->n_tensors * sizeof *order);
  pml__sort_pointers(order, g->n_tensors, pml__gguf_offset_cmp);
  for (size_t i = 0; i < g->n_tensors; i++) {
    size_t at = (size_t)((const char *)order[i] - (const char *)g->info) / sizeof *g->info;
    pml_tensor *t = &g->info[at].t;
    uint64_t offset = g->info[at].offset;
    bool last = i + 1 == g->n_tensors;
    const pml__gguf_info *next = last ? NULL : (const pml__gguf_info *)order[i + 1];
    if (offset > room || t->size > room - offset)
      return pml_fail(PML_E_FORMAT, "%s: tensor '%.*s' needs %zu bytes at offset %" PRIu64 " of the tensor "
                      "data, the file ends at %zu: the download was cut, pull it again", g->name,
                      pml__gguf_shown(t->name), t->name.ptr, t->size, offset, room);
    if (next && t->size > next->offset - offset)
      return pml_fail(PML_E_FORMAT, "%s: the tensors '%.*s' and '%.*s' overlap: the file is damaged", g->name,
                      pml__gguf_shown(t->name), t->name.ptr, pml__gguf_shown(next->t.name), next->t.name.ptr);
    if (t->size == 0) { /* an unknown type: all up to its neighbour */
      uint64_t end = next && next->offset < room ? next->offset : room;
      t->size = (size_t)(end - offset);
    }
    t->data = t->size ? g->data + start + offset : NULL;
  }
  return PML_OK;
}

PML__FN pml_status pml__gguf_parse(pml_gguf *g) {
  pml_reader r = {.data = g->data, .size = g->size};
  pml_status st = pml__gguf_header(g, &r);
  if (st == PML_OK) st = pml__gguf_read_kvs(g, &r);
  if (st == PML_OK) st = pml__gguf_read_alignment(g);
  if (st == PML_OK) st = pml__gguf_read_infos(g, &r);
  if (st == PML_OK) st = pml__gguf_place(g, r.at);
  return st;
}

/* Takes over *file, which may be NULL. */
PML__FN pml_status pml__gguf_create(pml_gguf **out, pml_file *file, const void *data, size_t size,
                                    const char *name) {
  pml_gguf *g = (pml_gguf *)pml_calloc(1, sizeof *g);
  *out = NULL;
  if (!g) {
    pml_file_close(file);
    return PML_E_MEMORY;
  }
  if (file) g->file = *file;
  g->arena.block_size = 16384; /* a small file shall not cost the arena's usual 1 MiB */
  g->data = (const unsigned char *)data;
  g->size = size;
  char *copy = (char *)pml_arena_alloc(&g->arena, strlen(name) + 1);
  pml_status st = PML_E_MEMORY;
  if (copy) {
    memcpy(copy, name, strlen(name) + 1);
    g->name = copy;
    st = pml__gguf_parse(g);
  }
  if (st == PML_OK) *out = g;
  else pml_gguf_close(g);
  return st;
}

PML_API pml_status pml_gguf_open(pml_gguf **out, const char *path) {
  pml_file f;
  *out = NULL;
  pml_status st = pml_file_open(&f, path);
  return st == PML_OK ? pml__gguf_create(out, &f, f.data, f.size, path) : st;
}

PML_API pml_status pml_gguf_open_memory(pml_gguf **out, const void *data, size_t size, const char *name) {
  *out = NULL;
  if ((uintptr_t)data % 8 != 0)
    return pml_fail(PML_E_USAGE, "%s: bytes in memory must be aligned to 8, as pml_alloc does it", name);
  return pml__gguf_create(out, NULL, size ? data : "", size, name);
}

PML_API void pml_gguf_close(pml_gguf *g) {
  if (!g) return;
  pml_arena_free(&g->arena);
  pml_file_close(&g->file);
  pml_free(g);
}

/* ── Asking ─────────────────────────────────────────────────────────────────── */

PML_API const char *pml_gguf_path(const pml_gguf *g) { return g->name; }
PML_API int pml_gguf_version(const pml_gguf *g) { return g->version; }
PML_API size_t pml_gguf_alignment(const pml_gguf *g) { return g->alignment; }
PML_API size_t pml_gguf_n_tensors(const pml_gguf *g) { return g->n_tensors; }
PML_API size_t pml_gguf_n_kv(const pml_gguf *g) { return g->n_kv; }

PML_API const pml_tensor *pml_gguf_tensor_at(const pml_gguf *g, size_t i) {
  return i < g->n_tensors ? &g->info[i].t : NULL;
}

PML_API const pml_tensor *pml_gguf_tensor(const pml_gguf *g, const char *name) {
  const pml__gguf_info *info = (const pml__gguf_info *)pml__str_find(g->by_name, g->n_tensors, name);
  return info ? &info->t : NULL;
}

PML__FN const pml__gguf_kv *pml__gguf_find(const pml_gguf *g, const char *key) {
  return (const pml__gguf_kv *)pml__str_find(g->by_key, g->n_kv, key);
}

PML_API pml_str pml_gguf_key_at(const pml_gguf *g, size_t i, pml_gguf_type *type) {
  pml_str none = {NULL, 0};
  if (i >= g->n_kv) return none;
  if (type) *type = g->kv[i].type;
  return g->kv[i].key;
}

/* Element i of a value as an integer; false when it is none, or above INT64_MAX. */
PML__FN bool pml__gguf_int_at(const pml__gguf_kv *kv, size_t i, int64_t *v) {
  size_t each = pml__gguf_size[kv->elem];
  pml_reader r = {.data = kv->data, .size = kv->n * each, .at = i * each};
  uint64_t u;
  switch (kv->elem) {
    case PML_GGUF_U8: *v = pml_read_u8(&r); return true;
    case PML_GGUF_I8: *v = (int8_t)pml_read_u8(&r); return true;
    case PML_GGUF_U16: *v = pml_read_u16(&r); return true;
    case PML_GGUF_I16: *v = (int16_t)pml_read_u16(&r); return true;
    case PML_GGUF_U32: *v = pml_read_u32(&r); return true;
    case PML_GGUF_I32: *v = (int32_t)pml_read_u32(&r); return true;
    case PML_GGUF_I64: *v = (int64_t)pml_read_u64(&r); return true;
    case PML_GGUF_U64:
      u = pml_read_u64(&r);
      if (u > INT64_MAX) return false;
      *v = (int64_t)u;
      return true;
    default: return false;
  }
}

/* Element i of a value as a double; false for bools and strings. */
PML__FN bool pml__gguf_float_at(const pml__gguf_kv *kv, size_t i, double *v) {
  size_t each = pml__gguf_size[kv->elem];
  pml_reader r = {.data = kv->data, .size = kv->n * each, .at = i * each};
  int64_t whole;
  if (kv->elem == PML_GGUF_F32) *v = (double)pml_read_f32(&r);
  else if (kv->elem == PML_GGUF_F64) *v = pml_read_f64(&r);
  else if (kv->elem == PML_GGUF_U64) *v = (double)pml_read_u64(&r);
  else if (pml__gguf_int_at(kv, i, &whole)) *v = (double)whole;
  else return false;
  return true;
}

PML_API bool pml_gguf_get_int(const pml_gguf *g, const char *key, int64_t *v) {
  const pml__gguf_kv *kv = pml__gguf_find(g, key);
  return kv && kv->type != PML_GGUF_ARR && pml__gguf_int_at(kv, 0, v);
}

PML_API bool pml_gguf_get_float(const pml_gguf *g, const char *key, double *v) {
  const pml__gguf_kv *kv = pml__gguf_find(g, key);
  return kv && kv->type != PML_GGUF_ARR && pml__gguf_float_at(kv, 0, v);
}

PML_API bool pml_gguf_get_bool(const pml_gguf *g, const char *key, bool *v) {
  const pml__gguf_kv *kv = pml__gguf_find(g, key);
  if (!kv || kv->type != PML_GGUF_BOOL) return false;
  *v = kv->data[0] != 0;
  return true;
}

PML_API bool pml_gguf_get_str(const pml_gguf *g, const char *key, pml_str *v) {
  const pml__gguf_kv *kv = pml__gguf_find(g, key);
  if (!kv || kv->type != PML_GGUF_STR) return false;
  *v = kv->string;
  return true;
}

PML_API bool pml_gguf_get_arr(const pml_gguf *g, const char *key, pml_gguf_type *type, size_t *n,
                              const void **data) {
  const pml__gguf_kv *kv = pml__gguf_find(g, key);
  if (!kv || kv->type != PML_GGUF_ARR) return false;
  if (type) *type = kv->elem;
  if (n) *n = kv->n;
  if (data) *data = kv->data;
  return true;
}

PML_API bool pml_gguf_get_arr_str(const pml_gguf *g, const char *key, size_t i, pml_str *v) {
  const pml__gguf_kv *kv = pml__gguf_find(g, key);
  if (!kv || kv->type != PML_GGUF_ARR || kv->elem != PML_GGUF_STR || i >= kv->n) return false;
  *v = kv->strings[i];
  return true;
}

/* A character that may reach a terminal as it is: no control, no reordering mark. */
PML__FN bool pml__gguf_printable(uint32_t cp) {
  bool control = cp < 0x20 || (cp >= 0x7F && cp < 0xA0);
  bool reorders = (cp >= 0x200B && cp <= 0x200F) || (cp >= 0x2028 && cp <= 0x202E) ||
                  (cp >= 0x2060 && cp <= 0x206F) || cp == 0xFEFF;
  return !control && !reorders && cp < 0xE0000;
}

PML__FN void pml__gguf_quote(pml_str s, size_t limit, pml_buf *out) {
  size_t i = 0;
  pml_buf_puts(out, "\"");
  while (i < s.len && i < limit) {
    uint32_t cp;
    int n = pml_utf8_decode(s.ptr + i, s.len - i, &cp);
    if (s.ptr[i] == '"' || s.ptr[i] == '\\') pml_buf_printf(out, "\\%c", s.ptr[i]);
    else if (s.ptr[i] == '\n') pml_buf_puts(out, "\\n");
    else if (pml__gguf_printable(cp)) pml_buf_add(out, s.ptr + i, (size_t)n);
    else
      for (int k = 0; k < n; k++) pml_buf_printf(out, "\\x%02x", (unsigned char)s.ptr[i + (size_t)k]);
    i += (size_t)n;
  }
  pml_buf_puts(out, i < s.len ? "\"..." : "\"");
}

PML__FN void pml__gguf_elem_text(const pml__gguf_kv *kv, size_t i, pml_buf *out) {
  int64_t whole;
  double real = 0;
  if (kv->elem == PML_GGUF_STR) pml__gguf_quote(kv->strings[i], kv->type == PML_GGUF_ARR ? 24 : 60, out);
  else if (kv->elem == PML_GGUF_BOOL) pml_buf_puts(out, kv->data[i] ? "true" : "false");
  else if (pml__gguf_int_at(kv, i, &whole)) pml_buf_printf(out, "%" PRId64, whole);
  else if (pml__gguf_float_at(kv, i, &real))
    pml_buf_printf(out, kv->elem == PML_GGUF_F32 ? "%.7g" : "%.15g", real);
}

PML_API void pml_gguf_value_text(const pml_gguf *g, size_t i, pml_buf *out) {
  if (i >= g->n_kv) return;
  const pml__gguf_kv *kv = &g->kv[i];
  if (kv->type == PML_GGUF_ARR) pml_buf_printf(out, "[%zu]%s", kv->n, kv->n ? " " : "");
  for (size_t k = 0; k < kv->n && k < 3; k++) {
    if (k) pml_buf_puts(out, ", ");
    pml__gguf_elem_text(kv, k, out);
  }
  if (kv->n > 3) pml_buf_puts(out, ", ...");
}

/* ── The tokenizer in the file ──────────────────────────────────────────────── */

/* Other tokenizers by the name they have in the file. */
PML__FN const char *pml__gguf_tokenizer_kind(pml_str model) {
  if (pml_str_eq(model, "llama")) return "SentencePiece BPE";
  if (pml_str_eq(model, "bert")) return "WordPiece";
  if (pml_str_eq(model, "t5")) return "SentencePiece unigram";
  return "unknown here";
}

PML__FN pml_status pml__gguf_tokenizer_model(const pml_gguf *g, pml_pre *pre) {
  static const struct { const char *name; pml_pre pre; } known[] = {
      {"default", PML_PRE_GPT2}, {"", PML_PRE_GPT2}, {"gpt-2", PML_PRE_GPT2}, {"gpt2", PML_PRE_GPT2},
      {"qwen2", PML_PRE_QWEN2}, {"deepseek-r1-qwen", PML_PRE_QWEN2}};
  pml_str model, name = {"", 0};
  if (!pml_gguf_get_str(g, "tokenizer.ggml.model", &model))
    return pml_fail(PML_E_FORMAT, "%s: has no tokenizer: tokenizer.ggml.model is missing", g->name);
  pml_buf quoted = {0};
  pml_status st = PML_OK;
  if (!pml_str_eq(model, "gpt2")) {
    pml__gguf_quote(model, 40, &quoted);
    st = pml_fail(PML_E_UNSUPPORTED, "%s: its tokenizer is %s (%s), only byte-level BPE (\"gpt2\") is "
                  "written yet", g->name, quoted.data ? quoted.data : "?", pml__gguf_tokenizer_kind(model));
  } else {
    (void)pml_gguf_get_str(g, "tokenizer.ggml.pre", &name);
    size_t i = 0, n = sizeof known / sizeof known[0];
    while (i < n && !pml_str_eq(name, known[i].name)) i++;
    if (i < n) *pre = known[i].pre;
    else {
      pml__gguf_quote(name, 40, &quoted);
      st = pml_fail(PML_E_UNSUPPORTED, "%s: its pre-tokenizer %s is not written yet, those of GPT-2 and "
                    "Qwen2 are", g->name, quoted.data ? quoted.data : "?");
    }
  }
  pml_buf_free(&quoted);
  return st;
}

/* An optional token id: -1 when the key is absent or holds 2^32 - 1. */
PML__FN pml_status pml__gguf_token_id(const pml_gguf *g, const char *key, int n_vocab, int *id) {
  const pml__gguf_kv *kv = pml__gguf_find(g, key);
  int64_t v = -1;
  *id = -1;
  if (!kv) return PML_OK;
  if (!pml_gguf_get_int(g, key, &v)) return pml_fail(PML_E_FORMAT, "%s: %s is not a number", g->name, key);
  if (v == -1 || v == UINT32_MAX) return PML_OK;
  if (v < 0 || v >= n_vocab)
    return pml_fail(PML_E_FORMAT, "%s: %s is %" PRId64 ", the vocabulary has %d tokens: the file is damaged",
                    g->name, key, v, n_vocab);
  *id = (int)v;
  return PML_OK;
}

/* token_type as int32 [n]; *types stays NULL when the key is absent. */
PML__FN pml_status pml__gguf_token_types(const pml_gguf *g, size_t n, int32_t **types) {
  const pml__gguf_kv *kv = pml__gguf_find(g, "tokenizer.ggml.token_type");
  if (!kv) return PML_OK;
  if (kv->type != PML_GGUF_ARR || (kv->elem != PML_GGUF_I32 && kv->elem != PML_GGUF_U32) || kv->n != n)
    return pml_fail(PML_E_FORMAT, "%s: tokenizer.ggml.token_type must be an array of %zu i32, one per token",
                    g->name, n);
  int32_t *t = (int32_t *)pml_alloc(n * sizeof *t); /* n * 4 bytes were found in the file: no wrap */
  if (!t) return PML_E_MEMORY;
  if (n) memcpy(t, kv->data, n * sizeof *t);
  for (size_t i = 0; i < n; i++)
    if (t[i] < 0 || t[i] > 6) {
      pml_status st = pml_fail(PML_E_FORMAT, "%s: token %zu has the type %" PRId32 ", 0 to 6 are possible: "
                               "the file is damaged", g->name, i, t[i]);
      pml_free(t);
      return st;
    }
  *types = t;
  return PML_OK;
}

PML_API pml_status pml_gguf_tokenizer(const pml_gguf *g, pml_tokenizer **out) {
  pml_tokenizer_spec spec = {.bos = -1};
  *out = NULL;
  pml_status st = pml__gguf_tokenizer_model(g, &spec.pre);
  if (st != PML_OK) return st;
  const pml__gguf_kv *tokens = pml__gguf_find(g, "tokenizer.ggml.tokens");
  const pml__gguf_kv *merges = pml__gguf_find(g, "tokenizer.ggml.merges");
  bool tokens_ok = tokens && tokens->type == PML_GGUF_ARR && tokens->elem == PML_GGUF_STR;
  bool merges_ok = merges && merges->type == PML_GGUF_ARR && (merges->elem == PML_GGUF_STR || merges->n == 0);
  if (!tokens_ok || tokens->n == 0 || tokens->n > INT_MAX)
    return pml_fail(PML_E_FORMAT, "%s: tokenizer.ggml.tokens must be an array of 1 to 2^31 - 1 strings",
                    g->name);
  if (!merges_ok)
    return pml_fail(PML_E_FORMAT, "%s: tokenizer.ggml.merges must be an array of strings", g->name);
  int32_t *types = NULL;
  spec.n_vocab = (int)tokens->n;
  spec.tokens = tokens->strings;
  spec.n_merges = merges->n;
  spec.merges = merges->strings;
  (void)pml_gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &spec.add_bos);
  st = pml__gguf_token_id(g, "tokenizer.ggml.bos_token_id", spec.n_vocab, &spec.bos);
  if (st == PML_OK) st = pml__gguf_token_id(g, "tokenizer.ggml.eos_token_id", spec.n_vocab, &spec.eos);
  if (st == PML_OK) st = pml__gguf_token_id(g, "tokenizer.ggml.eot_token_id", spec.n_vocab, &spec.eot);
  if (st == PML_OK) st = pml__gguf_token_id(g, "tokenizer.ggml.padding_token_id", spec.n_vocab, &spec.pad);
  if (st == PML_OK) st = pml__gguf_token_types(g, tokens->n, &types);
  spec.types = types;
  if (st == PML_OK) st = pml_tokenizer_create(out, &spec);
  pml_free(types);
  return st;
}

/* ── Writing ────────────────────────────────────────────────────────────────── */

struct pml_gguf_writer {
  pml_buf meta;              /* the metadata entries as they will stand in the file */
  pml_buf keys, tensors;     /* arrays of size_t: where each key lies in meta; of pml_tensor */
  pml_arena names;
  size_t n_kv, alignment;
  pml_status status;         /* the first error ... */
  char why[1024];            /* ... and its sentence */
};

PML_API pml_status pml_gguf_writer_create(pml_gguf_writer **out) {
  *out = (pml_gguf_writer *)pml_calloc(1, sizeof **out);
  if (!*out) return PML_E_MEMORY;
  (*out)->names.block_size = 16384;
  (*out)->alignment = 32;
  return PML_OK;
}

PML_API void pml_gguf_writer_cancel(pml_gguf_writer *w) {
  if (!w) return;
  pml_buf_free(&w->meta);
  pml_buf_free(&w->keys);
  pml_buf_free(&w->tensors);
  pml_arena_free(&w->names);
  pml_free(w);
}

/* Remembers the error whose sentence stands in pml_error(). */
PML__FN void pml__gguf_writer_fail(pml_gguf_writer *w, pml_status st) {
  w->status = st;
  snprintf(w->why, sizeof w->why, "%s", pml_error());
}

/* Little-endian machines only (see the top), so numbers are written as they lie. */
PML__FN void pml__gguf_put_u32(pml_buf *b, uint32_t v) { pml_buf_add(b, &v, sizeof v); }
PML__FN void pml__gguf_put_u64(pml_buf *b, uint64_t v) { pml_buf_add(b, &v, sizeof v); }

PML__FN void pml__gguf_put_str(pml_buf *b, pml_str s) {
  pml__gguf_put_u64(b, s.len);
  pml_buf_add(b, s.ptr, s.len);
}

/* Key and type of an entry; false when there is an error, also an earlier one. */
PML__FN bool pml__gguf_put_key(pml_gguf_writer *w, const char *key, pml_gguf_type type) {
  pml_str k = pml_str_of(key);
  if (w->status != PML_OK) return false;
  if (k.len == 0 || k.len > PML__GGUF_MAX_KEY || !pml__name_clean(k)) {
    pml__gguf_writer_fail(w, pml_fail(PML_E_USAGE, "a GGUF key must be 1 to 65535 bytes of printable UTF-8"));
    return false;
  }
  size_t at = w->meta.len;
  pml_buf_add(&w->keys, &at, sizeof at);
  pml__gguf_put_str(&w->meta, k);
  pml__gguf_put_u32(&w->meta, (uint32_t)type);
  w->n_kv++;
  return true;
}

PML_API void pml_gguf_add_value(pml_gguf_writer *w, const char *key, pml_gguf_type type, const void *value) {
  bool fixed = (unsigned)type < PML__GGUF_N_TYPES && pml__gguf_size[type] > 0;
  if (w->status == PML_OK && (!value || (!fixed && type != PML_GGUF_STR)))
    pml__gguf_writer_fail(w, pml_fail(PML_E_USAGE, "'%s': a value needs a type and data", key));
  if (!pml__gguf_put_key(w, key, type)) return;
  if (type == PML_GGUF_STR) pml__gguf_put_str(&w->meta, *(const pml_str *)value);
  else pml_buf_add(&w->meta, value, pml__gguf_size[type]);
  if (strcmp(key, "general.alignment") != 0) return;
  uint32_t a = 0;
  if (type == PML_GGUF_U32) memcpy(&a, value, sizeof a);
  if (pml__gguf_alignment_ok(a)) w->alignment = a;
  else pml__gguf_writer_fail(w, pml_fail(PML_E_USAGE, "%s: give a u32, a power of two from 8 to 65536", key));
}

PML_API void pml_gguf_add_arr(pml_gguf_writer *w, const char *key, pml_gguf_type type, const void *data,
                              size_t n) {
  size_t bytes = 0, each = (unsigned)type < PML__GGUF_N_TYPES ? pml__gguf_size[type] : 0;
  if (w->status == PML_OK && (each == 0 || (!data && n) || !pml_size_mul(n, each, &bytes)))
    pml__gguf_writer_fail(w, pml_fail(PML_E_USAGE, "'%s': an array needs a fixed-size type, and data", key));
  if (!pml__gguf_put_key(w, key, PML_GGUF_ARR)) return;
  pml__gguf_put_u32(&w->meta, (uint32_t)type);
  pml__gguf_put_u64(&w->meta, n);
  pml_buf_add(&w->meta, data, bytes);
}

PML_API void pml_gguf_add_arr_str(pml_gguf_writer *w, const char *key, const pml_str *v, size_t n) {
  if (!pml__gguf_put_key(w, key, PML_GGUF_ARR)) return;
  pml__gguf_put_u32(&w->meta, PML_GGUF_STR);
  pml__gguf_put_u64(&w->meta, n);
  for (size_t i = 0; i < n; i++) pml__gguf_put_str(&w->meta, v[i]);
}

PML_API void pml_gguf_add_u32(pml_gguf_writer *w, const char *key, uint32_t v) {
  pml_gguf_add_value(w, key, PML_GGUF_U32, &v);
}
PML_API void pml_gguf_add_u64(pml_gguf_writer *w, const char *key, uint64_t v) {
  pml_gguf_add_value(w, key, PML_GGUF_U64, &v);
}
PML_API void pml_gguf_add_f32(pml_gguf_writer *w, const char *key, float v) {
  pml_gguf_add_value(w, key, PML_GGUF_F32, &v);
}
PML_API void pml_gguf_add_bool(pml_gguf_writer *w, const char *key, bool v) {
  unsigned char byte = v ? 1 : 0;
  pml_gguf_add_value(w, key, PML_GGUF_BOOL, &byte);
}
PML_API void pml_gguf_add_str(pml_gguf_writer *w, const char *key, const char *v) {
  pml_str s = pml_str_of(v);
  pml_gguf_add_value(w, key, PML_GGUF_STR, v ? &s : NULL);
}
PML_API void pml_gguf_add_arr_i32(pml_gguf_writer *w, const char *key, const int32_t *v, size_t n) {
  pml_gguf_add_arr(w, key, PML_GGUF_I32, v, n);
}

PML_API void pml_gguf_add_tokenizer(pml_gguf_writer *w, const pml_tokenizer *t) {
  const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t);
  size_t n = (size_t)s->n_vocab;
  int32_t *normal = NULL;
  if (!s->types) { /* none given: every token is of type 1 */
    normal = (int32_t *)pml_alloc(n * sizeof *normal);
    if (!normal) {
      pml__gguf_writer_fail(w, PML_E_MEMORY);
      return;
    }
    for (size_t i = 0; i < n; i++) normal[i] = 1;
  }
  pml_gguf_add_str(w, "tokenizer.ggml.model", "gpt2");
  pml_gguf_add_str(w, "tokenizer.ggml.pre", s->pre == PML_PRE_QWEN2 ? "qwen2" : "gpt-2");
  pml_gguf_add_arr_str(w, "tokenizer.ggml.tokens", s->tokens, n);
  pml_gguf_add_arr_i32(w, "tokenizer.ggml.token_type", s->types ? s->types : normal, n);
  pml_gguf_add_arr_str(w, "tokenizer.ggml.merges", s->merges, s->n_merges);
  if (s->bos >= 0) pml_gguf_add_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)s->bos);
  if (s->eos >= 0) pml_gguf_add_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)s->eos);
  if (s->eot >= 0) pml_gguf_add_u32(w, "tokenizer.ggml.eot_token_id", (uint32_t)s->eot);
  if (s->pad >= 0) pml_gguf_add_u32(w, "tokenizer.ggml.padding_token_id", (uint32_t)s->pad);
  pml_gguf_add_bool(w, "tokenizer.ggml.add_bos_token", s->add_bos);
  pml_free(normal);
}

PML_API void pml_gguf_add_tensor(pml_gguf_writer *w, const char *name, pml_dtype type, int n_dims,
                                 const uint64_t *ne, const void *data) {
  pml_tensor t = {.name = pml_str_of(name), .type = (int)type, .n_dims = n_dims, .ne = {1, 1, 1, 1}};
  pml_status st = PML_OK;
  if (w->status != PML_OK) return;
  if (t.name.len == 0 || t.name.len > PML__GGUF_OUR_NAME || !pml__name_clean(t.name))
    st = pml_fail(PML_E_USAGE, "tensor '%s': a name is 1 to 63 bytes of printable UTF-8", name ? name : "");
  else if (!pml_dtype_info((int)type))
    st = pml_fail(PML_E_USAGE, "tensor '%s': unknown type %d", name, (int)type);
  else if (n_dims < 1 || n_dims > 4)
    st = pml_fail(PML_E_USAGE, "tensor '%s': %d dimensions, 1 to 4 are possible", name, n_dims);
  else if (!data) st = pml_fail(PML_E_USAGE, "tensor '%s' has no data", name);
  else {
    for (int d = 0; d < n_dims; d++) t.ne[d] = ne[d];
    if (pml__gguf_shape("GGUF writer", &t) != PML_OK) st = PML_E_USAGE;
  }
  char *copy = st == PML_OK ? (char *)pml_arena_alloc(&w->names, t.name.len) : NULL;
  if (st != PML_OK || !copy) {
    pml__gguf_writer_fail(w, st != PML_OK ? st : PML_E_MEMORY);
    return;
  }
  memcpy(copy, name, t.name.len);
  t.name.ptr = copy;
  t.data = data;
  pml_buf_add(&w->tensors, &t, sizeof t);
}

PML__FN size_t pml__gguf_padding(const pml_gguf_writer *w, uint64_t size) {
  return (size_t)((w->alignment - size % w->alignment) % w->alignment);
}

/* A key or a tensor name that was added twice is an error. */
PML__FN pml_status pml__gguf_writer_unique(pml_gguf_writer *w) {
  const pml_tensor *t = (const pml_tensor *)(const void *)w->tensors.data;
  const size_t *at = (const size_t *)(const void *)w->keys.data;
  size_t n_tensors = w->tensors.len / sizeof *t, n = w->n_kv > n_tensors ? w->n_kv : n_tensors;
  const void **sorted = (const void **)pml_arena_calloc(&w->names, n, sizeof *sorted);
  pml_str *keys = (pml_str *)pml_arena_calloc(&w->names, w->n_kv, sizeof *keys);
  if (!sorted || !keys) return PML_E_MEMORY;
  for (size_t i = 0; i < w->n_kv; i++) {
    pml_reader r = {.data = (const unsigned char *)w->meta.data, .size = w->meta.len, .at = at[i]};
    keys[i].len = (size_t)pml_read_u64(&r);
    keys[i].ptr = (const char *)pml_read_bytes(&r, keys[i].len);
    sorted[i] = &keys[i];
  }
  pml__sort_pointers(sorted, w->n_kv, pml__str_cmp);
  const pml_str *twice = pml__str_twice(sorted, w->n_kv);
  if (!twice) {
    for (size_t i = 0; i < n_tensors; i++) sorted[i] = &t[i];
    pml__sort_pointers(sorted, n_tensors, pml__str_cmp);
    twice = pml__str_twice(sorted, n_tensors);
  }
  if (!twice) return PML_OK;
  return pml_fail(PML_E_USAGE, "GGUF writer: '%.*s' was added twice", pml__gguf_shown(*twice), twice->ptr);
}

/* Everything before the tensor data. */
PML__FN void pml__gguf_put_head(pml_gguf_writer *w, const pml_tensor *t, size_t n_tensors, pml_buf *head) {
  uint64_t offset = 0;
  pml_buf_add(head, "GGUF", 4);
  pml__gguf_put_u32(head, 3);
  pml__gguf_put_u64(head, n_tensors);
  pml__gguf_put_u64(head, w->n_kv);
  pml_buf_add(head, w->meta.data, w->meta.len);
  for (size_t i = 0; i < n_tensors; i++) {
    pml__gguf_put_str(head, t[i].name);
    pml__gguf_put_u32(head, (uint32_t)t[i].n_dims);
    for (int d = 0; d < t[i].n_dims; d++) pml__gguf_put_u64(head, t[i].ne[d]);
    pml__gguf_put_u32(head, (uint32_t)t[i].type);
    pml__gguf_put_u64(head, offset);
    offset += t[i].size + pml__gguf_padding(w, t[i].size); /* the data lies in memory: no wrap */
  }
}

PML_API pml_status pml_gguf_writer_finish(pml_gguf_writer *w, const char *path) {
  static const unsigned char zeros[4096];
  const pml_tensor *t = (const pml_tensor *)(const void *)w->tensors.data;
  size_t n_tensors = w->tensors.len / sizeof *t;
  pml_buf head = {0};
  pml_writer *file = NULL;
  pml_status st = w->status;
  if (st != PML_OK) pml_fail(st, "%s: %s", path && *path ? path : "GGUF writer", w->why);
  else if (w->meta.failed || w->keys.failed || w->tensors.failed) st = PML_E_MEMORY;
  if (st == PML_OK) st = pml__gguf_writer_unique(w);
  if (st == PML_OK) {
    pml__gguf_put_head(w, t, n_tensors, &head);
    st = head.failed ? PML_E_MEMORY : pml_writer_open(&file, path);
  }
  if (st == PML_OK) st = pml_writer_add(file, head.data, head.len);
  for (size_t i = 0; st == PML_OK && i <= n_tensors; i++) {
    for (size_t pad = pml__gguf_padding(w, pml_writer_offset(file)); st == PML_OK && pad > 0;) {
      size_t n = pad < sizeof zeros ? pad : sizeof zeros;
      st = pml_writer_add(file, zeros, n);
      pad -= n;
    }
    if (st == PML_OK && i < n_tensors) st = pml_writer_add(file, t[i].data, t[i].size);
  }
  pml_buf_free(&head);
  pml_gguf_writer_cancel(w);
  if (st == PML_OK) return pml_writer_commit(file);
  pml_writer_cancel(file);
  return st;
}

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
   § 25  MODEL                                        needs § 8 § 11 § 17 § 18 § 24
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
/* Those of one layer, and of these the feed-forward network's: gate, up and down. */
PML_API uint64_t pml_config_layer_params(const pml_config *c);
PML_API uint64_t pml_config_ffn_params(const pml_config *c);
/* The published shapes that lessons calculate with: "Qwen2.5 0.5B", "1.5B", "7B", "32B", in this order from
   i = 0; further ones have d_model 0.  arch is the name. */
PML_API pml_config pml_config_shape(int i);

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
/* For tests and lessons that break a file on purpose: opens a copy in which dimension `dim` (0: columns, 1:
   rows) of a tensor is `size`, and closes it.  The result says whether anybody noticed; PML_E_USAGE: there is
   no such tensor or dimension. */
PML_API pml_status pml_model_open_damaged(const char *path, const char *tensor, int dim, uint64_t size);

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

PML_API pml_config pml_config_shape(int i) {
  static const struct {
    const char *name;
    int d, layers, heads, kv_heads, f, vocab;
    bool tied;
  } all[] = {{"Qwen2.5 0.5B", 896, 24, 14, 2, 4864, 151936, true},
             {"Qwen2.5 1.5B", 1536, 28, 12, 2, 8960, 151936, true},
             {"Qwen2.5 7B", 3584, 28, 28, 4, 18944, 152064, false},
             {"Qwen2.5 32B", 5120, 64, 40, 8, 27648, 152064, false}};
  pml_config c;
  memset(&c, 0, sizeof c);
  if (i < 0 || i >= (int)(sizeof all / sizeof all[0])) return c;
  snprintf(c.arch, sizeof c.arch, "%s", all[i].name);
  c.d_model = all[i].d, c.n_layers = all[i].layers, c.n_heads = all[i].heads, c.n_kv_heads = all[i].kv_heads;
  c.d_ffn = all[i].f, c.n_vocab = all[i].vocab, c.tied_head = all[i].tied;
  c.head_dim = c.d_model / c.n_heads, c.qkv_bias = true;
  return c;
}

PML_API uint64_t pml_config_ffn_params(const pml_config *c) { return 3 * (uint64_t)c->d_ffn * (uint64_t)c->d_model; }

PML_API uint64_t pml_config_layer_params(const pml_config *c) {
  uint64_t d = (uint64_t)c->d_model;
  uint64_t q = (uint64_t)c->n_heads * (uint64_t)c->head_dim, kv = (uint64_t)c->n_kv_heads * (uint64_t)c->head_dim;
  return 2 * d + 2 * q * d + 2 * kv * d + pml_config_ffn_params(c) + (c->qkv_bias ? q + 2 * kv : 0);
}

PML_API uint64_t pml_config_n_params(const pml_config *c) {
  uint64_t d = (uint64_t)c->d_model, v = (uint64_t)c->n_vocab;
  return (uint64_t)c->n_layers * pml_config_layer_params(c) + d + v * d * (c->tied_head ? 1 : 2);
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

PML_API pml_status pml_model_open_damaged(const char *path, const char *tensor, int dim, uint64_t size) {
  char *bytes;
  uint64_t len = strlen(tensor); /* a GGUF string is its length, then its bytes; then follow u32 n, n × u64 dimensions */
  size_t n, at = 8, end = len + 4 + 8 * ((size_t)dim + 1);
  uint32_t dims = 0;
  pml_model *m = NULL;
  pml_status st = pml_file_read(path, &bytes, &n);
  if (st != PML_OK) return st;
  while (at + end < n && (memcmp(bytes + at - 8, &len, 8) != 0 || memcmp(bytes + at, tensor, len) != 0)) at++;
  if (at + end < n) memcpy(&dims, bytes + at + len, 4);
  if (dim < 0 || (uint32_t)dim >= dims) st = pml_fail(PML_E_USAGE, "%s has no tensor '%s' with a dimension %d", path, tensor, dim);
  else memcpy(bytes + at + end - 8, &size, 8);
  if (st == PML_OK) st = pml_model_open_memory(&m, bytes, n, "damaged.gguf", NULL);
  pml_model_close(m);
  pml_free(bytes);
  return st;
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

   Trace spans (§ 10), each from the start of its block: embed, per layer queries
   (rotated), heads, attention, gate (before silu), hidden, ffn, then head.

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
/* A known text, read from an empty sequence. */
typedef struct {
  pml_context *ctx;
  pml_seq *seq;
  const int32_t *tokens;      /* [n] */
  int n;
  float *logits;              /* [n,V] */
} pml_text;
/* Fills the logits in one pass (steps 0), as training and prefill do, or in n steps of one token through the
   cache, as decoding does: the same bits.  text is a pml_text *, so that pml_measure_pair (§ 51) can time it. */
PML_API pml_status pml_forward_text(void *text, int steps);
/* Reads it both ways: how many of the n·V logits differ in any bit.  text->logits is not used. */
PML_API pml_status pml_forward_agree(const pml_text *text, size_t *differ);
PML_API void pml_context_seq_free(pml_context *ctx, pml_seq *seq);
/* The pool that holds the keys and values, for reading: rows by pml_kv_k_row (§ 24).  Borrowed
   from the context.  NULL when the backend keeps them elsewhere. */
PML_API const pml_kv *pml_context_kv(const pml_context *ctx);

/* What the model would say if it ended here (the "logit lens"): every layer adds to the same row of
   d numbers, so the final norm and the head can read row[d] at any depth.  logits[V]; scratch[d].
   After the last layer this is the model's own answer, bit for bit. */
PML_API pml_status pml_lens(const pml_model *m, const float *row, float *scratch, float *logits);
/* Runs tokens as pml_forward_one and reads their last row at every depth: [0] the embedding, [l] after layer
   l - 1.  Uses the trace hook meanwhile.  PML_E_LIMIT: more than PML_DEPTHS_MAX - 1 layers. */
enum { PML_DEPTHS_MAX = 129 };
typedef struct {
  int n;                      /* layers + 1 */
  struct {
    char after[16];           /* "embedding", "layer 0" … */
    double length, p;         /* |row|; the probability of the likeliest token */
    int32_t token;
  } at[PML_DEPTHS_MAX];
  double p_sum;               /* of all probabilities after the last layer */
  bool starts_in_table;       /* row 0 is the last token's row of the embedding, bit for bit */
  bool ends_in_logits;        /* the last reading is the model's logits, bit for bit */
} pml_depths;
PML_API pml_status pml_lens_depths(pml_depths *out, pml_context *ctx, pml_seq *seq, const int32_t *tokens, int n,
                                   float *logits);

/* The definition of attention, one query and plain loops, for eyes and for tests of § 14:
   weights[n] = softmax(q·k[p] / √h), out[h] = Σ weights[p]·v[p] over the n positions that the
   query may see.  k[p], v[p] point at rows of h floats.  softmax false keeps the raw scores as
   weights: the fault that lesson 05 injects.  out may be NULL. */
PML_API void pml_attend(float *out, double *weights, const float *q, const float *const *k, const float *const *v,
                        int n, int head_dim, bool softmax);

/* Attention under the microscope.  While a probe is open, every run of its context (one sequence)
   is watched through the trace hook (§ 10), of which there is only one.  The probe keeps the
   rotated queries and the head outputs of the latest run: [n_layers][rows][H·h].  With `replace`
   the outputs are computed again by pml_attend, from the same queries and cache, compared with
   those of § 14, and put in their place: the model goes on with them. */
typedef struct {
  bool replace, no_softmax;    /* the caller's choice, before a run */
  int rows;                    /* of the latest run */
  float *queries, *heads;
  double difference, largest;  /* since the probe was opened: worst |ours − § 14's|, largest |§ 14's|, per head */
  double growth;               /* mean of |ours| / |§ 14's| */
  const pml_context *ctx;
  const pml_seq *seq;
  const float *run_queries;
  int max_rows;
  uint64_t n;
} pml_probe;
/* max_rows: the longest run.  PML_E_UNSUPPORTED when the backend shows no cache. */
PML_API pml_status pml_probe_open(pml_probe **out, const pml_context *ctx, const pml_seq *seq, int max_rows);
PML_API void pml_probe_close(pml_probe *p);
/* weights[n] of query row `row` of the latest run, which began at position `first`; n = first + row + 1.
   kv_head < 0: the one that belongs to the head.  out[h] may be NULL. */
PML_API pml_status pml_probe_row(const pml_probe *p, int layer, int head, int kv_head, int first, int row,
                                 double *weights, float *out);
/* What one head did in the latest run, which began with an empty sequence: weights[rows,rows], NaN
   for the future, and what they say about it. */
typedef struct {
  double previous;             /* mean weight on the token before, rows 1 … */
  double used;                 /* mean of e^entropy / (positions visible), rows 1 …: 1 is even attention */
  double asymmetry;            /* Σ|s(i,j) − s(j,i)| / Σ|s(i,j)| of the scores before the mask; 0: symmetric */
  double sum_error;            /* the worst |Σ weights − 1| of a row */
  double other_kv;             /* Σ|change| / Σ|output| of the last row if it read the next kv head; 1 of 1: 0 */
} pml_head_facts;
PML_API pml_status pml_probe_head(const pml_probe *p, int layer, int head, double *weights, pml_head_facts *facts);
/* All heads of the latest run, which began with an empty sequence; PML_E_LIMIT when they do not fit. */
enum { PML_SURVEY_HEADS = 256, PML_SURVEY_ROWS = 40 };
typedef struct {
  int rows, n_heads, n;                    /* T; H; all heads: layer · H + head */
  double weights[PML_SURVEY_HEADS][PML_SURVEY_ROWS * PML_SURVEY_ROWS]; /* [T,T] each */
  pml_head_facts of[PML_SURVEY_HEADS], worst; /* worst: smallest asymmetry and other_kv, largest sum_error */
  double share[PML_SURVEY_HEADS];          /* what the last row gives to the marked positions */
  int local, spread, aimed;                /* the head with the largest `previous`, `used`, share */
  double even;                             /* `previous` of a head with even attention */
} pml_head_survey;
PML_API pml_status pml_probe_survey(const pml_probe *p, const bool *marked, pml_head_survey *out);
/* Does anything look at the future?  Runs tokens twice from an empty sequence, the second time with another last
   token, and counts the numbers of all head outputs that changed: in the last row (some should) and before (none
   may). */
PML_API pml_status pml_probe_causal(pml_probe *p, pml_context *ctx, pml_seq *seq, const int32_t *tokens, int n,
                                    size_t *last, size_t *before);

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

/* @attention_block */
/* x += attention(rmsnorm(x))·Woᵀ for T rows. */
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
  pml_trace_end(t0, "queries", layer, s->q, (size_t)T * (size_t)(c->n_heads * c->head_dim));
  for (int r = 0; r < T; r++) {
    pml_kv_view *view = &s->views[s->row_seg[r]];
    if (r == 0 || s->row_seg[r] != s->row_seg[r - 1]) *view = pml_kv_view_of(s->kv, segs[s->row_seg[r]].seq, layer);
    s->row_view[r] = view;
  }
  st = pml_attention(s->att, s->q, T, c->n_heads, c->n_kv_heads, c->head_dim, s->row_view, s->visible);
  if (st != PML_OK) return st;
  pml_trace_end(t0, "heads", layer, s->att, (size_t)T * (size_t)(c->n_heads * c->head_dim));
  if ((st = pml_linear(s->n, s->att, T, &l->wo, NULL)) != PML_OK) return st;
  pml_add(s->x, s->n, (size_t)T * (size_t)c->d_model);
  pml_trace_end(t0, "attention", layer, s->x, (size_t)T * (size_t)c->d_model);
  return PML_OK;
}
/* @end */

/* @ffn_block */
/* x += (silu(n·Wgᵀ) ∘ (n·Wuᵀ))·Wdᵀ with n = rmsnorm(x). */
PML__FN pml_status pml__cpu_ffn(pml__cpu *s, int T, int layer) {
  const pml_config *c = &s->model->cfg;
  const pml_layer *l = &s->model->layers[layer];
  pml_status st;
  uint64_t t0 = pml_trace_begin();
  pml_rmsnorm(s->n, s->x, l->ffn_norm, T, c->d_model, c->rms_eps);
  if ((st = pml_linear(s->gate, s->n, T, &l->w_gate, NULL)) != PML_OK) return st;
  pml_trace_end(t0, "gate", layer, s->gate, (size_t)T * (size_t)c->d_ffn);
  if ((st = pml_linear(s->up, s->n, T, &l->w_up, NULL)) != PML_OK) return st;
  pml_parallel((size_t)T * (size_t)c->d_ffn, 4096, pml__cpu_swiglu, s);
  pml_trace_end(t0, "hidden", layer, s->gate, (size_t)T * (size_t)c->d_ffn);
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

/* @two_ways */
PML_API pml_status pml_forward_text(void *text, int steps) {
  pml_text *x = (pml_text *)text;
  size_t V = (size_t)x->ctx->model->cfg.n_vocab;
  pml_segment all = {x->seq, x->tokens, x->n, x->n};
  pml_status st = PML_OK;
  pml_context_truncate(x->ctx, x->seq, 0);
  if (!steps) return pml_forward(x->ctx, &all, 1, x->logits); /* each weight is read once, for n rows */
  for (int i = 0; i < x->n && st == PML_OK; i++)               /* each weight is read n times, for one row */
    st = pml_forward_one(x->ctx, x->seq, x->tokens + i, 1, x->logits + (size_t)i * V);
  return st;
}
/* @end */

PML_API pml_status pml_forward_agree(const pml_text *text, size_t *differ) {
  size_t all = (size_t)text->n * (size_t)text->ctx->model->cfg.n_vocab;
  pml_text x = *text;
  float *a = (float *)pml_alloc(2 * all * sizeof *a);
  *differ = 0;
  if (!a) return PML_E_MEMORY;
  x.logits = a;
  pml_status st = pml_forward_text(&x, 0);
  x.logits = a + all;
  if (st == PML_OK) st = pml_forward_text(&x, 1);
  for (size_t i = 0; i < all && st == PML_OK; i++) *differ += memcmp(a + i, a + all + i, sizeof *a) != 0;
  pml_free(a);
  return st;
}

PML_API void pml_context_seq_free(pml_context *ctx, pml_seq *seq) {
  pml_context_truncate(ctx, seq, 0);
  pml_seq_free(NULL, seq);
}

PML_API const pml_kv *pml_context_kv(const pml_context *ctx) {
  return ctx->backend == pml_backend_cpu() ? ((const pml__cpu *)ctx->state)->kv : NULL;
}

/* @lens */
PML_API pml_status pml_lens(const pml_model *m, const float *row, float *scratch, float *logits) {
  pml_rmsnorm(scratch, row, m->final_norm, 1, m->cfg.d_model, m->cfg.rms_eps);
  return pml_linear(logits, scratch, 1, &m->head, NULL);
}
/* @end */

typedef struct {
  float *rows; /* [n_layers + 1, d] */
  size_t d;
} pml__rows;

PML__FN void pml__rows_see(void *user, const pml_span *s) {
  const pml__rows *r = (const pml__rows *)user;
  if (strcmp(s->name, "embed") == 0 || strcmp(s->name, "ffn") == 0)
    memcpy(r->rows + (size_t)(s->layer + 1) * r->d, s->data + s->n - r->d, r->d * sizeof(float));
}

PML_API pml_status pml_lens_depths(pml_depths *out, pml_context *ctx, pml_seq *seq, const int32_t *tokens, int n,
                                   float *logits) {
  const pml_model *m = ctx->model;
  size_t d = (size_t)m->cfg.d_model, V = (size_t)m->cfg.n_vocab, depths = (size_t)m->cfg.n_layers + 1;
  memset(out, 0, sizeof *out);
  if (depths > PML_DEPTHS_MAX || n < 1)
    return pml_fail(PML_E_LIMIT, "the lens reads up to %d layers after at least one token", PML_DEPTHS_MAX - 1);
  pml__rows r = {(float *)pml_alloc(((depths + 1) * d + V) * sizeof(float)), d};
  if (!r.rows) return PML_E_MEMORY;
  float *scratch = r.rows + depths * d, *p = scratch + d;
  pml_trace_set(pml__rows_see, &r);
  pml_status st = pml_forward_one(ctx, seq, tokens, n, logits);
  pml_trace_set(NULL, NULL);
  if (st == PML_OK) st = pml_row_to_f32(scratch, &m->embed, tokens[n - 1]);
  if (st == PML_OK) out->starts_in_table = !memcmp(scratch, r.rows, d * sizeof(float));
  for (size_t l = 0; l < depths && st == PML_OK; l++) {
    st = pml_lens(m, r.rows + l * d, scratch, p);
    if (l + 1 == depths) out->ends_in_logits = st == PML_OK && !memcmp(p, logits, V * sizeof(float));
    out->at[l].length = sqrt((double)pml_dot(r.rows + l * d, r.rows + l * d, d));
    snprintf(out->at[l].after, sizeof out->at[l].after, l ? "layer %d" : "embedding", (int)l - 1);
    out->at[l].token = (int32_t)pml_argmax(p, V);
    pml_softmax(p, V);
    out->at[l].p = (double)p[out->at[l].token];
    for (size_t i = 0; i < V && l + 1 == depths; i++) out->p_sum += (double)p[i];
  }
  out->n = (int)depths;
  pml_free(r.rows);
  return st;
}

/* @attend */
/* out = softmax(q·Kᵀ / √h)·V for one query. */
PML_API void pml_attend(float *out, double *weights, const float *q, const float *const *k, const float *const *v,
                        int n, int head_dim, bool softmax) {
  double top = -HUGE_VAL, sum = 0;
  for (int p = 0; p < n; p++) {
    double score = 0;
    for (int i = 0; i < head_dim; i++) score += (double)q[i] * (double)k[p][i];
    weights[p] = score / sqrt((double)head_dim);
    if (weights[p] > top) top = weights[p];
  }
  for (int p = 0; softmax && p < n; p++) sum += weights[p] = pml_expd(weights[p] - top);
  for (int p = 0; softmax && p < n; p++) weights[p] /= sum;
  for (int i = 0; out && i < head_dim; i++) {
    double mean = 0;
    for (int p = 0; p < n; p++) mean += weights[p] * (double)v[p][i];
    out[i] = (float)mean;
  }
}
/* @end */

/* Where one kv head's rows of positions 0 … n-1 lie. */
PML__FN void pml__probe_rows(const pml_probe *p, int layer, int kv_head, int n, const float **k, const float **v) {
  const pml_kv *kv = pml_context_kv(p->ctx);
  size_t at = (size_t)kv_head * (size_t)p->ctx->model->cfg.head_dim;
  for (int i = 0; i < n; i++) {
    k[i] = pml_kv_k_row(kv, p->seq, layer, i) + at;
    v[i] = pml_kv_v_row(kv, p->seq, layer, i) + at;
  }
}

PML__FN double pml__distance_of(const float *x, const float *y, int n) { /* |x − y|; y NULL: |x| */
  double sum = 0;
  for (int i = 0; i < n; i++) {
    double d = (double)x[i] - (y ? (double)y[i] : 0);
    sum += d * d;
  }
  return sqrt(sum);
}

PML_API pml_status pml_probe_row(const pml_probe *p, int layer, int head, int kv_head, int first, int row,
                                 double *weights, float *out) {
  const pml_config *c = &p->ctx->model->cfg;
  int n = first + row + 1, H = c->n_heads, h = c->head_dim;
  size_t size = (size_t)n * sizeof(float *);
  size_t at = ((size_t)layer * (size_t)p->rows + (size_t)row) * (size_t)H + (size_t)head;
  const float **k = (const float **)pml_alloc(2 * size);
  if (!k) return PML_E_MEMORY;
  const float **v = k + n;
  pml__probe_rows(p, layer, kv_head < 0 ? head * c->n_kv_heads / H : kv_head, n, k, v);
  pml_attend(out, weights, p->queries + at * (size_t)h, k, v, n, h, !p->no_softmax);
  pml_free(k);
  return PML_OK;
}

PML__FN double pml__probe_asymmetry(const pml_probe *p, int layer, int head) {
  const pml_config *c = &p->ctx->model->cfg;
  size_t T = (size_t)p->rows, h = (size_t)c->head_dim, row = (size_t)c->n_heads * h;
  const float *q = p->queries + (size_t)layer * T * row + (size_t)head * h;
  size_t at = (size_t)(head * c->n_kv_heads / c->n_heads) * h;
  double differ = 0, all = 0;
  for (size_t i = 0; i < T; i++)
    for (size_t j = 0; j < T; j++) {
      const float *ki = pml_kv_k_row(pml_context_kv(p->ctx), p->seq, layer, (int)i) + at;
      const float *kj = pml_kv_k_row(pml_context_kv(p->ctx), p->seq, layer, (int)j) + at;
      double there = (double)pml_dot(q + i * row, kj, h), back = (double)pml_dot(q + j * row, ki, h);
      differ += fabs(there - back);
      all += fabs(there);
    }
  return all > 0 ? differ / all : 0;
}

/* How much the last row's output changes when the head reads its neighbour's keys and values. */
PML__FN pml_status pml__probe_other(const pml_probe *p, int layer, int head, double *relative) {
  const pml_config *c = &p->ctx->model->cfg;
  int G = c->n_kv_heads, kv = head * G / c->n_heads, h = c->head_dim, T = p->rows;
  double *unused = (double *)pml_alloc((size_t)T * sizeof *unused), differ = 0, size = 0;
  float *own = (float *)pml_alloc(2 * (size_t)h * sizeof *own);
  pml_status st = unused && own ? pml_probe_row(p, layer, head, kv, 0, T - 1, unused, own) : PML_E_MEMORY;
  if (st == PML_OK) st = pml_probe_row(p, layer, head, (kv + 1) % G, 0, T - 1, unused, own + h);
  for (int i = 0; i < h && st == PML_OK; i++) differ += fabs((double)(own[i] - own[h + i])), size += fabs((double)own[i]);
  *relative = size > 0 ? differ / size : 0;
  pml_free(unused);
  pml_free(own);
  return st;
}

PML_API pml_status pml_probe_causal(pml_probe *p, pml_context *ctx, pml_seq *seq, const int32_t *tokens, int n,
                                    size_t *last, size_t *before) {
  size_t row = (size_t)(ctx->model->cfg.n_heads * ctx->model->cfg.head_dim), layer = (size_t)n * row;
  size_t all = layer * (size_t)ctx->model->cfg.n_layers;
  float *first = (float *)pml_alloc(all * sizeof *first);
  int32_t *other = (int32_t *)pml_alloc((size_t)n * sizeof *other);
  *last = *before = 0;
  pml_status st = first && other ? PML_OK : PML_E_MEMORY;
  for (int run = 0; run < 2 && st == PML_OK; run++) {
    memcpy(other, tokens, (size_t)n * sizeof *other);
    other[n - 1] ^= run;
    pml_context_truncate(ctx, seq, 0);
    st = pml_forward_one(ctx, seq, other, n, NULL);
    if (run == 0 && st == PML_OK) memcpy(first, p->heads, all * sizeof *first);
  }
  for (size_t i = 0; i < all && st == PML_OK; i++) *(i % layer < layer - row ? before : last) += first[i] != p->heads[i];
  pml_free(first);
  pml_free(other);
  return st;
}

PML_API pml_status pml_probe_head(const pml_probe *p, int layer, int head, double *weights, pml_head_facts *facts) {
  int T = p->rows;
  pml_head_facts f = {.asymmetry = pml__probe_asymmetry(p, layer, head)};
  pml_status other = pml__probe_other(p, layer, head, &f.other_kv);
  if (other != PML_OK) return other;
  for (int t = 0; t < T; t++) {
    double *w = weights + (size_t)t * (size_t)T, entropy = 0;
    pml_status st = pml_probe_row(p, layer, head, -1, 0, t, w, NULL);
    if (st != PML_OK) return st;
    double sum = 0;
    for (int j = 0; j <= t; j++) entropy -= w[j] > 0 ? w[j] * pml_logd(w[j]) : 0, sum += w[j];
    for (int j = t + 1; j < T; j++) w[j] = (double)NAN;
    f.sum_error = fmax(f.sum_error, fabs(sum - 1));
    if (t == 0) continue;
    f.previous += w[t - 1] / (T - 1);
    f.used += pml_expd(entropy) / (t + 1) / (T - 1);
  }
  *facts = f;
  return PML_OK;
}

PML_API pml_status pml_probe_survey(const pml_probe *p, const bool *marked, pml_head_survey *s) {
  const pml_config *c = &p->ctx->model->cfg;
  memset(s, 0, sizeof *s);
  s->rows = p->rows, s->n_heads = c->n_heads, s->n = c->n_layers * c->n_heads;
  s->worst.asymmetry = s->worst.other_kv = HUGE_VAL;
  if (s->n > PML_SURVEY_HEADS || s->rows > PML_SURVEY_ROWS)
    return pml_fail(PML_E_LIMIT, "a survey has room for %d heads and %d positions, not for %d and %d", PML_SURVEY_HEADS,
                    PML_SURVEY_ROWS, s->n, s->rows);
  for (int i = 0; i < s->n; i++) {
    pml_head_facts *f = &s->of[i];
    pml_status st = pml_probe_head(p, i / c->n_heads, i % c->n_heads, s->weights[i], f);
    if (st != PML_OK) return st;
    const double *last = s->weights[i] + (s->rows - 1) * s->rows;
    for (int j = 0; j < s->rows; j++) s->share[i] += marked[j] ? last[j] : 0;
    s->worst.asymmetry = fmin(s->worst.asymmetry, f->asymmetry);
    s->worst.other_kv = fmin(s->worst.other_kv, f->other_kv);
    s->worst.sum_error = fmax(s->worst.sum_error, f->sum_error);
    if (f->previous > s->of[s->local].previous) s->local = i;
    if (f->used > s->of[s->spread].used) s->spread = i;
    if (s->share[i] > s->share[s->aimed]) s->aimed = i;
  }
  for (int t = 1; t < s->rows; t++) s->even += 1.0 / (t + 1) / (s->rows - 1);
  return PML_OK;
}

/* All head outputs of one layer, computed again; `theirs` is the backend's own buffer. */
PML__FN void pml__probe_replace(pml_probe *p, int layer, float *theirs, int rows) {
  const pml_config *c = &p->ctx->model->cfg;
  int H = c->n_heads, G = c->n_kv_heads, h = c->head_dim, first = p->seq->n_tokens, n_all = first + rows;
  const float **k = (const float **)pml_alloc(2 * (size_t)n_all * sizeof(float *)), **v = k + n_all;
  double *w = (double *)pml_alloc((size_t)n_all * sizeof *w);
  float *out = (float *)pml_alloc((size_t)h * sizeof *out);
  for (int i = 0; k && w && out && i < rows * H; i++) {
    float *y = theirs + (size_t)i * (size_t)h;
    int n = first + i / H + 1;
    pml__probe_rows(p, layer, i % H * G / H, n, k, v);
    pml_attend(out, w, p->run_queries + (size_t)i * (size_t)h, k, v, n, h, !p->no_softmax);
    double own = pml__distance_of(out, NULL, h), kernel = pml__distance_of(y, NULL, h);
    p->difference = fmax(p->difference, pml__distance_of(out, y, h));
    p->largest = fmax(p->largest, kernel);
    p->n++;
    if (kernel > 0) p->growth += (own / kernel - p->growth) / (double)p->n;
    memcpy(y, out, (size_t)h * sizeof *out);
  }
  pml_free(out);
  pml_free(w);
  pml_free(k);
}

PML__FN void pml__probe_see(void *user, const pml_span *s) {
  pml_probe *p = (pml_probe *)user;
  const pml_config *c = &p->ctx->model->cfg;
  bool heads = !strcmp(s->name, "heads");
  size_t width = (size_t)c->n_heads * (size_t)c->head_dim;
  if ((!heads && strcmp(s->name, "queries") != 0) || s->n > (size_t)p->max_rows * width) return;
  p->rows = (int)(s->n / width);
  if (!heads) p->run_queries = s->data;
  else if (p->replace) pml__probe_replace(p, s->layer, (float *)(uintptr_t)s->data, p->rows); /* the scratch of § 26 */
  memcpy((heads ? p->heads : p->queries) + (size_t)s->layer * s->n, s->data, s->n * sizeof(float));
}

PML_API pml_status pml_probe_open(pml_probe **out, const pml_context *ctx, const pml_seq *seq, int max_rows) {
  const pml_config *c = &ctx->model->cfg;
  *out = NULL;
  if (!pml_context_kv(ctx))
    return pml_fail(PML_E_UNSUPPORTED, "probe: the backend '%s' keeps its cache to itself", ctx->backend->name);
  if (max_rows < 1 || max_rows > ctx->options.n_ctx)
    return pml_fail(PML_E_USAGE, "probe: %d rows: give 1 to %d, the context's positions", max_rows, ctx->options.n_ctx);
  size_t n = (size_t)c->n_layers * (size_t)max_rows * (size_t)c->n_heads * (size_t)c->head_dim;
  pml_probe *p = (pml_probe *)pml_calloc(1, sizeof *p);
  if (!p) return PML_E_MEMORY;
  p->ctx = ctx;
  p->seq = seq;
  p->max_rows = max_rows;
  p->queries = (float *)pml_calloc(n, sizeof(float));
  p->heads = (float *)pml_calloc(n, sizeof(float));
  if (!p->queries || !p->heads) {
    pml_probe_close(p);
    return PML_E_MEMORY;
  }
  pml_trace_set(pml__probe_see, p);
  *out = p;
  return PML_OK;
}

PML_API void pml_probe_close(pml_probe *p) {
  if (!p) return;
  pml_trace_set(NULL, NULL);
  pml_free(p->queries);
  pml_free(p->heads);
  pml_free(p);
}

#endif /* § 26 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 27  SAMPLING                                              needs § 2 § 3 § 8 § 11
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

/* The n largest logits of V, largest first, lowest id on ties, with their softmax probabilities over
   all V; for showing.  1 <= n <= V; n·V steps. */
PML_API void pml_top_tokens(const float *logits, int V, int n, int32_t *token, double *p);

#ifdef PML__IMPL

typedef struct {
  float p;      /* first the logit, then its unnormalised probability */
  int32_t id;
} pml__choice;

PML_API void pml_top_tokens(const float *logits, int V, int n, int32_t *token, double *p) {
  double sum = 0, top = (double)logits[pml_argmax(logits, (size_t)V)];
  for (int i = 0; i < V; i++) sum += pml_expd((double)logits[i] - top);
  for (int k = 0; k < n; k++) {
    int best = -1;
    for (int i = 0; i < V; i++) { /* the largest below the one before */
      bool below = k == 0 || logits[i] < logits[token[k - 1]] || (logits[i] == logits[token[k - 1]] && i > token[k - 1]);
      if (below && (best < 0 || logits[i] > logits[best])) best = i;
    }
    token[k] = best < 0 ? 0 : best;
    p[k] = best < 0 ? 0 : pml_expd((double)logits[best] - top) / sum;
  }
}

struct pml_sampler {
  pml_sampler_options o;
  int n_vocab;
  pml_rng rng;
  pml__choice *c; /* [n_vocab] */
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
  s->c = (pml__choice *)pml_alloc((size_t)n_vocab * sizeof *s->c);
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
PML__FN int pml__choice_order(const void *a, const void *b) {
  const pml__choice *x = (const pml__choice *)a, *y = (const pml__choice *)b;
  if (x->p != y->p) return x->p > y->p ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

/* Moves the candidates with p >= t to the front; returns how many. */
PML__FN int pml__choice_above(pml__choice *c, int n, float t) {
  int m = 0;
  for (int i = 0; i < n; i++) {
    if (!(c[i].p >= t)) continue;
    pml__choice swap = c[m];
    c[m++] = c[i];
    c[i] = swap;
  }
  return m;
}

/* Keeps the k best, sorted.  The threshold falls until at least k lie above it. */
PML__FN int pml__sample_top_k(pml__choice *c, int n, int k, float max) {
  if (k <= 0 || k >= n) return n;
  float width = 1.0f;
  int m = 0;
  while (m < k && width < 1e30f) {
    m = pml__choice_above(c, n, max - width);
    width *= 2.0f;
  }
  if (m < k) m = n;
  qsort(c, (size_t)m, sizeof *c, pml__choice_order);
  return k;
}

/* Keeps the smallest set of the largest p with sum >= top_p·total, sorted. */
PML__FN int pml__sample_top_p(pml__choice *c, int n, float top_p, float total) {
  if (top_p >= 1.0f) return n;
  float t = 0.1f, sum = 0, need = top_p * total;
  int m = 0;
  while (t > 1e-30f) {
    m = pml__choice_above(c, n, t);
    sum = 0;
    for (int i = 0; i < m; i++) sum += c[i].p;
    if (sum >= need) break;
    t *= 0.1f;
  }
  if (sum < need) m = n;
  qsort(c, (size_t)m, sizeof *c, pml__choice_order);
  sum = 0;
  for (int i = 0; i < m; i++)
    if ((sum += c[i].p) >= need) return i + 1;
  return m;
}

/* @sample */
PML_API pml_status pml_sample(pml_sampler *s, float *logits, const int32_t *history, int n_history,
                              int32_t *token) {
  int n = s->n_vocab, best = 0;
  pml__choice *c = s->c;
  pml__sample_penalty(s, logits, history, n_history);
  for (int i = 0; i < n; i++) {
    if (isnan(logits[i])) return pml_fail(PML_E_FORMAT, "logit %d is NaN: the weights or the cache are damaged", i);
    if (logits[i] > logits[best]) best = i;
  }
  if (isinf(logits[best])) return pml_fail(PML_E_FORMAT, "no finite logit: the weights or the cache are damaged");
  *token = best;
  if (s->o.temperature == 0) return PML_OK;
  for (int i = 0; i < n; i++) c[i] = (pml__choice){logits[i] / s->o.temperature, i};
  float max = c[best].p, sum = 0;
  n = pml__sample_top_k(c, n, s->o.top_k, max);
  for (int i = 0; i < n; i++) sum += c[i].p = pml_expf(c[i].p - max);
  n = pml__sample_top_p(c, n, s->o.top_p, sum);
  if (s->o.min_p > 0) n = pml__choice_above(c, n, s->o.min_p); /* the largest p is exp(0) = 1 */
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

/* True for a token that ends an answer: the tokenizer's eos or eot, <|im_end|>, <|endoftext|>. */
PML_API bool pml_token_is_end(const pml_model *m, int32_t token);

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

/* The definition of the above, from text to text, without streaming, stop texts, reuse of the cache and limits
   of the context.  prompt[len] may hold control tokens.  At most max tokens into out[max], the end token included
   in *n_out; their bytes, without it, are appended to answer.  clock (§ 10; may be NULL) sees the spans tokenise,
   embed, attention, ffn, head, sample, decode. */
PML_API pml_status pml_generate_plain(pml_session *s, const char *prompt, size_t len, const pml_sampler_options *o,
                                      int max, int32_t *out, int *n_out, pml_buf *answer, pml_stages *clock);

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

PML_API bool pml_token_is_end(const pml_model *m, int32_t token) { return pml__is_end(m->tokenizer, token); }

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

/* @pipeline */
/* Ids go in, one id comes out and goes in again. */
PML__FN pml_status pml__plain_loop(pml_session *s, pml_sampler *sampler, const int32_t *ids, int n, int max, int32_t *out,
                                   int *n_out, pml_buf *answer, pml_stages *clock) {
  for (int k = 0; k < max; k++) {
    if (clock) clock->step = k;
    pml_status st = pml_forward_one(s->ctx, &s->seq, ids, n, s->logits); /* 2 embed, 3 transform, 4 head */
    uint64_t t = pml_trace_begin();
    if (st == PML_OK) st = pml_sample(sampler, s->logits, out, k, &out[k]); /* 5 sample */
    if (st != PML_OK) return st;
    pml_trace_end(t, "sample", -1, NULL, 0);
    *n_out = k + 1;
    if (pml_token_is_end(s->ctx->model, out[k])) break;
    t = pml_trace_begin();
    if ((st = pml_decode(s->ctx->model->tokenizer, &out[k], 1, 0, answer)) != PML_OK) return st; /* 6 decode */
    pml_trace_end(t, "decode", -1, NULL, 0);
    ids = &out[k], n = 1; /* one row from now on: what came before is in the cache */
  }
  return PML_OK;
}

PML_API pml_status pml_generate_plain(pml_session *s, const char *prompt, size_t len, const pml_sampler_options *o,
                                      int max, int32_t *out, int *n_out, pml_buf *answer, pml_stages *clock) {
  const pml_model *m = s->ctx->model;
  pml_sampler *sampler = NULL;
  int32_t *ids = NULL;
  size_t n = 0;
  *n_out = 0;
  pml_context_truncate(s->ctx, &s->seq, 0);
  if (clock) pml_trace_set(pml_stages_see, clock);
  uint64_t t = pml_trace_begin();
  pml_status st = pml_encode(m->tokenizer, prompt, len, PML_ENCODE_SPECIAL, &ids, &n); /* 1 tokenise */
  pml_trace_end(t, "tokenise", -1, NULL, 0);
  if (st == PML_OK) st = pml_sampler_create(&sampler, m->cfg.n_vocab, o);
  if (st == PML_OK) st = pml__plain_loop(s, sampler, ids, (int)n, max, out, n_out, answer, clock);
  if (clock) pml_trace_set(NULL, NULL);
  pml_sampler_free(sampler);
  pml_free(ids);
  return st;
}
/* @end */

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
   § 31  BACKWARD PASS                             needs § 3 § 11 § 12 § 18 § 25
   ─────────────────────────────────────────────────────────────────────────────
   Training asks one question of every weight: if it grew a little, would the
   loss grow or shrink, and how fast?  The answers together are the gradient.
   The chain rule finds all of them in one walk from the loss back to the input:
   each operation receives the gradient of its output and turns it into the
   gradients of its inputs.  Nothing is searched and nothing is symbolic; below,
   each forward formula stands beside the backward one that follows from it.

     linear      Y[T,o] = X[T,i]·W[o,i]ᵀ + b      dX = dY·W   dW = dYᵀ·X   db = Σₜ dYₜ
     RMSNorm     y = x·r·w, r = 1/√(Σx²/d + ε)    dx = r·w·dy − x·r³/d·Σ(dy·w·x)
     RoPE        rotate by +angle                 rotate by −angle
     softmax     p = eˢ/Σeˢ                       ds = p·(dp − Σ p·dp)
     SwiGLU      y = g·σ(g)·u                     du = dy·g·σ   dg = dy·u·σ·(1 + g·(1 − σ))
     GELU        y = x·σ(u), u = a·(x + b·x³)     dx = dy·(σ + x·σ·(1 − σ)·a·(1 + 3b·x²))
     loss        −log softmax(z)[target]          dz = softmax(z) − onehot(target)

   A batch is ragged: N tokens of several sequences laid end to end, positions
   restarting at 0 in each.  Linear layers see one matrix [N,d]; only attention
   looks at where a sequence begins.  No token is padding.

   What it costs: 2 operations per weight and token forward, 4 backward (one
   product for dX, one for dW), so 6·n_params·N in all, plus 12·N·T̄·d per layer
   for attention over sequences of mean length T̄.  Memory: every activation the
   backward pass needs, about N·L·(5d + 3f) floats.

   Where it goes wrong: a wrong derivative still trains, only worse.  So each
   backward function is compared with (loss(w+ε) − loss(w−ε)) / 2ε, first alone,
   then as a whole model.  The second trap is order: a sum whose order depends
   on the threads gives other bits each run.  Every sum here runs over tokens in
   order; threads share out rows and columns, never the terms of a sum.

   Source: Rumelhart, Hinton and Williams 1986, Learning representations by
   back-propagating errors (Nature 323).
   ═════════════════════════════════════════════════════════════════════════════ */

/* Where each tensor of a model lies in one buffer of n floats.  Parameters,
   gradients and both AdamW moments share this layout.  Query, key and value
   matrices follow each other, so one product computes all three; so do gate and up. */
typedef struct {
  pml_config config;
  int qkv;                    /* (H + 2G)·h, the rows of the joined query-key-value matrix */
  size_t n;                   /* floats in all */
  size_t layer0, layer_size;  /* the first layer's offset; all layers have one size */
  size_t attn_norm, qkv_w, qkv_b, attn_out, ffn_norm, gate_up, ffn_down; /* offsets inside a layer */
  size_t output_norm;         /* token_embd lies at offset 0 */
} pml_layout;

/* The layout of a trainable model: arch "qwen2", split-half RoPE over the whole
   head, biases on query, key and value, head tied to the embedding.  Anything
   else is PML_E_UNSUPPORTED; sizes that do not fit each other are PML_E_USAGE. */
PML_API pml_status pml_layout_of(pml_layout *out, const pml_config *c);

/* One named tensor of a layout: rows = 1 for vectors. */
typedef struct {
  char name[64];              /* as in GGUF: "blk.0.attn_q.weight" */
  size_t offset;
  int rows, cols;
} pml_layout_tensor;
PML_API int pml_layout_count(const pml_layout *l);
PML_API pml_layout_tensor pml_layout_at(const pml_layout *l, int i); /* 0 <= i < count, in buffer order */

/* N tokens of n_seqs sequences end to end.  Sequence s is [starts[s], starts[s+1]);
   arrays below are indexed from starts[0].  Token i predicts targets[i]; its loss
   counts weights[i] times, and 0 means it is not computed.  Everything is borrowed. */
typedef struct {
  int n_seqs;
  const int32_t *starts;      /* [n_seqs + 1] */
  const int32_t *ids, *targets;
  const float *weights;
} pml_batch;

/* The single steps.  d-prefixed arguments are gradients of the same shape; a
   gradient is added to what is there unless the comment says "sets". */
PML_API void pml_embedding_forward(float *y, const float *table, const int32_t *ids, int rows, int d);
PML_API void pml_embedding_backward(float *dtable, const float *dy, const int32_t *ids, int rows, int d);
/* y[rows,o] = x[rows,i]·Wᵀ + b (b may be NULL); backward sets dx (may be NULL), adds to dw and db. */
PML_API pml_status pml_dense_forward(float *y, const float *x, const float *w, const float *b, int rows,
                                     int n_out, int n_in);
PML_API pml_status pml_dense_backward(float *dx, float *dw, float *db, const float *dy, const float *x,
                                      const float *w, int rows, int n_out, int n_in);
/* Forward is pml_rmsnorm (§ 11).  Backward adds to dx and dw; r is scratch for [rows] floats. */
PML_API void pml_rmsnorm_backward(float *dx, float *dw, float *r, const float *dy, const float *x,
                                  const float *w, int rows, int d, float eps);
/* Rotates heads 0 … n_heads-1 of each row (row stride `ld`) by its position's angle, split
   halves, in place.  cs[pos, head_dim] holds cos in the first half and sin in the second.
   direction +1 is the forward, -1 the backward. */
PML_API void pml_rope_rows(float *x, int ld, int rows, int n_heads, int head_dim, const int32_t *pos,
                           const float *cs, int direction);
/* Causal attention of a ragged batch.  qkv[N, (H+2G)·h] is already rotated; out[N, H·h].
   probs holds, for each sequence of T tokens, H matrices [T,T]: Σ H·T² floats.
   Backward sets dqkv and destroys nothing; dprobs is scratch as large as probs. */
PML_API pml_status pml_attention_forward(float *out, float *probs, const float *qkv, const pml_config *c,
                                         int n_seqs, const int32_t *starts);
PML_API pml_status pml_attention_backward(float *dqkv, float *dprobs, const float *dout, const float *probs,
                                          const float *qkv, const pml_config *c, int n_seqs,
                                          const int32_t *starts);
/* gu[rows, 2f] holds gate, then up.  Backward sets dgu. */
PML_API void pml_swiglu_forward(float *y, const float *gu, int rows, int f);
PML_API void pml_swiglu_backward(float *dgu, const float *dy, const float *gu, int rows, int f);
/* Forward is pml_gelu (§ 11).  Backward sets dx[n]. */
PML_API void pml_gelu_backward(float *dx, const float *dy, const float *x, size_t n);
/* Turns logits[rows, V] into probabilities in place and writes loss[rows] = −log p[target].
   Backward turns them into weights[row]·scale·(p − onehot) in place. */
PML_API void pml_cross_entropy_forward(float *loss, float *logits, const int32_t *targets, int rows, int V);
PML_API void pml_cross_entropy_backward(float *probs, const int32_t *targets, const float *weights, float scale,
                                        int rows, int V);

/* How wrong a gradient is: the largest |dx[i] − (loss(x + ε·eᵢ) − loss(x − ε·eᵢ)) / 2ε| over the
   n values, divided by the largest |dx[i]|.  loss computes its value from x, which is changed in
   place and restored.  About 1e-3 is right for f32 and ε = 1e-2; 2n evaluations. */
PML_API double pml_gradient_error(double (*loss)(void *user), void *user, float *x, const float *dx, size_t n,
                                  float eps);

/* The same for pml_attention_backward on T random rows of 4 query heads over 2 key-value heads; *n says how
   many derivatives were compared. */
PML_API pml_status pml_attention_gradient_error(int T, uint64_t seed, double *error, int *n);

/* A feed-forward network on its own, small enough to train in a second:
     a[rows,e] = x[rows,n_in]·W1ᵀ + b1    expand; e = f, for SwiGLU 2f: gate, then up
     h[rows,f] = act(a)                   taste; PML_FFN_LINEAR leaves it out: h = a
     y[rows,n_out] = h·W2ᵀ + b2           contract
   Belongs to one thread at a time. */
typedef enum { PML_FFN_LINEAR = 0, PML_FFN_GELU, PML_FFN_SWIGLU } pml_ffn_act;
typedef struct {
  pml_ffn_act act;
  int n_in, f, n_out, max_rows;
  size_t n;                          /* parameters */
  float *params, *grads;             /* [n]: W1[e,n_in], b1[e], W2[n_out,f], b2[n_out] */
  float *expanded, *hidden, *dexpanded, *dhidden;
} pml_ffn;
/* Normal weights, W1 and b1 of deviation 2/√n_in (so that the bends of the curves lie among inputs of
   size 1), W2 1/√f; b2 is 0.  Same seed, same bits.  Free with
   pml_ffn_free, which takes NULL.  PML_E_USAGE for a size below 1 or over 2^16 (rows 2^20). */
PML_API pml_status pml_ffn_create(pml_ffn **out, pml_ffn_act act, int n_in, int f, int n_out, int max_rows,
                                  uint64_t seed);
PML_API void pml_ffn_free(pml_ffn *m);
/* 1 <= rows <= max_rows.  Backward belongs to the forward just run and adds to grads. */
PML_API pml_status pml_ffn_forward(pml_ffn *m, float *y, const float *x, int rows);
PML_API pml_status pml_ffn_backward(pml_ffn *m, const float *dy, const float *x, int rows);

/* A model that can learn: parameters, their gradients, and the activations of the
   last forward pass.  Belongs to one thread at a time. */
enum { PML_NET_GEMM, PML_NET_ATTENTION, PML_NET_NORM, PML_NET_ROPE, PML_NET_SWIGLU, PML_NET_LOSS, PML_NET_OTHER,
       PML_NET_PARTS };
typedef struct {
  pml_layout layout;
  float *params, *grads;      /* [layout.n] */
  double seconds[PML_NET_PARTS]; /* time spent in each kind of operation since creation */
  /* The loss positions of the last forward: their row in the batch, probabilities [n_loss, V]. */
  int n_loss;
  int32_t *loss_row, *loss_target;
  float *loss_weight, *loss, *probs;
  struct pml__net_buffers *buf;
} pml_net;
/* Parameters and gradients start at zero. */
PML_API pml_status pml_net_create(pml_net **out, const pml_config *c);
PML_API void pml_net_free(pml_net *net);
/* Weights normal(0, 0.02); the two matrices that write into the residual stream are
   scaled by 1/√(2L); norms are 1, biases 0.  Same seed, same bits. */
PML_API void pml_net_init(pml_net *net, uint64_t seed);
/* Runs the batch, fills n_loss … probs, and adds Σ weight·loss to *loss_sum and Σ weight to
   *weight_sum (either may be NULL).  Errors: an id outside the vocabulary, a sequence longer
   than n_ctx, no memory. */
PML_API pml_status pml_net_forward(pml_net *net, const pml_batch *b, double *loss_sum, double *weight_sum);
/* Adds the gradient of scale·Σ weight·loss of the batch just run to grads.  The
   probabilities are used up. */
PML_API pml_status pml_net_backward(pml_net *net, const pml_batch *b, float scale);

#ifdef PML__IMPL

/* @gradient_error */
PML_API double pml_gradient_error(double (*loss)(void *user), void *user, float *x, const float *dx, size_t n,
                                  float eps) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < n; i++) {
    float kept = x[i], above = kept + eps, below = kept - eps;
    x[i] = above;
    double up = loss(user);
    x[i] = below;
    double down = loss(user);
    x[i] = kept;
    double slope = (up - down) / ((double)above - (double)below), d = fabs((double)dx[i] - slope);
    if (!(d <= worst)) worst = d; /* NaN counts as the worst */
    if (fabs((double)dx[i]) > largest) largest = fabs((double)dx[i]);
  }
  return largest > 0 ? worst / largest : worst;
}
/* @end */

PML_API pml_status pml_layout_of(pml_layout *out, const pml_config *c) {
  if (strcmp(c->arch, "qwen2") != 0 || !c->rope_split || !c->qkv_bias || !c->tied_head ||
      c->rope_dim != c->head_dim)
    return pml_fail(PML_E_UNSUPPORTED, "training: only the qwen2 shape is written (split-half RoPE over the "
                    "whole head, QKV bias, tied head), this model is '%s' with other options", c->arch);
  const int sizes[] = {c->n_layers, c->d_model, c->n_heads, c->n_kv_heads, c->head_dim, c->d_ffn, c->n_vocab, c->n_ctx};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    if (sizes[i] < 1 || sizes[i] > 1 << 20)
      return pml_fail(PML_E_USAGE, "training: the size %d is outside 1 to 2^20: check the configuration", sizes[i]);
  if (c->n_heads % c->n_kv_heads || c->head_dim % 2)
    return pml_fail(PML_E_USAGE, "training: %d heads do not share %d key-value heads evenly, or head size %d is odd",
                    c->n_heads, c->n_kv_heads, c->head_dim);
  memset(out, 0, sizeof *out);
  out->config = *c;
  int64_t qkv = (int64_t)(c->n_heads + 2 * (int64_t)c->n_kv_heads) * c->head_dim;
  if (qkv > 1 << 24) return pml_fail(PML_E_USAGE, "training: %d heads of %d are too wide", c->n_heads, c->head_dim);
  out->qkv = (int)qkv;
  size_t d = (size_t)c->d_model, f = (size_t)c->d_ffn, hh = (size_t)c->n_heads * (size_t)c->head_dim, at = 0;
  out->attn_norm = at, at += d;
  out->qkv_w = at, at += (size_t)qkv * d;
  out->qkv_b = at, at += (size_t)qkv;
  out->attn_out = at, at += d * hh;
  out->ffn_norm = at, at += d;
  out->gate_up = at, at += 2 * f * d;
  out->ffn_down = at, at += d * f;
  out->layer_size = at;
  out->layer0 = (size_t)c->n_vocab * d;
  size_t layers, all;
  if (!pml_size_mul(at, (size_t)c->n_layers, &layers) || !pml_size_add(layers, out->layer0 + d, &all) ||
      all > SIZE_MAX / 64)
    return pml_fail(PML_E_LIMIT, "training: the model does not fit in memory");
  out->output_norm = out->layer0 + layers;
  out->n = all;
  return PML_OK;
}

enum { PML__LAYER_TENSORS = 12 };

PML_API int pml_layout_count(const pml_layout *l) { return 2 + PML__LAYER_TENSORS * l->config.n_layers; }

PML_API pml_layout_tensor pml_layout_at(const pml_layout *l, int i) {
  const pml_config *c = &l->config;
  int q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim, d = c->d_model, f = c->d_ffn;
  const struct { const char *name; int rows, cols; } parts[PML__LAYER_TENSORS] = {
      {"attn_norm.weight", 1, d}, {"attn_q.weight", q, d}, {"attn_k.weight", kv, d}, {"attn_v.weight", kv, d},
      {"attn_q.bias", 1, q},      {"attn_k.bias", 1, kv},  {"attn_v.bias", 1, kv},   {"attn_output.weight", d, q},
      {"ffn_norm.weight", 1, d},  {"ffn_gate.weight", f, d}, {"ffn_up.weight", f, d}, {"ffn_down.weight", d, f}};
  pml_layout_tensor t = {"token_embd.weight", 0, c->n_vocab, d};
  if (i == 0) return t;
  if (i == pml_layout_count(l) - 1) {
    pml_layout_tensor last = {"output_norm.weight", l->output_norm, 1, d};
    return last;
  }
  int layer = (i - 1) / PML__LAYER_TENSORS, part = (i - 1) % PML__LAYER_TENSORS;
  snprintf(t.name, sizeof t.name, "blk.%d.%s", layer, parts[part].name);
  t.offset = l->layer0 + (size_t)layer * l->layer_size;
  for (int p = 0; p < part; p++) t.offset += (size_t)parts[p].rows * (size_t)parts[p].cols;
  t.rows = parts[part].rows;
  t.cols = parts[part].cols;
  return t;
}

/* What a parallel region of this chapter may need; each uses some of it. */
typedef struct {
  float *y, *y2, *y3;
  const float *a, *b, *c;
  const int32_t *ids;
  const pml_config *config;
  const size_t *offsets;
  int rows, cols, ld, n_heads, head_dim;
  float scale;
} pml__op;

/* Column sums and scattered rows: a thread owns a block of columns and adds all rows in order. */
enum { PML__COLUMNS = 64 };

PML__FN void pml__parallel_columns(int cols, pml_range_fn fn, pml__op *op) {
  pml_parallel((size_t)(cols + PML__COLUMNS - 1) / PML__COLUMNS, 1, fn, op);
}

PML__FN void pml__column_range(const pml__op *op, size_t begin, size_t end, int *from, int *to) {
  *from = (int)begin * PML__COLUMNS;
  *to = (int)end * PML__COLUMNS < op->cols ? (int)end * PML__COLUMNS : op->cols;
}

typedef struct {
  const pml_config *config;
  const int32_t *starts;
  float *out, *probs, *qkv, *dout;
} pml__attention_check;

PML__FN double pml__attention_check_loss(void *user) { /* Σ out·dout */
  const pml__attention_check *x = (const pml__attention_check *)user;
  int n = x->starts[1] * x->config->n_heads * x->config->head_dim;
  double sum = 0;
  pml_attention_forward(x->out, x->probs, x->qkv, x->config, 1, x->starts);
  for (int i = 0; i < n; i++) sum += (double)x->out[i] * (double)x->dout[i];
  return sum;
}

PML_API pml_status pml_attention_gradient_error(int T, uint64_t seed, double *error, int *n) {
  const pml_config c = {.n_heads = 4, .n_kv_heads = 2, .head_dim = 8};
  const int32_t starts[] = {0, T};
  int out = T * c.n_heads * c.head_dim, qkv = T * (c.n_heads + 2 * c.n_kv_heads) * c.head_dim, probs = c.n_heads * T * T;
  float *all = (float *)pml_alloc((size_t)(2 * out + 2 * qkv + 2 * probs) * sizeof *all);
  if (!all) return PML_E_MEMORY;
  float *dqkv = all + 2 * out + qkv + 2 * probs, *dprobs = all + 2 * out + qkv + probs;
  pml__attention_check x = {&c, starts, all, all + 2 * out + qkv, all + 2 * out, all + out};
  pml_rng rng = pml_rng_seed(seed);
  for (int i = 0; i < qkv; i++) x.qkv[i] = pml_rng_normal(&rng);
  for (int i = 0; i < out; i++) x.dout[i] = pml_rng_normal(&rng);
  pml__attention_check_loss(&x);
  pml_status st = pml_attention_backward(dqkv, dprobs, x.dout, x.probs, x.qkv, &c, 1, starts);
  if (st == PML_OK) *error = pml_gradient_error(pml__attention_check_loss, &x, x.qkv, dqkv, (size_t)qkv, 1e-2f);
  *n = qkv;
  pml_free(all);
  return st;
}

/* ── embedding ── */

/* @embedding */
PML_API void pml_embedding_forward(float *y, const float *table, const int32_t *ids, int rows, int d) {
  for (int t = 0; t < rows; t++)
    memcpy(y + (size_t)t * (size_t)d, table + (size_t)ids[t] * (size_t)d, (size_t)d * sizeof *y);
}

PML__FN void pml__embedding_backward_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  int from, to;
  pml__column_range(op, begin, end, &from, &to);
  for (int t = 0; t < op->rows; t++) {
    float *y = op->y + (size_t)op->ids[t] * (size_t)op->cols;
    const float *dy = op->a + (size_t)t * (size_t)op->cols;
    for (int i = from; i < to; i++) y[i] += dy[i];
  }
}
/* @end */

PML_API void pml_embedding_backward(float *dtable, const float *dy, const int32_t *ids, int rows, int d) {
  pml__op op = {.y = dtable, .a = dy, .ids = ids, .rows = rows, .cols = d};
  pml__parallel_columns(d, pml__embedding_backward_part, &op);
}

/* ── linear layer ── */

PML__FN void pml__column_sum_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  int from, to;
  pml__column_range(op, begin, end, &from, &to);
  for (int t = 0; t < op->rows; t++) {
    const float *dy = op->a + (size_t)t * (size_t)op->cols;
    for (int i = from; i < to; i++) op->y[i] += dy[i];
  }
}

/* @dense */
PML_API pml_status pml_dense_forward(float *y, const float *x, const float *w, const float *b, int rows,
                                     int n_out, int n_in) {
  for (int t = 0; b && t < rows; t++) memcpy(y + (size_t)t * (size_t)n_out, b, (size_t)n_out * sizeof *y);
  return pml_gemm(y, n_out, x, n_in, false, w, n_in, true, rows, n_out, n_in, b != NULL);
}

PML_API pml_status pml_dense_backward(float *dx, float *dw, float *db, const float *dy, const float *x,
                                      const float *w, int rows, int n_out, int n_in) {
  if (db) {
    pml__op op = {.y = db, .a = dy, .rows = rows, .cols = n_out};
    pml__parallel_columns(n_out, pml__column_sum_part, &op);
  }
  pml_status st = pml_gemm(dw, n_in, dy, n_out, true, x, n_in, false, n_out, n_in, rows, true);
  if (st == PML_OK && dx) st = pml_gemm(dx, n_in, dy, n_out, false, w, n_in, false, rows, n_in, n_out, false);
  return st;
}
/* @end */

/* ── RMSNorm ── */

/* Σ a·b·c in sixteen lanes and one tree, as pml_dot sums two. */
PML__FN float pml__dot3(const float *restrict a, const float *restrict b, const float *restrict c, size_t n) {
  float lane[16] = {0};
  size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (size_t j = 0; j < 16; j++) lane[j] += a[i + j] * b[i + j] * c[i + j];
  for (size_t j = 0; i + j < n; j++) lane[j] += a[i + j] * b[i + j] * c[i + j];
  for (size_t half = 8; half; half /= 2)
    for (size_t j = 0; j < half; j++) lane[j] += lane[j + half];
  return lane[0];
}

/* @rmsnorm_backward */
PML__FN void pml__rmsnorm_dx_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  size_t d = (size_t)op->cols;
  for (size_t t = begin; t < end; t++) {
    const float *restrict dy = op->a + t * d, *restrict x = op->b + t * d, *restrict w = op->c;
    float *restrict dx = op->y + t * d;
    float r = 1.0f / sqrtf(pml_dot(x, x, d) / (float)d + op->scale);
    float k = pml__dot3(w, dy, x, d) / (float)d * r * r * r;
    for (size_t i = 0; i < d; i++) dx[i] += r * w[i] * dy[i] - k * x[i];
    op->y2[t] = r;
  }
}

PML__FN void pml__rmsnorm_dw_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  int from, to;
  pml__column_range(op, begin, end, &from, &to);
  float *restrict dw = op->y;
  for (int t = 0; t < op->rows; t++) {
    const float *restrict dy = op->a + (size_t)t * (size_t)op->cols, *restrict x = op->b + (size_t)t * (size_t)op->cols;
    float r = op->y2[t];
    for (int i = from; i < to; i++) dw[i] += dy[i] * x[i] * r;
  }
}
/* @end */

PML_API void pml_rmsnorm_backward(float *dx, float *dw, float *r, const float *dy, const float *x, const float *w,
                                  int rows, int d, float eps) {
  pml__op op = {.y = dx, .y2 = r, .a = dy, .b = x, .c = w, .rows = rows, .cols = d, .scale = eps};
  pml_parallel((size_t)rows, 16, pml__rmsnorm_dx_part, &op);
  op.y = dw;
  pml__parallel_columns(d, pml__rmsnorm_dw_part, &op);
}

/* ── rotary positions ── */

/* @rope_rows */
PML__FN void pml__rope_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  int half = op->head_dim / 2;
  for (size_t t = begin; t < end; t++) {
    const float *restrict cs = op->a + (size_t)op->ids[t] * (size_t)op->head_dim, *restrict sn = cs + half;
    for (int head = 0; head < op->n_heads; head++) {
      float *restrict lo = op->y + t * (size_t)op->ld + (size_t)head * (size_t)op->head_dim, *restrict hi = lo + half;
      for (int i = 0; i < half; i++) {
        float a = lo[i], b = hi[i], s = op->scale * sn[i]; /* scale: +1 forward, -1 backward */
        lo[i] = a * cs[i] - b * s;
        hi[i] = a * s + b * cs[i];
      }
    }
  }
}
/* @end */

PML_API void pml_rope_rows(float *x, int ld, int rows, int n_heads, int head_dim, const int32_t *pos,
                           const float *cs, int direction) {
  pml__op op = {.y = x, .ld = ld, .a = cs, .ids = pos, .n_heads = n_heads, .head_dim = head_dim,
                .scale = direction < 0 ? -1.0f : 1.0f};
  pml_parallel((size_t)rows, 32, pml__rope_part, &op);
}

/* ── causal attention ── */

/* Everything in attention is one sum: out[n] (+)= Σ over j of coef[j]·M[j, n], with the rows of M
   `ld` floats apart and the coefficients `step` apart, j in order.  Sixteen columns are one
   vector of the compiler's own type; it becomes one, two or four registers, with equal bits. */
typedef float pml__v16 __attribute__((vector_size(64), aligned(4), may_alias));

/* @weighted_rows */
PML__INLINE void pml__weighted_rows_64(float *out, const float *coef, size_t step, const float *m, size_t ld,
                                       size_t rows, bool add) {
  pml__v16 *o = (pml__v16 *)out, zero = {0};
  pml__v16 a = add ? o[0] : zero, b = add ? o[1] : zero, c = add ? o[2] : zero, d = add ? o[3] : zero;
  for (size_t j = 0; j < rows; j++, m += ld, coef += step) {
    const pml__v16 *x = (const pml__v16 *)m;
    a += *coef * x[0];
    b += *coef * x[1];
    c += *coef * x[2];
    d += *coef * x[3];
  }
  o[0] = a;
  o[1] = b;
  o[2] = c;
  o[3] = d;
}

PML__INLINE void pml__weighted_rows_32(float *out, const float *coef, size_t step, const float *m, size_t ld,
                                       size_t rows, bool add) {
  pml__v16 *o = (pml__v16 *)out, zero = {0};
  pml__v16 a = add ? o[0] : zero, b = add ? o[1] : zero;
  for (size_t j = 0; j < rows; j++, m += ld, coef += step) {
    const pml__v16 *x = (const pml__v16 *)m;
    a += *coef * x[0];
    b += *coef * x[1];
  }
  o[0] = a;
  o[1] = b;
}

PML__INLINE void pml__weighted_rows_16(float *out, const float *coef, size_t step, const float *m, size_t ld,
                                       size_t rows, bool add) {
  pml__v16 zero = {0}, a = add ? *(pml__v16 *)out : zero;
  for (size_t j = 0; j < rows; j++, m += ld, coef += step) a += *coef * *(const pml__v16 *)m;
  *(pml__v16 *)out = a;
}

PML__INLINE void pml__weighted_rows_body(float *out, const float *coef, size_t step, const float *m, size_t ld,
                                         size_t rows, size_t n, bool add) {
  size_t i = 0;
  for (; i + 64 <= n; i += 64) pml__weighted_rows_64(out + i, coef, step, m + i, ld, rows, add);
  if (i + 32 <= n) pml__weighted_rows_32(out + i, coef, step, m + i, ld, rows, add), i += 32;
  if (i + 16 <= n) pml__weighted_rows_16(out + i, coef, step, m + i, ld, rows, add), i += 16;
  for (; i < n; i++) {
    float sum = add ? out[i] : 0.0f;
    for (size_t j = 0; j < rows; j++) sum += coef[j * step] * m[j * ld + i];
    out[i] = sum;
  }
}
/* @end */

PML__FN void pml__weighted_rows_scalar(float *out, const float *coef, size_t step, const float *m, size_t ld,
                                       size_t rows, size_t n, bool add) {
  pml__weighted_rows_body(out, coef, step, m, ld, rows, n, add);
}
#ifdef PML__X86
__attribute__((target("avx2"))) PML__FN void pml__weighted_rows_avx2(float *out, const float *coef, size_t step,
                                                                     const float *m, size_t ld, size_t rows,
                                                                     size_t n, bool add) {
  pml__weighted_rows_body(out, coef, step, m, ld, rows, n, add);
}
__attribute__((target("avx512f"))) PML__FN void pml__weighted_rows_avx512(
    float *out, const float *coef, size_t step, const float *m, size_t ld, size_t rows, size_t n, bool add) {
  pml__weighted_rows_body(out, coef, step, m, ld, rows, n, add);
}
#endif

typedef void (*pml__weighted_rows_fn)(float *, const float *, size_t, const float *, size_t, size_t, size_t, bool);

PML__FN pml__weighted_rows_fn pml__weighted_rows(void) {
#ifdef PML__X86
  if (pml_cpu_level() == PML_CPU_AVX512) return pml__weighted_rows_avx512;
  if (pml_cpu_level() == PML_CPU_AVX2) return pml__weighted_rows_avx2;
#endif
  return pml__weighted_rows_scalar;
}

/* One sequence and one key-value head: the unit of work.  Its R = H/G query heads share K and V. */
typedef struct {
  size_t T, Tp, ld, ldo, h;   /* tokens, the same rounded up to 16, row lengths of qkv and out, head size */
  int first_head, n_queries;
  const float *q, *k, *v;     /* at the sequence's first row; q at its first head */
  size_t row, probs;          /* the sequence's first row in the batch; the first head's matrix */
} pml__attention_item;

typedef struct {
  const pml_config *c;
  const float *qkv, *dout;
  float *out, *probs, *dprobs, *dqkv;
  const int32_t *starts;
  const size_t *offsets;      /* [n_seqs] where a sequence's matrices begin */
  atomic_int failed;
} pml__attention_job;

PML__FN pml__attention_item pml__attention_at(const pml__attention_job *job, size_t i) {
  const pml_config *c = job->c;
  size_t G = (size_t)c->n_kv_heads, H = (size_t)c->n_heads, seq = i / G, g = i % G, R = H / G;
  pml__attention_item it = {.T = (size_t)(job->starts[seq + 1] - job->starts[seq]), .h = (size_t)c->head_dim,
                            .first_head = (int)(g * R), .n_queries = (int)R};
  it.Tp = (it.T + 15) / 16 * 16;
  it.ld = (H + 2 * G) * it.h;
  it.ldo = H * it.h;
  it.row = (size_t)(job->starts[seq] - job->starts[0]);
  it.q = job->qkv + it.row * it.ld + g * R * it.h;
  it.k = job->qkv + it.row * it.ld + (H + g) * it.h;
  it.v = it.k + G * it.h;
  it.probs = job->offsets[seq] + g * R * it.T * it.T;
  return it;
}

/* Scratch of one item: a transposed matrix [h, Tp], its columns from T on 0, and a row [Tp]. */
PML__FN float *pml__attention_turn(const pml__attention_item *it, const float *m) {
  float *turned = (float *)pml_alloc((it->h + 1) * it->Tp * sizeof *turned);
  for (size_t i = 0; turned && i < it->h; i++) {
    for (size_t s = 0; s < it->T; s++) turned[i * it->Tp + s] = m[s * it->ld + i];
    memset(turned + i * it->Tp + it->T, 0, (it->Tp - it->T) * sizeof *turned);
  }
  return turned;
}

/* @attention_forward */
PML__FN void pml__attention_forward_part(void *ctx, size_t begin, size_t end) {
  pml__attention_job *job = (pml__attention_job *)ctx;
  pml__weighted_rows_fn rows = pml__weighted_rows();
  for (size_t i = begin; i < end; i++) {
    pml__attention_item it = pml__attention_at(job, i);
    float scale = 1.0f / sqrtf((float)it.h), *kt = pml__attention_turn(&it, it.k);
    if (!kt) {
      atomic_store(&job->failed, 1);
      return;
    }
    float *s = kt + it.h * it.Tp;
    for (size_t r = 0; r < (size_t)it.n_queries; r++)
      for (size_t t = 0; t < it.T; t++) {
        float *p = job->probs + it.probs + (r * it.T + t) * it.T;
        float *out = job->out + (it.row + t) * it.ldo + ((size_t)it.first_head + r) * it.h;
        /* s[0 … t] = q·Kᵀ/√h, p = softmax(s), out = p·V: the future is never touched */
        size_t seen = (t + 16) / 16 * 16;
        rows(s, it.q + t * it.ld + r * it.h, 1, kt, it.Tp, it.h, seen, false);
        pml_scale(s, scale, t + 1);
        for (size_t j = t + 1; j < seen; j++) s[j] = -INFINITY; /* e^-inf = 0: whole vectors, same sum */
        pml_softmax(s, seen);
        memcpy(p, s, (t + 1) * sizeof *p);
        rows(out, p, 1, it.v, it.ld, t + 1, it.h, false);
      }
    pml_free(kt);
  }
}
/* @end */

/* @attention_backward */
PML__FN void pml__attention_backward_part(void *ctx, size_t begin, size_t end) {
  pml__attention_job *job = (pml__attention_job *)ctx;
  pml__weighted_rows_fn rows = pml__weighted_rows();
  for (size_t i = begin; i < end; i++) {
    pml__attention_item it = pml__attention_at(job, i);
    float scale = 1.0f / sqrtf((float)it.h), *vt = pml__attention_turn(&it, it.v);
    float *dq = job->dqkv + (it.q - job->qkv), *dk = job->dqkv + (it.k - job->qkv), *dv = job->dqkv + (it.v - job->qkv);
    if (!vt) {
      atomic_store(&job->failed, 1);
      return;
    }
    float *dp = vt + it.h * it.Tp;
    for (size_t r = 0; r < (size_t)it.n_queries; r++) {
      const float *p = job->probs + it.probs + r * it.T * it.T, *q = it.q + r * it.h;
      const float *dout = job->dout + it.row * it.ldo + ((size_t)it.first_head + r) * it.h;
      float *ds = job->dprobs + it.probs + r * it.T * it.T;
      for (size_t t = 0; t < it.T; t++) { /* dP = dO·Vᵀ;  dS = P·(dP − Σ P·dP)/√h;  dQ = dS·K */
        const float *restrict pt = p + t * it.T;
        float *restrict dst = ds + t * it.T;
        rows(dp, dout + t * it.ldo, 1, vt, it.Tp, it.h, (t + 16) / 16 * 16, false);
        float dot = pml_dot(pt, dp, t + 1);
        for (size_t s = 0; s <= t; s++) dst[s] = pt[s] * (dp[s] - dot) * scale;
        rows(dq + t * it.ld + r * it.h, dst, 1, it.k, it.ld, t + 1, it.h, false);
      }
      for (size_t s = 0; s < it.T; s++) { /* dV = Pᵀ·dO;  dK = dSᵀ·Q, over the queries t >= s */
        rows(dv + s * it.ld, p + s * it.T + s, it.T, dout + s * it.ldo, it.ldo, it.T - s, it.h, r > 0);
        rows(dk + s * it.ld, ds + s * it.T + s, it.T, q + s * it.ld, it.ld, it.T - s, it.h, r > 0);
      }
    }
    pml_free(vt);
  }
}
/* @end */

PML__FN pml_status pml__attention_run(pml__attention_job *job, int n_seqs, pml_range_fn fn) {
  size_t *offsets = (size_t *)pml_alloc((size_t)n_seqs * sizeof *offsets), at = 0;
  if (!offsets) return PML_E_MEMORY;
  for (int s = 0; s < n_seqs; s++) {
    size_t T = (size_t)(job->starts[s + 1] - job->starts[s]);
    offsets[s] = at;
    at += T * T * (size_t)job->c->n_heads;
  }
  job->offsets = offsets;
  pml_parallel((size_t)n_seqs * (size_t)job->c->n_kv_heads, 1, fn, job);
  pml_free(offsets);
  return atomic_load(&job->failed) ? pml_fail(PML_E_MEMORY, "training: attention ran out of memory") : PML_OK;
}

PML_API pml_status pml_attention_forward(float *out, float *probs, const float *qkv, const pml_config *c,
                                         int n_seqs, const int32_t *starts) {
  pml__attention_job job = {.c = c, .qkv = qkv, .out = out, .probs = probs, .starts = starts};
  return pml__attention_run(&job, n_seqs, pml__attention_forward_part);
}

PML_API pml_status pml_attention_backward(float *dqkv, float *dprobs, const float *dout, const float *probs,
                                          const float *qkv, const pml_config *c, int n_seqs,
                                          const int32_t *starts) {
  pml__attention_job job = {.c = c, .qkv = qkv, .dout = dout, .probs = (float *)(uintptr_t)probs,
                            .dprobs = dprobs, .dqkv = dqkv, .starts = starts};
  return pml__attention_run(&job, n_seqs, pml__attention_backward_part);
}

/* ── SwiGLU ── */

/* @swiglu_backward */
/* On entry du holds s = silu(g) = g·σ.  Then σ = s/g (½ at g = 0) and σ·(1 + g·(1 − σ)) = σ·(1 − s) + s. */
PML__INLINE void pml__swiglu_backward_body(float *dg, float *du, const float *dy, const float *g, const float *u, size_t f) {
  typedef int32_t bits16 __attribute__((vector_size(64)));
  size_t i = 0;
  for (; i + 16 <= f; i += 16) {
    pml__v16 gi = *(const pml__v16 *)(g + i), s = *(pml__v16 *)(du + i), dyi = *(const pml__v16 *)(dy + i);
    bits16 zero = (gi > -1e-30f) & (gi < 1e-30f);
    pml__v16 sigma = (pml__v16)((zero & 0x3F000000) | (~zero & (bits16)(s / gi)));
    *(pml__v16 *)(du + i) = dyi * s;
    *(pml__v16 *)(dg + i) = dyi * *(const pml__v16 *)(u + i) * (sigma * (1.0f - s) + s);
  }
  for (; i < f; i++) {
    float s = du[i], sigma = g[i] > -1e-30f && g[i] < 1e-30f ? 0.5f : s / g[i];
    du[i] = dy[i] * s;
    dg[i] = dy[i] * u[i] * (sigma * (1.0f - s) + s);
  }
}
/* @end */

PML__FN void pml__swiglu_backward_scalar(float *dg, float *du, const float *dy, const float *g, const float *u, size_t f) {
  pml__swiglu_backward_body(dg, du, dy, g, u, f);
}
#ifdef PML__X86
__attribute__((target("avx2"))) PML__FN void pml__swiglu_backward_avx2(float *dg, float *du, const float *dy,
                                                                       const float *g, const float *u, size_t f) {
  pml__swiglu_backward_body(dg, du, dy, g, u, f);
}
__attribute__((target("avx512f"))) PML__FN void pml__swiglu_backward_avx512(float *dg, float *du, const float *dy,
                                                                            const float *g, const float *u, size_t f) {
  pml__swiglu_backward_body(dg, du, dy, g, u, f);
}
#endif

PML__FN void pml__swiglu_forward_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  size_t f = (size_t)op->cols;
  for (size_t t = begin; t < end; t++) pml_swiglu(op->y + t * f, op->a + t * 2 * f, op->a + t * 2 * f + f, f);
}

PML__FN void pml__swiglu_backward_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  size_t f = (size_t)op->cols;
  void (*row)(float *, float *, const float *, const float *, const float *, size_t) = pml__swiglu_backward_scalar;
#ifdef PML__X86
  if (pml_cpu_level() == PML_CPU_AVX512) row = pml__swiglu_backward_avx512;
  if (pml_cpu_level() == PML_CPU_AVX2) row = pml__swiglu_backward_avx2;
#endif
  for (size_t t = begin; t < end; t++) {
    const float *g = op->b + t * 2 * f;
    float *dg = op->y + t * 2 * f;
    pml_silu(dg + f, g, f);
    row(dg, dg + f, op->a + t * f, g, g + f, f);
  }
}

PML_API void pml_swiglu_forward(float *y, const float *gu, int rows, int f) {
  pml__op op = {.y = y, .a = gu, .cols = f};
  pml_parallel((size_t)rows, 8, pml__swiglu_forward_part, &op);
}

PML_API void pml_swiglu_backward(float *dgu, const float *dy, const float *gu, int rows, int f) {
  pml__op op = {.y = dgu, .a = dy, .b = gu, .cols = f};
  pml_parallel((size_t)rows, 8, pml__swiglu_backward_part, &op);
}

/* ── GELU ── */

/* @gelu_backward */
PML_API void pml_gelu_backward(float *dx, const float *dy, const float *x, size_t n) {
  const float a = 1.59576912f, b = 0.044715f; /* 2·√(2/π), as in § 11 */
  for (size_t i = 0; i < n; i++) {
    float v = x[i], s = pml_sigmoidf(a * (v + b * (v * v * v)));
    dx[i] = dy[i] * (s + v * s * (1.0f - s) * (a * (1.0f + 3.0f * b * (v * v))));
  }
}
/* @end */

/* ── a feed-forward network on its own ── */

PML__FN int pml__ffn_expanded(const pml_ffn *m) { return m->act == PML_FFN_SWIGLU ? 2 * m->f : m->f; }

PML_API void pml_ffn_free(pml_ffn *m) {
  if (!m) return;
  float *const all[] = {m->params, m->grads, m->expanded, m->hidden, m->dexpanded, m->dhidden};
  for (int i = 0; i < 6; i++) pml_free(all[i]);
  pml_free(m);
}

PML_API pml_status pml_ffn_create(pml_ffn **out, pml_ffn_act act, int n_in, int f, int n_out, int max_rows,
                                  uint64_t seed) {
  enum { MOST = 1 << 16, MOST_ROWS = 1 << 20 };
  *out = NULL;
  if (n_in < 1 || f < 1 || n_out < 1 || max_rows < 1 || n_in > MOST || f > MOST || n_out > MOST || max_rows > MOST_ROWS)
    return pml_fail(PML_E_USAGE, "a feed-forward network of %d inputs, %d inside, %d outputs, %d rows: give 1 to %d, rows to %d",
                    n_in, f, n_out, max_rows, (int)MOST, (int)MOST_ROWS);
  pml_ffn *m = (pml_ffn *)pml_calloc(1, sizeof *m);
  if (!m) return PML_E_MEMORY;
  *m = (pml_ffn){.act = act, .n_in = n_in, .f = f, .n_out = n_out, .max_rows = max_rows};
  size_t e = (size_t)pml__ffn_expanded(m), in = (size_t)n_in, o = (size_t)n_out, rows = (size_t)max_rows;
  m->n = e * in + e + o * (size_t)f + o;
  m->params = (float *)pml_calloc(m->n, sizeof(float));
  m->grads = (float *)pml_calloc(m->n, sizeof(float));
  m->expanded = (float *)pml_calloc(rows * e, sizeof(float));
  m->dexpanded = (float *)pml_calloc(rows * e, sizeof(float));
  m->hidden = (float *)pml_calloc(rows * (size_t)f, sizeof(float));
  m->dhidden = (float *)pml_calloc(rows * (size_t)f, sizeof(float));
  if (!m->params || !m->grads || !m->expanded || !m->dexpanded || !m->hidden || !m->dhidden) {
    pml_ffn_free(m);
    return PML_E_MEMORY;
  }
  pml_rng rng = pml_rng_seed(seed);
  for (size_t i = 0; i < m->n - o; i++)
    m->params[i] = i < e * in + e ? 2.0f * pml_rng_normal(&rng) / sqrtf((float)n_in) : pml_rng_normal(&rng) / sqrtf((float)f);
  *out = m;
  return PML_OK;
}

/* @ffn */
PML_API pml_status pml_ffn_forward(pml_ffn *m, float *y, const float *x, int rows) {
  int e = pml__ffn_expanded(m), f = m->f;
  size_t n = (size_t)rows * (size_t)f;
  const float *w1 = m->params, *b1 = w1 + (size_t)e * (size_t)m->n_in, *w2 = b1 + e, *b2 = w2 + (size_t)m->n_out * (size_t)f;
  pml_status st = pml_dense_forward(m->expanded, x, w1, b1, rows, e, m->n_in);
  if (m->act == PML_FFN_GELU) pml_gelu(m->hidden, m->expanded, n);
  else if (m->act == PML_FFN_SWIGLU) pml_swiglu_forward(m->hidden, m->expanded, rows, f);
  else memcpy(m->hidden, m->expanded, n * sizeof(float)); /* W2·(W1·x) is one matrix: nothing was gained */
  return st == PML_OK ? pml_dense_forward(y, m->hidden, w2, b2, rows, m->n_out, f) : st;
}

PML_API pml_status pml_ffn_backward(pml_ffn *m, const float *dy, const float *x, int rows) {
  int e = pml__ffn_expanded(m), f = m->f;
  size_t n = (size_t)rows * (size_t)f, b1 = (size_t)e * (size_t)m->n_in, w2 = b1 + (size_t)e, b2 = w2 + (size_t)m->n_out * (size_t)f;
  pml_status st = pml_dense_backward(m->dhidden, m->grads + w2, m->grads + b2, dy, m->hidden, m->params + w2, rows, m->n_out, f);
  if (m->act == PML_FFN_GELU) pml_gelu_backward(m->dexpanded, m->dhidden, m->expanded, n);
  else if (m->act == PML_FFN_SWIGLU) pml_swiglu_backward(m->dexpanded, m->dhidden, m->expanded, rows, f);
  else memcpy(m->dexpanded, m->dhidden, n * sizeof(float));
  return st == PML_OK ? pml_dense_backward(NULL, m->grads, m->grads + b1, m->dexpanded, x, m->params, rows, e, m->n_in) : st;
}
/* @end */

/* ── the loss ── */

/* @cross_entropy */
PML__FN void pml__cross_entropy_forward_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  for (size_t t = begin; t < end; t++) {
    float *p = op->y + t * (size_t)op->cols;
    pml_softmax(p, (size_t)op->cols);
    float hit = p[op->ids[t]];
    op->y2[t] = -pml_logf(hit > 1e-37f ? hit : 1e-37f); /* an underflow would give an infinite loss */
  }
}

PML__FN void pml__cross_entropy_backward_part(void *ctx, size_t begin, size_t end) {
  pml__op *op = (pml__op *)ctx;
  for (size_t t = begin; t < end; t++) {
    float *p = op->y + t * (size_t)op->cols, k = op->a[t] * op->scale;
    p[op->ids[t]] -= 1.0f;
    pml_scale(p, k, (size_t)op->cols);
  }
}
/* @end */

PML_API void pml_cross_entropy_forward(float *loss, float *logits, const int32_t *targets, int rows, int V) {
  pml__op op = {.y = logits, .y2 = loss, .ids = targets, .cols = V};
  pml_parallel((size_t)rows, 8, pml__cross_entropy_forward_part, &op);
}

PML_API void pml_cross_entropy_backward(float *probs, const int32_t *targets, const float *weights, float scale,
                                        int rows, int V) {
  pml__op op = {.y = probs, .a = weights, .ids = targets, .cols = V, .scale = scale};
  pml_parallel((size_t)rows, 8, pml__cross_entropy_backward_part, &op);
}

/* ── the whole model ── */

/* The activations of one layer, N rows each. */
typedef struct {
  float *x, *n1, *qkv, *att, *mid, *n2, *gu, *act, *probs;
} pml__layer_acts;

struct pml__net_buffers {
  pml_arena arena;
  int cap_rows;               /* rows the buffers hold */
  size_t cap_probs;           /* floats of attention probabilities per layer */
  pml__layer_acts *layer;
  float *x_last, *x_loss, *n_loss;      /* [N,d]: the stream after the last layer; its loss rows, before and after the norm */
  float *dx, *dn, *datt, *dqkv, *dgu, *dact, *dprobs, *dloss, *r;
  int32_t *pos;
  float *cs;                  /* [n_ctx, head_dim] cos and sin of every position */
};

PML_API void pml_net_free(pml_net *net) {
  if (!net) return;
  if (net->buf) {
    pml_arena_free(&net->buf->arena);
    pml_free(net->buf->cs);
    pml_free(net->buf->layer);
    pml_free(net->buf);
  }
  pml_free(net->params);
  pml_free(net->grads);
  pml_free(net);
}

PML_API pml_status pml_net_create(pml_net **out, const pml_config *c) {
  *out = NULL;
  pml_layout layout;
  pml_status st = pml_layout_of(&layout, c);
  if (st != PML_OK) return st;
  pml_net *net = (pml_net *)pml_calloc(1, sizeof *net);
  if (!net) return PML_E_MEMORY;
  net->layout = layout;
  size_t h = (size_t)c->head_dim;
  net->params = (float *)pml_calloc(layout.n, sizeof(float));
  net->grads = (float *)pml_calloc(layout.n, sizeof(float));
  net->buf = (struct pml__net_buffers *)pml_calloc(1, sizeof *net->buf);
  if (net->buf) net->buf->layer = (pml__layer_acts *)pml_calloc((size_t)c->n_layers, sizeof *net->buf->layer);
  if (net->buf) net->buf->cs = (float *)pml_calloc((size_t)c->n_ctx * h + h, sizeof(float));
  if (!net->params || !net->grads || !net->buf || !net->buf->layer || !net->buf->cs) {
    pml_net_free(net);
    return PML_E_MEMORY;
  }
  float *cs = net->buf->cs, *freqs = cs + (size_t)c->n_ctx * h;
  pml_rope_freqs(freqs, c->rope_dim, c->rope_theta);
  for (size_t p = 0; p < (size_t)c->n_ctx; p++)
    for (size_t i = 0; i < h / 2; i++) {
      cs[p * h + i] = pml_cosf((float)p * freqs[i]);
      cs[p * h + h / 2 + i] = pml_sinf((float)p * freqs[i]);
    }
  *out = net;
  return PML_OK;
}

PML_API void pml_net_init(pml_net *net, uint64_t seed) {
  pml_rng rng = pml_rng_seed(seed);
  float residual = 1.0f / sqrtf(2.0f * (float)net->layout.config.n_layers);
  for (int i = 0; i < pml_layout_count(&net->layout); i++) {
    pml_layout_tensor t = pml_layout_at(&net->layout, i);
    float *w = net->params + t.offset;
    size_t n = (size_t)t.rows * (size_t)t.cols;
    bool norm = strstr(t.name, "norm") != NULL, bias = strstr(t.name, ".bias") != NULL;
    bool into_stream = strstr(t.name, "attn_output") || strstr(t.name, "ffn_down");
    for (size_t j = 0; j < n; j++)
      w[j] = norm ? 1.0f : bias ? 0.0f : 0.02f * pml_rng_normal(&rng) * (into_stream ? residual : 1.0f);
  }
}

/* Makes the buffers large enough; all of them live in one arena that grows by being remade. */
PML__FN pml_status pml__net_reserve(pml_net *net, int rows, size_t probs) {
  struct pml__net_buffers *b = net->buf;
  if (rows <= b->cap_rows && probs <= b->cap_probs) return PML_OK;
  const pml_config *c = &net->layout.config;
  size_t N = (size_t)(rows > b->cap_rows ? rows : b->cap_rows), P = probs > b->cap_probs ? probs : b->cap_probs;
  size_t d = (size_t)c->d_model, f = (size_t)c->d_ffn, hh = (size_t)(c->n_heads * c->head_dim), V = (size_t)c->n_vocab;
  pml_arena_free(&b->arena);
  b->cap_rows = 0;
  b->cap_probs = 0;
  bool ok = true;
#define PML__TAKE(pointer, count) ok = ((pointer) = pml_arena_alloc(&b->arena, (count) * 4)) != NULL && ok
  for (int l = 0; l < c->n_layers; l++) {
    pml__layer_acts *a = &b->layer[l];
    PML__TAKE(a->x, N * d);
    PML__TAKE(a->n1, N * d);
    PML__TAKE(a->qkv, N * (size_t)net->layout.qkv);
    PML__TAKE(a->att, N * hh);
    PML__TAKE(a->mid, N * d);
    PML__TAKE(a->n2, N * d);
    PML__TAKE(a->gu, N * 2 * f);
    PML__TAKE(a->act, N * f);
    PML__TAKE(a->probs, P);
  }
  PML__TAKE(b->x_last, N * d);
  PML__TAKE(b->x_loss, N * d);
  PML__TAKE(b->n_loss, N * d);
  PML__TAKE(b->dx, N * d);
  PML__TAKE(b->dn, N * d);
  PML__TAKE(b->datt, N * hh);
  PML__TAKE(b->dqkv, N * (size_t)net->layout.qkv);
  PML__TAKE(b->dgu, N * 2 * f);
  PML__TAKE(b->dact, N * f);
  PML__TAKE(b->dprobs, P);
  PML__TAKE(b->dloss, N * d);
  PML__TAKE(b->r, N);
  PML__TAKE(b->pos, N);
  PML__TAKE(net->loss_row, N);
  PML__TAKE(net->loss_target, N);
  PML__TAKE(net->loss_weight, N);
  PML__TAKE(net->loss, N);
  PML__TAKE(net->probs, N * V);
#undef PML__TAKE
  if (!ok) return PML_E_MEMORY;
  b->cap_rows = (int)N;
  b->cap_probs = P;
  return PML_OK;
}

/* Adds the time since *since to one part and restarts the clock. */
PML__FN void pml__net_clock(pml_net *net, int part, double *since) {
  double now = pml_time();
  net->seconds[part] += now - *since;
  *since = now;
}

/* Checks the batch, lists its positions and its loss rows, makes room. */
PML__FN pml_status pml__net_prepare(pml_net *net, const pml_batch *b) {
  const pml_config *c = &net->layout.config;
  size_t probs = 0;
  int rows = b->n_seqs > 0 ? b->starts[b->n_seqs] - b->starts[0] : 0;
  if (rows < 1) return pml_fail(PML_E_USAGE, "training: the batch is empty");
  for (int s = 0; s < b->n_seqs; s++) {
    int T = b->starts[s + 1] - b->starts[s];
    if (T < 1 || T > c->n_ctx)
      return pml_fail(PML_E_LIMIT, "training: sequence %d has %d tokens, the context holds 1 to %d", s, T, c->n_ctx);
    probs += (size_t)T * (size_t)T * (size_t)c->n_heads;
  }
  for (int i = 0; i < rows; i++)
    if (b->ids[i] < 0 || b->ids[i] >= c->n_vocab || (b->weights[i] != 0.0f && (b->targets[i] < 0 || b->targets[i] >= c->n_vocab)))
      return pml_fail(PML_E_USAGE, "training: token %d of the batch is outside the vocabulary of %d", i, c->n_vocab);
  pml_status st = pml__net_reserve(net, rows, probs);
  if (st != PML_OK) return st;
  for (int s = 0; s < b->n_seqs; s++)
    for (int i = b->starts[s]; i < b->starts[s + 1]; i++) net->buf->pos[i - b->starts[0]] = i - b->starts[s];
  net->n_loss = 0;
  for (int i = 0; i < rows; i++) {
    if (b->weights[i] == 0.0f) continue;
    net->loss_row[net->n_loss] = i;
    net->loss_target[net->n_loss] = b->targets[i];
    net->loss_weight[net->n_loss++] = b->weights[i];
  }
  return PML_OK;
}

/* @layer_forward */
PML__FN pml_status pml__layer_forward(pml_net *net, int l, const pml_batch *b, int N, float *next) {
  const pml_config *c = &net->layout.config;
  const pml_layout *lay = &net->layout;
  const float *w = net->params + lay->layer0 + (size_t)l * lay->layer_size;
  pml__layer_acts *a = &net->buf->layer[l];
  size_t stream = (size_t)N * (size_t)c->d_model * sizeof(float);
  int d = c->d_model, f = c->d_ffn, hh = c->n_heads * c->head_dim;
  double clock = pml_time();
  pml_rmsnorm(a->n1, a->x, w + lay->attn_norm, N, d, c->rms_eps);
  pml__net_clock(net, PML_NET_NORM, &clock);
  pml_status st = pml_dense_forward(a->qkv, a->n1, w + lay->qkv_w, w + lay->qkv_b, N, lay->qkv, d);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  pml_rope_rows(a->qkv, lay->qkv, N, c->n_heads + c->n_kv_heads, c->head_dim, net->buf->pos, net->buf->cs, 1);
  pml__net_clock(net, PML_NET_ROPE, &clock);
  if (st == PML_OK) st = pml_attention_forward(a->att, a->probs, a->qkv, c, b->n_seqs, b->starts);
  pml__net_clock(net, PML_NET_ATTENTION, &clock);
  memcpy(a->mid, a->x, stream); /* the product is added to the stream: mid = x + att·Woᵀ */
  if (st == PML_OK) st = pml_gemm(a->mid, d, a->att, hh, false, w + lay->attn_out, hh, true, N, d, hh, true);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  pml_rmsnorm(a->n2, a->mid, w + lay->ffn_norm, N, d, c->rms_eps);
  pml__net_clock(net, PML_NET_NORM, &clock);
  if (st == PML_OK) st = pml_dense_forward(a->gu, a->n2, w + lay->gate_up, NULL, N, 2 * f, d);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  pml_swiglu_forward(a->act, a->gu, N, f);
  pml__net_clock(net, PML_NET_SWIGLU, &clock);
  memcpy(next, a->mid, stream);
  if (st == PML_OK) st = pml_gemm(next, d, a->act, f, false, w + lay->ffn_down, f, true, N, d, f, true);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  return st;
}
/* @end */

/* dx holds the gradient of the layer's output on entry, of its input on return. */
/* @layer_backward */
PML__FN pml_status pml__layer_backward(pml_net *net, int l, const pml_batch *b, int N) {
  const pml_config *c = &net->layout.config;
  const pml_layout *lay = &net->layout;
  size_t base = lay->layer0 + (size_t)l * lay->layer_size;
  const float *w = net->params + base;
  float *g = net->grads + base;
  pml__layer_acts *a = &net->buf->layer[l];
  struct pml__net_buffers *s = net->buf;
  int d = c->d_model, f = c->d_ffn, hh = c->n_heads * c->head_dim;
  double clock = pml_time();
  pml_status st = pml_dense_backward(s->dact, g + lay->ffn_down, NULL, s->dx, a->act, w + lay->ffn_down, N, d, f);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  pml_swiglu_backward(s->dgu, s->dact, a->gu, N, f);
  pml__net_clock(net, PML_NET_SWIGLU, &clock);
  if (st == PML_OK) st = pml_dense_backward(s->dn, g + lay->gate_up, NULL, s->dgu, a->n2, w + lay->gate_up, N, 2 * f, d);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  pml_rmsnorm_backward(s->dx, g + lay->ffn_norm, s->r, s->dn, a->mid, w + lay->ffn_norm, N, d, c->rms_eps);
  pml__net_clock(net, PML_NET_NORM, &clock);
  if (st == PML_OK) st = pml_dense_backward(s->datt, g + lay->attn_out, NULL, s->dx, a->att, w + lay->attn_out, N, d, hh);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  if (st == PML_OK)
    st = pml_attention_backward(s->dqkv, s->dprobs, s->datt, a->probs, a->qkv, c, b->n_seqs, b->starts);
  pml__net_clock(net, PML_NET_ATTENTION, &clock);
  pml_rope_rows(s->dqkv, lay->qkv, N, c->n_heads + c->n_kv_heads, c->head_dim, s->pos, s->cs, -1);
  pml__net_clock(net, PML_NET_ROPE, &clock);
  if (st == PML_OK)
    st = pml_dense_backward(s->dn, g + lay->qkv_w, g + lay->qkv_b, s->dqkv, a->n1, w + lay->qkv_w, N, lay->qkv, d);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  pml_rmsnorm_backward(s->dx, g + lay->attn_norm, s->r, s->dn, a->x, w + lay->attn_norm, N, d, c->rms_eps);
  pml__net_clock(net, PML_NET_NORM, &clock);
  return st;
}
/* @end */

/* Logits are computed only where a loss is: their rows are gathered first. */
PML_API pml_status pml_net_forward(pml_net *net, const pml_batch *b, double *loss_sum, double *weight_sum) {
  pml_status st = pml__net_prepare(net, b);
  if (st != PML_OK) return st;
  const pml_config *c = &net->layout.config;
  struct pml__net_buffers *s = net->buf;
  int N = b->starts[b->n_seqs] - b->starts[0], d = c->d_model, L = c->n_layers;
  double clock = pml_time();
  pml_embedding_forward(s->layer[0].x, net->params, b->ids, N, d);
  pml__net_clock(net, PML_NET_OTHER, &clock);
  for (int l = 0; l < L && st == PML_OK; l++) st = pml__layer_forward(net, l, b, N, l + 1 < L ? s->layer[l + 1].x : s->x_last);
  if (st != PML_OK || net->n_loss == 0) return st;
  clock = pml_time();
  pml_embedding_forward(s->x_loss, s->x_last, net->loss_row, net->n_loss, d);
  pml_rmsnorm(s->n_loss, s->x_loss, net->params + net->layout.output_norm, net->n_loss, d, c->rms_eps);
  pml__net_clock(net, PML_NET_NORM, &clock);
  st = pml_dense_forward(net->probs, s->n_loss, net->params, NULL, net->n_loss, c->n_vocab, d);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  pml_cross_entropy_forward(net->loss, net->probs, net->loss_target, net->n_loss, c->n_vocab);
  for (int i = 0; i < net->n_loss; i++) {
    if (loss_sum) *loss_sum += (double)net->loss_weight[i] * (double)net->loss[i];
    if (weight_sum) *weight_sum += (double)net->loss_weight[i];
  }
  pml__net_clock(net, PML_NET_LOSS, &clock);
  return st;
}

PML_API pml_status pml_net_backward(pml_net *net, const pml_batch *b, float scale) {
  const pml_config *c = &net->layout.config;
  struct pml__net_buffers *s = net->buf;
  int N = b->starts[b->n_seqs] - b->starts[0], d = c->d_model, n = net->n_loss;
  size_t row = (size_t)d * sizeof(float);
  if (n == 0) return PML_OK;
  double clock = pml_time();
  pml_cross_entropy_backward(net->probs, net->loss_target, net->loss_weight, scale, n, c->n_vocab);
  pml__net_clock(net, PML_NET_LOSS, &clock);
  pml_status st = pml_dense_backward(s->dn, net->grads, NULL, net->probs, s->n_loss, net->params, n, c->n_vocab, d);
  pml__net_clock(net, PML_NET_GEMM, &clock);
  memset(s->dloss, 0, (size_t)n * row);
  pml_rmsnorm_backward(s->dloss, net->grads + net->layout.output_norm, s->r, s->dn, s->x_loss,
                       net->params + net->layout.output_norm, n, d, c->rms_eps);
  memset(s->dx, 0, (size_t)N * row);
  for (int i = 0; i < n; i++) memcpy(s->dx + (size_t)net->loss_row[i] * (size_t)d, s->dloss + (size_t)i * (size_t)d, row);
  pml__net_clock(net, PML_NET_NORM, &clock);
  for (int l = c->n_layers; l-- > 0 && st == PML_OK;) st = pml__layer_backward(net, l, b, N);
  clock = pml_time();
  if (st == PML_OK) pml_embedding_backward(net->grads, s->dx, b->ids, N, d);
  pml__net_clock(net, PML_NET_OTHER, &clock);
  return st;
}

#endif /* § 31 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 32  OPTIMISER                                       needs § 3 § 5 § 8 § 11 § 31
   ─────────────────────────────────────────────────────────────────────────────
   The gradient says which way is down, not how far to go.  AdamW keeps two
   running averages for every weight: m of the gradient (which way, on average)
   and v of its square (how large, on average), and moves by their ratio.  So a
   weight with small steady gradients moves as far as one with large ones.

     m ← β₁·m + (1 − β₁)·g              v ← β₂·v + (1 − β₂)·g²
     w ← w − lr·( (m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε) + λ·w )

   Both averages start at 0 and are too small at first; 1 − βᵗ corrects that.
   The decay λ·w pulls weights towards 0 by its own rule instead of through the
   gradient, where v would divide it away: that is the W.  It is applied to
   matrices, not to norms, biases or the embedding.

   The learning rate rises linearly from 0 for the first steps, while v is still
   a poor estimate, then falls along half a cosine.  Before each step the whole
   gradient is shortened to a fixed length if it is longer (clipping), so that
   one strange batch cannot undo an hour.

   What it costs: 8 bytes of state a weight (m and v), 16 bytes a weight in all
   with the weight and its gradient; one pass over them per step.
   Where it goes wrong: a forgotten bias correction makes the first steps ten
   times too small; the test compares five steps with the formula in doubles.

   Source: Kingma and Ba 2015 (arXiv:1412.6980); Loshchilov and Hutter 2019,
   Decoupled Weight Decay Regularization (arXiv:1711.05101).
   ═════════════════════════════════════════════════════════════════════════════ */

typedef struct {
  float lr, beta1, beta2, eps, decay;
  double beta1_t, beta2_t;    /* β₁ᵗ and β₂ᵗ of this step, t counted from 1 */
} pml_adamw;

/* One step for n weights: w, m and v change, g is read. */
PML_API void pml_adamw_update(float *w, float *m, float *v, const float *g, size_t n, const pml_adamw *o);

/* √Σ g², added in a fixed order whatever the thread count. */
PML_API double pml_global_norm(const float *g, size_t n);

/* Shortens g to max_norm if it is longer; returns the norm it had.  max_norm <= 0 only measures. */
PML_API double pml_clip_norm(float *g, size_t n, double max_norm);

/* The learning rate of step 0 … steps-1: linear over `warmup` steps up to lr, then half a
   cosine down to min_lr. */
PML_API double pml_lr_at(int64_t step, int64_t steps, int64_t warmup, double lr, double min_lr);

/* Trains a small network (§ 31) to tell n_out classes apart: x[n,n_in], label[n], `steps` batches in order,
   at most 4096 values of logits a batch; n is a multiple of the batch.  The rate falls from lr to lr / 20. */
PML_API pml_status pml_ffn_fit(pml_ffn *m, const float *x, const int32_t *label, int n, int batch, int steps, double lr);

/* A problem in the plane that no straight line solves: n points on a board of cells × cells squares of side 1
   around 0, none within 0.1 of an edge; the label is the colour of the square.  2 × 2 is XOR. */
PML_API void pml_chessboard(float *xy, int32_t *label, int n, int cells, uint64_t seed);
/* How a network with two inputs and two classes sees the plane.  Points: the share that it gets right, and
   wrong[n] (may be NULL) says which it does not.  Surface: p[grid,grid] of class 1 over the square of side
   `side` around 0. */
PML_API pml_status pml_ffn_points(pml_ffn *m, const float *xy, const int32_t *label, int n, double *right, bool *wrong);
PML_API pml_status pml_ffn_surface(pml_ffn *m, double *p, int grid, double side);

#ifdef PML__IMPL

typedef struct {
  float *w, *m, *v;
  const float *g;
  size_t n;
  double *sums;
  float scale;
  const pml_adamw *o;
} pml__opt_job;

enum { PML__OPT_CHUNK = 8192 };

/* @adamw */
PML__FN void pml__adamw_part(void *ctx, size_t begin, size_t end) {
  pml__opt_job *job = (pml__opt_job *)ctx;
  const pml_adamw *o = job->o;
  size_t last = end * PML__OPT_CHUNK < job->n ? end * PML__OPT_CHUNK : job->n;
  float b1 = o->beta1, b2 = o->beta2, c1 = (float)(1.0 / (1.0 - o->beta1_t)), c2 = (float)(1.0 / (1.0 - o->beta2_t));
  for (size_t i = begin * PML__OPT_CHUNK; i < last; i++) {
    float g = job->g[i];
    float m = job->m[i] = b1 * job->m[i] + (1.0f - b1) * g;
    float v = job->v[i] = b2 * job->v[i] + (1.0f - b2) * g * g;
    job->w[i] -= o->lr * (m * c1 / (sqrtf(v * c2) + o->eps) + o->decay * job->w[i]);
  }
}
/* @end */

PML_API void pml_adamw_update(float *w, float *m, float *v, const float *g, size_t n, const pml_adamw *o) {
  pml__opt_job job = {.w = w, .m = m, .v = v, .g = g, .n = n, .o = o};
  pml_parallel((n + PML__OPT_CHUNK - 1) / PML__OPT_CHUNK, 1, pml__adamw_part, &job);
}

/* Chunk c of each round of 64 chunks writes sums[c]; the sums are then added in order. */
PML__FN void pml__norm_part(void *ctx, size_t begin, size_t end) {
  pml__opt_job *job = (pml__opt_job *)ctx;
  for (size_t c = begin; c < end; c++) {
    size_t at = c * PML__OPT_CHUNK, n = job->n - at < PML__OPT_CHUNK ? job->n - at : PML__OPT_CHUNK;
    job->sums[c] = (double)pml_dot(job->g + at, job->g + at, n);
  }
}

PML_API double pml_global_norm(const float *g, size_t n) {
  enum { ROUND = 64 };
  double sums[ROUND], total = 0;
  for (size_t at = 0; at < n; at += (size_t)ROUND * PML__OPT_CHUNK) {
    size_t len = n - at < (size_t)ROUND * PML__OPT_CHUNK ? n - at : (size_t)ROUND * PML__OPT_CHUNK;
    size_t chunks = (len + PML__OPT_CHUNK - 1) / PML__OPT_CHUNK;
    pml__opt_job job = {.g = g + at, .n = len, .sums = sums};
    pml_parallel(chunks, 4, pml__norm_part, &job);
    for (size_t c = 0; c < chunks; c++) total += sums[c];
  }
  return sqrt(total);
}

PML_API double pml_clip_norm(float *g, size_t n, double max_norm) {
  double norm = pml_global_norm(g, n);
  if (max_norm > 0 && norm > max_norm) pml_scale(g, (float)(max_norm / norm), n);
  return norm;
}

PML_API double pml_lr_at(int64_t step, int64_t steps, int64_t warmup, double lr, double min_lr) {
  if (step < warmup) return lr * (double)(step + 1) / (double)warmup;
  if (steps <= warmup + 1) return lr;
  double done = (double)(step - warmup) / (double)(steps - 1 - warmup);
  return min_lr + (lr - min_lr) * 0.5 * (1.0 + pml_cosd(3.14159265358979323846 * (done < 1.0 ? done : 1.0)));
}

/* @ffn_fit */
PML_API pml_status pml_ffn_fit(pml_ffn *m, const float *x, const int32_t *label, int n, int batch, int steps, double lr) {
  enum { MAX = 4096 };
  float logits[MAX], loss[MAX], one[MAX], *moments = NULL;
  pml_adamw o = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .beta1_t = 1, .beta2_t = 1};
  if (batch < 1 || batch > MAX / m->n_out || batch > m->max_rows || n < batch || n % batch)
    return pml_fail(PML_E_USAGE, "training: batches of %d rows of %d do not fit", batch, n);
  if (!(moments = (float *)pml_calloc(2 * m->n, sizeof *moments))) return PML_E_MEMORY;
  pml_status st = PML_OK;
  for (int i = 0; i < batch; i++) one[i] = 1;
  for (int step = 0; step < steps && st == PML_OK; step++) {
    int at = (int)((int64_t)step * batch % n);
    const float *rows = x + (size_t)at * (size_t)m->n_in;
    memset(m->grads, 0, m->n * sizeof(float));
    st = pml_ffn_forward(m, logits, rows, batch);
    pml_cross_entropy_forward(loss, logits, label + at, batch, m->n_out);
    pml_cross_entropy_backward(logits, label + at, one, 1.0f / (float)batch, batch, m->n_out);
    if (st == PML_OK) st = pml_ffn_backward(m, logits, rows, batch);
    o.beta1_t *= (double)o.beta1, o.beta2_t *= (double)o.beta2, o.lr = (float)pml_lr_at(step, steps, 10, lr, lr / 20);
    pml_adamw_update(m->params, moments, moments + m->n, m->grads, m->n, &o);
  }
  pml_free(moments);
  return st;
}
/* @end */

PML_API void pml_chessboard(float *xy, int32_t *label, int n, int cells, uint64_t seed) {
  pml_rng rng = pml_rng_seed(seed);
  for (int i = 0; i < n; i++) {
    int col = (int)pml_rng_below(&rng, (uint32_t)cells), row = (int)pml_rng_below(&rng, (uint32_t)cells);
    xy[2 * i] = (float)col + 0.1f + 0.8f * pml_rng_uniform(&rng) - 0.5f * (float)cells;
    xy[2 * i + 1] = (float)row + 0.1f + 0.8f * pml_rng_uniform(&rng) - 0.5f * (float)cells;
    label[i] = (col + row) & 1;
  }
}

PML_API pml_status pml_ffn_points(pml_ffn *m, const float *xy, const int32_t *label, int n, double *right, bool *wrong) {
  int good = 0;
  for (int i = 0; i < n; i++) {
    float y[2];
    if (m->n_in != 2 || m->n_out != 2) return pml_fail(PML_E_USAGE, "only a network from 2 numbers to 2 sees the plane");
    pml_status st = pml_ffn_forward(m, y, xy + 2 * i, 1);
    if (st != PML_OK) return st;
    bool is = (y[1] > y[0]) == (label[i] != 0);
    good += is;
    if (wrong) wrong[i] = !is;
  }
  *right = (double)good / n;
  return PML_OK;
}

PML_API pml_status pml_ffn_surface(pml_ffn *m, double *p, int grid, double side) {
  for (int i = 0; i < grid * grid; i++) {
    float y[2], at[2] = {(float)side * (((float)(i % grid) + 0.5f) / (float)grid - 0.5f),
                         (float)side * (((float)(i / grid) + 0.5f) / (float)grid - 0.5f)};
    if (m->n_in != 2 || m->n_out != 2) return pml_fail(PML_E_USAGE, "only a network from 2 numbers to 2 sees the plane");
    pml_status st = pml_ffn_forward(m, y, at, 1);
    if (st != PML_OK) return st;
    p[i] = (double)pml_sigmoidf(y[1] - y[0]);
  }
  return PML_OK;
}

#endif /* § 32 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 33  TRAINING                          needs § 3 § 6 § 7 § 17 § 18 § 31 § 32
   ─────────────────────────────────────────────────────────────────────────────
   One training step: take some sequences, run them forward, walk the gradient
   back, move every weight a little.  A few thousand steps later the model
   continues text as its data does.  Everything else in this chapter exists so
   that the same run can be had again.

   Sequence number c is a pure function of the data, the seed and c: it does not
   depend on earlier ones.  So a checkpoint holds the weights, both moments and
   the step, and nothing else; a resumed run asks for sequence step·batch and
   goes on as if nothing had happened.  10 + 10 steps equal 20 steps bit for
   bit, and the test says so.

   The tutor's data.  A topic is one answer, many taught questions, and a few
   held-out questions that are never trained on and share at most half of their
   content words with any single taught question.  A model that stored the
   taught questions by heart would miss them.  So a taught question is rarely
   shown as it stands: words are dropped, fragments of several phrasings of the
   same topic are mixed into one, letters change case, a greeting appears.  What
   stays true under all of that is which words speak for which topic, and this
   is what has to be learned.  Most of the time only the first tokens of the
   answer are trained, and the first three weigh most: there the topic is
   decided, the rest follows from them.

   What it costs: 6 operations per weight and token.  The tutor: 2.8 million
   weights, 3.5 million tokens, 59·10¹² operations.
   Where it goes wrong: a held-out question that slipped into the taught ones
   makes every later figure a lie.  pml_qa_check refuses such data.

   Source: Radford et al. 2019 (GPT-2) for the recipe; Wei and Zou 2019, EDA
   (arXiv:1901.11196) for word-level augmentation.
   ═════════════════════════════════════════════════════════════════════════════ */

/* ── the trainer ── */

/* One training sequence: token i predicts ids[i+1] with weights[i+1]. Filled by a source. */
typedef struct {
  int32_t *ids;               /* [n], capacity cap */
  float *weights;             /* [n] */
  int n, cap;
} pml_sequence;
PML_API pml_status pml_sequence_add(pml_sequence *s, const int32_t *ids, size_t n, float weight);
PML_API void pml_sequence_free(pml_sequence *s);

/* Writes sequence number c (s->n is 0 on entry).  It must depend on c alone. */
typedef pml_status (*pml_sequence_fn)(void *user, uint64_t c, pml_sequence *s);

typedef struct {
  int64_t step, steps;        /* steps done, steps planned */
  uint64_t tokens;            /* input tokens since the start of the run */
  double loss;                /* per weighted token, of the last step */
  double lr, grad_norm, tok_s, eta_s;
  double forward_s, step_s;   /* of the last step: its forward passes; all of it but the gathering of data */
} pml_train_progress;

typedef struct {
  pml_config config;
  uint64_t seed;              /* of the initial weights */
  int64_t steps, warmup;
  int batch;                  /* sequences per step */
  int micro_tokens;           /* tokens per forward pass; a larger step accumulates over several */
  float lr, min_lr, decay, beta1, beta2, eps, clip;
  pml_sequence_fn source;
  void *source_user;
  const char *data_id;        /* what the data is, e.g. its SHA-256; a checkpoint remembers it */
  const char *checkpoint;     /* path, or NULL: none is written */
  int64_t checkpoint_every;   /* steps; 0: only when cancelled */
  bool (*progress)(void *user, const pml_train_progress *p); /* after each step; false cancels */
  void *progress_user;
} pml_train_options;
/* AdamW's usual constants; config, source and steps are the caller's. */
PML_API pml_train_options pml_train_defaults(void);

typedef struct {
  pml_train_options opt;
  pml_net *net;
  float *m, *v;
  int64_t step;
  double beta1_t, beta2_t;    /* running powers of β after `step` steps */
  uint64_t tokens;
  double train_seconds, data_seconds, update_seconds;
  struct pml__train_batch *batch;
} pml_trainer;
PML_API pml_status pml_trainer_create(pml_trainer **out, const pml_train_options *o);
PML_API void pml_trainer_free(pml_trainer *t);
PML_API pml_status pml_trainer_step(pml_trainer *t, pml_train_progress *p);
/* Steps until `until` (at most opt.steps).  When the callback cancels, a checkpoint is written
   if a path was given, and the result is PML_E_CANCELLED. */
PML_API pml_status pml_trainer_run(pml_trainer *t, int64_t until);
/* Weights, moments, step; written atomically as a GGUF file.  Loading refuses a checkpoint
   of other options, other data or another model with PML_E_CHECK. */
PML_API pml_status pml_trainer_save(const pml_trainer *t, const char *path);
PML_API pml_status pml_trainer_load(pml_trainer *t, const char *path);
PML_API void pml_trainer_sha256(const pml_trainer *t, char hex[65]); /* of the parameters */

/* Writes the model as GGUF: matrices F16, norms and biases F32, with tokenizer, chat template
   and provenance.  name is for people ("prodml tutor"). */
typedef struct {
  const char *name, *command, *data_sha256;
  uint64_t seed;
} pml_export_options;
PML_API pml_status pml_net_export(const pml_net *net, const pml_tokenizer *tok, const pml_export_options *o,
                                  const char *path);
/* The way back: copies the weights of an open model into a net of its configuration, as f32.
   Gradients stay as they are.  PML_E_USAGE when the sizes differ. */
PML_API pml_status pml_net_load(pml_net *net, const pml_model *m);

/* ── questions and answers ── */

typedef struct {
  const char *id, *answer, *file;
  int line;                   /* of the "== id" line */
  int n_taught, n_held;
  const char **taught, **held;
} pml_qa_topic;
typedef struct {
  pml_arena arena;
  int n_topics, cap_topics;
  pml_qa_topic *topics;
  const char **stopwords;     /* sorted */
  int n_stopwords;
  char sha256[65];            /* over names and bytes of all files, in name order */
} pml_qa;
/* Reads one *.txt file, or every one of a folder in name order; a stopwords.txt beside them is
   the list of words that do not count.  Lines: '#' comment, '== id', 'A: answer', 'Q: taught', 'H: held out'. */
PML_API pml_status pml_qa_load(pml_qa **out, const char *where);
PML_API void pml_qa_free(pml_qa *qa);

/* The content words of a text: lower-cased runs of letters and digits that are no stopwords
   and longer than one letter, stemmed lightly (-ing from 7 letters, -ed from 6, -s from 4 but
   not -ss).  At most cap words of at most 31 letters; returns how many, in text order. */
typedef struct { char text[32]; } pml_word;
PML_API int pml_content_words(const pml_qa *qa, const char *text, pml_word *words, int cap);

/* The rule of the data: an answer and at least 12 taught phrasings per topic, no id or question
   twice, and every held-out question has at least 4 content words and shares at most half of
   them with any single taught question.  Lists each violation in *report (may be NULL). */
PML_API pml_status pml_qa_check(const pml_qa *qa, pml_buf *report);

/* How taught questions are varied.  Every p_ is a probability. */
typedef struct {
  float p_mix;                /* a question made of fragments of several phrasings of the topic */
  int window;                 /* words of the longest fragment */
  float p_drop, drop;         /* drop words at all; each word then goes with probability `drop` */
  float p_shuffle;            /* any order of the words */
  float p_noise;              /* one or two words from another topic */
  float p_frame;              /* "please explain: ...", "..., thanks" */
  float p_case, p_punct;      /* lower case; no final punctuation */
  float p_typo;               /* two neighbouring letters change places in one word */
  float p_full;               /* train the whole answer, else its first `head` tokens */
  int head;
  float question_weight;      /* loss weight of question tokens; answers have 1 */
  float first_weight;         /* loss weight of the first three answer tokens: there the topic is decided */
} pml_augment;
PML_API pml_augment pml_augment_defaults(void);

/* One variation of a taught phrasing, appended to out. */
PML_API void pml_qa_vary(const pml_qa *qa, const pml_augment *a, int topic, int phrasing, pml_rng *rng, pml_buf *out);

/* The source of training sequences.  All members are borrowed. */
typedef struct {
  const pml_qa *qa;
  const pml_tokenizer *tok;
  pml_augment augment;
  uint64_t seed;
  int n_items;                /* taught phrasings in all */
  int32_t *item_topic, *item_phrasing, *order;
  uint64_t order_epoch;       /* the epoch that `order` belongs to */
} pml_qa_source;
PML_API pml_status pml_qa_source_create(pml_qa_source **out, const pml_qa *qa, const pml_tokenizer *tok,
                                        const pml_augment *a, uint64_t seed);
PML_API void pml_qa_source_free(pml_qa_source *s);
PML_API pml_status pml_qa_source_next(void *source, uint64_t c, pml_sequence *s); /* a pml_sequence_fn */

/* "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n" with weight wq on Q and what follows
   it, then the answer (NULL: none) and <|im_end|> with weight 1, at most `limit` answer tokens
   (0: all).  This is the prompt that § 28 builds for the ChatML template. */
PML_API pml_status pml_chatml_sequence(const pml_tokenizer *tok, const char *question, const char *answer, float wq,
                                       int limit, pml_sequence *s);

/* The smallest fine-tuning: `steps` AdamW steps at the constant rate lr on one question with a new answer,
   beginning with the weights of m, which stays as it is.  at[steps + 1]: before each step and after the last. */
PML_API pml_status pml_finetune_one(const pml_model *m, const char *question, const char *answer, float lr, int steps,
                                    pml_train_progress *at);

/* The tokenizer of the tutor's family: byte-level BPE over all taught text, the same for the same data. */
PML_API pml_status pml_qa_tokenizer(pml_tokenizer **out, const pml_qa *qa, int n_vocab);
/* Appends all answers and taught questions, or all held-out questions, a line each. */
PML_API void pml_qa_text(const pml_qa *qa, bool held, pml_buf *out);

#define PML_CHATML_TEMPLATE                                                                                  \
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "          \
  "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

#ifdef PML__IMPL
#include <dirent.h>

PML_API pml_status pml_sequence_add(pml_sequence *s, const int32_t *ids, size_t n, float weight) {
  if (n > (size_t)(INT_MAX / 2 - s->n)) return pml_fail(PML_E_LIMIT, "training: a sequence is too long");
  int need = s->n + (int)n;
  if (need > s->cap) {
    int cap = need + need / 2 + 64;
    int32_t *more_ids = (int32_t *)pml_realloc(s->ids, (size_t)cap * sizeof *s->ids);
    if (more_ids) s->ids = more_ids;
    float *more_weights = more_ids ? (float *)pml_realloc(s->weights, (size_t)cap * sizeof *s->weights) : NULL;
    if (!more_weights) return PML_E_MEMORY;
    s->weights = more_weights;
    s->cap = cap;
  }
  for (size_t i = 0; i < n; i++) {
    s->ids[s->n] = ids[i];
    s->weights[s->n++] = weight;
  }
  return PML_OK;
}

PML_API void pml_sequence_free(pml_sequence *s) {
  pml_free(s->ids);
  pml_free(s->weights);
  memset(s, 0, sizeof *s);
}

/* The sequences of one step, laid end to end. */
struct pml__train_batch {
  pml_sequence seq, ids, targets; /* one sequence; all inputs with their loss weights; all targets */
  int32_t *starts;                /* [batch + 1] */
};

PML_API pml_train_options pml_train_defaults(void) {
  pml_train_options o = {.seed = 42, .steps = 1000, .warmup = 200, .batch = 8, .micro_tokens = 2048, .lr = 1e-3f,
                         .min_lr = 1e-5f, .decay = 0.1f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .clip = 1.0f};
  return o;
}

PML_API void pml_trainer_free(pml_trainer *t) {
  if (!t) return;
  pml_net_free(t->net);
  pml_free(t->m);
  pml_free(t->v);
  if (t->batch) {
    pml_sequence_free(&t->batch->seq);
    pml_sequence_free(&t->batch->ids);
    pml_sequence_free(&t->batch->targets);
    pml_free(t->batch->starts);
    pml_free(t->batch);
  }
  pml_free(t);
}

PML_API pml_status pml_trainer_create(pml_trainer **out, const pml_train_options *o) {
  *out = NULL;
  if (!o->source || o->steps < 1 || o->batch < 1 || o->micro_tokens < 1 || o->warmup < 0)
    return pml_fail(PML_E_USAGE, "training: needs a source and at least 1 step, 1 sequence per step and 1 token per pass");
  pml_trainer *t = (pml_trainer *)pml_calloc(1, sizeof *t);
  if (!t) return PML_E_MEMORY;
  t->opt = *o;
  t->beta1_t = t->beta2_t = 1.0;
  pml_status st = pml_net_create(&t->net, &o->config);
  if (st == PML_OK) {
    pml_net_init(t->net, o->seed);
    t->m = (float *)pml_calloc(t->net->layout.n, sizeof(float));
    t->v = (float *)pml_calloc(t->net->layout.n, sizeof(float));
    t->batch = (struct pml__train_batch *)pml_calloc(1, sizeof *t->batch);
    if (t->batch) t->batch->starts = (int32_t *)pml_calloc((size_t)o->batch + 1, sizeof(int32_t));
    if (!t->m || !t->v || !t->batch || !t->batch->starts) st = PML_E_MEMORY;
  }
  if (st != PML_OK) {
    pml_trainer_free(t);
    return st;
  }
  *out = t;
  return PML_OK;
}

/* Token i of the batch predicts token i+1 of its sequence, so a sequence of n gives n-1 inputs. */
PML__FN pml_status pml__train_gather(pml_trainer *t) {
  struct pml__train_batch *b = t->batch;
  b->ids.n = b->targets.n = 0;
  for (int i = 0; i < t->opt.batch; i++) {
    b->seq.n = 0;
    uint64_t c = (uint64_t)t->step * (uint64_t)t->opt.batch + (uint64_t)i;
    pml_status st = t->opt.source(t->opt.source_user, c, &b->seq);
    if (st != PML_OK) return st;
    if (b->seq.n < 2) return pml_fail(PML_E_USAGE, "training: sequence %" PRIu64 " has fewer than 2 tokens", c);
    b->starts[i] = b->ids.n;
    for (int j = 0; j + 1 < b->seq.n && st == PML_OK; j++) {
      st = pml_sequence_add(&b->ids, &b->seq.ids[j], 1, b->seq.weights[j + 1]);
      if (st == PML_OK) st = pml_sequence_add(&b->targets, &b->seq.ids[j + 1], 1, 0);
    }
    if (st != PML_OK) return st;
  }
  b->starts[t->opt.batch] = b->ids.n;
  return PML_OK;
}

/* Forward and backward over slices of whole sequences of at most micro_tokens each. */
PML__FN pml_status pml__train_passes(pml_trainer *t, double *loss, double *forward_s) {
  struct pml__train_batch *b = t->batch;
  double sum = 0, weight = 0;
  for (int i = 0; i < b->ids.n; i++) weight += (double)b->ids.weights[i];
  if (weight <= 0) return pml_fail(PML_E_USAGE, "training: no token of step %" PRId64 " has a loss weight", t->step);
  memset(t->net->grads, 0, t->net->layout.n * sizeof(float));
  for (int from = 0, to; from < t->opt.batch; from = to) {
    int at = b->starts[from];
    for (to = from + 1; to < t->opt.batch && b->starts[to + 1] - at <= t->opt.micro_tokens;) to++;
    pml_batch slice = {.n_seqs = to - from, .starts = b->starts + from, .ids = b->ids.ids + at,
                       .targets = b->targets.ids + at, .weights = b->ids.weights + at};
    double begin = pml_time();
    pml_status st = pml_net_forward(t->net, &slice, &sum, NULL);
    *forward_s += pml_time() - begin;
    if (st == PML_OK) st = pml_net_backward(t->net, &slice, (float)(1.0 / weight));
    if (st != PML_OK) return st;
  }
  *loss = sum / weight;
  return PML_OK;
}

/* @train_step */
PML_API pml_status pml_trainer_step(pml_trainer *t, pml_train_progress *p) {
  const pml_train_options *o = &t->opt;
  double begin = pml_time(), loss = 0, forward = 0;
  pml_status st = pml__train_gather(t);
  double gathered = pml_time();
  if (st == PML_OK) st = pml__train_passes(t, &loss, &forward);
  if (st != PML_OK) return st;
  double passed = pml_time();
  double norm = pml_clip_norm(t->net->grads, t->net->layout.n, (double)o->clip);
  if (!(norm < 1e30)) return pml_fail(PML_E_CHECK, "training: the gradient of step %" PRId64 " is not finite: lower the learning rate", t->step);
  t->beta1_t *= (double)o->beta1;
  t->beta2_t *= (double)o->beta2;
  pml_adamw adam = {.lr = (float)pml_lr_at(t->step, o->steps, o->warmup, (double)o->lr, (double)o->min_lr),
                    .beta1 = o->beta1, .beta2 = o->beta2, .eps = o->eps, .beta1_t = t->beta1_t, .beta2_t = t->beta2_t};
  for (int i = 0; i < pml_layout_count(&t->net->layout); i++) {
    pml_layout_tensor x = pml_layout_at(&t->net->layout, i);
    adam.decay = x.rows > 1 && x.offset > 0 ? o->decay : 0; /* matrices, but not the embedding */
    pml_adamw_update(t->net->params + x.offset, t->m + x.offset, t->v + x.offset, t->net->grads + x.offset,
                     (size_t)x.rows * (size_t)x.cols, &adam);
  }
  double end = pml_time();
  t->data_seconds += gathered - begin;
  t->update_seconds += end - passed;
  t->train_seconds += end - begin;
  t->step++;
  t->tokens += (uint64_t)t->batch->ids.n;
  double rate = (double)t->tokens / t->train_seconds, left = (double)(o->steps - t->step) / (double)t->step;
  pml_train_progress now = {.step = t->step, .steps = o->steps, .tokens = t->tokens, .loss = loss, .lr = (double)adam.lr,
                            .grad_norm = norm, .tok_s = rate, .eta_s = (double)t->tokens / rate * left,
                            .forward_s = forward, .step_s = end - gathered};
  if (p) *p = now;
  return PML_OK;
}
/* @end */

PML_API pml_status pml_trainer_run(pml_trainer *t, int64_t until) {
  pml_status st = PML_OK;
  while (st == PML_OK && t->step < until && t->step < t->opt.steps) {
    pml_train_progress p;
    st = pml_trainer_step(t, &p);
    bool go_on = st != PML_OK || !t->opt.progress || t->opt.progress(t->opt.progress_user, &p);
    bool due = t->opt.checkpoint_every > 0 && t->step % t->opt.checkpoint_every == 0;
    if (st == PML_OK && t->opt.checkpoint && (due || !go_on)) st = pml_trainer_save(t, t->opt.checkpoint);
    if (st == PML_OK && !go_on)
      return pml_fail(PML_E_CANCELLED, "training: stopped after step %" PRId64 " of %" PRId64 "%s%s", t->step, t->opt.steps,
                      t->opt.checkpoint ? ", resume from " : "", t->opt.checkpoint ? t->opt.checkpoint : "");
  }
  return st;
}

PML_API void pml_trainer_sha256(const pml_trainer *t, char hex[65]) {
  pml_sha256_hex(t->net->params, t->net->layout.n * sizeof(float), hex);
}

/* Everything that decides the next weights, as one line; two runs with equal lines may be joined. */
PML__FN void pml__train_identity(const pml_train_options *o, char *line, size_t size) {
  const pml_config *c = &o->config;
  snprintf(line, size,
           "layers %d d %d heads %d/%d of %d ffn %d vocab %d ctx %d theta %a eps %a seed %" PRIu64 " steps %" PRId64
           " warmup %" PRId64 " batch %d micro %d lr %a %a decay %a betas %a %a %a clip %a strict %d data %s",
           c->n_layers, c->d_model, c->n_heads, c->n_kv_heads, c->head_dim, c->d_ffn, c->n_vocab, c->n_ctx,
           (double)c->rope_theta, (double)c->rms_eps, o->seed, o->steps, o->warmup, o->batch, o->micro_tokens, (double)o->lr,
           (double)o->min_lr, (double)o->decay, (double)o->beta1, (double)o->beta2, (double)o->eps, (double)o->clip,
           (int)pml_strict(), o->data_id ? o->data_id : "-");
}

PML_API pml_status pml_trainer_save(const pml_trainer *t, const char *path) {
  char line[1024];
  pml_gguf_writer *w;
  pml_status st = pml_gguf_writer_create(&w);
  if (st != PML_OK) return st;
  pml__train_identity(&t->opt, line, sizeof line);
  uint64_t ne[1] = {t->net->layout.n};
  pml_gguf_add_str(w, "general.architecture", "prodml.checkpoint");
  pml_gguf_add_str(w, "prodml.run", line);
  pml_gguf_add_u64(w, "prodml.step", (uint64_t)t->step);
  pml_gguf_add_u64(w, "prodml.tokens", t->tokens);
  pml_gguf_add_tensor(w, "params", PML_F32, 1, ne, t->net->params);
  pml_gguf_add_tensor(w, "adam.m", PML_F32, 1, ne, t->m);
  pml_gguf_add_tensor(w, "adam.v", PML_F32, 1, ne, t->v);
  return pml_gguf_writer_finish(w, path);
}

PML__FN pml_status pml__train_restore(pml_trainer *t, const pml_gguf *g, const char *path) {
  char line[1024];
  pml_str run;
  int64_t step, tokens;
  pml__train_identity(&t->opt, line, sizeof line);
  if (!pml_gguf_get_str(g, "prodml.run", &run) || !pml_gguf_get_int(g, "prodml.step", &step) ||
      !pml_gguf_get_int(g, "prodml.tokens", &tokens))
    return pml_fail(PML_E_FORMAT, "%s: is not a training checkpoint", path);
  if (!pml_str_eq(run, line))
    return pml_fail(PML_E_CHECK, "%s: belongs to another run (%.*s): use the same options and data, or start anew", path,
                    (int)(run.len < 300 ? run.len : 300), run.ptr);
  if (step < 0 || step > t->opt.steps || tokens < 0)
    return pml_fail(PML_E_FORMAT, "%s: step %" PRId64 " is outside the run of %" PRId64, path, step, t->opt.steps);
  const char *names[] = {"params", "adam.m", "adam.v"};
  float *to[] = {t->net->params, t->m, t->v};
  size_t bytes = t->net->layout.n * sizeof(float);
  for (int i = 0; i < 3; i++) {
    const pml_tensor *x = pml_gguf_tensor(g, names[i]);
    if (!x || x->type != PML_F32 || x->size != bytes)
      return pml_fail(PML_E_FORMAT, "%s: tensor '%s' is missing or has another size", path, names[i]);
  }
  for (int i = 0; i < 3; i++) memcpy(to[i], pml_gguf_tensor(g, names[i])->data, bytes);
  t->step = step;
  t->tokens = 0; /* the rate counts this process only */
  t->beta1_t = t->beta2_t = 1.0;
  for (int64_t i = 0; i < step; i++) { /* the same products as in the first run, so the same bits */
    t->beta1_t *= (double)t->opt.beta1;
    t->beta2_t *= (double)t->opt.beta2;
  }
  return PML_OK;
}

PML_API pml_status pml_trainer_load(pml_trainer *t, const char *path) {
  pml_gguf *g;
  pml_status st = pml_gguf_open(&g, path);
  if (st != PML_OK) return st;
  st = pml__train_restore(t, g, path);
  pml_gguf_close(g);
  return st;
}

PML__FN void pml__export_metadata(pml_gguf_writer *w, const pml_config *c, const pml_export_options *o) {
  pml_gguf_add_str(w, "general.architecture", "qwen2");
  pml_gguf_add_str(w, "general.name", o->name ? o->name : "prodml model");
  pml_gguf_add_u32(w, "general.file_type", 1); /* mostly F16 */
  pml_gguf_add_u32(w, "qwen2.context_length", (uint32_t)c->n_ctx);
  pml_gguf_add_u32(w, "qwen2.embedding_length", (uint32_t)c->d_model);
  pml_gguf_add_u32(w, "qwen2.block_count", (uint32_t)c->n_layers);
  pml_gguf_add_u32(w, "qwen2.feed_forward_length", (uint32_t)c->d_ffn);
  pml_gguf_add_u32(w, "qwen2.attention.head_count", (uint32_t)c->n_heads);
  pml_gguf_add_u32(w, "qwen2.attention.head_count_kv", (uint32_t)c->n_kv_heads);
  if (c->head_dim * c->n_heads != c->d_model) { /* readers take d / H unless told */
    pml_gguf_add_u32(w, "qwen2.attention.key_length", (uint32_t)c->head_dim);
    pml_gguf_add_u32(w, "qwen2.attention.value_length", (uint32_t)c->head_dim);
  }
  pml_gguf_add_f32(w, "qwen2.rope.freq_base", c->rope_theta);
  pml_gguf_add_f32(w, "qwen2.attention.layer_norm_rms_epsilon", c->rms_eps);
  pml_gguf_add_u64(w, "prodml.seed", o->seed);
  pml_gguf_add_str(w, "prodml.data_sha256", o->data_sha256 ? o->data_sha256 : "unknown");
  pml_gguf_add_str(w, "prodml.command", o->command ? o->command : "unknown");
  pml_gguf_add_str(w, "prodml.version", PML_VERSION);
}

PML_API pml_status pml_net_export(const pml_net *net, const pml_tokenizer *tok, const pml_export_options *o,
                                  const char *path) {
  const pml_layout *lay = &net->layout;
  uint16_t *half = (uint16_t *)pml_alloc(lay->n * sizeof *half);
  pml_gguf_writer *w;
  if (!half) return PML_E_MEMORY;
  pml_status st = pml_gguf_writer_create(&w);
  if (st != PML_OK) {
    pml_free(half);
    return st;
  }
  pml__export_metadata(w, &lay->config, o);
  if (tok) {
    pml_gguf_add_tokenizer(w, tok);
    pml_gguf_add_str(w, "tokenizer.chat_template", PML_CHATML_TEMPLATE);
  }
  for (int i = 0; i < pml_layout_count(lay); i++) {
    pml_layout_tensor t = pml_layout_at(lay, i);
    uint64_t ne[2] = {(uint64_t)t.cols, (uint64_t)t.rows};
    size_t n = (size_t)t.rows * (size_t)t.cols;
    for (size_t j = 0; j < n; j++) half[t.offset + j] = pml_f32_to_f16(net->params[t.offset + j]);
    if (t.rows > 1) pml_gguf_add_tensor(w, t.name, PML_F16, 2, ne, half + t.offset);
    else pml_gguf_add_tensor(w, t.name, PML_F32, 1, ne, net->params + t.offset);
  }
  st = pml_gguf_writer_finish(w, path);
  pml_free(half);
  return st;
}

PML_API pml_status pml_net_load(pml_net *net, const pml_model *m) {
  const pml_layout *lay = &net->layout;
  for (int i = 0; i < pml_layout_count(lay); i++) {
    pml_layout_tensor t = pml_layout_at(lay, i);
    const pml_tensor *x = pml_gguf_tensor(m->file, t.name);
    if (!x || x->ne[0] != (uint64_t)t.cols || x->ne[1] != (uint64_t)t.rows)
      return pml_fail(PML_E_USAGE, "training: the net's tensor '%s' [%d,%d] has no equal in %s: create the net from the "
                      "model's own configuration", t.name, t.rows, t.cols, m->name);
    pml_mat w = {(pml_dtype)x->type, t.rows, t.cols, x->data};
    for (int r = 0; r < t.rows; r++) {
      pml_status st = pml_row_to_f32(net->params + t.offset + (size_t)r * (size_t)t.cols, &w, r);
      if (st != PML_OK) return st;
    }
  }
  return PML_OK;
}

/* ── questions and answers: reading ── */

PML_API void pml_qa_free(pml_qa *qa) {
  if (!qa) return;
  pml_arena_free(&qa->arena);
  pml_free(qa->topics);
  pml_free(qa);
}

PML__FN int pml__compare_strings(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the *.txt files of a folder, sorted by byte. */
PML__FN pml_status pml__list_texts(pml_arena *arena, const char *folder, const char ***names, int *n) {
  enum { MAX_FILES = 1024 };
  DIR *dir = opendir(folder);
  if (!dir) return pml_fail(PML_E_IO, "%s: cannot be listed: %s", folder, strerror(errno));
  *n = 0;
  *names = (const char **)pml_arena_alloc(arena, MAX_FILES * sizeof **names);
  pml_status st = *names ? PML_OK : PML_E_MEMORY;
  for (struct dirent *e; st == PML_OK && (e = readdir(dir)) != NULL;) {
    size_t len = strlen(e->d_name);
    if (len < 5 || strcmp(e->d_name + len - 4, ".txt") != 0 || e->d_name[0] == '.') continue;
    char *copy = (char *)pml_arena_alloc(arena, len + 1);
    if (!copy) st = PML_E_MEMORY;
    else if (*n == MAX_FILES) st = pml_fail(PML_E_LIMIT, "%s: more than %d text files", folder, (int)MAX_FILES);
    else (*names)[(*n)++] = (const char *)memcpy(copy, e->d_name, len + 1);
  }
  closedir(dir);
  if (st == PML_OK && *n == 0) st = pml_fail(PML_E_IO, "%s: holds no .txt file", folder);
  if (st == PML_OK) qsort(*names, (size_t)*n, sizeof **names, pml__compare_strings);
  return st;
}

PML__FN pml_status pml__qa_read_stopwords(pml_qa *qa, char *text) {
  int n = 0;
  for (char *s = text; *s; s++) n += *s == '\n' || *s == ' ';
  qa->stopwords = (const char **)pml_arena_alloc(&qa->arena, ((size_t)n + 1) * sizeof *qa->stopwords);
  if (!qa->stopwords) return PML_E_MEMORY;
  char *save = NULL;
  for (char *word = strtok_r(text, " \r\n\t", &save); word; word = strtok_r(NULL, " \r\n\t", &save))
    qa->stopwords[qa->n_stopwords++] = word;
  qsort(qa->stopwords, (size_t)qa->n_stopwords, sizeof *qa->stopwords, pml__compare_strings);
  return PML_OK;
}

PML__FN pml_qa_topic *pml__qa_add_topic(pml_qa *qa) {
  if (qa->n_topics == qa->cap_topics) {
    int cap = qa->cap_topics ? 2 * qa->cap_topics : 64;
    pml_qa_topic *more = (pml_qa_topic *)pml_realloc(qa->topics, (size_t)cap * sizeof *more);
    if (!more) return NULL;
    qa->topics = more;
    qa->cap_topics = cap;
  }
  pml_qa_topic *t = &qa->topics[qa->n_topics++];
  memset(t, 0, sizeof *t);
  return t;
}

/* Appends to a list in the arena that doubles at powers of two. */
PML__FN bool pml__qa_push(pml_qa *qa, const char ***list, int *n, const char *s) {
  if (*n == 0 || (*n >= 8 && (*n & (*n - 1)) == 0)) {
    size_t cap = *n ? 2 * (size_t)*n : 8;
    const char **more = (const char **)pml_arena_alloc(&qa->arena, cap * sizeof *more);
    if (!more) return false;
    if (*n) memcpy(more, *list, (size_t)*n * sizeof *more);
    *list = more;
  }
  (*list)[(*n)++] = s;
  return true;
}

PML__FN pml_status pml__qa_read_topics(pml_qa *qa, const char *file, char *text) {
  pml_qa_topic *t = NULL;
  int line = 0;
  for (char *s = text, *next; *s; s = next) {
    size_t len = strcspn(s, "\n");
    next = s + len + (s[len] == '\n');
    s[len] = 0;
    while (len && (s[len - 1] == '\r' || s[len - 1] == ' ')) s[--len] = 0;
    line++;
    if (len == 0 || s[0] == '#') continue;
    if (strncmp(s, "== ", 3) == 0 && s[3]) {
      if (!(t = pml__qa_add_topic(qa))) return PML_E_MEMORY;
      t->id = s + 3;
      t->file = file;
      t->line = line;
      continue;
    }
    bool ok = t && len > 3 && s[1] == ':' && s[2] == ' ';
    if (ok && s[0] == 'A' && !t->answer) t->answer = s + 3;
    else if (ok && s[0] == 'Q') { if (!pml__qa_push(qa, &t->taught, &t->n_taught, s + 3)) return PML_E_MEMORY; }
    else if (ok && s[0] == 'H') { if (!pml__qa_push(qa, &t->held, &t->n_held, s + 3)) return PML_E_MEMORY; }
    else return pml_fail(PML_E_FORMAT, "%s:%d: expected '== id', then one 'A: ', then 'Q: ' and 'H: ' lines", file, line);
  }
  return PML_OK;
}

/* Splits the path of a file into its folder and its name; a folder has no name. */
PML__FN const char *pml__qa_folder(const char *path, char folder[1024]) {
  struct stat info;
  const char *slash = strrchr(path, '/');
  snprintf(folder, 1024, "%s", path);
  if (strlen(path) >= 1024 || stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return NULL;
  if (slash) folder[slash == path ? 1 : slash - path] = 0;
  else snprintf(folder, 1024, ".");
  return slash ? slash + 1 : path;
}

PML_API pml_status pml_qa_load(pml_qa **out, const char *where) {
  *out = NULL;
  pml_qa *qa = (pml_qa *)pml_calloc(1, sizeof *qa);
  if (!qa) return PML_E_MEMORY;
  char folder[1024];
  const char **names = NULL, *only = pml__qa_folder(where, folder);
  int n = 0, kept = 0;
  pml_status st = pml__list_texts(&qa->arena, folder, &names, &n);
  for (int i = 0; st == PML_OK && only && i < n; i++)
    if (strcmp(names[i], only) == 0 || strcmp(names[i], "stopwords.txt") == 0) names[kept++] = names[i];
  if (only) n = kept;
  pml_sha256 hash;
  pml_sha256_init(&hash);
  for (int i = 0; i < n && st == PML_OK; i++) {
    pml_buf path = {0};
    char *text, *copy = NULL;
    size_t size;
    pml_buf_printf(&path, "%s/%s", folder, names[i]);
    st = path.failed ? PML_E_MEMORY : pml_file_read(path.data, &text, &size);
    pml_buf_free(&path);
    if (st != PML_OK) break;
    pml_sha256_add(&hash, names[i], strlen(names[i]) + 1);
    pml_sha256_add(&hash, text, size);
    copy = (char *)pml_arena_alloc(&qa->arena, size + 1);
    if (copy) memcpy(copy, text, size), copy[size] = 0;
    pml_free(text);
    if (!copy) st = PML_E_MEMORY;
    else st = strcmp(names[i], "stopwords.txt") == 0 ? pml__qa_read_stopwords(qa, copy) : pml__qa_read_topics(qa, names[i], copy);
  }
  unsigned char digest[32];
  pml_sha256_done(&hash, digest);
  for (int i = 0; i < 32; i++) snprintf(qa->sha256 + 2 * i, 3, "%02x", digest[i]);
  if (st == PML_OK && qa->n_topics == 0) st = pml_fail(PML_E_FORMAT, "%s: holds no topic", folder);
  for (int i = 0; i < qa->n_topics && st == PML_OK; i++)
    if (!qa->topics[i].answer || !qa->topics[i].n_taught)
      st = pml_fail(PML_E_FORMAT, "%s:%d: topic '%s' has no answer or no taught question", qa->topics[i].file,
                    qa->topics[i].line, qa->topics[i].id);
  if (st != PML_OK) {
    pml_qa_free(qa);
    return st;
  }
  *out = qa;
  return PML_OK;
}

PML__FN bool pml__alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
PML__FN char pml__lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

PML_API int pml_content_words(const pml_qa *qa, const char *text, pml_word *words, int cap) {
  int n = 0;
  for (const char *s = text; *s && n < cap;) {
    size_t len = 0;
    pml_word w;
    for (; pml__alnum(*s); s++)
      if (len < sizeof w.text - 1) w.text[len++] = pml__lower(*s);
    w.text[len] = 0;
    if (len == 0) {
      s++;
      continue;
    }
    const char *key = w.text;
    if (bsearch(&key, qa->stopwords, (size_t)qa->n_stopwords, sizeof key, pml__compare_strings)) continue;
    if (len == 1 && !(w.text[0] >= '0' && w.text[0] <= '9')) continue;
    if (len >= 7 && strcmp(w.text + len - 3, "ing") == 0) w.text[len - 3] = 0;
    else if (len >= 6 && strcmp(w.text + len - 2, "ed") == 0) w.text[len - 2] = 0;
    else if (len >= 4 && w.text[len - 1] == 's' && w.text[len - 2] != 's') w.text[len - 1] = 0;
    words[n++] = w;
  }
  return n;
}

/* ── questions and answers: the rule ── */

enum { PML__QUESTION_WORDS = 64 };

/* The set of content words: text order without repetitions. */
PML__FN int pml__content_set(const pml_qa *qa, const char *text, pml_word *set) {
  int n = pml_content_words(qa, text, set, PML__QUESTION_WORDS), kept = 0;
  for (int i = 0; i < n; i++) {
    int j = 0;
    while (j < kept && strcmp(set[j].text, set[i].text) != 0) j++;
    if (j == kept) set[kept++] = set[i];
  }
  return kept;
}

PML__FN void pml__qa_violation(pml_buf *report, int *count, const pml_qa_topic *t, const char *what, const char *text) {
  ++*count;
  if (report) pml_buf_printf(report, "%s:%d: %s: %s%s%s\n", t->file, t->line, t->id, what, *text ? ": " : "", text);
}

/* Letters and digits only, lower-cased: two questions are equal when these are. */
PML__FN char *pml__qa_key(pml_arena *arena, const char *q) {
  char *key = (char *)pml_arena_alloc(arena, strlen(q) + 1), *k = key;
  if (!key) return NULL;
  for (const char *s = q; *s; s++)
    if (pml__alnum(*s)) *k++ = pml__lower(*s);
    else if (k > key && k[-1] != ' ') *k++ = ' ';
  while (k > key && k[-1] == ' ') k--;
  *k = 0;
  return key;
}

PML__FN pml_status pml__qa_check_unique(const pml_qa *qa, pml_arena *arena, pml_buf *report, int *count) {
  size_t n = 0, total = 0;
  for (int i = 0; i < qa->n_topics; i++) total += (size_t)(qa->topics[i].n_taught + qa->topics[i].n_held);
  const char **keys = (const char **)pml_arena_alloc(arena, (total + 1) * sizeof *keys);
  const char **ids = (const char **)pml_arena_alloc(arena, (size_t)qa->n_topics * sizeof *ids);
  if (!keys || !ids) return PML_E_MEMORY;
  for (int i = 0; i < qa->n_topics; i++) {
    const pml_qa_topic *t = &qa->topics[i];
    ids[i] = t->id;
    for (int j = 0; j < t->n_taught + t->n_held; j++)
      if (!(keys[n++] = pml__qa_key(arena, j < t->n_taught ? t->taught[j] : t->held[j - t->n_taught]))) return PML_E_MEMORY;
  }
  qsort(keys, n, sizeof *keys, pml__compare_strings);
  qsort(ids, (size_t)qa->n_topics, sizeof *ids, pml__compare_strings);
  for (size_t i = 1; i < n; i++)
    if (strcmp(keys[i - 1], keys[i]) == 0) pml__qa_violation(report, count, &qa->topics[0], "a question stands twice in the data", keys[i]);
  for (int i = 1; i < qa->n_topics; i++)
    if (strcmp(ids[i - 1], ids[i]) == 0) pml__qa_violation(report, count, &qa->topics[0], "an id stands twice in the data", ids[i]);
  return PML_OK;
}

/* One held-out question against all taught ones; sets[k] are their content words. */
PML__FN void pml__qa_check_held(const pml_qa *qa, const pml_qa_topic *t, const char *held, pml_word *const *sets,
                                const int *sizes, pml_buf *report, int *count) {
  pml_word h[PML__QUESTION_WORDS];
  int n = pml__content_set(qa, held, h), k = 0;
  if (n < 4) pml__qa_violation(report, count, t, "held-out question with fewer than 4 content words", held);
  for (int i = 0; i < qa->n_topics; i++)
    for (int j = 0; j < qa->topics[i].n_taught; j++, k++) {
      int shared = 0;
      for (int a = 0; a < n; a++)
        for (int b = 0; b < sizes[k]; b++) shared += strcmp(h[a].text, sets[k][b].text) == 0;
      if (2 * shared > n) pml__qa_violation(report, count, t, qa->topics[i].taught[j], held);
    }
}

PML_API pml_status pml_qa_check(const pml_qa *qa, pml_buf *report) {
  pml_arena arena = {0};
  int count = 0, n = 0, k = 0;
  pml_status st = pml__qa_check_unique(qa, &arena, report, &count);
  for (int i = 0; i < qa->n_topics; i++) n += qa->topics[i].n_taught;
  pml_word **sets = (pml_word **)pml_arena_alloc(&arena, (size_t)n * sizeof *sets);
  int *sizes = (int *)pml_arena_alloc(&arena, (size_t)n * sizeof *sizes);
  if (!sets || !sizes) st = PML_E_MEMORY;
  for (int i = 0; i < qa->n_topics && st == PML_OK; i++)
    for (int j = 0; j < qa->topics[i].n_taught && st == PML_OK; j++, k++) {
      pml_word words[PML__QUESTION_WORDS];
      sizes[k] = pml__content_set(qa, qa->topics[i].taught[j], words);
      sets[k] = (pml_word *)pml_arena_alloc(&arena, (size_t)sizes[k] * sizeof(pml_word) + 1);
      if (sets[k]) memcpy(sets[k], words, (size_t)sizes[k] * sizeof(pml_word));
      else st = PML_E_MEMORY;
    }
  for (int i = 0; i < qa->n_topics && st == PML_OK; i++) {
    const pml_qa_topic *t = &qa->topics[i];
    if (t->n_taught < 12) pml__qa_violation(report, &count, t, "fewer than 12 taught questions", "");
    for (int j = 0; j < t->n_held; j++) pml__qa_check_held(qa, t, t->held[j], sets, sizes, report, &count);
  }
  pml_arena_free(&arena);
  if (st == PML_OK && count) st = pml_fail(PML_E_CHECK, "the questions break their rule in %d places", count);
  return st;
}

/* ── questions and answers: variation ── */

PML_API pml_augment pml_augment_defaults(void) {
  pml_augment a = {.p_mix = 0.7f, .window = 8, .p_drop = 0.5f, .drop = 0.2f, .p_shuffle = 0.15f, .p_noise = 0.1f,
                   .p_frame = 0.1f, .p_case = 0.3f, .p_punct = 0.3f, .p_typo = 0.03f, .p_full = 0.12f, .head = 6,
                   .question_weight = 0.3f, .first_weight = 4.0f};
  return a;
}

/* A question as words: slices of the text between spaces. */
typedef struct {
  pml_str word[96];
  int n;
} pml__words;

PML__FN void pml__words_add(pml__words *w, const char *text, float keep, pml_rng *rng) {
  for (const char *s = text; *s;) {
    size_t len = strcspn(s, " ");
    bool kept = keep >= 1.0f || pml_rng_uniform(rng) < keep;
    if (len && kept && w->n < 96) w->word[w->n++] = (pml_str){s, len};
    s += len + (s[len] == ' ');
  }
}

PML__FN bool pml__chance(pml_rng *rng, float p) { return pml_rng_uniform(rng) < p; }

PML__FN void pml__words_shuffle(pml__words *w, pml_rng *rng) {
  for (int i = w->n - 1; i > 0; i--) {
    int j = (int)pml_rng_below(rng, (uint32_t)i + 1);
    pml_str swap = w->word[i];
    w->word[i] = w->word[j];
    w->word[j] = swap;
  }
}

/* Punctuation at the end of a word that is no longer the last of its question. */
PML__FN pml_str pml__word_bare(pml_str w) {
  while (w.len > 1 && strchr("?.,:;!", w.ptr[w.len - 1])) w.len--;
  return w;
}

/* 4 to 12 words: fragments of 1 to `window` words, each from a phrasing of the topic, the given one first. */
PML__FN void pml__qa_mix(const pml_qa_topic *t, int window, int phrasing, pml_rng *rng, pml__words *w) {
  int target = 4 + (int)pml_rng_below(rng, 9);
  for (int tries = 0; w->n < target && tries < 24; tries++) {
    pml__words all = {.n = 0};
    pml__words_add(&all, t->taught[tries == 0 ? phrasing : (int)pml_rng_below(rng, (uint32_t)t->n_taught)], 1.0f, rng);
    int len = 1 + (int)pml_rng_below(rng, (uint32_t)window);
    if (len > all.n) len = all.n;
    int from = (int)pml_rng_below(rng, (uint32_t)(all.n - len) + 1);
    for (int j = from; j < from + len; j++) w->word[w->n++] = pml__word_bare(all.word[j]);
  }
}

PML__FN void pml__qa_noise(const pml_qa *qa, pml_rng *rng, pml__words *w) {
  int n = 1 + (int)pml_rng_below(rng, 2);
  for (int i = 0; i < n && w->n < 96; i++) {
    const pml_qa_topic *other = &qa->topics[pml_rng_below(rng, (uint32_t)qa->n_topics)];
    pml__words o = {.n = 0};
    pml__words_add(&o, other->taught[pml_rng_below(rng, (uint32_t)other->n_taught)], 1.0f, rng);
    int at = (int)pml_rng_below(rng, (uint32_t)w->n + 1);
    memmove(w->word + at + 1, w->word + at, (size_t)(w->n - at) * sizeof *w->word);
    w->word[at] = pml__word_bare(o.word[pml_rng_below(rng, (uint32_t)o.n)]);
    w->n++;
  }
}

PML__FN void pml__qa_typo(pml_buf *out, size_t from, pml_rng *rng) {
  if (out->len - from < 8) return;
  size_t at = from + 1 + pml_rng_below(rng, (uint32_t)(out->len - from - 3));
  char *s = out->data + at;
  if (!pml__alnum(s[-1]) || !pml__alnum(s[0]) || !pml__alnum(s[1])) return; /* inside a word only */
  char swap = s[0];
  s[0] = s[1];
  s[1] = swap;
}

PML_API void pml_qa_vary(const pml_qa *qa, const pml_augment *a, int topic, int phrasing, pml_rng *rng, pml_buf *out) {
  static const char *const before[] = {"please explain: ", "hi, ", "Hello, ", "in short: ", "quick question: ", "Please tell me, ",
                                       "I want to know: ", "can you explain: ", "briefly: ", "so, "};
  static const char *const behind[] = {" please", ", thanks", " in this course", " (short answer)", " thank you", "!", " exactly?"};
  const pml_qa_topic *t = &qa->topics[topic];
  pml__words w = {.n = 0};
  bool mix = pml__chance(rng, a->p_mix);
  if (mix) pml__qa_mix(t, a->window, phrasing, rng, &w);
  else {
    bool drop = pml__chance(rng, a->p_drop);
    pml__words_add(&w, t->taught[phrasing], drop ? 1.0f - a->drop : 1.0f, rng);
    if (w.n < 2) w.n = 0, pml__words_add(&w, t->taught[phrasing], 1.0f, rng);
  }
  if (pml__chance(rng, a->p_shuffle)) pml__words_shuffle(&w, rng);
  if (pml__chance(rng, a->p_noise)) pml__qa_noise(qa, rng, &w);
  bool frame = pml__chance(rng, a->p_frame), front = frame && pml__chance(rng, 0.6f);
  if (front) pml_buf_puts(out, before[pml_rng_below(rng, sizeof before / sizeof before[0])]);
  size_t from = out->len;
  for (int i = 0; i < w.n; i++) {
    if (i) pml_buf_puts(out, " ");
    pml_buf_add(out, w.word[i].ptr, w.word[i].len);
  }
  if (out->failed || out->len == from) return;
  bool lower = pml__chance(rng, a->p_case), capital = pml__chance(rng, 0.5f);
  for (size_t i = from; lower && i < out->len; i++) out->data[i] = pml__lower(out->data[i]);
  if (!lower && capital && mix && !front && out->data[from] >= 'a' && out->data[from] <= 'z') out->data[from] = (char)(out->data[from] - 32);
  if (pml__chance(rng, a->p_typo)) pml__qa_typo(out, from, rng);
  char last = out->data[out->len - 1];
  if (pml__chance(rng, a->p_punct)) {
    if (strchr("?.!", last)) out->data[--out->len] = 0;
  } else if (mix && !strchr("?.!", last)) pml_buf_puts(out, pml__chance(rng, 0.8f) ? "?" : ".");
  if (frame && !front) pml_buf_puts(out, behind[pml_rng_below(rng, sizeof behind / sizeof behind[0])]);
}

/* ── questions and answers: sequences ── */

PML_API pml_status pml_chatml_sequence(const pml_tokenizer *tok, const char *question, const char *answer, float wq,
                                       int limit, pml_sequence *s) {
  const struct { const char *text; float weight; } part[] = {
      {"<|im_start|>user\n", 0}, {question, wq}, {"<|im_end|>\n<|im_start|>assistant\n", 0}, {answer, 1}};
  int32_t end = pml_token_find(tok, "<|im_end|>");
  for (int i = 0; i < 4 && part[i].text; i++) {
    int32_t *ids;
    size_t n;
    pml_status st = pml_encode(tok, part[i].text, strlen(part[i].text), i % 2 ? 0 : PML_ENCODE_SPECIAL, &ids, &n);
    if (st != PML_OK) return st;
    bool all = i < 3 || limit <= 0 || n < (size_t)limit;
    st = pml_sequence_add(s, ids, all ? n : (size_t)limit, part[i].weight);
    pml_free(ids);
    if (st == PML_OK && i == 3 && all) st = pml_sequence_add(s, &end, 1, 1);
    if (st != PML_OK) return st;
  }
  return PML_OK;
}

PML_API void pml_qa_source_free(pml_qa_source *s) {
  if (!s) return;
  pml_free(s->item_topic);
  pml_free(s->item_phrasing);
  pml_free(s->order);
  pml_free(s);
}

PML_API pml_status pml_qa_source_create(pml_qa_source **out, const pml_qa *qa, const pml_tokenizer *tok,
                                        const pml_augment *a, uint64_t seed) {
  *out = NULL;
  if (a->p_mix > 0 && a->window < 1) return pml_fail(PML_E_USAGE, "training: mixed questions need a window of at least one word");
  pml_qa_source *s = (pml_qa_source *)pml_calloc(1, sizeof *s);
  if (!s) return PML_E_MEMORY;
  s->qa = qa;
  s->tok = tok;
  s->augment = *a;
  s->seed = seed;
  s->order_epoch = UINT64_MAX;
  int n = 0;
  for (int i = 0; i < qa->n_topics; i++) n += qa->topics[i].n_taught;
  s->item_topic = (int32_t *)pml_calloc((size_t)n, sizeof(int32_t));
  s->item_phrasing = (int32_t *)pml_calloc((size_t)n, sizeof(int32_t));
  s->order = (int32_t *)pml_calloc((size_t)n, sizeof(int32_t));
  if (!s->item_topic || !s->item_phrasing || !s->order) {
    pml_qa_source_free(s);
    return PML_E_MEMORY;
  }
  for (int i = 0; i < qa->n_topics; i++)
    for (int j = 0; j < qa->topics[i].n_taught; j++) {
      s->item_topic[s->n_items] = i;
      s->item_phrasing[s->n_items++] = j;
    }
  *out = s;
  return PML_OK;
}

/* Every epoch shows every taught phrasing once, in an order drawn from seed and epoch. */
PML__FN void pml__qa_source_shuffle(pml_qa_source *s, uint64_t epoch) {
  pml_rng rng = pml_rng_seed(s->seed ^ (epoch + 1) * 0x9E3779B97F4A7C15u);
  for (int i = 0; i < s->n_items; i++) s->order[i] = i;
  for (int i = s->n_items - 1; i > 0; i--) {
    int j = (int)pml_rng_below(&rng, (uint32_t)i + 1);
    int32_t swap = s->order[i];
    s->order[i] = s->order[j];
    s->order[j] = swap;
  }
  s->order_epoch = epoch;
}

PML_API pml_status pml_qa_source_next(void *source, uint64_t c, pml_sequence *out) {
  pml_qa_source *s = (pml_qa_source *)source;
  uint64_t epoch = c / (uint64_t)s->n_items;
  if (epoch != s->order_epoch) pml__qa_source_shuffle(s, epoch);
  int item = s->order[c % (uint64_t)s->n_items], topic = s->item_topic[item];
  pml_rng rng = pml_rng_seed((s->seed + 1) * 0xD1342543DE82EF95u ^ c);
  pml_buf question = {0};
  pml_qa_vary(s->qa, &s->augment, topic, s->item_phrasing[item], &rng, &question);
  int limit = pml__chance(&rng, s->augment.p_full) ? 0 : s->augment.head;
  pml_status st = question.failed || !question.data ? pml_fail(PML_E_MEMORY, "out of memory: a question could not be built")
                  : pml_chatml_sequence(s->tok, question.data, s->qa->topics[topic].answer, s->augment.question_weight, limit, out);
  int first = out->n; /* the answer is the last run of weight 1 */
  while (st == PML_OK && first > 0 && out->weights[first - 1] == 1.0f) first--;
  for (int i = first; st == PML_OK && i < out->n && i < first + 3; i++) out->weights[i] = s->augment.first_weight;
  pml_buf_free(&question);
  return st;
}

PML_API void pml_qa_text(const pml_qa *qa, bool held, pml_buf *out) {
  for (int i = 0; i < qa->n_topics; i++) {
    const pml_qa_topic *t = &qa->topics[i];
    if (!held) pml_buf_printf(out, "%s\n", t->answer);
    for (int j = 0; j < (held ? t->n_held : t->n_taught); j++) pml_buf_printf(out, "%s\n", held ? t->held[j] : t->taught[j]);
  }
}

typedef struct {
  const pml_model *m;
  const char *question, *answer;
} pml__one_text;

PML__FN pml_status pml__one_text_source(void *user, uint64_t c, pml_sequence *s) {
  const pml__one_text *x = (const pml__one_text *)user;
  (void)c; /* always the same */
  return pml_chatml_sequence(x->m->tokenizer, x->question, x->answer, 0, 0, s);
}

/* @finetune_one */
PML_API pml_status pml_finetune_one(const pml_model *m, const char *question, const char *answer, float lr, int steps,
                                    pml_train_progress *at) {
  pml__one_text text = {m, question, answer};
  pml_train_options o = pml_train_defaults();
  o.config = m->cfg, o.source = pml__one_text_source, o.source_user = &text;
  o.steps = steps + 1, o.batch = 1, o.warmup = 0, o.lr = o.min_lr = lr, o.decay = 0, o.clip = 0;
  pml_trainer *t;
  pml_status st = pml_trainer_create(&t, &o);
  if (st == PML_OK) st = pml_net_load(t->net, m);
  for (int k = 0; k <= steps && st == PML_OK; k++) st = pml_trainer_step(t, &at[k]);
  pml_trainer_free(t);
  return st;
}
/* @end */

PML_API pml_status pml_qa_tokenizer(pml_tokenizer **out, const pml_qa *qa, int n_vocab) {
  enum { TEMPLATE = 64 }; /* copies of the template's words, so that each becomes one token */
  size_t n = TEMPLATE, at = 0;
  for (int i = 0; i < qa->n_topics; i++) n += 1 + (size_t)qa->topics[i].n_taught;
  pml_str *docs = (pml_str *)pml_alloc(n * sizeof *docs);
  if (!docs) return PML_E_MEMORY;
  while (at < TEMPLATE) docs[at++] = pml_str_of("\nuser\n\nassistant\n");
  for (int i = 0; i < qa->n_topics; i++) {
    docs[at++] = pml_str_of(qa->topics[i].answer);
    for (int j = 0; j < qa->topics[i].n_taught; j++) docs[at++] = pml_str_of(qa->topics[i].taught[j]);
  }
  static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  pml_bpe_options o = {.n_vocab = n_vocab, .pre = PML_PRE_QWEN2, .specials = specials, .n_specials = 3,
                       .eos = "<|im_end|>", .eot = "<|im_end|>", .pad = "<|endoftext|>"};
  pml_status st = pml_bpe_train(out, docs, n, &o);
  pml_free(docs);
  return st;
}

#endif /* § 33 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 34  EVALUATION                                          needs § 8 § 17 § 33
   ─────────────────────────────────────────────────────────────────────────────
   A loss that falls says that training works, not that the model is useful.
   This chapter measures three things, each with its control beside it.

   Perplexity is exp(mean −log p(next token)): 1 for a model that is always
   certain and right, n_vocab for one that guesses.  It compares models that
   share a tokenizer, and only those.

   Right answers: the model answers held-out questions greedily; an answer is
   right when it equals the taught one after normalisation (lower case, runs of
   white space as one space, no punctuation at the ends).  No partial credit.

   The control is BM25, the ranking rule of text search: it finds the taught
   question nearest to the held-out one and gives that question's answer.

     score(q, D) = Σ over words w of q:  idf(w)·tf·(k₁+1) / (tf + k₁·(1 − b + b·|D|/mean|D|))
     idf(w) = ln(1 + (N − n_w + ½)/(n_w + ½)),  k₁ = 1.2,  b = 0.75

   A model that does not beat a search over its own training questions has not
   earned its parameters.

   Where it goes wrong: judging answers by eye, or on questions that were seen.
   § 33 keeps the held-out questions out; here nothing is judged, only compared.
   Source: Robertson and Zaragoza 2009, The Probabilistic Relevance Framework.
   ═════════════════════════════════════════════════════════════════════════════ */

/* A model as a function: logits[n - from, V] of positions from … n-1 of ids[n].
   Whatever computes them (§ 26, a trainer, a file under test) can be measured. */
typedef struct {
  pml_status (*logits)(void *user, const int32_t *ids, int n, int from, float *logits);
  void *user;
  int n_vocab, n_ctx;
} pml_scorer;

/* Sum of −log p of ids[from…n-1], each given the tokens before it; 1 <= from < n <= n_ctx. */
PML_API pml_status pml_score(const pml_scorer *s, const int32_t *ids, int n, int from, double *nll);

/* Perplexity of a token stream of any length: windows of n_ctx tokens that advance by half,
   so that every scored token but the first half window's has n_ctx/2 tokens before it. */
PML_API pml_status pml_perplexity(const pml_scorer *s, const int32_t *ids, size_t n, double *perplexity);

/* Equal after lower-casing ASCII, joining white space, and dropping ends that are white space
   or one of . , : ; ! ? " ' */
PML_API bool pml_answer_equal(const char *a, const char *b);

/* BM25 over the taught questions of a data set (borrowed). */
typedef struct pml_bm25 pml_bm25;
PML_API pml_status pml_bm25_create(pml_bm25 **out, const pml_qa *qa);
PML_API void pml_bm25_free(pml_bm25 *b);
/* The topic of the best taught question, ties to the first; -1 when no word is known. */
PML_API int pml_bm25_topic(const pml_bm25 *b, const char *question);

typedef struct {
  int n, right;               /* held-out questions, exact answers */
  int bm25_right;             /* the control on the same questions */
  double perplexity;          /* of the answers given the held-out questions; 0: not measured */
} pml_qa_result;
/* Asks every held-out question.  answer appends the model's greedy answer to out.  each (may be
   NULL) sees every case; a false result cancels. */
typedef pml_status (*pml_answer_fn)(void *user, const char *question, pml_buf *out);
typedef bool (*pml_qa_case_fn)(void *user, const pml_qa_topic *t, const char *question, const char *answer, bool right);
PML_API pml_status pml_qa_evaluate(const pml_qa *qa, pml_answer_fn answer, void *user, pml_qa_case_fn each,
                                   void *each_user, pml_qa_result *r);

/* The same measured on a net in training, without decoding: the greedy answer equals the taught
   one exactly when, fed the taught one, the model's first choice is the next taught token at
   every position.  One forward pass per question.  held false: the taught questions as they
   stand.  right (may be NULL) gets one flag per question in data order. */
PML_API pml_status pml_net_qa_evaluate(pml_net *net, const pml_qa *qa, const pml_tokenizer *tok, bool held,
                                       unsigned char *right, pml_qa_result *r);

/* The control of a classifier in the plane: the largest share of n labelled points (label 0 or 1) that a straight
   line gets right, over 180 directions at any offset.  No network without activation does better. */
PML_API pml_status pml_best_line(const float *xy, const int32_t *label, int n, double *share);

/* ── the tutor's family ── */

/* "tutor", "teacher", "draft" and, for tests, "tiny". */
PML_API pml_status pml_train_preset(const char *name, pml_train_options *o, pml_augment *a);

typedef struct {
  const char *preset, *data, *out; /* a preset's name, the folder of questions, the GGUF to write */
  const char *command;        /* goes into the file: what remakes it */
  const char *checkpoint;     /* or NULL */
  bool resume, strict;
  uint64_t seed;
  int64_t steps;              /* 0: the preset's */
  int64_t eval_every;         /* steps between held-out measurements; 0: only at the end */
  bool (*progress)(void *user, const pml_train_progress *p, const pml_qa_result *eval); /* eval NULL between measurements */
  void *user;
} pml_tutor_options;
typedef struct {
  pml_qa_result held;
  int n_topics, n_taught;
  size_t n_params;
  uint64_t tokens;
  double seconds, part_seconds[PML_NET_PARTS], update_seconds, data_seconds;
  char params_sha256[65], data_sha256[65];
} pml_tutor_report;
/* Everything from the questions to the file: load and check the data, train the tokenizer, train
   the model, measure it, write it.  Sets strict mode as asked and restores it. */
PML_API pml_status pml_train_tutor(const pml_tutor_options *o, pml_tutor_report *report);

#ifdef PML__IMPL

PML_API pml_status pml_score(const pml_scorer *s, const int32_t *ids, int n, int from, double *nll) {
  if (from < 1 || n <= from || n > s->n_ctx)
    return pml_fail(PML_E_USAGE, "evaluation: cannot score tokens %d to %d in a context of %d", from, n, s->n_ctx);
  size_t V = (size_t)s->n_vocab, rows = (size_t)(n - from), count;
  float *z = pml_size_mul(V, rows, &count) && count <= SIZE_MAX / 8 ? (float *)pml_alloc(count * sizeof *z) : NULL;
  if (!z) return PML_E_MEMORY;
  *nll = 0;
  pml_status st = s->logits(s->user, ids, n - 1, from - 1, z);
  for (size_t t = 0; t < rows && st == PML_OK; t++) {
    const float *row = z + t * V;
    int32_t target = ids[(size_t)from + t];
    if (target < 0 || target >= s->n_vocab) {
      st = pml_fail(PML_E_USAGE, "evaluation: token %d is outside the vocabulary of %d", target, s->n_vocab);
      break;
    }
    double max = (double)row[0], sum = 0;
    for (size_t i = 1; i < V; i++) max = (double)row[i] > max ? (double)row[i] : max;
    for (size_t i = 0; i < V; i++) sum += pml_expd((double)row[i] - max);
    *nll += pml_logd(sum) + max - (double)row[target];
  }
  pml_free(z);
  return st;
}

PML_API pml_status pml_perplexity(const pml_scorer *s, const int32_t *ids, size_t n, double *perplexity) {
  if (n < 2) return pml_fail(PML_E_USAGE, "perplexity: the text has %zu tokens, at least 2 are needed", n);
  size_t window = (size_t)s->n_ctx, done = 1;
  double total = 0;
  while (done < n) {
    size_t begin = done == 1 || done < window / 2 ? 0 : done - window / 2;
    size_t end = n - begin < window ? n : begin + window;
    double nll = 0;
    pml_status st = pml_score(s, ids + begin, (int)(end - begin), (int)(done - begin), &nll);
    if (st != PML_OK) return st;
    total += nll;
    done = end;
  }
  *perplexity = pml_expd(total / (double)(n - 1));
  return PML_OK;
}

/* The next character of a normalised text: 0 at the end. */
PML__FN char pml__answer_char(const char **s, const char *end) {
  if (*s >= end) return 0;
  char c = *(*s)++;
  if (!strchr(" \t\r\n", c)) return pml__lower(c);
  while (*s < end && strchr(" \t\r\n", **s)) ++*s;
  return ' ';
}

PML__FN const char *pml__answer_trim(const char **s) {
  static const char edge[] = " \t\r\n.,:;!?\"'";
  const char *end = *s + strlen(*s);
  while (*s < end && strchr(edge, **s)) ++*s;
  while (end > *s && strchr(edge, end[-1])) end--;
  return end;
}

PML_API bool pml_answer_equal(const char *a, const char *b) {
  const char *a_end = pml__answer_trim(&a), *b_end = pml__answer_trim(&b);
  for (;;) {
    char x = pml__answer_char(&a, a_end), y = pml__answer_char(&b, b_end);
    if (x != y) return false;
    if (!x) return true;
  }
}

/* ── BM25 ── */

typedef struct {
  pml_word word;
  int doc, count;
} pml__posting;

struct pml_bm25 {
  const pml_qa *qa;
  pml__posting *posting;      /* sorted by word, then document */
  size_t n;
  int n_docs, *topic, *length;
  double mean_length;
};

PML__FN int pml__compare_postings(const void *a, const void *b) {
  const pml__posting *x = (const pml__posting *)a, *y = (const pml__posting *)b;
  int c = strcmp(x->word.text, y->word.text);
  return c ? c : (x->doc > y->doc) - (x->doc < y->doc);
}

PML_API void pml_bm25_free(pml_bm25 *b) {
  if (!b) return;
  pml_free(b->posting);
  pml_free(b->topic);
  pml_free(b->length);
  pml_free(b);
}

PML_API pml_status pml_bm25_create(pml_bm25 **out, const pml_qa *qa) {
  *out = NULL;
  pml_bm25 *b = (pml_bm25 *)pml_calloc(1, sizeof *b);
  if (!b) return PML_E_MEMORY;
  b->qa = qa;
  for (int i = 0; i < qa->n_topics; i++) b->n_docs += qa->topics[i].n_taught;
  b->posting = (pml__posting *)pml_alloc((size_t)b->n_docs * PML__QUESTION_WORDS * sizeof *b->posting);
  b->topic = (int *)pml_alloc((size_t)b->n_docs * sizeof(int));
  b->length = (int *)pml_alloc((size_t)b->n_docs * sizeof(int));
  if (!b->posting || !b->topic || !b->length) {
    pml_bm25_free(b);
    return PML_E_MEMORY;
  }
  int doc = 0;
  for (int i = 0; i < qa->n_topics; i++)
    for (int j = 0; j < qa->topics[i].n_taught; j++, doc++) {
      pml_word words[PML__QUESTION_WORDS];
      int n = pml_content_words(qa, qa->topics[i].taught[j], words, PML__QUESTION_WORDS);
      for (int k = 0; k < n; k++) b->posting[b->n++] = (pml__posting){words[k], doc, 1};
      b->topic[doc] = i;
      b->length[doc] = n;
      b->mean_length += n;
    }
  b->mean_length /= b->n_docs;
  qsort(b->posting, b->n, sizeof *b->posting, pml__compare_postings);
  size_t kept = 0;
  for (size_t k = 0; k < b->n; k++) { /* the same word twice in one question: count it */
    if (kept && pml__compare_postings(&b->posting[kept - 1], &b->posting[k]) == 0) b->posting[kept - 1].count++;
    else b->posting[kept++] = b->posting[k];
  }
  b->n = kept;
  *out = b;
  return PML_OK;
}

/* @bm25 */
PML_API int pml_bm25_topic(const pml_bm25 *b, const char *question) {
  pml_word words[PML__QUESTION_WORDS];
  int n = pml__content_set(b->qa, question, words), best = -1;
  double *score = (double *)pml_calloc((size_t)b->n_docs, sizeof *score);
  for (int i = 0; score && i < n; i++) {
    size_t lo = 0, hi = b->n, end;
    while (lo < hi) { /* the first posting of this word */
      size_t mid = (lo + hi) / 2;
      if (strcmp(b->posting[mid].word.text, words[i].text) < 0) lo = mid + 1;
      else hi = mid;
    }
    for (end = lo; end < b->n && strcmp(b->posting[end].word.text, words[i].text) == 0;) end++;
    double with = (double)(end - lo), idf = pml_logd(1.0 + ((double)b->n_docs - with + 0.5) / (with + 0.5));
    for (size_t k = lo; k < end; k++) {
      double tf = (double)b->posting[k].count, length = (double)b->length[b->posting[k].doc] / b->mean_length;
      score[b->posting[k].doc] += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length));
    }
  }
  for (int d = 0; score && d < b->n_docs; d++)
    if (score[d] > (best < 0 ? 0.0 : score[best])) best = d;
  pml_free(score);
  return best < 0 ? -1 : b->topic[best];
}
/* @end */

/* ── right answers ── */

PML_API pml_status pml_qa_evaluate(const pml_qa *qa, pml_answer_fn answer, void *user, pml_qa_case_fn each,
                                   void *each_user, pml_qa_result *r) {
  pml_bm25 *bm25;
  memset(r, 0, sizeof *r);
  pml_status st = pml_bm25_create(&bm25, qa);
  for (int i = 0; i < qa->n_topics && st == PML_OK; i++)
    for (int j = 0; j < qa->topics[i].n_held && st == PML_OK; j++) {
      const pml_qa_topic *t = &qa->topics[i];
      pml_buf text = {0};
      pml_buf_puts(&text, "");
      st = answer(user, t->held[j], &text);
      if (st == PML_OK && text.failed) st = PML_E_MEMORY;
      bool right = st == PML_OK && pml_answer_equal(text.data, t->answer);
      r->n++;
      r->right += right;
      r->bm25_right += pml_bm25_topic(bm25, t->held[j]) == i;
      if (st == PML_OK && each && !each(each_user, t, t->held[j], text.data, right))
        st = pml_fail(PML_E_CANCELLED, "evaluation: stopped after %d questions", r->n);
      pml_buf_free(&text);
    }
  pml_bm25_free(bm25);
  return st;
}

/* Counts the sequences of the last forward whose every loss row has its target as first choice. */
PML__FN void pml__net_count_right(const pml_net *net, const int32_t *starts, int n_seqs, unsigned char *right, pml_qa_result *r) {
  int V = net->layout.config.n_vocab, row = 0;
  for (int s = 0; s < n_seqs; s++) {
    bool all = true;
    for (; row < net->n_loss && net->loss_row[row] < starts[s + 1]; row++) {
      const float *p = net->probs + (size_t)row * (size_t)V;
      int best = 0;
      for (int i = 1; i < V; i++)
        if (p[i] > p[best]) best = i;
      all = all && best == net->loss_target[row];
    }
    if (right) right[r->n] = all;
    r->n++;
    r->right += all;
  }
}

/* Sequences waiting for one forward pass. */
typedef struct {
  pml_sequence seq, in, target;
  int32_t starts[17];
  int waiting;
  double nll, weight;
} pml__qa_round;

PML__FN pml_status pml__qa_round_flush(pml__qa_round *q, pml_net *net, unsigned char *right, pml_qa_result *r) {
  if (q->waiting == 0) return PML_OK;
  pml_batch b = {.n_seqs = q->waiting, .starts = q->starts, .ids = q->in.ids, .targets = q->target.ids, .weights = q->in.weights};
  pml_status st = pml_net_forward(net, &b, &q->nll, &q->weight);
  if (st == PML_OK) pml__net_count_right(net, q->starts, q->waiting, right, r);
  q->waiting = q->in.n = q->target.n = 0;
  return st;
}

PML__FN pml_status pml__qa_round_add(pml__qa_round *q, const pml_tokenizer *tok, const char *question, const char *answer) {
  q->seq.n = 0;
  pml_status st = pml_chatml_sequence(tok, question, answer, 0, 0, &q->seq);
  for (int i = 0; i + 1 < q->seq.n && st == PML_OK; i++) {
    st = pml_sequence_add(&q->in, &q->seq.ids[i], 1, q->seq.weights[i + 1]);
    if (st == PML_OK) st = pml_sequence_add(&q->target, &q->seq.ids[i + 1], 1, 0);
  }
  if (st == PML_OK) q->starts[++q->waiting] = q->in.n;
  return st;
}

PML_API pml_status pml_net_qa_evaluate(pml_net *net, const pml_qa *qa, const pml_tokenizer *tok, bool held,
                                       unsigned char *right, pml_qa_result *r) {
  pml__qa_round q = {.waiting = 0};
  pml_bm25 *bm25 = NULL;
  memset(r, 0, sizeof *r);
  pml_status st = held ? pml_bm25_create(&bm25, qa) : PML_OK;
  for (int i = 0; i < qa->n_topics && st == PML_OK; i++) {
    const pml_qa_topic *t = &qa->topics[i];
    for (int j = 0; j < (held ? t->n_held : t->n_taught) && st == PML_OK; j++) {
      if (held) r->bm25_right += pml_bm25_topic(bm25, t->held[j]) == i;
      st = pml__qa_round_add(&q, tok, held ? t->held[j] : t->taught[j], t->answer);
      if (st == PML_OK && q.waiting == 16) st = pml__qa_round_flush(&q, net, right, r);
    }
  }
  if (st == PML_OK) st = pml__qa_round_flush(&q, net, right, r);
  if (st == PML_OK && q.weight > 0) r->perplexity = pml_expd(q.nll / q.weight);
  pml_sequence_free(&q.seq);
  pml_sequence_free(&q.in);
  pml_sequence_free(&q.target);
  pml_bm25_free(bm25);
  return st;
}

/* ── the tutor's family ── */

PML__FN pml_config pml__tutor_config(int n_layers, int d, int heads, int kv_heads, int head_dim, int f, int vocab, int ctx) {
  pml_config c = {.arch = "qwen2", .n_layers = n_layers, .d_model = d, .n_heads = heads, .n_kv_heads = kv_heads,
                  .head_dim = head_dim, .d_ffn = f, .n_vocab = vocab, .n_ctx = ctx, .rope_dim = head_dim, .rope_split = true,
                  .qkv_bias = true, .tied_head = true, .rope_theta = 10000.0f, .rms_eps = 1e-6f};
  return c;
}

PML_API pml_status pml_train_preset(const char *name, pml_train_options *o, pml_augment *a) {
  *o = pml_train_defaults();
  *a = pml_augment_defaults();
  if (strcmp(name, "tutor") == 0) {
    o->config = pml__tutor_config(3, 256, 4, 2, 64, 768, 1664, 512);
    o->steps = 12000;
    o->lr = 1e-3f;
  } else if (strcmp(name, "teacher") == 0) {
    o->config = pml__tutor_config(3, 512, 8, 4, 64, 1024, 1664, 512);
    o->steps = 7000;
    o->lr = 7e-4f;
  } else if (strcmp(name, "draft") == 0) {
    o->config = pml__tutor_config(1, 256, 4, 1, 64, 256, 1664, 512);
    o->steps = 12000;
    o->lr = 2e-3f;
  } else if (strcmp(name, "tiny") == 0) {
    o->config = pml__tutor_config(2, 64, 2, 1, 32, 128, 512, 256);
    o->steps = 20;
    o->warmup = 5;
  } else return pml_fail(PML_E_USAGE, "there is no preset '%s': use tutor, teacher, draft or tiny", name);
  return PML_OK;
}

typedef struct {
  const pml_tutor_options *o;
  const pml_qa *qa;
  const pml_tokenizer *tok;
  pml_trainer *trainer;
  pml_status st;
} pml__tutor_run;

PML__FN bool pml__tutor_progress(void *user, const pml_train_progress *p) {
  pml__tutor_run *run = (pml__tutor_run *)user;
  pml_qa_result r, *eval = NULL;
  if (run->o->eval_every > 0 && p->step % run->o->eval_every == 0 && p->step < p->steps) {
    run->st = pml_net_qa_evaluate(run->trainer->net, run->qa, run->tok, true, NULL, &r);
    if (run->st != PML_OK) return false;
    eval = &r;
  }
  return !run->o->progress || run->o->progress(run->o->user, p, eval);
}

PML__FN pml_status pml__tutor_finish(const pml_tutor_options *o, const pml_trainer *t, const pml_qa *qa,
                                     const pml_tokenizer *tok, pml_tutor_report *report) {
  memset(report, 0, sizeof *report);
  report->n_topics = qa->n_topics;
  for (int i = 0; i < qa->n_topics; i++) report->n_taught += qa->topics[i].n_taught;
  report->n_params = t->net->layout.n;
  report->tokens = t->tokens;
  report->seconds = t->train_seconds;
  report->update_seconds = t->update_seconds;
  report->data_seconds = t->data_seconds;
  memcpy(report->part_seconds, t->net->seconds, sizeof report->part_seconds);
  memcpy(report->data_sha256, qa->sha256, sizeof report->data_sha256);
  pml_trainer_sha256(t, report->params_sha256);
  pml_status st = pml_net_qa_evaluate(t->net, qa, tok, true, NULL, &report->held);
  char name[64];
  snprintf(name, sizeof name, "prodml %s", o->preset);
  pml_export_options e = {.name = name, .command = o->command, .data_sha256 = qa->sha256, .seed = o->seed};
  return st == PML_OK && o->out ? pml_net_export(t->net, tok, &e, o->out) : st;
}

PML_API pml_status pml_train_tutor(const pml_tutor_options *o, pml_tutor_report *report) {
  pml_train_options train;
  pml_augment augment;
  pml_qa *qa = NULL;
  pml_tokenizer *tok = NULL;
  pml_qa_source *source = NULL;
  pml__tutor_run run = {.o = o};
  bool strict = pml_strict();
  pml_status st = pml_train_preset(o->preset, &train, &augment);
  if (st == PML_OK) pml_strict_set(o->strict);
  if (st == PML_OK) st = pml_qa_load(&qa, o->data);
  if (st == PML_OK) st = pml_qa_check(qa, NULL);
  if (st == PML_OK) st = pml_qa_tokenizer(&tok, qa, train.config.n_vocab);
  if (st == PML_OK) st = pml_qa_source_create(&source, qa, tok, &augment, o->seed);
  if (st == PML_OK) {
    train.seed = o->seed;
    if (o->steps > 0) train.steps = o->steps;
    train.source = pml_qa_source_next;
    train.source_user = source;
    train.data_id = qa->sha256;
    train.checkpoint = o->checkpoint;
    train.checkpoint_every = o->checkpoint ? 500 : 0;
    train.progress = pml__tutor_progress;
    train.progress_user = &run;
    run.qa = qa;
    run.tok = tok;
    st = pml_trainer_create(&run.trainer, &train);
  }
  if (st == PML_OK && o->resume && o->checkpoint) st = pml_trainer_load(run.trainer, o->checkpoint);
  if (st == PML_OK) st = pml_trainer_run(run.trainer, train.steps);
  if (run.st != PML_OK) st = run.st;
  if (st == PML_OK) st = pml__tutor_finish(o, run.trainer, qa, tok, report);
  pml_trainer_free(run.trainer);
  pml_qa_source_free(source);
  pml_tokenizer_free(tok);
  pml_qa_free(qa);
  pml_strict_set(strict);
  return st;
}

typedef struct {
  float at;
  int32_t label;
} pml__projected;

PML__FN int pml__by_place(const void *a, const void *b) {
  float x = ((const pml__projected *)a)->at, y = ((const pml__projected *)b)->at;
  return (x > y) - (x < y);
}

PML_API pml_status pml_best_line(const float *xy, const int32_t *label, int n, double *share) {
  pml__projected *p = n > 0 ? (pml__projected *)pml_alloc((size_t)n * sizeof *p) : NULL;
  int best = 0;
  if (!p) return n > 0 ? PML_E_MEMORY : pml_fail(PML_E_USAGE, "a line needs points to separate");
  for (int a = 0; a < 180; a++) {
    float c = (float)pml_cosd(a * 3.141592653589793 / 180), s = (float)pml_sind(a * 3.141592653589793 / 180);
    int right = 0; /* everything is called 1; then the line moves over one point after the other */
    for (int i = 0; i < n; i++) {
      p[i] = (pml__projected){c * xy[2 * i] + s * xy[2 * i + 1], label[i]};
      right += label[i];
    }
    qsort(p, (size_t)n, sizeof *p, pml__by_place);
    for (int i = 0; i <= n; i++) {
      best = right > best ? right : n - right > best ? n - right : best;
      if (i < n) right += p[i].label ? -1 : 1;
    }
  }
  *share = (double)best / n;
  pml_free(p);
  return PML_OK;
}

#endif /* § 34 */

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

   The trap: the first pass faults the pages in, so one unmeasured pass goes first.
   And the peak loop must clear its registers: a subnormal left in one makes every
   multiply-add a hundred times slower.
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
        "vzeroall\n vpxord %%zmm16,%%zmm16,%%zmm16\n vpxord %%zmm17,%%zmm17,%%zmm17\n"
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
        "vzeroall\n"
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
   § 49  SVG                                              needs § 2 § 6 § 8 § 16
   ─────────────────────────────────────────────────────────────────────────────
   A lesson computes numbers; a picture of them must not be able to disagree.  So
   the program that computed them draws them, as SVG: text that a browser, a
   terminal viewer and a printer all render.

   A drawing program usually hopes that its text fits.  This one knows: it holds
   the advance width of every character of Inter (words) and JetBrains Mono (code),
   in thousandths of the font size.

     width(text, size) = size / 1000 · Σ advance(character)

   Kerning is left out: measured in a browser on 280 labels, the true width is
   between 6 % less ("0.17") and 1.4 % more.  Each text also carries its width into
   the file (textLength), so a machine without the fonts squeezes its own into the
   same box.

   Nothing is written while drawing.  Every call appends an item to a display list:
   kind, box, colours.  From that one list come the SVG, the checks and the PNG:

     pml_svg_check  refuses a text outside the canvas or across the edge of a box,
                    two texts that overlap, a line through a text, a size under 20
                    (it is read from the back of a lecture hall), a contrast under
                    4.5:1 (under 2:1 for marks), a coordinate that is not a number
     pml_svg_png    a small rasteriser; its letters are a stroke font of its own,
                    stretched to the advance widths of the real ones, because a
                    font file is not something a header can carry

   Contrast is that of WCAG 2.1: (L1 + 0.05) / (L2 + 0.05), L the relative luminance.
   A picture has one message, and its title says it as a sentence.  Series carry
   their names at their ends instead of a legend; names that would collide are
   spread apart.  Colours mean the same everywhere: red a problem, purple the
   baseline, blue frozen, green active, teal attention, orange feed-forward, yellow
   an operation.

   Cost: the check compares each text with each item, t·n steps; a picture of 500
   items takes a millisecond.
   The trap: transparency.  A half-transparent band has a contrast that depends on
   what lies below it, so colours are mixed before drawing (pml_rgb_mix) and every
   item is opaque.
   Source: W3C 2018, WCAG 2.1, success criterion 1.4.3; Tufte 2001, The Visual
   Display of Quantitative Information; Talbot et al. 2010, An Extension of
   Wilkinson's Algorithm for Positioning Tick Labels on Axes.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef uint32_t pml_rgb; /* 0xRRGGBB */
enum {
  PML_CANVAS = 0x020617, PML_PANEL = 0x0F172A, PML_EDGE = 0x334155, PML_GRID = 0x1E293B,
  PML_TEXT = 0xF8FAFC, PML_MUTED = 0x94A3B8,
  PML_RED = 0xEF4444,    /* the problem */
  PML_PURPLE = 0x7C3AED, /* the baseline */
  PML_BLUE = 0x1E3A8A,   /* frozen */
  PML_GREEN = 0x22C55E,  /* active */
  PML_TEAL = 0x14B8A6,   /* attention */
  PML_ORANGE = 0xF59E0B, /* feed-forward */
  PML_YELLOW = 0xEAB308, /* an operation */
  PML_NO_COLOUR = 0x1000000
};
enum { PML_SVG_W = 1920, PML_SVG_H = 1080, PML_SVG_BAR = 80, PML_SVG_MIN_SIZE = 20 };

/* a + (b - a)·t per channel, t in [0,1]. */
PML_API pml_rgb pml_rgb_mix(pml_rgb a, pml_rgb b, double t);
/* WCAG contrast of two colours, 1 to 21. */
PML_API double pml_rgb_contrast(pml_rgb a, pml_rgb b);
/* The colour itself when its contrast with `back` is at least `ratio`, else the
   nearest mix with white (dark back) or black (light back) that has it. */
PML_API pml_rgb pml_rgb_readable(pml_rgb colour, pml_rgb back, double ratio);
/* The text colour with the best contrast on a fill; always above 4.5. */
PML_API pml_rgb pml_rgb_on(pml_rgb fill);

typedef struct { double x, y, w, h; } pml_box;   /* top left corner, width, height, in pixels */
PML_API pml_box pml_box_inset(pml_box b, double dx, double dy);
/* Part i of n equal columns (rows) of b with `gap` pixels between them. */
PML_API pml_box pml_box_column(pml_box b, int i, int n, double gap);
PML_API pml_box pml_box_row(pml_box b, int i, int n, double gap);
/* Cuts w pixels off the left of *b (h off its top) and returns them; *b keeps the rest, `gap` away. */
PML_API pml_box pml_box_left(pml_box *b, double w, double gap);
PML_API pml_box pml_box_top(pml_box *b, double h, double gap);

typedef enum { PML_START = 0, PML_MIDDLE, PML_END } pml_anchor;

/* How a text looks.  Fields left 0 mean size 26, weight 400 (600 is the other one
   there is), Inter, PML_TEXT, anchored at its start. */
typedef struct {
  double size;
  int weight;
  bool mono;
  pml_rgb colour;
  pml_anchor anchor;
} pml_font;

/* Width of UTF-8 text in pixels.  Characters outside the tables count a full em. */
PML_API double pml_text_width(const char *text, const pml_font *font);
/* Appends bytes made visible: space ·, newline \n, other controls and bytes that are
   not UTF-8 as \xNN. */
PML_API void pml_text_visible(pml_buf *out, const char *bytes, size_t len);
/* A number for people: `decimals` digits after the point, thousands separated by
   commas, a true minus sign. */
PML_API void pml_number_text(char out[48], double v, int decimals);

/* What stands in the two bars. */
typedef struct {
  const char *title;    /* the message, one sentence */
  const char *desc;     /* what the picture shows, for a screen reader; NULL: the title */
  const char *tag;      /* "Part 0 · Lesson 05", may be NULL */
  const char *source;   /* "computed by lessons/05_attention.c, prodml.h 0.1.0" */
  const char *measured; /* machine and date of recorded numbers, NULL when all are computed */
} pml_svg_head;

typedef struct pml_svg pml_svg;
/* An empty picture with its bars; head NULL leaves the bars out.  Strings are copied.
   The drawing functions below return nothing: what goes wrong is kept, and
   pml_svg_check reports it.  All of them accept only finite numbers. */
PML_API pml_status pml_svg_create(pml_svg **out, const pml_svg_head *head);
PML_API void pml_svg_free(pml_svg *s);
/* Sets title and description and draws the bars, for a picture made without them. */
PML_API void pml_svg_head_set(pml_svg *s, const pml_svg_head *head);
PML_API const char *pml_svg_title(const pml_svg *s);
PML_API pml_box pml_svg_body(const pml_svg *s); /* the free space between the bars: 60,110 1800×860 */

/* Primitives.  PML_NO_COLOUR leaves a fill or a stroke out.  xy holds n pairs. */
PML_API void pml_svg_rect(pml_svg *s, pml_box b, double radius, pml_rgb fill, pml_rgb stroke, double width);
PML_API void pml_svg_line(pml_svg *s, double x1, double y1, double x2, double y2, pml_rgb colour, double width);
PML_API void pml_svg_polyline(pml_svg *s, const double *xy, int n, pml_rgb colour, double width, bool dashed);
PML_API void pml_svg_polygon(pml_svg *s, const double *xy, int n, pml_rgb fill);
PML_API void pml_svg_circle(pml_svg *s, double x, double y, double r, pml_rgb fill, pml_rgb stroke, double width);
/* A faint rule that texts may touch: grid lines, rules of a table. */
PML_API void pml_svg_rule(pml_svg *s, double x1, double y1, double x2, double y2);
/* y is the baseline. */
PML_API void pml_svg_text(pml_svg *s, double x, double y, pml_font font, const char *text);
PML_API void pml_svg_textf(pml_svg *s, double x, double y, pml_font font, const char *fmt, ...) PML__PRINTF(5, 6);
/* Text that reads upwards, starting at x, y. */
PML_API void pml_svg_text_up(pml_svg *s, double x, double y, pml_font font, const char *text);
/* Text wrapped into a box; shrinks to 20 px before it gives up.  `vertical` says
   where the block of lines stands: top, middle, bottom.  Returns the height used. */
PML_API double pml_svg_text_in(pml_svg *s, pml_box b, pml_font font, pml_anchor vertical, const char *text);
/* A line with a head; label (may be NULL) stands above it, or right of it when it
   is steep. */
PML_API void pml_svg_arrow(pml_svg *s, double x1, double y1, double x2, double y2, pml_rgb colour,
                           const char *label);
/* A rounded panel with a heading (may be NULL) and an accent stripe; returns the
   space inside. */
PML_API pml_box pml_svg_panel(pml_svg *s, pml_box b, const char *heading, pml_rgb accent);
/* A panel for a part of something that takes time: 0.91 stands as "91 % of the time" at the right end of its
   heading; a share of 0 is not said. */
PML_API pml_box pml_svg_panel_time(pml_svg *s, pml_box b, const char *heading, pml_rgb accent, double share);
/* An arrow from the edge of one box to the facing edge of another, in the middle of what they have in
   common: across when one lies beside the other, else up or down. */
PML_API void pml_svg_flow(pml_svg *s, pml_box from, pml_box to, pml_rgb colour, const char *label, ...)
    PML__PRINTF(5, 6);
/* A box of a flow: name in the middle, quantity below it in mono (may be NULL). */
PML_API void pml_svg_node(pml_svg *s, pml_box b, const char *name, const char *detail, pml_rgb colour);

/* Charts. */
typedef struct {
  const char *label;         /* with its unit: "time per token (ms)" */
  double lo, hi;             /* both 0: from the data */
  bool log;                  /* base 10; the data must be positive */
  const char *const *names;  /* categories: names[i] stands at i */
  int n_names;
} pml_axis;

typedef enum { PML_MARK_LINE = 0, PML_MARK_POINTS, PML_MARK_LINE_POINTS, PML_MARK_COLUMNS } pml_mark;

typedef struct {
  const char *label;         /* the direct label, may be NULL */
  int n;
  const double *x, *y;       /* x NULL: 0, 1, 2 … */
  const double *lo, *hi;     /* a band (lines) or error bars (others); NULL: none */
  const char *const *labels; /* one per point, may be NULL, and so may its entries */
  pml_rgb colour;
  pml_mark mark;
  bool dashed;
} pml_series;

/* Where the data lie, to draw more into a chart. */
typedef struct {
  pml_box area;
  pml_axis x, y;
} pml_plot;
PML_API double pml_plot_x(const pml_plot *p, double v); /* data to pixels */
PML_API double pml_plot_y(const pml_plot *p, double v);
/* Lines, points with error bars, columns, in one frame. */
PML_API pml_plot pml_svg_chart(pml_svg *s, pml_box b, pml_axis x, pml_axis y, const pml_series *series, int n);

/* A curve that a run fills point by point; lo == hi == y where there is no interval. */
enum { PML_CURVE_MAX = 64 };
typedef struct {
  int n;
  double x[PML_CURVE_MAX], y[PML_CURVE_MAX], lo[PML_CURVE_MAX], hi[PML_CURVE_MAX];
} pml_curve;
/* Adds a point, the second with its interval; a full curve stays as it is. */
PML_API void pml_curve_add(pml_curve *c, double x, double y);
PML_API void pml_curve_add_interval(pml_curve *c, double x, double y, double lo, double hi);
/* A claim and its control in one chart: what the lesson is about in green, the baseline in purple. */
PML_API pml_plot pml_svg_pair(pml_svg *s, pml_box b, pml_axis x, pml_axis y, const char *name, const pml_curve *c,
                              const char *base_name, const pml_curve *base);

typedef struct {
  const char *label;
  double value, lo, hi;      /* lo == hi: no interval */
  pml_rgb colour;
  const char *text;          /* beside the bar; NULL: the value */
} pml_bar;
typedef struct {
  const char *unit;          /* after the value, may be NULL */
  int decimals;
  double max;                /* end of the scale, 0: from the data */
  double limit;              /* a marked reference value, 0: none */
  const char *limit_label;
} pml_bar_options;
/* Horizontal bars from a common zero. */
PML_API void pml_svg_bars(pml_svg *s, pml_box b, const pml_bar *bars, int n, const pml_bar_options *o);

typedef struct {
  const char *const *row_names, *const *col_names; /* NULL: none */
  const char *row_title, *col_title, *scale_title; /* NULL: none */
  double lo, hi;             /* both 0: from the data */
  bool diverging;            /* 0 is neutral, negative purple, positive `colour` */
  int decimals;              /* of cell values; < 0 hides them */
  pml_rgb colour;            /* 0: teal */
} pml_heat_options;
/* How a classifier sees a square of the plane: p[grid,grid], cool where 0, warm where 1, and on it n points
   xy[n,2] of the square of side `side` around 0, red where wrong. */
PML_API void pml_svg_surface(pml_svg *s, pml_box b, const double *p, int grid, const float *xy, const bool *wrong, int n,
                             double side);
/* A small heat map of weights[n,n] from 0 to 1 without names, NaN left out, and beside it a heading and a
   sentence. */
PML_API void pml_svg_heat_note(pml_svg *s, pml_box b, const double *weights, int n, const char *heading,
                               const char *fmt, ...) PML__PRINTF(6, 7);
/* values[rows,cols]; NaN is an empty cell (a mask).  Values stand in the cells where
   they fit.  Returns the box of the cells. */
PML_API pml_box pml_svg_heat(pml_svg *s, pml_box b, const double *values, int rows, int cols,
                             const pml_heat_options *o);

/* cells[rows,cols], row 0 is the head.  align: one letter l, r or c per column, upper
   case for mono.  `strong` is a row to stress, 0 for none. */
PML_API void pml_svg_table(pml_svg *s, pml_box b, const char *const *cells, int rows, int cols,
                           const char *align, int strong);
/* A table that is written row by row, cells separated by tabs; the first row is the head and says how
   many cells a row has.  {0} is an empty one; it owns nothing.  A row of another number of cells, or more
   text than fits, is a fault that pml_svg_rows and pml_show_rows (§ 51) report. */
enum { PML_TABLE_TEXT = 16000 };
typedef struct {
  int rows, cols;
  size_t len;
  char text[PML_TABLE_TEXT], fault[160];
} pml_table;
PML_API void pml_table_row(pml_table *t, const char *fmt, ...) PML__PRINTF(2, 3);
/* align and strong as in pml_svg_table. */
PML_API void pml_svg_rows(pml_svg *s, pml_box b, const pml_table *t, const char *align, int strong);
/* The cells, [rows · cols], pointing into t, from pml_alloc; NULL with a sentence (pml_error). */
PML_API const char **pml_table_cells(const pml_table *t);
/* A matrix between brackets with its name and shape below. */
PML_API void pml_svg_matrix(pml_svg *s, pml_box b, const char *name, const double *values, int rows,
                            int cols, int decimals, pml_rgb colour);
/* Tokens as chips that wrap; below each its note (an id, a probability) if notes is
   not NULL; colours NULL: teal.  boxes (may be NULL) receives their places.  Returns
   the height used; with s NULL that is all it does. */
PML_API double pml_svg_tokens(pml_svg *s, pml_box b, const pml_str *tokens, int n, const char *const *notes,
                              const pml_rgb *colours, pml_box *boxes);

/* PML_OK, or PML_E_CHECK with the first fault in pml_error and all of them, a line
   each, in report (may be NULL). */
PML_API pml_status pml_svg_check(const pml_svg *s, pml_buf *report);
/* The SVG text, unchecked.  The same calls give the same bytes. */
PML_API pml_status pml_svg_render(const pml_svg *s, pml_buf *out);
/* Checks, then writes atomically. */
PML_API pml_status pml_svg_save(const pml_svg *s, const char *path);
/* The picture as PNG; PML_E_UNSUPPORTED without PRODML_USE_STB. */
PML_API pml_status pml_svg_png(const pml_svg *s, const char *path);

#ifdef PML__IMPL

/* ── Text measurement ─────────────────────────────────────────────────────── */

/* Advance widths in thousandths of an em, regular and semibold: ASCII 32 to 126,
   then the characters of pml__glyph_extra.  Written by tests/gen_font_widths.py. */
/* @font widths */
static const uint16_t pml__glyph_extra[99] PML__UNUSED = {
    0x00A7, 0x00B0, 0x00B1, 0x00B2, 0x00B3, 0x00B5, 0x00B7, 0x00B9, 0x00BD, 0x00BF, 0x00D7, 0x00DF,
    0x00E0, 0x00E4, 0x00E7, 0x00E8, 0x00E9, 0x00EA, 0x00ED, 0x00F1, 0x00F3, 0x00F4, 0x00F6, 0x00F7,
    0x00FA, 0x00FC, 0x0393, 0x0394, 0x0398, 0x039B, 0x03A0, 0x03A3, 0x03A6, 0x03A9, 0x03B1, 0x03B2,
    0x03B3, 0x03B4, 0x03B5, 0x03B7, 0x03B8, 0x03BA, 0x03BB, 0x03BC, 0x03C0, 0x03C1, 0x03C3, 0x03C4,
    0x03C6, 0x03C9, 0x1D40, 0x2013, 0x2014, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2026, 0x2070,
    0x2074, 0x2075, 0x2076, 0x2077, 0x2078, 0x2079, 0x207A, 0x207B, 0x2080, 0x2081, 0x2082, 0x2083,
    0x2084, 0x2113, 0x2190, 0x2191, 0x2192, 0x2193, 0x2194, 0x21B5, 0x21D2, 0x2202, 0x2205, 0x2207,
    0x2208, 0x220F, 0x2211, 0x2212, 0x221A, 0x221E, 0x2248, 0x2260, 0x2264, 0x2265, 0x2423, 0x25B2,
    0x25BC, 0x2713, 0x2717};
static const uint16_t pml__glyph_width[2][194] PML__UNUSED = {
  { 281, 278, 403, 631, 638, 812, 639, 222, 362, 362, 500, 659, 280, 460, 276, 357, 625, 464, 605, 636,
    642, 608, 624, 571, 616, 624, 276, 280, 659, 659, 659, 507, 936, 676, 651, 727, 719, 598, 587, 743,
    740, 264, 543, 652, 562, 889, 753, 761, 635, 761, 639, 638, 642, 741, 676, 949, 642, 665, 625, 362,
    357, 362, 469, 452, 497, 564, 621, 558, 621, 582, 361, 609, 591, 237, 237, 544, 237, 869, 585, 597,
    609, 609, 372, 523, 364, 581, 557, 812, 540, 557, 541, 362, 327, 362, 659, 551, 455, 659, 420, 430,
    622, 276, 313, 926, 507, 659, 609, 564, 564, 558, 582, 582, 582, 237, 585, 597, 597, 597, 659, 581,
    581, 575, 676, 761, 676, 722, 631, 750, 761, 641, 592, 534, 540, 544, 585, 540, 631, 585, 622, 631,
    571, 631, 472, 732, 811, 600, 500, 1000, 199, 185, 381, 381, 562, 821, 440, 436, 415, 425, 388, 428,
    425, 439, 439, 440, 313, 420, 430, 436, 449, 955, 955, 955, 955, 1341, 985, 955, 631, 685, 700, 870,
    722, 631, 659, 631, 930, 659, 659, 659, 659, 722, 1009, 1009, 881, 881},
  { 248, 309, 396, 643, 649, 844, 663, 213, 393, 393, 543, 673, 295, 466, 290, 379, 667, 481, 621, 652,
    666, 632, 648, 587, 646, 648, 290, 295, 673, 673, 673, 544, 999, 724, 657, 744, 724, 608, 586, 755,
    744, 275, 561, 677, 566, 906, 741, 775, 643, 776, 651, 649, 660, 734, 724, 1007, 690, 705, 653, 393,
    379, 393, 481, 468, 497, 575, 630, 577, 630, 593, 377, 625, 613, 261, 261, 569, 261, 898, 610, 608,
    625, 625, 397, 549, 380, 608, 576, 837, 562, 576, 562, 393, 358, 393, 673, 579, 458, 673, 423, 438,
    652, 290, 318, 919, 544, 673, 646, 575, 575, 577, 593, 593, 593, 261, 610, 608, 608, 608, 673, 608,
    608, 579, 724, 775, 724, 751, 658, 816, 773, 648, 604, 543, 616, 562, 610, 617, 657, 600, 652, 707,
    585, 657, 531, 806, 894, 600, 500, 1000, 228, 214, 408, 407, 496, 806, 455, 450, 427, 438, 396, 437,
    438, 445, 445, 455, 318, 423, 438, 450, 522, 955, 955, 955, 955, 1341, 1004, 955, 658, 688, 700, 870,
    755, 710, 673, 660, 966, 673, 673, 673, 673, 749, 1035, 1035, 881, 881}};
/* @end */

/* Index into the width tables, -1 for an unknown character. */
PML__FN int pml__glyph_index(uint32_t cp) {
  if (cp >= 32 && cp < 127) return (int)cp - 32;
  int lo = 0, hi = (int)(sizeof pml__glyph_extra / sizeof pml__glyph_extra[0]);
  while (lo < hi) {
    int mid = (lo + hi) / 2;
    if (pml__glyph_extra[mid] < cp) lo = mid + 1;
    else hi = mid;
  }
  bool found = lo < (int)(sizeof pml__glyph_extra / sizeof pml__glyph_extra[0]) && pml__glyph_extra[lo] == cp;
  return found ? 95 + lo : -1;
}

PML__FN double pml__glyph_advance(uint32_t cp, const pml_font *f) {
  int i = pml__glyph_index(cp);
  double em = i < 0 ? 1.0 : f->mono ? 0.6 : pml__glyph_width[f->weight >= 600][i] / 1000.0;
  return em * (f->size > 0 ? f->size : 26);
}

PML_API double pml_text_width(const char *text, const pml_font *font) {
  size_t len = strlen(text);
  double w = 0;
  for (size_t at = 0; at < len;) {
    uint32_t cp;
    at += (size_t)pml_utf8_decode(text + at, len - at, &cp);
    w += pml__glyph_advance(cp, font);
  }
  return w;
}

PML_API void pml_text_visible(pml_buf *out, const char *bytes, size_t len) {
  for (size_t at = 0; at < len;) {
    uint32_t cp;
    int n = pml_utf8_decode(bytes + at, len - at, &cp);
    if (cp == ' ') pml_buf_puts(out, "·");
    else if (cp == '\n') pml_buf_puts(out, "\\n");
    else if (cp == '\t') pml_buf_puts(out, "\\t");
    else if (cp < 32 || cp == 127 || cp == 0xFFFFFFFFu)
      pml_buf_printf(out, "\\x%02x", (unsigned char)bytes[at]);
    else pml_buf_add(out, bytes + at, (size_t)n);
    at += (size_t)n;
  }
}

/* Decimal text without printf's locale.  |v| < 1e15. */
PML_API void pml_number_text(char out[48], double v, int decimals) {
  static const double scale[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6};
  if (v != v || fabs(v) > 1e15) {
    snprintf(out, 48, "%s", v != v ? "NaN" : v > 0 ? "∞" : "−∞");
    return;
  }
  if (decimals < 0) decimals = 0;
  if (decimals > 6) decimals = 6;
  if (fabs(v) > 1e12) decimals = 0;
  uint64_t n = (uint64_t)floor(fabs(v) * scale[decimals] + 0.5);
  char digits[40], *end = digits + sizeof digits, *p = end;
  for (int i = 0; i < decimals; i++, n /= 10) *--p = (char)('0' + n % 10);
  if (decimals) *--p = '.';
  for (int i = 0; i == 0 || n; i++, n /= 10) {
    if (i && i % 3 == 0) *--p = ',';
    *--p = (char)('0' + n % 10);
  }
  bool zero = true;
  for (const char *q = p; q < end; q++) zero = zero && (*q == '0' || *q == '.' || *q == ',');
  snprintf(out, 48, "%s%.*s", v < 0 && !zero ? "−" : "", (int)(end - p), p);
}

/* ── Colours and boxes ────────────────────────────────────────────────────── */

PML_API pml_rgb pml_rgb_mix(pml_rgb a, pml_rgb b, double t) {
  pml_rgb out = 0;
  for (int shift = 16; shift >= 0; shift -= 8) {
    double ca = (a >> shift) & 255, cb = (b >> shift) & 255;
    out |= (pml_rgb)floor(ca + (cb - ca) * t + 0.5) << shift;
  }
  return out;
}

PML__FN double pml__luminance(pml_rgb c) {
  static const double weight[3] = {0.0722, 0.7152, 0.2126};
  double sum = 0;
  for (int i = 0; i < 3; i++, c >>= 8) {
    double v = (c & 255) / 255.0;
    sum += weight[i] * (v <= 0.03928 ? v / 12.92 : pml_powd((v + 0.055) / 1.055, 2.4));
  }
  return sum;
}

PML_API double pml_rgb_contrast(pml_rgb a, pml_rgb b) {
  double la = pml__luminance(a) + 0.05, lb = pml__luminance(b) + 0.05;
  return la > lb ? la / lb : lb / la;
}

PML_API pml_rgb pml_rgb_readable(pml_rgb colour, pml_rgb back, double ratio) {
  pml_rgb toward = pml__luminance(back) < 0.18 ? 0xFFFFFF : 0x000000;
  for (int i = 0; i < 20; i++) {
    pml_rgb c = pml_rgb_mix(colour, toward, i / 20.0);
    if (pml_rgb_contrast(c, back) >= ratio) return c;
  }
  return toward;
}

PML_API pml_rgb pml_rgb_on(pml_rgb fill) {
  static const pml_rgb choice[] = {PML_TEXT, PML_CANVAS, 0xFFFFFF, 0x000001};
  pml_rgb best = choice[0];
  for (int i = 0; i < 4; i++) {
    if (pml_rgb_contrast(choice[i], fill) >= 7) return choice[i];
    if (pml_rgb_contrast(choice[i], fill) > pml_rgb_contrast(best, fill) + 0.3) best = choice[i];
  }
  return pml_rgb_contrast(best, fill) >= 4.5 ? best : pml__luminance(fill) < 0.18 ? 0xFFFFFF : 0x000001;
}

PML_API pml_box pml_box_inset(pml_box b, double dx, double dy) {
  return (pml_box){b.x + dx, b.y + dy, b.w - 2 * dx, b.h - 2 * dy};
}

PML_API pml_box pml_box_column(pml_box b, int i, int n, double gap) {
  double w = (b.w - gap * (n - 1)) / n;
  return (pml_box){b.x + i * (w + gap), b.y, w, b.h};
}

PML_API pml_box pml_box_row(pml_box b, int i, int n, double gap) {
  double h = (b.h - gap * (n - 1)) / n;
  return (pml_box){b.x, b.y + i * (h + gap), b.w, h};
}

PML_API pml_box pml_box_left(pml_box *b, double w, double gap) {
  pml_box cut = {b->x, b->y, w, b->h};
  b->x += w + gap;
  b->w -= w + gap;
  return cut;
}

PML_API pml_box pml_box_top(pml_box *b, double h, double gap) {
  pml_box cut = {b->x, b->y, b->w, h};
  b->y += h + gap;
  b->h -= h + gap;
  return cut;
}

/* ── The display list ─────────────────────────────────────────────────────── */

typedef enum { PML__RECT, PML__POLYLINE, PML__POLYGON, PML__CIRCLE, PML__TEXT_ITEM } pml__item_kind;

typedef struct {
  pml__item_kind kind;
  bool grid, dashed, up;
  pml_box box;      /* of the ink; a text's box is its glyphs, not its line */
  const double *xy; /* polyline, polygon: n pairs; text: one pair; circle: centre */
  int n;
  double radius, width; /* corner or circle; stroke, or a text's measured width */
  pml_rgb fill, stroke;
  const char *text;
  pml_font font;
} pml__item;

struct pml_svg {
  pml_arena arena;
  pml__item *item;
  int n, cap;
  const char *title, *desc;
  pml_buf faults; /* a line per thing that went wrong while drawing */
  bool failed;    /* out of memory */
};

/* A fresh item at the end of the list, NULL when memory is out. */
PML__FN pml__item *pml__svg_add(pml_svg *s, pml__item_kind kind, const double *xy, int n) {
  if (s->failed) return NULL;
  if (s->n == s->cap) {
    int cap = s->cap ? 2 * s->cap : 256;
    pml__item *item = (pml__item *)pml_realloc(s->item, (size_t)cap * sizeof *item);
    if (item) {
      s->item = item;
      s->cap = cap;
    } else s->failed = true;
  }
  double *copy = s->failed ? NULL : (double *)pml_arena_alloc(&s->arena, 2 * (size_t)n * sizeof *copy);
  if (!copy) {
    s->failed = true;
    return NULL;
  }
  memcpy(copy, xy, 2 * (size_t)n * sizeof *copy);
  pml__item *it = &s->item[s->n++];
  memset(it, 0, sizeof *it);
  it->kind = kind;
  it->xy = copy;
  it->n = n;
  it->fill = it->stroke = PML_NO_COLOUR;
  return it;
}

PML__FN char *pml__svg_strdup(pml_svg *s, const char *text) {
  size_t len = strlen(text);
  char *copy = s->failed ? NULL : (char *)pml_arena_alloc(&s->arena, len + 1);
  if (!copy) {
    s->failed = true;
    return NULL;
  }
  memcpy(copy, text, len + 1);
  return copy;
}

PML__FN pml_box pml__hull(const double *xy, int n, double margin) {
  double x0 = xy[0], x1 = xy[0], y0 = xy[1], y1 = xy[1];
  for (int i = 1; i < n; i++) {
    x0 = fmin(x0, xy[2 * i]);
    x1 = fmax(x1, xy[2 * i]);
    y0 = fmin(y0, xy[2 * i + 1]);
    y1 = fmax(y1, xy[2 * i + 1]);
  }
  return (pml_box){x0 - margin, y0 - margin, x1 - x0 + 2 * margin, y1 - y0 + 2 * margin};
}

PML_API void pml_svg_rect(pml_svg *s, pml_box b, double radius, pml_rgb fill, pml_rgb stroke, double width) {
  double xy[2] = {b.x, b.y};
  pml__item *it = pml__svg_add(s, PML__RECT, xy, 1);
  if (!it) return;
  it->box = b;
  it->radius = radius;
  it->fill = fill;
  it->stroke = stroke;
  it->width = stroke == PML_NO_COLOUR ? 0 : width;
}

PML_API void pml_svg_polyline(pml_svg *s, const double *xy, int n, pml_rgb colour, double width,
                              bool dashed) {
  pml__item *it = n > 1 ? pml__svg_add(s, PML__POLYLINE, xy, n) : NULL;
  if (!it) return;
  it->box = pml__hull(xy, n, width / 2);
  it->stroke = colour;
  it->width = width;
  it->dashed = dashed;
}

PML_API void pml_svg_line(pml_svg *s, double x1, double y1, double x2, double y2, pml_rgb colour,
                          double width) {
  double xy[4] = {x1, y1, x2, y2};
  pml_svg_polyline(s, xy, 2, colour, width, false);
}

PML_API void pml_svg_rule(pml_svg *s, double x1, double y1, double x2, double y2) {
  pml_svg_line(s, x1, y1, x2, y2, PML_GRID, 1.5);
  if (!s->failed) s->item[s->n - 1].grid = true;
}

PML_API void pml_svg_polygon(pml_svg *s, const double *xy, int n, pml_rgb fill) {
  pml__item *it = n > 2 ? pml__svg_add(s, PML__POLYGON, xy, n) : NULL;
  if (!it) return;
  it->box = pml__hull(xy, n, 0);
  it->fill = fill;
}

PML_API void pml_svg_circle(pml_svg *s, double x, double y, double r, pml_rgb fill, pml_rgb stroke,
                            double width) {
  double xy[2] = {x, y};
  pml__item *it = pml__svg_add(s, PML__CIRCLE, xy, 1);
  if (!it) return;
  it->box = pml__hull(xy, 1, r + (stroke == PML_NO_COLOUR ? 0 : width / 2));
  it->radius = r;
  it->fill = fill;
  it->stroke = stroke;
  it->width = stroke == PML_NO_COLOUR ? 0 : width;
}

PML__FN pml_font pml__font_full(pml_font f) {
  if (f.size == 0) f.size = 26;
  if (f.weight == 0) f.weight = 400;
  if (f.colour == 0) f.colour = PML_TEXT;
  return f;
}

/* The glyphs' box: capitals reach 0.73 em above the baseline, descenders 0.2 below. */
PML__FN pml_box pml__text_box(double x, double y, const pml_font *f, double w, bool up) {
  double shift = f->anchor == PML_MIDDLE ? w / 2 : f->anchor == PML_END ? w : 0;
  if (up) return (pml_box){x - 0.73 * f->size, y + shift - w, 0.93 * f->size, w};
  return (pml_box){x - shift, y - 0.73 * f->size, w, 0.93 * f->size};
}

PML__FN void pml__svg_text(pml_svg *s, double x, double y, pml_font font, const char *text, bool up) {
  double xy[2] = {x, y};
  const char *copy = pml__svg_strdup(s, text);
  pml__item *it = copy ? pml__svg_add(s, PML__TEXT_ITEM, xy, 1) : NULL;
  if (!it) return;
  it->font = pml__font_full(font);
  it->text = copy;
  it->width = pml_text_width(copy, &it->font);
  it->up = up;
  it->box = pml__text_box(x, y, &it->font, it->width, up);
}

PML_API void pml_svg_text(pml_svg *s, double x, double y, pml_font font, const char *text) {
  pml__svg_text(s, x, y, font, text, false);
}

PML_API void pml_svg_text_up(pml_svg *s, double x, double y, pml_font font, const char *text) {
  pml__svg_text(s, x, y, font, text, true);
}

PML_API void pml_svg_textf(pml_svg *s, double x, double y, pml_font font, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  pml_svg_text(s, x, y, font, text);
}

/* ── Text in a box ────────────────────────────────────────────────────────── */

/* Breaks text at spaces and newlines into lines no wider than w.  start[i], len[i]
   receive at most `max` lines.  Returns their number; max + 1 says that they do not
   fit, as does a single word that is too wide. */
PML__FN int pml__wrap(const char *text, const pml_font *f, double w, int max, size_t *start, size_t *len) {
  int n = 0;
  size_t at = 0, total = strlen(text);
  while (at < total) {
    double x = 0;
    size_t i = at, cut = 0;
    bool full = false;
    while (i < total && text[i] != '\n' && !full) {
      uint32_t cp;
      size_t step = (size_t)pml_utf8_decode(text + i, total - i, &cp);
      if (cp == ' ') cut = i;
      x += pml__glyph_advance(cp, f);
      full = x > w + 0.01 && cp != ' ';
      if (!full) i += step;
    }
    if (full && cut <= at) return max + 1;
    size_t end = full ? cut : i;
    if (n == max) return max + 1;
    start[n] = at;
    len[n++] = end - at;
    at = end < total ? end + 1 : end;
  }
  return n;
}

PML_API double pml_svg_text_in(pml_svg *s, pml_box b, pml_font font, pml_anchor vertical, const char *text) {
  enum { MAX = 40 };
  size_t start[MAX], len[MAX];
  pml_font f = pml__font_full(font);
  int n = 0;
  for (;; f.size -= 1) {
    n = pml__wrap(text, &f, b.w, MAX, start, len);
    double need = (n - 1) * 1.3 * f.size + 0.93 * f.size;
    if (n <= MAX && need <= b.h + 0.01) break;
    if (f.size - 1 < PML_SVG_MIN_SIZE) {
      pml_buf_printf(&s->faults, "'%s' does not fit a box of %.0f × %.0f at %d px\n", text, b.w, b.h,
                     PML_SVG_MIN_SIZE);
      return 0;
    }
  }
  double used = n ? (n - 1) * 1.3 * f.size + 0.93 * f.size : 0;
  double y = b.y + (vertical == PML_MIDDLE ? (b.h - used) / 2 : vertical == PML_END ? b.h - used : 0);
  double x = b.x + (f.anchor == PML_MIDDLE ? b.w / 2 : f.anchor == PML_END ? b.w : 0);
  for (int i = 0; i < n; i++) {
    char *line = pml_strndup(text + start[i], len[i]);
    if (line && *line) pml_svg_text(s, x, y + 0.73 * f.size + i * 1.3 * f.size, f, line);
    pml_free(line);
  }
  return used;
}

/* ── Boxes and arrows ─────────────────────────────────────────────────────── */

PML_API pml_box pml_svg_body(const pml_svg *s) {
  (void)s;
  return (pml_box){60, PML_SVG_BAR + 30, PML_SVG_W - 120, PML_SVG_H - 2 * PML_SVG_BAR - 60};
}

PML__FN void pml__svg_bars(pml_svg *s, const pml_svg_head *h) {
  pml_svg_rect(s, (pml_box){0, 0, PML_SVG_W, PML_SVG_BAR}, 0, PML_PANEL, PML_NO_COLOUR, 0);
  pml_svg_rect(s, (pml_box){0, PML_SVG_H - PML_SVG_BAR, PML_SVG_W, PML_SVG_BAR}, 0, PML_PANEL, PML_NO_COLOUR,
               0);
  pml_font muted = {.size = 24, .colour = PML_MUTED, .anchor = PML_END};
  double tag = h->tag ? pml_text_width(h->tag, &muted) : 0;
  if (h->tag) pml_svg_text(s, PML_SVG_W - 60, 49, muted, h->tag);
  pml_box title = {60, 8, PML_SVG_W - 120 - (tag > 0 ? tag + 50 : 0), 64};
  pml_svg_text_in(s, title, (pml_font){.size = 38, .weight = 600}, PML_MIDDLE, h->title ? h->title : "");
  pml_font foot = {.size = 22, .colour = PML_MUTED};
  double baseline = PML_SVG_H - PML_SVG_BAR / 2 + 8;
  if (h->source) pml_svg_text(s, 60, baseline, foot, h->source);
  foot.anchor = PML_END;
  if (h->measured) pml_svg_text(s, PML_SVG_W - 60, baseline, foot, h->measured);
}

PML_API void pml_svg_head_set(pml_svg *s, const pml_svg_head *head) {
  const char *title = head->title ? head->title : "";
  const char *copy = pml__svg_strdup(s, title), *desc = pml__svg_strdup(s, head->desc ? head->desc : title);
  s->title = copy ? copy : "";
  s->desc = desc ? desc : "";
  pml__svg_bars(s, head);
}

PML_API const char *pml_svg_title(const pml_svg *s) { return s->title; }

PML_API pml_status pml_svg_create(pml_svg **out, const pml_svg_head *head) {
  *out = NULL;
  pml_svg *s = (pml_svg *)pml_calloc(1, sizeof *s);
  if (!s) return PML_E_MEMORY;
  s->title = s->desc = "";
  if (head) pml_svg_head_set(s, head);
  if (s->failed) {
    pml_svg_free(s);
    return PML_E_MEMORY;
  }
  *out = s;
  return PML_OK;
}

PML_API void pml_svg_free(pml_svg *s) {
  if (!s) return;
  pml_buf_free(&s->faults);
  pml_arena_free(&s->arena);
  pml_free(s->item);
  pml_free(s);
}

PML_API void pml_svg_arrow(pml_svg *s, double x1, double y1, double x2, double y2, pml_rgb colour,
                           const char *label) {
  double dx = x2 - x1, dy = y2 - y1, len = sqrt(dx * dx + dy * dy);
  if (!(len > 0)) return;
  pml_rgb c = pml_rgb_readable(colour, PML_CANVAS, 3);
  double ux = dx / len, uy = dy / len, bx = x2 - 18 * ux, by = y2 - 18 * uy;
  double head[6] = {x2, y2, bx - 9 * uy, by + 9 * ux, bx + 9 * uy, by - 9 * ux};
  pml_svg_line(s, x1, y1, bx, by, c, 3);
  pml_svg_polygon(s, head, 3, c);
  if (!label) return;
  pml_font f = {.size = 22, .colour = PML_MUTED, .anchor = PML_MIDDLE};
  double mx = (x1 + x2) / 2, my = (y1 + y2) / 2;
  if (fabs(dx) >= fabs(dy)) {
    double rise = fabs(dy / dx) * pml_text_width(label, &f) / 2;
    pml_svg_text(s, mx, my - 14 - rise, f, label);
  } else {
    f.anchor = PML_START;
    pml_svg_text(s, mx + 14 + fabs(ux) * 14, my + 8, f, label);
  }
}

PML_API pml_box pml_svg_panel(pml_svg *s, pml_box b, const char *heading, pml_rgb accent) {
  pml_svg_rect(s, b, 14, PML_PANEL, PML_NO_COLOUR, 0);
  pml_box in = pml_box_inset(b, 32, 28);
  if (!heading) return in;
  pml_svg_rect(s, (pml_box){in.x, in.y + 2, 6, 26}, 3, pml_rgb_readable(accent, PML_PANEL, 3), PML_NO_COLOUR,
               0);
  pml_box line = {in.x + 20, in.y, in.w - 20, 34};
  pml_svg_text_in(s, line, (pml_font){.size = 28, .weight = 600}, PML_START, heading);
  return (pml_box){in.x, in.y + 58, in.w, in.h - 58};
}

PML_API pml_box pml_svg_panel_time(pml_svg *s, pml_box b, const char *heading, pml_rgb accent, double share) {
  const pml_font f = {.size = 22, .colour = PML_MUTED, .anchor = PML_END};
  pml_box in = pml_svg_panel(s, b, heading, accent);
  if (share > 0) pml_svg_textf(s, b.x + b.w - 20, b.y + 45, f, "%.0f %% of the time", 100 * share);
  return in;
}

PML_API void pml_svg_flow(pml_svg *s, pml_box a, pml_box b, pml_rgb colour, const char *fmt, ...) {
  char label[128];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(label, sizeof label, fmt, ap);
  va_end(ap);
  double top = fmax(a.y, b.y), bottom = fmin(a.y + a.h, b.y + b.h);
  double left = fmax(a.x, b.x), right = fmin(a.x + a.w, b.x + b.w), x = (left + right) / 2, y = (top + bottom) / 2;
  if (bottom > top) {
    bool forth = b.x > a.x;
    pml_svg_arrow(s, forth ? a.x + a.w : a.x, y, forth ? b.x : b.x + b.w, y, colour, label);
  } else {
    bool down = b.y > a.y;
    pml_svg_arrow(s, x, down ? a.y + a.h : a.y, x, down ? b.y : b.y + b.h, colour, label);
  }
}

PML_API void pml_svg_node(pml_svg *s, pml_box b, const char *name, const char *detail, pml_rgb colour) {
  pml_rgb edge = pml_rgb_readable(colour, PML_CANVAS, 3);
  pml_svg_rect(s, b, 12, pml_rgb_mix(PML_CANVAS, colour, 0.22), edge, 2.5);
  pml_box in = pml_box_inset(b, 14, 12);
  double top = detail ? in.h * 0.55 : in.h;
  pml_svg_text_in(s, (pml_box){in.x, in.y, in.w, top},
                  (pml_font){.size = 28, .weight = 600, .anchor = PML_MIDDLE}, PML_MIDDLE, name);
  if (detail)
    pml_svg_text_in(s, (pml_box){in.x, in.y + top, in.w, in.h - top},
                    (pml_font){.size = 22, .mono = true, .colour = 0xCBD5E1, .anchor = PML_MIDDLE},
                    PML_MIDDLE, detail);
}

/* ── What may not touch ───────────────────────────────────────────────────── */

PML__FN bool pml__boxes_meet(pml_box a, pml_box b, double slack) {
  return a.x + slack < b.x + b.w && b.x + slack < a.x + a.w && a.y + slack < b.y + b.h &&
         b.y + slack < a.y + a.h;
}

PML__FN bool pml__box_holds(pml_box outer, pml_box inner, double slack) {
  return inner.x >= outer.x - slack && inner.y >= outer.y - slack &&
         inner.x + inner.w <= outer.x + outer.w + slack && inner.y + inner.h <= outer.y + outer.h + slack;
}

/* Liang and Barsky: does the segment have a point inside the box? */
PML__FN bool pml__segment_meets(const double *p, pml_box b) {
  double d[2] = {p[2] - p[0], p[3] - p[1]}, lo[2] = {b.x, b.y}, hi[2] = {b.x + b.w, b.y + b.h};
  double t0 = 0, t1 = 1;
  for (int k = 0; k < 2; k++) {
    if (d[k] == 0) {
      if (p[k] <= lo[k] || p[k] >= hi[k]) return false;
      continue;
    }
    double a = (lo[k] - p[k]) / d[k], c = (hi[k] - p[k]) / d[k];
    t0 = fmax(t0, fmin(a, c));
    t1 = fmin(t1, fmax(a, c));
  }
  return t0 < t1;
}

PML__FN bool pml__point_in(const pml__item *it, double x, double y) {
  if (it->kind == PML__RECT || it->kind == PML__TEXT_ITEM)
    return pml__box_holds(it->box, (pml_box){x, y, 0, 0}, 0);
  if (it->kind == PML__CIRCLE) {
    double dx = x - it->xy[0], dy = y - it->xy[1];
    return dx * dx + dy * dy <= it->radius * it->radius;
  }
  bool in = false;
  for (int i = 0, j = it->n - 1; it->kind == PML__POLYGON && i < it->n; j = i++) {
    double xi = it->xy[2 * i], yi = it->xy[2 * i + 1], xj = it->xy[2 * j], yj = it->xy[2 * j + 1];
    if ((yi > y) != (yj > y) && x < (xj - xi) * (y - yi) / (yj - yi) + xi) in = !in;
  }
  return in;
}

/* The last filled item before `end` that holds the point; -1: the canvas. */
PML__FN int pml__svg_behind(const pml_svg *s, int end, double x, double y) {
  for (int i = end - 1; i >= 0; i--)
    if (s->item[i].fill != PML_NO_COLOUR && s->item[i].kind != PML__TEXT_ITEM &&
        pml__point_in(&s->item[i], x, y))
      return i;
  return -1;
}

/* Do the outlines of item `it` run through the box? */
PML__FN bool pml__outline_meets(const pml__item *it, pml_box b) {
  if (it->kind == PML__RECT) return pml__boxes_meet(it->box, b, 0.5) && !pml__box_holds(it->box, b, 0.5);
  if (it->kind == PML__CIRCLE) {
    if (!pml__boxes_meet(it->box, b, 0.5)) return false;
    double far2 = 0; /* a text inside the circle is fine: all four corners are in it */
    for (int k = 0; k < 4; k++) {
      double dx = b.x + (k & 1) * b.w - it->xy[0], dy = b.y + (k >> 1) * b.h - it->xy[1];
      far2 = fmax(far2, dx * dx + dy * dy);
    }
    return far2 > it->radius * it->radius;
  }
  int segments = it->kind == PML__POLYGON ? it->n : it->n - 1;
  for (int i = 0; i < segments; i++) {
    int j = (i + 1) % it->n;
    double p[4] = {it->xy[2 * i], it->xy[2 * i + 1], it->xy[2 * j], it->xy[2 * j + 1]};
    double m = it->width / 2;
    if (pml__segment_meets(p, pml_box_inset(b, -m, -m))) return true;
  }
  return false;
}

/* What is wrong with the place of text item t; NULL: nothing.  *other is the item
   it collides with.  Items that a filled item under the text hides do not count. */
PML__FN const char *pml__svg_place_fault(const pml_svg *s, int t, int *other) {
  const pml__item *it = &s->item[t];
  pml_box b = it->box, ink = pml_box_inset(b, 0.5, 1);
  *other = -1;
  if (!pml__box_holds((pml_box){8, 4, PML_SVG_W - 16, PML_SVG_H - 8}, b, 0)) return "leaves the canvas";
  int behind = pml__svg_behind(s, t, b.x + b.w / 2, b.y + b.h / 2);
  for (int i = 0; i < s->n; i++) {
    const pml__item *o = &s->item[i];
    *other = i;
    if (i == t || o->grid) continue;
    if (o->kind == PML__TEXT_ITEM) {
      if (pml__boxes_meet(o->box, b, 1)) return "overlaps";
      continue;
    }
    if (i < behind && pml__box_holds(s->item[behind].box, b, 0.5)) continue;
    if (pml__outline_meets(o, ink)) return o->kind == PML__RECT ? "crosses the edge of" : "is crossed by";
    if (i > t && o->fill != PML_NO_COLOUR && pml__point_in(o, b.x + b.w / 2, b.y + b.h / 2))
      return "is covered by";
  }
  *other = -1;
  return NULL;
}

/* Draws a text at the first of n places where it disturbs nothing; if there is none,
   at none, and says false.  Each place is x, y and an anchor. */
typedef struct {
  double x, y;
  pml_anchor anchor;
} pml__place;
PML__FN bool pml__svg_text_place(pml_svg *s, const pml__place *place, int n, pml_font font,
                                 const char *text) {
  for (int i = 0; i < n; i++) {
    int other, before = s->n;
    font.anchor = place[i].anchor;
    pml_svg_text(s, place[i].x, place[i].y, font, text);
    if (s->failed || s->n == before || !pml__svg_place_fault(s, before, &other)) return true;
    s->n = before;
  }
  return false;
}

/* ── Axes ─────────────────────────────────────────────────────────────────── */

PML__FN double pml__log10(double v) { return pml_logd(v) * 0.43429448190325182765; }

/* 10^k for the exponents that occur, exact up to 22. */
PML__FN double pml__pow10(int k) {
  double p = 1;
  for (int i = 0; i < (k < 0 ? -k : k); i++) p *= 10;
  return k < 0 ? 1 / p : p;
}

PML__FN double pml__axis_unit(const pml_axis *a, double v) {
  if (a->log) return (pml__log10(v) - pml__log10(a->lo)) / (pml__log10(a->hi) - pml__log10(a->lo));
  return (v - a->lo) / (a->hi - a->lo);
}

PML_API double pml_plot_x(const pml_plot *p, double v) {
  return p->area.x + p->area.w * pml__axis_unit(&p->x, v);
}

PML_API double pml_plot_y(const pml_plot *p, double v) {
  return p->area.y + p->area.h * (1 - pml__axis_unit(&p->y, v));
}

/* The smallest of 1, 2, 5 times a power of ten that is at least v > 0. */
PML__FN double pml__nice_step(double v) {
  int k = (int)floor(pml__log10(v) + 1e-9);
  double p = pml__pow10(k);
  return v <= p * 1.0000001 ? p : v <= 2 * p ? 2 * p : v <= 5 * p ? 5 * p : 10 * p;
}

typedef struct {
  double at[32];
  int n, decimals;
} pml__ticks;

PML__FN int pml__decimals_of(double step) {
  int d = 0;
  while (d < 6 && fabs(step - floor(step + 0.5)) > 1e-6 * fabs(step)) {
    step *= 10;
    d++;
  }
  return d;
}

PML__FN pml__ticks pml__axis_ticks(const pml_axis *a, int about) {
  pml__ticks t = {{0}, 0, 0};
  if (a->log) {
    int k0 = (int)floor(pml__log10(a->lo) + 1e-9), k1 = (int)floor(pml__log10(a->hi) + 1e-9);
    static const double part[] = {1, 2, 5};
    bool fine = k1 - k0 < 3;
    for (int k = k0; k <= k1; k++)
      for (int i = 0; i < (fine ? 3 : 1) && t.n < 32; i++) {
        double v = part[i] * pml__pow10(k);
        if (v >= a->lo * 0.999 && v <= a->hi * 1.001) t.at[t.n++] = v;
      }
    t.decimals = -1; /* each its own */
    return t;
  }
  double step = pml__nice_step((a->hi - a->lo) / about);
  double first = floor(a->lo / step + 1 - 1e-6) * step;
  for (int i = 0; first + i * step <= a->hi + 1e-6 * step && t.n < 32; i++) t.at[t.n++] = first + i * step;
  t.decimals = pml__decimals_of(step);
  return t;
}

PML__FN void pml__tick_text(char out[48], double v, int decimals) {
  double m = fabs(v);
  const char *suffix = "";
  if (m >= 1e9) v /= 1e9, suffix = "G", decimals = -1;
  else if (m >= 1e6) v /= 1e6, suffix = "M", decimals = -1;
  else if (m >= 1e4) v /= 1e3, suffix = "k", decimals = -1;
  if (decimals < 0) decimals = pml__decimals_of(v);
  pml_number_text(out, v, decimals);
  size_t len = strlen(out);
  snprintf(out + len, 48 - len, "%s", suffix);
}

/* Sets the range from the data: down to zero when zero is near, and out to the next
   tick values unless `tight`. */
PML__FN void pml__axis_fit(pml_axis *a, double lo, double hi, bool tight) {
  if (a->n_names) {
    a->lo = -0.5;
    a->hi = a->n_names - 0.5;
    return;
  }
  if (a->lo == 0 && a->hi == 0) {
    if (!a->log && lo > 0 && lo < 0.5 * hi) lo = 0;
    if (lo == hi) {
      lo = a->log ? lo / 2 : lo - 1;
      hi = a->log ? hi * 2 : hi + 1;
    }
    if (tight) {
      a->lo = lo;
      a->hi = hi;
    } else if (a->log) {
      a->lo = 1 / pml__nice_step(1 / lo);
      a->hi = pml__nice_step(hi);
    } else {
      double step = pml__nice_step((hi - lo) / 6);
      a->lo = floor(lo / step + 1e-9) * step;
      a->hi = floor(hi / step + 1 - 1e-9) * step;
    }
  }
}

/* ── The chart ────────────────────────────────────────────────────────────── */

PML__FN double pml__series_x(const pml_series *r, int i) { return r->x ? r->x[i] : i; }

PML__FN void pml__chart_range(const pml_series *r, int n, pml_axis *x, pml_axis *y) {
  double lo[2] = {HUGE_VAL, HUGE_VAL}, hi[2] = {-HUGE_VAL, -HUGE_VAL};
  bool columns = false, tight = true;
  for (int k = 0; k < n; k++) {
    columns = columns || r[k].mark == PML_MARK_COLUMNS;
    tight = tight && r[k].mark == PML_MARK_LINE;
    for (int i = 0; i < r[k].n; i++) {
      double v[4] = {pml__series_x(&r[k], i), r[k].y[i], r[k].lo ? r[k].lo[i] : r[k].y[i],
                     r[k].hi ? r[k].hi[i] : r[k].y[i]};
      for (int j = 0; j < 4; j++) {
        lo[j > 0] = fmin(lo[j > 0], v[j]);
        hi[j > 0] = fmax(hi[j > 0], v[j]);
      }
    }
  }
  if (lo[0] > hi[0]) lo[0] = lo[1] = x->log || y->log ? 1 : 0, hi[0] = hi[1] = 1;
  if (columns && !y->log && lo[1] > 0) lo[1] = 0;
  if (columns && !x->n_names && x->lo == 0 && x->hi == 0) {
    double half = hi[0] > lo[0] ? 0.5 * (hi[0] - lo[0]) / (r[0].n > 1 ? r[0].n - 1 : 1) : 0.5;
    x->lo = lo[0] - half;
    x->hi = hi[0] + half;
  }
  pml__axis_fit(x, lo[0], hi[0], tight);
  pml__axis_fit(y, lo[1], hi[1], false);
}

static const pml_font pml__tick_font PML__UNUSED = {.size = 22, .colour = PML_MUTED, .anchor = PML_MIDDLE};

/* The colour of a series on the canvas: marks need 3:1, words 4.5:1. */
PML__FN pml_rgb pml__series_colour(const pml_series *r, double ratio) {
  return pml_rgb_readable(r->colour ? r->colour : PML_TEAL, PML_CANVAS, ratio);
}

PML__FN double pml__chart_left(const pml_axis *y, const pml__ticks *t) {
  double w = 0;
  for (int i = 0; i < (y->n_names ? y->n_names : t->n); i++) {
    char text[48];
    if (!y->n_names) pml__tick_text(text, t->at[i], t->decimals);
    w = fmax(w, pml_text_width(y->n_names ? y->names[i] : text, &pml__tick_font));
  }
  return w + 18;
}

/* Grid, ticks, labels of both axes. */
PML__FN void pml__chart_frame(pml_svg *s, const pml_plot *p, const pml__ticks *tx, const pml__ticks *ty) {
  pml_box a = p->area;
  pml_font f = pml__tick_font;
  double taken = -1e9;
  for (int i = 0; i < (p->x.n_names ? p->x.n_names : tx->n); i++) {
    char text[48];
    double x = pml_plot_x(p, p->x.n_names ? i : tx->at[i]);
    if (!p->x.n_names) pml__tick_text(text, tx->at[i], tx->decimals);
    const char *label = p->x.n_names ? p->x.names[i] : text;
    double w = pml_text_width(label, &f);
    if (!p->x.n_names) pml_svg_rule(s, x, a.y, x, a.y + a.h);
    if (x - w / 2 < taken + 10) continue;
    pml_svg_text(s, x, a.y + a.h + 32, f, label);
    taken = x + w / 2;
  }
  f.anchor = PML_END;
  for (int i = 0; i < (p->y.n_names ? p->y.n_names : ty->n); i++) {
    char text[48];
    double y = pml_plot_y(p, p->y.n_names ? i : ty->at[i]);
    if (!p->y.n_names) pml__tick_text(text, ty->at[i], ty->decimals);
    pml_svg_rule(s, a.x, y, a.x + a.w, y);
    pml_svg_text(s, a.x - 14, y + 8, f, p->y.n_names ? p->y.names[i] : text);
  }
  double zero = !p->y.log && p->y.lo < 0 && p->y.hi > 0 ? pml_plot_y(p, 0) : a.y + a.h;
  pml_svg_line(s, a.x, zero, a.x + a.w, zero, PML_MUTED, 2);
  pml_font label = {.size = 24, .colour = 0xCBD5E1, .anchor = PML_END};
  if (p->x.label) pml_svg_text(s, a.x + a.w, a.y + a.h + 70, label, p->x.label);
}

PML__FN void pml__chart_band(pml_svg *s, const pml_plot *p, const pml_series *r) {
  double *xy = (double *)pml_alloc(4 * (size_t)r->n * sizeof *xy);
  if (!xy) {
    s->failed = true;
    return;
  }
  for (int i = 0; i < r->n; i++) {
    int back = 2 * r->n - 1 - i;
    xy[2 * i] = xy[2 * back] = pml_plot_x(p, pml__series_x(r, i));
    xy[2 * i + 1] = pml_plot_y(p, r->hi[i]);
    xy[2 * back + 1] = pml_plot_y(p, r->lo[i]);
  }
  pml_svg_polygon(s, xy, 2 * r->n, pml_rgb_mix(PML_CANVAS, r->colour ? r->colour : PML_TEAL, 0.28));
  pml_free(xy);
}

PML__FN void pml__chart_line(pml_svg *s, const pml_plot *p, const pml_series *r) {
  double *xy = (double *)pml_alloc(2 * (size_t)r->n * sizeof *xy);
  if (!xy) {
    s->failed = true;
    return;
  }
  for (int i = 0; i < r->n; i++) {
    xy[2 * i] = pml_plot_x(p, pml__series_x(r, i));
    xy[2 * i + 1] = pml_plot_y(p, r->y[i]);
  }
  pml_svg_polyline(s, xy, r->n, pml__series_colour(r, 3), 4, r->dashed);
  pml_free(xy);
}

PML__FN void pml__error_bar(pml_svg *s, double x, double y0, double y1, pml_rgb c) {
  pml_svg_line(s, x, y0, x, y1, c, 3);
  pml_svg_line(s, x - 9, y0, x + 9, y0, c, 3);
  pml_svg_line(s, x - 9, y1, x + 9, y1, c, 3);
}

PML__FN void pml__chart_marks(pml_svg *s, const pml_plot *p, const pml_series *r) {
  pml_rgb c = pml__series_colour(r, 3);
  double base = !p->y.log && p->y.lo < 0 && p->y.hi > 0 ? pml_plot_y(p, 0) : p->area.y + p->area.h;
  double step = r->n > 1 ? fabs(pml_plot_x(p, pml__series_x(r, 1)) - pml_plot_x(p, pml__series_x(r, 0)))
                         : p->area.w / 3;
  for (int i = 0; i < r->n; i++) {
    double x = pml_plot_x(p, pml__series_x(r, i)), y = pml_plot_y(p, r->y[i]);
    bool bar = r->lo && r->hi && r->mark != PML_MARK_LINE;
    if (r->mark == PML_MARK_COLUMNS) {
      double w = step * 0.84;
      pml_svg_rect(s, (pml_box){x - w / 2, fmin(y, base), w, fabs(base - y)}, 0, c, PML_NO_COLOUR, 0);
      c = bar ? PML_TEXT : c;
    }
    if (bar) pml__error_bar(s, x, pml_plot_y(p, r->lo[i]), pml_plot_y(p, r->hi[i]), c);
    c = pml__series_colour(r, 3);
    if (r->mark == PML_MARK_POINTS || r->mark == PML_MARK_LINE_POINTS)
      pml_svg_circle(s, x, y, 8, c, PML_CANVAS, 2);
  }
}

/* Names of points: beside them, at the first of eight places that is free. */
PML__FN void pml__chart_point_labels(pml_svg *s, const pml_plot *p, const pml_series *r) {
  pml_font f = {.size = 22, .colour = pml__series_colour(r, 4.5)};
  for (int i = 0; r->labels && i < r->n; i++) {
    if (!r->labels[i] || !*r->labels[i]) continue;
    double x = pml_plot_x(p, pml__series_x(r, i)), y = pml_plot_y(p, r->y[i]);
    double top = r->hi ? fmin(y, pml_plot_y(p, r->hi[i])) : y,
           low = r->lo ? fmax(y, pml_plot_y(p, r->lo[i])) : y;
    pml__place at[] = {{x + 18, y + 8, PML_START},    {x - 18, y + 8, PML_END},
                       {x, top - 18, PML_MIDDLE},     {x, low + 34, PML_MIDDLE},
                       {x + 16, top - 14, PML_START}, {x - 16, top - 14, PML_END},
                       {x + 16, low + 30, PML_START}, {x - 16, low + 30, PML_END}};
    if (!pml__svg_text_place(s, at, 8, f, r->labels[i]))
      pml_buf_printf(&s->faults, "no free place for the label '%s'\n", r->labels[i]);
  }
}

/* Names of series, right of their last points, spread apart where they would meet. */
PML__FN void pml__chart_end_labels(pml_svg *s, const pml_plot *p, const pml_series *r, int n) {
  enum { MAX = 16 };
  double want[MAX], y[MAX], gap = 34;
  int order[MAX], m = 0;
  for (int k = 0; k < n && m < MAX; k++) {
    if (!r[k].label || r[k].n < 1 || r[k].mark == PML_MARK_COLUMNS) continue;
    want[m] = pml_plot_y(p, r[k].y[r[k].n - 1]);
    int at = m++;
    for (; at > 0 && want[order[at - 1] & 255] > want[m - 1]; at--) order[at] = order[at - 1];
    order[at] = (k << 8) | (m - 1);
  }
  double floor_y = p->area.y + p->area.h - 4, last = -1e9;
  for (int i = 0; i < m; i++) last = y[i] = fmax(want[order[i] & 255], last + gap);
  for (int i = m - 1; i >= 0; i--) {
    y[i] = fmin(y[i], floor_y);
    floor_y = y[i] - gap;
  }
  for (int i = 0; i < m; i++) {
    const pml_series *q = &r[order[i] >> 8];
    double right = p->area.x + p->area.w, x = pml_plot_x(p, pml__series_x(q, q->n - 1)),
           at = want[order[i] & 255];
    pml_rgb c = pml__series_colour(q, 4.5);
    if (fabs(y[i] - at) > 10 || right - x > 60)
      pml_svg_line(s, x + 12, at, right + 20, y[i], pml_rgb_mix(c, PML_CANVAS, 0.4), 2);
    pml_svg_text(s, right + 28, y[i] + 9, (pml_font){.size = 26, .weight = 600, .colour = c}, q->label);
  }
}

PML_API pml_plot pml_svg_chart(pml_svg *s, pml_box b, pml_axis x, pml_axis y, const pml_series *r, int n) {
  pml_plot p = {b, x, y};
  pml__chart_range(r, n, &p.x, &p.y);
  double right = 20;
  for (int k = 0; k < n; k++)
    if (r[k].label && r[k].mark != PML_MARK_COLUMNS)
      right = fmax(right, 34 + pml_text_width(r[k].label, &(pml_font){.size = 26, .weight = 600}));
  pml__ticks ty = pml__axis_ticks(&p.y, (int)fmax(3, b.h / 110));
  double left = pml__chart_left(&p.y, &ty), top = y.label ? 58 : 16, bottom = x.label ? 78 : 44;
  p.area = (pml_box){b.x + left, b.y + top, b.w - left - right, b.h - top - bottom};
  pml__ticks tx = pml__axis_ticks(&p.x, (int)fmax(3, p.area.w / 170));
  if (y.label) pml_svg_text(s, b.x, b.y + 22, (pml_font){.size = 24, .colour = 0xCBD5E1}, y.label);
  pml__chart_frame(s, &p, &tx, &ty);
  for (int k = 0; k < n; k++)
    if (r[k].lo && r[k].hi && r[k].n > 1 && r[k].mark == PML_MARK_LINE) pml__chart_band(s, &p, &r[k]);
  for (int k = 0; k < n; k++) {
    if (r[k].mark == PML_MARK_LINE || r[k].mark == PML_MARK_LINE_POINTS) pml__chart_line(s, &p, &r[k]);
    pml__chart_marks(s, &p, &r[k]);
  }
  pml__chart_end_labels(s, &p, r, n);
  for (int k = 0; k < n; k++) pml__chart_point_labels(s, &p, &r[k]);
  return p;
}

PML_API void pml_curve_add(pml_curve *c, double x, double y) { pml_curve_add_interval(c, x, y, y, y); }

PML_API void pml_curve_add_interval(pml_curve *c, double x, double y, double lo, double hi) {
  if (c->n == PML_CURVE_MAX) return;
  c->x[c->n] = x;
  c->y[c->n] = y;
  c->lo[c->n] = lo;
  c->hi[c->n++] = hi;
}

PML__FN pml_series pml__curve_series(const pml_curve *c, const char *name, pml_rgb colour) {
  bool spread = false;
  for (int i = 0; i < c->n; i++) spread = spread || c->lo[i] < c->hi[i];
  pml_series r = {.label = name, .n = c->n, .x = c->x, .y = c->y, .colour = colour, .mark = PML_MARK_LINE_POINTS};
  if (spread) r.lo = c->lo, r.hi = c->hi;
  return r;
}

PML_API pml_plot pml_svg_pair(pml_svg *s, pml_box b, pml_axis x, pml_axis y, const char *name, const pml_curve *c,
                              const char *base_name, const pml_curve *base) {
  const pml_series two[] = {pml__curve_series(c, name, PML_GREEN), pml__curve_series(base, base_name, PML_PURPLE)};
  return pml_svg_chart(s, b, x, y, two, 2);
}

/* ── Bars, heat maps, tables, matrices, tokens ────────────────────────────── */

PML__FN void pml__bar_text(char out[96], const pml_bar *b, const pml_bar_options *o) {
  char number[48];
  pml_number_text(number, b->value, o->decimals);
  if (b->text) snprintf(out, 96, "%s", b->text);
  else snprintf(out, 96, "%s%s%s", number, o->unit && *o->unit ? " " : "", o->unit ? o->unit : "");
}

PML_API void pml_svg_bars(pml_svg *s, pml_box b, const pml_bar *bars, int n, const pml_bar_options *o) {
  static const pml_bar_options none = {0};
  if (!o) o = &none;
  if (n < 1) return;
  pml_font name = {.size = 26, .anchor = PML_END}, value = {.size = 26, .weight = 600};
  double left = 0, right = 0, top = o->limit > 0 && o->limit_label ? 46 : 0, lo = 0,
         hi = fmax(o->max, o->limit);
  for (int i = 0; i < n; i++) {
    char text[96];
    pml__bar_text(text, &bars[i], o);
    left = fmax(left, pml_text_width(bars[i].label, &name));
    right = fmax(right, pml_text_width(text, &value));
    hi = fmax(hi, fmax(bars[i].value, bars[i].hi));
    lo = fmin(lo, fmin(bars[i].value, bars[i].lo));
  }
  if (hi <= lo) hi = lo + 1;
  pml_box area = {b.x + left + 24, b.y + top, b.w - left - right - 56, b.h - top};
  double unit = area.w / (hi - lo), zero = area.x - lo * unit, row = fmin(area.h / n, 110);
  for (int i = 0; i < n; i++) {
    char text[96];
    pml__bar_text(text, &bars[i], o);
    double y = area.y + i * row, thick = row * 0.62, end = zero + bars[i].value * unit, tip = fmax(end, zero);
    pml_rgb c = pml_rgb_readable(bars[i].colour ? bars[i].colour : PML_TEAL, PML_CANVAS, 2);
    pml_svg_text(s, area.x - 24 + (lo < 0 ? 0 : 4), y + row / 2 + 9, name, bars[i].label);
    pml_svg_rect(s, (pml_box){fmin(zero, end), y + (row - thick) / 2, fabs(end - zero), thick}, 4, c,
                 PML_NO_COLOUR, 0);
    if (bars[i].hi > bars[i].lo) {
      double e0 = zero + bars[i].lo * unit, e1 = zero + bars[i].hi * unit, m = y + row / 2;
      pml_svg_line(s, e0, m, e1, m, PML_TEXT, 3);
      pml_svg_line(s, e0, m - 9, e0, m + 9, PML_TEXT, 3);
      pml_svg_line(s, e1, m - 9, e1, m + 9, PML_TEXT, 3);
      tip = fmax(tip, e1 + 2);
    }
    double mark = zero + o->limit * unit; /* a value that would stand on the limit moves behind it */
    if (o->limit > 0 && tip < mark + 4 && tip + 24 + pml_text_width(text, &value) > mark) tip = mark;
    pml_svg_text(s, tip + 16, y + row / 2 + 9, value, text);
  }
  if (!(o->limit > 0)) return;
  double x = zero + o->limit * unit, dash[4] = {x, area.y - 6, x, area.y + n * row};
  pml_svg_polyline(s, dash, 2, PML_YELLOW, 3, true);
  if (o->limit_label)
    pml_svg_text(s, x, area.y - 18, (pml_font){.size = 24, .colour = PML_YELLOW, .anchor = PML_END},
                 o->limit_label);
}

/* Zero is dark, the top light: luminance grows all the way, so that the scale also
   reads in grey. */
PML__FN pml_rgb pml__heat_colour(const pml_heat_options *o, double lo, double hi, double v) {
  pml_rgb c = o->colour ? o->colour : PML_TEAL, dark = 0x111C33;
  double t = o->diverging ? fabs(v) / fmax(fabs(lo), fabs(hi)) : (v - lo) / (hi - lo);
  t = t < 0 ? 0 : t > 1 ? 1 : t;
  if (o->diverging && v < 0) c = 0x8B5CF6;
  return t < 0.7 ? pml_rgb_mix(dark, c, t / 0.7) : pml_rgb_mix(c, 0xFFFFFF, (t - 0.7) / 0.3 * 0.55);
}

PML__FN void pml__heat_scale(pml_svg *s, pml_box b, const pml_heat_options *o, double lo, double hi) {
  enum { STEPS = 48 };
  for (int i = 0; i < STEPS; i++) {
    /* Each step reaches down to the end and the next covers it: no seams between them. */
    double v = hi + (lo - hi) * (i + 0.5) / STEPS, y = floor(b.y + i * b.h / STEPS);
    pml_box step = {floor(b.x), y, 26, floor(b.y + b.h) - y};
    pml_svg_rect(s, step, 0, pml__heat_colour(o, lo, hi, v), PML_NO_COLOUR, 0);
  }
  pml_axis axis = {.lo = lo, .hi = hi};
  pml__ticks t = pml__axis_ticks(&axis, (int)fmax(2, fmin(6, b.h / 80)));
  pml_font f = {.size = 22, .colour = PML_MUTED};
  for (int i = 0; i < t.n; i++) {
    char text[48];
    double y = b.y + b.h * (1 - (t.at[i] - lo) / (hi - lo));
    pml__tick_text(text, t.at[i], t.decimals);
    pml_svg_line(s, b.x + 26, y, b.x + 34, y, PML_MUTED, 2);
    pml_svg_text(s, b.x + 42, y + 8, f, text);
  }
}

/* Column names above the cells, upright where one does not fit its cell. */
PML__FN void pml__heat_names(pml_svg *s, pml_box c, const pml_heat_options *o, int rows, int cols, bool up) {
  pml_font f = {.size = 22, .mono = true, .colour = 0xCBD5E1};
  double w = c.w / cols, h = c.h / rows;
  for (int j = 0; o->col_names && j < cols; j++) {
    double x = c.x + (j + 0.5) * w;
    f.anchor = up ? PML_START : PML_MIDDLE;
    if (up) pml_svg_text_up(s, x + 8, c.y - 12, f, o->col_names[j]);
    else pml_svg_text(s, x, c.y - 14, f, o->col_names[j]);
  }
  f.anchor = PML_END;
  for (int i = 0; o->row_names && i < rows; i++)
    pml_svg_text(s, c.x - 14, c.y + (i + 0.5) * h + 8, f, o->row_names[i]);
}

PML__FN void pml__heat_cells(pml_svg *s, pml_box c, const double *v, int rows, int cols,
                             const pml_heat_options *o, double lo, double hi) {
  double w = c.w / cols, h = c.h / rows, gap = fmin(w, h) > 20 ? 2 : 0;
  pml_font f = {.size = fmin(34, fmax(20, h * 0.36)), .anchor = PML_MIDDLE};
  bool fits = o->decimals >= 0 && h >= 26;
  for (int pass = 0; pass < 2; pass++) {
    if (pass && !fits) return;
    for (int i = 0; i < rows * cols; i++) {
      if (v[i] != v[i]) continue;
      pml_box cell = {c.x + i % cols * w, c.y + i / cols * h, w - gap, h - gap};
      char text[48];
      pml_number_text(text, v[i], o->decimals);
      while (f.size > 20 && pml_text_width(text, &f) > cell.w - 6) f.size -= 1;
      if (pml_text_width(text, &f) > cell.w - 4) fits = false;
      pml_rgb fill = pml__heat_colour(o, lo, hi, v[i]);
      f.colour = pml_rgb_on(fill);
      if (!pass) pml_svg_rect(s, cell, gap > 0 ? 3 : 0, fill, PML_NO_COLOUR, 0);
      else pml_svg_text(s, cell.x + cell.w / 2, cell.y + cell.h / 2 + 0.36 * f.size, f, text);
    }
  }
}

PML_API pml_box pml_svg_heat(pml_svg *s, pml_box b, const double *v, int rows, int cols,
                             const pml_heat_options *o) {
  static const pml_heat_options none = {0};
  if (!o) o = &none;
  double lo = o->lo, hi = o->hi, left = 0, top = 0, widest = 0;
  if (rows < 1 || cols < 1) return b;
  if (lo == 0 && hi == 0) {
    lo = HUGE_VAL, hi = -HUGE_VAL;
    for (int i = 0; i < rows * cols; i++)
      if (v[i] == v[i]) lo = fmin(lo, v[i]), hi = fmax(hi, v[i]);
    if (!(lo <= hi)) lo = 0, hi = 1;
    if (o->diverging) hi = fmax(fabs(lo), fabs(hi)), lo = -hi;
    else if (lo > 0 && lo < 0.5 * hi) lo = 0;
    if (lo == hi) hi = lo + 1;
  }
  pml_font f = {.size = 22, .mono = true}, title = {.size = 24, .colour = 0xCBD5E1};
  for (int i = 0; o->row_names && i < rows; i++) left = fmax(left, pml_text_width(o->row_names[i], &f) + 22);
  for (int j = 0; o->col_names && j < cols; j++) widest = fmax(widest, pml_text_width(o->col_names[j], &f));
  bool up = widest > (b.w - left - 140) / cols - 8;
  if (o->col_names) top = (up ? widest + 20 : 40);
  double head = o->col_title || o->row_title || o->scale_title ? 50 : 0;
  double w = (b.w - left - 140) / cols, h = (b.h - head - top) / rows;
  pml_box c = {b.x + left, b.y + head + top, fmin(w, 2.5 * h) * cols, fmin(h, w) * rows};
  if (o->row_title) pml_svg_text(s, b.x, b.y + 22, title, o->row_title);
  title.anchor = PML_MIDDLE;
  if (o->col_title) pml_svg_text(s, c.x + c.w / 2, b.y + 22, title, o->col_title);
  title.anchor = PML_START;
  if (o->scale_title) pml_svg_text(s, c.x + c.w + 40, b.y + 22, title, o->scale_title);
  pml__heat_cells(s, c, v, rows, cols, o, lo, hi);
  pml__heat_names(s, c, o, rows, cols, up);
  pml__heat_scale(s, (pml_box){c.x + c.w + 40, c.y, 26, fmin(c.h, 520)}, o, lo, hi);
  return c;
}

PML_API void pml_svg_surface(pml_svg *s, pml_box b, const double *p, int grid, const float *xy, const bool *wrong, int n,
                             double side) {
  double w = b.w / grid, h = b.h / grid;
  for (int i = 0; i < grid * grid; i++)
    pml_svg_rect(s, (pml_box){b.x + i % grid * w, b.y + i / grid * h, w + 0.5, h + 0.5}, 0,
                 pml_rgb_mix(0x16233F, 0xB26F08, p[i]), PML_NO_COLOUR, 0);
  for (int i = 0; i < n; i++)
    pml_svg_circle(s, b.x + b.w / 2 + b.w * (double)xy[2 * i] / side, b.y + b.h / 2 + b.h * (double)xy[2 * i + 1] / side, 6,
                   wrong[i] ? PML_RED : PML_TEXT, PML_CANVAS, 2);
}

PML_API void pml_svg_heat_note(pml_svg *s, pml_box b, const double *w, int n, const char *heading, const char *fmt, ...) {
  double cell = floor(b.h / n), x = b.x + cell * n + 30;
  char note[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(note, sizeof note, fmt, ap);
  va_end(ap);
  for (int i = 0; i < n * n; i++) {
    pml_box at = {b.x + i % n * cell, b.y + i / n * cell, cell - 1, cell - 1};
    if (w[i] == w[i]) pml_svg_rect(s, at, 0, pml_rgb_mix(0x132B40, PML_TEAL, fmin(1, fmax(0, w[i]))), PML_NO_COLOUR, 0);
  }
  pml_svg_text(s, x, b.y + 60, (pml_font){.size = 32, .weight = 600}, heading);
  pml_svg_text_in(s, (pml_box){x, b.y + 78, b.x + b.w - x, b.h - 78}, (pml_font){.size = 26, .colour = 0xCBD5E1}, PML_START, note);
}

PML_API void pml_svg_table(pml_svg *s, pml_box b, const char *const *cells, int rows, int cols,
                           const char *align, int strong) {
  enum { MAX = 16 };
  double width[MAX] = {0}, sum = 0, row = fmin(b.h / rows, 62);
  if (rows < 1 || cols < 1 || cols > MAX) return;
  double size = fmax(PML_SVG_MIN_SIZE, fmin(26, row * 0.5));
  for (int i = 0; i < rows * cols; i++) {
    char a = align[i % cols];
    pml_font f = {.size = size,
                  .weight = i < cols || i / cols == strong ? 600 : 400,
                  .mono = i >= cols && a >= 'A' && a <= 'Z'};
    width[i % cols] = fmax(width[i % cols], pml_text_width(cells[i], &f));
  }
  for (int j = 0; j < cols; j++) sum += width[j];
  double gap = cols > 1 ? (b.w - 32 - sum) / (cols - 1) : 0, x = b.x + 16;
  if (gap < 20 && cols > 1)
    pml_buf_printf(&s->faults, "a table of %d columns needs %.0f px, the box has %.0f\n", cols,
                   sum + 20 * cols, b.w);
  gap = fmin(gap, 90);
  double end = x + sum + gap * (cols - 1) + 16;
  if (strong > 0 && strong < rows)
    pml_svg_rect(s, (pml_box){b.x, b.y + strong * row + 2, end - b.x, row - 4}, 8,
                 pml_rgb_mix(PML_CANVAS, PML_GREEN, 0.2), PML_NO_COLOUR, 0);
  for (int i = 1; i <= rows; i++)
    if (i == 1) pml_svg_line(s, b.x, b.y + row, end, b.y + row, PML_EDGE, 2);
    else pml_svg_rule(s, b.x, b.y + i * row, end, b.y + i * row);
  for (int j = 0; j < cols; j++) {
    char a = align[j] >= 'a' ? align[j] : (char)(align[j] + 32);
    for (int i = 0; i < rows; i++) {
      pml_font f = {.size = size,
                    .weight = i == 0 || i == strong ? 600 : 400,
                    .mono = i > 0 && align[j] < 'a',
                    .colour = i == 0 ? PML_MUTED : PML_TEXT,
                    .anchor = a == 'r'   ? PML_END
                              : a == 'c' ? PML_MIDDLE
                                         : PML_START};
      double at = x + (a == 'r' ? width[j] : a == 'c' ? width[j] / 2 : 0);
      pml_svg_text(s, at, b.y + i * row + row / 2 + 0.36 * size, f, cells[i * cols + j]);
    }
    x += width[j] + gap;
  }
}

PML_API void pml_table_row(pml_table *t, const char *fmt, ...) {
  va_list ap;
  size_t room = sizeof t->text - t->len;
  char *row = t->text + t->len;
  int cells = 1;
  va_start(ap, fmt);
  int n = vsnprintf(row, room, fmt, ap);
  va_end(ap);
  if (*t->fault) return;
  if (n < 0 || (size_t)n + 1 > room) {
    snprintf(t->fault, sizeof t->fault, "a table holds %d bytes, row %d does not fit", PML_TABLE_TEXT, t->rows);
    return;
  }
  for (char *c = row; *c; c++) cells += *c == '\t';
  for (char *c = row; c < row + n; c++) *c = (char)(*c == '\t' ? 0 : *c); /* each cell ends with a 0 */
  t->len += (size_t)n + 1;
  if (t->rows++ == 0) t->cols = cells;
  if (cells != t->cols)
    snprintf(t->fault, sizeof t->fault, "row %d of a table has %d cells, its head %d", t->rows - 1, cells, t->cols);
}

PML_API const char **pml_table_cells(const pml_table *t) {
  size_t n = (size_t)t->rows * (size_t)t->cols;
  const char **cells = NULL, *at = t->text;
  if (*t->fault || n == 0) pml_fail(PML_E_USAGE, "%s", n ? t->fault : "a table is empty");
  else cells = (const char **)pml_alloc(n * sizeof *cells);
  for (size_t i = 0; cells && i < n; i++, at += strlen(at) + 1) cells[i] = at;
  return cells;
}

PML_API void pml_svg_rows(pml_svg *s, pml_box b, const pml_table *t, const char *align, int strong) {
  const char **cells = pml_table_cells(t);
  if (cells) pml_svg_table(s, b, cells, t->rows, t->cols, align, strong);
  else pml_buf_printf(&s->faults, "%s\n", pml_error());
  pml_free((void *)cells);
}

PML_API void pml_svg_matrix(pml_svg *s, pml_box b, const char *name, const double *v, int rows, int cols,
                            int decimals, pml_rgb colour) {
  pml_font f = {.size = 24, .mono = true, .anchor = PML_END};
  double w = 0, foot = name ? 46 : 0, row = fmin((b.h - foot) / rows, 48);
  pml_rgb edge = pml_rgb_readable(colour ? colour : PML_TEAL, PML_CANVAS, 3);
  for (int i = 0; i < rows * cols; i++) {
    char text[48];
    pml_number_text(text, v[i], decimals);
    w = fmax(w, pml_text_width(text, &f));
  }
  double step = fmin(w + 26, (b.w - 28) / cols), width = step * cols + 20, x0 = b.x + (b.w - width) / 2,
         h = row * rows;
  for (int side = 0; side < 2; side++) {
    double x = x0 + side * width, in = side ? -10 : 10;
    double bracket[8] = {x + in, b.y, x, b.y, x, b.y + h, x + in, b.y + h};
    pml_svg_polyline(s, bracket, 4, edge, 3, false);
  }
  for (int i = 0; i < rows * cols; i++) {
    char text[48];
    pml_number_text(text, v[i], decimals);
    pml_svg_text(s, x0 + 10 + (i % cols + 1) * step - 13, b.y + (i / cols + 0.5) * row + 8.5, f, text);
  }
  if (name)
    pml_svg_textf(s, b.x + b.w / 2, b.y + h + 38,
                  (pml_font){.size = 24,
                             .weight = 600,
                             .colour = pml_rgb_readable(edge, PML_CANVAS, 4.5),
                             .anchor = PML_MIDDLE},
                  "%s [%d × %d]", name, rows, cols);
}

PML_API double pml_svg_tokens(pml_svg *s, pml_box b, const pml_str *tokens, int n, const char *const *notes,
                              const pml_rgb *colours, pml_box *boxes) {
  pml_font f = {.size = 28, .mono = true, .anchor = PML_MIDDLE},
           small = {.size = 20, .mono = true, .colour = PML_MUTED, .anchor = PML_MIDDLE};
  double x = b.x, y = b.y, high = notes ? 92 : 64;
  for (int i = 0; i < n; i++) {
    pml_buf text = {0};
    pml_text_visible(&text, tokens[i].ptr, tokens[i].len);
    const char *shown = text.data ? text.data : "";
    double w = pml_text_width(shown, &f) + 28,
           note = notes && notes[i] ? pml_text_width(notes[i], &small) : 0;
    double cell = fmax(w, note + 8);
    if (x > b.x && x + cell > b.x + b.w) x = b.x, y += high;
    pml_rgb c = colours ? colours[i] : PML_TEAL;
    pml_box chip = {x + (cell - w) / 2, y, w, 50};
    pml_rgb fill = pml_rgb_mix(PML_CANVAS, c, 0.3);
    if (s) pml_svg_rect(s, chip, 8, fill, pml_rgb_readable(c, PML_CANVAS, 3), 2);
    if (s) pml_svg_text(s, x + cell / 2, y + 34, f, shown);
    if (s && notes && notes[i]) pml_svg_text(s, x + cell / 2, y + 76, small, notes[i]);
    if (boxes) boxes[i] = chip;
    x += cell + 10;
    pml_buf_free(&text);
  }
  if (s && y + high > b.y + b.h + 20)
    pml_buf_printf(&s->faults, "%d tokens need %.0f px of height, the box has %.0f\n", n, y + high - b.y,
                   b.h);
  return y + high - b.y;
}

/* ── Checks ───────────────────────────────────────────────────────────────── */

PML__FN bool pml__item_finite(const pml__item *it) {
  double sum = it->box.x + it->box.y + it->box.w + it->box.h + it->radius + it->width;
  for (int i = 0; i < 2 * it->n; i++) sum += it->xy[i];
  return sum - sum == 0 && it->box.w >= 0 && it->box.h >= 0;
}

/* A short name of an item for a fault line. */
PML__FN void pml__item_name(pml_buf *out, const pml__item *it) {
  static const char *const kind[] = {"a rectangle", "a line", "a polygon", "a circle", "the text"};
  pml_buf_puts(out, kind[it->kind]);
  if (it->kind == PML__TEXT_ITEM) pml_buf_printf(out, " '%s'", it->text);
  pml_buf_printf(out, " at %.0f,%.0f", it->box.x, it->box.y);
}

PML__FN void pml__svg_check_text(const pml_svg *s, int t, pml_buf *out) {
  const pml__item *it = &s->item[t];
  int other;
  const char *fault = pml__svg_place_fault(s, t, &other);
  if (fault && !(other > t && s->item[other].kind == PML__TEXT_ITEM)) { /* each pair once */
    pml__item_name(out, it);
    pml_buf_printf(out, " %s ", fault);
    if (other >= 0) pml__item_name(out, &s->item[other]);
    pml_buf_puts(out, "\n");
  }
  if (it->font.size < PML_SVG_MIN_SIZE) {
    pml__item_name(out, it);
    pml_buf_printf(out, " is %.1f px high, the least is %d\n", it->font.size, PML_SVG_MIN_SIZE);
  }
  int behind = pml__svg_behind(s, t, it->box.x + it->box.w / 2, it->box.y + it->box.h / 2);
  pml_rgb back = behind < 0 ? PML_CANVAS : s->item[behind].fill;
  double contrast = pml_rgb_contrast(it->font.colour, back);
  if (contrast < 4.5) {
    pml__item_name(out, it);
    pml_buf_printf(out, " has a contrast of %.2f, the least is 4.5\n", contrast);
  }
}

/* Marks: inside the canvas, and a line visible on what lies behind its middle. */
PML__FN void pml__svg_check_mark(const pml_svg *s, int i, pml_buf *out) {
  const pml__item *it = &s->item[i];
  if (!pml__box_holds((pml_box){0, 0, PML_SVG_W, PML_SVG_H}, it->box, 0.01)) {
    pml__item_name(out, it);
    pml_buf_puts(out, " leaves the canvas\n");
  }
  if (it->kind != PML__POLYLINE || it->grid || it->n != 2) return;
  int behind = pml__svg_behind(s, i, (it->xy[0] + it->xy[2]) / 2, (it->xy[1] + it->xy[3]) / 2);
  if (behind >= 0 && s->item[behind].kind == PML__CIRCLE)
    return; /* an error bar under its neighbour's point */
  double contrast = pml_rgb_contrast(it->stroke, behind < 0 ? PML_CANVAS : s->item[behind].fill);
  if (contrast < 1.5) {
    pml__item_name(out, it);
    pml_buf_printf(out, " cannot be seen: contrast %.2f\n", contrast);
  }
}

PML_API pml_status pml_svg_check(const pml_svg *s, pml_buf *report) {
  pml_buf out = {0};
  if (s->failed) return pml_fail(PML_E_MEMORY, "a picture is incomplete: memory ran out while drawing");
  if (s->faults.len) pml_buf_add(&out, s->faults.data, s->faults.len);
  for (int i = 0; i < s->n; i++) {
    if (!pml__item_finite(&s->item[i])) {
      pml__item_name(&out, &s->item[i]);
      pml_buf_puts(&out, " has a coordinate that is not a number\n");
    } else if (s->item[i].kind == PML__TEXT_ITEM) pml__svg_check_text(s, i, &out);
    else pml__svg_check_mark(s, i, &out);
  }
  pml_status st = PML_OK;
  if (out.failed) st = PML_E_MEMORY;
  else if (out.len) {
    int n = 0;
    for (size_t i = 0; i < out.len; i++) n += out.data[i] == '\n';
    st = pml_fail(PML_E_CHECK, "the picture '%s' has %d fault%s, the first: %.*s", s->title, n,
                  n == 1 ? "" : "s", (int)strcspn(out.data, "\n"), out.data);
    if (report) pml_buf_add(report, out.data, out.len);
  }
  pml_buf_free(&out);
  return st;
}

/* ── Writing SVG ──────────────────────────────────────────────────────────── */

PML__FN void pml__xml_text(pml_buf *out, const char *text) {
  for (const char *p = text; *p; p++) {
    if (*p == '<') pml_buf_puts(out, "&lt;");
    else if (*p == '>') pml_buf_puts(out, "&gt;");
    else if (*p == '&') pml_buf_puts(out, "&amp;");
    else if (*p == '"') pml_buf_puts(out, "&quot;");
    else if ((unsigned char)*p >= 32) pml_buf_add(out, p, 1);
  }
}

/* At most two decimals, no trailing zeros, no locale. */
PML__FN void pml__svg_num(pml_buf *out, double v) {
  int64_t n = fabs(v) < 1e9 ? (int64_t)floor(v * 100 + 0.5) : 0;
  if (n < 0) {
    pml_buf_puts(out, "-");
    n = -n;
  }
  pml_buf_printf(out, "%" PRId64, n / 100);
  if (n % 10) pml_buf_printf(out, ".%02d", (int)(n % 100));
  else if (n % 100) pml_buf_printf(out, ".%d", (int)(n % 100 / 10));
}

PML__FN void pml__svg_attr(pml_buf *out, const char *name, double v) {
  pml_buf_printf(out, " %s=\"", name);
  pml__svg_num(out, v);
  pml_buf_puts(out, "\"");
}

PML__FN void pml__svg_paint(pml_buf *out, const pml__item *it) {
  if (it->fill == PML_NO_COLOUR) pml_buf_puts(out, " fill=\"none\"");
  else pml_buf_printf(out, " fill=\"#%06x\"", it->fill);
  if (it->stroke == PML_NO_COLOUR) return;
  pml_buf_printf(out, " stroke=\"#%06x\"", it->stroke);
  pml__svg_attr(out, "stroke-width", it->width);
  if (it->kind == PML__POLYLINE) pml_buf_puts(out, " stroke-linejoin=\"round\" stroke-linecap=\"round\"");
  if (it->dashed) pml_buf_puts(out, " stroke-dasharray=\"2 12\"");
  if (it->grid) pml_buf_puts(out, " class=\"rule\"");
}

/* JetBrains Mono draws "<|" and "->" as one sign, and here every character counts.  Browsers
   obey the style; others do not join across elements, so such characters stand alone. */
PML__FN void pml__svg_code_text(pml_buf *out, const char *text) {
  static const char joins[] = "<>|-=!&/*:~+";
  for (const char *p = text; *p; p++) {
    char one[2] = {*p, 0};
    bool alone = strchr(joins, *p) && p[1] && strchr(joins, p[1]);
    if (alone) pml_buf_puts(out, "<tspan>");
    pml__xml_text(out, one);
    if (alone) pml_buf_puts(out, "</tspan>");
  }
}

PML__FN void pml__svg_text_out(pml_buf *out, const pml__item *it) {
  static const char *const anchor[] = {"start", "middle", "end"};
  pml_buf_puts(out, "<text");
  pml__svg_attr(out, "x", it->xy[0]);
  pml__svg_attr(out, "y", it->xy[1]);
  pml__svg_attr(out, "font-size", it->font.size);
  if (it->font.mono)
    pml_buf_puts(out, " font-family=\"JetBrains Mono, monospace\" style=\"font-variant-ligatures:none\"");
  if (it->font.weight != 400) pml_buf_printf(out, " font-weight=\"%d\"", it->font.weight);
  pml_buf_printf(out, " fill=\"#%06x\"", it->font.colour);
  if (it->font.anchor != PML_START) pml_buf_printf(out, " text-anchor=\"%s\"", anchor[it->font.anchor]);
  if (it->up) {
    pml_buf_puts(out, " transform=\"rotate(-90 ");
    pml__svg_num(out, it->xy[0]);
    pml_buf_puts(out, " ");
    pml__svg_num(out, it->xy[1]);
    pml_buf_puts(out, ")\"");
  }
  pml__svg_attr(out, "textLength", it->width);
  pml_buf_puts(out, " lengthAdjust=\"spacingAndGlyphs\">");
  if (it->font.mono) pml__svg_code_text(out, it->text);
  else pml__xml_text(out, it->text);
  pml_buf_puts(out, "</text>\n");
}

PML__FN void pml__svg_item_out(pml_buf *out, const pml__item *it) {
  if (it->kind == PML__TEXT_ITEM) {
    pml__svg_text_out(out, it);
    return;
  }
  if (it->kind == PML__RECT) {
    pml_buf_puts(out, "<rect");
    pml__svg_attr(out, "x", it->box.x);
    pml__svg_attr(out, "y", it->box.y);
    pml__svg_attr(out, "width", it->box.w);
    pml__svg_attr(out, "height", it->box.h);
    if (it->radius > 0) pml__svg_attr(out, "rx", it->radius);
  } else if (it->kind == PML__CIRCLE) {
    pml_buf_puts(out, "<circle");
    pml__svg_attr(out, "cx", it->xy[0]);
    pml__svg_attr(out, "cy", it->xy[1]);
    pml__svg_attr(out, "r", it->radius);
  } else {
    pml_buf_puts(out, it->kind == PML__POLYGON ? "<polygon points=\"" : "<polyline points=\"");
    for (int i = 0; i < it->n; i++) {
      if (i) pml_buf_puts(out, " ");
      pml__svg_num(out, it->xy[2 * i]);
      pml_buf_puts(out, ",");
      pml__svg_num(out, it->xy[2 * i + 1]);
    }
    pml_buf_puts(out, "\"");
  }
  pml__svg_paint(out, it);
  pml_buf_puts(out, "/>\n");
}

PML_API pml_status pml_svg_render(const pml_svg *s, pml_buf *out) {
  if (s->failed) return pml_fail(PML_E_MEMORY, "a picture is incomplete: memory ran out while drawing");
  pml_buf_printf(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\""
                 " role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">",
                 PML_SVG_W, PML_SVG_H, PML_SVG_W, PML_SVG_H);
  pml__xml_text(out, s->title);
  pml_buf_puts(out, "</title>\n<desc id=\"desc\">");
  pml__xml_text(out, s->desc);
  pml_buf_printf(out,
                 "</desc>\n<rect width=\"%d\" height=\"%d\" fill=\"#%06x\"/>\n"
                 "<g font-family=\"Inter, Helvetica, Arial, sans-serif\" xml:space=\"preserve\">\n",
                 PML_SVG_W, PML_SVG_H, PML_CANVAS);
  for (int i = 0; i < s->n; i++) pml__svg_item_out(out, &s->item[i]);
  pml_buf_puts(out, "</g>\n</svg>\n");
  return out->failed ? PML_E_MEMORY : PML_OK;
}

PML_API pml_status pml_svg_save(const pml_svg *s, const char *path) {
  pml_buf out = {0};
  pml_status st = pml_svg_check(s, NULL);
  if (st == PML_OK) st = pml_svg_render(s, &out);
  if (st == PML_OK) st = pml_file_write(path, out.data, out.len);
  pml_buf_free(&out);
  return st;
}

/* ── PNG ──────────────────────────────────────────────────────────────────── */

#if defined(PRODML_USE_STB)
#if defined(__has_include)
#if __has_include(<stb/stb_image_write.h>)
#define PML__STB_HEADER <stb/stb_image_write.h>
#elif __has_include(<stb_image_write.h>)
#define PML__STB_HEADER <stb_image_write.h>
#endif
#endif
#if !defined(PML__STB_HEADER)
#error "PRODML_USE_STB needs stb_image_write.h: apt install libstb-dev, brew install stb"
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wcast-qual"
#endif
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include PML__STB_HEADER
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* Stroke glyphs for ASCII 33 to 126.  A glyph is a list of strokes, a stroke a list
   of points, a point two hexadecimal digits x y: y 3 is the baseline, 8 the height of
   x, a of capitals, 0 the lowest descender.  A stroke that begins with ~ is smooth:
   its points control quadratic curves. */
static const char *const pml__stroke[94] PML__UNUSED = {
    "2a26 2323", "0a08 2a28", "1a03 4a33 0858 0555", "~594a1a0817465543134404 2b22",
    "6a03 ~090a2a280809 ~444565634344", "~63181a4a4806034366", "0a08", "~2b090422", "~0b292402",
    "2a26 0947 4907", "3834 0666", "~131101", "0646", "0303", "4b02", "~060a5a530306", "082a23",
    "~080a5a573603 0353", "~091a5a5727 ~2757531304", "4a0555 4a43", "5a0a07 ~071858531304",
    "~4a0a060353570705", "0a5a13", "~37171a5a5737 ~370703636737", "~1353585a0a065658", "0707 0303",
    "1717 ~131101", "590653", "0757 0555", "095603", "~080a4a482725 2323", "~72020a8a846468 ~666838346466",
    "033a63 1555", "030a 0a2a ~2a5a5727 0737 ~37676333 0333", "~685a0a035365", "030a2a ~2a6a6323 2303",
    "5a0a0353 0747", "5a0a03 0747", "~685a0a036366 6636", "0a03 5a53 0757", "0a03", "4a45 ~45430305",
    "0a03 5a05 2753", "0a0343", "030a346a63", "030a535a", "~060a6a630306", "030a2a ~2a5a5626 2606",
    "~060a6a630306 4562", "030a2a ~2a5a5626 2606 2653", "~594a1a08174655431304", "0a6a 3a33",
    "0a05 ~05035355 555a", "0a336a", "0a234a638a", "0a53 5a03", "0a366a 3633", "0a5a0353", "2b0b0222",
    "0b42", "0b2b2202", "072a47", "0252", "0b19", "~07184846 4643 ~4606034345", "0b03 ~060858530305",
    "~574808034354", "5b53 ~565808035355", "0656 ~565808034354", "~3b1b19 1903 0838",
    "~565808035355 5852 ~52500001", "0b03 ~06085856 5653", "0803 0a0a", "1811 ~111000 1a1a",
    "0b03 4804 1543", "0b03", "0803 ~06083836 3633 ~36386866 6663", "0803 ~06085856 5653", "~050858530305",
    "0800 ~060858530305", "5850 ~565808035355", "0803 ~060838", "~4738080645431304", "1a14 ~141333 0838",
    "0805 ~05035355 5853", "082348", "0823486388", "0843 4803", "0823 4810", "08480343",
    "~3b1b1706 ~06151232", "0b01", "~0b2b2736 ~36252202", "~05174557"};

/* Other characters: their own strokes, or another character, raised or lowered. */
typedef struct {
  uint16_t cp;
  char like;          /* 0: own strokes */
  signed char shift;  /* 1 raised, -1 lowered, both at 60 % */
  const char *stroke;
} pml__symbol;
static const pml__symbol pml__symbols[] PML__UNUSED = {
    {0xB0, 'o', 1, 0}, {0xB1, 0, 0, "3935 0767 0363"}, {0xB2, '2', 1, 0}, {0xB3, '3', 1, 0},
    {0xB5, 0, 0, "0800 ~05034345 4843"}, {0xB7, 0, 0, "0606"}, {0xB9, '1', 1, 0},
    {0xD7, 0, 0, "0844 4804"}, {0x394, 0, 0, "033a6303"}, {0x3A0, 0, 0, "030a5a53"},
    {0x3A3, 0, 0, "5a0a360353"}, {0x3B1, 0, 0, "~583303083853"},
    {0x3B2, 0, 0, "0009 ~090a4a4717 ~2757530304"}, {0x3B3, 0, 0, "0823 4823 2320"},
    {0x3B4, 0, 0, "~050858530305 ~170a4a"}, {0x3B5, 'e', 0, 0}, {0x3B8, 0, 0, "~060a4a430306 0747"},
    {0x3BB, 0, 0, "0a53 2703"}, {0x3BC, 0, 0, "0800 ~05034345 4843"}, {0x3C0, 0, 0, "0858 1813 4843"},
    {0x3C3, 0, 0, "~050848430305 2858"}, {0x3C6, 0, 0, "~050858530305 2b20"}, {0x1D40, 'T', 1, 0},
    {0x2013, 0, 0, "0666"}, {0x2014, 0, 0, "0686"}, {0x2018, '`', 0, 0}, {0x2019, '\'', 0, 0},
    {0x201C, '"', 0, 0}, {0x201D, '"', 0, 0}, {0x2022, 0, 0, "1616 1717 0606"},
    {0x2026, 0, 0, "0303 3333 6363"}, {0x2070, '0', 1, 0}, {0x2074, '4', 1, 0}, {0x2075, '5', 1, 0},
    {0x2076, '6', 1, 0}, {0x2077, '7', 1, 0}, {0x2078, '8', 1, 0}, {0x2079, '9', 1, 0},
    {0x207B, '-', 1, 0}, {0x2080, '0', -1, 0}, {0x2081, '1', -1, 0}, {0x2082, '2', -1, 0},
    {0x2083, '3', -1, 0}, {0x2084, '4', -1, 0}, {0x2190, 0, 0, "0676 280624"},
    {0x2191, 0, 0, "2a23 072a47"}, {0x2192, 0, 0, "0676 587654"}, {0x2193, 0, 0, "2a23 062346"},
    {0x2211, 0, 0, "5a0a360353"}, {0x2212, 0, 0, "0666"}, {0x221A, 0, 0, "0616234a7a"},
    {0x2248, 0, 0, "~07194758 ~04164455"}, {0x2260, 0, 0, "0757 0555 4913"}, {0x2264, 0, 0, "5a0755 0353"},
    {0x2265, 0, 0, "0a5705 0353"}, {0x2713, 0, 0, "06236a"}, {0x2717, 0, 0, "0a53 5a03"}};

/* An RGB picture and a mask that collects the coverage of one item, so that
   overlapping segments of a line do not darken each other. */
typedef struct {
  unsigned char *rgb, *mask;
  int x0, y0, x1, y1; /* the part of the mask in use */
} pml__raster;

PML__FN void pml__raster_cover(pml__raster *r, int x, int y, double a) {
  unsigned char c = (unsigned char)(a >= 1 ? 255 : a <= 0 ? 0 : floor(a * 255 + 0.5));
  unsigned char *m = &r->mask[(size_t)y * PML_SVG_W + (size_t)x];
  if (c > *m) *m = c;
}

/* Clamps a pixel range to the canvas and remembers it. */
PML__FN void pml__raster_range(pml__raster *r, pml_box b, int q[4]) {
  q[0] = (int)fmax(0, floor(b.x - 1));
  q[1] = (int)fmax(0, floor(b.y - 1));
  q[2] = (int)fmin(PML_SVG_W, floor(b.x + b.w + 2));
  q[3] = (int)fmin(PML_SVG_H, floor(b.y + b.h + 2));
  if (q[0] < r->x0) r->x0 = q[0];
  if (q[1] < r->y0) r->y0 = q[1];
  if (q[2] > r->x1) r->x1 = q[2];
  if (q[3] > r->y1) r->y1 = q[3];
}

/* Blends a colour through the mask and clears the mask. */
PML__FN void pml__raster_flush(pml__raster *r, pml_rgb c) {
  for (int y = r->y0; y < r->y1; y++)
    for (int x = r->x0; x < r->x1; x++) {
      size_t at = (size_t)y * PML_SVG_W + (size_t)x;
      unsigned a = r->mask[at];
      r->mask[at] = 0;
      for (int k = 0; a && k < 3; k++) {
        unsigned new = (c >> (16 - 8 * k)) & 255, old = r->rgb[3 * at + (size_t)k];
        r->rgb[3 * at + (size_t)k] = (unsigned char)((old * (255 - a) + new *a + 127) / 255);
      }
    }
  r->x0 = r->y0 = 1 << 20;
  r->x1 = r->y1 = 0;
}

/* A segment with round ends, half a pixel of blur at its edge. */
PML__FN void pml__raster_segment(pml__raster *r, const double p[4], double width) {
  double dx = p[2] - p[0], dy = p[3] - p[1], len2 = dx * dx + dy * dy, half = width / 2;
  int q[4];
  pml__raster_range(r, pml__hull(p, 2, half), q);
  for (int y = q[1]; y < q[3]; y++)
    for (int x = q[0]; x < q[2]; x++) {
      double ax = x + 0.5 - p[0], ay = y + 0.5 - p[1];
      double t = len2 > 0 ? fmax(0, fmin(1, (ax * dx + ay * dy) / len2)) : 0;
      double ex = ax - t * dx, ey = ay - t * dy;
      pml__raster_cover(r, x, y, half + 0.5 - sqrt(ex * ex + ey * ey));
    }
}

PML__FN void pml__raster_polyline(pml__raster *r, const pml__item *it) {
  double phase = 0;
  for (int i = 0; i + 1 < it->n; i++) {
    const double *p = it->xy + 2 * i;
    if (!it->dashed) {
      pml__raster_segment(r, p, it->width);
      continue;
    }
    double dx = p[2] - p[0], dy = p[3] - p[1], len = sqrt(dx * dx + dy * dy);
    for (double at = phase; at < len; at += 14) {
      double t0 = at / len, t1 = fmin(1, (at + 2) / len);
      double dot[4] = {p[0] + t0 * dx, p[1] + t0 * dy, p[0] + t1 * dx, p[1] + t1 * dy};
      pml__raster_segment(r, dot, it->width);
      phase = at + 14 - len;
    }
  }
  pml__raster_flush(r, it->stroke);
}

/* Distance of a point to a rounded rectangle, negative inside. */
PML__FN double pml__rounded(pml_box b, double radius, double x, double y) {
  double qx = fabs(x - b.x - b.w / 2) - b.w / 2 + radius, qy = fabs(y - b.y - b.h / 2) - b.h / 2 + radius;
  double ox = fmax(qx, 0), oy = fmax(qy, 0);
  return sqrt(ox * ox + oy * oy) + fmin(fmax(qx, qy), 0) - radius;
}

PML__FN void pml__raster_rounded(pml__raster *r, const pml__item *it, pml_box b, double radius) {
  double grow = it->stroke == PML_NO_COLOUR ? 0 : it->width / 2;
  for (int pass = 0; pass < 2; pass++) {
    pml_rgb c = pass ? it->stroke : it->fill;
    int q[4];
    if (c == PML_NO_COLOUR) continue;
    pml__raster_range(r, pml_box_inset(b, -grow, -grow), q);
    for (int y = q[1]; y < q[3]; y++)
      for (int x = q[0]; x < q[2]; x++) {
        double d = pml__rounded(b, fmin(radius, fmin(b.w, b.h) / 2), x + 0.5, y + 0.5);
        pml__raster_cover(r, x, y, pass ? grow + 0.5 - fabs(d) : 0.5 - d);
      }
    pml__raster_flush(r, c);
  }
}

/* Even-odd fill, sixteen samples a pixel. */
PML__FN void pml__raster_polygon(pml__raster *r, const pml__item *it) {
  int q[4];
  pml__raster_range(r, it->box, q);
  for (int y = q[1]; y < q[3]; y++)
    for (int x = q[0]; x < q[2]; x++) {
      int in = 0;
      for (int k = 0; k < 16; k++) in += pml__point_in(it, x + (k % 4 + 0.5) / 4, y + (k / 4 + 0.5) / 4);
      pml__raster_cover(r, x, y, in / 16.0);
    }
  pml__raster_flush(r, it->fill);
}

PML__FN int pml__hex_digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

/* Where glyph coordinates go: x0 + x·sx along the line, y upwards from the baseline. */
typedef struct {
  double x0, y0, sx, sy, width;
  bool up;
} pml__pen;

PML__FN void pml__pen_segment(pml__raster *r, const pml__pen *pen, const double a[2], const double b[2]) {
  double p[4];
  for (int i = 0; i < 2; i++) {
    const double *v = i ? b : a;
    double along = v[0] * pen->sx, rise = (v[1] - 3) * pen->sy;
    p[2 * i] = pen->up ? pen->x0 - rise : pen->x0 + along;
    p[2 * i + 1] = pen->up ? pen->y0 - along : pen->y0 - rise;
  }
  pml__raster_segment(r, p, pen->width);
}

/* Draws one stroke of n points; smooth ones as quadratic curves through the middles
   of the inner control lines. */
PML__FN void pml__pen_stroke(pml__raster *r, const pml__pen *pen, double (*pt)[2], int n, bool smooth) {
  if (!smooth || n < 3) {
    for (int i = 0; i + 1 < n; i++) pml__pen_segment(r, pen, pt[i], pt[i + 1]);
    return;
  }
  double from[2] = {pt[0][0], pt[0][1]};
  for (int i = 1; i + 1 < n; i++) {
    double to[2], last[2] = {from[0], from[1]};
    for (int k = 0; k < 2; k++) to[k] = i + 2 == n ? pt[i + 1][k] : (pt[i][k] + pt[i + 1][k]) / 2;
    for (int step = 1; step <= 8; step++) {
      double t = step / 8.0, cur[2];
      for (int k = 0; k < 2; k++)
        cur[k] = (1 - t) * (1 - t) * from[k] + 2 * t * (1 - t) * pt[i][k] + t * t * to[k];
      pml__pen_segment(r, pen, last, cur);
      memcpy(last, cur, sizeof last);
    }
    memcpy(from, to, sizeof from);
  }
}

/* The strokes of a character; NULL: none known.  *shift as in pml__symbol. */
PML__FN const char *pml__strokes_of(uint32_t cp, int *shift) {
  *shift = 0;
  if (cp > 32 && cp < 127) return pml__stroke[cp - 33];
  for (size_t i = 0; i < sizeof pml__symbols / sizeof pml__symbols[0]; i++) {
    const pml__symbol *y = &pml__symbols[i];
    if (y->cp != cp) continue;
    *shift = y->shift;
    return y->like ? pml__stroke[y->like - 33] : y->stroke;
  }
  return cp == ' ' ? "" : "0a5a53030a"; /* an empty box for what we cannot draw */
}

PML__FN void pml__raster_glyph(pml__raster *r, pml__pen pen, const char *strokes, double advance, double size,
                               int shift) {
  int widest = 0;
  double scale = shift ? 0.6 : 1, pt[24][2];
  for (const char *p = strokes; *p; p++)
    if (*p == ' ' || *p == '~') continue;
    else if (p[1]) {
      if (pml__hex_digit(*p) > widest) widest = pml__hex_digit(*p);
      p++;
    }
  double side = fmin(0.09 * size, advance * 0.2), room = advance - 2 * side;
  pen.sx = widest ? room / widest : 0;
  if (pen.sx > 0.14 * size) pen.sx = 0.14 * size;
  double indent = (advance - pen.sx * widest) / 2;
  if (pen.up) pen.y0 -= indent;
  else pen.x0 += indent;
  pen.sy = 0.104 * size * scale;
  double lift = shift > 0 ? 0.36 * size : shift < 0 ? -0.12 * size : 0;
  if (pen.up) pen.x0 -= lift;
  else pen.y0 -= lift;
  pen.width *= shift ? 0.8 : 1;
  while (*strokes) {
    bool smooth = *strokes == '~';
    int n = 0;
    if (smooth) strokes++;
    for (; *strokes && *strokes != ' ' && n < 24; strokes += 2, n++) {
      pt[n][0] = pml__hex_digit(strokes[0]);
      pt[n][1] = pml__hex_digit(strokes[1]);
    }
    pml__pen_stroke(r, &pen, pt, n, smooth);
    if (*strokes == ' ') strokes++;
  }
}

PML__FN void pml__raster_text(pml__raster *r, const pml__item *it) {
  double shift = it->font.anchor == PML_MIDDLE ? it->width / 2
                 : it->font.anchor == PML_END  ? it->width
                                               : 0,
         x = -shift;
  size_t len = strlen(it->text);
  for (size_t at = 0; at < len;) {
    uint32_t cp;
    int raised;
    at += (size_t)pml_utf8_decode(it->text + at, len - at, &cp);
    double advance = pml__glyph_advance(cp, &it->font), size = it->font.size;
    pml__pen pen = {.x0 = it->xy[0] + (it->up ? 0 : x),
                    .y0 = it->xy[1] - (it->up ? x : 0),
                    .width = size * (it->font.weight >= 600 ? 0.125 : 0.088),
                    .up = it->up};
    const char *strokes = pml__strokes_of(cp, &raised);
    pml__raster_glyph(r, pen, strokes, advance, size, raised);
    x += advance;
  }
  pml__raster_flush(r, it->font.colour);
}

PML__FN void pml__png_sink(void *user, void *data, int size) {
  pml_buf_add((pml_buf *)user, data, (size_t)size);
}

PML_API pml_status pml_svg_png(const pml_svg *s, const char *path) {
  size_t pixels = (size_t)PML_SVG_W * PML_SVG_H;
  pml_status st = pml_svg_check(s, NULL);
  if (st != PML_OK) return st;
  pml__raster r = {
      (unsigned char *)pml_alloc(3 * pixels), (unsigned char *)pml_calloc(1, pixels), 1 << 20, 1 << 20, 0, 0};
  pml_buf png = {0};
  if (!r.rgb || !r.mask) st = PML_E_MEMORY;
  for (size_t i = 0; st == PML_OK && i < 3 * pixels; i++)
    r.rgb[i] = (unsigned char)((unsigned)PML_CANVAS >> (16 - 8 * (i % 3)));
  for (int i = 0; st == PML_OK && i < s->n; i++) {
    const pml__item *it = &s->item[i];
    if (it->kind == PML__TEXT_ITEM) pml__raster_text(&r, it);
    else if (it->kind == PML__POLYLINE) pml__raster_polyline(&r, it);
    else if (it->kind == PML__POLYGON) pml__raster_polygon(&r, it);
    else if (it->kind == PML__RECT) pml__raster_rounded(&r, it, it->box, it->radius);
    else pml__raster_rounded(&r, it, pml__hull(it->xy, 1, it->radius), it->radius);
  }
  if (st == PML_OK &&
      (!stbi_write_png_to_func(pml__png_sink, &png, PML_SVG_W, PML_SVG_H, 3, r.rgb, 3 * PML_SVG_W) ||
       png.failed))
    st = pml_fail(PML_E_MEMORY, "%s: the PNG could not be made: out of memory", path);
  if (st == PML_OK) st = pml_file_write(path, png.data, png.len);
  pml_buf_free(&png);
  pml_free(r.rgb);
  pml_free(r.mask);
  return st;
}
#else
PML_API pml_status pml_svg_png(const pml_svg *s, const char *path) {
  (void)s;
  return pml_fail(PML_E_UNSUPPORTED,
                  "%s: built without stb_image_write: compile with -DPRODML_USE_STB "
                  "(apt install libstb-dev, brew install stb)",
                  path);
}
#endif

#endif /* § 49 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 50  PAGES                                        needs § 4 § 6 § 10 § 15 § 49
   ─────────────────────────────────────────────────────────────────────────────
   Documentation drifts because it is copied.  A reading page copies nothing by
   hand: its prose is the banner of a chapter, its code lies between two marks of a
   source file, its output is what the program printed a moment ago, and its numbers
   come from the run.  All of it is read when the page is written.

     What you will be able to do     the lesson says it
     The idea                        the chapter's banner, from prodml.h
     The mechanism                   code between the marks @name and @end
     Run it                          the command and the real output
     The diagram                     written by the same run
     Break it                        a fault to inject and what you should see
     Check yourself                  questions with folded answers
     Sources                         the banner's "Source:" lines and more

   What only the lesson can say is Markdown in its source's last comment, which begins
   with a line that holds @page alone, under those same headings.  Three things in it
   are not Markdown:

     @quote NAME         the code between the marks of that name, in the lesson or here
     {name} {name:.1f}   a value of the run: as it is, or with one digit after the point
     ### Is it so?       under "Check yourself": a question; what follows is its answer

   Between $…$ and in `code` braces are only braces; elsewhere \{ is one.

   A banner becomes Markdown by three rules: lines indented by two or more are
   preformatted, a paragraph that begins "The trap:" or "Cost:" stands out, "Source:"
   moves to the last section.  Formulas may be TeX ($…$), which the book turns into
   MathML.

   Two kinds of numbers.  What is computed is the same on every machine.  What is
   measured is not: it is recorded once, with machine, date, compiler and spread, in
   notes/measured/NAME.json, and pages render the record.  So a page is a function of
   the repository, and regenerating it changes no byte.

   The trap: a mark or a value that was renamed.  A page that names it is then refused
   with the line and the name, instead of being written without it.
   Source: Knuth 1984, Literate Programming.
   ═════════════════════════════════════════════════════════════════════════════ */

/* One measured quantity: median, 95 % interval, number of samples. */
typedef struct {
  char name[48], unit[24];
  double median, lo, hi;
  int n;
} pml_number;

enum { PML_RECORD_MAX = 256 };
typedef struct {
  char machine[128]; /* "AMD EPYC 9R14, 2 cores" */
  char date[16];     /* "2026-11-20" */
  char compiler[48]; /* "gcc 12.2.0" */
  int n;
  pml_number number[PML_RECORD_MAX];
} pml_record;

/* Fills machine, date and compiler from this machine, n = 0. */
PML_API void pml_record_start(pml_record *r);
/* Adds a number, or replaces the one of the same name.  PML_E_LIMIT when full. */
PML_API pml_status pml_record_add(pml_record *r, const pml_number *x);
PML_API const pml_number *pml_record_find(const pml_record *r, const char *name); /* NULL: none */
/* JSON, one number a line; written atomically. */
PML_API pml_status pml_record_write(const pml_record *r, const char *path);
PML_API pml_status pml_record_read(pml_record *r, const char *path);
/* "31.2 tok/s (30.8 to 31.9, n 20)": three significant digits. */
PML_API void pml_number_show(char out[128], const pml_number *x);
/* Its median and interval as a point of a curve (§ 49); nothing when it is not recorded, n = 0. */
PML_API void pml_curve_number(pml_curve *c, double x, const pml_number *y);

typedef enum {
  PML_PAGE_CAN = 0,
  PML_PAGE_IDEA,
  PML_PAGE_MECHANISM,
  PML_PAGE_RUN,
  PML_PAGE_DIAGRAM,
  PML_PAGE_BREAK,
  PML_PAGE_CHECK,
  PML_PAGE_SOURCES,
  PML_PAGE_PARTS
} pml_page_part;

/* A page under construction.  header is the text of prodml.h, lesson that of the
   lesson's source; both are read by pml_page_create.  What fails later is kept in
   `fault` and reported by pml_page_render. */
typedef struct {
  char title[160], summary[480], lead[400];
  char *header, *lesson;
  size_t header_len, lesson_len;
  char read_with[320]; /* links to the sections whose banners are quoted */
  pml_buf part[PML_PAGE_PARTS];
  char fault[512];
} pml_page;

/* A value that the prose may name.  text NULL: the number counts. */
typedef struct {
  char name[64], unit[24];
  double value;
  char *text;
} pml_fact;

/* lesson_path may be NULL when nothing of a lesson is read. */
PML_API pml_status pml_page_create(pml_page **out, const char *title, const char *lead, const char *summary,
                                   const char *header_path, const char *lesson_path);
PML_API void pml_page_free(pml_page *p);

/* A paragraph and a list item, as Markdown. */
PML_API void pml_page_text(pml_page *p, pml_page_part part, const char *fmt, ...) PML__PRINTF(3, 4);
PML_API void pml_page_item(pml_page *p, pml_page_part part, const char *fmt, ...) PML__PRINTF(3, 4);
/* A displayed formula in TeX. */
PML_API void pml_page_formula(pml_page *p, pml_page_part part, const char *tex);
/* cells[rows,cols], row 0 is the head; align as in pml_svg_table. */
PML_API void pml_page_table(pml_page *p, pml_page_part part, const char *const *cells, int rows, int cols,
                            const char *align);
/* The banner of § n: prose into the idea, its sources into the sources. */
PML_API void pml_page_idea(pml_page *p, int section);
/* Reads the comment @page of the lesson's source into the parts of the page.  Refused when the page is
   rendered, with the line: no such comment or no end of it, text before the first heading, a heading
   that is none of the eight, an unknown value, directive or mark, a span of code or TeX that is open
   at the end of its paragraph. */
PML_API void pml_page_prose(pml_page *p, const pml_fact *facts, int n_facts);
/* The code between the marks @mark and @end of prodml.h, or of the lesson. */
PML_API void pml_page_quote(pml_page *p, const char *mark);
PML_API void pml_page_quote_lesson(pml_page *p, const char *mark);
PML_API void pml_page_run(pml_page *p, const char *command, const char *output);
PML_API void pml_page_diagram(pml_page *p, const char *file, const char *alt);
/* The question is plain text (`code` may stand in it, a formula may not), the answer
   Markdown. */
PML_API void pml_page_question(pml_page *p, const char *question, const char *answer);
/* An entry of the sources; "arXiv:1706.03762" becomes a link. */
PML_API void pml_page_source(pml_page *p, const char *text, size_t len);

/* Appends text with Markdown's special characters escaped. */
PML_API void pml_md_escape(pml_buf *out, const char *text, size_t len);
/* The Markdown.  PML_E_CHECK when a section is empty or a quote was not found. */
PML_API pml_status pml_page_render(const pml_page *p, pml_buf *out);
PML_API pml_status pml_page_save(const pml_page *p, const char *path);

#ifdef PML__IMPL

/* ── Records ──────────────────────────────────────────────────────────────── */

PML_API void pml_record_start(pml_record *r) {
  time_t now = time(NULL);
  struct tm day;
  memset(r, 0, sizeof *r);
  int cores = pml_cpu_count();
  snprintf(r->machine, sizeof r->machine, "%.100s, %d core%s", pml_cpu_model(), cores, cores == 1 ? "" : "s");
  snprintf(r->compiler, sizeof r->compiler, "%s", pml__compiler());
  if (gmtime_r(&now, &day)) strftime(r->date, sizeof r->date, "%Y-%m-%d", &day);
}

PML_API const pml_number *pml_record_find(const pml_record *r, const char *name) {
  for (int i = 0; i < r->n; i++)
    if (strcmp(r->number[i].name, name) == 0) return &r->number[i];
  return NULL;
}

PML_API pml_status pml_record_add(pml_record *r, const pml_number *x) {
  int i = 0;
  while (i < r->n && strcmp(r->number[i].name, x->name) != 0) i++;
  if (i == PML_RECORD_MAX)
    return pml_fail(PML_E_LIMIT, "a record holds at most %d numbers, '%s' is one too many", PML_RECORD_MAX,
                    x->name);
  r->number[i] = *x;
  if (i == r->n) r->n++;
  return PML_OK;
}

PML__FN void pml__put_field(pml_buf *out, const char *before, const char *key, const char *value) {
  pml_buf_printf(out, "%s\"%s\": ", before, key);
  pml_json_put_str(out, value, strlen(value));
}

PML_API pml_status pml_record_write(const pml_record *r, const char *path) {
  pml_buf out = {0};
  pml__put_field(&out, "{\n  ", "machine", r->machine);
  pml__put_field(&out, ",\n  ", "date", r->date);
  pml__put_field(&out, ",\n  ", "compiler", r->compiler);
  pml_buf_puts(&out, ",\n  \"numbers\": [");
  for (int i = 0; i < r->n; i++) {
    const pml_number *x = &r->number[i];
    pml__put_field(&out, i ? ",\n    {" : "\n    {", "name", x->name);
    pml__put_field(&out, ", ", "unit", x->unit);
    pml_buf_puts(&out, ", \"median\": ");
    pml_json_put_num(&out, x->median);
    pml_buf_puts(&out, ", \"lo\": ");
    pml_json_put_num(&out, x->lo);
    pml_buf_puts(&out, ", \"hi\": ");
    pml_json_put_num(&out, x->hi);
    pml_buf_printf(&out, ", \"n\": %d}", x->n);
  }
  pml_buf_puts(&out, "\n  ]\n}\n");
  pml_status st = out.failed ? PML_E_MEMORY : pml_file_write(path, out.data, out.len);
  pml_buf_free(&out);
  return st;
}

/* A string member into a fixed field; false when it is absent or too long. */
PML__FN bool pml__record_text(pml_json v, const char *key, char *out, size_t cap) {
  pml_buf text = {0};
  bool ok = pml_json_text(pml_json_get(v, key), &text) && text.len < cap;
  if (ok) memcpy(out, text.data ? text.data : "", text.len + 1);
  pml_buf_free(&text);
  return ok;
}

PML__FN bool pml__record_number(pml_json v, pml_number *x) {
  int64_t n = 0;
  memset(x, 0, sizeof *x);
  bool ok = pml__record_text(v, "name", x->name, sizeof x->name) &&
            pml__record_text(v, "unit", x->unit, sizeof x->unit) &&
            pml_json_double(pml_json_get(v, "median"), &x->median) &&
            pml_json_double(pml_json_get(v, "lo"), &x->lo) &&
            pml_json_double(pml_json_get(v, "hi"), &x->hi) && pml_json_int(pml_json_get(v, "n"), &n) &&
            n > 0 && n < INT_MAX;
  x->n = (int)n;
  return ok;
}

PML_API pml_status pml_record_read(pml_record *r, const char *path) {
  char *text;
  size_t len;
  pml_json root;
  memset(r, 0, sizeof *r);
  pml_status st = pml_file_read(path, &text, &len);
  if (st != PML_OK) return st;
  st = pml_json_open(&root, text, len, path);
  if (st == PML_OK && !(pml__record_text(root, "machine", r->machine, sizeof r->machine) &&
                        pml__record_text(root, "date", r->date, sizeof r->date) &&
                        pml__record_text(root, "compiler", r->compiler, sizeof r->compiler)))
    st = pml_fail(PML_E_FORMAT,
                  "%s: machine, date or compiler is missing: make benchmark-notes writes it anew", path);
  for (pml_json_iter it = pml_json_each(pml_json_get(root, "numbers")); st == PML_OK && pml_json_next(&it);) {
    pml_number x;
    if (pml__record_number(it.value, &x)) st = pml_record_add(r, &x);
    else st = pml_fail(PML_E_FORMAT, "%s: number %zu is not {name, unit, median, lo, hi, n}", path, it.index);
  }
  pml_free(text);
  return st;
}

PML__FN int pml__digits_for(double v) {
  return v >= 100 || v == 0 ? 0 : v >= 10 ? 1 : v >= 1 ? 2 : v >= 0.1 ? 3 : 4;
}

PML_API void pml_number_show(char out[128], const pml_number *x) {
  char m[48], lo[48], hi[48];
  int d = pml__digits_for(fabs(x->median));
  pml_number_text(m, x->median, d);
  pml_number_text(lo, x->lo, d);
  pml_number_text(hi, x->hi, d);
  if (x->n > 1)
    snprintf(out, 128, "%.24s%s%s (%.24s to %.24s, n %d)", m, *x->unit ? " " : "", x->unit, lo, hi, x->n);
  else snprintf(out, 128, "%s%s%s", m, *x->unit ? " " : "", x->unit);
}

PML_API void pml_curve_number(pml_curve *c, double x, const pml_number *y) {
  if (y->n) pml_curve_add_interval(c, x, y->median, y->lo, y->hi);
}

/* ── Markdown ─────────────────────────────────────────────────────────────── */

/* Between backquotes nothing is escaped; they must pair up within `text`. */
PML_API void pml_md_escape(pml_buf *out, const char *text, size_t len) {
  bool code = false;
  size_t ticks = 0;
  for (size_t i = 0; i < len; i++) ticks += text[i] == '`';
  for (size_t i = 0; i < len; i++) {
    char c = text[i];
    bool pairs = ticks % 2 == 0;
    if (c == '`' && pairs) code = !code;
    if (!code && (strchr("\\*_[]<>$^~|", c) || (c == '`' && !pairs) || (c == '#' && i == 0)))
      pml_buf_puts(out, "\\");
    pml_buf_add(out, &c, 1);
  }
}

/* Escaped text in which "arXiv:NNNN.NNNNN" is a link. */
PML__FN void pml__md_linked(pml_buf *out, const char *text, size_t len) {
  size_t from = 0;
  for (size_t i = 0; i + 6 < len; i++) {
    if (memcmp(text + i, "arXiv:", 6) != 0) continue;
    size_t end = i + 6;
    while (end < len && ((text[end] >= '0' && text[end] <= '9') ||
                         (text[end] == '.' && end + 1 < len && text[end + 1] >= '0' && text[end + 1] <= '9')))
      end++;
    if (end == i + 6) continue;
    pml_md_escape(out, text + from, i - from);
    pml_buf_printf(out, "[%.*s](https://arxiv.org/abs/%.*s)", (int)(end - i), text + i, (int)(end - i - 6),
                   text + i + 6);
    from = i = end;
  }
  pml_md_escape(out, text + from, len - from);
}

/* A fenced block; the fence is longer than any run of backquotes inside. */
PML__FN void pml__md_fence(pml_buf *out, const char *language, const char *text, size_t len) {
  size_t run = 0, longest = 2;
  for (size_t i = 0; i < len; i++) {
    run = text[i] == '`' ? run + 1 : 0;
    if (run > longest) longest = run;
  }
  for (size_t i = 0; i <= longest; i++) pml_buf_puts(out, "`");
  pml_buf_printf(out, "%s\n", language);
  pml_buf_add(out, text, len);
  if (len && text[len - 1] != '\n') pml_buf_puts(out, "\n");
  for (size_t i = 0; i <= longest; i++) pml_buf_puts(out, "`");
  pml_buf_puts(out, "\n\n");
}

static const char *const pml__page_heading[PML_PAGE_PARTS] PML__UNUSED = {
    "What you will be able to do", "The idea", "The mechanism", "Run it",
    "The diagram", "Break it", "Check yourself", "Sources"};

PML_API pml_status pml_page_create(pml_page **out, const char *title, const char *lead, const char *summary,
                                   const char *header_path, const char *lesson_path) {
  *out = NULL;
  pml_page *p = (pml_page *)pml_calloc(1, sizeof *p);
  if (!p) return PML_E_MEMORY;
  snprintf(p->title, sizeof p->title, "%s", title);
  snprintf(p->lead, sizeof p->lead, "%s", lead);
  snprintf(p->summary, sizeof p->summary, "%s", summary);
  pml_status st = pml_file_read(header_path, &p->header, &p->header_len);
  if (st == PML_OK && lesson_path) st = pml_file_read(lesson_path, &p->lesson, &p->lesson_len);
  if (st != PML_OK) pml_page_free(p);
  else *out = p;
  return st;
}

PML_API void pml_page_free(pml_page *p) {
  if (!p) return;
  for (int i = 0; i < PML_PAGE_PARTS; i++) pml_buf_free(&p->part[i]);
  pml_free(p->header);
  pml_free(p->lesson);
  pml_free(p);
}

PML__FN void pml__page_add(pml_page *p, pml_page_part part, const char *before, const char *after,
                           const char *fmt, va_list ap) {
  char *text = NULL;
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n >= 0) text = (char *)pml_alloc((size_t)n + 1);
  if (text) vsnprintf(text, (size_t)n + 1, fmt, again);
  va_end(again);
  pml_buf_puts(&p->part[part], before);
  pml_buf_puts(&p->part[part], text ? text : "");
  pml_buf_puts(&p->part[part], after);
  if (!text) p->part[part].failed = true;
  pml_free(text);
}

PML_API void pml_page_text(pml_page *p, pml_page_part part, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  pml__page_add(p, part, "", "\n\n", fmt, ap);
  va_end(ap);
}

/* Items follow each other without a blank line: the one that ended the last goes. */
PML_API void pml_page_item(pml_page *p, pml_page_part part, const char *fmt, ...) {
  pml_buf *b = &p->part[part];
  size_t line = b->len > 1 ? b->len - 2 : 0;
  while (line > 0 && b->data[line - 1] != '\n') line--;
  if (b->len > 2 && !b->failed && !strncmp(b->data + line, "- ", 2)) b->data[--b->len] = 0;
  va_list ap;
  va_start(ap, fmt);
  pml__page_add(p, part, "- ", "\n\n", fmt, ap);
  va_end(ap);
}

PML_API void pml_page_formula(pml_page *p, pml_page_part part, const char *tex) {
  pml_buf_printf(&p->part[part], "$$%s$$\n\n", tex);
}

PML_API void pml_page_table(pml_page *p, pml_page_part part, const char *const *cells, int rows, int cols,
                            const char *align) {
  pml_buf *b = &p->part[part];
  for (int i = 0; i < rows; i++) {
    for (int j = 0; j < cols; j++) {
      pml_buf_puts(b, j ? " " : "| ");
      pml_md_escape(b, cells[i * cols + j], strlen(cells[i * cols + j]));
      pml_buf_puts(b, " |");
    }
    pml_buf_puts(b, "\n");
    for (int j = 0; i == 0 && j < cols; j++) {
      char a = align[j] >= 'a' ? align[j] : (char)(align[j] + 32);
      pml_buf_puts(b, j ? "" : "|");
      pml_buf_puts(b, a == 'r' ? "---:|" : a == 'c' ? ":---:|" : ":---|");
    }
    if (i == 0) pml_buf_puts(b, "\n");
  }
  pml_buf_puts(b, "\n");
}

/* ── Quoting prodml.h ─────────────────────────────────────────────────────── */

PML__FN size_t pml__line_end(const char *text, size_t len, size_t at) {
  const char *nl = at < len ? (const char *)memchr(text + at, '\n', len - at) : NULL;
  return nl ? (size_t)(nl - text) : len;
}

/* The title of § n in its own spelling, from the table of contents. */
PML__FN bool pml__section_title(const pml_page *p, int n, char out[80]) {
  char key[32];
  snprintf(key, sizeof key, "\n       § %-3d ", n);
  const char *at = strstr(p->header, key);
  if (!at) return false;
  const char *s = at + strlen(key), *end = s;
  while (*end && *end != '\n' && !(end[0] == ' ' && end[1] == ' ')) end++;
  snprintf(out, 80, "%.*s", (int)(end - s), s);
  return true;
}

/* The prose of § n's banner: from after its ruler to before the closing one. */
PML__FN bool pml__section_prose(const pml_page *p, int n, size_t *begin, size_t *end) {
  char key[32];
  snprintf(key, sizeof key, "═\n   § %d  ", n);
  const char *at = strstr(p->header, key), *rule = at ? strstr(at + 4, "\n   ─") : NULL;
  const char *close = rule ? strstr(rule, "\n   ═") : NULL;
  if (!close) return false;
  *begin = pml__line_end(p->header, p->header_len, (size_t)(rule - p->header) + 1) + 1;
  *end = (size_t)(close - p->header) + 1;
  return *begin <= *end;
}

/* The first fault is kept. */
PML__FN void pml__page_fault(pml_page *p, const char *fmt, ...) PML__PRINTF(2, 3);
PML__FN void pml__page_fault(pml_page *p, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  if (!*p->fault) vsnprintf(p->fault, sizeof p->fault, fmt, ap);
  va_end(ap);
}

/* The kinds of lines in a banner. */
typedef enum { PML__PROSE_TEXT, PML__PROSE_ITEM, PML__PROSE_CODE, PML__PROSE_BLANK } pml__prose;

PML__FN pml__prose pml__prose_kind(const char *line, size_t len, pml__prose last) {
  size_t indent = 0;
  while (indent < len && line[indent] == ' ') indent++;
  if (indent == len) return PML__PROSE_BLANK;
  if (indent == 0 && len > 2 && line[0] == '-' && line[1] == ' ') return PML__PROSE_ITEM;
  if (indent >= 2) return last == PML__PROSE_ITEM ? PML__PROSE_ITEM : PML__PROSE_CODE;
  return PML__PROSE_TEXT;
}

PML__FN bool pml__is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Prose of a banner: words with an underscore are names of the code. */
PML__FN void pml__prose_text(pml_buf *out, const char *text, size_t len) {
  size_t from = 0, i = 0;
  while (i < len) {
    size_t start = i;
    bool name = false;
    for (; i < len && pml__is_word(text[i]); i++) name = name || text[i] == '_';
    if (i == start) i++;
    else if (name && text[start] != '_' && (start == 0 || text[start - 1] != '`')) {
      pml_md_escape(out, text + from, start - from);
      pml_buf_printf(out, "`%.*s`", (int)(i - start), text + start);
      from = i;
    }
  }
  pml_md_escape(out, text + from, len - from);
}

PML__FN void pml__prose_line(pml_buf *b, const char *line, size_t len, pml__prose kind) {
  static const char *const lead[] = {"The trap:", "The traps:", "The trap.", "The traps.", "Cost:"};
  size_t indent = 0, bold = 0;
  while (indent < len && line[indent] == ' ') indent++;
  for (int i = 0; i < 5; i++)
    if (len >= strlen(lead[i]) && !strncmp(line, lead[i], strlen(lead[i]))) bold = strlen(lead[i]);
  if (bold)
    pml_buf_printf(b, "%s**%.*s**", b->len > 1 && b->data[b->len - 2] != '\n' ? "\n" : "", (int)bold, line);
  if (kind == PML__PROSE_ITEM) pml_buf_puts(b, line[0] == '-' ? "- " : "  ");
  size_t from = kind == PML__PROSE_ITEM && line[0] == '-' ? 2 : indent;
  pml__prose_text(b, line + from + bold, len - from - bold);
  pml_buf_puts(b, "\n");
}

/* Sources: one paragraph "Source: a; b; c." becomes one entry each. */
PML__FN void pml__prose_sources(pml_page *p, const char *text, size_t len) {
  size_t from = 0;
  int depth = 0;
  for (size_t i = 0; i <= len; i++) {
    if (i < len && text[i] == '(') depth++;
    if (i < len && text[i] == ')') depth--;
    if (i < len && (text[i] != ';' || depth > 0)) continue;
    while (from < i && text[from] == ' ') from++;
    pml_page_source(p, text + from, i - from);
    from = i + 1;
  }
}

PML_API void pml_page_source(pml_page *p, const char *text, size_t len) {
  while (len && (text[len - 1] == '.' || text[len - 1] == ' ')) len--;
  if (!len) return;
  pml_buf line = {0}, *b = &p->part[PML_PAGE_SOURCES];
  pml_buf_puts(&line, "- ");
  pml__md_linked(&line, text, len);
  pml_buf_puts(&line, ".\n");
  if (!line.data || !b->data || !strstr(b->data, line.data)) pml_buf_puts(b, line.data ? line.data : "");
  pml_buf_free(&line);
}

PML_API void pml_page_idea(pml_page *p, int section) {
  char title[80];
  size_t at, end, used = strlen(p->read_with);
  if (!pml__section_title(p, section, title) || !pml__section_prose(p, section, &at, &end)) {
    pml__page_fault(p, "prodml.h has no section '§ %d'", section);
    return;
  }
  snprintf(p->read_with + used, sizeof p->read_with - used, "%s[§ %d %s](../prodml.h)", used ? ", " : "",
           section, title);
  pml_buf *b = &p->part[PML_PAGE_IDEA], sources = {0};
  pml_buf_printf(b, "### § %d %s\n\n", section, title);
  pml__prose last = PML__PROSE_BLANK;
  bool in_code = false, in_source = false;
  for (size_t next; at < end; at = next) {
    size_t stop = pml__line_end(p->header, end, at);
    next = stop + 1;
    const char *line = p->header + at + 3;
    size_t len = stop - at >= 3 ? stop - at - 3 : 0;
    if (len >= 7 && !strncmp(line, "Source:", 7)) in_source = true, line += 7, len -= 7;
    if (in_source) {
      pml_buf_add(&sources, line, len);
      pml_buf_puts(&sources, " ");
      continue;
    }
    pml__prose kind = pml__prose_kind(line, len, last);
    if (kind == PML__PROSE_CODE && !in_code)
      pml_buf_puts(b, last == PML__PROSE_BLANK ? "```text\n" : "\n```text\n");
    if (kind != PML__PROSE_CODE && in_code) pml_buf_puts(b, kind == PML__PROSE_BLANK ? "```\n" : "```\n\n");
    in_code = kind == PML__PROSE_CODE;
    if (in_code) {
      pml_buf_add(b, line + 2, len - 2);
      pml_buf_puts(b, "\n");
    } else if (kind == PML__PROSE_BLANK) pml_buf_puts(b, "\n");
    else pml__prose_line(b, line, len, kind);
    last = kind;
  }
  pml_buf_puts(b, in_code ? "```\n\n" : "\n");
  if (sources.len) pml__prose_sources(p, sources.data, sources.len);
  pml_buf_free(&sources);
}

/* The lines between the marks, without marks and common indentation. */
PML__FN bool pml__marked(const char *text, size_t len, const char *mark, pml_buf *out, size_t *where) {
  char key[96];
  snprintf(key, sizeof key, "/* @%s */", mark);
  const char *open = text ? strstr(text, key) : NULL, *close = open ? strstr(open, "/* @end */") : NULL;
  if (!close) return false;
  size_t begin = pml__line_end(text, len, (size_t)(open - text)) + 1, end = (size_t)(close - text),
         indent = 100;
  *where = (size_t)(open - text);
  for (int pass = 0; pass < 2; pass++)
    for (size_t at = begin, next; at < end; at = next) {
      size_t stop = pml__line_end(text, len, at), i = at;
      next = stop + 1;
      while (i < stop && text[i] == ' ') i++;
      if (stop >= end || (i < stop && !strncmp(text + i, "/* @", 4))) continue;
      if (pass == 0 && i < stop && i - at < indent) indent = i - at;
      if (pass == 1 && i < stop) pml_buf_add(out, text + at + indent, stop - at - indent);
      if (pass == 1) pml_buf_puts(out, "\n");
    }
  return true;
}

/* The number of the section that holds byte `at` of the header. */
PML__FN int pml__section_at(const pml_page *p, size_t at) {
  int found = 0;
  for (int n = 1; n < 100; n++) {
    size_t begin, end;
    if (pml__section_prose(p, n, &begin, &end) && begin < at) found = n;
  }
  return found;
}

PML__FN bool pml__quote_header(pml_page *p, pml_buf *b, const char *mark) {
  pml_buf code = {0};
  size_t where;
  bool found = pml__marked(p->header, p->header_len, mark, &code, &where);
  if (found) {
    char title[80] = "";
    int n = pml__section_at(p, where);
    pml__section_title(p, n, title);
    pml_buf_printf(b, "From [prodml.h](../prodml.h), § %d %s:\n\n", n, title);
    pml__md_fence(b, "c", code.data ? code.data : "", code.len);
  }
  pml_buf_free(&code);
  return found;
}

PML__FN bool pml__quote_lesson(pml_page *p, pml_buf *b, const char *mark) {
  pml_buf code = {0};
  size_t where;
  bool found = pml__marked(p->lesson, p->lesson_len, mark, &code, &where);
  if (found) {
    pml_buf_puts(b, "From the lesson:\n\n");
    pml__md_fence(b, "c", code.data ? code.data : "", code.len);
  }
  pml_buf_free(&code);
  return found;
}

PML_API void pml_page_quote(pml_page *p, const char *mark) {
  if (!pml__quote_header(p, &p->part[PML_PAGE_MECHANISM], mark))
    pml__page_fault(p, "prodml.h has no code between the marks @end and '%.100s'", mark);
}

PML_API void pml_page_quote_lesson(pml_page *p, const char *mark) {
  if (!pml__quote_lesson(p, &p->part[PML_PAGE_MECHANISM], mark))
    pml__page_fault(p, "the lesson has no code between the marks @end and '%.100s'", mark);
}

PML_API void pml_page_run(pml_page *p, const char *command, const char *output) {
  pml_buf *b = &p->part[PML_PAGE_RUN];
  pml__md_fence(b, "sh", command, strlen(command));
  pml__md_fence(b, "text", output, strlen(output));
}

PML_API void pml_page_diagram(pml_page *p, const char *file, const char *alt) {
  pml_buf *b = &p->part[PML_PAGE_DIAGRAM];
  pml_buf_puts(b, "![");
  pml_md_escape(b, alt, strlen(alt));
  pml_buf_printf(b, "](%s)\n\n", file);
}

PML_API void pml_page_question(pml_page *p, const char *question, const char *answer) {
  pml_buf *b = &p->part[PML_PAGE_CHECK];
  bool code = false;
  pml_buf_puts(b, "<details>\n<summary>");
  for (const char *q = question; *q; q++) { /* a summary is HTML, not Markdown */
    if (*q == '<') pml_buf_puts(b, "&lt;");
    else if (*q == '&') pml_buf_puts(b, "&amp;");
    else if (*q == '`') pml_buf_puts(b, (code = !code) ? "<code>" : "</code>");
    else pml_buf_add(b, q, 1);
  }
  pml_buf_printf(b, "%s</summary>\n\n%s\n\n</details>\n\n", code ? "</code>" : "", answer);
}

/* ── The comment @page ────────────────────────────────────────────────────── */

typedef struct {
  pml_page *p;
  const pml_fact *facts;
  int n_facts, line, part;  /* of the source, from 1; -1 before the first heading */
  char open;                /* '$' or '`' inside a span, which `ticks` of them opened */
  size_t ticks;
  bool fence, plain;        /* inside a block of code; in a question, which is not Markdown */
  pml_buf question, text;   /* of the question, or the entry of the sources, that is being read */
} pml__reader;

/* Appends a value as "{name}" (spec "") or "{name:.1f}" asks for. */
PML__FN void pml__read_value(pml__reader *r, pml_buf *out, const char *name, size_t len) {
  const char *colon = (const char *)memchr(name, ':', len);
  size_t n = colon ? (size_t)(colon - name) : len;
  const pml_fact *f = NULL;
  for (int i = 0; i < r->n_facts; i++)
    if (strlen(r->facts[i].name) == n && !memcmp(r->facts[i].name, name, n)) f = &r->facts[i];
  bool format = !colon || (len - n == 4 && colon[1] == '.' && colon[2] >= '0' && colon[2] <= '6' && colon[3] == 'f');
  if (!f) pml__page_fault(r->p, "line %d: the run has no value {%.*s}", r->line, (int)n, name);
  else if (!format || (colon && f->text))
    pml__page_fault(r->p, "line %d: {%.*s}: give {name}, or for a number {name:.0f} to {name:.6f}", r->line,
                    (int)len, name);
  else if (f->text && r->plain) pml_buf_puts(out, f->text);
  else if (f->text) pml_md_escape(out, f->text, strlen(f->text));
  else {
    char shown[48];
    bool whole = f->value == floor(f->value);
    pml_number_text(shown, f->value, colon ? colon[2] - '0' : whole ? 0 : pml__digits_for(fabs(f->value)));
    pml_buf_puts(out, shown);
  }
}

/* A line of prose with its values filled in. */
PML__FN void pml__read_text(pml__reader *r, pml_buf *out, const char *line, size_t len) {
  for (size_t i = 0, n; i < len; i += n) {
    char c = line[i];
    n = 1;
    if (c == '$' || c == '`') {
      while (i + n < len && line[i + n] == c) n++;
      if (!r->open) r->open = c, r->ticks = n;
      else if (r->open == c && r->ticks == n) r->open = 0;
    } else if (c == '\\' && !r->open && i + 1 < len) n = 2;
    else if (c == '{' && !r->open) {
      const char *end = (const char *)memchr(line + i, '}', len - i);
      if (!end) pml__page_fault(r->p, "line %d: '{' is not closed: a brace is written \\{", r->line);
      else {
        n = (size_t)(end - line) + 1 - i;
        pml__read_value(r, out, line + i + 1, n - 2);
        continue;
      }
    }
    pml_buf_add(out, line + i, n);
  }
}

/* A paragraph ends here: so must its spans. */
PML__FN void pml__read_break(pml__reader *r) {
  if (r->open) pml__page_fault(r->p, "line %d: a span that began with %c is open at the end of its paragraph", r->line, r->open);
  r->open = 0;
}

/* The question, or the entry of the sources, that has been read goes to its part. */
PML__FN void pml__read_flush(pml__reader *r) {
  pml__read_break(r);
  pml_buf *t = &r->text;
  while (t->len && t->data[t->len - 1] == '\n') t->data[--t->len] = 0;
  if (r->question.len && !t->len) pml__page_fault(r->p, "line %d: the question '%s' has no answer", r->line, r->question.data);
  if (t->failed || r->question.failed) r->p->part[PML_PAGE_CHECK].failed = true;
  else if (r->question.len) pml_page_question(r->p, r->question.data, t->len ? t->data : "");
  else if (t->len) pml_page_source(r->p, t->data, t->len);
  pml_buf_free(&r->question);
  pml_buf_free(t);
}

PML__FN void pml__read_heading(pml__reader *r, const char *name, size_t len) {
  pml__read_flush(r);
  for (r->part = 0; r->part < PML_PAGE_PARTS; r->part++)
    if (strlen(pml__page_heading[r->part]) == len && !memcmp(pml__page_heading[r->part], name, len)) return;
  pml__page_fault(r->p, "line %d: '%.*s' is no section of a page: there are What you will be able to do, The idea, The mechanism, "
                  "Run it, The diagram, Break it, Check yourself, Sources", r->line, (int)(len < 60 ? len : 60), name);
  r->part = PML_PAGE_IDEA;
}

PML__FN void pml__read_quote(pml__reader *r, const char *name, size_t len) {
  char mark[64];
  snprintf(mark, sizeof mark, "%.*s", (int)(len < 63 ? len : 63), name);
  pml_buf *b = &r->p->part[r->part];
  if (b->len > 1 && b->data[b->len - 2] != '\n') pml_buf_puts(b, "\n"); /* a paragraph ends here */
  if (!pml__quote_lesson(r->p, b, mark) && !pml__quote_header(r->p, b, mark))
    pml__page_fault(r->p, "line %d: neither the lesson nor prodml.h has code between the marks @end and '%s'", r->line, mark);
}

PML__FN bool pml__begins(const char *line, size_t len, const char *with) {
  return len >= strlen(with) && !memcmp(line, with, strlen(with));
}

/* One line of the comment, without its end. */
PML__FN void pml__read_line(pml__reader *r, const char *line, size_t len) {
  bool fence = pml__begins(line, len, "```"), blank = len == 0;
  if (!r->fence && pml__begins(line, len, "## ")) {
    pml__read_heading(r, line + 3, len - 3);
    return;
  }
  if (r->part < 0) {
    if (!blank) pml__page_fault(r->p, "line %d: the comment @page must begin with a heading, '## …'", r->line);
    return;
  }
  bool check = r->part == PML_PAGE_CHECK, sources = r->part == PML_PAGE_SOURCES;
  pml_buf *b = check || sources ? &r->text : &r->p->part[r->part];
  if (blank && !r->fence) pml__read_break(r);
  if (r->fence || fence) {
    r->fence = r->fence != fence;
    pml_buf_add(b, line, len);
  } else if (check && pml__begins(line, len, "### ")) {
    pml__read_flush(r);
    r->plain = true;
    pml__read_text(r, &r->question, line + 4, len - 4);
    r->plain = false;
    pml__read_break(r);
    return;
  } else if (check && !r->question.len) {
    if (!blank) pml__page_fault(r->p, "line %d: this part holds questions, '### …', and their answers", r->line);
    return;
  } else if (sources && pml__begins(line, len, "- ")) {
    pml__read_flush(r);
    pml__read_text(r, b, line + 2, len - 2);
    return;
  } else if (sources) {
    while (len && *line == ' ') line++, len--;
    if (b->len && len) pml_buf_puts(b, " ");
    pml__read_text(r, b, line, len);
    return;
  } else if (pml__begins(line, len, "@quote ") && !check) {
    pml__read_quote(r, line + 7, len - 7);
    return;
  } else if (pml__begins(line, len, "@"))
    pml__page_fault(r->p, "line %d: '%.*s' is no directive: there is @quote NAME, outside answers", r->line, (int)(len < 60 ? len : 60), line);
  else if (!blank || b->len) pml__read_text(r, b, line, len);
  if (b->len && !(blank && b->len > 1 && !memcmp(b->data + b->len - 2, "\n\n", 2))) pml_buf_puts(b, "\n");
}

PML_API void pml_page_prose(pml_page *p, const pml_fact *facts, int n_facts) {
  static const char mark[] = "\n/* @page\n";
  const char *open = p->lesson ? strstr(p->lesson, mark) : NULL, *at = open ? open + sizeof mark - 1 : NULL;
  const char *close = at ? strstr(at, "*" "/") : NULL;
  pml__reader r = {.p = p, .facts = facts, .n_facts = n_facts, .line = 1, .part = -1};
  if (!open) pml__page_fault(p, "the lesson's source has no comment that begins with a line '/* @page'");
  else if (!close || close[-1] != '\n') pml__page_fault(p, "the comment @page has no last line '*" "/'");
  for (const char *c = p->lesson; close && c < at; c++) r.line += *c == '\n';
  for (; close && at < close; r.line++) {
    size_t n = strcspn(at, "\n"), len = n;
    while (len && at[len - 1] == ' ') len--;
    pml__read_line(&r, at, len);
    at += n + 1;
  }
  pml__read_flush(&r);
  if (r.fence) pml__page_fault(p, "line %d: a block of code is not closed by ```", r.line);
}

PML_API pml_status pml_page_render(const pml_page *p, pml_buf *out) {
  if (*p->fault) return pml_fail(PML_E_CHECK, "page '%s': %s", p->title, p->fault);
  pml_buf_printf(out, "# %s\n\n*%s*\n\n%s\n\n", p->title, p->lead, p->summary);
  if (*p->read_with) pml_buf_printf(out, "Read with it: %s.\n\n", p->read_with);
  for (int i = 0; i < PML_PAGE_PARTS; i++) {
    const pml_buf *b = &p->part[i];
    size_t len = b->len;
    if (b->failed) return PML_E_MEMORY;
    while (len && b->data[len - 1] == '\n') len--;
    if (!len)
      return pml_fail(PML_E_CHECK,
                      "page '%s': the section '%s' is empty: add it to the lesson's comment @page", p->title,
                      pml__page_heading[i]);
    pml_buf_printf(out, "## %s\n\n", pml__page_heading[i]);
    pml_buf_add(out, b->data, len);
    pml_buf_puts(out, i + 1 < PML_PAGE_PARTS ? "\n\n" : "\n");
  }
  return out->failed ? PML_E_MEMORY : PML_OK;
}

PML_API pml_status pml_page_save(const pml_page *p, const char *path) {
  pml_buf out = {0};
  pml_status st = pml_page_render(p, &out);
  if (st == PML_OK) st = pml_file_write(path, out.data, out.len);
  pml_buf_free(&out);
  return st;
}

#endif /* § 50 */

/* ═════════════════════════════════════════════════════════════════════════════
   § 51  LESSONS      needs § 5 § 6 § 8 § 9 § 10 § 16 § 25 – § 28 § 33 § 49 § 50
   ─────────────────────────────────────────────────────────────────────────────
   A lesson is a small program around one mechanism.  It states what it is in a
   pml_lesson, and this chapter does the rest: flags, output, checks, exit status,
   diagram, page.

     run    uses the mechanism, part by part, and fills the lesson's result
     draw   says how the result becomes a diagram
     @page  is a comment at the end of the source: the prose of the reading page (§ 50)
     bench  is one iteration of --benchmark

   What the page should say about the run is given a name by pml_value.

   What a lesson prints goes through pml_say and its relatives.  In a terminal it is
   coloured, elsewhere plain and 80 columns wide, whatever COLUMNS says, so that the
   same run gives the same bytes; with --output json one object replaces it.  All of
   it is also kept, and the page's "Run it" shows that text.

   Claims are made with pml_expect(ctx, condition, "…measured numbers…").  Exit status:
   0 every claim held, 1 one failed or the lesson could not run, 2 bad usage.

   Times go through pml_measure.  When a page or a diagram is written, the recorded
   measurement takes the place of the fresh one (see § 50), so the files do not depend
   on the machine that builds them.

   The trap: a lesson that prints a time with pml_say.  Its page would differ in every
   build, and the check of generated files fails.
   Source: Popper 1934, Logik der Forschung: a claim is worth what its test could
   have refuted.
   ═════════════════════════════════════════════════════════════════════════════ */

typedef struct pml_ctx pml_ctx;

typedef enum { PML_FLAG_BOOL = 0, PML_FLAG_INT, PML_FLAG_FLOAT, PML_FLAG_STRING, PML_FLAG_WORD } pml_flag_kind;

/* A flag of one lesson.  Give --name value or --name=value; a bool also bare, and so a
   word, which is then "".  The value starts as the default. */
typedef struct {
  const char *name; /* "iterations", or "iterations|i" with a one-letter form */
  const char *help;
  pml_flag_kind kind;
  void *value; /* bool *, int *, double *, const char ** (string, word) */
} pml_flag;

/* A second picture: NN_name_topic.svg. */
typedef struct {
  const char *topic;
  pml_status (*draw)(pml_ctx *ctx, pml_svg *svg);
} pml_picture;

typedef struct {
  const char *number;  /* "05": the part and the place in it */
  const char *name;    /* "attention" */
  const char *title;   /* "Attention" */
  const char *summary; /* one or two sentences */
  const char *file;    /* __FILE__ */
  int sections[6];     /* chapters to read with it, ended by 0 */
  pml_flag flags[8];    /* ended by one without a name */
  const char *question; /* opens the tutor with it as ctx->tutor and adds the flag --question; NULL: no tutor */
  void *result;         /* the lesson's own struct of result_size bytes; set to 0 before it runs */
  size_t result_size;
  pml_status (*run[8])(pml_ctx *ctx); /* the parts of the lesson, in order; the first that fails ends it */
  pml_status (*draw)(pml_ctx *ctx, pml_svg *svg); /* may be NULL */
  pml_status (*bench)(pml_ctx *ctx);                /* NULL: run, without its output */
  pml_picture pictures[4];
} pml_lesson;

typedef enum { PML_OUTPUT_STDOUT = 0, PML_OUTPUT_TUI, PML_OUTPUT_JSON } pml_output;
typedef enum { PML_TIER_TINY = 0, PML_TIER_SMALL, PML_TIER_MEDIUM, PML_TIER_LARGE } pml_tier;

typedef struct {
  bool ok;
  char *text;
} pml__claim;
struct pml_ctx {
  const pml_lesson *lesson;
  const char *question;
  struct pml_tutor *tutor; /* asked `question`, when the lesson has one; until the lesson's files are written */
  uint64_t seed;
  pml_output output;
  pml_tier tier;
  bool tier_given, strict, full, benchmark;
  int threads;                               /* 0: one per core */
  int width;                                 /* columns of the output */
  bool colour, quiet;                        /* quiet: nothing is printed or kept (benchmark, json) */
  const char *diagram, *note, *png, *record; /* paths, NULL: not asked for */
  bool publish;                              /* a page or picture is written: records replace measurements */
  bool recorded;                             /* old holds the committed record */
  bool machine_said; /* the machine of the record stands in the output, once */
  pml_record old, fresh;
  pml_buf text; /* everything printed, without colours */
  pml__claim *claims;
  pml_fact *values;
  int n_claims, n_failed, n_values;
  char *argv0, *diagram_alt;
  char path[1024];
};

/* The main function of every lesson. */
PML_API int pml_lesson_main(const pml_lesson *lesson, int argc, char **argv);

/* Finds a file of the course: "models/tutor.gguf" below lessons/, "../prodml.h" beside
   it.  Looks in PRODML_HOME, the directory of the lesson's source, ./lessons,
   ../lessons, and around the program.  NULL with a sentence when it is nowhere; else
   valid until the next call. */
PML_API const char *pml_lesson_path(pml_ctx *ctx, const char *relative);
/* The questions and answers in lessons/data (§ 33); pml_qa_free them. */
PML_API pml_status pml_lesson_questions(pml_ctx *ctx, pml_qa **out);
/* Reads the first phrasing of every n-th topic with a model while a trace hook (§ 10) looks on. */
PML_API pml_status pml_lesson_read(pml_ctx *ctx, const pml_model *m, int every, pml_trace_fn see, void *user);
/* What the gates of a layer let through, g = n·Wgᵀ before silu (§ 26).  As a hook, pml_gates_see adds to
   facts[PML_GATE_LAYERS]. */
enum { PML_GATE_LAYERS = 64 };
typedef struct {
  double n, negative, small; /* gates; of them g < 0; |silu(g)| < 0.1 */
} pml_gate_facts;
PML_API void pml_gates_see(void *facts, const pml_span *span);
/* true after Ctrl-C: a long lesson asks now and then and returns PML_E_CANCELLED. */
PML_API bool pml_cancelled(void);

/* The course's own model with a question in its chat form: how most lessons begin. */
typedef struct pml_tutor {
  pml_model *model;
  pml_session *session;
  int n;                     /* tokens of the prompt */
  int32_t *ids;              /* [n] */
  char (*name)[80];          /* [n] each token made visible, cut at 79 bytes */
  const char **names;        /* [n] the same, as the tables and pictures of § 49 want them */
  pml_buf text;              /* the prompt as text */
  pml_sampler_options sampler; /* of pml_tutor_answer; greedy unless the lesson says otherwise */
} pml_tutor;
/* Opens models/tutor.gguf and encodes the question.  Close with pml_tutor_close, which takes NULL. */
PML_API pml_status pml_tutor_open(pml_tutor **out, pml_ctx *ctx, const char *question);
PML_API void pml_tutor_close(pml_tutor *t);
/* One step of an answer: the token, how likely it was, and the token made visible, cut at 79 bytes. */
typedef struct {
  int32_t id;
  double p;
  char name[80];
} pml_choice;
/* The n likeliest tokens. */
PML_API void pml_choices(pml_choice *out, int n, const pml_model *m, const float *logits);
/* Appends the answer of at most max_tokens tokens, from an empty cache.  steps[max_tokens] and *n,
   the end token included, say how it came about; both may be NULL. */
PML_API pml_status pml_tutor_answer(pml_tutor *t, int max_tokens, pml_buf *answer, pml_choice *steps, int *n);
/* The longest word of the question, cut at 63 bytes, and in[t->n]: which tokens of the prompt spell it. */
PML_API void pml_tutor_word(const pml_tutor *t, const char *question, char word[64], bool *in);
/* The prompt as chips with their ids below, in as many lines as have room in b; what does not fit becomes "…".
   Returns the height used; svg NULL only asks for it. */
PML_API double pml_svg_prompt(pml_svg *svg, pml_box b, const pml_tutor *t);
/* A cut of § 17 as one row of chips: name and what was lost on the left, lost pieces red. */
PML_API void pml_svg_cut(pml_svg *svg, pml_box b, const char *name, pml_rgb colour, const pml_cut *c);
/* The n likeliest tokens as bars in per cent, the first in green. */
PML_API void pml_svg_choices(pml_svg *svg, pml_box b, const pml_choice *c, int n);
/* The prompt as a line of text: What(289) ·is(285) … */
PML_API void pml_show_prompt(pml_ctx *ctx, const pml_tutor *t);
/* A token made visible (pml_text_visible), cut at 79 bytes. */
PML_API void pml_token_name(const pml_model *m, int32_t id, char out[80]);

/* Output.  pml_say prints a line and wraps it at words, continued under its indent. */
PML_API void pml_say(pml_ctx *ctx, const char *fmt, ...) PML__PRINTF(2, 3);
PML_API void pml_heading(pml_ctx *ctx, const char *fmt, ...) PML__PRINTF(2, 3);
/* Bytes as they are, without a line end: streamed text. */
PML_API void pml_emit(pml_ctx *ctx, const char *bytes, size_t len);
/* cells[rows,cols], row 0 is the head; align one of l r c per column.  A table that is
   wider than the output is shown row by row instead. */
PML_API void pml_show_table(pml_ctx *ctx, const char *const *cells, int rows, int cols, const char *align);
PML_API void pml_show_rows(pml_ctx *ctx, const pml_table *t, const char *align); /* a table of § 49 */
PML_API void pml_show_bars(pml_ctx *ctx, const pml_bar *bars, int n, const pml_bar_options *o);
/* Tokens in one line, "·like|·this", bytes made visible; label may be NULL.  pml_show_cut: those of a cut. */
PML_API void pml_show_cut(pml_ctx *ctx, const char *label, const pml_cut *c);
/* How a word of at most 64 bytes is merged, a line per step. */
PML_API pml_status pml_show_merges(pml_ctx *ctx, const pml_tokenizer *t, const char *word);
PML_API void pml_show_tokens(pml_ctx *ctx, const char *label, const pml_str *tokens, size_t n);
/* values[rows,cols] with names beside them (may be NULL). */
PML_API void pml_show_matrix(pml_ctx *ctx, const char *name, const double *values, int rows, int cols,
                             int decimals, const char *const *row_names, const char *const *col_names);
PML_API void pml_show_floats(pml_ctx *ctx, const char *name, const float *values, int rows, int cols, int decimals,
                             const char *const *row_names, const char *const *col_names); /* the same; at most 256 */
/* Progress of a long run, on a terminal's stderr only; total 0 ends the line. */
PML_API void pml_progress(pml_ctx *ctx, long done, long total, const char *what);

/* Claims and numbers.  pml_expect returns its condition. */
PML_API bool pml_expect(pml_ctx *ctx, bool condition, const char *fmt, ...) PML__PRINTF(3, 4);
/* A number or a text that the run computed: into the JSON, and into the page where its text says {name}. */
PML_API void pml_value(pml_ctx *ctx, const char *name, double value, const char *unit);
PML_API void pml_value_text(pml_ctx *ctx, const char *name, const char *text);

/* A fault that must be refused: prints the sentence that it got (pml_error), keeps it as the value `name`, and
   expects the status `wanted` with a sentence that holds `word`.  The format says what is claimed. */
PML_API bool pml_expect_refused(pml_ctx *ctx, const char *name, pml_status got, pml_status wanted, const char *word,
                                const char *fmt, ...) PML__PRINTF(6, 7);

/* false when the record will be used anyway: the lesson may skip its timing loop. */
PML_API bool pml_measures(const pml_ctx *ctx);
/* Summarises n >= 1 samples, prints them as one line and returns what a page or
   diagram may use: the fresh number, or when publishing the recorded one (n = 0 in
   the result when there is no record yet).  samples may be NULL if !pml_measures. */
PML_API pml_number pml_measure(pml_ctx *ctx, const char *name, const char *unit, const double *samples,
                               size_t n);
/* Two ways to compute the same, timed in turn, A/B/A/B, PML_PAIR_REPS times each, so that whatever slows
   the machine slows both.  way(user, 0) and way(user, 1) run once per sample; a time in seconds is
   multiplied by `scale` (1e6 / n: microseconds per token of n).  out[0], out[1] as from pml_measure,
   under the two names that the format gives, separated by a tab; nothing runs when !pml_measures. */
enum { PML_PAIR_REPS = 15 };
PML_API pml_status pml_measure_pair(pml_ctx *ctx, pml_status (*way)(void *user, int which), void *user, double scale,
                                    const char *unit, pml_number *out, const char *names, ...) PML__PRINTF(7, 8);

/* Measures the stages of a clock (§ 10) over its first `steps` steps: "name, per token", the first step left out;
   what ran in that one only, "name, once".  share[n]: of the sum of the medians per token. */
PML_API void pml_measure_stages(pml_ctx *ctx, const pml_stages *t, int steps, double *share);

/* The title of the diagram, a sentence that may hold numbers.  Draws the bars; call it
   first in draw. */
PML_API void pml_lesson_title(pml_ctx *ctx, pml_svg *svg, const char *fmt, ...) PML__PRINTF(3, 4);

#ifdef PML__IMPL

/* ── Finding files, Ctrl-C ────────────────────────────────────────────────── */

static volatile sig_atomic_t pml__interrupted;

PML__FN void pml__on_interrupt(int sig) {
  pml__interrupted = 1;
  signal(sig, SIG_DFL); /* a second Ctrl-C ends the program */
}

PML_API bool pml_cancelled(void) { return pml__interrupted != 0; }

/* dir/sub/relative into ctx->path; true when that file is there. */
PML__FN bool pml__try_path(pml_ctx *ctx, const char *dir, size_t dir_len, const char *sub,
                           const char *relative) {
  int n = snprintf(ctx->path, sizeof ctx->path, "%.*s%s%s", (int)dir_len, dir, sub, relative);
  return n > 0 && (size_t)n < sizeof ctx->path && pml_file_exists(ctx->path);
}

PML__FN size_t pml__dir_len(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? (size_t)(slash - path) + 1 : 0;
}

PML_API const char *pml_lesson_path(pml_ctx *ctx, const char *relative) {
  const char *home = getenv("PRODML_HOME"), *file = ctx->lesson->file;
  char exe[1024];
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (n > 0) exe[n] = 0;
  else snprintf(exe, sizeof exe, "%s", ctx->argv0 ? ctx->argv0 : "");
  if (home && *home &&
      (pml__try_path(ctx, home, strlen(home), "/lessons/", relative) ||
       pml__try_path(ctx, home, strlen(home), "/", relative)))
    return ctx->path;
  size_t own = pml__dir_len(file), dir = pml__dir_len(exe);
  if (pml__try_path(ctx, file, own, own ? "" : "./", relative)) return ctx->path;
  if (pml__try_path(ctx, "", 0, "lessons/", relative) || pml__try_path(ctx, "", 0, "../lessons/", relative))
    return ctx->path;
  static const char *const around[] = {"", "lessons/", "../lessons/", "../../lessons/"};
  for (int i = 0; i < 4 && dir; i++)
    if (pml__try_path(ctx, exe, dir, around[i], relative)) return ctx->path;
  pml_fail(
      PML_E_IO,
      "%s was not found beside %s, in ./lessons, ../lessons or around the program: run from the repository, "
      "or set PRODML_HOME to it",
      relative, file);
  return NULL;
}

PML_API pml_status pml_lesson_questions(pml_ctx *ctx, pml_qa **out) {
  char folder[1024];
  const char *path = pml_lesson_path(ctx, "data/stopwords.txt");
  *out = NULL;
  if (!path) return PML_E_IO;
  snprintf(folder, sizeof folder, "%.*s", (int)pml__dir_len(path), path);
  return pml_qa_load(out, folder);
}

PML_API void pml_gates_see(void *facts, const pml_span *s) {
  if (strcmp(s->name, "gate") != 0 || s->layer < 0 || s->layer >= PML_GATE_LAYERS) return;
  pml_gate_facts *f = (pml_gate_facts *)facts + s->layer;
  for (size_t i = 0; i < s->n; i++) {
    float g = s->data[i];
    f->negative += g < 0;
    f->small += fabsf(g * pml_sigmoidf(g)) < 0.1f;
  }
  f->n += (double)s->n;
}

PML_API pml_status pml_lesson_read(pml_ctx *ctx, const pml_model *m, int every, pml_trace_fn see, void *user) {
  pml_qa *qa = NULL;
  pml_context *c = NULL;
  pml_seq seq = {0};
  float *logits = (float *)pml_alloc((size_t)m->cfg.n_vocab * sizeof *logits);
  pml_status st = logits ? pml_lesson_questions(ctx, &qa) : PML_E_MEMORY;
  if (st == PML_OK) st = pml_context_open(&c, m, NULL, NULL);
  pml_trace_set(see, user);
  for (int i = 0; st == PML_OK && i < qa->n_topics; i += every) {
    const char *text = qa->topics[i].taught[0];
    int32_t *ids = NULL;
    size_t n;
    st = pml_encode(m->tokenizer, text, strlen(text), 0, &ids, &n);
    if (st == PML_OK) st = pml_forward_one(c, &seq, ids, (int)n, logits);
    pml_context_truncate(c, &seq, 0);
    pml_free(ids);
  }
  pml_trace_set(NULL, NULL);
  if (c) pml_context_seq_free(c, &seq);
  pml_context_close(c);
  pml_qa_free(qa);
  pml_free(logits);
  return st;
}

/* ── The tutor ────────────────────────────────────────────────────────────── */

PML_API void pml_token_name(const pml_model *m, int32_t id, char out[80]) {
  pml_str bytes = pml_token_bytes(m->tokenizer, id);
  pml_buf seen = {0};
  pml_text_visible(&seen, bytes.ptr, bytes.len);
  size_t n = seen.len < 79 ? seen.len : 79;
  while (n < seen.len && n > 0 && (seen.data[n] & 0xC0) == 0x80) n--; /* not inside a character */
  snprintf(out, 80, "%.*s", (int)n, seen.data ? seen.data : "");
  pml_buf_free(&seen);
}

PML_API pml_status pml_tutor_open(pml_tutor **out, pml_ctx *ctx, const char *question) {
  pml_message message = {"user", question};
  pml_tutor *t = (pml_tutor *)pml_calloc(1, sizeof *t);
  size_t n = 0;
  *out = NULL;
  if (!t) return PML_E_MEMORY;
  const char *path = pml_lesson_path(ctx, "models/tutor.gguf");
  pml_status st = path ? pml_model_open(&t->model, path, NULL) : PML_E_IO;
  if (st == PML_OK) st = pml_chat_text(t->model, &message, 1, &t->text);
  if (st == PML_OK) st = pml_chat_encode(t->model, &message, 1, &t->ids, &n);
  if (st == PML_OK) st = pml_session_open(&t->session, t->model, NULL, NULL);
  if (st == PML_OK && n >= (size_t)t->session->ctx->options.n_ctx)
    st = pml_fail(PML_E_LIMIT, "the question has %zu tokens, the tutor's context %d: ask a shorter one", n,
                  t->session->ctx->options.n_ctx);
  if (st == PML_OK && !(t->name = (char(*)[80])pml_alloc(n * sizeof *t->name))) st = PML_E_MEMORY;
  if (st == PML_OK && !(t->names = (const char **)pml_alloc(n * sizeof *t->names))) st = PML_E_MEMORY;
  if (st != PML_OK) {
    pml_tutor_close(t);
    return st;
  }
  t->n = (int)n;
  t->sampler = pml_generate_defaults().sampler;
  for (int i = 0; i < t->n; i++) {
    pml_token_name(t->model, t->ids[i], t->name[i]);
    t->names[i] = t->name[i];
  }
  *out = t;
  return PML_OK;
}

PML_API void pml_tutor_close(pml_tutor *t) {
  if (!t) return;
  pml_session_close(t->session);
  pml_model_close(t->model);
  pml_free(t->ids);
  pml_free(t->name);
  pml_free((void *)t->names);
  pml_buf_free(&t->text);
  pml_free(t);
}

PML_API void pml_choices(pml_choice *out, int n, const pml_model *m, const float *logits) {
  for (int k = 0; k < n; k++) out[k] = (pml_choice){.id = 0};
  int32_t id[64];
  double p[64];
  n = n < 64 ? n : 64;
  pml_top_tokens(logits, m->cfg.n_vocab, n, id, p);
  for (int k = 0; k < n; k++) {
    out[k].id = id[k];
    out[k].p = p[k];
    pml_token_name(m, id[k], out[k].name);
  }
}

typedef struct {
  const pml_model *model;
  pml_buf *answer;
  pml_choice *steps;
  int n;
} pml__tutor_answer;

PML__FN bool pml__tutor_text(void *user, const char *text, size_t len) {
  pml_buf_add(((pml__tutor_answer *)user)->answer, text, len);
  return !pml_cancelled();
}

PML__FN bool pml__tutor_token(void *user, int32_t token, const float *logits) {
  pml__tutor_answer *a = (pml__tutor_answer *)user;
  pml_choice *c = a->steps ? &a->steps[a->n] : NULL;
  if (c) {
    pml_choices(c, 1, a->model, logits);
    c->p *= pml_expd((double)logits[token] - (double)logits[c->id]);
    c->id = token;
    pml_token_name(a->model, token, c->name);
  }
  a->n++;
  return true;
}

PML_API pml_status pml_tutor_answer(pml_tutor *t, int max_tokens, pml_buf *answer, pml_choice *steps, int *n) {
  pml__tutor_answer a = {t->model, answer, steps, 0};
  pml_generate_options o = pml_generate_defaults();
  o.sampler = t->sampler;
  o.max_tokens = max_tokens;
  o.on_text = pml__tutor_text;
  o.on_token = pml__tutor_token;
  o.user = &a;
  pml_context_truncate(t->session->ctx, &t->session->seq, 0);
  pml_buf_add(answer, "", 0);
  pml_status st = pml_generate(t->session, t->ids, (size_t)t->n, &o);
  if (n) *n = a.n;
  return st == PML_OK && answer->failed ? PML_E_MEMORY : st;
}

PML_API void pml_tutor_word(const pml_tutor *t, const char *question, char word[64], bool *in) {
  const char *start = strstr(t->text.data, question), *best = start, *end = start ? start + strlen(question) : NULL;
  size_t len = 0, at = 0;
  for (const char *s = start; s < end;) {
    size_t n = strcspn(s, " ?!.,;:");
    if (s + n > end) n = (size_t)(end - s);
    if (n > len) best = s, len = n;
    s += n ? n : 1;
  }
  size_t from = best ? (size_t)(best - t->text.data) : 0;
  snprintf(word, 64, "%.*s", (int)(len < 63 ? len : 63), best ? best : "");
  for (int i = 0; i < t->n; i++) {
    size_t n = pml_token_bytes(t->model->tokenizer, t->ids[i]).len;
    in[i] = at < from + len && at + n > from;
    at += n;
  }
}

PML_API double pml_svg_prompt(pml_svg *svg, pml_box b, const pml_tutor *t) {
  enum { MAX = 256 };
  pml_str chip[MAX];
  const char *note[MAX];
  char id[MAX][12];
  int n = t->n < MAX ? t->n : MAX;
  for (int i = 0; i < n; i++) {
    snprintf(id[i], sizeof id[i], "%d", (int)t->ids[i]);
    chip[i] = pml_str_of(t->name[i]);
    note[i] = id[i];
  }
  for (; n > 1 && pml_svg_tokens(NULL, b, chip, n, note, NULL, NULL) > b.h + 20; n--) chip[n - 2] = pml_str_of("…"), note[n - 2] = "";
  return pml_svg_tokens(svg, b, chip, n, note, NULL, NULL);
}

PML_API void pml_svg_cut(pml_svg *svg, pml_box b, const char *name, pml_rgb colour, const pml_cut *c) {
  pml_rgb each[PML_CUT_MAX];
  int n = c->n < PML_CUT_MAX ? c->n : PML_CUT_MAX;
  for (int i = 0; i < n; i++) each[i] = c->unknown[i] ? PML_RED : colour;
  pml_svg_text(svg, b.x, b.y + 30, (pml_font){.size = 28, .weight = 600, .colour = pml_rgb_readable(colour, PML_CANVAS, 4.5)}, name);
  pml_svg_textf(svg, b.x, b.y + 64, (pml_font){.size = 24, .colour = PML_MUTED}, "%d tokens, %d lost", c->n, c->lost);
  pml_box_left(&b, 260, 0);
  pml_svg_tokens(svg, b, c->piece, n, NULL, each, NULL);
}

PML_API void pml_svg_choices(pml_svg *svg, pml_box b, const pml_choice *c, int n) {
  pml_bar bars[16];
  n = n < 16 ? n : 16;
  for (int k = 0; k < n; k++)
    bars[k] = (pml_bar){.label = c[k].name, .value = 100 * c[k].p, .colour = k ? PML_PURPLE : PML_GREEN};
  pml_svg_bars(svg, b, bars, n, &(pml_bar_options){.unit = "%", .decimals = 1});
}

/* ── Output ───────────────────────────────────────────────────────────────── */

PML__FN int pml__columns(const char *s, size_t len) {
  int w = 0;
  for (size_t at = 0; at < len;) {
    uint32_t cp;
    at += (size_t)pml_utf8_decode(s + at, len - at, &cp);
    w += cp == 0xFFFFFFFFu ? 1 : pml_display_width(cp);
  }
  return w;
}

/* Keeps the text and prints it, in a colour when the output has colours. */
PML__FN void pml__print(pml_ctx *ctx, const char *sgr, const char *text, size_t len) {
  if (ctx->quiet) return;
  pml_buf_add(&ctx->text, text, len);
  if (ctx->output == PML_OUTPUT_JSON) return;
  bool paint = ctx->colour && *sgr && len;
  if (paint) printf("\033[%sm", sgr);
  fwrite(text, 1, len, stdout);
  if (paint) printf("\033[0m");
}

/* Prints text as lines of at most ctx->width columns, broken at spaces; a broken line
   goes on two columns right of its own indent. */
PML__FN void pml__print_wrapped(pml_ctx *ctx, const char *sgr, const char *text, size_t len) {
  size_t indent = 0, at = 0;
  while (indent < len && text[indent] == ' ') indent++;
  for (bool first = true; first || at < len; first = false) {
    int room = ctx->width - (first ? 0 : (int)indent + 2), w = 0;
    size_t i = at, cut = 0;
    while (i < len && w <= room) {
      uint32_t cp;
      size_t step = (size_t)pml_utf8_decode(text + i, len - i, &cp);
      if (cp == ' ' && i > at + (first ? indent : 0)) cut = i;
      w += cp == 0xFFFFFFFFu ? 1 : pml_display_width(cp);
      i += step;
    }
    if (w <= room || !cut) cut = w <= room ? len : i;
    if (!first) {
      char pad[80];
      int n = snprintf(pad, sizeof pad, "%*s", (int)(indent + 2 < 40 ? indent + 2 : 40), "");
      pml__print(ctx, "", pad, (size_t)n);
    }
    pml__print(ctx, sgr, text + at, cut - at);
    pml__print(ctx, "", "\n", 1);
    at = cut;
    while (at < len && text[at] == ' ') at++;
  }
}

PML__FN void pml__say(pml_ctx *ctx, const char *sgr, const char *prefix, const char *fmt, va_list ap) {
  pml_buf line = {0};
  va_list again;
  pml_buf_puts(&line, prefix);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n >= 0 && pml__buf_reserve(&line, (size_t)n)) {
    vsnprintf(line.data + line.len, (size_t)n + 1, fmt, again);
    line.len += (size_t)n;
  }
  va_end(again);
  for (size_t at = 0; line.data && at <= line.len;) {
    size_t end = pml__line_end(line.data, line.len, at);
    pml__print_wrapped(ctx, sgr, line.data + at, end - at);
    at = end + 1;
  }
  pml_buf_free(&line);
  if (!ctx->quiet) fflush(stdout);
}

PML_API void pml_say(pml_ctx *ctx, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  pml__say(ctx, "", "", fmt, ap);
  va_end(ap);
}

PML_API void pml_heading(pml_ctx *ctx, const char *fmt, ...) {
  va_list ap;
  if (ctx->text.len) pml__print(ctx, "", "\n", 1);
  va_start(ap, fmt);
  pml__say(ctx, "1;36", "", fmt, ap);
  va_end(ap);
}

PML_API void pml_show_prompt(pml_ctx *ctx, const pml_tutor *t) {
  pml_buf line = {0};
  for (int i = 0; i < t->n; i++) pml_buf_printf(&line, " %s(%d)", t->name[i], (int)t->ids[i]);
  pml_say(ctx, " %s", line.data ? line.data : "");
  pml_buf_free(&line);
}

PML_API void pml_emit(pml_ctx *ctx, const char *bytes, size_t len) {
  pml__print(ctx, "", bytes, len);
  if (!ctx->quiet) fflush(stdout);
}

/* A cell padded to `width` columns. */
PML__FN void pml__pad(pml_buf *out, const char *cell, int width, char align) {
  int w = pml__columns(cell, strlen(cell)), left = align == 'r'   ? width - w
                                                   : align == 'c' ? (width - w) / 2
                                                                  : 0;
  int right = width - w - left;
  pml_buf_printf(out, "%*s%s%*s", left > 0 ? left : 0, "", cell, right > 0 ? right : 0, "");
}

PML__FN void pml__print_line(pml_ctx *ctx, const char *sgr, pml_buf *line) {
  while (line->len && line->data[line->len - 1] == ' ') line->data[--line->len] = 0;
  pml_buf_puts(line, "\n");
  if (!line->failed) pml__print(ctx, sgr, line->data, line->len);
  pml_buf_free(line);
}

PML_API void pml_show_table(pml_ctx *ctx, const char *const *cells, int rows, int cols, const char *align) {
  enum { MAX = 24 };
  int width[MAX] = {0}, sum = 2;
  if (cols > MAX) cols = MAX;
  for (int i = 0; i < rows * cols; i++) {
    int w = pml__columns(cells[i], strlen(cells[i]));
    if (w > width[i % cols]) width[i % cols] = w;
  }
  for (int j = 0; j < cols; j++) sum += width[j] + (j ? 2 : 0);
  for (int i = 1; sum > ctx->width && i < rows; i++) {
    pml_say(ctx, "  %s", cells[i * cols]);
    for (int j = 1; j < cols; j++) pml_say(ctx, "    %s: %s", cells[j], cells[i * cols + j]);
  }
  for (int i = 0; sum <= ctx->width && i < rows; i++) {
    pml_buf line = {0};
    pml_buf_puts(&line, "  ");
    for (int j = 0; j < cols; j++) {
      if (j) pml_buf_puts(&line, "  ");
      pml__pad(&line, cells[i * cols + j], width[j], align[j]);
    }
    pml__print_line(ctx, i == 0 ? "2" : "", &line);
  }
}

PML_API void pml_show_rows(pml_ctx *ctx, const pml_table *t, const char *align) {
  const char **cells = pml_table_cells(t);
  if (cells) pml_show_table(ctx, cells, t->rows, t->cols, align);
  else pml_expect(ctx, false, "%s", pml_error());
  pml_free((void *)cells);
}

PML_API void pml_show_bars(pml_ctx *ctx, const pml_bar *bars, int n, const pml_bar_options *o) {
  static const pml_bar_options none = {0};
  static const char *const eighth[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  int label = 0, text = 0;
  if (!o) o = &none;
  double hi = fmax(o->max, o->limit);
  for (int i = 0; i < n; i++) {
    char shown[96];
    pml__bar_text(shown, &bars[i], o);
    int w = pml__columns(bars[i].label, strlen(bars[i].label)), t = pml__columns(shown, strlen(shown));
    if (w > label) label = w;
    if (t > text) text = t;
    hi = fmax(hi, bars[i].value);
  }
  int room = ctx->width - label - text - 6;
  if (room > 50) room = 50;
  for (int i = 0; i < n; i++) {
    pml_buf line = {0};
    char shown[96];
    pml__bar_text(shown, &bars[i], o);
    pml_buf_puts(&line, "  ");
    pml__pad(&line, bars[i].label, label, 'r');
    pml_buf_puts(&line, "  ");
    int units = room > 0 && hi > 0 && bars[i].value > 0 ? (int)(bars[i].value / hi * room * 8 + 0.5) : 0;
    for (int k = 0; k < units / 8; k++) pml_buf_puts(&line, "█");
    pml_buf_printf(&line, "%s %s", eighth[units % 8], shown);
    pml__print_line(ctx, "", &line);
  }
}

PML_API void pml_show_matrix(pml_ctx *ctx, const char *name, const double *v, int rows, int cols,
                             int decimals, const char *const *row_names, const char *const *col_names) {
  int width = 0, label = 0;
  if (name) pml_say(ctx, "  %s [%d × %d]", name, rows, cols);
  for (int i = 0; i < rows * cols; i++) {
    char text[48];
    pml_number_text(text, v[i], decimals);
    int w = v[i] == v[i] ? pml__columns(text, strlen(text)) : 1;
    if (w > width) width = w;
  }
  for (int j = 0; col_names && j < cols; j++)
    width = (int)fmax(width, pml__columns(col_names[j], strlen(col_names[j])));
  for (int i = 0; row_names && i < rows; i++)
    label = (int)fmax(label, pml__columns(row_names[i], strlen(row_names[i])));
  int fit = (ctx->width - 4 - label) / (width + 2), shown = fit < cols ? (fit > 1 ? fit - 1 : 1) : cols;
  for (int i = col_names ? -1 : 0; i < rows; i++) {
    pml_buf line = {0};
    pml_buf_puts(&line, "  ");
    pml__pad(&line, i >= 0 && row_names ? row_names[i] : "", label, 'r');
    for (int j = 0; j < shown; j++) {
      char text[48];
      if (i >= 0) pml_number_text(text, v[i * cols + j], decimals);
      pml_buf_puts(&line, "  ");
      pml__pad(&line, i < 0 ? col_names[j] : v[i * cols + j] == v[i * cols + j] ? text : "·", width, 'r');
    }
    if (shown < cols) pml_buf_puts(&line, "  …");
    pml__print_line(ctx, i < 0 ? "2" : "", &line);
  }
}

PML_API void pml_show_tokens(pml_ctx *ctx, const char *label, const pml_str *tokens, size_t n) {
  pml_buf line = {0};
  for (size_t i = 0; i < n; i++) {
    pml_buf_puts(&line, i ? "|" : "");
    pml_text_visible(&line, tokens[i].ptr, tokens[i].len);
  }
  pml_say(ctx, "  %s%s%s", label ? label : "", label ? "  " : "", line.data ? line.data : "");
  pml_buf_free(&line);
}

PML_API void pml_show_floats(pml_ctx *ctx, const char *name, const float *values, int rows, int cols, int decimals,
                             const char *const *row_names, const char *const *col_names) {
  double v[256];
  for (int i = 0; i < rows * cols && i < 256; i++) v[i] = (double)values[i];
  if (rows * cols <= 256) pml_show_matrix(ctx, name, v, rows, cols, decimals, row_names, col_names);
}

typedef struct {
  pml_ctx *ctx;
  const pml_tokenizer *t;
} pml__merges;

PML__FN void pml__show_merge(void *user, const int32_t *ids, size_t n, int32_t rank) {
  const pml__merges *m = (const pml__merges *)user;
  pml_str piece[64];
  char label[24] = "the bytes";
  n = n < 64 ? n : 64;
  for (size_t i = 0; i < n; i++) piece[i] = pml_token_bytes(m->t, ids[i]);
  if (rank >= 0) snprintf(label, sizeof label, "rank %4d", (int)rank);
  pml_show_tokens(m->ctx, label, piece, n);
}

PML_API pml_status pml_show_merges(pml_ctx *ctx, const pml_tokenizer *t, const char *word) {
  pml__merges m = {ctx, t};
  return pml_bpe_steps(t, word, strlen(word), pml__show_merge, &m);
}

PML_API void pml_show_cut(pml_ctx *ctx, const char *label, const pml_cut *c) {
  pml_show_tokens(ctx, label, c->piece, (size_t)(c->n < PML_CUT_MAX ? c->n : PML_CUT_MAX));
}

PML_API void pml_progress(pml_ctx *ctx, long done, long total, const char *what) {
  if (ctx->quiet || !isatty(2)) return;
  if (total <= 0) fprintf(stderr, "\r\033[K");
  else fprintf(stderr, "\r\033[K%s %ld/%ld (%ld %%)", what, done, total, done * 100 / total);
  fflush(stderr);
}

/* ── Claims, values, measurements ─────────────────────────────────────────── */

/* Room for one more element in an array that grows by doubling from 16. */
PML__FN bool pml__lesson_grow(void **array, int n, size_t size) {
  if (n && (n < 16 || (n & (n - 1)))) return true;
  void *more = pml_realloc(*array, size * (size_t)(n < 16 ? 16 : 2 * n));
  if (more) *array = more;
  return more != NULL;
}

PML_API bool pml_expect(pml_ctx *ctx, bool condition, const char *fmt, ...) {
  va_list ap;
  pml_buf text = {0};
  va_start(ap, fmt);
  if (!condition) ctx->n_failed++;
  pml__say(ctx, condition ? "32" : "1;31", condition ? "  ✓ " : "  ✗ ", fmt, ap);
  va_end(ap);
  if (ctx->quiet || !pml__lesson_grow((void **)&ctx->claims, ctx->n_claims, sizeof *ctx->claims))
    return condition;
  char line[1024];
  va_start(ap, fmt);
  vsnprintf(line, sizeof line, fmt, ap);
  va_end(ap);
  pml_buf_free(&text);
  ctx->claims[ctx->n_claims++] = (pml__claim){condition, pml_strdup(line)};
  return condition;
}

PML_API bool pml_expect_refused(pml_ctx *ctx, const char *name, pml_status got, pml_status wanted, const char *word,
                                const char *fmt, ...) {
  char claim[512], sentence[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(claim, sizeof claim, fmt, ap);
  va_end(ap);
  snprintf(sentence, sizeof sentence, "%s", got == PML_OK ? "nobody noticed" : pml_error());
  pml_say(ctx, "  %s", sentence);
  pml_value_text(ctx, name, sentence);
  return pml_expect(ctx, got == wanted && strstr(sentence, word) != NULL, "%s", claim);
}

PML__FN pml_fact *pml__value_new(pml_ctx *ctx, const char *name, const char *unit) {
  if (ctx->quiet || !pml__lesson_grow((void **)&ctx->values, ctx->n_values, sizeof *ctx->values)) return NULL;
  pml_fact *v = &ctx->values[ctx->n_values++];
  *v = (pml_fact){.value = 0};
  snprintf(v->name, sizeof v->name, "%s", name);
  snprintf(v->unit, sizeof v->unit, "%s", unit ? unit : "");
  return v;
}

PML_API void pml_value(pml_ctx *ctx, const char *name, double value, const char *unit) {
  pml_fact *v = pml__value_new(ctx, name, unit);
  if (v) v->value = value;
}

PML_API void pml_value_text(pml_ctx *ctx, const char *name, const char *text) {
  pml_fact *v = pml__value_new(ctx, name, "");
  if (v) v->text = pml_strdup(text);
}

PML_API bool pml_measures(const pml_ctx *ctx) { return !ctx->publish; }

PML_API pml_number pml_measure(pml_ctx *ctx, const char *name, const char *unit, const double *samples,
                               size_t n) {
  pml_number x = {.n = 0};
  char shown[128];
  snprintf(x.name, sizeof x.name, "%s", name);
  snprintf(x.unit, sizeof x.unit, "%s", unit);
  if (ctx->publish) {
    const pml_number *old = ctx->recorded ? pml_record_find(&ctx->old, name) : NULL;
    if (old) x = *old;
  } else if (samples && n) {
    x.median = pml_median(samples, n);
    x.lo = x.hi = x.median;
    if (n > 1) pml_bootstrap(samples, n, 0.95, 1, &x.lo, &x.hi);
    x.n = n < INT_MAX ? (int)n : INT_MAX;
    pml_record_add(&ctx->fresh, &x);
  }
  if (x.n == 0) {
    pml_say(ctx, "  %s: not recorded yet (make benchmark-notes)", name);
    return x;
  }
  pml_number_show(shown, &x);
  if (ctx->publish && !ctx->machine_said)
    pml_say(ctx, "  (recorded on %s, %s)", ctx->old.machine, ctx->old.date);
  ctx->machine_said = true;
  pml_say(ctx, "  %s: %s", name, shown);
  return x;
}

PML_API void pml_measure_stages(pml_ctx *ctx, const pml_stages *t, int steps, double *share) {
  double all = 0;
  for (int k = 0; k < t->n; k++) {
    char name[48];
    bool once = t->spans[k] == 1;
    size_t first = once || steps < 2 ? 0 : 1, n = first ? (size_t)steps - 1 : 1;
    snprintf(name, sizeof name, "%s, %s", t->names[k], once ? "once" : "per token");
    pml_number x = pml_measure(ctx, name, "µs", t->us[k] + first, n);
    all += share[k] = once ? 0 : x.median;
  }
  for (int k = 0; k < t->n && all > 0; k++) share[k] /= all;
}

/* @measure_pair */
PML_API pml_status pml_measure_pair(pml_ctx *ctx, pml_status (*way)(void *user, int which), void *user, double scale,
                                    const char *unit, pml_number *out, const char *names, ...) {
  double samples[2][PML_PAIR_REPS];
  char name[2][64] = {"", ""}, both[128];
  va_list ap;
  va_start(ap, names);
  vsnprintf(both, sizeof both, names, ap);
  va_end(ap);
  size_t tab = strcspn(both, "\t");
  snprintf(name[0], sizeof name[0], "%.*s", (int)tab, both);
  snprintf(name[1], sizeof name[1], "%s", both + tab + (both[tab] != 0));
  for (int k = 0; pml_measures(ctx) && k < 2 * PML_PAIR_REPS; k++) {
    double begin = pml_time();
    pml_status st = way(user, k % 2);
    samples[k % 2][k / 2] = (pml_time() - begin) * scale;
    if (st != PML_OK) return st;
  }
  for (int i = 0; i < 2; i++)
    out[i] = pml_measure(ctx, name[i], unit, pml_measures(ctx) ? samples[i] : NULL, PML_PAIR_REPS);
  return PML_OK;
}
/* @end */

/* ── Flags ────────────────────────────────────────────────────────────────── */

typedef struct {
  const char *name, *value, *help;
} pml__common_flag;
static const pml__common_flag pml__common[] PML__UNUSED = {
    {"help", NULL, "this text"},
    {"seed", "N", "of every random number (42)"},
    {"output", "tui|json|stdout", "coloured, one JSON object, or plain text"},
    {"stdout", NULL, "the same as --output stdout; the default when not in a terminal"},
    {"tui", NULL, "the same as --output tui"},
    {"benchmark", NULL, "time it: up to 1000 iterations or 5 seconds"},
    {"strict", NULL, "the same bits on every machine (§ 8)"},
    {"threads", "N", "0 is one per core"},
    {"tier", "tiny|small|medium|large", "model size: Qwen2.5 0.5B, 1.5B, 7B, 32B shapes"},
    {"full", NULL, "the long study instead of the short demonstration"},
    {"question", "TEXT", "what the tutor is asked"},
    {"diagram", "FILE", "write the diagram as SVG (strict, recorded times)"},
    {"note", "FILE", "write the reading page (strict, recorded times)"},
    {"png", "FILE", "write the diagram as PNG (strict, recorded times)"},
    {"record", "FILE", "write the measured numbers, as make benchmark-notes does"}};
enum { PML__N_COMMON = sizeof pml__common / sizeof pml__common[0] };

/* --question is only for lessons that ask. */
PML__FN bool pml__common_has(const pml_lesson *l, int k) {
  return l->question || strcmp(pml__common[k].name, "question") != 0;
}

/* "iterations|i" has the long form iterations and the short form i. */
PML__FN bool pml__flag_is(const char *names, const char *given, size_t len) {
  while (*names) {
    size_t n = strcspn(names, "|");
    if (n == len && !strncmp(names, given, len)) return true;
    names += n + (names[n] == '|');
  }
  return false;
}

/* Levenshtein's distance of the first 31 characters. */
PML__FN int pml__distance(const char *a, size_t na, const char *b, size_t nb) {
  int row[32];
  na = na < 31 ? na : 31;
  nb = nb < 31 ? nb : 31;
  for (size_t j = 0; j <= nb; j++) row[j] = (int)j;
  for (size_t i = 1; i <= na; i++) {
    int diagonal = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= nb; j++) {
      int best = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[nb];
}

PML__FN int pml__usage(const pml_lesson *l, const char *fmt, ...) PML__PRINTF(2, 3);
PML__FN int pml__usage(const pml_lesson *l, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "%s_%s: ", l->number, l->name);
  vfprintf(stderr, fmt, ap);
  fprintf(stderr, "\n");
  va_end(ap);
  return 2;
}

PML__FN int pml__n_flags(const pml_lesson *l) {
  int n = 0;
  while (n < (int)(sizeof l->flags / sizeof l->flags[0]) && l->flags[n].name) n++;
  return n;
}

PML__FN int pml__unknown_flag(const pml_lesson *l, const char *given, size_t len) {
  const char *best = "help";
  int least = 1000;
  for (int i = 0; i < PML__N_COMMON + pml__n_flags(l); i++) {
    if (i < PML__N_COMMON && !pml__common_has(l, i)) continue;
    const char *name = i < PML__N_COMMON ? pml__common[i].name : l->flags[i - PML__N_COMMON].name;
    int d = pml__distance(given, len, name, strcspn(name, "|"));
    if (d < least) least = d, best = name;
  }
  return pml__usage(l, "there is no flag --%.*s: the nearest is --%.*s; --help lists them all", (int)len,
                    given, (int)strcspn(best, "|"), best);
}

/* Text to a value of a lesson's flag; false when it is none. */
PML__FN bool pml__flag_set(const pml_flag *f, const char *text) {
  char *end = NULL;
  errno = 0;
  if (f->kind == PML_FLAG_STRING || f->kind == PML_FLAG_WORD) *(const char **)f->value = text;
  else if (f->kind == PML_FLAG_INT) {
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < INT_MIN || v > INT_MAX) return false;
    *(int *)f->value = (int)v;
  } else if (f->kind == PML_FLAG_FLOAT) {
    double v = strtod(text, &end);
    if (end == text || *end || v - v != 0) return false;
    *(double *)f->value = v;
  } else {
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) return false;
    *(bool *)f->value = *text == 't';
  }
  return true;
}

PML__FN int pml__flag_choice(const char *text, const char *const *names, int n) {
  for (int i = 0; i < n; i++)
    if (strcmp(text, names[i]) == 0) return i;
  return -1;
}

/* A flag that every lesson takes.  0, or 2 after a sentence. */
PML__FN int pml__common_set(pml_ctx *ctx, const char *name, const char *value) {
  static const char *const outputs[] = {"stdout", "tui", "json"}, *const tiers[] = {"tiny", "small", "medium",
                                                                                    "large"};
  char *end;
  errno = 0;
  if (!strcmp(name, "stdout")) ctx->output = PML_OUTPUT_STDOUT;
  else if (!strcmp(name, "tui")) ctx->output = PML_OUTPUT_TUI;
  else if (!strcmp(name, "benchmark")) ctx->benchmark = true;
  else if (!strcmp(name, "strict")) ctx->strict = true;
  else if (!strcmp(name, "full")) ctx->full = true;
  else if (!strcmp(name, "question")) ctx->question = value;
  else if (!strcmp(name, "diagram")) ctx->diagram = value;
  else if (!strcmp(name, "note")) ctx->note = value;
  else if (!strcmp(name, "png")) ctx->png = value;
  else if (!strcmp(name, "record")) ctx->record = value;
  else if (!strcmp(name, "output")) {
    int i = pml__flag_choice(value, outputs, 3);
    if (i < 0) return pml__usage(ctx->lesson, "--output %s: give tui, json or stdout", value);
    ctx->output = (pml_output)i;
  } else if (!strcmp(name, "tier")) {
    int i = pml__flag_choice(value, tiers, 4);
    if (i < 0) return pml__usage(ctx->lesson, "--tier %s: give tiny, small, medium or large", value);
    ctx->tier = (pml_tier)i;
    ctx->tier_given = true;
  } else if (!strcmp(name, "seed")) {
    ctx->seed = strtoull(value, &end, 10);
    if (errno || end == value || *end || *value == '-')
      return pml__usage(ctx->lesson, "--seed %s: give a number from 0 to 2^64-1", value);
  } else if (!strcmp(name, "threads")) {
    long n = strtol(value, &end, 10);
    if (errno || end == value || *end || n < 0 || n > 256)
      return pml__usage(ctx->lesson, "--threads %s: give 0 to 256", value);
    ctx->threads = (int)n;
  }
  return 0;
}

PML__FN void pml__help(const pml_lesson *l) {
  printf("%s %s: %s\n\nusage: %s_%s [flags]\n", l->number, l->title, l->summary, l->number, l->name);
  if (pml__n_flags(l)) printf("\nThis lesson:\n");
  for (int i = 0; i < pml__n_flags(l); i++) {
    static const char *const meta[] = {"", " N", " X", " TEXT", " [WORD]"};
    const pml_flag *f = &l->flags[i];
    char left[64], shown[48] = "";
    size_t n = strcspn(f->name, "|");
    snprintf(left, sizeof left, "--%.*s%s%.8s%s", (int)n, f->name, f->name[n] ? ", -" : "",
             f->name[n] ? f->name + n + 1 : "", meta[f->kind]);
    if (f->kind == PML_FLAG_INT) snprintf(shown, sizeof shown, " (%d)", *(int *)f->value);
    if (f->kind == PML_FLAG_FLOAT) snprintf(shown, sizeof shown, " (%g)", *(double *)f->value);
    printf("  %-26s %s%s\n", left, f->help, shown);
  }
  printf("\nEvery lesson:\n");
  for (int i = 0; i < PML__N_COMMON; i++) {
    char left[64];
    if (!pml__common_has(l, i)) continue;
    snprintf(left, sizeof left, "--%s%s%s", pml__common[i].name, pml__common[i].value ? " " : "",
             pml__common[i].value ? pml__common[i].value : "");
    printf("  %-26s %s", left, pml__common[i].help);
    if (!strcmp(pml__common[i].name, "question")) printf(" (%s)", l->question);
    printf("\n");
  }
  printf("\nExit status: 0 every check held, 1 one failed, 2 bad usage.\n");
}

/* One argument of argv, perhaps with the next as its value.  Returns 0, 2 after a
   sentence, or -1 when the help was printed. */
PML__FN int pml__parse_one(pml_ctx *ctx, int argc, char **argv, int *i) {
  const pml_lesson *l = ctx->lesson;
  const char *arg = argv[*i], *given = arg + (arg[0] == '-') + (arg[0] == '-' && arg[1] == '-');
  size_t len = strcspn(given, "=");
  const char *value = given[len] == '=' ? given + len + 1 : NULL;
  if (arg[0] != '-' || !*given)
    return pml__usage(l, "'%s' is no flag: this lesson takes only flags, --help lists them", arg);
  if (!strcmp(arg, "-h")) given = "help", len = 4;
  for (int k = 0; k < pml__n_flags(l); k++) {
    const pml_flag *f = &l->flags[k];
    if (!pml__flag_is(f->name, given, len)) continue;
    if (f->kind == PML_FLAG_BOOL && !value) value = "true";
    else if (f->kind == PML_FLAG_WORD && !value) value = *i + 1 < argc && argv[*i + 1][0] != '-' ? argv[++*i] : "";
    else if (!value && *i + 1 < argc) value = argv[++*i];
    if (!value) return pml__usage(l, "--%.*s needs a value", (int)len, given);
    if (!pml__flag_set(f, value))
      return pml__usage(l, "--%.*s %s: give %s", (int)len, given, value,
                        f->kind == PML_FLAG_BOOL  ? "true or false"
                        : f->kind == PML_FLAG_INT ? "a whole number"
                                                  : "a number");
    return 0;
  }
  for (int k = 0; k < PML__N_COMMON; k++) {
    const pml__common_flag *f = &pml__common[k];
    if (strlen(f->name) != len || strncmp(f->name, given, len) != 0 || !pml__common_has(l, k)) continue;
    if (k == 0) {
      pml__help(l);
      return -1;
    }
    if (!f->value && value) return pml__usage(l, "--%s takes no value", f->name);
    if (f->value && !value && *i + 1 < argc) value = argv[++*i];
    if (f->value && !value) return pml__usage(l, "--%s needs a value: %s", f->name, f->value);
    return pml__common_set(ctx, f->name, value);
  }
  return pml__unknown_flag(l, given, len);
}

/* ── Results ──────────────────────────────────────────────────────────────── */

PML__FN const char *pml__part_name(const pml_lesson *l) {
  static const char *const names[] = {
      "Foundations", "Model formats", "Inference serving", "Model optimisation", "Fine-tuning", "MLOps",
      "Edge",        "Showcase",      "Capstone"};
  int i = l->number[0] - '0';
  return i >= 0 && i < 9 ? names[i] : "Course";
}

PML__FN void pml__json_number(pml_buf *out, const pml_number *x) {
  pml_buf_puts(out, "\"median\":");
  pml_json_put_num(out, x->median);
  pml_buf_puts(out, ",\"lo\":");
  pml_json_put_num(out, x->lo);
  pml_buf_puts(out, ",\"hi\":");
  pml_json_put_num(out, x->hi);
  pml_buf_printf(out, ",\"n\":%d,\"unit\":", x->n);
  pml_json_put_str(out, x->unit, strlen(x->unit));
}

PML__FN void pml__print_json(const pml_ctx *ctx) {
  const pml_lesson *l = ctx->lesson;
  pml_buf out = {0};
  char program[128];
  snprintf(program, sizeof program, "lessons/%s_%s.c", l->number, l->name);
  pml_buf_printf(&out, "{\"lesson\":\"%s_%s\",\"title\":", l->number, l->name);
  pml_json_put_str(&out, l->title, strlen(l->title));
  pml_buf_printf(&out, ",\"passed\":%d,\"failed\":%d,\"assertions\":[", ctx->n_claims - ctx->n_failed,
                 ctx->n_failed);
  for (int i = 0; i < ctx->n_claims; i++) {
    const char *text = ctx->claims[i].text ? ctx->claims[i].text : "";
    pml_buf_printf(&out, "%s{\"ok\":%s,\"text\":", i ? "," : "", ctx->claims[i].ok ? "true" : "false");
    pml_json_put_str(&out, text, strlen(text));
    pml_buf_puts(&out, "}");
  }
  pml_buf_puts(&out, "],\"values\":{");
  for (int i = 0; i < ctx->n_values; i++) {
    pml_buf_puts(&out, i ? "," : "");
    pml_json_put_str(&out, ctx->values[i].name, strlen(ctx->values[i].name));
    pml_buf_puts(&out, ":{\"value\":");
    if (ctx->values[i].text) pml_json_put_str(&out, ctx->values[i].text, strlen(ctx->values[i].text));
    else pml_json_put_num(&out, ctx->values[i].value);
    pml_buf_puts(&out, ",\"unit\":");
    pml_json_put_str(&out, ctx->values[i].unit, strlen(ctx->values[i].unit));
    pml_buf_puts(&out, "}");
  }
  pml_buf_puts(&out, "},\"measured\":{");
  for (int i = 0; i < ctx->fresh.n; i++) {
    pml_buf_puts(&out, i ? "," : "");
    pml_json_put_str(&out, ctx->fresh.number[i].name, strlen(ctx->fresh.number[i].name));
    pml_buf_puts(&out, ":{");
    pml__json_number(&out, &ctx->fresh.number[i]);
    pml_buf_puts(&out, "}");
  }
  pml_buf_puts(&out, "},\"provenance\":");
  pml_provenance_json(&out, program, ctx->seed);
  pml_buf_puts(&out, "}\n");
  fwrite(out.data ? out.data : "", 1, out.len, stdout);
  pml_buf_free(&out);
}

PML__FN pml_status pml__lesson_run(pml_ctx *ctx) {
  const pml_lesson *l = ctx->lesson;
  pml_status st = PML_OK;
  if (l->result_size) memset(l->result, 0, l->result_size);
  if (l->question && !ctx->tutor) st = pml_tutor_open(&ctx->tutor, ctx, ctx->question);
  for (size_t i = 0; i < sizeof l->run / sizeof l->run[0] && l->run[i] && st == PML_OK && !pml_cancelled(); i++)
    st = l->run[i](ctx);
  return st;
}

/* --benchmark: the quiet lesson again and again. */
PML__FN pml_status pml__benchmark(pml_ctx *ctx) {
  enum { MAX = 1000 };
  pml_status (*fn)(pml_ctx *) = ctx->lesson->bench ? ctx->lesson->bench : pml__lesson_run;
  double *ms = (double *)pml_alloc(MAX * sizeof *ms), start = pml_time(), lo, hi;
  int n = 0, failed = ctx->n_failed;
  if (!ms) return PML_E_MEMORY;
  ctx->quiet = true;
  pml_status st = fn(ctx); /* once unmeasured: caches, page faults */
  while (st == PML_OK && n < MAX && !pml_cancelled() && (n < 3 || pml_time() - start < 5)) {
    double t0 = pml_time();
    st = fn(ctx);
    ms[n++] = (pml_time() - t0) * 1e3;
  }
  ctx->quiet = false;
  ctx->n_failed = failed;
  if (st == PML_OK && n > 0) {
    pml_heading(ctx, "Benchmark: %d iterations", n);
    pml_bootstrap(ms, (size_t)n, 0.95, ctx->seed, &lo, &hi);
    pml_say(ctx, "  median %.3g ms (95 %% interval %.3g to %.3g), P50 %.3g, P90 %.3g, P99 %.3g",
            pml_median(ms, (size_t)n), lo, hi, pml_quantile(ms, (size_t)n, 0.5),
            pml_quantile(ms, (size_t)n, 0.9), pml_quantile(ms, (size_t)n, 0.99));
    pml_number x = {
        .name = "benchmark", .unit = "ms", .median = pml_median(ms, (size_t)n), .lo = lo, .hi = hi, .n = n};
    pml_value(ctx, "benchmark_p50", pml_quantile(ms, (size_t)n, 0.5), "ms");
    pml_value(ctx, "benchmark_p90", pml_quantile(ms, (size_t)n, 0.9), "ms");
    pml_value(ctx, "benchmark_p99", pml_quantile(ms, (size_t)n, 0.99), "ms");
    pml_record_add(&ctx->fresh, &x);
  }
  pml_free(ms);
  return st;
}

/* ── Diagrams and pages ───────────────────────────────────────────────────── */

PML_API void pml_lesson_title(pml_ctx *ctx, pml_svg *svg, const char *fmt, ...) {
  char title[256], tag[96], source[128], measured[192] = "";
  const pml_lesson *l = ctx->lesson;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(title, sizeof title, fmt, ap);
  va_end(ap);
  snprintf(tag, sizeof tag, "Part %c · Lesson %s", l->number[0], l->number);
  snprintf(source, sizeof source, "computed by lessons/%s_%s.c, prodml.h %s", l->number, l->name,
           PML_VERSION);
  const pml_record *r = ctx->recorded ? &ctx->old : &ctx->fresh;
  if (r->n) snprintf(measured, sizeof measured, "times measured on %.90s, %.15s", r->machine, r->date);
  pml_svg_head head = {title, NULL, tag, source, *measured ? measured : NULL};
  pml_svg_head_set(svg, &head);
}

/* One picture to its files.  path NULL: only drawn, for its title. */
PML__FN pml_status pml__lesson_draw(pml_ctx *ctx, pml_status (*draw)(pml_ctx *, pml_svg *), const char *path,
                                    const char *png, char **alt) {
  pml_svg *svg;
  pml_status st = pml_svg_create(&svg, NULL);
  if (st != PML_OK) return st;
  st = draw(ctx, svg);
  if (st == PML_OK && path) st = pml_svg_save(svg, path);
  if (st == PML_OK && png) st = pml_svg_png(svg, png);
  if (st == PML_OK && alt) *alt = pml_strdup(pml_svg_title(svg));
  pml_svg_free(svg);
  if (st == PML_OK && path) fprintf(stderr, "wrote %s\n", path);
  if (st == PML_OK && png) fprintf(stderr, "wrote %s\n", png);
  return st;
}

/* base.svg and topic: base_topic.svg */
PML__FN void pml__topic_path(char out[1024], const char *base, const char *topic) {
  size_t n = strlen(base), dot = n;
  while (dot > 0 && base[dot - 1] != '.' && base[dot - 1] != '/') dot--;
  size_t cut = dot && base[dot - 1] == '.' ? dot - 1 : n;
  snprintf(out, 1024, "%.*s_%s%s", (int)cut, base, topic, base + cut);
}

/* The line of the lesson's head comment that compiles it. */
PML__FN void pml__compile_line(const pml_page *p, char out[256]) {
  snprintf(out, 256, "make lessons");
  for (size_t at = 0, next; at < p->lesson_len && at < 4000; at = next) {
    size_t end = pml__line_end(p->lesson, p->lesson_len, at), i = at;
    next = end + 1;
    while (i < end && (p->lesson[i] == ' ' || p->lesson[i] == '*' || p->lesson[i] == '/')) i++;
    if (end - i < 4 || strncmp(p->lesson + i, "cc ", 3) != 0) continue;
    snprintf(out, 256, "%.*s", (int)(end - i), p->lesson + i);
    return;
  }
}

PML__FN pml_status pml__lesson_page(pml_ctx *ctx) {
  const pml_lesson *l = ctx->lesson;
  char title[160], lead[400], header[1024], source[1024], name[128], demo[128], compile[256], file[300];
  pml_page *p;
  snprintf(title, sizeof title, "%s · %s", l->number, l->title);
  for (size_t i = 0; i <= strlen(l->name) && i < sizeof demo; i++)
    demo[i] = l->name[i] == '_' ? '-' : l->name[i];
  demo[sizeof demo - 1] = 0;
  snprintf(name, sizeof name, "%s_%s", l->number, l->name);
  snprintf(lead, sizeof lead, "Part %c · %s · [lessons/%s.c](../lessons/%s.c)", l->number[0],
           pml__part_name(l), name, name);
  const char *found = pml_lesson_path(ctx, "../prodml.h");
  if (!found) return PML_E_IO;
  snprintf(header, sizeof header, "%s", found);
  snprintf(file, sizeof file, "%s.c", name);
  if (!(found = pml_lesson_path(ctx, file))) found = l->file;
  snprintf(source, sizeof source, "%s", found);
  pml_status st = pml_page_create(&p, title, lead, l->summary, header, source);
  if (st != PML_OK) return st;
  for (int i = 0; i < 6 && l->sections[i]; i++) pml_page_idea(p, l->sections[i]);
  pml__compile_line(p, compile);
  pml_page_text(p, PML_PAGE_RUN,
                "Compile and run the lesson alone, or type `make demo-%s`.  Below is what it prints with "
                "`--stdout --strict`.",
                demo);
  pml_page_run(p, compile, ctx->text.data ? ctx->text.data : "");
  for (int i = -1; i < 4 && st == PML_OK; i++) {
    if (i >= 0 ? !l->pictures[i].draw : !l->draw) continue;
    char *alt = NULL;
    st = pml__lesson_draw(ctx, i < 0 ? l->draw : l->pictures[i].draw, NULL, NULL, &alt);
    snprintf(file, sizeof file, "../diagrams/%s%s%s.svg", name, i < 0 ? "" : "_",
             i < 0 ? "" : l->pictures[i].topic);
    if (st == PML_OK) pml_page_diagram(p, file, alt ? alt : "");
    pml_free(alt);
  }
  if (st == PML_OK) pml_page_prose(p, ctx->values, ctx->n_values);
  if (st == PML_OK) st = pml_page_save(p, ctx->note);
  pml_page_free(p);
  if (st == PML_OK) fprintf(stderr, "wrote %s\n", ctx->note);
  return st;
}

PML__FN pml_status pml__lesson_write(pml_ctx *ctx) {
  const pml_lesson *l = ctx->lesson;
  pml_status st = PML_OK;
  if ((ctx->diagram || ctx->png) && !l->draw) return pml_fail(PML_E_USAGE, "this lesson has no diagram");
  if (ctx->diagram || ctx->png) st = pml__lesson_draw(ctx, l->draw, ctx->diagram, ctx->png, NULL);
  for (int i = 0; i < 4 && st == PML_OK; i++) {
    char svg[1024], png[1024];
    if (!l->pictures[i].draw || !(ctx->diagram || ctx->png)) continue;
    if (ctx->diagram) pml__topic_path(svg, ctx->diagram, l->pictures[i].topic);
    if (ctx->png) pml__topic_path(png, ctx->png, l->pictures[i].topic);
    st = pml__lesson_draw(ctx, l->pictures[i].draw, ctx->diagram ? svg : NULL, ctx->png ? png : NULL, NULL);
  }
  if (st == PML_OK && ctx->note) st = pml__lesson_page(ctx);
  if (st == PML_OK && ctx->record) {
    st = pml_record_write(&ctx->fresh, ctx->record);
    if (st == PML_OK) fprintf(stderr, "wrote %s\n", ctx->record);
  }
  return st;
}

/* ── The main function ────────────────────────────────────────────────────── */

PML__FN int pml__terminal_width(void) {
  struct winsize size;
  const char *env = getenv("COLUMNS");
  int n = env ? atoi(env) : 0;
  if (n <= 0 && ioctl(1, TIOCGWINSZ, &size) == 0) n = size.ws_col;
  return n <= 0 ? 80 : n < 40 ? 40 : n > 120 ? 120 : n;
}

PML__FN void pml__ctx_start(pml_ctx *ctx, const pml_lesson *l, char *argv0) {
  const char *plain = getenv("NO_COLOR");
  memset(ctx, 0, sizeof *ctx);
  ctx->lesson = l;
  ctx->question = l->question;
  ctx->seed = 42;
  ctx->tier = PML_TIER_SMALL;
  ctx->argv0 = argv0;
  ctx->width = 80;
  ctx->output = isatty(1) ? PML_OUTPUT_TUI : PML_OUTPUT_STDOUT;
  ctx->colour = isatty(1) && !(plain && *plain);
  pml_record_start(&ctx->fresh);
}

/* Settles what the flags imply.  0, or 2 after a sentence. */
PML__FN int pml__ctx_settle(pml_ctx *ctx) {
  char name[192];
  ctx->publish = (ctx->diagram || ctx->note || ctx->png) && !ctx->record;
  if (ctx->record && (ctx->diagram || ctx->note || ctx->png))
    return pml__usage(ctx->lesson,
                      "--record measures, pages and diagrams render records: give them in two runs");
  if (ctx->publish) ctx->strict = true;
  if (ctx->output == PML_OUTPUT_TUI && isatty(1)) ctx->width = pml__terminal_width();
  if (ctx->publish) ctx->width = 80;
  ctx->colour = ctx->colour && ctx->output == PML_OUTPUT_TUI;
  if (ctx->publish) {
    snprintf(name, sizeof name, "../notes/measured/%s_%s.json", ctx->lesson->number, ctx->lesson->name);
    const char *path = pml_lesson_path(ctx, name);
    char copy[1024];
    if (path) snprintf(copy, sizeof copy, "%s", path);
    if (path && pml_record_read(&ctx->old, copy) != PML_OK) return pml__usage(ctx->lesson, "%s", pml_error());
    ctx->recorded = path != NULL;
  }
  if (ctx->strict) pml_strict_set(true);
  if (pml_threads_set(ctx->threads) != PML_OK) return pml__usage(ctx->lesson, "%s", pml_error());
  return 0;
}

PML__FN int pml__lesson_finish(pml_ctx *ctx, pml_status st) {
  int n = ctx->n_claims, bad = ctx->n_failed;
  if (st == PML_OK && n && bad == 0) pml_say(ctx, "\n%d of %d checks held.", n, n);
  if (st == PML_OK && bad == 0) st = pml__lesson_write(ctx);
  if (ctx->output == PML_OUTPUT_JSON) pml__print_json(ctx);
  if ((fflush(stdout) != 0 || ferror(stdout)) && st == PML_OK)
    st = pml_fail(PML_E_IO, "the output could not be written: %s", strerror(errno));
  if (pml_cancelled())
    fprintf(stderr, "%s_%s: stopped by Ctrl-C, no file was changed\n", ctx->lesson->number,
            ctx->lesson->name);
  else if (st != PML_OK) fprintf(stderr, "%s_%s: %s\n", ctx->lesson->number, ctx->lesson->name, pml_error());
  for (int i = 0; i < n; i++)
    if (!ctx->claims[i].ok)
      fprintf(stderr, "%s_%s: this check failed: %s\n", ctx->lesson->number, ctx->lesson->name,
              ctx->claims[i].text ? ctx->claims[i].text : "");
  if (pml_cancelled()) return 130;
  if (st == PML_E_USAGE) return 2; /* a flag's value that only the lesson could judge */
  return st != PML_OK || bad > 0;
}

PML_API int pml_lesson_main(const pml_lesson *lesson, int argc, char **argv) {
  pml_ctx *ctx = (pml_ctx *)pml_alloc(sizeof *ctx);
  int code = 0;
  if (!ctx) return 1;
  pml__ctx_start(ctx, lesson, argc > 0 ? argv[0] : NULL);
  for (int i = 1; i < argc && code == 0; i++) code = pml__parse_one(ctx, argc, argv, &i);
  if (code == 0) code = pml__ctx_settle(ctx);
  if (code == 0) {
    signal(SIGINT, pml__on_interrupt);
    pml_heading(ctx, "%s · %s", lesson->number, lesson->title);
    pml_say(ctx, "%s", lesson->summary);
    pml_status st = pml__lesson_run(ctx);
    if (st == PML_OK && ctx->benchmark) st = pml__benchmark(ctx);
    if (st == PML_OK && pml_cancelled()) st = PML_E_CANCELLED;
    code = pml__lesson_finish(ctx, st);
  }
  pml_tutor_close(ctx->tutor);
  for (int i = 0; i < ctx->n_claims; i++) pml_free(ctx->claims[i].text);
  for (int i = 0; i < ctx->n_values; i++) pml_free(ctx->values[i].text);
  pml_free(ctx->claims);
  pml_free(ctx->values);
  pml_buf_free(&ctx->text);
  pml_free(ctx);
  pml_threads_stop();
  return code < 0 ? 0 : code;
}

#endif /* § 51 */

#endif /* PRODML_H */
