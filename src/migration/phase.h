/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* phase.h: the phase table as data; pure look-ups, no side effects.  The rows are in phase.def. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum { MIG_SIDE_SOURCE, MIG_SIDE_DEST } migSide;

typedef enum {
#define PHASE(symbol, ...) MIG_PHASE_##symbol,
#include "migration/phase.def"
    MIG_PHASE_LAST
} migPhase;

typedef enum {
#define EVENT(symbol, ...) MIG_EVENT_##symbol,
#include "migration/phase.def"
    MIG_EVENT_LAST
} migEvent;

typedef enum {
#define ACTION(symbol, ...) MIG_ACTION_##symbol,
#include "migration/phase.def"
    MIG_ACTION_LAST
} migAction;

typedef struct {
    const char *name;
    migSide side;
    bool mayRun;             /* may this host's copy of the guest run? */
    bool final;              /* the migration is over on this side */
    const char *meaning;
} migPhaseRow;

typedef struct {
    migPhase from;
    migEvent event;
    migPhase to;
    migAction action;
} migMove;

const migPhaseRow *migPhaseInfo(migPhase phase);
const char *migPhaseName(migPhase phase);
bool migPhaseFromName(const char *name, migPhase *ret);
const char *migEventName(migEvent event);
const char *migEventMeaning(migEvent event);
const char *migActionName(migAction action);
/** migPhaseMove: the row for @event in @from, or NULL. */
const migMove *migPhaseMove(migPhase from, migEvent event);
/** migPhaseMoves: all rows, for tests and documentation. */
const migMove *migPhaseMoves(size_t *retCount);
/** migPhaseRest: the phase of a side with no migration (idle, absent). */
migPhase migPhaseRest(migSide side);
/**
 * migMoveMustBeSaved: is the move forbidden unless its new phase is on the disk first?
 *
 * True for phases that promise something which a restart must not forget.  Other phases are entered
 * even when the disk is full: what the older phase on the disk leads to is as safe.
 */
bool migMoveMustBeSaved(const migMove *move);
