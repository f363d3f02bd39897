/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <config.h>

#include "driver/cmdline_priv.h"

#include "base/fd.h"
#include "driver/compat.h"
#include "driver/validate.h"
#include "base/gettext.h"

/* ---- tools of the writers ---------------------------------------------------------------------------------- */

void
cmdlineAdd(cmdlineCtx *ctx, const char *option, const char *fmt, ...)
{
    va_list ap;

    if (option)
        g_ptr_array_add(ctx->args, g_strdup(option));
    if (!fmt)
        return;
    va_start(ap, fmt);
    g_ptr_array_add(ctx->args, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

void
cmdlineAddJson(cmdlineCtx *ctx, const char *option, JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object);

    json_object_unref(object);
    g_ptr_array_add(ctx->args, g_strdup(option));
    g_ptr_array_add(ctx->args, json_to_string(node, FALSE));
}

char *
cmdlineEscape(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);

    return g_strjoinv(",,", parts);
}

void
cmdlineTapNew(cmdlineTap *tap, const virDomainNetDef *net)
{
    tap->count = MAX(net->driver.virtio.queues, 1);
    tap->fds = g_new(int, tap->count);
    for (size_t i = 0; i < tap->count; i++)
        tap->fds[i] = -1;
}

void
cmdlineTapClear(cmdlineTap *tap)
{
    for (size_t i = 0; i < tap->count; i++)
        baseFdClose(tap->fds[i]);
    tap->count = 0;
    g_clear_pointer(&tap->fds, g_free);
}

char *
cmdlineTapText(const cmdlineCtx *ctx, size_t index)
{
    const virDomainNetDef *net = ctx->def->nets[index];
    const cmdlineTap *tap = index < ctx->env->ntaps ? &ctx->env->taps[index] : NULL;
    g_autoptr(GString) text = NULL;

    if (ctx->env->standalone) {
        text = g_string_new("ifname=");
        g_string_append(text, net->ifname ? net->ifname : net->info.alias);
        if (net->driver.virtio.queues > 1)
            g_string_append_printf(text, ",queues=%u", net->driver.virtio.queues);
        return g_string_free(g_steal_pointer(&text), FALSE);
    }
    if (!tap || tap->count == 0 || tap->fds[0] < 0) {
        virReportError(VIR_ERR_INTERNAL_ERROR, _("The interface '%1$s' has no tap device"), net->info.alias);
        return NULL;
    }
    text = g_string_new(tap->count > 1 ? "fds=" : "fd=");
    for (size_t i = 0; i < tap->count; i++)
        g_string_append_printf(text, "%s%d", i ? ":" : "", tap->fds[i]);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

int
cmdlineNeedAlias(const virDomainDeviceInfo *info, const char *what)
{
    if (info->alias)
        return 0;
    virReportError(VIR_ERR_INTERNAL_ERROR, _("A device of the kind '%1$s' has no alias yet"), what);
    return -1;
}

/* ---- styles -------------------------------------------------------------------------------------------------- */

static const struct {
    int (*check)(const virDomainDef *def);   /* refuses what build() would not write */
    int (*build)(cmdlineCtx *ctx);
    int (*disk)(cmdlineCtx *ctx, size_t index);
    int (*net)(cmdlineCtx *ctx, size_t index);
} styles[] = {
    [VMM_CMDLINE_QEMU] = { validateQemu, qemuBuild, qemuBuildDisk, qemuBuildNet },
    [VMM_CMDLINE_STRATOVIRT] = { validateStratovirt, stratoBuild, stratoBuildDisk, stratoBuildNet },
};

static int
cmdlineCheckStyle(vmmCmdline style)
{
    if (style < G_N_ELEMENTS(styles) && styles[style].build)
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s", _("This version cannot start this VMM yet; use QEMU"));
    return -1;
}

int
cmdlineCheckDef(const virDomainDef *def, vmmCmdline style)
{
    if (cmdlineCheckStyle(style) < 0)
        return -1;
    return styles[style].check(def);
}

char **
cmdlineBuild(const virDomainDef *def, const vmmInfo *vmm, const cmdlineEnv *env)
{
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    cmdlineCtx ctx = {
        .def = def, .vmm = vmm, .env = env,
        .machine = machineKindOf(def->os.machine),
        .args = args,
    };

    /* Definitions of an older version have not been checked by this one. */
    if (cmdlineCheckDef(def, vmm->traits->cmdline) < 0)
        return NULL;
    cmdlineAdd(&ctx, vmm->binary, NULL);
    if (styles[vmm->traits->cmdline].build(&ctx) < 0)
        return NULL;
    g_ptr_array_add(args, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&args), FALSE);
}

char **
cmdlineBuildDevice(const virDomainDef *def, const vmmInfo *vmm, const cmdlineEnv *env, const virDomainDeviceDef *dev)
{
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    virDomainDef alone = *def;
    virDomainDiskDef *disk = dev->data.disk;
    virDomainNetDef *net = dev->data.net;
    cmdlineCtx ctx = {
        .def = &alone, .vmm = vmm, .env = env,
        .machine = machineKindOf(def->os.machine),
        .args = args,
    };
    int (*build)(cmdlineCtx *ctx, size_t index) = NULL;

    if (dev->type == VIR_DOMAIN_DEVICE_DISK) {
        build = styles[vmm->traits->cmdline].disk;
        alone.disks = &disk;
        alone.ndisks = 1;
    } else if (dev->type == VIR_DOMAIN_DEVICE_NET) {
        build = styles[vmm->traits->cmdline].net;
        alone.nets = &net;
        alone.nnets = 1;
    }
    if (!build) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, _("A device of the kind '%1$s' cannot come or go while a guest of %2$s runs."),
                       virDomainDeviceTypeToString(dev->type), vmm->traits->title);
        return NULL;
    }
    if (build(&ctx, 0) < 0)
        return NULL;
    g_ptr_array_add(args, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&args), FALSE);
}
