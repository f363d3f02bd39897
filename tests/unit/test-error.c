/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

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

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/errno", testErrno);
    g_test_add_func("/error/domain", testDomain);
    return g_test_run();
}
