/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * predict.h: from rounds, dirty rate and speed to the downtime that a migration needs
 *
 * At the begin of a round the data that remains is what the guest wrote during the one before; if it were stopped now, that
 * is what would have to be sent while it stands. If it is more than the limit allows, and the rounds do not shrink fast enough by themselves, the
 * limit is raised by a step. At the greatest limit, post-copy is next where it can be had, and at the deadline the end.
 */
#pragma once

#include <stdbool.h>

#include "vmmi/schedule.h"

typedef enum { VMMI_END_ABORT, VMMI_END_STOP } vmmiEnd;

typedef struct {
    uint64_t startMs, maxMs;    /* the limit at first, and at most */
    uint64_t deadlineMs;        /* of the job's time */
    double step;                /* factor by which the limit grows, above 1 */
    uint64_t patience;          /* rounds that may do without progress */
    bool postcopy;              /* it may be used */
    vmmiEnd end;                /* at the deadline: abort, or stop the guest for as long as it takes */
} vmmiPredictOptions;

typedef struct {
    vmmiPredictOptions options;
    uint64_t limitMs;
    bool begun, over;
    uint64_t round, lastRemaining, lastStart;
    uint64_t stuck;
    uint64_t neededMs;          /* the downtime that was predicted last */
} vmmiPredict;

void vmmiPredictInit(vmmiPredict *predict, const vmmiPredictOptions *options);
/* Takes a sample of a running migration. True if something is to be done: *action, and *why for g_free(). */
bool vmmiPredictStep(vmmiPredict *predict, const vmmiSample *sample, vmmiAction *action, char **why);
/* Post-copy turned out not to be possible: decide without it from now on. */
void vmmiPredictNoPostcopy(vmmiPredict *predict);
