/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay.c: the connections of one migration that uses several
 *
 * Theory of operation: a VMM that sends over several connections makes and accepts them itself, so it cannot be handed
 * descriptors.  It is given a unix socket in its own folder instead, and for each connection there the daemon has one to the
 * other daemon's migration port, opened with the migration's token and the number of the connection; a pump joins the two.
 * The sending VMM makes its main connection first, and the receiving one may take the first for its main one, so they are
 * numbered in the order in which they are made and joined in that order.  The receiving VMM tells the others apart by itself.
 *
 * A VMM with one stream gets a descriptor; over several connections its stream is spread (remote/spread.h), as soon as all of them
 * have been added.  A filter, if there is one, has a pump of its own then, between the VMM and what spreads.
 *
 * A connection that ends in good order ends alone.  One that fails takes all others with it at once, on both hosts: what one of them
 * has lost makes the rest worthless, and a VMM may wait for ever for a connection that has ended silently.
 */
#include "migration/relay.h"
#include "migration/way.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/socket.h"
#include "base/thread.h"
#include "migration/guide.h"
#include "migration/job_priv.h"
#include "migration/relay_priv.h"
#include "migration/tunnel_job.h"

#include "base/gettext.h"

bool
migRelayNeeded(const migParams *params)
{
    return params->parallel || migParamsCompressRelay(params);
}

bool
migRelaySpreads(const migParams *params, bool canParallel)
{
    return params->parallel && (!canParallel || g_strcmp0(params->transport, "relay") == 0);
}

unsigned
migRelayChannels(const migParams *params)
{
    if (!params->parallel)
        return 0;
    return params->parallelConnections > 0 ? (unsigned)params->parallelConnections : MIG_PARALLEL_DEFAULT;
}

migRelay *
migRelayNew(unsigned channels, const char *peer, void (*broken)(void *opaque), void *opaque)
{
    migRelay *relay = g_new0(migRelay, 1);

    relay->peer = g_strdup_printf(_("host '%1$s'"), peer ? peer : "?");
    relay->broken = broken;
    relay->opaque = opaque;
    relay->count = channels + 1;
    relay->streams = g_new0(relayStream, relay->count);
    for (unsigned i = 0; i < relay->count; i++) {
        relay->streams[i].relay = relay;
        relay->streams[i].index = i;
        relay->streams[i].conn = (helloConn)HELLO_CONN_INIT;
    }
    relay->listenFd = -1;
    relay->wakeFd = -1;
    relay->spreadFd = -1;
    relay->vmmFd = -1;
    relay->keptFd = -1;
    g_mutex_init(&relay->lock);
    relay->limit = pumpLimitNew(0);
    return relay;
}

void
migRelaySetOptions(migRelay *relay, const migRelayOptions *options)
{
    relay->options = *options;
}

void
migRelayFree(migRelay *relay)
{
    if (!relay)
        return;
    migRelayEnd(relay);
    baseFdClose(relay->keptFd);
    g_free(relay->path);
    g_free(relay->error);
    g_free(relay->peer);
    g_free(relay->streams);
    pumpLimitUnref(relay->limit);
    blocksWriterFree(relay->writer);
    blocksReaderFree(relay->reader);
    if (relay->options.filterFree)
        relay->options.filterFree(relay->options.filter);
    g_mutex_clear(&relay->lock);
    g_free(relay);
}

unsigned
migRelayCount(const migRelay *relay)
{
    return relay->count;
}

/* ---- the end ---- */

/* Lock held. */
static void
relayShut(migRelay *relay)
{
    relay->shut = true;
    if (relay->wakeFd >= 0)
        eventfd_write(relay->wakeFd, 1);
    for (unsigned i = 0; i < relay->count; i++) {
        relayStream *stream = &relay->streams[i];

        helloConnClear(&stream->conn);
        if (stream->pump)
            pumpCancel(stream->pump);
    }
    if (relay->filterPump)
        pumpCancel(relay->filterPump);
    if (relay->spread)
        spreadCancel(relay->spread);
}

