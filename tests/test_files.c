/* § 6 Files and bytes: every refusal has its sentence, a failed write leaves the
   old file and nothing else, the reader stops at the end. */
#include "prodml.h"
#include "test.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];

static const char *in_dir(const char *name) {
  static char path[16][400]; /* callers keep a name for a while */
  static int turn;
  char *p = path[turn++ % 16];
  snprintf(p, sizeof path[0], "%s/%s", dir, name);
  return p;
}

static int files_in_dir(void) {
  int n = 0;
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.') n++;
  if (d) closedir(d);
  return n;
}

static bool holds(const char *path, const char *text) {
  char *data;
  size_t size;
  if (pml_file_read(path, &data, &size) != PML_OK) return false;
  bool same = size == strlen(text) && memcmp(data, text, size) == 0 && data[size] == 0;
  pml_free(data);
  return same;
}

static void refuse(const char *path, pml_status want, const char *fragment) {
  pml_file f;
  char *data = (char *)&f;
  size_t size = 1;
  CHECK_MSG(pml_file_open(&f, path) == want, "%s", pml_error());
  CHECK_MSG(strstr(pml_error(), fragment) != NULL, "%s", pml_error());
  CHECK(f.data == NULL && f.path == NULL && f.size == 0);
  pml_file_close(&f);
  CHECK(pml_file_read(path, &data, &size) == want && data == NULL && size == 0);
  CHECK(strstr(pml_error(), fragment) != NULL);
}

static void test_refusals(void) {
  TEST("refusals");
  refuse("", PML_E_USAGE, "no file name");
  refuse(NULL, PML_E_USAGE, "no file name");
  refuse(in_dir("absent"), PML_E_IO, "absent: cannot open: No such file or directory: check the name");
  refuse(dir, PML_E_IO, "is a directory");
  refuse("/dev/zero", PML_E_IO, "is a pipe or a device");
  CHECK(mkfifo(in_dir("fifo"), 0600) == 0);
  refuse(in_dir("fifo"), PML_E_IO, "is a pipe or a device"); /* returns at once: nobody writes */
  unlink(in_dir("fifo"));
  char longname[5000];
  memset(longname, 'x', sizeof longname);
  longname[sizeof longname - 1] = 0;
  refuse(longname, PML_E_IO, "cannot open: File name too long");

  CHECK(pml_file_write(in_dir("secret"), "x", 1) == PML_OK);
  CHECK(chmod(in_dir("secret"), 0) == 0);
  bool root = geteuid() == 0;
  if (root) {
    CHECK(chmod(dir, 0777) == 0);
    if (seteuid(65534) != 0) SKIP("cannot become another user");
  }
  if (geteuid() != 0) {
    refuse(in_dir("secret"), PML_E_IO, "Permission denied: check the permissions");
    CHECK(pml_file_write(in_dir("secret"), "y", 1) == PML_E_IO);
    CHECK_MSG(strstr(pml_error(), "Permission denied") != NULL, "%s", pml_error());
  }
  if (root) CHECK(seteuid(0) == 0);
  unlink(in_dir("secret"));
  CHECK(files_in_dir() == 0);
}

static void test_read(void) {
  TEST("read");
  pml_file f;
  const char *p = in_dir("empty");
  CHECK(pml_file_write(p, NULL, 0) == PML_OK);
  CHECK(pml_file_open(&f, p) == PML_OK && f.size == 0 && f.data != NULL && strcmp(f.path, p) == 0);
  pml_file_close(&f);
  pml_file_close(&f); /* twice is harmless */
  CHECK(holds(p, ""));
  CHECK(pml_file_write(p, "hello\n", 6) == PML_OK && holds(p, "hello\n"));
  CHECK(pml_file_open(&f, p) == PML_OK && f.size == 6 && f.mapped && memcmp(f.data, "hello\n", 6) == 0);
  /* A rename does not disturb who has the old file mapped. */
  CHECK(pml_file_write(p, "other", 5) == PML_OK && memcmp(f.data, "hello\n", 6) == 0);
  pml_file_close(&f);
  CHECK(pml_file_exists(p) && pml_file_exists(dir) && !pml_file_exists(in_dir("absent")) && !pml_file_exists(""));
  unlink(p);
#ifdef __linux__
  char *data;
  size_t size;
  CHECK(pml_file_read("/proc/self/status", &data, &size) == PML_OK && size > 100); /* says size 0 */
  pml_free(data);
#endif
}

