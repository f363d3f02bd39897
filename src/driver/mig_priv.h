/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_priv.h: a domain's migration, for the mig_*.c files and api_migrate.c, api_job.c only */
#pragma once

#include "driver/mig.h"
#include "migration/dest.h"
#include "migration/job.h"
#include "migration/peer.h"
#include "migration/recover.h"
#include "migration/source.h"
#include "remote/snapshot.h"

/* Speed, downtime and cache of the migration in progress, of which each may be set by itself. */
typedef struct {
    bool speedSet, downtimeSet, cacheSet;  /* by a user since it began: that counts for more than how it was begun */
    bool sending;                /* the VMM has been told */
    uint64_t bandwidth;          /* bytes per second; 0 = unlimited */
    uint64_t downtimeMs;         /* 0 = the VMM's default */
    uint64_t cacheBytes;         /* of the cache of xbzrle, if it has one; only when cacheSet */
} migTuning;

/* Guarded by the domain's lock. */
struct _drvMig {
    migJob *job;                 /* in progress (or in doubt); NULL: none */
    migRecord record;            /* as last saved; uuid NULL: none to keep in the status file */
    migStats completed;          /* of the last one that ended here */
    bool hasCompleted;
    char *doubt;                 /* why the guest is frozen; NULL: it is not */
    bool asyncJob;               /* libvirt's async job is held for it */
    const void *coordinator;     /* source: the client's connection; only compared */
    const void *tunnelConn;      /* destination, tunnelled: the connection that prepared it; only compared */
    migTuning tuning;            /* source */
    bool handedOver;             /* source: the switch-over has begun, no user may let the guest run */
    bool statusKept;             /* destination: the guest has ended, and its status file is still there for the migration's sake */
    bool resumed;                /* source: the VMM says that the guest runs again; cleared when it is sent, suspended or frozen */
};

/* The domain's drvMig, made on first use. Domain locked. */
drvMig *migOf(virDomainObj *vm);

/**
 * migJobAttach: give a domain its migration: take libvirt's async job and make the migJob.
 * Domain locked before and after; the lock may be dropped while waiting for other jobs.
 * Returns a reference, NULL with the libvirt error set.
 */
migJob *migJobAttach(virDomainObj *vm, const migRecord *record, unsigned long apiFlags);
/* The same with a job that was made before its domain was known. -1 with the libvirt error set. */
int migJobAdopt(virDomainObj *vm, migJob *job, unsigned long apiFlags);
/* Take it back: it is over, or the first step was refused. Domain locked. */
void migJobDetach(virDomainObj *vm);
/* The running job of a side, a reference; NULL with error set. Domain locked. */
migJob *migJobOf(virDomainObj *vm, migSide side);
/* The current API call ends while the migration goes on: nobody owns the async job. Domain locked. */
void migJobDisown(virDomainObj *vm);
/* Close callbacks: the client that coordinates is gone. Domain locked. */
void migWatchClient(virDomainObj *vm, virConnectPtr conn);
void migUnwatchClient(virDomainObj *vm, virConnectPtr conn);
void migUnwatchClients(virDomainObj *vm);

/* mig_caller.c: posts LOST to @job if the process that made the current call ends. NULL: it is not on this host. Frees. */
typedef struct _migCaller migCaller;
migCaller *migCallerWatch(migJob *job, drvState *drv);
void migCallerFree(migCaller *caller);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migCaller, migCallerFree)

/**
 * migRemoteRun: run @run(@work) in a thread of its own until it is done, a user aborts @job or it becomes pointless.
 * @ms: or until so much time has passed: BASE_ERROR_TIMEOUT; -1: for ever
 *
 * True: done, and @work is the caller's again.  False: given up, with the reason; @work is released with @freeWork later.
 * Runner, no lock held.
 */
bool migRemoteRun(migJob *job, int ms, void (*run)(void *work), void *work, GDestroyNotify freeWork, GError **error);
/** migRemoteRunFor: the same for a call that nobody may abort, up to @ms: BASE_ERROR_TIMEOUT. */
bool migRemoteRunFor(unsigned ms, void (*run)(void *work), void *work, GDestroyNotify freeWork, GError **error);

