/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire.c: migration over a socket and snapshots in files
 *
 * Requests (16 bytes: length, status, six bytes of anything) go from the source to the destination,
 * answers (2 bytes) back, strictly in turn.  Little-endian, as the hosts are.  The last dirty memory
 * and the state are sent while the vCPU stands still; the destination runs as soon as it has
 * answered the state, before it hears Complete.
 */
#define _GNU_SOURCE
#include "standin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUNDS_MAX 30
#define ROUND_SHORT_US 50000
#define TABLE_MAX MIB
#define CONFIG_MAX MIB
#define HEADER_BYTES 4096
#define RECORD_MAX MIB
#define COMPAT 1
#define CPU_RECORD "X86CPUState"
#define DEVICE_RECORD "DeviceState"
#define CPU_BYTES 32
#define DEVICE_BYTES 16

enum { S_ACTIVE, S_VMCONFIG, S_MEMORY, S_STATE, S_COMPLETE, S_CANCEL, S_OK, S_ERROR };

typedef struct {
    uint64_t length;
    uint16_t status;
    uint8_t padding[6];
} request;
G_STATIC_ASSERT(sizeof(request) == 16);

static bool G_GNUC_PRINTF(2, 3)
fail(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error)
        *error = g_error_new_valist(STANDIN_ERROR, 0, format, args);
    va_end(args);
    return false;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static bool
writeAll(int fd, const void *bytes, uint64_t len, GError **error)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t n = write(fd, at, MIN(len, MIB));

        if (n <= 0 && errno != EINTR)
            return fail(error, "write: %s", g_strerror(errno));
        if (n > 0) {
            at += n;
            len -= n;
        }
    }
    return true;
}

static bool
readAll(int fd, void *bytes, uint64_t len, GError **error)
{
    char *at = bytes;

    while (len > 0) {
        ssize_t n = read(fd, at, MIN(len, MIB));

        if (n == 0)
            return fail(error, "failed to fill whole buffer");
        if (n < 0 && errno != EINTR)
            return fail(error, "read: %s", g_strerror(errno));
        if (n > 0) {
            at += n;
            len -= n;
        }
    }
    return true;
}

static bool
ask(int fd, unsigned status, uint64_t len, GError **error)
{
    request r = { .length = len, .status = status };

    for (size_t i = 0; i < sizeof(r.padding); i++)
        r.padding[i] = g_random_int();
    return writeAll(fd, &r, sizeof(r), error);
}

static bool
awaitOk(int fd, GError **error)
{
    uint16_t status;

    if (!readAll(fd, &status, sizeof(status), error))
        return false;
    return status == S_OK || fail(error, "the destination answers %u", status);
}

static bool
answer(int fd, GError **error)
{
    uint16_t status = S_OK;

    return writeAll(fd, &status, sizeof(status), error);
}

/* ---- configuration -------------------------------------------------------------------------- */

static char *
configText(void)
{
    GString *text = g_string_new(NULL);
    g_autoptr(GPtrArray) devices = devicesCopy();
    bool first = true;

    g_string_append_printf(text, "{\"machine_config\":{\"mach_type\":\"%s\",\"nr_cpus\":%u,\"mem_config\":{\"mem_size\":%llu}},\"devices\":[",
                           vm.opt.machine, vm.opt.vcpus, (unsigned long long)vm.opt.memory);
    for (guint i = 0; i < devices->len; i++) {
        const device *d = g_ptr_array_index(devices, i);

        /* Forgotten as soon as it is asked to go. */
        if (d->leaving)
            continue;
        g_string_append_printf(text, "%s{\"id\":\"%s\",\"kind\":\"%s\",\"bus\":\"%s\",\"addr\":\"%s\"}", first ? "" : ",", d->id,
                               d->kind, d->bus ? d->bus : "", d->addr ? d->addr : "");
        first = false;
    }
    return g_string_free(g_string_append(text, "]}"), FALSE);
}

