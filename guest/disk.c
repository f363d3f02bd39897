/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disk half of the workload.
 *
 * Theory of operation: a record carries a random name of this boot, a number that grows by one,
 * and the count at that moment, followed by words made from them. Record n lies in slot n modulo
 * SLOTS. Before record n is written, record n-1 must be there exactly as it was written: an older
 * one means that a completed write was lost, a newer one that another copy of this very guest
 * has gone on where this one left off. Reading and writing bypass the guest's page cache.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define RECORD 4096
#define SLOTS 128
#define PERIOD_MS 50

typedef struct {
    uint64_t boot;
    uint64_t number;
    uint64_t count;
    uint64_t words[RECORD / 8 - 3];
} record;

static diskResult result;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER; /* held while a record is on its way */

static void
recordFill(record *rec, uint64_t boot, uint64_t number, uint64_t count)
{
    uint64_t x = boot ^ (number << 17) ^ count;

    rec->boot = boot;
    rec->number = number;
    rec->count = count;
    for (unsigned i = 0; i < sizeof(rec->words) / sizeof(rec->words[0]); i++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        rec->words[i] = x;
    }
}

static void
fault(uint64_t *which, uint64_t by, const char *what, uint64_t number)
{
    pthread_mutex_lock(&lock);
    *which += by;
    pthread_mutex_unlock(&lock);
    consoleLine("SV-BAD disk record %llu: %s", (unsigned long long)number, what);
}

/* Compares what the disk has in place of want; says what the difference means. */
static void
recordCompare(const record *want, const record *found)
{
    record whole;

    if (memcmp(want, found, sizeof(*want)) == 0)
        return;
    recordFill(&whole, found->boot, found->number, found->count);
    if (memcmp(&whole, found, sizeof(whole)) != 0)
        fault(&result.bad, 1, "torn or foreign bytes", want->number);
    else if (found->boot != want->boot)
        fault(&result.bad, 1, "another guest wrote it", want->number);
    else if (found->number < want->number)
        fault(&result.lost, want->number - found->number, "an older one, a write is lost",
              want->number);
    else if (found->number > want->number)
        fault(&result.repeated, found->number - want->number, "a newer one, this guest ran twice",
              want->number);
    else
        fault(&result.repeated, 1, "the same number with another count, this guest ran twice",
              want->number);
}

static bool
recordMove(int fd, bool out, record *rec, uint64_t number)
{
    off_t at = (off_t)(number % SLOTS) * RECORD;
    ssize_t done = out ? pwrite(fd, rec, RECORD, at) : pread(fd, rec, RECORD, at);

    if (done == RECORD)
        return true;
    fault(&result.bad, 1, done < 0 ? strerror(errno) : "short transfer", number);
    return false;
}

static void *
diskThread(void *arg)
{
    uint64_t (*count)(void) = (uint64_t(*)(void))arg;
    struct timespec pause = { 0, PERIOD_MS * 1000 * 1000 };
    int fd = open(params.disk, O_RDWR | O_DIRECT | O_CLOEXEC);
    record *last = NULL;
    record *found = NULL;
    uint64_t boot = 0;
    uint64_t number = 0;

    if (fd < 0 || posix_memalign((void **)&last, RECORD, RECORD) != 0 ||
        posix_memalign((void **)&found, RECORD, RECORD) != 0) {
        fault(&result.bad, 1, strerror(errno), 0);
        return NULL;
    }
    if (getrandom(&boot, sizeof(boot), GRND_NONBLOCK) != sizeof(boot))
        boot = nowUs() * 2862933555777941757ULL;

    while (true) {
        pthread_mutex_lock(&turn);
        if (number > 0 && recordMove(fd, false, found, number))
            recordCompare(last, found);
        number++;
        recordFill(last, boot, number, count());
        if (recordMove(fd, true, last, number) && fdatasync(fd) == 0 &&
            recordMove(fd, false, found, number)) {
            recordCompare(last, found);
            pthread_mutex_lock(&lock);
            result.writes++;
            pthread_mutex_unlock(&lock);
        }
        pthread_mutex_unlock(&turn);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

void
diskStart(uint64_t (*count)(void))
{
    threadStart(diskThread, (void *)count, 0);
}

void
diskStop(void)
{
    pthread_mutex_lock(&turn);
}

diskResult
diskGet(void)
{
    diskResult copy;

    pthread_mutex_lock(&lock);
    copy = result;
    pthread_mutex_unlock(&lock);
    return copy;
}
