/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "vmmi/code.h"
#include "vmmi/text.h"

#define COMPLETION_WAIT_MS 5000

static int statusFd = -1;
static int completionFd = -1;
static int logFd = -1;

void
vmmiOutputOpen(void)
{
    int null = open("/dev/null", O_RDWR);

    /* The lowest free number: as long as it is that of a standard stream, that one was closed. */
    while (null >= 0 && null <= STDERR_FILENO)
        null = dup(null);
    signal(SIGPIPE, SIG_IGN);
    statusFd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    completionFd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (null < 0)
        return;
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    close(null);
}

/* Whole lines: what is shorter than PIPE_BUF goes into a pipe that has room at once or not at all. */
static void
writeLine(int fd, const char *line, int waitMs)
{
    size_t length = strlen(line);

    while (length) {
        struct pollfd wait = { .fd = fd, .events = POLLOUT };
        ssize_t n;

        if (poll(&wait, 1, waitMs) <= 0 || !(wait.revents & POLLOUT))
            return;
        n = write(fd, line, length);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (n > 0) {
            line += n;
            length -= n;
            /* Half a line is worse than a late one. */
            waitMs = COMPLETION_WAIT_MS;
        }
    }
}

void
vmmiOutputStatus(const char *line)
{
    writeLine(statusFd, line, 0);
    vmmiLog("status: %s", line);
}

void
vmmiOutputCompletion(const char *line)
{
    static int done;

    if (!g_atomic_int_compare_and_exchange(&done, 0, 1))
        return;
    writeLine(completionFd, line, COMPLETION_WAIT_MS);
    vmmiLog("end: %s", line);
}

bool
vmmiOutputLogTo(const char *path, GError **error)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

    if (fd < 0) {
        g_set_error(error, VMMI_ERROR, VMMI_BAD_FILE, _("The log '%1$s' cannot be opened: %2$s"), path, g_strerror(errno));
        return false;
    }
    logFd = fd;
    dup2(fd, STDERR_FILENO);
    return true;
}

void
vmmiLog(const char *format, ...)
{
    g_autoptr(GDateTime) now = NULL;
    g_autofree char *stamp = NULL;
    g_autofree char *text = NULL;
    g_autofree char *line = NULL;
    va_list args;

    if (logFd < 0)
        return;
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    now = g_date_time_new_now_utc();
    stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
    line = g_strdup_printf("%s.%03dZ %s\n", stamp, g_date_time_get_microsecond(now) / 1000, g_strchomp(text));
    if (write(logFd, line, strlen(line)) < 0)
        return; /* nobody has to read it */
}
