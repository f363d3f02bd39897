/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * phase.c: the rows of phase.def as arrays, and look-ups in them
 */
#include "migration/phase.h"

#include "base/gettext.h"

static const migPhaseRow phaseRows[] = {
#define PHASE(symbol, nameText, sideSymbol, mayRunHere, isFinal, meaningText) \
    [MIG_PHASE_##symbol] = { \
        .name = nameText, \
        .side = MIG_SIDE_##sideSymbol, \
        .mayRun = mayRunHere, \
        .final = isFinal, \
        .meaning = meaningText, \
    },
#include "migration/phase.def"
};
G_STATIC_ASSERT(G_N_ELEMENTS(phaseRows) == MIG_PHASE_LAST);

static const struct {
    const char *name;
    const char *meaning;
} eventRows[] = {
#define EVENT(symbol, name, meaning) [MIG_EVENT_##symbol] = { name, meaning },
#include "migration/phase.def"
};
G_STATIC_ASSERT(G_N_ELEMENTS(eventRows) == MIG_EVENT_LAST);

static const char *const actionNames[] = {
#define ACTION(symbol, name, meaning) [MIG_ACTION_##symbol] = name,
#include "migration/phase.def"
};
G_STATIC_ASSERT(G_N_ELEMENTS(actionNames) == MIG_ACTION_LAST);

static const migMove moves[] = {
#define MOVE(from, event, to, action) \
    { MIG_PHASE_##from, MIG_EVENT_##event, MIG_PHASE_##to, MIG_ACTION_##action },
#include "migration/phase.def"
};

/* A second row for the same phase and event, or a move from one side to the other, does not
 * compile: the first would be a second enumerator of the same name, the second a negative array
 * size. */
enum {
#define MOVE(from, event, to, action) phaseOnlyRow_##from##_##event,
#include "migration/phase.def"
};
#define PHASE(symbol, name, side, mayRun, final, meaning) \
    enum { phaseSide_##symbol = MIG_SIDE_##side };
#include "migration/phase.def"
#define MOVE(from, event, to, action) \
    G_STATIC_ASSERT((int)phaseSide_##from == (int)phaseSide_##to);
#include "migration/phase.def"

const migPhaseRow *
migPhaseInfo(migPhase phase)
{
    return (unsigned)phase < MIG_PHASE_LAST ? &phaseRows[phase] : NULL;
}

const char *
migPhaseName(migPhase phase)
{
    return (unsigned)phase < MIG_PHASE_LAST ? phaseRows[phase].name : "?";
}

bool
migPhaseFromName(const char *name, migPhase *ret)
{
    for (int i = 0; name && i < MIG_PHASE_LAST; i++) {
        if (g_str_equal(phaseRows[i].name, name)) {
            *ret = (migPhase)i;
            return true;
        }
    }
    return false;
}

const char *
migEventName(migEvent event)
{
    return (unsigned)event < MIG_EVENT_LAST ? eventRows[event].name : "?";
}

const char *
migEventMeaning(migEvent event)
{
    return (unsigned)event < MIG_EVENT_LAST ? eventRows[event].meaning : "?";
}

const char *
migActionName(migAction action)
{
    return (unsigned)action < MIG_ACTION_LAST ? actionNames[action] : "?";
}

const migMove *
migPhaseMove(migPhase from, migEvent event)
{
    for (size_t i = 0; i < G_N_ELEMENTS(moves); i++) {
        if (moves[i].from == from && moves[i].event == event)
            return &moves[i];
    }
    return NULL;
}

const migMove *
migPhaseMoves(size_t *retCount)
{
    *retCount = G_N_ELEMENTS(moves);
    return moves;
}

migPhase
migPhaseRest(migSide side)
{
    return side == MIG_SIDE_SOURCE ? MIG_PHASE_IDLE : MIG_PHASE_ABSENT;
}

bool
migMoveMustBeSaved(const migMove *move)
{
    switch (move->to) {
    case MIG_PHASE_BEGUN: /* no promise, but a full disk is better noticed before anything is sent
                           */
    case MIG_PHASE_PREPARED:
        return true;
    case MIG_PHASE_PERFORMING:
    case MIG_PHASE_SENT:
    case MIG_PHASE_COMMITTED:
        return true;
    case MIG_PHASE_ABSENT:
        /* "committed" on the disk would be told to the source that asks after a restart. */
        return move->from == MIG_PHASE_COMMITTED;
    case MIG_PHASE_IDLE:
    case MIG_PHASE_ABORTING:
    case MIG_PHASE_IN_DOUBT:
    case MIG_PHASE_GONE:
    case MIG_PHASE_ENDED:
    case MIG_PHASE_RECEIVED:
    case MIG_PHASE_LAST:
        break;
    }
    return false;
}
