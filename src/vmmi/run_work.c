/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* run_work.c: one migration from the connection to its end */
#include "vmmi/run_priv.h"

#include <libvirt/virterror.h>
#include <string.h>
#include <sys/eventfd.h>

#include "vmmi/code.h"
#include "vmmi/output.h"
#include "vmmi/text.h"

#define KEEPALIVE_S 5
#define KEEPALIVE_COUNT 3
/* How often to look until the job is there, and later. */
#define LOOK_FIRST_MS 50
#define LOOK_MS 500
/* An abort is tried again: for long if there may be nothing to abort yet, else for as long as libvirt may be busy. */
#define ABORT_LIMIT_US (30 * G_USEC_PER_SEC)
#define ABORT_SEEN_LIMIT_US (5 * G_USEC_PER_SEC)
/* The event that tells how a guest went may come after the guest has gone. */
#define EVENT_WAIT_US G_USEC_PER_SEC

static const char *
lastText(void)
{
    const char *text = virGetLastErrorMessage();

    return text && *text ? text : "libvirt";
}

void
vmmiRunPhase(vmmiRun *run, const char *phase)
{
    g_mutex_lock(&run->lock);
    run->phase = phase;
    g_mutex_unlock(&run->lock);
    vmmiLog("phase: %s", phase);
}

/* ---- the connection ---- */

static void
onClose(virConnectPtr conn G_GNUC_UNUSED, int reason G_GNUC_UNUSED, void *opaque)
{
    vmmiRun *run = opaque;

    g_mutex_lock(&run->lock);
    run->lost = true;
    g_cond_broadcast(&run->changed);
    g_mutex_unlock(&run->lock);
}

static int
onLifecycle(virConnectPtr conn G_GNUC_UNUSED, virDomainPtr domain G_GNUC_UNUSED, int event, int detail, void *opaque)
{
    vmmiRun *run = opaque;

    if (event != VIR_DOMAIN_EVENT_STOPPED)
        return 0;
    g_mutex_lock(&run->lock);
    if (detail == VIR_DOMAIN_EVENT_STOPPED_MIGRATED)
        run->stoppedMigrated = true;
    else
        run->stoppedOther = true;
    g_cond_broadcast(&run->changed);
    g_mutex_unlock(&run->lock);
    return 0;
}

static void *
serveEvents(void *opaque G_GNUC_UNUSED)
{
    while (virEventRunDefaultImpl() == 0)
        continue;
    return NULL;
}

static int
answerAuth(virConnectCredentialPtr credentials, unsigned count, void *opaque)
{
    char **answers = opaque;
    unsigned i;

    for (i = 0; i < count; i++) {
        const char *text = credentials[i].type == VIR_CRED_AUTHNAME ? answers[0] : answers[1];

        credentials[i].result = g_strdup(text);
        credentials[i].resultlen = strlen(text);
    }
    return 0;
}

static virConnectPtr
openConnection(const vmmiConfig *config, GError **error)
{
    static int types[] = { VIR_CRED_AUTHNAME, VIR_CRED_PASSPHRASE };
    g_autoptr(GError) problem = NULL;
    g_autofree char *password = NULL;
    char *answers[2];
    virConnectAuth auth = { types, G_N_ELEMENTS(types), answerAuth, answers };
    bool known = config->username && config->passwordFile;
    virConnectPtr conn;

    if (known && !g_file_get_contents(config->passwordFile, &password, NULL, &problem)) {
        g_set_error(error, VMMI_ERROR, VMMI_BAD_FILE, _("The password cannot be read: %1$s"), problem->message);
        return NULL;
    }
    if (password)
        password[strcspn(password, "\r\n")] = '\0';
    answers[0] = config->username;
    answers[1] = password;
    conn = known ? virConnectOpenAuth(config->connection, &auth, 0) : virConnectOpen(config->connection);
    if (!conn) {
        g_set_error(error, VMMI_ERROR, VMMI_DISCONNECTED, _("'%1$s' cannot be opened: %2$s"), config->connection, lastText());
        return NULL;
    }
    /* Not to be had by connections without a daemon. */
    virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT);
    return conn;
}

static bool
alive(vmmiRun *run)
{
    bool lost;

    g_mutex_lock(&run->lock);
    lost = run->lost;
    g_mutex_unlock(&run->lock);
    return !lost && virConnectIsAlive(run->conn) == 1;
}

/* An error of a libvirt call that failed just now: a lost connection has a code of its own. */
static void
setLibvirtError(vmmiRun *run, int code, const char *what, GError **error)
{
    g_autofree char *text = g_strdup(lastText());

    if (!alive(run))
        code = VMMI_DISCONNECTED;
    g_set_error(error, VMMI_ERROR, code, "%s: %s", what, text);
}

