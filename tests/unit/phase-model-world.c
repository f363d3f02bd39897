/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* phase-model-world.c: what can happen next: coordinator, daemons, VMMs, disks and messages; see
 * phase-model.h */
#include "phase-model-priv.h"

/* ---- the coordinator ---- */

bool
modelIsOffline(const walk *w)
{
    return w->input->coord == COORD_OFFLINE || w->input->coord == COORD_OFFLINE_COPY;
}

bool
modelIsOld(const walk *w)
{
    return w->input->coord == COORD_CLIENT1 || w->input->coord == COORD_CLIENT2;
}

coordStep
coordFirst(modelCoord coord)
{
    switch (coord) {
    case COORD_CLIENT2:
        return STEP_PREPARE;
    case COORD_CLIENT1:              /* Prepare only reserves a place there */
    case COORD_DIRECT:
        return STEP_PERFORM;
    default:
        return STEP_BEGIN;
    }
}

void
coordGo(const walk *w, state *n, coordStep step)
{
    n->step = step;
    if (step == STEP_PREPARE || step == STEP_FINISH_OK || step == STEP_FINISH_CANCEL) {
        n->reqD = step;
    } else if (step == STEP_END) {
        /* Nobody confirms in the older ones, so a client that stays must do as well as one that leaves. */
        n->sCut |= !modelIsOld(w);
        n->dCut |= !modelIsOld(w) && w->input->coord != COORD_DIRECT;
    } else {
        n->reqS = step;
    }
}

static coordStep
stepAfter(modelCoord coord, coordStep done, bool ok)
{
    switch (done) {
    case STEP_BEGIN:
        return ok ? STEP_PREPARE : STEP_END;
    case STEP_PREPARE:
        if (coord == COORD_OFFLINE || coord == COORD_OFFLINE_COPY)
            return ok ? STEP_FINISH_OK : STEP_CONFIRM_CANCEL;
        return ok ? STEP_PERFORM : coord == COORD_CLIENT2 ? STEP_END : STEP_CONFIRM_CANCEL;
    case STEP_PERFORM:
        if (coord == COORD_DIRECT || (coord == COORD_CLIENT1 && !ok))
            return STEP_END;
        return ok ? STEP_FINISH_OK : STEP_FINISH_CANCEL;
    case STEP_FINISH_OK:
        if (coord == COORD_CLIENT1 || coord == COORD_CLIENT2)
            return STEP_END;
        return ok ? STEP_CONFIRM_OK : STEP_CONFIRM_CANCEL;
    case STEP_FINISH_CANCEL:
    case STEP_CONFIRM_OK:
    case STEP_CONFIRM_CANCEL:
    case STEP_END:
        break;
    }
    return STEP_END;
}

void
coordNext(const walk *w, state *n, coordStep done, bool ok)
{
    /* It has given this step up long ago. */
    if (n->step == done && done != STEP_END)
        coordGo(w, n, stepAfter(w->input->coord, done, ok));
}

static bool
stepIsAtDest(coordStep step)
{
    return step == STEP_PREPARE || step == STEP_FINISH_OK || step == STEP_FINISH_CANCEL;
}

/* A client that has done its part may stay connected or not. */
static void
coordLeaves(walk *w, const state *cur)
{
    state n = *cur;

    n.sCut = n.dCut = 1;
    if (modelIsOld(w))
        addStep(w, &n, FAULT_STEP, "the client leaves");
}

