/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * files.h: stopped guests of a VMM that cannot send them, though it can save and load them
 *
 * Theory of operation: the guest is stopped, its VMM saves it, and what it writes goes over the same connections as any stream
 * (remote/snapshot.h).  It stays as it is, stopped, so nothing is different for the source.  The destination has no VMM until
 * everything is there.  At Finish one is started and given all but the last byte of the state, so whatever can be wrong shows while the
 * migration can still be refused; 'committed' is saved, and then it gets the last byte, with which the guest runs.  How far that has come is in the
 * record as with a guide (guide.h).
 */
#pragma once

#include "migration/job.h"

/** migFilesWanted: is @vmm, which may be NULL, one that can send a guest that is stopped for it only by way of files?  @tcg: it does not use KVM. */
bool migFilesWanted(const vmmInfo *vmm, bool tcg, const migParams *params);
/** migFilesOffer: destination, runner, phase received: start the VMM.  False: it is no use, and must be ended. */
bool migFilesOffer(migJob *job, GError **error);
/**
 * migFilesLand: destination, runner, phase committed: let the guest run.  False: it has not run and cannot any more, or, with
 * job->landUnknown, nobody can tell.
 */
bool migFilesLand(migJob *job, GError **error);
