/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stream in compressed blocks, as another host would send it. */
#include "fuzz.h"

#include <string.h>

#include "base/error.h"
#include "remote/blocks.h"

static void
blocksTake(void *opaque G_GNUC_UNUSED, const void *bytes, size_t len)
{
    g_assert_nonnull(bytes);
    g_assert_cmpuint(len, >, 0);
    g_assert_cmpuint(len, <=, BLOCKS_MOST);
}

/* In two pieces, of which the first is as long as the first byte says. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t first = size > 0 ? MIN((size_t)data[0], size) : 0;
    g_autoptr(blocksReader) reader = blocksReaderNew();
    g_autoptr(GError) error = NULL;
    bool any = true, ok = true;

    blocksFeed(reader, data, first);
    for (int piece = 0; ok && piece < 2; piece++) {
        while ((ok = blocksNext(reader, blocksTake, NULL, &any, &error)) && any)
            continue;
        if (ok && piece == 0)
            blocksFeed(reader, data + first, size - first);
    }
    if (ok)
        g_assert_no_error(error);
    else
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    return 0;
}

void
fuzzSetUp(void)
{
}

static void
seedTake(void *opaque, const void *bytes, size_t len)
{
    g_byte_array_append(opaque, bytes, (guint)len);
}

void
fuzzSeeds(const char *folder)
{
    static const struct { const char *name; blocksMethod method; uint8_t step; } kinds[] = {
        { "zstd", BLOCKS_ZSTD, 0 }, { "lz4", BLOCKS_LZ4, 0 }, { "plain", BLOCKS_LZ4, 37 },
    };
    uint8_t bytes[300];

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(blocksWriter) writer = blocksWriterNew(kinds[i].method, 0, NULL);
        g_autoptr(GByteArray) out = g_byte_array_new();

        for (size_t b = 0; b < sizeof(bytes); b++)
            bytes[b] = (uint8_t)(b * b * kinds[i].step);
        blocksWrite(writer, bytes, sizeof(bytes), seedTake, out);
        blocksWrite(writer, bytes, 7, seedTake, out);
        blocksWriteEnd(writer, seedTake, out);
        fuzzSeed(folder, kinds[i].name, out->data, out->len);
    }
}
