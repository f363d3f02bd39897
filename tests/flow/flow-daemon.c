/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-daemon.c: daemons that can be killed, and what their migrations can do to the world */
#include "flow-world.h"

#include "base/error.h"
#include "migration/dest.h"
#include "migration/job_priv.h"

#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* More than a link takes to say good-bye to nobody. */
#define LINGER_MS 5000
#define LEASE_MS 2500
/* Where a connection is to break. */
#define LOST_MS 1000

/* ---- life ---- */

static gpointer
ioThread(gpointer data)
{
    flowDaemon *d = data;

    g_main_context_push_thread_default(d->env.io);
    g_main_loop_run(d->loop);
    g_main_context_pop_thread_default(d->env.io);
    return NULL;
}

static gboolean
ioQuit(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static void
ioStop(flowDaemon *d)
{
    g_autoptr(GSource) source = NULL;

    if (!d->io)
        return;
    source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_source_set_callback(source, ioQuit, d->loop, NULL);
    g_source_attach(source, d->env.io);
    g_thread_join(g_steal_pointer(&d->io));
}

/* A new incarnation finds what the one before has written, and writes elsewhere: the one before may
 * be parked in front of a write. */
static char *
ledgerDir(flowWorld *w, migSide side)
{
    g_autofree char *old = g_strdup_printf("%s/ledger-%d-%u", w->dir, side, w->incarnations);
    char *new = g_strdup_printf("%s/ledger-%d-%u", w->dir, side, ++w->incarnations);
    g_autoptr(GDir) dir = NULL;
    const char *name;

    g_assert_cmpint(g_mkdir(new, 0700), ==, 0);
    for (unsigned i = w->incarnations - 1; i > 0 && !dir; i--) {
        g_free(old);
        old = g_strdup_printf("%s/ledger-%d-%u", w->dir, side, i);
        dir = g_dir_open(old, 0, NULL);
    }
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *from = g_build_filename(old, name, NULL);
        g_autofree char *to = g_build_filename(new, name, NULL);
        g_autofree char *text = NULL;
        gsize len;

        if (g_file_get_contents(from, &text, &len, NULL))
            g_assert_true(g_file_set_contents(to, text, len, NULL));
    }
    return new;
}

/* A folder where a new record would be made stands for a full disk, also for root. */
void
flowDaemonFillDisk(flowDaemon *d)
{
    g_autofree char *name = NULL;
    g_autofree char *path = NULL;

    d->full = true;
    if (!d->job)
        return;
    name = g_strconcat(migJobUuid(d->job), ".json.new", NULL);
    path = g_build_filename(d->ledgerDir, name, NULL);
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
}

/* Lock held. */
static void
freeDisk(flowDaemon *d)
{
    g_autofree char *name = d->job ? g_strconcat(migJobUuid(d->job), ".json.new", NULL) : NULL;
    g_autofree char *path = name ? g_build_filename(d->ledgerDir, name, NULL) : NULL;

    if (d->full && path)
        g_assert_cmpint(g_rmdir(path), ==, 0);
    d->full = false;
}

flowDaemon *
flowDaemonNew(flowWorld *w, migSide side)
{
    bool source = side == MIG_SIDE_SOURCE;
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = NULL;
    flowDaemon *d = g_new0(flowDaemon, 1);

    d->world = w;
    d->side = side;
    d->env.io = g_main_context_new();
    d->loop = g_main_loop_new(d->env.io, FALSE);
    d->env.listen = listenerNew(d->env.io);
    d->env.threads = migThreadsNew(d->env.io);
    d->env.hostName = g_strdup(source ? "h1" : "h2");
    d->env.hostUuid = g_strdup(source ? "11111111-1111-4111-8111-111111111111" :
                               "22222222-2222-4222-8222-222222222222");
    d->env.bootId = g_strdup("boot");
    d->env.instance = g_strdup(source ? "i1" : "i2");
    d->env.addresses = g_strsplit("127.0.0.1", ",", -1);
    d->env.listenAddress = g_strdup("127.0.0.1");
    d->env.port = source ? 1 : w->port;
    d->env.connectTimeoutMs = d->env.linkTimeoutMs = d->env.finishTimeoutMs = 2000;
    d->env.leaseMs = LEASE_MS;
    if (w->scenario->cut) {
        d->env.linkTimeoutMs = d->env.stallTimeoutMs = LOST_MS;
        d->env.ackTimeoutMs = 2 * LOST_MS;
    }
    d->env.secure = w->scenario->secure ? MIG_POLICY_REQUIRE : MIG_POLICY_OFF;
    g_mutex_lock(&w->lock);
    dir = ledgerDir(w, side);
    g_mutex_unlock(&w->lock);
    d->ledgerDir = g_steal_pointer(&dir);
    d->env.ledger = migLedgerOpen(d->ledgerDir, 3600, &error);
    g_assert_no_error(error);
    d->io = g_thread_new("io", ioThread, d);
    if (!source) {
        migDestServeLedger(&d->env, &error);
        g_assert_no_error(error);
    }
    return d;
}

