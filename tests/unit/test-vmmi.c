/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-vmmi.c: configuration, messages, arguments, schedule and prediction of the migration helpers */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "vmmi/args.h"
#include "vmmi/client.h"
#include "vmmi/code.h"
#include "vmmi/config.h"
#include "vmmi/message.h"
#include "vmmi/predict.h"
#include "vmmi/schedule.h"

#define CONF(body) "{\"vmmiVersion\": \"0.4.1\", \"contentType\": \"configuration\", \"configuration\": " body "}"
#define MIB (1024 * 1024ULL)

static void
testCodes(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    int code;

    for (code = VMMI_UNKNOWN; code < VMMI_CODE_LAST; code++) {
        g_assert_cmpstr(vmmiCodeText(code), !=, "");
        g_assert_true(g_hash_table_add(seen, (char *)vmmiCodeText(code)));
    }
    g_assert_cmpstr(vmmiCodeText(-1), ==, vmmiCodeText(VMMI_UNKNOWN));
    g_assert_cmpstr(vmmiCodeText(VMMI_CODE_LAST), ==, vmmiCodeText(VMMI_UNKNOWN));
}

static void
testArgs(void)
{
    char *argv[] = { (char *)"/usr/libexec/vmmi/touri", (char *)"3f1e7a52-0d6b-4c7e-9a55-0c1d2e3f4a5b",
                     (char *)"qemu+tcp://h2/system", (char *)"", (char *)"-", (char *)"more", NULL };
    vmmiArgs args;
    int argc;

    for (argc = 0; argc < 4; argc++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(vmmiArgsParse(argc, argv, &args, &error));
        g_assert_error(error, VMMI_ERROR, VMMI_MISSING_PARAMETERS);
    }
    g_assert_true(vmmiArgsParse(6, argv, &args, NULL));
    g_assert_cmpstr(args.name, ==, "touri");
    g_assert_null(args.migration);
    g_assert_cmpstr(args.config, ==, "-");
    g_assert_true(vmmiArgsParse(4, argv, &args, NULL));
    g_assert_null(args.config);
    for (size_t i = 0; i < 4; i++) {
        const char *const bad[] = { "", "x", "3f1e7a52-0d6b-4c7e-9a55-0c1d2e3f4a5", "3f1e7a52-0d6b-4c7e-9a55-0c1d2e3f4a5b0" };
        g_autoptr(GError) error = NULL;

        argv[1] = (char *)bad[i];
        g_assert_false(vmmiArgsParse(4, argv, &args, &error));
        g_assert_error(error, VMMI_ERROR, VMMI_MALFORMED_PARAMETERS);
    }
}

static void
testMerge(void)
{
    g_autoptr(vmmiConfig) config = vmmiConfigNew();
    const char *const first = CONF("{\"connection\": \"test:///default\", \"bandwidth\": 7, \"tls\": true, \"schedule\": {}}");
    const char *const second = CONF("{\"bandwidth\": 8, \"tls\": false, \"monitorInterval\": 2.5, \"verbose\": 0}");

    g_assert_cmpstr(config->connection, ==, "qemu:///system");
    g_assert_true(vmmiConfigMerge(config, first, -1, "first", NULL));
    g_assert_true(vmmiConfigMerge(config, second, -1, "second", NULL));
    g_assert_cmpstr(config->connection, ==, "test:///default");
    g_assert_cmpuint(config->bandwidthMiBs, ==, 8);
    g_assert_cmpint(config->tls, ==, VMMI_NO);
    g_assert_cmpint(config->secure, ==, VMMI_DEFAULT);
    g_assert_cmpuint(config->monitorMs, ==, 2500);
    g_assert_cmpuint(config->verbose, ==, 0);
    g_assert_true(json_object_has_member(config->all, "schedule"));
    g_assert_true(json_object_has_member(config->all, "verbose"));
}

