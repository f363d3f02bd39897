/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fd.h"

static bool
isOpen(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int
openNull(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static int
stealIt(int *retNumber)
{
    g_auto(baseFd) fd = openNull();

    *retNumber = fd;
    return baseFdSteal(&fd);
}

static void
testAuto(void)
{
    int number, fd;

    {
        g_auto(baseFd) own = openNull();

        number = own;
        g_assert_true(isOpen(number));
        errno = EXDEV;
    }
    g_assert_false(isOpen(number));
    fd = stealIt(&number);
    g_assert_cmpint(fd, ==, number);
    g_assert_true(isOpen(fd));
    baseFdReplace(&fd, -1);
    g_assert_cmpint(fd, ==, -1);
    g_assert_false(isOpen(number));
}

static void
testErrno(void)
{
    errno = EXDEV;
    baseFdClose(-1);
    baseFdClose(9999);
    g_assert_cmpint(errno, ==, EXDEV);
}

static void
testNonblock(void)
{
    g_auto(baseFd) fd = openNull();

    g_assert_true(baseFdSetNonblock(fd, true));
    g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_true(baseFdSetNonblock(fd, false));
    g_assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_false(baseFdSetNonblock(-1, true));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fd/auto", testAuto);
    g_test_add_func("/fd/errno", testErrno);
    g_test_add_func("/fd/nonblock", testNonblock);
    return g_test_run();
}
