/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* node.c: questions about the host; libvirt itself knows the answers */
#include <config.h>

#include "driver/api.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virhostcpu.h"
#include "virhostmem.h"

#include "driver/compat.h"
#include "driver/state.h"

int
drvNodeGetInfo(virConnectPtr conn, virNodeInfoPtr info)
{
    if (virNodeGetInfoEnsureACL(conn) < 0)
        return -1;
    return virCapabilitiesGetNodeInfo(info);
}

int
drvNodeGetCPUStats(virConnectPtr conn, int cpuNum, virNodeCPUStatsPtr params, int *nparams, unsigned int flags)
{
    if (virNodeGetCPUStatsEnsureACL(conn) < 0)
        return -1;
    return virHostCPUGetStats(cpuNum, params, nparams, flags);
}

int
drvNodeGetMemoryStats(virConnectPtr conn, int cellNum, virNodeMemoryStatsPtr params, int *nparams,
                      unsigned int flags)
{
    if (virNodeGetMemoryStatsEnsureACL(conn) < 0)
        return -1;
    return virHostMemGetStats(cellNum, params, nparams, flags);
}

int
drvNodeGetCellsFreeMemory(virConnectPtr conn, unsigned long long *freeMems, int startCell, int maxCells)
{
    if (virNodeGetCellsFreeMemoryEnsureACL(conn) < 0)
        return -1;
    return virHostMemGetCellsFree(freeMems, startCell, maxCells);
}

unsigned long long
drvNodeGetFreeMemory(virConnectPtr conn)
{
    unsigned long long freeBytes;

    if (virNodeGetFreeMemoryEnsureACL(conn) < 0 || virHostMemGetInfo(NULL, &freeBytes) < 0)
        return 0;
    return freeBytes;
}

int
drvNodeGetCPUMap(virConnectPtr conn, unsigned char **cpumap, unsigned int *online, unsigned int flags)
{
    if (virNodeGetCPUMapEnsureACL(conn) < 0)
        return -1;
    return virHostCPUGetMap(cpumap, online, flags);
}

int
drvNodeGetFreePages(virConnectPtr conn, unsigned int npages, unsigned int *pages, int startCell,
                    unsigned int cellCount, unsigned long long *counts, unsigned int flags)
{
    g_autoptr(virCaps) caps = NULL;

    virCheckFlags(0, -1);

    if (virNodeGetFreePagesEnsureACL(conn) < 0 || !(caps = stateCaps(conn->privateData, false)))
        return -1;
    return virHostMemGetFreePages(npages, pages, startCell, cellCount,
                                  virCapabilitiesHostNUMAGetMaxNode(caps->host.numa), counts);
}
