/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow.c: the world, its coordinators, and the supervisor that starts killed daemons again; see
 * flow.h */
#include "flow-world.h"

#include "base/error.h"
#include "migration/job_priv.h"
#include "migration/recover.h"
#include "../unit/free-port.h"

#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* More than all time-outs of one migration together. */
#define REST_MS 20000

const char *
flowKindName(flowKind kind)
{
    static const char *const names[] = {
        [FLOW_NOTHING] = "nothing",
        [FLOW_FAIL] = "fail",
        [FLOW_KILL_BEFORE] = "kill-before",
        [FLOW_KILL_AFTER] = "kill-after",
        [FLOW_VMM_DIES] = "vmm-dies",
        [FLOW_CLIENT_DIES] = "client-dies",
        [FLOW_ABORT] = "abort",
        [FLOW_STRANGER] = "stranger",
        [FLOW_DISK_FULL] = "disk-full",
    };

    G_STATIC_ASSERT(G_N_ELEMENTS(names) == FLOW_KINDS);
    return names[kind];
}

const char *
flowCutName(flowCut cut)
{
    static const char *const names[] = {
        [FLOW_CUT_NONE] = "nothing", [FLOW_CUT_RESET] = "reset", [FLOW_CUT_CLOSE] = "close",
        [FLOW_CUT_HALF] = "half", [FLOW_CUT_STALL] = "stall",
    };

    G_STATIC_ASSERT(G_N_ELEMENTS(names) == FLOW_CUTS);
    return names[cut];
}

void
flowOutcomeClear(flowOutcome *outcome)
{
    g_clear_pointer(&outcome->violation, g_free);
    g_clear_pointer(&outcome->points, g_ptr_array_unref);
    g_clear_pointer(&outcome->error, g_free);
}

void
flowViolation(flowWorld *w, const char *format, ...)
{
    va_list args;

    if (w->ret->violation)
        return;
    va_start(args, format);
    w->ret->violation = g_strdup_vprintf(format, args);
    va_end(args);
}

unsigned
flowVersion(const flowWorld *w)
{
    return w->scenario->version ? w->scenario->version : 3;
}

void
flowPost(flowWorld *w, migSide side, migSignal signal)
{
    g_autoptr(migJob) job = NULL;

    g_mutex_lock(&w->lock);
    if (w->daemons[side] && !w->daemons[side]->dead && w->daemons[side]->job)
        job = migJobRef(w->daemons[side]->job);
    g_mutex_unlock(&w->lock);
    if (job)
        migJobPost(job, signal);
}

/* ---- the supervisor ---- */

static void
runRecover(flowCall *call)
{
    bool alive;

    g_mutex_lock(&call->world->lock);
    alive = call->world->vmms[call->daemon->side].alive;
    g_mutex_unlock(&call->world->lock);
    migRecover(call->job, alive);
}

/* Lock held, dropped for a while. */
static void
restartDaemon(flowWorld *w, migSide side)
{
    g_autoptr(flowCall) recover = flowCallNew(w, runRecover);
    flowDaemon *d;

    g_mutex_unlock(&w->lock);
    if (w->scenario->peer && side == MIG_SIDE_SOURCE)
        flowPost(w, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
    d = flowDaemonNew(w, side);
    g_mutex_lock(&w->lock);
    w->daemons[side] = d;
    if (w->saved[side]) {
        d->job = migJobNew(&d->env, &w->records[side], &flowOps, d, NULL);
        migJobTryEnter(d->job);
        recover->job = migJobRef(d->job);
        flowCallStart(recover, side);
    } else if (w->vmms[side].waits) {
        /* Started for a migration of which nothing was written down: the driver's rule for such a
         * VMM. */
        flowVmmEnd(&w->vmms[side]);
    }
}

/* Lock held.  A job without a domain has nobody to tell that it is over. */
static void
reapReserved(flowWorld *w)
{
    flowDaemon *d = w->daemons[MIG_SIDE_DEST];
    migJob *job;

    if (!d || d->dead || !d->job || d->job->host || !d->job->overCalled)
        return;
    job = g_steal_pointer(&d->job);
    g_mutex_unlock(&w->lock);
    migJobUnref(job);
    g_mutex_lock(&w->lock);
}

/* Lock held. */
static bool
allQuiet(flowWorld *w)
{
    reapReserved(w);
    for (guint i = 0; i < w->calls->len; i++) {
        if (!((flowCall *)g_ptr_array_index(w->calls, i))->daemon->dead)
            return false;
    }
    return !w->clientBusy && w->daemons[0] && w->daemons[1] && !w->daemons[0]->dead &&
        !w->daemons[1]->dead && !w->daemons[0]->job && !w->daemons[1]->job;
}

static const char *
whereItHangs(flowWorld *w, migSide side)
{
    flowDaemon *d = w->daemons[side];

    return !d ? "killed" : d->job ? migPhaseName(migJobPhase(d->job)) : "at rest";
}

/* Lock held. */
static void
supervise(flowWorld *w)
{
    gint64 end = g_get_monotonic_time() + REST_MS * 1000;

    while (!allQuiet(w)) {
        g_cond_wait_until(&w->cond, &w->lock, g_get_monotonic_time() + 5000);
        for (int side = 0; side < 2; side++) {
            if (!w->daemons[side])
                restartDaemon(w, (migSide)side);
        }
        if (g_get_monotonic_time() > end) {
            flowViolation(w, "no rest: source %s, destination %s, %u calls under way, client %s",
                          whereItHangs(w, MIG_SIDE_SOURCE), whereItHangs(w, MIG_SIDE_DEST),
                          w->calls->len, w->clientBusy ? "busy" : "gone");
            return;
        }
    }
}

static bool
failedAt(const flowWorld *w, const char *point)
{
    return w->scenario->kind == FLOW_FAIL && w->ret->faultHappened &&
           g_str_equal(w->scenario->point, point);
}

static void
checkEnd(flowWorld *w)
{
    const flowScenario *s = w->scenario;
    const flowVmm *source = &w->vmms[MIG_SIDE_SOURCE];
    const flowVmm *dest = &w->vmms[MIG_SIDE_DEST];

    w->ret->atSource = source->alive;
    w->ret->atDest = dest->alive;
    w->ret->runs = source->runs || dest->runs;
    if (source->alive && dest->alive)
        flowViolation(w, "a VMM is left on both hosts");
    if (!w->ret->vmmDied && !source->alive && !dest->alive)
        flowViolation(w, "the guest is lost");
    if (source->alive && source->runs == s->pausedBefore && !failedAt(w, "guest-resume"))
        flowViolation(w, source->runs ? "it runs on the source, but did not before"
                                      : "it is frozen on the source");
    if (dest->alive && dest->runs == (s->pausedBefore || s->stayPaused))
        flowViolation(w, dest->runs ? "it runs on the destination against the wish"
                                    : "it is frozen on the destination");
    if (w->ret->told && !dest->alive && !w->ret->vmmDied)
        flowViolation(w, "success was told, but it is not on the destination");
    if (!w->ret->told && !w->ret->error)
        flowViolation(w, "failure without a word");
    if (w->saved[0] || w->saved[1])
        flowViolation(w, "a record is left");
}

static void
removeTree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        removeTree(child);
    }
    g_remove(path);
}

