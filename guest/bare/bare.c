/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bare guest: the counter and the memory of ../workload.c without an operating system, so that it boots in a moment.
 *
 * Theory of operation: one loop does whatever is due, a few pages at a time, and halts the processor when nothing is.
 */
#include <stddef.h>
#include <stdint.h>

#include "../counter.h"
#include "../frozen.h"
#include "../pattern.h"
#include "machine.h"

#define MIB (1024 * 1024ULL)
/* What is filled starts here, after this program and what the VMM has put in low memory. */
#define MEMORY_START (8 * MIB)
#define PAGES_AT_ONCE 16
#define WORK_US 5000      /* rests are taken in no smaller pieces */
#define DIRTY_MAX 4096    /* pages at once */
#define RTC_MS 900        /* from a step of the battery clock to when the next is looked for */
#define RTC_PATIENCE_US 5000000

/* The head of what a VMM that boots by PVH leaves behind (Xen's public/arch-x86/hvm/start_info.h). */
typedef struct {
    uint32_t magic, version, flags, modules;
    uint64_t moduleList, cmdline, rsdp, memory;
    uint32_t memoryEntries, reserved;
} startInfo;

typedef struct {
    uint64_t at, size;
    uint32_t type, reserved;
} memoryEntry;

typedef struct {
    char text[512];
    unsigned len;
} sayLine;

static struct {
    uint64_t khz, mem, dirty, duty, pass, tick, print, report, ballast;
} params = { .khz = 1000000, .mem = 32, .duty = 100, .tick = 20, .print = 100, .report = 1000 };

static counter tick;
static uint64_t count, lost, repeated, maxGapUs, lineGapUs, lastTickUs, nextTickUs, nextLineUs, nextReportUs;
static uint64_t bytesChecked, bytesBad, bytesDirtied, passes;

static uint8_t *memory;
static uint32_t *generation;
static uint64_t pages, page, position, passUs, workedUs, dirtyUs, restUntilUs;

static frozenState frozen;
static unsigned rtcSecond;
static bool rtcPolled;
static uint64_t rtcAtUs;
static unsigned wakeMs;

/* ---- lines ---- */

static void
sayText(sayLine *line, const char *text)
{
    while (*text && line->len < sizeof(line->text))
        line->text[line->len++] = *text++;
}

static void
sayNumber(sayLine *line, const char *name, uint64_t number)
{
    char digits[21];
    unsigned at = sizeof(digits) - 1;

    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    sayText(line, name);
    sayText(line, digits + at);
}

static void
sayEnd(sayLine *line)
{
    sayText(line, "\r\n");
    machineSay(line->text, line->len);
}

static void
sayReport(void)
{
    sayLine line = { .len = 0 };

    sayNumber(&line, "SV-REPORT count=", count);
    sayNumber(&line, " lost=", lost);
    sayNumber(&line, " repeated=", repeated);
    sayNumber(&line, " bytes_checked=", bytesChecked);
    sayNumber(&line, " bytes_bad=", bytesBad);
    sayNumber(&line, " disk_writes=", 0);
    sayNumber(&line, " disk_bad=", 0);
    sayNumber(&line, " maxgap_ms=", maxGapUs / 1000);
    sayNumber(&line, " frozen_ms=", frozen.result.totalMs);
    sayNumber(&line, " frozen_last_ms=", frozen.result.lastMs);
    sayNumber(&line, " frozen_times=", frozen.result.times);
    sayNumber(&line, " passes=", passes);
    sayNumber(&line, " bytes_dirtied=", bytesDirtied);
    sayNumber(&line, " dropped=", machineDropped());
    sayNumber(&line, " t=", machineUs() / 1000);
    sayEnd(&line);
}

static void
end(const char *why)
{
    sayLine line = { .len = 0 };

    sayReport();
    sayText(&line, why);
    sayEnd(&line);
    machineOff();
}

/* ---- parameters ---- */

/* The number behind "name=" at the start of a word; @otherwise, if there is none. */
static uint64_t
paramNumber(const char *cmdline, const char *name, uint64_t otherwise)
{
    for (const char *at = cmdline; *at; at++) {
        unsigned i = 0;
        uint64_t value = 0;

        while (name[i] && at[i] == name[i])
            i++;
        if (name[i] || at[i] != '=' || (at != cmdline && at[-1] != ' '))
            continue;
        for (i++; at[i] >= '0' && at[i] <= '9'; i++)
            value = value * 10 + (uint64_t)(at[i] - '0');
        return value;
    }
    return otherwise;
}

