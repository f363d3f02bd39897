/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/fault.h"
#include "remote/control.h"

#include "fake-qmp.h"
#include "io-thread.h"

typedef struct {
    ioThread io;
    fakeQmp fake;
    control *ctl;
    guint fds;
    GMutex lock;
    GString *events;         /* "NAME@stamp " each; guarded by lock */
    GError *why;             /* of closed(); guarded by lock */
    gint closed;             /* atomic */
    gint freed;              /* atomic */
    gint held;               /* atomic */
} fixture;

static void
onEvent(control *ctl G_GNUC_UNUSED, const char *name, JsonObject *data, gint64 stamp, void *opaque)
{
    fixture *f = opaque;

    g_mutex_lock(&f->lock);
    g_string_append_printf(f->events, "%s%s@%" G_GINT64_FORMAT " ", name, data ? "+" : "", stamp);
    g_mutex_unlock(&f->lock);
}

static void
onClosed(control *ctl, const GError *why, void *opaque)
{
    fixture *f = opaque;

    g_mutex_lock(&f->lock);
    f->why = g_error_copy(why);
    g_mutex_unlock(&f->lock);
    controlClose(ctl);                  /* harmless from within */
    g_atomic_int_inc(&f->closed);
}

static void
onFree(gpointer opaque)
{
    g_atomic_int_inc(&((fixture *)opaque)->freed);
}

/* Keeps the context's thread busy from held == 1 to held == 2. */
static gboolean
holdContext(gpointer opaque)
{
    fixture *f = opaque;

    g_atomic_int_set(&f->held, 1);
    while (g_atomic_int_get(&f->held) != 2)
        g_usleep(500);
    return G_SOURCE_REMOVE;
}

static const controlHandlers handlers = { .event = onEvent, .closed = onClosed };

static void
setUp(fixture *f, gconstpointer steps G_GNUC_UNUSED)
{
    f->fds = ioCountFds();
    ioThreadStart(&f->io);
    g_mutex_init(&f->lock);
    f->events = g_string_new(NULL);
    f->ctl = controlNew(f->io.context, "guest", &handlers, f, onFree);
}

static void
tearDown(fixture *f, gconstpointer steps G_GNUC_UNUSED)
{
    controlUnref(f->ctl);
    ioThreadStop(&f->io);
    /* Nothing is left: no reference, no descriptor. */
    g_assert_cmpint(f->freed, ==, 1);
    g_assert_cmpuint(ioCountFds(), ==, f->fds);
    g_string_free(f->events, TRUE);
    g_clear_error(&f->why);
    g_mutex_clear(&f->lock);
}

#define START(f, ...) \
    static const fakeStep steps[] = { __VA_ARGS__ }; \
    fakeQmpStart(&(f)->fake, steps, G_N_ELEMENTS(steps))

#define OPEN(f) \
    G_STMT_START { \
        GError *openError = NULL; \
        controlOpenFd((f)->ctl, (f)->fake.clientFd, 5000, &openError); \
        g_assert_no_error(openError); \
    } G_STMT_END

static void
assertClosed(fixture *f, const char *reason)
{
    g_assert_true(ioWaitFlag(&f->closed, 1));
    ioThreadDrain(&f->io);
    g_assert_cmpint(f->closed, ==, 1);
    g_mutex_lock(&f->lock);
    if (!strstr(f->why->message, reason))
        g_error("expected '%s' in '%s'", reason, f->why->message);
    g_mutex_unlock(&f->lock);
}

