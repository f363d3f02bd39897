/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-gate.c: who gets a slot, who waits, who is refused */
#include <string.h>

#include "base/error.h"
#include "migration/gate.h"

static void
note(void *opaque)
{
    (*(unsigned *)opaque)++;
}

static migTicket *
join(migGate *gate, migGateDirection direction, unsigned *changes)
{
    g_autoptr(GError) error = NULL;
    migTicket *ticket = migGateJoin(gate, direction, note, changes, NULL, &error);

    g_assert_no_error(error);
    g_assert_nonnull(ticket);
    return ticket;
}

static void
testOrder(void)
{
    migGate *gate = migGateNew(2, 1, 8);
    migTicket *tickets[6];
    unsigned changes[6] = { 0 };
    unsigned others = 77, limit = 77;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(tickets); i++) {
        tickets[i] = join(gate, MIG_GATE_OUT, &changes[i]);
        g_assert_cmpint(migTicketGetState(tickets[i]), ==, i < 2 ? MIG_TICKET_HOLDS : MIG_TICKET_WAITS);
    }
    g_assert_cmpuint(migTicketPosition(tickets[0], &others, &limit), ==, 0);
    g_assert_cmpuint(others, ==, 0);
    g_assert_cmpuint(limit, ==, 2);
    g_assert_cmpuint(migTicketPosition(tickets[2], &others, NULL), ==, 1);
    g_assert_cmpuint(others, ==, 2);
    g_assert_cmpuint(migTicketPosition(tickets[5], &others, &limit), ==, 4);
    g_assert_cmpuint(others, ==, 5);

    /* One in the middle gives up: nobody gets anything for it, the later ones move on. */
    migTicketReturn(tickets[3]);
    g_assert_cmpuint(changes[3], ==, 0);
    g_assert_cmpuint(migTicketPosition(tickets[2], NULL, NULL), ==, 1);
    g_assert_cmpuint(migTicketPosition(tickets[4], NULL, NULL), ==, 2);
    /* First come, first served, whichever slot becomes free. */
    migTicketReturn(tickets[1]);
    g_assert_cmpint(migTicketGetState(tickets[2]), ==, MIG_TICKET_HOLDS);
    g_assert_cmpint(migTicketGetState(tickets[4]), ==, MIG_TICKET_WAITS);
    g_assert_cmpuint(changes[2], ==, 1);
    migTicketReturn(tickets[0]);
    g_assert_cmpuint(changes[4], ==, 1);
    g_assert_cmpuint(changes[5], ==, 0);
    migTicketReturn(tickets[4]);
    migTicketReturn(tickets[2]);
    g_assert_cmpuint(changes[5], ==, 1);
    migTicketReturn(tickets[5]);
    migTicketReturn(NULL);
    migGateFree(gate);
}

static void
testDirections(void)
{
    migGate *gate = migGateNew(1, 1, 8);
    unsigned changes = 0, changed = 0;
    migTicket *out = join(gate, MIG_GATE_OUT, &changes);
    migTicket *in = join(gate, MIG_GATE_IN, &changes);
    migTicket *next = join(gate, MIG_GATE_IN, &changed);

    g_assert_cmpint(migTicketGetState(out), ==, MIG_TICKET_HOLDS);
    g_assert_cmpint(migTicketGetState(in), ==, MIG_TICKET_HOLDS);
    /* A slot for leaving is of no use to one that arrives. */
    migTicketReturn(out);
    g_assert_cmpint(migTicketGetState(next), ==, MIG_TICKET_WAITS);
    migTicketReturn(in);
    g_assert_cmpint(migTicketGetState(next), ==, MIG_TICKET_HOLDS);
    g_assert_cmpuint(changed, ==, 1);
    migTicketReturn(next);
    g_assert_cmpuint(changes, ==, 0);
    migGateFree(gate);
}

