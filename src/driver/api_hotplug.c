/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_hotplug.c: devices attached, detached and changed, in the running guest and in its definition; see hotplug.h */
#include <config.h>

#include "driver/api.h"
#include "driver/address.h"
#include "driver/call.h"
#include "driver/hotplug.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virdomainjob.h"

#include "driver/compat.h"
#include "base/gettext.h"

#define AFFECT_FLAGS (VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG)

typedef struct _deviceArgs deviceArgs;
struct _deviceArgs {
    const char *xml;             /* or */
    const char *alias;
    unsigned int flags;          /* AFFECT_FLAGS */
    int (*act)(virDomainObj *vm, const deviceArgs *args, virDomainDef *live, virDomainDef *config);
};

static virDomainDeviceDef *
deviceParse(virDomainObj *vm, const deviceArgs *args, virDomainDef *def)
{
    /* Where it goes it is judged together with all the rest. */
    return virDomainDeviceDefParse(args->xml, def, DRV_DOMAIN(vm)->drv->xmlopt, NULL,
                                   VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
}

/* Takes @newDef, which was made of the persistent definition @config. */
static int
deviceStore(virDomainObj *vm, const virDomainDef *config, virDomainDef **newDef)
{
    g_autoptr(virDomainDef) old = NULL;

    const bool active = virDomainObjIsActive(vm);

    /* Between the two the guest has ended and the definition that it ran with is still there. */
    if ((active ? vm->newDef : vm->def) != config || (!active && vm->newDef)) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' was defined anew while one of its devices was to be changed; the new definition stays as it is."),
                       vm->def->name);
        return -1;
    }
    virDomainObjAssignDef(vm, newDef, false, &old);
    if (domainSaveConfig(vm) == 0)
        return 0;
    if (old)
        virDomainObjAssignDef(vm, &old, false, NULL);
    return -1;
}

/* ---- attach ------------------------------------------------------------------------------------------------ */

static int
deviceAttach(virDomainObj *vm, const deviceArgs *args, virDomainDef *live, virDomainDef *config)
{
    g_autoptr(virDomainDeviceDef) liveDev = NULL;
    g_autoptr(virDomainDeviceDef) configDev = NULL;
    g_autoptr(virDomainDef) newDef = NULL;

    if ((live && !(liveDev = deviceParse(vm, args, live))) || (config && !(configDev = deviceParse(vm, args, config))))
        return -1;
    if (live && (hotplugCheckLive(vm, liveDev) < 0 || addrPlug(live, virDomainDeviceGetInfo(liveDev)) < 0))
        return -1;
    if (live && config) {
        virDomainDeviceInfo *from = virDomainDeviceGetInfo(liveDev);
        virDomainDeviceInfo *to = virDomainDeviceGetInfo(configDev);

        /* The next start finds it where it is, and by the address that it has got. */
        if (addrIsFree(config, from)) {
            to->type = from->type;
            to->addr = from->addr;
        }
        if (liveDev->type == VIR_DOMAIN_DEVICE_NET)
            configDev->data.net->mac = liveDev->data.net->mac;
    }
    if (config && !(newDef = hotplugDefAdd(vm, config, configDev)))
        return -1;
    if (live && hotplugAttach(vm, liveDev) < 0)
        return -1;
    return newDef ? deviceStore(vm, config, &newDef) : 0;
}

/* ---- detach ------------------------------------------------------------------------------------------------ */

/* Which one of @def is meant; borrowed. */
static int
deviceFind(virDomainObj *vm, const deviceArgs *args, virDomainDef *def, virDomainDeviceDef *ret)
{
    g_autoptr(virDomainDeviceDef) like = NULL;

    if (args->alias)
        return virDomainDefFindDevice(def, args->alias, ret, true);
    if (!(like = deviceParse(vm, args, def)))
        return -1;
    return hotplugFind(def, like, ret);
}

static int
deviceDetach(virDomainObj *vm, const deviceArgs *args, virDomainDef *live, virDomainDef *config)
{
    g_autoptr(virDomainDef) newDef = NULL;
    virDomainDeviceDef dev;

    if (config && (deviceFind(vm, args, config, &dev) < 0 || !(newDef = hotplugDefRemove(vm, config, &dev))))
        return -1;
    if (live && (deviceFind(vm, args, live, &dev) < 0 || hotplugDetach(vm, &dev) < 0))
        return -1;
    return newDef ? deviceStore(vm, config, &newDef) : 0;
}

/* ---- change ------------------------------------------------------------------------------------------------ */

