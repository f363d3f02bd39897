/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* listen_priv.h: what listen.c, listen_socket.c and listen_address.c share, and parts that tests look at */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

#include "remote/listen.h"

/* How long a new connection may take for its hello. */
void listenerSetHelloTimeout(listener *l, unsigned timeoutMs);

/* Of use to another host: not loopback, link-local, multicast or unspecified. */
bool listenAddressIsGlobal(const struct sockaddr *address);
/* @routes4, @routes6: text of the kernel's routing tables, may be NULL. */
bool listenRouteIsDefault(const char *routes4, const char *routes6, const char *interface);

/* listen_socket.c: a listening socket, or -1 with errno set.  @overlap: others of ours may listen on that port, too. */
int listenOpen(const struct sockaddr *address, socklen_t len, bool overlap);
/* The same for a numeric address, or -1 with an error. */
int listenOpenOne(const char *address, unsigned port, GError **error);
/* False, with an error that explains @errnum. */
bool listenBindError(const char *address, unsigned port, int errnum, GError **error);