static void
worldEnd(flowWorld *w)
{
    g_mutex_lock(&w->lock);
    w->over = true;
    for (int i = 0; i < 2; i++) {
        flowVmmEnd(&w->vmms[i]);
        if (w->daemons[i])
            g_ptr_array_add(w->graves, w->daemons[i]);
    }
    g_cond_broadcast(&w->cond);
    /* Whoever waits for a VMM waits in vain. */
    for (guint i = 0; i < w->graves->len; i++) {
        flowDaemon *d = g_ptr_array_index(w->graves, i);

        if (d->job)
            migJobPost(d->job, MIG_SIGNAL_VMM_GONE);
    }
    while (w->calls->len > 0)
        g_cond_wait(&w->cond, &w->lock);
    g_mutex_unlock(&w->lock);
    g_ptr_array_unref(w->callThreads);
    g_mutex_lock(&w->lock);
    flowTunnelCut(w);
    g_ptr_array_set_size(w->streams, 0);
    /* Threads of the VMMs may be at work still; they find nobody to tell any more. */
    w->daemons[MIG_SIDE_SOURCE] = w->daemons[MIG_SIDE_DEST] = NULL;
    g_mutex_unlock(&w->lock);
    if (flowWireFree(g_steal_pointer(&w->wire)) || g_atomic_int_get(w->streamBroken))
        w->ret->faultHappened = true;
    flowDaemonsEnd(w);
    for (int i = 0; i < 2; i++) {
        flowVmmJoin(&w->vmms[i]);
        migRecordClear(&w->records[i]);
    }
    g_ptr_array_unref(w->graves);
    g_ptr_array_unref(w->streams);
    g_atomic_rc_box_release(w->streamBroken);
    g_ptr_array_unref(w->calls);
    removeTree(w->dir);
    g_free(w->dir);
    g_mutex_clear(&w->lock);
    g_cond_clear(&w->cond);
}

void
flowRun(const flowScenario *scenario, flowOutcome *ret)
{
    flowWorld w = { .scenario = scenario, .ret = ret };
    GThread *client;

    memset(ret, 0, sizeof(*ret));
    ret->points = g_ptr_array_new_with_free_func(g_free);
    g_mutex_init(&w.lock);
    g_cond_init(&w.cond);
    w.dir = g_dir_make_tmp("sv-flow-XXXXXX", NULL);
    w.port = freePort();
    w.ownPort = scenario->ownPort ? freePort() : 0;
    if (scenario->cut && !scenario->tunnel) {
        w.wirePort = freePort();
        w.wire = flowWireNew(scenario, w.wirePort, w.port);
    }
    w.graves = g_ptr_array_new();
    w.streams = flowTunnelStreamsNew();
    w.streamBroken = g_atomic_rc_box_new0(gint);
    w.calls = g_ptr_array_new();
    w.callThreads = g_ptr_array_new_with_free_func((GDestroyNotify)g_thread_join);
    for (int i = 0; i < 2; i++) {
        w.vmms[i] = (flowVmm){ .world = &w, .side = (migSide)i, .fd = -1 };
        w.daemons[i] = flowDaemonNew(&w, (migSide)i);
    }
    g_mutex_lock(&w.lock);
    flowVmmStart(&w.vmms[MIG_SIDE_SOURCE], !scenario->pausedBefore);
    w.clientBusy = true;
    client = g_thread_new("client", flowClientThread, &w);
    supervise(&w);
    if (!ret->violation)
        checkEnd(&w);
    g_mutex_unlock(&w.lock);
    worldEnd(&w);
    g_thread_join(client);
}
