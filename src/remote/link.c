/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Like the control, a link has a non-blocking descriptor that is touched with the lock held only.
 * Whoever queues a frame tries to send it at once; the rest is left to a source for output.
 *
 * Silence is measured by what arrives, of whatever kind.  Before it is believed, the socket is read
 * once more: if it was this daemon that slept (stopped, suspended, starved), the other side's
 * heartbeats are there.
 *
 * Closing must not lose the last message, which may be the outcome.  A close() with unread input
 * makes TCP throw away what is on its way, so a closing link sends all it has, then "bye", shuts
 * its own direction, and reads and discards until the other side ends too or a short time is over.
 *
 * References: as in control.c, users and sources are counted apart.
 */
#include "remote/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <glib-unix.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#define LOG_FOLDER "remote"
#include "base/log.h"
#include "remote/json.h"

#include "base/gettext.h"

#define LINK_MAX_FRAME (4 * 1024 * 1024)    /* a definition must fit */
#define LINK_MAX_QUEUE (8 * 1024 * 1024)    /* a peer that reads nothing must not eat our memory */
#define LINK_HEADER 4
#define LINK_READ_SIZE (16 * 1024)
#define LINK_DEFAULT_HEARTBEAT_MS 2000       /* at most, see linkHeartbeatMs() */
#define LINK_HEARTBEATS 4                    /* within the time after which a silent one is lost */
#define LINK_DEFAULT_TIMEOUT_MS 10000
#define LINK_DEFAULT_REQUEST_MS 30000
#define LINK_LINGER_MS 1000
#define LINK_WAIT (-1)                      /* as tlsRead() and tlsWrite() have it */
#define LINK_FAILED (-2)

typedef enum {
    LINK_ALIVE,
    LINK_CLOSING,       /* by linkClose(): output still goes out, input is thrown away */
    LINK_DEAD,
} linkState;

/* A request of ours under way; lives on its caller's stack. */
typedef struct {
    bool done;
    JsonObject *body;
    GError *error;
} linkWaiter;

struct _migLink {
    gint users;          /* atomic */
    gint refs;           /* atomic */
    GMainContext *context;
    linkHandlers handlers;
    void *opaque;
    GDestroyNotify opaqueFree;
    unsigned heartbeatMs, timeoutMs;

    GMutex lock;         /* guards everything below */
    GCond changed;       /* a waiter is done */
    linkState state;
    helloConn conn;      /* with TLS, the session is used with the lock held as well */
    GSource *input, *output, *heartbeat, *silence, *linger;
    GByteArray *in, *out;
    gint64 lastHeard;    /* monotonic, us */
    guint64 lastId;
    GHashTable *waiters; /* guint64 id (owned) -> linkWaiter */
    bool saidBye;        /* the other side */
    GError *outputError; /* why we ended the connection on output, for linkReadSome() to tell */
    GError *why;         /* DEAD, unless by linkClose() */
};

static migLink *
linkHold(migLink *link)
{
    g_atomic_int_inc(&link->refs);
    return link;
}

static void
linkRelease(void *opaque)
{
    migLink *link = opaque;

    if (!g_atomic_int_dec_and_test(&link->refs))
        return;
    if (link->opaqueFree)
        link->opaqueFree(link->opaque);
    g_clear_error(&link->why);
    g_clear_error(&link->outputError);
    g_hash_table_unref(link->waiters);
    g_byte_array_unref(link->in);
    g_byte_array_unref(link->out);
    g_main_context_unref(link->context);
    g_mutex_clear(&link->lock);
    g_cond_clear(&link->changed);
    g_free(link);
}

migLink *
linkRef(migLink *link)
{
    g_atomic_int_inc(&link->users);
    return linkHold(link);
}

void
linkUnref(migLink *link)
{
    if (!link)
        return;
    if (g_atomic_int_dec_and_test(&link->users))
        linkClose(link);
    linkRelease(link);
}

/* ---- everything here is called with the lock held ------------------------------------------ */

static void
linkDropSource(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static GSource *
linkAttach(migLink *link, GSource *source, GSourceFunc func)
{
    g_source_set_callback(source, func, linkHold(link), linkRelease);
    g_source_attach(source, link->context);
    return source;
}

static void
linkFailWaiters(migLink *link, const char *why)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, link->waiters);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        linkWaiter *waiter = value;

        g_set_error(&waiter->error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The link to the other host ended before it answered: %1$s"), why);
        waiter->done = true;
    }
    g_hash_table_remove_all(link->waiters);
    g_cond_broadcast(&link->changed);
}

