/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replay.c: runs a fuzz target without a fuzzer
 *
 * replay-NAME FOLDER...: on every file of the folders, on the target's own seeds, and on each of those cut short at
 * every byte of its beginning and with each of these bytes changed.  A folder that does not exist is empty.
 */
#include "fuzz.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>

#define REPLAY_BYTES 256

static unsigned replayed;

/* A copy of exactly this size, so that a sanitizer sees the first byte read behind it. */
static void
replayOne(const void *data, size_t size)
{
    g_autofree uint8_t *copy = size ? g_memdup2(data, size) : NULL;
    static const uint8_t nothing[1];

    LLVMFuzzerTestOneInput(copy ? copy : nothing, size);
    replayed++;
}

static void
replayDamaged(const char *text, size_t size)
{
    g_autofree char *copy = g_memdup2(text, size + 1);

    for (size_t i = 0; i < size && i < REPLAY_BYTES; i++) {
        replayOne(text, i);
        copy[i] = (char)(text[i] ^ 0x20);
        replayOne(copy, size);
        copy[i] = (char)0xff;
        replayOne(copy, size);
        copy[i] = text[i];
    }
}

static void
replayFolder(const char *folder, bool damage)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *text = NULL;
        gsize size = 0;

        if (!g_file_get_contents(path, &text, &size, NULL))
            continue;
        /* Last words, should this be the one. */
        printf("# %s\n", path);
        fflush(stdout);
        replayOne(text, size);
        if (damage)
            replayDamaged(text, size);
    }
}

static void
replayRemove(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);

        g_unlink(path);
    }
    g_rmdir(folder);
}

int
main(int argc, char **argv)
{
    g_autofree char *own = g_dir_make_tmp("replay-XXXXXX", NULL);

    g_assert_nonnull(own);
    fuzzSetUp();
    fuzzSeeds(own);
    replayFolder(own, true);
    replayRemove(own);
    for (int i = 1; i < argc; i++)
        replayFolder(argv[i], false);
    replayOne("", 0);
    g_assert_cmpuint(replayed, >, 1);
    printf("1..1\nok 1 %u inputs\n", replayed);
    return 0;
}
