/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.c: the control sockets, with what is odd about them
 *
 * One client per socket; a second one waits unheard.  What one read brings is parsed as one JSON
 * text, so neither two requests at once nor half a one are understood.  Ids are strings.  Events go
 * to the client that came last, and to nobody when it has gone.
 */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib-unix.h>

#define REQUEST_MAX 8192
#define EVENTS_MAX 50

typedef struct {
    char *path;
    int listener, client;
    guint source;
} channel;

static GPtrArray *channels;
static channel *last;            /* whose client came last; NULL: gone */
static GMutex eventLock;
static GQueue events = G_QUEUE_INIT;     /* char *: lines */
static int passedFd = -1;        /* with the request that is being read */

/* ---- writing -------------------------------------------------------------------------------- */

static void
sendBytes(channel *ch, const char *bytes)
{
    if (ch->client >= 0 && send(ch->client, bytes, strlen(bytes), MSG_NOSIGNAL) < 0)
        perror("qmp");
}

static void
sendEvent(channel *ch, const char *text)
{
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);

    sendBytes(ch, line);
}

/* In two pieces, between which an event can come. */
static void
sendText(channel *ch, const char *text)
{
    g_autofree char *line = g_strconcat(text, "\r", NULL);

    sendBytes(ch, line);
    if (vm.quirk->saysAtOnce)
        g_thread_yield();
    sendBytes(ch, "\n");
}

static char *
jsonText(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_alloc();

    json_node_init_object(node, object);
    return json_to_string(node, FALSE);
}

static gboolean
flushEvents(gpointer data G_GNUC_UNUSED)
{
    char *line;

    for (;;) {
        g_mutex_lock(&eventLock);
        line = g_queue_pop_head(&events);
        g_mutex_unlock(&eventLock);
        if (!line)
            return G_SOURCE_REMOVE;
        if (last)
            sendEvent(last, line);
        g_free(line);
    }
}

static void
raiseEvent(const char *name, JsonObject *data, bool atOnce)
{
    g_autoptr(JsonObject) event = json_object_new();
    JsonObject *stamp = json_object_new();
    gint64 now = g_get_real_time();

    json_object_set_int_member(stamp, "seconds", now / G_USEC_PER_SEC);
    json_object_set_int_member(stamp, "microseconds", now % G_USEC_PER_SEC);
    json_object_set_object_member(event, "timestamp", stamp);
    json_object_set_string_member(event, "event", name);
    json_object_set_object_member(event, "data", data ? data : json_object_new());
    g_mutex_lock(&eventLock);
    if (atOnce && last) {
        g_autofree char *text = jsonText(event);

        sendEvent(last, text);
    } else if (!atOnce && g_queue_get_length(&events) < EVENTS_MAX) {
        g_queue_push_tail(&events, jsonText(event));
    }
    g_mutex_unlock(&eventLock);
    if (!atOnce)
        g_idle_add(flushEvents, NULL);
}

void
qmpEvent(const char *name, JsonObject *data)
{
    raiseEvent(name, data, vm.quirk->saysAtOnce);
}

static void
sendGreeting(channel *ch)
{
    g_autofree char *text =
        g_strdup_printf("{\"QMP\":{\"version\":{\"qemu\":{\"micro\":1,\"minor\":0,\"major\":5},"
                        "\"package\":\"%s\"},\"capabilities\":[]}}", vm.quirk->package);

    sendText(ch, text);
}

/* ---- commands ------------------------------------------------------------------------------- */

/* @ret: the JSON to return, "{}" unless set.  False: error set; its code 1 is DeviceNotActive. */
typedef bool (*commandFunc)(JsonObject *arguments, char **ret, GError **error);

#define STUB(name, text) \
    static bool name(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error G_GNUC_UNUSED) \
    { \
        *ret = g_strdup(text); \
        return true; \
    }