void
coordFaults(walk *w, const state *cur)
{
    bool isPeer = w->input->coord == COORD_PEER;
    bool atDest = stepIsAtDest(cur->step);
    state n;

    if (cur->step == STEP_END) {
        coordLeaves(w, cur);
        return;
    }
    /* It dies; its last request may have been lost or may still be executed. */
    for (int dropped = 0; dropped < 2; dropped++) {
        n = *cur;
        if (dropped)
            n.reqS = REQ_NONE;
        /* Version 1: an offer is the source's own. */
        if (dropped && !(n.reqD == STEP_PREPARE && w->input->coord == COORD_CLIENT1))
            n.reqD = REQ_NONE;
        coordGo(w, &n, STEP_END);
        n.sCut = 1;
        n.dCut |= w->input->coord != COORD_DIRECT;
        /* The peer-to-peer coordinator dies with its daemon only; see the kill of the source. */
        if (!isPeer)
            addStep(w, &n, FAULT_STEP, "coordinator dies");
        /* No answer comes: the connection is broken, the request may be lost or not. */
        n = *cur;
        if (dropped && atDest)
            n.reqD = REQ_NONE;
        else if (dropped)
            n.reqS = REQ_NONE;
        if (atDest)
            n.dCut = 1;
        else
            n.sCut = 1;
        coordNext(w, &n, cur->step, false);
        if (atDest || !isPeer)
            addStep(w, &n, FAULT_STEP, dropped ? "request lost" : "reply lost");
    }
}

/* ---- events ---- */

fireResult
fire(walk *w, state *n, migSide side, migEvent event, bool diskFull)
{
    const migMove *move = findMove(w, side == MIG_SIDE_SOURCE ? n->sPhase : n->dPhase, event);
    bool save;

    if (!move)
        return NO_ROW;
    save = move->to != move->from;
    if (save && diskFull && w->input->mustBeSaved(move))
        return NOT_SAVED;
    if (side == MIG_SIDE_SOURCE) {
        n->sPhase = move->to;
        n->sPend = move->action;
        n->sDisk = save && !diskFull ? move->to : n->sDisk;
    } else {
        n->dPhase = move->to;
        n->dPend = move->action;
        n->dDisk = save && !diskFull ? move->to : n->dDisk;
    }
    /* Of what does not run there is no status file. */
    if (modelIsOffline(w)) {
        n->sDisk = migPhaseRest(MIG_SIDE_SOURCE);
        n->dDisk = migPhaseRest(MIG_SIDE_DEST);
    }
    return FIRED;
}

void
fireStep(walk *w, const state *cur, migSide side, migEvent event, migEvent otherwise, stepKind kind)
{
    for (int diskFull = 0; diskFull < 2; diskFull++) {
        state n = *cur;
        fireResult result = fire(w, &n, side, event, diskFull);

        if (result == NO_ROW) {
            report(w, w->current, "no row for an event", migEventName(event));
            return;
        }
        if (result == NOT_SAVED && otherwise != MIG_EVENT_LAST)
            fire(w, &n, side, otherwise, true);
        addStep(w, &n, diskFull ? FAULT_STEP : kind, migEventName(event));
    }
}

/* Version 1: what the source hears of its offer, if it still wants to. */
static void
offerAnswered(state *n, bool taken)
{
    if (n->offer == OFFER_SENT)
        n->offer = taken ? OFFER_TAKEN : OFFER_FAILED;
}

void
fireRequest(walk *w, const state *cur, migSide side, coordStep step, migEvent event,
            migEvent otherwise)
{
    for (int diskFull = 0; diskFull < 2; diskFull++) {
        state n = *cur;
        bool fired;

        if (side == MIG_SIDE_SOURCE)
            n.reqS = REQ_NONE;
        else
            n.reqD = REQ_NONE;
        fired = fire(w, &n, side, event, diskFull) == FIRED;
        if (!fired && otherwise != MIG_EVENT_LAST)
            fire(w, &n, side, otherwise, true);
        /* These two are answered when they are through. */
        if (fired && step == STEP_PERFORM)
            n.sCall = 1;
        else if (step == STEP_PREPARE && w->input->coord == COORD_CLIENT1)
            offerAnswered(&n, fired);
        else if (fired && step == STEP_FINISH_OK)
            n.dCall = 1;
        else
            coordNext(w, &n, step, fired);
        if (fired && step == STEP_PREPARE) {
            n.dUsed = 1;
            n.dVmm |= !modelIsOffline(w);
        }
        addStep(w, &n, diskFull ? FAULT_STEP : PROGRESS, migEventName(event));
    }
}

