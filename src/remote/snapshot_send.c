/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot_send.c: out of a VMM's files, see snapshot.h
 *
 * Two threads: one waits for the VMM's answer, the other reads the fifos, the state first, as the VMM writes them.  Whoever opens a fifo
 * to write waits for a reader, so both stay open until the VMM has answered, or has begun to write what nobody wants.
 */
#include "remote/snapshot_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"

#include "base/gettext.h"

#define FIFO_BYTES (1024 * 1024)

/* ---- the VMM's answer -------------------------------------------------------------------------------- */

static gpointer
sendAskThread(gpointer opaque)
{
    snapshot *snap = opaque;
    g_autoptr(GError) error = NULL;
    bool ok = !FAULT_ERROR(MIGRATE_START, &error) && snap->vmm->snapshot->save(snap->ctl, snap->folder, &error);

    g_mutex_lock(&snap->lock);
    snap->answered = true;
    if (!ok)
        snap->answerText = g_strdup(error && *error->message ? error->message : _("it gives no reason."));
    snapshotWake(snap);
    g_mutex_unlock(&snap->lock);
    snapshotUnref(snap);
    return NULL;
}

typedef enum { SEND_GO_ON, SEND_ANSWERED, SEND_OVER } sendTurn;

static sendTurn
sendLookAround(snapshot *snap)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    if (snap->cancelled || snap->answerText)
        return SEND_OVER;
    return snap->answered ? SEND_ANSWERED : SEND_GO_ON;
}

static bool
sendIsAnswered(snapshot *snap)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    return snap->answered;
}

/* ---- the stream --------------------------------------------------------------------------------------- */

static bool
sendAll(snapshot *snap, const uint8_t *data, size_t len, char **why)
{
    while (len > 0) {
        ssize_t n = send(snap->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            snapshotPoll(snap, snap->fd, POLLOUT);
            if (sendLookAround(snap) == SEND_OVER)
                return false;
        } else if (n == 0 || errno != EINTR) {
            *why = g_strdup_printf(_("What the VMM saves cannot be passed on: %1$s"), g_strerror(n < 0 ? errno : EPIPE));
            return false;
        }
    }
    return true;
}

/* The block's bytes are in the buffer already, behind the place of the head. */
static bool
sendBlock(snapshot *snap, snapshotKind kind, size_t len, char **why)
{
    guint32 head[2] = { GUINT32_TO_BE((guint32)kind), GUINT32_TO_BE((guint32)len) };

    memcpy(snap->buffer, head, sizeof(head));
    return sendAll(snap, snap->buffer, SNAPSHOT_HEAD + (kind == SNAPSHOT_ZEROS ? 0 : len), why);
}

static bool
sendIsZero(const uint8_t *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

static bool
sendPart(snapshot *snap, int fifo, snapshotKind kind, char **why)
{
    uint8_t *data = snap->buffer + SNAPSHOT_HEAD;
    bool memory = kind == SNAPSHOT_MEMORY;

    for (;;) {
        short events = snapshotPoll(snap, fifo, POLLIN);
        sendTurn turn = sendLookAround(snap);
        ssize_t n;

        if (turn == SEND_OVER)
            return false;
        n = read(fifo, data, SNAPSHOT_BLOCK);
        /* Nobody has opened it yet, or somebody has closed it. */
        if (n == 0 && ((events & POLLHUP) || turn == SEND_ANSWERED))
            return true;
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            *why = g_strdup_printf(_("What the VMM saves cannot be read: %1$s"), g_strerror(errno));
            return false;
        }
        if (n <= 0)
            continue;
        if (!sendBlock(snap, memory && sendIsZero(data, (size_t)n) ? SNAPSHOT_ZEROS : kind, (size_t)n, why))
            return false;
        snapshotCount(snap, memory ? (uint64_t)n : 0, memory ? 0 : (uint64_t)n);
    }
}

static bool
sendEnd(snapshot *snap, char **why)
{
    guint64 sums[2];

    g_mutex_lock(&snap->lock);
    sums[0] = GUINT64_TO_BE(snap->stateBytes);
    sums[1] = GUINT64_TO_BE(snap->done);
    g_mutex_unlock(&snap->lock);
    memcpy(snap->buffer + SNAPSHOT_HEAD, sums, sizeof(sums));
    return sendBlock(snap, SNAPSHOT_END, sizeof(sums), why);
}

/* ---- all of it ------------------------------------------------------------------------------------------ */