static int
deviceUpdate(virDomainObj *vm, const deviceArgs *args, virDomainDef *live, virDomainDef *config)
{
    g_autoptr(virDomainDeviceDef) dev = NULL;
    g_autoptr(virDomainDef) newDef = NULL;
    virDomainDeviceDef found;

    if (live) {
        if (deviceFind(vm, args, live, &found) < 0)
            return -1;
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("A device of domain '%1$s' cannot be changed while it runs: detach it and attach it anew, or change the definition alone (--config)."),
                       vm->def->name);
        return -1;
    }
    if (!(dev = deviceParse(vm, args, config)) || !(newDef = hotplugDefUpdate(vm, config, dev)))
        return -1;
    return deviceStore(vm, config, &newDef);
}

/* ---- the calls ------------------------------------------------------------------------------------------------ */

/* Definitions are copied with the lock held; what they ask of an emulator that has changed is asked before. */
static void
deviceProbe(callCtx *ctx)
{
    g_autofree char *emulator = g_strdup(ctx->vm->def->emulator);

    if (!emulator)
        return;
    virObjectUnlock(ctx->vm);
    if (!stateProbe(ctx->drv, emulator))
        virResetLastError();
    virObjectLock(ctx->vm);
}

static int
deviceWithJob(callCtx *ctx, const deviceArgs *args)
{
    virDomainDef *live, *config;

    deviceProbe(ctx);
    hotplugCatchUp(ctx->vm);
    if (virDomainObjGetDefs(ctx->vm, args->flags, &live, &config) < 0)
        return -1;
    return args->act(ctx->vm, args, live, config);
}

static int
deviceAct(callCtx *ctx, void *opaque)
{
    virDomainObj *vm = ctx->vm;
    int ret;

    /* Rather than waiting in vain for the end of a migration. */
    if (vm->job->asyncJob != VIR_ASYNC_JOB_NONE) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("The devices of domain '%1$s' cannot be changed now: it is busy with another job (%2$s)."), vm->def->name,
                       virDomainAsyncJobTypeToString(vm->job->asyncJob));
        return -1;
    }
    if (virDomainObjBeginJob(vm, VIR_JOB_MODIFY) < 0)
        return -1;
    ret = deviceWithJob(ctx, opaque);
    virDomainObjEndJob(vm);
    return ret;
}

static int
deviceRun(virDomainPtr dom, callAcl acl, deviceArgs *args)
{
    callSpec spec = { .acl = acl, .job = VIR_JOB_NONE, .act = deviceAct };

    return callRun(dom, &spec, args);
}

static int
deviceRunFlags(virDomainPtr dom, callAclFlags acl, deviceArgs *args)
{
    static const callSpec spec = { .job = VIR_JOB_NONE, .act = deviceAct };

    return callRunFlags(dom, acl, args->flags, &spec, args);
}

int
drvDomainAttachDevice(virDomainPtr dom, const char *xml)
{
    deviceArgs args = { .xml = xml, .flags = VIR_DOMAIN_AFFECT_LIVE, .act = deviceAttach };

    return deviceRun(dom, virDomainAttachDeviceEnsureACL, &args);
}

int
drvDomainAttachDeviceFlags(virDomainPtr dom, const char *xml, unsigned int flags)
{
    deviceArgs args = { .xml = xml, .flags = flags, .act = deviceAttach };

    virCheckFlags(AFFECT_FLAGS, -1);
    return deviceRunFlags(dom, virDomainAttachDeviceFlagsEnsureACL, &args);
}

int
drvDomainDetachDevice(virDomainPtr dom, const char *xml)
{
    deviceArgs args = { .xml = xml, .flags = VIR_DOMAIN_AFFECT_LIVE, .act = deviceDetach };

    return deviceRun(dom, virDomainDetachDeviceEnsureACL, &args);
}

int
drvDomainDetachDeviceFlags(virDomainPtr dom, const char *xml, unsigned int flags)
{
    deviceArgs args = { .xml = xml, .flags = flags, .act = deviceDetach };

    virCheckFlags(AFFECT_FLAGS, -1);
    return deviceRunFlags(dom, virDomainDetachDeviceFlagsEnsureACL, &args);
}

int
drvDomainDetachDeviceAlias(virDomainPtr dom, const char *alias, unsigned int flags)
{
    deviceArgs args = { .alias = alias, .flags = flags, .act = deviceDetach };

    virCheckFlags(AFFECT_FLAGS, -1);
    return deviceRunFlags(dom, virDomainDetachDeviceAliasEnsureACL, &args);
}

int
drvDomainUpdateDeviceFlags(virDomainPtr dom, const char *xml, unsigned int flags)
{
    deviceArgs args = { .xml = xml, .flags = flags, .act = deviceUpdate };

    virCheckFlags(AFFECT_FLAGS, -1);
    return deviceRunFlags(dom, virDomainUpdateDeviceFlagsEnsureACL, &args);
}