/* mig_facts.c: what the checks want to know. Domain locked. */
void migSourceFactsFill(virDomainObj *vm, migSourceFacts *ret);
void migSourceFactsClear(migSourceFacts *facts);
/* Add whether the guest can be slowed down, if that is wanted. */
void migFactsThrottle(virDomainObj *vm, const migParams *params, migSourceFacts *facts);
/* mig_blockers.c: add to @list (char *) what @vmm, which may be NULL, cannot migrate of it. */
void migBlockersAdd(GPtrArray *list, const virDomainDef *def, const vmmInfo *vmm);
/* What of it @vmm would leave behind when it saves it; NULL: nothing. The caller frees. */
char *migBlockersOfSave(const virDomainDef *def, const vmmInfo *vmm);
/* What an incoming definition needs and this host lacks, whole sentences; the caller frees.  @unproved: the storage is not proved. */
GPtrArray *migDevicesMissing(const virDomainDef *def, bool unproved);
/* How much memory this host has, and has left. */
void migFactsMemory(migDestFacts *facts);
/* This host's processor in one line; NULL: unknown. Caller frees. */
char *migHostCpu(void);
/* Does a guest of this definition see it? */
bool migSeesHostCpu(const virDomainDef *def);

/* mig_storage.c: the disks that need a proof; the caller frees. */
GPtrArray *migDisksOf(const virDomainDef *def);
/* Remove what an earlier life of this daemon left beside them. Domain locked. */
void migDisksSweep(virDomainObj *vm);

/* mig_offline.c: the differences of an offline migration. Domain locked. */
/* Is the domain as running (or not) as the flags suppose? */
int migOfflineCheckState(virDomainObj *vm, const migParams *params);
/* The definition to send; caller frees; NULL with error set. */
char *migOfflineXml(virDomainObj *vm, const migParams *params);
void migOfflineFacts(virDomainObj *vm, migSourceFacts *facts);
/* False with error set: the caller undoes. */
bool migOfflinePrepareJob(virDomainObj *vm, migJob *job, migParams *params, const migCookie *remote, char **retUri);

/* mig_out.c: how to send, by the user's wishes. Domain locked; the guest runs. */
void migOutSpec(virDomainObj *vm, const migParams *params, vmmMigSpec *spec);

/* mig_host.c */
extern const migHostOps migHostOpsReal;
void *migHostNew(virDomainObj *vm);
void migHostFree(void *host);

/*
 * mig_files.c: a guest that goes by way of its VMM's files.  No lock is held.
 */
/* Does what comes over, or goes into, @fd have to be made of files? */
bool migFilesNeeded(virDomainObj *vm, int fd);
/* Begin: with @ctl save into @fd, with NULL take what comes from there. */
snapshot *migFilesStart(virDomainObj *vm, int fd, control *ctl, GError **error);
/* All is saved, and the guest may soon run elsewhere: its VMM lets go of its images. */
void migFilesReleaseDisks(virDomainObj *vm, control *ctl);
/* See migHostOps.  @aheadFd is taken over, @snap as well by the second. */
bool migFilesGuestOffer(virDomainObj *vm, snapshot *snap, GError **error);
bool migFilesGuestLoad(virDomainObj *vm, snapshot *snap, int aheadFd, bool *retUnknown, GError **error);

/* mig_peer.c: the destination's libvirt. */
/* @conn: the client's; what it masks is not spoken to the destination either. */
void *migPeerNew(migJob *job, virConnectPtr conn, const char *dconnuri, const char *destName);
void migPeerFree(void *peer);
extern const migPeerOps migPeerOpsReal;

/* mig_conn.c: of what kind the connection is that the current call came over, or that leads to a destination. */
migConn migConnOfCaller(void);
migConn migConnOfDest(virConnectPtr dconn, char **retHost);
/* @secure: libvirt's own word for it; *retHost: the URI's, caller frees, may be NULL */
migConn migConnOfUri(const char *text, bool secure, char **retHost);

/* mig_stats.c */
int migStatsToParams(const migStats *stats, virTypedParameterPtr *params, int *nparams, int *type);
void migStatsToInfo(const migStats *stats, virDomainJobInfoPtr info);