static void
testPieces(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = NULL;
    JsonObject *arguments = json_object_new();

    START(f, { FAKE_SEND, "{\"QMP\":" }, { FAKE_SEND, "{}" }, { FAKE_SEND, "}\r" },
          { FAKE_SEND, "\n" },
          { FAKE_EXPECT, "qmp_capabilities" },
          { FAKE_SEND, "\r\n{\"ret" }, { FAKE_SEND, "urn\":{}}\n" },
          { FAKE_EXPECT, "\"arguments\":{\"a\":\"\\\"x\\n\"}" },
          { FAKE_SEND, "{\"return\":{\"b\":[1]},\"id\":\"$ID\"}\n" },
          { FAKE_EOF, NULL });
    OPEN(f);
    json_object_set_string_member(arguments, "a", "\"x\n");
    answer = controlCall(f->ctl, "try", arguments, -1, 0, &error);
    g_assert_no_error(error);
    g_assert_true(json_object_has_member(json_node_get_object(answer), "b"));
    controlClose(f->ctl);
    controlClose(f->ctl);
    fakeQmpJoin(&f->fake);
    ioThreadDrain(&f->io);
    g_assert_cmpint(f->closed, ==, 0);   /* our own doing */
}

static void
testIds(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    JsonNode *answer;

    START(f, FAKE_HANDSHAKE,
          { FAKE_EXPECT, "one" },
          { FAKE_SEND, "{\"return\":1,\"id\":\"foreign\"}\n" },
          { FAKE_SEND, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such one\"},"
                       "\"id\":\"$ID\"}\n" },
          { FAKE_EXPECT, "two" },
          { FAKE_SEND, "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"\"}}\n" },
          { FAKE_EXPECT, "three" },
          { FAKE_SEND, "{\"return\":3}\n" },
          { FAKE_SEND, "{\"return\":4,\"id\":\"$ID\"}\n" },
          { FAKE_EXPECT, "four" },
          FAKE_OK);
    OPEN(f);
    answer = controlCall(f->ctl, "one", NULL, -1, 0, &error);
    g_assert_null(answer);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, "no such one"));
    g_assert_nonnull(strstr(error->message, "guest"));
    g_clear_error(&error);

    answer = controlCall(f->ctl, "two", NULL, -1, 0, &error);
    g_assert_null(answer);
    g_assert_nonnull(strstr(error->message, "CommandNotFound"));
    g_clear_error(&error);

    answer = controlCall(f->ctl, "three", NULL, -1, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpint(json_node_get_int(answer), ==, 3);
    json_node_unref(answer);

    answer = controlCall(f->ctl, "four", NULL, -1, 0, &error);
    g_assert_no_error(error);
    json_node_unref(answer);
    fakeQmpJoin(&f->fake);
}

static void
testEvents(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = NULL;

    START(f, FAKE_HANDSHAKE,
          { FAKE_EXPECT, "stop" },
          { FAKE_SEND,
            "{\"event\":\"A\",\"timestamp\":{\"seconds\":1700000000,\"microseconds\":123456}}\n"
            "{\"event\":\"B\",\"data\":{\"x\":1},"
            "\"timestamp\":{\"seconds\":-1,\"microseconds\":-1}}\n"
            "{\"return\":{},\"id\":\"$ID\"}\n{\"event\":\"C\"}\n" },
          { FAKE_EOF, NULL });
    OPEN(f);
    answer = controlCall(f->ctl, "stop", NULL, -1, 0, &error);
    g_assert_no_error(error);
    /* What came before the answer has been handled before the call returned. */
    g_mutex_lock(&f->lock);
    g_assert_true(g_str_has_prefix(f->events->str, "A@1700000000123 B+@0 "));
    g_mutex_unlock(&f->lock);
    ioThreadDrain(&f->io);
    g_assert_cmpstr(f->events->str, ==, "A@1700000000123 B+@0 C@0 ");
    controlClose(f->ctl);
    fakeQmpJoin(&f->fake);
}

