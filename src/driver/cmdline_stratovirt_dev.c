/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmdline_stratovirt_dev.c: the devices of a guest of StratoVirt: one row a kind, in kinds[] */
#include <config.h>

#include "driver/cmdline_priv.h"

#include <sys/un.h>

#include "virmacaddr.h"

#include "driver/compat.h"
#include "base/gettext.h"

/* Before this version the number of a controller's ports was spelled otherwise. */
#define MAX_PORTS_VERSION 2005000

#define SOCKET_PATH_MAX sizeof(((struct sockaddr_un *)NULL)->sun_path)

/* "DRIVER-pci,id=ALIAS,bus=…,addr=…", or "DRIVER-device,id=ALIAS" on microvm. */
static GString *
devPlace(const cmdlineCtx *ctx, const char *driver, const virDomainDeviceInfo *info)
{
    g_autofree char *place = qemuVirtioPlace(ctx, driver, info);

    return g_string_new(place);
}

static const char *
devTrueFalse(virTristateSwitch value)
{
    return value == VIR_TRISTATE_SWITCH_ON ? "true" : "false";
}

/* ---- threads and controllers ----------------------------------------------------------------------------------- */

static int
devIothread(cmdlineCtx *ctx, size_t index)
{
    cmdlineAdd(ctx, "-object", "iothread,id=iothread%u", ctx->def->iothreadids[index]->iothread_id);
    return 0;
}

static int
devRootPort(cmdlineCtx *ctx, size_t index)
{
    const virDomainControllerDef *port = ctx->def->controllers[index];
    g_autofree char *place = NULL;

    if (port->type != VIR_DOMAIN_CONTROLLER_TYPE_PCI || port->model != VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT_PORT)
        return 0;
    if (cmdlineNeedAlias(&port->info, "controller") < 0)
        return -1;
    place = qemuDevicePlace(ctx, "pcie-root-port", &port->info);
    cmdlineAdd(ctx, "-device", "%s,port=0x%x", place, port->opts.pciopts.port);
    return 0;
}

static int
devController(cmdlineCtx *ctx, size_t index)
{
    const virDomainControllerDef *controller = ctx->def->controllers[index];

    if (cmdlineNeedAlias(&controller->info, "controller") < 0)
        return -1;
    if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB &&
        controller->model == VIR_DOMAIN_CONTROLLER_MODEL_USB_NEC_XHCI) {
        g_autofree char *place = qemuDevicePlace(ctx, "nec-usb-xhci", &controller->info);

        cmdlineAdd(ctx, "-device", "%s", place);
    } else if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL) {
        g_autoptr(GString) text = devPlace(ctx, "virtio-serial", &controller->info);

        if (controller->opts.vioserial.ports >= 0 && ctx->machine != MACHINE_MICROVM)
            g_string_append_printf(text, ",%s=%d", ctx->vmm->version < MAX_PORTS_VERSION ? "max_ports" : "max-ports",
                                   controller->opts.vioserial.ports);
        cmdlineAdd(ctx, "-device", "%s", text->str);
    }
    return 0;
}

/* ---- disks ------------------------------------------------------------------------------------------------------ */

/* Past the host's cache, and asynchronously, unless the definition says otherwise: StratoVirt's own default. */
static void
devDiskMode(const virDomainDiskDef *disk, GString *text)
{
    static const char *const modes[VIR_DOMAIN_DISK_IO_LAST] = {
        [VIR_DOMAIN_DISK_IO_NATIVE] = "native",
        [VIR_DOMAIN_DISK_IO_THREADS] = "threads",
        [VIR_DOMAIN_DISK_IO_URING] = "io_uring",
    };
    bool direct = disk->cachemode != VIR_DOMAIN_DISK_CACHE_WRITEBACK;
    const char *mode = modes[disk->iomode];

    g_string_append_printf(text, ",direct=%s,aio=%s", direct ? "on" : "off", mode ? mode : direct ? "native" : "off");
}

static int
devDiskBackend(cmdlineCtx *ctx, const virDomainDiskDef *disk)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (stratoCheckText(disk->src->path, "path of a disk") < 0)
        return -1;
    g_string_append_printf(text, "id=drive-%s,file=%s,format=%s,readonly=%s", disk->info.alias, disk->src->path,
                           disk->src->format == VIR_STORAGE_FILE_QCOW2 ? "qcow2" : "raw",
                           disk->src->readonly ? "on" : "off");
    devDiskMode(disk, text);
    if (disk->discard)
        g_string_append_printf(text, ",discard=%s", virDomainDiskDiscardTypeToString(disk->discard));
    if (disk->detect_zeroes)
        g_string_append_printf(text, ",detect-zeroes=%s", virDomainDiskDetectZeroesTypeToString(disk->detect_zeroes));
    if (disk->blkdeviotune.total_iops_sec)
        g_string_append_printf(text, ",throttling.iops-total=%llu", disk->blkdeviotune.total_iops_sec);
    g_string_append(text, ",if=none");
    cmdlineAdd(ctx, "-drive", "%s", text->str);
    return 0;
}

