/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot.c: what both directions share, see snapshot.h */
#include "remote/snapshot_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/thread.h"

#include "base/gettext.h"

#define FOLDER_PREFIX "snapshot-"

/* ---- its life ------------------------------------------------------------------------------------ */

char *
snapshotPath(const snapshot *snap, const char *name)
{
    return g_build_filename(snap->folder, name, NULL);
}

bool
snapshotGiveAway(const snapshot *snap, const char *path, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(snap->folder);
    struct stat st;

    if (stat(parent, &st) == 0 && (st.st_uid == geteuid() || chown(path, st.st_uid, st.st_gid) == 0))
        return true;
    baseSetErrno(error, errno, _("The file '%1$s' for a guest's state cannot be given to its VMM's user"), path);
    return false;
}

bool
snapshotMakeFifo(const snapshot *snap, const char *name, GError **error)
{
    g_autofree char *path = snapshotPath(snap, name);

    if (mkfifo(path, 0600) < 0) {
        baseSetErrno(error, errno, _("The fifo '%1$s' for a guest's state cannot be made"), path);
        return false;
    }
    return snapshotGiveAway(snap, path, error);
}

static bool
snapshotMakeFolder(snapshot *snap, const char *parent, GError **error)
{
    /* An earlier one may still wait for its VMM, so each has a name of its own. */
    snap->folder = g_strdup_printf("%s/" FOLDER_PREFIX "XXXXXX", parent);
    if (!g_mkdtemp(snap->folder)) {
        baseSetErrno(error, errno, _("A folder for a guest's state cannot be made in '%1$s'"), parent);
        g_clear_pointer(&snap->folder, g_free);
        return false;
    }
    return snapshotGiveAway(snap, snap->folder, error);
}

snapshot *
snapshotNew(const snapshotSpec *spec, GError **error)
{
    snapshot *snap = g_new0(snapshot, 1);

    g_atomic_ref_count_init(&snap->refs);
    g_mutex_init(&snap->lock);
    snap->vmm = spec->vmm;
    snap->hold = spec->hold;
    snap->total = spec->memoryBytes;
    snap->changed = spec->changed;
    snap->opaque = spec->opaque;
    snap->state = VMM_MIG_SETUP;
    snap->fifos[0] = snap->fifos[1] = snap->memoryFd = snap->offerFd = -1;
    snap->buffer = g_malloc(SNAPSHOT_HEAD + SNAPSHOT_BLOCK);
    snap->wakeFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    snap->fd = fcntl(spec->fd, F_DUPFD_CLOEXEC, 3);
    if (snap->wakeFd < 0 || snap->fd < 0)
        baseSetErrno(error, errno, _("A descriptor for a guest's state cannot be made"));
    else if (snapshotMakeFolder(snap, spec->parent, error))
        return snap;
    snapshotUnref(snap);
    return NULL;
}

snapshot *
snapshotRef(snapshot *snap)
{
    g_atomic_ref_count_inc(&snap->refs);
    return snap;
}

static void
snapshotRemove(const snapshot *snap, const char *name)
{
    g_autofree char *path = snapshotPath(snap, name);

    unlink(path);
}

void
snapshotUnref(snapshot *snap)
{
    if (!g_atomic_ref_count_dec(&snap->refs))
        return;
    if (snap->folder) {
        snapshotRemove(snap, snap->vmm->snapshot->stateName);
        snapshotRemove(snap, snap->vmm->snapshot->memoryName);
        rmdir(snap->folder);
    }
    baseFdClose(snap->fd);
    baseFdClose(snap->wakeFd);
    baseFdClose(snap->fifos[0]);
    baseFdClose(snap->fifos[1]);
    baseFdClose(snap->memoryFd);
    baseFdClose(snap->offerFd);
    if (snap->bytes)
        g_byte_array_unref(snap->bytes);
    if (snap->ctl)
        controlUnref(snap->ctl);
    g_mutex_clear(&snap->lock);
    g_free(snap->folder);
    g_free(snap->errorText);
    g_free(snap->answerText);
    g_free(snap->buffer);
    g_free(snap);
}

void
snapshotSweep(const char *parent, const vmmSnapshotOps *ops)
{
    g_autoptr(GDir) dir = g_dir_open(parent, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *folder = g_build_filename(parent, name, NULL);
        g_autofree char *state = g_build_filename(folder, ops->stateName, NULL);
        g_autofree char *memory = g_build_filename(folder, ops->memoryName, NULL);

        if (!g_str_has_prefix(name, FOLDER_PREFIX))
            continue;
        unlink(state);
        unlink(memory);
        rmdir(folder);
    }
}

void
snapshotFree(snapshot *snap)
{
    if (!snap)
        return;
    g_mutex_lock(&snap->lock);
    snap->changed = NULL;
    g_mutex_unlock(&snap->lock);
    snapshotCancel(snap);
    snapshotUnref(snap);
}

bool
snapshotThread(snapshot *snap, const char *name, GThreadFunc run, GError **error)
{
    g_autoptr(GError) cause = NULL;

    if (baseThreadStart(name, run, snapshotRef(snap), &cause))
        return true;
    snapshotUnref(snap);
    g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for a guest's state cannot be started: %1$s"), cause->message);
    return false;
}

/* ---- what it is told, and tells ---------------------------------------------------------------------- */

void
snapshotWake(snapshot *snap)
{
    eventfd_write(snap->wakeFd, 1);
}

void
snapshotSet(snapshot *snap, vmmMigState state, char *errorText)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    if (state == VMM_MIG_FAILED && snap->cancelled)
        state = VMM_MIG_CANCELLED;
    snap->state = state;
    g_free(snap->errorText);
    snap->errorText = errorText;
    /* With the lock held, so that snapshotFree() can promise that none follows. */
    if (snap->changed)
        snap->changed(snap->opaque);
}

bool
snapshotIsCancelled(snapshot *snap)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    return snap->cancelled;
}

void
snapshotCount(snapshot *snap, uint64_t memory, uint64_t state)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    snap->done += memory;
    snap->stateBytes += state;
}

void
snapshotLook(snapshot *snap, vmmMigStatus *ret)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    *ret = (vmmMigStatus) {
        .state = snap->state, .errorText = g_strdup(snap->errorText),
        .ramTotal = MAX(snap->total, snap->done), .ramTransferred = snap->done,
        .ramRemaining = snap->total > snap->done && snap->state != VMM_MIG_COMPLETED ? snap->total - snap->done : 0,
        .ramIteration = snap->done > 0 ? 1 : 0,
    };
}

bool
snapshotContinue(snapshot *snap, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    if (snap->state != VMM_MIG_PRE_SWITCHOVER) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, _("The guest's state has not been saved."));
        return false;
    }
    snap->goOn = true;
    snapshotWake(snap);
    return true;
}

void
snapshotCancel(snapshot *snap)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&snap->lock);

    snap->cancelled = true;
    snapshotWake(snap);
}

short
snapshotPoll(snapshot *snap, int fd, short events)
{
    struct pollfd fds[] = { { .fd = snap->wakeFd, .events = POLLIN }, { .fd = fd, .events = events } };
    eventfd_t count;

    if (poll(fds, fd < 0 ? 1 : 2, -1) < 0)
        return 0;
    if (fds[0].revents)
        eventfd_read(snap->wakeFd, &count);
    return fds[1].revents;
}
