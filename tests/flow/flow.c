/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow.c: the world, its coordinators, and the supervisor that starts killed daemons again; see
 * flow.h */
#include "flow-world.h"

#include "base/error.h"
#include "migration/dest.h"
#include "migration/peer.h"
#include "migration/recover.h"
#include "migration/source.h"

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
        [FLOW_DISK_FULL] = "disk-full",
    };

    G_STATIC_ASSERT(G_N_ELEMENTS(names) == FLOW_KINDS);
    return names[kind];
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

/* ---- calls into daemons: each in a thread, so that it can outlive who waits for it ---- */

typedef struct _flowCall flowCall;
struct _flowCall {
    gint refs;
    flowWorld *world;
    flowDaemon *daemon;
    migJob *job;                 /* recovery: may be over by the time that it is recovered */
    void (*run)(flowCall *call);
    bool cancelled;
    char *in, *uri;
    int inLen;
    /* Results. */
    bool done, ok;
    char *out, *outUri;
    int outLen;
    GError *error;
};

static flowCall *
callNew(flowWorld *w, void (*run)(flowCall *call))
{
    flowCall *call = g_new0(flowCall, 1);

    call->refs = 1;
    call->world = w;
    call->run = run;
    return call;
}

static void
callUnref(flowCall *call)
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
G_DEFINE_AUTOPTR_CLEANUP_FUNC(flowCall, callUnref)

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
    callUnref(call);
    return NULL;
}

/* Lock held. */
static bool
callStart(flowCall *call, migSide side)
{
    flowWorld *w = call->world;

    call->daemon = w->daemons[side];
    if (!call->daemon || call->daemon->dead)
        return false;
    g_atomic_int_inc(&call->refs);
    g_ptr_array_add(w->calls, call);
    g_thread_unref(g_thread_new("call", callThread, call));
    return true;
}

/*
 * Make the call and wait for the answer.  @caller: the daemon that coordinates, NULL: the client.
 * False: there is none: refused, connection lost, or nobody is left to hear it.
 */
