/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmdline_qemu_chr.c: consoles, serial ports and channels of a guest of QEMU */
#include <config.h>

#include <sys/un.h>

#include "driver/cmdline_priv.h"

#include "driver/compat.h"
#include "base/gettext.h"

/* What a path of a unix socket may be long, its end included. */
#define UNIX_PATH_MAX_LEN sizeof(((struct sockaddr_un *)NULL)->sun_path)

/* QEMU from 9.2 counts in milliseconds and calls the old property deprecated. */
#define QEMU_RECONNECT_MS 9002000

static void
chrReconnect(const cmdlineCtx *ctx, GString *text, const virDomainChrSourceReconnectDef *reconnect)
{
    unsigned seconds = reconnect->enabled == VIR_TRISTATE_BOOL_YES ? reconnect->timeout : 0;

    if (reconnect->enabled == VIR_TRISTATE_BOOL_ABSENT)
        return;
    if (ctx->vmm->version >= QEMU_RECONNECT_MS)
        g_string_append_printf(text, ",reconnect-ms=%u", seconds * 1000);
    else
        g_string_append_printf(text, ",reconnect=%u", seconds);
}

static void
chrPath(GString *text, const char *path)
{
    g_autofree char *escaped = cmdlineEscape(path ? path : "");

    g_string_append_printf(text, ",path=%s", escaped);
}

static int
chrUnix(const cmdlineCtx *ctx, GString *text, const virDomainChrSourceDef *source)
{
    const char *path = source->data.nix.path;

    if (!path || strlen(path) >= UNIX_PATH_MAX_LEN) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The path '%1$s' of a unix socket must be there and shorter than %2$zu bytes"),
                       NULLSTR(path), UNIX_PATH_MAX_LEN);
        return -1;
    }
    chrPath(text, path);
    if (source->data.nix.listen)
        g_string_append(text, ",server=on,wait=off");
    else
        chrReconnect(ctx, text, &source->data.nix.reconnect);
    return 0;
}

static void
chrTcp(const cmdlineCtx *ctx, GString *text, const virDomainChrSourceDef *source)
{
    g_autofree char *host = cmdlineEscape(source->data.tcp.host);
    g_autofree char *service = cmdlineEscape(source->data.tcp.service);

    g_string_append_printf(text, ",host=%s,port=%s", host, service);
    if (source->data.tcp.protocol == VIR_DOMAIN_CHR_TCP_PROTOCOL_TELNET)
        g_string_append(text, ",telnet=on");
    if (source->data.tcp.listen)
        g_string_append(text, ",server=on,wait=off");
    else
        chrReconnect(ctx, text, &source->data.tcp.reconnect);
}

/* What stands behind a device; its name is "char" and the device's. */
static int
chrBackend(cmdlineCtx *ctx, const virDomainChrDef *chr)
{
    static const char *const drivers[VIR_DOMAIN_CHR_TYPE_LAST] = {
        [VIR_DOMAIN_CHR_TYPE_NULL] = "null",
        [VIR_DOMAIN_CHR_TYPE_PTY] = "pty",
        [VIR_DOMAIN_CHR_TYPE_DEV] = "serial",
        [VIR_DOMAIN_CHR_TYPE_FILE] = "file",
        [VIR_DOMAIN_CHR_TYPE_PIPE] = "pipe",
        [VIR_DOMAIN_CHR_TYPE_UNIX] = "socket",
        [VIR_DOMAIN_CHR_TYPE_TCP] = "socket",
    };
    const virDomainChrSourceDef *source = chr->source;
    g_autoptr(GString) text = NULL;

    if (cmdlineNeedAlias(&chr->info, virDomainChrDeviceTypeToString(chr->deviceType)) < 0)
        return -1;
    if (!drivers[source->type]) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The type '%1$s' of '%2$s' is not supported"),
                       virDomainChrTypeToString(source->type), chr->info.alias);
        return -1;
    }
    text = g_string_new(drivers[source->type]);
    g_string_append_printf(text, ",id=char%s", chr->info.alias);
    switch (source->type) {
    case VIR_DOMAIN_CHR_TYPE_FILE:
        chrPath(text, source->data.file.path);
        g_string_append_printf(text, ",append=%s",
                               source->data.file.append == VIR_TRISTATE_SWITCH_ON ? "on" : "off");
        break;
    case VIR_DOMAIN_CHR_TYPE_DEV:
    case VIR_DOMAIN_CHR_TYPE_PIPE:
        chrPath(text, source->data.file.path);
        break;
    case VIR_DOMAIN_CHR_TYPE_TCP:
        chrTcp(ctx, text, source);
        break;
    case VIR_DOMAIN_CHR_TYPE_UNIX:
        if (chrUnix(ctx, text, source) < 0)
            return -1;
        break;
    }
    if (source->logfile) {
        g_autofree char *file = cmdlineEscape(source->logfile);

        g_string_append_printf(text, ",logfile=%s,logappend=%s", file,
                               source->logappend == VIR_TRISTATE_SWITCH_OFF ? "off" : "on");
    }
    cmdlineAdd(ctx, "-chardev", "%s", text->str);
    return 0;
}