void
relayBreak(migRelay *relay, const relayStream *stream, const char *why, bool byVmm)
{
    const bool first = !relay->shut && !relay->error;

    /* When the VMM ends one connection, others may be reset by the other host before this one has said so. */
    if (!first && !(relay->error && byVmm && !relay->byVmm))
        return;
    g_free(relay->error);
    if (relay->count == 1)
        relay->error = g_strdup(why);
    else
        relay->error = g_strdup_printf(_("Connection %1$u of %2$u: %3$s"), stream->index + 1, relay->count, why);
    relay->byVmm = byVmm;
    if (!first)
        return;
    relayShut(relay);
    relay->broken(relay->opaque);
}

static void
relayPumpEnded(pump *p, const GError *why, void *opaque)
{
    relayStream *stream = opaque;
    migRelay *relay = stream->relay;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    g_debug("connection %u of %u to %s: %" G_GUINT64_FORMAT " bytes forward, %" G_GUINT64_FORMAT " back: %s",
            stream->index + 1, relay->count, relay->peer, (guint64)pumpBytes(p, PUMP_FORWARD),
            (guint64)pumpBytes(p, PUMP_BACKWARD), why ? why->message : "complete");
    if (why && !g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED))
        relayBreak(relay, stream, why->message, pumpFailedAt(p, stream->vmmEnd));
}

void
migRelayShut(migRelay *relay)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    relayShut(relay);
}

static pump *
relayTakePump(migRelay *relay, relayStream *stream)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    for (pumpDirection d = PUMP_FORWARD; stream->pump && d <= PUMP_BACKWARD; d++)
        relay->bytes[d] += pumpBytes(stream->pump, d);
    return g_steal_pointer(&stream->pump);
}

void
migRelayEnd(migRelay *relay)
{
    GThread *accepting;
    bool had;

    g_mutex_lock(&relay->lock);
    relayShut(relay);
    accepting = g_steal_pointer(&relay->accepting);
    g_mutex_unlock(&relay->lock);
    if (accepting)
        g_thread_join(accepting);
    /* Nobody adds any more; the pumps' last words need the lock. */
    for (unsigned i = 0; i < relay->count; i++)
        pumpFree(relayTakePump(relay, &relay->streams[i]));
    relaySpreadEnd(relay);
    g_mutex_lock(&relay->lock);
    had = relay->listenFd >= 0 || relay->connects;
    baseFdReplace(&relay->listenFd, -1);
    baseFdReplace(&relay->wakeFd, -1);
    relay->connects = false;
    g_mutex_unlock(&relay->lock);
    if (had)
        unlink(relay->path);
}

void
migRelayKeepVmm(migRelay *relay)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    if (relay->keptFd < 0 && relay->vmmFd >= 0)
        relay->keptFd = fcntl(relay->vmmFd, F_DUPFD_CLOEXEC, 0);
}

int
migRelayTakeVmm(migRelay *relay, GError **error)
{
    migRelayEnd(relay);
    if (relay->keptFd < 0)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The connection to the VMM of the destination was lost."));
    return baseFdSteal(&relay->keptFd);
}

char *
migRelayError(migRelay *relay, bool hideVmm)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    return hideVmm && relay->byVmm ? NULL : g_strdup(relay->error);
}

/* ---- speed and figures ---- */

/* Lock held. */
static void
relayLimit(migRelay *relay, uint64_t bytesPerSecond)
{
    if (relay->lifted)
        return;
    relay->rate = bytesPerSecond;
    pumpLimitSet(relay->limit, bytesPerSecond);
    for (unsigned i = 0; i < relay->count; i++) {
        if (relay->streams[i].pump)
            pumpSetLimit(relay->streams[i].pump, bytesPerSecond);
    }
}

