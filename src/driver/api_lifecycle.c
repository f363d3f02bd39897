/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_lifecycle.c: create, stop, pause and what lies between */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/mig.h"
#include "driver/process.h"
#include "driver/report.h"
#include "driver/save.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virdomainjob.h"
#include "virlog.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.lifecycle");

/* A forced destroy lets a VMM that answers write its caches first, for this long. */
#define DESTROY_GENTLE_MS 2000

/* ---- create ---------------------------------------------------------------------------------------------- */

#define CREATE_FLAGS (VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY | \
                      VIR_DOMAIN_START_FORCE_BOOT | VIR_DOMAIN_START_BYPASS_CACHE)

/* The MODIFY job is held. */
static int
lifecycleStart(virDomainObj *vm, virConnectPtr conn, unsigned int flags)
{
    unsigned int how = 0;
    bool image = !virDomainObjIsActive(vm) && saveManagedHas(vm);
    int ret;

    if (image && !(flags & VIR_DOMAIN_START_FORCE_BOOT))
        return saveManagedStart(vm, conn, flags);
    if (flags & VIR_DOMAIN_START_PAUSED)
        how |= PROCESS_START_PAUSED;
    if (flags & VIR_DOMAIN_START_AUTODESTROY)
        how |= PROCESS_START_AUTODESTROY;
    if (image)
        saveManagedForgetBegin(vm);
    ret = processStart(vm, conn, how, VIR_DOMAIN_RUNNING_BOOTED);
    if (image)
        saveManagedForgetEnd(vm, ret == 0);
    if (ret < 0)
        return -1;
    domainEvent(vm, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED);
    if (how & PROCESS_START_PAUSED)
        domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    return 0;
}

virDomainPtr
drvDomainCreateXML(virConnectPtr conn, const char *xmlDesc, unsigned int flags)
{
    drvState *drv = conn->privateData;
    unsigned int parse = VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_ABI_UPDATE;
    g_autoptr(virDomainDef) def = NULL;
    const virDomainDef *mine;
    virDomainPtr dom = NULL;
    virDomainObj *vm;

    virCheckFlags(CREATE_FLAGS | VIR_DOMAIN_START_VALIDATE, NULL);
    if (flags & VIR_DOMAIN_START_VALIDATE)
        parse |= VIR_DOMAIN_DEF_PARSE_VALIDATE_SCHEMA;
    if (!(def = virDomainDefParseString(xmlDesc, drv->xmlopt, NULL, parse)) ||
        virDomainCreateXMLEnsureACL(conn, def) < 0)
        return NULL;
    vm = virDomainObjListAdd(drv->domains, &def, drv->xmlopt,
                             VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE,
                             NULL);
    if (!vm)
        return NULL;
    mine = vm->def;
    if (virDomainObjBeginJob(vm, VIR_JOB_MODIFY) < 0) {
        domainDropDef(vm, mine);
        domainRemoveInactive(vm);
    } else {
        /* What is started with another definition would write to the disks that the image counts on. */
        if (saveManagedRefuse(vm) == 0 && domainHasDef(vm, mine) == 0 && lifecycleStart(vm, conn, flags) == 0) {
            dom = virGetDomain(conn, vm->def->name, vm->def->uuid, vm->def->id);
        } else {
            /* A persistent domain of this name keeps its own definition. */
            domainDropDef(vm, mine);
            domainRemoveInactive(vm);
        }
        virDomainObjEndJob(vm);
    }
    virDomainObjEndAPI(&vm);
    return dom;
}

static int
lifecycleCreate(callCtx *ctx, void *args)
{
    unsigned int flags = *(unsigned int *)args;

    if (lifecycleStart(ctx->vm, ctx->conn, flags) < 0)
        return -1;
    ctx->dom->id = ctx->vm->def->id;
    return 0;
}

int
drvDomainCreateWithFlags(virDomainPtr dom, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainCreateWithFlagsEnsureACL, .job = VIR_JOB_MODIFY, .act = lifecycleCreate,
    };

    virCheckFlags(CREATE_FLAGS, -1);
    return callRun(dom, &spec, &flags);
}

