/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_stats.c: a migration's figures in libvirt's two shapes; each field is one row */
#include <config.h>

#include "driver/mig_priv.h"

#include "virerror.h"
#include "virtypedparam.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

/* KNOWN: left out while zero; CACHE: left out unless there is a cache of pages. */
typedef enum { WHEN_ALWAYS, WHEN_KNOWN, WHEN_CACHE } statsWhen;

static const struct {
    const char *name;
    size_t offset;               /* of a uint64_t in migStats */
    statsWhen when;
} statsRows[] = {
    { VIR_DOMAIN_JOB_TIME_ELAPSED, offsetof(migStats, elapsedMs), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_DOWNTIME, offsetof(migStats, downtimeMs), WHEN_KNOWN },
    { VIR_DOMAIN_JOB_SETUP_TIME, offsetof(migStats, setupMs), WHEN_KNOWN },
    { VIR_DOMAIN_JOB_MEMORY_TOTAL, offsetof(migStats, vmm.ramTotal), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_MEMORY_PROCESSED, offsetof(migStats, vmm.ramTransferred), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_MEMORY_REMAINING, offsetof(migStats, vmm.ramRemaining), WHEN_ALWAYS },
    { "stratovirt.wire_bytes", offsetof(migStats, wireBytes), WHEN_KNOWN },
    { VIR_DOMAIN_JOB_MEMORY_BPS, offsetof(migStats, vmm.ramBps), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_MEMORY_CONSTANT, offsetof(migStats, vmm.ramDuplicatePages), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_MEMORY_NORMAL, offsetof(migStats, vmm.ramNormalPages), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_MEMORY_NORMAL_BYTES, offsetof(migStats, vmm.ramNormalBytes), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, offsetof(migStats, vmm.ramDirtyPagesPerSecond), WHEN_KNOWN },
    { VIR_DOMAIN_JOB_MEMORY_ITERATION, offsetof(migStats, vmm.ramIteration), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, offsetof(migStats, vmm.ramPageSize), WHEN_KNOWN },
    { VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS, offsetof(migStats, vmm.ramPostcopyRequests), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_DISK_TOTAL, offsetof(migStats, vmm.diskTotal), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_DISK_PROCESSED, offsetof(migStats, vmm.diskTransferred), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_DISK_REMAINING, offsetof(migStats, vmm.diskRemaining), WHEN_ALWAYS },
    { VIR_DOMAIN_JOB_COMPRESSION_CACHE, offsetof(migStats, vmm.cacheBytes), WHEN_CACHE },
    { VIR_DOMAIN_JOB_COMPRESSION_BYTES, offsetof(migStats, vmm.cacheSentBytes), WHEN_CACHE },
    { VIR_DOMAIN_JOB_COMPRESSION_PAGES, offsetof(migStats, vmm.cacheSentPages), WHEN_CACHE },
    { VIR_DOMAIN_JOB_COMPRESSION_CACHE_MISSES, offsetof(migStats, vmm.cacheMisses), WHEN_CACHE },
    { VIR_DOMAIN_JOB_COMPRESSION_OVERFLOW, offsetof(migStats, vmm.cacheOverflows), WHEN_CACHE },
};

static int
statsType(const migStats *stats)
{
    switch (stats->result) {
    case MIG_RESULT_RUNNING:
        return VIR_DOMAIN_JOB_UNBOUNDED;
    case MIG_RESULT_COMPLETED:
        return VIR_DOMAIN_JOB_COMPLETED;
    case MIG_RESULT_CANCELLED:
        return VIR_DOMAIN_JOB_CANCELLED;
    case MIG_RESULT_FAILED:
        break;
    }
    return VIR_DOMAIN_JOB_FAILED;
}

/*
 * What programs show as progress: it never grows, although the guest writes its memory anew and MEMORY_REMAINING grows with every
 * iteration.
 */
static uint64_t
statsLeft(const migStats *stats)
{
    if (stats->result == MIG_RESULT_COMPLETED)
        return 0;
    return MIN(stats->left, stats->vmm.ramTotal + stats->vmm.diskTotal);
}

/* The same without the coordinator's way from one host to the other, during which nothing happens. */
static int
statsAddNet(const migStats *stats, virTypedParameterPtr *params, int *n, int *max)
{
    const uint64_t control = stats->controlMs;

    if (!stats->hasControlMs || stats->result == MIG_RESULT_RUNNING)
        return 0;
    if (virTypedParamsAddULLong(params, n, max, VIR_DOMAIN_JOB_TIME_ELAPSED_NET,
                                stats->elapsedMs - MIN(control, stats->elapsedMs)) < 0)
        return -1;
    if (!stats->downtimeFinal)
        return 0;
    return virTypedParamsAddULLong(params, n, max, VIR_DOMAIN_JOB_DOWNTIME_NET,
                                   stats->downtimeMs - MIN(control, stats->downtimeMs));
}

