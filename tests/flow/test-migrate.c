/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-migrate.c: whole migrations in one process, and where the guest is afterwards */
#include "flow.h"

#include <string.h>

#include "base/fault.h"

typedef struct {
    const char *name;
    flowScenario scenario;
    bool told;                   /* the coordinator hears of success */
    bool atDest;                 /* else on the source */
    const char *error;           /* part of what the coordinator hears */
    const char *passes;          /* a point that must have been passed */
    const char *faults;          /* armed meanwhile, see base/fault.h */
} expectation;

static const expectation expectations[] = {
    { "client", { 0 }, true, true, NULL, "source/end-source" },
    { "peer", { .peer = true }, true, true, NULL, "source/end-source" },
    { "not-live", { .notLive = true }, true, true, NULL, "source/guest-stop" },
    { "paused-before", { .pausedBefore = true }, true, true, NULL, NULL },
    { "peer-paused-before", { .peer = true, .pausedBefore = true }, true, true, NULL, NULL },
    { "stay-paused", { .stayPaused = true }, true, true, NULL, NULL },
    { "v1", { .version = 1 }, true, true, NULL, "source/end-source" },
    { "v2", { .version = 2 }, true, true, NULL, "source/end-source" },
    { "peer-v2", { .peer = true, .version = 2 }, true, true, NULL, "source/end-source" },
    { "v1-paused-before", { .version = 1, .pausedBefore = true }, true, true, NULL, NULL },

    /* Over TLS, with the token for a key; also the question that is asked later, of a daemon that was started again. */
    { "secure", { .secure = true }, true, true, NULL, "source/end-source" },
    { "secure-peer", { .secure = true, .peer = true }, true, true, NULL, "source/end-source" },
    { "secure-v1", { .secure = true, .version = 1 }, true, true, NULL, "source/end-source" },
    { "secure-v2", { .secure = true, .version = 2 }, true, true, NULL, "source/end-source" },
    { "secure-peer-v2", { .secure = true, .peer = true, .version = 2 }, true, true, NULL, "source/end-source" },
    { "secure-finish-lost", { .secure = true, .loss = FLOW_LOSE_FINISH }, false, true, "connection was lost", "source/end-source" },
    { "secure-dest-killed-committed",
      { .secure = true, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_DEST, .point = "save-committed" },
      false, true, "connection was lost", "dest/guest-start" },
    { "secure-source-killed",
      { .secure = true, .loss = FLOW_LOSE_FINISH, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      false, false, "connection was lost", "source/guest-resume" },
    { "secure-truncated", { .secure = true, .truncated = true }, false, false, NULL, "source/guest-resume" },

    /* One stream over three connections, in every version, and what breaks them. */
    { "spread", { .spread = true }, true, true, NULL, "source/end-source" },
    { "spread-secure", { .spread = true, .secure = true }, true, true, NULL, "source/end-source" },
    { "spread-peer", { .spread = true, .peer = true }, true, true, NULL, "source/end-source" },
    { "spread-v1", { .spread = true, .version = 1 }, true, true, NULL, "source/end-source" },
    { "spread-v2", { .spread = true, .version = 2 }, true, true, NULL, "source/end-source" },
    { "spread-peer-v2", { .spread = true, .peer = true, .version = 2 }, true, true, NULL, "source/end-source" },
    { "spread-truncated", { .spread = true, .truncated = true }, false, false, "could not read the guest's state", "source/guest-resume" },
    { "spread-abort",
      { .spread = true, .kind = FLOW_ABORT, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      false, false, "canceled", "source/vmm-cancel" },
    { "spread-attach-refused",
      { .spread = true, .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "vmm-attach" },
      false, false, "'vmm-attach' failed", "dest/end-incoming" },
    /* The connections that it refuses then are not the reason. */
    { "spread-attach-refused-early",
      { .spread = true, .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "vmm-attach" },
      false, false, "'vmm-attach' failed", "dest/end-incoming", "hello-connect:delay:100" },
    { "spread-dest-killed-waiting",
      { .spread = true, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_DEST, .point = "vmm-attach" },
      false, false, NULL, "dest/end-incoming" },
    { "spread-source-killed",
      { .spread = true, .loss = FLOW_LOSE_FINISH, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      false, false, "connection was lost", "source/guest-resume" },

    /* Through the libvirt connection. */
    { "tunnel", { .tunnel = true, .peer = true }, true, true, NULL, "source/end-source" },
    { "tunnel-v2", { .tunnel = true, .peer = true, .version = 2 }, true, true, NULL, "source/end-source" },
    { "tunnel-truncated", { .tunnel = true, .peer = true, .truncated = true }, false, false, NULL, "source/guest-resume" },
    { "tunnel-stranger",
      { .tunnel = true, .peer = true, .kind = FLOW_STRANGER, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      true, true, NULL, "source/end-source" },

    /* Somebody else knows the token: as long as the source is connected, nobody is let in. */
    { "stranger",
      { .kind = FLOW_STRANGER, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      true, true, NULL, "source/end-source" },
    { "stranger-secure",
      { .secure = true, .kind = FLOW_STRANGER, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      true, true, NULL, "source/end-source" },
    { "stranger-spread",
      { .spread = true, .kind = FLOW_STRANGER, .side = MIG_SIDE_SOURCE, .point = "vmm-continue" },
      true, true, NULL, "source/end-source" },
    { "stranger-v1",
      { .version = 1, .kind = FLOW_STRANGER, .side = MIG_SIDE_DEST, .point = "persist" },
      true, true, NULL, "source/end-source" },
    { "stranger-peer-v2",
      { .peer = true, .version = 2, .kind = FLOW_STRANGER, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      true, true, NULL, "source/end-source" },

    /* The port of the migration's own is closed by then; the default one answers, also after a restart. */
    { "own-port", { .ownPort = true }, true, true, NULL, "source/end-source" },
    { "own-port-finish-lost", { .ownPort = true, .loss = FLOW_LOSE_FINISH }, false, true, "connection was lost", "source/end-source" },
    { "own-port-dest-killed-committed",
      { .ownPort = true, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_DEST, .point = "save-committed" },
      false, true, "connection was lost", "dest/guest-start" },
    { "own-port-source-killed",
      { .ownPort = true, .loss = FLOW_LOSE_FINISH, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      false, false, "connection was lost", "source/guest-resume" },

    /* Nobody calls Confirm in versions 1 and 2: the destination tells the source, or is asked. */
    { "v1-finish-lost", { .version = 1, .loss = FLOW_LOSE_FINISH }, false, true, "connection was lost", "source/end-source" },
    { "v2-finish-lost", { .version = 2, .loss = FLOW_LOSE_FINISH }, false, true, "connection was lost", "source/end-source" },
    { "peer-v2-finish-lost", { .peer = true, .version = 2, .loss = FLOW_LOSE_FINISH }, true, true, NULL, "source/end-source" },
    { "v1-perform-lost", { .version = 1, .loss = FLOW_LOSE_PERFORM }, false, false, "connection was lost", "source/guest-resume" },
    { "v2-perform-lost", { .version = 2, .loss = FLOW_LOSE_PERFORM }, false, false, "connection was lost", "source/guest-resume" },
    /* Nobody ever comes: the lease ends what was reserved or prepared. */
    { "v1-prepare-lost", { .version = 1, .loss = FLOW_LOSE_PREPARE }, false, false, "connection was lost", NULL },
    { "v2-prepare-lost", { .version = 2, .loss = FLOW_LOSE_PREPARE }, false, false, "connection was lost", "dest/end-incoming" },
    { "prepare-lost-client-stays", { .loss = FLOW_LOSE_PREPARE, .clientStays = true }, false, false, "connection was lost", "dest/end-incoming" },
    { "v2-prepare-lost-client-stays",
      { .version = 2, .loss = FLOW_LOSE_PREPARE, .clientStays = true },
      false, false, "connection was lost", "dest/end-incoming" },
    { "v1-refused",
      { .version = 1, .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "judge" },
      false, false, "'h2' reports: 'judge' failed", NULL },
    { "v2-refused",
      { .version = 2, .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "judge" },
      false, false, "'h2' reports: 'judge' failed", "dest/end-incoming" },
    { "peer-v2-refused",
      { .version = 2, .peer = true, .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "judge" },
      false, false, "'h2' reports: 'judge' failed", "dest/end-incoming" },
    { "v1-vmm-fails",
      { .version = 1, .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "vmm-start" },
      false, false, "'h2' reports: 'vmm-start' failed", NULL },
    { "v1-truncated", { .version = 1, .truncated = true }, false, false, "could not read the guest's state", "source/guest-resume" },
    { "v1-persist-fails", { .version = 1, .persistFails = true }, false, false, "the disk is full", "source/guest-resume" },
    { "v2-persist-fails", { .version = 2, .persistFails = true }, false, false, "the disk is full", "source/guest-resume" },
    { "v1-start-fails",
      { .version = 1, .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "guest-start" },
      false, false, "'guest-start' failed", "source/guest-resume" },
    { "v2-source-killed-sent",
      { .version = 2, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      false, false, "connection was lost", "source/guest-resume" },
    { "v1-dest-killed-committed",
      { .version = 1, .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_DEST, .point = "save-committed" },
      false, true, "connection was lost", "dest/guest-start" },
    { "v1-client-dies-before-finish",
      { .version = 1, .kind = FLOW_CLIENT_DIES, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      false, false, "connection was lost", "source/guest-resume" },

    /* The reply to Finish is lost: asked, the destination says that the guest is its own. */
    { "finish-lost",
      { .loss = FLOW_LOSE_FINISH },
      false,
      true,
      "connection was lost",
      "source/end-source" },
    { "peer-finish-lost",
      { .peer = true, .loss = FLOW_LOSE_FINISH },
      true,
      true,
      NULL,
      "source/end-source" },
    /* A coordinator's word without the destination's own is no proof: it is asked. */
    { "finish-skipped", { .finishSkipped = true }, false, false, "but that host does not have it; it goes on here", "source/guest-resume" },
    { "cookie-lost", { .cookieLost = true }, true, true, NULL, "source/end-source" },
    /* The client is there, but never goes on. */
    { "client-hangs", { .loss = FLOW_LOSE_PERFORM, .clientStays = true }, false, false, "connection was lost", "source/guest-resume" },
    { "v1-client-hangs", { .version = 1, .loss = FLOW_LOSE_PERFORM, .clientStays = true }, false, false, "connection was lost", "source/guest-resume" },
    /* Nobody says Finish: the destination gives the guest up when it is asked, or when the client
       goes. */
    { "perform-lost",
      { .loss = FLOW_LOSE_PERFORM },
      false,
      false,
      "connection was lost",
      "source/guest-resume" },
    { "prepare-lost",
      { .loss = FLOW_LOSE_PREPARE },
      false,
      false,
      "connection was lost",
      "dest/end-incoming" },
    { "peer-prepare-lost",
      { .peer = true, .loss = FLOW_LOSE_PREPARE },
      false,
      false,
      "connection was lost",
      "dest/end-incoming" },

    { "truncated",
      { .truncated = true },
      false,
      false,
      "could not read the guest's state",
      "source/guest-resume" },
    { "persist-fails",
      { .persistFails = true },
      false,
      false,
      "the disk is full",
      "source/guest-resume" },
    { "peer-persist-fails",
      { .peer = true, .persistFails = true },
      false,
      false,
      "the disk is full",
      "source/guest-resume" },

    { "abort-before",
      { .kind = FLOW_ABORT, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      false,
      false,
      "canceled",
      "source/vmm-cancel" },
    { "peer-abort",
      { .peer = true, .kind = FLOW_ABORT, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      false,
      false,
      "canceled",
      "source/vmm-cancel" },
    { "abort-too-late",
      { .kind = FLOW_ABORT, .side = MIG_SIDE_DEST, .point = "persist" },
      true,
      true,
      NULL,
      NULL },

    { "begin-not-saved",
      { .kind = FLOW_FAIL, .side = MIG_SIDE_SOURCE, .point = "save-begun" },
      false,
      false,
      "'begun' could not be saved",
      NULL },
    { "send-refused",
      { .kind = FLOW_FAIL, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      false,
      false,
      "'vmm-send' failed",
      "dest/end-incoming" },
    { "sent-not-saved",
      { .kind = FLOW_FAIL, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      false,
      false,
      "'sent' could not be saved",
      "source/guest-resume" },
    { "attach-refused",
      { .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "vmm-attach" },
      false,
      false,
      "'vmm-attach' failed",
      "dest/end-incoming" },
    { "start-fails",
      { .kind = FLOW_FAIL, .side = MIG_SIDE_DEST, .point = "guest-start" },
      false,
      false,
      "'guest-start' failed",
      "source/guest-resume" },

    /* Also when that cannot be written down: nobody is told that the guest is there. */
    { "start-fails-disk-full", { .startFails = true }, false, false, "the guest does not start", "source/guest-resume" },
    { "v2-start-fails-disk-full", { .version = 2, .startFails = true }, false, false, "the guest does not start", "source/guest-resume" },
    { "peer-start-fails-disk-full",
      { .peer = true, .startFails = true },
      false, false, "the guest does not start", "source/guest-resume" },

    { "source-killed-sending",
      { .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_SOURCE, .point = "vmm-send" },
      false,
      false,
      "connection was lost",
      "source/vmm-cancel" },
    { "dest-killed-waiting",
      { .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_DEST, .point = "vmm-attach" },
      false,
      false,
      NULL,
      "dest/end-incoming" },
    { "dest-killed-committed",
      { .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_DEST, .point = "save-committed" },
      false,
      true,
      "connection was lost",
      "dest/guest-start" },
    { "dest-killed-before-commit",
      { .kind = FLOW_KILL_BEFORE, .side = MIG_SIDE_DEST, .point = "persist" },
      false,
      false,
      "connection was lost",
      "source/guest-resume" },
    { "source-killed-confirming",
      { .kind = FLOW_KILL_AFTER, .side = MIG_SIDE_SOURCE, .point = "save-gone" },
      true,
      true,
      NULL,
      "source/end-source" },
    { "client-dies-before-finish",
      { .kind = FLOW_CLIENT_DIES, .side = MIG_SIDE_SOURCE, .point = "save-sent" },
      false,
      false,
      "connection was lost",
      "source/guest-resume" },
    { "client-dies-after-commit",
      { .kind = FLOW_CLIENT_DIES, .side = MIG_SIDE_DEST, .point = "guest-start" },
      false,
      true,
      "connection was lost",
      "source/end-source" },
};

static void
arm(const char *faults G_GNUC_UNUSED)
{
#ifdef SV_FAULT_POINTS
    g_assert_true(faultArm(faults, NULL));
#endif
}

static void
testExpectation(gconstpointer data)
{
    const expectation *e = data;
    g_auto(flowOutcome) outcome = { 0 };
    unsigned fds = flowCountEntries("/proc/self/fd");
    unsigned threads = flowCountEntries("/proc/self/task");
    bool passed = e->passes == NULL;

    arm(e->faults);
    flowRun(&e->scenario, &outcome);
    arm(NULL);
    for (guint i = 0; i < outcome.points->len; i++) {
        const char *passage = g_ptr_array_index(outcome.points, i);

        g_test_message("%s", passage);
        passed = passed || g_str_equal(passage, e->passes);
    }
    g_test_message("%s", outcome.error);
    g_assert_cmpstr(outcome.violation, ==, NULL);
    g_assert_true(outcome.faultHappened || e->scenario.kind == FLOW_NOTHING);
    g_assert_cmpuint(outcome.strangers, ==, 0);
    g_assert_true(outcome.told == e->told);
    g_assert_true(outcome.atDest == e->atDest);
    g_assert_true(outcome.atSource == !e->atDest);
    g_assert_true(passed);
    if (e->error) {
        g_assert_nonnull(outcome.error);
        g_assert_nonnull(strstr(outcome.error, e->error));
    }
    flowExpectEntries("/proc/self/fd", fds);
    flowExpectEntries("/proc/self/task", threads);
}

int
main(int argc, char **argv)
{
    g_auto(flowOutcome) warmUp = { 0 };
    flowScenario plain = { 0 };

    g_test_init(&argc, &argv, NULL);
    /* Warnings are what is to be expected here. */
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_RECURSION);
    /* GLib opens descriptors of its own with the first use. */
    flowRun(&plain, &warmUp);
    for (size_t i = 0; i < G_N_ELEMENTS(expectations); i++) {
        g_autofree char *path = g_strconcat("/migrate/", expectations[i].name, NULL);

        g_test_add_data_func(path, &expectations[i], testExpectation);
    }
    return g_test_run();
}