/* The stream's sockets belong to the VMMs, which live on. */
static bool
isStream(flowWorld *w, int fd)
{
    struct stat st, other;

    if (fstat(fd, &st) < 0)
        return true;
    for (int i = 0; i < 2; i++) {
        if (w->vmms[i].fd >= 0 && fstat(w->vmms[i].fd, &other) == 0 && other.st_ino == st.st_ino)
            return true;
    }
    return false;
}

static unsigned
portOf(int fd, bool remote)
{
    struct sockaddr_in sin = { 0 };
    socklen_t len = sizeof(sin);
    int ret = remote ? getpeername(fd, (struct sockaddr *)&sin, &len) :
        getsockname(fd, (struct sockaddr *)&sin, &len);

    return ret == 0 && sin.sin_family == AF_INET ? ntohs(sin.sin_port) : 0;
}

static void
shutSockets(flowDaemon *d)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        int fd = atoi(name);

        unsigned port = portOf(fd, d->side == MIG_SIDE_SOURCE);

        if (port && (port == d->world->port || port == d->world->ownPort) && !isStream(d->world, fd))
            shutdown(fd, SHUT_RDWR);
    }
}

/* Lock held, dropped for a moment. */
void
flowDaemonKill(flowDaemon *d)
{
    flowWorld *w = d->world;

    d->dead = true;
    g_mutex_unlock(&w->lock);
    ioStop(d);
    for (int i = 0; i < 8; i++) {
        listenerUnbind(d->env.listen, d->env.listenAddress, d->env.port);
        listenerUnbind(d->env.listen, d->env.listenAddress, w->ownPort);
    }
    g_mutex_lock(&w->lock);
    flowTunnelCut(w);
    shutSockets(d);
    /* Only now may the next one open the port. */
    w->daemons[d->side] = NULL;
    g_ptr_array_add(w->graves, d);
    g_cond_broadcast(&w->cond);
}

/* The process has no connections but those of the migration; those of a tunnel are pairs of sockets. */
static unsigned
countConnections(bool tunnel)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned count = 0;
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        int listening = 1;
        socklen_t len = sizeof(listening);

        if ((tunnel || portOf(atoi(name), false)) &&
            getsockopt(atoi(name), SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && !listening)
            count++;
    }
    return count;
}

/*
 * A link that is closed says good-bye, which takes a thread on both ends.  Threads that still ask for the outcome open links,
 * so they end first, as in a daemon that is stopped.
 */
static void
letLinksEnd(flowWorld *w)
{
    /* What a killed daemon's threads never closed would make every later world wait. */
    static unsigned stale;
    /* A daemon that was killed has closed nothing. */
    const bool tunnel = w->scenario->tunnel && w->graves->len == 2;
    gint64 end;

    for (guint i = 0; i < w->graves->len; i++) {
        flowDaemon *d = g_ptr_array_index(w->graves, i);

        if (!d->io)
            d->io = g_thread_new("io", ioThread, d);
        /* A job that was killed has not ended, and holds on to its link and its token. */
        if (d->job)
            migJobEnd(d->job, MIG_RESULT_FAILED, NULL);
    }
    for (guint i = 0; i < w->graves->len; i++)
        migThreadsStop(((flowDaemon *)g_ptr_array_index(w->graves, i))->env.threads);
    end = g_get_monotonic_time() + LINGER_MS * 1000;
    while (countConnections(tunnel) > stale && g_get_monotonic_time() < end)
        g_usleep(5000);
    stale = countConnections(tunnel);
}

