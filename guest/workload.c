/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guest does all day, so that a migration that loses something is found out.
 *
 * Theory of operation: the counter is kept three times in memory (counter.h), and by the disk (disk.c) a fourth time, outside of it:
 * that tells a guest that ran twice.  Memory is filled with words that tell their place (pattern.h).  One thread verifies and
 * rewrites, so a half-written page is never read.
 */
#include "guest.h"

#include "counter.h"
#include "pattern.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#define PAGE PATTERN_PAGE
#define MIB (1024 * 1024ULL)

static counter tick;
static atomic_uint_fast64_t count;
static atomic_uint_fast64_t lost;
static atomic_uint_fast64_t repeated;
static atomic_uint_fast64_t bytesChecked;
static atomic_uint_fast64_t bytesBad;
static atomic_uint_fast64_t bytesDirtied;
static atomic_uint_fast64_t passes;
static atomic_uint_fast64_t maxGapUs;
static atomic_uint dirtyRate;

static atomic_bool corruptWanted;

static uint8_t *memory;
static uint32_t *generation;
static uint64_t pages;

static void *
pagesGet(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED) {
        consoleLine("SV-FATAL no memory for %zu bytes", size);
        machineEnd(RB_POWER_OFF);
    }
    return at;
}

static uint64_t
countGet(void)
{
    return atomic_load(&count);
}

/* Counts once; finds copies that disagree. */
static void
tickOnce(void)
{
    uint64_t before = *tick.plain, now;
    uint64_t missing = 0, again = 0;

    now = counterStep(&tick, &missing, &again);
    atomic_fetch_add(&lost, missing + (atomic_load(&count) != before));
    atomic_fetch_add(&repeated, again);
    atomic_store(&count, now);
}

void
workloadReport(void)
{
    diskResult disk = diskGet();
    frozenResult frozen = rtcGet();

    consoleLine("SV-REPORT count=%llu lost=%llu repeated=%llu bytes_checked=%llu bytes_bad=%llu "
                "disk_writes=%llu disk_bad=%llu maxgap_ms=%llu frozen_ms=%llu frozen_last_ms=%llu "
                "frozen_times=%llu passes=%llu bytes_dirtied=%llu dropped=%llu t=%llu",
                (unsigned long long)countGet(),
                (unsigned long long)(atomic_load(&lost) + disk.lost),
                (unsigned long long)(atomic_load(&repeated) + disk.repeated),
                (unsigned long long)atomic_load(&bytesChecked),
                (unsigned long long)atomic_load(&bytesBad), (unsigned long long)disk.writes,
                (unsigned long long)disk.bad, (unsigned long long)atomic_load(&maxGapUs) / 1000,
                (unsigned long long)frozen.totalMs, (unsigned long long)frozen.lastMs,
                (unsigned long long)frozen.times, (unsigned long long)atomic_load(&passes),
                (unsigned long long)atomic_load(&bytesDirtied),
                (unsigned long long)consoleDropped(), (unsigned long long)nowUs() / 1000);
}

static void *
tickThread(void *arg)
{
    uint64_t last = nowUs();
    uint64_t lineGap = 0;
    uint64_t nextLine = last;
    uint64_t corruptAt = last + params.corruptS * 1000000ULL;
    uint64_t nextReport = last + params.reportMs * 1000ULL;

    (void)arg;
    while (true) {
        struct timespec pause = { params.tickMs / 1000, params.tickMs % 1000 * 1000000L };
        uint64_t now;

        nanosleep(&pause, NULL);
        tickOnce();
        now = nowUs();
        if (now - last > lineGap)
            lineGap = now - last;
        if (now - last > atomic_load(&maxGapUs))
            atomic_store(&maxGapUs, now - last);
        last = now;
        if (now >= nextLine) {
            consoleLine("tick %llu t=%llu gap=%llu", (unsigned long long)countGet(),
                        (unsigned long long)now / 1000, (unsigned long long)lineGap / 1000);
            lineGap = 0;
            nextLine = now + params.printMs * 1000ULL;
        }
        if (params.corruptS > 0 && now >= corruptAt) {
            params.corruptS = 0;
            workloadCorrupt();
        }
        if (now >= nextReport) {
            workloadReport();
            nextReport = now + params.reportMs * 1000ULL;
        }
    }
    return NULL;
}

static void
pageWrite(uint64_t page)
{
    patternWrite((uint64_t *)(memory + page * PAGE), page, generation[page]);
}

