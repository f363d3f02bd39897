/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unix-listen.h: a socket that listens at a path, as a VMM's does */
#pragma once

#include <glib.h>
#include <sys/socket.h>
#include <sys/un.h>

static inline int
unixListen(const char *path, int backlog)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(fd, backlog), ==, 0);
    return fd;
}
