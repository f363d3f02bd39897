/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/vmm_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fd.h"

#include "base/gettext.h"

#define VMM_CHILD_MAX_OUTPUT (1024 * 1024)
#define VMM_CHILD_FIRST_FD 3

/* In the child, before exec: nothing but system calls. */
static void
vmmChildSetup(gpointer opaque G_GNUC_UNUSED)
{
    const struct rlimit file = { VMM_CHILD_MAX_OUTPUT, VMM_CHILD_MAX_OUTPUT };
    const struct rlimit core = { 0, 0 };

    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_FSIZE, &file);
    setrlimit(RLIMIT_CORE, &core);
}

bool
vmmChildStart(vmmChild *child, const char *const *argv, const int *fds, size_t fdCount,
              GError **error)
{
    g_autofree int *targets = g_new0(int, fdCount + 1);
    g_autoptr(GError) err = NULL;
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);

    for (size_t i = 0; i < fdCount; i++)
        targets[i] = VMM_CHILD_FIRST_FD + (int)i;
    child->name = g_strdup(argv[0]);
    child->outputFd = memfd_create("probe-output", MFD_CLOEXEC);
    if (child->outputFd < 0) {
        baseSetErrno(error, errno, _("Cannot make a file for the output of '%1$s'"), argv[0]);
        return false;
    }
    if (!g_spawn_async_with_pipes_and_fds(child->folder, argv, (const char *const *)environment,
                                          G_SPAWN_DO_NOT_REAP_CHILD, vmmChildSetup, NULL,
                                          -1, child->outputFd, child->outputFd,
                                          fds, targets, fdCount,
                                          &child->pid, NULL, NULL, NULL, &err)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM,
                    _("'%1$s' cannot be executed: %2$s"), argv[0], err->message);
        return false;
    }
    child->pidFd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (child->pidFd < 0) {
        baseSetErrno(error, errno, _("Cannot watch the process of '%1$s'"), argv[0]);
        return false;
    }
    return true;
}

bool
vmmChildWait(vmmChild *child, unsigned timeoutMs, int *retStatus, GError **error)
{
    const gint64 deadline = g_get_monotonic_time() + (gint64)timeoutMs * 1000;
    struct pollfd watch = { .fd = child->pidFd, .events = POLLIN };
    int status = 0;

    for (;;) {
        gint64 left = MAX(deadline - g_get_monotonic_time(), 0);
        int ready = poll(&watch, 1, (int)((left + 999) / 1000));

        if (ready > 0)
            break;
        if (ready == 0 && left == 0) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                        _("'%1$s' did not end within %2$u milliseconds."), child->name, timeoutMs);
            return false;
        }
    }
    /* While it is a zombie its number is nobody else's.  Its children are not worth waiting for. */
    kill(-child->pid, SIGKILL);
    while (waitpid(child->pid, &status, 0) < 0) {
        if (errno != EINTR) {
            baseSetErrno(error, errno, _("Cannot learn how '%1$s' ended"), child->name);
            return false;
        }
    }
    child->pid = 0;
    *retStatus = status;
    return true;
}

char *
vmmChildOutput(const vmmChild *child)
{
    g_autofree char *bytes = g_malloc(VMM_CHILD_MAX_OUTPUT);
    ssize_t len = pread(child->outputFd, bytes, VMM_CHILD_MAX_OUTPUT, 0);

    return g_strstrip(g_utf8_make_valid(bytes, MAX(len, 0)));
}

void
vmmChildClear(vmmChild *child)
{
    if (child->pid > 0) {
        /* The group may not exist yet if the child has not come so far. */
        kill(-child->pid, SIGKILL);
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
        child->pid = 0;
    }
    baseFdReplace(&child->pidFd, -1);
    baseFdReplace(&child->outputFd, -1);
    g_clear_pointer(&child->name, g_free);
}
