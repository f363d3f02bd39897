/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/run_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <locale.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmmi/code.h"
#include "vmmi/message.h"
#include "vmmi/output.h"
#include "vmmi/signals.h"
#include "vmmi/text.h"

/* A migration that was called for a moment ago may not have reached the daemon yet. */
#define LEAVE_WAIT_US (5 * G_USEC_PER_SEC)
/* How long a worker that sits in a call may take to see an abort through. */
#define ABORT_WAIT_MS 60000

/* Everybody else's output is none of the manager's business. */
static void
ignoreError(void *opaque G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

static int
conclude(vmmiRun *run, const GError *error, bool left)
{
    g_autofree char *line = error ? vmmiMessageFailure(error) : vmmiMessageSuccess(vmmiRunSuccess(run, left));

    vmmiOutputCompletion(line);
    return error ? 1 : 0;
}

static bool
setEarlyEnd(vmmiSignal signal, GError **error)
{
    g_set_error(error, VMMI_ERROR, VMMI_MIGRATION_ABORTED, signal == VMMI_SIGNAL_LEAVE ?
                _("The helper was told to leave before it began the migration.") :
                _("The manager has aborted the migration before it began."));
    return false;
}

/* ---- configuration ---- */

/* One message from stdin, which may stay open. A signal that ends us is obeyed; a wish for a status has to wait. */
static bool
readMessage(vmmiRun *run, int signals, bool *status, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    struct pollfd fds[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
    gssize end = 0;

    while (end == 0) {
        char buffer[4096];
        vmmiSignal signal = vmmiSignalsNext(signals);
        ssize_t n;

        if (signal == VMMI_SIGNAL_LEAVE || signal == VMMI_SIGNAL_ABORT)
            return setEarlyEnd(signal, error);
        if (signal == VMMI_SIGNAL_STATUS)
            *status = true;
        /* Whoever sends a signal may close the stream right after. */
        if (poll(fds, 2, -1) < 0 || fds[1].revents || !fds[0].revents)
            continue;
        n = read(STDIN_FILENO, buffer, sizeof(buffer));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n > 0)
            g_string_append_len(text, buffer, n);
        end = vmmiMessageLength(text->str, text->len);
        if (end == 0 && (n <= 0 || text->len > VMMI_CONFIG_MAX)) {
            g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                        _("The standard input has no whole configuration message in its %1$llu bytes."),
                        (unsigned long long)text->len);
            return false;
        }
    }
    return vmmiConfigMerge(run->config, text->str, end < 0 ? (gssize)text->len : end, "-", error);
}

static bool
readConfig(vmmiRun *run, int signals, bool *status, GError **error)
{
    g_autofree char *path = NULL;

    if (g_strcmp0(run->args.config, "-") == 0)
        return readMessage(run, signals, status, error);
    if (run->args.config)
        return vmmiConfigMergeFile(run->config, run->args.config, false, error);
    path = g_strdup_printf("%s/%s.json", VMMI_CONFIG_DIR, run->args.name);
    return vmmiConfigMergeFile(run->config, path, true, error);
}

static bool
prepare(vmmiRun *run, int signals, bool *status, GError **error)
{
    if (!readConfig(run, signals, status, error))
        return false;
    if (run->config->logFile && !vmmiOutputLogTo(run->config->logFile, error))
        return false;
    if (run->policy->configure && !run->policy->configure(run, error))
        return false;
    return vmmiStartFlags(run, error);
}

/* ---- signals ---- */

static void
sendStatus(vmmiRun *run)
{
    g_autofree char *line = NULL;

    if (!run->config->verbose)
        return;
    line = vmmiMessageCompose("status", vmmiRunStatus(run));
    vmmiOutputStatus(line);
}

/* True if the migration goes on without us; else it had not begun, or has ended. */
static bool
leave(vmmiRun *run, GError **error)
{
    gint64 until = g_get_monotonic_time() + LEAVE_WAIT_US;
    bool finished;

    g_mutex_lock(&run->lock);
    while (run->started && !run->seen && !run->finished)
        if (!g_cond_wait_until(&run->changed, &run->lock, until))
            break;
    finished = run->finished;
    if (finished && run->result)
        *error = g_error_copy(run->result);
    if (!finished && !run->started)
        setEarlyEnd(VMMI_SIGNAL_LEAVE, error);
    g_mutex_unlock(&run->lock);
    return !finished && !*error;
}

