/*
 * power DIRECTORY: the file system of DIRECTORY loses its power. Nothing that is not on its disk yet gets there,
 * not even its journal; every later write and sync fails.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

/* FS_IOC_SHUTDOWN and its flag "without flushing the log", as ext4 and others have them. */
#define SHUTDOWN _IOR('X', 125, uint32_t)
#define WITHOUT_LOG_FLUSH 2

int main(int count, char **words)
{
    uint32_t how = WITHOUT_LOG_FLUSH;
    for (int i = 1; i < count; i++) {
        int directory = open(words[i], O_RDONLY | O_DIRECTORY);
        if (directory < 0 || ioctl(directory, SHUTDOWN, &how) != 0) {
            perror(words[i]);
            return 1;
        }
    }
    return 0;
}
