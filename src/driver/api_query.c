/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Queries take no job, so they wait for nobody: not for a migration, not for a VMM that does not answer.  What /proc and the
 * definition know comes from there; what only the VMM knows is asked with a short time limit, and only while nobody else
 * is using the VMM, otherwise the last known value counts (query_vmm.c).
 */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/mig.h"
#include "driver/query.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virnetdevtap.h"
#include "virprocess.h"
#include "virtime.h"
#include "virtypedparam.h"

#include "driver/compat.h"
#include "base/gettext.h"

/* ---- identity and state ------------------------------------------------------------------------------------ */

static int
queryOsType(callCtx *ctx, void *args)
{
    *(char **)args = g_strdup(virDomainOSTypeToString(ctx->vm->def->os.type));
    return 0;
}

char *
drvDomainGetOSType(virDomainPtr domain)
{
    static const callSpec spec = { .acl = virDomainGetOSTypeEnsureACL, .act = queryOsType };
    char *ret = NULL;

    callRun(domain, &spec, &ret);
    return ret;
}

static int
queryMaxMemory(callCtx *ctx, void *args)
{
    *(unsigned long long *)args = virDomainDefGetMemoryTotal(ctx->vm->def);
    return 0;
}

unsigned long long
drvDomainGetMaxMemory(virDomainPtr domain)
{
    static const callSpec spec = { .acl = virDomainGetMaxMemoryEnsureACL, .act = queryMaxMemory };
    unsigned long long ret = 0;

    callRun(domain, &spec, &ret);
    return ret;
}

static int
queryInfo(callCtx *ctx, void *args)
{
    virDomainInfoPtr info = args;
    virDomainObj *vm = ctx->vm;

    memset(info, 0, sizeof(*info));
    info->state = virDomainObjGetState(vm, NULL);
    info->maxMem = virDomainDefGetMemoryTotal(vm->def);
    info->memory = queryMemoryNow(vm);
    info->nrVirtCpu = virDomainDefGetVcpus(vm->def);
    if (virDomainObjIsActive(vm) && vm->pid > 0 &&
        virProcessGetStatInfo(&info->cpuTime, NULL, NULL, NULL, NULL, vm->pid, 0) < 0)
        return -1;
    return 0;
}

int
drvDomainGetInfo(virDomainPtr domain, virDomainInfoPtr info)
{
    static const callSpec spec = { .acl = virDomainGetInfoEnsureACL, .act = queryInfo };

    return callRun(domain, &spec, info);
}

typedef struct {
    int *state, *reason;
} stateArgs;

static int
queryState(callCtx *ctx, void *opaque)
{
    const stateArgs *args = opaque;

    *args->state = virDomainObjGetState(ctx->vm, args->reason);
    return 0;
}

int
drvDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned int flags)
{
    static const callSpec spec = { .acl = virDomainGetStateEnsureACL, .act = queryState };
    stateArgs args = { .state = state, .reason = reason };

    virCheckFlags(0, -1);
    return callRun(domain, &spec, &args);
}

static int
queryControlInfo(callCtx *ctx, void *args)
{
    virDomainControlInfoPtr info = args;
    virDomainJobObj *job = ctx->vm->job;
    unsigned long long now;

    memset(info, 0, sizeof(*info));
    if (!ctx->priv->ctl) {
        info->state = VIR_DOMAIN_CONTROL_ERROR;
        info->details = VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR;
        return 0;
    }
    if (job->active == VIR_JOB_NONE && job->asyncJob == VIR_ASYNC_JOB_NONE)
        return 0;
    if (virTimeMillisNow(&now) < 0)
        return -1;
    info->state = VIR_DOMAIN_CONTROL_JOB;
    info->stateTime = now - (job->active == VIR_JOB_NONE ? job->asyncStarted : job->started);
    return 0;
}

int
drvDomainGetControlInfo(virDomainPtr domain, virDomainControlInfoPtr info, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainGetControlInfoEnsureACL, .active = true, .act = queryControlInfo,
    };

    virCheckFlags(0, -1);
    return callRun(domain, &spec, info);
}

typedef struct {
    char ***list;
    unsigned int flags;
} messageArgs;

static int
queryMessages(callCtx *ctx, void *opaque)
{
    const messageArgs *args = opaque;
    int count = compatDomainMessages(ctx->vm, args->list, args->flags);
    char *more;

    /* Ours are of neither kind that can be selected. */
    if (count < 0 || args->flags != 0 || !(more = migMessage(ctx->vm)))
        return count;
    *args->list = g_renew(char *, *args->list, count + 2);
    (*args->list)[count] = more;
    (*args->list)[count + 1] = NULL;
    return count + 1;
}