static void
linkDisconnect(migLink *link)
{
    linkDropSource(&link->input);
    linkDropSource(&link->output);
    linkDropSource(&link->heartbeat);
    linkDropSource(&link->silence);
    linkDropSource(&link->linger);
    helloConnClear(&link->conn);
    g_byte_array_set_size(link->out, 0);
    link->state = LINK_DEAD;
}

/* Takes @why.  In the context's thread; drops the lock for the handler. */
static void
linkLose(migLink *link, GError *why)
{
    g_autoptr(GError) copy = NULL;
    bool tell = link->state == LINK_ALIVE && link->handlers.lost;

    if (link->state != LINK_ALIVE) {
        g_error_free(why);
        linkDisconnect(link);
        return;
    }
    g_debug("link: %s", why->message);
    linkDisconnect(link);
    link->why = why;
    linkFailWaiters(link, why->message);
    if (!tell)
        return;
    copy = g_error_copy(why);
    g_mutex_unlock(&link->lock);
    link->handlers.lost(link, copy, link->opaque);
    g_mutex_lock(&link->lock);
}

/* ---- output; lock held --------------------------------------------------------------------- */

static gboolean linkWritable(gint fd, GIOCondition condition, gpointer opaque);

/* The number of bytes taken, LINK_WAIT, or LINK_FAILED with @error set. */
static gssize
linkWrite(migLink *link, GError **error)
{
    ssize_t sent;

    if (link->conn.tls)
        return tlsWrite(link->conn.tls, link->out->data, link->out->len, error);
    do {
        sent = send(link->conn.fd, link->out->data, link->out->len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN)
        return LINK_WAIT;
    if (sent < 0)
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s", g_strerror(errno));
    return sent < 0 ? LINK_FAILED : sent;
}

/* All is out and nothing more comes. */
static void
linkEndOutput(migLink *link)
{
    /* A farewell within TLS that does not go out at once is no loss: "bye" has said it. */
    if (link->conn.tls)
        tlsEnd(link->conn.tls, NULL);
    shutdown(link->conn.fd, SHUT_WR);
}

/* Send what the socket takes; false with @error set if it takes nothing any more. */
static bool
linkFlush(migLink *link, GError **error)
{
    while (link->out->len > 0) {
        gssize sent = linkWrite(link, error);

        if (sent == LINK_WAIT)
            break;
        if (sent == LINK_FAILED)
            return false;
        g_byte_array_remove_range(link->out, 0, (guint)sent);
    }
    if (link->out->len > 0 && !link->output) {
        link->output = linkAttach(link, g_unix_fd_source_new(link->conn.fd, G_IO_OUT),
                                  G_SOURCE_FUNC(linkWritable));
    }
    if (link->out->len == 0) {
        linkDropSource(&link->output);
        if (link->state == LINK_CLOSING)
            linkEndOutput(link);
    }
    return true;
}

/* The connection fails on output: let the source for input find out, after what has arrived. */
static void
linkFailOutput(migLink *link, const char *why)
{
    if (!link->outputError) {
        g_set_error(&link->outputError, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The link to the other host broke: %1$s"), why);
    }
    linkDropSource(&link->output);
    g_byte_array_set_size(link->out, 0);
    shutdown(link->conn.fd, SHUT_RDWR);
}

static void
linkQueueText(migLink *link, const char *text, size_t len)
{
    const guint8 header[LINK_HEADER] = {
        (guint8)(len >> 24), (guint8)(len >> 16), (guint8)(len >> 8), (guint8)len
    };
    g_autoptr(GError) err = NULL;

    if (link->out->len + len > LINK_MAX_QUEUE || FAULT(LINK_SEND)) {
        linkFailOutput(link, _("it takes nothing any more"));
        return;
    }
    g_byte_array_append(link->out, header, sizeof(header));
    g_byte_array_append(link->out, (const guint8 *)text, (guint)len);
    if (!linkFlush(link, &err))
        linkFailOutput(link, err->message);
}

/* The text of a frame; @body and @errorText may be NULL; @id 0: none. */
static char *
linkFormat(const char *type, guint64 id, JsonObject *body, const char *errorText, size_t *retLen)
{
    g_autoptr(JsonObject) root = json_object_new();

    json_object_set_string_member(root, "type", type);
    if (id)
        json_object_set_int_member(root, "id", (gint64)id);
    if (body)
        json_object_set_object_member(root, "body", json_object_ref(body));
    if (errorText)
        json_object_set_string_member(root, "error", errorText);
    return jsonFormatObject(root, retLen);
}

/* False if it is too long; true also if the link is dead, which others find out. */
static bool
linkQueue(migLink *link, const char *type, guint64 id, JsonObject *body, const char *errorText)
{
    size_t len = 0;
    g_autofree char *text = linkFormat(type, id, body, errorText, &len);

    if (len > LINK_MAX_FRAME)
        return false;
    if (link->state == LINK_ALIVE)
        linkQueueText(link, text, len);
    return true;
}

static gboolean
linkWritable(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer opaque)
{
    migLink *link = opaque;
    g_autoptr(GError) err = NULL;
    BASE_LOCK(&link->lock);

    if (g_source_is_destroyed(g_main_current_source()))
        return G_SOURCE_REMOVE;
    if (!linkFlush(link, &err))
        linkFailOutput(link, err->message);
    /* If all is out, linkFlush() has destroyed this source already. */
    return G_SOURCE_CONTINUE;
}

/* ---- input; lock held ---------------------------------------------------------------------- */

static void
linkTakeReply(migLink *link, JsonObject *root, guint64 id)
{
    linkWaiter *waiter = g_hash_table_lookup(link->waiters, &id);
    const char *problem = jsonGetString(root, "error", NULL);
    JsonObject *body = jsonGetObject(root, "body");

    if (!waiter) {
        g_debug("link: a reply to request %" G_GUINT64_FORMAT " nobody waits for, ignoring", id);
        return;
    }
    if (problem) {
        g_autofree char *text = baseForeignText(problem);

        g_set_error_literal(&waiter->error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, text);
    } else {
        waiter->body = body ? json_object_ref(body) : json_object_new();
    }
    waiter->done = true;
    g_hash_table_remove(link->waiters, &id);
    g_cond_broadcast(&link->changed);
}

/* Drops the lock for the handler. */
static bool
linkTakeFrame(migLink *link, const char *text, size_t len, GError **error)
{
    g_autoptr(JsonObject) root = jsonParseObject(text, len, error);
    g_autoptr(JsonObject) body = NULL;
    const char *type = jsonGetString(root, "type", NULL);
    guint64 id = jsonGetUint(root, "id", 0);

    if (!root)
        return false;
    if (!type) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG, "%s", _("A frame has no type."));
        return false;
    }
    if (g_str_equal(type, "heartbeat"))
        return true;
    if (g_str_equal(type, "bye")) {
        link->saidBye = true;
        return true;
    }
    if (g_str_equal(type, "reply")) {
        linkTakeReply(link, root, id);
        return true;
    }
    if (!link->handlers.message)
        return true;
    body = jsonGetObject(root, "body") ? json_object_ref(jsonGetObject(root, "body"))
                                       : json_object_new();
    g_mutex_unlock(&link->lock);
    link->handlers.message(link, type, body, id != 0, id, link->opaque);
    g_mutex_lock(&link->lock);
    return true;
}

