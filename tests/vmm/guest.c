/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest.c: the "guest": memory, a vCPU thread that uses it, a serial port, a disk with locks
 *
 * Theory of operation: the layout of memory is a header page (the count and the figures of the
 * report), its complement, the generation of each page, and then the pages that are verified.
 * Everything is in memory; the registers hold the count once more and the number of the last disk
 * record, as a real vCPU would hold what it is just about to store.  The vCPU works in slices under
 * a lock, so that who takes the lock has it stand still.  A page is noted as dirty after it has
 * been written: who collects between the two sees it again in the next round.
 */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#define SLOTS 128
/* Behind the count's complement. */
#define SAID_AT (PAGE + PAGE / 2)
#define DISK_PERIOD_US 50000
#define REPORT_US 1000000
#define FROZEN_SLACK_US 8000

/* Page 0 of guest memory. */
typedef struct {
    uint64_t count, lost, repeated, checked, bad, writes, diskBad, maxGapUs, frozenUs, frozenLastUs, frozenTimes,
        passes, dirtied;
    uint64_t lastUs;             /* wall clock when it last went to sleep */
    uint64_t boot, number, recordCount;  /* of the last disk record */
    uint64_t verify, rewrite;    /* positions */
    uint64_t budgetUs;           /* time not yet turned into rewritten pages */
    uint64_t dirtyRate;          /* MiB/s */
    uint64_t devices;            /* the sum of the names of those that it uses */
    uint64_t saidBytes;          /* of what it remembers to have said */
    uint64_t corruptAtUs;        /* wall clock; 0: no, or not any more */
} header;

typedef struct {
    unsigned memMiB, tickMs, printMs;
    unsigned dirty;
    bool disk;
} wishes;

uint8_t *guestRam;

static wishes wish;
static uint64_t pages, firstPage, generationAt;
static uint64_t registers[4];    /* count, disk record, then unused */
static GMutex slice;             /* held while the vCPU works */
static GCond sliceCond;
static bool going;
static bool unsaid;             /* the guest has just been made, and has not run yet */
static unsigned long *dirtyBits;
static gint logging;
static int serialOut = -1, serialIn = -1;
static char *ptyPath;
static int diskFd = -1;
static gint *threads;            /* of the vCPUs; atomic; 0: not there yet */

static uint64_t
wallUs(void)
{
    return g_get_real_time();
}

/* ---- memory --------------------------------------------------------------------------------- */

static void
wrote(uint64_t at, uint64_t len)
{
    if (!g_atomic_int_get(&logging))
        return;
    for (uint64_t page = at / PAGE; page <= (at + len - 1) / PAGE; page++)
        __atomic_fetch_or(&dirtyBits[page / 64], 1UL << page % 64, __ATOMIC_SEQ_CST);
}

static uint64_t
mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    return x ^ (x >> 27);
}

static uint32_t *
generationOf(uint64_t page)
{
    return (uint32_t *)(guestRam + generationAt) + page;
}

static void
pageFill(uint64_t page, uint64_t *to)
{
    uint64_t seed = page << 32 | *generationOf(page);

    for (unsigned i = 0; i < PAGE / 8; i++)
        to[i] = mix(seed + ((uint64_t)i << 52));
}

static void
pageWrite(uint64_t page)
{
    uint64_t at = firstPage + page * PAGE;

    pageFill(page, (uint64_t *)(guestRam + at));
    wrote(at, PAGE);
}

static void
pageRewrite(uint64_t page)
{
    (*generationOf(page))++;
    wrote((uint8_t *)generationOf(page) - guestRam, sizeof(uint32_t));
    pageWrite(page);
}

static header *
head(void)
{
    return (header *)guestRam;
}

void
guestLogDirty(bool on)
{
    if (on)
        memset(dirtyBits, 0, vm.opt.memory / PAGE / 8);
    g_atomic_int_set(&logging, on);
}

GArray *
guestTakeDirty(void)
{
    GArray *runs = g_array_new(FALSE, FALSE, sizeof(dirtyRun));

    for (uint64_t word = 0; word < vm.opt.memory / PAGE / 64; word++) {
        unsigned long bits = __atomic_exchange_n(&dirtyBits[word], 0, __ATOMIC_SEQ_CST);

        while (bits) {
            uint64_t page = word * 64 + __builtin_ctzl(bits);
            dirtyRun *last = runs->len ? &g_array_index(runs, dirtyRun, runs->len - 1) : NULL;

            bits &= bits - 1;
            if (last && last->at + last->len == page * PAGE)
                last->len += PAGE;
            else
                g_array_append_val(runs, ((dirtyRun){ page * PAGE, PAGE }));
        }
    }
    return runs;
}

