/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Prints the frequency of this machine's time-stamp counter in kHz. Under TCG the guest's counter
 * is the host's, and a guest that is told its frequency need not find it out under load.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define SAMPLE_NS 40000000

/* Reads both clocks as close together as possible: the closest of a few tries. */
static void
readPair(int64_t *retNs, uint64_t *retTsc)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < 20; i++) {
        struct timespec ts;
        uint64_t before = __rdtsc();
        uint64_t after;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        after = __rdtsc();
        if (after - before < best) {
            best = after - before;
            *retTsc = before + (after - before) / 2;
            *retNs = ts.tv_sec * 1000000000LL + ts.tv_nsec;
        }
    }
}

int
main(void)
{
    struct timespec pause = { 0, SAMPLE_NS };
    int64_t ns0, ns1;
    uint64_t tsc0, tsc1;

    readPair(&ns0, &tsc0);
    nanosleep(&pause, NULL);
    readPair(&ns1, &tsc1);
    printf("%llu\n", (unsigned long long)((tsc1 - tsc0) * 1000000ULL / (uint64_t)(ns1 - ns0)));
    return 0;
}