static bool
deviceIsHere(JsonObject *theirs)
{
    const char *bus = json_object_get_string_member(theirs, "bus");

    /* Those without an address are not compared. */
    if (!*bus)
        return true;
    for (guint i = 0; i < vm.opt.devices->len; i++) {
        const device *d = g_ptr_array_index(vm.opt.devices, i);

        if (g_strcmp0(d->bus, bus) == 0 && g_str_equal(d->kind, json_object_get_string_member(theirs, "kind")) &&
            g_strcmp0(d->addr, json_object_get_string_member(theirs, "addr")) == 0)
            return true;
    }
    return false;
}

static bool
configCheck(const char *text, uint64_t len, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *root, *config;
    JsonArray *devices;

    if (!json_parser_load_from_data(parser, text, len, error))
        return false;
    root = json_node_get_object(json_parser_get_root(parser));
    config = json_object_get_object_member(root, "machine_config");
    if (json_object_get_int_member(config, "nr_cpus") != vm.opt.vcpus)
        return fail(error, "vCPU number mismatch");
    if (json_object_get_int_member(json_object_get_object_member(config, "mem_config"), "mem_size") != (gint64)vm.opt.memory)
        return fail(error, "memory size mismatch");
    devices = json_object_get_array_member(root, "devices");
    for (guint i = 0; i < json_array_get_length(devices); i++) {
        if (!deviceIsHere(json_array_get_object_element(devices, i)))
            return fail(error, "device %s does not exist", json_object_get_string_member(
                            json_array_get_object_element(devices, i), "id"));
    }
    return true;
}

/* ---- state ---------------------------------------------------------------------------------- */

/* Where the descriptions say sizes, a head ends before its own. */
typedef struct {
    uint64_t id, kind, size;
} recordHead;

static size_t
headSize(void)
{
    return vm.quirk->describesSizes ? G_STRUCT_OFFSET(recordHead, size) : sizeof(recordHead);
}

static uint64_t
hash(const char *a, const char *b)
{
    g_autofree char *text = g_strconcat(a, "/", b, NULL);

    return (uint64_t)g_str_hash(text) << 32 | g_str_hash(b);
}

static void
describe(GString *to, const char *kind, unsigned size)
{
    g_string_append_printf(to, "{\"name\":\"%s\",\"alias\":%llu,\"size\":%u,\"current_version\":1,\"compat_version\":1,\"fields\":["
                           "{\"var_name\":\"x\",\"type_name\":\"u64\",\"alias\":\"x\",\"offset\":0,\"size\":8}]}", kind,
                           (unsigned long long)hash(kind, ""), vm.quirk->describesSizes ? size : 0);
}

static bool
recordWrite(int fd, uint64_t id, const char *kind, const void *bytes, uint64_t size, GError **error)
{
    const recordHead head = { id, hash(kind, ""), size };

    return writeAll(fd, &head, headSize(), error) && writeAll(fd, bytes, size, error);
}

static bool
stateSend(int fd, GError **error)
{
    g_autoptr(GString) descriptions = g_string_new(NULL);
    g_autofree char *json = NULL;
    char header[HEADER_BYTES] = "";
    g_autoptr(GPtrArray) devices = NULL;
    uint64_t len, regs[4];

    describe(descriptions, DEVICE_RECORD, DEVICE_BYTES);
    describe(descriptions, CPU_RECORD, CPU_BYTES);
    json = g_strdup_printf("{\"magic_num\":\"STRATOVIRT\",\"compat_version\":%d,\"arch\":\"x86_64\",\"byte_order\":\"Little\","
                           "\"format\":\"Device\",\"desc_len\":%zu}", COMPAT, descriptions->len);
    len = strlen(json);
    memcpy(header, &len, sizeof(len));
    memcpy(header + sizeof(len), json, len);
    G_STATIC_ASSERT(sizeof(regs) == CPU_BYTES);
    guestSaveCpu(regs);
    if (!writeAll(fd, header, sizeof(header), error) || !writeAll(fd, descriptions->str, descriptions->len, error) ||
        !recordWrite(fd, hash("cpu", "0"), CPU_RECORD, regs, CPU_BYTES, error))
        return false;
    devices = devicesCopy();
    for (guint i = 0; i < devices->len; i++) {
        const device *d = g_ptr_array_index(devices, i);
        /* What would be the length of a record in another version, and behind it what looks like a farewell. */
        const char state[DEVICE_BYTES] = { [0] = d->seen, [1] = d->leaving, [8] = S_COMPLETE };

        if (!recordWrite(fd, hash(d->kind, d->id), DEVICE_RECORD, state, DEVICE_BYTES, error))
            return false;
    }
    return true;
}

