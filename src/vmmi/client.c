/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmmi/code.h"
#include "vmmi/text.h"

#define COMPLETION_MAX (1024 * 1024)

const char *
vmmiClientFolder(void)
{
    const char *folder = secure_getenv("VMMI_HELPER_DIR");

    return folder && g_path_is_absolute(folder) ? folder : SV_VMMI_DIR;
}

char *
vmmiClientFind(const char *folder, const char *helper, GError **error)
{
    char *root = realpath(folder ? folder : vmmiClientFolder(), NULL);
    g_autofree char *path = g_build_filename(root ? root : "", helper ? helper : "", NULL);
    char *real = root && helper ? realpath(path, NULL) : NULL;
    g_autofree char *parent = real ? g_path_get_dirname(real) : NULL;
    char *found = NULL;
    struct stat st;

    if (!helper || !*helper || *helper == '.' || strchr(helper, '/') || g_str_equal(helper, "migrate"))
        g_set_error(error, VMMI_ERROR, VMMI_BAD_FILE, _("'%1$s' cannot be a helper's name."), helper ? helper : "");
    else if (!real)
        g_set_error(error, VMMI_ERROR, VMMI_BAD_FILE, _("There is no helper '%1$s' in '%2$s': %3$s"), helper,
                    folder ? folder : vmmiClientFolder(), g_strerror(errno));
    else if (!g_str_equal(parent, root))
        g_set_error(error, VMMI_ERROR, VMMI_BAD_FILE, _("The helper '%1$s' leads out of '%2$s'."), helper, root);
    else if (stat(real, &st) < 0 || !S_ISREG(st.st_mode) || access(real, X_OK) < 0)
        g_set_error(error, VMMI_ERROR, VMMI_BAD_FILE, _("The helper '%1$s' is not a program."), real);
    else
        found = g_strdup(real);
    free(root);
    free(real);
    return found;
}

char *
vmmiClientConfig(const char *config, const char *connection, GError **error)
{
    g_autoptr(JsonObject) body = config ? vmmiMessageParse(config, -1, "configuration", false, error) : json_object_new();

    if (!body)
        return NULL;
    if (connection && !json_object_has_member(body, "connection"))
        json_object_set_string_member(body, "connection", connection);
    return vmmiMessageCompose("configuration", json_object_ref(body));
}

/* Feeds the configuration and collects stderr until its end. A helper that does not want its configuration is not an error yet. */
static char *
exchange(int in, int err, const char *config)
{
    g_autoptr(GString) text = g_string_new(NULL);
    size_t left = strlen(config);
    struct pollfd fds[2] = { { .fd = in, .events = POLLOUT }, { .fd = err, .events = POLLIN } };

    for (;;) {
        char buffer[4096];
        ssize_t n;

        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[0].revents) {
            n = send(in, config, left, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n > 0) {
                config += n;
                left -= n;
            }
            /* It stays open: helpers must not wait for its end. */
            if (!left || (n < 0 && errno != EAGAIN && errno != EINTR))
                fds[0].fd = -1;
        }
        if (!fds[1].revents)
            continue;
        n = read(err, buffer, sizeof(buffer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return g_string_free(g_steal_pointer(&text), FALSE);
        if (text->len < COMPLETION_MAX)
            g_string_append_len(text, buffer, n);
    }
}

/* Keys that a terminal turns into signals are for the manager, who may pass them on. */
static void
leaveGroup(gpointer opaque G_GNUC_UNUSED)
{
    setpgid(0, 0);
}

static bool
spawn(const vmmiClientCall *call, const char *path, int fds[2], pid_t *pid, GError **error)
{
    const char *argv[] = { path, call->uuid, call->destination, call->migration ? call->migration : "", "-", NULL };
    g_autoptr(GError) problem = NULL;
    int in[2], err[2], out = -1;
    GPid child;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) < 0) {
        g_set_error(error, VMMI_ERROR, VMMI_OPERATION_FAILED, _("A helper cannot be started: %1$s"), g_strerror(errno));
        return false;
    }
    if (pipe2(err, O_CLOEXEC) < 0) {
        g_set_error(error, VMMI_ERROR, VMMI_OPERATION_FAILED, _("A helper cannot be started: %1$s"), g_strerror(errno));
        close(in[0]);
        close(in[1]);
        return false;
    }
    /* GLib closes what it puts in place, even a standard stream that is in its own. */
    if (call->stdoutFd >= 0)
        out = fcntl(call->stdoutFd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (!g_spawn_async_with_fds(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD |
                                (out < 0 ? G_SPAWN_STDOUT_TO_DEV_NULL : 0),
                                leaveGroup, NULL, &child, in[1], out, err[1], &problem)) {
        g_set_error(error, VMMI_ERROR, VMMI_OPERATION_FAILED, _("The helper '%1$s' cannot be started: %2$s"), path,
                    problem->message);
        close(in[0]);
        close(err[0]);
        child = -1;
    }
    close(in[1]);
    close(err[1]);
    if (out >= 0)
        close(out);
    fds[0] = in[0];
    fds[1] = err[0];
    *pid = child;
    return child > 0;
}

/* A completion and an exit status that contradict each other, or a helper that was killed, prove nothing about the guest. */
static bool
judge(int status, const char *text, vmmiCompletion *ret, GError **error)
{
    g_auto(vmmiCompletion) completion = { 0 };

    if (status >= 0 && WIFSIGNALED(status)) {
        g_set_error(error, VMMI_ERROR, VMMI_UNKNOWN,
                    _("The helper was killed by signal %1$d; the migration may be under way."), WTERMSIG(status));
        return false;
    }
    if (!vmmiCompletionParse(text, &completion, error)) {
        g_prefix_error(error, _("The helper has not said how it ended: "));
        return false;
    }
    if (status >= 0 && completion.success != (WEXITSTATUS(status) == 0)) {
        g_set_error(error, VMMI_ERROR, VMMI_UNKNOWN,
                    _("The helper's exit status is %1$d, which its completion contradicts."), WEXITSTATUS(status));
        return false;
    }
    *ret = completion;
    completion = (vmmiCompletion) { 0 };
    return true;
}

bool
vmmiClientRun(const vmmiClientCall *call, vmmiCompletion *ret, GError **error)
{
    g_autofree char *path = vmmiClientFind(call->folder, call->helper, error);
    g_autofree char *config = path ? vmmiClientConfig(call->config, call->connection, error) : NULL;
    g_autofree char *text = NULL;
    int fds[2], status;
    pid_t pid, reaped;

    if (!config || !spawn(call, path, fds, &pid, error))
        return false;
    if (call->onProcess)
        call->onProcess(pid);
    text = exchange(fds[0], fds[1], config);
    if (call->onProcess)
        call->onProcess(0);
    while ((reaped = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        continue;
    close(fds[0]);
    close(fds[1]);
    /* A program that ignores SIGCHLD gets no status; the completion is what is left. */
    return judge(reaped == pid ? status : -1, text, ret, error);
}
