/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fake-qmp.h: the VMM's end of a control socket, played from a list of steps; for unit tests
 *
 * The peer is a thread.  A step that does not go as expected ends the test.
 */
#pragma once

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum {
    FAKE_SEND,      /* text; "$ID" is the id of the last request */
    FAKE_EXPECT,    /* read one line, which must contain text */
    FAKE_GATE,      /* wait until the test opens the gate (fakeQmpOpenGate) */
    FAKE_FLOOD,     /* text, again and again, until the other side closes */
    FAKE_EOF,       /* the other side must close */
    FAKE_CLOSE,     /* close this side */
} fakeStepKind;

typedef struct {
    fakeStepKind kind;
    const char *text;
} fakeStep;

#define FAKE_GREETING "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":2,\"major\":7}," \
                      "\"package\":\"fake\"},\"capabilities\":[]}}\r\n"
#define FAKE_HANDSHAKE \
    { FAKE_SEND, FAKE_GREETING }, \
    { FAKE_EXPECT, "\"qmp_capabilities\"" }, \
    { FAKE_SEND, "{\"return\":{}}\r\n" }
#define FAKE_OK { FAKE_SEND, "{\"return\":{},\"id\":\"$ID\"}\r\n" }

typedef struct {
    int fd;
    int clientFd;            /* for the control; taken over by it */
    const fakeStep *steps;
    size_t count;
    GThread *thread;
    GString *received;
    char *id;                /* of the last request */
    int passedFd;            /* last one that came along, -1: none */
    gint gate;
    gint done;               /* steps; atomic */
} fakeQmp;

/* False at the end of the stream. */
static inline gboolean
fakeQmpReceive(fakeQmp *fake)
{
    char bytes[65536];
    char ancillary[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = ancillary, .msg_controllen = sizeof(ancillary),
    };
    ssize_t got = recvmsg(fake->fd, &msg, MSG_CMSG_CLOEXEC);
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

    if (got <= 0)
        return FALSE;
    if (head && head->cmsg_type == SCM_RIGHTS) {
        if (fake->passedFd >= 0)
            close(fake->passedFd);
        memcpy(&fake->passedFd, CMSG_DATA(head), sizeof(int));
    }
    g_string_append_len(fake->received, bytes, got);
    return TRUE;
}

static inline void
fakeQmpTakeId(fakeQmp *fake, const char *line)
{
    /* The last one: arguments may have their own. */
    const char *start = g_strrstr(line, "\"id\":\"");

    g_assert_nonnull(start);   /* the id must be a string */
    start += strlen("\"id\":\"");
    g_free(fake->id);
    fake->id = g_strndup(start, strcspn(start, "\""));
}

/* NULL at the end of the stream. */
static inline char *
fakeQmpReadLine(fakeQmp *fake)
{
    char *end;
    g_autofree char *line = NULL;

    while (!(end = strchr(fake->received->str, '\n'))) {
        if (!fakeQmpReceive(fake))
            return NULL;
    }
    line = g_strndup(fake->received->str, (gsize)(end - fake->received->str));
    g_string_erase(fake->received, 0, end - fake->received->str + 1);
    /* One request in flight: nothing may follow before we have answered. */
    g_assert_cmpuint(fake->received->len, ==, 0);
    fakeQmpTakeId(fake, line);
    return g_steal_pointer(&line);
}

static inline gboolean
fakeQmpWrite(fakeQmp *fake, const char *text, gsize len)
{
    while (len > 0) {
        ssize_t sent = send(fake->fd, text, len, MSG_NOSIGNAL);

        if (sent <= 0)
            return FALSE;
        text += sent;
        len -= (gsize)sent;
    }
    return TRUE;
}

static inline void
fakeQmpSend(fakeQmp *fake, const char *text)
{
    g_autoptr(GString) out = g_string_new(text);

    if (fake->id)
        g_string_replace(out, "$ID", fake->id, 0);
    fakeQmpWrite(fake, out->str, out->len);
}

static inline void
fakeQmpStep(fakeQmp *fake, const fakeStep *step)
{
    g_autofree char *line = NULL;

    switch (step->kind) {
    case FAKE_SEND:
        fakeQmpSend(fake, step->text);
        break;
    case FAKE_EXPECT:
        line = fakeQmpReadLine(fake);
        g_assert_nonnull(line);
        if (!strstr(line, step->text))
            g_error("expected '%s', got '%s'", step->text, line);
        break;
    case FAKE_GATE:
        while (!g_atomic_int_get(&fake->gate))
            g_usleep(500);
        g_atomic_int_set(&fake->gate, 0);
        break;
    case FAKE_FLOOD:
        while (fakeQmpWrite(fake, step->text, strlen(step->text)))
            continue;
        break;
    case FAKE_EOF:
        while (fakeQmpReceive(fake))
            continue;
        break;
    case FAKE_CLOSE:
        close(fake->fd);
        fake->fd = -1;
        break;
    }
}

static inline gpointer
fakeQmpRun(gpointer opaque)
{
    fakeQmp *fake = opaque;

    for (size_t i = 0; i < fake->count; i++) {
        fakeQmpStep(fake, &fake->steps[i]);
        g_atomic_int_inc(&fake->done);
    }
    return NULL;
}

static inline void
fakeQmpStart(fakeQmp *fake, const fakeStep *steps, size_t count)
{
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    *fake = (fakeQmp){ .fd = pair[0], .clientFd = pair[1], .steps = steps, .count = count,
                       .passedFd = -1 };
    fake->received = g_string_new(NULL);
    fake->thread = g_thread_new("fake-vmm", fakeQmpRun, fake);
}

static inline void
fakeQmpOpenGate(fakeQmp *fake)
{
    g_atomic_int_set(&fake->gate, 1);
}

/* Wait until all steps are done. */
static inline void
fakeQmpJoin(fakeQmp *fake)
{
    g_thread_join(fake->thread);
    if (fake->fd >= 0)
        close(fake->fd);
    if (fake->passedFd >= 0)
        close(fake->passedFd);
    g_string_free(fake->received, TRUE);
    g_free(fake->id);
}
