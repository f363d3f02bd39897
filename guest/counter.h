/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The counter, kept three times, in pages of their own: as it is, complemented, and as the last entries of a ring.  A copy of memory
 * that mixes two moments makes them disagree.
 */
#pragma once

#include <stdint.h>

#define COUNTER_RING 512

typedef struct {
    uint64_t *plain;      /* the count */
    uint64_t *complement; /* ~count */
    uint64_t *ring;       /* the last COUNTER_RING counts */
} counter;

/* Counts once; adds to *lost and *repeated where the copies disagree. Returns the count. */
static inline uint64_t
counterStep(const counter *tick, uint64_t *lost, uint64_t *repeated)
{
    uint64_t last = *tick->plain;
    uint64_t other = ~*tick->complement;
    uint64_t ringLast = tick->ring[last % COUNTER_RING];

    if (other < last)
        *lost += last - other;
    if (other > last)
        *repeated += other - last;
    if (ringLast < last)
        *lost += 1;
    if (ringLast > last)
        *repeated += 1;
    *tick->plain = last + 1;
    *tick->complement = ~(last + 1);
    tick->ring[(last + 1) % COUNTER_RING] = last + 1;
    return last + 1;
}
