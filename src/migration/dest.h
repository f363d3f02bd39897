/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dest.h: the destination's two calls; the caller is the job's runner in each */
#pragma once

#include "migration/check.h"
#include "migration/job.h"

/**
 * migDestListen: before any VMM is started: reserve the port and the token. @params is taken over.
 * @remote: the source's Begin cookie, NULL: not known yet
 */
bool migDestListen(migJob *job, const migCookie *remote, migParams *params, GError **error);

/** migDestAborted: before phase prepared: a user asked to stop: true, with the error. */
bool migDestAborted(migJob *job, GError **error);

/**
 * migDestPrepare: the VMM waits: phase prepared, make the cookie and the URI for Perform.
 * On failure the caller ends the VMM; nothing of the job remains.
 */
bool migDestPrepare(migJob *job, const migCookie *remote, const migDestFacts *facts, const migCookieIo *io,
                    char **retUri, GError **error);

/** migDestAnswer: the cookie alone: the answer to an offer when the VMM waits already.  @retUri may be NULL. */
bool migDestAnswer(migJob *job, const migCookie *remote, const migDestFacts *facts, const migCookieIo *io,
                   char **retUri, GError **error);

/**
 * migDestOwnFinish: is a Finish with this cookie for @job?  One of an earlier migration of the same guest can come late, when
 * the network had been cut and its coordinator was given up; it must change nothing.  What is no cookie at all is for
 * migDestFinish() to refuse.
 * Errors: BASE_ERROR_INVALID_ARG with both migrations.
 */
bool migDestOwnFinish(const migJob *job, const migCookieIo *io, GError **error);

/**
 * migDestFinish: wait for the rest, commit, start the guest.  With @cancelled: end the waiting VMM.
 * @persist: called after the stream is complete and before the commit, may fail; NULL: nothing to persist
 * True: committed (also when a late step had to be given up: it is logged); false: nothing is left here, but for migDestStartFailed().
 */
typedef bool (*migDestPersistFunc)(void *opaque, const char *persistentXml, GError **error);
bool migDestFinish(migJob *job, bool cancelled, migDestPersistFunc persist, void *opaque,
                   const migCookieIo *io, GError **error);

/**
 * migDestStartFailed: the commit is on disk, but the guest did not start and that cannot be written: the job lives on, with a
 * stopped guest that must not be let run here, until it can.  Any thread.
 */
bool migDestStartFailed(migJob *job);

/** migDestFailed: starting the VMM failed after migDestListen(): release port and token. */
void migDestRelease(migJob *job);

/** migDestServeLedger: answer outcome queries of earlier migrations of this host; call once after opening the ledger. */
bool migDestServeLedger(const migEnv *env, GError **error);