STUB(cmdNothing, "{}")
STUB(cmdEmptyList, "[]")
STUB(cmdKvm, "{\"enabled\":true,\"present\":true}")
STUB(cmdHotpluggable, "{}")
STUB(cmdTarget, "{\"arch\":\"x86_64\"}")
STUB(cmdEvents, "[{\"name\":\"SHUTDOWN\"},{\"name\":\"RESET\"},{\"name\":\"STOP\"},{\"name\":\"RESUME\"},"
     "{\"name\":\"POWERDOWN\"},{\"name\":\"CPU_RESIZE\"},{\"name\":\"DEVICE_DELETED\"},{\"name\":\"BALLOON_CHANGED\"}]")
STUB(cmdMachines, "[{\"cpu-max\":255,\"deprecated\":false,\"hotpluggable-cpus\":true,\"name\":\"none\",\"numa-mem-supported\":false},"
     "{\"cpu-max\":255,\"deprecated\":false,\"hotpluggable-cpus\":true,\"name\":\"microvm\",\"numa-mem-supported\":false},"
     "{\"cpu-max\":255,\"deprecated\":false,\"hotpluggable-cpus\":true,\"name\":\"q35\",\"numa-mem-supported\":false}]")
STUB(cmdTypes, "[{\"name\":\"virtio-blk-pci\",\"parent\":\"virtio-device\"},{\"name\":\"virtio-net-pci\",\"parent\":\"virtio-device\"},"
     "{\"name\":\"pcie-root-port\",\"parent\":\"pcie-root-port-base\"}]")

static bool
cmdStatus(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error G_GNUC_UNUSED)
{
    *ret = g_strdup_printf("{\"running\":%s,\"singlestep\":false,\"status\":\"%s\"}",
                           vm.run == RUN_RUNNING ? "true" : "false", machineRunName());
    return true;
}

static bool
cmdStop(JsonObject *arguments G_GNUC_UNUSED, char **ret G_GNUC_UNUSED, GError **error)
{
    return machineStop(error);
}

static bool
cmdCont(JsonObject *arguments G_GNUC_UNUSED, char **ret G_GNUC_UNUSED, GError **error)
{
    return machineCont(error);
}

static bool
cmdQuit(JsonObject *arguments G_GNUC_UNUSED, char **ret G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    JsonObject *data = json_object_new();

    json_object_set_boolean_member(data, "guest", FALSE);
    json_object_set_string_member(data, "reason", "host-qmp-quit");
    /* After the answer, whoever else may say something before it. */
    raiseEvent("SHUTDOWN", data, false);
    /* Without a machine there is nothing to end, as newer versions see it. */
    if (vm.quirk->saysAtOnce || !g_str_equal(vm.opt.machine, "none"))
        machineEnd(0);
    return true;
}

/* Hard, and without a word. */
static bool
cmdPowerdown(JsonObject *arguments G_GNUC_UNUSED, char **ret G_GNUC_UNUSED, GError **error)
{
    if (vm.quirk->checksRun && vm.run != RUN_RUNNING) {
        g_set_error_literal(error, STANDIN_ERROR, 0, "");
        return false;
    }
    machineEnd(0);
    return true;
}

static bool
cmdReset(JsonObject *arguments G_GNUC_UNUSED, char **ret G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    JsonObject *data = json_object_new();

    json_object_set_boolean_member(data, "guest", TRUE);
    qmpEvent("RESET", data);
    return true;
}

static bool
cmdMigrate(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    const char *uri = arguments ? json_object_get_string_member_with_default(arguments, "uri", NULL) : NULL;

    if (!uri) {
        g_set_error_literal(error, STANDIN_ERROR, 0, "missing field `uri`");
        return false;
    }
    return wireMigrate(uri, error);
}

static bool
cmdMigrateStatus(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error G_GNUC_UNUSED)
{
    *ret = g_strdup_printf("{\"status\":\"%s\"}", machineMigrationName());
    return true;
}

