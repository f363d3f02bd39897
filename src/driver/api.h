/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * api.h: the driver's entry points, one prototype each, by the file that has them
 *
 * What each has to do is libvirt's public documentation of the call of that name; register.c puts them into
 * the driver tables.  All are called without any lock and set the libvirt error when they fail.
 */
#pragma once

#include "internal.h"
#include "driver.h"

/* What virConnectGetType() answers: the name by which both ends know each other. */
#define CONNECT_TYPE "StratoVirt"

/* connect.c */
int drvConnectURIProbe(char **uri);
virDrvOpenStatus drvConnectOpen(virConnectPtr conn, virConnectAuthPtr auth, virConf *conf,
                                unsigned int flags);
int drvConnectClose(virConnectPtr conn);
int drvConnectSupportsFeature(virConnectPtr conn, int feature);
const char *drvConnectGetType(virConnectPtr conn);
int drvConnectGetVersion(virConnectPtr conn, unsigned long *hvVer);
char *drvConnectGetHostname(virConnectPtr conn);
int drvConnectGetMaxVcpus(virConnectPtr conn, const char *type);
int drvConnectIsEncrypted(virConnectPtr conn);
int drvConnectIsSecure(virConnectPtr conn);
int drvConnectIsAlive(virConnectPtr conn);
int drvConnectDomainEventRegister(virConnectPtr conn, virConnectDomainEventCallback cb,
                                  void *opaque, virFreeCallback freecb);
int drvConnectDomainEventDeregister(virConnectPtr conn, virConnectDomainEventCallback cb);
int drvConnectDomainEventRegisterAny(virConnectPtr conn, virDomainPtr dom, int eventID,
                                     virConnectDomainEventGenericCallback cb, void *opaque,
                                     virFreeCallback freecb);
int drvConnectDomainEventDeregisterAny(virConnectPtr conn, int callbackID);
char *drvConnectGetCapabilities(virConnectPtr conn);
char *drvConnectGetDomainCapabilities(virConnectPtr conn, const char *emulatorbin, const char *arch,
                                      const char *machine, const char *virttype,
                                      unsigned int flags);
int drvConnectGetCPUModelNames(virConnectPtr conn, const char *archName, char ***models,
                               unsigned int flags);

/* api_cpu.c */
int drvConnectCompareCPU(virConnectPtr conn, const char *xml, unsigned int flags);
char *drvConnectBaselineCPU(virConnectPtr conn, const char **xmls, unsigned int count, unsigned int flags);
int drvConnectCompareHypervisorCPU(virConnectPtr conn, const char *emulator, const char *arch, const char *machine,
                                   const char *virttype, const char *xml, unsigned int flags);
char *drvConnectBaselineHypervisorCPU(virConnectPtr conn, const char *emulator, const char *arch, const char *machine,
                                      const char *virttype, const char **xmls, unsigned int count,
                                      unsigned int flags);

/* node.c */
int drvNodeGetInfo(virConnectPtr conn, virNodeInfoPtr info);
int drvNodeGetCPUStats(virConnectPtr conn, int cpuNum, virNodeCPUStatsPtr params, int *nparams,
                       unsigned int flags);
int drvNodeGetMemoryStats(virConnectPtr conn, int cellNum, virNodeMemoryStatsPtr params,
                          int *nparams, unsigned int flags);
int drvNodeGetCellsFreeMemory(virConnectPtr conn, unsigned long long *freeMems, int startCell,
                              int maxCells);
unsigned long long drvNodeGetFreeMemory(virConnectPtr conn);
int drvNodeGetCPUMap(virConnectPtr conn, unsigned char **cpumap, unsigned int *online,
                     unsigned int flags);
int drvNodeGetFreePages(virConnectPtr conn, unsigned int npages, unsigned int *pages, int startCell,
                        unsigned int cellCount, unsigned long long *counts, unsigned int flags);