static void
interrupt(vmmiRun *run)
{
    g_mutex_lock(&run->lock);
    run->interrupt = true;
    g_cond_broadcast(&run->changed);
    g_mutex_unlock(&run->lock);
}

/* Serves signals until the worker has finished, or there is no point in waiting for it. Returns the exit status. */
static int
serve(vmmiRun *run, int signals)
{
    struct pollfd fds[2] = { { .fd = run->doneFd, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
    g_autoptr(GError) error = NULL;
    int timeout = -1;

    for (;;) {
        int n = poll(fds, 2, timeout);

        if (n == 0) {
            g_set_error(&error, VMMI_ERROR, VMMI_OPERATION_FAILED, _("The migration cannot be aborted: libvirt does not answer."));
            return conclude(run, error, false);
        }
        if (n > 0 && fds[0].revents)
            return conclude(run, run->result, false);
        switch (vmmiSignalsNext(signals)) {
        case VMMI_SIGNAL_STATUS:
            sendStatus(run);
            break;
        case VMMI_SIGNAL_LEAVE: {
            bool left = leave(run, &error);

            return conclude(run, error, left);
        }
        case VMMI_SIGNAL_ABORT:
            interrupt(run);
            timeout = ABORT_WAIT_MS;
            break;
        case VMMI_SIGNAL_NONE:
            break;
        }
    }
}

static int
workAndServe(vmmiRun *run, int signals)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GError) error = NULL;
    GThread *worker = g_thread_try_new("work", vmmiRunWork, run, &cause);

    if (worker) {
        g_thread_unref(worker);
        return serve(run, signals);
    }
    g_set_error(&error, VMMI_ERROR, VMMI_OPERATION_FAILED, _("The helper cannot be set up: %1$s"), cause->message);
    return conclude(run, error, false);
}

int
vmmiMain(const vmmiPolicy *policy, int argc, char **argv)
{
    static vmmiRun run; /* other threads may still use it while the process ends */
    g_autoptr(GError) error = NULL;
    bool status = false;
    int signals;
    int result;

    setlocale(LC_MESSAGES, "");
    bindtextdomain(SV_GETTEXT_DOMAIN, SV_LOCALEDIR);
    bind_textdomain_codeset(SV_GETTEXT_DOMAIN, "UTF-8");
    vmmiOutputOpen();
    signals = vmmiSignalsOpen();
    run.policy = policy;
    run.phase = "configuring";
    run.config = vmmiConfigNew();
    run.decisions = g_ptr_array_new_with_free_func(g_free);
    run.notes = g_ptr_array_new_with_free_func(g_free);
    g_mutex_init(&run.lock);
    g_cond_init(&run.changed);
    run.doneFd = eventfd(0, EFD_CLOEXEC);
    virSetErrorFunc(NULL, ignoreError);
    if (!vmmiArgsParse(argc, argv, &run.args, &error) || !prepare(&run, signals, &status, &error)) {
        result = conclude(&run, error, false);
    } else if (signals < 0 || run.doneFd < 0 || virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) {
        g_set_error(&error, VMMI_ERROR, VMMI_OPERATION_FAILED, _("The helper cannot be set up: %1$s"), g_strerror(errno));
        result = conclude(&run, error, false);
    } else {
        if (status)
            sendStatus(&run);
        result = workAndServe(&run, signals);
    }
    /* Threads may sit in calls of libvirt; a migration that we leave behind must not be touched by an orderly end. */
    _exit(result);
}

/* ---- for policies ---- */

const vmmiConfig *
vmmiRunConfig(vmmiRun *run)
{
    return run->config;
}

void
vmmiRunSetState(vmmiRun *run, void *state)
{
    run->state = state;
}

void *
vmmiRunState(vmmiRun *run)
{
    return run->state;
}

void
vmmiRunWish(vmmiRun *run, unsigned long flag)
{
    run->wishes |= flag;
}

bool
vmmiRunHas(vmmiRun *run, unsigned long flag)
{
    return !run->adopted && (run->needs | run->wishes) & flag;
}

bool
vmmiRunAdopted(vmmiRun *run)
{
    return run->adopted;
}

void
vmmiRunNote(vmmiRun *run, const char *format, ...)
{
    char *text;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    vmmiLog("note: %s", text);
    g_mutex_lock(&run->lock);
    g_ptr_array_add(run->notes, text);
    g_mutex_unlock(&run->lock);
}
