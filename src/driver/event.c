/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * One eventSource stands for one start of one guest.  It has no reference to the domain but its UUID and the number of the
 * start (incarnation), so that what an older VMM said can never touch its successor, and no cycle keeps a domain alive.
 *
 * The I/O thread appends to the source's queue; whoever finds the queue idle sends the source to the worker pool, and the
 * worker empties it, one piece after another.  So the order is kept without a thread for each guest.
 *
 * A process that ends tells us twice: its pidfd becomes readable and its control socket ends, in any order, and the socket
 * may still hold the event that says why (SHUTDOWN).  The end is therefore queued only when both were seen; a
 * timer covers the case that something else keeps the socket open.
 *
 * STOP and RESUME that answer our own commands must not be taken for the guest's doing, however late a worker sees them.
 * Each event gets a number on arrival; eventOwnEnd() notes the number reached when the command had succeeded, and what is not
 * newer is settled.
 */
#include <config.h>

#include "driver/event.h"
#include "driver/call.h"
#include "driver/process.h"

#include "virlog.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.event");

/* How long the end of the control socket may lag behind that of the process. */
#define EVENT_END_GRACE_MS 1000

typedef enum {
    WORK_VMM,            /* the VMM said something */
    WORK_END,            /* the process is gone */
    WORK_CONTROL_LOST,   /* the control socket ended, the process did not */
} workKind;

typedef struct {
    workKind kind;
    vmmEvent event;
    guint64 seq;
} eventWork;

struct _eventSource {
    gint refs;
    drvState *drv;
    unsigned char uuid[VIR_UUID_BUFLEN];
    guint64 incarnation;
    const vmmTraits *traits;

    GMutex lock;                 /* guards the rest */
    GQueue queue;                /* eventWork */
    bool scheduled;              /* in the worker pool or being worked on */
    bool processEnded, controlClosed, endQueued;
    GSource *grace;              /* timer, see above */
    guint64 seq;                 /* of the last event that arrived */
    guint64 settled;             /* STOP and RESUME up to here are our own */
    unsigned own;                /* eventOwnBegin() without eventOwnEnd() */
};

static void
eventWorkFree(gpointer opaque)
{
    eventWork *work = opaque;

    vmmEventClear(&work->event);
    g_free(work);
}

eventSource *
eventSourceNew(virDomainObj *vm, guint64 incarnation)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    eventSource *source = g_new0(eventSource, 1);

    source->refs = 1;
    source->drv = priv->drv;
    memcpy(source->uuid, vm->def->uuid, VIR_UUID_BUFLEN);
    source->incarnation = incarnation;
    source->traits = priv->vmm->traits;
    g_mutex_init(&source->lock);
    g_queue_init(&source->queue);
    return source;
}

eventSource *
eventSourceRef(eventSource *source)
{
    g_atomic_int_inc(&source->refs);
    return source;
}

void
eventSourceFree(gpointer opaque)
{
    eventSource *source = opaque;

    if (!source || !g_atomic_int_dec_and_test(&source->refs))
        return;
    g_queue_clear_full(&source->queue, eventWorkFree);
    g_mutex_clear(&source->lock);
    g_free(source);
}

/* Append @work (taken) and see that somebody does it. source->lock is held. */
static void
eventQueue(eventSource *source, eventWork *work)
{
    g_queue_push_tail(&source->queue, work);
    if (source->scheduled)
        return;
    if (virThreadPoolSendJob(source->drv->workers, 0, eventSourceRef(source)) < 0) {
        /* Only while the driver is being cleaned up: a restart will ask the VMM for its state. */
        eventSourceFree(source);
        return;
    }
    source->scheduled = true;
}

static void
eventQueueKind(eventSource *source, workKind kind)
{
    eventWork *work = g_new0(eventWork, 1);

    work->kind = kind;
    eventQueue(source, work);
}

/* source->lock is held. */
static void
eventStopGrace(eventSource *source)
{
    if (!source->grace)
        return;
    g_source_destroy(source->grace);
    g_clear_pointer(&source->grace, g_source_unref);
}

static void
eventQueueEnd(eventSource *source)
{
    if (source->endQueued)
        return;
    source->endQueued = true;
    eventQueueKind(source, WORK_END);
}