int
drvDomainCreate(virDomainPtr dom)
{
    static const callSpec spec = {
        .acl = virDomainCreateEnsureACL, .job = VIR_JOB_MODIFY, .act = lifecycleCreate,
    };
    unsigned int flags = 0;

    return callRun(dom, &spec, &flags);
}

static void
autostartOne(virDomainObj *vm)
{
    virObjectLock(vm);
    if (vm->autostart && !virDomainObjIsActive(vm) &&
        virDomainObjBeginJob(vm, VIR_JOB_MODIFY) == 0) {
        if (!virDomainObjIsActive(vm) && lifecycleStart(vm, NULL, 0) < 0)
            VIR_ERROR(_("domain '%1$s' cannot be started automatically: %2$s"), vm->def->name,
                      virGetLastErrorMessage());
        virDomainObjEndJob(vm);
    }
    virObjectUnlock(vm);
    virResetLastError();
}

void
processAutostartAll(drvState *drv)
{
    virDomainObj **vms = NULL;
    size_t nvms = 0;

    virDomainObjListCollectAll(drv->domains, &vms, &nvms);
    for (size_t i = 0; i < nvms; i++)
        autostartOne(vms[i]);
    virObjectListFreeCount(vms, nvms);
}

/* ---- pause ------------------------------------------------------------------------------------------------ */

static int
lifecycleSuspend(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    int state = virDomainObjGetState(ctx->vm, NULL);
    virDomainPausedReason reason;

    if (migAdminSuspend(ctx->vm) < 0)
        return -1;
    if (state == VIR_DOMAIN_PAUSED)
        return 0;
    if (state != VIR_DOMAIN_RUNNING) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' cannot be suspended in the state '%2$s'."),
                       ctx->vm->def->name, virDomainStateTypeToString(state));
        return -1;
    }
    reason = migSuspendReason(ctx->vm, ctx->conn);
    if (processPause(ctx->vm, reason) < 0)
        return -1;
    domainEvent(ctx->vm, VIR_DOMAIN_EVENT_SUSPENDED,
                reason == VIR_DOMAIN_PAUSED_MIGRATION ? VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED
                                                      : VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    return 0;
}

int
drvDomainSuspend(virDomainPtr domain)
{
    static const callSpec spec = {
        .acl = virDomainSuspendEnsureACL, .job = VIR_JOB_SUSPEND, .active = true,
        .act = lifecycleSuspend,
    };

    return callRun(domain, &spec, NULL);
}

static int
lifecycleResume(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    int mig = migAdminResume(ctx->vm);
    int reason;
    int state;

    if (mig != 0)
        return mig < 0 ? -1 : 0;
    if (callCheckActive(ctx->vm) < 0)
        return -1;
    state = virDomainObjGetState(ctx->vm, &reason);
    if (state == VIR_DOMAIN_RUNNING) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' is already running."),
                       ctx->vm->def->name);
        return -1;
    }
    if (state != VIR_DOMAIN_PAUSED) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' cannot be resumed in the state '%2$s'; resetting it may help."),
                       ctx->vm->def->name, virDomainStateTypeToString(state));
        return -1;
    }
    if (processResume(ctx->vm, VIR_DOMAIN_RUNNING_UNPAUSED) < 0)
        return -1;
    domainEvent(ctx->vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    return 0;
}

int
drvDomainResume(virDomainPtr domain)
{
    static const callSpec spec = {
        .acl = virDomainResumeEnsureACL, .job = VIR_JOB_SUSPEND, .active = true,
        .act = lifecycleResume,
    };

    return callRun(domain, &spec, NULL);
}

/* ---- shut down, reboot, reset -------------------------------------------------------------------------------- */

