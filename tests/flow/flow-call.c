/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-call.c: calls into daemons: each in a thread, so that it can outlive who waits for it */
#include "flow-world.h"

#include "base/error.h"

flowCall *
flowCallNew(flowWorld *w, void (*run)(flowCall *call))
{
    flowCall *call = g_new0(flowCall, 1);

    call->refs = 1;
    call->world = w;
    call->run = run;
    return call;
}

void
flowCallUnref(flowCall *call)
{
    if (!g_atomic_int_dec_and_test(&call->refs))
        return;
    g_free(call->in);
    g_free(call->uri);
    g_free(call->out);
    g_free(call->outUri);
    g_clear_error(&call->error);
    migJobUnref(call->job);
    g_free(call);
}

static gpointer
callThread(gpointer data)
{
    flowCall *call = data;
    flowWorld *w = call->world;

    call->run(call);
    g_mutex_lock(&w->lock);
    call->done = true;
    g_ptr_array_remove_fast(w->calls, call);
    g_cond_broadcast(&w->cond);
    g_mutex_unlock(&w->lock);
    flowCallUnref(call);
    return NULL;
}

/* Lock held. */
bool
flowCallStart(flowCall *call, migSide side)
{
    flowWorld *w = call->world;

    call->daemon = w->daemons[side];
    if (!call->daemon || call->daemon->dead)
        return false;
    g_atomic_int_inc(&call->refs);
    g_ptr_array_add(w->calls, call);
    g_ptr_array_add(w->callThreads, g_thread_new("call", callThread, call));
    return true;
}

/*
 * Make the call and wait for the answer.  @caller: the daemon that coordinates, NULL: the client.
 * False: there is none: refused, connection lost, or nobody is left to hear it.
 */
bool
flowCallDo(flowCall *call, migSide side, flowDaemon *caller)
{
    flowWorld *w = call->world;
    bool ok;

    g_mutex_lock(&w->lock);
    if ((caller || !w->clientDead) && flowCallStart(call, side)) {
        while (!call->done && !call->daemon->dead && !w->over &&
               !(caller ? caller->dead : w->clientDead))
            g_cond_wait(&w->cond, &w->lock);
    }
    if (caller && caller->dead)
        flowPark(w);
    ok = call->done && call->ok && (caller || !w->clientDead);
    g_mutex_unlock(&w->lock);
    return ok;
}

flowCall *
flowCallWith(flowWorld *w, void (*run)(flowCall *call), const char *in, int inLen)
{
    flowCall *call = flowCallNew(w, run);

    call->in = in ? g_memdup2(in, inLen) : NULL;
    call->inLen = inLen;
    return call;
}

void
flowCallTakeError(flowCall *call, GError **error)
{
    if (call->error)
        g_propagate_error(error, g_steal_pointer(&call->error));
    else if (error && !*error)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            "the connection was lost");
}
