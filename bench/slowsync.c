/* A slow disk: each fsync and fdatasync takes SLOWSYNC_US microseconds longer than it
 * does. Preloaded into a server. Counts them in the eight bytes of the file
 * SLOWSYNC_COUNT, so that a server that syncs by another way is found out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int sync_call(int);

static sync_call *real_fsync, *real_fdatasync;
static atomic_long *count;
static long delay_us;

__attribute__((constructor)) static void prepare(void) {
    const char *us = getenv("SLOWSYNC_US"), *path = getenv("SLOWSYNC_COUNT");
    real_fsync = (sync_call *)dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (sync_call *)dlsym(RTLD_NEXT, "fdatasync");
    delay_us = us ? atol(us) : 0;
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *shared = mmap(0, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) count = shared;
    close(fd);
}

static int slowly(sync_call *real, int fd) {
    struct timespec rest = {delay_us / 1000000, delay_us % 1000000 * 1000};
    int done = real(fd);
    if (count) atomic_fetch_add(count, 1);
    while (nanosleep(&rest, &rest)) continue;
    return done;
}

int fsync(int fd) { return slowly(real_fsync, fd); }

int fdatasync(int fd) { return slowly(real_fdatasync, fd); }
