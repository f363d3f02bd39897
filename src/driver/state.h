/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * state.h: everything one loaded instance of the driver owns
 *
 * Made in stateInitialize, freed in stateCleanup; connections reach it by conn->privateData.
 * Members are set before the first connection and constant afterwards unless a comment says otherwise;
 * the objects behind them lock themselves.
 */
#pragma once

#include "internal.h"
#include "capabilities.h"
#include "domain_conf.h"
#include "virdomainobjlist.h"
#include "object_event.h"
#include "virthreadpool.h"
#include "viruuid.h"
#include "driver.h"
#include "log_manager.h"

#include <glib.h>

#include "driver/conf.h"
#include "migration/ops.h"
#include "remote/listen.h"
#include "remote/vmm.h"

typedef struct _drvState drvState;
struct _drvState {
    bool privileged;             /* stratovirt:///system */
    bool embedded;               /* stratovirt:///embed?root= */
    char *embeddedRoot;
    drvConf *conf;               /* replaced by reload under 'lock'; use stateConf() */
    virMutex lock;               /* guards conf and caps */

    int instanceLockFd;          /* pidfile lock on stateDir: one daemon at a time */
    char *configDir;             /* persistent definitions, e.g. /etc/libvirt/stratovirt */
    char *autostartDir;          /* configDir/autostart */
    char *stateDir;              /* status XML, pidfiles, e.g. /run/libvirt/stratovirt */
    char *libDir;                /* control sockets, one folder a guest, e.g. /var/lib/libvirt/stratovirt */
    char *cacheDir;              /* probe results */
    char *logDir;                /* one log a guest */
    char *hookDir;               /* of the administrator's scripts; NULL: none are run */

    unsigned char hostUuid[VIR_UUID_BUFLEN];
    virCaps *caps;               /* use stateCaps() */
    virDomainXMLOption *xmlopt;
    virDomainObjList *domains;
    virObjectEventState *events;
    virThreadPool *workers;      /* VMM events that need a domain lock; job data is eventWork */

    GMainContext *ioContext;     /* control sockets, pidfds, listener, links: one thread, never blocks */
    GMainLoop *ioLoop;
    GThread *ioThread;
    listener *listen;            /* the migration port; bound on first use */
    migEnv *mig;                 /* what all migrations share; see migEnvStart() */

    const vmmInfo *(*probe)(const char *binary, const char *cacheDir, GError **error); /* vmmProbe; tests put a fake here */
    gint lastId;                 /* atomic: the highest domain id given so far */
    gint activeGuests;           /* atomic: see stateGuestStarted() */
    virStateInhibitCallback inhibit;  /* keeps the host up (or a session daemon alive); NULL: nobody to tell */
    void *inhibitOpaque;
};

drvConf *stateConf(drvState *drv);              /* a reference; drvConfUnref() it */
virCaps *stateCaps(drvState *drv, bool refresh);/* a reference; NULL with error set */

/** stateNextId: a domain id that no guest of this driver had since the daemon started. Thread safe. */
int stateNextId(drvState *drv);
/** stateNoteId: @id is in use by a guest found again: later ids are above it. Thread safe. */
void stateNoteId(drvState *drv, int id);

/**
 * stateGuestStarted, stateGuestStopped: count running guests, so that a session daemon does not end by its idle timeout, and
 * the host is not shut down without asking, while there are any.  One call of each for every VMM. Thread safe.
 */
void stateGuestStarted(drvState *drv);
void stateGuestStopped(drvState *drv);

/**
 * stateEmulator: the binary that guests without <emulator> get: from stratovirt.conf, or the first of the known VMMs in PATH.
 * Caller frees; NULL with the libvirt error set.
 */
char *stateEmulator(drvState *drv);
/** stateProbe: vmmProbe() with the driver's cache folder; NULL with the libvirt error set. May take seconds: hold no lock. */
const vmmInfo *stateProbe(drvState *drv, const char *binary);

/** stateGet: the driver's state; NULL while it is not active, and then *@retWhy (borrowed) says why not. */
drvState *stateGet(const char **retWhy);

/* The state driver's table entries. */
virDrvStateInitResult stateInitialize(bool privileged, const char *root, bool monolithic,
                                      virStateInhibitCallback callback, void *opaque);
int stateReload(void);
int stateShutdownPrepare(void);
int stateShutdownWait(void);
int stateCleanup(void);
