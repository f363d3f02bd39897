/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* await.h: a unix socket that another process is about to make */
#pragma once

#include <glib.h>
#include <stdbool.h>

/**
 * awaitSocket: connect to the unix socket @path as soon as somebody listens there.
 * @path: its folder must exist; may be longer than a socket's address, if that process manages to bind it
 * @pidFd: pidfd of the process that will listen, which ends the waiting when it ends; -1: unknown
 * @timeoutMs: at most so long
 *
 * Returns a connected non-blocking stream socket, the caller's, or -1 with BASE_ERROR_TIMEOUT,
 * BASE_ERROR_MONITOR_CLOSED (the process has ended) or BASE_ERROR_SYSTEM.  Blocks; hold no lock.
 */
int awaitSocket(const char *path, int pidFd, unsigned timeoutMs, GError **error);

/** awaitListening: wait until somebody listens at @path, without connecting, for those that take one connection only. As awaitSocket(). */
bool awaitListening(const char *path, int pidFd, unsigned timeoutMs, GError **error);