/* api_list.c */
int drvConnectListDomains(virConnectPtr conn, int *ids, int maxids);
int drvConnectNumOfDomains(virConnectPtr conn);
int drvConnectListAllDomains(virConnectPtr conn, virDomainPtr **domains, unsigned int flags);
int drvConnectListDefinedDomains(virConnectPtr conn, char **const names, int maxnames);
int drvConnectNumOfDefinedDomains(virConnectPtr conn);
virDomainPtr drvDomainLookupByID(virConnectPtr conn, int id);
virDomainPtr drvDomainLookupByUUID(virConnectPtr conn, const unsigned char *uuid);
virDomainPtr drvDomainLookupByName(virConnectPtr conn, const char *name);
int drvDomainIsActive(virDomainPtr dom);
int drvDomainIsPersistent(virDomainPtr dom);
int drvDomainIsUpdated(virDomainPtr dom);

/* api_define.c */
virDomainPtr drvDomainDefineXML(virConnectPtr conn, const char *xml);
virDomainPtr drvDomainDefineXMLFlags(virConnectPtr conn, const char *xml, unsigned int flags);
int drvDomainUndefine(virDomainPtr dom);
int drvDomainUndefineFlags(virDomainPtr dom, unsigned int flags);
char *drvDomainGetXMLDesc(virDomainPtr dom, unsigned int flags);
int drvDomainGetAutostart(virDomainPtr domain, int *autostart);
int drvDomainSetAutostart(virDomainPtr domain, int autostart);
int drvDomainSetMetadata(virDomainPtr dom, int type, const char *metadata, const char *key,
                         const char *uri, unsigned int flags);
char *drvDomainGetMetadata(virDomainPtr dom, int type, const char *uri, unsigned int flags);
char *drvConnectDomainXMLToNative(virConnectPtr conn, const char *nativeFormat,
                                  const char *domainXml, unsigned int flags);

/* api_lifecycle.c */
virDomainPtr drvDomainCreateXML(virConnectPtr conn, const char *xmlDesc, unsigned int flags);
int drvDomainCreate(virDomainPtr dom);
int drvDomainCreateWithFlags(virDomainPtr dom, unsigned int flags);
int drvDomainSuspend(virDomainPtr domain);
int drvDomainResume(virDomainPtr domain);
int drvDomainShutdown(virDomainPtr domain);
int drvDomainShutdownFlags(virDomainPtr domain, unsigned int flags);
int drvDomainReboot(virDomainPtr domain, unsigned int flags);
int drvDomainReset(virDomainPtr domain, unsigned int flags);
int drvDomainDestroy(virDomainPtr domain);
int drvDomainDestroyFlags(virDomainPtr domain, unsigned int flags);

/* api_query.c */
char *drvDomainGetOSType(virDomainPtr domain);
unsigned long long drvDomainGetMaxMemory(virDomainPtr domain);
int drvDomainGetInfo(virDomainPtr domain, virDomainInfoPtr info);
int drvDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned int flags);
int drvDomainGetControlInfo(virDomainPtr domain, virDomainControlInfoPtr info, unsigned int flags);
int drvDomainGetVcpusFlags(virDomainPtr domain, unsigned int flags);
int drvDomainGetVcpus(virDomainPtr domain, virVcpuInfoPtr info, int maxinfo, unsigned char *cpumaps,
                      int maplen);
int drvDomainGetMaxVcpus(virDomainPtr domain);
int drvDomainGetCPUStats(virDomainPtr domain, virTypedParameterPtr params, unsigned int nparams,
                         int start_cpu, unsigned int ncpus, unsigned int flags);
int drvDomainMemoryStats(virDomainPtr domain, virDomainMemoryStatPtr stats, unsigned int nr_stats,
                         unsigned int flags);
int drvDomainBlockStats(virDomainPtr domain, const char *path, virDomainBlockStatsPtr stats);
int drvDomainBlockStatsFlags(virDomainPtr domain, const char *path, virTypedParameterPtr params,
                             int *nparams, unsigned int flags);
int drvDomainGetBlockInfo(virDomainPtr domain, const char *path, virDomainBlockInfoPtr info,
                          unsigned int flags);
int drvDomainInterfaceStats(virDomainPtr domain, const char *device,
                            virDomainInterfaceStatsPtr stats);
