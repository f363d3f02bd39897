/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pump_stage.c: the filters of a pump, one behind the other
 *
 * What one emits comes to the next in that direction, and what the last one emits to the receiver.  The end passes through them in
 * the same order: the next one hears of it when all that the one before had to say has gone.
 */
#include "remote/pump_priv.h"

void
pumpStagesInit(pump *p, const pumpOptions *options)
{
    const pumpStage given[PUMP_STAGES] = { { options->filterOps, options->filter }, { options->farFilterOps, options->farFilter } };

    for (unsigned i = 0; i < PUMP_STAGES; i++) {
        if (!given[i].ops)
            continue;
        p->stages[p->stageCount++] = given[i];
        p->stageMore = p->stageMore || given[i].ops->more;
    }
}

/* The one that is the nth in this direction. */
static unsigned
stageOf(const pump *p, pumpDirection direction, unsigned nth)
{
    return direction == PUMP_FORWARD ? nth : p->stageCount - 1 - nth;
}

/* @at: PUMP_STAGES for none: they have passed all. */
static bool
stageBytes(pump *p, unsigned at, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error)
{
    const unsigned caller = p->stageAt;
    bool ok = true;

    if (at >= p->stageCount) {
        pumpWayQueue(&p->ways[direction], bytes, len);
        return true;
    }
    p->stageAt = at;
    if (p->stageMore)
        p->ways[direction].dry = false;
    if (p->stages[at].ops->bytes)
        ok = p->stages[at].ops->bytes(p->stages[at].filter, p, direction, bytes, len, error);
    else
        pumpEmit(p, direction, bytes, len);
    p->stageAt = caller;
    return ok;
}

void
pumpEmit(pump *p, pumpDirection direction, const void *bytes, size_t len)
{
    /* Below the first there is none, nor above the last. */
    const unsigned next = direction == PUMP_FORWARD ? p->stageAt + 1 : p->stageAt > 0 ? p->stageAt - 1 : PUMP_STAGES;

    if (direction < p->wayCount && len > 0 && !p->stageError && !p->ways[direction].discards)
        stageBytes(p, next, direction, bytes, len, &p->stageError);
}

/* One that was called by another's pumpEmit() could not say so. */
static bool
stagesWell(pump *p, bool ok, GError **error)
{
    if (ok && p->stageError)
        g_propagate_error(error, g_steal_pointer(&p->stageError));
    else
        return ok;
    return false;
}

bool
pumpStagesBytes(pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error)
{
    return stagesWell(p, stageBytes(p, stageOf(p, direction, 0), direction, bytes, len, error), error);
}

bool
pumpStagesMore(pump *p, pumpDirection direction, bool *retAny, GError **error)
{
    *retAny = false;
    /* The last one first: what waits there is the oldest. */
    for (unsigned n = p->stageCount; n-- > 0 && !*retAny;) {
        const unsigned at = p->stageAt = stageOf(p, direction, n);
        const pumpStage *stage = &p->stages[at];

        if (stage->ops->more && !stagesWell(p, stage->ops->more(stage->filter, p, direction, retAny, error), error))
            return false;
    }
    return true;
}

bool
pumpStagesEnd(pump *p, pumpDirection direction, GError **error)
{
    pumpWay *way = &p->ways[direction];

    while (way->endStages < p->stageCount) {
        const unsigned at = p->stageAt = stageOf(p, direction, way->endStages);
        const pumpStage *stage = &p->stages[at];

        way->endHeld = stage->ops->end && !stage->ops->end(stage->filter, p, direction);
        if (!stagesWell(p, true, error))
            return false;
        if (way->endHeld)
            return true;
        way->endStages++;
        /* Its last word goes first. */
        if (way->held > 0 || !way->dry)
            return true;
    }
    return true;
}

bool
pumpStagesPoke(pump *p, GError **error)
{
    for (unsigned i = 0; i < p->stageCount; i++) {
        const pumpStage *stage = &p->stages[i];

        p->stageAt = i;
        if (stage->ops->poke && !stagesWell(p, stage->ops->poke(stage->filter, p, error), error))
            return false;
    }
    return true;
}
