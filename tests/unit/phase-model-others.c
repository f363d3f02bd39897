/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* phase-model-others.c: what can happen next without a daemon at the destination, and without VMMs; see
 * phase-model.h */
#include "phase-model-priv.h"

/* ---- direct: in these states dCut says that the connection to the other VMM is broken -------------- */

/* Before the last part is let go, 'sent' is saved; the VMM's own end is the other VMM's word. */
static void
directLooksAtVmm(walk *w, const state *cur)
{
    bool doubt = cur->sPhase == MIG_PHASE_IN_DOUBT;
    state n = *cur;

    if (cur->sPend != MIG_ACTION_NONE || (cur->sPhase != MIG_PHASE_SENT && !doubt))
        return;
    switch ((xferState)cur->sXfer) {
    case XFER_ALL_SENT:
        if (doubt) {
            /* It still waits for leave to send the end, and nobody else can give it. */
            n.sXfer = XFER_CANCELLED;
            fireStep(w, &n, MIG_SIDE_SOURCE, MIG_EVENT_HEARD_ABSENT, MIG_EVENT_LAST, PROGRESS);
        } else if (cur->sCall) {
            n.sXfer = XFER_DONE;
            n.sAllSent = 1;
            addStep(w, &n, PROGRESS, "the VMM may send the end");
        }
        break;
    case XFER_WORD:
        fireStep(w, cur, MIG_SIDE_SOURCE, doubt ? MIG_EVENT_HEARD_COMMITTED : MIG_EVENT_CONFIRM_OK, MIG_EVENT_LAST,
                 PROGRESS);
        break;
    case XFER_FAILED:
    case XFER_CANCELLED:
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_HEARD_ABSENT, MIG_EVENT_LAST, PROGRESS);
        break;
    default:
        break;
    }
}

static void
directSourceVmm(walk *w, const state *cur)
{
    bool waits = cur->sXfer == XFER_ALL_SENT || cur->sXfer == XFER_DONE;
    state n = *cur;

    if (!cur->sVmm)
        return;
    n.sVmm = n.sRuns = 0;
    n.vmmDied = 1;
    addStep(w, &n, FAULT_STEP, "the source's VMM dies");
    n = *cur;
    if (cur->sXfer == XFER_SENDING) {
        n.sXfer = XFER_ALL_SENT;
        n.sRuns = 0;
        addStep(w, &n, cur->sPhase == MIG_PHASE_ABORTING ? FAULT_STEP : PROGRESS,
                "guest stopped before the end is sent");
        n = *cur;
        n.sXfer = XFER_FAILED;
        addStep(w, &n, cur->dVmm && cur->dStream == STREAM_NONE ? FAULT_STEP : PROGRESS, "sending fails");
    }
    /* What a broken connection hides it cannot see. */
    if (!waits || cur->dCut)
        return;
    n = *cur;
    if (cur->sXfer == XFER_DONE && cur->dRuns) {
        n.sXfer = XFER_WORD;
        addStep(w, &n, PROGRESS, "the other VMM says that it has all");
    } else if (!cur->dVmm) {
        n.sXfer = XFER_FAILED;
        n.sRuns = 1;
        addStep(w, &n, PROGRESS, "the other VMM ended, VMM lets the guest run");
    }
}

static void
directDestVmm(walk *w, const state *cur)
{
    bool broken = !cur->sVmm || cur->dCut || cur->sXfer == XFER_FAILED || cur->sXfer == XFER_CANCELLED;
    state n = *cur;

    if (!cur->dVmm)
        return;
    n.dVmm = n.dRuns = 0;
    /* One that has not started the guest yet takes nothing away with it. */
    n.vmmDied |= cur->dStream == STREAM_LOADED;
    addStep(w, &n, FAULT_STEP, "the destination's VMM dies");
    if (cur->dStream != STREAM_NONE)
        return;
    n = *cur;
    n.dStream = STREAM_LOADED;
    n.dRuns = 1;
    /* What was on its way when the connection broke may have arrived. */
    if (cur->sAllSent)
        addStep(w, &n, cur->dCut ? FAULT_STEP : PROGRESS, "the destination's VMM has all and starts");
    n = *cur;
    n.dStream = STREAM_BROKEN;
    n.dVmm = 0;
    if (broken && cur->sXfer != XFER_NONE)
        addStep(w, &n, PROGRESS, "the stream breaks, the VMM ends");
}

