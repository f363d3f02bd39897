/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_tunnel.h: the streams of a tunnelled migration as libvirt's streams, for mig_*.c and console.c */
#pragma once

#include "driver/mig_priv.h"
#include "migration/tunnel_job.h"

/* Source: what lets one stream of a connection at a time make calls that block. */
GMutex *migTunnelCallsNew(void);
void migTunnelCallsUnref(GMutex *calls);
/* Source: @st is taken over. */
void migTunnelStreamOf(virStreamPtr st, GMutex *calls, tunnelStream *ret);

/* Source: a channel on its way, as work for migRemoteRun(); all but 'st' and 'error' is filled in before. */
typedef struct {
    virConnectPtr dconn;         /* a reference */
    char *domain, *channel;      /* names */
    virStreamPtr st;             /* NULL: failed */
    GError *error;
} migTunnelOpening;
void migTunnelOpeningRun(void *opening);
void migTunnelOpeningFree(void *opening);

/* Destination: what arrives on the stream is for the VMM; -1 with the libvirt error set. */
int migTunnelTakeStream(migJob *job, virStreamPtr st);
/* Is it the name of a migration's channel, not of a guest's? */
bool migTunnelIsChannel(const char *name);
/* Serve it. Domain locked; -1 with the libvirt error set. */
int migTunnelOpenChannel(virDomainObj *vm, virConnectPtr conn, const char *name, virStreamPtr st);
