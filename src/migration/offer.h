/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * offer.h: versions 1 and 2 of libvirt's protocol: what their coordinator does not carry goes over the link
 *
 * Theory of operation: in these versions the destination is called before the source, and no cookie goes from the source to
 * the destination.  So Prepare answers with a token before everything is known; in version 1 there is no domain yet, only a
 * reserved token.  In Perform the source opens the link and makes an *offer*: its Begin cookie and the definition.  The destination
 * judges it (and in version 1 makes domain and VMM now) and answers with a Prepare cookie, or with all that is in the way.  When
 * everything is sent, the source's Perform cookie goes over as well, and the link stays until the outcome is known.
 */
#pragma once

#include "migration/cookie.h"
#include "migration/job.h"

typedef struct {
    char *cookie;                /* Begin's, without length: text */
    char *xml;                   /* the definition for the destination */
    char *name;                  /* of the domain on the source */
} migOffer;

migOffer *migOfferNew(const char *cookie, const char *xml, const char *name);
void migOfferFree(migOffer *offer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migOffer, migOfferFree)

/* ---- source; runner ---- */

/** migOfferSet: this migration follows version 1 or 2: @offer (taken over) is made in Perform. */
void migOfferSet(migJob *job, migOffer *offer);
/** migOfferMake: the link is up: make the offer and wait for the answer, a Prepare cookie; caller frees. */
char *migOfferMake(migJob *job, int *retLen, GError **error);
/** migOfferPerformed: everything is sent: hand the Perform cookie over; true once the destination has it. */
bool migOfferPerformed(migJob *job, const char *cookie, GError **error);

/* ---- destination ---- */

/**
 * migOfferJudge: an offer has come: is there anything in the way of the guest here?  Version 1: also make the domain, start its VMM
 * and call migDestPrepare().  Fills the answer's cookie.  By the runner, no lock held; false with the reasons, and
 * nothing of its own left.
 */
typedef bool (*migOfferJudge)(migJob *job, const migCookie *remote, const migOffer *offer, const migCookieIo *io,
                              void *opaque, GError **error);

/** migOfferExpect: before migDestListen(): the offer will be judged by @judge; @opaque is released with the job. */
void migOfferExpect(migJob *job, unsigned version, migOfferJudge judge, void *opaque, GDestroyNotify freeOpaque);
/** migOfferReserve: version 1, after migDestListen(): the answer to Prepare; the lease begins. */
bool migOfferReserve(migJob *job, const migCookieIo *io, char **retUri, GError **error);
