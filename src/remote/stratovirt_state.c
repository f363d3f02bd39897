/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A description is {"name":"Block","alias":KIND,"size":BYTES,…,"fields":[{…,"alias":"x",…,"size":4},…]}: of its members only two are of
 * interest, and not those of the same names in its fields.  KIND is a hash and may be beyond what a parser of JSON makes
 * of a number, so the digits are read here.
 */
#include "remote/stratovirt_state.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    const char *text;
    size_t len, at;
    const char *key;             /* the string that was read last, not ended */
    size_t keyLen;
    int depth;
} scan;

/* Behind the string that begins at 'at'. */
static void
scanString(scan *s)
{
    size_t from = ++s->at;

    while (s->at < s->len && s->text[s->at] != '"')
        s->at += s->text[s->at] == '\\' ? 2 : 1;
    if (s->at >= s->len)
        return;
    s->key = s->text + from;
    s->keyLen = s->at - from;
    s->at++;
}

static uint64_t
scanNumber(const scan *s)
{
    uint64_t value = 0;

    for (size_t i = s->at; i < s->len && g_ascii_isdigit(s->text[i]); i++)
        value = value * 10 + (uint64_t)(s->text[i] - '0');
    return value;
}

static bool
scanKeyIs(const scan *s, const char *name)
{
    return s->depth == 1 && s->keyLen == strlen(name) && memcmp(s->key, name, s->keyLen) == 0;
}

/* Behind one description; false: there is none. */
static bool
scanDescription(scan *s, uint64_t *retKind, uint64_t *retSize)
{
    while (s->at < s->len) {
        const char c = s->text[s->at];

        if (c == '"') {
            scanString(s);
            continue;
        }
        s->at++;
        if (c == '{' || c == '[')
            s->depth++;
        else if ((c == '}' || c == ']') && --s->depth <= 0)
            return s->depth == 0;
        else if (c == ':' && scanKeyIs(s, "alias"))
            *retKind = scanNumber(s);
        else if (c == ':' && scanKeyIs(s, "size"))
            *retSize = scanNumber(s);
    }
    return false;
}

GHashTable *
stratoStateSizes(const uint8_t *text, size_t len)
{
    g_autoptr(GHashTable) sizes = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    scan s = { .text = (const char *)text, .len = len, .key = "" };

    while (s.at < s.len) {
        uint64_t kind = 0, size = 0;

        if (!scanDescription(&s, &kind, &size) || size == 0)
            return NULL;
        g_hash_table_replace(sizes, g_memdup2(&kind, sizeof(kind)), g_memdup2(&size, sizeof(size)));
    }
    return g_hash_table_size(sizes) > 0 ? g_steal_pointer(&sizes) : NULL;
}
