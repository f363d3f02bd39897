/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fault.h"

#ifdef SV_FAULT_POINTS

static void
testOff(void)
{
    g_assert_true(faultArm(NULL, NULL));
    g_assert_false(FAULT(CONTROL_SEND));
    g_assert_true(faultArm("", NULL));
    g_assert_false(FAULT(CONTROL_SEND));
}

static void
testFail(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(faultArm("control-send,link-send:fail:2", NULL));
    g_assert_true(FAULT(CONTROL_SEND));
    g_assert_true(FAULT(CONTROL_SEND));
    g_assert_false(FAULT(LINK_SEND));
    g_assert_true(FAULT_ERROR(LINK_SEND, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, "'link-send'"));
    g_clear_error(&error);
    g_assert_false(FAULT_ERROR(LINK_SEND, &error));
    g_assert_no_error(error);
    g_assert_false(FAULT(LINK_READ));
}

static void
testDelay(void)
{
    gint64 start = g_get_monotonic_time();

    g_assert_true(faultArm("link-read:delay:30", NULL));
    g_assert_false(FAULT(LINK_READ));
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 30000);
}

static void
testBad(void)
{
    static const char *const texts[] = {
        "nothing",
        "control-send:",
        "control-send:explode",
        "control-send:none",
        "control-send:fail:",
        "control-send:fail:0",
        "control-send:fail:-1",
        "control-send:fail:1:2",
        "control-send,,link-send",
        ":",
    };

    g_assert_true(faultArm("link-read", NULL));
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(faultArm(texts[i], &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    }
    g_assert_true(FAULT(LINK_READ));          /* what was armed stays */
    g_assert_false(FAULT(CONTROL_SEND));
}

/* This program again, with @fault in its environment; it passes "link-read" twice. */
static int
runChild(const char *fault)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    char *argv[] = { self, (char *)"--pass", NULL };
    g_auto(GStrv) env = g_environ_setenv(g_get_environ(), "LIBVIRT_STRATOVIRT_FAULT", fault, TRUE);
    int status = -1;

    g_assert_true(g_spawn_sync(NULL, argv, env,
                               G_SPAWN_STDERR_TO_DEV_NULL | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
                               NULL, NULL, &status, NULL));
    return status;
}

static void
testEnvironment(void)
{
    int status = runChild("link-read");

    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 3);
    g_assert_cmpint(WEXITSTATUS(runChild("link-read:fail:2")), ==, 2);
    g_assert_cmpint(WEXITSTATUS(runChild("")), ==, 0);
    status = runChild("link-read:kill:2");
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
    /* A misspelt fault must not let a test pass. */
    g_assert_true(WIFSIGNALED(runChild("link-raed")));
}

static void
testHang(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    char *argv[] = { self, (char *)"--pass", NULL };
    g_auto(GStrv) env =
        g_environ_setenv(g_get_environ(), "LIBVIRT_STRATOVIRT_FAULT", "link-read:hang:2", TRUE);
    GPid pid;
    int output, status = -1;
    char c;

    g_assert_true(g_spawn_async_with_pipes(NULL, argv, env, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                           &pid, NULL, &output, NULL, NULL));
    g_assert_cmpint(read(output, &c, 1), ==, 1);      /* it has passed once */
    g_usleep(20000);
    g_assert_cmpint(waitpid(pid, &status, WNOHANG), ==, 0);
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    close(output);
}

/* Passes "link-read" once for each byte that it reads, and answers what happened there. */
static int
passForEach(void)
{
    char c;

    while (read(0, &c, 1) == 1) {
        c = FAULT(LINK_READ) ? '1' : '0';
        g_assert_cmpint(write(1, &c, 1), ==, 1);
    }
    return 0;
}

static char
passNow(int to, int from)
{
    char c = 0;

    g_assert_cmpint(write(to, "x", 1), ==, 1);
    g_assert_cmpint(read(from, &c, 1), ==, 1);
    return c;
}

static void
awaitLines(const char *path, guint wanted)
{
    g_autofree char *passed = g_strconcat(path, ".passed", NULL);
    gint64 end = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    guint lines = 0;

    while (lines < wanted) {
        g_autofree char *text = NULL;

        g_assert_cmpint(g_get_monotonic_time(), <, end);
        lines = 0;
        if (!g_file_get_contents(passed, &text, NULL, NULL))
            continue;
        for (const char *c = text; *c; c++)
            lines += *c == '\n';
    }
}

/* A list that comes, changes and goes while the process runs; a delay ends with it. */
static void
testFile(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *dir = g_dir_make_tmp("sv-fault-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "faults", NULL);
    g_autofree char *passed = NULL;
    g_autofree char *text = NULL;
    char *argv[] = { self, (char *)"--pass-each", NULL };
    g_auto(GStrv) env = g_environ_setenv(g_get_environ(), "LIBVIRT_STRATOVIRT_FAULT", "", TRUE);
    gint64 begin;
    int in, out, status = -1;
    GPid pid;
    char c;

    env = g_environ_setenv(env, "LIBVIRT_STRATOVIRT_FAULT_FILE", path, TRUE);
    g_assert_true(g_spawn_async_with_pipes(NULL, argv, env, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                           &pid, &in, &out, NULL, NULL));
    g_assert_cmpint(passNow(in, out), ==, '0');
    g_assert_true(g_file_set_contents(path, "link-read:fail\n", -1, NULL));
    g_assert_cmpint(passNow(in, out), ==, '1');
    g_assert_cmpint(passNow(in, out), ==, '1');
    g_assert_true(g_file_set_contents(path, "link-read:delay:60000", -1, NULL));
    begin = g_get_monotonic_time();
    g_assert_cmpint(write(in, "x", 1), ==, 1);
    awaitLines(path, 3);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(read(out, &c, 1), ==, 1);
    g_assert_cmpint(c, ==, '0');
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 30 * G_USEC_PER_SEC);
    g_assert_cmpint(passNow(in, out), ==, '0');
    close(in);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
    close(out);
    passed = g_strconcat(path, ".passed", NULL);
    g_assert_true(g_file_get_contents(passed, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "link-read\nlink-read\nlink-read\n");
    g_assert_cmpint(g_unlink(passed), ==, 0);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

static int
passTwice(void)
{
    int ret = FAULT(LINK_READ) ? 1 : 0;

    g_assert_cmpint(write(1, "x", 1), ==, 1);
    return ret | (FAULT(LINK_READ) ? 2 : 0);
}

int
main(int argc, char **argv)
{
    if (argc == 2 && g_str_equal(argv[1], "--pass"))
        return passTwice();
    if (argc == 2 && g_str_equal(argv[1], "--pass-each"))
        return passForEach();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fault/off", testOff);
    g_test_add_func("/fault/fail", testFail);
    g_test_add_func("/fault/delay", testDelay);
    g_test_add_func("/fault/bad", testBad);
    g_test_add_func("/fault/environment", testEnvironment);
    g_test_add_func("/fault/hang", testHang);
    g_test_add_func("/fault/file", testFile);
    return g_test_run();
}

#else

/* The other kind of build: it compiles, and nothing fails whatever the environment says. */
static void
testAbsent(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(FAULT(CONTROL_SEND));
    g_assert_false(FAULT_ERROR(LINK_SEND, &error));
    g_assert_no_error(error);
}

int
main(int argc, char **argv)
{
    g_setenv("LIBVIRT_STRATOVIRT_FAULT", "control-send,link-send", TRUE);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fault/absent", testAbsent);
    return g_test_run();
}

#endif
