/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stratovirt.conf: defaults, every kind of value, and what is wrong told by file and key. */
#include <config.h>

#include <glib/gstdio.h>

#include "virerror.h"

#include "driver/conf.h"

static char *path;      /* a file of this test's own */

static drvConf *
load(const char *text, bool privileged)
{
    GError *error = NULL;

    g_file_set_contents(path, text, -1, &error);
    g_assert_no_error(error);
    return drvConfLoad(path, privileged);
}

static void
assertRefused(const char *text, bool privileged, const char *words)
{
    g_autoptr(drvConf) conf = load(text, privileged);
    virErrorPtr last = virGetLastError();

    g_assert_null(conf);
    g_assert_nonnull(last);
    if (!strstr(last->message, words) || !strstr(last->message, path))
        g_error("'%s' does not name '%s' and '%s'", last->message, words, path);
    g_assert_cmpint(last->code, ==, VIR_ERR_CONF_SYNTAX);
    virResetLastError();
}

static void
testDefaults(void)
{
    g_autoptr(drvConf) conf = drvConfLoad("/nonexistent/stratovirt.conf", false);
    g_autoptr(drvConf) second = load("", false);

    g_assert_nonnull(conf);
    g_assert_cmpuint(conf->migrationPort, ==, 49152);
    g_assert_cmpuint(conf->maxOutgoing, >, 0);
    g_assert_cmpuint(conf->linkTimeoutMs, >, 0);
    g_assert_cmpstr(conf->stdioHandler, ==, "logd");
    g_assert_null(conf->qemuBinary);
    g_assert_null(conf->migrationAddresses);
    g_assert_nonnull(second);
    g_assert_cmpuint(second->migrationPort, ==, 49152);
}

static void
testAll(void)
{
    g_autoptr(drvConf) conf = load(
        "# a comment\n"
        "qemu_binary = \"/opt/qemu\"\n"
        "stratovirt_binary = \"/opt/stratovirt\"\n"
        "default_vmm = \"qemu\"\n"
        "migration_host = \"h1\"\n"
        "migration_address = [ \"10.0.0.1\", \"fd00::1\" ]\n"
        "migration_listen = \"0.0.0.0\"\n"
        "migration_port = 1234\n"
        "max_outgoing = 1\n"
        "max_incoming = 2\n"
        "stdio_handler = \"file\"\n"
        "host_uuid = \"8f07fe28-753f-2729-d76d-bdbd892f949a\"\n"
        "keepalive_interval = 0\n"
        "keepalive_count = 7\n"
        "connect_timeout_ms = 100\n"
        "start_timeout_ms = 200\n"
        "shutdown_timeout_ms = 300\n"
        "link_timeout_ms = 400\n"
        "finish_timeout_ms = 500\n"
        "user = \"root\"\n"
        "group = \"+0\"\n", true);

    g_assert_nonnull(conf);
    g_assert_cmpstr(conf->qemuBinary, ==, "/opt/qemu");
    g_assert_cmpstr(conf->stratovirtBinary, ==, "/opt/stratovirt");
    g_assert_cmpstr(conf->defaultVmm, ==, "qemu");
    g_assert_cmpstr(conf->migrationHost, ==, "h1");
    g_assert_cmpuint(g_strv_length(conf->migrationAddresses), ==, 2);
    g_assert_cmpstr(conf->migrationAddresses[1], ==, "fd00::1");
    g_assert_cmpstr(conf->migrationListen, ==, "0.0.0.0");
    g_assert_cmpuint(conf->migrationPort, ==, 1234);
    g_assert_cmpuint(conf->maxOutgoing, ==, 1);
    g_assert_cmpuint(conf->maxIncoming, ==, 2);
    g_assert_cmpstr(conf->stdioHandler, ==, "file");
    g_assert_cmpstr(conf->hostUuid, ==, "8f07fe28-753f-2729-d76d-bdbd892f949a");
    g_assert_cmpuint(conf->keepaliveInterval, ==, 0);
    g_assert_cmpuint(conf->keepaliveCount, ==, 7);
    g_assert_cmpuint(conf->connectTimeoutMs, ==, 100);
    g_assert_cmpuint(conf->startTimeoutMs, ==, 200);
    g_assert_cmpuint(conf->shutdownTimeoutMs, ==, 300);
    g_assert_cmpuint(conf->linkTimeoutMs, ==, 400);
    g_assert_cmpuint(conf->finishTimeoutMs, ==, 500);
    g_assert_cmpstr(conf->user, ==, "root");
    g_assert_cmpstr(conf->group, ==, "+0");
}