/* A file that another thread cuts while it is read: whole or an error, never less. */
static atomic_int stop_cutting;
static void *cut(void *arg) {
  static char block[1 << 20];
  while (!stop_cutting) {
    int fd = open((const char *)arg, O_WRONLY);
    if (ftruncate(fd, 0) != 0 || write(fd, block, sizeof block) < 0) stop_cutting = 2;
    close(fd);
  }
  return NULL;
}

static void test_shrinking(void) {
  TEST("shrinking");
  static char block[1 << 20];
  char path[400];
  snprintf(path, sizeof path, "%s", in_dir("cut"));
  CHECK(pml_file_write(path, block, sizeof block) == PML_OK);
  pthread_t t;
  CHECK(pthread_create(&t, NULL, cut, path) == 0);
  int cuts = 0;
  for (double end = pml_time() + 0.3; pml_time() < end;) {
    char *data;
    size_t size;
    pml_status st = pml_file_read(path, &data, &size);
    if (st == PML_E_IO && strstr(pml_error(), "it was cut while being read")) cuts++;
    else if (st != PML_OK) CHECK_MSG(0, "%s", pml_error());
    pml_free(data);
  }
  stop_cutting = 1;
  pthread_join(t, NULL);
  printf("  a file was seen cut while being read %d times\n", cuts);
  unlink(path);
}

static void test_write(void) {
  TEST("write");
  const char *p = in_dir("file");
  CHECK(pml_file_write(p, "old", 3) == PML_OK);
  CHECK(chmod(p, 0640) == 0);
  pml_writer *w;
  CHECK(pml_writer_open(&w, p) == PML_OK && pml_writer_add(w, "new", 3) == PML_OK);
  CHECK(files_in_dir() == 2 && holds(p, "old")); /* the temporary lies beside it */
  pml_writer_cancel(w);
  CHECK(files_in_dir() == 1 && holds(p, "old"));
  pml_writer_cancel(NULL);

  CHECK(pml_writer_open(&w, p) == PML_OK);
  for (int i = 0; i < 3000000; i++)
    if (pml_writer_add(w, "12345", (size_t)(i % 6)) != PML_OK) CHECK(false);
  CHECK(pml_writer_offset(w) == 7500000);
  static char big[2500000];
  CHECK(pml_writer_add(w, big, sizeof big) == PML_OK && pml_writer_offset(w) == 10000000);
  CHECK(pml_writer_commit(w) == PML_OK && files_in_dir() == 1);
  pml_file f;
  CHECK(pml_file_open(&f, p) == PML_OK && f.size == 10000000);
  size_t at = 0, wrong = 0;
  for (int i = 0; i < 3000000; at += (size_t)(i % 6), i++) wrong += memcmp(f.data + at, "12345", (size_t)(i % 6)) != 0;
  CHECK(wrong == 0 && f.data[7500000] == 0 && f.data[9999999] == 0);
  pml_file_close(&f);
  struct stat info;
  CHECK(stat(p, &info) == 0 && (info.st_mode & 0777) == 0640); /* permissions survive */

  CHECK(symlink("file", in_dir("link")) == 0);
  CHECK(pml_file_write(in_dir("link"), "via", 3) == PML_OK && holds(p, "via"));
  CHECK(lstat(in_dir("link"), &info) == 0 && S_ISLNK(info.st_mode)); /* still a link */
  unlink(in_dir("link"));
  unlink(p);

  CHECK(pml_file_write(dir, "x", 1) == PML_E_IO && strstr(pml_error(), "is a directory"));
  CHECK(pml_file_write("", "x", 1) == PML_E_USAGE && strstr(pml_error(), "no file name"));
  CHECK(pml_file_write(in_dir("no/such"), "x", 1) == PML_E_IO);
  CHECK_MSG(strstr(pml_error(), "cannot create: No such file or directory") != NULL, "%s", pml_error());
  CHECK(pml_file_write("/dev/null", "x", 1) == PML_OK);
  CHECK(stat("/dev/null", &info) == 0 && S_ISCHR(info.st_mode)); /* written, not replaced */
  CHECK(files_in_dir() == 0);
}