static int
lifecycleControl(virDomainObj *vm, bool (*op)(control *ctl, GError **error))
{
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    ok = op(ctl, &error);
    /* A VMM that ends for it, as some do, has done what was asked. */
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

typedef struct {
    bool reboot;
} powerArgs;

static int
lifecyclePowerButton(callCtx *ctx, void *opaque)
{
    const powerArgs *args = opaque;
    int state = virDomainObjGetState(ctx->vm, NULL);

    if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_PAUSED) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' is in the state '%2$s': it does not run anything that could shut down."),
                       ctx->vm->def->name, virDomainStateTypeToString(state));
        return -1;
    }
    if (args->reboot && ctx->priv->vmm->traits->endsWithGuest) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("Domain '%1$s' cannot be asked to reboot: when its guest powers off, %2$s ends. Reset it, or shut it down and start it."),
                       ctx->vm->def->name, ctx->priv->vmm->traits->title);
        return -1;
    }
    /* No VMM has a button for it: the guest powers off, and its end is turned into a reset. */
    ctx->priv->rebootPending = args->reboot &&
                               ctx->vm->def->onReboot == VIR_DOMAIN_LIFECYCLE_ACTION_RESTART;
    if (domainSaveStatus(ctx->vm) < 0)
        return -1;
    return lifecycleControl(ctx->vm, ctx->priv->vmm->traits->ops->powerdown);
}

/* How to ask the guest: we can press the power button and nothing else. */
static int
lifecycleCheckMode(unsigned int flags, unsigned int acpi)
{
    if ((flags & ~acpi) == 0)
        return 0;
    virReportError(VIR_ERR_ARGUMENT_UNSUPPORTED, "%s",
                   _("Guests can be asked to shut down or reboot by the ACPI power button only (mode 'acpi')."));
    return -1;
}

int
drvDomainShutdownFlags(virDomainPtr domain, unsigned int flags)
{
    static const callSpec spec = {
        .job = VIR_JOB_MODIFY, .active = true, .act = lifecyclePowerButton,
    };
    powerArgs args = { .reboot = false };

    virCheckFlags(VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN | VIR_DOMAIN_SHUTDOWN_GUEST_AGENT |
                  VIR_DOMAIN_SHUTDOWN_INITCTL | VIR_DOMAIN_SHUTDOWN_SIGNAL |
                  VIR_DOMAIN_SHUTDOWN_PARAVIRT, -1);
    if (lifecycleCheckMode(flags, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) < 0)
        return -1;
    return callRunFlags(domain, virDomainShutdownFlagsEnsureACL, flags, &spec, &args);
}

int
drvDomainShutdown(virDomainPtr domain)
{
    static const callSpec spec = {
        .acl = virDomainShutdownEnsureACL, .job = VIR_JOB_MODIFY, .active = true,
        .act = lifecyclePowerButton,
    };
    powerArgs args = { .reboot = false };

    return callRun(domain, &spec, &args);
}

int
drvDomainReboot(virDomainPtr domain, unsigned int flags)
{
    static const callSpec spec = {
        .job = VIR_JOB_MODIFY, .active = true, .act = lifecyclePowerButton,
    };
    powerArgs args = { .reboot = true };

    virCheckFlags(VIR_DOMAIN_REBOOT_ACPI_POWER_BTN | VIR_DOMAIN_REBOOT_GUEST_AGENT |
                  VIR_DOMAIN_REBOOT_INITCTL | VIR_DOMAIN_REBOOT_SIGNAL |
                  VIR_DOMAIN_REBOOT_PARAVIRT, -1);
    if (lifecycleCheckMode(flags, VIR_DOMAIN_REBOOT_ACPI_POWER_BTN) < 0)
        return -1;
    return callRunFlags(domain, virDomainRebootEnsureACL, flags, &spec, &args);
}

static int
lifecycleReset(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    int state = virDomainObjGetState(ctx->vm, NULL);

    ctx->priv->rebootPending = false;
    if (lifecycleControl(ctx->vm, ctx->priv->vmm->traits->ops->reset) < 0)
        return -1;
    ctx->priv->shuttingDown = false;
    /* After a panic or a power-off the machine is whole again, but stands still. */
    if (state == VIR_DOMAIN_CRASHED)
        virDomainObjSetState(ctx->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_CRASHED);
    else if (state == VIR_DOMAIN_SHUTDOWN)
        virDomainObjSetState(ctx->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_SHUTTING_DOWN);
    return domainSaveStatus(ctx->vm);
}