static bool
recordRead(int fd, uint64_t id, void *bytes, uint64_t size, GError **error)
{
    recordHead head = { .size = size };

    if (!readAll(fd, &head, headSize(), error))
        return false;
    if (head.size > RECORD_MAX || head.size != size)
        return fail(error, "device state is out of step");
    if (head.id != id)
        return fail(error, "device state belongs to another device");
    return readAll(fd, bytes, size, error);
}

/* They come in any order, and are told apart by kind and id. */
static bool
deviceReceive(int fd, GError **error)
{
    recordHead head = { .size = DEVICE_BYTES };
    char state[DEVICE_BYTES];

    if (!readAll(fd, &head, headSize(), error))
        return false;
    if (head.size != sizeof(state))
        return fail(error, "device state is out of step");
    for (guint i = 0; i < vm.opt.devices->len; i++) {
        device *d = g_ptr_array_index(vm.opt.devices, i);

        if (head.id != hash(d->kind, d->id))
            continue;
        if (!readAll(fd, state, sizeof(state), error))
            return false;
        d->seen = state[0];
        d->leaving = state[1];
        return true;
    }
    return fail(error, "device state belongs to another device");
}

static bool
stateReceive(int fd, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autofree char *descriptors = NULL;
    char header[HEADER_BYTES];
    uint64_t len, descLen, regs[4];
    JsonObject *root;

    if (!readAll(fd, header, sizeof(header), error))
        return false;
    memcpy(&len, header, sizeof(len));
    if (len > HEADER_BYTES - sizeof(len) || !json_parser_load_from_data(parser, header + sizeof(len), len, NULL))
        return fail(error, "the header of the state is broken");
    root = json_node_get_object(json_parser_get_root(parser));
    if (g_strcmp0(json_object_get_string_member_with_default(root, "magic_num", ""), "STRATOVIRT") != 0 ||
        json_object_get_int_member_with_default(root, "compat_version", 0) > COMPAT)
        return fail(error, "the state is of another version");
    descLen = json_object_get_int_member_with_default(root, "desc_len", 0);
    if (descLen > RECORD_MAX)
        return fail(error, "the descriptors are too long");
    descriptors = g_malloc(descLen + 1);
    if (!readAll(fd, descriptors, descLen, error) ||
        !recordRead(fd, hash("cpu", "0"), regs, sizeof(regs), error))
        return false;
    for (guint i = 0; i < vm.opt.devices->len; i++) {
        if (!deviceReceive(fd, error))
            return false;
    }
    guestLoadCpu(regs);
    return true;
}

/* ---- source --------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    bool wasRunning;
    bool paused;
} sending;

static bool
sendMemory(int fd, GArray *runs, GError **error)
{
    if (!ask(fd, S_MEMORY, runs->len * sizeof(dirtyRun), error) ||
        !writeAll(fd, runs->data, runs->len * sizeof(dirtyRun), error))
        return false;
    for (guint i = 0; i < runs->len; i++) {
        const dirtyRun *run = &g_array_index(runs, dirtyRun, i);

        if (!writeAll(fd, guestRam + run->at, run->len, error))
            return false;
    }
    return awaitOk(fd, error);
}

static bool
canceled(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&vm.lock);

    return vm.migration == MIG_CANCELED;
}

static bool
sendRounds(sending *s, GError **error)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(dirtyRun));
    gint64 lastEnd = vm.startedUs;

    g_array_append_val(all, ((dirtyRun){ 0, vm.opt.memory }));
    guestLogDirty(true);
    if (!sendMemory(s->fd, all, error))
        return false;
    for (int round = 0; round < ROUNDS_MAX && !canceled(); round++) {
        g_autoptr(GArray) runs = guestTakeDirty();
        gint64 now;

        if (runs->len == 0)
            return true;
        if (!sendMemory(s->fd, runs, error))
            return false;
        now = g_get_monotonic_time();
        if (now - lastEnd < ROUND_SHORT_US)
            return true;
        lastEnd = now;
    }
    return true;
}

/* The end of it: the vCPU stands still, or at least is said to. */
static bool
sendRest(sending *s, GError **error)
{
    g_autoptr(GArray) runs = NULL;

    g_mutex_lock(&vm.lock);
    s->paused = true;
    /* One that is stopped already says so again, or fails to, which nobody minds. */
    machineStop(NULL);
    g_mutex_unlock(&vm.lock);

    runs = guestTakeDirty();
    if (runs->len > 0 && !sendMemory(s->fd, runs, error))
        return false;
    if (!ask(s->fd, S_STATE, 0, error) || !stateSend(s->fd, error) || !awaitOk(s->fd, error))
        return false;
    g_mutex_lock(&vm.lock);
    vm.migration = MIG_COMPLETED;
    g_mutex_unlock(&vm.lock);
    return ask(s->fd, S_COMPLETE, 0, error) && awaitOk(s->fd, error);
}