static void test_full(void) {
  TEST("full disk");
  if (pml_file_exists("/dev/full")) {
    CHECK(pml_file_write("/dev/full", "x", 1) == PML_E_IO);
    CHECK_MSG(strstr(pml_error(), "the disk is full") != NULL, "%s", pml_error());
  } else SKIP("no /dev/full");

  const char *p = in_dir("file");
  CHECK(pml_file_write(p, "old", 3) == PML_OK);
  struct rlimit saved, small;
  signal(SIGXFSZ, SIG_IGN);
  CHECK(getrlimit(RLIMIT_FSIZE, &saved) == 0);
  small = saved;
  small.rlim_cur = 100000;
  CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
  static char big[3000000];
  pml_status whole = pml_file_write(p, big, sizeof big); /* past the buffer: fails in add */
  char why[1024];
  snprintf(why, sizeof why, "%s", pml_error());
  pml_status buffered = pml_file_write(p, big, 500000); /* within the buffer: fails in commit */
  pml_writer *w;
  pml_status first = pml_writer_open(&w, p), second, later, last;
  second = pml_writer_add(w, big, sizeof big);
  pml_fail(PML_E_USAGE, "something else");
  later = pml_writer_add(w, "x", 1);
  bool same = strcmp(pml_error(), why) == 0;
  last = pml_writer_commit(w);
  CHECK(setrlimit(RLIMIT_FSIZE, &saved) == 0);
  CHECK_MSG(whole == PML_E_IO && strstr(why, "limit on file size"), "%s", why);
  CHECK(buffered == PML_E_IO);
  CHECK(first == PML_OK && second == PML_E_IO && later == PML_E_IO && last == PML_E_IO && same);
  CHECK(strcmp(pml_error(), why) == 0);
  CHECK(holds(p, "old") && files_in_dir() == 1);
  unlink(p);
}

static void test_mkdirs(void) {
  TEST("mkdirs");
  CHECK(pml_mkdirs(in_dir("a/b//c/")) == PML_OK && pml_mkdirs(in_dir("a/b/c")) == PML_OK);
  CHECK(pml_file_write(in_dir("a/b/c/f"), "x", 1) == PML_OK);
  CHECK(pml_mkdirs(in_dir("a/b/c/f")) == PML_E_IO && strstr(pml_error(), "a file of this name exists"));
  CHECK(pml_mkdirs(in_dir("a/b/c/f/g")) == PML_E_IO);
  CHECK(pml_mkdirs("") == PML_E_USAGE && pml_mkdirs("/") == PML_OK);
  unlink(in_dir("a/b/c/f"));
  rmdir(in_dir("a/b/c"));
  rmdir(in_dir("a/b"));
  CHECK(rmdir(in_dir("a")) == 0);
}

static void test_reader(void) {
  TEST("reader");
  static const unsigned char bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B,
                                        0x0C, 0x0D, 0x0E, 0x0F, 0,    0,    0x80, 0x3F, 0,    0,    0,
                                        0,    0,    0,    0xF0, 0xBF, 'a',  'b'};
  pml_reader r = {.data = bytes, .size = sizeof bytes};
  CHECK(pml_read_u8(&r) == 1 && pml_read_u16(&r) == 0x0302 && pml_read_u32(&r) == 0x07060504);
  CHECK(pml_read_u64(&r) == 0x0F0E0D0C0B0A0908u);
  CHECK(pml_read_f32(&r) == 1.0f && pml_read_f64(&r) == -1.0 && !r.failed);
  const unsigned char *p = pml_read_bytes(&r, 2);
  CHECK(p && p[0] == 'a' && r.at == r.size && pml_read_bytes(&r, 0) != NULL && !r.failed);
  CHECK(pml_read_u8(&r) == 0 && r.failed && r.at == r.size);
  r = (pml_reader){.data = bytes, .size = 3};
  CHECK(pml_read_u32(&r) == 0 && r.failed && r.at == 0);
  CHECK(pml_read_u8(&r) == 0); /* once failed, always 0 */
  r = (pml_reader){.data = bytes, .size = 3, .at = 1};
  CHECK(pml_read_bytes(&r, UINT64_MAX) == NULL && r.failed); /* 1 + 2^64-1 wraps to 0 */
  r = (pml_reader){0};
  CHECK(pml_read_bytes(&r, 0) != NULL && pml_read_u64(&r) == 0 && r.failed);
  CHECK(pml_str_eq(pml_str_of("abc"), "abc") && !pml_str_eq(pml_str_of("abc"), "ab"));
  CHECK(pml_str_eq(pml_str_of(NULL), "") && pml_str_of(NULL).ptr == NULL);
}

int main(void) {
  const char *tmp = getenv("TMPDIR");
  snprintf(dir, sizeof dir, "%s/pml_files_XXXXXX", tmp && *tmp ? tmp : "/tmp");
  if (!mkdtemp(dir)) return printf("cannot create %s\n", dir), 1;
  test_refusals();
  test_read();
  test_shrinking();
  test_write();
  test_full();
  test_mkdirs();
  test_reader();
  CHECK(rmdir(dir) == 0);
  CHECK(pml_memory_in_use() == 0);
  return TEST_END();
}
