/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * save.h: guests saved to files, and started from them
 *
 * Theory of operation
 *
 * A guest is stopped, its VMM sends its state as in a migration, and a thread writes that to PATH.partial, which becomes PATH only
 * when it is whole and on the disk.  Only then the VMM is ended.  Whatever fails before: the guest runs on.  The other way round,
 * a VMM is started that waits for a migration, the file is handed to it, the guest runs, and only then a managed image is
 * removed: whatever fails before, the image is as good as it was.
 *
 * A record of either is in the status file (<save>), so that a daemon that was killed in between finds out how it ended: a guest whose
 * image is whole is ended, any other runs on.  Before a guest from an image may run, the record says so on the disk (saveCommit()): from then on
 * the VMM is the guest, and its managed image is of no use any more, however that VMM goes on or ends.
 *
 * A VMM that has no stream but files (remote/snapshot.h) is the same to all of this, with one difference: it is started when the image has been
 * read, and its guest runs as soon as it has been given the last byte.
 *
 * The domain is locked in all of these; the lock is dropped while waiting.  Failures set the libvirt error.
 */
#pragma once

#include "driver/domain.h"
#include "driver/save_image.h"
#include "migration/job.h"

#include "virbuffer.h"
#include "virxml.h"

typedef enum { SAVE_AS_IT_WAS, SAVE_RUNNING, SAVE_PAUSED } saveRunState;

/* How to save. */
typedef struct {
    const char *path;            /* absolute; not with 'managed' */
    bool managed;
    const char *dxml;            /* definition to save instead of the live one; NULL: that */
    bool bypassCache;
    saveRunState after;          /* what a restore will make of it */
} saveArgs;

/** saveDomain: save an active guest and end it. No job is held. */
int saveDomain(virDomainObj *vm, const saveArgs *args);

/* An image that has been opened and found whole. */
typedef struct {
    char *path;
    int fd;
    saveHeader header;
    saveLayout layout;
} saveFile;

/** saveFileOpen: @write: for changing its header. -1 with the libvirt error set, and nothing to clear. No lock is held. */
int saveFileOpen(saveFile *file, const char *path, bool write);
void saveFileClear(saveFile *file);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(saveFile, saveFileClear)

/** saveFileDef: the definition in it, or @dxml if that describes the same guest; the caller frees. No lock is held. */
virDomainDef *saveFileDef(drvState *drv, const saveFile *file, const char *dxml);
/** saveFileRedefine: put another definition, or another state to restore, into it. No lock is held. */
int saveFileRedefine(drvState *drv, saveFile *file, const char *dxml, saveRunState after);

typedef struct {
    bool paused;                 /* whatever the image says */
    bool running;
    bool bypassCache;
    bool autoDestroy;
    bool managed;                /* remove it when the guest runs */
    const virDomainDef *def;     /* that of @file, as it was assigned */
} saveRestoreArgs;

/** saveRestore: start @vm, whose live definition is that of @file already, from it.  The MODIFY job is held.  Events are emitted.
 * Refused if somebody has defined it anew since @args' definition was assigned. */
int saveRestore(virDomainObj *vm, virConnectPtr conn, saveFile *file, const saveRestoreArgs *args);

/* ---- managed images: one for each persistent domain, in a folder of the driver ---- */

/* The caller frees. */
char *saveManagedPath(drvState *drv, const virDomainDef *def);
/** saveManagedHas: is there one?  Refreshes what lists say of it. */
bool saveManagedHas(virDomainObj *vm);
/** saveManagedRefuse: -1 with the libvirt error set if there is one, on which another start of this domain would trample. */
int saveManagedRefuse(virDomainObj *vm);
/** saveManagedRemove: durably; 0 also if there is none. One that cannot be removed is marked so that no guest is started from it. */
int saveManagedRemove(virDomainObj *vm);
/** saveManagedStart: start from it. The MODIFY job is held. */
int saveManagedStart(virDomainObj *vm, virConnectPtr conn, unsigned int startFlags);
/** saveManagedForget: before and after a start without it: if that succeeds, the image is removed, also by a later daemon. */
void saveManagedForgetBegin(virDomainObj *vm);
void saveManagedForgetEnd(virDomainObj *vm, bool started);
/** saveManagedFindAll: after definitions were loaded: which of them have one. No lock is held. */
void saveManagedFindAll(drvState *drv);

/* ---- what others see of it ---- */

void saveFree(drvSave *save);
/* The figures of the save or restore in progress; false: there is none. */
bool saveGetStats(virDomainObj *vm, migStats *ret);
/* False: there is none. */
bool saveAbort(virDomainObj *vm);
/* The daemon is about to end: what is being saved is given up. No lock is held. */
void saveAbortAll(drvState *drv);
/* The VMM says something of its migration: true if that is a save's or restore's. */
bool saveVmmEvent(virDomainObj *vm);
int saveFormatStatus(virBuffer *buf, virDomainObj *vm);
int saveParseStatus(xmlXPathContextPtr ctxt, virDomainObj *vm);
/**
 * saveCommit: the guest of a start that a record knows is about to run, or to be paused for its user (@run false): written down durably.
 * Without a record: nothing.  -1 with the libvirt error set: it must not run.
 */
int saveCommit(virDomainObj *vm, bool run);
/** saveCommitFailed: it could not be let run; the VMM may be asked whether it did. */
void saveCommitFailed(virDomainObj *vm);
/**
 * saveReconnect: after a restart of the daemon, the job held, the VMM in the state *@now: end, let run or leave what a record tells of.
 * *@now is up to date on return.  Returns whether the guest is still active.
 */
bool saveReconnect(virDomainObj *vm, vmmRunState *now);
/** saveNeverRan: after a restart of the daemon, the VMM is found dead: if it is certain that its guest never ran, the image is as good as before. */
void saveNeverRan(virDomainObj *vm);
/** saveEnded: its VMM has ended: a record that no call looks after is dropped, with the file that goes with it. */
void saveEnded(virDomainObj *vm);
