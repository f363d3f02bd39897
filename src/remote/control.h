/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * control.h: client of a VMM's control socket (QMP)
 *
 * One control serves one VMM.  All sockets are served by one GMainContext thread; calls block the
 * calling thread until the answer is there.  One request is in flight at a time, one write() each
 * (StratoVirt parses whatever it reads in one go as one request), with string ids.
 *
 * A VMM that does not answer is not taken for dead: it may be frozen on purpose.  The call returns
 * BASE_ERROR_TIMEOUT, its late answer is thrown away when it comes, and until then further calls
 * wait (each for its own time) and say what is in the way.  What does end a connection: end of
 * file, an error of the socket, a line beyond 16 MiB, a line that is not of the protocol.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

typedef struct _control control;

typedef struct {
    /* An event of the VMM.  Runs in the context's thread without any lock of the control, in the
     * VMM's order, and before a call whose answer came later returns.
     * A handler that runs while another thread calls controlClose() is not waited for.
     * @data may be NULL; @timestampMs: the VMM's own wall-clock stamp in ms, 0 if it sent none. */
    void (*event)(control *ctl, const char *name, JsonObject *data,
                  gint64 timestampMs, void *opaque);
    /* The connection ended (EOF, error, nonsense) for a reason other than controlClose().
     * Called once, in the context's thread.  @why is never NULL. */
    void (*closed)(control *ctl, const GError *why, void *opaque);
} controlHandlers;

/**
 * controlNew: make an unconnected control.
 * @context: served by a running thread that is not the caller's; a reference is taken
 * @label: for messages, e.g. the domain's name; copied
 * @handlers: copied; members may be NULL
 * @opaque: handed to @handlers; released with @opaqueFree when the control is finally freed
 *
 * Returns a control with one reference; see controlRef() and controlUnref().
 */
control *controlNew(GMainContext *context, const char *label, const controlHandlers *handlers,
                    void *opaque, GDestroyNotify opaqueFree);
control *controlRef(control *ctl);
void controlUnref(control *ctl);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(control, controlUnref)

/**
 * controlOpen: connect to the unix socket @path, read the greeting, negotiate capabilities.
 * @timeoutMs: for all of it together; 0 takes the default of 30 s
 *
 * Does not wait for @path to appear.  After a failure it may be tried again; after controlClose()
 * or the end of the connection a new control is needed.
 * Not from the context's thread.  Errors: BASE_ERROR_TIMEOUT, BASE_ERROR_SYSTEM,
 * BASE_ERROR_MONITOR_CLOSED, BASE_ERROR_OPERATION_FAILED (foreign greeting).
 */
bool controlOpen(control *ctl, const char *path, unsigned timeoutMs, GError **error);

/**
 * controlOpenFd: the same on the connected stream socket @fd, which is taken over also on failure.
 */
bool controlOpenFd(control *ctl, int fd, unsigned timeoutMs, GError **error);

/**
 * controlCall: send one command and wait for its answer.
 * @arguments: may be NULL; ownership is taken, also on failure
 * @fd: passed along by SCM_RIGHTS unless -1; stays the caller's
 * @timeoutMs: 0 takes the default of 30 s
 *
 * Returns the "return" member (never NULL on success; the caller frees it with json_node_unref).
 * A VMM's refusal becomes BASE_ERROR_OPERATION_FAILED with its own text; other errors:
 * BASE_ERROR_TIMEOUT, BASE_ERROR_MONITOR_CLOSED, BASE_ERROR_SYSTEM (nothing was sent).  Safe from
 * any thread but the context's; no lock of a domain may be held.
 */
JsonNode *controlCall(control *ctl, const char *command, JsonObject *arguments, int fd,
                      unsigned timeoutMs, GError **error);

/**
 * controlLimitThread: until it is called with 0, calls of this thread that name no time-out of
 * their own take @timeoutMs instead of the default.  For those who only look, through operations
 * that know no time-out.
 */
void controlLimitThread(unsigned timeoutMs);

/** controlClose: end the connection without calling closed(); pending calls fail. Idempotent. */
void controlClose(control *ctl);
