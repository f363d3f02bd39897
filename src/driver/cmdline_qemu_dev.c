/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmdline_qemu_dev.c: the devices of a guest of QEMU that have no character device: one row a kind, in deviceKinds[] */
#include <config.h>

#include "driver/cmdline_priv.h"

#include "virmacaddr.h"

#include "driver/compat.h"
#include "base/gettext.h"

/* ---- controllers ------------------------------------------------------------------------------------------------ */

static int
devRootPort(cmdlineCtx *ctx, const virDomainControllerDef *port)
{
    const virDomainPCIControllerOpts *opts = &port->opts.pciopts;
    g_autofree char *place = qemuDevicePlace(ctx, opts->modelName == VIR_DOMAIN_CONTROLLER_PCI_MODEL_NAME_IOH3420
                                                  ? "ioh3420" : "pcie-root-port", &port->info);

    cmdlineAdd(ctx, "-device", "%s,port=0x%x,chassis=%d", place, opts->port, opts->chassis);
    return 0;
}

/* A companion serves ports of the faster controller that has the same index. */
static char *
devUsbMaster(const cmdlineCtx *ctx, const virDomainControllerDef *companion)
{
    for (size_t i = 0; i < ctx->def->ncontrollers; i++) {
        const virDomainControllerDef *master = ctx->def->controllers[i];

        if (master->type == VIR_DOMAIN_CONTROLLER_TYPE_USB && master->idx == companion->idx &&
            master->info.mastertype != VIR_DOMAIN_CONTROLLER_MASTER_USB)
            return g_strdup_printf(",masterbus=%s.0,firstport=%u", master->info.alias,
                                   companion->info.master.usb.startport);
    }
    return NULL;
}

static int
devUsb(cmdlineCtx *ctx, const virDomainControllerDef *usb)
{
    static const struct { int model; const char *driver; bool ports; } models[] = {
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_QEMU_XHCI, "qemu-xhci", true },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_NEC_XHCI, "nec-usb-xhci", true },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_EHCI1, "ich9-usb-ehci1", false },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI1, "ich9-usb-uhci1", false },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI2, "ich9-usb-uhci2", false },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI3, "ich9-usb-uhci3", false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(models); i++) {
        g_autofree char *place = NULL;
        g_autofree char *more = NULL;

        if (usb->model != models[i].model)
            continue;
        place = qemuDevicePlace(ctx, models[i].driver, &usb->info);
        if (models[i].ports && usb->opts.usbopts.ports > 0)
            more = g_strdup_printf(",p2=%d,p3=%d", usb->opts.usbopts.ports, usb->opts.usbopts.ports);
        else if (usb->info.mastertype == VIR_DOMAIN_CONTROLLER_MASTER_USB)
            more = devUsbMaster(ctx, usb);
        cmdlineAdd(ctx, "-device", "%s%s", place, more ? more : "");
        return 0;
    }
    return 0;
}

static int
devVirtioSerial(cmdlineCtx *ctx, const virDomainControllerDef *serial)
{
    g_autofree char *place = qemuVirtioPlace(ctx, "virtio-serial", &serial->info);
    const virDomainVirtioSerialOpts *opts = &serial->opts.vioserial;
    g_autoptr(GString) more = g_string_new(NULL);

    if (opts->ports >= 0)
        g_string_append_printf(more, ",max_ports=%d", opts->ports);
    if (opts->vectors >= 0 && ctx->machine != MACHINE_MICROVM)
        g_string_append_printf(more, ",vectors=%d", opts->vectors);
    cmdlineAdd(ctx, "-device", "%s%s", place, more->str);
    return 0;
}

/* Root ports go first: others may be on the buses they make. */
static int
devBridge(cmdlineCtx *ctx, size_t index)
{
    const virDomainControllerDef *controller = ctx->def->controllers[index];

    if (controller->type != VIR_DOMAIN_CONTROLLER_TYPE_PCI ||
        controller->model != VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT_PORT)
        return 0;
    if (cmdlineNeedAlias(&controller->info, "controller") < 0)
        return -1;
    return devRootPort(ctx, controller);
}

