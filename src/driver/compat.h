/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compat.h: every difference between libvirt releases, in one place (9.0 and 11.3 are known) */
#pragma once

#include "internal.h"
#include "capabilities.h"
#include "cpu/cpu.h"
#include "domain_capabilities.h"
#include "domain_conf.h"
#include "virerror.h"
#include "virnetdevbandwidth.h"
#include "virprocess.h"
#include "virtypedparam.h"

/*
 * Errors of ours carry QEMU's domain: there is no value for a driver from outside, and the library lets a destination's
 * error through to the user of virDomainMigrate only if both ends' errors are of this domain.
 */
#define VIR_FROM_THIS VIR_FROM_QEMU

/*
 * Why a guest is paused whose migration is in doubt.  libvirt has a reason that says it since 9.2; before, the nearest that
 * tells it from the pause of every switch-over is that of a migration that failed half way, which only postcopy knows else.
 */
#if LIBVIR_VERSION_NUMBER >= 9002000
# define COMPAT_PAUSED_IN_DOUBT VIR_DOMAIN_PAUSED_API_ERROR
#else
# define COMPAT_PAUSED_IN_DOUBT VIR_DOMAIN_PAUSED_POSTCOPY_FAILED
#endif

/* 9.0 has an argument that nobody sets, 11.3 has lost it. */
#if LIBVIR_VERSION_NUMBER >= 10000000
# define compatPidFileAcquire(dir, name) virPidFileAcquire(dir, name, getpid())
#else
# define compatPidFileAcquire(dir, name) virPidFileAcquire(dir, name, false, getpid())
#endif

#if LIBVIR_VERSION_NUMBER >= 10000000

/* These can no longer fail and say nothing. A macro of a function's own name does not replace it in its own text. */
# define virTypedParamListAddInt(...) (virTypedParamListAddInt(__VA_ARGS__), 0)
# define virTypedParamListAddUInt(...) (virTypedParamListAddUInt(__VA_ARGS__), 0)
# define virTypedParamListAddULLong(...) (virTypedParamListAddULLong(__VA_ARGS__), 0)
# define virTypedParamListAddString(...) (virTypedParamListAddString(__VA_ARGS__), 0)
# define virCPUDefCopyModelFilter(...) (virCPUDefCopyModelFilter(__VA_ARGS__), 0)

static inline virTypedParamList *
compatParamListNew(void)
{
    return virTypedParamListNew();
}

static inline int
compatParamListSteal(virTypedParamList *list, virTypedParameterPtr *ret)
{
    int n = 0;

    return virTypedParamListSteal(list, ret, &n) < 0 ? -1 : n;
}

/* Resident memory of a process in KiB; -1 with error set. */
static inline int
compatProcessRss(pid_t pid, unsigned long long *ret)
{
    return virProcessGetStatInfo(NULL, NULL, NULL, NULL, ret, pid, 0);
}

/* How many, or -1 with error set; the list ends with NULL and is the caller's. */
static inline int
compatDomainMessages(virDomainObj *vm, char ***list, unsigned int flags)
{
    GPtrArray *messages = g_ptr_array_new();
    int count;

    virDomainObjGetMessages(vm, messages, flags);
    count = (int)messages->len;
    g_ptr_array_add(messages, NULL);
    *list = (char **)g_ptr_array_free(messages, FALSE);
    return count;
}

static inline virCapsGuestMachine **
compatAllocMachines(GPtrArray *names)
{
    virCapsGuestMachine **machines;
    int count = 0;

    g_ptr_array_add(names, NULL);
    machines = virCapabilitiesAllocMachines((const char *const *)names->pdata, &count);
    g_ptr_array_set_size(names, count);
    return machines;
}

# define compatAddCpuModel(models, name) \
    virDomainCapsCPUModelsAdd(models, name, VIR_DOMCAPS_CPU_USABLE_UNKNOWN, NULL, false, NULL, NULL)
# define compatCpuUpdate(arch, guest, host) virCPUUpdate(arch, guest, host, VIR_CPU_FEATURE_DISABLE)
# define compatWatchdog(def) ((def)->nwatchdogs > 0 ? (def)->watchdogs[0] : NULL)
# define compatWatchdogCount(def) ((def)->nwatchdogs)
# define compatBandwidthSet(ifname, bandwidth, swapped) \
    virNetDevBandwidthSet(ifname, bandwidth, (swapped) ? VIR_NETDEV_BANDWIDTH_SET_DIR_SWAPPED : 0)
# define compatReleaseActualDevice(conn, def, net) virDomainNetReleaseActualDevice(conn, net)

#else

static inline virTypedParamList *
compatParamListNew(void)
{
    return g_new0(virTypedParamList, 1);
}

static inline int
compatParamListSteal(virTypedParamList *list, virTypedParameterPtr *ret)
{
    return (int)virTypedParamListStealParams(list, ret);
}

/* Resident memory of a process in KiB; -1 with error set. */
static inline int
compatProcessRss(pid_t pid, unsigned long long *ret)
{
    long rss = 0;

    if (virProcessGetStatInfo(NULL, NULL, NULL, NULL, &rss, pid, 0) < 0)
        return -1;
    *ret = (unsigned long long)rss;
    return 0;
}

# define compatDomainMessages(vm, list, flags) virDomainObjGetMessages(vm, list, flags)
# define compatAllocMachines(names) \
    virCapabilitiesAllocMachines((const char *const *)(names)->pdata, (int)(names)->len)
# define compatAddCpuModel(models, name) \
    virDomainCapsCPUModelsAdd(models, name, VIR_DOMCAPS_CPU_USABLE_UNKNOWN, NULL, false, NULL)
# define compatCpuUpdate(arch, guest, host) virCPUUpdate(arch, guest, host)
# define compatWatchdog(def) ((def)->watchdog)
# define compatWatchdogCount(def) ((def)->watchdog ? 1 : 0)
# define compatBandwidthSet(ifname, bandwidth, swapped) virNetDevBandwidthSet(ifname, bandwidth, false, swapped)
# define compatReleaseActualDevice(conn, def, net) virDomainNetReleaseActualDevice(conn, def, net)

#endif
