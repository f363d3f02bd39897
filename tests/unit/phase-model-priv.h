/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* phase-model-priv.h: a state of the model, for its world (phase-model-world.c) and its walk
 * (phase-model.c) */
#pragma once

#include "phase-model.h"

typedef enum {
    XFER_NONE,
    XFER_SENDING,
    XFER_ALL_SENT,
    XFER_DONE,
    XFER_FAILED,
    XFER_CANCELLED,
    XFER_WORD                    /* direct: the other VMM has said that it has everything */
} xferState;
typedef enum { STREAM_NONE, STREAM_LOADED, STREAM_BROKEN } streamState;
typedef enum { ANSWER_NONE, ANSWER_COMMITTED, ANSWER_ABSENT } answerState;
typedef enum {
    STEP_BEGIN, STEP_PREPARE, STEP_PERFORM, STEP_FINISH_OK, STEP_FINISH_CANCEL,
    STEP_CONFIRM_OK, STEP_CONFIRM_CANCEL, STEP_END,
} coordStep;
/* Requests have the number of their step; this is none. */
#define REQ_NONE STEP_END
typedef enum { OFFER_NONE, OFFER_SENT, OFFER_TAKEN, OFFER_FAILED } offerState;

typedef union {
    struct {
        /* source */
        uint64_t sPhase : 4, sDisk : 4, sPend : 3, sUp : 1;
        uint64_t sVmm : 1;           /* alive */
        uint64_t sRuns : 1;          /* the guest, in truth */
        uint64_t sXfer : 3, sAllSent : 1;
        uint64_t sCall : 1;          /* Perform is being executed */
        uint64_t sCut : 1;           /* the coordinator's connection is gone */
        uint64_t sAsks : 1;          /* has begun to ask */
        uint64_t sAnswer : 2;
        /* destination */
        uint64_t dPhase : 4, dDisk : 4, dPend : 3, dUp : 1;
        uint64_t dVmm : 1, dRuns : 1, dStream : 2;
        uint64_t dUsed : 1;          /* Prepare has been executed: no second one comes */
        uint64_t dTold : 1;          /* somebody may have heard "committed" */
        uint64_t dStartFailed : 1;
        uint64_t dCall : 1;          /* Finish is being executed: it waits for the start */
        uint64_t dCut : 1;
        /* coordinator and the rest */
        uint64_t step : 3, reqS : 3, reqD : 3;
        uint64_t vmmDied : 1;
        uint64_t offer : 2;          /* version 1: the source's request for a VMM, see offerState */
    };
    uint64_t key;
} state;
G_STATIC_ASSERT(sizeof(state) == sizeof(uint64_t));
G_STATIC_ASSERT(MIG_PHASE_LAST <= 16 && MIG_ACTION_LAST <= 8 && STEP_END < 8);

typedef enum { PROGRESS, FAULT_STEP } stepKind;

typedef struct {
    uint32_t from, to;
} edge;

typedef struct {
    const modelInput *input;
    modelResult *ret;
    const migMove *rows[MIG_PHASE_LAST][MIG_EVENT_LAST];
    GArray *states;              /* state */
    GArray *parents;             /* uint32_t: from which it was reached first */
    GPtrArray *labels;           /* const char *: by which step */
    GArray *edges;               /* edge, progress only */
    uint32_t *slots;             /* open addressing: index + 1 into 'states' */
    size_t slotCount;
    uint32_t current;
} walk;

/** findMove: the row of the table under test, or NULL. */
const migMove *findMove(const walk *w, unsigned from, migEvent event);
bool phaseFinal(unsigned phase);
/** addStep: @next can follow the current state; @label: a static text. */
void addStep(walk *w, const state *next, stepKind kind, const char *label);
/** report: note the first violation, in state number @index, with the steps that lead there. */
void report(walk *w, uint32_t index, const char *what, const char *detail);

/** coordGo: the coordinator's next step begins: its request is under way. */
void coordGo(const walk *w, state *n, coordStep step);
/** coordFirst: the step that the protocol begins with. */
coordStep coordFirst(modelCoord coord);
/** coordNext: what the coordinator does after a step. */
void coordNext(const walk *w, state *n, coordStep done, bool ok);
/** coordFaults: the coordinator may die, and requests and replies may be lost. */
void coordFaults(walk *w, const state *cur);
/** modelIsOffline, modelIsOld: definitions alone; versions 1 and 2. */
bool modelIsOffline(const walk *w);
bool modelIsOld(const walk *w);

typedef enum { FIRED, NOT_SAVED, NO_ROW } fireResult;
/** fire: @event on one side of @n. */
fireResult fire(walk *w, state *n, migSide side, migEvent event, bool diskFull);
/** fireStep: add the steps of @event with a good and with a full disk.  @otherwise is fired when the phase could not be
 * saved; MIG_EVENT_LAST: then nothing happens. */
void fireStep(walk *w, const state *cur, migSide side, migEvent event, migEvent otherwise, stepKind kind);
/** fireRequest: the same for a request of the coordinator, which goes on according to the result. */
void fireRequest(walk *w, const state *cur, migSide side, coordStep step, migEvent event, migEvent otherwise);
/** refuseRequest: it is answered with an error. */
void refuseRequest(walk *w, const state *cur, migSide side, coordStep step);
/** sourceDaemon, sourceVmm, killDaemon, restart: one of the walk's parts, see phase-model-world.c. */
void sourceDaemon(walk *w, const state *cur);
void sourceVmm(walk *w, const state *cur);
void killDaemon(walk *w, const state *cur, migSide side);
void restart(walk *w, const state *cur, migSide side, bool vmmAlive);

/** expandDirect, expandOffline: the worlds without a destination daemon, and without VMMs; phase-model-others.c. */
void expandDirect(walk *w, const state *cur);
void expandOffline(walk *w, const state *cur);
/** directRests, directHolds, offlineHolds: what must hold there in state number @index. */
bool directRests(const state *s);
void directHolds(walk *w, uint32_t index, const state *s);
void offlineHolds(walk *w, uint32_t index, const state *s);
/** expand: add every step that can follow state number @index. */
void expand(walk *w, uint32_t index);
