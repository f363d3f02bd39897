/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * process.h: a VMM's life: start, watch, pause, stop, find again after a restart of the daemon
 *
 * Unless said otherwise: the domain is locked, a job is held, the lock is dropped while waiting.
 * Failures set the libvirt error and leave nothing behind.
 */
#pragma once

#include "driver/cmdline.h"
#include "driver/domain.h"

typedef enum {
    PROCESS_START_PAUSED      = 1 << 0,
    PROCESS_START_AUTODESTROY = 1 << 1,
    PROCESS_START_INCOMING    = 1 << 2,   /* waits for a migration stream; state PAUSED/MIGRATION */
    PROCESS_START_RESET_FDS   = 1 << 3,
    PROCESS_START_LATER       = 1 << 4,   /* with INCOMING: all is checked, but the VMM itself is left to processStartLater() */
} processStartFlags;

/**
 * processStart: spawn the VMM of vm->def in a session of its own and connect to its control socket.
 * @conn: for AUTODESTROY and for network/storage look-ups; may be NULL otherwise
 * @runReason: reason of the RUNNING state
 * Emits no lifecycle event: callers do, they know the detail.  When a job is held that allows to destroy (a migration's), the guest may be
 * destroyed before this returns: then it fails and has left alone what may be there by now.
 */
int processStart(virDomainObj *vm, virConnectPtr conn, unsigned int flags, virDomainRunningReason runReason);

/**
 * processStartLater: after processStart() with LATER: spawn the VMM, which starts from @incomingUri by itself and does not answer before
 * its guest runs.  -1 with the libvirt error set: what there is by then is processStop()'s to clear up.
 */
int processStartLater(virDomainObj *vm, const char *incomingUri);

/** processNeverRan: of a VMM that has ended, before processStop(): is it certain that its guest, which it was to load, never ran? */
bool processNeverRan(virDomainObj *vm);

/**
 * processStop: end the VMM for sure (SIGKILL unless it has ended), wait for it, release everything it held, set SHUTOFF/@reason,
 * remove its status file; the definition of the next start takes over.  The scripts of hook.h run.  Emits no event.  Never fails.
 * A start or a save that is given up may meet a user's destroy here: then the second waits for the first.
 * Returns whether it was this call that ended the guest, whose caller has to tell of it.
 */
bool processStop(virDomainObj *vm, virDomainShutoffReason reason);

int processPause(virDomainObj *vm, virDomainPausedReason reason);     /* no event */
int processResume(virDomainObj *vm, virDomainRunningReason reason);   /* no event */

/** processReconnectAll: after a daemon start, one thread a guest: control socket, state, watch, migration recovery. */
void processReconnectAll(drvState *drv);

/** processReconnectWait: wait for the threads of processReconnectAll() to end; before the I/O thread is stopped. No lock held. */
void processReconnectWait(void);

/* Close callback for guests started with AUTODESTROY. */
void processAutoDestroy(virDomainObj *vm, virConnectPtr conn);

/**
 * processTerminate: ask the process to end (SIGTERM) and wait for that; the lock is dropped meanwhile.
 * Returns true if it has ended (processStop() still has to clear up). No libvirt error is set.
 */
bool processTerminate(virDomainObj *vm, unsigned timeoutMs);

/**
 * processKill: end the process at once and do not wait.  No job needed: this is how a guest whose job is held by a call
 * that does not come back is got rid of.  The job must be taken next, and processStop() called, or the domain's
 * beingDestroyed cleared again.
 */
void processKill(virDomainObj *vm);

/** processOpenControl: connect to the control socket and learn what only the VMM knows (vCPU threads, ptys). For VMMs that
 * serve no control while they wait for a migration; processStart() does it for all others. */
int processOpenControl(virDomainObj *vm, unsigned timeoutMs);

/**
 * processFreeze: no thread of the VMM runs any more until processThaw(), whatever happens, the end of this daemon included.
 * The lock is dropped meanwhile.  -1 with the libvirt error set.
 */
int processFreeze(virDomainObj *vm);
/** processThaw: let it run on; nothing happens if it does. */
void processThaw(virDomainObj *vm);

/** processRefreshStatus: ask the VMM whether it runs. */
int processRefreshStatus(virDomainObj *vm, vmmRunState *ret);

/**
 * processEndedOrderly: whether a process that has ended did so in order, because its guest powered off or a signal
 * asked it to, as far as its VMM leaves a trace of that; false if not, or unknown.
 */
bool processEndedOrderly(virDomainObj *vm);
/** processHasEnded: whether the kernel says that the VMM's process is gone. */
bool processHasEnded(virDomainObj *vm);
/** processWaitEnd: the same, after waiting for it with the lock dropped. */
bool processWaitEnd(virDomainObj *vm, unsigned timeoutMs);

/* Events after an end for @reason: the detail of VIR_DOMAIN_EVENT_STOPPED. */
int processStoppedDetail(virDomainShutoffReason reason);

/** processNetPlug: the host's side of an interface that comes while the guest runs; @tap is the caller's to clear, also on failure, after which
 * nothing else is left. */
int processNetPlug(virDomainObj *vm, virDomainNetDef *net, cmdlineTap *tap);
/** processNetUnplug: give back what it got from the network driver; the device itself goes with its last descriptor. */
void processNetUnplug(virDomainObj *vm, virDomainNetDef *net);

/* The last known figures of a disk of this start; false: none. */
void processRememberBlock(virDomainObj *vm, const char *alias, const vmmBlockStats *stats);
bool processRecallBlock(virDomainObj *vm, const char *alias, vmmBlockStats *ret);

/* Frees a domain's watch; part of freeing the private data. NULL is fine. */
void processWatchFree(processWatch *watch);
/* The source of @vm's events; NULL while inactive. Borrowed. */
struct _eventSource *processEventSource(virDomainObj *vm);

/* Paths of @vm's log and pidfile; the caller frees. */
char *processLogPath(drvState *drv, const virDomainDef *def);
char *processPidPath(drvState *drv, const virDomainDef *def);
/** processLogRemove: its log, and what virtlogd has kept of it. */
void processLogRemove(drvState *drv, const virDomainDef *def);

/** processAutostartAll: start every guest marked for it that is not running; failures are logged, never raised. No lock held. */
void processAutostartAll(drvState *drv);
