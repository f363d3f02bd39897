/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Process 1 of the guest: mounts, modules, parameters, the power button, and then the workload.
 */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_INPUTS 16

guestParams params = {
    .memMiB = 32, .tickMs = 20, .printMs = 100, .reportMs = 1000, .dutyPercent = 100
};

uint64_t
nowUs(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void
threadStart(void *(*run)(void *), void *arg, int priority)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, arg);

    if (rc != 0) {
        consoleLine("SV-FATAL cannot start a thread: %s", strerror(rc));
        machineEnd(RB_POWER_OFF);
    }
    if (priority > 0) {
        struct sched_param param = { .sched_priority = priority };

        pthread_setschedparam(thread, SCHED_FIFO, &param);
    }
    pthread_detach(thread);
}

/* Finds "name=" at the start of a word; returns what follows or NULL. */
static const char *
paramFind(const char *cmdline, const char *name)
{
    size_t len = strlen(name);
    const char *at = cmdline;

    while ((at = strstr(at, name))) {
        if ((at == cmdline || at[-1] == ' ') && at[len] == '=')
            return at + len + 1;
        at += len;
    }
    return NULL;
}

void
paramNumber(const char *cmdline, const char *name, unsigned *ret)
{
    const char *value = paramFind(cmdline, name);

    if (value)
        *ret = strtoul(value, NULL, 10);
}

void
paramString(const char *cmdline, const char *name, char *ret, unsigned size)
{
    const char *value = paramFind(cmdline, name);
    unsigned i = 0;

    if (!value)
        return;
    for (; i + 1 < size && value[i] && value[i] != ' ' && value[i] != '\n'; i++)
        ret[i] = value[i];
    ret[i] = '\0';
}

static void
readParams(void)
{
    char cmdline[4096] = "";
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, cmdline, sizeof(cmdline) - 1) : 0;

    if (fd >= 0)
        close(fd);
    cmdline[got > 0 ? got : 0] = '\0';
    paramNumber(cmdline, "sv.mem", &params.memMiB);
    paramNumber(cmdline, "sv.dirty", &params.dirtyMiBps);
    paramNumber(cmdline, "sv.tick", &params.tickMs);
    paramNumber(cmdline, "sv.print", &params.printMs);
    paramNumber(cmdline, "sv.report", &params.reportMs);
    paramNumber(cmdline, "sv.duty", &params.dutyPercent);
    paramNumber(cmdline, "sv.pass", &params.passMs);
    paramNumber(cmdline, "sv.corrupt", &params.corruptS);
    paramString(cmdline, "sv.disk", params.disk, sizeof(params.disk));
    paramString(cmdline, "sv.also", params.also, sizeof(params.also));
    if (params.tickMs == 0)
        params.tickMs = 1;
    if (params.dutyPercent == 0)
        params.dutyPercent = 1;
}

static void
mountAll(void)
{
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
}

/* The list was written in an order that satisfies every dependency. */
static void
loadModules(void)
{
    FILE *list = fopen("/lib/modules/list", "re");
    char name[64];
    char path[96];

    if (!list)
        return;
    while (fscanf(list, "%63s", name) == 1) {
        int fd;

        snprintf(path, sizeof(path), "/lib/modules/%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            dprintf(1, "SV-WARN module %s: %s\n", name, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    fclose(list);
}

/* Devices of modules that were just loaded appear a little later. */
static bool
waitForFile(const char *path, unsigned limitMs)
{
    uint64_t end = nowUs() + limitMs * 1000ULL;
    struct timespec pause = { 0, 10 * 1000 * 1000 };

    while (access(path, F_OK) < 0) {
        if (nowUs() > end)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

void
machineEnd(int how)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    struct timespec pause = { 1, 0 };

    pthread_mutex_lock(&once); /* whoever comes second waits for the end */
    consoleDrain();
    sync();
    reboot(how);
    /* No power to switch off (a machine without ACPI): a reset ends it as well. */
    reboot(RB_AUTOBOOT);
    while (true)
        nanosleep(&pause, NULL);
}

static bool
isPowerKey(int fd)
{
    struct input_event events[16];
    ssize_t got = read(fd, events, sizeof(events));

    for (ssize_t i = 0; got > 0 && i < got / (ssize_t)sizeof(events[0]); i++) {
        if (events[i].type == EV_KEY && events[i].code == KEY_POWER && events[i].value == 1)
            return true;
    }
    return false;
}

/* `virsh shutdown` presses the ACPI power button, which is an input device in here. */
static void *
powerThread(void *arg)
{
    struct pollfd fds[MAX_INPUTS];
    nfds_t count = 0;
    char path[64];

    (void)arg;
    for (unsigned i = 0; i < MAX_INPUTS; i++) {
        snprintf(path, sizeof(path), "/dev/input/event%u", i);
        fds[count].fd = open(path, O_RDONLY | O_CLOEXEC);
        fds[count].events = POLLIN;
        if (fds[count].fd >= 0)
            count++;
    }
    if (count == 0)
        consoleLine("SV-WARN no power button in this machine");
    while (count > 0 && poll(fds, count, -1) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            if ((fds[i].revents & POLLIN) && isPowerKey(fds[i].fd)) {
                diskStop();
                workloadReport();
                consoleLine("SV-POWEROFF power button");
                machineEnd(RB_POWER_OFF);
            }
        }
    }
    return NULL;
}

int
main(void)
{
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, NULL);

    mountAll();
    loadModules();
    readParams();
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del comes as SIGINT */
    consoleInit();
    if (params.disk[0] && !waitForFile(params.disk, 5000)) {
        consoleLine("SV-FATAL there is no disk %s", params.disk);
        machineEnd(RB_POWER_OFF);
    }
    threadStart(powerThread, NULL, 0);
    workloadStart();

    while (sigwait(&set, &sig) == 0) {
        if (sig == SIGCHLD) {
            while (waitpid(-1, NULL, WNOHANG) > 0)
                continue;
        } else {
            diskStop();
            workloadReport();
            consoleLine("SV-%s signal", sig == SIGINT ? "REBOOT" : "POWEROFF");
            machineEnd(sig == SIGINT ? RB_AUTOBOOT : RB_POWER_OFF);
        }
    }
    return 0;
}