static bool
cmdMigrateCancel(JsonObject *arguments G_GNUC_UNUSED, char **ret G_GNUC_UNUSED, GError **error)
{
    return wireCancel(error);
}

static bool
cmdVersion(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error G_GNUC_UNUSED)
{
    *ret = g_strdup_printf("{\"package\":\"%s\",\"qemu\":{\"major\":5,\"micro\":1,\"minor\":0}}", vm.quirk->package);
    return true;
}

static bool
cmdCpus(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error G_GNUC_UNUSED)
{
    GString *text = g_string_new("[");

    for (unsigned i = 0; i < vm.opt.vcpus; i++)
        g_string_append_printf(text, "%s{\"CPU\":%u,\"arch\":\"x86\",\"current\":true,\"halted\":false,\"props\":{\"core-id\":0,"
                               "\"socket-id\":%u,\"thread-id\":0},\"qom_path\":\"/machine/unattached/device[%u]\",\"thread_id\":%d}",
                               i ? "," : "", i, i, i, guestThread(i));
    *ret = g_string_free(g_string_append(text, "]"), FALSE);
    return true;
}

static bool
cmdChardev(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error G_GNUC_UNUSED)
{
    *ret = guestListPtys();
    return true;
}

static bool cmdCommands(JsonObject *arguments, char **ret, GError **error);

static const struct {
    const char *name;
    commandFunc func;
    const char *members;         /* of the arguments; NULL: any */
} commands[] = {
    { "qmp_capabilities", cmdNothing, NULL }, { "quit", cmdQuit, "" }, { "stop", cmdStop, "" }, { "cont", cmdCont, "" },
    { "system_powerdown", cmdPowerdown, "" }, { "system_reset", cmdReset, "" }, { "migrate", cmdMigrate, NULL },
    { "query-migrate", cmdMigrateStatus, "" }, { "migrate_cancel", cmdMigrateCancel, "" },
    { "query-status", cmdStatus, "" }, { "query-version", cmdVersion, "" }, { "query-commands", cmdCommands, "" },
    { "query-events", cmdEvents, "" }, { "query-target", cmdTarget, "" }, { "query-kvm", cmdKvm, "" },
    { "query-machines", cmdMachines, "" }, { "query-cpus", cmdCpus, "" }, { "query-hotpluggable-cpus", cmdHotpluggable, "" },
    { "query-chardev", cmdChardev, "" }, { "query-balloon", cmdQueryBalloon, "" }, { "balloon", cmdBalloon, "value" },
    { "query-iothreads", cmdEmptyList, "" }, { "query-block", cmdEmptyList, "" }, { "query-blockstats", cmdEmptyList, NULL },
    { "query-block-jobs", cmdEmptyList, "" }, { "query-named-block-nodes", cmdEmptyList, NULL },
    { "query-migrate-capabilities", cmdEmptyList, "" }, { "query-qmp-schema", cmdEmptyList, "" },
    { "qom-list-types", cmdTypes, NULL }, { "qom-list", cmdEmptyList, NULL }, { "device-list-properties", cmdEmptyList, NULL },
    { "query-command-line-options", cmdEmptyList, NULL }, { "getfd", cmdGetfd, "fdname" },
    { "blockdev-add", cmdBlockdevAdd, "node-name file media cache read-only detect-zeroes driver backing discard id options "
      "throttling.iops-total l2-cache-size refcount-cache-size" },
    { "blockdev-del", cmdBlockdevDel, "node-name" },
    { "netdev_add", cmdNetdevAdd, "id ifname fd fds dnssearch type vhost vhostfd vhostfds downscript script queues chardev" },
    { "netdev_del", cmdNetdevDel, "id" },
    { "device_add", cmdDeviceAdd, "id driver addr lun drive romfile share-rw bus mac netdev chardev disable-modern mq vectors serial "
      "iothread multifunction host num-queues boot_index sysfsdev queue-size port backend path cpu-id" },
    { "device_del", cmdDeviceDel, "id" },
};

