/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "base/error.h"

static void
testErrno(void)
{
    g_autoptr(GError) error = NULL;

    errno = EBADF;
    baseSetErrno(&error, ENOENT, "Cannot open '%2$s' for the %1$u. time", 3u, "x");
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_cmpstr(error->message, ==,
                    "Cannot open 'x' for the 3. time: No such file or directory");
    baseSetErrno(NULL, ENOENT, "nobody %s", "listens");
}

static void
testDomain(void)
{
    g_assert_cmpuint(BASE_ERROR, !=, 0);
    g_assert_cmpuint(BASE_ERROR, ==, baseErrorQuark());
    g_assert_cmpstr(g_quark_to_string(BASE_ERROR), ==, "stratovirt-error");
}

static void
testForeign(void)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        { "All is well: 100%.", "All is well: 100%." },
        { "two\nlines\t\x1b[31mred", "two\\x0alines\\x09\\x1b[31mred" },
        { "Stra\303\237e", "Stra\303\237e" },
        { "cut \303", "cut \357\277\275" },
    };
    g_autofree char *longText = g_strnfill(5000, 'x');
    g_autofree char *cut = baseForeignText(longText);

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *out = baseForeignText(rows[i].in);

        g_assert_cmpstr(out, ==, rows[i].out);
    }
    g_assert_cmpuint(strlen(cut), ==, 1024);
    for (int i = 0; i < 2; i++) {
        g_autofree char *none = baseForeignText(i ? "" : NULL);

        g_assert_cmpstr(none, ==, "it gives no reason.");
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/errno", testErrno);
    g_test_add_func("/error/domain", testDomain);
    g_test_add_func("/error/foreign", testForeign);
    return g_test_run();
}
