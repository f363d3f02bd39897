/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/socket.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/gettext.h"

void
baseSocketSetRoom(int fd, uint64_t room)
{
    const int bytes = (int)MIN(room, (uint64_t)G_MAXINT / 4);

    /* Beyond the system's limit for those who may, and up to it for others. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0)
        g_debug("no room of %d bytes in a socket: %s, ignoring", bytes, g_strerror(errno));
}

bool
baseSocketPair(int pair[2], size_t room, GError **error)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        baseSetErrno(error, errno, _("A pair of sockets could not be made"));
        return false;
    }
    for (unsigned i = 0; room > 0 && i < 2; i++)
        baseSocketSetRoom(pair[i], room);
    return true;
}
