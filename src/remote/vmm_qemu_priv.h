/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_qemu_priv.h: what the vmm_qemu*.c files share; see vmmOps for the contracts of the operations */
#pragma once

#include <json-glib/json-glib.h>

#include "remote/vmm.h"

/* A command of whose answer only success matters; takes @arguments. */
bool vmmQemuDo(control *ctl, const char *command, JsonObject *arguments, int fd, GError **error);
/* Arguments with one member; the caller's. */
JsonObject *vmmQemuArgString(const char *name, const char *value);
JsonObject *vmmQemuArgInt(const char *name, gint64 value);
/* Always false, with the error that the answer to @command lacks what was asked for. */
bool vmmQemuBadAnswer(const char *command, GError **error);

/* vmm_qemu_migrate.c */
vmmMigState vmmQemuMigState(const char *name);
bool vmmQemuMigrateStart(control *ctl, const vmmMigSpec *spec, int fd, GError **error);
bool vmmQemuMigrateContinue(control *ctl, GError **error);
bool vmmQemuMigrateCancel(control *ctl, GError **error);
bool vmmQemuMigrateRelease(control *ctl, GError **error);
bool vmmQemuMigrateStatus(control *ctl, vmmMigStatus *ret, GError **error);
bool vmmQemuMigrateTune(control *ctl, const vmmMigSpec *spec, GError **error);
bool vmmQemuMigrateCache(control *ctl, uint64_t bytes, GError **error);
bool vmmQemuIncomingAttach(control *ctl, int fd, GError **error);
bool vmmQemuIncomingListen(control *ctl, const char *path, const vmmMigSpec *spec, GError **error);

/* vmm_qemu_device.c */
bool vmmQemuDevicePlug(control *ctl, const char *const *args, const int *fds, size_t nfds, GError **error);
bool vmmQemuDeviceUnplug(control *ctl, const char *alias, GError **error);
bool vmmQemuDeviceForget(control *ctl, const char *const *args, GError **error);
bool vmmQemuDeviceList(control *ctl, const char *const *wanted, GStrv *ret, GError **error);
