/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* free-port.h: a TCP port of 127.0.0.1 that nobody uses at the moment; for unit and flow tests */
#pragma once

#include <glib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned
freePort(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&address, &len), ==, 0);
    close(fd);
    return ntohs(address.sin_port);
}