/* "bus=…,nr=…" of a port of a virtio-serial controller; caller frees. */
static char *
chrPort(const cmdlineCtx *ctx, const virDomainChrDef *chr)
{
    const virDomainDeviceVirtioSerialAddress *addr = &chr->info.addr.vioserial;

    for (size_t i = 0; i < ctx->def->ncontrollers; i++) {
        const virDomainControllerDef *controller = ctx->def->controllers[i];

        if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL &&
            (unsigned int)controller->idx == addr->controller)
            return g_strdup_printf("bus=%s.%u,nr=%u", controller->info.alias, addr->bus, addr->port);
    }
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("There is no virtio-serial controller with the index %1$u for '%2$s'"),
                   addr->controller, chr->info.alias);
    return NULL;
}

static int
chrSerial(cmdlineCtx *ctx, const virDomainChrDef *chr)
{
    if (chrBackend(ctx, chr) < 0)
        return -1;
    cmdlineAdd(ctx, "-device", "isa-serial,id=%s,chardev=char%s,index=%d",
               chr->info.alias, chr->info.alias, chr->target.port);
    return 0;
}

static int
chrConsole(cmdlineCtx *ctx, const virDomainChrDef *chr)
{
    g_autofree char *port = NULL;

    /* The first serial port by another name. */
    if (chr->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO)
        return 0;
    if (chrBackend(ctx, chr) < 0 || !(port = chrPort(ctx, chr)))
        return -1;
    cmdlineAdd(ctx, "-device", "virtconsole,%s,id=%s,chardev=char%s", port, chr->info.alias, chr->info.alias);
    return 0;
}

static int
chrChannel(cmdlineCtx *ctx, const virDomainChrDef *chr)
{
    g_autofree char *port = NULL;
    g_autofree char *name = NULL;

    if (chrBackend(ctx, chr) < 0 || !(port = chrPort(ctx, chr)))
        return -1;
    if (chr->target.name) {
        g_autofree char *escaped = cmdlineEscape(chr->target.name);

        name = g_strdup_printf(",name=%s", escaped);
    }
    cmdlineAdd(ctx, "-device", "virtserialport,%s,id=%s,chardev=char%s%s",
               port, chr->info.alias, chr->info.alias, name ? name : "");
    return 0;
}

int
qemuBuildChardevs(cmdlineCtx *ctx)
{
    const virDomainDef *def = ctx->def;
    const struct {
        size_t count;
        virDomainChrDef **all;
        int (*build)(cmdlineCtx *ctx, const virDomainChrDef *chr);
    } kinds[] = {
        { def->nserials, def->serials, chrSerial },
        { def->nconsoles, def->consoles, chrConsole },
        { def->nchannels, def->channels, chrChannel },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        for (size_t k = 0; k < kinds[i].count; k++) {
            if (kinds[i].build(ctx, kinds[i].all[k]) < 0)
                return -1;
        }
    }
    return 0;
}
