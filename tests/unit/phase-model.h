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
 *
 * Direct: the source may stay in doubt for ever, and the destination's VMM counts as it is, since no phase
 * speaks for it.
 * Offline: a copy is a definition; none ever runs, and there is always one.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/phase.h"

/* Who coordinates, and by which protocol. */
typedef enum {
    COORD_CLIENT,                /* version 3: begin, prepare, perform, finish, confirm */
    COORD_PEER,                  /* the source daemon takes the same steps */
    COORD_CLIENT2,               /* version 2: prepare, perform, finish; nobody confirms: the destination tells the
                                  * outcome */
    COORD_CLIENT1,               /* version 1: the same, but the destination's VMM starts when the source offers
                                  * the guest, and
                                  * nobody finishes what could not be performed: a lease ends it */
    COORD_DIRECT,                /* perform alone, to a VMM without a daemon, which starts the guest by itself */
    COORD_OFFLINE,               /* version 3 without perform: a definition moves and is removed here */
    COORD_OFFLINE_COPY,          /* the same, but it stays here, too */
    COORD_LAST
} modelCoord;

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
