/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* listen_priv.h: parts of listen.c and listen_address.c that tests look at */
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