/* ---- serial port ---------------------------------------------------------------------------- */

/* As with every guest, what it says has been in its memory, the newest over the oldest. */
static void
remember(const char *text)
{
    header *h = head();
    size_t len = strlen(text);

    if (h->saidBytes + len > PAGE / 2)
        h->saidBytes = 0;
    memcpy(guestRam + SAID_AT + h->saidBytes, text, MIN(len, PAGE / 2));
    h->saidBytes += MIN(len, PAGE / 2);
    wrote(0, 2 * PAGE);
}

static void G_GNUC_PRINTF(1, 2)
say(const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    remember(text);
    /* Nobody may be there, or he may not read. */
    for (guint i = 0; i < vm.opt.terminals->len; i++) {
        const terminal *port = g_ptr_array_index(vm.opt.terminals, i);

        /* A full one loses it. */
        if (port->fd >= 0 && write(port->fd, text, strlen(text)) < 0)
            continue;
    }
    if (serialOut >= 0 && write(serialOut, text, strlen(text)) < 0)
        return;
}

static int
serialSocket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        fprintf(stderr, "Error: socket %s: %s\n", path, g_strerror(errno));
    return fd;
}

static gpointer
serialAcceptThread(gpointer data)
{
    int listener = GPOINTER_TO_INT(data);

    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        char byte;

        serialOut = fd;
        while (read(fd, &byte, 1) != 0) {
            struct pollfd p = { fd, POLLIN, 0 };

            poll(&p, 1, -1);
        }
        serialOut = -1;
        close(fd);
    }
    return NULL;
}

/* Master's end of a new pty without echo, or -1. */
static int
ptyOpen(char **retPath)
{
    struct termios raw = { 0 };
    char name[64];
    int own, other;

    cfmakeraw(&raw);
    if (openpty(&own, &other, name, &raw, NULL) < 0)
        return -1;
    *retPath = g_strdup(name);
    fcntl(own, F_SETFL, O_NONBLOCK);
    return own;
}

static void
terminalsOpen(void)
{
    for (guint i = 0; i < vm.opt.terminals->len; i++) {
        terminal *port = g_ptr_array_index(vm.opt.terminals, i);

        port->fd = ptyOpen(&port->path);
    }
}

