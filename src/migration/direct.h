/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * direct.h: a migration to a VMM that somebody started by hand; no libvirt at the destination
 *
 * Theory of operation: the VMM there starts the guest by itself as soon as it has everything, and nobody there keeps a
 * record.  So 'sent' is entered before the VMM here gets leave to send the end of the stream, and the one proof of the
 * outcome is what the VMM here is told by the other one on the way back of the stream: "completed" means that the
 * other one has loaded the guest.  A stream that the other side ends in order without that word proves that it has not.
 *
 * A VMM that loses its stream lets the guest run again by itself, which would be wrong when only the network broke.
 * So the stream goes through a pump here, whose end at the VMM is also held by the VMM itself: what breaks between the
 * hosts, or this daemon's own end, looks to the VMM like silence, and an orderly end looks like one.  Then the guest
 * stays in doubt until an administrator speaks: nobody can be asked.
 *
 * A VMM with a guide (guide.h) goes through the source's half of the relay, where the guide does the same: its process is frozen before 'sent',
 * the end leaves after it, and the other VMM's answers to the end are the proof.  The first of them comes before the guest runs there, so
 * none proves that it does not and only all of them that it does.  A guest that is suspended is refused if the other VMM would start it.
 */
#pragma once

#include "migration/check.h"
#include "migration/job.h"
#include "migration/params.h"
#include "remote/uri.h"

/** migDirectIs: is the job a direct one?  Constant. */
bool migDirectIs(migJob *job);

/**
 * migDirectCheck: can it be done at all?  Judges flags and URI, without any side effect.
 * BASE_ERROR_INVALID_ARG or BASE_ERROR_UNSUPPORTED say why not; *retUri is the caller's.
 */
bool migDirectCheck(const migParams *params, const vmmTraits *traits, uri **retUri, GError **error);

/**
 * migDirectRun: all of it, on a job at rest.  Runner only; no lock.
 * True: the guest runs there, the copy here is ended.  False: it is what it was before, it is gone by itself, or it is
 * in doubt (the phase tells); over() has been called unless it is in doubt.
 */
bool migDirectRun(migJob *job, const migSourceFacts *facts, migParams *params, const vmmMigSpec *spec, GError **error);

/**
 * migDirectSetSpeed: bytes/s, 0: none.  True: the pump keeps it; false: the VMM is to, since it can and nobody asked for the relay, or the
 * job is no direct one.  Any thread, any lock, while it is sent.
 */
bool migDirectSetSpeed(migJob *job, uint64_t bytesPerSecond);
/** migDirectBroken: why the pump has ended before its time; NULL: it has not, or the job is no direct one.  Caller frees. */
char *migDirectBroken(migJob *job);
/** migDirectBytes: what the pump has sent; 0: there is none.  Runner. */
uint64_t migDirectBytes(migJob *job);
/** migDirectLook: runner; in 'sent' or in doubt: act on what the VMM says, if it is definite. */
void migDirectLook(migJob *job);
/** migDirectRecall: runner; before the guest may run here: no byte gets out any more, the VMM has given it up. */
void migDirectRecall(migJob *job);
/** migDirectDrop: the pump and what the VMM holds for it; idempotent. */
void migDirectDrop(migJob *job);
/** migDirectFree: as part of the job's end, after that. */
void migDirectFree(migJob *job);
/** migDirectDoubt: what to tell an administrator; the caller frees. */
char *migDirectDoubt(migJob *job);