int
drvDomainGetMessages(virDomainPtr domain, char ***msgs, unsigned int flags)
{
    static const callSpec spec = { .acl = virDomainGetMessagesEnsureACL, .act = queryMessages };
    messageArgs args = { .list = msgs, .flags = flags };

    virCheckFlags(VIR_DOMAIN_MESSAGE_DEPRECATION | VIR_DOMAIN_MESSAGE_TAINTING, -1);
    return callRun(domain, &spec, &args);
}

/* ---- virtual CPUs ------------------------------------------------------------------------------------------- */

static int
queryVcpuCount(callCtx *ctx, void *args)
{
    unsigned int flags = *(unsigned int *)args;
    virDomainDef *def = virDomainObjGetOneDef(ctx->vm, flags & ~VIR_DOMAIN_VCPU_MAXIMUM);

    if (!def)
        return -1;
    return flags & VIR_DOMAIN_VCPU_MAXIMUM ? virDomainDefGetVcpusMax(def)
                                           : virDomainDefGetVcpus(def);
}

int
drvDomainGetVcpusFlags(virDomainPtr domain, unsigned int flags)
{
    static const callSpec spec = { .act = queryVcpuCount };

    virCheckFlags(VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_VCPU_MAXIMUM, -1);
    return callRunFlags(domain, virDomainGetVcpusFlagsEnsureACL, flags, &spec, &flags);
}

static int
queryMaxVcpus(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    virDomainDef *def = ctx->vm->def;

    /* As documented: what a running guest has, what a stopped one could have. */
    return virDomainDefGetVcpusMax(def);
}

int
drvDomainGetMaxVcpus(virDomainPtr domain)
{
    static const callSpec spec = { .acl = virDomainGetMaxVcpusEnsureACL, .act = queryMaxVcpus };

    return callRun(domain, &spec, NULL);
}

typedef struct {
    virVcpuInfoPtr info;
    int maxinfo;
    unsigned char *cpumaps;
    int maplen;
} vcpuArgs;

static int
queryOneVcpu(const drvDomain *priv, pid_t pid, size_t index, const vcpuArgs *args)
{
    virVcpuInfoPtr info = &args->info[index];
    g_autoptr(virBitmap) map = NULL;

    info->number = index;
    info->state = VIR_VCPU_RUNNING;
    if (virProcessGetStatInfo(&info->cpuTime, NULL, NULL, &info->cpu, NULL, pid,
                              priv->vcpuPids[index]) < 0)
        return -1;
    if (!args->cpumaps)
        return 0;
    if (!(map = virProcessGetAffinity(priv->vcpuPids[index])))
        return -1;
    virBitmapToDataBuf(map, VIR_GET_CPUMAP(args->cpumaps, args->maplen, index), args->maplen);
    return 0;
}

static int
queryVcpus(callCtx *ctx, void *opaque)
{
    const vcpuArgs *args = opaque;
    size_t count = MIN(ctx->priv->nvcpuPids, (size_t)args->maxinfo);

    if (args->info)
        memset(args->info, 0, sizeof(*args->info) * args->maxinfo);
    if (args->cpumaps)
        memset(args->cpumaps, 0, (size_t)args->maplen * args->maxinfo);
    for (size_t i = 0; args->info && i < count; i++) {
        if (queryOneVcpu(ctx->priv, ctx->vm->pid, i, args) < 0)
            return -1;
    }
    return count;
}

int
drvDomainGetVcpus(virDomainPtr domain, virVcpuInfoPtr info, int maxinfo, unsigned char *cpumaps,
                  int maplen)
{
    static const callSpec spec = {
        .acl = virDomainGetVcpusEnsureACL, .active = true, .act = queryVcpus,
    };
    vcpuArgs args = { .info = info, .maxinfo = maxinfo, .cpumaps = cpumaps, .maplen = maplen };

    return callRun(domain, &spec, &args);
}

/* ---- CPU time --------------------------------------------------------------------------------------------------- */

typedef struct {
    virTypedParameterPtr params;
    unsigned int nparams;
} cpuArgs;

static int
queryCpuTotal(callCtx *ctx, void *opaque)
{
    const cpuArgs *args = opaque;
    unsigned long long total, user, system;
    const struct { const char *name; const unsigned long long *value; } rows[] = {
        { VIR_DOMAIN_CPU_STATS_CPUTIME, &total },
        { VIR_DOMAIN_CPU_STATS_USERTIME, &user },
        { VIR_DOMAIN_CPU_STATS_SYSTEMTIME, &system },
    };
    size_t count = MIN(args->nparams, G_N_ELEMENTS(rows));

    if (args->nparams == 0)
        return G_N_ELEMENTS(rows);
    if (virProcessGetStatInfo(&total, &user, &system, NULL, NULL, ctx->vm->pid, 0) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (virTypedParameterAssign(&args->params[i], rows[i].name, VIR_TYPED_PARAM_ULLONG,
                                    *rows[i].value) < 0)
            return -1;
    }
    return count;
}

