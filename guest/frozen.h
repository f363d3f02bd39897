/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How long the guest was frozen, seen from inside.
 *
 * Theory of operation: while a machine is stopped its processor clocks stop with it, so ticks look evenly spaced even across a long
 * switch-over.  The battery-backed clock goes on, in steps of a second, but the moment of a step can be found to a millisecond by
 * polling.  The difference "battery clock minus processor clock", taken at such moments, grows by exactly the time the machine stood
 * still.  A late look makes it smaller, never larger, so its highest value so far is the one to compare with.  When the clock steps
 * while the machine stands still, the time before the step shows at once and the rest a second later: such parts are one stop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/io.h>

#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define FROZEN_DAY_MS 86400000LL
#define FROZEN_NOISE_MS 8    /* smaller differences are the polling's own inaccuracy */
#define FROZEN_SAME_MS 2500  /* differences closer together belong to one stop */

/* Time that passed outside but not in here, as the battery clock shows it. */
typedef struct {
    uint64_t totalMs;
    uint64_t lastMs;
    uint64_t times;
} frozenResult;

typedef struct {
    frozenResult result;
    uint64_t lastUs;      /* when the last stop was found */
    int64_t best;         /* highest difference so far */
    bool started;
} frozenState;

static inline unsigned
cmosRead(unsigned index)
{
    outb((unsigned char)index, CMOS_INDEX);
    return inb(CMOS_DATA);
}

/* The register as a number, whichever way the clock writes numbers. */
static inline unsigned
cmosNumber(unsigned index)
{
    bool binary = cmosRead(11) & 4;
    unsigned raw = cmosRead(index);

    return binary ? raw : (raw >> 4) * 10 + (raw & 15);
}

static inline int64_t
cmosSecondOfDay(void)
{
    while (true) {
        unsigned seconds = cmosNumber(0);
        int64_t value = cmosNumber(4) * 3600LL + cmosNumber(2) * 60LL + seconds;

        if (cmosNumber(0) == seconds) /* no step in between */
            return value;
    }
}

/* To be called right after the battery clock's step: accounts for what it shows. Returns what was found in ms, 0: nothing. */
static inline int64_t
frozenStep(frozenState *state, uint64_t nowUs)
{
    int64_t offset = cmosSecondOfDay() * 1000 - (int64_t)(nowUs / 1000);
    bool same = state->lastUs > 0 && nowUs - state->lastUs < FROZEN_SAME_MS * 1000ULL;
    int64_t ms;

    if (state->started && offset < state->best - FROZEN_DAY_MS / 2)
        state->best -= FROZEN_DAY_MS; /* midnight */
    if (state->started && offset <= state->best)
        return 0;
    ms = state->started ? offset - state->best : 0;
    state->best = offset;
    state->started = true;
    if (ms < FROZEN_NOISE_MS && !(same && ms > 0))
        return 0;
    state->result.lastMs = same ? state->result.lastMs + (uint64_t)ms : (uint64_t)ms;
    state->result.totalMs += (uint64_t)ms;
    state->result.times += !same;
    if (!same)
        state->lastUs = nowUs;
    return ms;
}
