/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* listen_socket.c: opening one listening socket, and why it did not work */
#include "remote/listen_priv.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>

#include "base/error.h"
#include "base/fd.h"

#include "base/gettext.h"

#define LISTEN_BACKLOG 128

bool
listenBindError(const char *address, unsigned port, int errnum, GError **error)
{
    const char *shown = address ? address : "*";

    if (errnum == EADDRINUSE) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The migration port %1$u of address '%2$s' is taken by another program; "
                      "free it or set another 'migration_port'."), port, shown);
    } else if (errnum == EADDRNOTAVAIL) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The migration port %1$u cannot be opened: the address '%2$s' is not one of "
                      "this host's."), port, shown);
    } else if (errnum == EACCES) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The migration port %1$u of address '%2$s' cannot be opened without more "
                      "privileges; set a 'migration_port' above 1023."), port, shown);
    } else {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The migration port %1$u of address '%2$s' cannot be opened: %3$s"),
                    port, shown, g_strerror(errnum));
    }
    return false;
}

int
listenOpen(const struct sockaddr *address, socklen_t len, bool overlap)
{
    g_auto(baseFd) fd = -1;
    const int on = 1, off = 0;

    fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return -1;
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        bool any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);

        if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? &off : &on, sizeof(int)) < 0)
            return -1;
    }
    if (overlap && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
        return -1;
    if (bind(fd, address, len) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
        return -1;
    if (overlap)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &off, sizeof(off));
    return baseFdSteal(&fd);
}

int
listenOpenOne(const char *address, unsigned port, GError **error)
{
    g_autofree char *service = g_strdup_printf("%u", port);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
    };
    struct addrinfo *list = NULL;
    int problem = getaddrinfo(address, service, &hints, &list);
    int fd;

    if (problem != 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' is not an address to listen on: %2$s"),
                    address, gai_strerror(problem));
        return -1;
    }
    fd = listenOpen(list->ai_addr, list->ai_addrlen, false);
    if (fd < 0)
        listenBindError(address, port, errno, error);
    freeaddrinfo(list);
    return fd;
}