static void
bury(gpointer data)
{
    flowDaemon *d = data;

    g_clear_pointer(&d->job, migJobUnref);
    listenerFree(d->env.listen);
    migLedgerFree(d->env.ledger);
    g_main_loop_unref(d->loop);
    g_main_context_unref(d->env.io);
    g_free(d->env.hostName);
    g_free(d->env.hostUuid);
    g_free(d->env.bootId);
    g_free(d->env.instance);
    g_strfreev(d->env.addresses);
    g_free(d->env.listenAddress);
    g_free(d->ledgerDir);
    g_free(d->lastError);
    g_free(d);
}

void
flowDaemonsEnd(flowWorld *w)
{
    letLinksEnd(w);
    /* The last threads of one may still have something to tell another. */
    for (guint i = 0; i < w->graves->len; i++) {
        flowDaemon *d = g_ptr_array_index(w->graves, i);

        ioStop(d);
        g_clear_pointer(&d->env.threads, migThreadsFree);
    }
    g_ptr_array_set_free_func(w->graves, bury);
    g_ptr_array_set_size(w->graves, 0);
}

/* ---- operations; the VMM's are answered by its control socket, which the driver has ---- */

#define VMM(d) (&(d)->world->vmms[(d)->side])

typedef bool (*vmmCall)(flowVmm *vmm, void *arg);

/* One operation on the VMM at a named point. */
static bool
opVmm(flowDaemon *d, const char *point, vmmCall call, void *arg, GError **error)
{
    bool ok;

    if (!flowEnter(d, point, error))
        return false;
    g_mutex_lock(&d->world->lock);
    ok = VMM(d)->alive && call(VMM(d), arg);
    g_mutex_unlock(&d->world->lock);
    if (!ok)
        g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, "no VMM for '%s'", point);
    flowLeave(d, point);
    return ok;
}

static bool
callSend(flowVmm *vmm, void *arg)
{
    return flowVmmSend(vmm, *(int *)arg);
}

static bool
callReceive(flowVmm *vmm, void *arg)
{
    return flowVmmReceive(vmm, *(int *)arg);
}

static bool
callContinue(flowVmm *vmm, void *arg G_GNUC_UNUSED)
{
    vmm->goOn = true;
    g_cond_broadcast(&vmm->world->cond);
    return true;
}

static bool
callCancel(flowVmm *vmm, void *arg G_GNUC_UNUSED)
{
    vmm->cancel = true;
    g_cond_broadcast(&vmm->world->cond);
    return true;
}

static bool
callRuns(flowVmm *vmm, void *arg)
{
    vmm->waits = false;
    flowVmmSetRuns(vmm, *(bool *)arg);
    return true;
}

static bool
callStatus(flowVmm *vmm, void *arg)
{
    vmmMigStatus *ret = arg;

    ret->state = vmm->state;
    ret->ramTotal = flowVmmTotal(vmm);
    ret->ramTransferred = vmm->sent;
    ret->ramRemaining = flowVmmTotal(vmm) - vmm->sent;
    ret->ramIteration = vmm->pass;
    ret->ramPageSize = 4096;
    return true;
}

static bool
opSave(void *host, const migRecord *record, GError **error)
{
    flowDaemon *d = host;
    flowWorld *w = d->world;
    g_autofree char *point = g_strconcat("save-", migPhaseName(record->phase), NULL);
    bool ok;

    if (!flowEnter(d, point, error))
        return false;
    g_mutex_lock(&w->lock);
    ok = !d->full;
    if (ok) {
        migRecordClear(&w->records[d->side]);
        migRecordCopy(&w->records[d->side], record);
        w->saved[d->side] = true;
    }
    g_mutex_unlock(&w->lock);
    if (!ok)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_SYSTEM, "the disk is full");
    flowLeave(d, point);
    return ok;
}

static bool
opVmmSend(void *host, const vmmMigSpec *spec G_GNUC_UNUSED, int fd, GError **error)
{
    return opVmm(host, "vmm-send", callSend, &fd, error);
}

static bool
opVmmContinue(void *host, GError **error)
{
    return opVmm(host, "vmm-continue", callContinue, NULL, error);
}

static bool
opVmmCancel(void *host, GError **error)
{
    return opVmm(host, "vmm-cancel", callCancel, NULL, error);
}

