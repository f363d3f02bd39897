/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <config.h>

#include "driver/call.h"

#include "datatypes.h"
#include "virdomainjob.h"
#include "virerror.h"

#include "driver/compat.h"
#include "base/gettext.h"

virDomainObj *
callLookup(virDomainPtr dom)
{
    drvState *drv = dom->conn->privateData;
    char uuid[VIR_UUID_STRING_BUFLEN];
    virDomainObj *vm = virDomainObjListFindByUUID(drv->domains, dom->uuid);

    if (vm)
        return vm;
    virUUIDFormat(dom->uuid, uuid);
    virReportError(VIR_ERR_NO_DOMAIN, _("There is no domain '%1$s' with UUID '%2$s'."), dom->name,
                   uuid);
    return NULL;
}

int
callCheckActive(virDomainObj *vm)
{
    if (virDomainObjIsActive(vm))
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' is not running."), vm->def->name);
    return -1;
}

static int
callActWithJob(callCtx *ctx, const callSpec *spec, void *args)
{
    int ret;

    if (virDomainObjBeginJob(ctx->vm, spec->job) < 0)
        return -1;
    /* It may have ended while we waited for the job. */
    if (spec->active && callCheckActive(ctx->vm) < 0)
        ret = -1;
    else
        ret = spec->act(ctx, args);
    virDomainObjEndJob(ctx->vm);
    return ret;
}

/* The part behind the access check; gives the domain back. */
static int
callActLocked(virDomainPtr dom, virDomainObj *vm, const callSpec *spec, void *args)
{
    callCtx ctx = {
        .drv = dom->conn->privateData,
        .conn = dom->conn,
        .dom = dom,
        .vm = vm,
        .priv = DRV_DOMAIN(vm),
    };
    int ret = -1;

    if (!spec->active || callCheckActive(vm) == 0) {
        if (spec->job == VIR_JOB_NONE)
            ret = spec->act(&ctx, args);
        else
            ret = callActWithJob(&ctx, spec, args);
    }
    virDomainObjEndAPI(&vm);
    return ret;
}

int
callRun(virDomainPtr dom, const callSpec *spec, void *args)
{
    virDomainObj *vm = callLookup(dom);

    if (!vm)
        return -1;
    if (spec->acl(dom->conn, vm->def) < 0) {
        virDomainObjEndAPI(&vm);
        return -1;
    }
    return callActLocked(dom, vm, spec, args);
}

int
callRunFlags(virDomainPtr dom, callAclFlags acl, unsigned int flags, const callSpec *spec,
             void *args)
{
    virDomainObj *vm = callLookup(dom);

    if (!vm)
        return -1;
    if (acl(dom->conn, vm->def, flags) < 0) {
        virDomainObjEndAPI(&vm);
        return -1;
    }
    return callActLocked(dom, vm, spec, args);
}
