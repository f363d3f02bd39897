/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_define.c: definitions: making and removing them, reading them, what is written beside them */
#include <config.h>

#include "driver/api.h"

#include "datatypes.h"
#include "domain_event.h"
#include "viraccessapicheck.h"
#include "virfile.h"
#include "virlog.h"
#include "virxml.h"

#include "driver/call.h"
#include "driver/cmdline.h"
#include "driver/compat.h"
#include "driver/save.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.define");

/* ---- define ----------------------------------------------------------------------------------------- */

static virDomainDef *
defineParse(drvState *drv, const char *xml, unsigned int flags)
{
    unsigned int parseFlags = VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_ABI_UPDATE;
    g_autoptr(virDomainDef) def = NULL;

    if (flags & VIR_DOMAIN_DEFINE_VALIDATE)
        parseFlags |= VIR_DOMAIN_DEF_PARSE_VALIDATE_SCHEMA;
    if (!(def = virDomainDefParseString(xml, drv->xmlopt, NULL, parseFlags)) ||
        virXMLCheckIllegalChars("name", def->name, "\n") < 0)
        return NULL;
    return g_steal_pointer(&def);
}

/* Back to before virDomainObjListAdd(); @oldDef is what that replaced, or NULL. */
static void
defineUndo(virDomainObj *vm, virDomainDef *oldDef)
{
    if (virDomainObjIsActive(vm)) {
        virDomainDefFree(vm->newDef);
        vm->newDef = oldDef;
    } else if (oldDef) {
        virDomainDefFree(vm->def);
        vm->def = oldDef;
    } else {
        domainRemoveInactive(vm);
    }
}

/* A migration carries the definition that it found, and may take it away from here afterwards. */
static int
defineCheckStays(virDomainObj *vm)
{
    if (vm->job->asyncJob != VIR_ASYNC_JOB_MIGRATION_IN && vm->job->asyncJob != VIR_ASYNC_JOB_MIGRATION_OUT)
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID, _("The definition of the domain '%1$s' cannot be changed while it migrates"),
                   vm->def->name);
    return -1;
}

virDomainPtr
drvDomainDefineXMLFlags(virConnectPtr conn, const char *xml, unsigned int flags)
{
    drvState *drv = conn->privateData;
    g_autoptr(virDomainDef) def = NULL;
    virDomainDef *oldDef = NULL;
    virDomainObj *vm;
    virDomainPtr dom = NULL;

    virCheckFlags(VIR_DOMAIN_DEFINE_VALIDATE, NULL);

    if (!(def = defineParse(drv, xml, flags)) ||
        virDomainDefineXMLFlagsEnsureACL(conn, def) < 0 ||
        !(vm = virDomainObjListAdd(drv->domains, &def, drv->xmlopt, 0, &oldDef)))
        return NULL;

    if (defineCheckStays(vm) < 0 || domainSaveConfig(vm) < 0) {
        virErrorPtr saved;

        virErrorPreserveLast(&saved);
        defineUndo(vm, oldDef);
        virErrorRestore(&saved);
    } else {
        vm->persistent = 1;
        virObjectEventStateQueue(drv->events,
                                 virDomainEventLifecycleNewFromObj(vm, VIR_DOMAIN_EVENT_DEFINED,
                                                                   oldDef ? VIR_DOMAIN_EVENT_DEFINED_UPDATED
                                                                          : VIR_DOMAIN_EVENT_DEFINED_ADDED));
        virDomainDefFree(oldDef);
        dom = virGetDomain(conn, vm->def->name, vm->def->uuid, vm->def->id);
    }
    virDomainObjEndAPI(&vm);
    return dom;
}

virDomainPtr
drvDomainDefineXML(virConnectPtr conn, const char *xml)
{
    return drvDomainDefineXMLFlags(conn, xml, 0);
}

/* ---- undefine --------------------------------------------------------------------------------------- */

/* A managed saved image goes with the definition, but only if that is what is wanted. */
static int
defineGiveUpImage(virDomainObj *vm, unsigned int flags)
{
    if (!saveManagedHas(vm))
        return 0;
    if (flags & VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        return saveManagedRemove(vm);
    virReportError(VIR_ERR_OPERATION_INVALID,
                   _("The domain '%1$s' has a managed saved image, which would be lost; undefine it with --managed-save, or start it first"),
                   vm->def->name);
    return -1;
}

/* What its firmware remembers is the guest's data: it goes or stays as the user says, who must say it. */
static int
defineGiveUpNvram(virDomainObj *vm, const virDomainDef *def, unsigned int flags)
{
    const virDomainLoaderDef *loader = def->os.loader;
    const char *path = loader && loader->nvram ? loader->nvram->path : NULL;

    if (!path || (flags & VIR_DOMAIN_UNDEFINE_KEEP_NVRAM) || !virFileExists(path))
        return 0;
    if (!(flags & VIR_DOMAIN_UNDEFINE_NVRAM)) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("The firmware of domain '%1$s' has a memory, '%2$s': undefine it with --nvram, which removes that, or with --keep-nvram"),
                       vm->def->name, path);
        return -1;
    }
    if (unlink(path) == 0 || errno == ENOENT)
        return 0;
    virReportSystemError(errno, _("The file '%1$s' of domain '%2$s' cannot be removed"), path, vm->def->name);
    return -1;
}

