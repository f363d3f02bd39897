/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The descriptor is non-blocking and only touched with the lock held, so it can be closed at any
 * moment. A caller puts its request into `current` and writes it at once; what the socket does not
 * take is left to a source for output.  The source for input runs in the context's thread, splits
 * lines, completes `current` and calls the handlers, for which it drops the lock.
 *
 * Who frees a request: the caller that waits for it.  A caller that gave up marks it abandoned and
 * leaves it in `current`; then whoever completes it frees it.  So `current` also says that an
 * answer is owed.
 *
 * References: `users` are those of controlRef(); when they are gone the connection is closed.
 * `refs` keep the memory: one for each user and one for each source, which another thread may be
 * dispatching just now.
 */
#include "remote/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <glib-unix.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#define LOG_FOLDER "remote"
#include "base/log.h"
#include "remote/message.h"

#include "base/gettext.h"

#define CONTROL_MAX_LINE (16 * 1024 * 1024)
#define CONTROL_READ_SIZE (64 * 1024)
#define CONTROL_DEFAULT_TIMEOUT_MS 30000

typedef enum {
    CONTROL_NEW,         /* not connected; may be opened */
    CONTROL_OPENING,     /* greeting and capabilities */
    CONTROL_OPEN,
    CONTROL_CLOSED,      /* for good */
} controlState;

typedef struct {
    char *id;
    char *command;
    gint64 sentAt;       /* monotonic, us */
    bool done;
    bool abandoned;      /* nobody waits any more */
    JsonNode *value;
    GError *error;
} controlRequest;

struct _control {
    gint users;          /* atomic */
    gint refs;           /* atomic */
    GMainContext *context;
    char *label;
    controlHandlers handlers;
    void *opaque;
    GDestroyNotify opaqueFree;

    GMutex lock;         /* guards everything below */
    GCond changed;       /* state, greeted, current or a request */
    controlState state;
    int fd;
    GSource *input;
    GSource *output;     /* only while out is not empty */
    GByteArray *in;
    GByteArray *out;
    int outFd;           /* goes along with the first byte of out; -1: none */
    bool greeted;
    controlRequest *current;
    guint64 lastId;
    GError *why;         /* why it ended; NULL if by controlClose() */
};

static void
controlRequestFree(controlRequest *request)
{
    g_free(request->id);
    g_free(request->command);
    g_clear_pointer(&request->value, json_node_unref);
    g_clear_error(&request->error);
    g_free(request);
}

static control *
controlHold(control *ctl)
{
    g_atomic_int_inc(&ctl->refs);
    return ctl;
}

static void
controlRelease(void *opaque)
{
    control *ctl = opaque;

    if (!g_atomic_int_dec_and_test(&ctl->refs))
        return;
    if (ctl->opaqueFree)
        ctl->opaqueFree(ctl->opaque);
    g_clear_pointer(&ctl->current, controlRequestFree);
    g_clear_error(&ctl->why);
    g_byte_array_unref(ctl->in);
    g_byte_array_unref(ctl->out);
    g_main_context_unref(ctl->context);
    g_mutex_clear(&ctl->lock);
    g_cond_clear(&ctl->changed);
    g_free(ctl->label);
    g_free(ctl);
}

control *
controlNew(GMainContext *context, const char *label, const controlHandlers *handlers,
           void *opaque, GDestroyNotify opaqueFree)
{
    control *ctl = g_new0(control, 1);

    ctl->users = 1;
    ctl->refs = 1;
    ctl->context = g_main_context_ref(context);
    ctl->label = g_strdup(label);
    if (handlers)
        ctl->handlers = *handlers;
    ctl->opaque = opaque;
    ctl->opaqueFree = opaqueFree;
    g_mutex_init(&ctl->lock);
    g_cond_init(&ctl->changed);
    ctl->fd = -1;
    ctl->outFd = -1;
    ctl->in = g_byte_array_new();
    ctl->out = g_byte_array_new();
    return ctl;
}

control *
controlRef(control *ctl)
{
    g_atomic_int_inc(&ctl->users);
    return controlHold(ctl);
}

