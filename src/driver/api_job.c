/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * api_job.c: watching, steering and ending a migration
 *
 * None of these waits for the migration: they read a copy of its figures, or leave it a signal.
 */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/mig_priv.h"
#include "driver/process.h"
#include "driver/report.h"
#include "driver/save.h"

#include "viraccessapicheck.h"
#include "virerror.h"
#include "virtypedparam.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

#define JOB_UNLIMITED_MIBS (INT64_MAX / (1024 * 1024))
/* What QEMU takes when it is told nothing (downtime-limit). */
#define JOB_DEFAULT_DOWNTIME_MS 300

/* The figures of the running migration, or of none; false: the domain is not active and has none. */
static int
jobGetCurrent(callCtx *ctx, migStats *ret, bool *retAny)
{
    g_autoptr(migJob) job = NULL;

    *retAny = false;
    if (ctx->priv->mig && ctx->priv->mig->job) {
        job = migJobRef(ctx->priv->mig->job);
        migJobGetStats(job, ret);
        *retAny = true;
        return 0;
    }
    *retAny = saveGetStats(ctx->vm, ret);
    return *retAny ? 0 : callCheckActive(ctx->vm);
}

static int
jobInfoAct(callCtx *ctx, void *args)
{
    g_auto(migStats) stats = { 0 };
    virDomainJobInfoPtr info = args;
    bool any;

    if (jobGetCurrent(ctx, &stats, &any) < 0)
        return -1;
    memset(info, 0, sizeof(*info));
    if (any)
        migStatsToInfo(&stats, info);
    return 0;
}

int
drvDomainGetJobInfo(virDomainPtr dom, virDomainJobInfoPtr info)
{
    static const callSpec spec = { virDomainGetJobInfoEnsureACL, VIR_JOB_NONE, false, jobInfoAct };

    return callRun(dom, &spec, info);
}

typedef struct {
    int *type;
    virTypedParameterPtr *params;
    int *nparams;
    unsigned int flags;
} jobStatsArgs;

static int
jobStatsCompleted(callCtx *ctx, jobStatsArgs *args)
{
    drvMig *mig = ctx->priv->mig;

    if (!mig || !mig->hasCompleted) {
        *args->type = VIR_DOMAIN_JOB_NONE;
        *args->params = NULL;
        *args->nparams = 0;
        return 0;
    }
    if (migStatsToParams(&mig->completed, args->params, args->nparams, args->type) < 0)
        return -1;
    if (!(args->flags & VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)) {
        migStatsClear(&mig->completed);
        memset(&mig->completed, 0, sizeof(mig->completed));
        mig->hasCompleted = false;
    }
    return 0;
}

static int
jobStatsAct(callCtx *ctx, void *opaque)
{
    g_auto(migStats) stats = { 0 };
    jobStatsArgs *args = opaque;
    bool any;

    if (args->flags & VIR_DOMAIN_JOB_STATS_COMPLETED)
        return jobStatsCompleted(ctx, args);
    if (jobGetCurrent(ctx, &stats, &any) < 0)
        return -1;
    if (!any) {
        *args->type = VIR_DOMAIN_JOB_NONE;
        *args->params = NULL;
        *args->nparams = 0;
        return 0;
    }
    return migStatsToParams(&stats, args->params, args->nparams, args->type);
}

int
drvDomainGetJobStats(virDomainPtr dom, int *type, virTypedParameterPtr *params, int *nparams,
                     unsigned int flags)
{
    static const callSpec spec = { virDomainGetJobStatsEnsureACL, VIR_JOB_NONE, false, jobStatsAct };
    jobStatsArgs args = { type, params, nparams, flags };

    virCheckFlags(VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED, -1);
    return callRun(dom, &spec, &args);
}

static int
abortAct(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(migJob) job = NULL;

    if (saveAbort(ctx->vm))
        return 0;
    if (!ctx->priv->mig || !ctx->priv->mig->job) {
        /* An incoming guest that waits for its turn has a job and is not active. */
        if (callCheckActive(ctx->vm) < 0)
            return -1;
        virReportError(VIR_ERR_OPERATION_INVALID, _("no job is active on domain '%1$s'"),
                       ctx->vm->def->name);
        return -1;
    }
    job = migJobRef(ctx->priv->mig->job);
    if (!migJobAbort(job, &error))
        return reportGError(g_steal_pointer(&error));
    /* A VMM that is just being started keeps its starter waiting. */
    if (migJobPhase(job) == MIG_PHASE_ABSENT && virDomainObjIsActive(ctx->vm))
        processKill(ctx->vm);
    return 0;
}

int
drvDomainAbortJobFlags(virDomainPtr dom, unsigned int flags)
{
    static const callSpec spec = { virDomainAbortJobFlagsEnsureACL, VIR_JOB_NONE, false, abortAct };

    virCheckFlags(0, -1);
    return callRun(dom, &spec, NULL);
}

int
drvDomainAbortJob(virDomainPtr dom)
{
    static const callSpec spec = { virDomainAbortJobEnsureACL, VIR_JOB_NONE, false, abortAct };

    return callRun(dom, &spec, NULL);
}

/* ---- speed and downtime: remembered for the next migration, and told to the running one ---- */

