/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-client.c: the coordinator: what libvirt's client does in each version of the protocol */
#include "flow-world.h"

#include "base/error.h"

static bool
clientCall(flowWorld *w, flowCall *call, migSide side, flowLoss loss, char **error)
{
    bool ok = flowCallDo(call, side, NULL) && (loss == FLOW_LOSE_NONE || w->scenario->loss != loss);

    if (!ok && !*error)
        *error =
            g_strdup(call->done && call->error ? call->error->message : "the connection was lost");
    return ok;
}

static bool
clientConfirm(flowWorld *w, bool cancelled, const flowCall *finish, char **error)
{
    g_autoptr(flowCall) confirm =
        flowCallWith(w, flowRunConfirm, finish ? finish->out : NULL, finish ? finish->outLen : 0);
    g_autofree char *ignored = NULL;

    confirm->cancelled = cancelled;
    return clientCall(w, confirm, MIG_SIDE_SOURCE, FLOW_LOSE_NONE, error ? error : &ignored);
}

static void
clientCancelDest(flowWorld *w)
{
    g_autoptr(flowCall) finish = flowCallNew(w, flowRunFinish);
    g_autofree char *ignored = NULL;

    finish->cancelled = true;
    clientCall(w, finish, MIG_SIDE_DEST, FLOW_LOSE_NONE, &ignored);
}

/* What libvirt's client does for version 3 of the protocol. */
static bool
clientManaged(flowWorld *w, char **error)
{
    g_autoptr(flowCall) begin = flowCallNew(w, flowRunBegin);
    g_autoptr(flowCall) prepare = NULL;
    g_autoptr(flowCall) perform = NULL;
    g_autoptr(flowCall) finish = NULL;

    if (!clientCall(w, begin, MIG_SIDE_SOURCE, FLOW_LOSE_NONE, error))
        return false;
    prepare = flowCallWith(w, flowRunPrepare, begin->out, begin->outLen);
    if (!clientCall(w, prepare, MIG_SIDE_DEST, FLOW_LOSE_PREPARE, error)) {
        clientConfirm(w, true, NULL, NULL);
        return false;
    }
    perform = flowCallWith(w, flowRunPerform, prepare->out, prepare->outLen);
    perform->uri = g_strdup(prepare->outUri);
    if (!clientCall(w, perform, MIG_SIDE_SOURCE, FLOW_LOSE_PERFORM, error)) {
        clientCancelDest(w);
        return false;
    }
    if (w->scenario->finishSkipped)
        return clientConfirm(w, false, NULL, error);
    finish = flowCallWith(w, flowRunFinish, perform->out, perform->outLen);
    if (!clientCall(w, finish, MIG_SIDE_DEST, FLOW_LOSE_FINISH, error)) {
        clientConfirm(w, true, NULL, NULL);
        return false;
    }
    if (w->scenario->cookieLost)
        return clientConfirm(w, false, NULL, error);
    clientConfirm(w, false, finish, NULL);
    return true;
}

/* Versions 1 and 2: three steps, and only the second says Finish whatever happens. */
static bool
clientSimple(flowWorld *w, char **error)
{
    g_autoptr(flowCall) prepare = flowCallNew(w, flowRunPrepare);
    g_autoptr(flowCall) perform = NULL;
    g_autoptr(flowCall) finish = flowCallNew(w, flowRunFinish);

    if (!clientCall(w, prepare, MIG_SIDE_DEST, FLOW_LOSE_PREPARE, error))
        return false;
    perform = flowCallWith(w, flowRunSimple, prepare->out, prepare->outLen);
    perform->uri = g_strdup(prepare->outUri);
    if (!clientCall(w, perform, MIG_SIDE_SOURCE, FLOW_LOSE_PERFORM, error)) {
        if (flowVersion(w) == 2)
            clientCancelDest(w);
        return false;
    }
    return clientCall(w, finish, MIG_SIDE_DEST, FLOW_LOSE_FINISH, error);
}

gpointer
flowClientThread(gpointer data)
{
    flowWorld *w = data;
    g_autofree char *error = NULL;
    bool told;

    if (w->scenario->peer) {
        g_autoptr(flowCall) call = flowCallNew(w, flowRunPeer);

        told = clientCall(w, call, MIG_SIDE_SOURCE, FLOW_LOSE_NONE, &error);
    } else {
        told = flowVersion(w) < 3 ? clientSimple(w, &error) : clientManaged(w, &error);
        if (!w->scenario->clientStays) {
            flowPost(w, MIG_SIDE_SOURCE, MIG_SIGNAL_LOST);
            flowPost(w, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
        }
    }
    g_mutex_lock(&w->lock);
    w->ret->told = told;
    w->ret->error = told ? NULL : g_steal_pointer(&error);
    w->clientBusy = false;
    g_cond_broadcast(&w->cond);
    g_mutex_unlock(&w->lock);
    return NULL;
}
