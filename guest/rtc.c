/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watches the battery clock, see frozen.h.
 */
#include "guest.h"

#include <pthread.h>
#include <time.h>

static frozenState state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
pauseMs(unsigned ms)
{
    struct timespec pause = { ms / 1000, ms % 1000 * 1000000L };

    nanosleep(&pause, NULL);
}

static void *
rtcThread(void *arg)
{
    (void)arg;
    while (true) {
        unsigned seconds = cmosRead(0);
        uint64_t until = nowUs() + 5000000;
        int64_t ms;

        while (cmosRead(0) == seconds) {
            if (nowUs() > until) {
                consoleLine("SV-WARN this machine has no running battery clock");
                return NULL;
            }
            pauseMs(1);
        }
        pthread_mutex_lock(&lock);
        ms = frozenStep(&state, nowUs());
        pthread_mutex_unlock(&lock);
        if (ms > 0)
            consoleLine("SV-FROZEN ms=%lld t=%llu", (long long)ms, (unsigned long long)nowUs() / 1000);
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
    copy = state.result;
    pthread_mutex_unlock(&lock);
    return copy;
}