void
refuseRequest(walk *w, const state *cur, migSide side, coordStep step)
{
    state n = *cur;

    if (side == MIG_SIDE_SOURCE)
        n.reqS = REQ_NONE;
    else
        n.reqD = REQ_NONE;
    if (step == STEP_PREPARE && w->input->coord == COORD_CLIENT1)
        offerAnswered(&n, false);
    coordNext(w, &n, step, false);
    addStep(w, &n, PROGRESS, "request refused");
}

/* ---- source ---- */

static void
sourceAct(walk *w, const state *cur)
{
    bool mayRun = migPhaseInfo((migPhase)cur->sPhase)->mayRun;
    state n = *cur;

    n.sPend = MIG_ACTION_NONE;
    switch ((migAction)cur->sPend) {
    case MIG_ACTION_STOP_SENDING:
        if (n.sXfer == XFER_ALL_SENT && w->input->coord != COORD_DIRECT)
            addStep(w, &n, PROGRESS, "too late to stop sending");
        if (n.sXfer == XFER_SENDING || n.sXfer == XFER_ALL_SENT)
            n.sXfer = XFER_CANCELLED;
        break;
    case MIG_ACTION_RESUME:
        n.sRuns = n.sVmm;
        if (!mayRun)
            report(w, w->current, "resumed in a phase in which it may not run", NULL);
        break;
    case MIG_ACTION_END_SOURCE:
        n.sVmm = n.sRuns = 0;
        if (mayRun)
            report(w, w->current, "ended in a phase in which it may run", NULL);
        break;
    case MIG_ACTION_ASK:         /* asking goes on for as long as the phase lasts */
        n.sAsks = 1;
        break;
    default:
        report(w, w->current, "an action of the other side", NULL);
        break;
    }
    addStep(w, &n, PROGRESS, migActionName((migAction)cur->sPend));
}

/* Version 1, before anything is sent: the destination is asked for a VMM over the link. */
static void
sourceOffers(walk *w, const state *cur)
{
    state n = *cur;

    switch ((offerState)cur->offer) {
    case OFFER_NONE:
        n.offer = OFFER_SENT;
        if (n.dUp && n.reqD == REQ_NONE)
            n.reqD = STEP_PREPARE;
        else
            n.offer = OFFER_FAILED;
        addStep(w, &n, PROGRESS, "source offers the guest");
        break;
    case OFFER_SENT:
        /* The link breaks; the offer may still be executed. */
        for (int dropped = 0; dropped < 2; dropped++) {
            n = *cur;
            n.offer = OFFER_FAILED;
            if (dropped && n.reqD == STEP_PREPARE)
                n.reqD = REQ_NONE;
            addStep(w, &n, cur->dUp && cur->reqD == STEP_PREPARE ? FAULT_STEP : PROGRESS, "the offer is not answered");
        }
        break;
    case OFFER_FAILED:
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_VMM_FAILED, MIG_EVENT_LAST, PROGRESS);
        break;
    case OFFER_TAKEN:
        break;
    }
}

static void
sourceVmmEvents(walk *w, const state *cur)
{
    state n = *cur;

    if (cur->sPhase != MIG_PHASE_PERFORMING && cur->sPhase != MIG_PHASE_ABORTING)
        return;
    switch ((xferState)cur->sXfer) {
    case XFER_NONE:
        if (cur->sPhase == MIG_PHASE_ABORTING) {
            fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_VMM_CANCELLED, MIG_EVENT_LAST, PROGRESS);
            break;
        }
        if (w->input->coord == COORD_CLIENT1 && cur->offer != OFFER_TAKEN) {
            sourceOffers(w, cur);
            break;
        }
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_VMM_FAILED, MIG_EVENT_LAST, FAULT_STEP);
        n.sXfer = XFER_SENDING;
        addStep(w, &n, PROGRESS, "VMM starts to send");
        break;
    case XFER_DONE:
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_VMM_DONE, MIG_EVENT_VMM_FAILED, PROGRESS);
        break;
    case XFER_FAILED:
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_VMM_FAILED, MIG_EVENT_LAST, PROGRESS);
        break;
    case XFER_CANCELLED:
        fireStep(w, cur, MIG_SIDE_SOURCE,
                 cur->sPhase == MIG_PHASE_ABORTING ? MIG_EVENT_VMM_CANCELLED : MIG_EVENT_VMM_FAILED,
                 MIG_EVENT_LAST, PROGRESS);
        break;
    case XFER_ALL_SENT:
        /* Direct: the VMM waits for leave to send the end. */
        n.sXfer = XFER_CANCELLED;
        if (w->input->coord == COORD_DIRECT && cur->sPhase == MIG_PHASE_PERFORMING)
            fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_VMM_DONE, MIG_EVENT_VMM_FAILED, PROGRESS);
        else if (w->input->coord == COORD_DIRECT)
            addStep(w, &n, PROGRESS, "the VMM is cancelled before the end");
        break;
    case XFER_SENDING:
    case XFER_WORD:
        break;
    }
}