void
migRelaySetLimit(migRelay *relay, uint64_t bytesPerSecond)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    relayLimit(relay, bytesPerSecond);
}

void
migRelayLift(migRelay *relay)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    relayLimit(relay, 0);
    relay->lifted = true;
}

uint64_t
migRelayBytes(migRelay *relay, pumpDirection direction)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);
    uint64_t ret = relay->bytes[direction];

    for (unsigned i = 0; i < relay->count; i++) {
        if (relay->streams[i].pump)
            ret += pumpBytes(relay->streams[i].pump, direction);
    }
    return relay->spread ? ret + spreadBytes(relay->spread, direction) : ret;
}

void
migRelayPoke(migRelay *relay)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    for (unsigned i = 0; i < relay->count; i++) {
        if (relay->streams[i].pump)
            pumpPoke(relay->streams[i].pump);
    }
    if (relay->filterPump)
        pumpPoke(relay->filterPump);
}

/* ---- joining ---- */

/* Lock held.  What compresses stands next to the connection, so the other filter sees what the VMM says. */
static void
relayAddCoder(migRelay *relay, bool sends, pumpOptions *options)
{
    if (relay->options.method == BLOCKS_PLAIN || relay->count > 1)
        return;
    if (sends) {
        relay->writer = blocksWriterNew(relay->options.method, relay->options.level, NULL);
        options->farFilterOps = &blocksWriterOps;
        options->farFilter = relay->writer;
    } else {
        relay->reader = blocksReaderNew();
        options->farFilterOps = options->filterOps;
        options->farFilter = options->filter;
        options->filterOps = &blocksReaderOps;
        options->filter = relay->reader;
    }
}

/* Lock held.  @fd, the VMM's end, is taken over. */
static bool
relayJoin(migRelay *relay, relayStream *stream, int fd, bool sends)
{
    g_autoptr(GError) error = NULL;
    pumpOptions options = {
        .twoWay = true, .limit = relay->limit, .stallMs = relay->options.stallMs,
        .filterOps = relay->options.filterOps, .filter = relay->options.filter,
        .ended = relayPumpEnded, .opaque = stream,
    };
    pumpEnd vmm = { .fd = fd, .name = _("the VMM") };
    pumpEnd net = helloConnEnd(helloConnSteal(&stream->conn), relay->peer);

    relayAddCoder(relay, sends, &options);
    relay->vmmFd = fd;
    stream->vmmEnd = sends ? 0 : 1;
    stream->pump = pumpNew(sends ? &vmm : &net, sends ? &net : &vmm, &options, &error);
    if (!stream->pump)
        relayBreak(relay, stream, error->message, false);
    else
        /* All share it, so this only repeats what the others have. */
        pumpSetLimit(stream->pump, relay->rate);
    relay->joined++;
    return stream->pump != NULL;
}

static bool
relayAddress(const char *path, struct sockaddr_un *ret, GError **error)
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
relayProtect(const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);
    struct stat st;

    if (chmod(path, 0600) < 0 || stat(folder, &st) < 0)
        return false;
    return st.st_uid == geteuid() || chown(path, st.st_uid, st.st_gid) == 0;
}

static bool relayJoinOne(migRelay *relay, int fd, bool sends, GError **error);

/* Lock held.  @fd, the one connection of a VMM whose stream is spread, is taken over. */
static void
relayAcceptOne(migRelay *relay, int fd)
{
    g_autoptr(GError) error = NULL;

    if (!relayJoinOne(relay, fd, true, &error))
        relayBreak(relay, &relay->streams[0], error->message, false);
}