static void
paramsRead(const char *cmdline)
{
    params.khz = paramNumber(cmdline, "tsc_early_khz", params.khz);
    params.mem = paramNumber(cmdline, "sv.mem", params.mem);
    params.dirty = paramNumber(cmdline, "sv.dirty", params.dirty);
    params.duty = paramNumber(cmdline, "sv.duty", params.duty);
    params.pass = paramNumber(cmdline, "sv.pass", params.pass);
    params.tick = paramNumber(cmdline, "sv.tick", params.tick);
    params.print = paramNumber(cmdline, "sv.print", params.print);
    params.report = paramNumber(cmdline, "sv.report", params.report);
    params.ballast = paramNumber(cmdline, "sv.ballast", params.ballast);
    params.tick += params.tick == 0;
    params.duty += params.duty == 0;
    wakeMs = params.tick < 10 ? (unsigned)params.tick : 10;
}

/* Where the usable memory that MEMORY_START lies in ends. */
static uint64_t
memoryEnd(const startInfo *info)
{
    const memoryEntry *entries = (const memoryEntry *)info->memory;

    for (unsigned i = 0; i < info->memoryEntries; i++) {
        if (entries[i].type == 1 && entries[i].at <= MEMORY_START && entries[i].at + entries[i].size > MEMORY_START)
            return entries[i].at + entries[i].size;
    }
    return MEMORY_START;
}

/* ---- counting ---- */

static void
countOnce(uint64_t now)
{
    uint64_t gap = now - lastTickUs;

    count = counterStep(&tick, &lost, &repeated);
    lineGapUs = gap > lineGapUs ? gap : lineGapUs;
    maxGapUs = gap > maxGapUs ? gap : maxGapUs;
    lastTickUs = now;
    nextTickUs = now + params.tick * 1000;
    if (now >= nextLineUs) {
        sayLine line = { .len = 0 };

        sayNumber(&line, "tick ", count);
        sayNumber(&line, " t=", now / 1000);
        sayNumber(&line, " gap=", lineGapUs / 1000);
        sayEnd(&line);
        lineGapUs = 0;
        nextLineUs = now + params.print * 1000;
    }
    if (now >= nextReportUs) {
        sayReport();
        nextReportUs = now + params.report * 1000;
    }
}

/* ---- memory ---- */

static void
pageCheck(uint64_t number)
{
    uint64_t *at = (uint64_t *)(memory + number * PATTERN_PAGE);
    unsigned bad = patternBad(at, number, generation[number]);

    bytesChecked += PATTERN_PAGE;
    if (bad == 0)
        return;
    if (bytesBad == 0) {
        sayLine line = { .len = 0 };

        sayNumber(&line, "SV-BAD page ", number);
        sayNumber(&line, " of ", pages);
        sayEnd(&line);
    }
    bytesBad += bad * sizeof(uint64_t);
    patternWrite(at, number, generation[number]);
}

static void
dirtySome(uint64_t now)
{
    uint64_t budget = (now - dirtyUs) * params.dirty * MIB / 1000000 / PATTERN_PAGE;

    if (budget == 0 && params.dirty > 0)
        return; /* let the time add up */
    dirtyUs = now;
    if (budget > DIRTY_MAX)
        budget = DIRTY_MAX;
    for (uint64_t i = 0; i < budget; i++) {
        position = (position + PATTERN_STRIDE) % pages;
        patternWrite((uint64_t *)(memory + position * PATTERN_PAGE), position, ++generation[position]);
    }
    bytesDirtied += budget * PATTERN_PAGE;
}

/* Verifies a few pages, rewrites what is due, and decides when to go on. */
static void
memorySome(void)
{
    uint64_t now;

    for (unsigned i = 0; i < PAGES_AT_ONCE && page < pages; i++)
        pageCheck(page++);
    now = machineUs();
    dirtySome(now);
    now = machineUs();
    if (now - workedUs >= WORK_US) {
        restUntilUs = now + (now - workedUs) * (100 - params.duty) / params.duty;
        workedUs = restUntilUs;
    }
    if (page < pages)
        return;
    page = 0;
    if (passes++ == 0)
        nextReportUs = now; /* who waits for the first word waits for this */
    if (params.dirty == 0 && passUs + params.pass * 1000 > restUntilUs)
        restUntilUs = workedUs = passUs + params.pass * 1000;
    passUs = now > restUntilUs ? now : restUntilUs;
}