static int
defineActUndefine(callCtx *ctx, void *args)
{
    virDomainObj *vm = ctx->vm;
    const unsigned int flags = *(const unsigned int *)args;

    if (!vm->persistent) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("The domain '%1$s' is transient: there is no definition to remove"), vm->def->name);
        return -1;
    }
    if (defineGiveUpImage(vm, flags) < 0 ||
        defineGiveUpNvram(vm, vm->newDef ? vm->newDef : vm->def, flags) < 0 ||
        virDomainDeleteConfig(ctx->drv->configDir, ctx->drv->autostartDir, vm) < 0)
        return -1;
    virObjectEventStateQueue(ctx->drv->events,
                             virDomainEventLifecycleNewFromObj(vm, VIR_DOMAIN_EVENT_UNDEFINED,
                                                               VIR_DOMAIN_EVENT_UNDEFINED_REMOVED));
    /* A running guest goes on without a definition, as a transient one. */
    vm->persistent = 0;
    if (!virDomainObjIsActive(vm))
        domainRemoveInactive(vm);
    return 0;
}

int
drvDomainUndefineFlags(virDomainPtr dom, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainUndefineFlagsEnsureACL,
        .job = VIR_JOB_MODIFY,
        .act = defineActUndefine,
    };

    /* Tools set these blindly; of snapshots, checkpoints and TPMs there is never anything here, so there is nothing to do for them. */
    virCheckFlags(VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                  VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                  VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA |
                  VIR_DOMAIN_UNDEFINE_NVRAM |
                  VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
                  VIR_DOMAIN_UNDEFINE_TPM |
                  VIR_DOMAIN_UNDEFINE_KEEP_TPM, -1);
    VIR_EXCLUSIVE_FLAGS_RET(VIR_DOMAIN_UNDEFINE_NVRAM, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM, -1);
    VIR_EXCLUSIVE_FLAGS_RET(VIR_DOMAIN_UNDEFINE_TPM, VIR_DOMAIN_UNDEFINE_KEEP_TPM, -1);

    return callRun(dom, &spec, &flags);
}

int
drvDomainUndefine(virDomainPtr dom)
{
    return drvDomainUndefineFlags(dom, 0);
}

/* ---- XML ---------------------------------------------------------------------------------------------- */

typedef struct {
    unsigned int flags;
    char *xml;
} xmlArgs;

/* The definition with the CPU that this host would give the guest. */
static char *
defineFormatUpdated(drvState *drv, virDomainDef *def, unsigned int formatFlags)
{
    g_autoptr(virDomainDef) copy = virDomainDefCopy(def, drv->xmlopt, NULL, false);

    if (!copy || domainExpandCpu(drv, copy) < 0)
        return NULL;
    return virDomainDefFormat(copy, drv->xmlopt, formatFlags);
}

static int
defineActXml(callCtx *ctx, void *opaque)
{
    xmlArgs *args = opaque;
    virDomainObj *vm = ctx->vm;
    unsigned int formatFlags = virDomainDefFormatConvertXMLFlags(args->flags & ~VIR_DOMAIN_XML_MIGRATABLE);
    virDomainDef *def = vm->def;

    if ((args->flags & VIR_DOMAIN_XML_INACTIVE) && vm->newDef)
        def = vm->newDef;
    if (def == vm->def && virDomainObjIsActive(vm) && ctx->priv->balloonKiB)
        def->mem.cur_balloon = ctx->priv->balloonKiB;

    if (args->flags & VIR_DOMAIN_XML_MIGRATABLE)
        args->xml = domainFormatMigratable(ctx->drv, def, formatFlags);
    else if ((args->flags & VIR_DOMAIN_XML_UPDATE_CPU) && def->cpu)
        args->xml = defineFormatUpdated(ctx->drv, def, formatFlags);
    else
        args->xml = virDomainDefFormat(def, ctx->drv->xmlopt, formatFlags);
    return args->xml ? 0 : -1;
}

