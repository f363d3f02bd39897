/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* free-port.h: a port that nothing of this machine is likely to take before the test does */
#pragma once

#include <arpa/inet.h>
#include <glib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Each process has its own, of which none is one that the kernel gives to connections: tests run side by side. */
#define FREE_PORT_FIRST 10000
#define FREE_PORT_EACH 16
#define FREE_PORT_PROCESSES 1400

static inline unsigned
freePort(void)
{
    static unsigned next;
    unsigned tries;

    for (tries = 0; tries < FREE_PORT_EACH; tries++) {
        unsigned port = FREE_PORT_FIRST + (unsigned)getpid() % FREE_PORT_PROCESSES * FREE_PORT_EACH + next++ % FREE_PORT_EACH;
        struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int on = 1;
        int rc;

        /* As listeners do: what waits there for its time to pass is nobody's. */
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        rc = bind(fd, (struct sockaddr *)&any, sizeof(any));

        close(fd);
        if (rc == 0)
            return port;
    }
    g_assert_not_reached();
}
