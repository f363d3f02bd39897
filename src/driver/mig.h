/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig.h: the seam between a domain's everyday life and its migrations
 *
 * The rest of the driver calls these and knows nothing else of migration.  The domain is locked in all of them.
 */
#pragma once

#include "driver/domain.h"
#include "virbuffer.h"
#include "virxml.h"

/* For libvirt's own job object, which every domain carries: our figures are in migJob, so its private data is empty. */
extern virDomainJobObjConfig migJobObjConfig;

void migFree(drvMig *mig);

/* Status XML: a <migration> element inside the private data; nothing when there is nothing to keep. */
int migFormatStatus(virBuffer *buf, virDomainObj *vm);
int migParseStatus(xmlXPathContextPtr ctxt, virDomainObj *vm);

/* The VMM said something (STOP, RESUME, MIGRATION, MIGRATION_PASS, IO_ERROR): called from the worker after everyday handling.
 * Returns true if this event was the migration's own doing and must not change state or raise events elsewhere (called first). */
bool migVmmEvent(virDomainObj *vm, const vmmEvent *event);
/* The VMM's process ended while a migration knows it; called before processStop().  Returns the reason to stop with, or -1 for none of its business. */
int migVmmGone(virDomainObj *vm);
/*
 * The VMM has ended: does the migration still need the status file, since a restart must find that the guest never ran before the
 * ledger says so?  It removes the file itself when it is over, and migStatusKept() is true until then.
 */
bool migKeepStatus(virDomainObj *vm);
bool migStatusKept(virDomainObj *vm);

/* After a restart of the daemon, with the control socket open again (or the VMM found dead: @alive false).
 * The caller's job is ended and exchanged for a query job; the lock may be dropped.  Afterwards the domain's state is
 * what the phase table says. */
void migReconnect(virDomainObj *vm, bool alive);

/* Is there a record of a migration, running or found in the status file? */
bool migIsKnown(virDomainObj *vm);

/* virDomainResume / Destroy / Shutdown / Reset on a domain with a migration: 0 go ahead, 1 handled here, -1 refused with error set. */
int migAdminResume(virDomainObj *vm);
int migAdminSuspend(virDomainObj *vm);
/*
 * The reason to note for a suspend by @conn.  Who migrates the guest suspends it so that the migration can end (virsh migrate
 * --timeout-suspend): it runs again afterwards, on either host.  What anybody else suspends stays so and arrives so.
 */
virDomainPausedReason migSuspendReason(virDomainObj *vm, virConnectPtr conn);
int migAdminDestroy(virDomainObj *vm);
/* A text for virDomainGetMessages, or NULL. Caller frees. */
char *migMessage(virDomainObj *vm);

/* The socket for the stream, beside that for control; NULL: the VMM is gone.  Caller frees. */
char *migChannelPath(const char *controlPath);

/* A restart: before anybody can ask about migrations; what this one came to is found out only by migReconnect(). Domain locked. */
void migReconnectSoon(virDomainObj *vm);
/* Can the VMM of this domain answer only when its migration has been settled, by the phase that was saved? Domain locked. */
bool migKeepsSilent(virDomainObj *vm);
/*
 * Found after a restart: can the VMM still be frozen although its guest belongs here?  The daemon may have died between the freeze
 * and 'sent', without which the end of the stream never left, or between the return to 'idle' and the thaw. Domain locked.
 */
bool migMayBeFrozen(virDomainObj *vm);

/* What this daemon's migrations share: made before status files are read; questions about earlier migrations are answered
 * once their guests have been found again. */
int migEnvStart(drvState *drv);
int migEnvServe(drvState *drv);
/* The daemon is about to stop: what waits for its turn or is being sent is given up, and those guests run on here. */
void migEnvClose(drvState *drv);
/* End the threads of migrations; then, when the I/O thread can post no more signals, free the rest. */
void migEnvStop(drvState *drv);
void migEnvFree(drvState *drv);
