/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A connection of the migration port: a hello, or what comes over a link
 *
 * The first byte says which, and where the rest is cut in two.  Links are real ones over a pair of sockets, served by this thread.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "remote/hello.h"
#include "remote/link.h"

#define LINK_BYTES 60000   /* a socket takes them without waiting */

typedef struct {
    unsigned messages;
    bool lost;
} linkSeen;

static void
linkMessage(migLink *link, const char *type, JsonObject *body, bool wantsReply, guint64 id, void *opaque)
{
    linkSeen *seen = opaque;

    g_assert_false(seen->lost);
    g_assert_nonnull(type);
    g_assert_nonnull(body);
    g_assert_true(wantsReply == (id != 0));
    seen->messages++;
    if (wantsReply)
        linkReply(link, id, NULL, seen->messages % 2 ? type : NULL);
}

static void
linkLost(migLink *link G_GNUC_UNUSED, const GError *why, void *opaque)
{
    linkSeen *seen = opaque;

    g_assert_false(seen->lost);
    g_assert_nonnull(why);
    g_assert_true(g_utf8_validate(why->message, -1, NULL));
    seen->lost = true;
}

static void
linkSend(int fd, const uint8_t *data, size_t size)
{
    ssize_t sent = size ? send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

    /* A link that was lost half way takes no more. */
    g_assert_true(sent == (ssize_t)size || sent < 0);
}

static void
linkInput(const uint8_t *data, size_t size, size_t cut)
{
    static const linkHandlers handlers = { linkMessage, linkLost };
    g_autoptr(GMainContext) context = g_main_context_new();
    linkSeen seen = { 0 };
    migLink *link;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    link = linkNew(context, helloConnOf(fds[0]), 0, 0, &handlers, &seen, NULL);
    linkSend(fds[1], data, cut);
    while (g_main_context_iteration(context, FALSE))
        continue;
    linkSend(fds[1], data + cut, size - cut);
    shutdown(fds[1], SHUT_WR);
    while (!seen.lost)
        g_main_context_iteration(context, TRUE);
    g_assert_false(linkIsAlive(link));
    linkClose(link);
    linkUnref(link);
    close(fds[1]);
    while (g_main_context_iteration(context, FALSE))
        continue;
}

static void
helloInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    hello h = { 0 }, second = { 0 };
    g_autofree uint8_t *again = NULL;

    if (!helloRead(data, size, &h, &error)) {
        g_assert_nonnull(error);
        return;
    }
    again = helloWrite(&h);
    g_assert_true(helloRead(again, helloSize(), &second, &error));
    g_assert_cmpint(h.role, ==, second.role);
    g_assert_cmpint(h.index, ==, second.index);
    g_assert_cmpmem(h.token, sizeof(h.token), second.token, sizeof(second.token));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > LINK_BYTES)
        return 0;
    if (data[0] == 'H')
        helloInput(data + 1, size - 1);
    else
        linkInput(data + 1, size - 1, data[0] % size);
    return 0;
}

void
fuzzSetUp(void)
{
}

/* What the other end of a link sends: the seed is what a link wrote. */
static void
linkSeed(const char *folder)
{
    static const linkHandlers handlers = { linkMessage, linkLost };
    g_autoptr(GMainContext) context = g_main_context_new();
    JsonObject *body = json_object_new();
    linkSeen seen = { 0 };
    uint8_t bytes[4096];
    ssize_t got;
    migLink *link;
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    link = linkNew(context, helloConnOf(fds[0]), 0, 0, &handlers, &seen, NULL);
    json_object_set_string_member(body, "text", "the disk is gone");
    linkNotify(link, "error", body);
    linkReply(link, 7, NULL, "no");
    linkReply(link, 1, NULL, NULL);
    linkNotify(link, "stats", NULL);
    linkClose(link);
    bytes[0] = 3;
    got = recv(fds[1], bytes + 1, sizeof(bytes) - 1, MSG_DONTWAIT);
    g_assert_cmpint(got, >, 0);
    fuzzSeed(folder, "frames", bytes, (size_t)got + 1);
    close(fds[1]);
    linkUnref(link);
    while (g_main_context_iteration(context, FALSE))
        continue;
}

/* A request has an id, which only requests get; so this frame is put together here. */
static void
requestSeed(const char *folder)
{
    static const char text[] = "{\"type\":\"resolve\",\"id\":9,\"body\":{\"migration\":\"x\"}}";
    uint8_t bytes[sizeof(text) + 4] = { 200, 0, 0, 0, sizeof(text) - 1 };

    memcpy(bytes + 5, text, sizeof(text) - 1);
    fuzzSeed(folder, "request", bytes, sizeof(bytes));
}

void
fuzzSeeds(const char *folder)
{
    const hello h = { .role = HELLO_DATA, .index = 3, .token = { 1, 2, 3 } };
    g_autofree uint8_t *record = helloWrite(&h);
    g_autofree uint8_t *bytes = g_malloc(helloSize() + 1);

    bytes[0] = 'H';
    memcpy(bytes + 1, record, helloSize());
    fuzzSeed(folder, "hello", bytes, helloSize() + 1);
    linkSeed(folder);
    requestSeed(folder);
}