void
controlUnref(control *ctl)
{
    if (!ctl)
        return;
    if (g_atomic_int_dec_and_test(&ctl->users))
        controlClose(ctl);
    controlRelease(ctl);
}

/* The functions from here to controlProcess() are called with the lock held. */

static void
controlDropSource(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

/* The sources go first, so that nobody polls a number that another file may get next. */
static void
controlDisconnect(control *ctl)
{
    controlDropSource(&ctl->input);
    controlDropSource(&ctl->output);
    baseFdReplace(&ctl->fd, -1);
    baseFdReplace(&ctl->outFd, -1);
    g_byte_array_set_size(ctl->out, 0);
}

/* Takes @value and @error, of which one is NULL. */
static void
controlComplete(control *ctl, JsonNode *value, GError *error)
{
    controlRequest *request = g_steal_pointer(&ctl->current);

    request->done = true;
    request->value = value;
    request->error = error;
    if (request->abandoned)
        controlRequestFree(request);
    g_cond_broadcast(&ctl->changed);
}

/* Takes @why, which may be NULL: closed by ourselves. */
static void
controlEnd(control *ctl, controlState state, GError *why)
{
    controlDisconnect(ctl);
    ctl->state = state;
    g_clear_error(&ctl->why);
    ctl->why = why;
    if (ctl->current) {
        GError *err = NULL;

        g_set_error(&err, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                    _("The control connection to '%1$s' ended before '%2$s' was answered: %3$s"),
                    ctl->label, ctl->current->command,
                    why ? why->message : _("it was closed on this side"));
        controlComplete(ctl, NULL, err);
    }
    g_cond_broadcast(&ctl->changed);
}

/* The connection is of no use.  In the context's thread; drops the lock for the handler. */
static void
controlBroken(control *ctl, GError *why)
{
    bool tell = ctl->state == CONTROL_OPEN && ctl->handlers.closed;
    g_autoptr(GError) copy = g_error_copy(why);

    g_debug("control of %s: %s", ctl->label, why->message);
    controlEnd(ctl, ctl->state == CONTROL_OPEN ? CONTROL_CLOSED : CONTROL_NEW, why);
    if (!tell)
        return;
    g_mutex_unlock(&ctl->lock);
    ctl->handlers.closed(ctl, copy, ctl->opaque);
    g_mutex_lock(&ctl->lock);
}

static void
controlSetClosedError(control *ctl, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                _("There is no control connection to '%1$s': %2$s"), ctl->label,
                ctl->why ? ctl->why->message : _("it is not open"));
}

/* Answers without id belong to the one request in flight: some VMMs send parse errors and the
 * answer to qmp_capabilities so. */
static void
controlAnswer(control *ctl, message *msg)
{
    GError *err = NULL;

    if (!ctl->current || (msg->id && !g_str_equal(msg->id, ctl->current->id))) {
        g_debug("control of %s: an answer that nobody asked for, ignoring", ctl->label);
        return;
    }
    if (msg->kind == MESSAGE_ERROR) {
        g_set_error(&err, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The VMM of '%1$s' refused '%2$s': %3$s"),
                    ctl->label, ctl->current->command, msg->errorText);
    }
    controlComplete(ctl, g_steal_pointer(&msg->value), err);
}

/* Drops the lock for an event's handler. */
static void
controlMessage(control *ctl, message *msg)
{
    switch (msg->kind) {
    case MESSAGE_GREETING:
        ctl->greeted = true;
        g_cond_broadcast(&ctl->changed);
        break;
    case MESSAGE_RETURN:
    case MESSAGE_ERROR:
        controlAnswer(ctl, msg);
        break;
    case MESSAGE_EVENT:
        if (!ctl->handlers.event)
            break;
        g_mutex_unlock(&ctl->lock);
        ctl->handlers.event(ctl, msg->eventName, msg->eventData, msg->timestampMs, ctl->opaque);
        g_mutex_lock(&ctl->lock);
        break;
    }
}