static void
pageCheck(uint64_t page)
{
    unsigned bad = patternBad((const uint64_t *)(memory + page * PAGE), page, generation[page]);

    atomic_fetch_add(&bytesChecked, PAGE);
    if (bad > 0) {
        if (atomic_fetch_add(&bytesBad, bad * sizeof(uint64_t)) == 0)
            consoleLine("SV-BAD page %llu of %llu: %u bytes differ", (unsigned long long)page,
                        (unsigned long long)pages, bad * (unsigned)sizeof(uint64_t));
        pageWrite(page);
    }
}

/* Rewrites what the rate asks for since the last call, page after page in a scattered order. */
static void
dirtySome(uint64_t *lastUs, uint64_t *position)
{
    uint64_t now = nowUs();
    uint64_t rate = atomic_load(&dirtyRate) * MIB;
    uint64_t budget = (now - *lastUs) * rate / 1000000 / PAGE;

    if (budget == 0 && rate > 0)
        return; /* let the time add up */
    *lastUs = now;
    if (budget > 4096)
        budget = 4096; /* slower than asked for, but never without checking in between */
    for (uint64_t i = 0; i < budget; i++) {
        uint64_t page = *position;

        *position = (*position + PATTERN_STRIDE) % pages;
        generation[page]++;
        pageWrite(page);
    }
    atomic_fetch_add(&bytesDirtied, budget * PAGE);
}

/* Leaves the processor to others for their share of the time. */
static void
restSome(uint64_t *sinceUs)
{
    uint64_t worked = nowUs() - *sinceUs;
    uint64_t rest = worked * (100 - params.dutyPercent) / params.dutyPercent;
    struct timespec pause = { rest / 1000000, rest % 1000000 * 1000 };

    if (params.dutyPercent >= 100 || worked < 5000)
        return;
    nanosleep(&pause, NULL);
    *sinceUs = nowUs();
}

/* What has been verified a moment ago needs not be verified again. */
static void
restUntil(uint64_t thenUs, uint64_t *sinceUs)
{
    uint64_t now = nowUs();
    uint64_t rest = thenUs > now ? thenUs - now : 0;
    struct timespec pause = { rest / 1000000, rest % 1000000 * 1000 };

    if (rest == 0 || atomic_load(&dirtyRate) > 0)
        return;
    nanosleep(&pause, NULL);
    *sinceUs = nowUs();
}

static void *
memoryThread(void *arg)
{
    uint64_t sinceUs;
    uint64_t lastUs;
    uint64_t position = 0;

    (void)arg;
    for (uint64_t page = 0; page < pages; page++)
        pageWrite(page);
    consoleLine("SV-FILLED %llu MiB", (unsigned long long)(pages * PAGE / MIB));
    sinceUs = lastUs = nowUs();
    while (true) {
        uint64_t beganUs = nowUs();

        for (uint64_t page = 0; page < pages; page++) {
            if (atomic_exchange(&corruptWanted, false)) {
                memory[page * PAGE + 1234] ^= 0x10;
                consoleLine("SV-OK corrupt page %llu", (unsigned long long)page);
            }
            pageCheck(page);
            if (page % 16 == 0) {
                dirtySome(&lastUs, &position);
                restSome(&sinceUs);
            }
        }
        atomic_fetch_add(&passes, 1);
        restUntil(beganUs + params.passMs * 1000ULL, &sinceUs);
    }
    return NULL;
}

void
workloadSetDirty(unsigned mibps)
{
    atomic_store(&dirtyRate, mibps);
}

void
workloadCorrupt(void)
{
    atomic_store(&corruptWanted, true);
}

void
workloadStart(void)
{
    long available = sysconf(_SC_AVPHYS_PAGES);

    pages = params.memMiB * MIB / PAGE;
    if (pages == 0)
        pages = 1;
    if (available > 0 && pages + pages / 1024 > (uint64_t)available) {
        consoleLine("SV-FATAL sv.mem=%u is more than the %ld MiB that are free", params.memMiB,
                    available / (long)(MIB / PAGE));
        machineEnd(RB_POWER_OFF);
    }
    memory = pagesGet(pages * PAGE);
    generation = pagesGet(pages * sizeof(*generation));
    tick.plain = pagesGet(PAGE);
    tick.complement = pagesGet(PAGE);
    tick.ring = pagesGet(COUNTER_RING * sizeof(*tick.ring));
    *tick.complement = ~0ULL;
    atomic_store(&dirtyRate, params.dirtyMiBps);

    consoleLine("SV-START mem=%u dirty=%u tick=%u disk=%s", params.memMiB, params.dirtyMiBps,
                params.tickMs, params.disk[0] ? params.disk : "none");
    rtcStart();
    if (params.disk[0])
        diskStart(countGet);
    threadStart(tickThread, NULL, 50);
    threadStart(memoryThread, NULL, 0);
}
