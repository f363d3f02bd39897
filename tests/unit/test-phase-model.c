/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-phase-model.c: walks the real phase table through everything that can happen (phase-model.h)
 *
 * The second half damages the table on purpose and insists that the walk finds it: a proof that
 * cannot fail proves nothing.  Administrators' moves are not walked, since they may break the rule
 * by choice; that they exist is checked.
 */
#include "phase-model.h"

#include <string.h>

#define MOVES_MAX 128

static const char *const coordNames[] = {
    [COORD_CLIENT] = "client, version 3", [COORD_PEER] = "peer-to-peer", [COORD_CLIENT2] = "client, version 2",
    [COORD_CLIENT1] = "client, version 1", [COORD_DIRECT] = "direct", [COORD_OFFLINE] = "offline",
    [COORD_OFFLINE_COPY] = "offline, a copy stays"
};

static const size_t leastStates[] = {
    [COORD_CLIENT] = 100000, [COORD_PEER] = 40000, [COORD_CLIENT2] = 100000, [COORD_CLIENT1] = 50000,
    [COORD_DIRECT] = 2500, [COORD_OFFLINE] = 100, [COORD_OFFLINE_COPY] = 100
};

static modelInput
realInput(modelCoord coord)
{
    modelInput input = { .coord = coord, .mustBeSaved = migMoveMustBeSaved };

    input.moves = migPhaseMoves(&input.moveCount);
    return input;
}

static void
testHolds(gconstpointer data)
{
    modelCoord coord = (modelCoord)GPOINTER_TO_INT(data);
    modelInput input = realInput(coord);
    modelResult result;

    modelWalk(&input, &result);
    g_test_message("coordinator %s: %zu states, %zu steps, %zu states at rest", coordNames[coord],
                   result.states, result.steps, result.rests);
    g_assert_cmpstr(result.violation, ==, NULL);
    /* A model that has lost its faults would pass as well. */
    g_assert_cmpuint(result.states, >, leastStates[coord]);
    g_assert_cmpuint(result.rests, >, leastStates[coord] / 200);
}

/* ---- rows that must be there whatever the walk says ---------------------------------------- */

/* Phases in which a loss of the coordinator has no row, and why. */
static const struct {
    migPhase phase;
    const char *why;
} withoutLost[] = {
    { MIG_PHASE_IDLE, "there is no migration" },
    { MIG_PHASE_GONE, "the guest belongs to the other host" },
    { MIG_PHASE_ENDED, "nothing is left to decide here" },
    { MIG_PHASE_ABSENT, "there is nothing to end" },
};

static bool
mayLackLost(migPhase phase)
{
    for (size_t i = 0; i < G_N_ELEMENTS(withoutLost); i++) {
        if (withoutLost[i].phase == phase)
            return true;
    }
    return false;
}

static void
testRows(void)
{
    for (int i = 0; i < MIG_PHASE_LAST; i++) {
        migPhase phase = (migPhase)i;
        const migPhaseRow *row = migPhaseInfo(phase);

        g_test_message("%s", row->name);
        g_assert_nonnull(migPhaseMove(phase, MIG_EVENT_RESTART));
        g_assert_true(migPhaseMove(phase, MIG_EVENT_LOST) != NULL || mayLackLost(phase));
        g_assert_true(migPhaseMove(phase, MIG_EVENT_VMM_GONE) != NULL || row->final);
        if (row->side == MIG_SIDE_DEST)
            g_assert_nonnull(migPhaseMove(phase, MIG_EVENT_RESOLVE));
        /* A user may stop it wherever neither host can have given the guest away. */
        g_assert_true((migPhaseMove(phase, MIG_EVENT_CANCEL) != NULL) ==
                      (!row->final && phase != MIG_PHASE_SENT && phase != MIG_PHASE_IN_DOUBT));
    }
}

static void
testAdmin(void)
{
    const migMove *resume = migPhaseMove(MIG_PHASE_IN_DOUBT, MIG_EVENT_ADMIN_RESUME);
    const migMove *destroy = migPhaseMove(MIG_PHASE_IN_DOUBT, MIG_EVENT_ADMIN_DESTROY);

    g_assert_nonnull(resume);
    g_assert_cmpint(resume->to, ==, MIG_PHASE_IDLE);
    g_assert_cmpint(resume->action, ==, MIG_ACTION_RESUME);
    g_assert_nonnull(destroy);
    g_assert_cmpint(destroy->to, ==, MIG_PHASE_ENDED);
    g_assert_cmpint(destroy->action, ==, MIG_ACTION_END_SOURCE);
    g_assert_nonnull(migPhaseMove(MIG_PHASE_SENT, MIG_EVENT_ADMIN_DESTROY));
    /* While somebody is still at work on the outcome there is nothing to override. */
    g_assert_null(migPhaseMove(MIG_PHASE_SENT, MIG_EVENT_ADMIN_RESUME));
}