static bool
findDomain(vmmiRun *run, GError **error)
{
    virConnectPtr callConn;
    virErrorPtr problem;

    run->conn = openConnection(run->config, error);
    callConn = run->conn ? openConnection(run->config, error) : NULL;
    if (!callConn)
        return false;
    virConnectRegisterCloseCallback(run->conn, onClose, run, NULL);
    run->domain = virDomainLookupByUUIDString(run->conn, run->args.uuid);
    run->callDomain = run->domain ? virDomainLookupByUUIDString(callConn, run->args.uuid) : NULL;
    if (!run->callDomain) {
        problem = virGetLastError();
        setLibvirtError(run, problem && problem->code == VIR_ERR_NO_DOMAIN ? VMMI_VM_UNKNOWN : VMMI_OPERATION_FAILED,
                        _("The guest cannot be found"), error);
        return false;
    }
    virConnectClose(callConn); /* the domain holds it */
    run->ran = virDomainIsActive(run->domain) == 1;
    virConnectDomainEventRegisterAny(run->conn, run->domain, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                     VIR_DOMAIN_EVENT_CALLBACK(onLifecycle), run, NULL);
    return true;
}

/* ---- its end ---- */

typedef enum { GUEST_HERE, GUEST_MOVED, GUEST_GONE, GUEST_BETWEEN } guestPlace;

static guestPlace
findPlace(vmmiRun *run)
{
    gint64 until = g_get_monotonic_time() + EVENT_WAIT_US;
    int state, reason;
    bool moved;

    if (virDomainGetState(run->domain, &state, &reason, 0) == 0) {
        if (state == VIR_DOMAIN_SHUTOFF)
            return reason == VIR_DOMAIN_SHUTOFF_MIGRATED ? GUEST_MOVED : GUEST_GONE;
        if (state == VIR_DOMAIN_PAUSED && (reason == VIR_DOMAIN_PAUSED_MIGRATION || reason == VIR_DOMAIN_PAUSED_POSTCOPY))
            return GUEST_BETWEEN;
        return GUEST_HERE;
    }
    g_mutex_lock(&run->lock);
    while (!run->stoppedMigrated && !run->stoppedOther && !run->lost)
        if (!g_cond_wait_until(&run->changed, &run->lock, until))
            break;
    moved = run->stoppedMigrated;
    g_mutex_unlock(&run->lock);
    return moved ? GUEST_MOVED : GUEST_GONE;
}

/* Whatever the reason of a failure, a guest that is no more says the most. */
static void
setFailure(vmmiRun *run, int code, const char *text, GError **error)
{
    if (!alive(run))
        code = VMMI_DISCONNECTED;
    else if (run->problem)
        code = run->problem->code;
    else if (code == VMMI_MIGRATION_FAILED && findPlace(run) == GUEST_GONE)
        code = VMMI_VM_DISAPPEARED;
    if (run->problem && code == run->problem->code && *text)
        g_set_error(error, VMMI_ERROR, code, "%s (%s)", run->problem->message, text);
    else
        g_set_error(error, VMMI_ERROR, code, "%s", run->problem && !*text ? run->problem->message : text);
}

/* A migration that was not ours has gone from the statistics. True if it has ended: *error tells how. */
static bool
adoptedEnded(vmmiRun *run, GError **error)
{
    switch (findPlace(run)) {
    case GUEST_BETWEEN:
        return false;
    case GUEST_MOVED:
        return true;
    case GUEST_GONE:
        setFailure(run, VMMI_VM_DISAPPEARED, _("The guest has ended during its migration."), error);
        return true;
    case GUEST_HERE:
        break;
    }
    if (vmmiSampleEnded(run->domain) == VIR_DOMAIN_JOB_CANCELLED)
        setFailure(run, VMMI_MIGRATION_ABORTED, _("The migration was aborted; the guest runs where it was."), error);
    else
        setFailure(run, VMMI_MIGRATION_FAILED, _("The migration has failed; the guest runs where it was."), error);
    return true;
}

/* ---- aborting ---- */

/* Wanted by the manager or the policy. False if it has been in vain for so long that we give up. */
static bool
tryAbort(vmmiRun *run, GError **error)
{
    gint64 limit;

    g_mutex_lock(&run->lock);
    limit = run->seen ? ABORT_SEEN_LIMIT_US : ABORT_LIMIT_US;
    g_mutex_unlock(&run->lock);
    if (run->abortSent || virDomainAbortJob(run->domain) == 0) {
        run->abortSent = true;
    } else if (g_get_monotonic_time() - run->abortSince > limit) {
        setLibvirtError(run, VMMI_OPERATION_FAILED, _("The migration cannot be aborted"), error);
        return false;
    }
    return true;
}