static void
testTooMany(void)
{
    migGate *gate = migGateNew(1, 1, 2);
    unsigned changes = 0, freed = 0;
    migTicket *out = join(gate, MIG_GATE_OUT, &changes);
    migTicket *in = join(gate, MIG_GATE_IN, &changes);
    migTicket *waiting = join(gate, MIG_GATE_OUT, &changes);
    migTicket *also = join(gate, MIG_GATE_IN, &changes);
    g_autoptr(GError) error = NULL;

    /* Both directions together. */
    g_assert_null(migGateJoin(gate, MIG_GATE_OUT, note, &freed, note, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_BUSY);
    g_assert_nonnull(strstr(error->message, "max_outgoing"));
    g_assert_nonnull(strstr(error->message, "max_waiting"));
    g_assert_nonnull(strstr(error->message, "(1, "));
    g_assert_nonnull(strstr(error->message, "2 more wait"));
    g_assert_cmpuint(freed, ==, 1);
    g_clear_error(&error);
    g_assert_null(migGateJoin(gate, MIG_GATE_IN, note, &freed, NULL, &error));
    g_assert_nonnull(strstr(error->message, "max_incoming"));
    /* Whoever leaves the line makes room in it. */
    migTicketReturn(waiting);
    waiting = join(gate, MIG_GATE_IN, &changes);
    migTicketReturn(also);
    migTicketReturn(waiting);
    migTicketReturn(in);
    migTicketReturn(out);
    migGateFree(gate);

    /* No line at all. */
    gate = migGateNew(1, 1, 0);
    out = join(gate, MIG_GATE_OUT, &changes);
    g_clear_error(&error);
    g_assert_null(migGateJoin(gate, MIG_GATE_OUT, note, &freed, NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_BUSY);
    migTicketReturn(out);
    out = join(gate, MIG_GATE_OUT, &changes);
    migTicketReturn(out);
    migGateFree(gate);
}

static void
testClose(void)
{
    migGate *gate = migGateNew(1, 1, 2);
    unsigned changes = 0;
    migTicket *out = join(gate, MIG_GATE_OUT, &changes);
    migTicket *waiting = join(gate, MIG_GATE_OUT, &changes);
    g_autoptr(GError) error = NULL;

    migGateClose(gate);
    g_assert_cmpuint(changes, ==, 1);
    g_assert_cmpint(migTicketGetState(waiting), ==, MIG_TICKET_REFUSED);
    g_assert_cmpuint(migTicketPosition(waiting, NULL, NULL), ==, 0);
    g_assert_cmpint(migTicketGetState(out), ==, MIG_TICKET_HOLDS);
    g_assert_null(migGateJoin(gate, MIG_GATE_IN, note, &changes, NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    migTicketReturn(waiting);
    migTicketReturn(out);
    g_assert_cmpuint(changes, ==, 1);
    migGateFree(gate);
}

/* Many threads at a narrow gate: never more inside than may be, and all get in. */
#define CROWD 16
#define ROUNDS 200

typedef struct {
    migGate *gate;
    GMutex lock;
    GCond cond;
    gint inside, most;
} crowd;

static void
crowdWake(void *opaque)
{
    crowd *c = opaque;

    g_mutex_lock(&c->lock);
    g_cond_broadcast(&c->cond);
    g_mutex_unlock(&c->lock);
}

static gpointer
crowdMember(gpointer opaque)
{
    crowd *c = opaque;
    unsigned i;

    for (i = 0; i < ROUNDS; i++) {
        migTicket *ticket = migGateJoin(c->gate, MIG_GATE_OUT, crowdWake, c, NULL, NULL);
        int now;

        g_assert_nonnull(ticket);
        g_mutex_lock(&c->lock);
        while (migTicketGetState(ticket) == MIG_TICKET_WAITS)
            g_cond_wait(&c->cond, &c->lock);
        now = ++c->inside;
        c->most = MAX(c->most, now);
        g_mutex_unlock(&c->lock);
        g_thread_yield();
        g_mutex_lock(&c->lock);
        c->inside--;
        g_mutex_unlock(&c->lock);
        migTicketReturn(ticket);
    }
    return NULL;
}

static void
testCrowd(void)
{
    crowd c = { .gate = migGateNew(3, 1, CROWD) };
    GThread *threads[CROWD];
    size_t i;

    g_mutex_init(&c.lock);
    g_cond_init(&c.cond);
    for (i = 0; i < CROWD; i++)
        threads[i] = g_thread_new("member", crowdMember, &c);
    for (i = 0; i < CROWD; i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(c.inside, ==, 0);
    g_assert_cmpint(c.most, ==, 3);
    g_mutex_clear(&c.lock);
    g_cond_clear(&c.cond);
    migGateFree(c.gate);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gate/order", testOrder);
    g_test_add_func("/gate/directions", testDirections);
    g_test_add_func("/gate/too-many", testTooMany);
    g_test_add_func("/gate/close", testClose);
    g_test_add_func("/gate/crowd", testCrowd);
    return g_test_run();
}