static bool
sendAwaitAnswer(snapshot *snap)
{
    sendTurn turn;

    while ((turn = sendLookAround(snap)) == SEND_GO_ON)
        snapshotPoll(snap, -1, 0);
    return turn == SEND_ANSWERED;
}

static bool
sendHold(snapshot *snap)
{
    bool goOn = !snap->hold;

    if (!goOn)
        snapshotSet(snap, VMM_MIG_PRE_SWITCHOVER, NULL);
    while (!goOn && sendLookAround(snap) != SEND_OVER) {
        snapshotPoll(snap, -1, 0);
        g_mutex_lock(&snap->lock);
        goOn = snap->goOn;
        g_mutex_unlock(&snap->lock);
    }
    return goOn;
}

static bool
sendIsWhole(snapshot *snap, char **why)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    if (snap->stateBytes > 0 && snap->done > 0)
        return true;
    *why = g_strdup(_("The VMM says that it has saved its guest, but has written nothing."));
    return false;
}

static bool
sendRun(snapshot *snap, char **why)
{
    snapshotSet(snap, VMM_MIG_ACTIVE, NULL);
    return sendAll(snap, (const uint8_t *)SNAPSHOT_MAGIC, strlen(SNAPSHOT_MAGIC), why) &&
        sendPart(snap, snap->fifos[0], SNAPSHOT_STATE, why) && sendPart(snap, snap->fifos[1], SNAPSHOT_MEMORY, why) &&
        sendAwaitAnswer(snap) && sendIsWhole(snap, why) && sendHold(snap) && sendEnd(snap, why);
}

/* Until the VMM has given up: it hears that nobody wants what it writes when it has opened the fifo. */
static void
sendRefuse(snapshot *snap)
{
    while (!sendIsAnswered(snap)) {
        struct pollfd fds[] = {
            { .fd = snap->wakeFd, .events = POLLIN },
            { .fd = snap->fifos[0], .events = POLLIN }, { .fd = snap->fifos[1], .events = POLLIN },
        };
        eventfd_t count;

        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0)
            continue;
        if (fds[0].revents)
            eventfd_read(snap->wakeFd, &count);
        for (size_t i = 0; i < 2; i++) {
            if (fds[i + 1].revents)
                baseFdReplace(&snap->fifos[i], -1);
        }
    }
}

static char *
sendWhy(snapshot *snap, char *why)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    /* The VMM's own word, unless it only says that nobody listens. */
    return why ? why : g_strdup(snap->answerText ? snap->answerText : _("it was given up."));
}

static gpointer
sendThread(gpointer opaque)
{
    snapshot *snap = opaque;
    char *why = NULL;

    if (sendRun(snap, &why)) {
        snapshotSet(snap, VMM_MIG_COMPLETED, NULL);
        shutdown(snap->fd, SHUT_WR);
    } else {
        /* Whoever ends the connection has heard the reason before: the other side only knows that something is missing. */
        sendRefuse(snap);
        snapshotSet(snap, VMM_MIG_FAILED, sendWhy(snap, why));
    }
    snapshotUnref(snap);
    return NULL;
}

static bool
sendOpen(snapshot *snap, size_t index, const char *name, GError **error)
{
    g_autofree char *path = snapshotPath(snap, name);

    if (!snapshotMakeFifo(snap, name, error))
        return false;
    snap->fifos[index] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (snap->fifos[index] < 0) {
        baseSetErrno(error, errno, _("The fifo '%1$s' for a guest's state cannot be opened"), path);
        return false;
    }
    /* The default is small; that it stays so matters to the speed alone. */
    fcntl(snap->fifos[index], F_SETPIPE_SZ, FIFO_BYTES);
    return true;
}

/* Without the thread that asks, the other is not to wait for an answer. */
static bool
sendStart(snapshot *snap, GError **error)
{
    if (!snapshotThread(snap, "sv-save-files", sendThread, error))
        return false;
    if (snapshotThread(snap, "sv-save-ask", sendAskThread, error))
        return true;
    g_mutex_lock(&snap->lock);
    snap->answered = snap->cancelled = true;
    g_mutex_unlock(&snap->lock);
    return false;
}

snapshot *
snapshotSend(const snapshotSpec *spec, control *ctl, GError **error)
{
    snapshot *snap = snapshotNew(spec, error);

    if (!snap)
        return NULL;
    snap->ctl = controlRef(ctl);
    if (sendOpen(snap, 0, snap->vmm->snapshot->stateName, error) && sendOpen(snap, 1, snap->vmm->snapshot->memoryName, error) &&
        sendStart(snap, error))
        return snap;
    snapshotFree(snap);
    return NULL;
}