static bool
controlLine(control *ctl, const char *line, size_t len, GError **error)
{
    message msg;

    while (len > 0 && g_ascii_isspace(line[len - 1]))
        len--;
    if (len == 0)
        return true;
    if (!messageParse(line, len, &msg, error))
        return false;
    if (!ctl->greeted && msg.kind == MESSAGE_EVENT) {
        /* StratoVirt 2.4 may have a thread that is quicker than its greeting; whoever opens asks for the state then anyway. */
        messageClear(&msg);
        return true;
    }
    if (!ctl->greeted && msg.kind != MESSAGE_GREETING) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s",
                    _("It does not begin with the greeting of a VMM's control protocol."));
        messageClear(&msg);
        return false;
    }
    controlMessage(ctl, &msg);
    messageClear(&msg);
    return true;
}

/* Where the line ends that begins with the @len bytes at @at, or NULL.  A carriage return is an end of its own: StratoVirt 2.4 writes an
 * answer's line feed apart, and an event of another of its threads may come before it. */
static const guint8 *
controlLineEnd(const guint8 *at, size_t len)
{
    const guint8 *feed = memchr(at, '\n', len);
    const guint8 *ret = memchr(at, '\r', feed ? (size_t)(feed - at) : len);

    return ret ? ret : feed;
}

/* All whole lines in the buffer, of which the first @scanned bytes are known to have no line end.
 * Stops early when a handler's thread or another one ended the connection. */
static bool
controlProcess(control *ctl, GSource *source, size_t scanned, GError **error)
{
    size_t start = 0;
    const guint8 *end;

    while ((end = controlLineEnd(ctl->in->data + scanned, ctl->in->len - scanned))) {
        size_t next = (size_t)(end - ctl->in->data) + 1;

        if (!controlLine(ctl, (const char *)ctl->in->data + start, next - start - 1, error))
            return false;
        if (ctl->input != source)
            return true;
        start = scanned = next;
    }
    g_byte_array_remove_range(ctl->in, 0, start);
    if (ctl->in->len <= CONTROL_MAX_LINE)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("It sent a message of more than %1$d bytes."), CONTROL_MAX_LINE);
    return false;
}

/* Why @ctl must end, or NULL. */
static GError *
controlReadSome(control *ctl, GSource *source)
{
    size_t had = ctl->in->len;
    GError *err = NULL;
    ssize_t got;

    g_byte_array_set_size(ctl->in, had + CONTROL_READ_SIZE);
    got = recv(ctl->fd, ctl->in->data + had, CONTROL_READ_SIZE, MSG_DONTWAIT);
    g_byte_array_set_size(ctl->in, had + (got > 0 ? (size_t)got : 0));
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return NULL;

    if (got < 0 && errno == ECONNRESET)
        got = 0;   /* it went without reading all that we had sent */
    if (got < 0) {
        baseSetErrno(&err, errno, _("Cannot read from the control socket of '%1$s'"), ctl->label);
    } else if (FAULT(CONTROL_READ) || got == 0) {
        g_set_error(&err, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, had > 0
                    ? _("The VMM of '%1$s' closed its control socket in the middle of a message.")
                    : _("The VMM of '%1$s' closed its control socket."), ctl->label);
    } else if (!controlProcess(ctl, source, had, &err)) {
        g_prefix_error(&err, _("The control socket of '%1$s' makes no sense: "), ctl->label);
        err->code = BASE_ERROR_OPERATION_FAILED;
    }
    return err;
}

static gboolean
controlReadable(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer opaque)
{
    control *ctl = opaque;
    GSource *source = g_main_current_source();
    BASE_LOCK(&ctl->lock);
    GError *err;

    if (ctl->input != source)
        return G_SOURCE_REMOVE;
    err = controlReadSome(ctl, source);
    if (ctl->input != source) {
        g_clear_error(&err);
        return G_SOURCE_REMOVE;
    }
    if (!err)
        return G_SOURCE_CONTINUE;
    controlBroken(ctl, err);
    return G_SOURCE_REMOVE;
}