static void
sourceRequests(walk *w, const state *cur)
{
    coordStep step = (coordStep)cur->reqS;
    migEvent word = step == STEP_CONFIRM_OK ? MIG_EVENT_CONFIRM_OK : MIG_EVENT_CONFIRM_CANCEL;

    switch (step) {
    case STEP_BEGIN:
        fireRequest(w, cur, MIG_SIDE_SOURCE, step, MIG_EVENT_BEGIN, MIG_EVENT_LAST);
        break;
    case STEP_PERFORM:
        /* Without a Begin it begins by itself, see sourceCallEnds(). */
        if (coordFirst(w->input->coord) != STEP_BEGIN)
            fireRequest(w, cur, MIG_SIDE_SOURCE, step, MIG_EVENT_BEGIN, MIG_EVENT_LAST);
        else if (cur->sPhase == MIG_PHASE_BEGUN)
            fireRequest(w, cur, MIG_SIDE_SOURCE, step, MIG_EVENT_PERFORM, MIG_EVENT_CONFIRM_CANCEL);
        else
            refuseRequest(w, cur, MIG_SIDE_SOURCE, step);
        break;
    case STEP_CONFIRM_OK:
    case STEP_CONFIRM_CANCEL:
        if (findMove(w, cur->sPhase, word))
            fireRequest(w, cur, MIG_SIDE_SOURCE, step, word, MIG_EVENT_LAST);
        else if (phaseFinal(cur->sPhase))
            /* Settled before: by the destination's answer, or by a restart. */
            refuseRequest(w, cur, MIG_SIDE_SOURCE, step);
        else
            report(w, w->current, "no row for the coordinator's word",
                   migPhaseName((migPhase)cur->sPhase));
        break;
    default:
        break;
    }
}

static void
sourceCallEnds(walk *w, const state *cur)
{
    state n = *cur;

    if (cur->sCall && cur->sPhase == MIG_PHASE_BEGUN && coordFirst(w->input->coord) != STEP_BEGIN)
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_PERFORM, MIG_EVENT_CONFIRM_CANCEL, PROGRESS);
    if (!cur->sCall || cur->sPhase == MIG_PHASE_PERFORMING || cur->sPhase == MIG_PHASE_ABORTING ||
        cur->sPhase == MIG_PHASE_BEGUN || (cur->sPhase == MIG_PHASE_SENT && w->input->coord == COORD_DIRECT))
        return;
    n.sCall = 0;
    coordNext(w, &n, STEP_PERFORM, cur->sPhase == MIG_PHASE_SENT || cur->sPhase == MIG_PHASE_IN_DOUBT);
    addStep(w, &n, PROGRESS, "Perform returns");
}

static void
sourceHears(walk *w, const state *cur)
{
    state n = *cur;

    n.sAnswer = ANSWER_NONE;
    /* Told unasked, it is lost only with the link, which the source notices. */
    n.sCut |= modelIsOld(w);
    addStep(w, &n, FAULT_STEP, "answer lost");
    n.sCut = cur->sCut;
    if (cur->sPhase == MIG_PHASE_SENT || cur->sPhase == MIG_PHASE_IN_DOUBT)
        fireStep(w, &n, MIG_SIDE_SOURCE,
                 cur->sAnswer == ANSWER_COMMITTED ? MIG_EVENT_HEARD_COMMITTED
                                                  : MIG_EVENT_HEARD_ABSENT,
                 MIG_EVENT_LAST, PROGRESS);
    else
        addStep(w, &n, PROGRESS, "answer ignored");
}

