/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_remote.c: calls to the destination's libvirt that a user may abort
 *
 * Theory of operation: the library has no way to take a call back, and the destination may let one wait for as long as
 * others migrate.  So the call runs in a thread of its own while the job waits for it or for a reason to stop.  A call that is
 * given up goes on without us; what it comes back with is released by its thread.  Its work holds a reference to the
 * connection: when that goes, the destination ends what it has prepared.
 */
#include <config.h>

#include "driver/mig_priv.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virerror.h"
#include "base/gettext.h"

/* The call knows best why the connection ended. */
#define REMOTE_WORD_MS 2000

typedef struct {
    gint refs;
    int doneFd;
    void (*run)(void *work);
    void *work;                  /* NULL once the caller has taken it */
    GDestroyNotify freeWork;
} remoteCall;

static void
remoteUnref(remoteCall *call)
{
    if (!g_atomic_int_dec_and_test(&call->refs))
        return;
    if (call->work)
        call->freeWork(call->work);
    baseFdClose(call->doneFd);
    g_free(call);
}

static gpointer
remoteThread(gpointer data)
{
    remoteCall *call = data;

    call->run(call->work);
    eventfd_write(call->doneFd, 1);
    remoteUnref(call);
    return NULL;
}

/* True: it has come back. */
static bool
remoteAwait(remoteCall *call, int stopFd, int ms)
{
    struct pollfd fds[] = { { .fd = call->doneFd, .events = POLLIN }, { .fd = stopFd, .events = POLLIN } };
    gint64 until = g_get_monotonic_time() + (gint64)ms * 1000;

    for (;;) {
        gint64 left = (until - g_get_monotonic_time() + 999) / 1000;
        int n = poll(fds, G_N_ELEMENTS(fds), ms < 0 ? -1 : (int)MAX(left, 0));

        if (n < 0 && errno == EINTR)
            continue;
        return n > 0 && fds[0].revents;
    }
}

/* Under way, with a reference for the caller; NULL: @work has been freed. */
static remoteCall *
remoteStart(void (*run)(void *work), void *work, GDestroyNotify freeWork, GError **error)
{
    remoteCall *call = g_new0(remoteCall, 1);
    g_autoptr(GError) local = NULL;

    call->refs = 2;
    call->run = run;
    call->work = work;
    call->freeWork = freeWork;
    call->doneFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (call->doneFd < 0)
        baseSetErrno(error, errno, _("A call to the destination cannot be made"));
    else if (baseThreadStart("migration-call", remoteThread, call, &local))
        return call;
    else
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A call to the destination cannot be made: %1$s"), local->message);
    call->refs = 1;
    remoteUnref(call);
    return NULL;
}

static void
remoteSetLate(GError **error, unsigned ms)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT, _("The destination has not answered within %1$u ms."), ms);
}

bool
migRemoteRunFor(unsigned ms, void (*run)(void *work), void *work, GDestroyNotify freeWork, GError **error)
{
    remoteCall *call = remoteStart(run, work, freeWork, error);
    bool done;

    if (!call)
        return false;
    done = remoteAwait(call, -1, (int)MIN(ms, (unsigned)G_MAXINT));
    if (done)
        call->work = NULL;
    else
        remoteSetLate(error, ms);
    remoteUnref(call);
    return done;
}

bool
migRemoteRun(migJob *job, int ms, void (*run)(void *work), void *work, GDestroyNotify freeWork, GError **error)
{
    const gint64 until = g_get_monotonic_time() + (gint64)ms * 1000;
    remoteCall *call = remoteStart(run, work, freeWork, error);
    bool done, late;

    if (!call)
        return false;
    done = remoteAwait(call, migJobStopFd(job), ms);
    late = !done && ms >= 0 && g_get_monotonic_time() >= until;
    if (!done && !late && !migJobAbortAsked(job))
        done = remoteAwait(call, -1, REMOTE_WORD_MS);
    if (done)
        call->work = NULL;
    else if (migJobAbortAsked(job))
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED, _("migration out job: canceled by client"));
    else if (late)
        remoteSetLate(error, (unsigned)ms);
    else
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The guest ended, or the destination does not answer any more."));
    remoteUnref(call);
    return done;
}