int drvConnectGetAllDomainStats(virConnectPtr conn, virDomainPtr *doms, unsigned int ndoms,
                                unsigned int stats, virDomainStatsRecordPtr **retStats,
                                unsigned int flags);
int drvDomainGetMessages(virDomainPtr domain, char ***msgs, unsigned int flags);

/* api_device.c */
int drvDomainSetMemory(virDomainPtr domain, unsigned long memory);
int drvDomainSetMaxMemory(virDomainPtr domain, unsigned long memory);
int drvDomainSetMemoryFlags(virDomainPtr domain, unsigned long memory, unsigned int flags);
int drvDomainSetMemoryStatsPeriod(virDomainPtr domain, int period, unsigned int flags);

/* api_hotplug.c */
int drvDomainAttachDevice(virDomainPtr dom, const char *xml);
int drvDomainAttachDeviceFlags(virDomainPtr dom, const char *xml, unsigned int flags);
int drvDomainDetachDevice(virDomainPtr dom, const char *xml);
int drvDomainDetachDeviceFlags(virDomainPtr dom, const char *xml, unsigned int flags);
int drvDomainDetachDeviceAlias(virDomainPtr dom, const char *alias, unsigned int flags);
int drvDomainUpdateDeviceFlags(virDomainPtr dom, const char *xml, unsigned int flags);

/* console.c */
int drvDomainOpenConsole(virDomainPtr dom, const char *dev_name, virStreamPtr st,
                         unsigned int flags);
int drvDomainOpenChannel(virDomainPtr dom, const char *name, virStreamPtr st, unsigned int flags);

/* api_job.c */
int drvDomainGetJobInfo(virDomainPtr domain, virDomainJobInfoPtr info);
int drvDomainGetJobStats(virDomainPtr domain, int *type, virTypedParameterPtr *params, int *nparams,
                         unsigned int flags);
int drvDomainAbortJob(virDomainPtr domain);
int drvDomainAbortJobFlags(virDomainPtr domain, unsigned int flags);
int drvDomainMigrateGetMaxDowntime(virDomainPtr domain, unsigned long long *downtime,
                                   unsigned int flags);
int drvDomainMigrateSetMaxDowntime(virDomainPtr domain, unsigned long long downtime,
                                   unsigned int flags);
int drvDomainMigrateGetMaxSpeed(virDomainPtr domain, unsigned long *bandwidth, unsigned int flags);
int drvDomainMigrateGetCompressionCache(virDomainPtr domain, unsigned long long *bytes, unsigned int flags);
int drvDomainMigrateSetCompressionCache(virDomainPtr domain, unsigned long long bytes, unsigned int flags);
int drvDomainMigrateSetMaxSpeed(virDomainPtr domain, unsigned long bandwidth, unsigned int flags);

/* api_migrate_v2.c */
int drvDomainMigratePrepare(virConnectPtr dconn, char **cookie, int *cookielen, const char *uri_in, char **uri_out,
                            unsigned long flags, const char *dname, unsigned long resource);
int drvDomainMigratePerform(virDomainPtr dom, const char *cookie, int cookielen, const char *uri, unsigned long flags,
                            const char *dname, unsigned long resource);
virDomainPtr drvDomainMigrateFinish(virConnectPtr dconn, const char *dname, const char *cookie, int cookielen,
                                    const char *uri, unsigned long flags);
int drvDomainMigratePrepare2(virConnectPtr dconn, char **cookie, int *cookielen, const char *uri_in, char **uri_out,
                             unsigned long flags, const char *dname, unsigned long resource, const char *dom_xml);
int drvDomainMigratePrepareTunnel(virConnectPtr dconn, virStreamPtr st, unsigned long flags, const char *dname,
                                  unsigned long resource, const char *dom_xml);
virDomainPtr drvDomainMigrateFinish2(virConnectPtr dconn, const char *dname, const char *cookie, int cookielen,
                                     const char *uri, unsigned long flags, int retcode);