/* False: it is time to stop. */
static bool
relayAccept(migRelay *relay)
{
    struct pollfd fds[] = {
        { .fd = relay->wakeFd, .events = POLLIN }, { .fd = relay->listenFd, .events = POLLIN },
    };
    g_autoptr(GMutexLocker) locker = NULL;
    int fd;

    if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
        return false;
    locker = g_mutex_locker_new(&relay->lock);
    if (relay->shut)
        return false;
    if (!fds[1].revents)
        return true;
    fd = accept4(relay->listenFd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return true;
        relayBreak(relay, &relay->streams[relay->joined], g_strerror(errno), false);
        return false;
    }
    if (relay->options.spread) {
        relayAcceptOne(relay, fd);
        return false;
    }
    return relayJoin(relay, &relay->streams[relay->joined], fd, true) && relay->joined < relay->count;
}

static gpointer
relayAcceptThread(gpointer data)
{
    migRelay *relay = data;

    while (relayAccept(relay))
        continue;
    /* All that were to come are there, so nobody else may. */
    unlink(relay->path);
    baseFdReplace(&relay->listenFd, -1);
    return NULL;
}

static bool
relayStartAccepting(migRelay *relay, GError **error)
{
    g_autoptr(GError) local = NULL;

    relay->wakeFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (relay->wakeFd < 0) {
        baseSetErrno(error, errno, _("A descriptor for the VMM's connections could not be made"));
        return false;
    }
    relay->accepting = baseThreadNew("migration-accept", relayAcceptThread, relay, &local);
    if (!relay->accepting)
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for the VMM's connections could not be made: %1$s"),
                    local->message);
    return relay->accepting != NULL;
}

bool
migRelayListen(migRelay *relay, const char *path, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);
    struct sockaddr_un address;

    g_free(relay->path);
    relay->path = g_strdup(path);
    if (relay->shut) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            relay->error ? relay->error : _("The connections have been ended."));
        return false;
    }
    if (!relayAddress(path, &address, error))
        return false;
    /* Left over from a daemon that was killed. */
    unlink(path);
    relay->listenFd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (relay->listenFd < 0 || bind(relay->listenFd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        !relayProtect(path) || listen(relay->listenFd, (int)relay->count) < 0) {
        baseSetErrno(error, errno, _("The socket '%1$s' for the VMM's connections could not be made"), path);
        return false;
    }
    return relayStartAccepting(relay, error);
}

/* ---- destination: the VMM listens ---- */

/* Its backlog is as long as there are connections, so this never waits. */
static int
relayConnectOne(const char *path, GError **error)
{
    g_auto(baseFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    if (!relayAddress(path, &address, error))
        return -1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        baseSetErrno(error, errno, _("The VMM's socket '%1$s' cannot be connected to"), path);
        return -1;
    }
    return baseFdSteal(&fd);
}

/* Lock held: join those whose turn it is. */
static bool
relayConnectReady(migRelay *relay, GError **error)
{
    while (relay->connects && !relay->options.spread && !relay->shut && relay->joined < relay->count &&
           relay->streams[relay->joined].added) {
        relayStream *stream = &relay->streams[relay->joined];
        int fd = relayConnectOne(relay->path, error);

        if (fd < 0)
            return false;
        if (!relayJoin(relay, stream, fd, false)) {
            g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, relay->error);
            return false;
        }
    }
    return true;
}

/* Lock held.  One connection to the VMM, whatever there is to the other host. */
static bool
relayConnectSpread(migRelay *relay, GError **error)
{
    int fd = relay->shut ? -1 : relayConnectOne(relay->path, error);

    if (relay->shut)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, relay->error ? relay->error : _("The connections have been ended."));
    return fd >= 0 && relayJoinOne(relay, fd, false, error);
}

bool
migRelayConnect(migRelay *relay, const char *path, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    g_free(relay->path);
    relay->path = g_strdup(path);
    relay->connects = true;
    return relay->options.spread ? relayConnectSpread(relay, error) : relayConnectReady(relay, error);
}

void
migRelayAdd(migRelay *relay, unsigned index, helloConn conn)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);
    g_autoptr(GError) error = NULL;
    relayStream *stream = index < relay->count ? &relay->streams[index] : NULL;

    if (relay->shut || !stream || stream->added) {
        helloConnClear(&conn);
        return;
    }
    stream->conn = conn;
    stream->added = true;
    if (!relayConnectReady(relay, &error) || !relaySpreadReady(relay, &error))
        relayBreak(relay, stream, error->message, false);
}