/* ---- damage -------------------------------------------------------------------------------- */

/* In the world of @only, or in all (COORD_LAST) until one notices. */
static char *
walkAll(modelCoord only, const migMove *moves, size_t count, bool (*mustBeSaved)(const migMove *move))
{
    for (int coord = COORD_CLIENT; coord < COORD_LAST; coord++) {
        modelInput input = { (modelCoord)coord, moves, count, mustBeSaved };
        modelResult result;

        if (only != COORD_LAST && only != input.coord)
            continue;
        modelWalk(&input, &result);
        if (result.violation)
            return result.violation;
    }
    return NULL;
}

typedef struct {
    migPhase from;
    migEvent event;
    migPhase to;
    migAction action;
    const char *expect;          /* how the violation begins */
    modelCoord only;             /* the world that must notice it */
} damage;

#define DAMAGE_IN(coord, from, event, to, action, expect) \
    { MIG_PHASE_##from, MIG_EVENT_##event, MIG_PHASE_##to, MIG_ACTION_##action, expect, COORD_##coord }
#define DAMAGE(from, event, to, action, expect) DAMAGE_IN(LAST, from, event, to, action, expect)

static const damage damages[] = {
    DAMAGE(SENT, CONFIRM_CANCEL, IDLE, RESUME, "two copies"),
    DAMAGE(SENT, RESTART, IDLE, RESUME, "two copies"),
    DAMAGE(SENT, LOST, IDLE, RESUME, "two copies"),
    DAMAGE(SENT, RESTART, ABORTING, STOP_SENDING, "no row for the coordinator's word"),
    DAMAGE(IN_DOUBT, CONFIRM_CANCEL, IDLE, RESUME, "two copies"),
    DAMAGE(IN_DOUBT, RESTART, IDLE, RESUME, "two copies"),
    DAMAGE(IN_DOUBT, HEARD_COMMITTED, IDLE, RESUME, "two copies"),
    DAMAGE(ABORTING, VMM_DONE, SENT, RESUME, "resumed in a phase"),
    DAMAGE(RECEIVED, RESTART, COMMITTED, START, "two copies"),
    DAMAGE(RECEIVED, LOST, COMMITTED, START, "two copies"),
    DAMAGE(RECEIVED, FINISH_CANCEL, COMMITTED, START, "two copies"),
    DAMAGE(PREPARED, VMM_LOADED, COMMITTED, START, "two copies"),
    DAMAGE(COMMITTED, LOST, ABSENT, END_INCOMING, "runs on the destination in a phase"),
    DAMAGE(COMMITTED, RESTART, ABSENT, END_INCOMING, "runs on the destination in a phase"),
    DAMAGE(COMMITTED, RESOLVE, ABSENT, END_INCOMING, "runs on the destination in a phase"),
    DAMAGE(IN_DOUBT, HEARD_ABSENT, GONE, END_SOURCE, "given away, but not taken"),
    DAMAGE(IN_DOUBT, LOST, GONE, END_SOURCE, "given away, but not taken"),
    DAMAGE(SENT, VMM_GONE, GONE, NONE, "given away, but not taken"),
    DAMAGE(SENT, LOST, IN_DOUBT, NONE, "never comes to rest"),
    DAMAGE(PREPARED, LOST, PREPARED, NONE, "never comes to rest"),
    DAMAGE(PERFORMING, CANCEL, ABORTING, NONE, "never comes to rest"),
    DAMAGE(PERFORMING, LOST, IDLE, NONE, "at rest, but the guest is frozen"),
    DAMAGE(PERFORMING, VMM_FAILED, IDLE, NONE, "at rest, but the guest is frozen"),
    DAMAGE(IN_DOUBT, HEARD_ABSENT, IDLE, NONE, "at rest, but the guest is frozen"),
    DAMAGE(IDLE, RESTART, IDLE, NONE, "at rest, but the guest is frozen"),
    DAMAGE(SENT, CONFIRM_OK, GONE, NONE, "at rest, but a VMM is left"),
    DAMAGE(GONE, RESTART, GONE, NONE, "at rest, but a VMM is left"),
    DAMAGE(ABSENT, RESTART, ABSENT, NONE, "at rest, but a VMM is left"),
    DAMAGE(RECEIVED, LOST, ABSENT, NONE, "at rest, but a VMM is left"),
    DAMAGE(COMMITTED, RESTART, COMMITTED, NONE, "at rest, but the guest is stopped"),
    DAMAGE(BEGUN, PERFORM, IDLE, NONE, "fails without a fault"),
    DAMAGE_IN(CLIENT2, SENT, LOST, IDLE, RESUME, "two copies"),
    DAMAGE_IN(CLIENT2, SENT, LOST, IN_DOUBT, NONE, "never comes to rest"),
    DAMAGE_IN(CLIENT2, SENT, HEARD_ABSENT, GONE, END_SOURCE, "given away, but not taken"),
    DAMAGE_IN(CLIENT2, RECEIVED, LOST, RECEIVED, NONE, "never comes to rest"),
    DAMAGE_IN(CLIENT2, COMMITTED, RESOLVE, ABSENT, END_INCOMING, "runs on the destination in a phase"),
    DAMAGE_IN(CLIENT1, SENT, RESTART, IDLE, RESUME, "two copies"),
    DAMAGE_IN(CLIENT1, PREPARED, LOST, PREPARED, NONE, "never comes to rest"),
    DAMAGE_IN(CLIENT1, PREPARED, VMM_LOADED, COMMITTED, START, "two copies"),
    DAMAGE_IN(CLIENT1, SENT, HEARD_COMMITTED, IDLE, RESUME, "two copies"),
    DAMAGE_IN(DIRECT, SENT, LOST, IDLE, RESUME, "two copies"),
    DAMAGE_IN(DIRECT, SENT, RESTART, IDLE, RESUME, "two copies"),
    DAMAGE_IN(DIRECT, IN_DOUBT, RESTART, IDLE, RESUME, "two copies"),
    DAMAGE_IN(DIRECT, IN_DOUBT, LOST, GONE, END_SOURCE, "given away, but not taken"),
    DAMAGE_IN(DIRECT, SENT, HEARD_ABSENT, GONE, END_SOURCE, "given away, but not taken"),
    DAMAGE_IN(DIRECT, IN_DOUBT, HEARD_ABSENT, IN_DOUBT, NONE, "never comes to rest"),
    DAMAGE_IN(DIRECT, PERFORMING, VMM_DONE, PERFORMING, NONE, "never comes to rest"),
    DAMAGE_IN(DIRECT, PERFORMING, RESTART, SENT, NONE, "never comes to rest"),
    DAMAGE_IN(OFFLINE, BEGUN, MOVED, GONE, NONE, "the definition was left here"),
    DAMAGE_IN(OFFLINE, BEGUN, LOST, GONE, END_SOURCE, "given away, but not taken"),
    DAMAGE_IN(OFFLINE, BEGUN, CONFIRM_CANCEL, GONE, END_SOURCE, "given away, but not taken"),
    DAMAGE_IN(OFFLINE, PREPARED, MOVED, COMMITTED, START, "an action that a definition does not know"),
    DAMAGE_IN(OFFLINE, PREPARED, LOST, COMMITTED, NONE, "committed, but not stored"),
    DAMAGE_IN(OFFLINE_COPY, BEGUN, MOVED, ENDED, END_SOURCE, "fails without a fault"),
};

static void
testDamage(gconstpointer data)
{
    const damage *d = data;
    migMove moves[MOVES_MAX];
    g_autofree char *violation = NULL;
    size_t count, i;
    const migMove *real = migPhaseMoves(&count);

    g_assert_cmpuint(count, <, MOVES_MAX);
    memcpy(moves, real, count * sizeof(*moves));
    for (i = 0; i < count && !(moves[i].from == d->from && moves[i].event == d->event); i++)
        continue;
    g_assert_cmpuint(i, <, count);
    g_assert_true(moves[i].to != d->to || moves[i].action != d->action);
    moves[i].to = d->to;
    moves[i].action = d->action;
    violation = walkAll(d->only, moves, count, migMoveMustBeSaved);
    g_test_message("%s", violation);
    g_assert_nonnull(violation);
    g_assert_true(g_str_has_prefix(violation, d->expect));
}

/* Rows whose absence the walk cannot mind, because what fires them is optional. */
static bool
rowIsOptional(const migMove *move)
{
    switch (move->event) {
    case MIG_EVENT_CANCEL:           /* a user cannot ask for what is not offered */
    case MIG_EVENT_ADMIN_RESUME:     /* not walked */
    case MIG_EVENT_ADMIN_DESTROY:
        return true;
    case MIG_EVENT_VMM_CANCELLED:    /* a VMM that cancels by itself: the same as failing */
        return move->from == MIG_PHASE_PERFORMING;
    case MIG_EVENT_VMM_FAILED:       /* after it has read everything: not walked if refused */
        return move->from == MIG_PHASE_RECEIVED;
    case MIG_EVENT_LOST:             /* no longer of interest */
        return move->from == MIG_PHASE_COMMITTED;
    case MIG_EVENT_RESTART:          /* with a living VMM only after an administrator's destroy */
    case MIG_EVENT_CONFIRM_OK:       /* else refused: the definition stays behind, which is safe */
        return move->from == MIG_PHASE_ENDED;
    default:
        return false;
    }
}

static void
testEveryRowCounts(void)
{
    size_t count;
    const migMove *real = migPhaseMoves(&count);

    for (size_t i = 0; i < count; i++) {
        g_autofree char *violation = NULL;
        migMove moves[MOVES_MAX];

        memcpy(moves, real, i * sizeof(*moves));
        memcpy(moves + i, real + i + 1, (count - i - 1) * sizeof(*moves));
        violation = walkAll(COORD_LAST, moves, count - 1, migMoveMustBeSaved);
        if (!violation != rowIsOptional(&real[i]))
            g_test_message("without '%s' + '%s': %s", migPhaseName(real[i].from),
                           migEventName(real[i].event),
                           violation ? violation : "nothing was noticed");
        g_assert_true(!violation == rowIsOptional(&real[i]));
    }
}

/* ---- what is saved ------------------------------------------------------------------------- */

static migPhase forgetFrom, forgetTo;

static bool
mustBeSavedButOne(const migMove *move)
{
    return migMoveMustBeSaved(move) && !(move->from == forgetFrom && move->to == forgetTo);
}

static void
testSaving(void)
{
    static const struct {
        migPhase from, to;
        modelCoord only;
    } promises[] = {
        { MIG_PHASE_PERFORMING, MIG_PHASE_SENT, COORD_LAST },
        { MIG_PHASE_RECEIVED, MIG_PHASE_COMMITTED, COORD_LAST },
        { MIG_PHASE_COMMITTED, MIG_PHASE_ABSENT, COORD_LAST },
        { MIG_PHASE_BEGUN, MIG_PHASE_PERFORMING, COORD_LAST },
        { MIG_PHASE_PERFORMING, MIG_PHASE_SENT, COORD_CLIENT2 },
        { MIG_PHASE_PERFORMING, MIG_PHASE_SENT, COORD_CLIENT1 },
        { MIG_PHASE_PERFORMING, MIG_PHASE_SENT, COORD_DIRECT },
    };
    size_t count;
    const migMove *real = migPhaseMoves(&count);

    for (size_t i = 0; i < G_N_ELEMENTS(promises); i++) {
        g_autofree char *violation = NULL;

        forgetFrom = promises[i].from;
        forgetTo = promises[i].to;
        violation = walkAll(promises[i].only, real, count, mustBeSavedButOne);
        g_test_message("%s -> %s unsaved: %s", migPhaseName(forgetFrom), migPhaseName(forgetTo),
                       violation);
        g_assert_nonnull(violation);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (int coord = COORD_CLIENT; coord < COORD_LAST; coord++) {
        g_autofree char *path = g_strdup_printf("/phase-model/holds/%s", coordNames[coord]);

        g_test_add_data_func(path, GINT_TO_POINTER(coord), testHolds);
    }
    g_test_add_func("/phase-model/rows", testRows);
    g_test_add_func("/phase-model/administrator", testAdmin);
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path =
            g_strdup_printf("/phase-model/damage/%s%s%s+%s/%s,%s",
                            damages[i].only == COORD_LAST ? "" : coordNames[damages[i].only],
                            damages[i].only == COORD_LAST ? "" : "/", migPhaseName(damages[i].from),
                            migEventName(damages[i].event), migPhaseName(damages[i].to),
                            migActionName(damages[i].action));

        g_test_add_data_func(path, &damages[i], testDamage);
    }
    g_test_add_func("/phase-model/every-row-counts", testEveryRowCounts);
    g_test_add_func("/phase-model/saving", testSaving);
    return g_test_run();
}