/* Bytes taken by the socket, 0 if it is full, -1 with errno set. */
static ssize_t
controlSendSome(control *ctl, const void *bytes, size_t len, int passFd)
{
    struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } ancillary = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t sent;

    if (passFd >= 0) {
        struct cmsghdr *head;

        msg.msg_control = ancillary.bytes;
        msg.msg_controllen = sizeof(ancillary.bytes);
        head = CMSG_FIRSTHDR(&msg);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &passFd, sizeof(int));
    }
    do {
        sent = sendmsg(ctl->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
}

static gboolean
controlWritable(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer opaque)
{
    control *ctl = opaque;
    GSource *source = g_main_current_source();
    BASE_LOCK(&ctl->lock);
    ssize_t sent;

    if (ctl->output != source)
        return G_SOURCE_REMOVE;
    sent = controlSendSome(ctl, ctl->out->data, ctl->out->len, ctl->outFd);
    if (sent < 0) {
        GError *err = NULL;

        baseSetErrno(&err, errno, _("Cannot write to the control socket of '%1$s'"), ctl->label);
        controlBroken(ctl, err);
        return G_SOURCE_REMOVE;
    }
    if (sent > 0) {
        baseFdReplace(&ctl->outFd, -1);
        g_byte_array_remove_range(ctl->out, 0, (guint)sent);
    }
    if (ctl->out->len > 0)
        return G_SOURCE_CONTINUE;
    controlDropSource(&ctl->output);
    return G_SOURCE_REMOVE;
}

static GSource *
controlAttach(control *ctl, GIOCondition condition, GUnixFDSourceFunc func)
{
    GSource *source = g_unix_fd_source_new(ctl->fd, condition);

    g_source_set_callback(source, G_SOURCE_FUNC(func), controlHold(ctl), controlRelease);
    g_source_attach(source, ctl->context);
    return source;
}

/* Lock held.  False only if not a byte has gone out. */
static bool
controlSend(control *ctl, const char *text, size_t len, int passFd, GError **error)
{
    ssize_t sent;

    if (FAULT_ERROR(CONTROL_SEND, error))
        return false;
    sent = controlSendSome(ctl, text, len, passFd);
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) {
        /* The source for input will tell, after all that the VMM said before. */
        g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                    _("The VMM of '%1$s' closed its control socket."), ctl->label);
        return false;
    }
    if (sent < 0) {
        baseSetErrno(error, errno, _("Cannot write to the control socket of '%1$s'"), ctl->label);
        return false;
    }
    if ((size_t)sent == len)
        return true;

    if (sent == 0 && passFd >= 0) {
        int copy = fcntl(passFd, F_DUPFD_CLOEXEC, 0);

        if (copy < 0) {
            baseSetErrno(error, errno, _("Cannot duplicate a descriptor for the VMM of '%1$s'"),
                         ctl->label);
            return false;
        }
        ctl->outFd = copy;
    }
    g_byte_array_append(ctl->out, (const guint8 *)text + sent, (guint)(len - (size_t)sent));
    ctl->output = controlAttach(ctl, G_IO_OUT, controlWritable);
    return true;
}

/* Lock held.  Wait until no answer is owed any more. */
static bool
controlWaitTurn(control *ctl, controlState wanted, const char *command, gint64 deadline,
                GError **error)
{
    while (ctl->state == wanted && ctl->current) {
        if (g_cond_wait_until(&ctl->changed, &ctl->lock, deadline) || !ctl->current)
            continue;
        g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                    _("'%1$s' cannot be sent to the VMM of '%2$s', which has not answered '%3$s' "
                      "for %4$.1f seconds."),
                    command, ctl->label, ctl->current->command,
                    (double)(g_get_monotonic_time() - ctl->current->sentAt) / G_USEC_PER_SEC);
        return false;
    }
    if (ctl->state == wanted)
        return true;
    controlSetClosedError(ctl, error);
    return false;
}

