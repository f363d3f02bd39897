/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* gate.c: slots and the line before them, see gate.h */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/gate.h"


typedef struct {
    unsigned limit;
    unsigned held;
    GQueue line;                 /* migTicket, the next one first */
} gateSide;

struct _migGate {
    GMutex lock;
    gateSide sides[MIG_GATE_LAST];
    unsigned maxWaiting;
    unsigned waiting;
    bool closed;
};

struct _migTicket {
    gint refs;
    migGate *gate;
    migGateDirection direction;
    migGateChanged changed;
    void *opaque;
    GDestroyNotify opaqueFree;
    migTicketState state;        /* guarded by the gate's lock */
};

migGate *
migGateNew(unsigned maxOutgoing, unsigned maxIncoming, unsigned maxWaiting)
{
    migGate *gate = g_new0(migGate, 1);
    unsigned i;

    g_mutex_init(&gate->lock);
    gate->maxWaiting = maxWaiting;
    gate->sides[MIG_GATE_OUT].limit = maxOutgoing;
    gate->sides[MIG_GATE_IN].limit = maxIncoming;
    for (i = 0; i < MIG_GATE_LAST; i++)
        g_queue_init(&gate->sides[i].line);
    return gate;
}

void
migGateFree(migGate *gate)
{
    unsigned i;

    if (!gate)
        return;
    for (i = 0; i < MIG_GATE_LAST; i++)
        g_queue_clear(&gate->sides[i].line);
    g_mutex_clear(&gate->lock);
    g_free(gate);
}

const char *
migGateKey(migGateDirection direction)
{
    return direction == MIG_GATE_OUT ? "max_outgoing" : "max_incoming";
}

migTicket *
migTicketRef(migTicket *ticket)
{
    g_atomic_int_inc(&ticket->refs);
    return ticket;
}

void
migTicketUnref(migTicket *ticket)
{
    if (!ticket || !g_atomic_int_dec_and_test(&ticket->refs))
        return;
    if (ticket->opaqueFree)
        ticket->opaqueFree(ticket->opaque);
    g_free(ticket);
}

/* Lock held. */
static bool
gateAdmit(migGate *gate, migTicket *ticket, GError **error)
{
    gateSide *side = &gate->sides[ticket->direction];

    if (gate->closed) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The daemon is being stopped; it takes part in no more migrations."));
        return false;
    }
    if (side->held < side->limit) {
        side->held++;
        ticket->state = MIG_TICKET_HOLDS;
        return true;
    }
    if (gate->waiting >= gate->maxWaiting) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_BUSY,
                    _("This host takes part in as many migrations as it may (%1$u, '%2$s' in stratovirt.conf), and %3$u more wait already (at most %4$u, 'max_waiting')."),
                    side->held, migGateKey(ticket->direction), gate->waiting, gate->maxWaiting);
        return false;
    }
    gate->waiting++;
    ticket->state = MIG_TICKET_WAITS;
    g_queue_push_tail(&side->line, ticket);
    return true;
}

migTicket *
migGateJoin(migGate *gate, migGateDirection direction, migGateChanged changed, void *opaque,
            GDestroyNotify opaqueFree, GError **error)
{
    g_autoptr(migTicket) ticket = g_new0(migTicket, 1);
    bool ok;

    ticket->refs = 1;
    ticket->gate = gate;
    ticket->direction = direction;
    ticket->changed = changed;
    ticket->opaque = opaque;
    ticket->opaqueFree = opaqueFree;
    g_mutex_lock(&gate->lock);
    ok = gateAdmit(gate, ticket, error);
    g_mutex_unlock(&gate->lock);
    return ok ? g_steal_pointer(&ticket) : NULL;
}

/* Lock held: a slot is free; a reference to the one that gets it, or NULL. */
static migTicket *
gateGrantNext(migGate *gate, gateSide *side)
{
    migTicket *next = side->held < side->limit ? g_queue_pop_head(&side->line) : NULL;

    if (!next)
        return NULL;
    gate->waiting--;
    side->held++;
    next->state = MIG_TICKET_HOLDS;
    return migTicketRef(next);
}

void
migTicketReturn(migTicket *ticket)
{
    g_autoptr(migTicket) next = NULL;
    migGate *gate;
    gateSide *side;

    if (!ticket)
        return;
    gate = ticket->gate;
    side = &gate->sides[ticket->direction];
    g_mutex_lock(&gate->lock);
    if (ticket->state == MIG_TICKET_WAITS) {
        g_queue_remove(&side->line, ticket);
        gate->waiting--;
    } else if (ticket->state == MIG_TICKET_HOLDS) {
        side->held--;
        next = gateGrantNext(gate, side);
    }
    ticket->state = MIG_TICKET_REFUSED;
    g_mutex_unlock(&gate->lock);
    if (next)
        next->changed(next->opaque);
    migTicketUnref(ticket);
}

migTicketState
migTicketGetState(migTicket *ticket)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&ticket->gate->lock);

    return ticket->state;
}

unsigned
migTicketPosition(migTicket *ticket, unsigned *retOthers, unsigned *retLimit)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&ticket->gate->lock);
    gateSide *side = &ticket->gate->sides[ticket->direction];
    unsigned position = 0;

    if (ticket->state == MIG_TICKET_WAITS)
        position = g_queue_index(&side->line, ticket) + 1;
    if (retOthers)
        *retOthers = position ? side->held + position - 1 : 0;
    if (retLimit)
        *retLimit = side->limit;
    return position;
}

void
migGateClose(migGate *gate)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func((GDestroyNotify)migTicketUnref);
    migTicket *ticket;
    unsigned i;

    g_mutex_lock(&gate->lock);
    gate->closed = true;
    for (i = 0; i < MIG_GATE_LAST; i++) {
        while ((ticket = g_queue_pop_head(&gate->sides[i].line))) {
            ticket->state = MIG_TICKET_REFUSED;
            gate->waiting--;
            g_ptr_array_add(all, migTicketRef(ticket));
        }
    }
    g_mutex_unlock(&gate->lock);
    for (i = 0; i < all->len; i++) {
        ticket = g_ptr_array_index(all, i);
        ticket->changed(ticket->opaque);
    }
}
