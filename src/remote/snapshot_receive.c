/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot_receive.c: into the files that a VMM starts from, see snapshot.h */
#include "remote/snapshot_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"

#include "base/gettext.h"

/* That the VMM has emptied a fifo nobody tells. */
#define OFFER_POLL_MS 10
#define FIFO_BYTES (1024 * 1024)
/* What a VMM may write beside the guest's memory: headers, its firmware, memory of devices. */
#define MEMORY_EXTRA_MAX (256 * 1024 * 1024ULL)

/* ---- the stream --------------------------------------------------------------------------------------- */

/* 1; 0: it has ended before the first byte; -1: *why, or it was cancelled. */
static int
takeAll(snapshot *snap, void *data, size_t len, char **why)
{
    uint8_t *at = data;
    size_t done = 0;

    while (done < len) {
        ssize_t n = recv(snap->fd, at + done, len - done, MSG_DONTWAIT);

        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            snapshotPoll(snap, snap->fd, POLLIN);
            if (snapshotIsCancelled(snap))
                return -1;
        } else if (n == 0 && done == 0) {
            return 0;
        } else if (n == 0 || errno != EINTR) {
            *why = g_strdup_printf(_("The guest's state is cut short: %1$s"), n < 0 ? g_strerror(errno) : _("the connection ended."));
            return -1;
        }
    }
    return 1;
}

static bool
takeNeeded(snapshot *snap, void *data, size_t len, char **why)
{
    int got = takeAll(snap, data, len, why);

    if (got == 0)
        *why = g_strdup(_("The guest's state is cut short: the connection ended."));
    return got > 0;
}

static bool
takeWrite(snapshot *snap, const uint8_t *data, size_t len, char **why)
{
    uint64_t offset = snap->done;

    if (FAULT(SNAPSHOT_WRITE)) {
        *why = g_strdup_printf(_("The guest's memory cannot be written to '%1$s': %2$s"), snap->folder, g_strerror(ENOSPC));
        return false;
    }
    while (len > 0) {
        ssize_t n = pwrite(snap->memoryFd, data, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            *why = g_strdup_printf(_("The guest's memory cannot be written to '%1$s': %2$s"), snap->folder, g_strerror(n < 0 ? errno : ENOSPC));
            return false;
        }
        data += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return true;
}

static bool
takeBad(char **why)
{
    *why = g_strdup(_("The guest's state is damaged: it is not in the form that it must have."));
    return false;
}

static bool
takeEnd(snapshot *snap, uint32_t len, char **why)
{
    guint64 sums[2];

    if (len != sizeof(sums))
        return takeBad(why);
    if (!takeNeeded(snap, sums, sizeof(sums), why))
        return false;
    if (GUINT64_FROM_BE(sums[0]) != snap->stateBytes || GUINT64_FROM_BE(sums[1]) != snap->done || snap->stateBytes == 0 || snap->done == 0)
        return takeBad(why);
    /* What ends with zeros has not been written to its end. */
    if (ftruncate(snap->memoryFd, (off_t)snap->done) == 0)
        return true;
    *why = g_strdup_printf(_("The guest's memory cannot be written to '%1$s': %2$s"), snap->folder, g_strerror(errno));
    return false;
}

static bool
takeState(snapshot *snap, uint32_t len, char **why)
{
    if (len > SNAPSHOT_BLOCK || snap->bytes->len > SNAPSHOT_STATE_MAX - len)
        return takeBad(why);
    if (!takeNeeded(snap, snap->buffer, len, why))
        return false;
    g_byte_array_append(snap->bytes, snap->buffer, len);
    snapshotCount(snap, 0, len);
    return true;
}

static bool
takeMemory(snapshot *snap, uint32_t len, bool zeros, char **why)
{
    if (len > SNAPSHOT_BLOCK)
        return takeBad(why);
    if (snap->done + len > snap->total + MEMORY_EXTRA_MAX) {
        *why = g_strdup_printf(_("The guest's memory is larger than the %1$llu bytes that its definition says."), (unsigned long long)snap->total);
        return false;
    }
    if (!zeros && (!takeNeeded(snap, snap->buffer, len, why) || !takeWrite(snap, snap->buffer, len, why)))
        return false;
    snapshotCount(snap, len, 0);
    return true;
}

static bool
takeBlocks(snapshot *snap, char **why)
{
    char magic[sizeof(SNAPSHOT_MAGIC) - 1];

    if (!takeNeeded(snap, magic, sizeof(magic), why))
        return false;
    if (memcmp(magic, SNAPSHOT_MAGIC, sizeof(magic)) != 0)
        return takeBad(why);
    for (;;) {
        guint32 head[2];
        uint32_t len;

        if (!takeNeeded(snap, head, sizeof(head), why))
            return false;
        len = GUINT32_FROM_BE(head[1]);
        switch (GUINT32_FROM_BE(head[0])) {
        case SNAPSHOT_STATE:
            if (!takeState(snap, len, why))
                return false;
            break;
        case SNAPSHOT_MEMORY:
        case SNAPSHOT_ZEROS:
            if (!takeMemory(snap, len, GUINT32_FROM_BE(head[0]) == SNAPSHOT_ZEROS, why))
                return false;
            break;
        case SNAPSHOT_END:
            return takeEnd(snap, len, why);
        default:
            return takeBad(why);
        }
    }
}

/* So that the other side sees its connection end in order. */
static void
takeRest(snapshot *snap)
{
    char byte;
    g_autofree char *why = NULL;

    takeAll(snap, &byte, 1, &why);
}

static gpointer
takeThread(gpointer opaque)
{
    snapshot *snap = opaque;
    char *why = NULL;

    snapshotSet(snap, VMM_MIG_ACTIVE, NULL);
    if (takeBlocks(snap, &why)) {
        snapshotSet(snap, VMM_MIG_COMPLETED, NULL);
        takeRest(snap);
    } else {
        snapshotSet(snap, VMM_MIG_FAILED, why ? why : g_strdup(_("it was given up.")));
    }
    shutdown(snap->fd, SHUT_RDWR);
    snapshotUnref(snap);
    return NULL;
}

static bool
takeOpen(snapshot *snap, GError **error)
{
    g_autofree char *path = snapshotPath(snap, snap->vmm->snapshot->memoryName);

    snap->bytes = g_byte_array_new();
    snap->memoryFd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (snap->memoryFd < 0) {
        baseSetErrno(error, errno, _("The file '%1$s' for a guest's memory cannot be made"), path);
        return false;
    }
    return snapshotGiveAway(snap, path, error) && snapshotMakeFifo(snap, snap->vmm->snapshot->stateName, error);
}

snapshot *
snapshotReceive(const snapshotSpec *spec, GError **error)
{
    snapshot *snap;

    if (FAULT_ERROR(INCOMING_ATTACH, error) || !(snap = snapshotNew(spec, error)))
        return NULL;
    if (takeOpen(snap, error) && snapshotThread(snap, "sv-load-files", takeThread, error))
        return snap;
    snapshotFree(snap);
    return NULL;
}

/* ---- the VMM that starts from it ------------------------------------------------------------------------- */

char *
snapshotIncoming(snapshot *snap, unsigned long version, GError **error)
{
    return snap->vmm->snapshot->incomingUri(snap->folder, version, error);
}

/* False: it is late, or the VMM has ended: *error. */
static bool
offerWait(int fd, short events, int pidFd, gint64 end, GError **error)
{
    struct pollfd fds[] = { { .fd = pidFd, .events = POLLIN }, { .fd = fd, .events = events } };
    gint64 left = (end - g_get_monotonic_time()) / 1000;
    int n = poll(fds, fd < 0 ? 1 : 2, (int)CLAMP(fd < 0 ? MIN(left, OFFER_POLL_MS) : left, 0, G_MAXINT));

    if (n > 0 && fds[0].revents) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, _("The VMM ended before it had loaded the guest's state."));
        return false;
    }
    if (left > 0)
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_TIMEOUT, _("The VMM does not load the guest's state."));
    return false;
}