char *
drvDomainGetXMLDesc(virDomainPtr dom, unsigned int flags)
{
    /* callRunFlags() has the access check. */
    static const callSpec spec = { .act = defineActXml };
    xmlArgs args = { .flags = flags };

    virCheckFlags(VIR_DOMAIN_XML_COMMON_FLAGS | VIR_DOMAIN_XML_UPDATE_CPU, NULL);

    if (callRunFlags(dom, virDomainGetXMLDescEnsureACL, flags, &spec, &args) < 0)
        return NULL;
    return args.xml;
}

/* ---- autostart ------------------------------------------------------------------------------------------ */

static int
defineActGetAutostart(callCtx *ctx, void *args)
{
    *(int *)args = ctx->vm->autostart;
    return 0;
}

int
drvDomainGetAutostart(virDomainPtr dom, int *autostart)
{
    static const callSpec spec = { .acl = virDomainGetAutostartEnsureACL, .act = defineActGetAutostart };

    return callRun(dom, &spec, autostart);
}

static int
defineLinkAutostart(const drvState *drv, const char *name, bool on)
{
    g_autofree char *config = virDomainConfigFile(drv->configDir, name);
    g_autofree char *mark = virDomainConfigFile(drv->autostartDir, name);

    if (!config || !mark)
        return -1;
    if (on && symlink(config, mark) < 0 && errno != EEXIST) {
        virReportSystemError(errno, _("Cannot make the link '%1$s' to '%2$s'"), mark, config);
        return -1;
    }
    if (!on && unlink(mark) < 0 && errno != ENOENT && errno != ENOTDIR) {
        virReportSystemError(errno, _("Cannot remove the link '%1$s'"), mark);
        return -1;
    }
    return 0;
}

static int
defineActSetAutostart(callCtx *ctx, void *args)
{
    bool on = *(const int *)args;

    if (!ctx->vm->persistent) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("The domain '%1$s' is transient: it cannot be started at boot"), ctx->vm->def->name);
        return -1;
    }
    if (defineLinkAutostart(ctx->drv, ctx->vm->def->name, on) < 0)
        return -1;
    ctx->vm->autostart = on;
    return 0;
}

int
drvDomainSetAutostart(virDomainPtr dom, int autostart)
{
    static const callSpec spec = {
        .acl = virDomainSetAutostartEnsureACL,
        .job = VIR_JOB_MODIFY,
        .act = defineActSetAutostart,
    };

    return callRun(dom, &spec, &autostart);
}

/* ---- title, description, metadata ------------------------------------------------------------------------ */

typedef struct {
    int type;
    const char *text, *key, *uri;
    unsigned int flags;
    char *ret;
} metadataArgs;

/* What virDomainObjSetMetadata() may change of a definition. */
typedef struct {
    char *title, *description;
    xmlNodePtr metadata;
} metadataTexts;

