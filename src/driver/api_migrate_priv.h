/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_migrate_priv.h: what the flavours of libvirt's migration calls have in common, for api_migrate*.c only */
#pragma once

#include "driver/call.h"
#include "driver/mig_calls.h"

/* The arguments of a call. */
typedef struct {
    callAcl acl;
    virTypedParameterPtr params;
    int nparams;
    unsigned long flags;
    migCookieIo io;
} migrateArgs;

/* Those of calls without extensible parameters, as parameters. */
typedef struct {
    virTypedParameterPtr params;
    int n;
} migrateList;

void migrateListClear(migrateList *list);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(migrateList, migrateListClear)
int migrateListFill(migrateList *list, const char *uri, const char *dname, const char *xml, unsigned long bandwidth);

int migrateParse(migParams *ret, migCall call, const migrateArgs *args);
void migrateNoCookie(const migCookieIo *io);
int migratePrepare(virConnectPtr dconn, const migrateArgs *args, unsigned version, char **uriOut);
/* The data comes on @st. */
int migratePrepareTunnel(virConnectPtr dconn, virStreamPtr st, const migrateArgs *args, unsigned version);
/* Domain locked. @params is taken over. */
int migratePerformPeer(virDomainObj *vm, virConnectPtr conn, const char *dconnuri, migParams *params, const migrateArgs *args);
virDomainPtr migrateFinish(virConnectPtr dconn, const migrateArgs *args, unsigned version, int cancelled);
