/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors across the border between GLib's and libvirt's, both ways, and the log. */
#include <config.h>

#include <gio/gio.h>

#include "virerror.h"
#include "virlog.h"

#include "base/error.h"
#include "driver/report.h"

static void
assertLast(int code, const char *message)
{
    virErrorPtr last = virGetLastError();

    g_assert_nonnull(last);
    g_assert_cmpint(last->code, ==, code);
    g_assert_nonnull(strstr(last->message, message));
    /* What the library asks for before it shows a destination's error. */
    g_assert_cmpint(last->domain, ==, VIR_FROM_QEMU);
    virResetLastError();
}

/* One libvirt code for each of ours. */
static const struct {
    baseErrorCode code;
    int number;
} pairs[] = {
    { BASE_ERROR_INTERNAL, VIR_ERR_INTERNAL_ERROR },
    { BASE_ERROR_INVALID_ARG, VIR_ERR_INVALID_ARG },
    { BASE_ERROR_UNSUPPORTED, VIR_ERR_ARGUMENT_UNSUPPORTED },
    { BASE_ERROR_CONFIG, VIR_ERR_CONFIG_UNSUPPORTED },
    { BASE_ERROR_XML, VIR_ERR_XML_ERROR },
    { BASE_ERROR_OPERATION_INVALID, VIR_ERR_OPERATION_INVALID },
    { BASE_ERROR_OPERATION_FAILED, VIR_ERR_OPERATION_FAILED },
    { BASE_ERROR_TIMEOUT, VIR_ERR_OPERATION_TIMEOUT },
    { BASE_ERROR_ABORTED, VIR_ERR_OPERATION_ABORTED },
    { BASE_ERROR_UNSAFE, VIR_ERR_MIGRATE_UNSAFE },
    { BASE_ERROR_BUSY, VIR_ERR_RESOURCE_BUSY },
    { BASE_ERROR_HOOK, VIR_ERR_HOOK_SCRIPT_FAILED },
    { BASE_ERROR_NO_DOMAIN, VIR_ERR_NO_DOMAIN },
    { BASE_ERROR_SYSTEM, VIR_ERR_SYSTEM_ERROR },
};

static void
testToLibvirt(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        GError *error = g_error_new(BASE_ERROR, pairs[i].code, "the words of %zu", i);
        g_autofree char *words = g_strdup(error->message);

        g_assert_cmpint(reportGError(error), ==, -1);
        assertLast(pairs[i].number, words);
    }
    reportGError(g_error_new(BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, "the socket ended"));
    assertLast(VIR_ERR_OPERATION_FAILED, "the socket ended");
}

static void
testForeign(void)
{
    reportGError(g_error_new(G_IO_ERROR, G_IO_ERROR_FAILED, "something of GIO's"));
    assertLast(VIR_ERR_INTERNAL_ERROR, "something of GIO's");
    reportGError(NULL);
    assertLast(VIR_ERR_INTERNAL_ERROR, "without giving a reason");
}

static void
testPercent(void)
{
    /* A message is no format. */
    reportGError(g_error_new_literal(BASE_ERROR, BASE_ERROR_XML, "100%s sure"));
    assertLast(VIR_ERR_XML_ERROR, "100%s sure");
}

static void
testFromLibvirt(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        g_autoptr(GError) error = NULL;

        reportGError(g_error_new(BASE_ERROR, pairs[i].code, "some words"));
        reportToGError(&error);
        g_assert_error(error, BASE_ERROR, (int)pairs[i].code);
        /* What reportGError() would put before it again is not kept. */
        g_assert_cmpstr(error->message, ==, "some words");
        g_assert_null(virGetLastError());
    }
}

static void
testNearest(void)
{
    g_autoptr(GError) near = NULL;
    g_autoptr(GError) unknown = NULL;
    g_autoptr(GError) none = NULL;

    virReportErrorHelper(VIR_FROM_RPC, VIR_ERR_RPC, __FILE__, __func__, __LINE__, "%s", "the other host is gone");
    reportToGError(&near);
    g_assert_error(near, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    virReportErrorHelper(VIR_FROM_NWFILTER, VIR_ERR_NO_NWFILTER, __FILE__, __func__, __LINE__, "%s", "no filter");
    reportToGError(&unknown);
    g_assert_error(unknown, BASE_ERROR, BASE_ERROR_INTERNAL);
    virResetLastError();
    reportToGError(&none);
    g_assert_error(none, BASE_ERROR, BASE_ERROR_INTERNAL);
}

static void
testLog(void)
{
    g_autofree char *path = g_strdup_printf("%s/report-%d.log", g_get_tmp_dir(), (int)getpid());
    g_autofree char *outputs = g_strdup_printf("1:file:%s", path);
    g_autofree char *text = NULL;

    g_assert_cmpint(virLogSetOutputs(outputs), ==, 0);
    g_assert_cmpint(virLogSetFilters("1:stratovirt-remote"), >=, 0);
    reportInstallLogSink();
    reportInstallLogSink();
    g_log("stratovirt-remote", G_LOG_LEVEL_DEBUG, "%s", "a wire was cut");
    g_log("stratovirt-migration", G_LOG_LEVEL_DEBUG, "%s", "filtered away");
    virLogReset();
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_unlink(path);
    g_assert_nonnull(strstr(text, "a wire was cut"));
    g_assert_null(strstr(text, "filtered away"));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(virErrorInitialize(), ==, 0);
    virSetErrorFunc(NULL, NULL);
    g_test_add_func("/report/to-libvirt", testToLibvirt);
    g_test_add_func("/report/foreign", testForeign);
    g_test_add_func("/report/percent", testPercent);
    g_test_add_func("/report/from-libvirt", testFromLibvirt);
    g_test_add_func("/report/nearest", testNearest);
    g_test_add_func("/report/log", testLog);
    return g_test_run();
}
