/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-faults.c: every point that a migration passes x everything that can happen there
 *
 * The points are those that migrations without the fault have passed, so a new operation or a new
 * phase brings its cases with it.  What must hold is the same for all: see flow.c, checkEnd().
 */
#include "flow.h"

#include <string.h>

/* Migrations that already take a detour, which passes other points than the straight way. */
static const struct {
    const char *name;
    flowScenario scenario;
} ways[] = {
    { "client", { 0 } },
    { "peer", { .peer = true } },
    { "not-live", { .notLive = true } },
    { "paused", { .pausedBefore = true } },
    { "finish-lost", { .loss = FLOW_LOSE_FINISH } },
    { "peer-finish-lost", { .peer = true, .loss = FLOW_LOSE_FINISH } },
    { "perform-lost", { .loss = FLOW_LOSE_PERFORM } },
    { "prepare-lost", { .loss = FLOW_LOSE_PREPARE } },
    { "peer-prepare-lost", { .peer = true, .loss = FLOW_LOSE_PREPARE } },
    { "truncated", { .truncated = true } },
    { "persist-fails", { .persistFails = true } },
    { "v1", { .version = 1 } },
    { "v2", { .version = 2 } },
    { "peer-v2", { .version = 2, .peer = true } },
    { "v1-finish-lost", { .version = 1, .loss = FLOW_LOSE_FINISH } },
    { "v2-finish-lost", { .version = 2, .loss = FLOW_LOSE_FINISH } },
    { "peer-v2-finish-lost", { .version = 2, .peer = true, .loss = FLOW_LOSE_FINISH } },
    { "v1-perform-lost", { .version = 1, .loss = FLOW_LOSE_PERFORM } },
    { "v1-truncated", { .version = 1, .truncated = true } },
    { "secure", { .secure = true } },
    { "secure-v2", { .secure = true, .version = 2 } },
    { "spread", { .spread = true } },
    { "tunnel", { .tunnel = true, .peer = true } },
    { "tunnel-v2", { .tunnel = true, .peer = true, .version = 2 } },
    { "peer-persist-fails", { .peer = true, .persistFails = true } },
};

/* Nothing depends on whether these succeed. */
static bool
canFail(const char *point)
{
    static const char *const notes[] = { "over",         "end-source", "end-incoming",
                                         "guest-frozen", "doubt",      NULL };

    return !g_strv_contains(notes, point);
}

static void
runCase(gconstpointer data)
{
    const flowScenario *s = data;
    g_auto(flowOutcome) outcome = { 0 };

    flowRun(s, &outcome);
    if (outcome.violation) {
        for (guint i = 0; i < outcome.points->len; i++)
            g_test_message("%s", (char *)g_ptr_array_index(outcome.points, i));
    }
    g_test_message("%s; %s%s%s", outcome.error ? outcome.error : "success",
                   outcome.runs ? "runs" : "does not run", outcome.atSource ? " on the source" : "",
                   outcome.atDest ? " on the destination" : "");
    g_assert_cmpstr(outcome.violation, ==, NULL);
}

static void
addCase(const char *way, const flowScenario *base, const char *passage, flowKind kind)
{
    const char *point = strchr(passage, '/') + 1;
    g_autofree char *path = g_strdup_printf("/faults/%s/%s/%s", way, passage, flowKindName(kind));
    flowScenario *s = g_memdup2(base, sizeof(*base));

    s->kind = kind;
    s->side = g_str_has_prefix(passage, "source/") ? MIG_SIDE_SOURCE : MIG_SIDE_DEST;
    s->point = g_strdup(point);
    g_test_add_data_func(path, s, runCase);
}

static void
addWay(const char *way, const flowScenario *base)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    g_auto(flowOutcome) outcome = { 0 };

    flowRun(base, &outcome);
    g_assert_cmpstr(outcome.violation, ==, NULL);
    for (guint i = 0; i < outcome.points->len; i++) {
        const char *passage = g_ptr_array_index(outcome.points, i);

        if (!g_hash_table_add(seen, (gpointer)passage))
            continue;
        for (int kind = FLOW_FAIL; kind < FLOW_KINDS; kind++) {
            if (kind != FLOW_FAIL || canFail(strchr(passage, '/') + 1))
                addCase(way, base, passage, (flowKind)kind);
        }
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* One run shows all that is wrong. */
    g_test_set_nonfatal_assertions();
    /* Warnings are what is to be expected here. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_RECURSION);
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        /* An argument chooses one way: they mostly wait, so several programs at once are quicker.
         */
        if (argc < 2 || g_str_equal(argv[1], ways[i].name))
            addWay(ways[i].name, &ways[i].scenario);
    }
    return g_test_run();
}