static void
testOneAddress(void)
{
    g_autoptr(drvConf) conf = load("migration_address = \"10.0.0.1\"\n", false);

    g_assert_nonnull(conf);
    g_assert_cmpuint(g_strv_length(conf->migrationAddresses), ==, 1);
}

static void
testRefused(void)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "qemu_binray = \"/opt/qemu\"\n", "qemu_binray" },
        { "qemu_binary = 5\n", "qemu_binary" },
        { "qemu_binary = \"\"\n", "qemu_binary" },
        { "qemu_binary = \"qemu\"\n", "absolute" },
        { "qemu_binary = [ \"/a\" ]\n", "qemu_binary" },
        { "default_vmm = \"xen\"\n", "'qemu', 'stratovirt'" },
        { "stdio_handler = \"journal\"\n", "'logd', 'file'" },
        { "migration_port = 0\n", "1 to 65535" },
        { "migration_port = 65536\n", "1 to 65535" },
        { "migration_port = -1\n", "1 to 65535" },
        { "migration_port = \"49152\"\n", "1 to 65535" },
        { "max_outgoing = 0\n", "max_outgoing" },
        { "link_timeout_ms = 1\n", "link_timeout_ms" },
        { "migration_address = [ ]\n", "migration_address" },
        { "migration_address = [ \"a\", 5 ]\n", "migration_address" },
        { "migration_address = [ \"a\", \"\" ]\n", "migration_address" },
        { "host_uuid = \"abc\"\n", "host_uuid" },
        { "host_uuid = \"00000000-0000-0000-0000-000000000000\"\n", "host_uuid" },
        { "user = \"root\"\n", "root" },
        { "group = \"root\"\n", "root" },
        { "no equals sign\n", "" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        assertRefused(cases[i].text, false, cases[i].words);
}

static void
testIdentity(void)
{
    g_autoptr(drvConf) conf = load("user = \"there-is-no-such-user\"\n", true);

    g_assert_null(conf);
    g_assert_nonnull(strstr(virGetLastErrorMessage(), "there-is-no-such-user"));
    virResetLastError();
}

static void
testReferences(void)
{
    drvConf *conf = load("", false);
    drvConf *again = drvConfRef(conf);

    g_assert_true(conf == again);
    drvConfUnref(conf);
    g_assert_cmpuint(again->migrationPort, ==, 49152);
    drvConfUnref(again);
    drvConfUnref(NULL);
}

int
main(int argc, char **argv)
{
    g_autofree char *folder = NULL;
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(virErrorInitialize(), ==, 0);
    virSetErrorFunc(NULL, NULL);
    folder = g_dir_make_tmp("conf-XXXXXX", NULL);
    path = g_build_filename(folder, "stratovirt.conf", NULL);
    g_test_add_func("/conf/defaults", testDefaults);
    g_test_add_func("/conf/all", testAll);
    g_test_add_func("/conf/one-address", testOneAddress);
    g_test_add_func("/conf/refused", testRefused);
    g_test_add_func("/conf/identity", testIdentity);
    g_test_add_func("/conf/references", testReferences);
    ret = g_test_run();
    g_unlink(path);
    g_rmdir(folder);
    g_free(path);
    return ret;
}