/* All whole frames in the buffer. */
static bool
linkTakeFrames(migLink *link, GError **error)
{
    size_t start = 0;

    while (link->in->len - start >= LINK_HEADER) {
        const guint8 *head = link->in->data + start;
        size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];

        if (len > LINK_MAX_FRAME) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                        _("A frame of %1$zu bytes is longer than allowed."), len);
            return false;
        }
        if (link->in->len - start - LINK_HEADER < len)
            break;
        if (!linkTakeFrame(link, (const char *)head + LINK_HEADER, len, error))
            return false;
        if (link->state != LINK_ALIVE)
            return true;
        start += LINK_HEADER + len;
    }
    g_byte_array_remove_range(link->in, 0, (guint)start);
    return true;
}

/* The number of bytes, 0 at the end, LINK_WAIT, or LINK_FAILED with @error set. */
static gssize
linkRead(migLink *link, void *buffer, GError **error)
{
    ssize_t got;

    if (link->conn.tls)
        return tlsRead(link->conn.tls, buffer, LINK_READ_SIZE, error);
    got = recv(link->conn.fd, buffer, LINK_READ_SIZE, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return LINK_WAIT;
    if (got < 0)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The link to the other host broke: %1$s"), g_strerror(errno));
    return got < 0 ? LINK_FAILED : got;
}

/* What one linkRead() found; *retEmpty: nothing was there.  NULL, or why the link is lost. */
static GError *
linkReadSome(migLink *link, bool *retEmpty)
{
    size_t had = link->in->len;
    GError *err = NULL;
    gssize got;

    *retEmpty = false;
    g_byte_array_set_size(link->in, (guint)had + LINK_READ_SIZE);
    got = linkRead(link, link->in->data + had, &err);
    g_byte_array_set_size(link->in, (guint)(had + (got > 0 ? (size_t)got : 0)));
    if (got == LINK_WAIT) {
        *retEmpty = true;
        return NULL;
    }

    if (got == LINK_FAILED) {
        if (link->outputError) {
            g_error_free(err);
            err = g_steal_pointer(&link->outputError);
        }
    } else if (got == 0 && link->outputError) {
        err = g_steal_pointer(&link->outputError);
    } else if (FAULT(LINK_READ) || got == 0) {
        g_set_error(&err, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s", link->saidBye
                    ? _("The other host closed the link.")
                    : _("The link to the other host ended without a farewell: "
                        "the connection or the other host's daemon failed."));
    } else {
        link->lastHeard = g_get_monotonic_time();
        if (link->state == LINK_CLOSING) {
            g_byte_array_set_size(link->in, 0);
        } else if (!linkTakeFrames(link, &err)) {
            g_prefix_error(&err, _("What the other host sends makes no sense: "));
            err->code = BASE_ERROR_OPERATION_FAILED;
        }
    }
    return err;
}

static gboolean
linkReadable(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer opaque)
{
    migLink *link = opaque;
    bool empty;
    GError *err;
    BASE_LOCK(&link->lock);

    if (g_source_is_destroyed(g_main_current_source()))
        return G_SOURCE_REMOVE;
    /* What TLS has taken off the socket already, poll() does not tell. */
    do {
        err = linkReadSome(link, &empty);
    } while (!err && link->conn.tls && tlsPending(link->conn.tls) > 0);
    /* After a handler the link may have been closed, which destroys this source or not. */
    if (err && link->state != LINK_DEAD)
        linkLose(link, g_steal_pointer(&err));
    g_clear_error(&err);
    return link->input ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* ---- timers -------------------------------------------------------------------------------- */

static gboolean
linkBeat(gpointer opaque)
{
    migLink *link = opaque;
    BASE_LOCK(&link->lock);

    if (g_source_is_destroyed(g_main_current_source()))
        return G_SOURCE_REMOVE;
    linkQueue(link, "heartbeat", 0, NULL, NULL);
    return G_SOURCE_CONTINUE;
}

/* Lock held: look again when the present silence would be too long. */
static gboolean linkCheckSilence(gpointer opaque);

static void
linkArmSilence(migLink *link)
{
    gint64 left = link->lastHeard + (gint64)link->timeoutMs * 1000 - g_get_monotonic_time();

    linkDropSource(&link->silence);
    link->silence = linkAttach(link, g_timeout_source_new((guint)MAX(left / 1000, 0) + 1),
                               linkCheckSilence);
}

static gboolean
linkCheckSilence(gpointer opaque)
{
    migLink *link = opaque;
    GError *err = NULL;
    bool empty = false;
    BASE_LOCK(&link->lock);

    if (g_source_is_destroyed(g_main_current_source()))
        return G_SOURCE_REMOVE;
    if (g_get_monotonic_time() - link->lastHeard >= (gint64)link->timeoutMs * 1000)
        err = linkReadSome(link, &empty);
    if (link->state != LINK_ALIVE) {
        g_clear_error(&err);
        return G_SOURCE_REMOVE;
    }
    if (!err && empty) {
        g_set_error(&err, BASE_ERROR, BASE_ERROR_TIMEOUT,
                    _("Nothing was heard of the other host for %1$.1f seconds."),
                    (double)(g_get_monotonic_time() - link->lastHeard) / G_USEC_PER_SEC);
    }
    if (err)
        linkLose(link, err);
    else
        linkArmSilence(link);
    return G_SOURCE_REMOVE;
}

static gboolean
linkLingered(gpointer opaque)
{
    migLink *link = opaque;
    BASE_LOCK(&link->lock);

    if (!g_source_is_destroyed(g_main_current_source()))
        linkDisconnect(link);
    return G_SOURCE_REMOVE;
}

/* ---- what others call ---------------------------------------------------------------------- */

/* Whoever is impatient has an impatient peer, as a rule, which must hear something in time. */
static unsigned
linkHeartbeatMs(unsigned timeoutMs)
{
    return CLAMP(timeoutMs / LINK_HEARTBEATS, 1, LINK_DEFAULT_HEARTBEAT_MS);
}

migLink *
linkNew(GMainContext *context, helloConn conn, unsigned heartbeatMs, unsigned timeoutMs,
        const linkHandlers *handlers, void *opaque, GDestroyNotify opaqueFree)
{
    migLink *link = g_new0(migLink, 1);

    link->users = 1;
    link->refs = 1;
    link->context = g_main_context_ref(context);
    if (handlers)
        link->handlers = *handlers;
    link->opaque = opaque;
    link->opaqueFree = opaqueFree;
    link->timeoutMs = timeoutMs ? timeoutMs : LINK_DEFAULT_TIMEOUT_MS;
    link->heartbeatMs = heartbeatMs ? heartbeatMs : linkHeartbeatMs(link->timeoutMs);
    g_mutex_init(&link->lock);
    g_cond_init(&link->changed);
    link->conn = conn;
    link->in = g_byte_array_new();
    link->out = g_byte_array_new();
    link->lastHeard = g_get_monotonic_time();
    link->waiters = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);

    g_mutex_lock(&link->lock);
    link->input = linkAttach(link, g_unix_fd_source_new(conn.fd, G_IO_IN), G_SOURCE_FUNC(linkReadable));
    link->heartbeat = linkAttach(link, g_timeout_source_new(link->heartbeatMs), linkBeat);
    linkArmSilence(link);
    g_mutex_unlock(&link->lock);
    return link;
}

bool
linkNotify(migLink *link, const char *type, JsonObject *body)
{
    g_autoptr(JsonObject) owned = body;
    BASE_LOCK(&link->lock);

    return linkQueue(link, type, 0, owned, NULL);
}

void
linkReply(migLink *link, guint64 id, JsonObject *body, const char *errorText)
{
    g_autoptr(JsonObject) owned = body;
    BASE_LOCK(&link->lock);

    if (!linkQueue(link, "reply", id, owned, errorText))
        linkQueue(link, "reply", id, NULL, "The answer is too long for the link.");
}

JsonObject *
linkRequest(migLink *link, const char *type, JsonObject *body, unsigned timeoutMs, GError **error)
{
    g_autoptr(JsonObject) owned = body;
    gint64 deadline = g_get_monotonic_time() +
                      (gint64)(timeoutMs ? timeoutMs : LINK_DEFAULT_REQUEST_MS) * 1000;
    linkWaiter waiter = { 0 };
    guint64 id;
    BASE_LOCK(&link->lock);

    if (link->state != LINK_ALIVE) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("There is no link to the other host any more: %1$s"),
                    link->why ? link->why->message : _("it was closed on this side"));
        return NULL;
    }
    if (g_main_context_is_owner(link->context)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                    _("'%1$s' was asked in the thread that has to read the answer."), type);
        return NULL;
    }

    id = ++link->lastId;
    if (!linkQueue(link, type, id, owned, NULL)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                    _("The message '%1$s' is too long for the link to the other host."), type);
        return NULL;
    }
    g_hash_table_insert(link->waiters, g_memdup2(&id, sizeof(id)), &waiter);
    while (!waiter.done && g_cond_wait_until(&link->changed, &link->lock, deadline))
        continue;
    if (!waiter.done) {
        g_hash_table_remove(link->waiters, &id);
        g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                    _("The other host did not answer '%1$s' in time."), type);
        return NULL;
    }
    if (waiter.error)
        g_propagate_error(error, waiter.error);
    return waiter.body;
}

bool
linkIsAlive(migLink *link)
{
    BASE_LOCK(&link->lock);

    return link->state == LINK_ALIVE;
}

void
linkClose(migLink *link)
{
    BASE_LOCK(&link->lock);

    if (link->state != LINK_ALIVE)
        return;
    linkQueue(link, "bye", 0, NULL, NULL);
    link->state = LINK_CLOSING;
    linkDropSource(&link->heartbeat);
    linkDropSource(&link->silence);
    g_byte_array_set_size(link->in, 0);
    linkFailWaiters(link, _("it was closed on this side"));
    link->linger = linkAttach(link, g_timeout_source_new(LINK_LINGER_MS), linkLingered);
    if (!linkFlush(link, NULL))
        linkDisconnect(link);
}
