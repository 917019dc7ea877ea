/* What the disk allows: files stored as durably as possible, by threads that do nothing else.
 *
 * Usage: disk_limit FOLDER THREADS SECONDS BYTES
 * Each thread in turn: create, write, fsync, rename, fsync the folder. Prints one line of JSON.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1 << 20 };
static const char *folder;
static size_t bytes;
static double end;
static double latencies[MOST];
static int stored;

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void store(int place, long thread, long number, const char *content)
{
    char hidden[64], name[64];
    snprintf(hidden, sizeof hidden, ".new-%ld-%ld", thread, number);
    snprintf(name, sizeof name, "%ld-%ld.json", thread, number);
    int file = openat(place, hidden, O_WRONLY | O_CREAT | O_EXCL, 0640);
    if (file < 0 || write(file, content, bytes) != (ssize_t)bytes || fsync(file) || close(file))
        err(1, "%s", hidden);
    if (renameat(place, hidden, place, name) || fsync(place))
        err(1, "%s", name);
}

static void *work(void *argument)
{
    long thread = (long)argument;
    unsigned seed = (unsigned)thread + 1;
    int place = open(folder, O_RDONLY | O_DIRECTORY);
    char *content = malloc(bytes);
    if (place < 0 || !content)
        err(1, "%s", folder);
    for (long number = 0;; number++) {
        double begun = now();
        if (begun >= end)
            break;
        for (size_t at = 0; at < bytes; at++) /* a disk may be quicker with what repeats itself */
            content[at] = (char)rand_r(&seed);
        store(place, thread, number, content);
        int place_in_list = __atomic_fetch_add(&stored, 1, __ATOMIC_RELAXED);
        if (place_in_list >= MOST)
            errx(1, "more than %d files", MOST);
        latencies[place_in_list] = now() - begun;
    }
    return NULL;
}

static int by_size(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

int main(int count, char **arguments)
{
    if (count != 5)
        errx(2, "usage: disk_limit FOLDER THREADS SECONDS BYTES");
    folder = arguments[1];
    long threads = atol(arguments[2]);
    bytes = (size_t)atol(arguments[4]);
    double begun = now();
    end = begun + atof(arguments[3]);
    pthread_t *all = calloc((size_t)threads, sizeof *all);
    for (long thread = 0; thread < threads; thread++)
        if (pthread_create(&all[thread], NULL, work, (void *)thread))
            errx(1, "no thread");
    for (long thread = 0; thread < threads; thread++)
        pthread_join(all[thread], NULL);
    double seconds = now() - begun;
    if (!stored)
        errx(1, "nothing was stored in that time");
    qsort(latencies, (size_t)stored, sizeof *latencies, by_size);
    printf("{\"requests\": %d, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, \"failed\": 0}\n",
           stored, seconds, latencies[stored / 2] * 1e3, latencies[stored * 99L / 100] * 1e3,
           latencies[stored - 1] * 1e3);
    return 0;
}