int
stratoBuildDisk(cmdlineCtx *ctx, size_t index)
{
    const virDomainDiskDef *disk = ctx->def->disks[index];
    g_autoptr(GString) text = NULL;

    if (cmdlineNeedAlias(&disk->info, "disk") < 0 || stratoCheckText(disk->serial, "serial number of a disk") < 0 ||
        devDiskBackend(ctx, disk) < 0)
        return -1;
    text = devPlace(ctx, "virtio-blk", &disk->info);
    g_string_append_printf(text, ",drive=drive-%s", disk->info.alias);
    if (disk->serial)
        g_string_append_printf(text, ",serial=%s", disk->serial);
    if (disk->iothread)
        g_string_append_printf(text, ",iothread=iothread%u", disk->iothread);
    if (disk->queues)
        g_string_append_printf(text, ",num-queues=%u", disk->queues);
    if (disk->queue_size)
        g_string_append_printf(text, ",queue-size=%u", disk->queue_size);
    if (disk->info.effectiveBootIndex && ctx->machine != MACHINE_MICROVM)
        g_string_append_printf(text, ",bootindex=%u", disk->info.effectiveBootIndex);
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

/* ---- interfaces -------------------------------------------------------------------------------------------------- */

int
stratoBuildNet(cmdlineCtx *ctx, size_t index)
{
    const virDomainNetDef *net = ctx->def->nets[index];
    char mac[VIR_MAC_STRING_BUFLEN];
    g_autofree char *tap = NULL;
    g_autoptr(GString) text = NULL;

    if (cmdlineNeedAlias(&net->info, "interface") < 0 || !(tap = cmdlineTapText(ctx, index)))
        return -1;
    cmdlineAdd(ctx, "-netdev", "tap,id=host%s,%s", net->info.alias, tap);
    text = devPlace(ctx, "virtio-net", &net->info);
    g_string_append_printf(text, ",netdev=host%s,mac=%s", net->info.alias, virMacAddrFormat(&net->mac, mac));
    if (net->driver.virtio.queues > 1)
        g_string_append(text, ",mq=on");
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

/* ---- consoles, serial ports, channels ------------------------------------------------------------------------------ */

/* What stands behind a device: *retKind, and the rest of what describes it; NULL: an error has been reported. */
static char *
devSource(const virDomainChrDef *chr, const char **retKind)
{
    const virDomainChrSourceDef *source = chr->source;
    const char *kind = virDomainChrDeviceTypeToString(chr->deviceType);
    const char *path = source->type == VIR_DOMAIN_CHR_TYPE_FILE ? source->data.file.path
        : source->type == VIR_DOMAIN_CHR_TYPE_UNIX ? source->data.nix.path : NULL;

    if (cmdlineNeedAlias(&chr->info, kind) < 0 || stratoCheckText(path, "path") < 0)
        return NULL;
    switch (source->type) {
    case VIR_DOMAIN_CHR_TYPE_FILE:
        *retKind = "file";
        return g_strdup_printf(",path=%s", path);
    case VIR_DOMAIN_CHR_TYPE_UNIX:
        *retKind = "socket";
        if (path && strlen(path) < SOCKET_PATH_MAX)
            return g_strdup_printf(",path=%s,server,nowait", path);
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The path '%1$s' of a unix socket must be there and shorter than %2$zu bytes"), NULLSTR(path),
                       SOCKET_PATH_MAX);
        return NULL;
    case VIR_DOMAIN_CHR_TYPE_TCP:
        *retKind = "socket";
        if (stratoCheckText(source->data.tcp.host, "host") < 0 || stratoCheckText(source->data.tcp.service, "service") < 0)
            return NULL;
        return g_strdup_printf(",host=%s,port=%s,server,nowait", source->data.tcp.host, source->data.tcp.service);
    default:
        *retKind = "pty";
        return g_strdup("");
    }
}

/* Its name is "char" and the device's. */
static int
devChardev(cmdlineCtx *ctx, const virDomainChrDef *chr)
{
    const char *kind = NULL;
    g_autofree char *rest = devSource(chr, &kind);

    if (!rest)
        return -1;
    cmdlineAdd(ctx, "-chardev", "%s,id=char%s%s", kind, chr->info.alias, rest);
    return 0;
}

/* The port is made before any -chardev is looked at, so it can name none; its own has a name of the VMM's (vmmTraits.serialChardev). */
static int
devSerial(cmdlineCtx *ctx, size_t index)
{
    const char *kind = NULL;
    g_autofree char *rest = devSource(ctx->def->serials[index], &kind);

    if (!rest)
        return -1;
    cmdlineAdd(ctx, "-serial", "%s%s", kind, rest);
    return 0;
}

static int
devConsole(cmdlineCtx *ctx, size_t index)
{
    const virDomainChrDef *console = ctx->def->consoles[index];

    /* The first serial port by another name. */
    if (console->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO)
        return 0;
    if (devChardev(ctx, console) < 0)
        return -1;
    cmdlineAdd(ctx, "-device", "virtconsole,id=%s,chardev=char%s,nr=%u", console->info.alias, console->info.alias,
               console->info.addr.vioserial.port);
    return 0;
}

static int
devChannel(cmdlineCtx *ctx, size_t index)
{
    const virDomainChrDef *channel = ctx->def->channels[index];

    if (devChardev(ctx, channel) < 0)
        return -1;
    cmdlineAdd(ctx, "-device", "virtserialport,id=%s,chardev=char%s,nr=%u", channel->info.alias, channel->info.alias,
               channel->info.addr.vioserial.port);
    return 0;
}

/* ---- the small ones ------------------------------------------------------------------------------------------------- */

static int
devRng(cmdlineCtx *ctx, size_t index)
{
    const virDomainRNGDef *rng = ctx->def->rngs[index];
    const char *file = rng->source.file ? rng->source.file : "/dev/urandom";
    g_autoptr(GString) text = NULL;

    if (cmdlineNeedAlias(&rng->info, "rng") < 0 || stratoCheckText(file, "path of a <rng>") < 0)
        return -1;
    cmdlineAdd(ctx, "-object", "rng-random,id=obj%s,filename=%s", rng->info.alias, file);
    text = devPlace(ctx, "virtio-rng", &rng->info);
    g_string_append_printf(text, ",rng=obj%s", rng->info.alias);
    if (rng->rate)
        g_string_append_printf(text, ",max-bytes=%u,period=%u", rng->rate, rng->period ? rng->period : 1000);
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

static int
devBalloon(cmdlineCtx *ctx, size_t index G_GNUC_UNUSED)
{
    const virDomainMemballoonDef *balloon = ctx->def->memballoon;
    g_autoptr(GString) text = NULL;

    if (!balloon || balloon->model == VIR_DOMAIN_MEMBALLOON_MODEL_NONE)
        return 0;
    if (cmdlineNeedAlias(&balloon->info, "memballoon") < 0)
        return -1;
    text = devPlace(ctx, "virtio-balloon", &balloon->info);
    if (balloon->autodeflate)
        g_string_append_printf(text, ",deflate-on-oom=%s", devTrueFalse(balloon->autodeflate));
    if (balloon->free_page_reporting)
        g_string_append_printf(text, ",free-page-reporting=%s", devTrueFalse(balloon->free_page_reporting));
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

static int
devVsock(cmdlineCtx *ctx, size_t index G_GNUC_UNUSED)
{
    const virDomainVsockDef *vsock = ctx->def->vsock;
    g_autoptr(GString) text = NULL;

    if (!vsock)
        return 0;
    if (cmdlineNeedAlias(&vsock->info, "vsock") < 0)
        return -1;
    text = devPlace(ctx, "vhost-vsock", &vsock->info);
    if (vsock->auto_cid == VIR_TRISTATE_BOOL_YES && ctx->env->standalone) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("Only a start finds a number for <vsock><cid auto='yes'>; a command line needs <cid auto='no' address='…'>"));
        return -1;
    }
    g_string_append_printf(text, ",guest-cid=%u", vsock->guest_cid);
    if (vsock->auto_cid == VIR_TRISTATE_BOOL_YES)
        g_string_append_printf(text, ",vhostfd=%d", ctx->env->vsockFd);
    cmdlineAdd(ctx, "-device", "%s", text->str);
    return 0;
}

/* ---- all -------------------------------------------------------------------------------------------------------------- */

int
stratoBuildDevices(cmdlineCtx *ctx)
{
    const virDomainDef *def = ctx->def;
    const struct {
        size_t count;
        int (*build)(cmdlineCtx *ctx, size_t index);
    } kinds[] = {
        /* What others are on or name comes before them. */
        { def->niothreadids, devIothread },
        { def->ncontrollers, devRootPort },
        { def->ncontrollers, devController },
        { def->ndisks, stratoBuildDisk },
        { def->nnets, stratoBuildNet },
        { def->nserials, devSerial },
        { def->nconsoles, devConsole },
        { def->nchannels, devChannel },
        { def->nrngs, devRng },
        { 1, devBalloon },
        { 1, devVsock },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        for (size_t k = 0; k < kinds[i].count; k++) {
            if (kinds[i].build(ctx, k) < 0)
                return -1;
        }
    }
    return 0;
}