static void
testMalformed(void)
{
    const char *const bad[] = {
        "", "{", "[]", "7", CONF("[]"), CONF("{\"connection\": \"\"}"), CONF("{\"connection\": 7}"), CONF("{\"bandwidth\": -1}"),
        CONF("{\"bandwidth\": \"7\"}"), CONF("{\"tls\": 1}"), CONF("{\"monitorInterval\": 0}"), CONF("{\"monitorInterval\": \"1\"}"),
        CONF("{\"monitorInterval\": 1e9}"), CONF("{\"connectionCredentials\": []}"),
        "{\"vmmiVersion\": \"0.4.1\", \"contentType\": \"configuration\"}",
        "{\"vmmiVersion\": \"1.0\", \"contentType\": \"configuration\", \"configuration\": {}}",
        "{\"vmmiVersion\": \"0.4.1\", \"contentType\": \"status\", \"configuration\": {}}",
        "{\"vmmiVersion\": \"0.4.1\", \"contentType\": \"configuration\", \"timestamp\": \"x\", \"configuration\": {}}",
    };
    g_autoptr(vmmiConfig) config = vmmiConfigNew();
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_test_message("%s", bad[i]);
        g_assert_false(vmmiConfigMerge(config, bad[i], -1, "the test", &error));
        g_assert_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION);
        g_assert_nonnull(strstr(error->message, "the test"));
    }
    /* Whatever was right in a wrong one was not taken either. */
    g_assert_false(vmmiConfigMerge(config, CONF("{\"connection\": \"x\", \"tls\": 1}"), -1, "", NULL));
    g_assert_cmpstr(config->connection, ==, "qemu:///system");
    {
        g_autoptr(GError) error = NULL;

        g_assert_true(vmmiConfigMergeFile(config, "/nonexistent/conf.json", true, &error));
        g_assert_false(vmmiConfigMergeFile(config, "/nonexistent/conf.json", false, &error));
        g_assert_error(error, VMMI_ERROR, VMMI_BAD_FILE);
    }
}

static void
testLength(void)
{
    const char *const message = " \n{\"a\": \"}\\\"}\", \"b\": [{}, 1]} trailing }";
    gsize whole = strlen(" \n{\"a\": \"}\\\"}\", \"b\": [{}, 1]}");
    gsize i;

    for (i = 0; i < whole; i++)
        g_assert_cmpint(vmmiMessageLength(message, i), ==, 0);
    for (; i <= strlen(message); i++)
        g_assert_cmpint(vmmiMessageLength(message, i), ==, whole);
    g_assert_cmpint(vmmiMessageLength("[", 1), ==, -1);
    g_assert_cmpint(vmmiMessageLength("\0{", 2), ==, -1);
}

static void
testCompletion(void)
{
    g_autoptr(GError) error = g_error_new(VMMI_ERROR, VMMI_VM_UNKNOWN, "no \"%s\"\n", "guest");
    g_autofree char *failure = vmmiMessageFailure(error);
    g_autofree char *success = vmmiMessageSuccess(NULL);
    g_auto(vmmiCompletion) completion = { 0 };
    g_auto(vmmiCompletion) good = { 0 };

    g_assert_true(strchr(failure, '\n') == failure + strlen(failure) - 1);
    g_assert_true(vmmiCompletionParse(failure, &completion, NULL));
    g_assert_false(completion.success);
    g_assert_cmpint(completion.code, ==, VMMI_VM_UNKNOWN);
    g_assert_cmpstr(completion.message, ==, vmmiCodeText(VMMI_VM_UNKNOWN));
    g_assert_cmpstr(completion.details, ==, "no \"guest\"\n");
    g_assert_true(vmmiCompletionParse(success, &good, NULL));
    g_assert_true(good.success);
}

#define DONE(body) "{\"vmmiVersion\": \"0.4.1\", \"contentType\": \"completion\", \"timestamp\": 1, \"completion\": " body "}"
static void
testBadCompletion(void)
{
    const char *const bad[] = {
        "", "x", DONE("{}"), DONE("[]"), DONE("{\"result\": \"success\"}"), DONE("{\"result\": \"error\"}"), DONE("{\"success\": {}}"),
        DONE("{\"result\": \"error\", \"error\": {}}"), DONE("{\"result\": \"error\", \"failure\": {\"code\": 8}}"),
        DONE("{\"result\": \"error\", \"error\": {\"code\": 8, \"message\": \"m\"}}"),
        DONE("{\"result\": \"error\", \"error\": {\"code\": 8, \"details\": \"m\"}}"),
        DONE("{\"result\": \"error\", \"error\": {\"code\": \"8\", \"message\": \"m\", \"details\": \"d\"}}"),
        "{\"vmmiVersion\": \"0.4.1\", \"contentType\": \"completion\", \"completion\": {\"result\": \"success\", \"success\": {}}}",
    };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_auto(vmmiCompletion) completion = { 0 };
        g_autoptr(GError) error = NULL;

        g_test_message("%s", bad[i]);
        g_assert_false(vmmiCompletionParse(bad[i], &completion, &error));
        g_assert_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION);
    }
}

static vmmiSchedule *
schedule(const char *text, GError **error)
{
    g_autoptr(JsonNode) node = json_from_string(text, NULL);

    g_assert_nonnull(node);
    return vmmiScheduleNew(json_node_get_object(node), error);
}

