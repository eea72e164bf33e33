/*
 * Stands between a program and its disk (LD_PRELOAD): syncs that fail, take long, or are not done at all.
 *
 * The file that CHAOS_SHIM names is mapped; whoever runs the test writes to it what is to happen, and reads
 * from it what has happened. Knows nothing of what the files are; a part of their path selects them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum mode { OFF = 0, FAIL = 1, DELAY = 2, LIE = 3 };

/* The same layout stands in shim.rs. */
struct control {
    uint32_t mode;
    uint32_t delay_millis;
    uint32_t process; /* who has loaded this last */
    uint32_t hits;    /* syncs that were changed */
    char part[112];   /* of the paths that are meant; empty for all */
};

static struct control *control;

__attribute__((constructor)) static void load(void)
{
    const char *name = getenv("CHAOS_SHIM");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED)
        return;
    control = mapped;
    __atomic_store_n(&control->process, (uint32_t)getpid(), __ATOMIC_SEQ_CST);
}

static int is_meant(int file)
{
    char link[64], path[4096];
    if (!control->part[0])
        return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, control->part) != NULL;
}

/* Returns whether the sync is to be done; where it is not, *result is what its caller is told. */
static int is_done(int file, int *result)
{
    uint32_t mode = control ? __atomic_load_n(&control->mode, __ATOMIC_SEQ_CST) : OFF;
    if (mode == OFF || !is_meant(file))
        return 1;
    __atomic_add_fetch(&control->hits, 1, __ATOMIC_SEQ_CST);
    *result = 0;
    if (mode == DELAY) {
        uint32_t millis = control->delay_millis;
        struct timespec rest = {millis / 1000, (long)(millis % 1000) * 1000000};
        while (nanosleep(&rest, &rest) != 0 && errno == EINTR)
            ;
        return 1;
    }
    if (mode == FAIL) {
        errno = EIO;
        *result = -1;
    }
    return 0;
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

/*
 * Syncs, and asks once more whether that holds. ext4 says yes to a sync under way when its file system is shut down,
 * if the pages were written and the journal was not: a process that lives on behind its disk would pass that yes on,
 * which no machine without power can. The second sync finds the file system shut down.
 */
static int sync_and_confirm(const char *name, int file)
{
    int (*sync)(int) = (int (*)(int))next(name);
    int result = sync(file);
    if (result != 0 || !control)
        return result;
    result = sync(file);
    if (result != 0)
        fprintf(stderr, "shim: a sync that was said to be done does not hold\n");
    return result;
}

int fsync(int file)
{
    int result;
    return is_done(file, &result) ? sync_and_confirm("fsync", file) : result;
}

int fdatasync(int file)
{
    int result;
    return is_done(file, &result) ? sync_and_confirm("fdatasync", file) : result;
}

int sync_file_range(int file, off64_t offset, off64_t length, unsigned flags)
{
    int result;
    if (!is_done(file, &result))
        return result;
    return ((int (*)(int, off64_t, off64_t, unsigned))next("sync_file_range"))(file, offset, length, flags);
}
