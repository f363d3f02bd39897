/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_block.c: figures of a guest's disks; how they are come by: api_query.c */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/query.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virtypedparam.h"

#include "driver/compat.h"
#include "base/gettext.h"

static virDomainDiskDef *
blockFind(virDomainDef *def, const char *path)
{
    virDomainDiskDef *disk = virDomainDiskByName(def, path, false);

    if (!disk)
        virReportError(VIR_ERR_INVALID_ARG, _("Domain '%1$s' has no disk '%2$s'."), def->name,
                       path);
    return disk;
}

static void
blockAdd(uint64_t *sum, uint64_t value)
{
    if (value != UINT64_MAX)
        *sum += value;
}

/* One disk, or the sum of all for the empty path. Figures that the VMM does not tell are 0. */
static int
blockCollect(virDomainObj *vm, const char *path, vmmBlockStats *ret)
{
    virDomainDiskDef *only = NULL;
    bool found = false;

    memset(ret, 0, sizeof(*ret));
    if (*path && !(only = blockFind(vm->def, path)))
        return -1;
    for (size_t i = 0; virDomainObjIsActive(vm) && i < vm->def->ndisks; i++) {
        vmmBlockStats one;

        if ((only && vm->def->disks[i] != only) || !queryBlock(vm, vm->def->disks[i], &one))
            continue;
        found = true;
        blockAdd(&ret->rdReq, one.rdReq);
        blockAdd(&ret->rdBytes, one.rdBytes);
        blockAdd(&ret->wrReq, one.wrReq);
        blockAdd(&ret->wrBytes, one.wrBytes);
        blockAdd(&ret->flReq, one.flReq);
        blockAdd(&ret->rdNs, one.rdNs);
        blockAdd(&ret->wrNs, one.wrNs);
        blockAdd(&ret->flNs, one.flNs);
    }
    if (found)
        return 0;
    if (DRV_DOMAIN(vm)->vmm && !DRV_DOMAIN(vm)->vmm->traits->canCountBlocks) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, _("%1$s does not count what the disks of domain '%2$s' read and write."),
                       DRV_DOMAIN(vm)->vmm->traits->title, vm->def->name);
        return -1;
    }
    virReportError(VIR_ERR_OPERATION_FAILED,
                   _("The VMM of domain '%1$s' gives no figures for its disks at the moment."),
                   vm->def->name);
    return -1;
}

typedef struct {
    const char *path;
    vmmBlockStats *stats;
} blockArgs;

static int
blockStats(callCtx *ctx, void *opaque)
{
    const blockArgs *args = opaque;

    return blockCollect(ctx->vm, args->path, args->stats);
}

int
drvDomainBlockStats(virDomainPtr domain, const char *path, virDomainBlockStatsPtr stats)
{
    static const callSpec spec = {
        .acl = virDomainBlockStatsEnsureACL, .active = true, .act = blockStats,
    };
    vmmBlockStats figures;
    blockArgs args = { .path = path, .stats = &figures };

    if (callRun(domain, &spec, &args) < 0)
        return -1;
    stats->rd_req = figures.rdReq;
    stats->rd_bytes = figures.rdBytes;
    stats->wr_req = figures.wrReq;
    stats->wr_bytes = figures.wrBytes;
    stats->errs = -1;
    return 0;
}

static const struct {
    const char *name;
    size_t offset;
} blockParams[] = {
    { VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES, offsetof(vmmBlockStats, wrBytes) },
    { VIR_DOMAIN_BLOCK_STATS_WRITE_REQ, offsetof(vmmBlockStats, wrReq) },
    { VIR_DOMAIN_BLOCK_STATS_READ_BYTES, offsetof(vmmBlockStats, rdBytes) },
    { VIR_DOMAIN_BLOCK_STATS_READ_REQ, offsetof(vmmBlockStats, rdReq) },
    { VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ, offsetof(vmmBlockStats, flReq) },
    { VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES, offsetof(vmmBlockStats, wrNs) },
    { VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES, offsetof(vmmBlockStats, rdNs) },
    { VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES, offsetof(vmmBlockStats, flNs) },
};

int
drvDomainBlockStatsFlags(virDomainPtr domain, const char *path, virTypedParameterPtr params,
                         int *nparams, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainBlockStatsFlagsEnsureACL, .active = true, .act = blockStats,
    };
    vmmBlockStats figures;
    blockArgs args = { .path = path, .stats = &figures };
    int count = MIN(*nparams, (int)G_N_ELEMENTS(blockParams));

    virCheckFlags(VIR_TYPED_PARAM_STRING_OKAY, -1);
    if (callRun(domain, &spec, &args) < 0)
        return -1;
    if (*nparams == 0) {
        *nparams = G_N_ELEMENTS(blockParams);
        return 0;
    }
    for (int i = 0; i < count; i++) {
        const void *value = (const char *)&figures + blockParams[i].offset;

        if (virTypedParameterAssign(&params[i], blockParams[i].name, VIR_TYPED_PARAM_LLONG,
                                    (long long)*(const uint64_t *)value) < 0)
            return -1;
    }
    *nparams = count;
    return 0;
}

typedef struct {
    const char *path;
    virDomainBlockInfoPtr info;
} infoArgs;

static int
blockInfo(callCtx *ctx, void *opaque)
{
    const infoArgs *args = opaque;
    virDomainDiskDef *disk = blockFind(ctx->vm->def, args->path);

    if (!disk)
        return -1;
    if (virStorageSourceIsEmpty(disk->src)) {
        virReportError(VIR_ERR_INVALID_ARG, _("The disk '%1$s' of domain '%2$s' has no source."),
                       args->path, ctx->vm->def->name);
        return -1;
    }
    return queryBlockSizes(disk, args->info);
}

int
drvDomainGetBlockInfo(virDomainPtr domain, const char *path, virDomainBlockInfoPtr info,
                      unsigned int flags)
{
    static const callSpec spec = { .acl = virDomainGetBlockInfoEnsureACL, .act = blockInfo };
    infoArgs args = { .path = path, .info = info };

    virCheckFlags(0, -1);
    return callRun(domain, &spec, &args);
}
