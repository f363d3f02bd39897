/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/predict.h"

#include "vmmi/text.h"

/* Rounds that shrink to less than this part of the one before will end by themselves. */
#define SHRINKS 0.7
/* The prediction is that much too low when the guest writes a little faster. */
#define MARGIN 1.2
/* The guest is stopped for as long as it takes; QEMU accepts no more. */
#define STOP_MS (2000 * 1000ULL)

void
vmmiPredictInit(vmmiPredict *predict, const vmmiPredictOptions *options)
{
    *predict = (vmmiPredict) { .options = *options, .limitMs = options->startMs };
}

void
vmmiPredictNoPostcopy(vmmiPredict *predict)
{
    predict->options.postcopy = false;
    predict->over = false;
}

static bool
deadline(vmmiPredict *predict, const vmmiSample *sample, vmmiAction *action, char **why)
{
    const vmmiPredictOptions *options = &predict->options;

    if (sample->elapsedMs < options->deadlineMs)
        return false;
    predict->over = true;
    *why = g_strdup_printf(_("the deadline of %1$llu ms has passed, %2$llu bytes remain"),
                           (unsigned long long)options->deadlineMs, (unsigned long long)sample->remaining);
    if (options->postcopy)
        *action = (vmmiAction) { .kind = VMMI_ACT_POSTCOPY };
    else if (options->end == VMMI_END_STOP)
        *action = (vmmiAction) { .kind = VMMI_ACT_SET_DOWNTIME, .downtimeMs = STOP_MS };
    else
        *action = (vmmiAction) { .kind = VMMI_ACT_ABORT };
    return true;
}

/* What remains at a round's begin, by the speed; without a speed nothing can be said. */
static bool
newRound(vmmiPredict *predict, const vmmiSample *sample)
{
    bool fresh = sample->knowsRounds ? sample->round != predict->round : sample->remaining > predict->lastRemaining;
    bool first = !predict->begun;

    predict->begun = true;
    predict->round = sample->round;
    predict->lastRemaining = sample->remaining;
    return fresh && !first && sample->bytesPerSecond > 0;
}

static bool
raiseLimit(vmmiPredict *predict, vmmiAction *action, char **why)
{
    const vmmiPredictOptions *options = &predict->options;
    uint64_t wanted = predict->neededMs * MARGIN + 1;
    uint64_t next = MIN(MIN((uint64_t)(predict->limitMs * options->step + 1), wanted), options->maxMs);

    if (next <= predict->limitMs)
        return false;
    *why = g_strdup_printf(_("a stop now would last about %1$llu ms, the limit is %2$llu ms and the rounds do not shrink"),
                           (unsigned long long)predict->neededMs, (unsigned long long)predict->limitMs);
    predict->limitMs = next;
    *action = (vmmiAction) { .kind = VMMI_ACT_SET_DOWNTIME, .downtimeMs = next };
    return true;
}

bool
vmmiPredictStep(vmmiPredict *predict, const vmmiSample *sample, vmmiAction *action, char **why)
{
    uint64_t before = predict->lastStart;
    bool shrinks;

    if (!sample->active || !sample->total || sample->postcopy || predict->over)
        return false;
    if (deadline(predict, sample, action, why))
        return true;
    if (!newRound(predict, sample))
        return false;
    predict->lastStart = sample->remaining;
    predict->neededMs = vmmiSampleRestMs(sample);
    shrinks = before && sample->remaining < before * SHRINKS &&
        (!sample->dirtyPerSecond || sample->dirtyPerSecond < sample->bytesPerSecond);
    if (!before || predict->neededMs <= predict->limitMs || shrinks) {
        predict->stuck = 0;
        return false;
    }
    if (raiseLimit(predict, action, why))
        return true;
    if (++predict->stuck < predict->options.patience || !predict->options.postcopy)
        return false;
    predict->over = true;
    *why = g_strdup_printf(_("a stop now would last about %1$llu ms, which is more than the greatest limit of %2$llu ms"),
                           (unsigned long long)predict->neededMs, (unsigned long long)predict->options.maxMs);
    *action = (vmmiAction) { .kind = VMMI_ACT_POSTCOPY };
    return true;
}
