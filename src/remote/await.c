/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A socket's file appears when it is bound, which inotify tells; nothing tells when it is listened on a moment later.
 * For that moment alone, when the file is there and refuses, we look again every few milliseconds.
 */
#include "remote/await.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#include "base/gettext.h"

#define AWAIT_LISTEN_MS 10

/* Connected, or -1 with errno. */
static int
awaitConnect(const char *folder, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_auto(baseFd) folderFd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    g_auto(baseFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int saved;

    if (folderFd < 0 || fd < 0)
        return -1;
    if ((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", folderFd,
                         name) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return baseFdSteal(&fd);
    saved = errno;
    baseFdReplace(&fd, -1);
    errno = saved;
    return -1;
}

static bool
awaitEnded(int pidFd)
{
    struct pollfd watch = { .fd = pidFd, .events = POLLIN };

    return pidFd >= 0 && poll(&watch, 1, 0) > 0;
}

/* Until something happens in the folder, to the process, or the time is over. */
static void
awaitChange(int watchFd, int pidFd, gint64 waitMs)
{
    struct pollfd watches[] = {
        { .fd = watchFd, .events = POLLIN },
        { .fd = pidFd, .events = POLLIN },
    };
    char events[4096];

    poll(watches, G_N_ELEMENTS(watches), (int)CLAMP(waitMs, 0, G_MAXINT));
    while (read(watchFd, events, sizeof(events)) > 0)
        continue;
}

/* Is it listened on?  As awaitConnect(), but what is returned is no descriptor. */
static int
awaitLook(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *table = NULL;
    g_auto(GStrv) lines = NULL;

    errno = ENOENT;
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return -1;
    if (!g_file_get_contents("/proc/net/unix", &table, NULL, NULL)) {
        errno = EACCES;
        return -1;
    }
    /* "Num RefCount Protocol Flags Type St Inode Path"; the flag is that of listen(). */
    lines = g_strsplit(table, "\n", -1);
    for (size_t i = 0; lines[i]; i++) {
        if (g_str_has_suffix(lines[i], path) && strstr(lines[i], " 00010000 "))
            return 0;
    }
    errno = ECONNREFUSED;
    return -1;
}

/* Until @look returns a number. */
static int
awaitUntil(const char *path, int pidFd, unsigned timeoutMs, int (*look)(const char *folder, const char *name), GError **error)
{
    const gint64 deadline = g_get_monotonic_time() + (gint64)timeoutMs * 1000;
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    g_auto(baseFd) watchFd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (watchFd < 0 || inotify_add_watch(watchFd, folder, IN_CREATE | IN_ATTRIB | IN_MOVED_TO) < 0) {
        baseSetErrno(error, errno, _("Cannot watch the folder '%1$s'"), folder);
        return -1;
    }
    for (;;) {
        bool ended = awaitEnded(pidFd);
        int fd = look(folder, name);
        bool there = fd < 0 && (errno == ECONNREFUSED || errno == EAGAIN);
        gint64 leftMs = (deadline - g_get_monotonic_time() + 999) / 1000;

        if (fd >= 0)
            return fd;
        if (!there && errno != ENOENT) {
            baseSetErrno(error, errno, _("Cannot connect to the socket '%1$s'"), path);
            return -1;
        }
        if (ended) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                        _("The VMM ended before it had made its socket '%1$s'."), path);
            return -1;
        }
        if (leftMs <= 0) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                        _("The VMM has not made its socket '%1$s' within %2$u milliseconds."), path,
                        timeoutMs);
            return -1;
        }
        awaitChange(watchFd, pidFd, there ? MIN(leftMs, AWAIT_LISTEN_MS) : leftMs);
    }
}

int
awaitSocket(const char *path, int pidFd, unsigned timeoutMs, GError **error)
{
    return awaitUntil(path, pidFd, timeoutMs, awaitConnect, error);
}

bool
awaitListening(const char *path, int pidFd, unsigned timeoutMs, GError **error)
{
    return awaitUntil(path, pidFd, timeoutMs, awaitLook, error) >= 0;
}
