/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* save_priv.h: a save or restore in progress, for the save*.c files only */
#pragma once

#include "driver/save.h"
#include "driver/save_copy.h"

/*
 * vm->privateData's 'save'.  The first members are the record, guarded by the domain's lock; the others have a lock of their own, which is the
 * last in every order.  It belongs to the call that saves or restores, which takes it away before it frees it.
 */
struct _drvSave {
    char *path;
    char *id;                    /* of the image's header */
    bool restoring, managed;
    bool wasRunning;             /* of one that is restored: it shall run */
    bool runsAnyway;             /* of one that is restored: its VMM lets it run for a moment also if it is to be paused */
    bool committed;              /* of one that is restored: from here on the VMM is the guest, whether it has run yet or not */
    bool live;                   /* a call is at work; false: found in the status file */

    GMutex lock;
    GCond cond;
    bool changed, copyDone, abort;
    bool aborted;                /* a user asked for it, rather than the daemon's end */
    gint64 startedUs;
    migStats stats;
};

/** saveNew: make the record of @vm; replaces what is there. */
drvSave *saveNew(virDomainObj *vm, const char *path, const char *id, bool restoring, bool managed);
/** saveDrop: it is over: keep the figures for who asks later (@result), take the record away. @errorText may be NULL. */
void saveDrop(virDomainObj *vm, migResult result, const char *errorText);

typedef enum { SAVE_WOKE_ABORT = 1 << 0, SAVE_WOKE_COPY = 1 << 1 } saveWoke;
/**
 * saveSpend: after a failure to let a restored guest run, or its end: the managed image must not be used again if the guest may have run.
 * True: it may have, and the image is gone.
 */
bool saveSpend(virDomainObj *vm);

/** saveWait: until something changes, half a second at most. No other lock is held. */
unsigned saveWait(drvSave *save);
/** saveCopyHasEnded: its thread has nothing more to do. */
bool saveCopyHasEnded(drvSave *save);
/** saveNote: remember the VMM's figures; takes what @status owns. */
void saveNote(drvSave *save, vmmMigStatus *status);
/* saveCopySpec.done, with the drvSave. */
void saveCopyIsDone(void *opaque);

/* snapshotSpec.changed, with the drvSave. */
void saveIsChanged(void *opaque);

/** saveFilePartial: where PATH is written before it is whole; the caller frees. */
char *saveFilePartial(const char *path);
/** saveFileDirect: switch reading and writing around the page cache; false with the libvirt error set. */
bool saveFileDirect(int fd, const char *path, bool on);
/** saveFileSyncFolder: the folder of @path is on the disk on return. */
bool saveFileSyncFolder(const char *path, GError **error);