static bool
callDo(flowCall *call, migSide side, flowDaemon *caller)
{
    flowWorld *w = call->world;
    bool ok;

    g_mutex_lock(&w->lock);
    if ((caller || !w->clientDead) && callStart(call, side)) {
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

/* Lock not held.  False: another incarnation is at work by now. */
static bool
daemonSetJob(flowDaemon *d, migJob *job)
{
    flowWorld *w = d->world;

    g_mutex_lock(&w->lock);
    d->job = migJobRef(job);
    g_mutex_unlock(&w->lock);
    return true;
}

static void
daemonDropJob(flowDaemon *d)
{
    flowWorld *w = d->world;
    migJob *job;

    g_mutex_lock(&w->lock);
    job = g_steal_pointer(&d->job);
    migRecordClear(&w->records[d->side]);
    w->saved[d->side] = false;
    g_mutex_unlock(&w->lock);
    migJobUnref(job);
}

static migJob *
daemonJob(flowDaemon *d)
{
    migJob *job;

    g_mutex_lock(&d->world->lock);
    job = d->job ? migJobRef(d->job) : NULL;
    g_mutex_unlock(&d->world->lock);
    return job;
}

static void
fillParams(const flowScenario *s, migParams *params)
{
    memset(params, 0, sizeof(*params));
    params->live = !s->notLive;
    params->peer2peer = s->peer;
    /* libvirt's client adds it for a guest that does not run. */
    params->paused = s->stayPaused || s->pausedBefore;
    params->persistDest = true;
}

static bool
beginJob(flowDaemon *d, migJob *job, char **out, int *outLen, GError **error)
{
    const flowScenario *s = d->world->scenario;
    vmmInfo vmm = { .traits = vmmTraitsByName("qemu"), .version = 10000000 };
    migSourceFacts facts = {
        .domainName = FLOW_NAME, .active = true, .paused = s->pausedBefore, .persistent = true,
        .vmm = &vmm, .machine = "microvm", .arch = "x86_64", .domainUuid = FLOW_DOMAIN_UUID,
        .memoryKiB = 262144, .vcpus = 1,
    };
    migCookieIo io = { NULL, 0, out, outLen };
    migParams params;
    bool ok;

    fillParams(s, &params);
    migJobEnter(job);
    ok = migSourceBegin(job, &facts, &params, &io, error);
    migJobLeave(job);
    migParamsClear(&params);
    return ok;
}

static void
runBegin(flowCall *call)
{
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE };
    g_autoptr(migJob) job = migJobNew(&call->daemon->env, &record, &flowOps, call->daemon, NULL);

    daemonSetJob(call->daemon, job);
    call->ok = beginJob(call->daemon, job, &call->out, &call->outLen, &call->error);
    if (!call->ok)
        daemonDropJob(call->daemon);
}

static bool
prepareJob(flowCall *call, migJob *job, const migCookie *remote)
{
    vmmInfo vmm = { .traits = vmmTraitsByName("qemu"), .version = 10000000 };
    migDestFacts facts = { .machine = "microvm", .arch = "x86_64", .vmm = &vmm };
    migCookieIo io = { NULL, 0, &call->out, &call->outLen };
    migParams params;
    bool ok;

    fillParams(call->world->scenario, &params);
    migJobEnter(job);
    ok = migDestListen(job, remote, &params, &call->error);
    if (ok && !(ok = flowEnter(call->daemon, "vmm-start", &call->error)))
        migDestRelease(job);
    if (ok) {
        g_mutex_lock(&call->world->lock);
        flowVmmStart(&call->world->vmms[MIG_SIDE_DEST], false);
        call->world->vmms[MIG_SIDE_DEST].waits = true;
        g_mutex_unlock(&call->world->lock);
        flowLeave(call->daemon, "vmm-start");
        ok = migDestPrepare(job, remote, &facts, &io, &call->outUri, &call->error);
    }
    migJobLeave(job);
    migParamsClear(&params);
    return ok;
}

static void
runPrepare(flowCall *call)
{
    g_autoptr(migCookie) remote =
        migCookieParse(call->in, call->inLen, MIG_STEP_BEGIN, &call->error);
    migRecord record = { .side = MIG_SIDE_DEST, .phase = MIG_PHASE_ABSENT };
    g_autoptr(migJob) job = NULL;

    if (!remote)
        return;
    record.uuid = remote->uuid;
    job = migJobNew(&call->daemon->env, &record, &flowOps, call->daemon, NULL);
    daemonSetJob(call->daemon, job);
    call->ok = prepareJob(call, job, remote);
    if (call->ok)
        return;
    g_mutex_lock(&call->world->lock);
    if (!call->daemon->dead)
        flowVmmEnd(&call->world->vmms[MIG_SIDE_DEST]);
    g_mutex_unlock(&call->world->lock);
    if (!call->daemon->dead)
        daemonDropJob(call->daemon);
}

static void
runPerform(flowCall *call)
{
    g_autoptr(migJob) job = daemonJob(call->daemon);
    vmmMigSpec spec = { .live = !call->world->scenario->notLive, .pauseBeforeSwitchover = true };
    migCookieIo io = { call->in, call->inLen, &call->out, &call->outLen };

    if (!job) {
        g_set_error_literal(&call->error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, "no migration");
        return;
    }
    migJobEnter(job);
    call->ok = migSourcePerform(job, &spec, call->uri, "<domain/>", &io, &call->error);
    migJobLeave(job);
}

static bool
persistDef(void *opaque, const char *xml, GError **error)
{
    flowDaemon *d = opaque;

    g_assert_cmpstr(xml, ==, "<domain/>");
    if (!flowEnter(d, "persist", error))
        return false;
    flowLeave(d, "persist");
    if (!d->world->scenario->persistFails)
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_SYSTEM, "the disk is full");
    return false;
}

static void
runFinish(flowCall *call)
{
    g_autoptr(migJob) job = daemonJob(call->daemon);
    migCookieIo io = { call->in, call->inLen, &call->out, &call->outLen };

    if (!job) {
        g_set_error_literal(&call->error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, "no migration");
        return;
    }
    migJobEnter(job);
    call->ok = migDestFinish(job, call->cancelled, persistDef, call->daemon, &io, &call->error);
    migJobLeave(job);
}

static void
runConfirm(flowCall *call)
{
    g_autoptr(migJob) job = daemonJob(call->daemon);

    /* Settled before. */
    if (!job) {
        call->ok = true;
        return;
    }
    migJobEnter(job);
    call->ok = migSourceConfirm(job, call->cancelled, call->in, call->inLen, &call->error);
    migJobLeave(job);
}

