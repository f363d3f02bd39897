/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * phase-model.h: the world in which the phase table must hold, small enough to be walked completely
 *
 * Two daemons with a disk, a VMM and a guest each, a coordinator (a client, or the source daemon
 * itself) and the messages under way.  Everything that can happen next is a step; the walk takes
 * every step from every state.  Steps are progress (they happen sooner or later if nothing else
 * does) or faults (they may never happen, and may happen at any time, again and again).
 *
 *   phase in memory, phase on the disk     differ when a save that may fail has failed
 *   action pending                         the phase is saved, its action not yet run: a kill falls
 * between request in flight                      may be executed long after the coordinator gave it
 * up or died answer in flight                       to the source's question for the outcome all
 * sent                               the destination's VMM may complete, whatever the source's VMM
 * says
 *
 * Proved in every state: never two copies that may run, in the phases or in truth; always one that
 * runs or can run, unless a VMM died.  Proved at rest: the one copy really runs and nothing is left
 * of the other.  Proved of every state: progress alone leads to rest.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/phase.h"

typedef enum { COORD_CLIENT, COORD_PEER } modelCoord;

typedef struct {
    modelCoord coord;
    const migMove *moves;
    size_t moveCount;
    bool (*mustBeSaved)(const migMove *move);
} modelInput;

typedef struct {
    size_t states, steps, rests;
    char *violation; /* NULL: everything was proved; else what broke and the steps to it */
} modelResult;

/** modelWalk: walk all states, or up to the first violation; the caller frees the violation. */
void modelWalk(const modelInput *input, modelResult *ret);
