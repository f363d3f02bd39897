/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * slot.c: a job before the gate: it takes a slot or waits for one, and can be told to stop meanwhile
 */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/job_priv.h"


/* The wait is for a signal; this is only how long one look at the clock lasts. */
#define SLOT_WAIT_MS 60000

static migTicket *
slotTicket(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->ticket ? migTicketRef(job->ticket) : NULL;
}

static void
slotChanged(void *opaque)
{
    migJobPost(opaque, MIG_SIGNAL_SLOT);
}

bool
migJobJoinLine(migJob *job, GError **error)
{
    migGateDirection direction = job->record.side == MIG_SIDE_SOURCE ? MIG_GATE_OUT : MIG_GATE_IN;
    g_autoptr(migTicket) held = slotTicket(job);
    migTicket *ticket;

    if (!job->env->gate || held)
        return true;
    ticket = migGateJoin(job->env->gate, direction, slotChanged, migJobRef(job), (GDestroyNotify)migJobUnref, error);
    if (!ticket)
        return false;
    g_mutex_lock(&job->lock);
    job->ticket = ticket;
    g_mutex_unlock(&job->lock);
    return true;
}

void
migJobLeaveSlot(migJob *job)
{
    migTicket *ticket;

    g_mutex_lock(&job->lock);
    ticket = g_steal_pointer(&job->ticket);
    g_mutex_unlock(&job->lock);
    /* Not under the lock: whoever is next gets a signal, and the ticket's reference to the job goes. */
    migTicketReturn(ticket);
}

static void
slotTellWaiting(migJob *job, migTicket *ticket)
{
    unsigned others, limit;
    unsigned position = migTicketPosition(ticket, &others, &limit);

    if (position > 0)
        g_message("%s: waits for %u other migrations, at position %u of the line (%s = %u)", job->record.uuid, others,
                  position, migGateKey(job->record.side == MIG_SIDE_SOURCE ? MIG_GATE_OUT : MIG_GATE_IN), limit);
}

static char *
slotPeerError(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return g_strdup(job->peerError);
}

/* Signals that end the wait; false with the reason. */
static bool
slotHeed(migJob *job, unsigned signals, GError **error)
{
    bool source = job->record.side == MIG_SIDE_SOURCE;
    g_autofree char *text = NULL;

    if (migJobAbortAsked(job))
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED,
                            source ? _("migration out job: canceled by client") : _("migration in job: canceled by client"));
    else if (signals & MIG_SIGNAL_LOST)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The client that coordinates the migration went away while it waited for other migrations."));
    else if (signals & MIG_SIGNAL_VMM_GONE)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The guest ended while its migration waited for others."));
    else if ((signals & MIG_SIGNAL_PEER_ERROR) && (text = slotPeerError(job)))
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("Host '%1$s' reports: %2$s"),
                    job->record.peerHost ? job->record.peerHost : "?", text);
    else if (signals & (MIG_SIGNAL_LINK_LOST | MIG_SIGNAL_PEER_ERROR))
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("Host '%1$s' gave the migration up while it waited for others."),
                    job->record.peerHost ? job->record.peerHost : "?");
    else
        return true;
    return false;
}

static bool
slotAwait(migJob *job, migTicket *ticket, unsigned *signals, GError **error)
{
    migTicketState state;

    while ((state = migTicketGetState(ticket)) == MIG_TICKET_WAITS) {
        *signals |= migJobWait(job, SLOT_WAIT_MS);
        if (!slotHeed(job, *signals, error))
            return false;
    }
    if (state == MIG_TICKET_HOLDS)
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        _("The daemon is being stopped; the migration that waited for others is given up."));
    return false;
}

bool
migJobTakeSlot(migJob *job, GError **error)
{
    g_autoptr(migTicket) ticket = NULL;
    unsigned signals = 0;
    bool ok;

    if (!migJobJoinLine(job, error))
        return false;
    ticket = slotTicket(job);
    if (ticket)
        slotTellWaiting(job, ticket);
    /* Also one that does not have to wait may have been aborted before. */
    ok = slotHeed(job, 0, error) && (!ticket || slotAwait(job, ticket, &signals, error));
    /* What ended the wait has been dealt with; the rest is for whoever looks next. */
    signals &= ~MIG_SIGNAL_SLOT;
    if (!ok)
        signals &= ~(MIG_SIGNAL_ABORT | MIG_SIGNAL_LOST);
    if (signals)
        migJobPost(job, signals);
    if (!ok)
        migJobLeaveSlot(job);
    return ok;
}

/* ---- a destination that is asked for its slot over the link ---- */

static bool
slotTurnGiven(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->turnGiven;
}

bool
migJobAskTurn(migJob *job, GError **error)
{
    unsigned signals = 0;
    bool ok = true;

    migJobNotify(job, "turn", NULL);
    while (ok && !slotTurnGiven(job)) {
        signals |= migJobWait(job, SLOT_WAIT_MS);
        ok = slotHeed(job, signals, error);
    }
    signals &= ~MIG_SIGNAL_SLOT;
    if (!ok)
        signals &= ~(MIG_SIGNAL_ABORT | MIG_SIGNAL_LOST);
    if (signals)
        migJobPost(job, signals);
    return ok;
}

void
migJobTurnAsked(migJob *job)
{
    g_mutex_lock(&job->lock);
    job->turnWanted = true;
    g_mutex_unlock(&job->lock);
    /* The rest takes locks that the link's thread must not wait for. */
    migJobPost(job, MIG_SIGNAL_SLOT);
}

bool
migJobTurnChanged(migJob *job, GError **error)
{
    g_autoptr(migTicket) ticket = NULL;
    migTicketState state;
    bool wanted;

    g_mutex_lock(&job->lock);
    wanted = job->turnWanted;
    g_mutex_unlock(&job->lock);
    if (!wanted)
        return true;
    if (!migJobJoinLine(job, error))
        return false;
    ticket = slotTicket(job);
    state = ticket ? migTicketGetState(ticket) : MIG_TICKET_HOLDS;
    if (state == MIG_TICKET_WAITS) {
        slotTellWaiting(job, ticket);
        return true;
    }
    if (state == MIG_TICKET_REFUSED) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The daemon is being stopped; the migration that waited for others is given up."));
        return false;
    }
    g_mutex_lock(&job->lock);
    job->turnWanted = false;
    g_mutex_unlock(&job->lock);
    migJobNotify(job, "turn", NULL);
    return true;
}
