/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peer.h: the source as coordinator: prepare, perform, finish and confirm in one call */
#pragma once

#include "migration/job.h"

/* Nothing is owned. */
typedef struct {
    const vmmMigSpec *spec;
    const char *xml;             /* the definition for the destination */
    const char *name;            /* of the domain here */
    const char *persistentXml;   /* what PERSIST_DEST stores there; NULL: nothing */
    const char *cookie;          /* Begin's */
    int cookieLen;
} migPeerTask;

/**
 * migPeerRun: after migSourceBegin(), run the whole migration against @peer.
 * True: the guest runs on the destination and is ended here.  False: it is what it was before, or in doubt; the error says which.
 */
bool migPeerRun(migJob *job, const migPeerOps *ops, void *peer, const migPeerTask *task, GError **error);