/* Lock held, our request in flight.  Frees or abandons it. */
static JsonNode *
controlWaitAnswer(control *ctl, controlRequest *request, gint64 deadline, GError **error)
{
    JsonNode *value = NULL;

    while (!request->done && g_cond_wait_until(&ctl->changed, &ctl->lock, deadline))
        continue;
    if (!request->done) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                    _("The VMM of '%1$s' did not answer '%2$s' within %3$.1f seconds."),
                    ctl->label, request->command,
                    (double)(g_get_monotonic_time() - request->sentAt) / G_USEC_PER_SEC);
        request->abandoned = true;
        return NULL;
    }
    if (request->error)
        g_propagate_error(error, g_steal_pointer(&request->error));
    else
        value = g_steal_pointer(&request->value);
    controlRequestFree(request);
    return value;
}

typedef struct {
    const char *name;
    JsonObject *arguments;   /* borrowed; may be NULL */
    int fd;                  /* goes along unless -1 */
} controlCommand;

/* controlCall() with an absolute deadline, in the state @wanted. */
static JsonNode *
controlExecute(control *ctl, controlState wanted, const controlCommand *command, gint64 deadline,
               GError **error)
{
    g_autoptr(GMutexLocker) locker = NULL;
    g_autofree char *text = NULL;
    size_t len = 0;
    controlRequest *request;

    if (g_main_context_is_owner(ctl->context)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                    _("'%1$s' was called in the thread that has to read the answer."),
                    command->name);
        return NULL;
    }

    locker = g_mutex_locker_new(&ctl->lock);
    if (!controlWaitTurn(ctl, wanted, command->name, deadline, error))
        return NULL;

    request = g_new0(controlRequest, 1);
    request->id = g_strdup_printf("sv-%" G_GUINT64_FORMAT, ++ctl->lastId);
    request->command = g_strdup(command->name);
    request->sentAt = g_get_monotonic_time();
    text = messageRequest(command->name, command->arguments, request->id, &len);
    if (!controlSend(ctl, text, len, command->fd, error)) {
        controlRequestFree(request);
        return NULL;
    }
    ctl->current = request;
    return controlWaitAnswer(ctl, request, deadline, error);
}

/* See controlLimitThread(). */
static GPrivate threadLimitMs = G_PRIVATE_INIT(NULL);

void
controlLimitThread(unsigned timeoutMs)
{
    g_private_set(&threadLimitMs, GUINT_TO_POINTER(timeoutMs));
}

static gint64
controlDeadline(unsigned timeoutMs)
{
    if (timeoutMs == 0)
        timeoutMs = GPOINTER_TO_UINT(g_private_get(&threadLimitMs));
    if (timeoutMs == 0)
        timeoutMs = CONTROL_DEFAULT_TIMEOUT_MS;
    return g_get_monotonic_time() + (gint64)timeoutMs * 1000;
}

JsonNode *
controlCall(control *ctl, const char *command, JsonObject *arguments, int fd,
            unsigned timeoutMs, GError **error)
{
    g_autoptr(JsonObject) owned = arguments;
    const controlCommand full = { .name = command, .arguments = owned, .fd = fd };

    return controlExecute(ctl, CONTROL_OPEN, &full, controlDeadline(timeoutMs), error);
}

/* A connected non-blocking socket, or -1. */
static int
controlConnect(control *ctl, const char *path, gint64 deadline, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    gint64 left = MAX(deadline - g_get_monotonic_time(), 1000);
    struct timeval limit = { .tv_sec = left / G_USEC_PER_SEC, .tv_usec = left % G_USEC_PER_SEC };
    g_auto(baseFd) fd = -1;

    if (strlen(path) >= sizeof(address.sun_path)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The path '%1$s' is too long for a control socket: at most %2$zu bytes."),
                    path, sizeof(address.sun_path) - 1);
        return -1;
    }
    strcpy(address.sun_path, path);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* With a full backlog a non-blocking connect() fails at once and nothing can be polled for;
     * the time limit for output also bounds a blocking one. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0) {
        baseSetErrno(error, errno, _("Cannot make a socket"));
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        if (errno == EAGAIN || errno == EINPROGRESS) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                        _("The VMM of '%1$s' did not accept a connection to its control socket "
                          "'%2$s' in time."), ctl->label, path);
        } else {
            baseSetErrno(error, errno, _("Cannot connect to the control socket '%1$s' of '%2$s'"),
                         path, ctl->label);
        }
        return -1;
    }
    return baseFdSteal(&fd);
}

