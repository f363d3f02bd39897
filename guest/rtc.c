/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long the guest was frozen, seen from inside.
 *
 * Theory of operation: while a machine is stopped its processor clocks stop with it, so ticks
 * look evenly spaced even across a long switch-over. The battery-backed clock goes on, in
 * steps of a second, but the moment of a step can be found to a millisecond by polling. The
 * difference "battery clock minus processor clock", taken at such moments, grows by exactly the
 * time the machine stood still. A late look makes it smaller, never larger, so its highest
 * value so far is the one to compare with. When the clock steps while the machine stands still,
 * the time before the step shows at once and the rest a second later: such parts are one stop.
 */
#include "guest.h"

#include <pthread.h>
#include <sys/io.h>
#include <time.h>

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define DAY_MS 86400000LL
#define NOISE_MS 8    /* smaller differences are the polling's own inaccuracy */
#define SAME_MS 2500 /* differences closer together belong to one stop */

static frozenResult result;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned
cmosRead(unsigned index)
{
    outb(index, CMOS_INDEX);
    return inb(CMOS_DATA);
}

static unsigned
cmosNumber(unsigned index, bool binary)
{
    unsigned raw = cmosRead(index);

    return binary ? raw : (raw >> 4) * 10 + (raw & 15);
}

static int64_t
secondOfDay(bool binary)
{
    while (true) {
        unsigned seconds = cmosNumber(0, binary);
        int64_t value = cmosNumber(4, binary) * 3600LL + cmosNumber(2, binary) * 60LL + seconds;

        if (cmosNumber(0, binary) == seconds) /* no step in between */
            return value;
    }
}

static void
pauseMs(unsigned ms)
{
    struct timespec pause = { ms / 1000, ms % 1000 * 1000000L };

    nanosleep(&pause, NULL);
}

/* Accounts for ms of standing still, found now. */
static void
frozenAdd(int64_t ms)
{
    static uint64_t lastUs;
    bool same = lastUs > 0 && nowUs() - lastUs < SAME_MS * 1000ULL;

    if (ms < NOISE_MS && !same)
        return;
    pthread_mutex_lock(&lock);
    result.lastMs = same ? result.lastMs + ms : (uint64_t)ms;
    result.totalMs += ms;
    result.times += !same;
    pthread_mutex_unlock(&lock);
    if (!same)
        lastUs = nowUs();
    consoleLine("SV-FROZEN ms=%lld t=%llu", (long long)ms, (unsigned long long)nowUs() / 1000);
}

static void *
rtcThread(void *arg)
{
    bool binary = cmosRead(11) & 4;
    int64_t best = 0;
    bool started = false;

    (void)arg;
    while (true) {
        unsigned seconds = cmosNumber(0, binary);
        uint64_t until = nowUs() + 5000000;
        int64_t offset;

        while (cmosNumber(0, binary) == seconds) {
            if (nowUs() > until) {
                consoleLine("SV-WARN this machine has no running battery clock");
                return NULL;
            }
            pauseMs(1);
        }
        offset = secondOfDay(binary) * 1000 - (int64_t)(nowUs() / 1000);
        if (started && offset < best - DAY_MS / 2)
            best -= DAY_MS; /* midnight */
        if (!started || offset > best) {
            if (started)
                frozenAdd(offset - best);
            best = offset;
            started = true;
        }
        /* Nothing changes for most of a second; be there early for the next step. */
        pauseMs(900);
    }
    return NULL;
}

void
rtcStart(void)
{
    if (ioperm(CMOS_INDEX, 2, 1) != 0) {
        consoleLine("SV-WARN the battery clock cannot be read");
        return;
    }
    threadStart(rtcThread, NULL, 60);
}

frozenResult
rtcGet(void)
{
    frozenResult copy;

    pthread_mutex_lock(&lock);
    copy = result;
    pthread_mutex_unlock(&lock);
    return copy;
}
