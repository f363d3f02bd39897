/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_direct.c: direct migration of a real domain: one call, no libvirt at the destination, see migration/direct.h */
#include <config.h>

#include "driver/compat.h"
#include "driver/mig_calls.h"
#include "driver/mig_priv.h"
#include "driver/report.h"
#include "migration/direct.h"

#include "virerror.h"
#include "virlog.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.mig_direct");

/* Nothing has happened yet: everything that can be refused is. */
static int
directCheck(virDomainObj *vm, const migParams *params)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(uri) u = NULL;

    if (vm->job->asyncJob != VIR_ASYNC_JOB_NONE) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' is busy with another job (%2$s); a direct migration takes no cookie "
                         "and has no other steps."),
                       vm->def->name, virDomainAsyncJobTypeToString(vm->job->asyncJob));
        return -1;
    }
    /* A definition that is to move alone is refused for that, not for being shut off. */
    if (!params->offline && migOfflineCheckState(vm, params) < 0)
        return -1;
    if (!DRV_DOMAIN(vm)->vmm) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' is not running, and only running guests migrate directly."),
                       vm->def->name);
        return -1;
    }
    if (!migDirectCheck(params, DRV_DOMAIN(vm)->vmm->traits, &u, &error))
        return reportGError(g_steal_pointer(&error));
    return 0;
}

/* Domain locked before and after. */
static bool
directRun(virDomainObj *vm, migJob *job, migSourceFacts *facts, migParams *params, const vmmMigSpec *spec)
{
    g_autoptr(GError) error = NULL;
    bool ok;

    virObjectUnlock(vm);
    migJobEnter(job);
    ok = migDirectRun(job, facts, params, spec, &error);
    migJobLeave(job);
    virObjectLock(vm);
    if (!ok)
        reportGError(g_steal_pointer(&error));
    return ok;
}

int
migOutDirect(virDomainObj *vm, virConnectPtr conn, migParams *params, unsigned long flags)
{
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE };
    g_autoptr(migJob) job = NULL;
    migSourceFacts facts;
    vmmMigSpec spec;
    bool ok = false;

    if (directCheck(vm, params) < 0)
        return -1;
    migSourceFactsFill(vm, &facts);
    migFactsThrottle(vm, params, &facts);
    migOutSpec(vm, params, &spec);
    if ((job = migJobAttach(vm, &record, flags))) {
        migWatchClient(vm, conn);
        ok = migOfflineCheckState(vm, params) == 0 && directRun(vm, job, &facts, params, &spec);
        migUnwatchClient(vm, conn);
        if (migOf(vm)->job == job) {
            /* Refused before it was announced, or in doubt. */
            if (migJobPhase(job) == MIG_PHASE_IDLE)
                migJobDetach(vm);
            else
                migJobDisown(vm);
        }
    }
    migSourceFactsClear(&facts);
    return ok ? 0 : -1;
}