/* Take @fd over and wait for the greeting. */
static bool
controlGreet(control *ctl, int fd, gint64 deadline, GError **error)
{
    BASE_LOCK(&ctl->lock);

    ctl->fd = fd;
    ctl->greeted = false;
    g_byte_array_set_size(ctl->in, 0);
    ctl->input = controlAttach(ctl, G_IO_IN, controlReadable);
    while (ctl->state == CONTROL_OPENING && !ctl->greeted) {
        if (g_cond_wait_until(&ctl->changed, &ctl->lock, deadline))
            continue;
        g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                    _("The VMM of '%1$s' did not greet on its control socket in time."),
                    ctl->label);
        return false;
    }
    if (ctl->state == CONTROL_OPENING)
        return true;
    if (ctl->why)
        g_propagate_error(error, g_error_copy(ctl->why));
    else
        controlSetClosedError(ctl, error);
    return false;
}

/* NEW to OPENING, so that two threads cannot open at once. */
static bool
controlBegin(control *ctl, GError **error)
{
    g_autoptr(GMutexLocker) locker = NULL;

    if (g_main_context_is_owner(ctl->context)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL, "%s",
                    _("A control was opened in the thread that has to serve it."));
        return false;
    }
    locker = g_mutex_locker_new(&ctl->lock);
    if (ctl->state != CONTROL_NEW) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                    _("The control connection to '%1$s' is open already or was closed."),
                    ctl->label);
        return false;
    }
    ctl->state = CONTROL_OPENING;
    return true;
}

/* OPENING to OPEN, or back to NEW if that is not possible (*error may be set already). */
static bool
controlFinish(control *ctl, bool good, GError **error)
{
    BASE_LOCK(&ctl->lock);

    if (good && ctl->state == CONTROL_OPENING) {
        ctl->state = CONTROL_OPEN;
        return true;
    }
    if (good)
        controlSetClosedError(ctl, error);
    if (ctl->state == CONTROL_OPENING)
        controlEnd(ctl, CONTROL_NEW, NULL);
    return false;
}

static bool
controlOpenUntil(control *ctl, int fd, gint64 deadline, GError **error)
{
    const controlCommand negotiate = { .name = "qmp_capabilities", .fd = -1 };
    g_autoptr(JsonNode) answer = NULL;

    if (FAULT_ERROR(CONTROL_CONNECT, error)) {
        baseFdClose(fd);
        return controlFinish(ctl, false, NULL);
    }
    if (!controlGreet(ctl, fd, deadline, error))
        return controlFinish(ctl, false, NULL);
    answer = controlExecute(ctl, CONTROL_OPENING, &negotiate, deadline, error);
    return controlFinish(ctl, answer != NULL, error);
}

bool
controlOpen(control *ctl, const char *path, unsigned timeoutMs, GError **error)
{
    gint64 deadline = controlDeadline(timeoutMs);
    int fd;

    if (!controlBegin(ctl, error))
        return false;
    fd = controlConnect(ctl, path, deadline, error);
    if (fd < 0)
        return controlFinish(ctl, false, NULL);
    return controlOpenUntil(ctl, fd, deadline, error);
}

bool
controlOpenFd(control *ctl, int fd, unsigned timeoutMs, GError **error)
{
    if (!controlBegin(ctl, error)) {
        baseFdClose(fd);
        return false;
    }
    return controlOpenUntil(ctl, fd, controlDeadline(timeoutMs), error);
}

void
controlClose(control *ctl)
{
    BASE_LOCK(&ctl->lock);

    if (ctl->state != CONTROL_CLOSED)
        controlEnd(ctl, CONTROL_CLOSED, NULL);
}
