/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tunnel_job.h: a migration whose data and link go through the libvirt connection (VIR_MIGRATE_TUNNELLED)
 *
 * Three streams belong to it: the data on the one that Prepare was called with, which leads one way only, and two channels of the
 * domain that waits at the destination, the link and the VMM's way back.  All are opened on the coordinator's connection and only
 * there; the channels' names also prove that who opens them has the destination's cookie.  The migration port only serves to
 * ask for the outcome when that connection is lost.
 */
#pragma once

#include "migration/job.h"
#include "migration/tunnel.h"

typedef struct _migTunnel migTunnel;

/* The channels' names are this, "link" or "back", a colon and the proof. */
#define MIG_TUNNEL_PREFIX "org.libvirt.stratovirt."

/** migTunnelProof: what the name of a channel ends with; @token NULL: there is none yet (version 2).  Caller frees. */
char *migTunnelProof(const uint8_t *token);

/* ---- source; all but migTunnelAllow(): runner ---- */

/** migTunnelStart: after Prepare: from now on the streams are there to be opened; @peer must live until migTunnelDrop(). */
void migTunnelStart(migJob *job, const migPeerOps *ops, void *peer);
/** migTunnelOpenLink: *ret is what a connection to the migration port would be.  @token: as for migTunnelProof(). */
bool migTunnelOpenLink(migJob *job, const uint8_t *token, helloConn *ret, GError **error);
/** migTunnelOpenData: *ret is what the stream's connection would be: both ways. The token is known by now. */
bool migTunnelOpenData(migJob *job, helloConn *ret, GError **error);
/** migTunnelAllow: the destination allows to send so many bytes in all.  Any thread. */
void migTunnelAllow(migJob *job, uint64_t total);
/** migTunnelCancel: end the data now; does not wait.  Nothing happens if there is no tunnel. */
void migTunnelCancel(migJob *job);
/** migTunnelError: why the data's stream broke; NULL: it did not, or there is none.  Caller frees. */
char *migTunnelError(migJob *job);
/** migTunnelSettle: before Finish: wait until nothing of the data is on its way; @cancelled: end it.  Nothing happens if there is no
 * tunnel. */
void migTunnelSettle(migJob *job, bool cancelled);
/** migTunnelDrop: the end of it all but the link, which lives as long as the job's does. */
void migTunnelDrop(migJob *job);

/* ---- destination ---- */

/** migTunnelExpect: with the parameters known, as part of migDestListen(): make the sink. @opaque is taken over. */
bool migTunnelExpect(migJob *job, const tunnelSinkHooks *hooks, void *opaque, GError **error);
/** migTunnelSink: a reference; NULL: the migration is not tunnelled.  Any thread. */
tunnelSink *migTunnelSink(migJob *job);
/** migTunnelVmmFd: hand over the descriptor that the VMM reads from; -1: that was done before. */
int migTunnelVmmFd(migJob *job);
/** migTunnelKeep, migTunnelKept: the Prepare cookie that version 2 has no way to answer. @kept: caller frees; may be NULL. Any thread. */
void migTunnelKeep(migJob *job, const char *cookie);
char *migTunnelKept(migJob *job);
/** migTunnelEnd: as part of migJobEnd(): nothing goes into the VMM any more. */
void migTunnelEnd(migJob *job);
/** migTunnelFree: as part of the job's end.  @tunnel may be NULL. */
void migTunnelFree(migTunnel *tunnel);
/**
 * migDestTunnelLink: the channel of the link has been opened by the coordinator's connection; @fd is taken over.
 * migDestTunnelBack: that of the way back: a descriptor to read from, -1 on error.
 * Errors: BASE_ERROR_OPERATION_INVALID with the reason of the refusal.  Any thread, with a domain locked.
 */
bool migDestTunnelLink(migJob *job, const char *proof, int fd, GError **error);
int migDestTunnelBack(migJob *job, const char *proof, GError **error);
