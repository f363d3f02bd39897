/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* console.c: a guest's console or channel tied to a libvirt stream; one user at a time unless forced */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/mig_tunnel.h"

#include "datatypes.h"
#include "viraccessapicheck.h"

#include "driver/compat.h"
#include "base/gettext.h"

typedef struct {
    const char *name;            /* NULL: the first there is */
    virStreamPtr stream;
    bool force;
} consoleArgs;

static virDomainChrDef *
consoleFindIn(virDomainChrDef **list, size_t count, const char *alias)
{
    for (size_t i = 0; i < count; i++) {
        if (STREQ_NULLABLE(list[i]->info.alias, alias))
            return list[i];
    }
    return NULL;
}

static virDomainChrDef *
consoleFind(const virDomainDef *def, const char *alias)
{
    virDomainChrDef *chr;

    if (!alias) {
        if (def->nconsoles > 0)
            return def->consoles[0];
        return def->nserials > 0 ? def->serials[0] : NULL;
    }
    chr = consoleFindIn(def->consoles, def->nconsoles, alias);
    return chr ? chr : consoleFindIn(def->serials, def->nserials, alias);
}

/* By alias, or by the name the guest sees. */
static virDomainChrDef *
channelFind(const virDomainDef *def, const char *name)
{
    virDomainChrDef *chr;

    if (!name)
        return def->nchannels > 0 ? def->channels[0] : NULL;
    if ((chr = consoleFindIn(def->channels, def->nchannels, name)))
        return chr;
    for (size_t i = 0; i < def->nchannels; i++) {
        chr = def->channels[i];
        if (chr->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VIRTIO &&
            STREQ_NULLABLE(chr->target.name, name))
            return chr;
    }
    return NULL;
}

static int
consoleConnect(callCtx *ctx, virDomainChrDef *chr, const consoleArgs *args)
{
    int ret = virChrdevOpen(ctx->priv->consoles, chr->source, args->stream, args->force);

    if (ret <= 0)
        return ret;
    virReportError(VIR_ERR_OPERATION_FAILED,
                   _("'%1$s' of domain '%2$s' is in use by another session (which can be ended by force)."),
                   chr->info.alias, ctx->vm->def->name);
    return -1;
}

static int
consoleOpen(callCtx *ctx, void *opaque)
{
    const consoleArgs *args = opaque;
    virDomainChrDef *chr = consoleFind(ctx->vm->def, args->name);

    if (!chr && args->name) {
        virReportError(VIR_ERR_INVALID_ARG, _("Domain '%1$s' has no console '%2$s'."),
                       ctx->vm->def->name, args->name);
        return -1;
    }
    if (!chr) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' has no console."),
                       ctx->vm->def->name);
        return -1;
    }
    if (chr->source->type != VIR_DOMAIN_CHR_TYPE_PTY) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("The console '%1$s' of domain '%2$s' is of type '%3$s'; only 'pty' can be opened."),
                       chr->info.alias, ctx->vm->def->name,
                       virDomainChrTypeToString(chr->source->type));
        return -1;
    }
    return consoleConnect(ctx, chr, args);
}

static int
channelOpen(callCtx *ctx, void *opaque)
{
    const consoleArgs *args = opaque;
    virDomainChrDef *chr;

    if (migTunnelIsChannel(args->name))
        return migTunnelOpenChannel(ctx->vm, ctx->conn, args->name, args->stream);
    chr = channelFind(ctx->vm->def, args->name);
    if (!chr) {
        virReportError(VIR_ERR_INVALID_ARG, _("Domain '%1$s' has no channel '%2$s'."),
                       ctx->vm->def->name, NULLSTR(args->name));
        return -1;
    }
    if (chr->source->type != VIR_DOMAIN_CHR_TYPE_UNIX) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("The channel '%1$s' of domain '%2$s' is of type '%3$s'; only 'unix' can be opened."),
                       chr->info.alias, ctx->vm->def->name,
                       virDomainChrTypeToString(chr->source->type));
        return -1;
    }
    return consoleConnect(ctx, chr, args);
}

int
drvDomainOpenConsole(virDomainPtr dom, const char *dev_name, virStreamPtr st, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainOpenConsoleEnsureACL, .job = VIR_JOB_NONE, .active = true,
        .act = consoleOpen,
    };
    consoleArgs args = {
        .name = dev_name, .stream = st, .force = (flags & VIR_DOMAIN_CONSOLE_FORCE) != 0,
    };

    /* SAFE asks that two users never share a console, and they never do. */
    virCheckFlags(VIR_DOMAIN_CONSOLE_SAFE | VIR_DOMAIN_CONSOLE_FORCE, -1);
    return callRun(dom, &spec, &args);
}

int
drvDomainOpenChannel(virDomainPtr dom, const char *name, virStreamPtr st, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainOpenChannelEnsureACL, .job = VIR_JOB_NONE, .active = true,
        .act = channelOpen,
    };
    consoleArgs args = {
        .name = name, .stream = st, .force = (flags & VIR_DOMAIN_CHANNEL_FORCE) != 0,
    };

    virCheckFlags(VIR_DOMAIN_CHANNEL_FORCE, -1);
    return callRun(dom, &spec, &args);
}
