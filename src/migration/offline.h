/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * offline.h: the definition of a guest that is shut off moves; nothing runs, nothing is sent
 *
 * Theory of operation: the source is announced as ever, which protects the definition, and the destination is
 * prepared with the definition instead of a VMM.  There is no Perform.  Finish stores the definition and commits,
 * Confirm takes the one here away if that was asked for.  Both are the event MOVED, which no other job may fire.  A
 * Finish without an answer leaves both definitions: none starts by itself, and the worst would be to have none.
 *
 * All of these are for the job's runner, without locks.
 */
#pragma once

#include "migration/cookie.h"
#include "migration/dest.h"
#include "migration/job.h"
#include "migration/params.h"

/** migOfflineIs: is this the migration of a definition alone?  Constant from Begin or Prepare on. */
bool migOfflineIs(migJob *job);

/**
 * migOfflinePrepare: the destination keeps the definition (the caller's affair) until Finish.
 * @remote: the Begin cookie; @params: taken over on success; *retUri: for the coordinator, which insists on
 * one; caller frees.
 */
bool migOfflinePrepare(migJob *job, const migCookie *remote, migParams *params, char **retUri, GError **error);

/** migOfflineFinish: @persist stores the definition durably; then the commit is recorded and the job is
 * over, also on failure. */
bool migOfflineFinish(migJob *job, migDestPersistFunc persist, void *opaque, const migCookieIo *io, GError **error);

/** migOfflineMoved: the source: the destination has the definition; end the job. */
bool migOfflineMoved(migJob *job, GError **error);