void
sourceDaemon(walk *w, const state *cur)
{
    static const migEvent whims[] = { MIG_EVENT_LOST, MIG_EVENT_CANCEL };
    unsigned phase = cur->sPhase;

    if (cur->sPend != MIG_ACTION_NONE) {
        sourceAct(w, cur);
        return;
    }
    if (!cur->sVmm && !phaseFinal(phase))
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_VMM_GONE, MIG_EVENT_LAST, PROGRESS);
    if (cur->sVmm)
        sourceVmmEvents(w, cur);
    if (cur->reqS != REQ_NONE)
        sourceRequests(w, cur);
    sourceCallEnds(w, cur);
    if (cur->sAnswer != ANSWER_NONE)
        sourceHears(w, cur);
    /* It stays known that the coordinator is gone: a phase entered afterwards hears of it, too. */
    if ((cur->sCut || (cur->dCut && w->input->coord == COORD_DIRECT)) && !phaseFinal(phase))
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_LOST, MIG_EVENT_LAST, PROGRESS);
    /* Nobody confirms in the older versions, so the source waits for the outcome for a while only, then it asks. */
    if (modelIsOld(w) && phase == MIG_PHASE_SENT && cur->step == STEP_END)
        fireStep(w, cur, MIG_SIDE_SOURCE, MIG_EVENT_LOST, MIG_EVENT_LAST, PROGRESS);
    for (size_t i = 0; i < G_N_ELEMENTS(whims); i++) {
        if (!phaseFinal(phase) && findMove(w, phase, whims[i]))
            fireStep(w, cur, MIG_SIDE_SOURCE, whims[i], MIG_EVENT_LAST, FAULT_STEP);
    }
}

void
sourceVmm(walk *w, const state *cur)
{
    state n = *cur;

    if (!cur->sVmm)
        return;
    n.sVmm = n.sRuns = 0;
    n.vmmDied = 1;
    addStep(w, &n, FAULT_STEP, "the source's VMM dies");

    n = *cur;
    if (cur->sXfer == XFER_SENDING && cur->dVmm && cur->dStream == STREAM_NONE) {
        n.sXfer = XFER_ALL_SENT;
        n.sAllSent = 1;
        n.sRuns = 0;
        /* A guest that writes a lot may never get so far; then only being told to stop ends it. */
        addStep(w, &n, cur->sPhase == MIG_PHASE_ABORTING ? FAULT_STEP : PROGRESS,
                "all is sent, guest stopped");
        n = *cur;
    }
    if (cur->sXfer == XFER_SENDING) {
        n.sXfer = XFER_FAILED;
        addStep(w, &n, cur->dVmm && cur->dStream == STREAM_NONE ? FAULT_STEP : PROGRESS,
                "sending fails");
    } else if (cur->sXfer == XFER_ALL_SENT) {
        n.sXfer = XFER_DONE;
        addStep(w, &n, PROGRESS, "the source's VMM is done");
        /* Although the other side has everything. */
        n.sXfer = XFER_FAILED;
        addStep(w, &n, FAULT_STEP, "sending fails at the end");
        n.sRuns = 1;
        addStep(w, &n, FAULT_STEP, "sending fails, VMM lets the guest run");
    }
}

/* ---- destination ---- */

