/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * way.h: the decision of security.h for one migration: who knows what, and who decides when
 *
 * Each host says in its cookie what it has and wants (migWayFacts).  The destination decides as soon as it knows the source's,
 * before a VMM is started; the source decides anew from the same facts, of which its own cannot be altered on the way,
 * and goes on only if it comes to the same end.  In versions 1 and 2 the source is the first to know both, and the destination
 * compares what it decides with how the source has connected.  All functions: runner, no lock held.
 */
#pragma once

#include "migration/cookie.h"
#include "migration/job.h"

/** migWayOwn: what this host says of itself; looks at its certificates. @ret is cleared by the caller. */
void migWayOwn(migJob *job, migWayFacts *ret);
/**
 * migWayChoose: destination: decide, from the source's cookie.
 * @remote: NULL: not known yet; then it is refused only if it is certain already.
 * False: refused, BASE_ERROR_UNSUPPORTED with the reason and every way out.
 */
bool migWayChoose(migJob *job, const migCookie *remote, GError **error);
/**
 * migWayForecast: destination, dry run: what migWayChoose() would decide, without a job.
 * @conn: the libvirt connection as this host sees it.  *ret: a sentence that says which channel, whether it is secure, and why; caller frees.
 */
bool migWayForecast(const migEnv *env, migConn conn, const migParams *params, const migCookie *remote, char **ret, GError **error);
/** migWayVerify: source: decide, from the destination's cookie, and compare.  Errors as above; BASE_ERROR_OPERATION_FAILED when the
 * destination has chosen otherwise. */
bool migWayVerify(migJob *job, const migCookie *cookie, GError **error);
/** migWayLocal: source: without a daemon at the other end (direct).  @unixSocket: the VMM is on this host. */
bool migWayLocal(migJob *job, bool unixSocket, GError **error);
/** migWayKeys: destination: in which ways the token's connections may be secured. */
helloKeys migWayKeys(migJob *job);
/** migWayArrived: destination, I/O thread: the first connection is secured like this, and all others must be. */
void migWayArrived(migJob *job, helloKeys keys);
/** migWaySecurity: source: how to connect; what *ret points to lives as long as the job's record.  NULL: in the clear. */
const helloSecurity *migWaySecurity(const migJob *job, helloSecurity *ret);
/** migWayTell: any thread: for the statistics and the log: the data comes from or goes to @peer, which is taken over.  Once; later ones are
 * ignored. */
void migWayTell(migJob *job, char *peer);
/** migWayNote: any thread: for the statistics and the log: the data goes over @conn. */
void migWayNote(migJob *job, const helloConn *conn);