int
drvDomainReset(virDomainPtr domain, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainResetEnsureACL, .job = VIR_JOB_MODIFY, .active = true,
        .act = lifecycleReset,
    };

    virCheckFlags(0, -1);
    return callRun(domain, &spec, NULL);
}

/* ---- destroy -------------------------------------------------------------------------------------------------- */

/* SIGTERM and nothing more; the domain stays if that does not do. The DESTROY job is held. */
static int
destroyGracefully(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autoptr(drvConf) conf = stateConf(priv->drv);

    priv->beingDestroyed = true;
    if (processTerminate(vm, conf->shutdownTimeoutMs) || processHasEnded(vm))
        return 0;
    priv->beingDestroyed = false;
    virReportError(VIR_ERR_OPERATION_TIMEOUT,
                   _("Domain '%1$s' has not ended within %2$u ms after its VMM was asked to (SIGTERM); it is still there, destroy it without 'graceful'."),
                   vm->def->name, conf->shutdownTimeoutMs);
    return -1;
}

static int
destroyWithJob(virDomainObj *vm, guint64 incarnation, unsigned int flags)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    /* Ended while we waited, for instance because we killed it: that is what was wanted. */
    if (!virDomainObjIsActive(vm) || priv->incarnation != incarnation)
        return 0;
    if (flags & VIR_DOMAIN_DESTROY_GRACEFUL) {
        if (destroyGracefully(vm) < 0)
            return -1;
    } else {
        priv->beingDestroyed = true;
        processTerminate(vm, DESTROY_GENTLE_MS);
    }
    if (processStop(vm, VIR_DOMAIN_SHUTOFF_DESTROYED))
        domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
    if (flags & VIR_DOMAIN_DESTROY_REMOVE_LOGS)
        processLogRemove(priv->drv, vm->def);
    domainRemoveInactive(vm);
    return 0;
}

static int
lifecycleDestroy(callCtx *ctx, void *args)
{
    unsigned int flags = *(unsigned int *)args;
    virDomainObj *vm = ctx->vm;
    guint64 incarnation = ctx->priv->incarnation;
    int ret = migAdminDestroy(vm);

    if (ret != 0)
        return ret < 0 ? -1 : 0;
    if (!virDomainObjIsActive(vm))
        return 0;
    /* Somebody waits for this VMM, perhaps in vain: its end lets go of the job. */
    if (vm->job->active != VIR_JOB_NONE && !(flags & VIR_DOMAIN_DESTROY_GRACEFUL))
        processKill(vm);
    if (virDomainObjBeginJob(vm, VIR_JOB_DESTROY) < 0) {
        if (ctx->priv->incarnation == incarnation)
            ctx->priv->beingDestroyed = false;
        return -1;
    }
    ret = destroyWithJob(vm, incarnation, flags);
    virDomainObjEndJob(vm);
    return ret;
}

int
drvDomainDestroyFlags(virDomainPtr domain, unsigned int flags)
{
    /* No job from the caller: destroying works while others hold it. */
    static const callSpec spec = {
        .acl = virDomainDestroyFlagsEnsureACL, .job = VIR_JOB_NONE, .active = true,
        .act = lifecycleDestroy,
    };

    virCheckFlags(VIR_DOMAIN_DESTROY_GRACEFUL | VIR_DOMAIN_DESTROY_REMOVE_LOGS, -1);
    return callRun(domain, &spec, &flags);
}

int
drvDomainDestroy(virDomainPtr domain)
{
    static const callSpec spec = {
        .acl = virDomainDestroyEnsureACL, .job = VIR_JOB_NONE, .active = true,
        .act = lifecycleDestroy,
    };
    unsigned int flags = 0;

    return callRun(domain, &spec, &flags);
}
