/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * parallel.c: the connections of one migration that uses several
 *
 * Theory of operation: a VMM that sends over several connections makes and accepts them itself, so it cannot be handed
 * descriptors.  It is given a unix socket in its own folder instead, and for each connection there the daemon has one to the
 * other daemon's migration port, opened with the migration's token and the number of the connection; a pump joins the two.
 * The sending VMM makes its main connection first, and the receiving one may take the first for its main one, so they are
 * numbered in the order in which they are made and joined in that order.  The receiving VMM tells the others apart by itself.
 *
 * A connection that ends in good order ends alone.  One that fails takes all others with it at once, on both hosts: what one of them
 * has lost makes the rest worthless, and a VMM may wait for ever for a connection that has ended silently.
 */
#include "migration/parallel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "migration/job_priv.h"
#include "remote/pump.h"

#include "base/gettext.h"

typedef struct {
    migParallel *parallel;
    unsigned index;
    int fd;                      /* to the other host, until the pump has it; -1 */
    bool added;
    pump *pump;
    unsigned vmmEnd;             /* which of the pump's */
} parallelStream;

struct _migParallel {
    char *peer;
    void (*broken)(void *opaque);
    void *opaque;

    GMutex lock;                 /* taken before a job's own */
    unsigned count;
    parallelStream *streams;     /* by index */
    unsigned joined;             /* so many have a pump */
    bool shut;
    char *error;                 /* the first; constant once set */
    bool byVmm;                  /* ... was at the VMM's end */

    char *path;                  /* of the unix socket */
    bool connects;               /* destination: the VMM listens there */
    int listenFd;                /* source: the accepting thread's until it is joined */
    int wakeFd;
    GThread *accepting;
};

unsigned
migParallelChannels(const migParams *params)
{
    if (!params->parallel)
        return 0;
    return params->parallelConnections > 0 ? (unsigned)params->parallelConnections : MIG_PARALLEL_DEFAULT;
}

migParallel *
migParallelNew(unsigned channels, const char *peer, void (*broken)(void *opaque), void *opaque)
{
    migParallel *parallel = g_new0(migParallel, 1);

    parallel->peer = g_strdup_printf(_("host '%1$s'"), peer ? peer : "?");
    parallel->broken = broken;
    parallel->opaque = opaque;
    parallel->count = channels + 1;
    parallel->streams = g_new0(parallelStream, parallel->count);
    for (unsigned i = 0; i < parallel->count; i++) {
        parallel->streams[i].parallel = parallel;
        parallel->streams[i].index = i;
        parallel->streams[i].fd = -1;
    }
    parallel->listenFd = -1;
    parallel->wakeFd = -1;
    g_mutex_init(&parallel->lock);
    return parallel;
}

void
migParallelFree(migParallel *parallel)
{
    if (!parallel)
        return;
    migParallelEnd(parallel);
    g_free(parallel->path);
    g_free(parallel->error);
    g_free(parallel->peer);
    g_free(parallel->streams);
    g_mutex_clear(&parallel->lock);
    g_free(parallel);
}

unsigned
migParallelCount(const migParallel *parallel)
{
    return parallel->count;
}

/* ---- the end ---- */

/* Lock held. */
static void
parallelShut(migParallel *parallel)
{
    parallel->shut = true;
    if (parallel->wakeFd >= 0)
        eventfd_write(parallel->wakeFd, 1);
    for (unsigned i = 0; i < parallel->count; i++) {
        parallelStream *stream = &parallel->streams[i];

        baseFdReplace(&stream->fd, -1);
        if (stream->pump)
            pumpCancel(stream->pump);
    }
}

/* Lock held. */
static void
parallelBreak(migParallel *parallel, const parallelStream *stream, const char *why, bool byVmm)
{
    if (parallel->shut || parallel->error)
        return;
    parallel->error = g_strdup_printf(_("Connection %1$u of %2$u: %3$s"), stream->index + 1, parallel->count, why);
    parallel->byVmm = byVmm;
    parallelShut(parallel);
    parallel->broken(parallel->opaque);
}

static void
parallelPumpEnded(pump *p, const GError *why, void *opaque)
{
    parallelStream *stream = opaque;
    migParallel *parallel = stream->parallel;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&parallel->lock);

    g_debug("connection %u of %u to %s: %" G_GUINT64_FORMAT " bytes forward, %" G_GUINT64_FORMAT " back: %s",
            stream->index + 1, parallel->count, parallel->peer, (guint64)pumpBytes(p, PUMP_FORWARD),
            (guint64)pumpBytes(p, PUMP_BACKWARD), why ? why->message : "complete");
    if (why && !g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED))
        parallelBreak(parallel, stream, why->message, pumpFailedAt(p, stream->vmmEnd));
}

