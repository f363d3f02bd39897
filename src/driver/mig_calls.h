/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_calls.h: the five steps on real domains, common to every flavour of libvirt's migration calls
 *
 * Domains are locked before and after; the lock is dropped while the step runs.  -1 or NULL: the libvirt error is set.
 */
#pragma once

#include "driver/domain.h"
#include "migration/cookie.h"
#include "migration/job.h"
#include "migration/params.h"

/* The XML for Prepare, caller frees; *retJob a reference. @params is taken over. */
char *migOutBegin(virDomainObj *vm, migParams *params, unsigned long flags, const migCookieIo *io, migJob **retJob);
/* Begin's answer goes to a client: if it vanishes before Perform, so does the migration. */
void migOutAnnounced(virDomainObj *vm, virConnectPtr conn);
int migOutPerform(virDomainObj *vm, virConnectPtr conn, const migParams *params, const migCookieIo *io);
int migOutConfirm(virDomainObj *vm, virConnectPtr conn, bool cancelled, const char *cookie, int cookieLen);
int migOutPeer(virDomainObj *vm, const char *dconnuri, migParams *params, unsigned long flags);

/* @def is the parsed incoming definition under its final name; taken over, also on failure. @params is taken over. */
int migInPrepare(virConnectPtr dconn, virDomainDef *def, migParams *params, unsigned long flags,
                 const migCookieIo *io, char **uriOut);
virDomainPtr migInFinish(virDomainObj *vm, virConnectPtr dconn, const migParams *params, const migCookieIo *io, bool cancelled);
