/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_stats.c: figures of many guests in one call, one row a group; how they are come by: api_query.c */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/query.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virnetdevtap.h"
#include "virprocess.h"
#include "virtypedparam.h"

#include "driver/compat.h"
#include "base/gettext.h"

static int
statsState(virDomainObj *vm, virTypedParamList *list)
{
    int reason;
    int state = virDomainObjGetState(vm, &reason);

    if (virTypedParamListAddInt(list, state, "state.state") < 0)
        return -1;
    return virTypedParamListAddInt(list, reason, "state.reason");
}

static int
statsCpuTotal(virDomainObj *vm, virTypedParamList *list)
{
    unsigned long long total, user, system;

    if (!virDomainObjIsActive(vm) || vm->pid <= 0)
        return 0;
    if (virProcessGetStatInfo(&total, &user, &system, NULL, NULL, vm->pid, 0) < 0 ||
        virTypedParamListAddULLong(list, total, "cpu.time") < 0 ||
        virTypedParamListAddULLong(list, user, "cpu.user") < 0)
        return -1;
    return virTypedParamListAddULLong(list, system, "cpu.system");
}

static int
statsBalloon(virDomainObj *vm, virTypedParamList *list)
{
    unsigned long long rss = 0;

    if (virTypedParamListAddULLong(list, queryMemoryNow(vm), "balloon.current") < 0 ||
        virTypedParamListAddULLong(list, virDomainDefGetMemoryTotal(vm->def),
                                   "balloon.maximum") < 0)
        return -1;
    if (!virDomainObjIsActive(vm) || vm->pid <= 0)
        return 0;
    if (compatProcessRss(vm->pid, &rss) < 0)
        return -1;
    return virTypedParamListAddULLong(list, rss, "balloon.rss");
}

static int
statsVcpu(virDomainObj *vm, virTypedParamList *list)
{
    const drvDomain *priv = DRV_DOMAIN(vm);

    if (virTypedParamListAddUInt(list, virDomainDefGetVcpus(vm->def), "vcpu.current") < 0 ||
        virTypedParamListAddUInt(list, virDomainDefGetVcpusMax(vm->def), "vcpu.maximum") < 0)
        return -1;
    for (size_t i = 0; virDomainObjIsActive(vm) && i < priv->nvcpuPids; i++) {
        unsigned long long time, wait = 0;

        if (virProcessGetStatInfo(&time, NULL, NULL, NULL, NULL, vm->pid, priv->vcpuPids[i]) < 0 ||
            virProcessGetSchedInfo(&wait, vm->pid, priv->vcpuPids[i]) < 0 ||
            virTypedParamListAddInt(list, VIR_VCPU_RUNNING, "vcpu.%zu.state", i) < 0 ||
            virTypedParamListAddULLong(list, time, "vcpu.%zu.time", i) < 0 ||
            virTypedParamListAddULLong(list, wait, "vcpu.%zu.wait", i) < 0)
            return -1;
    }
    return 0;
}

static int
statsOneInterface(const virDomainNetDef *net, size_t index, virTypedParamList *list)
{
    virDomainInterfaceStatsStruct stats = { 0 };
    const struct { const char *name; const long long *value; } rows[] = {
        { "rx.bytes", &stats.rx_bytes }, { "rx.pkts", &stats.rx_packets },
        { "rx.errs", &stats.rx_errs }, { "rx.drop", &stats.rx_drop },
        { "tx.bytes", &stats.tx_bytes }, { "tx.pkts", &stats.tx_packets },
        { "tx.errs", &stats.tx_errs }, { "tx.drop", &stats.tx_drop },
    };

    if (!net->ifname)
        return 0;
    if (virTypedParamListAddString(list, net->ifname, "net.%zu.name", index) < 0)
        return -1;
    if (virNetDevTapInterfaceStats(net->ifname, &stats,
                                   !virDomainNetTypeSharesHostView(net)) < 0) {
        virResetLastError();
        return 0;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (*rows[i].value >= 0 &&
            virTypedParamListAddULLong(list, *rows[i].value, "net.%zu.%s", index,
                                       rows[i].name) < 0)
            return -1;
    }
    return 0;
}

static int
statsInterface(virDomainObj *vm, virTypedParamList *list)
{
    if (!virDomainObjIsActive(vm))
        return 0;
    if (virTypedParamListAddUInt(list, vm->def->nnets, "net.count") < 0)
        return -1;
    for (size_t i = 0; i < vm->def->nnets; i++) {
        if (statsOneInterface(vm->def->nets[i], i, list) < 0)
            return -1;
    }
    return 0;
}

static int
statsDiskCounters(const vmmBlockStats *stats, size_t index, virTypedParamList *list)
{
    const struct { const char *name; const uint64_t *value; } rows[] = {
        { "rd.reqs", &stats->rdReq }, { "rd.bytes", &stats->rdBytes },
        { "rd.times", &stats->rdNs }, { "wr.reqs", &stats->wrReq },
        { "wr.bytes", &stats->wrBytes }, { "wr.times", &stats->wrNs },
        { "fl.reqs", &stats->flReq }, { "fl.times", &stats->flNs },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (*rows[i].value != UINT64_MAX &&
            virTypedParamListAddULLong(list, *rows[i].value, "block.%zu.%s", index,
                                       rows[i].name) < 0)
            return -1;
    }
    return 0;
}

