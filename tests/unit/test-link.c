/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault.h"
#include "remote/json.h"
#include "remote/link.h"

#include "io-thread.h"

/* One end, with a thread of its own as on a host of its own. */
/* For a frame. */
#define TOO_LONG (4 * 1024 * 1024)

typedef struct {
    ioThread io;
    migLink *link;
    GMutex lock;
    GString *seen;          /* "TYPE:BODY " each; guarded by lock */
    GError *why;            /* guarded by lock */
    gint messages, lost, freed, work;   /* atomic */
    migLink *replyTo;       /* of the request "later" */
    guint64 replyId;
} end;

typedef struct {
    guint fds;
    int raw[2];
    end a, b;
    bool made[2];
} fixture;

static void
onMessage(migLink *link, const char *type, JsonObject *body, bool wantsReply, guint64 id,
          void *opaque)
{
    end *e = opaque;
    g_autofree char *text = jsonFormatObject(body, NULL);

    g_mutex_lock(&e->lock);
    g_string_append_printf(e->seen, "%s:%s ", type, strlen(text) < 100 ? text : "long");
    if (g_str_equal(type, "later")) {
        e->replyTo = linkRef(link);
        e->replyId = id;
    }
    g_mutex_unlock(&e->lock);
    g_assert_cmpint(wantsReply, ==, id != 0);

    if (g_str_equal(type, "echo"))
        linkReply(link, id, json_object_ref(body), NULL);
    if (g_str_equal(type, "fail"))
        linkReply(link, id, NULL, "it cannot be done");
    if (g_str_equal(type, "plain"))
        linkReply(link, id, NULL, NULL);
    if (g_str_equal(type, "huge")) {
        JsonObject *huge = json_object_new();
        g_autofree char *fill = g_strnfill(TOO_LONG, 'x');

        json_object_set_string_member(huge, "x", fill);
        linkReply(link, id, huge, NULL);
    }
    if (g_str_equal(type, "close"))
        linkClose(link);
    g_atomic_int_inc(&e->messages);
}

static void
onLost(migLink *link G_GNUC_UNUSED, const GError *why, void *opaque)
{
    end *e = opaque;

    g_mutex_lock(&e->lock);
    g_assert_null(e->why);
    e->why = g_error_copy(why);
    g_mutex_unlock(&e->lock);
    g_atomic_int_inc(&e->lost);
}

static void
onFree(gpointer opaque)
{
    g_atomic_int_inc(&((end *)opaque)->freed);
}

static const linkHandlers handlers = { .message = onMessage, .lost = onLost };

static void
makeEnd(fixture *f, int which, unsigned heartbeatMs, unsigned timeoutMs)
{
    end *e = which == 0 ? &f->a : &f->b;

    g_mutex_init(&e->lock);
    e->seen = g_string_new(NULL);
    ioThreadStart(&e->io);
    e->link = linkNew(e->io.context, helloConnOf(f->raw[which]), heartbeatMs, timeoutMs, &handlers, e, onFree);
    f->made[which] = true;
}

static void
setUp(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->fds = ioCountFds();
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->raw), ==, 0);
}

static void
setUpBoth(fixture *f, gconstpointer data)
{
    setUp(f, data);
    makeEnd(f, 0, 50, 2000);
    makeEnd(f, 1, 50, 2000);
}

static void
dropEnd(end *e)
{
    linkUnref(e->link);
    e->link = NULL;
}

static void
tearDown(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    end *ends[] = { &f->a, &f->b };

    for (int i = 0; i < 2; i++) {
        if (f->made[i])
            dropEnd(ends[i]);
    }
    for (int i = 0; i < 2; i++) {
        if (!f->made[i])
            continue;
        g_assert_true(ioWaitFlag(&ends[i]->freed, 1));
        ioThreadStop(&ends[i]->io);
        g_string_free(ends[i]->seen, TRUE);
        g_clear_error(&ends[i]->why);
        g_mutex_clear(&ends[i]->lock);
    }
    g_assert_cmpuint(ioCountFds(), ==, f->fds);
}

static JsonObject *
body(gint64 n)
{
    JsonObject *object = json_object_new();

    json_object_set_int_member(object, "n", n);
    return object;
}

static void
assertLost(end *e, int code, const char *text)
{
    g_assert_true(ioWaitFlag(&e->lost, 1));
    ioThreadDrain(&e->io);
    g_assert_cmpint(e->lost, ==, 1);
    g_mutex_lock(&e->lock);
    g_assert_error(e->why, BASE_ERROR, code);
    if (!strstr(e->why->message, text))
        g_error("expected '%s' in '%s'", text, e->why->message);
    g_mutex_unlock(&e->lock);
    g_assert_false(linkIsAlive(e->link));
}

