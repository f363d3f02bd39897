/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot_priv.h: one on its way, for the snapshot*.c files only */
#pragma once

#include "remote/snapshot.h"

#define SNAPSHOT_BLOCK (256 * 1024)
#define SNAPSHOT_HEAD 8

/* What a block is. */
typedef enum {
    SNAPSHOT_STATE = 1,
    SNAPSHOT_MEMORY = 2,
    SNAPSHOT_ZEROS = 3,          /* of the memory; their number instead of them */
    SNAPSHOT_END = 4,            /* how many bytes of state and of memory, 8 bytes each */
} snapshotKind;

/* Kept as long as its threads live, which snapshotFree() does not wait for: the VMM's answer may be long in coming. */
struct _snapshot {
    gatomicrefcount refs;
    const vmmTraits *vmm;
    char *folder;
    int fd;
    int wakeFd;                  /* eventfd: something of the following has changed */
    bool hold;
    uint8_t *buffer;             /* SNAPSHOT_HEAD + SNAPSHOT_BLOCK; the thread's own */

    GMutex lock;
    vmmMigState state;
    char *errorText;
    uint64_t total, done, stateBytes;    /* of memory, of memory, of state */
    bool cancelled, goOn;
    bool answered;               /* sending: the VMM has, */
    char *answerText;            /* and why it did not save; NULL: it did */
    void (*changed)(void *opaque);
    void *opaque;

    control *ctl;                /* sending */
    int fifos[2];                /* state and memory */
    GByteArray *bytes;           /* receiving: the state; the thread's own until COMPLETED */
    int memoryFd;
    int offerFd;                 /* the VMM is given the state */
};

/* Made with its folder in it and one reference. */
snapshot *snapshotNew(const snapshotSpec *spec, GError **error);
snapshot *snapshotRef(snapshot *snap);
void snapshotUnref(snapshot *snap);
/* A file of its folder; the caller frees. */
char *snapshotPath(const snapshot *snap, const char *name);
/* A fifo there; false with the error set. */
bool snapshotMakeFifo(const snapshot *snap, const char *name, GError **error);
/* Give @path to the owner of the folder it is in. */
bool snapshotGiveAway(const snapshot *snap, const char *path, GError **error);
/* Wakes whoever waits for it. */
void snapshotWake(snapshot *snap);
/* Set the state, and the reason with FAILED (taken over, may be NULL), and tell of it. */
void snapshotSet(snapshot *snap, vmmMigState state, char *errorText);
bool snapshotIsCancelled(snapshot *snap);
void snapshotCount(snapshot *snap, uint64_t memory, uint64_t state);
/* Wait for @events of @fd, or somebody's wake. @fd -1: only that. */
short snapshotPoll(snapshot *snap, int fd, short events);
/* Run @run with a reference of its own. */
bool snapshotThread(snapshot *snap, const char *name, GThreadFunc run, GError **error);
