/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-vmm.c: VMMs that are threads: one writes a stream, one reads it */
#include "flow-world.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNKS 6
#define CHUNK 1024
#define TOTAL (CHUNKS * CHUNK)

/* A VMM takes a descriptor of its own, that survives the daemon's. */
static int
takeFd(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* Lock held. */
static void
dropFd(flowVmm *vmm)
{
    if (vmm->fd < 0)
        return;
    shutdown(vmm->fd, SHUT_RDWR);
    close(vmm->fd);
    vmm->fd = -1;
}

void
flowVmmSetRuns(flowVmm *vmm, bool runs)
{
    flowWorld *w = vmm->world;

    if (!vmm->alive)
        return;
    vmm->runs = runs;
    if (w->vmms[MIG_SIDE_SOURCE].runs && w->vmms[MIG_SIDE_DEST].runs)
        flowViolation(w, "two copies of the guest run");
}

void
flowVmmStart(flowVmm *vmm, bool runs)
{
    vmm->alive = true;
    vmm->state = VMM_MIG_NONE;
    flowVmmSetRuns(vmm, runs);
}

void
flowVmmEnd(flowVmm *vmm)
{
    vmm->runs = vmm->alive = false;
    if (vmm->fd >= 0)
        shutdown(vmm->fd, SHUT_RDWR);
    g_cond_broadcast(&vmm->world->cond);
}

void
flowVmmJoin(flowVmm *vmm)
{
    if (vmm->thread)
        g_thread_join(g_steal_pointer(&vmm->thread));
}

/* Lock held; dropped for the others to see it. */
static void
setState(flowVmm *vmm, vmmMigState state)
{
    vmm->state = state;
    g_cond_broadcast(&vmm->world->cond);
    g_mutex_unlock(&vmm->world->lock);
    flowPost(vmm->world, vmm->side, MIG_SIGNAL_VMM);
    g_mutex_lock(&vmm->world->lock);
}

/* Lock held, dropped while it writes.  False: broken, or told to stop. */
static bool
sendBytes(flowVmm *vmm, size_t len)
{
    char bytes[CHUNK];
    int fd = vmm->fd;
    ssize_t done;

    memset(bytes, 'm', sizeof(bytes));
    g_mutex_unlock(&vmm->world->lock);
    done = send(fd, bytes, len, MSG_NOSIGNAL);
    g_mutex_lock(&vmm->world->lock);
    if (done > 0)
        vmm->sent += done;
    return done == (ssize_t)len && vmm->alive && !vmm->cancel;
}

static bool
sendRounds(flowVmm *vmm)
{
    for (int i = 0; i < CHUNKS - 1; i++) {
        vmm->pass = i + 1;
        if (!sendBytes(vmm, CHUNK))
            return false;
        /* Lets the other side see that it is under way. */
        g_cond_wait_until(&vmm->world->cond, &vmm->world->lock, g_get_monotonic_time() + 2000);
    }
    flowVmmSetRuns(vmm, false);
    setState(vmm, VMM_MIG_PRE_SWITCHOVER);
    while (vmm->alive && !vmm->cancel && !vmm->goOn && !vmm->world->over)
        g_cond_wait(&vmm->world->cond, &vmm->world->lock);
    if (!vmm->alive || vmm->cancel || !vmm->goOn)
        return false;
    setState(vmm, VMM_MIG_DEVICE);
    return vmm->world->scenario->truncated || sendBytes(vmm, CHUNK);
}

static gpointer
sendThread(gpointer data)
{
    flowVmm *vmm = data;
    flowWorld *w = vmm->world;
    bool sent;

    g_mutex_lock(&w->lock);
    sent = sendRounds(vmm);
    dropFd(vmm);
    if (vmm->alive)
        setState(vmm, sent ? VMM_MIG_COMPLETED : vmm->cancel ? VMM_MIG_CANCELLED : VMM_MIG_FAILED);
    g_mutex_unlock(&w->lock);
    return NULL;
}

static gpointer
receiveThread(gpointer data)
{
    flowVmm *vmm = data;
    flowWorld *w = vmm->world;
    char bytes[CHUNK];
    size_t have = 0;
    ssize_t got;
    int fd;

    g_mutex_lock(&w->lock);
    fd = vmm->fd;
    g_mutex_unlock(&w->lock);
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
        have += got;
    g_mutex_lock(&w->lock);
    dropFd(vmm);
    if (vmm->alive)
        setState(vmm, have == TOTAL ? VMM_MIG_COMPLETED : VMM_MIG_FAILED);
    g_mutex_unlock(&w->lock);
    return NULL;
}

static bool
startThread(flowVmm *vmm, int fd, GThreadFunc func)
{
    bool ok = vmm->alive && !vmm->thread;

    if (ok) {
        vmm->fd = takeFd(fd);
        vmm->state = VMM_MIG_ACTIVE;
        vmm->thread = g_thread_new("vmm", func, vmm);
    }
    return ok;
}

bool
flowVmmSend(flowVmm *vmm, int fd)
{
    return startThread(vmm, fd, sendThread);
}

bool
flowVmmReceive(flowVmm *vmm, int fd)
{
    return startThread(vmm, fd, receiveThread);
}
