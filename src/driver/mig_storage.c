/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_storage.c: the disks of a definition that both hosts must have in common, see migration/storage.h */
#include <config.h>

#include "driver/mig_priv.h"

#include "storage_source_conf.h"
#include "virbuffer.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

static char *
storageNetworkName(const virStorageSource *src)
{
    g_auto(virBuffer) buf = VIR_BUFFER_INITIALIZER;
    size_t i;

    virBufferAsprintf(&buf, "%s:", virStorageNetProtocolTypeToString(src->protocol));
    for (i = 0; i < src->nhosts; i++)
        virBufferAsprintf(&buf, "%s:%u,", src->hosts[i].name ? src->hosts[i].name : src->hosts[i].socket,
                          src->hosts[i].port);
    virBufferAsprintf(&buf, "/%s/%s", src->volume ? src->volume : "", src->path ? src->path : "");
    return virBufferContentAndReset(&buf);
}

GPtrArray *
migDisksOf(const virDomainDef *def)
{
    GPtrArray *disks = migDiskListNew();
    size_t i;

    for (i = 0; i < def->ndisks; i++) {
        const virDomainDiskDef *disk = def->disks[i];
        const virStorageSource *src = disk->src;
        g_autofree char *name = NULL;

        /* What cannot be written to can be no worse for being another copy, and a drive may be empty. */
        if (src->readonly || disk->device != VIR_DOMAIN_DISK_DEVICE_DISK || virStorageSourceIsEmpty((virStorageSource *)src))
            continue;
        switch (virStorageSourceGetActualType(src)) {
        case VIR_STORAGE_TYPE_BLOCK:
            migDiskListAdd(disks, disk->dst, MIG_DISK_BLOCK, src->path);
            break;
        case VIR_STORAGE_TYPE_NETWORK:
            name = storageNetworkName(src);
            migDiskListAdd(disks, disk->dst, MIG_DISK_NETWORK, name);
            break;
        default:
            migDiskListAdd(disks, disk->dst, MIG_DISK_FILE, src->path);
            break;
        }
    }
    return disks;
}

void
migDisksSweep(virDomainObj *vm)
{
    g_autoptr(GPtrArray) disks = migDisksOf(vm->def);
    char uuid[VIR_UUID_STRING_BUFLEN];

    virUUIDFormat(vm->def->uuid, uuid);
    migStorageSweep(disks, uuid);
}