/* It always resumes, whatever the guest did before; a completed migration cannot be called failed any more. */
static void
sendFailed(const GError *why)
{
    g_autoptr(GError) error = NULL;

    fprintf(stderr, "Error: migration: %s\n", why->message);
    guestLogDirty(false);
    g_mutex_lock(&vm.lock);
    if (!machineCont(&error))
        fprintf(stderr, "Error: resume: %s\n", error->message);
    if (vm.migration != MIG_COMPLETED)
        vm.migration = MIG_FAILED;
    g_mutex_unlock(&vm.lock);
}

static gpointer
sendThread(gpointer data)
{
    sending *s = data;
    g_autofree char *config = configText();
    g_autoptr(GError) error = NULL;
    bool ok;

    /* A cancel that came before is forgotten. */
    g_mutex_lock(&vm.lock);
    vm.migration = MIG_ACTIVE;
    g_mutex_unlock(&vm.lock);
    ok = ask(s->fd, S_ACTIVE, 0, &error) && awaitOk(s->fd, &error) &&
        ask(s->fd, S_VMCONFIG, strlen(config), &error) && writeAll(s->fd, config, strlen(config), &error) &&
        awaitOk(s->fd, &error) && sendRounds(s, &error);
    if (ok && canceled()) {
        guestLogDirty(false);
        if (ask(s->fd, S_CANCEL, 0, NULL))
            awaitOk(s->fd, NULL);
    } else if (ok && sendRest(s, &error)) {
        machineEnd(0);
    } else if (error) {
        sendFailed(error);
    }
    close(s->fd);
    g_free(s);
    return NULL;
}

/* ---- addresses ------------------------------------------------------------------------------ */

typedef union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_un un;
} address;

static bool
parseUri(const char *uri, address *ret, socklen_t *retLen, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(uri, ":", -1);
    guint n = g_strv_length(parts);

    memset(ret, 0, sizeof(*ret));
    if (n == 3 && g_str_equal(parts[0], "tcp")) {
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons(atoi(parts[2]));
        *retLen = sizeof(ret->in);
        return inet_pton(AF_INET, parts[1], &ret->in.sin_addr) == 1 || fail(error, "Invalid uri: %s", uri);
    }
    if (n == 2 && g_str_equal(parts[0], "unix")) {
        ret->un.sun_family = AF_UNIX;
        g_strlcpy(ret->un.sun_path, parts[1], sizeof(ret->un.sun_path));
        *retLen = sizeof(ret->un);
        return true;
    }
    return fail(error, n == 2 ? "Unknown mode: %s" : "Invalid uri: %s", uri);
}

/* ---- files ---------------------------------------------------------------------------------- */

static const char memoryMagic[] = "STRATOVIRT memory";

/* Written once from its beginning to its end, so a fifo will do. */
static bool
filePart(const char *dir, const char *name, bool (*put)(int fd, GError **error), GError **error)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool ok;

    if (fd < 0)
        return fail(error, "Failed to create snapshot %s file: %s", name, g_strerror(errno));
    ok = put(fd, error);
    close(fd);
    return ok;
}

static bool
memorySend(int fd, GError **error)
{
    char header[2 * HEADER_BYTES] = "";
    char list[HEADER_BYTES] = "";

    memcpy(header, memoryMagic, sizeof(memoryMagic));
    /* Other memory than the guest's is listed behind it, in newer versions. */
    return writeAll(fd, header, sizeof(header), error) && writeAll(fd, guestRam, vm.opt.memory, error) &&
        (!vm.quirk->savesBetter || writeAll(fd, list, sizeof(list), error));
}