static bool
cmdCommands(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error G_GNUC_UNUSED)
{
    GString *text = g_string_new("[");

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        g_string_append_printf(text, "%s{\"name\":\"%s\"}", i ? "," : "", commands[i].name);
    *ret = g_string_free(g_string_append(text, "]"), FALSE);
    return true;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void
sendError(channel *ch, const char *class, const char *desc, const char *id)
{
    g_autoptr(JsonObject) answer = json_object_new();
    JsonObject *body = json_object_new();
    g_autofree char *text = NULL;

    json_object_set_string_member(body, "class", class);
    json_object_set_string_member(body, "desc", desc);
    json_object_set_object_member(answer, "error", body);
    if (id)
        json_object_set_string_member(answer, "id", id);
    text = jsonText(answer);
    sendText(ch, text);
}

static bool
argumentsKnown(JsonObject *arguments, const char *members, char **unknown)
{
    g_autoptr(GList) names = arguments ? json_object_get_members(arguments) : NULL;
    g_auto(GStrv) known = members ? g_strsplit(members, " ", -1) : NULL;

    for (GList *at = names; known && at; at = at->next) {
        if (!g_strv_contains((const char *const *)known, at->data)) {
            *unknown = g_strdup_printf("unknown field `%s`", (char *)at->data);
            return false;
        }
    }
    return true;
}

static void
execute(channel *ch, JsonObject *request, const char *name, const char *id)
{
    JsonObject *arguments = json_object_has_member(request, "arguments") ?
        json_object_get_object_member(request, "arguments") : NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *ret = NULL;
    g_autofree char *unknown = NULL;
    g_autofree char *text = NULL;
    size_t i;
    bool ok;

    for (i = 0; i < G_N_ELEMENTS(commands) && !g_str_equal(commands[i].name, name); i++)
        continue;
    if (i == G_N_ELEMENTS(commands)) {
        text = g_strdup_printf("unknown variant `%s`", name);
        sendError(ch, "GenericError", text, NULL);
        return;
    }
    if (!argumentsKnown(arguments, commands[i].members, &unknown)) {
        sendError(ch, "GenericError", unknown, NULL);
        return;
    }
    g_mutex_lock(&vm.lock);
    ok = commands[i].func(arguments, &ret, &error);
    g_mutex_unlock(&vm.lock);
    if (!ok) {
        fprintf(stderr, "Error: %s: %s\n", name, error->message);
        sendError(ch, error->code == 1 ? "DeviceNotActive" : "GenericError", error->message, id);
        return;
    }
    if (id && i > 0)
        text = g_strdup_printf("{\"return\":%s,\"id\":\"%s\"}", ret ? ret : "{}", id);
    else
        text = g_strdup_printf("{\"return\":%s}", ret ? ret : "{}");
    sendText(ch, text);
}

/* The parser stops after the first object; more than white space behind it is an error here. */
static bool
hasMore(const char *text, gsize len)
{
    bool quoted = false;
    int depth = 0;

    for (gsize i = 0; i < len; i++) {
        if (quoted) {
            if (text[i] == '\\')
                i++;
            else
                quoted = text[i] != '"';
        } else if (text[i] == '"') {
            quoted = true;
        } else if (text[i] == '{') {
            depth++;
        } else if (text[i] == '}' && --depth == 0) {
            for (i++; i < len; i++) {
                if (!g_ascii_isspace(text[i]))
                    return true;
            }
        }
    }
    return false;
}

static void
handle(channel *ch, const char *text, gsize len)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) error = NULL;
    JsonNode *root;
    JsonNode *id;
    JsonObject *request;

    if (len > REQUEST_MAX) {
        sendError(ch, "GenericError", "The request is too long", NULL);
        return;
    }
    if (hasMore(text, len)) {
        sendError(ch, "GenericError", "trailing characters", NULL);
        return;
    }
    if (!json_parser_load_from_data(parser, text, len, &error) ||
        !(root = json_parser_get_root(parser)) || !JSON_NODE_HOLDS_OBJECT(root) ||
        !json_object_has_member(json_node_get_object(root), "execute")) {
        sendError(ch, "GenericError", error ? error->message : "missing field `execute`", NULL);
        return;
    }
    request = json_node_get_object(root);
    id = json_object_get_member(request, "id");
    if (id && (!JSON_NODE_HOLDS_VALUE(id) || json_node_get_value_type(id) != G_TYPE_STRING)) {
        sendError(ch, "GenericError", "invalid type: expected a string", NULL);
        return;
    }
    execute(ch, request, json_object_get_string_member(request, "execute"), id ? json_node_get_string(id) : NULL);
}

