/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_compress.c: the cache of pages that a migration compresses with: remembered for the next one, and told to the running one */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/mig_priv.h"
#include "driver/report.h"

#include "viraccessapicheck.h"
#include "virerror.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

static int
cacheCheckVmm(callCtx *ctx)
{
    const vmmInfo *vmm = ctx->priv->vmm;

    if (vmm && vmm->traits->canXbzrle)
        return 0;
    virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                   _("The VMM of domain '%1$s' has no cache to compress a migration with."), ctx->vm->def->name);
    return -1;
}

/* The VMM that sends already is told; one that does not yet will hear it then. */
static int
cacheTellVmm(callCtx *ctx, unsigned long long bytes)
{
    const vmmOps *ops = ctx->priv->vmm->traits->ops;
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!(ctl = domainControl(ctx->vm, &incarnation)))
        return -1;
    ok = ops->migrateCache(ctl, bytes, &error);
    if (!domainControlDone(ctx->vm, ctl, incarnation))
        return -1;
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

static int
setCacheAct(callCtx *ctx, void *args)
{
    unsigned long long bytes = *(unsigned long long *)args;
    drvMig *mig = ctx->priv->mig;
    g_autoptr(migJob) job = mig && mig->job && mig->record.side == MIG_SIDE_SOURCE ? migJobRef(mig->job) : NULL;

    if (cacheCheckVmm(ctx) < 0 || (job && mig->tuning.sending && cacheTellVmm(ctx, bytes) < 0))
        return -1;
    ctx->priv->migCacheBytes = bytes;
    /* It may have ended while the lock was dropped. */
    if (job && mig->job == job) {
        mig->tuning.cacheSet = true;
        mig->tuning.cacheBytes = bytes;
    }
    return virDomainObjIsActive(ctx->vm) ? domainSaveStatus(ctx->vm) : 0;
}

int
drvDomainMigrateSetCompressionCache(virDomainPtr domain, unsigned long long bytes, unsigned int flags)
{
    static const callSpec spec = { virDomainMigrateSetCompressionCacheEnsureACL, VIR_JOB_MIGRATION_OP, true,
                                   setCacheAct };
    g_autoptr(GError) error = NULL;

    virCheckFlags(0, -1);
    if (!migParamsCheckCache(_("size of the compression cache"), bytes, &error))
        return reportGError(g_steal_pointer(&error));
    return callRun(domain, &spec, &bytes);
}

static int
getCacheAct(callCtx *ctx, void *args)
{
    if (cacheCheckVmm(ctx) < 0)
        return -1;
    *(unsigned long long *)args = ctx->priv->migCacheBytes ? ctx->priv->migCacheBytes :
        ctx->priv->vmm->traits->xbzrleCacheBytes;
    return 0;
}

int
drvDomainMigrateGetCompressionCache(virDomainPtr domain, unsigned long long *bytes, unsigned int flags)
{
    static const callSpec spec = { virDomainMigrateGetCompressionCacheEnsureACL, VIR_JOB_NONE, true, getCacheAct };

    virCheckFlags(0, -1);
    return callRun(domain, &spec, bytes);
}
