/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-phase.c: the phase table is whole; that it is right is proved by test-phase-model.c */
#include "migration/phase.h"

static void
testNames(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int i = 0; i < MIG_PHASE_LAST; i++) {
        const char *name = migPhaseName((migPhase)i);
        migPhase back = MIG_PHASE_LAST;

        g_assert_true(migPhaseFromName(name, &back));
        g_assert_cmpint(back, ==, i);
        g_assert_true(g_hash_table_add(seen, (gpointer)name));
        g_assert_cmpstr(migPhaseInfo((migPhase)i)->meaning, !=, "");
    }
    g_hash_table_remove_all(seen);
    for (int i = 0; i < MIG_EVENT_LAST; i++) {
        g_assert_true(g_hash_table_add(seen, (gpointer)migEventName((migEvent)i)));
        g_assert_cmpstr(migEventMeaning((migEvent)i), !=, "");
    }
    g_hash_table_remove_all(seen);
    for (int i = 0; i < MIG_ACTION_LAST; i++)
        g_assert_true(g_hash_table_add(seen, (gpointer)migActionName((migAction)i)));
}

static void
testUnknown(void)
{
    migPhase phase = MIG_PHASE_SENT;

    g_assert_false(migPhaseFromName(NULL, &phase));
    g_assert_false(migPhaseFromName("", &phase));
    g_assert_false(migPhaseFromName("Sent", &phase));
    g_assert_cmpint(phase, ==, MIG_PHASE_SENT);
    g_assert_cmpstr(migPhaseName(MIG_PHASE_LAST), ==, "?");
    g_assert_cmpstr(migPhaseName((migPhase)-1), ==, "?");
    g_assert_cmpstr(migEventName(MIG_EVENT_LAST), ==, "?");
    g_assert_cmpstr(migEventMeaning(MIG_EVENT_LAST), ==, "?");
    g_assert_cmpstr(migActionName(MIG_ACTION_LAST), ==, "?");
    g_assert_null(migPhaseInfo(MIG_PHASE_LAST));
    g_assert_null(migPhaseMove(MIG_PHASE_IDLE, MIG_EVENT_FINISH_OK));
    g_assert_null(migPhaseMove(MIG_PHASE_LAST, MIG_EVENT_BEGIN));
}

static void
testMoves(void)
{
    size_t count;
    const migMove *moves = migPhaseMoves(&count);
    bool events[MIG_EVENT_LAST] = { false };
    bool actions[MIG_ACTION_LAST] = { false };

    g_assert_cmpuint(count, >, 0);
    for (size_t i = 0; i < count; i++) {
        events[moves[i].event] = true;
        actions[moves[i].action] = true;
        g_assert_true(migPhaseMove(moves[i].from, moves[i].event) == &moves[i]);
        g_assert_cmpint(migPhaseInfo(moves[i].from)->side, ==, migPhaseInfo(moves[i].to)->side);
    }
    /* What no row uses is a leftover. */
    for (int i = 0; i < MIG_EVENT_LAST; i++)
        g_assert_true(events[i]);
    for (int i = 0; i < MIG_ACTION_LAST; i++)
        g_assert_true(actions[i]);
}

static void
testRest(void)
{
    g_assert_cmpint(migPhaseRest(MIG_SIDE_SOURCE), ==, MIG_PHASE_IDLE);
    g_assert_cmpint(migPhaseRest(MIG_SIDE_DEST), ==, MIG_PHASE_ABSENT);
    g_assert_true(migPhaseInfo(MIG_PHASE_IDLE)->final && migPhaseInfo(MIG_PHASE_IDLE)->mayRun);
    g_assert_true(migPhaseInfo(MIG_PHASE_ABSENT)->final && !migPhaseInfo(MIG_PHASE_ABSENT)->mayRun);
}

/* A promise is on the disk before it is made. */
static void
testSaved(void)
{
    g_assert_true(migMoveMustBeSaved(migPhaseMove(MIG_PHASE_PERFORMING, MIG_EVENT_VMM_DONE)));
    g_assert_true(migMoveMustBeSaved(migPhaseMove(MIG_PHASE_RECEIVED, MIG_EVENT_FINISH_OK)));
    g_assert_true(migMoveMustBeSaved(migPhaseMove(MIG_PHASE_COMMITTED, MIG_EVENT_START_FAILED)));
    /* What makes the guest safe goes on when the disk is full. */
    g_assert_false(migMoveMustBeSaved(migPhaseMove(MIG_PHASE_PERFORMING, MIG_EVENT_VMM_FAILED)));
    g_assert_false(migMoveMustBeSaved(migPhaseMove(MIG_PHASE_IN_DOUBT, MIG_EVENT_HEARD_ABSENT)));
    g_assert_false(migMoveMustBeSaved(migPhaseMove(MIG_PHASE_RECEIVED, MIG_EVENT_LOST)));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/phase/names", testNames);
    g_test_add_func("/phase/unknown", testUnknown);
    g_test_add_func("/phase/moves", testMoves);
    g_test_add_func("/phase/rest", testRest);
    g_test_add_func("/phase/saved", testSaved);
    return g_test_run();
}
