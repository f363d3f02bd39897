/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dial.h: a connection to where a migration URI points, without a hello: to a VMM rather than to a daemon */
#pragma once

#include "remote/uri.h"

/**
 * dialUri: connect to @u, which has a host and a port, or a path.
 *
 * @cancelFd: readable means give up (-1: none); @timeoutMs: for name look-up and connect together
 * Returns a connected blocking socket (close-on-exec; TCP: no delay, keepalive) that the caller owns; -1
 * with an error that names every address that was tried and what became of it: BASE_ERROR_OPERATION_FAILED,
 * BASE_ERROR_TIMEOUT, BASE_ERROR_ABORTED (given up), BASE_ERROR_SYSTEM.  No lock may be held.
 */
int dialUri(const uri *u, int cancelFd, unsigned timeoutMs, GError **error);