static void
destStarts(walk *w, const state *cur)
{
    state n = *cur;

    n.dPend = MIG_ACTION_NONE;
    if (!migPhaseInfo((migPhase)cur->dPhase)->mayRun)
        report(w, w->current, "started in a phase in which it may not run", NULL);
    if (cur->dVmm) {
        n.dRuns = 1;
        if (n.dCall) {
            n.dCall = 0;
            n.dTold = 1;
            coordNext(w, &n, STEP_FINISH_OK, true);
        }
        addStep(w, &n, PROGRESS, "guest started");
    }
    /* It does not start.  Whoever may have told "committed" to somebody must stay committed. */
    for (int diskFull = 0; diskFull < 2; diskFull++) {
        n = *cur;
        n.dPend = MIG_ACTION_NONE;
        n.dStartFailed = 1;
        if (!n.dTold && fire(w, &n, MIG_SIDE_DEST, MIG_EVENT_START_FAILED, diskFull) == NO_ROW)
            report(w, w->current, "no row for an event", migEventName(MIG_EVENT_START_FAILED));
        if (n.dCall) {
            n.dCall = 0;
            coordNext(w, &n, STEP_FINISH_OK, false);
        }
        addStep(w, &n, cur->dVmm || diskFull ? FAULT_STEP : PROGRESS, "the guest does not start");
    }
}

static void
destAct(walk *w, const state *cur)
{
    state n = *cur;

    if (cur->dPend == MIG_ACTION_START) {
        destStarts(w, cur);
        return;
    }
    n.dPend = MIG_ACTION_NONE;
    if (cur->dPend == MIG_ACTION_END_INCOMING)
        n.dVmm = n.dRuns = 0;
    else
        report(w, w->current, "an action of the other side", NULL);
    addStep(w, &n, PROGRESS, migActionName((migAction)cur->dPend));
}

static void
destRequests(walk *w, const state *cur)
{
    coordStep step = (coordStep)cur->reqD;
    unsigned phase = cur->dPhase;

    switch (step) {
    case STEP_PREPARE:
        fireRequest(w, cur, MIG_SIDE_DEST, step, MIG_EVENT_PREPARE, MIG_EVENT_LAST);
        break;
    case STEP_FINISH_OK:
        /* In 'prepared' it waits for the stream's end, but not for ever. */
        if (phase == MIG_PHASE_PREPARED)
            fireStep(w, cur, MIG_SIDE_DEST, MIG_EVENT_FINISH_CANCEL, MIG_EVENT_LAST, FAULT_STEP);
        else if (phase == MIG_PHASE_RECEIVED)
            fireRequest(w, cur, MIG_SIDE_DEST, step, MIG_EVENT_FINISH_OK, MIG_EVENT_FINISH_CANCEL);
        else
            refuseRequest(w, cur, MIG_SIDE_DEST, step);
        break;
    case STEP_FINISH_CANCEL:
        if (phase == MIG_PHASE_ABSENT)
            refuseRequest(w, cur, MIG_SIDE_DEST, step);
        else if (!findMove(w, phase, MIG_EVENT_FINISH_CANCEL))
            report(w, w->current, "no row for the coordinator's word",
                   migPhaseName((migPhase)phase));
        else
            fireRequest(w, cur, MIG_SIDE_DEST, step, MIG_EVENT_FINISH_CANCEL, MIG_EVENT_LAST);
        break;
    default:
        break;
    }
}

/*
 * The source asks; needs its daemon and ours.  In 'sent' it does not, but a question that an
 * earlier doubt has left behind, or an outcome told unasked, may reach it there.
 */
static void
destIsAsked(walk *w, const state *cur)
{
    bool asks = cur->sPhase == MIG_PHASE_IN_DOUBT && cur->sAsks;

    if (!cur->sUp || cur->sAnswer != ANSWER_NONE || cur->dCall ||
        !(asks || cur->sPhase == MIG_PHASE_SENT))
        return;
    if (!findMove(w, cur->dPhase, MIG_EVENT_RESOLVE)) {
        report(w, w->current, "no row for the source's question",
               migPhaseName((migPhase)cur->dPhase));
        return;
    }
    for (int diskFull = 0; diskFull < 2; diskFull++) {
        state n = *cur;

        if (fire(w, &n, MIG_SIDE_DEST, MIG_EVENT_RESOLVE, diskFull) != FIRED)
            continue;
        /* Answered only when it is settled and the action of that is done. */
        if (n.dPend == MIG_ACTION_NONE && n.dPhase == MIG_PHASE_COMMITTED) {
            n.dTold = 1;
            n.sAnswer = ANSWER_COMMITTED;
        } else if (n.dPend == MIG_ACTION_NONE && n.dPhase == MIG_PHASE_ABSENT) {
            n.sAnswer = ANSWER_ABSENT;
        }
        addStep(w, &n, asks && !diskFull ? PROGRESS : FAULT_STEP,
                n.sAnswer == ANSWER_COMMITTED ? "asked: committed" :
                n.sAnswer == ANSWER_ABSENT ? "asked: absent" : "asked");
    }
}