static void
wantAbort(vmmiRun *run, GError *problem)
{
    if (run->abortSince) {
        g_clear_error(&problem);
        return;
    }
    run->abortSince = g_get_monotonic_time();
    run->problem = problem;
    vmmiLog("abort: %s", problem->message);
}

/* ---- while it runs ---- */

static void
applyDowntime(vmmiRun *run)
{
    uint64_t ms = run->config->maxDowntimeMs;

    if (!ms)
        return;
    if (virDomainMigrateSetMaxDowntime(run->domain, ms, 0) < 0) {
        vmmiRunNote(run, _("The greatest downtime cannot be set to %1$llu ms: %2$s"), (unsigned long long)ms, lastText());
        return;
    }
    g_mutex_lock(&run->lock);
    run->downtimeLimitMs = ms;
    g_mutex_unlock(&run->lock);
}

static void
applyPolicy(vmmiRun *run, const vmmiSample *sample)
{
    const vmmiPolicy *policy = run->policy;
    gint64 now = g_get_monotonic_time();
    GError *problem = NULL;

    if (!run->begun) {
        run->begun = true;
        if (run->adopted)
            applyDowntime(run);
        if (policy->begin && !policy->begin(run, &problem)) {
            vmmiRunNote(run, "%s", problem->message);
            if (run->adopted)
                g_clear_error(&problem);
            else
                wantAbort(run, problem);
        }
        run->nextStep = now + (gint64)run->config->monitorMs * 1000;
        return;
    }
    if (run->abortSince || now < run->nextStep || !policy->step)
        return;
    run->nextStep = now + (gint64)run->config->monitorMs * 1000;
    if (!policy->step(run, sample, &problem)) {
        vmmiRunNote(run, "%s", problem->message);
        g_clear_error(&problem);
    }
}

/* Waits until there is something to do; takes the manager's wish over. Returns true if the call that migrates has come back. */
static bool
waitForWork(vmmiRun *run, bool *retLost)
{
    gint64 until = g_get_monotonic_time() + 1000 *
        (run->begun && !run->abortSince ? MIN(LOOK_MS, (gint64)run->config->monitorMs) : LOOK_FIRST_MS);
    bool done, interrupted;

    g_mutex_lock(&run->lock);
    while (!run->lost && !(run->callDone && !run->adopted) && !(run->interrupt && !run->abortSince) &&
           !(run->adopted && (run->stoppedMigrated || run->stoppedOther)))
        if (!g_cond_wait_until(&run->changed, &run->lock, until))
            break;
    *retLost = run->lost;
    done = run->callDone && !run->adopted;
    interrupted = run->interrupt;
    g_mutex_unlock(&run->lock);
    if (interrupted)
        wantAbort(run, g_error_new(VMMI_ERROR, VMMI_MIGRATION_ABORTED, _("The manager has aborted the migration.")));
    return done;
}

static void
adopt(vmmiRun *run)
{
    g_mutex_lock(&run->lock);
    run->adopted = true;
    run->started = true;
    g_mutex_unlock(&run->lock);
    vmmiRunPhase(run, "adopted");
    vmmiRunNote(run, _("A migration was under way and was taken over; its destination and options are its own."));
}

/* A call that failed while the guest moved: by another migration, which began after our look for one. */
static bool
hasMoved(vmmiRun *run, const char *text)
{
    if (!run->ran || !alive(run) || findPlace(run) != GUEST_MOVED)
        return false;
    vmmiRunNote(run, _("The guest has moved, though not by the call of this helper: %1$s"), text);
    return true;
}

/* Our call has come back. True if that is the end. */
static bool
callEnded(vmmiRun *run, GError **error)
{
    g_autofree char *text = NULL;
    vmmiSample sample = { 0 };
    int code;

    g_mutex_lock(&run->lock);
    code = run->callCode;
    text = g_strdup(run->callText);
    g_mutex_unlock(&run->lock);
    if (code == VIR_ERR_OK)
        return true;
    /* What still runs is somebody else's. */
    if (alive(run) && vmmiSampleTake(run->domain, &sample) && sample.active) {
        adopt(run);
        return false;
    }
    if (hasMoved(run, text))
        return true;
    if (!run->abortSince && alive(run) && vmmiStartDrop(run, code, text)) {
        run->begun = false;
        vmmiStartCall(run);
        return false;
    }
    if (vmmiStartLacks(code) && !run->begun && !run->problem)
        setFailure(run, VMMI_CONFIGURATION_FAILED, text, error);
    else
        setFailure(run, code == VIR_ERR_OPERATION_ABORTED ? VMMI_MIGRATION_ABORTED : VMMI_MIGRATION_FAILED, text, error);
    return true;
}

