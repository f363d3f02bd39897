/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_stratovirt_priv.h: what the files of StratoVirt share; not for others */
#pragma once

#include "remote/vmm.h"

extern const vmmGuideOps vmmStratovirtGuide;
extern const vmmSnapshotOps vmmStratovirtSnapshot;

/* A command of whose answer only success matters; takes @arguments. */
bool vmmStratovirtDo(control *ctl, const char *command, JsonObject *arguments, GError **error);

/* vmm_stratovirt_device.c; see vmmOps */
bool vmmStratovirtDevicePlug(control *ctl, const char *const *args, const int *fds, size_t nfds, GError **error);
bool vmmStratovirtDeviceUnplug(control *ctl, const char *alias, GError **error);
bool vmmStratovirtDeviceForget(control *ctl, const char *const *args, GError **error);
bool vmmStratovirtDeviceList(control *ctl, const char *const *wanted, GStrv *ret, GError **error);
