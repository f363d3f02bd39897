/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_facts.c: a domain, described in the plain terms that the migration checks judge */
#include <config.h>

#include "driver/mig_priv.h"
#include "driver/process.h"

#include "virclosecallbacks.h"
#include "virdomainjob.h"
#include "virdomainsnapshotobjlist.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

static GPtrArray *
factsDeviceBlockers(const virDomainDef *def)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    size_t i;

    for (i = 0; i < def->nhostdevs; i++)
        g_ptr_array_add(list, g_strdup_printf(_("host device number %1$zu belongs to this host"), i));
    return list;
}

void
migSourceFactsFill(virDomainObj *vm, migSourceFacts *ret)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    int reason = 0;
    int state = virDomainObjGetState(vm, &reason);

    memset(ret, 0, sizeof(*ret));
    ret->domainName = vm->def->name;
    ret->memoryKiB = virDomainDefGetMemoryTotal(vm->def);
    ret->vcpus = virDomainDefGetVcpus(vm->def);
    ret->active = virDomainObjIsActive(vm);
    ret->paused = state != VIR_DOMAIN_RUNNING;
    ret->persistent = vm->persistent;
    ret->autodestroy = virCloseCallbacksDomainIsRegistered(vm, NULL, processAutoDestroy);
    ret->snapshots = vm->snapshots ? virDomainSnapshotObjListNum(vm->snapshots, NULL, 0) : 0;
    ret->job = vm->job->asyncJob != VIR_ASYNC_JOB_NONE ?
        virDomainAsyncJobTypeToString(vm->job->asyncJob) : NULL;
    ret->diskError = state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR;
    ret->deviceBlockers = factsDeviceBlockers(vm->def);
    ret->vmm = priv->vmm;
    ret->tcg = priv->tcg;
    ret->machine = vm->def->os.machine;
    ret->arch = virArchToString(vm->def->os.arch);
}

void
migSourceFactsClear(migSourceFacts *facts)
{
    g_clear_pointer(&facts->deviceBlockers, g_ptr_array_unref);
}