/* Versions 1 and 2: nobody confirms, so the destination tells how it ended, unasked, while the link lives. */
static void
destTells(walk *w, const state *cur)
{
    state n = *cur;

    if (!modelIsOld(w) || cur->sPhase != MIG_PHASE_SENT || !cur->sUp || cur->sCut || cur->dCall ||
        cur->sAnswer != ANSWER_NONE)
        return;
    if (cur->dPhase == MIG_PHASE_COMMITTED) {
        n.dTold = 1;
        n.sAnswer = ANSWER_COMMITTED;
        addStep(w, &n, PROGRESS, "told: committed");
    } else if (cur->dPhase == MIG_PHASE_ABSENT && cur->dUsed) {
        n.sAnswer = ANSWER_ABSENT;
        addStep(w, &n, PROGRESS, "told: absent");
    }
}

/* Does the destination learn that nobody will go on? */
static bool
destIsLeft(const walk *w, const state *cur)
{
    if (!modelIsOld(w))
        return cur->dCut;
    /* The lease: the link is gone for too long, or nobody has made it.  Only version 2 has a client whose connection it
     * watches. */
    if (cur->step == STEP_PREPARE || cur->step == STEP_PERFORM)
        return false;
    return !cur->sUp || phaseFinal(cur->sPhase) || (cur->dCut && w->input->coord == COORD_CLIENT2);
}

static void
destDaemon(walk *w, const state *cur)
{
    static const migEvent whims[] = { MIG_EVENT_LOST, MIG_EVENT_CANCEL, MIG_EVENT_VMM_FAILED };
    unsigned phase = cur->dPhase;
    bool waits = !phaseFinal(phase);

    if (cur->dPend != MIG_ACTION_NONE) {
        destAct(w, cur);
        return;
    }
    if (!cur->dVmm && (waits || (phase == MIG_PHASE_COMMITTED && cur->vmmDied)))
        fireStep(w, cur, MIG_SIDE_DEST, MIG_EVENT_VMM_GONE, MIG_EVENT_LAST, PROGRESS);
    if (cur->dVmm && phase == MIG_PHASE_PREPARED && cur->dStream != STREAM_NONE)
        fireStep(w, cur, MIG_SIDE_DEST,
                 cur->dStream == STREAM_LOADED ? MIG_EVENT_VMM_LOADED : MIG_EVENT_VMM_FAILED,
                 MIG_EVENT_LAST, PROGRESS);
    if (cur->reqD != REQ_NONE)
        destRequests(w, cur);
    destIsAsked(w, cur);
    destTells(w, cur);
    if (waits && destIsLeft(w, cur))
        fireStep(w, cur, MIG_SIDE_DEST, MIG_EVENT_LOST, MIG_EVENT_LAST, PROGRESS);
    for (size_t i = 0; i < G_N_ELEMENTS(whims); i++) {
        if (findMove(w, phase, whims[i]))
            fireStep(w, cur, MIG_SIDE_DEST, whims[i], MIG_EVENT_LAST, FAULT_STEP);
    }
}