/* ---- sockets -------------------------------------------------------------------------------- */

static gboolean acceptClient(gint fd, GIOCondition condition, gpointer data);

static void
awaitClient(channel *ch)
{
    ch->source = g_unix_fd_add(ch->listener, G_IO_IN, acceptClient, ch);
}

int
qmpTakeFd(void)
{
    int fd = passedFd;

    passedFd = -1;
    return fd;
}

/* The last descriptor of a message counts. */
static ssize_t
receive(int fd, char *text, size_t size)
{
    char ancillary[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { text, size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary, .msg_controllen = sizeof(ancillary) };
    ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
    struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

    if (head && head->cmsg_type == SCM_RIGHTS) {
        if (passedFd >= 0)
            close(passedFd);
        memcpy(&passedFd, CMSG_DATA(head), sizeof(int));
    }
    return n;
}

static gboolean
readClient(gint fd, GIOCondition condition G_GNUC_UNUSED, gpointer data)
{
    channel *ch = data;
    char text[REQUEST_MAX * 2];
    ssize_t n = receive(fd, text, sizeof(text));

    if (n > 0) {
        handle(ch, text, n);
        return G_SOURCE_CONTINUE;
    }
    g_mutex_lock(&eventLock);
    if (last == ch)
        last = NULL;
    g_mutex_unlock(&eventLock);
    close(fd);
    ch->client = -1;
    awaitClient(ch);
    return G_SOURCE_REMOVE;
}

static gboolean
acceptClient(gint fd, GIOCondition condition G_GNUC_UNUSED, gpointer data)
{
    channel *ch = data;

    ch->client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (ch->client < 0)
        return G_SOURCE_CONTINUE;
    sendGreeting(ch);
    g_mutex_lock(&eventLock);
    last = ch;
    g_mutex_unlock(&eventLock);
    g_unix_fd_add(ch->client, G_IO_IN | G_IO_HUP, readClient, ch);
    /* The next one waits until this one has gone. */
    return G_SOURCE_REMOVE;
}

bool
qmpListen(GError **error)
{
    channels = g_ptr_array_new();
    for (guint i = 0; i < vm.opt.qmp->len; i++) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        channel *ch = g_new0(channel, 1);

        ch->path = g_ptr_array_index(vm.opt.qmp, i);
        ch->client = -1;
        ch->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_strlcpy(address.sun_path, ch->path, sizeof(address.sun_path));
        unlink(ch->path);
        if (bind(ch->listener, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(ch->path, 0600) < 0 ||
            listen(ch->listener, 10) < 0) {
            g_set_error(error, STANDIN_ERROR, 0, "socket %s: %s", ch->path, g_strerror(errno));
            return false;
        }
        g_ptr_array_add(channels, ch);
    }
    return true;
}

void
qmpServe(void)
{
    for (guint i = 0; i < channels->len; i++)
        awaitClient(g_ptr_array_index(channels, i));
}

void
qmpClose(void)
{
    for (guint i = 0; channels && i < channels->len; i++) {
        channel *ch = g_ptr_array_index(channels, i);

        unlink(ch->path);
        close(ch->listener);
        if (ch->client >= 0)
            close(ch->client);
    }
}