/* The state first, and the memory after that. */
static bool
fileSave(const char *dir, GError **error)
{
    bool stopped = vm.run == RUN_RUNNING && vm.quirk->savesBetter;

    if (stopped && !machineStop(error))
        return false;
    if ((mkdir(dir, 0777) == 0 || errno == EEXIST || fail(error, "Failed to create snapshot dir: %s", g_strerror(errno))) &&
        filePart(dir, "state", stateSend, error) && filePart(dir, "memory", memorySend, error)) {
        vm.migration = MIG_COMPLETED;
        return true;
    }
    if (stopped)
        machineCont(NULL);
    vm.migration = MIG_FAILED;
    return false;
}

/* Mapped, or read and then sought in for what is listed behind it. */
static bool
memoryReceive(int fd, bool mapped, GError **error)
{
    char header[HEADER_BYTES];

    if (mapped)
        return mmap(guestRam, vm.opt.memory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 2 * HEADER_BYTES) != MAP_FAILED ||
            fail(error, "Failed to load snapshot memory: %s", g_strerror(errno));
    return readAll(fd, header, sizeof(header), error) && readAll(fd, guestRam, vm.opt.memory, error) &&
        (lseek(fd, 0, SEEK_CUR) > 0 || fail(error, "Failed to load snapshot memory: %s", g_strerror(errno)));
}

/* The memory is opened and looked at first, then the state; and read in that order. */
static bool
fileLoad(const char *dir, bool mapped, GError **error)
{
    g_autofree char *statePath = g_build_filename(dir, "state", NULL);
    g_autofree char *memoryPath = g_build_filename(dir, "memory", NULL);
    char header[HEADER_BYTES];
    int memory, state;

    if (!g_file_test(dir, G_FILE_TEST_IS_DIR))
        return fail(error, "Invalid snapshot path");
    if ((memory = open(memoryPath, O_RDONLY | O_CLOEXEC)) < 0)
        return fail(error, "Failed to open memory snapshot file");
    if (!readAll(memory, header, sizeof(header), error) || strcmp(header, memoryMagic) != 0)
        return fail(error, "Invalid memory snapshot file");
    if ((state = open(statePath, O_RDONLY | O_CLOEXEC)) < 0)
        return fail(error, "Failed to open device state snapshot file");
    return memoryReceive(memory, mapped, error) && stateReceive(state, error) && guestLockDisks(error);
}

static bool
fileRestore(const char *text, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",mapped=", 2);
    bool mapped = g_strv_length(parts) < 2 || g_str_equal(parts[1], "true");
    g_autoptr(GError) why = NULL;

    /* The table of a kernel that it boots itself is written before there is memory that is mapped. */
    if (vm.quirk->savesBetter && mapped && g_str_equal(vm.opt.machine, "q35") && !vm.opt.flash)
        fail(&why, "matched region 0xF0000");
    else if (fileLoad(vm.quirk->savesBetter ? parts[0] : text, mapped, &why))
        vm.migration = MIG_COMPLETED;
    return !why || fail(error, "Failed to start migration. Caused by: Failed to restore snapshot: %s", why->message);
}

/* ---- from and to the outside ---------------------------------------------------------------- */

bool
wireMigrate(const char *uri, GError **error)
{
    struct timeval timeout = { vm.timeoutMs / 1000, vm.timeoutMs % 1000 * 1000 };
    address to;
    socklen_t len = 0;
    sending *s;
    int fd;

    if (g_str_has_prefix(uri, "file:"))
        return fileSave(uri + strlen("file:"), error);
    if (g_str_equal(vm.opt.machine, "microvm"))
        return fail(error, "microvm does not support this migration");
    if (!parseUri(uri, &to, &len, error))
        return false;
    fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, &to.any, len) < 0) {
        fail(error, "Failed to connect to %s: %s (os error %d)", uri, g_strerror(errno), errno);
        close(fd);
        return false;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (vm.migration == MIG_ACTIVE) {
        /* The second one spoils the first. */
        vm.migration = MIG_FAILED;
        close(fd);
        return true;
    }
    /* Until the thread has begun it is told how the migration before this one has ended. */
    s = g_new0(sending, 1);
    s->fd = fd;
    g_thread_unref(g_thread_new("migrate", sendThread, s));
    return true;
}