static gboolean
eventGraceOver(gpointer opaque)
{
    eventSource *source = opaque;

    g_mutex_lock(&source->lock);
    eventQueueEnd(source);
    eventStopGrace(source);
    g_mutex_unlock(&source->lock);
    return G_SOURCE_REMOVE;
}

void
eventQueueProcessEnd(eventSource *source)
{
    g_mutex_lock(&source->lock);
    source->processEnded = true;
    if (source->controlClosed) {
        eventQueueEnd(source);
    } else if (!source->endQueued && !source->grace) {
        source->grace = g_timeout_source_new(EVENT_END_GRACE_MS);
        g_source_set_callback(source->grace, eventGraceOver, eventSourceRef(source),
                              eventSourceFree);
        g_source_attach(source->grace, source->drv->ioContext);
    }
    g_mutex_unlock(&source->lock);
}

static void
eventOnControlClosed(control *ctl G_GNUC_UNUSED, const GError *why, void *opaque)
{
    eventSource *source = opaque;

    VIR_DEBUG("control socket ended: %s", why->message);
    g_mutex_lock(&source->lock);
    source->controlClosed = true;
    if (source->processEnded) {
        eventQueueEnd(source);
        eventStopGrace(source);
    } else {
        eventQueueKind(source, WORK_CONTROL_LOST);
    }
    g_mutex_unlock(&source->lock);
}

static void
eventOnControlEvent(control *ctl G_GNUC_UNUSED, const char *name, JsonObject *data,
                    gint64 timestampMs G_GNUC_UNUSED, void *opaque)
{
    eventSource *source = opaque;
    eventWork *work = g_new0(eventWork, 1);

    source->traits->ops->translateEvent(name, data, &work->event);
    if (work->event.kind == VMM_EVENT_NONE) {
        eventWorkFree(work);
        return;
    }
    work->kind = WORK_VMM;
    g_mutex_lock(&source->lock);
    work->seq = ++source->seq;
    eventQueue(source, work);
    g_mutex_unlock(&source->lock);
}

const controlHandlers eventControlHandlers = {
    .event = eventOnControlEvent,
    .closed = eventOnControlClosed,
};

void
eventOwnBegin(eventSource *source)
{
    g_mutex_lock(&source->lock);
    source->own++;
    g_mutex_unlock(&source->lock);
}

void
eventOwnEnd(eventSource *source)
{
    g_mutex_lock(&source->lock);
    source->own--;
    source->settled = source->seq;
    g_mutex_unlock(&source->lock);
}

bool
eventIsOwn(eventSource *source, guint64 seq)
{
    bool ret;

    g_mutex_lock(&source->lock);
    ret = source->own > 0 || seq <= source->settled;
    g_mutex_unlock(&source->lock);
    return ret;
}

static void
eventDo(virDomainObj *vm, eventSource *source, const eventWork *work)
{
    switch (work->kind) {
    case WORK_VMM:
        eventHandleVmm(vm, source, &work->event, work->seq);
        break;
    case WORK_END:
        eventHandleEnd(vm, source);
        break;
    case WORK_CONTROL_LOST:
        eventHandleControlLost(vm, source);
        break;
    }
}

/* The next piece of work, or NULL after giving the source back to the I/O thread. */
static eventWork *
eventNext(eventSource *source)
{
    eventWork *work;

    g_mutex_lock(&source->lock);
    work = g_queue_pop_head(&source->queue);
    if (!work)
        source->scheduled = false;
    g_mutex_unlock(&source->lock);
    return work;
}

void
eventWorker(void *job, void *opaque G_GNUC_UNUSED)
{
    eventSource *source = job;
    eventWork *work;

    while ((work = eventNext(source))) {
        virDomainObj *vm = virDomainObjListFindByUUID(source->drv->domains, source->uuid);

        if (vm && virDomainObjIsActive(vm) && DRV_DOMAIN(vm)->incarnation == source->incarnation)
            eventDo(vm, source, work);
        virDomainObjEndAPI(&vm);
        virResetLastError();
        eventWorkFree(work);
    }
    eventSourceFree(source);
}