/* ---- peer-to-peer ---- */

static flowCall *
callWith(flowWorld *w, void (*run)(flowCall *call), const char *in, int inLen)
{
    flowCall *call = callNew(w, run);

    call->in = in ? g_memdup2(in, inLen) : NULL;
    call->inLen = inLen;
    return call;
}

static void
callTakeError(flowCall *call, GError **error)
{
    if (call->error)
        g_propagate_error(error, g_steal_pointer(&call->error));
    else if (error && !*error)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            "the connection was lost");
}

static bool
peerOpen(void *opaque G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return true;
}

static bool
peerPrepare(void *opaque, const migParams *params G_GNUC_UNUSED, const char *xml G_GNUC_UNUSED,
            const char *cookieIn, int cookieInLen, char **retCookie, int *retCookieLen,
            char **retUri, GError **error)
{
    flowDaemon *d = opaque;
    g_autoptr(flowCall) call = callWith(d->world, runPrepare, cookieIn, cookieInLen);

    if (!callDo(call, MIG_SIDE_DEST, d) || d->world->scenario->loss == FLOW_LOSE_PREPARE) {
        callTakeError(call, error);
        return false;
    }
    *retCookie = g_steal_pointer(&call->out);
    *retCookieLen = call->outLen;
    *retUri = g_steal_pointer(&call->outUri);
    return true;
}

static bool
peerFinish(void *opaque, const migParams *params G_GNUC_UNUSED, const char *uri G_GNUC_UNUSED,
           bool cancelled, const char *cookieIn, int cookieInLen, char **retCookie,
           int *retCookieLen, GError **error)
{
    flowDaemon *d = opaque;
    g_autoptr(flowCall) call = callWith(d->world, runFinish, cookieIn, cookieInLen);

    call->cancelled = cancelled;
    if (!callDo(call, MIG_SIDE_DEST, d) || d->world->scenario->loss == FLOW_LOSE_FINISH) {
        callTakeError(call, error);
        return false;
    }
    *retCookie = g_steal_pointer(&call->out);
    *retCookieLen = call->outLen;
    return true;
}

static void
peerClose(void *opaque)
{
    flowDaemon *d = opaque;

    flowPost(d->world, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
}

static const migPeerOps peerOps = { peerOpen, peerPrepare, peerFinish, peerClose };

static void
runPeer(flowCall *call)
{
    flowDaemon *d = call->daemon;
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE };
    g_autoptr(migJob) job = migJobNew(&d->env, &record, &flowOps, d, NULL);
    vmmMigSpec spec = { .live = !d->world->scenario->notLive, .pauseBeforeSwitchover = true };
    migPeerTask task = { .spec = &spec, .xml = "<domain/>", .persistentXml = "<domain/>" };
    g_autofree char *cookie = NULL;

    daemonSetJob(d, job);
    if (!beginJob(d, job, &cookie, &task.cookieLen, &call->error)) {
        daemonDropJob(d);
        return;
    }
    migJobEnter(job);
    task.cookie = cookie;
    call->ok = migPeerRun(job, &peerOps, d, &task, &call->error);
    migJobLeave(job);
}

/* ---- the client ---- */

static bool
clientCall(flowWorld *w, flowCall *call, migSide side, flowLoss loss, char **error)
{
    bool ok = callDo(call, side, NULL) && (loss == FLOW_LOSE_NONE || w->scenario->loss != loss);

    if (!ok && !*error)
        *error =
            g_strdup(call->done && call->error ? call->error->message : "the connection was lost");
    return ok;
}

static bool
clientConfirm(flowWorld *w, bool cancelled, const flowCall *finish)
{
    g_autoptr(flowCall) confirm =
        callWith(w, runConfirm, finish ? finish->out : NULL, finish ? finish->outLen : 0);
    g_autofree char *ignored = NULL;

    confirm->cancelled = cancelled;
    return clientCall(w, confirm, MIG_SIDE_SOURCE, FLOW_LOSE_NONE, &ignored);
}

static void
clientCancelDest(flowWorld *w)
{
    g_autoptr(flowCall) finish = callNew(w, runFinish);
    g_autofree char *ignored = NULL;

    finish->cancelled = true;
    clientCall(w, finish, MIG_SIDE_DEST, FLOW_LOSE_NONE, &ignored);
}