/* A frame on a raw socket. */
static void
writeFrame(int fd, const char *text)
{
    size_t len = strlen(text);
    const guint8 head[4] = { 0, 0, (guint8)(len >> 8), (guint8)len };

    g_assert_cmpint(send(fd, head, 4, MSG_NOSIGNAL), ==, 4);
    g_assert_cmpint(send(fd, text, len, MSG_NOSIGNAL), ==, (ssize_t)len);
}

static void
testRequests(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    JsonObject *reply = linkRequest(f->a.link, "echo", body(5), 5000, &error);

    g_assert_no_error(error);
    g_assert_cmpint(jsonGetInt(reply, "n", 0), ==, 5);
    json_object_unref(reply);
    reply = linkRequest(f->b.link, "plain", NULL, 5000, &error);      /* the other way round */
    g_assert_no_error(error);
    g_assert_cmpuint(json_object_get_size(reply), ==, 0);
    json_object_unref(reply);
    g_assert_null(linkRequest(f->a.link, "fail", NULL, 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_cmpstr(error->message, ==, "it cannot be done");
    g_clear_error(&error);
    g_assert_null(linkRequest(f->a.link, "huge", NULL, 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, "too long"));
    g_assert_cmpstr(f->b.seen->str, ==, "echo:{\"n\":5} fail:{} huge:{} ");
}

static void
testOrder(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GString) wanted = g_string_new(NULL);
    g_autofree char *fill = g_strnfill(60000, 'y');

    for (int i = 0; i < 200; i++) {
        JsonObject *object = body(i);

        linkNotify(f->a.link, "note", object);
        g_string_append_printf(wanted, "note:{\"n\":%d} ", i);
        if (i % 50 == 0) {
            JsonObject *big = json_object_new();

            json_object_set_string_member(big, "big", fill);
            linkNotify(f->a.link, "big", big);
            g_string_append(wanted, "big:long ");
        }
    }
    g_assert_true(ioWaitFlag(&f->b.messages, 204));
    g_assert_cmpstr(f->b.seen->str, ==, wanted->str);
}

static gpointer
askMany(gpointer opaque)
{
    for (int i = 0; i < 50; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonObject) reply = linkRequest(opaque, "echo", body(i), 5000, &error);

        g_assert_no_error(error);
        g_assert_cmpint(jsonGetInt(reply, "n", -1), ==, i);
    }
    return NULL;
}

static void
testConcurrent(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    GThread *threads[6];

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("asker", askMany, i % 2 ? f->a.link : f->b.link);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
}

static gpointer
askLater(gpointer opaque)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) reply = linkRequest(opaque, "later", NULL, 5000, &error);

    g_assert_no_error(error);
    g_assert_cmpint(jsonGetInt(reply, "n", 0), ==, 9);
    return NULL;
}

static void
testLater(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    GThread *thread = g_thread_new("asker", askLater, f->a.link);

    g_assert_true(ioWaitFlag(&f->b.messages, 1));
    linkReply(f->b.replyTo, f->b.replyId, body(9), NULL);
    g_thread_join(thread);
    linkReply(f->b.replyTo, f->b.replyId, body(9), NULL);      /* a second time: ignored */
    linkReply(f->b.replyTo, 777, body(9), NULL);               /* to nothing: ignored */
    linkUnref(f->b.replyTo);
    g_assert_true(linkIsAlive(f->a.link));
}