/* What libvirt has no name for; see docs/migration-statistics.rst. */
static int
statsAddOurs(const migStats *stats, virTypedParameterPtr *params, int *n, int *max)
{
    if ((!stats->saveOperation &&
         virTypedParamsAddString(params, n, max, "stratovirt.phase", migPhaseName(stats->phase)) < 0) ||
        (stats->transport &&
         virTypedParamsAddString(params, n, max, "stratovirt.transport", stats->transport) < 0) ||
        (stats->peer && virTypedParamsAddString(params, n, max, "stratovirt.peer", stats->peer) < 0) ||
        (stats->cipher && virTypedParamsAddString(params, n, max, "stratovirt.cipher", stats->cipher) < 0) ||
        (stats->peerIdentity &&
         virTypedParamsAddString(params, n, max, "stratovirt.peer_identity", stats->peerIdentity) < 0))
        return -1;
    if (stats->queuePosition == 0)
        return 0;
    return virTypedParamsAddUInt(params, n, max, "stratovirt.queue_position", stats->queuePosition);
}

static int
statsAddDerived(const migStats *stats, virTypedParameterPtr *params, int *n, int *max)
{
    const vmmMigStatus *vmm = &stats->vmm;

    if (virTypedParamsAddInt(params, n, max, VIR_DOMAIN_JOB_OPERATION,
                             stats->saveOperation ? stats->saveOperation :
                             stats->side == MIG_SIDE_SOURCE ? VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT :
                             VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN) < 0 ||
        virTypedParamsAddULLong(params, n, max, VIR_DOMAIN_JOB_DATA_TOTAL,
                                vmm->ramTotal + vmm->diskTotal) < 0 ||
        virTypedParamsAddULLong(params, n, max, VIR_DOMAIN_JOB_DATA_PROCESSED,
                                vmm->ramTransferred + vmm->diskTransferred) < 0 ||
        virTypedParamsAddULLong(params, n, max, VIR_DOMAIN_JOB_DATA_REMAINING, statsLeft(stats)) < 0)
        return -1;
    if (stats->result == MIG_RESULT_RUNNING && stats->hasRemainingMs &&
        virTypedParamsAddULLong(params, n, max, VIR_DOMAIN_JOB_TIME_REMAINING, stats->remainingMs) < 0)
        return -1;
    if (statsAddNet(stats, params, n, max) < 0 || statsAddOurs(stats, params, n, max) < 0)
        return -1;
    if (vmm->cpuThrottlePercent &&
        virTypedParamsAddInt(params, n, max, VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE,
                             vmm->cpuThrottlePercent) < 0)
        return -1;
    if (stats->result == MIG_RESULT_RUNNING)
        return 0;
    if (virTypedParamsAddBoolean(params, n, max, VIR_DOMAIN_JOB_SUCCESS,
                                 stats->result == MIG_RESULT_COMPLETED) < 0)
        return -1;
    return stats->errorText ?
        virTypedParamsAddString(params, n, max, VIR_DOMAIN_JOB_ERRMSG, stats->errorText) : 0;
}

int
migStatsToParams(const migStats *stats, virTypedParameterPtr *params, int *nparams, int *type)
{
    virTypedParameterPtr list = NULL;
    int n = 0;
    int max = 0;
    size_t i;

    *type = statsType(stats);
    if (statsAddDerived(stats, &list, &n, &max) < 0) {
        virTypedParamsFree(list, n);
        return -1;
    }
    for (i = 0; i < G_N_ELEMENTS(statsRows); i++) {
        uint64_t value = *(const uint64_t *)((const char *)stats + statsRows[i].offset);

        if ((value == 0 && statsRows[i].when == WHEN_KNOWN) ||
            (stats->vmm.cacheBytes == 0 && statsRows[i].when == WHEN_CACHE))
            continue;
        if (virTypedParamsAddULLong(&list, &n, &max, statsRows[i].name, value) < 0) {
            virTypedParamsFree(list, n);
            return -1;
        }
    }
    *params = list;
    *nparams = n;
    return 0;
}

void
migStatsToInfo(const migStats *stats, virDomainJobInfoPtr info)
{
    const vmmMigStatus *vmm = &stats->vmm;

    memset(info, 0, sizeof(*info));
    info->type = statsType(stats);
    info->timeElapsed = stats->elapsedMs;
    info->timeRemaining = stats->result == MIG_RESULT_RUNNING && stats->hasRemainingMs ? stats->remainingMs : 0;
    info->memTotal = vmm->ramTotal;
    info->memProcessed = vmm->ramTransferred;
    info->memRemaining = vmm->ramRemaining;
    info->fileTotal = vmm->diskTotal;
    info->fileProcessed = vmm->diskTransferred;
    info->fileRemaining = vmm->diskRemaining;
    info->dataTotal = info->memTotal + info->fileTotal;
    info->dataProcessed = info->memProcessed + info->fileProcessed;
    info->dataRemaining = statsLeft(stats);
}
