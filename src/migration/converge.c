/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/converge.h"

#include <glib.h>

void
migConvergeBegin(migConverge *converge, const vmmMigSpec *spec, const vmmTraits *vmm)
{
    *converge = (migConverge) {
        .on = spec->autoConverge && vmm && vmm->convergesByHost,
        .initial = spec->autoConvergeInitial ? spec->autoConvergeInitial : MIG_CONVERGE_INITIAL,
        .increment = spec->autoConvergeIncrement ? spec->autoConvergeIncrement : MIG_CONVERGE_INCREMENT,
    };
}

bool
migConvergeNote(migConverge *converge, uint64_t pass, uint64_t dirty, uint64_t speed)
{
    unsigned before = converge->percent;
    bool next = pass > converge->pass;

    converge->pass = MAX(pass, converge->pass);
    /* The first round sends all memory: what was written meanwhile is known in the second. */
    if (!converge->on || !next || pass < 2 || speed == 0 || dirty <= speed / 2)
        return false;
    converge->percent = MIN(before ? before + converge->increment : converge->initial, MIG_CONVERGE_MAX);
    return converge->percent != before;
}
