/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_offline.c: offline migration on real domains: what differs from that of a running guest, see
 * migration/offline.h */
#include <config.h>

#include "driver/compat.h"
#include "driver/mig_priv.h"
#include "driver/report.h"
#include "driver/save.h"
#include "migration/offline.h"

#include "virerror.h"
#include "virlog.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.mig_offline");

int
migOfflineCheckState(virDomainObj *vm, const migParams *params)
{
    bool active = virDomainObjIsActive(vm);

    if (!active && params->offline && saveManagedHas(vm)) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' has a managed saved image, which does not go with its definition: start it from that, or remove it first (managedsave-remove)."),
                       vm->def->name);
        return -1;
    }
    if (active != params->offline)
        return 0;
    if (active)
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' is running. An offline migration moves the definition of a domain "
                         "that is shut off; "
                         "leave '%2$s' out to move the running guest."), vm->def->name, "VIR_MIGRATE_OFFLINE");
    else
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' is not running. To move its definition alone, give the migration "
                         "flags '%2$s' and '%3$s' "
                         "(virsh: --offline --persistent) without those for a running guest."),
                       vm->def->name, "VIR_MIGRATE_OFFLINE", "VIR_MIGRATE_PERSIST_DEST");
    return -1;
}

char *
migOfflineXml(virDomainObj *vm, const migParams *params)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    /* What is kept there is all that there is, so the user's choice of it goes before one of what is started. */
    const char *text = params->persistXml ? params->persistXml : params->destXml;
    g_autoptr(virDomainDef) def = NULL;

    if (!text)
        return domainFormatMigratable(drv, vm->def, VIR_DOMAIN_DEF_FORMAT_SECURE);
    def = virDomainDefParseString(text, drv->xmlopt, NULL,
                                  VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
    if (!def || domainCheckAbi(vm->def, def, drv) < 0)
        return NULL;
    return domainFormatMigratable(drv, def, VIR_DOMAIN_DEF_FORMAT_SECURE);
}

void
migOfflineFacts(virDomainObj *vm, migSourceFacts *facts)
{
    facts->paused = false;
    facts->tcg = vm->def->virtType == VIR_DOMAIN_VIRT_QEMU;
    /* A definition may name a program that this host has no more. */
    facts->vmm = vm->def->emulator ? stateProbe(DRV_DOMAIN(vm)->drv, vm->def->emulator) : NULL;
    if (!facts->vmm) {
        VIR_INFO("domain '%s': '%s' cannot be asked what it is: %s", vm->def->name, NULLSTR(vm->def->emulator),
                 virGetLastErrorMessage());
        virResetLastError();
    }
}

bool
migOfflinePrepareJob(virDomainObj *vm, migJob *job, migParams *params, const migCookie *remote, char **retUri)
{
    g_autoptr(GError) error = NULL;
    bool ok;

    virObjectUnlock(vm);
    migJobEnter(job);
    ok = migOfflinePrepare(job, remote, params, retUri, &error);
    migJobLeave(job);
    virObjectLock(vm);
    if (!ok)
        reportGError(g_steal_pointer(&error));
    return ok;
}