/* Compressible, as most of what programs have in memory. */
static void
ballastWrite(uint64_t *at, uint64_t number)
{
    for (unsigned i = 0; i < PATTERN_WORDS; i++)
        at[i] = i % 4 == 0 ? patternMix(number * PATTERN_WORDS + i) : number;
}

static void
memoryFill(uint64_t until)
{
    uint64_t ballast;

    pages = params.mem * MIB / PATTERN_PAGE;
    pages += pages == 0;
    ballast = params.ballast * MIB / PATTERN_PAGE;
    tick.plain = (uint64_t *)MEMORY_START;
    tick.complement = tick.plain + PATTERN_WORDS;
    tick.ring = tick.complement + PATTERN_WORDS;
    generation = (uint32_t *)(tick.ring + COUNTER_RING);
    memory = (uint8_t *)(((uint64_t)(generation + pages) + PATTERN_PAGE - 1) & ~(PATTERN_PAGE - 1ULL));
    if ((uint64_t)memory + (pages + ballast) * PATTERN_PAGE > until)
        end("SV-FATAL sv.mem and sv.ballast are more than the machine has");
    /* After a reset, memory is what it was. */
    *tick.plain = 0;
    *tick.complement = ~0ULL;
    tick.ring[0] = 0;
    for (uint64_t i = 0; i < pages; i++)
        generation[i] = 0;
    for (uint64_t i = 0; i < pages; i++)
        patternWrite((uint64_t *)(memory + i * PATTERN_PAGE), i, 0);
    for (uint64_t i = 0; i < ballast; i++)
        ballastWrite((uint64_t *)(memory + (pages + i) * PATTERN_PAGE), i);
}

/* ---- the battery clock ---- */

static void
clockSome(uint64_t now)
{
    sayLine line = { .len = 0 };
    unsigned second;
    int64_t ms;

    if (now < rtcAtUs)
        return;
    second = cmosRead(0);
    if (!rtcPolled) {
        /* Only a step that is seen tells the time; one that has been slept through would be late. */
        rtcPolled = true;
        rtcSecond = second;
        machineWake(1);
        return;
    }
    if (second == rtcSecond && now - rtcAtUs > RTC_PATIENCE_US) {
        rtcAtUs = UINT64_MAX;
        machineWake(wakeMs);
        sayText(&line, "SV-WARN this machine has no running battery clock");
        sayEnd(&line);
    }
    if (second == rtcSecond)
        return;
    ms = frozenStep(&frozen, machineUs());
    if (ms > 0) {
        sayNumber(&line, "SV-FROZEN ms=", (uint64_t)ms);
        sayNumber(&line, " t=", machineUs() / 1000);
        sayEnd(&line);
    }
    rtcPolled = false;
    rtcAtUs = now + RTC_MS * 1000;
    machineWake(wakeMs);
}

void
bareMain(const startInfo *info)
{
    sayLine line = { .len = 0 };

    paramsRead((const char *)info->cmdline);
    machineInit(params.khz);
    sayNumber(&line, "SV-START mem=", params.mem);
    sayNumber(&line, " dirty=", params.dirty);
    sayNumber(&line, " tick=", params.tick);
    sayText(&line, " disk=none");
    sayEnd(&line);
    memoryFill(memoryEnd(info));
    line.len = 0;
    sayNumber(&line, "SV-FILLED ", pages * PATTERN_PAGE / MIB);
    sayText(&line, " MiB");
    sayEnd(&line);
    lastTickUs = passUs = workedUs = dirtyUs = machineUs();
    nextReportUs = lastTickUs + params.report * 1000;
    while (true) {
        uint64_t now = machineUs();

        if (now >= nextTickUs)
            countOnce(now);
        clockSome(now);
        machineFlush();
        if (machineButton())
            end("SV-POWEROFF power button");
        if (now >= restUntilUs)
            memorySome();
        else
            machineRest();
    }
}
