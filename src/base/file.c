// file.c - whole files: mapped, or read into memory.

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/// The system's reason for a failed call on `path`; returns false.
static bool sys_error(struct err *e, const char *doing, const char *path, int reason)
{
    char name[512];
    enum err_code code = ERR_IO;

    if (reason == ENOENT || reason == ENOTDIR)
        code = ERR_NOTFOUND;
    else if (reason == ENOMEM)
        code = ERR_NOMEM;
    return err_set(e, code, "%s %s: %s", doing, err_bytes(name, sizeof(name), path, strlen(path)),
                   strerror(reason));
}

/// Never waits: a FIFO without a writer opens too, and is then refused as no regular file.
static int open_to_read(const char *path)
{
    int fd;

    do
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/// Up to `n` bytes, fewer only at the end of the file; -1 with errno on failure.
static ssize_t read_full(int fd, void *p, size_t n)
{
    size_t at = 0;

    while (at < n) {
        ssize_t got = read(fd, (char *)p + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        at += (size_t)got;
    }
    return (ssize_t)at;
}

/// Where the only hole of a file begins, if it reaches to the end; `bytes` without one, or where
/// the file system does not say.
static uint64_t data_end(int fd, uint64_t bytes)
{
    off_t hole = lseek(fd, 0, SEEK_HOLE);
    bool last = hole >= 0 && (uint64_t)hole < bytes && lseek(fd, hole, SEEK_DATA) < 0;

    return last && errno == ENXIO ? (uint64_t)hole : bytes;
}

static bool map_fd(struct map *m, int fd, const char *path, bool use_mmap, struct err *e)
{
    struct stat st;
    char name[512];

    if (fstat(fd, &st) != 0)
        return sys_error(e, "cannot look at", path, errno);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_IO, "%s is %s", err_bytes(name, sizeof(name), path, strlen(path)),
                       S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    size_t bytes = (size_t)st.st_size;
    if (bytes == 0) { // mmap refuses a length of 0
        *m = (struct map){ .p = (const uint8_t *)"", .own = !use_mmap };
        return true;
    }
    // A copy is page aligned as well, so that both ways give the same alignment of what is inside.
    void *p = use_mmap
                  ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0)
                  : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return sys_error(e, "cannot map", path, errno);
    if (!use_mmap) {
        ssize_t got = read_full(fd, p, bytes);
        int reason = errno;
        if (got != (ssize_t)bytes) {
            munmap(p, bytes);
            if (got < 0)
                return sys_error(e, "cannot read", path, reason);
            return err_set(e, ERR_IO, "%s became shorter while it was read",
                           err_bytes(name, sizeof(name), path, strlen(path)));
        }
    }
    *m = (struct map){ .p = p, .bytes = bytes, .data_end = bytes, .own = !use_mmap };
    if (use_mmap)
        m->data_end = data_end(fd, bytes);
    return true;
}

bool map_file(struct map *m, const char *path, bool use_mmap, struct err *e)
{
    *m = (struct map){ 0 };
    int fd = open_to_read(path);
    if (fd < 0)
        return sys_error(e, "cannot open", path, errno);
    bool ok = map_fd(m, fd, path, use_mmap, e);
    close(fd);
    return ok;
}

void map_close(struct map *m)
{
    if (m->bytes != 0)
        munmap((void *)(uintptr_t)m->p, m->bytes);
    *m = (struct map){ 0 };
}

void map_forget(const struct map *m, uint64_t n)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    ASSERT(n <= m->bytes);
    n -= n % page;
    if (n != 0) // advice: a kernel that does not take it costs memory, nothing else
        (void)madvise((void *)(uintptr_t)m->p, n, MADV_DONTNEED);
}

/// Reads to the end in growing steps, so that pipes and /proc work, whose size is not known before.
static bool read_all(struct buf *b, int fd, const char *path, struct err *e)
{
    char chunk[65536];
    char name[512];

    for (;;) {
        ssize_t got = read_full(fd, chunk, sizeof(chunk));
        if (got < 0)
            return sys_error(e, "cannot read", path, errno);
        if (!buf_add(b, chunk, (size_t)got))
            return err_set(e, ERR_FORMAT, "%s is longer than %zu bytes",
                           err_bytes(name, sizeof(name), path, strlen(path)), b->max);
        if ((size_t)got < sizeof(chunk))
            return true;
    }
}

bool file_read(char **out, size_t *n, const char *path, size_t max, struct err *e)
{
    struct buf b;
    int fd;

    *out = NULL;
    *n = 0;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return sys_error(e, "cannot open", path, errno);
    buf_init(&b, max);
    bool ok = read_all(&b, fd, path, e);
    close(fd);
    if (!ok) {
        buf_done(&b);
        return false;
    }
    *out = b.p;
    *n = b.n;
    return true;
}