/* ---- one stream, the VMM gets a descriptor ---- */

/* Lock held.  @fd, the VMM's end, is taken over. */
static bool
relayJoinOne(migRelay *relay, int fd, bool sends, GError **error)
{
    if (!relay->options.spread)
        return relayJoin(relay, &relay->streams[0], fd, sends);
    relay->spreadSends = sends;
    relay->spreadFd = fd;
    return relaySpreadFilter(relay, sends, error) && relaySpreadReady(relay, error);
}

/* Lock held.  For bytes that pass through user space large pieces are quicker, for spliced ones small pieces are. */
static size_t
relayRoom(const migRelay *relay)
{
    const migRelayOptions *options = &relay->options;
    bool copies = options->spread || options->filterOps || options->method != BLOCKS_PLAIN || relay->streams[0].conn.tls;

    return copies ? PUMP_ROOM : 0;
}

int
migRelayPair(migRelay *relay, bool sends, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);
    g_auto(baseFd) mine = -1;
    g_auto(baseFd) vmm = -1;
    int pair[2];

    if (!baseSocketPair(pair, relayRoom(relay), error))
        return -1;
    mine = pair[0];
    vmm = pair[1];
    if (!relay->shut && relayJoinOne(relay, baseFdSteal(&mine), sends, error))
        return baseFdSteal(&vmm);
    if (error && *error)
        return -1;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_SYSTEM,
                        relay->error ? relay->error : _("The connections have been ended."));
    return -1;
}

bool
migRelaySeveral(const migRelay *relay)
{
    return relay && relay->count > 1 && !relay->options.spread;
}

/* ---- for a job ---- */

static void
relayTellJob(void *opaque)
{
    migJobPost(opaque, MIG_SIGNAL_VMM);
}

static migRelay *
relayForJob(migJob *job, unsigned channels)
{
    migRelay *relay = migRelayNew(channels, job->record.peerHost, relayTellJob, job);
    migRelayOptions options = {
        .stallMs = job->env->stallTimeoutMs,
        .spread = channels > 0 && job->spread,
        .method = !migParamsCompressRelay(&job->params) ? BLOCKS_PLAIN :
            job->params.compress == MIG_COMPRESS_RELAY_LZ4 ? BLOCKS_LZ4 : BLOCKS_ZSTD,
        .level = job->params.zstdLevel,
    };

    migGuideOptions(job, &options);
    migRelaySetOptions(relay, &options);
    return relay;
}

void
migRelayGuide(migJob *job)
{
    if (job->relay)
        migGuideOptions(job, &job->relay->options);
    else
        job->relay = relayForJob(job, 0);
}

bool
migRelayByPath(const migJob *job)
{
    return migRelaySeveral(job->relay) || (job->relay && migGuideNeeded(job));
}

void
migRelayTune(const migJob *job, const helloConn *conn)
{
    pumpTune(conn->fd, job->env->ackTimeoutMs, job->env->keepaliveMs);
}

char *
migRelayTitle(const migJob *job)
{
    GString *title = g_string_new(NULL);
    unsigned channels = migRelayChannels(&job->params);
    migChannel channel = job->way.channel;
    bool ours = channel == MIG_CHANNEL_NATIVE || channel == MIG_CHANNEL_RELAY || channel == MIG_CHANNEL_TLS;

    /* Several connections always go through the daemons. */
    if (channel == MIG_CHANNEL_NATIVE && channels > 0)
        channel = MIG_CHANNEL_RELAY;
    g_string_append(title, migChannelToString(channel));
    if (ours && channels > 0)
        g_string_append_printf(title, job->spread ? ", spread over %u connections" : ", %u connections", channels + 1);
    if (migParamsCompressRelay(&job->params))
        g_string_append(title, job->params.compress == MIG_COMPRESS_RELAY_LZ4 ? ", lz4" : ", zstd");
    return g_string_free(title, FALSE);
}