static int
devController(cmdlineCtx *ctx, size_t index)
{
    const virDomainControllerDef *controller = ctx->def->controllers[index];

    if (cmdlineNeedAlias(&controller->info, "controller") < 0)
        return -1;
    switch (controller->type) {
    case VIR_DOMAIN_CONTROLLER_TYPE_USB:
        return ctx->machine == MACHINE_MICROVM ? 0 : devUsb(ctx, controller);
    case VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL:
        return devVirtioSerial(ctx, controller);
    default:
        /* sata: part of the machine. */
        return 0;
    }
}

/* ---- disks --------------------------------------------------------------------------------------------------------- */

/* What each cache mode is made of; the device's write cache is what the guest is told. */
static const struct {
    bool direct, noFlush, writeCache;
} cacheModes[] = {
    [VIR_DOMAIN_DISK_CACHE_DEFAULT] = { false, false, true },
    [VIR_DOMAIN_DISK_CACHE_DISABLE] = { true, false, true },
    [VIR_DOMAIN_DISK_CACHE_WRITETHRU] = { false, false, false },
    [VIR_DOMAIN_DISK_CACHE_WRITEBACK] = { false, false, true },
    [VIR_DOMAIN_DISK_CACHE_DIRECTSYNC] = { true, false, false },
    [VIR_DOMAIN_DISK_CACHE_UNSAFE] = { false, true, true },
};
G_STATIC_ASSERT(G_N_ELEMENTS(cacheModes) == VIR_DOMAIN_DISK_CACHE_LAST);

/* QEMU's limit. */
#define NODE_NAME_MAX 31

/* Disks come and go: what is behind one is called after its alias, or what stands for a long one. Caller frees. */
static char *
devDiskNodeName(const virDomainDiskDef *disk, const char *suffix)
{
    g_autofree char *name = g_strdup_printf("%s-%s", disk->info.alias, suffix);
    g_autofree char *sum = NULL;

    if (strlen(name) <= NODE_NAME_MAX)
        return g_steal_pointer(&name);
    sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, disk->info.alias, -1);
    return g_strdup_printf("ua-%.16s-%s", sum, suffix);
}

/* Both nodes of a disk have these. */
static JsonObject *
devDiskNode(const virDomainDiskDef *disk, const char *driver, const char *suffix)
{
    JsonObject *node = json_object_new();
    JsonObject *cache = json_object_new();
    g_autofree char *name = devDiskNodeName(disk, suffix);

    json_object_set_string_member(node, "driver", driver);
    json_object_set_string_member(node, "node-name", name);
    json_object_set_boolean_member(cache, "direct", cacheModes[disk->cachemode].direct);
    json_object_set_boolean_member(cache, "no-flush", cacheModes[disk->cachemode].noFlush);
    json_object_set_object_member(node, "cache", cache);
    json_object_set_boolean_member(node, "read-only", disk->src->readonly);
    if (disk->discard)
        json_object_set_string_member(node, "discard", virDomainDiskDiscardTypeToString(disk->discard));
    return node;
}

static void
devDiskBackend(cmdlineCtx *ctx, size_t index)
{
    const virDomainDiskDef *disk = ctx->def->disks[index];
    bool qcow2 = disk->src->format == VIR_STORAGE_FILE_QCOW2;
    JsonObject *storage = devDiskNode(disk, disk->src->type == VIR_STORAGE_TYPE_BLOCK ? "host_device" : "file",
                                      "storage");
    JsonObject *format = devDiskNode(disk, qcow2 ? "qcow2" : "raw", "format");
    g_autofree char *storageName = devDiskNodeName(disk, "storage");

    json_object_set_string_member(storage, "filename", disk->src->path);
    if (disk->iomode)
        json_object_set_string_member(storage, "aio", virDomainDiskIoTypeToString(disk->iomode));
    cmdlineAddJson(ctx, "-blockdev", storage);

    json_object_set_string_member(format, "file", storageName);
    if (disk->detect_zeroes)
        json_object_set_string_member(format, "detect-zeroes",
                                      virDomainDiskDetectZeroesTypeToString(disk->detect_zeroes));
    /* <backingStore/> says that there is none, whatever the image says. */
    if (qcow2 && disk->src->backingStore)
        json_object_set_null_member(format, "backing");
    cmdlineAddJson(ctx, "-blockdev", format);
}