static void
serialOpen(void)
{
    const char *what = vm.opt.serial;

    if (!what)
        return;
    if (g_str_equal(what, "stdio")) {
        serialOut = STDOUT_FILENO;
    } else if (g_str_equal(what, "pty")) {
        serialOut = serialIn = ptyOpen(&ptyPath);
    } else if (g_str_has_prefix(what, "file:")) {
        serialOut = open(what + strlen("file:"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    } else {
        g_thread_unref(g_thread_new("serial", serialAcceptThread,
                                    GINT_TO_POINTER(serialSocket(what + strlen("socket:")))));
    }
}

static void
listPty(GString *text, const char *id, const char *path)
{
    if (path)
        g_string_append_printf(text, "%s{\"filename\":\"pty:%s\",\"frontend-open\":true,\"label\":\"%s\"}",
                               text->len > 1 ? "," : "", path, id);
}

char *
guestListPtys(void)
{
    GString *text = g_string_new("[");

    listPty(text, vm.opt.serialId, ptyPath);
    for (guint i = 0; i < vm.opt.terminals->len; i++) {
        const terminal *port = g_ptr_array_index(vm.opt.terminals, i);

        listPty(text, port->id, port->path);
    }
    return g_string_free(g_string_append(text, "]"), FALSE);
}

/* ---- disks ---------------------------------------------------------------------------------- */

static const off_t lockBytes[] = { 101, 102, 202 };

bool
guestLockDisk(const drive *d, GError **error)
{
    for (size_t j = 0; j < G_N_ELEMENTS(lockBytes); j++) {
        struct flock lock = { .l_type = d->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET,
                              .l_start = lockBytes[j], .l_len = 1 };

        if (fcntl(d->fd, F_SETLK, &lock) < 0) {
            g_set_error(error, STANDIN_ERROR, 0,
                        "Failed to get lock on file: %s. Is it used more than once or another process using the same file?",
                        d->file);
            return false;
        }
    }
    return true;
}

bool
guestLockDisks(GError **error)
{
    for (guint i = 0; i < vm.opt.drives->len; i++) {
        if (!guestLockDisk(g_ptr_array_index(vm.opt.drives, i), error)) {
            guestUnlockDisks();
            return false;
        }
    }
    return true;
}

void
guestUnlockDisks(void)
{
    for (guint i = 0; i < vm.opt.drives->len; i++) {
        const drive *d = g_ptr_array_index(vm.opt.drives, i);
        struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 102 };

        fcntl(d->fd, F_SETLK, &lock);
    }
}

typedef struct {
    uint64_t boot, number, count;
    uint64_t words[PAGE / 8 - 3];
} record;

static void
recordFill(record *rec, uint64_t boot, uint64_t number, uint64_t count)
{
    uint64_t x = boot ^ number << 17 ^ count;

    rec->boot = boot;
    rec->number = number;
    rec->count = count;
    for (size_t i = 0; i < G_N_ELEMENTS(rec->words); i++)
        rec->words[i] = x = mix(x);
}

static void
recordCompare(const record *want, const record *found)
{
    g_autofree record *whole = g_new(record, 1);
    header *h = head();

    if (memcmp(want, found, sizeof(*want)) == 0)
        return;
    recordFill(whole, found->boot, found->number, found->count);
    if (memcmp(whole, found, sizeof(*whole)) != 0 || found->boot != want->boot)
        h->diskBad++;
    else if (found->number < want->number)
        h->lost += want->number - found->number;
    else
        h->repeated += found->number - want->number + 1;
    say("SV-BAD disk record %llu, found %llu\n", (unsigned long long)want->number,
        (unsigned long long)found->number);
}

static void
diskWork(void)
{
    static record *want, *found;
    header *h = head();
    off_t at = (off_t)(h->number % SLOTS) * PAGE;

    if (!want) {
        want = aligned_alloc(PAGE, sizeof(record));
        found = aligned_alloc(PAGE, sizeof(record));
    }
    recordFill(want, h->boot, h->number, h->recordCount);
    if (h->number > 0 && pread(diskFd, found, PAGE, at) == PAGE)
        recordCompare(want, found);
    h->number++;
    registers[1] = h->number;
    h->recordCount = h->count;
    at = (off_t)(h->number % SLOTS) * PAGE;
    recordFill(want, h->boot, h->number, h->recordCount);
    if (pwrite(diskFd, want, PAGE, at) == PAGE)
        h->writes++;
    else
        h->diskBad++;
}

static void
disksOpen(void)
{
    for (guint i = 0; i < vm.opt.drives->len; i++) {
        drive *d = g_ptr_array_index(vm.opt.drives, i);

        d->fd = open(d->file, (d->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        if (d->fd < 0) {
            fprintf(stderr, "Error: failed to open %s: %s\n", d->file, g_strerror(errno));
            _exit(1);
        }
        if (diskFd < 0 && !d->readonly && !d->flash)
            diskFd = d->fd;
    }
}

/* ---- the vCPU ------------------------------------------------------------------------------- */

static void
report(void)
{
    header *h = head();

    say("SV-REPORT count=%llu lost=%llu repeated=%llu bytes_checked=%llu bytes_bad=%llu disk_writes=%llu disk_bad=%llu "
        "maxgap_ms=%llu frozen_ms=%llu frozen_last_ms=%llu frozen_times=%llu passes=%llu bytes_dirtied=%llu dropped=0 t=%llu\n",
        (unsigned long long)h->count, (unsigned long long)h->lost, (unsigned long long)h->repeated,
        (unsigned long long)h->checked, (unsigned long long)h->bad, (unsigned long long)h->writes,
        (unsigned long long)h->diskBad, (unsigned long long)h->maxGapUs / 1000, (unsigned long long)h->frozenUs / 1000,
        (unsigned long long)h->frozenLastUs / 1000, (unsigned long long)h->frozenTimes, (unsigned long long)h->passes,
        (unsigned long long)h->dirtied, (unsigned long long)g_get_monotonic_time() / 1000);
}

/* Counts once and finds copies that disagree. */
static void
tick(void)
{
    header *h = head();
    uint64_t *complement = (uint64_t *)(guestRam + PAGE);
    uint64_t now = wallUs();
    uint64_t gap = h->lastUs ? now - h->lastUs : 0;

    if (~*complement < h->count || registers[0] < h->count)
        h->lost++;
    if (~*complement > h->count || registers[0] > h->count)
        h->repeated++;
    h->count++;
    registers[0] = h->count;
    *complement = ~h->count;
    if (gap > h->maxGapUs)
        h->maxGapUs = gap;
    if (gap > wish.tickMs * 1000ULL + FROZEN_SLACK_US) {
        h->frozenLastUs = gap - wish.tickMs * 1000ULL;
        h->frozenUs += h->frozenLastUs;
        h->frozenTimes++;
    }
}

static void
verifySome(void)
{
    header *h = head();
    uint64_t want[PAGE / 8];

    /* A pass takes about as many slices whatever there is to verify. */
    for (uint64_t i = 0; i < MAX(64, pages / 16); i++) {
        const uint64_t *is = (const uint64_t *)(guestRam + firstPage + h->verify * PAGE);
        unsigned bad = 0;

        pageFill(h->verify, want);
        for (unsigned j = 0; j < PAGE / 8; j++)
            bad += is[j] != want[j];
        h->checked += PAGE;
        if (bad) {
            h->bad += bad * 8;
            say("SV-BAD page %llu of %llu: %u bytes differ\n", (unsigned long long)h->verify,
                (unsigned long long)pages, bad * 8);
            pageWrite(h->verify);
        }
        if (++h->verify == pages) {
            h->verify = 0;
            h->passes++;
        }
    }
}

static void
dirtySome(uint64_t elapsedUs)
{
    header *h = head();
    uint64_t budget;

    h->budgetUs += elapsedUs;
    budget = h->budgetUs * h->dirtyRate * MIB / G_USEC_PER_SEC / PAGE;
    if (budget == 0)
        return;
    h->budgetUs = 0;
    budget = MIN(budget, 4096);
    for (uint64_t i = 0; i < budget; i++) {
        h->rewrite = (h->rewrite + 7919) % pages;
        pageRewrite(h->rewrite);
    }
    h->dirtied += budget * PAGE;
}

static void
sayDevice(const char *what, const device *d)
{
    say("SV-DEVICE %s %s %s %s\n", what, d->kind, d->bus ? d->bus : "-", d->id);
}

/* It has lost some, or found others, if they are not those that it knows. */
static void
devicesSome(void)
{
    header *h = head();
    uint64_t found = devicesKnown();

    if (found != h->devices) {
        h->bad++;
        say("SV-BAD devices: other ones than before\n");
    }
    h->devices = devicesWork(found, sayDevice);
}

/* No event, as on q35. */
static void
powerOff(void)
{
    say("SV-POWEROFF told to\n");
    machineEnd(0);
}

static void
corrupt(void)
{
    guestRam[firstPage + 1234] ^= 0x10;
    wrote(firstPage, PAGE);
}

static void
obey(char *line)
{
    g_strstrip(line);
    if (g_str_equal(line, "report"))
        report();
    else if (g_str_has_prefix(line, "dirty "))
        head()->dirtyRate = g_ascii_strtoull(line + strlen("dirty "), NULL, 10);
    else if (g_str_equal(line, "corrupt"))
        corrupt();
    else if (g_str_equal(line, "poweroff"))
        powerOff();
}

static void
listenTo(int fd, GString *line)
{
    char byte;

    while (fd >= 0 && read(fd, &byte, 1) == 1) {
        if (byte == '\n' || byte == '\r') {
            obey(line->str);
            g_string_truncate(line, 0);
        } else {
            g_string_append_c(line, byte);
        }
    }
}

static void
listen2(void)
{
    static GString *line;

    if (!line)
        line = g_string_new(NULL);
    listenTo(serialIn, line);
    for (guint i = 0; i < vm.opt.terminals->len; i++) {
        const terminal *port = g_ptr_array_index(vm.opt.terminals, i);

        listenTo(port->fd, port->line);
    }
}

static void
sayStart(void)
{
    unsaid = false;
    say("SV-START mem=%u dirty=%u tick=%u disk=%s\n", wish.memMiB, wish.dirty, wish.tickMs, wish.disk ? "yes" : "none");
    say("SV-FILLED %llu MiB\n", (unsigned long long)(pages * PAGE / MIB));
}

static gpointer
vcpuThread(gpointer data G_GNUC_UNUSED)
{
    uint64_t lastUs = wallUs(), nextLine = 0, nextReport = lastUs + REPORT_US, nextDisk = 0;

    g_atomic_int_set(&threads[0], gettid());
    g_mutex_lock(&slice);
    for (;;) {
        uint64_t now;

        while (!going) {
            g_cond_wait(&sliceCond, &slice);
            lastUs = wallUs();
        }
        if (unsaid)
            sayStart();
        now = wallUs();
        tick();
        dirtySome(now - lastUs);
        verifySome();
        devicesSome();
        lastUs = now;
        if (wish.disk && diskFd >= 0 && now >= nextDisk) {
            diskWork();
            nextDisk = now + DISK_PERIOD_US;
        }
        wrote(0, 2 * PAGE);
        if (now >= nextLine) {
            say("tick %llu t=%llu gap=0\n", (unsigned long long)head()->count, (unsigned long long)now / 1000);
            nextLine = now + wish.printMs * 1000ULL;
        }
        if (now >= nextReport) {
            report();
            nextReport = now + REPORT_US;
        }
        listen2();
        if (head()->corruptAtUs && now >= head()->corruptAtUs) {
            head()->corruptAtUs = 0;
            corrupt();
        }
        /* What it does itself, however long, is not standing still. */
        head()->lastUs = wallUs();
        wrote(0, 2 * PAGE);
        g_mutex_unlock(&slice);
        /* The guest's own pace: nothing is waited for. */
        g_usleep(wish.tickMs * 1000ULL);
        g_mutex_lock(&slice);
    }
    return NULL;
}

void
guestStop(void)
{
    g_mutex_lock(&slice);
    going = false;
    g_mutex_unlock(&slice);
}

void
guestGo(void)
{
    g_mutex_lock(&slice);
    going = true;
    g_cond_broadcast(&sliceCond);
    g_mutex_unlock(&slice);
}

void
guestSaveCpu(uint64_t regs[4])
{
    g_mutex_lock(&slice);
    memcpy(regs, registers, sizeof(registers));
    g_mutex_unlock(&slice);
}

void
guestLoadCpu(const uint64_t regs[4])
{
    memcpy(registers, regs, sizeof(registers));
}

/* ---- setting up ----------------------------------------------------------------------------- */

unsigned
guestWish(const char *name, unsigned fallback)
{
    g_autofree char *key = g_strconcat(name, "=", NULL);
    const char *at = vm.opt.append ? strstr(vm.opt.append, key) : NULL;

    return at ? (unsigned)atoi(at + strlen(key)) : fallback;
}

void
guestInit(bool fresh)
{
    header *h;

    wish.memMiB = guestWish("sv.mem", 32);
    wish.tickMs = MAX(guestWish("sv.tick", 20), 1);
    wish.printMs = guestWish("sv.print", 100);
    wish.dirty = guestWish("sv.dirty", 0);
    wish.disk = vm.opt.append && strstr(vm.opt.append, "sv.disk=");
    pages = MAX(MIN(wish.memMiB * MIB, vm.opt.memory / 2) / PAGE, 1);
    generationAt = 2 * PAGE;
    firstPage = generationAt + (pages * sizeof(uint32_t) + PAGE - 1) / PAGE * PAGE;
    guestRam = mmap(NULL, vm.opt.memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (guestRam == MAP_FAILED) {
        perror("Error: guest memory");
        _exit(1);
    }
    dirtyBits = g_new0(unsigned long, vm.opt.memory / PAGE / 64 + 1);
    disksOpen();
    serialOpen();
    terminalsOpen();
    if (!fresh)
        return;
    h = head();
    *(uint64_t *)(guestRam + PAGE) = ~0ULL;
    h->boot = (uint64_t)g_random_int() << 32 | g_random_int();
    h->dirtyRate = wish.dirty;
    devicesBoot();
    h->devices = devicesKnown();
    if (guestWish("sv.corrupt", 0) > 0)
        h->corruptAtUs = wallUs() + guestWish("sv.corrupt", 0) * G_USEC_PER_SEC;
    for (uint64_t page = 0; page < pages; page++)
        pageWrite(page);
    unsaid = true;
}

/* The other vCPUs have nothing to do. */
static gpointer
idleThread(gpointer data)
{
    g_atomic_int_set(&threads[GPOINTER_TO_UINT(data)], gettid());
    for (;;)
        pause();
    return NULL;
}

pid_t
guestThread(unsigned vcpu)
{
    while (g_atomic_int_get(&threads[vcpu]) == 0)
        g_thread_yield();
    return g_atomic_int_get(&threads[vcpu]);
}

void
guestStartThread(void)
{
    threads = g_new0(gint, vm.opt.vcpus);
    g_thread_unref(g_thread_new("vcpu0", vcpuThread, NULL));
    for (unsigned i = 1; i < vm.opt.vcpus; i++) {
        g_autofree char *name = g_strdup_printf("vcpu%u", i);

        g_thread_unref(g_thread_new(name, idleThread, GUINT_TO_POINTER(i)));
    }
}
