/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process_priv.h: the parts of a start and a stop, for the process_*.c files only. The domain is locked in all of them. */
#pragma once

#include "driver/cmdline.h"
#include "driver/event.h"
#include "driver/process.h"

#include "base/fd.h"

/* One start under way. */
typedef struct {
    virDomainObj *vm;
    drvDomain *priv;
    drvState *drv;
    drvConf *conf;
    const vmmInfo *vmm;          /* NULL until it is known */
    guint64 incarnation;
    virConnectPtr conn;          /* may be NULL */
    unsigned int flags;          /* processStartFlags */
    virDomainRunningReason runReason;
    const char *incomingUri;     /* NULL: what the VMM's row says */
    cmdlineTap *taps;            /* one for each interface */
    size_t ntaps;
    baseFd vsockFd;              /* of a vsock that found a number for itself; -1 */
    baseFd controlFd;            /* the listening control socket, until the VMM has it */
    baseFd logFd;
    struct _virLogManager *logd; /* NULL: a plain file */
    char *logPath;
    guint64 logInode;
    gint64 logOffset;            /* where the VMM's own output begins */
} processStarting;

/* process_check.c: refuse what cannot work, before anything is made. May drop the lock (probing). */
int processCheck(processStarting *start);
/* The same for what the scripts of 'prepare' may have made. */
int processCheckFiles(processStarting *start);

/* The ids that the configuration asks for; -1: the daemon's own. */
int processIdentity(const processStarting *start, uid_t *uid, gid_t *gid);

/* process_nvram.c: the file of a firmware's memory is there, or is made; drops the lock. */
int processNvramPrepare(processStarting *start);

/* process_net.c */
int processVsockPrepare(processStarting *start);
int processNetPrepare(processStarting *start);
void processNetRelease(virDomainObj *vm);
/* Tell the network driver that these ports are in use, after a restart. */
void processNetNotify(virDomainObj *vm);

/* process_log.c */
int processLogOpen(processStarting *start);
void processLogHeader(processStarting *start, char *const *argv);
/* The end of what the VMM wrote since the header; never NULL, "" if nothing. */
char *processLogTail(processStarting *start);
void processLogClose(processStarting *start);
/* The end of what has been written to @vm's log since its VMM was started; the caller frees. */
char *processLogWords(virDomainObj *vm);

/* process_watch.c */
/**
 * processWatchStart: watch the process that holds the lock on @pidPath, set vm->pid and priv->watch.
 * The VMM inherits the lock from its start and keeps it to its end, so no other process can be taken for it, however
 * pids are reused.  Returns 0, 1 if no process holds it (any more), -1 with error set.
 */
int processWatchStart(virDomainObj *vm, const char *pidPath);
/* SIGKILL or SIGTERM, to this process and no other. */
void processSignal(virDomainObj *vm, int sig);

/* A descriptor of the process to wait with, the caller's; -1: there is none. */
int processWatchFd(virDomainObj *vm);

/* process_socket.c: paths longer than a socket address can hold are reached through their folder's descriptor. */
int processSocketListen(const char *path);
int processSocketConnect(const char *path);

/* The folder of a guest's sockets; the caller frees. NULL with error set. */
char *processFolder(virDomainObj *vm);
/* A number that no earlier start had. */
guint64 processNextIncarnation(void);
