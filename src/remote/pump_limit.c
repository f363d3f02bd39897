/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pump_limit.c: a speed that several threads have together, as a store of bytes that fills with time */
#include <stdatomic.h>

#include "remote/pump.h"

#define BUCKET_SECONDS 0.1           /* what may be made up for after a delay */
#define BUCKET_STEP_SECONDS 0.01     /* how much is sent at a time */
#define BUCKET_LEAST 4096.0          /* bytes */

struct _pumpLimit {
    gint refs;
    atomic_uint_fast64_t wanted; /* bytes/s; 0: unlimited */
    GMutex lock;
    uint64_t rate;               /* bytes/s for which the rest holds; 0: nothing to count */
    double tokens;
    gint64 atUs;
};

pumpLimit *
pumpLimitNew(uint64_t bytesPerSecond)
{
    pumpLimit *limit = g_new0(pumpLimit, 1);

    limit->refs = 1;
    atomic_store(&limit->wanted, bytesPerSecond);
    g_mutex_init(&limit->lock);
    return limit;
}

pumpLimit *
pumpLimitRef(pumpLimit *limit)
{
    g_atomic_int_inc(&limit->refs);
    return limit;
}

void
pumpLimitUnref(pumpLimit *limit)
{
    if (!limit || !g_atomic_int_dec_and_test(&limit->refs))
        return;
    g_mutex_clear(&limit->lock);
    g_free(limit);
}

void
pumpLimitSet(pumpLimit *limit, uint64_t bytesPerSecond)
{
    atomic_store(&limit->wanted, bytesPerSecond);
}

uint64_t
pumpLimitRate(const pumpLimit *limit)
{
    return atomic_load_explicit(&limit->wanted, memory_order_relaxed);
}

size_t
pumpLimitTake(pumpLimit *limit, size_t want, gint64 *retResumeUs)
{
    g_autoptr(GMutexLocker) locker = NULL;
    uint64_t rate = pumpLimitRate(limit);
    gint64 now;
    double step;
    size_t taken;

    if (rate == 0)
        return want;
    locker = g_mutex_locker_new(&limit->lock);
    now = g_get_monotonic_time();
    if (limit->rate != rate) {
        limit->rate = rate;
        limit->tokens = 0;
        limit->atUs = now;
    }
    limit->tokens += (double)MAX(0, now - limit->atUs) * (double)rate / 1e6;
    limit->tokens = MIN(limit->tokens, MAX((double)rate * BUCKET_SECONDS, BUCKET_LEAST));
    limit->atUs = now;
    step = MIN((double)want, MAX((double)rate * BUCKET_STEP_SECONDS, 1.0));
    if (limit->tokens < step) {
        *retResumeUs = now + (gint64)((step - limit->tokens) * 1e6 / (double)rate) + 1;
        return 0;
    }
    taken = MIN(want, (size_t)limit->tokens);
    limit->tokens -= (double)taken;
    return taken;
}

void
pumpLimitGiveBack(pumpLimit *limit, size_t bytes)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&limit->lock);

    limit->tokens += (double)bytes;
}

void
pumpLimitCharge(pumpLimit *limit, size_t bytes)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&limit->lock);

    limit->tokens -= (double)bytes;
}
