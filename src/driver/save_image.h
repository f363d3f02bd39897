/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * save_image.h: the file that holds a saved guest: what is at its beginning
 *
 * Theory of operation: the file begins with a block that never changes (magic, version, size of a slot), two slots of equal
 * size, and then the VMM's own stream.  Each slot can hold a header, with a number and a checksum; the valid one with the
 * highest number counts.  So a header is changed by writing the other slot: a write that is cut short leaves the one before
 * in force.  A file is complete only when a header says so, which is written after the last byte of the stream.
 *
 * All numbers are big endian.  No function here locks anything, and any thread may call them.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Where the stream begins is a multiple of it, so that the file can be written and read around the page cache. */
#define SAVE_IMAGE_ALIGN 4096

/* What the header tells. */
typedef struct {
    char *id;                /* UUID of this act of saving */
    char *vmm;               /* the VMM's name, as in vmmTraits */
    uint64_t vmmVersion;     /* major*1000000 + minor*1000 + micro */
    bool running;            /* the guest shall run when it is restored */
    bool complete;
    uint64_t dataBytes;      /* of the stream; counts once complete */
    int64_t savedAt;         /* seconds since 1970 */
    char *name;              /* of the domain */
    char *uuid;              /* of the domain */
    char *xml;               /* its definition */
} saveHeader;

void saveHeaderClear(saveHeader *header);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(saveHeader, saveHeaderClear)

/* Where things are in one file. */
typedef struct {
    uint32_t slotBytes;
    uint64_t generation;     /* of the header in force */
    uint64_t dataOffset;     /* where the stream begins */
} saveLayout;

/** saveHeaderFormat: the header's text; the caller frees. */
char *saveHeaderFormat(const saveHeader *header);
/**
 * saveHeaderParse: the other way. @header is cleared on failure.
 * Errors: BASE_ERROR_XML (no header, something missing or out of range).
 */
bool saveHeaderParse(const char *text, size_t len, saveHeader *header, GError **error);

/**
 * saveImageBegin: write the beginning of the empty file @fd with a header that says "not complete".
 * @path: for messages
 * Errors: BASE_ERROR_SYSTEM, BASE_ERROR_CONFIG (a definition that is too large).
 */
bool saveImageBegin(int fd, const char *path, const saveHeader *header, saveLayout *retLayout, GError **error);

/**
 * saveImageUpdate: put @header in force in the place of the one before, durably: all that was written to @fd is on the disk
 * on return.  Whatever goes wrong, the header before stays in force.
 * Errors: BASE_ERROR_SYSTEM, BASE_ERROR_CONFIG (the new definition does not fit into the room that the file has for it).
 */
bool saveImageUpdate(int fd, const char *path, saveLayout *layout, const saveHeader *header, GError **error);

/**
 * saveImageRead: read and check the beginning of a file, and that the rest is there.
 * Only complete images are taken.  Errors, which name @path: BASE_ERROR_SYSTEM; BASE_ERROR_CONFIG (another program's image, or
 * of a later version of ours); BASE_ERROR_OPERATION_FAILED (not complete, cut short, damaged, no image at all).
 */
bool saveImageRead(int fd, const char *path, saveHeader *ret, saveLayout *retLayout, GError **error);

/* What is known of a file: its first bytes, and how long it is in all. */
typedef struct {
    const uint8_t *data;
    size_t len;
    uint64_t fileBytes;
    const char *path;        /* for messages */
} saveImageBytes;

/** saveImageParse: the same for the first bytes of a file; at least the beginning and both slots, or it counts as damaged. */
bool saveImageParse(const saveImageBytes *bytes, saveHeader *ret, saveLayout *retLayout, GError **error);