void
expandDirect(walk *w, const state *cur)
{
    state n = *cur;

    if (cur->sUp) {
        sourceDaemon(w, cur);
        directLooksAtVmm(w, cur);
        killDaemon(w, cur, MIG_SIDE_SOURCE);
    } else {
        restart(w, cur, MIG_SIDE_SOURCE, cur->sVmm);
    }
    n.dCut = 1;
    if (!cur->dCut && cur->sXfer != XFER_NONE)
        addStep(w, &n, FAULT_STEP, "the connection breaks");
    directSourceVmm(w, cur);
    directDestVmm(w, cur);
}

bool
directRests(const state *s)
{
    /* When the connection is broken, the VMM will never hear how it ended. */
    bool stuck = s->sPhase == MIG_PHASE_IN_DOUBT && s->sXfer == XFER_DONE && s->dCut;

    return s->sUp && !s->sPend && !s->sCall && s->step == STEP_END && s->reqS == REQ_NONE &&
           (phaseFinal(s->sPhase) || stuck);
}

void
directHolds(walk *w, uint32_t index, const state *s)
{
    bool here = s->sVmm && migPhaseInfo((migPhase)s->sPhase)->mayRun;
    bool gone = s->sPhase == MIG_PHASE_GONE || s->sPhase == MIG_PHASE_ENDED;

    if (s->sRuns && s->dRuns)
        report(w, index, "two copies run", NULL);
    if (here && s->dRuns)
        report(w, index, "two copies may run", NULL);
    if (s->sPhase == MIG_PHASE_GONE && !s->dRuns && !s->vmmDied)
        report(w, index, "given away, but not taken", NULL);
    if (!s->vmmDied && !s->dRuns && (!s->sVmm || gone))
        report(w, index, "no copy is left", NULL);
    if (!directRests(s))
        return;
    if (s->sPhase == MIG_PHASE_IDLE && s->sVmm && !s->sRuns)
        report(w, index, "at rest, but the guest is frozen on the source", NULL);
    if (gone && s->sVmm)
        report(w, index, "at rest, but a VMM is left on the source", NULL);
    if (s->sPhase == MIG_PHASE_IN_DOUBT && s->sRuns)
        report(w, index, "runs on the source in doubt", NULL);
}

/* ---- offline: sVmm and dVmm are definitions on the disk; no phase is ----------------------------- */

static void
offlineSourceAct(walk *w, const state *cur)
{
    state n = *cur;

    n.sPend = MIG_ACTION_NONE;
    if (cur->sPend == MIG_ACTION_END_SOURCE)
        n.sVmm = w->input->coord == COORD_OFFLINE_COPY;
    else
        report(w, w->current, "an action that a definition does not know", NULL);
    addStep(w, &n, PROGRESS, migActionName((migAction)cur->sPend));
}

static void
offlineSource(walk *w, const state *cur)
{
    static const migEvent whims[] = { MIG_EVENT_LOST, MIG_EVENT_CANCEL };
    coordStep step = (coordStep)cur->reqS;

    if (cur->sPend != MIG_ACTION_NONE) {
        offlineSourceAct(w, cur);
        return;
    }
    if (step == STEP_BEGIN) {
        fireRequest(w, cur, MIG_SIDE_SOURCE, step, MIG_EVENT_BEGIN, MIG_EVENT_LAST);
    } else if (step == STEP_CONFIRM_OK || step == STEP_CONFIRM_CANCEL) {
        migEvent word = step == STEP_CONFIRM_OK ? MIG_EVENT_MOVED : MIG_EVENT_CONFIRM_CANCEL;

        if (findMove(w, cur->sPhase, word))
            fireRequest(w, cur, MIG_SIDE_SOURCE, step, word, MIG_EVENT_LAST);
        else if (phaseFinal(cur->sPhase))
            refuseRequest(w, cur, MIG_SIDE_SOURCE, step);
        else
            report(w, w->current, "no row for the coordinator's word", migPhaseName((migPhase)cur->sPhase));
    }
    if (cur->sCut && !phaseFinal(cur->sPhase))
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_LOST, MIG_EVENT_LAST, PROGRESS);
    for (size_t i = 0; i < G_N_ELEMENTS(whims); i++) {
        if (!phaseFinal(cur->sPhase) && findMove(w, cur->sPhase, whims[i]))
            fireStep(w, cur, MIG_SIDE_SOURCE, whims[i], MIG_EVENT_LAST, FAULT_STEP);
    }
}

