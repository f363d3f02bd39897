/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A VMM is no child of ours: it was started detached so that it outlives the daemon, and after a restart of the daemon it
 * is found again.  So its end is seen through a pidfd in the I/O thread, and signals go through the same pidfd.
 *
 * Which process it is, the kernel knows: the process locked its pidfile before it became the VMM, keeps the lock through
 * exec, and loses it when it ends.  Whoever holds the lock is the VMM; no reused pid can be.
 */
#include <config.h>

#include "driver/process_priv.h"

#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#include "driver/compat.h"
#include "virlog.h"
#include "virpidfile.h"
#include "virprocess.h"

#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.watch");

struct _processWatch {
    int pidfd;
    eventSource *events;
    GSource *source;
    GHashTable *blocks;          /* alias -> vmmBlockStats, last known */
};

void
processRememberBlock(virDomainObj *vm, const char *alias, const vmmBlockStats *stats)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    if (priv->watch)
        g_hash_table_replace(priv->watch->blocks, g_strdup(alias),
                             g_memdup2(stats, sizeof(*stats)));
}

bool
processRecallBlock(virDomainObj *vm, const char *alias, vmmBlockStats *ret)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const vmmBlockStats *known;

    known = priv->watch ? g_hash_table_lookup(priv->watch->blocks, alias) : NULL;
    if (known)
        *ret = *known;
    return known != NULL;
}

static gboolean
processWatchEnded(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer opaque)
{
    eventQueueProcessEnd(opaque);
    return G_SOURCE_REMOVE;
}

void
processWatchFree(processWatch *watch)
{
    if (!watch)
        return;
    /* A callback that runs right now has its own reference to the event source. */
    g_source_destroy(watch->source);
    g_source_unref(watch->source);
    baseFdClose(watch->pidfd);
    eventSourceFree(watch->events);
    g_hash_table_unref(watch->blocks);
    g_free(watch);
}

eventSource *
processEventSource(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    return priv->watch ? priv->watch->events : NULL;
}

static pid_t
processLockHolder(const char *pidPath)
{
    pid_t pid = -1;

    /* Succeeds with -1 when nobody holds the lock; fails when the file is not there. */
    if (virPidFileReadPathIfLocked(pidPath, &pid) < 0)
        return -1;
    return pid;
}

int
processWatchStart(virDomainObj *vm, const char *pidPath)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    pid_t pid = processLockHolder(pidPath);
    g_auto(baseFd) pidfd = -1;
    unsigned long long startTime;
    processWatch *watch;

    if (pid <= 0)
        return 1;
    pidfd = syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0 && errno != ESRCH) {
        virReportSystemError(errno, _("Cannot watch process %1$lld of domain '%2$s'."),
                             (long long)pid, vm->def->name);
        return -1;
    }
    /* Between the two calls it may have ended and left its pid to another. */
    if (pidfd < 0 || processLockHolder(pidPath) != pid)
        return 1;
    if (virProcessGetStartTime(pid, &startTime) < 0) {
        virResetLastError();
        return 1;
    }
    /* The status file remembers one: a pidfile of a later start under this name is not this guest's. */
    if (priv->startTime != 0 && priv->startTime != startTime)
        return 1;

    watch = g_new0(processWatch, 1);
    watch->pidfd = baseFdSteal(&pidfd);
    watch->events = eventSourceNew(vm, priv->incarnation);
    watch->blocks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    watch->source = g_unix_fd_source_new(watch->pidfd, G_IO_IN);
    /* The cast: the function of this kind of source takes the descriptor, too. */
    g_source_set_callback(watch->source, (GSourceFunc)(void *)processWatchEnded,
                          eventSourceRef(watch->events), eventSourceFree);
    g_source_attach(watch->source, priv->drv->ioContext);
    processWatchFree(priv->watch);
    priv->watch = watch;
    vm->pid = pid;
    priv->startTime = startTime;
    return 0;
}

void
processSignal(virDomainObj *vm, int sig)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    if (!priv->watch)
        return;
    if (syscall(SYS_pidfd_send_signal, priv->watch->pidfd, sig, NULL, 0) < 0 && errno != ESRCH)
        VIR_WARN("cannot send signal %d to process %lld of domain '%s': %s", sig,
                 (long long)vm->pid, vm->def->name, g_strerror(errno));
}

/* How long the kernel may take to stop all threads: one that is in a system call ends or leaves that first. */
#define FREEZE_MS 5000

/* Are all threads of @pid stopped? */
static bool
processIsStopped(pid_t pid)
{
    g_autofree char *folder = g_strdup_printf("/proc/%lld/task", (long long)pid);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, "stat", NULL);
        g_autofree char *text = NULL;
        const char *state;

        /* "PID (NAME) STATE ...", where the name may have anything in it. */
        if (g_file_get_contents(path, &text, NULL, NULL) && (state = strrchr(text, ')')) && !strchr("TtZX", state[2]))
            return false;
    }
    return dir != NULL;
}

int
processFreeze(virDomainObj *vm)
{
    gint64 end = g_get_monotonic_time() + FREEZE_MS * G_TIME_SPAN_MILLISECOND;
    pid_t pid = vm->pid;
    bool stopped;

    processSignal(vm, SIGSTOP);
    virObjectUnlock(vm);
    /* No child of ours: nothing tells when it has stopped. */
    while (!(stopped = processIsStopped(pid)) && g_get_monotonic_time() < end)
        g_usleep(500);
    virObjectLock(vm);
    if (stopped)
        return 0;
    /* Its threads that do stop must not stay so. */
    processSignal(vm, SIGCONT);
    virReportError(VIR_ERR_OPERATION_FAILED, _("The VMM of domain '%1$s' cannot be frozen for the switch-over."), vm->def->name);
    return -1;
}

void
processThaw(virDomainObj *vm)
{
    processSignal(vm, SIGCONT);
}

static bool
processPidfdEnded(int pidfd, gint64 deadlineUs)
{
    struct pollfd entry = { .fd = pidfd, .events = POLLIN };

    for (;;) {
        gint64 leftMs = MAX(0, (deadlineUs - g_get_monotonic_time() + 999) / 1000);
        int n = poll(&entry, 1, leftMs);

        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

int
processWatchFd(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    return priv->watch ? fcntl(priv->watch->pidfd, F_DUPFD_CLOEXEC, 3) : -1;
}

bool
processEndedOrderly(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    return priv->vmm && priv->vmm->traits->orderlyEndRemovesSocket && priv->controlPath &&
           access(priv->controlPath, F_OK) < 0 && errno == ENOENT;
}

bool
processHasEnded(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    return !priv->watch || processPidfdEnded(priv->watch->pidfd, 0);
}

bool
processWaitEnd(virDomainObj *vm, unsigned timeoutMs)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    gint64 deadlineUs = g_get_monotonic_time() + (gint64)timeoutMs * 1000;
    g_auto(baseFd) pidfd = -1;
    bool ended;

    if (!priv->watch)
        return true;
    /* The watch may be freed while the lock is dropped. */
    pidfd = fcntl(priv->watch->pidfd, F_DUPFD_CLOEXEC, 3);
    if (pidfd < 0)
        return processHasEnded(vm);
    virObjectUnlock(vm);
    ended = processPidfdEnded(pidfd, deadlineUs);
    virObjectLock(vm);
    return ended;
}