void
migParallelShut(migParallel *parallel)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&parallel->lock);

    parallelShut(parallel);
}

void
migParallelEnd(migParallel *parallel)
{
    GThread *accepting;
    bool had;

    g_mutex_lock(&parallel->lock);
    parallelShut(parallel);
    accepting = g_steal_pointer(&parallel->accepting);
    g_mutex_unlock(&parallel->lock);
    if (accepting)
        g_thread_join(accepting);
    /* Nobody adds any more; the pumps' last words need the lock. */
    for (unsigned i = 0; i < parallel->count; i++)
        g_clear_pointer(&parallel->streams[i].pump, pumpFree);
    g_mutex_lock(&parallel->lock);
    had = parallel->listenFd >= 0 || parallel->connects;
    baseFdReplace(&parallel->listenFd, -1);
    baseFdReplace(&parallel->wakeFd, -1);
    parallel->connects = false;
    g_mutex_unlock(&parallel->lock);
    if (had)
        unlink(parallel->path);
}

char *
migParallelError(migParallel *parallel, bool hideVmm)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&parallel->lock);

    return hideVmm && parallel->byVmm ? NULL : g_strdup(parallel->error);
}

/* ---- joining ---- */

/* Lock held.  @fd, the VMM's end, is taken over. */
static bool
parallelJoin(migParallel *parallel, parallelStream *stream, int fd, bool sends)
{
    g_autoptr(GError) error = NULL;
    pumpOptions options = { .twoWay = true, .ended = parallelPumpEnded, .opaque = stream };
    pumpEnd vmm = { .fd = fd, .name = _("the VMM") };
    pumpEnd net = { .fd = baseFdSteal(&stream->fd), .name = parallel->peer };

    stream->vmmEnd = sends ? 0 : 1;
    stream->pump = pumpNew(sends ? &vmm : &net, sends ? &net : &vmm, &options, &error);
    if (!stream->pump)
        parallelBreak(parallel, stream, error->message, false);
    parallel->joined++;
    return stream->pump != NULL;
}

static bool
parallelAddress(const char *path, struct sockaddr_un *ret, GError **error)
{
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(ret->sun_path)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM,
                    _("The path '%1$s' of the socket for the VMM's connections is longer than the %2$zu bytes that a socket's name may have."),
                    path, sizeof(ret->sun_path) - 1);
        return false;
    }
    strcpy(ret->sun_path, path);
    return true;
}

/* ---- source: the VMM connects ---- */

/* Of the folder's owner, which is the user that the VMM runs as; nobody else may connect. */
static bool
parallelProtect(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    struct stat st;

    if (chmod(path, 0600) < 0 || stat(folder, &st) < 0)
        return false;
    return st.st_uid == geteuid() || chown(path, st.st_uid, st.st_gid) == 0;
}

/* False: it is time to stop. */
static bool
parallelAccept(migParallel *parallel)
{
    struct pollfd fds[] = {
        { .fd = parallel->wakeFd, .events = POLLIN }, { .fd = parallel->listenFd, .events = POLLIN },
    };
    g_autoptr(GMutexLocker) locker = NULL;
    int fd;

    if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
        return false;
    locker = g_mutex_locker_new(&parallel->lock);
    if (parallel->shut)
        return false;
    if (!fds[1].revents)
        return true;
    fd = accept4(parallel->listenFd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return true;
        parallelBreak(parallel, &parallel->streams[parallel->joined], g_strerror(errno), false);
        return false;
    }
    return parallelJoin(parallel, &parallel->streams[parallel->joined], fd, true) && parallel->joined < parallel->count;
}

static gpointer
parallelAcceptThread(gpointer data)
{
    migParallel *parallel = data;

    while (parallelAccept(parallel))
        continue;
    /* All that were to come are there, so nobody else may. */
    unlink(parallel->path);
    baseFdReplace(&parallel->listenFd, -1);
    return NULL;
}

static bool
parallelStartAccepting(migParallel *parallel, GError **error)
{
    g_autoptr(GError) local = NULL;

    parallel->wakeFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (parallel->wakeFd < 0) {
        baseSetErrno(error, errno, _("A descriptor for the VMM's connections could not be made"));
        return false;
    }
    parallel->accepting = g_thread_try_new("migration-accept", parallelAcceptThread, parallel, &local);
    if (!parallel->accepting)
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for the VMM's connections could not be made: %1$s"),
                    local->message);
    return parallel->accepting != NULL;
}