static void
metadataTextsClear(metadataTexts *texts)
{
    g_free(texts->title);
    g_free(texts->description);
    xmlFreeNode(texts->metadata);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(metadataTexts, metadataTextsClear)

static void
metadataKeep(const virDomainDef *def, metadataTexts *ret)
{
    if (!def)
        return;
    ret->title = g_strdup(def->title);
    ret->description = g_strdup(def->description);
    ret->metadata = def->metadata ? xmlCopyNode(def->metadata, 1) : NULL;
}

static void
metadataPutBack(virDomainDef *def, metadataTexts *texts)
{
    metadataTexts now = *texts;

    if (!def)
        return;
    texts->title = def->title;
    texts->description = def->description;
    texts->metadata = def->metadata;
    def->title = now.title;
    def->description = now.description;
    def->metadata = now.metadata;
}

static int
defineActSetMetadata(callCtx *ctx, void *opaque)
{
    const metadataArgs *args = opaque;
    virDomainObj *vm = ctx->vm;
    g_auto(metadataTexts) def = { 0 };
    g_auto(metadataTexts) newDef = { 0 };

    metadataKeep(vm->def, &def);
    metadataKeep(vm->newDef, &newDef);
    if (virDomainObjSetMetadata(vm, args->type, args->text, args->key, args->uri, ctx->drv->xmlopt,
                                ctx->drv->stateDir, ctx->drv->configDir, args->flags) < 0) {
        virErrorPtr error;

        /* libvirt changes first and writes then; a change that could not be written is none. */
        virErrorPreserveLast(&error);
        metadataPutBack(vm->def, &def);
        metadataPutBack(vm->newDef, &newDef);
        if (virDomainObjIsActive(vm) && domainSaveStatus(vm) < 0)
            VIR_WARN("Cannot save status of domain '%s': %s, ignoring", vm->def->name, virGetLastErrorMessage());
        virErrorRestore(&error);
        return -1;
    }
    virObjectEventStateQueue(ctx->drv->events,
                             virDomainEventMetadataChangeNewFromObj(ctx->vm, args->type, args->uri));
    return 0;
}

int
drvDomainSetMetadata(virDomainPtr dom, int type, const char *metadata, const char *key, const char *uri,
                     unsigned int flags)
{
    static const callSpec spec = { .job = VIR_JOB_MODIFY, .act = defineActSetMetadata };
    metadataArgs args = { .type = type, .text = metadata, .key = key, .uri = uri, .flags = flags };

    virCheckFlags(VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG, -1);

    return callRunFlags(dom, virDomainSetMetadataEnsureACL, flags, &spec, &args);
}

static int
defineActGetMetadata(callCtx *ctx, void *opaque)
{
    metadataArgs *args = opaque;

    args->ret = virDomainObjGetMetadata(ctx->vm, args->type, args->uri, args->flags);
    return args->ret ? 0 : -1;
}

char *
drvDomainGetMetadata(virDomainPtr dom, int type, const char *uri, unsigned int flags)
{
    static const callSpec spec = { .acl = virDomainGetMetadataEnsureACL, .act = defineActGetMetadata };
    metadataArgs args = { .type = type, .uri = uri, .flags = flags };

    virCheckFlags(VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG, NULL);

    if (callRun(dom, &spec, &args) < 0)
        return NULL;
    return args.ret;
}

/* ---- the command line of a definition ---------------------------------------------------------------------- */

/* The formats of virConnectDomainXMLToNative(): both mean the VMM's own command line, whichever VMM it is. */
static const char *const nativeFormats[] = { "stratovirt-argv", "qemu-argv", NULL };

static char *
defineQuoteArgs(char **argv)
{
    g_autoptr(GString) line = g_string_new(NULL);

    for (size_t i = 0; argv[i]; i++) {
        bool plain = *argv[i] && !argv[i][strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                          "0123456789_-+=./,:@%")];
        g_autofree char *quoted = plain ? g_strdup(argv[i]) : g_shell_quote(argv[i]);

        /* An option starts a line of its own. */
        g_string_append(line, i == 0 ? "" : argv[i][0] == '-' ? " \\\n" : " ");
        g_string_append(line, quoted);
    }
    g_string_append_c(line, '\n');
    return g_string_free(g_steal_pointer(&line), FALSE);
}

/* Sockets that the daemon would make in a folder of its own are made where the VMM is started. */
static void
defineMoveSockets(const drvState *drv, virDomainDef *def)
{
    for (size_t i = 0; i < def->nchannels; i++) {
        virDomainChrSourceDef *source = def->channels[i]->source;

        if (source->type == VIR_DOMAIN_CHR_TYPE_UNIX && source->data.nix.path &&
            STRPREFIX(source->data.nix.path, drv->libDir)) {
            g_free(source->data.nix.path);
            source->data.nix.path = g_strdup_printf("%s-%s.sock", def->name, def->channels[i]->info.alias);
        }
    }
}

static char *
defineBuildNative(drvState *drv, virDomainDef *def)
{
    /* Where it is started by hand, the daemon's own folders need not be. */
    g_autofree char *socketName = g_strdup_printf("%s-monitor.sock", def->name);
    cmdlineEnv env = {
        .controlPath = socketName,
        .controlFd = -1,
        .kvm = def->virtType == VIR_DOMAIN_VIRT_KVM,
        .standalone = true,
    };
    const vmmInfo *vmm = stateProbe(drv, def->emulator);
    g_auto(GStrv) argv = NULL;

    if (!vmm || domainPrepareStart(drv, def, vmm, env.kvm) < 0)
        return NULL;
    defineMoveSockets(drv, def);
    if (!(argv = cmdlineBuild(def, vmm, &env)))
        return NULL;
    return defineQuoteArgs(argv);
}

char *
drvConnectDomainXMLToNative(virConnectPtr conn, const char *nativeFormat, const char *domainXml,
                            unsigned int flags)
{
    drvState *drv = conn->privateData;
    g_autoptr(virDomainDef) def = NULL;

    virCheckFlags(0, NULL);

    if (virConnectDomainXMLToNativeEnsureACL(conn) < 0)
        return NULL;
    if (!g_strv_contains(nativeFormats, nativeFormat)) {
        virReportError(VIR_ERR_INVALID_ARG, _("The format '%1$s' is unknown; '%2$s' gives the VMM's command line"),
                       nativeFormat, nativeFormats[0]);
        return NULL;
    }
    if (!(def = defineParse(drv, domainXml, 0)))
        return NULL;
    return defineBuildNative(drv, def);
}
