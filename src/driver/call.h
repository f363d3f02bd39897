/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * call.h: what every libvirt entry on a domain does around its own work
 *
 * Look the domain up, check access, take the job, act, give everything back.  Lock order, stated once:
 * domain list -> domain -> (job, by condition) -> close callbacks -> event queue.  A domain lock is never held
 * over a wire call: domainControl() releases it.  Queries take no job and never wait for a migration.
 */
#pragma once

#include "driver/domain.h"

typedef struct {
    drvState *drv;
    virConnectPtr conn;
    virDomainPtr dom;
    virDomainObj *vm;      /* locked, one reference held by the caller of act */
    drvDomain *priv;
} callCtx;

/* The generated virDomain*EnsureACL functions without flags. */
typedef int (*callAcl)(virConnectPtr conn, virDomainDef *def);
/* >= 0 success, -1 with the libvirt error set.  Called with vm locked (and the job held). */
typedef int (*callAct)(callCtx *ctx, void *args);

typedef struct {
    callAcl acl;           /* never NULL for public calls (callRunFlags has the flags variant) */
    virDomainJob job;      /* VIR_JOB_NONE for queries */
    bool active;           /* refuse inactive domains with VIR_ERR_OPERATION_INVALID */
    callAct act;
} callSpec;

int callRun(virDomainPtr dom, const callSpec *spec, void *args);

/* virDomain*EnsureACL functions that also look at flags. */
typedef int (*callAclFlags)(virConnectPtr conn, virDomainDef *def, unsigned int flags);
int callRunFlags(virDomainPtr dom, callAclFlags acl, unsigned int flags, const callSpec *spec, void *args);

/* Look-up alone: locked and referenced, or NULL with VIR_ERR_NO_DOMAIN set. End with virDomainObjEndAPI(). */
virDomainObj *callLookup(virDomainPtr dom);
int callCheckActive(virDomainObj *vm);
