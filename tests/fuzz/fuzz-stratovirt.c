/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* StratoVirt's migration stream, from both ends in turns, as another host or a broken VMM would send it. */
#include "fuzz.h"

#include <string.h>

#include "base/error.h"
#include "remote/stratovirt_wire.h"

static void
outTake(void *opaque, pumpDirection direction, const void *bytes, size_t len)
{
    uint64_t *counts = opaque;

    g_assert_nonnull(bytes);
    g_assert_cmpuint(len, >, 0);
    counts[direction] += len;
}

/*
 * The first byte: at which host, and what is done after each piece.  Then pieces: a byte with the direction (its highest bit) and
 * the length.
 */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t kind = size > 0 ? data[0] : 0;
    const stratoWireSide side = kind & 1 ? STRATO_WIRE_DEST : STRATO_WIRE_SOURCE;
    g_autoptr(stratoWire) wire = stratoWireNew(side);
    uint64_t went[2] = { 0 }, came[2] = { 0 };
    const stratoWireOut out = { outTake, went };
    g_autoptr(GError) error = NULL;
    stratoWireStats stats = { 0 };
    bool ok = true;

    for (size_t at = 1; ok && at + 1 < size;) {
        pumpDirection direction = data[at] & 0x80 ? PUMP_BACKWARD : PUMP_FORWARD;
        size_t len = MIN((size_t)(data[at] & 0x7f) * (kind & 2 ? 64 : 1) + 1, size - at - 1);

        ok = stratoWireFeed(wire, direction, data + at + 1, len, &out, &error);
        came[direction] += len;
        at += 1 + len;
        stratoWireGetStats(wire, &stats);
        if (kind & 4)
            stratoWireConclude(wire);
        if ((kind & 8) && stats.phase == STRATO_WIRE_READY)
            stratoWireRelease(wire, kind & 16);
        stratoWirePoke(wire, &out);
    }
    if (!ok)
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    /* Nothing is made up on the way to the destination, and a source hears one answer more than there were at most. */
    g_assert_cmpuint(went[PUMP_FORWARD], <=, came[PUMP_FORWARD]);
    g_assert_cmpuint(went[PUMP_BACKWARD], <=, came[PUMP_BACKWARD] + (side == STRATO_WIRE_SOURCE ? 2 : 0));
    /* The state stays here until it is released. */
    if (!(kind & 8))
        g_assert_cmpint(stats.phase, !=, STRATO_WIRE_RELEASED);
    return 0;
}

void
fuzzSetUp(void)
{
}

/* ---- seeds ------------------------------------------------------------------------------------------------------ */

static void
addPiece(GByteArray *to, bool back, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    while (len > 0) {
        size_t take = MIN(len, (size_t)128);
        uint8_t head = (uint8_t)((take - 1) | (back ? 0x80 : 0));

        g_byte_array_append(to, &head, 1);
        g_byte_array_append(to, from, (guint)take);
        from += take;
        len -= take;
    }
}

static void
addRequest(GByteArray *to, uint64_t length, uint16_t status, const void *body, size_t len, bool answered)
{
    static const uint8_t ok[] = { 6, 0 };
    uint8_t head[16] = { 0 };

    length = GUINT64_TO_LE(length);
    status = GUINT16_TO_LE(status);
    memcpy(head, &length, sizeof(length));
    memcpy(head + 8, &status, sizeof(status));
    addPiece(to, false, head, sizeof(head));
    addPiece(to, false, body, len);
    if (answered)
        addPiece(to, true, ok, sizeof(ok));
}

static void
seedWith(const char *folder, const char *name, uint8_t side, const uint8_t *state, size_t len)
{
    static const uint8_t ok[] = { 6, 0 };
    uint8_t memory[16 + 40] = { [8] = 40 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    const uint8_t kind = side | 8 | 16;

    g_byte_array_append(out, &kind, 1);
    addRequest(out, 0, 0, NULL, 0, true);
    addRequest(out, 10, 1, state, 10, true);
    addRequest(out, 16, 2, memory, sizeof(memory), true);
    addRequest(out, side ? len : 0, 3, state, len, false);
    addRequest(out, 0, 4, NULL, 0, false);
    addPiece(out, true, ok, sizeof(ok));
    addPiece(out, true, ok, sizeof(ok));
    fuzzSeed(folder, name, out->data, out->len);
}

#define DESCRIPTION "{\"alias\":9,\"size\":5,\"f\":[{\"size\":1}]}"

void
fuzzSeeds(const char *folder)
{
    static const char json[] = "{\"desc_len\":0}", json24[] = "{\"desc_len\":37}";
    uint8_t state[4096 + 24 + 5] = { [0] = sizeof(json) - 1, [4096] = 1, [4096 + 16] = 5 };
    /* Of 2.4: the description says how long the record is. */
    uint8_t state24[4096 + 37 + 16 + 5] = { [0] = sizeof(json24) - 1, [4096 + 37] = 1, [4096 + 37 + 8] = 9 };

    G_STATIC_ASSERT(sizeof(DESCRIPTION) - 1 == 37);
    memcpy(state + 8, json, sizeof(json) - 1);
    memcpy(state24 + 8, json24, sizeof(json24) - 1);
    memcpy(state24 + 4096, DESCRIPTION, 37);
    seedWith(folder, "source", 0, state, sizeof(state));
    seedWith(folder, "source-2.4", 0, state24, sizeof(state24));
    seedWith(folder, "dest", 1, state, sizeof(state));
}
