/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-lease.c: a reservation of version 1 ends by itself as long as nobody has offered a guest for it */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/dest.h"
#include "migration/job_priv.h"

#include "free-port.h"
#include "io-thread.h"

#define LEASE_MS 300
#define LINK_MS 60000              /* the link itself does not end */
#define MIGRATION "0a0b0c0d-0001-4002-8003-000000000001"

typedef struct {
    ioThread io;
    migEnv env;
    char *dir;
    migJob *job;
    migCookie *answer;
    gint judged;                   /* atomic */
} world;

static bool
hostSave(void *host G_GNUC_UNUSED, const migRecord *record G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return true;
}

static const migHostOps hostOps = { .save = hostSave };

static bool
judge(migJob *job G_GNUC_UNUSED, const migCookie *remote G_GNUC_UNUSED, const migOffer *offer G_GNUC_UNUSED,
      const migCookieIo *io, void *opaque, GError **error G_GNUC_UNUSED)
{
    world *w = opaque;

    *io->out = g_strdup("<x/>");
    g_atomic_int_set(&w->judged, 1);
    return true;
}

static void
worldInit(world *w)
{
    static char *addresses[] = { (char *)"127.0.0.1", NULL };
    g_autoptr(GError) error = NULL;
    migRecord record = { .side = MIG_SIDE_DEST, .phase = MIG_PHASE_ABSENT, .uuid = (char *)MIGRATION };
    g_autofree char *text = NULL;
    g_autofree char *uri = NULL;
    migParams params = { 0 };
    int len = 0;
    migCookieIo io = { NULL, 0, &text, &len };

    memset(w, 0, sizeof(*w));
    ioThreadStart(&w->io);
    w->dir = g_dir_make_tmp("sv-lease-XXXXXX", NULL);
    w->env = (migEnv){
        .io = w->io.context, .threads = migThreadsNew(w->io.context), .listen = listenerNew(w->io.context),
        .ledger = migLedgerOpen(w->dir, 3600, &error),
        .hostName = (char *)"h2", .hostUuid = (char *)"22222222-2222-4222-8222-222222222222",
        .bootId = (char *)"boot", .instance = (char *)"i2", .addresses = addresses, .listenAddress = (char *)"127.0.0.1",
        .port = freePort(), .leaseMs = LEASE_MS, .connectTimeoutMs = 2000, .linkTimeoutMs = LINK_MS, .finishTimeoutMs = 2000,
    };
    g_assert_no_error(error);
    w->job = migJobNew(&w->env, &record, &hostOps, NULL, NULL);
    migOfferExpect(w->job, 1, judge, w, NULL);
    migJobEnter(w->job);
    g_assert_true(migDestListen(w->job, NULL, &params, &error));
    g_assert_true(migOfferReserve(w->job, &io, &uri, &error));
    migJobLeave(w->job);
    w->answer = migCookieParse(text, len, MIG_STEP_PREPARE, &error);
    g_assert_no_error(error);
}

static void
worldClear(world *w)
{
    migJobEnter(w->job);
    migJobEnd(w->job, MIG_RESULT_FAILED, NULL);
    migJobLeave(w->job);
    migThreadsStop(w->env.threads);
    migJobUnref(w->job);
    listenerFree(w->env.listen);
    ioThreadDrain(&w->io);
    ioThreadStop(&w->io);
    migThreadsFree(w->env.threads);
    migLedgerFree(w->env.ledger);
    migCookieFree(w->answer);
    g_assert_cmpint(rmdir(w->dir), ==, 0);
    g_free(w->dir);
}

static bool
isOver(world *w)
{
    g_auto(migStats) stats = { 0 };

    migJobGetStats(w->job, &stats);
    return stats.result != MIG_RESULT_RUNNING;
}

static bool
waitOver(world *w, gint64 ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    while (!isOver(w) && g_get_monotonic_time() < end)
        g_usleep(1000);
    return isOver(w);
}

static migLink *
connectLink(world *w)
{
    static const linkHandlers handlers = { NULL, NULL };
    const helloTarget target = { .host = "127.0.0.1", .port = w->env.port, .cancelFd = -1, .timeoutMs = 5000 };
    g_autoptr(GError) error = NULL;
    helloConn conn = HELLO_CONN_INIT;
    hello h = { .role = HELLO_CONTROL };

    memcpy(h.token, w->answer->token, sizeof(h.token));
    g_assert_true(helloConnect(&target, &h, &conn, &error));
    g_assert_no_error(error);
    return linkNew(w->io.context, conn, 0, LINK_MS, &handlers, NULL, NULL);
}

/* Whoever only connects takes a place that others need. */
static void
testSilent(void)
{
    g_autofree char *text = NULL;
    g_autoptr(migLink) link = NULL;
    world w;

    worldInit(&w);
    link = connectLink(&w);
    g_assert_true(waitOver(&w, 20 * LEASE_MS));
    text = migJobErrorText(w.job);
    g_assert_cmpstr(text, ==, "The source did not say within 300 ms which guest it sends.");
    linkClose(link);
    worldClear(&w);
}

static void
testNobody(void)
{
    g_autofree char *text = NULL;
    world w;

    worldInit(&w);
    g_assert_true(waitOver(&w, 20 * LEASE_MS));
    text = migJobErrorText(w.job);
    g_assert_cmpstr(text, ==, "No source claimed the prepared migration within 300 ms.");
    worldClear(&w);
}

/* Begin's cookie of another daemon. */
static char *
beginCookie(void)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);
    int len = 0;

    cookie->uuid = g_strdup("0a0b0c0d-0001-4002-8003-000000000002");
    cookie->hostName = g_strdup("h1");
    cookie->hostUuid = g_strdup("11111111-1111-4111-8111-111111111111");
    cookie->bootId = g_strdup("boot");
    cookie->instance = g_strdup("i1");
    cookie->domainUuid = g_strdup("c7a5fdbd-edaf-9455-926a-d65c16db1809");
    cookie->domainName = g_strdup("web");
    cookie->vmmName = g_strdup("qemu");
    cookie->machine = g_strdup("microvm");
    cookie->arch = g_strdup("x86_64");
    cookie->memoryKiB = 262144;
    cookie->vcpus = 1;
    return migCookieFormat(cookie, MIG_STEP_BEGIN, &len);
}

/* From the offer on the link is sign of life enough. */
static void
testOffered(void)
{
    g_autofree char *begin = beginCookie();
    JsonObject *offer = json_object_new();
    g_autoptr(migLink) link = NULL;
    world w;

    g_assert_nonnull(begin);
    worldInit(&w);
    link = connectLink(&w);
    json_object_set_string_member(offer, "begin", begin);
    json_object_set_string_member(offer, "xml", "<domain/>");
    json_object_set_string_member(offer, "name", "web");
    linkNotify(link, "offer", offer);
    g_assert_true(ioWaitFlag(&w.judged, 1));
    g_assert_false(waitOver(&w, 3 * LEASE_MS));
    linkClose(link);
    g_assert_true(waitOver(&w, 20 * LEASE_MS));
    worldClear(&w);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_RECURSION);
    g_test_add_func("/lease/nobody", testNobody);
    g_test_add_func("/lease/silent", testSilent);
    g_test_add_func("/lease/offered", testOffered);
    return g_test_run();
}
