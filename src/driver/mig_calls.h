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
/* Versions 1 and 2: Begin and Perform in one. @params is taken over. */
int migOutSimple(virDomainObj *vm, virConnectPtr conn, migParams *params, unsigned long flags, const migCookieIo *io);
int migOutConfirm(virDomainObj *vm, virConnectPtr conn, bool cancelled, const char *cookie, int cookieLen);
/* All of a direct migration. @params is taken over. */
int migOutDirect(virDomainObj *vm, virConnectPtr conn, migParams *params, unsigned long flags);
int migOutPeer(virDomainObj *vm, virConnectPtr conn, const char *dconnuri, migParams *params, unsigned long flags);
/* connect.c: is a libvirt feature offered on @conn, or masked by ?migproto= ?  Nothing is checked or reported. */
bool connectOffers(virConnectPtr conn, int feature);
/* connect.c: does @conn only want to know whether migrations would be possible (?dryrun=1)? */
bool connectDryRun(virConnectPtr conn);

/* The connection that asked for the migration, by which it is told who suspends the guest on the way. */
void migNoteCoordinator(virDomainObj *vm, virConnectPtr conn);

/* What every call to a destination brings along. */
typedef struct {
    virConnectPtr dconn;
    unsigned version;            /* of libvirt's protocol: 1, 2 or 3 */
    unsigned long flags;
    virStreamPtr st;             /* tunnelled: where the data comes; NULL: over the migration port */
} migInCall;

/* @def is the parsed incoming definition under its final name; taken over, also on failure. @params is taken over. */
int migInPrepare(const migInCall *call, virDomainDef *def, migParams *params, const migCookieIo *io, char **uriOut);
/* Version 1: a token without a domain. @params is taken over. */
int migInReserve(virConnectPtr dconn, migParams *params, unsigned long flags, const migCookieIo *io, char **uriOut);
virDomainPtr migInFinish(virDomainObj *vm, const migInCall *call, const migParams *params, const migCookieIo *io, bool cancelled);
