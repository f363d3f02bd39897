/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-outcome.c: a source in doubt whose destination answers nonsense: it stays frozen until the answer is definite */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/recover.h"
#include "migration/source.h"

#include "free-port.h"
#include "io-thread.h"

#define WAIT_MS 20000
#define UUID "0a0b0c0d-0001-4002-8003-000000000001"

typedef struct {
    const char *const *answers;  /* JSON, one for each question; NULL ends; "!TEXT" is an error */
    ioThread io;
    migEnv env;
    unsigned port;

    GMutex lock;
    GCond cond;
    unsigned asked;
    unsigned resumed, ended, over;
    gint saves;                  /* atomic */
    bool early;                  /* something was done before the last answer was given */
    migPhase phase;              /* at the end */
    GPtrArray *links;
} world;

/* ---- the destination ---- */

static void
onQuestion(migLink *link, const char *type, JsonObject *body, bool wantsReply, guint64 id, void *opaque)
{
    world *w = opaque;
    g_autoptr(JsonNode) node = NULL;
    const char *answer;

    g_assert_cmpstr(type, ==, "resolve");
    g_assert_true(wantsReply);
    g_assert_nonnull(json_object_get_string_member(body, "uuid"));
    g_mutex_lock(&w->lock);
    /* The last one stands, should it have been too late for the source. */
    w->asked += w->answers[w->asked] != NULL;
    answer = w->answers[w->asked - 1];
    g_mutex_unlock(&w->lock);
    node = *answer == '!' ? NULL : json_from_string(answer, NULL);
    linkReply(link, id, node ? json_object_ref(json_node_get_object(node)) : NULL, node ? NULL : answer + 1);
}

static void
onLost(migLink *link G_GNUC_UNUSED, const GError *why G_GNUC_UNUSED, void *opaque G_GNUC_UNUSED)
{
}

static const linkHandlers handlers = { onQuestion, onLost };

static void
onConnection(helloConn conn, const hello *h, const char *peer G_GNUC_UNUSED, void *opaque)
{
    world *w = opaque;

    g_assert_cmpint(h->role, ==, HELLO_QUERY);
    g_assert_true(helloAnswer(&conn, NULL, NULL));
    g_ptr_array_add(w->links, linkNew(w->io.context, conn, 0, 2000, &handlers, w, NULL));
}

/* ---- the source's host ---- */

static bool
hostSave(void *host, const migRecord *record G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    world *w = host;

    g_atomic_int_inc(&w->saves);
    return true;
}

/* Lock held. */
static void
noteDeed(world *w)
{
    w->early = w->early || w->answers[w->asked] != NULL;
    g_cond_broadcast(&w->cond);
}

static bool
hostResume(void *host, GError **error G_GNUC_UNUSED)
{
    world *w = host;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&w->lock);

    w->resumed++;
    noteDeed(w);
    return true;
}

static void
hostEnd(void *host)
{
    world *w = host;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&w->lock);

    w->ended++;
    noteDeed(w);
}

static bool
hostFrozen(void *host G_GNUC_UNUSED)
{
    return true;
}

static void
hostDoubt(void *host G_GNUC_UNUSED, const char *why G_GNUC_UNUSED)
{
}

static void
hostOver(void *host, migPhase phase)
{
    world *w = host;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&w->lock);

    w->over++;
    w->phase = phase;
    noteDeed(w);
}

static const migHostOps hostOps = {
    .save = hostSave, .guestResume = hostResume, .endSource = hostEnd, .guestFrozen = hostFrozen, .doubt = hostDoubt,
    .over = hostOver,
};

/* ---- both ---- */

static void
worldInit(world *w, const char *const *answers)
{
    g_autoptr(GError) error = NULL;

    memset(w, 0, sizeof(*w));
    w->answers = answers;
    w->links = g_ptr_array_new_with_free_func((GDestroyNotify)linkUnref);
    g_mutex_init(&w->lock);
    g_cond_init(&w->cond);
    ioThreadStart(&w->io);
    w->port = freePort();
    w->env = (migEnv){
        .io = w->io.context,
        .threads = migThreadsNew(w->io.context),
        .hostName = (char *)"h1",
        .connectTimeoutMs = 2000,
        .linkTimeoutMs = 2000,
        .finishTimeoutMs = 2000,
    };
    w->env.listen = listenerNew(w->io.context);
    g_assert_true(listenerBind(w->env.listen, "127.0.0.1", w->port, &error));
    g_assert_no_error(error);
}

