/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_device.c: changes of a guest's devices; so far its memory balloon and what that tells */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/report.h"

#include "datatypes.h"
#include "viraccessapicheck.h"

#include "driver/compat.h"
#include "base/gettext.h"

typedef struct {
    unsigned long long kib;
    unsigned int flags;
} memoryArgs;

static int
memoryTooMuch(const virDomainDef *def, unsigned long long kib)
{
    unsigned long long total = virDomainDefGetMemoryTotal(def);

    if (kib <= total)
        return 0;
    virReportError(VIR_ERR_INVALID_ARG,
                   _("Domain '%1$s' cannot get %2$llu KiB: its maximum is %3$llu KiB."), def->name,
                   kib, total);
    return -1;
}

/* The guest is told what it shall have; how soon it gives memory back is its affair. */
static int
memorySetLive(virDomainObj *vm, unsigned long long kib)
{
    const vmmOps *ops = DRV_DOMAIN(vm)->vmm->traits->ops;
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!virDomainDefHasMemballoon(vm->def) || !ops->balloonSet) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("Domain '%1$s' has no memory balloon that could change its memory while it runs."),
                       vm->def->name);
        return -1;
    }
    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    ok = ops->balloonSet(ctl, kib * 1024, &error);
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

static int
memorySetConfig(virDomainObj *vm, virDomainDef *def, const memoryArgs *args)
{
    unsigned long long oldTotal = virDomainDefGetMemoryTotal(def), oldNow = def->mem.cur_balloon;

    if (args->flags & VIR_DOMAIN_MEM_MAXIMUM) {
        virDomainDefSetMemoryTotal(def, args->kib);
        def->mem.cur_balloon = MIN(def->mem.cur_balloon, args->kib);
    } else {
        def->mem.cur_balloon = args->kib;
    }
    if (domainSaveConfig(vm) == 0)
        return 0;
    if (args->flags & VIR_DOMAIN_MEM_MAXIMUM)
        virDomainDefSetMemoryTotal(def, oldTotal);
    def->mem.cur_balloon = oldNow;
    return -1;
}

static int
memorySet(callCtx *ctx, void *opaque)
{
    const memoryArgs *args = opaque;
    bool maximum = (args->flags & VIR_DOMAIN_MEM_MAXIMUM) != 0;
    virDomainDef *live, *config;

    if (virDomainObjGetDefs(ctx->vm, args->flags & ~VIR_DOMAIN_MEM_MAXIMUM, &live, &config) < 0)
        return -1;
    if (live && maximum) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("The maximum memory of domain '%1$s' cannot be changed while it runs."),
                       ctx->vm->def->name);
        return -1;
    }
    if ((live && memoryTooMuch(live, args->kib) < 0) ||
        (config && !maximum && memoryTooMuch(config, args->kib) < 0))
        return -1;
    if (live && memorySetLive(ctx->vm, args->kib) < 0)
        return -1;
    return config ? memorySetConfig(ctx->vm, config, args) : 0;
}

int
drvDomainSetMemoryFlags(virDomainPtr domain, unsigned long memory, unsigned int flags)
{
    static const callSpec spec = { .job = VIR_JOB_MODIFY, .act = memorySet };
    memoryArgs args = { .kib = memory, .flags = flags };

    virCheckFlags(VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_MEM_MAXIMUM, -1);
    return callRunFlags(domain, virDomainSetMemoryFlagsEnsureACL, flags, &spec, &args);
}

int
drvDomainSetMemory(virDomainPtr domain, unsigned long memory)
{
    static const callSpec spec = {
        .acl = virDomainSetMemoryEnsureACL, .job = VIR_JOB_MODIFY, .act = memorySet,
    };
    memoryArgs args = { .kib = memory, .flags = VIR_DOMAIN_AFFECT_LIVE };

    return callRun(domain, &spec, &args);
}

int
drvDomainSetMaxMemory(virDomainPtr domain, unsigned long memory)
{
    static const callSpec spec = { .acl = virDomainSetMaxMemoryEnsureACL, .job = VIR_JOB_MODIFY, .act = memorySet };
    memoryArgs args = { .kib = memory, .flags = VIR_DOMAIN_AFFECT_CURRENT | VIR_DOMAIN_MEM_MAXIMUM };

    return callRun(domain, &spec, &args);
}

/* ---- how often the guest says what it does with its memory ---- */

typedef struct {
    int period;                  /* seconds; 0: never */
    unsigned int flags;
} periodArgs;

static int
periodCheckBalloon(const virDomainDef *def)
{
    if (virDomainDefHasMemballoon(def))
        return 0;
    virReportError(VIR_ERR_OPERATION_UNSUPPORTED, _("Domain '%1$s' has no memory balloon that could tell of its memory."),
                   def->name);
    return -1;
}

static int
periodSetLive(virDomainObj *vm, int period)
{
    const vmmOps *ops = DRV_DOMAIN(vm)->vmm->traits->ops;
    g_autofree char *alias = g_strdup(vm->def->memballoon->info.alias);
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    ok = ops->balloonPeriod(ctl, alias, period, &error);
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    if (!ok)
        return reportGError(g_steal_pointer(&error));
    vm->def->memballoon->period = period;
    return domainSaveStatus(vm);
}

static int
periodSet(callCtx *ctx, void *opaque)
{
    const periodArgs *args = opaque;
    virDomainDef *live, *config;
    int old;

    if (virDomainObjGetDefs(ctx->vm, args->flags, &live, &config) < 0 ||
        (live && periodCheckBalloon(live) < 0) || (config && periodCheckBalloon(config) < 0) ||
        (live && periodSetLive(ctx->vm, args->period) < 0))
        return -1;
    if (!config)
        return 0;
    old = config->memballoon->period;
    config->memballoon->period = args->period;
    if (domainSaveConfig(ctx->vm) == 0)
        return 0;
    config->memballoon->period = old;
    return -1;
}

int
drvDomainSetMemoryStatsPeriod(virDomainPtr domain, int period, unsigned int flags)
{
    static const callSpec spec = { .job = VIR_JOB_MODIFY, .act = periodSet };
    periodArgs args = { .period = period, .flags = flags };

    virCheckFlags(VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG, -1);
    if (period < 0) {
        virReportError(VIR_ERR_INVALID_ARG, _("The period of %1$d seconds is negative."), period);
        return -1;
    }
    return callRunFlags(domain, virDomainSetMemoryStatsPeriodEnsureACL, flags, &spec, &args);
}
