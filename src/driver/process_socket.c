/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The control socket is made and listening before the VMM is started, which inherits it: a connection can be made at
 * once, nobody has to look whether the socket is there yet, and a VMM that dies early ends the connection.
 *
 * A socket's address holds 107 bytes of path, an embedding process's root folder may be deeper.  Such sockets are named
 * through /proc/self/fd of their open folder.
 */
#include <config.h>

#include "driver/process_priv.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "driver/compat.h"
#include "base/gettext.h"

static bool
processSocketAddress(const char *path, int *folderFd, struct sockaddr_un *ret)
{
    g_autofree char *folder = NULL;
    g_autofree char *name = NULL;
    g_autofree char *viaFd = NULL;

    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    if (strlen(path) < sizeof(ret->sun_path)) {
        strcpy(ret->sun_path, path);
        return true;
    }
    folder = g_path_get_dirname(path);
    name = g_path_get_basename(path);
    *folderFd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*folderFd < 0)
        return false;
    viaFd = g_strdup_printf("/proc/self/fd/%d/%s", *folderFd, name);
    if (strlen(viaFd) >= sizeof(ret->sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(ret->sun_path, viaFd);
    return true;
}

int
processSocketListen(const char *path)
{
    g_auto(baseFd) folderFd = -1;
    g_auto(baseFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;

    if (fd < 0 || !processSocketAddress(path, &folderFd, &address) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(path, 0600) < 0 ||
        listen(fd, 1) < 0) {
        virReportSystemError(errno, _("Cannot make the control socket '%1$s'."), path);
        return -1;
    }
    return baseFdSteal(&fd);
}

int
processSocketConnect(const char *path)
{
    g_auto(baseFd) folderFd = -1;
    g_auto(baseFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    /* Non-blocking: a frozen VMM with a full backlog must not hold us up; control.c knows timeouts. */
    if (fd < 0 || !processSocketAddress(path, &folderFd, &address) ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        virReportSystemError(errno, _("Cannot connect to the control socket '%1$s'."), path);
        return -1;
    }
    return baseFdSteal(&fd);
}
