/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_caller.c: does the client still live whose call has to wait?
 *
 * Theory of operation: libvirt tells a driver that a client has gone when the connection is closed, which it puts off until the
 * client's last call has returned.  A call that waits for its turn must hear of it earlier: the identity of the caller names
 * a process when it runs on this host, and the end of that is watched.  Of callers on other hosts nothing is
 * known; their calls wait until it is their turn, and give way then.
 */
#include <config.h>

#include "driver/mig_priv.h"

#include <glib-unix.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "virerror.h"
#include "viridentity.h"
#include "virprocess.h"
#include "base/fd.h"

struct _migCaller {
    int pidfd;
    GSource *source;
};

static gboolean
callerEnded(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer job)
{
    migJobPost(job, MIG_SIGNAL_LOST);
    return G_SOURCE_REMOVE;
}

/* A descriptor of the calling process, -1: it is not on this host, or has ended just now. */
static int
callerOpen(void)
{
    g_autoptr(virIdentity) identity = virIdentityGetCurrent();
    g_auto(baseFd) pidfd = -1;
    unsigned long long told = 0, started = 0;
    pid_t pid = 0;

    if (!identity || virIdentityGetProcessID(identity, &pid) <= 0 || pid <= 0 ||
        virIdentityGetProcessTime(identity, &told) <= 0)
        return -1;
    pidfd = syscall(SYS_pidfd_open, pid, 0);
    /* Another process may have the number by now. */
    if (pidfd < 0 || virProcessGetStartTime(pid, &started) < 0 || started != told)
        return -1;
    return baseFdSteal(&pidfd);
}

migCaller *
migCallerWatch(migJob *job, drvState *drv)
{
    int pidfd = callerOpen();
    migCaller *caller;

    virResetLastError();
    if (pidfd < 0)
        return NULL;
    caller = g_new0(migCaller, 1);
    caller->pidfd = pidfd;
    caller->source = g_unix_fd_source_new(pidfd, G_IO_IN);
    g_source_set_callback(caller->source, G_SOURCE_FUNC(callerEnded), migJobRef(job), (GDestroyNotify)migJobUnref);
    g_source_attach(caller->source, drv->ioContext);
    return caller;
}

void
migCallerFree(migCaller *caller)
{
    if (!caller)
        return;
    g_source_destroy(caller->source);
    g_source_unref(caller->source);
    close(caller->pidfd);
    g_free(caller);
}