bool
wireCancel(GError **error)
{
    if (vm.migration == MIG_COMPLETED || vm.migration == MIG_FAILED)
        return fail(error, "Failed to transfer migration status from %s to canceled.", machineMigrationName());
    vm.migration = MIG_CANCELED;
    return true;
}

static bool
receiveMemory(int fd, uint64_t len, GError **error)
{
    g_autofree dirtyRun *runs = NULL;

    if (len > TABLE_MAX || len % sizeof(dirtyRun))
        return fail(error, "the table of blocks is too long");
    runs = g_malloc(len + 1);
    if (!readAll(fd, runs, len, error))
        return false;
    for (uint64_t i = 0; i < len / sizeof(dirtyRun); i++) {
        if (runs[i].at > vm.opt.memory || runs[i].len > vm.opt.memory - runs[i].at)
            return fail(error, "a block lies outside of memory");
        if (!readAll(fd, guestRam + runs[i].at, runs[i].len, error))
            return false;
        /* The defect: a block is only over when the connection is. */
        if (vm.quirk->readsToEnd) {
            char byte;

            while (read(fd, &byte, 1) > 0)
                continue;
            return fail(error, "failed to fill whole buffer");
        }
    }
    return true;
}

static bool
receiveConfig(int fd, uint64_t len, GError **error)
{
    g_autofree char *text = NULL;

    if (len > CONFIG_MAX)
        return fail(error, "the configuration is too long");
    text = g_malloc(len + 1);
    return readAll(fd, text, len, error) && configCheck(text, len, error);
}

/* One request; *retStatus says which. */
static bool
receiveOne(int fd, unsigned *retStatus, GError **error)
{
    request r;

    if (!readAll(fd, &r, sizeof(r), error))
        return false;
    *retStatus = r.status;
    switch (r.status) {
    case S_ACTIVE:
    case S_COMPLETE:
    case S_CANCEL:
        return true;
    case S_VMCONFIG:
        return receiveConfig(fd, r.length, error);
    case S_MEMORY:
        return receiveMemory(fd, r.length, error);
    case S_STATE:
        return stateReceive(fd, error) && guestLockDisks(error);
    default:
        return fail(error, "unexpected request %u", r.status);
    }
}

static bool
receive(int fd, GError **error)
{
    unsigned expected = S_ACTIVE;
    unsigned status;

    for (;;) {
        if (!receiveOne(fd, &status, error))
            return false;
        if (status == S_CANCEL) {
            answer(fd, NULL);
            return fail(error, "Received cancel request");
        }
        /* Active, configuration, memory once or more, state, complete. */
        if (status != expected && !(expected == S_STATE && status == S_MEMORY))
            return fail(error, "request %u out of order", status);
        if (!answer(fd, error))
            return false;
        /* It runs before it has heard that it should. */
        if (status == S_STATE) {
            guestGo();
            g_usleep(guestWish("sv.farewell", 0) * 1000ULL);
        }
        if (status == S_COMPLETE)
            return true;
        expected = status + 1;
    }
}

bool
wireIncoming(GError **error)
{
    const char *uri = vm.opt.incoming;
    address at;
    socklen_t len = 0;
    int listener, fd, on = 1;
    bool ok;

    if (g_str_has_prefix(uri, "file:"))
        return fileRestore(uri + strlen("file:"), error);
    if (!parseUri(uri, &at, &len, error))
        return false;
    listener = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at.any.sa_family == AF_UNIX)
        unlink(at.un.sun_path);
    if (bind(listener, &at.any, len) < 0 || listen(listener, 1) < 0)
        return fail(error, "%s: %s", uri, g_strerror(errno));
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0 && errno == EINTR)
        continue;
    if (at.any.sa_family == AF_UNIX)
        unlink(at.un.sun_path);
    close(listener);
    ok = receive(fd, error);
    close(fd);
    vm.migration = ok ? MIG_COMPLETED : MIG_FAILED;
    return ok;
}
