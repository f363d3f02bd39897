/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Consoles of the guest.
 *
 * Theory of operation: a console may be read by nobody, or slowly, and the counter must not
 * wait for it. So a line is put into a small buffer of each console, whole or not at all, and
 * one thread per console writes it out; what does not fit is counted as dropped.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONSOLES 6
#define BUFFER_SIZE 16384

typedef struct {
    int fd;
    char buffer[BUFFER_SIZE];
    size_t used;
    bool writing;
} console;

static console consoles[MAX_CONSOLES];
static unsigned consoleCount;
static uint64_t dropped;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void *
writerThread(void *arg)
{
    console *con = arg;
    char chunk[512];

    while (true) {
        size_t len;
        size_t done = 0;

        pthread_mutex_lock(&lock);
        con->writing = false;
        while (con->used == 0)
            pthread_cond_wait(&changed, &lock);
        len = con->used < sizeof(chunk) ? con->used : sizeof(chunk);
        memcpy(chunk, con->buffer, len);
        memmove(con->buffer, con->buffer + len, con->used - len);
        con->used -= len;
        con->writing = true;
        pthread_mutex_unlock(&lock);

        while (done < len) {
            ssize_t put = write(con->fd, chunk + done, len - done);

            if (put < 0 && errno != EINTR && errno != EAGAIN)
                return NULL; /* the device is gone */
            if (put > 0)
                done += put;
        }
    }
}

static void
obey(char *line)
{
    unsigned number;

    if (strcmp(line, "report") == 0) {
        workloadReport();
    } else if (sscanf(line, "dirty %u", &number) == 1) {
        workloadSetDirty(number);
        consoleLine("SV-OK dirty %u", number);
    } else if (strcmp(line, "corrupt") == 0) {
        workloadCorrupt();
    } else if (strcmp(line, "poweroff") == 0 || strcmp(line, "reboot") == 0) {
        diskStop();
        workloadReport();
        consoleLine("SV-%s asked for", line[0] == 'p' ? "POWEROFF" : "REBOOT");
        machineEnd(line[0] == 'p' ? RB_POWER_OFF : RB_AUTOBOOT);
    } else if (strcmp(line, "panic") == 0) {
        int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, "c", 1) != 1)
            consoleLine("SV-WARN cannot panic");
    } else if (line[0]) {
        consoleLine("SV-WARN unknown command '%.40s': report, dirty N, corrupt, "
                    "poweroff, reboot, panic", line);
    }
}

static void *
readerThread(void *arg)
{
    console *con = arg;
    char line[128];
    size_t len = 0;
    char c;

    while (true) {
        ssize_t got = read(con->fd, &c, 1);

        if (got <= 0) {
            /* Nobody at the other end of a virtio console reads as end of file: try later. */
            struct timespec pause = { 0, 200 * 1000 * 1000 };

            nanosleep(&pause, NULL);
        } else if (c == '\n' || c == '\r') {
            line[len] = '\0';
            len = 0;
            obey(line);
        } else if (len + 1 < sizeof(line)) {
            line[len++] = c;
        }
    }
    return NULL;
}

static void
consoleAdd(const char *path)
{
    int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios tio;
    console *con;

    if (fd < 0 || consoleCount == MAX_CONSOLES) {
        dprintf(1, "SV-WARN console %s: %s\n", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    if (tcgetattr(fd, &tio) == 0) {
        cfmakeraw(&tio);
        tio.c_oflag |= OPOST | ONLCR;
        tio.c_cflag |= CLOCAL;
        tcsetattr(fd, TCSANOW, &tio);
    }
    con = &consoles[consoleCount++];
    con->fd = fd;
    threadStart(writerThread, con, 0);
    threadStart(readerThread, con, 0);
}

void
consoleInit(void)
{
    char *save = NULL;
    char names[sizeof(params.also)];

    consoleAdd("/dev/console");
    strcpy(names, params.also);
    for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        char path[160];

        snprintf(path, sizeof(path), "/dev/%s", name);
        consoleAdd(path);
    }
}

void
consoleLine(const char *format, ...)
{
    char line[512];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(line, sizeof(line) - 1, format, args);
    va_end(args);
    if (len > (int)sizeof(line) - 2)
        len = sizeof(line) - 2;
    line[len++] = '\n';

    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < consoleCount; i++) {
        console *con = &consoles[i];

        if (con->used + len > BUFFER_SIZE) {
            dropped++;
        } else {
            memcpy(con->buffer + con->used, line, len);
            con->used += len;
        }
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

uint64_t
consoleDropped(void)
{
    uint64_t value;

    pthread_mutex_lock(&lock);
    value = dropped;
    pthread_mutex_unlock(&lock);
    return value;
}

void
consoleDrain(void)
{
    struct timespec pause = { 0, 10 * 1000 * 1000 };
    bool busy = true;

    for (unsigned tries = 0; busy && tries < 200; tries++) {
        busy = false;
        pthread_mutex_lock(&lock);
        for (unsigned i = 0; i < consoleCount; i++)
            busy = busy || consoles[i].used > 0 || consoles[i].writing;
        pthread_mutex_unlock(&lock);
        if (busy)
            nanosleep(&pause, NULL);
    }
    if (consoleCount > 0)
        tcdrain(consoles[0].fd);
}
