/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dial.c: see dial.h */
#include "remote/dial.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/hello.h"

#include "base/gettext.h"

static int
dialUnix(const char *path, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_auto(baseFd) fd = -1;

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        baseSetErrno(error, errno, _("Cannot make a socket"));
        return -1;
    }
    /* Never waits: either somebody listens or not. */
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The unix socket '%1$s' cannot be connected to: %2$s"), path, g_strerror(errno));
        return -1;
    }
    return baseFdSteal(&fd);
}

int
dialUri(const uri *u, int cancelFd, unsigned timeoutMs, GError **error)
{
    if (u->kind == URI_UNIX)
        return dialUnix(u->path, error);
    return helloConnectPlain(u->host, u->port, cancelFd, timeoutMs, error);
}
