/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What memory is filled with: words that depend on their place and on their page's generation, so that a page that is stale, swapped
 * or zeroed differs.
 */
#pragma once

#include <stdint.h>

#define PATTERN_PAGE 4096
#define PATTERN_WORDS (PATTERN_PAGE / sizeof(uint64_t))
/* Rewriting takes pages in this stride: it shares no divisor with a power of two or most sizes, so it visits all. */
#define PATTERN_STRIDE 7919

/* A step of a well-mixing generator: neighbours, zeroes and shifted pages all look different. */
static inline uint64_t
patternMix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    return x ^ (x >> 27);
}

static inline void
patternWrite(uint64_t *at, uint64_t page, uint32_t generation)
{
    uint64_t seed = (page << 32) | generation;

    for (unsigned i = 0; i < PATTERN_WORDS; i++)
        at[i] = patternMix(seed + ((uint64_t)i << 52));
}

/* How many words of the page are not what was written. */
static inline unsigned
patternBad(const uint64_t *at, uint64_t page, uint32_t generation)
{
    uint64_t seed = (page << 32) | generation;
    unsigned bad = 0;

    for (unsigned i = 0; i < PATTERN_WORDS; i++)
        bad += at[i] != patternMix(seed + ((uint64_t)i << 52));
    return bad;
}
