/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fd.h: a file descriptor that closes itself
 *
 *     g_auto(baseFd) fd = open(...);
 *     ...
 *     return baseFdSteal(&fd);
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <unistd.h>

typedef int baseFd;

/** baseFdClose: close @fd unless it is -1; errno survives. */
static inline void
baseFdClose(int fd)
{
    int saved = errno;

    /* No retry on EINTR: on Linux the descriptor is gone then, too. */
    if (fd >= 0)
        close(fd);
    errno = saved;
}

G_DEFINE_AUTO_CLEANUP_FREE_FUNC(baseFd, baseFdClose, -1)

/** baseFdSteal: hand *fd over; the variable no longer owns it. */
static inline int
baseFdSteal(int *fd)
{
    int ret = *fd;

    *fd = -1;
    return ret;
}

/** baseFdReplace: close what *fd was and let it own @other. */
static inline void
baseFdReplace(int *fd, int other)
{
    baseFdClose(*fd);
    *fd = other;
}

/** baseFdSetNonblock: switch O_NONBLOCK of the open file behind @fd; false with errno set. */
static inline bool
baseFdSetNonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return false;
    return fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0;
}