static int
statsOneDisk(virDomainObj *vm, virDomainDiskDef *disk, size_t index, virTypedParamList *list)
{
    virDomainBlockInfo info;
    vmmBlockStats stats;

    if (!disk || virStorageSourceIsEmpty(disk->src))
        return 0;
    if (virTypedParamListAddString(list, virDomainDiskGetSource(disk), "block.%zu.path",
                                   index) < 0)
        return -1;
    if (queryBlockSizes(disk, &info) < 0) {
        virResetLastError();
    } else if (virTypedParamListAddULLong(list, info.allocation, "block.%zu.allocation",
                                          index) < 0 ||
               virTypedParamListAddULLong(list, info.capacity, "block.%zu.capacity", index) < 0 ||
               virTypedParamListAddULLong(list, info.physical, "block.%zu.physical", index) < 0) {
        return -1;
    }
    return queryBlock(vm, disk, &stats) ? statsDiskCounters(&stats, index, list) : 0;
}

static int
statsBlock(virDomainObj *vm, virTypedParamList *list)
{
    size_t count = vm->def->ndisks;
    g_auto(GStrv) targets = g_new0(char *, count + 1);

    for (size_t i = 0; i < count; i++)
        targets[i] = g_strdup(vm->def->disks[i]->dst);
    if (virTypedParamListAddUInt(list, count, "block.count") < 0)
        return -1;
    /* The lock is dropped in between: a disk may come or go, and the definition become another one. */
    for (size_t i = 0; i < count; i++) {
        if (virTypedParamListAddString(list, targets[i], "block.%zu.name", i) < 0 ||
            statsOneDisk(vm, virDomainDiskByName(vm->def, targets[i], false), i, list) < 0)
            return -1;
    }
    return 0;
}

static const struct {
    unsigned int bit;
    int (*add)(virDomainObj *vm, virTypedParamList *list);
} statsGroups[] = {
    { VIR_DOMAIN_STATS_STATE, statsState },
    { VIR_DOMAIN_STATS_CPU_TOTAL, statsCpuTotal },
    { VIR_DOMAIN_STATS_BALLOON, statsBalloon },
    { VIR_DOMAIN_STATS_VCPU, statsVcpu },
    { VIR_DOMAIN_STATS_INTERFACE, statsInterface },
    { VIR_DOMAIN_STATS_BLOCK, statsBlock },
};

/* What is asked for and exists; 0 with error set if what does not exist was insisted on. */
static unsigned int
statsChoose(unsigned int asked, bool enforce)
{
    unsigned int known = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(statsGroups); i++)
        known |= statsGroups[i].bit;
    if (asked == 0)
        return known;
    if (enforce && (asked & ~known)) {
        virReportError(VIR_ERR_ARGUMENT_UNSUPPORTED,
                       _("The groups of statistics 0x%1$x are not kept by this driver."),
                       asked & ~known);
        return 0;
    }
    return asked & known;
}

/* One guest's record; NULL with error set. Takes and gives back the lock. */
static virDomainStatsRecordPtr
statsRecord(virConnectPtr conn, virDomainObj *vm, unsigned int groups)
{
    g_autoptr(virTypedParamList) list = compatParamListNew();
    virDomainStatsRecordPtr record = NULL;
    bool ok = true;

    virObjectLock(vm);
    for (size_t i = 0; ok && i < G_N_ELEMENTS(statsGroups); i++)
        ok = !(groups & statsGroups[i].bit) || statsGroups[i].add(vm, list) == 0;
    if (ok) {
        record = g_new0(virDomainStatsRecord, 1);
        record->dom = virGetDomain(conn, vm->def->name, vm->def->uuid, vm->def->id);
        record->nparams = compatParamListSteal(list, &record->params);
    }
    virObjectUnlock(vm);
    return record;
}

#define STATS_FILTERS (VIR_CONNECT_LIST_DOMAINS_FILTERS_ACTIVE | \
                       VIR_CONNECT_LIST_DOMAINS_FILTERS_PERSISTENT | \
                       VIR_CONNECT_LIST_DOMAINS_FILTERS_STATE)

static int
statsSelect(virConnectPtr conn, virDomainPtr *doms, unsigned int ndoms, unsigned int flags,
            virDomainObj ***vms, size_t *nvms)
{
    drvState *drv = conn->privateData;

    if (ndoms)
        return virDomainObjListConvert(drv->domains, conn, doms, ndoms, vms, nvms,
                                       virConnectGetAllDomainStatsCheckACL, flags, true);
    virDomainObjListCollect(drv->domains, conn, vms, nvms, virConnectGetAllDomainStatsCheckACL,
                            flags);
    return 0;
}

int
drvConnectGetAllDomainStats(virConnectPtr conn, virDomainPtr *doms, unsigned int ndoms,
                            unsigned int stats, virDomainStatsRecordPtr **retStats,
                            unsigned int flags)
{
    virDomainStatsRecordPtr *records;
    virDomainObj **vms = NULL;
    unsigned int groups;
    size_t nvms = 0;
    size_t done = 0;

    /* NOWAIT is how we always are; there is no BACKING chain to tell of. */
    virCheckFlags(STATS_FILTERS | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT |
                  VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING |
                  VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS, -1);
    if (virConnectGetAllDomainStatsEnsureACL(conn) < 0)
        return -1;
    groups = statsChoose(stats, (flags & VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS) != 0);
    if (groups == 0 && (stats == 0 || virGetLastErrorCode() != VIR_ERR_OK))
        return -1;
    if (statsSelect(conn, doms, ndoms, flags & STATS_FILTERS, &vms, &nvms) < 0)
        return -1;
    records = g_new0(virDomainStatsRecordPtr, nvms + 1);
    while (done < nvms && (records[done] = statsRecord(conn, vms[done], groups)))
        done++;
    virObjectListFreeCount(vms, nvms);
    if (done < nvms) {
        virErrorPtr error;

        virErrorPreserveLast(&error);
        virDomainStatsRecordListFree(records);
        virErrorRestore(&error);
        return -1;
    }
    *retStats = records;
    return nvms;
}
