/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver/save_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "driver/save_image.h"

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/thread.h"
#include "base/gettext.h"

#define COPY_BYTES (1024 * 1024)

struct _saveCopy {
    saveCopySpec spec;
    char *path;
    GThread *thread;
    uint8_t *buffer;         /* COPY_BYTES, aligned as O_DIRECT wants it */
    GMutex lock;
    uint64_t bytes;          /* guarded by it */
    GError *error;           /* the thread's until it has ended */
};

static void
copyCount(saveCopy *copy, size_t n)
{
    g_mutex_lock(&copy->lock);
    copy->bytes += n;
    g_mutex_unlock(&copy->lock);
}

uint64_t
saveCopyBytes(saveCopy *copy)
{
    uint64_t ret;

    g_mutex_lock(&copy->lock);
    ret = copy->bytes;
    g_mutex_unlock(&copy->lock);
    return ret;
}

/* ---- into the file ------------------------------------------------------------------------------------ */

/* Fill the buffer; less only at the end of the stream. -1 with errno set. */
static ssize_t
copyReceive(saveCopy *copy)
{
    size_t done = 0;

    while (done < COPY_BYTES) {
        ssize_t got = recv(copy->spec.sock, copy->buffer + done, COPY_BYTES - done, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static bool
copyWrite(saveCopy *copy, size_t len, uint64_t offset)
{
    const uint8_t *data = copy->buffer;
    int flags;

    /* What is left at the end is no multiple of the disk's blocks. */
    if (copy->spec.direct && len % SAVE_IMAGE_ALIGN != 0 &&
        ((flags = fcntl(copy->spec.file, F_GETFL)) < 0 || fcntl(copy->spec.file, F_SETFL, flags & ~O_DIRECT) < 0))
        return false;
    if (FAULT(SAVE_WRITE)) {
        errno = ENOSPC;
        return false;
    }
    while (len > 0) {
        ssize_t done = pwrite(copy->spec.file, data, len, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        data += done;
        len -= (size_t)done;
        offset += (uint64_t)done;
    }
    return true;
}

static void
copyToFile(saveCopy *copy)
{
    uint64_t offset = copy->spec.offset;
    ssize_t got;

    do {
        if ((got = copyReceive(copy)) < 0) {
            baseSetErrno(&copy->error, errno, _("Cannot receive the VMM's state for '%1$s'"), copy->path);
            return;
        }
        if (got > 0 && !copyWrite(copy, (size_t)got, offset)) {
            baseSetErrno(&copy->error, errno, _("Cannot write the file '%1$s'"), copy->path);
            return;
        }
        offset += (uint64_t)got;
        copyCount(copy, (size_t)got);
    } while (got == COPY_BYTES);
}

/* ---- out of the file ------------------------------------------------------------------------------------ */

static bool
copySend(saveCopy *copy, size_t len)
{
    const uint8_t *data = copy->buffer;

    while (len > 0) {
        ssize_t done = send(copy->spec.sock, data, len, MSG_NOSIGNAL);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        data += done;
        len -= (size_t)done;
    }
    return true;
}

static void
copyFromFile(saveCopy *copy)
{
    uint64_t offset = copy->spec.offset;
    uint64_t left = copy->spec.length;

    while (left > 0) {
        ssize_t got = pread(copy->spec.file, copy->buffer, COPY_BYTES, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (FAULT(SAVE_READ)) {
            got = -1;
            errno = EIO;
        }
        if (got < 0) {
            baseSetErrno(&copy->error, errno, _("Cannot read the file '%1$s'"), copy->path);
            return;
        }
        if (got == 0) {
            g_set_error(&copy->error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        _("The file '%1$s' ends %2$llu bytes too early."), copy->path, (unsigned long long)left);
            return;
        }
        got = (ssize_t)MIN((uint64_t)got, left);
        if (!copySend(copy, (size_t)got)) {
            g_set_error(&copy->error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                        _("The VMM does not take the state in '%1$s': %2$s"), copy->path, g_strerror(errno));
            return;
        }
        offset += (uint64_t)got;
        left -= (uint64_t)got;
        copyCount(copy, (size_t)got);
    }
}

/* ---- the thread ------------------------------------------------------------------------------------------- */

static gpointer
copyThread(gpointer opaque)
{
    saveCopy *copy = opaque;

    if (copy->spec.toFile)
        copyToFile(copy);
    else
        copyFromFile(copy);
    /* First our side, so that whoever hears of it from the VMM finds it ended here. */
    copy->spec.done(copy->spec.opaque);
    /* The VMM hears of the end by this, of a good one as of a bad one; the descriptor stays for saveCopyStop(). */
    shutdown(copy->spec.sock, SHUT_RDWR);
    return NULL;
}

static void
copyFree(saveCopy *copy)
{
    baseFdClose(copy->spec.sock);
    g_clear_error(&copy->error);
    g_mutex_clear(&copy->lock);
    free(copy->buffer);
    g_free(copy->path);
    g_free(copy);
}

saveCopy *
saveCopyStart(const saveCopySpec *spec, GError **error)
{
    saveCopy *copy = g_new0(saveCopy, 1);
    g_autoptr(GError) cause = NULL;

    copy->spec = *spec;
    copy->path = g_strdup(spec->path);
    copy->spec.path = copy->path;
    g_mutex_init(&copy->lock);
    copy->buffer = aligned_alloc(SAVE_IMAGE_ALIGN, COPY_BYTES);
    if (copy->buffer)
        copy->thread = baseThreadNew("sv-save", copyThread, copy, &cause);
    if (copy->thread)
        return copy;
    g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("Cannot start a thread for the file '%1$s': %2$s"), spec->path,
                cause ? cause->message : g_strerror(ENOMEM));
    copyFree(copy);
    return NULL;
}

void
saveCopyStop(saveCopy *copy)
{
    shutdown(copy->spec.sock, SHUT_RDWR);
}

bool
saveCopyEnd(saveCopy *copy, uint64_t *retBytes, GError **error)
{
    bool ok;

    g_thread_join(copy->thread);
    ok = !copy->error;
    if (!ok)
        g_propagate_error(error, g_steal_pointer(&copy->error));
    else if (retBytes)
        *retBytes = copy->bytes;
    copyFree(copy);
    return ok;
}
