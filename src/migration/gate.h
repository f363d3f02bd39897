/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gate.h: how many migrations this host takes part in at the same time, and who waits for a slot
 *
 * Theory of operation: a migration takes a ticket, which holds a slot at once or stands in line, first come, first
 * served, for each direction on its own.  Every ticket that waits keeps one of the daemon's worker threads busy,
 * so the number of those is limited too, both directions together; one more is refused.
 *
 * Why hosts cannot wait for each other for ever: every migration takes its outgoing slot before its incoming one,
 * on whatever hosts these are, and waits for the second while it holds the first, never the other way
 * round.  So whoever holds an incoming slot has its outgoing slot as well, waits for nobody, and will give both back; hence
 * those in line for incoming slots move on, and hence those in line for outgoing ones.  Where the destination
 * is called before the source's slot can be taken (versions 1 and 2 have no Begin), that call takes no incoming slot: the
 * source asks for it over the link once it has its own.
 *
 * Pure bookkeeping: no thread, no clock.  All functions may be called by any thread with any lock held; granted() is
 * called with none of ours.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum { MIG_GATE_OUT, MIG_GATE_IN, MIG_GATE_LAST } migGateDirection;

typedef struct _migGate migGate;
typedef struct _migTicket migTicket;

/** migGateNew: the limits are those of stratovirt.conf: max_outgoing, max_incoming, max_waiting (0: nobody may wait). */
migGate *migGateNew(unsigned maxOutgoing, unsigned maxIncoming, unsigned maxWaiting);
/** migGateFree: when all tickets have been given back.  NULL is fine. */
void migGateFree(migGate *gate);

/** Something about the ticket has changed: it holds a slot, or never will.  Any thread, not under a lock of ours. */
typedef void (*migGateChanged)(void *opaque);

/**
 * migGateJoin: take a slot or a place in the line.
 * @changed: called for a ticket that waits; @opaque is released with @opaqueFree when nothing uses it any more,
 * also when the call fails
 * Returns a ticket, which the caller gives back with migTicketReturn(); NULL with BASE_ERROR_BUSY, naming the limits and their
 * keys, when too many wait.
 */
migTicket *migGateJoin(migGate *gate, migGateDirection direction, migGateChanged changed, void *opaque,
                       GDestroyNotify opaqueFree, GError **error);
/** migTicketReturn: leave the gate or the line; the next in line gets the slot.  NULL is fine. */
void migTicketReturn(migTicket *ticket);

typedef enum { MIG_TICKET_HOLDS, MIG_TICKET_WAITS, MIG_TICKET_REFUSED } migTicketState;

migTicketState migTicketGetState(migTicket *ticket);
/**
 * migTicketPosition: 1 for the next in line, 0 for one that does not wait.
 * *@retOthers, if not NULL: how many hold a slot or stand before it; *@retLimit: how many slots there are
 */
unsigned migTicketPosition(migTicket *ticket, unsigned *retOthers, unsigned *retLimit);
/** migGateKey: "max_outgoing" or "max_incoming". */
const char *migGateKey(migGateDirection direction);

/** migGateClose: nobody waits any longer (state refused), nobody may join: the daemon is being stopped. */
void migGateClose(migGate *gate);

migTicket *migTicketRef(migTicket *ticket);
void migTicketUnref(migTicket *ticket);   /* only the memory: it does not give anything back */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migTicket, migTicketUnref)