#define STALL(limit, action) "{\"limit\": " limit ", \"action\": {" action "}}"
#define DOWNTIME(ms) "\"name\": \"setDowntime\", \"params\": [\"" ms "\"]"

static const vmmiAction *
at(vmmiSchedule *plan, uint64_t round, uint64_t remaining)
{
    vmmiSample sample = { .active = true, .knowsRounds = true, .total = 1000, .round = round, .remaining = remaining };
    g_autofree char *why = NULL;
    const vmmiAction *action = vmmiScheduleStep(plan, &sample, &why);

    g_assert_cmpint(!action, ==, !why);
    return action;
}

static void
testSchedule(void)
{
    g_autoptr(vmmiSchedule) plan = schedule("{\"init\": [{" DOWNTIME("100") "}], \"stalling\": [" STALL("1", DOWNTIME("200")) ","
        STALL("-1", DOWNTIME("300")) "," STALL("4", "\"name\": \"postcopy\"") "," STALL("5", "\"name\": \"abort\"") "]}", NULL);
    vmmiSample none = { 0 };
    g_autofree char *why = NULL;
    const vmmiAction *action;

    g_assert_true(vmmiScheduleWantsPostcopy(plan));
    g_assert_cmpuint(vmmiScheduleInit(plan)->downtimeMs, ==, 100);
    g_assert_null(vmmiScheduleInit(plan));
    /* What is no running job counts for nothing. */
    g_assert_null(vmmiScheduleStep(plan, &none, &why));
    g_assert_null(at(plan, 10, 500));
    g_assert_null(at(plan, 11, 500));
    action = at(plan, 12, 500);
    g_assert_cmpuint(action->downtimeMs, ==, 200);
    /* One an iteration, whatever the looks; -1: at the next one. */
    g_assert_null(at(plan, 12, 400));
    g_assert_null(at(plan, 12, 600));
    g_assert_cmpuint(at(plan, 13, 500)->downtimeMs, ==, 300);
    g_assert_null(at(plan, 14, 500));
    g_assert_cmpint(at(plan, 15, 500)->kind, ==, VMMI_ACT_POSTCOPY);
    /* After the switch, abort would lose the guest. */
    g_assert_null(at(plan, 99, 900));
    vmmiScheduleThaw(plan);
    g_assert_null(at(plan, 99, 900));
    g_assert_cmpint(at(plan, 100, 900)->kind, ==, VMMI_ACT_ABORT);
    /* A list that has come to its end. */
    vmmiScheduleThaw(plan);
    g_assert_null(at(plan, 101, 900));
}

/* An only entry with -1 waits for an iteration, too: the first is everybody's. */
static void
testScheduleAtOnce(void)
{
    g_autoptr(vmmiSchedule) plan = schedule("{\"stalling\": [" STALL("-1", "\"name\": \"abort\"") "]}", NULL);

    g_assert_null(at(plan, 3, 500));
    g_assert_null(at(plan, 3, 400));
    g_assert_cmpint(at(plan, 4, 450)->kind, ==, VMMI_ACT_ABORT);
}

/* A VMM that does not count its rounds: samples with more data than the one before. */
static void
testScheduleRises(void)
{
    g_autoptr(vmmiSchedule) plan = schedule("{\"stalling\": [" STALL("1", DOWNTIME("200")) "]}", NULL);
    const uint64_t remaining[] = { 500, 400, 450, 450, 440, 460 };
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(remaining); i++) {
        vmmiSample sample = { .active = true, .total = 1000, .remaining = remaining[i] };
        g_autofree char *why = NULL;

        g_assert_cmpint(!!vmmiScheduleStep(plan, &sample, &why), ==, i == 5);
    }
}

static void
testBadSchedule(void)
{
    const char *const bad[] = {
        "{\"init\": {}}", "{\"init\": [7]}", "{\"init\": [{}]}", "{\"init\": [{\"name\": \"setDowntime\"}]}",
        "{\"init\": [{\"name\": \"setDowntime\", \"params\": []}]}", "{\"init\": [{" DOWNTIME("x") "}]}",
        "{\"init\": [{" DOWNTIME("0") "}]}", "{\"init\": [{\"name\": \"setDowntime\", \"params\": [5]}]}",
        "{\"init\": [{\"name\": \"explode\"}]}", "{\"init\": [{\"name\": \"abort\", \"params\": [\"1\"]}]}",
        "{\"stalling\": [{\"limit\": 1}]}", "{\"stalling\": [{\"action\": {\"name\": \"abort\"}}]}",
        "{\"stalling\": [" STALL("-2", "\"name\": \"abort\"") "]}", "{\"stalling\": [" STALL("\"1\"", "\"name\": \"abort\"") "]}",
    };
    g_autoptr(vmmiSchedule) empty = vmmiScheduleNew(NULL, NULL);
    size_t i;

    g_assert_null(vmmiScheduleInit(empty));
    g_assert_null(at(empty, 1, 1));
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_test_message("%s", bad[i]);
        g_assert_null(schedule(bad[i], &error));
        g_assert_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION);
    }
}