/* An answer whose line feed is late has another thread's event in it, and one may be quicker than the greeting, as with StratoVirt 2.4. */
static void
testInterleaved(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(JsonNode) next = NULL;

    START(f, { FAKE_SEND, "{\"event\":\"EARLY\"}\r\n" }, FAKE_HANDSHAKE,
          { FAKE_EXPECT, "query-migrate" },
          { FAKE_SEND, "{\"return\":{\"a\":1},\"id\":\"$ID\"}\r{\"event\":\"STOP\"}\r\n\n" },
          { FAKE_EXPECT, "query-migrate" },
          { FAKE_SEND, "{\"event\":\"RESUME\"}\r\n{\"return\":{},\"id\":\"$ID\"}\r" },
          { FAKE_EOF, NULL });
    OPEN(f);
    answer = controlCall(f->ctl, "query-migrate", NULL, -1, 0, &error);
    g_assert_no_error(error);
    g_assert_true(json_object_has_member(json_node_get_object(answer), "a"));
    next = controlCall(f->ctl, "query-migrate", NULL, -1, 0, &error);
    g_assert_no_error(error);
    ioThreadDrain(&f->io);
    g_assert_cmpstr(f->events->str, ==, "STOP@0 RESUME@0 ");
    controlClose(f->ctl);
    fakeQmpJoin(&f->fake);
}

/* Each of these texts ends the connection, for the reason given. */
static const struct { const char *text, *reason; } nonsense[] = {
    { "hello\n", "not a JSON object" },
    { "[1,2]\n", "not a JSON object" },
    { "{\"re\": 1}\n", "neither" },
    { "{\"return\":{}\n", "not JSON" },
    { "{\"return\":\"\xff\xfe\"}\n", "not JSON" },
    { "{\"event\":7}\n", "neither" },
    { "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
      "deeper" },
};

