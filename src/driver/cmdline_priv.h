/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmdline_priv.h: shared by the files that write command lines, and by nobody else */
#pragma once

#include <json-glib/json-glib.h>

#include "driver/cmdline.h"
#include "driver/machine.h"

/* One command line in the making. */
typedef struct {
    const virDomainDef *def;
    const vmmInfo *vmm;
    const cmdlineEnv *env;
    machineKind machine;
    GPtrArray *args;             /* of char *, owned */
} cmdlineCtx;

/* Append "@option" and a formatted value. */
void cmdlineAdd(cmdlineCtx *ctx, const char *option, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Append "@option" and @object as one line of JSON; takes @object. */
void cmdlineAddJson(cmdlineCtx *ctx, const char *option, JsonObject *object);
/* @text with each comma doubled, as values inside a list of properties need it; caller frees. */
char *cmdlineEscape(const char *text);
/* Where the interface @index has its tap, as -netdev says it: "fd=30", "fds=30:31", for a person "ifname=…"; NULL with error set. Caller frees. */
char *cmdlineTapText(const cmdlineCtx *ctx, size_t index);
/* Every device has an alias once domainPrepareStart() has run; -1 with error set if @info has none. */
int cmdlineNeedAlias(const virDomainDeviceInfo *info, const char *what);

/* cmdline_qemu.c: the whole; 0 or -1 */
int qemuBuild(cmdlineCtx *ctx);
/* cmdline_qemu_dev.c: everything under <devices> but what has a character device */
int qemuBuildDevices(cmdlineCtx *ctx);
/* The disk or interface with this index alone. */
int qemuBuildDisk(cmdlineCtx *ctx, size_t index);
int qemuBuildNet(cmdlineCtx *ctx, size_t index);
/* cmdline_qemu_chr.c: consoles, serial ports, channels */
int qemuBuildChardevs(cmdlineCtx *ctx);

/* cmdline_stratovirt.c: the whole; 0 or -1 */
int stratoBuild(cmdlineCtx *ctx);
/* cmdline_stratovirt_dev.c: everything under <devices> */
int stratoBuildDevices(cmdlineCtx *ctx);
/* The disk or interface with this index alone. */
int stratoBuildDisk(cmdlineCtx *ctx, size_t index);
int stratoBuildNet(cmdlineCtx *ctx, size_t index);
/* A value inside a list of properties, where nothing can stand for a comma; -1 with error set if @text has one. */
int stratoCheckText(const char *text, const char *what);

/* A device at its place: "DRIVER,id=ALIAS,bus=…,addr=…" for PCI, without place elsewhere. @driver lacks "-pci" or "-device". */
char *qemuDevicePlace(const cmdlineCtx *ctx, const char *driver, const virDomainDeviceInfo *info);
/* The same for a virtio device, which is "virtio-blk-pci" or "virtio-blk-device" by the machine. */
char *qemuVirtioPlace(const cmdlineCtx *ctx, const char *driver, const virDomainDeviceInfo *info);