/* One look. True if that is the end. */
static bool
look(vmmiRun *run, GError **error)
{
    vmmiSample sample;

    if (run->abortSince && !tryAbort(run, error))
        return true;
    if (!vmmiSampleTake(run->domain, &sample)) {
        if (!alive(run)) {
            setLibvirtError(run, VMMI_DISCONNECTED, _("The migration cannot be watched any more"), error);
            return true;
        }
        /* The guest has gone; of a migration of ours the call knows more. */
        return run->adopted && adoptedEnded(run, error);
    }
    if (!sample.active)
        return run->adopted && adoptedEnded(run, error);
    g_mutex_lock(&run->lock);
    run->sample = sample;
    if (!run->seen)
        run->phase = run->adopted ? "adopted" : "migrating";
    run->seen = true;
    g_cond_broadcast(&run->changed);
    g_mutex_unlock(&run->lock);
    applyPolicy(run, &sample);
    return false;
}

static void
watch(vmmiRun *run, GError **error)
{
    for (;;) {
        bool lost;
        bool done = waitForWork(run, &lost);

        if (done && callEnded(run, error))
            return;
        if (lost) {
            g_clear_error(error);
            g_set_error(error, VMMI_ERROR, VMMI_DISCONNECTED,
                        _("The connection to '%1$s' was lost; the migration goes on without its helper if the hypervisor's "
                          "daemon lets it."), run->config->connection);
            return;
        }
        if (!done && look(run, error))
            return;
    }
}

static void
work(vmmiRun *run, GError **error)
{
    vmmiSample sample = { 0 };
    bool interrupted;

    vmmiRunPhase(run, "connecting");
    if (!findDomain(run, error))
        return;
    if (!vmmiSampleTake(run->domain, &sample))
        vmmiLog("statistics: %s", lastText());
    g_mutex_lock(&run->lock);
    interrupted = run->interrupt;
    g_mutex_unlock(&run->lock);
    if (sample.active) {
        adopt(run);
    } else if (interrupted) {
        g_set_error(error, VMMI_ERROR, VMMI_MIGRATION_ABORTED, _("The manager has aborted the migration before it began."));
        return;
    } else {
        applyDowntime(run);
        vmmiRunPhase(run, "starting");
        vmmiStartCall(run);
    }
    watch(run, error);
}

void *
vmmiRunWork(void *opaque)
{
    vmmiRun *run = opaque;
    g_autoptr(GError) cause = NULL;
    GError *error = NULL;
    GThread *events = g_thread_try_new("events", serveEvents, NULL, &cause);

    if (events) {
        g_thread_unref(events);
        work(run, &error);
    } else {
        g_set_error(&error, VMMI_ERROR, VMMI_OPERATION_FAILED, _("The helper cannot be set up: %1$s"), cause->message);
    }
    vmmiRunPhase(run, "ended");
    g_mutex_lock(&run->lock);
    run->result = error;
    run->finished = true;
    g_cond_broadcast(&run->changed);
    g_mutex_unlock(&run->lock);
    eventfd_write(run->doneFd, 1);
    return NULL;
}

/* ---- for policies ---- */

bool
vmmiRunAct(vmmiRun *run, const vmmiAction *action, const char *why, GError **error)
{
    g_autofree char *what = action->kind == VMMI_ACT_SET_DOWNTIME ?
        g_strdup_printf("setDowntime %llu", (unsigned long long)action->downtimeMs) : g_strdup(vmmiActName(action->kind));
    bool ok = true;

    if (action->kind == VMMI_ACT_ABORT)
        wantAbort(run, g_error_new(VMMI_ERROR, VMMI_MIGRATION_ABORTED, _("The policy has aborted the migration: %1$s"), why));
    else if (action->kind == VMMI_ACT_POSTCOPY)
        ok = virDomainMigrateStartPostCopy(run->domain, 0) == 0;
    else
        ok = virDomainMigrateSetMaxDowntime(run->domain, action->downtimeMs, 0) == 0;
    if (!ok) {
        g_autofree char *failed = g_strdup_printf(_("The action '%1$s' was not possible"), what);

        setLibvirtError(run, VMMI_CONFIGURATION_FAILED, failed, error);
        return false;
    }
    vmmiLog("action: %s: %s", what, why);
    g_mutex_lock(&run->lock);
    if (action->kind == VMMI_ACT_SET_DOWNTIME)
        run->downtimeLimitMs = action->downtimeMs;
    g_ptr_array_add(run->decisions, g_strdup_printf("%s: %s", what, why));
    g_mutex_unlock(&run->lock);
    return true;
}
