/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz.h: what a fuzz target is made of
 *
 * fuzz-NAME.c defines these three.  With -Dfuzz=true (clang) libFuzzer calls them for a given time; in every other build replay.c
 * runs them on the seeds, and on all that was ever found to be wrong, as a unit test.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One input.  What must hold for it is asserted; always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Once, before all others. */
void fuzzSetUp(void);
/* Inputs made by our own formatters: fuzzSeed() each. */
void fuzzSeeds(const char *folder);

/* seeds.c: write an input into @folder. */
void fuzzSeed(const char *folder, const char *name, const void *data, size_t size);