static bool
offerWrite(snapshot *snap, const uint8_t *data, size_t len, int pidFd, gint64 end, GError **error)
{
    while (len > 0) {
        ssize_t n = write(snap->offerFd, data, len);

        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            if (!offerWait(snap->offerFd, POLLOUT, pidFd, end, error))
                return false;
        } else if (n == 0 || errno != EINTR) {
            baseSetErrno(error, n < 0 ? errno : EPIPE, _("The VMM cannot be given the guest's state"));
            return false;
        }
    }
    return true;
}

bool
snapshotOffer(snapshot *snap, int pidFd, unsigned timeoutMs, GError **error)
{
    g_autofree char *path = snapshotPath(snap, snap->vmm->snapshot->stateName);
    gint64 end = g_get_monotonic_time() + (gint64)timeoutMs * 1000;
    int unread = 0;

    /* For both ways, so that it opens at once, whatever the VMM does. */
    baseFdReplace(&snap->offerFd, open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (snap->offerFd < 0) {
        baseSetErrno(error, errno, _("The fifo '%1$s' for a guest's state cannot be opened"), path);
        return false;
    }
    fcntl(snap->offerFd, F_SETPIPE_SZ, FIFO_BYTES);
    if (!offerWrite(snap, snap->bytes->data, snap->bytes->len - 1, pidFd, end, error))
        return false;
    while (ioctl(snap->offerFd, FIONREAD, &unread) == 0 && unread > 0) {
        if (!offerWait(-1, 0, pidFd, end, error))
            return false;
    }
    return true;
}

bool
snapshotRelease(snapshot *snap, GError **error)
{
    if (write(snap->offerFd, snap->bytes->data + snap->bytes->len - 1, 1) == 1)
        return true;
    baseSetErrno(error, errno, _("The VMM cannot be given the guest's state"));
    return false;
}

bool
snapshotIsTaken(snapshot *snap)
{
    int unread = 0;

    return ioctl(snap->offerFd, FIONREAD, &unread) < 0 || unread == 0;
}