/* Made-up rounds: 8 MiB/s, and a guest that writes the same 32 MiB over and over. */
static bool
round32(vmmiPredict *predict, uint64_t round, vmmiAction *action)
{
    vmmiSample sample = { .active = true, .knowsRounds = true, .total = 150 * MIB, .round = round, .remaining = 32 * MIB,
                          .elapsedMs = round * 4000, .bytesPerSecond = 8 * MIB, .dirtyPerSecond = 90 * MIB };
    g_autofree char *why = NULL;

    return vmmiPredictStep(predict, &sample, action, &why);
}

static void
testPredict(void)
{
    vmmiPredictOptions options = { .startMs = 300, .maxMs = 10000, .deadlineMs = 100000, .step = 2, .patience = 2 };
    const uint64_t wanted[] = { 601, 1203, 2407, 4801 };
    vmmiPredict predict;
    vmmiAction action;
    uint64_t round = 1;
    size_t i;

    vmmiPredictInit(&predict, &options);
    g_assert_false(round32(&predict, round++, &action));
    g_assert_false(round32(&predict, round++, &action));
    for (i = 0; i < G_N_ELEMENTS(wanted); i++, round++) {
        g_assert_true(round32(&predict, round, &action));
        g_assert_cmpint(action.kind, ==, VMMI_ACT_SET_DOWNTIME);
        g_assert_cmpuint(action.downtimeMs, ==, wanted[i]);
        /* Only a new round says something new. */
        g_assert_false(round32(&predict, round, &action));
    }
    /* 4000 ms fit in the limit now. */
    g_assert_cmpuint(predict.neededMs, ==, 4000);
    g_assert_false(round32(&predict, round++, &action));
    g_assert_true(round32(&predict, 25, &action));
    g_assert_cmpint(action.kind, ==, VMMI_ACT_ABORT);
    g_assert_false(round32(&predict, 26, &action));
}

static void
testPredictEnds(void)
{
    vmmiPredictOptions options = { .startMs = 300, .maxMs = 500, .deadlineMs = 100000, .step = 2, .patience = 2, .postcopy = true,
                                   .end = VMMI_END_STOP };
    vmmiPredict predict;
    vmmiAction action;

    vmmiPredictInit(&predict, &options);
    g_assert_false(round32(&predict, 1, &action));
    g_assert_false(round32(&predict, 2, &action));
    g_assert_true(round32(&predict, 3, &action));
    g_assert_cmpuint(action.downtimeMs, ==, 500);
    g_assert_false(round32(&predict, 4, &action));
    g_assert_true(round32(&predict, 5, &action));
    g_assert_cmpint(action.kind, ==, VMMI_ACT_POSTCOPY);
    g_assert_false(round32(&predict, 25, &action));
    vmmiPredictNoPostcopy(&predict);
    g_assert_true(round32(&predict, 26, &action));
    g_assert_cmpint(action.kind, ==, VMMI_ACT_SET_DOWNTIME);
    g_assert_cmpuint(action.downtimeMs, ==, 2000000);
}

/* Recorded: a QEMU 10 guest that rewrites 32 of its 160 MiB, at 8 MiB/s, seen as often as a manager would look. */
static void
testPredictRecorded(void)
{
    static const struct {
        uint64_t round, elapsedMs, remaining, speed, dirty;
        uint64_t limit;         /* what must be set then, 0: nothing */
    } rounds[] = {
        { 1, 7694, 136826880, 7994034, 0, 0 },
        { 2, 17438, 33103872, 8440018, 2625536, 0 },
        { 3, 21275, 33210368, 9193140, 8253440, 601 },
        { 5, 29823, 22192128, 8925378, 8638464, 0 },    /* seen in the middle of the round: it seems to shrink */
        { 6, 32366, 32284672, 8135601, 8781824, 1203 },
    };
    vmmiPredictOptions options = { .startMs = 300, .maxMs = 10000, .deadlineMs = 100000, .step = 2, .patience = 2 };
    vmmiPredict predict;
    size_t i;

    vmmiPredictInit(&predict, &options);
    for (i = 0; i < G_N_ELEMENTS(rounds); i++) {
        vmmiSample sample = { .active = true, .knowsRounds = true, .total = 168304640, .round = rounds[i].round,
                              .elapsedMs = rounds[i].elapsedMs, .remaining = rounds[i].remaining,
                              .bytesPerSecond = rounds[i].speed, .dirtyPerSecond = rounds[i].dirty };
        g_autofree char *why = NULL;
        vmmiAction action = { .kind = VMMI_ACT_ABORT };

        g_assert_cmpint(vmmiPredictStep(&predict, &sample, &action, &why), ==, rounds[i].limit != 0);
        if (rounds[i].limit) {
            g_assert_cmpint(action.kind, ==, VMMI_ACT_SET_DOWNTIME);
            g_assert_cmpuint(action.downtimeMs, ==, rounds[i].limit);
        }
    }
    g_assert_cmpuint(predict.neededMs, ==, 3968);
}