/* What libvirt's client does for version 3 of the protocol. */
static bool
clientManaged(flowWorld *w, char **error)
{
    g_autoptr(flowCall) begin = callNew(w, runBegin);
    g_autoptr(flowCall) prepare = NULL;
    g_autoptr(flowCall) perform = NULL;
    g_autoptr(flowCall) finish = NULL;

    if (!clientCall(w, begin, MIG_SIDE_SOURCE, FLOW_LOSE_NONE, error))
        return false;
    prepare = callWith(w, runPrepare, begin->out, begin->outLen);
    if (!clientCall(w, prepare, MIG_SIDE_DEST, FLOW_LOSE_PREPARE, error)) {
        clientConfirm(w, true, NULL);
        return false;
    }
    perform = callWith(w, runPerform, prepare->out, prepare->outLen);
    perform->uri = g_strdup(prepare->outUri);
    if (!clientCall(w, perform, MIG_SIDE_SOURCE, FLOW_LOSE_PERFORM, error)) {
        clientCancelDest(w);
        return false;
    }
    finish = callWith(w, runFinish, perform->out, perform->outLen);
    if (!clientCall(w, finish, MIG_SIDE_DEST, FLOW_LOSE_FINISH, error)) {
        clientConfirm(w, true, NULL);
        return false;
    }
    clientConfirm(w, false, finish);
    return true;
}

static gpointer
clientThread(gpointer data)
{
    flowWorld *w = data;
    g_autofree char *error = NULL;
    bool told;

    if (w->scenario->peer) {
        g_autoptr(flowCall) call = callNew(w, runPeer);

        told = clientCall(w, call, MIG_SIDE_SOURCE, FLOW_LOSE_NONE, &error);
    } else {
        told = clientManaged(w, &error);
        flowPost(w, MIG_SIDE_SOURCE, MIG_SIGNAL_LOST);
        flowPost(w, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
    }
    g_mutex_lock(&w->lock);
    w->ret->told = told;
    w->ret->error = told ? NULL : g_steal_pointer(&error);
    w->clientBusy = false;
    g_cond_broadcast(&w->cond);
    g_mutex_unlock(&w->lock);
    return NULL;
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
    g_autoptr(flowCall) recover = callNew(w, runRecover);
    flowDaemon *d;

    g_mutex_unlock(&w->lock);
    if (w->scenario->peer && side == MIG_SIDE_SOURCE)
        flowPost(w, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
    d = flowDaemonNew(w, side);
    g_mutex_lock(&w->lock);
    w->daemons[side] = d;
    if (w->saved[side]) {
        d->job = migJobNew(&d->env, &w->records[side], &flowOps, d, NULL);
        recover->job = migJobRef(d->job);
        callStart(recover, side);
    } else if (w->vmms[side].waits) {
        /* Started for a migration of which nothing was written down: the driver's rule for such a
         * VMM. */
        flowVmmEnd(&w->vmms[side]);
    }
}

/* Lock held. */
static bool
allQuiet(flowWorld *w)
{
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

static unsigned
freePort(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sin, &len), ==, 0);
    close(fd);
    return ntohs(sin.sin_port);
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
    flowDaemonsEnd(w);
    for (int i = 0; i < 2; i++) {
        flowVmmJoin(&w->vmms[i]);
        migRecordClear(&w->records[i]);
    }
    g_ptr_array_unref(w->graves);
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
    w.graves = g_ptr_array_new();
    w.calls = g_ptr_array_new();
    for (int i = 0; i < 2; i++) {
        w.vmms[i] = (flowVmm){ .world = &w, .side = (migSide)i, .fd = -1 };
        w.daemons[i] = flowDaemonNew(&w, (migSide)i);
    }
    g_mutex_lock(&w.lock);
    flowVmmStart(&w.vmms[MIG_SIDE_SOURCE], !scenario->pausedBefore);
    w.clientBusy = true;
    client = g_thread_new("client", clientThread, &w);
    supervise(&w);
    if (!ret->violation)
        checkEnd(&w);
    g_mutex_unlock(&w.lock);
    worldEnd(&w);
    g_thread_join(client);
}
