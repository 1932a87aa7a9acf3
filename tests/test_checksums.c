/* § 7: CRC-32, SHA-256 and UUID version 5 against published vectors, in pieces of
   every size, and the SHA instructions against plain C. */
#include "prodml.h"
#include "test.h"
#include <unistd.h>

static unsigned char bytes[4096];

static void fill(void) {
  pml_rng r = pml_rng_seed(7);
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)pml_rng_next(&r);
}

/* CRC by its definition: one bit at a time. */
static uint32_t crc_slow(const unsigned char *p, size_t n) {
  uint32_t r = 0xFFFFFFFFu;
  for (size_t i = 0; i < n; i++) {
    r ^= p[i];
    for (int k = 0; k < 8; k++) r = (r >> 1) ^ (r & 1 ? 0xEDB88320u : 0);
  }
  return ~r;
}

static void test_crc(void) {
  TEST("CRC-32: the check value, and bits, pieces, alignments");
  CHECK(pml_crc32(0, "123456789", 9) == 0xCBF43926u);
  CHECK(pml_crc32(0, "", 0) == 0);
  CHECK(pml_crc32(0, NULL, 0) == 0);
  CHECK(pml_crc32(0, "The quick brown fox jumps over the lazy dog", 43) == 0x414FA339u);
  for (size_t n = 0; n < 100; n++)
    for (size_t at = 0; at < 8; at++) CHECK(pml_crc32(0, bytes + at, n) == crc_slow(bytes + at, n));
  for (size_t cut = 0; cut <= 64; cut++)
    CHECK(pml_crc32(pml_crc32(0, bytes, cut), bytes + cut, 64 - cut) == crc_slow(bytes, 64));
}

static const char *to_hex(const unsigned char digest[32]) {
  static char hex[65];
  for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
  return hex;
}

static void sha_is(const char *text, const char *want) {
  char hex[65];
  pml_sha256_hex(text, strlen(text), hex);
  CHECK_MSG(strcmp(hex, want) == 0, "%s", hex);
}

static void test_sha256_vectors(void) {
  TEST("SHA-256: the vectors of FIPS 180-4");
  sha_is("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  sha_is("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  sha_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  sha_is("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
         "mnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  pml_sha256 s;
  unsigned char digest[32];
  pml_sha256_init(&s);
  char a[1000];
  memset(a, 'a', sizeof a);
  for (int i = 0; i < 1000; i++) pml_sha256_add(&s, a, sizeof a);
  pml_sha256_done(&s, digest);
  CHECK(strcmp(to_hex(digest), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") == 0);
}

static void test_sha256_pieces(void) {
  TEST("SHA-256: every length 0 to 200 in pieces of every size, plain C and SHA instructions alike");
  pml_cpu_level_t level = pml_cpu_level();
  for (size_t n = 0; n <= 200; n++) {
    char whole[65], plain[65];
    pml_cpu_level_set(level);
    pml_sha256_hex(bytes, n, whole);
    pml_cpu_level_set(PML_CPU_SCALAR);
    pml_sha256_hex(bytes, n, plain);
    CHECK(strcmp(whole, plain) == 0);
    pml_cpu_level_set(level);
    bool same = true;
    for (size_t piece = 1; piece <= n; piece++) {
      pml_sha256 s;
      unsigned char digest[32];
      pml_sha256_init(&s);
      for (size_t i = 0; i < n; i += piece) pml_sha256_add(&s, bytes + i, n - i < piece ? n - i : piece);
      pml_sha256_add(&s, NULL, 0);
      pml_sha256_done(&s, digest);
      same = same && strcmp(to_hex(digest), whole) == 0;
    }
    CHECK_MSG(same, "length %zu", n);
  }
}

static void test_sha256_file(void) {
  TEST("SHA-256 of files: any size, a missing one, a directory");
  char hex[65], want[65], path[] = "/tmp/pml_checksum_XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0);
  FILE *f = fdopen(fd, "wb");
  CHECK(f != NULL);
  size_t n = 3 * 65536 + 17;
  char *data = (char *)pml_calloc(n, 1);
  data[n - 1] = 'x';
  CHECK(fwrite(data, 1, n, f) == n);
  fclose(f);
  CHECK(pml_sha256_file(path, hex) == PML_OK);
  pml_sha256_hex(data, n, want);
  CHECK(strcmp(hex, want) == 0);
  pml_free(data);
  unlink(path);
  CHECK(pml_sha256_file(path, hex) == PML_E_IO && hex[0] == 0 && strstr(pml_error(), path));
  CHECK(pml_sha256_file("/", hex) == PML_E_IO && hex[0] == 0);
}

static void test_uuid(void) {
  TEST("UUID version 5: RFC 9562 and a name longer than a block");
  static const unsigned char url[16] = {0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1,
                                        0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
  char text[37], name[256] = "https://example.com/";
  pml_uuid5(NULL, "www.example.com", 15, text);
  CHECK_MSG(strcmp(text, "2ed6657d-e927-568b-95e1-2665a8aea6a2") == 0, "%s", text);
  pml_uuid5(NULL, "python.org", 10, text);
  CHECK_MSG(strcmp(text, "886313e1-3b8a-5372-9b90-0c9aee199e5d") == 0, "%s", text);
  memset(name + 20, 'x', 200);
  pml_uuid5(url, name, 220, text);
  CHECK_MSG(strcmp(text, "bbea6241-b17a-544e-99c8-8f02b77bed53") == 0, "%s", text);
  char other[37];
  for (size_t n = 0; n < 130; n++) { /* every place of the padding */
    pml_uuid5(url, bytes, n, text);
    pml_uuid5(url, bytes, n + 1, other);
    CHECK(strlen(text) == 36 && text[14] == '5' && strcmp(text, other) != 0);
  }
}

/* With any argument: bytes per nanosecond, for the banner's figures. */
static void speed(void) {
  size_t n = (size_t)256 << 20;
  void *data = pml_calloc(n, 1);
  char hex[65];
  for (int level = 0; data && level < PML_CPU_LEVELS; level++) {
    if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
    pml_cpu_level_set((pml_cpu_level_t)level);
    double t0 = pml_time();
    pml_sha256_hex(data, n, hex);
    double t1 = pml_time();
    uint32_t crc = pml_crc32(0, data, n);
    double t2 = pml_time();
    printf("%s: SHA-256 %.2f, CRC-32 %.2f bytes/ns (%08x)\n", pml_cpu_level_name((pml_cpu_level_t)level),
           (double)n * 1e-9 / (t1 - t0), (double)n * 1e-9 / (t2 - t1), crc);
  }
  pml_free(data);
}

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) {
    speed();
    return 0;
  }
  fill();
  test_crc();
  test_sha256_vectors();
  test_sha256_pieces();
  test_sha256_file();
  test_uuid();
  return TEST_END();
}
