/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* register.c: the tables that make this a libvirt driver, and the one function the module shows */
#include <config.h>

#include "driver/api.h"

#include <libintl.h>

#include "driver/state.h"

/* Called by libvirt's module loader, by this very name. */
int stratovirtRegister(void);

static virHypervisorDriver hypervisorDriver = {
    .name = CONNECT_TYPE,

    .connectURIProbe = drvConnectURIProbe,
    .connectOpen = drvConnectOpen, /* 0.1.0 */
    .connectClose = drvConnectClose, /* 0.1.0 */
    .connectSupportsFeature = drvConnectSupportsFeature, /* 0.1.0 */
    .connectGetType = drvConnectGetType, /* 0.1.0 */
    .connectGetVersion = drvConnectGetVersion, /* 0.1.0 */
    .connectGetHostname = drvConnectGetHostname, /* 0.1.0 */
    .connectGetMaxVcpus = drvConnectGetMaxVcpus, /* 0.1.0 */
    .connectIsEncrypted = drvConnectIsEncrypted, /* 0.1.0 */
    .connectIsSecure = drvConnectIsSecure, /* 0.1.0 */
    .connectIsAlive = drvConnectIsAlive, /* 0.1.0 */
    .connectGetCapabilities = drvConnectGetCapabilities, /* 0.1.0 */
    .connectGetDomainCapabilities = drvConnectGetDomainCapabilities, /* 0.1.0 */
    .connectGetCPUModelNames = drvConnectGetCPUModelNames, /* 0.1.0 */
    .connectCompareCPU = drvConnectCompareCPU, /* 0.1.0 */
    .connectBaselineCPU = drvConnectBaselineCPU, /* 0.1.0 */
    .connectCompareHypervisorCPU = drvConnectCompareHypervisorCPU, /* 0.1.0 */
    .connectBaselineHypervisorCPU = drvConnectBaselineHypervisorCPU, /* 0.1.0 */
    .connectDomainEventRegister = drvConnectDomainEventRegister, /* 0.1.0 */
    .connectDomainEventDeregister = drvConnectDomainEventDeregister, /* 0.1.0 */
    .connectDomainEventRegisterAny = drvConnectDomainEventRegisterAny, /* 0.1.0 */
    .connectDomainEventDeregisterAny = drvConnectDomainEventDeregisterAny, /* 0.1.0 */

    .nodeGetInfo = drvNodeGetInfo, /* 0.1.0 */
    .nodeGetCPUStats = drvNodeGetCPUStats, /* 0.1.0 */
    .nodeGetMemoryStats = drvNodeGetMemoryStats, /* 0.1.0 */
    .nodeGetCellsFreeMemory = drvNodeGetCellsFreeMemory, /* 0.1.0 */
    .nodeGetFreeMemory = drvNodeGetFreeMemory, /* 0.1.0 */
    .nodeGetCPUMap = drvNodeGetCPUMap, /* 0.1.0 */
    .nodeGetFreePages = drvNodeGetFreePages, /* 0.1.0 */

    .connectListDomains = drvConnectListDomains, /* 0.1.0 */
    .connectNumOfDomains = drvConnectNumOfDomains, /* 0.1.0 */
    .connectListAllDomains = drvConnectListAllDomains, /* 0.1.0 */
    .connectListDefinedDomains = drvConnectListDefinedDomains, /* 0.1.0 */
    .connectNumOfDefinedDomains = drvConnectNumOfDefinedDomains, /* 0.1.0 */
    .domainLookupByID = drvDomainLookupByID, /* 0.1.0 */
    .domainLookupByUUID = drvDomainLookupByUUID, /* 0.1.0 */
    .domainLookupByName = drvDomainLookupByName, /* 0.1.0 */
    .domainIsActive = drvDomainIsActive, /* 0.1.0 */
    .domainIsPersistent = drvDomainIsPersistent, /* 0.1.0 */
    .domainIsUpdated = drvDomainIsUpdated, /* 0.1.0 */
    .domainHasManagedSaveImage = drvDomainHasManagedSaveImage, /* 0.1.0 */

    .domainDefineXML = drvDomainDefineXML, /* 0.1.0 */
    .domainDefineXMLFlags = drvDomainDefineXMLFlags, /* 0.1.0 */
    .domainUndefine = drvDomainUndefine, /* 0.1.0 */
    .domainUndefineFlags = drvDomainUndefineFlags, /* 0.1.0 */
    .domainGetXMLDesc = drvDomainGetXMLDesc, /* 0.1.0 */
    .domainGetAutostart = drvDomainGetAutostart, /* 0.1.0 */
    .domainSetAutostart = drvDomainSetAutostart, /* 0.1.0 */
    .domainSetMetadata = drvDomainSetMetadata, /* 0.1.0 */
    .domainGetMetadata = drvDomainGetMetadata, /* 0.1.0 */
    .connectDomainXMLToNative = drvConnectDomainXMLToNative, /* 0.1.0 */

    .domainCreateXML = drvDomainCreateXML, /* 0.1.0 */
    .domainCreate = drvDomainCreate, /* 0.1.0 */
    .domainCreateWithFlags = drvDomainCreateWithFlags, /* 0.1.0 */
    .domainSuspend = drvDomainSuspend, /* 0.1.0 */
    .domainResume = drvDomainResume, /* 0.1.0 */
    .domainShutdown = drvDomainShutdown, /* 0.1.0 */
    .domainShutdownFlags = drvDomainShutdownFlags, /* 0.1.0 */
    .domainReboot = drvDomainReboot, /* 0.1.0 */
    .domainReset = drvDomainReset, /* 0.1.0 */
    .domainDestroy = drvDomainDestroy, /* 0.1.0 */
    .domainDestroyFlags = drvDomainDestroyFlags, /* 0.1.0 */

    .domainSave = drvDomainSave, /* 0.1.0 */
    .domainSaveFlags = drvDomainSaveFlags, /* 0.1.0 */
    .domainSaveParams = drvDomainSaveParams, /* 0.1.0 */
    .domainRestore = drvDomainRestore, /* 0.1.0 */
    .domainRestoreFlags = drvDomainRestoreFlags, /* 0.1.0 */
    .domainRestoreParams = drvDomainRestoreParams, /* 0.1.0 */
    .domainSaveImageGetXMLDesc = drvDomainSaveImageGetXMLDesc, /* 0.1.0 */
    .domainSaveImageDefineXML = drvDomainSaveImageDefineXML, /* 0.1.0 */
    .domainManagedSave = drvDomainManagedSave, /* 0.1.0 */
    .domainManagedSaveRemove = drvDomainManagedSaveRemove, /* 0.1.0 */
    .domainManagedSaveGetXMLDesc = drvDomainManagedSaveGetXMLDesc, /* 0.1.0 */
    .domainManagedSaveDefineXML = drvDomainManagedSaveDefineXML, /* 0.1.0 */

    .domainGetOSType = drvDomainGetOSType, /* 0.1.0 */
    .domainGetMaxMemory = drvDomainGetMaxMemory, /* 0.1.0 */
    .domainSetMaxMemory = drvDomainSetMaxMemory, /* 0.1.0 */
    .domainSetMemory = drvDomainSetMemory, /* 0.1.0 */
    .domainSetMemoryFlags = drvDomainSetMemoryFlags, /* 0.1.0 */
    .domainGetInfo = drvDomainGetInfo, /* 0.1.0 */
    .domainGetState = drvDomainGetState, /* 0.1.0 */
    .domainGetControlInfo = drvDomainGetControlInfo, /* 0.1.0 */
    .domainGetVcpusFlags = drvDomainGetVcpusFlags, /* 0.1.0 */
    .domainGetVcpus = drvDomainGetVcpus, /* 0.1.0 */
    .domainGetMaxVcpus = drvDomainGetMaxVcpus, /* 0.1.0 */
    .domainGetCPUStats = drvDomainGetCPUStats, /* 0.1.0 */
    .domainMemoryStats = drvDomainMemoryStats, /* 0.1.0 */
    .domainSetMemoryStatsPeriod = drvDomainSetMemoryStatsPeriod, /* 0.1.0 */
    .domainAttachDevice = drvDomainAttachDevice, /* 0.1.0 */
    .domainAttachDeviceFlags = drvDomainAttachDeviceFlags, /* 0.1.0 */
    .domainDetachDevice = drvDomainDetachDevice, /* 0.1.0 */
    .domainDetachDeviceFlags = drvDomainDetachDeviceFlags, /* 0.1.0 */
    .domainDetachDeviceAlias = drvDomainDetachDeviceAlias, /* 0.1.0 */
    .domainUpdateDeviceFlags = drvDomainUpdateDeviceFlags, /* 0.1.0 */
    .domainBlockStats = drvDomainBlockStats, /* 0.1.0 */
    .domainBlockStatsFlags = drvDomainBlockStatsFlags, /* 0.1.0 */
    .domainGetBlockInfo = drvDomainGetBlockInfo, /* 0.1.0 */
    .domainInterfaceStats = drvDomainInterfaceStats, /* 0.1.0 */
    .connectGetAllDomainStats = drvConnectGetAllDomainStats, /* 0.1.0 */
    .domainGetMessages = drvDomainGetMessages, /* 0.1.0 */
    .domainOpenConsole = drvDomainOpenConsole, /* 0.1.0 */
    .domainOpenChannel = drvDomainOpenChannel, /* 0.1.0 */

    .domainGetJobInfo = drvDomainGetJobInfo, /* 0.1.0 */
    .domainGetJobStats = drvDomainGetJobStats, /* 0.1.0 */
    .domainAbortJob = drvDomainAbortJob, /* 0.1.0 */
    .domainAbortJobFlags = drvDomainAbortJobFlags, /* 0.1.0 */
    .domainMigrateGetMaxDowntime = drvDomainMigrateGetMaxDowntime, /* 0.1.0 */
    .domainMigrateSetMaxDowntime = drvDomainMigrateSetMaxDowntime, /* 0.1.0 */
    .domainMigrateGetMaxSpeed = drvDomainMigrateGetMaxSpeed, /* 0.1.0 */
    .domainMigrateGetCompressionCache = drvDomainMigrateGetCompressionCache, /* 0.1.0 */
    .domainMigrateSetCompressionCache = drvDomainMigrateSetCompressionCache, /* 0.1.0 */
    .domainMigrateSetMaxSpeed = drvDomainMigrateSetMaxSpeed, /* 0.1.0 */
    .domainMigratePrepare = drvDomainMigratePrepare, /* 0.1.0 */
    .domainMigratePerform = drvDomainMigratePerform, /* 0.1.0 */
    .domainMigrateFinish = drvDomainMigrateFinish, /* 0.1.0 */
    .domainMigratePrepare2 = drvDomainMigratePrepare2, /* 0.1.0 */
    .domainMigratePrepareTunnel = drvDomainMigratePrepareTunnel, /* 0.1.0 */
    .domainMigrateFinish2 = drvDomainMigrateFinish2, /* 0.1.0 */
    .domainMigrateBegin3 = drvDomainMigrateBegin3, /* 0.1.0 */
    .domainMigratePrepare3 = drvDomainMigratePrepare3, /* 0.1.0 */
    .domainMigratePrepareTunnel3 = drvDomainMigratePrepareTunnel3, /* 0.1.0 */
    .domainMigratePerform3 = drvDomainMigratePerform3, /* 0.1.0 */
    .domainMigrateFinish3 = drvDomainMigrateFinish3, /* 0.1.0 */
    .domainMigrateConfirm3 = drvDomainMigrateConfirm3, /* 0.1.0 */
    .domainMigrateBegin3Params = drvDomainMigrateBegin3Params, /* 0.1.0 */
    .domainMigratePrepare3Params = drvDomainMigratePrepare3Params, /* 0.1.0 */
    .domainMigratePrepareTunnel3Params = drvDomainMigratePrepareTunnel3Params, /* 0.1.0 */
    .domainMigratePerform3Params = drvDomainMigratePerform3Params, /* 0.1.0 */
    .domainMigrateFinish3Params = drvDomainMigrateFinish3Params, /* 0.1.0 */
    .domainMigrateConfirm3Params = drvDomainMigrateConfirm3Params, /* 0.1.0 */
};

static const char *uriSchemes[] = { "stratovirt", NULL };

static virConnectDriver connectDriver = {
    .localOnly = true,
    .embeddable = true,
    .uriSchemes = uriSchemes,
    .hypervisorDriver = &hypervisorDriver,
};

static virStateDriver stateDriver = {
    .name = "stratovirt",
    .stateInitialize = stateInitialize,
    .stateCleanup = stateCleanup,
    .stateReload = stateReload,
    .stateShutdownPrepare = stateShutdownPrepare,
    .stateShutdownWait = stateShutdownWait,
};

__attribute__((visibility("default"))) int
stratovirtRegister(void)
{
    bindtextdomain(SV_GETTEXT_DOMAIN, SV_LOCALEDIR);
    bind_textdomain_codeset(SV_GETTEXT_DOMAIN, "UTF-8");

    if (virRegisterConnectDriver(&connectDriver, true) < 0 || virRegisterStateDriver(&stateDriver) < 0)
        return -1;
    return 0;
}
