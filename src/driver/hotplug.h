/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hotplug.h: devices that come and go while the guest runs, and in definitions
 *
 * Theory of operation
 *
 * A device that is to come is first put into a copy of the definition, which is parsed again: so it is judged by the same rules as at any
 * other time, before anything happens.  Live, it gets a free root port; the command line's writers say what it is, and the VMM's
 * row turns that into commands (vmmOps.devicePlug()).
 *
 * A device goes when the guest lets go of it.  The VMM is asked, and its event says when that has happened; a moment is waited for it, so that
 * most callers find it done.  Later the event does the rest, and after a restart of the daemon the VMM is asked what is still there.
 *
 * The domain is locked in all of these, the MODIFY job is held, the lock may be dropped.  Failures set the libvirt error.
 */
#pragma once

#include "driver/domain.h"

/** hotplugDefAdd: a copy of @def, checked, with the device in it, which is taken out of @dev. NULL with error set. */
virDomainDef *hotplugDefAdd(virDomainObj *vm, virDomainDef *def, virDomainDeviceDef *dev);
/** hotplugDefRemove, hotplugDefUpdate: the same without the device that is like @dev, or with @dev in its place. */
virDomainDef *hotplugDefRemove(virDomainObj *vm, virDomainDef *def, const virDomainDeviceDef *dev);
virDomainDef *hotplugDefUpdate(virDomainObj *vm, virDomainDef *def, virDomainDeviceDef *dev);

/** hotplugFind: the device of @def with the target or MAC address of @like. -1 with VIR_ERR_DEVICE_MISSING. Borrowed. */
int hotplugFind(virDomainDef *def, const virDomainDeviceDef *like, virDomainDeviceDef *ret);

/** hotplugCheckLive: 0 if devices of the kind of @dev can come and go while @vm runs. */
int hotplugCheckLive(virDomainObj *vm, const virDomainDeviceDef *dev);
/** hotplugAttach: let the running guest have the device, which is taken out of @dev. Emits its event. */
int hotplugAttach(virDomainObj *vm, virDomainDeviceDef *dev);
/** hotplugDetach: ask the guest to let go of @dev, one of its own. 0 also if it has not done so yet: then the event comes later. */
int hotplugDetach(virDomainObj *vm, const virDomainDeviceDef *dev);

/* The VMM says that a device is gone, or stays. No job is held. */
void hotplugHandleEvent(virDomainObj *vm, const vmmEvent *event);
/* After a restart of the daemon, or a time without a control socket: what has gone meanwhile. */
void hotplugReconnect(virDomainObj *vm);
/** hotplugCatchUp: the same if it is known that one has gone while another job kept it from being noted. The error that is set stays. */
void hotplugCatchUp(virDomainObj *vm);