/* Stored, then committed; either may fail, and the daemon may be killed in between. */
static void
offlineFinish(walk *w, const state *cur)
{
    for (int diskFull = 0; diskFull < 3; diskFull++) {
        state n = *cur;
        fireResult result = NOT_SAVED;

        n.reqD = REQ_NONE;
        n.dVmm = 1;
        if (diskFull == 0 && !findMove(w, n.dPhase, MIG_EVENT_MOVED)) {
            report(w, w->current, "no row for an event", migEventName(MIG_EVENT_MOVED));
            return;
        }
        if (diskFull < 2)
            result = fire(w, &n, MIG_SIDE_DEST, MIG_EVENT_MOVED, diskFull == 1);
        if (result != FIRED) {
            n.dVmm = 0;
            fire(w, &n, MIG_SIDE_DEST, MIG_EVENT_FINISH_CANCEL, true);
        }
        coordNext(w, &n, STEP_FINISH_OK, result == FIRED);
        addStep(w, &n, diskFull ? FAULT_STEP : PROGRESS, "the definition is stored");
    }
    {
        state n = *cur;

        n.reqD = REQ_NONE;
        n.dVmm = 1;
        n.dUp = 0;
        n.dPhase = MIG_PHASE_ABSENT;
        coordNext(w, &n, STEP_FINISH_OK, false);
        addStep(w, &n, FAULT_STEP, "killed before the commit");
    }
}

static void
offlineDest(walk *w, const state *cur)
{
    static const migEvent whims[] = { MIG_EVENT_LOST, MIG_EVENT_CANCEL };
    coordStep step = (coordStep)cur->reqD;
    state n = *cur;

    if (cur->dPend != MIG_ACTION_NONE) {
        n.dPend = MIG_ACTION_NONE;
        if (cur->dPend != MIG_ACTION_END_INCOMING)
            report(w, w->current, "an action that a definition does not know", NULL);
        addStep(w, &n, PROGRESS, migActionName((migAction)cur->dPend));
        return;
    }
    if (step == STEP_PREPARE)
        fireRequest(w, cur, MIG_SIDE_DEST, step, MIG_EVENT_PREPARE, MIG_EVENT_LAST);
    else if (step == STEP_FINISH_OK && cur->dPhase == MIG_PHASE_PREPARED)
        offlineFinish(w, cur);
    else if (step == STEP_FINISH_OK)
        refuseRequest(w, cur, MIG_SIDE_DEST, step);
    if (cur->dCut && !phaseFinal(cur->dPhase))
        fireStep(w, cur, MIG_SIDE_DEST, MIG_EVENT_LOST, MIG_EVENT_LAST, PROGRESS);
    for (size_t i = 0; i < G_N_ELEMENTS(whims); i++) {
        if (!phaseFinal(cur->dPhase) && findMove(w, cur->dPhase, whims[i]))
            fireStep(w, cur, MIG_SIDE_DEST, whims[i], MIG_EVENT_LAST, FAULT_STEP);
    }
}

void
expandOffline(walk *w, const state *cur)
{
    state n = *cur;

    /* A daemon that starts finds definitions, and nothing of a migration. */
    if (cur->sUp) {
        offlineSource(w, cur);
        killDaemon(w, cur, MIG_SIDE_SOURCE);
    } else {
        n.sUp = n.sCut = 1;
        addStep(w, &n, PROGRESS, "source daemon starts");
    }
    n = *cur;
    if (cur->dUp) {
        offlineDest(w, cur);
        killDaemon(w, cur, MIG_SIDE_DEST);
    } else {
        n.dUp = n.dCut = 1;
        addStep(w, &n, PROGRESS, "destination daemon starts");
    }
}

void
offlineHolds(walk *w, uint32_t index, const state *s)
{
    if (s->sRuns || s->dRuns)
        report(w, index, "a definition runs", NULL);
    if (!s->sVmm && !s->dVmm)
        report(w, index, "no copy is left", NULL);
    if (s->sPhase == MIG_PHASE_GONE && !s->dVmm)
        report(w, index, "given away, but not taken", NULL);
    if (s->dPhase == MIG_PHASE_COMMITTED && !s->dVmm)
        report(w, index, "committed, but not stored", NULL);
    if (!s->sVmm && w->input->coord == COORD_OFFLINE_COPY)
        report(w, index, "the definition was taken away here, too", NULL);
    if (s->sPhase == MIG_PHASE_GONE && !s->sPend && s->sVmm && w->input->coord == COORD_OFFLINE)
        report(w, index, "the definition was left here", NULL);
}