static void
devDiskPolicy(const virDomainDiskDef *disk, GString *text)
{
    virDomainDiskErrorPolicy onRead = disk->rerror_policy;

    if (disk->error_policy)
        g_string_append_printf(text, ",werror=%s", disk->error_policy == VIR_DOMAIN_DISK_ERROR_POLICY_ENOSPACE
                               ? "enospc" : virDomainDiskErrorPolicyTypeToString(disk->error_policy));
    /* error_policy alone is for both, but a full disk is nothing that reading can meet. */
    if (!onRead && disk->error_policy != VIR_DOMAIN_DISK_ERROR_POLICY_ENOSPACE)
        onRead = disk->error_policy;
    if (onRead)
        g_string_append_printf(text, ",rerror=%s", virDomainDiskErrorPolicyTypeToString(onRead));
}

int
qemuBuildDisk(cmdlineCtx *ctx, size_t index)
{
    const virDomainDiskDef *disk = ctx->def->disks[index];
    g_autofree char *place = NULL;
    g_autofree char *node = NULL;
    g_autoptr(GString) text = NULL;

    if (cmdlineNeedAlias(&disk->info, "disk") < 0)
        return -1;
    node = devDiskNodeName(disk, "format");
    devDiskBackend(ctx, index);
    place = qemuVirtioPlace(ctx, "virtio-blk", &disk->info);
    text = g_string_new(place);
    g_string_append_printf(text, ",drive=%s,write-cache=%s", node,
                           cacheModes[disk->cachemode].writeCache ? "on" : "off");
    if (disk->src->shared)
        g_string_append(text, ",share-rw=on");
    if (disk->info.effectiveBootIndex)
        g_string_append_printf(text, ",bootindex=%u", disk->info.effectiveBootIndex);
    if (disk->serial) {
        g_autofree char *serial = cmdlineEscape(disk->serial);

        g_string_append_printf(text, ",serial=%s", serial);
    }
    if (disk->queues)
        g_string_append_printf(text, ",num-queues=%u", disk->queues);
    if (disk->blockio.logical_block_size)
        g_string_append_printf(text, ",logical_block_size=%u", disk->blockio.logical_block_size);
    if (disk->blockio.physical_block_size)
        g_string_append_printf(text, ",physical_block_size=%u", disk->blockio.physical_block_size);
    devDiskPolicy(disk, text);
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

/* ---- interfaces ------------------------------------------------------------------------------------------------------ */

int
qemuBuildNet(cmdlineCtx *ctx, size_t index)
{
    const virDomainNetDef *net = ctx->def->nets[index];
    char mac[VIR_MAC_STRING_BUFLEN];
    g_autofree char *place = NULL;
    g_autofree char *tap = NULL;
    g_autoptr(GString) text = NULL;

    if (cmdlineNeedAlias(&net->info, "interface") < 0 || !(tap = cmdlineTapText(ctx, index)))
        return -1;
    cmdlineAdd(ctx, "-netdev", "tap,id=host%s,%s%s,vhost=off", net->info.alias, tap,
               ctx->env->standalone ? ",script=no,downscript=no" : "");
    place = qemuVirtioPlace(ctx, "virtio-net", &net->info);
    text = g_string_new(place);
    g_string_append_printf(text, ",netdev=host%s,mac=%s", net->info.alias, virMacAddrFormat(&net->mac, mac));
    /* An interrupt for each direction of each queue, one for changes of its configuration and one for its control queue. */
    if (net->driver.virtio.queues > 1)
        g_string_append_printf(text, ",mq=on,vectors=%u", 2 * net->driver.virtio.queues + 2);
    if (net->mtu)
        g_string_append_printf(text, ",host_mtu=%u", net->mtu);
    if (net->info.effectiveBootIndex)
        g_string_append_printf(text, ",bootindex=%u", net->info.effectiveBootIndex);
    else if (ctx->machine == MACHINE_Q35)
        /* A boot ROM that nobody boots from only has to be the same file on each host. */
        g_string_append(text, ",romfile=");
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

/* ---- the small ones ---------------------------------------------------------------------------------------------------- */

static int
devRng(cmdlineCtx *ctx, size_t index)
{
    const virDomainRNGDef *rng = ctx->def->rngs[index];
    JsonObject *source = json_object_new();
    g_autofree char *id = g_strdup_printf("obj%s", rng->info.alias);
    g_autofree char *place = NULL;
    g_autofree char *rate = NULL;

    if (cmdlineNeedAlias(&rng->info, "rng") < 0) {
        json_object_unref(source);
        return -1;
    }
    json_object_set_string_member(source, "qom-type",
                                  rng->backend == VIR_DOMAIN_RNG_BACKEND_BUILTIN ? "rng-builtin" : "rng-random");
    json_object_set_string_member(source, "id", id);
    if (rng->backend == VIR_DOMAIN_RNG_BACKEND_RANDOM)
        json_object_set_string_member(source, "filename", rng->source.file ? rng->source.file : "/dev/urandom");
    cmdlineAddJson(ctx, "-object", source);

    place = qemuVirtioPlace(ctx, "virtio-rng", &rng->info);
    if (rng->rate)
        rate = g_strdup_printf(",max-bytes=%u,period=%u", rng->rate, rng->period ? rng->period : 1000);
    cmdlineAdd(ctx, "-device", "%s,rng=%s%s", place, id, rate ? rate : "");
    return 0;
}

static int
devBalloon(cmdlineCtx *ctx, size_t index G_GNUC_UNUSED)
{
    const virDomainMemballoonDef *balloon = ctx->def->memballoon;
    g_autofree char *place = NULL;
    g_autoptr(GString) text = NULL;

    if (!balloon || balloon->model == VIR_DOMAIN_MEMBALLOON_MODEL_NONE)
        return 0;
    if (cmdlineNeedAlias(&balloon->info, "memballoon") < 0)
        return -1;
    place = qemuVirtioPlace(ctx, "virtio-balloon", &balloon->info);
    text = g_string_new(place);
    if (balloon->autodeflate)
        g_string_append_printf(text, ",deflate-on-oom=%s", virTristateSwitchTypeToString(balloon->autodeflate));
    if (balloon->free_page_reporting)
        g_string_append_printf(text, ",free-page-reporting=%s",
                               virTristateSwitchTypeToString(balloon->free_page_reporting));
    if (balloon->period > 0)
        g_string_append_printf(text, ",guest-stats-polling-interval=%d", balloon->period);
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

static int
devWatchdog(cmdlineCtx *ctx, size_t index G_GNUC_UNUSED)
{
    const virDomainWatchdogDef *watchdog = compatWatchdog(ctx->def);

    if (!watchdog)
        return 0;
    if (compatWatchdogCount(ctx->def) > 1) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("Domain '%1$s' has more than one watchdog."), ctx->def->name);
        return -1;
    }
    if (cmdlineNeedAlias(&watchdog->info, "watchdog") < 0)
        return -1;
    if (watchdog->model == VIR_DOMAIN_WATCHDOG_MODEL_I6300ESB) {
        g_autofree char *place = qemuDevicePlace(ctx, "i6300esb", &watchdog->info);

        cmdlineAdd(ctx, "-device", "%s", place);
    } else {
        /* Part of the chipset, but strapped to do nothing. */
        cmdlineAdd(ctx, "-global", "ICH9-LPC.noreboot=off");
    }
    cmdlineAdd(ctx, "-watchdog-action", "%s", virDomainWatchdogActionTypeToString(watchdog->action));
    return 0;
}

static int
devPanic(cmdlineCtx *ctx, size_t index)
{
    if (cmdlineNeedAlias(&ctx->def->panics[index]->info, "panic") < 0)
        return -1;
    cmdlineAdd(ctx, "-device", "pvpanic,id=%s", ctx->def->panics[index]->info.alias);
    return 0;
}

/* ---- all ------------------------------------------------------------------------------------------------------------------ */

int
qemuBuildDevices(cmdlineCtx *ctx)
{
    const virDomainDef *def = ctx->def;
    const struct {
        size_t count;
        int (*build)(cmdlineCtx *ctx, size_t index);
    } deviceKinds[] = {
        /* Buses before what is on them. */
        { def->ncontrollers, devBridge },
        { def->ncontrollers, devController },
        { def->ndisks, qemuBuildDisk },
        { def->nnets, qemuBuildNet },
        { def->nrngs, devRng },
        { 1, devBalloon },
        { 1, devWatchdog },
        { def->npanics, devPanic },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(deviceKinds); i++) {
        for (size_t k = 0; k < deviceKinds[i].count; k++) {
            if (deviceKinds[i].build(ctx, k) < 0)
                return -1;
        }
    }
    return 0;
}