static void
destVmm(walk *w, const state *cur)
{
    bool broken = !cur->sVmm || cur->sXfer == XFER_FAILED || cur->sXfer == XFER_CANCELLED;
    state n = *cur;

    if (!cur->dVmm)
        return;
    n.dVmm = n.dRuns = 0;
    n.vmmDied = 1;
    addStep(w, &n, FAULT_STEP, "the destination's VMM dies");
    if (cur->dStream != STREAM_NONE)
        return;
    n = *cur;
    n.dStream = STREAM_LOADED;
    if (cur->sAllSent)
        addStep(w, &n, PROGRESS, "the destination's VMM has all");
    n.dStream = STREAM_BROKEN;
    addStep(w, &n, broken ? PROGRESS : FAULT_STEP, "the stream breaks");
}

/* ---- kills and restarts of the daemons ---- */

void
restart(walk *w, const state *cur, migSide side, bool vmmAlive)
{
    state n = *cur;
    unsigned phase = side == MIG_SIDE_SOURCE ? cur->sDisk : cur->dDisk;
    migEvent event = vmmAlive ? MIG_EVENT_RESTART : MIG_EVENT_VMM_GONE;

    if (side == MIG_SIDE_SOURCE) {
        n.sUp = n.sCut = 1;
        n.sPhase = phase;
    } else {
        n.dUp = n.dCut = 1;
        n.dPhase = phase;
        n.dTold = phase == MIG_PHASE_COMMITTED;
    }
    if (side == MIG_SIDE_DEST && !cur->dUsed) {
        addStep(w, &n, PROGRESS, "daemon starts, knows of nothing");
        return;
    }
    /* A final phase without a VMM has nothing left to do. */
    if (!vmmAlive && phaseFinal(phase)) {
        addStep(w, &n, PROGRESS, "daemon starts, VMM is gone");
        return;
    }
    fireStep(w, &n, side, event, MIG_EVENT_LAST, PROGRESS);
}

void
killDaemon(walk *w, const state *cur, migSide side)
{
    for (int dropped = 0; dropped < 2; dropped++) {
        state n = *cur;

        if (side == MIG_SIDE_SOURCE) {
            n.sUp = n.sCall = n.sAsks = 0;
            n.sPhase = n.sDisk;
            n.sPend = MIG_ACTION_NONE;
            n.sAnswer = ANSWER_NONE;
            n.reqS = REQ_NONE;
            n.dCut |= w->input->coord == COORD_DIRECT;
            n.offer = n.offer == OFFER_SENT ? OFFER_FAILED : n.offer;
            if (w->input->coord == COORD_PEER) {
                n.reqD = dropped ? REQ_NONE : n.reqD;
                coordGo(w, &n, STEP_END);
            } else if (!stepIsAtDest((coordStep)n.step)) {
                coordNext(w, &n, (coordStep)n.step, false);
            }
        } else {
            n.dUp = n.dCall = 0;
            n.dPhase = n.dDisk;
            n.dPend = MIG_ACTION_NONE;
            n.dStartFailed = 0;
            n.reqD = REQ_NONE;
            /* The link breaks with it. */
            n.sCut |= modelIsOld(w);
            if (stepIsAtDest((coordStep)n.step))
                coordNext(w, &n, (coordStep)n.step, false);
        }
        addStep(w, &n, FAULT_STEP,
                side == MIG_SIDE_SOURCE ? "source daemon is killed"
                                        : "destination daemon is killed");
    }
}

void
expand(walk *w, uint32_t index)
{
    /* A copy: the array moves when it grows. */
    const state cur = g_array_index(w->states, state, index);

    w->current = index;
    coordFaults(w, &cur);
    if (modelIsOffline(w)) {
        expandOffline(w, &cur);
        return;
    }
    if (w->input->coord == COORD_DIRECT) {
        expandDirect(w, &cur);
        return;
    }
    if (cur.sUp) {
        sourceDaemon(w, &cur);
        killDaemon(w, &cur, MIG_SIDE_SOURCE);
    } else {
        restart(w, &cur, MIG_SIDE_SOURCE, cur.sVmm);
    }
    if (cur.dUp) {
        destDaemon(w, &cur);
        killDaemon(w, &cur, MIG_SIDE_DEST);
    } else {
        restart(w, &cur, MIG_SIDE_DEST, cur.dVmm);
    }
    sourceVmm(w, &cur);
    destVmm(w, &cur);
}