static bool
opVmmAttach(void *host, int fd, GError **error)
{
    return opVmm(host, "vmm-attach", callReceive, &fd, error);
}

static bool
opVmmStatus(void *host, vmmMigStatus *ret, GError **error)
{
    flowDaemon *d = host;
    flowWorld *w = d->world;
    bool ok;

    /* Polled: no point of its own, but a dead daemon stops here as well. */
    if (!flowEnter(d, NULL, error))
        return false;
    g_mutex_lock(&w->lock);
    ok = VMM(d)->alive && callStatus(VMM(d), ret);
    g_mutex_unlock(&w->lock);
    if (!ok)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, "no VMM for its status");
    return ok;
}

static bool
opGuestStop(void *host, GError **error)
{
    bool runs = false;

    return opVmm(host, "guest-stop", callRuns, &runs, error);
}

static bool
opGuestResume(void *host, GError **error)
{
    bool runs = true;

    return opVmm(host, "guest-resume", callRuns, &runs, error);
}

static bool
opGuestStart(void *host, bool paused, GError **error)
{
    bool runs = !paused;
    flowDaemon *d = host;

    if (!d->world->scenario->startFails)
        return opVmm(host, "guest-start", callRuns, &runs, error);
    g_mutex_lock(&d->world->lock);
    flowDaemonFillDisk(d);
    g_mutex_unlock(&d->world->lock);
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_SYSTEM, "the guest does not start");
    return false;
}

static void
opNote(flowDaemon *d, const char *point)
{
    if (flowEnter(d, point, NULL))
        flowLeave(d, point);
}

static bool
opGuestFrozen(void *host)
{
    flowDaemon *d = host;

    opNote(d, "guest-frozen");
    return !d->world->scenario->pausedBefore;
}

static void
opIteration(void *host G_GNUC_UNUSED, uint64_t pass G_GNUC_UNUSED)
{
}

static void
opDoubt(void *host, const char *why)
{
    flowDaemon *d = host;
    flowWorld *w = d->world;

    if (!why)
        return;
    opNote(host, "doubt");
    g_mutex_lock(&w->lock);
    if (w->scenario->startFails && w->daemons[MIG_SIDE_DEST])
        freeDisk(w->daemons[MIG_SIDE_DEST]);
    g_mutex_unlock(&w->lock);
}

static void
opEnd(flowDaemon *d, const char *point)
{
    if (!flowEnter(d, point, NULL))
        return;
    g_mutex_lock(&d->world->lock);
    flowVmmEnd(VMM(d));
    g_mutex_unlock(&d->world->lock);
    flowLeave(d, point);
}

static void
opEndSource(void *host)
{
    opEnd(host, "end-source");
}

static void
opEndIncoming(void *host, const char *why G_GNUC_UNUSED)
{
    opEnd(host, "end-incoming");
}

/* As the driver does: the record goes, the job is let go of. */
static void
opOver(void *host, migPhase phase)
{
    flowDaemon *d = host;
    flowWorld *w = d->world;
    migJob *job;

    if (!flowEnter(d, "over", NULL))
        return;
    g_mutex_lock(&w->lock);
    if (!migPhaseInfo(phase)->final)
        flowViolation(w, "over in phase '%s'", migPhaseName(phase));
    if (!d->job)
        flowViolation(w, "over twice");
    job = g_steal_pointer(&d->job);
    g_free(d->lastError);
    d->lastError = job ? migJobErrorText(job) : NULL;
    migRecordClear(&w->records[d->side]);
    w->saved[d->side] = false;
    g_cond_broadcast(&w->cond);
    g_mutex_unlock(&w->lock);
    migJobUnref(job);
    flowLeave(d, "over");
}

const migHostOps flowOps = {
    .save = opSave,
    .vmmSend = opVmmSend,
    .vmmContinue = opVmmContinue,
    .vmmCancel = opVmmCancel,
    .guestStop = opGuestStop,
    .guestResume = opGuestResume,
    .guestFrozen = opGuestFrozen,
    .iteration = opIteration,
    .endSource = opEndSource,
    .doubt = opDoubt,
    .vmmAttach = opVmmAttach,
    .guestStart = opGuestStart,
    .endIncoming = opEndIncoming,
    .vmmStatus = opVmmStatus,
    .over = opOver,
};
