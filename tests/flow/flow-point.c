/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-point.c: the named points that a migration passes, and what can happen at them; see flow.h
 */
#include "flow-world.h"

#include "base/error.h"

#include <string.h>

/* The thread that is to be killed when it leaves the point that it is in. */
static GPrivate killAfter;

void
flowPark(flowWorld *w)
{
    while (!w->over)
        g_cond_wait(&w->cond, &w->lock);
}

/* Lock held. */
static bool
pointIsFaulty(flowDaemon *d, const char *point)
{
    const flowScenario *s = d->world->scenario;
    g_autofree char *passage = NULL;

    if (!point)
        return false;
    passage = g_strconcat(d->side == MIG_SIDE_SOURCE ? "source/" : "dest/", point, NULL);
    flowWirePoint(d->world->wire, passage);
    flowTunnelPoint(d->world, passage);
    g_ptr_array_add(d->world->ret->points, g_steal_pointer(&passage));
    if (s->kind == FLOW_NOTHING || s->side != d->side || !g_str_equal(s->point, point))
        return false;
    if (++d->world->passages != MAX(s->nth, 1))
        return false;
    d->world->ret->faultHappened = true;
    return true;
}

static void
abortBy(flowWorld *w)
{
    g_autoptr(migJob) job = NULL;

    if (w->daemons[MIG_SIDE_SOURCE] && w->daemons[MIG_SIDE_SOURCE]->job)
        job = migJobRef(w->daemons[MIG_SIDE_SOURCE]->job);
    g_mutex_unlock(&w->lock);
    /* Refused when it is too late, which is no fault. */
    if (job)
        migJobAbort(job, NULL);
    g_mutex_lock(&w->lock);
}

/* Lock held, dropped for a while; false: the operation fails. */
static bool
pointFault(flowDaemon *d)
{
    flowWorld *w = d->world;

    switch (w->scenario->kind) {
    case FLOW_FAIL:
        return false;
    case FLOW_KILL_BEFORE:
        flowDaemonKill(d);
        flowPark(w);
        return false;
    case FLOW_KILL_AFTER:
        g_private_set(&killAfter, d);
        return true;
    case FLOW_VMM_DIES:
        w->ret->vmmDied = w->vmms[d->side].alive;
        flowVmmEnd(&w->vmms[d->side]);
        g_mutex_unlock(&w->lock);
        flowPost(w, d->side, MIG_SIGNAL_VMM_GONE);
        g_mutex_lock(&w->lock);
        return true;
    case FLOW_CLIENT_DIES:
        w->clientDead = true;
        g_cond_broadcast(&w->cond);
        g_mutex_unlock(&w->lock);
        /* Peer-to-peer, the daemons do not talk to the client. */
        if (!w->scenario->peer) {
            flowPost(w, MIG_SIDE_SOURCE, MIG_SIGNAL_LOST);
            flowPost(w, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
        }
        g_mutex_lock(&w->lock);
        return true;
    case FLOW_ABORT:
        abortBy(w);
        return true;
    case FLOW_STRANGER:
        flowStranger(d);
        return true;
    case FLOW_DISK_FULL:
        flowDaemonFillDisk(d);
        return true;
    case FLOW_NOTHING:
    case FLOW_KINDS:
        break;
    }
    return true;
}

bool
flowEnter(flowDaemon *d, const char *point, GError **error)
{
    flowWorld *w = d->world;
    bool ok;

    g_mutex_lock(&w->lock);
    if (d->dead)
        flowPark(w);
    ok = !w->over && !d->dead;
    if (ok && pointIsFaulty(d, point))
        ok = pointFault(d);
    g_mutex_unlock(&w->lock);
    if (!ok)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "'%s' failed as planned",
                    point);
    return ok;
}

void
flowLeave(flowDaemon *d, const char *point G_GNUC_UNUSED)
{
    flowWorld *w = d->world;

    if (g_private_get(&killAfter) != d)
        return;
    g_private_set(&killAfter, NULL);
    g_mutex_lock(&w->lock);
    if (!d->dead && !w->over)
        flowDaemonKill(d);
    flowPark(w);
    g_mutex_unlock(&w->lock);
}
