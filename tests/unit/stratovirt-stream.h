/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stratovirt-stream.h: pieces of StratoVirt's migration stream, made up; for unit tests */
#pragma once

#include <glib.h>
#include <stdint.h>
#include <string.h>

enum { ACTIVE, CONFIG, MEMORY, STATE, COMPLETE, CANCEL, OK, ERROR };

static inline void
addNumber(GByteArray *to, uint64_t value, size_t size)
{
    uint64_t le = GUINT64_TO_LE(value);

    g_byte_array_append(to, (const guint8 *)&le, (guint)size);
}

static inline void
addHead(GByteArray *to, uint64_t length, uint16_t status)
{
    addNumber(to, length, 8);
    addNumber(to, status, 2);
    g_byte_array_append(to, (const guint8 *)"\xde\xad\xbe\xef\x12\x34", 6);
}

static inline void
addFiller(GByteArray *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        addNumber(to, i * 7, 1);
}

static inline GByteArray *
makeRound(const uint64_t *blocks, size_t count)
{
    GByteArray *bytes = g_byte_array_new();
    uint64_t sum = 0;

    addHead(bytes, count * 16, MEMORY);
    for (size_t i = 0; i < count; i++) {
        addNumber(bytes, i << 32, 8);
        addNumber(bytes, blocks[i], 8);
        sum += blocks[i];
    }
    addFiller(bytes, sum);
    return bytes;
}

static inline GByteArray *
makeRequest(uint16_t status, size_t body)
{
    GByteArray *bytes = g_byte_array_new();

    addHead(bytes, body, status);
    addFiller(bytes, body);
    return bytes;
}

/* A state as StratoVirt sends it, or one whose records cannot be read, without its head. */
static inline GByteArray *
makeState(bool readable)
{
    static const char json[] = "{\"magic\":\"x\",\"desc_len\":100}";
    GByteArray *bytes = g_byte_array_new();

    addNumber(bytes, readable ? strlen(json) : 5000, 8);
    g_byte_array_append(bytes, (const guint8 *)json, strlen(json));
    addFiller(bytes, 4096 - bytes->len);
    addFiller(bytes, 100);
    for (size_t i = 0; i < 3; i++) {
        addNumber(bytes, 1000 + i, 8);
        addNumber(bytes, 2000 + i, 8);
        addNumber(bytes, 20000 * i, 8);
        /* What looks like a farewell may be anywhere in it. */
        for (size_t at = 0; at < 20000 * i; at += 16)
            addHead(bytes, 0, COMPLETE);
    }
    return bytes;
}

/*
 * A state as StratoVirt 2.4 sends it: its records' heads have no length, which the descriptions have.  A record begins with a number that
 * would be a length in a newer one and lead to what looks like a farewell.
 */
static inline GByteArray *
makeState24(const char *descriptions)
{
    g_autofree char *json = g_strdup_printf("{\"desc_len\":%zu}", strlen(descriptions));
    GByteArray *bytes = g_byte_array_new();

    addNumber(bytes, strlen(json), 8);
    g_byte_array_append(bytes, (const guint8 *)json, (guint)strlen(json));
    addFiller(bytes, 4096 - bytes->len);
    g_byte_array_append(bytes, (const guint8 *)descriptions, (guint)strlen(descriptions));
    for (size_t i = 0; i < 3; i++) {
        addNumber(bytes, 1000 + i, 8);
        addNumber(bytes, i == 1 ? 18000000000000000001ULL : 7, 8);
        addNumber(bytes, 8, 8);
        addNumber(bytes, 0, 8);
        for (size_t at = 16; at < (i == 1 ? 160 : 20000); at += 16)
            addHead(bytes, 0, COMPLETE);
    }
    return bytes;
}

static inline GByteArray *
makeEnd(const GByteArray *state, uint64_t length)
{
    GByteArray *bytes = g_byte_array_new();

    addHead(bytes, length, STATE);
    g_byte_array_append(bytes, state->data, state->len);
    addHead(bytes, 0, COMPLETE);
    return bytes;
}
