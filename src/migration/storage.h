/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * storage.h: proof that both hosts mean the same disks
 *
 * For each disk that the guest can write to, the source leaves a small file with a random word
 * beside the image.  The destination must find it beside its own image, with that word, and write
 * a word of its own into it, which the source then finds: so both see the same folder now, not a
 * copy, and both can write to it.  Block devices have an identity instead, network disks a name.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { MIG_DISK_FILE, MIG_DISK_BLOCK, MIG_DISK_NETWORK, MIG_DISK_LAST } migDiskKind;

const char *migDiskKindName(migDiskKind kind);
bool migDiskKindFromName(const char *name, migDiskKind *ret);

typedef struct {
    char *target;                /* "vda": by this the two hosts' disks are matched */
    migDiskKind kind;
    char *source;                /* path, or for the network what identifies it */
    char *identity;              /* block: what the device is, NULL: unknown; file: which part of it, NULL: all */
    char *name;                  /* file: what the image is really called in its folder */
    char *word;                  /* file: of the source; NULL: could not be left */
    char *answer;                /* file: of the destination */
    char *why;                   /* file: why none could be left */
    char *missing;               /* here, file and block: why it cannot be looked at; NULL: it is there */
    uint64_t inode, wordInode;   /* file: of the image and of the file beside it */
    bool left;                   /* the file is there, and ours to remove */
} migDisk;

/** migDiskListNew: an array of migDisk, which it owns. */
GPtrArray *migDiskListNew(void);
/**
 * migDiskListAdd: a disk that needs a proof.  A loop device counts as what it is made from, symbolic links are
 * followed; what cannot be found is kept as it is and cannot be proved.
 */
migDisk *migDiskListAdd(GPtrArray *disks, const char *target, migDiskKind kind, const char *source);

/** migStorageLeave: source: leave the files of the domain @uuid; what failed is noted in each
 * disk. */
void migStorageLeave(GPtrArray *disks, const char *uuid);
/** migStorageRemove: source: take back what migStorageLeave() left; may be called again. */
void migStorageRemove(GPtrArray *disks, const char *uuid);
/** migStorageSweep: the same after a restart, when it is not known what was left. */
void migStorageSweep(const GPtrArray *disks, const char *uuid);
/**
 * migStorageProve: destination: look for the files of the source's disks @remote beside the disks
 * @local and answer in them; the answers are stored in @remote.
 * Returns what is not proved, whole sentences (char *); empty if all is well.  The caller frees it.
 */
GPtrArray *migStorageProve(GPtrArray *remote, const GPtrArray *local, const char *uuid,
                           const char *localHost, const char *remoteHost);
/**
 * migStorageVerify: source: the destination's answers in @answered must be in the files.
 * Errors: BASE_ERROR_UNSAFE, with the disk and its path.
 */
bool migStorageVerify(const GPtrArray *disks, const GPtrArray *answered, const char *uuid,
                      const char *remoteHost, GError **error);
