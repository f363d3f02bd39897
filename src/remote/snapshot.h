/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot.h: a VMM that saves its guest to files and starts from them, as if it had a stream
 *
 * Theory of operation: such a VMM (vmmTraits.snapshot) writes two files into a folder, the state of the devices and the memory, and can be told
 * to start with what is in them; it answers nothing on its control socket meanwhile.
 *
 *   sending     Both are fifos, and a thread makes one stream of what comes out of them.  So nothing of the guest is on a disk, it is
 *               known how far the VMM is, and closing them ends its writing at once.
 *   receiving   A thread writes the memory to a file, since VMMs map it or seek in it, and keeps the state, of at most SNAPSHOT_STATE_MAX bytes.
 *               When both are whole the VMM can be started.  Its state is a fifo again: it gets all but the last byte of it, having
 *               shown by then that it can use what came, and only with that byte its guest can run.
 *
 * The stream: the text SNAPSHOT_MAGIC, then blocks: what it is and how long (4 bytes each, big endian) and the bytes.  A block that says how much
 * there was of each ends it; without that it is worth nothing.
 *
 * Functions may be called by any thread unless they say otherwise; none waits unless it says so.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "remote/vmm.h"

#define SNAPSHOT_MAGIC "StratoVirt-Files"    /* 16 bytes, no NUL */
#define SNAPSHOT_STATE_MAX (64 * 1024 * 1024)

typedef struct _snapshot snapshot;

typedef struct {
    const vmmTraits *vmm;        /* with a 'snapshot' */
    const char *parent;          /* a folder that only the VMM's user and this daemon can enter; what is made belongs to its owner */
    int fd;                      /* of a connected stream socket; duplicated */
    uint64_t memoryBytes;        /* of the guest; for the figures */
    bool hold;                   /* sending: keep the last word until snapshotContinue() */
    void (*changed)(void *opaque);   /* look again; in a thread, must not block; never after snapshotFree().  May be NULL */
    void *opaque;
} snapshotSpec;

/** snapshotSend: have the VMM behind @ctl save its guest, which stands still, into @spec's socket. Errors: BASE_ERROR_SYSTEM. */
snapshot *snapshotSend(const snapshotSpec *spec, control *ctl, GError **error);
/** snapshotReceive: take what comes from there. Errors: BASE_ERROR_SYSTEM. */
snapshot *snapshotReceive(const snapshotSpec *spec, GError **error);

/**
 * snapshotLook: how far it is; the caller clears *ret.  SETUP, ACTIVE, PRE_SWITCHOVER (sending: only the last word is missing), COMPLETED, CANCELLED,
 * FAILED with its reason.  FAILED and CANCELLED are told when the VMM has given up, too.
 */
void snapshotLook(snapshot *snap, vmmMigStatus *ret);
/** snapshotContinue: in PRE_SWITCHOVER: send the last word. Errors: BASE_ERROR_OPERATION_INVALID. */
bool snapshotContinue(snapshot *snap, GError **error);
/** snapshotCancel: end it, if it has not ended. */
void snapshotCancel(snapshot *snap);

/** snapshotIncoming: received: what the VMM is to be told at its start; the caller frees. Errors: BASE_ERROR_UNSUPPORTED. */
char *snapshotIncoming(snapshot *snap, unsigned long version, GError **error);
/**
 * snapshotOffer: received and complete, the VMM has been started: give it all of its state but the last byte; waits until it has read that.
 * @pidFd: whose end ends the waiting
 * Errors: BASE_ERROR_MONITOR_CLOSED (it has ended), BASE_ERROR_TIMEOUT, BASE_ERROR_SYSTEM.
 */
bool snapshotOffer(snapshot *snap, int pidFd, unsigned timeoutMs, GError **error);
/** snapshotRelease: after that: give it the last byte: from here on the guest may run. Errors: BASE_ERROR_SYSTEM. */
bool snapshotRelease(snapshot *snap, GError **error);
/** snapshotIsTaken: has the last byte been read? */
bool snapshotIsTaken(snapshot *snap);

/** snapshotSweep: remove what an earlier life of this daemon left in @parent; no VMM has any use for it. */
void snapshotSweep(const char *parent, const vmmSnapshotOps *ops);
/** snapshotFree: end it; what is left of it is removed. NULL is fine. */
void snapshotFree(snapshot *snap);