/* Tell the VMM that sends already; one that does not yet will hear it then. */
static int
tuneVmm(callCtx *ctx, migJob *job, const migTuning *tuning)
{
    vmmMigSpec spec = { .maxBandwidth = tuning->bandwidth, .maxDowntimeMs = tuning->downtimeMs };
    const vmmOps *ops = ctx->priv->vmm ? ctx->priv->vmm->traits->ops : NULL;
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!tuning->sending || !ops)
        return 0;
    if (migJobSetSpeed(job, tuning->bandwidth)) {
        spec.maxBandwidth = 0;
        if (!ctx->priv->vmm->traits->canLimitSpeed && !ctx->priv->vmm->traits->canSetDowntime)
            return 0;
    }
    if (!(ctl = domainControl(ctx->vm, &incarnation)))
        return -1;
    ok = ops->migrateTune(ctl, &spec, &error);
    if (!domainControlDone(ctx->vm, ctl, incarnation))
        return -1;
    if (!ok)
        return reportGError(g_steal_pointer(&error));
    migJobSetTuning(job, spec.maxDowntimeMs);
    return 0;
}

/* Only what is set changes: the other may come from the parameters of this migration. */
static int
tuneRunning(callCtx *ctx, bool speed)
{
    drvMig *mig = ctx->priv->mig;
    g_autoptr(migJob) job = NULL;
    migTuning tuning;

    if (!mig || !mig->job || mig->record.side != MIG_SIDE_SOURCE)
        return 0;
    job = migJobRef(mig->job);
    tuning = mig->tuning;
    if (speed) {
        tuning.speedSet = true;
        tuning.bandwidth = ctx->priv->migMaxSpeedMiBs * 1024 * 1024;
    } else {
        tuning.downtimeSet = true;
        tuning.downtimeMs = ctx->priv->migMaxDowntimeMs;
    }
    if (tuneVmm(ctx, job, &tuning) < 0)
        return -1;
    /* It may have begun to send, or ended, while the lock was dropped. */
    if (mig->job == job) {
        tuning.sending = mig->tuning.sending;
        mig->tuning = tuning;
    }
    return 0;
}

static int
setDowntimeAct(callCtx *ctx, void *args)
{
    unsigned long long before = ctx->priv->migMaxDowntimeMs;

    if (!ctx->priv->vmm || !ctx->priv->vmm->traits->canSetDowntime) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s",
                       _("the VMM of this domain has no limit of the downtime that could be set"));
        return -1;
    }
    ctx->priv->migMaxDowntimeMs = *(unsigned long long *)args;
    if (tuneRunning(ctx, false) == 0)
        return 0;
    ctx->priv->migMaxDowntimeMs = before;
    return -1;
}

int
drvDomainMigrateSetMaxDowntime(virDomainPtr dom, unsigned long long downtime, unsigned int flags)
{
    static const callSpec spec = { virDomainMigrateSetMaxDowntimeEnsureACL, VIR_JOB_MIGRATION_OP, true,
                                   setDowntimeAct };

    virCheckFlags(0, -1);
    if (downtime == 0 || downtime > 2000 * 1000) {
        virReportError(VIR_ERR_INVALID_ARG,
                       _("the maximum downtime of %1$llu ms is not between 1 and 2000000"), downtime);
        return -1;
    }
    return callRun(dom, &spec, &downtime);
}

static int
getDowntimeAct(callCtx *ctx, void *args)
{
    *(unsigned long long *)args = ctx->priv->migMaxDowntimeMs ?
        ctx->priv->migMaxDowntimeMs : JOB_DEFAULT_DOWNTIME_MS;
    return 0;
}

int
drvDomainMigrateGetMaxDowntime(virDomainPtr dom, unsigned long long *downtime, unsigned int flags)
{
    static const callSpec spec = { virDomainMigrateGetMaxDowntimeEnsureACL, VIR_JOB_NONE, true,
                                   getDowntimeAct };

    virCheckFlags(0, -1);
    return callRun(dom, &spec, downtime);
}

static int
setSpeedAct(callCtx *ctx, void *args)
{
    unsigned long long before = ctx->priv->migMaxSpeedMiBs;

    ctx->priv->migMaxSpeedMiBs = *(unsigned long *)args;
    if (tuneRunning(ctx, true) == 0)
        return 0;
    ctx->priv->migMaxSpeedMiBs = before;
    return -1;
}

int
drvDomainMigrateSetMaxSpeed(virDomainPtr dom, unsigned long bandwidth, unsigned int flags)
{
    static const callSpec spec = { virDomainMigrateSetMaxSpeedEnsureACL, VIR_JOB_MIGRATION_OP, false,
                                   setSpeedAct };

    virCheckFlags(0, -1);
    if (bandwidth > JOB_UNLIMITED_MIBS) {
        virReportError(VIR_ERR_OVERFLOW, _("bandwidth of %1$lu MiB/s is more than %2$llu"), bandwidth,
                       (unsigned long long)JOB_UNLIMITED_MIBS);
        return -1;
    }
    if (bandwidth == JOB_UNLIMITED_MIBS)
        bandwidth = 0;
    return callRun(dom, &spec, &bandwidth);
}

static int
getSpeedAct(callCtx *ctx, void *args)
{
    *(unsigned long *)args = ctx->priv->migMaxSpeedMiBs ? ctx->priv->migMaxSpeedMiBs : JOB_UNLIMITED_MIBS;
    return 0;
}

int
drvDomainMigrateGetMaxSpeed(virDomainPtr dom, unsigned long *bandwidth, unsigned int flags)
{
    static const callSpec spec = { virDomainMigrateGetMaxSpeedEnsureACL, VIR_JOB_NONE, false, getSpeedAct };

    virCheckFlags(0, -1);
    return callRun(dom, &spec, bandwidth);
}
