/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * machine.c: start, run states, end
 *
 * Which version it is, the program's name says: stratovirt-2.4.0, stratovirt-2.5.0 or stratovirt-2.5.0-mended (links to one
 * file); any other name is 2.4.0.  For tests: STANDIN_TIMEOUT_MS shortens the 30 s that the source waits for each answer,
 * STANDIN_UNPLUG_MS is how long the guest takes to let go of a device.
 */
#include "standin.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MS 30000
#define UNPLUG_MS 50

static const quirks versions[] = {
    { "2.4.0", "StratoVirt-2.4.0", 2, 4, 0, .needsFlash = true, .underscores = true, .checksRun = true, .saysAtOnce = true, .describesSizes = true },
    { "2.5.0", "StratoVirt-2.5.0", 2, 5, 0, .readsToEnd = true, .pausesInName = true, .savesBetter = true },
    { "2.5.0-mended", "StratoVirt-2.5.0", 2, 5, 0, .savesBetter = true },
};

machine vm;

static const quirks *
versionOf(const char *program)
{
    g_autofree char *base = g_path_get_basename(program);

    for (size_t i = 0; i < G_N_ELEMENTS(versions); i++) {
        if (g_str_has_prefix(base, "stratovirt-") && g_str_equal(base + strlen("stratovirt-"), versions[i].name))
            return &versions[i];
    }
    return &versions[0];
}

/* ---- run states ----------------------------------------------------------------------------- */

bool
machineStop(GError **error)
{
    if (vm.run == RUN_CREATED || vm.run == RUN_SHUTDOWN || (vm.quirk->checksRun && vm.run != RUN_RUNNING)) {
        g_set_error_literal(error, STANDIN_ERROR, 0, "");
        return false;
    }
    /* A stop while memory is sent only changes the name of the state. */
    if (vm.migration != MIG_ACTIVE || !vm.quirk->pausesInName) {
        guestStop();
        if (vm.migration == MIG_ACTIVE || vm.quirk->checksRun)
            guestUnlockDisks();
    }
    vm.run = RUN_PAUSED;
    qmpEvent("STOP", NULL);
    return true;
}

bool
machineCont(GError **error)
{
    g_autoptr(GError) why = NULL;

    if (vm.run == RUN_SHUTDOWN || (vm.quirk->checksRun && vm.run != RUN_PAUSED)) {
        g_set_error_literal(error, STANDIN_ERROR, 0, "");
        return false;
    }
    if ((vm.migration != MIG_ACTIVE || !vm.quirk->pausesInName)) {
        /* Only its log says why. */
        if (!guestLockDisks(&why)) {
            fprintf(stderr, "Error: VM state transfer failed: %s\n", why->message);
            g_set_error_literal(error, STANDIN_ERROR, 0, "");
            return false;
        }
        guestGo();
    }
    vm.run = RUN_RUNNING;
    qmpEvent("RESUME", NULL);
    return true;
}

const char *
machineRunName(void)
{
    return vm.run == RUN_RUNNING ? "running" : vm.run == RUN_PAUSED ? "paused" : "debug";
}

const char *
machineMigrationName(void)
{
    static const char *const names[] = { "none", "setup", "active", "completed", "failed", "canceled" };

    return names[vm.migration];
}

static gboolean
endInLoop(gpointer data G_GNUC_UNUSED)
{
    g_main_loop_quit(vm.loop);
    return G_SOURCE_REMOVE;
}

void
machineEnd(int code)
{
    vm.exitCode = code;
    /* After the answer and the events that are on their way. */
    g_idle_add_full(G_PRIORITY_LOW, endInLoop, NULL, NULL);
}

/* The loop ends first, so what waits for it is not said any more. */
static gboolean
signalled(gpointer data)
{
    JsonObject *why = json_object_new();
    g_autofree char *reason = g_strdup_printf("Guest shutdown by signal %d", GPOINTER_TO_INT(data));

    json_object_set_boolean_member(why, "guest", FALSE);
    json_object_set_string_member(why, "reason", reason);
    qmpEvent("SHUTDOWN", why);
    g_main_loop_quit(vm.loop);
    return G_SOURCE_REMOVE;
}

/* ---- start ---------------------------------------------------------------------------------- */

static bool
machineStart(GError **error)
{
    bool incoming = vm.opt.incoming != NULL;

    vm.migration = MIG_SETUP;
    guestInit(!incoming);
    guestStartThread();
    if (incoming) {
        if (!wireIncoming(error))
            return false;
    } else if (vm.opt.freeze) {
        vm.run = RUN_PAUSED;
        return true;
    } else if (!guestLockDisks(error)) {
        return false;
    }
    guestGo();
    vm.run = RUN_RUNNING;
    return true;
}

int
main(int argc, char **argv)
{
    const char *timeout = g_getenv("STANDIN_TIMEOUT_MS");
    const char *unplug = g_getenv("STANDIN_UNPLUG_MS");
    g_autoptr(GError) error = NULL;

    if (argc == 2 && (g_str_equal(argv[1], "-version") || g_str_equal(argv[1], "-V"))) {
        printf("%s\n", versionOf(argv[0])->package);
        return 0;
    }
    vm.quirk = versionOf(argv[0]);
    vm.startedUs = g_get_monotonic_time();
    vm.timeoutMs = timeout ? (unsigned)atoi(timeout) : ANSWER_MS;
    vm.unplugMs = unplug ? (unsigned)atoi(unplug) : UNPLUG_MS;
    if (!optionsParse(argc, argv))
        _exit(1);
    signal(SIGPIPE, SIG_IGN);
    vm.loop = g_main_loop_new(NULL, FALSE);
    /* It says much more than this, and nearly nothing of use. */
    fprintf(stderr, "1970-01-01T00:00:00.000000001: [1][1][src/main.rs:89]:INFO: VmConfig is VmConfig { machine_config: ... }\n");
    g_unix_signal_add(SIGTERM, signalled, GINT_TO_POINTER(SIGTERM));
    g_unix_signal_add(SIGINT, signalled, GINT_TO_POINTER(SIGINT));
    g_unix_signal_add(SIGHUP, signalled, GINT_TO_POINTER(SIGHUP));
    if (!qmpListen(&error) ||
        (!g_str_equal(vm.opt.machine, "none") && !machineStart(&error))) {
        fprintf(stderr, "Error: %s\n", error->message);
        qmpClose();
        _exit(1);
    }
    if (g_str_equal(vm.opt.machine, "none"))
        vm.run = RUN_RUNNING;
    qmpServe();
    g_main_loop_run(vm.loop);
    guestStop();
    qmpClose();
    /* The other threads end with the process. */
    _exit(vm.exitCode);
}