bool
migParallelListen(migParallel *parallel, const char *path, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&parallel->lock);
    struct sockaddr_un address;

    g_free(parallel->path);
    parallel->path = g_strdup(path);
    if (parallel->shut) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            parallel->error ? parallel->error : _("The connections have been ended."));
        return false;
    }
    if (!parallelAddress(path, &address, error))
        return false;
    /* Left over from a daemon that was killed. */
    unlink(path);
    parallel->listenFd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (parallel->listenFd < 0 || bind(parallel->listenFd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        !parallelProtect(path) || listen(parallel->listenFd, (int)parallel->count) < 0) {
        baseSetErrno(error, errno, _("The socket '%1$s' for the VMM's connections could not be made"), path);
        return false;
    }
    return parallelStartAccepting(parallel, error);
}

/* ---- destination: the VMM listens ---- */

/* Its backlog is as long as there are connections, so this never waits. */
static int
parallelConnectOne(const char *path, GError **error)
{
    g_auto(baseFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    if (!parallelAddress(path, &address, error))
        return -1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        baseSetErrno(error, errno, _("The VMM's socket '%1$s' cannot be connected to"), path);
        return -1;
    }
    return baseFdSteal(&fd);
}

/* Lock held: join those whose turn it is. */
static bool
parallelConnectReady(migParallel *parallel, GError **error)
{
    while (parallel->connects && !parallel->shut && parallel->joined < parallel->count &&
           parallel->streams[parallel->joined].added) {
        parallelStream *stream = &parallel->streams[parallel->joined];
        int fd = parallelConnectOne(parallel->path, error);

        if (fd < 0)
            return false;
        if (!parallelJoin(parallel, stream, fd, false)) {
            g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, parallel->error);
            return false;
        }
    }
    return true;
}

bool
migParallelConnect(migParallel *parallel, const char *path, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&parallel->lock);

    g_free(parallel->path);
    parallel->path = g_strdup(path);
    parallel->connects = true;
    return parallelConnectReady(parallel, error);
}

void
migParallelAdd(migParallel *parallel, unsigned index, int fd)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&parallel->lock);
    g_autoptr(GError) error = NULL;
    parallelStream *stream = index < parallel->count ? &parallel->streams[index] : NULL;

    if (parallel->shut || !stream || stream->added) {
        close(fd);
        return;
    }
    stream->fd = fd;
    stream->added = true;
    if (!parallelConnectReady(parallel, &error))
        parallelBreak(parallel, stream, error->message, false);
}

/* ---- for a job ---- */

static void
parallelTellJob(void *opaque)
{
    migJobPost(opaque, MIG_SIGNAL_VMM);
}

bool
migParallelDial(migJob *job, const char *address, unsigned port, const hello *h, GError **error)
{
    unsigned channels = migParallelChannels(&job->params);
    hello numbered = *h;

    job->parallel = migParallelNew(channels, job->record.peerHost, parallelTellJob, job);
    numbered.role = HELLO_DATA;
    for (unsigned i = 0; i <= channels; i++) {
        int fd;

        numbered.index = (uint16_t)i;
        fd = helloConnect(address, port, &numbered, migJobStopFd(job), job->env->connectTimeoutMs, error);
        if (fd < 0)
            return false;
        migParallelAdd(job->parallel, i, fd);
    }
    return true;
}

bool
migParallelSend(migJob *job, const vmmMigSpec *spec, GError **error)
{
    g_autofree char *path = job->ops->channelPath(job->host, error);
    vmmMigSpec several = *spec;

    if (!path || !migParallelListen(job->parallel, path, error))
        return false;
    several.channels = migParallelCount(job->parallel) - 1;
    several.unixPath = path;
    return job->ops->vmmSend(job->host, &several, -1, error);
}

void
migParallelExpect(migJob *job)
{
    unsigned channels = migParallelChannels(&job->params);

    if (channels > 0)
        job->parallel = migParallelNew(channels, job->record.peerHost, parallelTellJob, job);
}

bool
migParallelReceive(migJob *job, GError **error)
{
    g_autofree char *path = job->ops->channelPath(job->host, error);
    vmmMigSpec spec = { .channels = migParallelCount(job->parallel) - 1 };

    /* The method of compression is the same on both sides. */
    migParamsToSpec(&job->params, 0, &spec);
    if (!path)
        return false;
    /* Left over from a migration that was given up. */
    unlink(path);
    return job->ops->vmmListen(job->host, path, &spec, error) && migParallelConnect(job->parallel, path, error);
}
