/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* source.h: the source's three calls; the caller is the job's runner (migJobEnter) in each */
#pragma once

#include "migration/check.h"
#include "migration/job.h"

/**
 * migSourceBegin: judge, announce (phase begun), make the cookie for Prepare.
 * @params: taken over by the job (cleared here)
 */
bool migSourceBegin(migJob *job, const migSourceFacts *facts, migParams *params, const migCookieIo *io, GError **error);

/**
 * migSourcePerform: connect, send, wait.  True: phase sent, the guest is frozen here.
 * False: everything is undone, the guest is what it was before (phase idle), or it is gone by itself; over() has been called.
 * @uri: what Prepare answered; its host replaces the cookie's candidates when the user gave one
 * @spec: speed and so on; @persistentXml: definition for PERSIST_DEST, may be NULL
 */
bool migSourcePerform(migJob *job, const vmmMigSpec *spec, const char *uri, const char *persistentXml,
                      const migCookieIo *io, GError **error);

/**
 * migSourceConfirm: the coordinator's word on the outcome.
 * Not cancelled: the copy here ends.  Cancelled: the destination is asked; true when the guest is known to belong here and runs on.
 * False with BASE_ERROR_OPERATION_FAILED when it turned out to run on the destination after all, or stays in doubt.
 */
bool migSourceConfirm(migJob *job, bool cancelled, const char *cookieIn, int cookieInLen, GError **error);

/** migSourceGiveUp: Begin was called and Prepare failed, for the reason @why: back to idle. */
bool migSourceGiveUp(migJob *job, const GError *why, GError **error);