static void
testRequestTimeout(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) reply = NULL;

    g_assert_null(linkRequest(f->a.link, "later", NULL, 30, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_clear_error(&error);
    g_assert_true(ioWaitFlag(&f->b.messages, 1));
    linkReply(f->b.replyTo, f->b.replyId, body(1), NULL);
    linkUnref(f->b.replyTo);
    reply = linkRequest(f->a.link, "echo", body(2), 5000, &error);
    g_assert_no_error(error);
    g_assert_cmpint(jsonGetInt(reply, "n", 0), ==, 2);          /* not the late one */
}

static void
testTooLong(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *fill = g_strnfill(TOO_LONG, 'z');
    JsonObject *big = json_object_new();

    json_object_set_string_member(big, "big", fill);
    g_assert_null(linkRequest(f->a.link, "echo", json_object_ref(big), 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INTERNAL);
    g_assert_false(linkNotify(f->a.link, "note", big));
    /* A definition of a megabyte is none too long. */
    big = json_object_new();
    json_object_set_string_member(big, "big", fill + TOO_LONG - 1000000);
    g_assert_true(linkNotify(f->a.link, "note", big));
    g_assert_true(linkIsAlive(f->a.link));
}

/* The last word arrives, however much was queued before, and the other side hears that it was no
 * accident. */
static void
testClose(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *fill = g_strnfill(60000, 'y');
    g_autoptr(GError) error = NULL;

    for (int i = 0; i < 20; i++) {
        JsonObject *big = json_object_new();

        json_object_set_string_member(big, "big", fill);
        linkNotify(f->a.link, "big", big);
    }
    linkNotify(f->a.link, "outcome", body(1));
    linkClose(f->a.link);
    linkClose(f->a.link);
    g_assert_false(linkIsAlive(f->a.link));
    linkNotify(f->a.link, "note", body(2));                    /* too late, harmless */
    g_assert_null(linkRequest(f->a.link, "echo", NULL, 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    assertLost(&f->b, BASE_ERROR_OPERATION_FAILED, "closed the link");
    g_assert_true(g_str_has_suffix(f->b.seen->str, "big:long outcome:{\"n\":1} "));
    g_assert_cmpint(f->a.lost, ==, 0);
}

static void
testCloseInside(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(linkRequest(f->a.link, "close", NULL, 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    assertLost(&f->a, BASE_ERROR_OPERATION_FAILED, "closed the link");
    g_assert_cmpint(f->b.lost, ==, 0);
}

static gboolean
askInContext(gpointer opaque)
{
    end *e = opaque;
    g_autoptr(GError) error = NULL;

    g_assert_null(linkRequest(e->link, "echo", NULL, 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INTERNAL);
    g_atomic_int_inc(&e->work);
    return G_SOURCE_REMOVE;
}

static void
testWrongThread(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_main_context_invoke(f->a.io.context, askInContext, &f->a);
    g_assert_true(ioWaitFlag(&f->a.work, 1));
}

/* ---- a peer that is no link ---------------------------------------------------------------- */

static void
testSilence(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gint64 start = g_get_monotonic_time();

    makeEnd(f, 0, 20, 80);
    assertLost(&f->a, BASE_ERROR_TIMEOUT, "Nothing was heard");
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 80000);
    close(f->raw[1]);
}

static gboolean
sleepInContext(gpointer e)
{
    g_usleep(200000);
    g_atomic_int_inc(&((end *)e)->work);
    return G_SOURCE_REMOVE;
}

/* Heartbeats alone keep a link alive, also over a time in which this side could not listen. */
static void
testHeartbeat(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    makeEnd(f, 0, 20, 100);
    makeEnd(f, 1, 20, 2000);
    g_usleep(250000);
    g_assert_true(linkIsAlive(f->a.link));
    g_main_context_invoke(f->a.io.context, sleepInContext, &f->a);
    g_assert_true(ioWaitFlag(&f->a.work, 1));
    ioThreadDrain(&f->a.io);
    g_assert_true(linkIsAlive(f->a.link));
    g_assert_true(linkIsAlive(f->b.link));
    g_assert_cmpint(f->a.messages, ==, 0);
}

/* Without a word about heartbeats, however impatient both sides are. */
static void
testImpatient(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    makeEnd(f, 0, 0, 200);
    makeEnd(f, 1, 0, 200);
    g_usleep(700000);
    g_assert_true(linkIsAlive(f->a.link));
    g_assert_true(linkIsAlive(f->b.link));
}

static const struct { const char *bytes; size_t len; const char *text; } nonsense[] = {
    { "HTTP/1.1 400", 12, "longer than allowed" },
    { "\0\x40\0\1", 4, "longer than allowed" },
    { "\xff\xff\xff\xff", 4, "longer than allowed" },
    { "\0\0\0\2[]", 6, "makes no sense" },
    { "\0\0\0\2{}", 6, "no type" },
    { "\0\0\0\1{", 5, "makes no sense" },
    { "\0\0\0\0", 4, "makes no sense" },
    { "\0\0\0\012{\"type\":1}", 14, "no type" },
    { "\0\0\0\017{\"type\":\"\xff\xfe\xff\"}", 19, "makes no sense" },
};

static void
testNonsense(fixture *f, gconstpointer data)
{
    const size_t i = GPOINTER_TO_SIZE(data);

    makeEnd(f, 0, 1000, 5000);
    g_assert_cmpint(send(f->raw[1], nonsense[i].bytes, nonsense[i].len, 0), ==,
                    (ssize_t)nonsense[i].len);
    assertLost(&f->a, BASE_ERROR_OPERATION_FAILED, nonsense[i].text);
    close(f->raw[1]);
}

static void
testPieces(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char bytes[] =
        "\0\0\0\014{\"type\":\"a\"}\0\0\0\014{\"type\":\"b\"}\0\0\0\014{\"typ";

    makeEnd(f, 0, 1000, 5000);
    for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
        g_assert_cmpint(send(f->raw[1], bytes + i, 1, MSG_NOSIGNAL), ==, 1);
        ioThreadDrain(&f->a.io);
    }
    g_assert_true(ioWaitFlag(&f->a.messages, 2));
    g_assert_cmpstr(f->a.seen->str, ==, "a:{} b:{} ");
    close(f->raw[1]);
    assertLost(&f->a, BASE_ERROR_OPERATION_FAILED, "without a farewell");
}

/* Messages that arrived before the end are handled before it is told. */
static void
testDeath(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    makeEnd(f, 0, 1000, 5000);
    writeFrame(f->raw[1], "{\"type\":\"last\",\"body\":{\"n\":1},\"id\":3}");
    close(f->raw[1]);
    assertLost(&f->a, BASE_ERROR_OPERATION_FAILED, "without a farewell");
    g_assert_cmpstr(f->a.seen->str, ==, "last:{\"n\":1} ");
}

static gpointer
askDying(gpointer opaque)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(linkRequest(opaque, "echo", NULL, 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    return NULL;
}

static void
testDeathWhileAsking(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    GThread *thread;
    char bytes[100];

    makeEnd(f, 0, 1000, 5000);
    thread = g_thread_new("asker", askDying, f->a.link);
    g_assert_cmpint(recv(f->raw[1], bytes, sizeof(bytes), 0), >, 4);    /* the request is here */
    close(f->raw[1]);
    g_thread_join(thread);
    assertLost(&f->a, BASE_ERROR_OPERATION_FAILED, "ended");
}

/* A peer that is alive but reads nothing must not make us keep everything. */
static void
testNoReader(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *fill = g_strnfill(60000, 'y');

    makeEnd(f, 0, 1000, 5000);
    for (int i = 0; i < 200; i++) {
        JsonObject *big = json_object_new();

        json_object_set_string_member(big, "big", fill);
        linkNotify(f->a.link, "big", big);
    }
    assertLost(&f->a, BASE_ERROR_OPERATION_FAILED, "takes nothing");
    close(f->raw[1]);
}

/* Closing towards a peer that neither reads nor closes takes a moment, not for ever. */
static void
testCloseNoReader(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gint64 start = g_get_monotonic_time();

    makeEnd(f, 0, 1000, 5000);
    linkClose(f->a.link);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 500000);
    dropEnd(&f->a);
    g_assert_true(ioWaitFlag(&f->a.freed, 1));
    close(f->raw[1]);
}

static void
testFaults(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
#ifdef SV_FAULT_POINTS
    g_assert_true(faultArm("link-send:fail:1", NULL));
    linkNotify(f->a.link, "note", NULL);
    assertLost(&f->a, BASE_ERROR_OPERATION_FAILED, "broke");
    assertLost(&f->b, BASE_ERROR_OPERATION_FAILED, "without a farewell");
    g_assert_true(faultArm(NULL, NULL));
#else
    (void)f;
    g_test_skip("built without fault points");
#endif
}

#define ADD(name, init, func) g_test_add("/link/" name, fixture, NULL, init, func, tearDown)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    ADD("requests", setUpBoth, testRequests);
    ADD("order", setUpBoth, testOrder);
    ADD("concurrent", setUpBoth, testConcurrent);
    ADD("later", setUpBoth, testLater);
    ADD("request-timeout", setUpBoth, testRequestTimeout);
    ADD("too-long", setUpBoth, testTooLong);
    ADD("close", setUpBoth, testClose);
    ADD("close-inside", setUpBoth, testCloseInside);
    ADD("wrong-thread", setUpBoth, testWrongThread);
    ADD("silence", setUp, testSilence);
    ADD("heartbeat", setUp, testHeartbeat);
    ADD("impatient", setUp, testImpatient);
    for (size_t i = 0; i < G_N_ELEMENTS(nonsense); i++) {
        g_autofree char *path = g_strdup_printf("/link/nonsense/%zu", i);

        g_test_add(path, fixture, GSIZE_TO_POINTER(i), setUp, testNonsense, tearDown);
    }
    ADD("pieces", setUp, testPieces);
    ADD("death", setUp, testDeath);
    ADD("death-while-asking", setUp, testDeathWhileAsking);
    ADD("no-reader", setUp, testNoReader);
    ADD("close-no-reader", setUp, testCloseNoReader);
    ADD("faults", setUpBoth, testFaults);
    return g_test_run();
}