static void
worldClear(world *w)
{
    migThreadsStop(w->env.threads);
    migThreadsFree(w->env.threads);
    for (guint i = 0; i < w->links->len; i++)
        linkClose(g_ptr_array_index(w->links, i));
    listenerFree(w->env.listen);
    ioThreadDrain(&w->io);
    g_ptr_array_unref(w->links);
    ioThreadStop(&w->io);
    g_mutex_clear(&w->lock);
    g_cond_clear(&w->cond);
}

/* A daemon that is started again finds the guest frozen, and asks. */
static void
play(world *w)
{
    static char *addresses[] = { (char *)"127.0.0.1", NULL };
    migRecord record = {
        .uuid = (char *)UUID, .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_SENT,
        .wasRunning = true, .peerHost = (char *)"h2", .peerAddresses = addresses, .peerPort = w->port, .hasToken = true,
    };
    gint64 until = g_get_monotonic_time() + WAIT_MS * 1000;
    g_autoptr(migJob) job = NULL;

    memset(record.token, 7, sizeof(record.token));
    g_assert_true(listenerExpect(w->env.listen, record.token, HELLO_KEYS_PLAIN, onConnection, w, NULL));
    job = migJobNew(&w->env, &record, &hostOps, w, NULL);
    g_assert_true(migJobTryEnter(job));
    migRecover(job, true);
    g_mutex_lock(&w->lock);
    while (w->over == 0 && g_cond_wait_until(&w->cond, &w->lock, until))
        continue;
    g_mutex_unlock(&w->lock);
    listenerForget(w->env.listen, record.token);
}

typedef struct {
    const char *name;
    const char *answers[4];
    bool committed;
} row;

static const row rows[] = {
    { "maybe-then-absent", { "{\"outcome\":\"maybe\"}", "{\"outcome\":7}", "{\"outcome\":\"absent\"}" }, false },
    { "nothing-then-committed", { "{}", "{\"outcome\":\"committed\"}" }, true },
    { "error-then-committed", { "!I do not feel like it", "{\"outcome\":\"committed\"}" }, true },
    { "other-case-then-absent", { "{\"outcome\":\"Committed\"}", "{\"outcome\":\"absent\"}" }, false },
};

static void
testNonsense(gconstpointer data)
{
    const row *r = data;
    world w;

    worldInit(&w, r->answers);
    play(&w);
    g_assert_cmpuint(w.over, ==, 1);
    g_assert_false(w.early);
    g_assert_cmpint(w.phase, ==, r->committed ? MIG_PHASE_GONE : MIG_PHASE_IDLE);
    g_assert_cmpuint(w.resumed, ==, r->committed ? 0 : 1);
    g_assert_cmpuint(w.ended, ==, r->committed ? 1 : 0);
    worldClear(&w);
}

/* The word that all is well, from a coordinator whose call waited while the VMM ended and the migration with it. */
static void
testConfirmAfterTheEnd(void)
{
    static const char *const none[] = { NULL };
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    g_autoptr(migJob) job = NULL;
    migRecord record = { .uuid = (char *)UUID, .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_SENT, .peerHost = (char *)"h2" };
    int len = 0;
    gint saves;
    world w;

    worldInit(&w, none);
    cookie->uuid = g_strdup(UUID);
    cookie->hostName = g_strdup("h2");
    cookie->hostUuid = g_strdup("22222222-2222-4222-8222-222222222222");
    cookie->bootId = g_strdup("boot");
    cookie->instance = g_strdup("i2");
    cookie->outcome = g_strdup("committed");
    text = migCookieFormat(cookie, MIG_STEP_FINISH, &len);
    g_assert_nonnull(text);
    job = migJobNew(&w.env, &record, &hostOps, &w, NULL);
    migJobEnter(job);
    migJobServe(job, MIG_SIGNAL_VMM_GONE);
    g_assert_cmpuint(w.over, ==, 1);
    g_assert_cmpint(w.phase, ==, MIG_PHASE_ENDED);
    saves = g_atomic_int_get(&w.saves);
    g_assert_true(migSourceConfirm(job, false, text, len, &error));
    g_assert_no_error(error);
    g_assert_cmpint(g_atomic_int_get(&w.saves), ==, saves);
    g_assert_cmpuint(w.over, ==, 1);
    g_assert_cmpuint(w.ended, ==, 0);
    migJobLeave(job);
    worldClear(&w);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_RECURSION);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strconcat("/outcome/", rows[i].name, NULL);

        g_test_add_data_func(path, &rows[i], testNonsense);
    }
    g_test_add_func("/outcome/confirm-after-the-end", testConfirmAfterTheEnd);
    return g_test_run();
}
