/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guide.h: migrations of a VMM whose switch-over is not in its own hands
 *
 * Theory of operation: such a VMM (vmmTraits.guide) sends until its guest stands still, and one that receives lets the guest run as
 * soon as it has everything.  If anything fails on the way the sender lets its guest run again, by itself, even when
 * only this daemon has ended.  So its stream goes through the relay of both hosts, where guides read along and keep the end back:
 *
 *   source        the end is there      freeze the process, 'sent' is saved, only then the end leaves
 *   destination   the end has arrived   'received'; at Finish 'committed' is saved, only then the VMM is given the end, which goes to it
 *                                       straight from here: whatever has become of the source and the way to it, the VMM never hears of it
 *
 * The sender is frozen from before 'sent' until it is known where the guest runs, so it needs no time-out to be beaten.  A daemon
 * that dies between the commit and the end's arrival in the VMM leaves none that could run: how far it came is in the record
 * (migStart), and PENDING with a VMM that is gone means that the guest never ran.  RELEASED is saved before the end leaves; with a VMM
 * that is gone nobody can tell whether the guest ran and wrote to its disks, so the ledger says 'unknown' and the source stays in doubt.
 */
#pragma once

#include "migration/job.h"
#include "migration/relay.h"

/** migGuideSet: runner: the VMM of this side is known; a destination's relay gets its guide here. */
void migGuideSet(migJob *job, const vmmTraits *vmm);
/** migGuideNeeded: is the VMM one of those? */
bool migGuideNeeded(const migJob *job);
/** migGuideOptions: for the relay's one connection; nothing if there is no need. */
void migGuideOptions(migJob *job, migRelayOptions *options);
/** migGuideStatus: how it goes, by VMM and guide.  @stopping: the connection has been ended, so nothing can be complete any more. */
bool migGuideStatus(migJob *job, bool stopping, vmmMigStatus *ret, GError **error);
/** migGuideHolds: source, frozen: did the guest certainly stand still from the capture of its state on?  Else the state is stale. */
bool migGuideHolds(migJob *job, GError **error);
/** migGuideSwitchOver: source, runner, phase sent has been saved: the end leaves. */
void migGuideSwitchOver(migJob *job);
/** migGuideRecall: source, runner: the guest goes on here: let go of its VMM, which resumes it. */
void migGuideRecall(migJob *job);
/** migGuideArrived: destination: is the end here? */
bool migGuideArrived(migJob *job);
/** migGuideSaveStart: destination, runner: save how far the VMM has come. */
bool migGuideSaveStart(migJob *job, migStart start, GError **error);
/**
 * migGuideLand: destination, runner, phase committed: give the VMM the end and wait until it says that the guest runs.  False: the guest has
 * not run and cannot any more, or, with job->landUnknown, nobody can tell; its VMM has been ended.
 */
bool migGuideLand(migJob *job, GError **error);
