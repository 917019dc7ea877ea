/* A script that costs next to nothing: it notes when it was started (CLOCK_MONOTONIC, in ns, a line each)
 * in the file that BENCH_STAMPS names, and succeeds. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
    struct timespec at;
    char line[32];
    clock_gettime(CLOCK_MONOTONIC, &at);
    const char *path = getenv("BENCH_STAMPS");
    int file = path ? open(path, O_WRONLY | O_APPEND) : -1;
    int length = snprintf(line, sizeof line, "%lld\n", at.tv_sec * 1000000000LL + at.tv_nsec);
    return file < 0 || write(file, line, (size_t)length) != length;
}