static void
testNonsense(fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    const size_t i = GPOINTER_TO_SIZE(data);
    fakeStep steps[] = { FAKE_HANDSHAKE, { FAKE_EXPECT, "try" }, { FAKE_SEND, nonsense[i].text },
                         { FAKE_EOF, NULL } };

    fakeQmpStart(&f->fake, steps, G_N_ELEMENTS(steps));
    OPEN(f);
    g_assert_null(controlCall(f->ctl, "try", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    g_assert_nonnull(strstr(error->message, nonsense[i].reason));
    assertClosed(f, nonsense[i].reason);
    g_clear_error(&error);
    g_assert_null(controlCall(f->ctl, "again", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    fakeQmpJoin(&f->fake);
}

static void
testOversize(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static char block[1024 * 1024 + 1];
    g_autoptr(GError) error = NULL;

    memset(block, ' ', sizeof(block) - 1);
    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "try" }, { FAKE_FLOOD, block });
    OPEN(f);
    g_assert_null(controlCall(f->ctl, "try", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    assertClosed(f, "more than 16777216 bytes");
    fakeQmpJoin(&f->fake);
}

static void
testTruncated(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "try" }, { FAKE_SEND, "{\"return\":" },
          { FAKE_CLOSE, NULL });
    OPEN(f);
    g_assert_null(controlCall(f->ctl, "try", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    assertClosed(f, "in the middle");
    fakeQmpJoin(&f->fake);
}

static void
testDeath(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "try" },
          { FAKE_SEND, "{\"event\":\"SHUTDOWN\"}\n" }, { FAKE_CLOSE, NULL });
    OPEN(f);
    g_assert_null(controlCall(f->ctl, "try", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    g_assert_nonnull(strstr(error->message, "'try'"));
    assertClosed(f, "closed its control socket.");
    g_assert_cmpstr(f->events->str, ==, "SHUTDOWN@0 ");
    fakeQmpJoin(&f->fake);
}

static void
testBadGreeting(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const greetings[] = {
        "SSH-2.0-x\r\n", "{\"QMP\":7}\n", "{\"return\":{}}\n",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(greetings); i++) {
        g_autoptr(GError) error = NULL;
        fakeStep steps[] = { { FAKE_SEND, greetings[i] }, { FAKE_EOF, NULL } };

        fakeQmpStart(&f->fake, steps, G_N_ELEMENTS(steps));
        g_assert_false(controlOpenFd(f->ctl, f->fake.clientFd, 5000, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        fakeQmpJoin(&f->fake);
    }
    g_assert_cmpint(f->closed, ==, 0);
}

static void
testSilentGreeting(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    {
        START(f, { FAKE_EOF, NULL });
        g_assert_false(controlOpenFd(f->ctl, f->fake.clientFd, 50, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
        fakeQmpJoin(&f->fake);
    }
    g_clear_error(&error);
    {
        START(f, { FAKE_SEND, FAKE_GREETING }, { FAKE_EOF, NULL });   /* and then nothing more */
        g_assert_false(controlOpenFd(f->ctl, f->fake.clientFd, 50, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
        fakeQmpJoin(&f->fake);
    }
    g_clear_error(&error);
    {
        START(f, FAKE_HANDSHAKE, { FAKE_EOF, NULL });
        OPEN(f);                                                      /* a failure is no end */
        g_assert_false(controlOpenFd(f->ctl, dup(0), 50, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID);
        controlClose(f->ctl);
        fakeQmpJoin(&f->fake);
    }
}

static void
testSilentCall(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    JsonNode *answer;

    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "slow" }, { FAKE_GATE, NULL }, FAKE_OK,
          { FAKE_EXPECT, "quick" }, { FAKE_SEND, "{\"return\":2,\"id\":\"$ID\"}\n" },
          { FAKE_EXPECT, "last" }, { FAKE_GATE, NULL }, { FAKE_CLOSE, NULL });
    OPEN(f);
    g_assert_null(controlCall(f->ctl, "slow", NULL, -1, 30, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_clear_error(&error);
    /* The VMM must not get a second request while it owes an answer. */
    g_assert_null(controlCall(f->ctl, "quick", NULL, -1, 30, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_assert_nonnull(strstr(error->message, "'slow'"));
    g_clear_error(&error);
    fakeQmpOpenGate(&f->fake);
    answer = controlCall(f->ctl, "quick", NULL, -1, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpint(json_node_get_int(answer), ==, 2);
    json_node_unref(answer);
    g_assert_cmpint(f->closed, ==, 0);

    /* An abandoned call and then the end. */
    g_assert_null(controlCall(f->ctl, "last", NULL, -1, 30, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    fakeQmpOpenGate(&f->fake);
    assertClosed(f, "closed its control socket.");
    fakeQmpJoin(&f->fake);
}

static void
testPassFd(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = NULL;
    int pair[2];
    char c = 0;

    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "getfd" }, FAKE_OK);
    OPEN(f);
    g_assert_cmpint(pipe(pair), ==, 0);
    answer = controlCall(f->ctl, "getfd", NULL, pair[1], 0, &error);
    g_assert_no_error(error);
    g_thread_join(g_thread_ref(f->fake.thread));
    g_assert_cmpint(f->fake.passedFd, >=, 0);
    g_assert_cmpint(write(f->fake.passedFd, "x", 1), ==, 1);
    g_assert_cmpint(read(pair[0], &c, 1), ==, 1);
    g_assert_cmpint(c, ==, 'x');
    close(pair[0]);
    close(pair[1]);
    if (f->fake.passedFd >= 0)
        close(f->fake.passedFd);
    f->fake.passedFd = -1;
    close(f->fake.fd);
    g_string_free(f->fake.received, TRUE);
    g_free(f->fake.id);
    g_thread_unref(f->fake.thread);
}

static void
testBigRequest(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = NULL;
    g_autofree char *big = g_strnfill(3 * 1024 * 1024, 'b');
    JsonObject *arguments = json_object_new();

    /* More than the socket's buffer, so the rest must be sent later. */
    START(f, FAKE_HANDSHAKE, { FAKE_GATE, NULL }, { FAKE_EXPECT, "bbb\"}" }, FAKE_OK);
    OPEN(f);
    json_object_set_string_member(arguments, "big", big);
    fakeQmpOpenGate(&f->fake);
    answer = controlCall(f->ctl, "big", arguments, -1, 0, &error);
    g_assert_no_error(error);
    fakeQmpJoin(&f->fake);
}

/* The peer takes not one byte: the call times out; its descriptor's copy goes with the control. */
static void
testFullSocket(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *big = g_strnfill(3 * 1024 * 1024, 'b');
    JsonObject *arguments = json_object_new();

    START(f, FAKE_HANDSHAKE, { FAKE_GATE, NULL }, { FAKE_EOF, NULL });
    OPEN(f);
    json_object_set_string_member(arguments, "big", big);
    g_assert_null(controlCall(f->ctl, "big", arguments, 0, 50, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    controlClose(f->ctl);
    fakeQmpOpenGate(&f->fake);
    fakeQmpJoin(&f->fake);
}

static gpointer
closeSoon(gpointer opaque)
{
    fixture *f = opaque;

    g_assert_true(ioWaitFlag(&f->fake.done, 4));      /* "wait" has arrived */
    controlClose(f->ctl);
    return NULL;
}

static void
testCloseWhileWaiting(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    GThread *thread;

    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "wait" }, { FAKE_EOF, NULL });
    OPEN(f);
    thread = g_thread_new("closer", closeSoon, f);
    g_assert_null(controlCall(f->ctl, "wait", NULL, -1, 5000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    g_thread_join(thread);
    ioThreadDrain(&f->io);
    g_assert_cmpint(f->closed, ==, 0);
    fakeQmpJoin(&f->fake);
}

/* The VMM is gone when we write, and what it said last still counts. */
static void
testGoneBefore(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    START(f, FAKE_HANDSHAKE, { FAKE_GATE, NULL }, { FAKE_SEND, "{\"event\":\"SHUTDOWN\"}\n" },
          { FAKE_CLOSE, NULL });
    OPEN(f);
    g_main_context_invoke(f->io.context, holdContext, f);
    g_assert_true(ioWaitFlag(&f->held, 1));
    fakeQmpOpenGate(&f->fake);
    g_thread_join(g_thread_ref(f->fake.thread));
    g_assert_null(controlCall(f->ctl, "try", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    g_atomic_int_set(&f->held, 2);
    assertClosed(f, "closed its control socket.");
    g_assert_cmpstr(f->events->str, ==, "SHUTDOWN@0 ");
    g_string_free(f->fake.received, TRUE);
    g_free(f->fake.id);
    g_thread_unref(f->fake.thread);
}

/* It closes without having read what we sent. */
static void
testReset(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "one" }, { FAKE_GATE, NULL }, { FAKE_CLOSE, NULL });
    OPEN(f);
    controlLimitThread(30);
    g_assert_null(controlCall(f->ctl, "one", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_clear_error(&error);
    controlLimitThread(0);
    fakeQmpOpenGate(&f->fake);
    assertClosed(f, "closed its control socket.");
    fakeQmpJoin(&f->fake);
}

#define CALLERS 8
#define CALLS 40

static gpointer
callMany(gpointer opaque)
{
    for (int i = 0; i < CALLS; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) answer = controlCall(opaque, "many", NULL, -1, 0, &error);

        g_assert_no_error(error);
    }
    return NULL;
}

static void
testManyCallers(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree fakeStep *steps = g_new0(fakeStep, 3 + 2 * CALLERS * CALLS);
    const fakeStep handshake[] = { FAKE_HANDSHAKE };
    GThread *threads[CALLERS];

    memcpy(steps, handshake, sizeof(handshake));
    for (size_t i = 0; i < CALLERS * CALLS; i++) {
        steps[3 + 2 * i] = (fakeStep){ FAKE_EXPECT, "many" };   /* also: never two at once */
        steps[4 + 2 * i] = (fakeStep)FAKE_OK;
    }
    fakeQmpStart(&f->fake, steps, 3 + 2 * CALLERS * CALLS);
    OPEN(f);
    for (size_t i = 0; i < CALLERS; i++)
        threads[i] = g_thread_new("caller", callMany, f->ctl);
    for (size_t i = 0; i < CALLERS; i++)
        g_thread_join(threads[i]);
    fakeQmpJoin(&f->fake);
}

static gboolean
callInContext(gpointer opaque)
{
    fixture *f = opaque;
    g_autoptr(GError) error = NULL;

    g_assert_null(controlCall(f->ctl, "try", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INTERNAL);
    g_clear_error(&error);
    g_assert_false(controlOpenFd(f->ctl, dup(0), 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INTERNAL);
    return G_SOURCE_REMOVE;
}

static void
testWrongThread(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_main_context_invoke(f->io.context, callInContext, f);
    ioThreadDrain(&f->io);
}

static void
testPath(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *dir = g_dir_make_tmp("control-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    g_autofree char *longPath = g_strnfill(120, 'l');
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int server;

    g_assert_false(controlOpen(f->ctl, path, 1000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, path));
    g_clear_error(&error);
    g_assert_false(controlOpen(f->ctl, longPath, 1000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_clear_error(&error);

    strcpy(address.sun_path, path);
    server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(server, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_false(controlOpen(f->ctl, path, 1000, &error));   /* refused: nobody listens */
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_clear_error(&error);

    /* A full backlog, then nobody greets. */
    g_assert_cmpint(listen(server, 0), ==, 0);
    g_assert_false(controlOpen(f->ctl, path, 50, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_clear_error(&error);
    g_assert_false(controlOpen(f->ctl, path, 50, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    close(server);
    g_unlink(path);
    g_rmdir(dir);
}

static void
testFaults(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
#ifdef SV_FAULT_POINTS
    g_autoptr(GError) error = NULL;

    START(f, FAKE_HANDSHAKE, { FAKE_EXPECT, "one" }, FAKE_OK, { FAKE_EOF, NULL });
    OPEN(f);
    g_assert_true(faultArm("control-send,control-read:fail:1", NULL));
    g_assert_null(controlCall(f->ctl, "zero", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_clear_error(&error);
    g_assert_true(faultArm("control-read", NULL));
    g_assert_null(controlCall(f->ctl, "one", NULL, -1, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    g_assert_true(faultArm(NULL, NULL));
    fakeQmpJoin(&f->fake);
#else
    (void)f;
    g_test_skip("built without fault points");
#endif
}

#define ADD(name, func) g_test_add("/control/" name, fixture, NULL, setUp, func, tearDown)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    ADD("pieces", testPieces);
    ADD("ids", testIds);
    ADD("events", testEvents);
    ADD("interleaved", testInterleaved);
    for (size_t i = 0; i < G_N_ELEMENTS(nonsense); i++) {
        g_autofree char *path = g_strdup_printf("/control/nonsense/%zu", i);

        g_test_add(path, fixture, GSIZE_TO_POINTER(i), setUp, testNonsense, tearDown);
    }
    ADD("oversize", testOversize);
    ADD("truncated", testTruncated);
    ADD("death", testDeath);
    ADD("bad-greeting", testBadGreeting);
    ADD("silent-greeting", testSilentGreeting);
    ADD("silent-call", testSilentCall);
    ADD("pass-fd", testPassFd);
    ADD("big-request", testBigRequest);
    ADD("full-socket", testFullSocket);
    ADD("close-while-waiting", testCloseWhileWaiting);
    ADD("gone-before", testGoneBefore);
    ADD("reset", testReset);
    ADD("many-callers", testManyCallers);
    ADD("wrong-thread", testWrongThread);
    ADD("path", testPath);
    ADD("faults", testFaults);
    return g_test_run();
}