/* api_save.c */
int drvDomainSave(virDomainPtr dom, const char *path);
int drvDomainSaveFlags(virDomainPtr dom, const char *path, const char *dxml, unsigned int flags);
int drvDomainSaveParams(virDomainPtr dom, virTypedParameterPtr params, int nparams, unsigned int flags);
int drvDomainRestore(virConnectPtr conn, const char *path);
int drvDomainRestoreFlags(virConnectPtr conn, const char *path, const char *dxml, unsigned int flags);
int drvDomainRestoreParams(virConnectPtr conn, virTypedParameterPtr params, int nparams, unsigned int flags);
char *drvDomainSaveImageGetXMLDesc(virConnectPtr conn, const char *path, unsigned int flags);
int drvDomainSaveImageDefineXML(virConnectPtr conn, const char *path, const char *dxml, unsigned int flags);
int drvDomainManagedSave(virDomainPtr dom, unsigned int flags);
int drvDomainHasManagedSaveImage(virDomainPtr dom, unsigned int flags);
int drvDomainManagedSaveRemove(virDomainPtr dom, unsigned int flags);
char *drvDomainManagedSaveGetXMLDesc(virDomainPtr dom, unsigned int flags);
int drvDomainManagedSaveDefineXML(virDomainPtr dom, const char *dxml, unsigned int flags);

/* api_migrate.c */
char *drvDomainMigrateBegin3(virDomainPtr domain, const char *xmlin, char **cookieout,
                             int *cookieoutlen, unsigned long flags, const char *dname,
                             unsigned long resource);
int drvDomainMigratePrepare3(virConnectPtr dconn, const char *cookiein, int cookieinlen,
                             char **cookieout, int *cookieoutlen, const char *uri_in,
                             char **uri_out, unsigned long flags, const char *dname,
                             unsigned long resource, const char *dom_xml);
int drvDomainMigratePrepareTunnel3(virConnectPtr dconn, virStreamPtr st, const char *cookiein, int cookieinlen,
                                   char **cookieout, int *cookieoutlen, unsigned long flags, const char *dname,
                                   unsigned long resource, const char *dom_xml);
int drvDomainMigratePerform3(virDomainPtr dom, const char *xmlin, const char *cookiein,
                             int cookieinlen, char **cookieout, int *cookieoutlen,
                             const char *dconnuri, const char *uri, unsigned long flags,
                             const char *dname, unsigned long resource);
virDomainPtr drvDomainMigrateFinish3(virConnectPtr dconn, const char *dname, const char *cookiein,
                                     int cookieinlen, char **cookieout, int *cookieoutlen,
                                     const char *dconnuri, const char *uri, unsigned long flags,
                                     int cancelled);
int drvDomainMigrateConfirm3(virDomainPtr domain, const char *cookiein, int cookieinlen,
                             unsigned long flags, int cancelled);
char *drvDomainMigrateBegin3Params(virDomainPtr domain, virTypedParameterPtr params, int nparams,
                                   char **cookieout, int *cookieoutlen, unsigned int flags);
int drvDomainMigratePrepare3Params(virConnectPtr dconn, virTypedParameterPtr params, int nparams,
                                   const char *cookiein, int cookieinlen, char **cookieout,
                                   int *cookieoutlen, char **uri_out, unsigned int flags);
int drvDomainMigratePrepareTunnel3Params(virConnectPtr dconn, virStreamPtr st, virTypedParameterPtr params,
                                         int nparams, const char *cookiein, int cookieinlen, char **cookieout,
                                         int *cookieoutlen, unsigned int flags);
int drvDomainMigratePerform3Params(virDomainPtr dom, const char *dconnuri,
                                   virTypedParameterPtr params, int nparams, const char *cookiein,
                                   int cookieinlen, char **cookieout, int *cookieoutlen,
                                   unsigned int flags);
virDomainPtr drvDomainMigrateFinish3Params(virConnectPtr dconn, virTypedParameterPtr params,
                                           int nparams, const char *cookiein, int cookieinlen,
                                           char **cookieout, int *cookieoutlen, unsigned int flags,
                                           int cancelled);
int drvDomainMigrateConfirm3Params(virDomainPtr domain, virTypedParameterPtr params, int nparams,
                                   const char *cookiein, int cookieinlen, unsigned int flags,
                                   int cancelled);
