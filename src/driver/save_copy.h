/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * save_copy.h: a thread that carries a VMM's stream into a file, or out of one
 *
 * The VMM has the other end of a socket pair, so it never touches the file: it needs no right to it, cannot be held up in the
 * kernel by a slow disk, and hears of a full one as the end of its socket.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _saveCopy saveCopy;

typedef struct {
    bool toFile;             /* socket to file; false: file to socket */
    int sock;                /* taken over, also on failure */
    int file;                /* borrowed until saveCopyEnd() */
    uint64_t offset;         /* where the stream begins in the file; with 'direct' a multiple of SAVE_IMAGE_ALIGN */
    uint64_t length;         /* from the file: as much and no more */
    bool direct;             /* the file was opened with O_DIRECT */
    const char *path;        /* for messages; copied */
    void (*done)(void *opaque);  /* called once, in the thread, when it has nothing more to do; never waited for by it */
    void *opaque;
} saveCopySpec;

/** saveCopyStart: begin. Errors: BASE_ERROR_SYSTEM. */
saveCopy *saveCopyStart(const saveCopySpec *spec, GError **error);
/** saveCopyBytes: how much of the stream has been carried so far. Any thread. */
uint64_t saveCopyBytes(saveCopy *copy);
/** saveCopyStop: let it end soon, whatever is left; for giving up. Any thread, not after saveCopyEnd(). */
void saveCopyStop(saveCopy *copy);
/**
 * saveCopyEnd: wait for its end and free it.  True: the stream ended in order, and *retBytes (may be NULL) of it were carried.
 * Errors: BASE_ERROR_SYSTEM (disk full, not readable, the VMM's end closed too early), BASE_ERROR_OPERATION_FAILED (file too short),
 * BASE_ERROR_MONITOR_CLOSED (the VMM reads no more: it knows why).
 */
bool saveCopyEnd(saveCopy *copy, uint64_t *retBytes, GError **error);
