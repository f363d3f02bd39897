/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: the VMM gets one end of a socket pair as its control socket, so there is no
 * path to choose, wait for or clean up.  One that insists on a path gets a folder of its own, which
 * is its current one, so that no path is too long for a socket.  A context and a thread of its own serve the other end,
 * because a probe may be the very first thing a process does.
 */
#include "remote/vmm_ask.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#define LOG_FOLDER "remote"
#include "base/log.h"
#include "base/socket.h"
#include "base/thread.h"
#include "remote/await.h"

#include "base/gettext.h"

#define VMM_ASK_VERSION_TIMEOUT_MS 5000
#define VMM_ASK_OPEN_TIMEOUT_MS 10000

struct _vmmAsk {
    vmmChild child;
    GMainContext *context;
    GMainLoop *loop;
    GThread *thread;
    control *ctl;
    char *folder;            /* of its control socket; NULL: it has none */
};

static gpointer
vmmAskThread(gpointer opaque)
{
    vmmAsk *ask = opaque;

    g_main_context_push_thread_default(ask->context);
    g_main_loop_run(ask->loop);
    g_main_context_pop_thread_default(ask->context);
    return NULL;
}

static gboolean
vmmAskQuit(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static void
vmmAskRemoveFolder(vmmAsk *ask)
{
    g_autofree char *path = NULL;

    if (!ask->folder)
        return;
    path = g_build_filename(ask->folder, VMM_PROBE_SOCKET, NULL);
    if ((unlink(path) < 0 && errno != ENOENT) || rmdir(ask->folder) < 0)
        g_debug("cannot remove '%s': %s, ignoring", ask->folder, g_strerror(errno));
    g_clear_pointer(&ask->folder, g_free);
}

void
vmmAskEnd(vmmAsk *ask)
{
    if (!ask)
        return;
    g_clear_pointer(&ask->ctl, controlUnref);
    vmmChildClear(&ask->child);
    if (ask->thread) {
        g_autoptr(GSource) quit = g_idle_source_new();

        /* A source, not g_main_context_invoke(): a quit before the loop runs would be lost. */
        g_source_set_callback(quit, vmmAskQuit, ask->loop, NULL);
        g_source_attach(quit, ask->context);
        g_thread_join(ask->thread);
    }
    g_clear_pointer(&ask->loop, g_main_loop_unref);
    g_clear_pointer(&ask->context, g_main_context_unref);
    vmmAskRemoveFolder(ask);
    g_free(ask);
}

control *
vmmAskControl(vmmAsk *ask)
{
    return ask->ctl;
}

vmmChild *
vmmAskChild(vmmAsk *ask)
{
    return &ask->child;
}

static const char **
vmmAskArgv(const char *binary, const char *const *args)
{
    GPtrArray *argv = g_ptr_array_new();

    g_ptr_array_add(argv, (gpointer)binary);
    for (; *args; args++)
        g_ptr_array_add(argv, (gpointer)*args);
    g_ptr_array_add(argv, NULL);
    return (const char **)g_ptr_array_free(argv, FALSE);
}

/* What the VMM has to say is the better explanation. */
static void
vmmAskExplain(vmmAsk *ask, GError **error)
{
    g_autofree char *output = NULL;
    int status;

    if (!error || !*error)
        return;
    vmmChildWait(&ask->child, 100, &status, NULL);
    output = vmmChildOutput(&ask->child);
    if (*output) {
        g_autofree char *text = g_strdup((*error)->message);

        g_free((*error)->message);
        (*error)->message = g_strdup_printf(_("%1$s It wrote: %2$s"), text, output);
    }
}

/* Serve the control socket @fd, which is taken over. */
static bool
vmmAskOpen(vmmAsk *ask, int fd, GError **error)
{
    ask->context = g_main_context_new();
    ask->loop = g_main_loop_new(ask->context, FALSE);
    ask->thread = baseThreadNew("vmm-probe", vmmAskThread, ask, error);
    if (!ask->thread) {
        baseFdClose(fd);
        return false;
    }
    ask->ctl = controlNew(ask->context, ask->child.name, NULL, NULL, NULL);
    if (controlOpenFd(ask->ctl, fd, VMM_ASK_OPEN_TIMEOUT_MS, error))
        return true;
    vmmAskExplain(ask, error);
    return false;
}

vmmAsk *
vmmAskStart(const char *binary, const char *const *args, int romFd, GError **error)
{
    g_autoptr(vmmAsk) ask = g_new0(vmmAsk, 1);
    g_autofree const char **argv = vmmAskArgv(binary, args);
    int pair[2] = { -1, -1 };
    g_auto(baseFd) ours = -1;
    g_auto(baseFd) theirs = -1;

    ask->child = (vmmChild)VMM_CHILD_INIT;
    if (!baseSocketPair(pair, 0, error))
        return NULL;
    ours = pair[0];
    theirs = pair[1];
    if (!vmmChildStart(&ask->child, argv, (const int[]){ theirs, romFd }, romFd >= 0 ? 2 : 1,
                       error))
        return NULL;
    baseFdReplace(&theirs, -1);

    if (!vmmAskOpen(ask, baseFdSteal(&ours), error))
        return NULL;
    return g_steal_pointer(&ask);
}

vmmAsk *
vmmAskStartNamed(const char *binary, const char *const *args, GError **error)
{
    g_autoptr(vmmAsk) ask = g_new0(vmmAsk, 1);
    g_autofree const char **argv = vmmAskArgv(binary, args);
    g_autofree char *path = NULL;
    int fd;

    ask->child = (vmmChild)VMM_CHILD_INIT;
    ask->folder = g_dir_make_tmp("stratovirt-probe-XXXXXX", error);
    if (!ask->folder)
        return NULL;
    path = g_build_filename(ask->folder, VMM_PROBE_SOCKET, NULL);
    ask->child.folder = ask->folder;
    if (!vmmChildStart(&ask->child, argv, NULL, 0, error))
        return NULL;
    fd = awaitSocket(path, ask->child.pidFd, VMM_ASK_OPEN_TIMEOUT_MS, error);
    if (fd < 0) {
        vmmAskExplain(ask, error);
        return NULL;
    }
    return vmmAskOpen(ask, fd, error) ? g_steal_pointer(&ask) : NULL;
}

bool
vmmAskVersion(const char *binary, const vmmRow **ret, unsigned long *retVersion, GError **error)
{
    const char *const argv[] = { binary, "-version", NULL };
    g_auto(vmmChild) child = VMM_CHILD_INIT;
    g_autofree char *output = NULL;
    int status = 0;

    if (!vmmChildStart(&child, argv, NULL, 0, error) ||
        !vmmChildWait(&child, VMM_ASK_VERSION_TIMEOUT_MS, &status, error))
        return false;
    output = vmmChildOutput(&child);
    *ret = vmmIdentify(output, retVersion);
    if (*ret)
        return true;

    output[strcspn(output, "\n")] = '\0';
    if (*output) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("'%1$s' is not a VMM that is known here; with '-version' it says "
                      "'%2$.200s'."), binary, output);
    } else {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("'%1$s' is not a VMM that is known here; with '-version' it says nothing "
                      "and ends with status %2$d."),
                    binary, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
    return false;
}
