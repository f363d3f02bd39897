/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_in_priv.h: the parts of a destination's Prepare, for mig_in.c and mig_offer.c only */
#pragma once

#include "driver/mig_priv.h"

/* Nothing is owned. */
typedef struct {
    virConnectPtr dconn;
    unsigned version;            /* of libvirt's protocol */
    unsigned long flags;
    const migCookie *remote;     /* the source's Begin cookie, or what stands for it in version 2 */
    const vmmInfo *vmm;
    const migCookieIo *io;
    char **uriOut;
} inPrepare;

/* All checks of the destination; @waits: this very guest is prepared here. -1 with the libvirt error set. No lock. */
int migInCheck(drvState *drv, const virDomainDef *def, const migCookie *remote, const migParams *params,
               bool waits, const vmmInfo **retVmm);
/* The incoming definition under its final name; NULL with the libvirt error set. */
virDomainDef *migInParse(drvState *drv, const char *xml, const char *destName);
/* Runner, domain locked: start the VMM and prepare; false with *error or the libvirt error set: the caller undoes. */
bool migInStart(virDomainObj *vm, migJob *job, const inPrepare *in, GError **error);
/* Give up a half-made incoming domain. Domain locked; the reference is the caller's. */
void migInUndo(virDomainObj *vm);
/* mig_offer.c: the domain waits for an offer of version 2. */
void migInExpectOffer(migJob *job, virDomainObj *vm);