int
drvDomainGetCPUStats(virDomainPtr domain, virTypedParameterPtr params, unsigned int nparams,
                     int start_cpu, unsigned int ncpus G_GNUC_UNUSED, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainGetCPUStatsEnsureACL, .active = true, .act = queryCpuTotal,
    };
    cpuArgs args = { .params = params, .nparams = nparams };

    virCheckFlags(VIR_TYPED_PARAM_STRING_OKAY, -1);
    if (start_cpu != -1) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s",
                       _("CPU times for each of the host's CPUs are not kept, only the total."));
        return -1;
    }
    return callRun(domain, &spec, &args);
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

typedef struct {
    virDomainMemoryStatPtr stats;
    unsigned int room;
} memoryArgs;

static void
memoryAdd(const memoryArgs *args, unsigned int *n, int tag, unsigned long long value)
{
    if (*n >= args->room)
        return;
    args->stats[*n].tag = tag;
    args->stats[(*n)++].val = value;
}

static void
memoryAddGuest(virDomainObj *vm, const memoryArgs *args, unsigned int *n)
{
    vmmGuestMemory guest;
    const struct { int tag; const uint64_t *value; unsigned int unit; } rows[] = {
        { VIR_DOMAIN_MEMORY_STAT_SWAP_IN, &guest.swapIn, 1024 },
        { VIR_DOMAIN_MEMORY_STAT_SWAP_OUT, &guest.swapOut, 1024 },
        { VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT, &guest.majorFaults, 1 },
        { VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT, &guest.minorFaults, 1 },
        { VIR_DOMAIN_MEMORY_STAT_UNUSED, &guest.unused, 1024 },
        { VIR_DOMAIN_MEMORY_STAT_AVAILABLE, &guest.available, 1024 },
        { VIR_DOMAIN_MEMORY_STAT_USABLE, &guest.usable, 1024 },
        { VIR_DOMAIN_MEMORY_STAT_DISK_CACHES, &guest.diskCaches, 1024 },
        { VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGALLOC, &guest.hugeAllocs, 1 },
        { VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGFAIL, &guest.hugeFails, 1 },
        { VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE, &guest.updatedAt, 1 },
    };

    /* Before the guest has spoken the figures are none. */
    if (!queryGuestMemory(vm, &guest) || guest.updatedAt == 0)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (*rows[i].value != UINT64_MAX)
            memoryAdd(args, n, rows[i].tag, *rows[i].value / rows[i].unit);
    }
}

static int
queryMemoryStats(callCtx *ctx, void *opaque)
{
    const memoryArgs *args = opaque;
    unsigned long long rss = 0;
    unsigned int n = 0;

    if (compatProcessRss(ctx->vm->pid, &rss) < 0)
        return -1;
    memoryAdd(args, &n, VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON, queryMemoryNow(ctx->vm));
    memoryAdd(args, &n, VIR_DOMAIN_MEMORY_STAT_RSS, rss);
    /* May drop the lock: last. */
    memoryAddGuest(ctx->vm, args, &n);
    return n;
}

int
drvDomainMemoryStats(virDomainPtr domain, virDomainMemoryStatPtr stats, unsigned int nr_stats,
                     unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainMemoryStatsEnsureACL, .active = true, .act = queryMemoryStats,
    };
    memoryArgs args = { .stats = stats, .room = nr_stats };

    virCheckFlags(0, -1);
    return callRun(domain, &spec, &args);
}

/* ---- interfaces ----------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *device;
    virDomainInterfaceStatsPtr stats;
} interfaceArgs;

static int
queryInterfaceStats(callCtx *ctx, void *opaque)
{
    const interfaceArgs *args = opaque;
    virDomainNetDef *net = virDomainNetFind(ctx->vm->def, args->device);

    if (!net)
        return -1;
    if (!net->ifname) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("The interface '%1$s' of domain '%2$s' has no device on the host that counts."),
                       args->device, ctx->vm->def->name);
        return -1;
    }
    return virNetDevTapInterfaceStats(net->ifname, args->stats,
                                      !virDomainNetTypeSharesHostView(net));
}

int
drvDomainInterfaceStats(virDomainPtr domain, const char *device, virDomainInterfaceStatsPtr stats)
{
    static const callSpec spec = {
        .acl = virDomainInterfaceStatsEnsureACL, .active = true, .act = queryInterfaceStats,
    };
    interfaceArgs args = { .device = device, .stats = stats };

    return callRun(domain, &spec, &args);
}
