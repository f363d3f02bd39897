/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * event.h: what the VMM says by itself, turned into states and libvirt events
 *
 * Control events arrive in the I/O thread, which must not block; each becomes work in the queue of its eventSource, and
 * the driver's worker pool does it where the domain can be locked.  Events of one guest are handled in order.
 */
#pragma once

#include "driver/domain.h"

extern const controlHandlers eventControlHandlers;       /* opaque: eventSource of one incarnation */

typedef struct _eventSource eventSource;

/** eventSourceNew: a source with one reference for this start of @vm, whose private data names the VMM. Domain locked. */
eventSource *eventSourceNew(virDomainObj *vm, guint64 incarnation);
eventSource *eventSourceRef(eventSource *source);
/* Drops one reference. */
void eventSourceFree(gpointer source);

/* Worker function of drvState.workers. */
void eventWorker(void *job, void *opaque);
/* The process of @source ended (pidfd): queue it. Any thread. */
void eventQueueProcessEnd(eventSource *source);

/**
 * eventOwnBegin, eventOwnEnd: around a call that stops or resumes the guest.  The STOP and RESUME that the VMM tells from the
 * first until the second are the caller's doing: the caller sets the state, they change nothing.  Any lock.
 */
void eventOwnBegin(eventSource *source);
void eventOwnEnd(eventSource *source);

/* Internal to event*.c: one thing to do, with the domain locked (and given back locked). */
void eventHandleVmm(virDomainObj *vm, eventSource *source, const vmmEvent *event, guint64 seq);
void eventHandleEnd(virDomainObj *vm, eventSource *source);
void eventHandleControlLost(virDomainObj *vm, eventSource *source);
bool eventIsOwn(eventSource *source, guint64 seq);