/* Rounds that shrink are left alone. */
static void
testPredictConverges(void)
{
    vmmiPredictOptions options = { .startMs = 300, .maxMs = 10000, .deadlineMs = 100000, .step = 2, .patience = 2 };
    vmmiPredict predict;
    vmmiAction action;
    uint64_t remaining = 512 * MIB;
    uint64_t round;

    vmmiPredictInit(&predict, &options);
    for (round = 1; round < 8; round++, remaining /= 2) {
        vmmiSample sample = { .active = true, .knowsRounds = true, .total = 1024 * MIB, .round = round, .remaining = remaining,
                              .bytesPerSecond = 8 * MIB, .dirtyPerSecond = 4 * MIB };
        g_autofree char *why = NULL;

        g_assert_false(vmmiPredictStep(&predict, &sample, &action, &why));
    }
}

static void
testFind(void)
{
    g_autofree char *top = g_dir_make_tmp("vmmi-XXXXXX", NULL);
    g_autofree char *folder = g_build_filename(top, "vmmi", NULL);
    g_autofree char *evil = g_build_filename(top, "vmmi-evil", NULL);
    g_autofree char *good = g_build_filename(folder, "good", NULL);
    g_autofree char *plain = g_build_filename(folder, "plain", NULL);
    g_autofree char *out = g_build_filename(folder, "out", NULL);
    g_autofree char *other = g_build_filename(evil, "good", NULL);
    const char *const bad[] = { "", ".", "..", "../vmmi-evil/good", "../../etc/motd", "plain", "out", "none", "migrate" };
    g_autofree char *found = NULL;
    size_t i;

    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_assert_cmpint(g_mkdir_with_parents(evil, 0700), ==, 0);
    g_assert_true(g_file_set_contents_full(good, "#!/bin/sh\n", -1, 0, 0700, NULL));
    g_assert_true(g_file_set_contents_full(other, "#!/bin/sh\n", -1, 0, 0700, NULL));
    g_assert_true(g_file_set_contents_full(plain, "", -1, 0, 0600, NULL));
    g_assert_cmpint(symlink(other, out), ==, 0);
    found = vmmiClientFind(folder, "good", NULL);
    g_assert_nonnull(found);
    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_test_message("%s", bad[i]);
        g_assert_null(vmmiClientFind(folder, bad[i], &error));
        g_assert_error(error, VMMI_ERROR, VMMI_BAD_FILE);
    }
    for (i = 0; i < 4; i++) {
        const char *const files[] = { good, plain, out, other };

        unlink(files[i]);
    }
    rmdir(folder);
    rmdir(evil);
    rmdir(top);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmmi/codes", testCodes);
    g_test_add_func("/vmmi/args", testArgs);
    g_test_add_func("/vmmi/config/merge", testMerge);
    g_test_add_func("/vmmi/config/malformed", testMalformed);
    g_test_add_func("/vmmi/message/length", testLength);
    g_test_add_func("/vmmi/message/completion", testCompletion);
    g_test_add_func("/vmmi/message/bad-completion", testBadCompletion);
    g_test_add_func("/vmmi/schedule/order", testSchedule);
    g_test_add_func("/vmmi/schedule/at-once", testScheduleAtOnce);
    g_test_add_func("/vmmi/schedule/rises", testScheduleRises);
    g_test_add_func("/vmmi/schedule/malformed", testBadSchedule);
    g_test_add_func("/vmmi/predict/steps", testPredict);
    g_test_add_func("/vmmi/predict/ends", testPredictEnds);
    g_test_add_func("/vmmi/predict/converges", testPredictConverges);
    g_test_add_func("/vmmi/predict/recorded", testPredictRecorded);
    g_test_add_func("/vmmi/client/find", testFind);
    return g_test_run();
}
