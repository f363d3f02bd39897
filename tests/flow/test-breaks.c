/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-breaks.c: each connection between the hosts x how it can break x when
 *
 * What must hold is the same for all, see flow.c, checkEnd(); and where the guest is afterwards, if only one host can be right.
 */
#include "flow.h"

#include <string.h>

/* More than the sockets on the way hold, so that a receiver that takes nothing is felt. */
#define CHUNK (2 << 20)
#define HELLO 48
#define ROUND_MS 400

typedef enum { ENDS_SOURCE, ENDS_DEST, ENDS_EITHER } endsAt;

static const struct {
    const char *name;
    flowScenario scenario;
    unsigned connections;        /* that carry data: the first and the last one are broken; those of a tunnel are its streams */
} ways[] = {
    { "native", { 0 }, 1 },
    { "relay", { .relay = true }, 1 },
    { "tls", { .secure = true }, 1 },
    { "spread", { .spread = true }, 3 },
    { "spread-tls", { .spread = true, .secure = true }, 3 },
    { "v1-relay", { .relay = true, .version = 1 }, 1 },
    { "peer-v2-tls", { .secure = true, .peer = true, .version = 2 }, 1 },
    { "tunnel", { .tunnel = true, .peer = true }, 2 },
    { "tunnel-v2", { .tunnel = true, .peer = true, .version = 2 }, 2 },
};

/* When it breaks, and where the guest is then: of the link and of the data. */
static const struct {
    const char *name;
    bool onlyTls;
    const char *at;
    uint64_t after;
    bool onlyData, onlyLink;     /* the data's connections have ended by then */
    endsAt link, data;
} stages[] = {
    { "hello", .after = 0, .link = ENDS_SOURCE, .data = ENDS_SOURCE },
    { "handshake", .onlyTls = true, .after = HELLO, .link = ENDS_SOURCE, .data = ENDS_SOURCE },
    { "begun", .at = "source/vmm-send", .link = ENDS_SOURCE, .data = ENDS_SOURCE },
    { "middle", .onlyData = true, .after = 65536, .data = ENDS_SOURCE },
    /* A link that is lost now may be noticed when everything is there. */
    { "switch-over", .at = "source/vmm-continue", .link = ENDS_EITHER, .data = ENDS_SOURCE },
    { "sent", .at = "source/save-sent", .link = ENDS_EITHER, .data = ENDS_EITHER },
    { "finish", .onlyLink = true, .at = "dest/persist", .link = ENDS_EITHER },
    { "committed", .onlyLink = true, .at = "dest/guest-start", .link = ENDS_DEST },
};

typedef struct {
    flowScenario scenario;
    endsAt ends;
} breakCase;

static void
runCase(gconstpointer data)
{
    const breakCase *c = data;
    g_auto(flowOutcome) outcome = { 0 };
    unsigned fds = flowCountEntries("/proc/self/fd");
    unsigned threads = flowCountEntries("/proc/self/task");

    flowRun(&c->scenario, &outcome);
    if (outcome.violation) {
        for (guint i = 0; i < outcome.points->len; i++)
            g_test_message("%s", (char *)g_ptr_array_index(outcome.points, i));
    }
    g_test_message("%s; %s%s%s", outcome.error ? outcome.error : "success", outcome.runs ? "runs" : "does not run",
                   outcome.atSource ? " on the source" : "", outcome.atDest ? " on the destination" : "");
    g_assert_cmpstr(outcome.violation, ==, NULL);
    /* Of several connections, one may have done its part before. */
    g_assert_true(outcome.faultHappened || c->ends == ENDS_EITHER);
    if (c->ends != ENDS_EITHER)
        g_assert_true(outcome.atDest == (c->ends == ENDS_DEST));
    if (c->ends == ENDS_SOURCE)
        g_assert_nonnull(outcome.error);
    flowExpectEntries("/proc/self/fd", fds);
    flowExpectEntries("/proc/self/task", threads);
}

/* A VMM with one way does not notice that the way back is gone; a link without a hello has nothing to say before the data is under way;
 * and without the libvirt connection there is no link. */
static endsAt
tunnelEnds(size_t stage, unsigned connection)
{
    if (connection == 1 || (connection == 0 && !stages[stage].at))
        return ENDS_EITHER;
    return connection == 2 ? stages[stage].data : stages[stage].link;
}

static void
addCases(size_t way, size_t stage, unsigned connection)
{
    for (int cut = FLOW_CUT_NONE + 1; cut < FLOW_CUTS; cut++) {
        g_autofree char *path = g_strdup_printf("/breaks/%s/%s/%u/%s", ways[way].name, stages[stage].name, connection,
                                                flowCutName((flowCut)cut));
        breakCase *c;

        if (ways[way].scenario.tunnel && (cut == FLOW_CUT_STALL || (connection == FLOW_ALL_STREAMS && cut != FLOW_CUT_RESET)))
            continue;
        c = g_new0(breakCase, 1);
        c->scenario = ways[way].scenario;
        c->scenario.chunk = CHUNK;
        c->scenario.cut = (flowCut)cut;
        c->scenario.connection = connection;
        c->scenario.cutAt = stages[stage].at;
        c->scenario.cutAfter = stages[stage].after;
        /* Silence takes a while to be noticed. */
        if (connection == 0 && cut == FLOW_CUT_STALL && stages[stage].link == ENDS_SOURCE)
            c->scenario.roundMs = ROUND_MS;
        c->ends = connection == 0 ? stages[stage].link : stages[stage].data;
        if (ways[way].scenario.tunnel)
            c->ends = tunnelEnds(stage, connection);
        g_test_add_data_func(path, c, runCase);
    }
}

static void
addWay(size_t way)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stages); i++) {
        if (stages[i].onlyTls && !ways[way].scenario.secure)
            continue;
        if (!stages[i].onlyData)
            addCases(way, i, 0);
        if (!stages[i].onlyLink)
            addCases(way, i, 1);
        if (!stages[i].onlyLink && ways[way].connections > 1)
            addCases(way, i, ways[way].connections);
        if (ways[way].scenario.tunnel && stages[i].at)
            addCases(way, i, FLOW_ALL_STREAMS);
    }
}

int
main(int argc, char **argv)
{
    g_auto(flowOutcome) warmUp = { 0 };
    flowScenario plain = { 0 };

    g_test_init(&argc, &argv, NULL);
    /* One run shows all that is wrong. */
    g_test_set_nonfatal_assertions();
    /* Warnings are what is to be expected here. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_RECURSION);
    /* GLib opens descriptors of its own with the first use. */
    flowRun(&plain, &warmUp);
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) {
        if (argc < 2 || g_str_equal(argv[1], ways[i].name))
            addWay(i);
    }
    return g_test_run();
}