bool
migRelayDial(migJob *job, const char *address, unsigned port, const hello *h, GError **error)
{
    unsigned channels = migRelayChannels(&job->params);
    hello numbered = *h;

    job->relay = relayForJob(job, channels);
    numbered.role = HELLO_DATA;
    for (unsigned i = 0; i <= channels; i++) {
        helloSecurity security;
        const helloTarget target = { .host = address, .port = port, .cancelFd = migJobStopFd(job),
                                     .timeoutMs = job->env->connectTimeoutMs,
                                     .security = migWaySecurity(job, &security), .from = job->linkFrom };
        helloConn conn = HELLO_CONN_INIT;

        numbered.index = (uint16_t)i;
        if (!helloConnect(&target, &numbered, &conn, error))
            return false;
        migWayNote(job, &conn);
        migRelayTune(job, &conn);
        migRelayAdd(job->relay, i, conn);
    }
    if (!job->spread || migRelayByPath(job))
        return true;
    job->dataFd = migRelayPair(job->relay, true, error);
    return job->dataFd >= 0;
}

bool
migRelayDialOne(migJob *job, helloConn conn, GError **error)
{
    migWayNote(job, &conn);
    job->relay = relayForJob(job, 0);
    migRelayAdd(job->relay, 0, conn);
    if (migRelayByPath(job))
        return true;
    job->dataFd = migRelayPair(job->relay, true, error);
    return job->dataFd >= 0;
}

bool
migRelayDialTunnel(migJob *job, helloConn conn, GError **error)
{
    if (job->relayByDefault || migRelayNeeded(&job->params))
        return migRelayDialOne(job, conn, error);
    job->dataFd = conn.fd;
    return true;
}

char *
migRelayOrTunnelError(migJob *job, bool hideVmm)
{
    char *why = migTunnelError(job);

    /* There may be both, and what is further from the VMM knows more. */
    return why || !job->relay ? why : migRelayError(job->relay, hideVmm);
}

bool
migRelaySend(migJob *job, const vmmMigSpec *spec, GError **error)
{
    g_autofree char *path = job->ops->channelPath(job->host, error);
    vmmMigSpec several = *spec;

    if (!path || !migRelayListen(job->relay, path, error))
        return false;
    several.channels = migRelaySeveral(job->relay) ? migRelayCount(job->relay) - 1 : 0;
    several.unixPath = path;
    return job->ops->vmmSend(job->host, &several, -1, error);
}

bool
migRelayAgree(migJob *job, bool spreads, GError **error)
{
    job->spread = spreads && job->params.parallel;
    if (job->spread && !migParamsCompressSpread(&job->params, error))
        return false;
    if (job->relay)
        job->relay->options.spread = job->spread;
    return true;
}

void
migRelayExpect(migJob *job)
{
    unsigned channels = migRelayChannels(&job->params);

    /* In versions 1 and 2 it may turn out later that it is not secured. */
    if (migRelayNeeded(&job->params) || (!job->tunnel && (migWayKeys(job) & ~HELLO_KEYS_PLAIN)))
        job->relay = relayForJob(job, channels);
}

bool
migRelayReceive(migJob *job, GError **error)
{
    g_autofree char *path = job->ops->channelPath(job->host, error);
    vmmMigSpec spec = { .channels = migRelayCount(job->relay) - 1 };

    /* The method of compression is the same on both sides. */
    migParamsToSpec(&job->params, 0, &spec);
    if (!path)
        return false;
    /* It listens from its start. */
    if (migGuideNeeded(job))
        return migRelayConnect(job->relay, path, error);
    /* Left over from a migration that was given up. */
    unlink(path);
    return job->ops->vmmListen(job->host, path, &spec, error) && migRelayConnect(job->relay, path, error);
}
