/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-vmm.c: VMMs that are threads: one writes a stream, one reads it */
#include "flow-world.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNKS 6
#define CHUNK 1024
#define ROUND_MS 2

static size_t
chunkOf(const flowVmm *vmm)
{
    return vmm->world->scenario->chunk ? vmm->world->scenario->chunk : CHUNK;
}

size_t
flowVmmTotal(const flowVmm *vmm)
{
    return CHUNKS * chunkOf(vmm);
}

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
    g_autofree char *bytes = g_malloc(len);
    int fd = vmm->fd;
    ssize_t done;

    memset(bytes, 'm', len);
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
    gint64 until;

    for (int i = 0; i < CHUNKS - 1; i++) {
        vmm->pass = i + 1;
        if (!sendBytes(vmm, chunkOf(vmm)))
            return false;
        /* Lets the other side see that it is under way. */
        until = g_get_monotonic_time() + (vmm->world->scenario->roundMs ? vmm->world->scenario->roundMs : ROUND_MS) * 1000;
        while (vmm->alive && !vmm->cancel && g_cond_wait_until(&vmm->world->cond, &vmm->world->lock, until))
            continue;
    }
    flowVmmSetRuns(vmm, false);
    setState(vmm, VMM_MIG_PRE_SWITCHOVER);
    while (vmm->alive && !vmm->cancel && !vmm->goOn && !vmm->world->over)
        g_cond_wait(&vmm->world->cond, &vmm->world->lock);
    if (!vmm->alive || vmm->cancel || !vmm->goOn)
        return false;
    setState(vmm, VMM_MIG_DEVICE);
    return vmm->world->scenario->truncated || sendBytes(vmm, chunkOf(vmm));
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
    const size_t most = chunkOf(vmm);
    g_autofree char *bytes = g_malloc(most);
    size_t have = 0;
    ssize_t got;
    int fd;

    g_mutex_lock(&w->lock);
    fd = vmm->fd;
    g_mutex_unlock(&w->lock);
    while ((got = recv(fd, bytes, most, 0)) > 0)
        have += got;
    g_mutex_lock(&w->lock);
    dropFd(vmm);
    if (vmm->alive)
        setState(vmm, have == flowVmmTotal(vmm) ? VMM_MIG_COMPLETED : VMM_MIG_FAILED);
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
