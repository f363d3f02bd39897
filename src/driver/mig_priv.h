/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_priv.h: a domain's migration, for the mig_*.c files and api_migrate.c, api_job.c only */
#pragma once

#include "driver/mig.h"
#include "migration/dest.h"
#include "migration/job.h"
#include "migration/peer.h"
#include "migration/recover.h"
#include "migration/source.h"

/* Guarded by the domain's lock. */
struct _drvMig {
    migJob *job;                 /* in progress (or in doubt); NULL: none */
    migRecord record;            /* as last saved; uuid NULL: none to keep in the status file */
    migStats completed;          /* of the last one that ended here */
    bool hasCompleted;
    char *doubt;                 /* why the guest is frozen; NULL: it is not */
    bool asyncJob;               /* libvirt's async job is held for it */
};

/* The domain's drvMig, made on first use. Domain locked. */
drvMig *migOf(virDomainObj *vm);

/**
 * migJobAttach: give a domain its migration: take libvirt's async job and make the migJob.
 * Domain locked before and after; the lock may be dropped while waiting for other jobs.
 * Returns a reference, NULL with the libvirt error set.
 */
migJob *migJobAttach(virDomainObj *vm, const migRecord *record, unsigned long apiFlags);
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

/* mig_facts.c: what the checks want to know. Domain locked. */
void migSourceFactsFill(virDomainObj *vm, migSourceFacts *ret);
void migSourceFactsClear(migSourceFacts *facts);

/* mig_host.c */
extern const migHostOps migHostOpsReal;
void *migHostNew(virDomainObj *vm);
void migHostFree(void *host);

/* mig_peer.c: the destination's libvirt. */
void *migPeerNew(migJob *job, const char *dconnuri, drvState *drv, const char *destName);
void migPeerFree(void *peer);
extern const migPeerOps migPeerOpsReal;

/* mig_stats.c */
int migStatsToParams(const migStats *stats, virTypedParameterPtr *params, int *nparams, int *type);
void migStatsToInfo(const migStats *stats, virDomainJobInfoPtr info);
