/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_save.c: saving guests to files, restoring them, and managed images; see save.h */
#include <config.h>

#include "driver/api.h"
#include "driver/call.h"
#include "driver/save.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virtypedparam.h"

#include "driver/compat.h"
#include "base/gettext.h"

#define SAVE_FLAGS (VIR_DOMAIN_SAVE_BYPASS_CACHE | VIR_DOMAIN_SAVE_RUNNING | VIR_DOMAIN_SAVE_PAUSED)
#define DEFINE_FLAGS (VIR_DOMAIN_SAVE_RUNNING | VIR_DOMAIN_SAVE_PAUSED)

/* Of flags that have been checked. */
static saveRunState
saveAfter(unsigned int flags)
{
    if (flags & VIR_DOMAIN_SAVE_RUNNING)
        return SAVE_RUNNING;
    return flags & VIR_DOMAIN_SAVE_PAUSED ? SAVE_PAUSED : SAVE_AS_IT_WAS;
}

static int
saveCheckPath(const char *path)
{
    if (path && g_path_is_absolute(path))
        return 0;
    virReportError(VIR_ERR_INVALID_ARG, _("The path '%1$s' of a saved guest is not absolute."), path ? path : "");
    return -1;
}

/* ---- save ----------------------------------------------------------------------------------------------- */

static int
saveAct(callCtx *ctx, void *args)
{
    return saveDomain(ctx->vm, args);
}

static int
saveRun(virDomainPtr dom, callAcl acl, saveArgs *args, unsigned int flags)
{
    /* It takes a job of its own, which a user can abort. */
    callSpec spec = { .acl = acl, .job = VIR_JOB_NONE, .active = true, .act = saveAct };

    virCheckFlags(SAVE_FLAGS, -1);
    VIR_EXCLUSIVE_FLAGS_RET(VIR_DOMAIN_SAVE_RUNNING, VIR_DOMAIN_SAVE_PAUSED, -1);
    if (!args->managed && saveCheckPath(args->path) < 0)
        return -1;
    args->bypassCache = (flags & VIR_DOMAIN_SAVE_BYPASS_CACHE) != 0;
    args->after = saveAfter(flags);
    return callRun(dom, &spec, args);
}

int
drvDomainSave(virDomainPtr dom, const char *path)
{
    saveArgs args = { .path = path };

    return saveRun(dom, virDomainSaveEnsureACL, &args, 0);
}

int
drvDomainSaveFlags(virDomainPtr dom, const char *path, const char *dxml, unsigned int flags)
{
    saveArgs args = { .path = path, .dxml = dxml };

    return saveRun(dom, virDomainSaveFlagsEnsureACL, &args, flags);
}

/* The two strings that both calls with parameters know. */
static int
saveParams(virTypedParameterPtr params, int nparams, const char **path, const char **dxml)
{
    if (virTypedParamsValidate(params, nparams, VIR_DOMAIN_SAVE_PARAM_FILE, VIR_TYPED_PARAM_STRING,
                               VIR_DOMAIN_SAVE_PARAM_DXML, VIR_TYPED_PARAM_STRING, NULL) < 0 ||
        virTypedParamsGetString(params, nparams, VIR_DOMAIN_SAVE_PARAM_FILE, path) < 0 ||
        virTypedParamsGetString(params, nparams, VIR_DOMAIN_SAVE_PARAM_DXML, dxml) < 0)
        return -1;
    return 0;
}

int
drvDomainSaveParams(virDomainPtr dom, virTypedParameterPtr params, int nparams, unsigned int flags)
{
    saveArgs args = { .path = NULL };

    if (saveParams(params, nparams, &args.path, &args.dxml) < 0)
        return -1;
    args.managed = !args.path;
    return saveRun(dom, virDomainSaveParamsEnsureACL, &args, flags);
}

int
drvDomainManagedSave(virDomainPtr dom, unsigned int flags)
{
    saveArgs args = { .managed = true };

    return saveRun(dom, virDomainManagedSaveEnsureACL, &args, flags);
}

/* ---- restore ---------------------------------------------------------------------------------------------- */

static int
restoreStart(virConnectPtr conn, virDomainObj *vm, saveFile *file, unsigned int flags)
{
    const saveRestoreArgs args = {
        .def = vm->def,
        .running = (flags & VIR_DOMAIN_SAVE_RUNNING) != 0,
        .paused = (flags & VIR_DOMAIN_SAVE_PAUSED) != 0,
        .bypassCache = (flags & VIR_DOMAIN_SAVE_BYPASS_CACHE) != 0,
    };
    int ret = -1;

    if (virDomainObjBeginJob(vm, VIR_JOB_MODIFY) < 0) {
        domainDropDef(vm, args.def);
        domainRemoveInactive(vm);
        return -1;
    }
    /* It would write to the disks that a managed image counts on. */
    if (saveManagedRefuse(vm) == 0)
        ret = saveRestore(vm, conn, file, &args);
    if (ret < 0 && !virDomainObjIsActive(vm)) {
        /* A persistent domain of this name keeps its own definition. */
        domainDropDef(vm, args.def);
        domainRemoveInactive(vm);
    }
    virDomainObjEndJob(vm);
    return ret;
}

static int
restoreRun(virConnectPtr conn, callAcl acl, const char *path, const char *dxml, unsigned int flags)
{
    drvState *drv = conn->privateData;
    g_auto(saveFile) file = { .fd = -1 };
    g_autoptr(virDomainDef) def = NULL;
    virDomainObj *vm;
    int ret;

    virCheckFlags(SAVE_FLAGS, -1);
    VIR_EXCLUSIVE_FLAGS_RET(VIR_DOMAIN_SAVE_RUNNING, VIR_DOMAIN_SAVE_PAUSED, -1);
    if (saveCheckPath(path) < 0 || saveFileOpen(&file, path, false) < 0 || !(def = saveFileDef(drv, &file, dxml)) ||
        acl(conn, def) < 0)
        return -1;
    vm = virDomainObjListAdd(drv->domains, &def, drv->xmlopt,
                             VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE, NULL);
    if (!vm)
        return -1;
    ret = restoreStart(conn, vm, &file, flags);
    virDomainObjEndAPI(&vm);
    return ret;
}

int
drvDomainRestore(virConnectPtr conn, const char *path)
{
    return restoreRun(conn, virDomainRestoreEnsureACL, path, NULL, 0);
}

int
drvDomainRestoreFlags(virConnectPtr conn, const char *path, const char *dxml, unsigned int flags)
{
    return restoreRun(conn, virDomainRestoreFlagsEnsureACL, path, dxml, flags);
}

int
drvDomainRestoreParams(virConnectPtr conn, virTypedParameterPtr params, int nparams, unsigned int flags)
{
    const char *path = NULL;
    const char *dxml = NULL;

    if (saveParams(params, nparams, &path, &dxml) < 0)
        return -1;
    return restoreRun(conn, virDomainRestoreParamsEnsureACL, path, dxml, flags);
}

/* ---- what is in an image -------------------------------------------------------------------------------------- */

static char *
imageFormat(drvState *drv, virDomainDef *def, bool secure)
{
    return virDomainDefFormat(def, drv->xmlopt, secure ? VIR_DOMAIN_DEF_FORMAT_SECURE : 0);
}

char *
drvDomainSaveImageGetXMLDesc(virConnectPtr conn, const char *path, unsigned int flags)
{
    drvState *drv = conn->privateData;
    g_auto(saveFile) file = { .fd = -1 };
    g_autoptr(virDomainDef) def = NULL;

    virCheckFlags(VIR_DOMAIN_SAVE_IMAGE_XML_SECURE, NULL);
    if (saveCheckPath(path) < 0 || saveFileOpen(&file, path, false) < 0 || !(def = saveFileDef(drv, &file, NULL)) ||
        virDomainSaveImageGetXMLDescEnsureACL(conn, def) < 0)
        return NULL;
    return imageFormat(drv, def, (flags & VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) != 0);
}

int
drvDomainSaveImageDefineXML(virConnectPtr conn, const char *path, const char *dxml, unsigned int flags)
{
    drvState *drv = conn->privateData;
    g_auto(saveFile) file = { .fd = -1 };
    g_autoptr(virDomainDef) def = NULL;

    virCheckFlags(DEFINE_FLAGS, -1);
    VIR_EXCLUSIVE_FLAGS_RET(VIR_DOMAIN_SAVE_RUNNING, VIR_DOMAIN_SAVE_PAUSED, -1);
    if (saveCheckPath(path) < 0 || saveFileOpen(&file, path, true) < 0 || !(def = saveFileDef(drv, &file, NULL)) ||
        virDomainSaveImageDefineXMLEnsureACL(conn, def) < 0)
        return -1;
    return saveFileRedefine(drv, &file, dxml, saveAfter(flags));
}

/* ---- managed images ---------------------------------------------------------------------------------------------- */

static int
managedActHas(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    return saveManagedHas(ctx->vm);
}

int
drvDomainHasManagedSaveImage(virDomainPtr dom, unsigned int flags)
{
    static const callSpec spec = { .acl = virDomainHasManagedSaveImageEnsureACL, .act = managedActHas };

    virCheckFlags(0, -1);
    return callRun(dom, &spec, NULL);
}

static int
managedActRemove(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    return saveManagedRemove(ctx->vm);
}

int
drvDomainManagedSaveRemove(virDomainPtr dom, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainManagedSaveRemoveEnsureACL, .job = VIR_JOB_MODIFY, .act = managedActRemove,
    };

    virCheckFlags(0, -1);
    return callRun(dom, &spec, NULL);
}

typedef struct {
    unsigned int flags;
    const char *dxml;
    char *xml;
} managedArgs;

static int
managedOpen(callCtx *ctx, saveFile *file, bool write)
{
    g_autofree char *path = saveManagedPath(ctx->drv, ctx->vm->def);

    int ret;

    if (!saveManagedHas(ctx->vm)) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' has no managed saved image."), ctx->vm->def->name);
        return -1;
    }
    virObjectUnlock(ctx->vm);
    ret = saveFileOpen(file, path, write);
    virObjectLock(ctx->vm);
    return ret;
}

static int
managedActXml(callCtx *ctx, void *opaque)
{
    managedArgs *args = opaque;
    g_auto(saveFile) file = { .fd = -1 };
    g_autoptr(virDomainDef) def = NULL;

    if (managedOpen(ctx, &file, false) < 0)
        return -1;
    virObjectUnlock(ctx->vm);
    if ((def = saveFileDef(ctx->drv, &file, NULL)))
        args->xml = imageFormat(ctx->drv, def, (args->flags & VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) != 0);
    virObjectLock(ctx->vm);
    return args->xml ? 0 : -1;
}

char *
drvDomainManagedSaveGetXMLDesc(virDomainPtr dom, unsigned int flags)
{
    static const callSpec spec = { .act = managedActXml };
    managedArgs args = { .flags = flags };

    virCheckFlags(VIR_DOMAIN_SAVE_IMAGE_XML_SECURE, NULL);
    if (callRunFlags(dom, virDomainManagedSaveGetXMLDescEnsureACL, flags, &spec, &args) < 0)
        return NULL;
    return args.xml;
}

static int
managedActDefine(callCtx *ctx, void *opaque)
{
    const managedArgs *args = opaque;
    g_auto(saveFile) file = { .fd = -1 };
    int ret;

    if (managedOpen(ctx, &file, true) < 0)
        return -1;
    virObjectUnlock(ctx->vm);
    ret = saveFileRedefine(ctx->drv, &file, args->dxml, saveAfter(args->flags));
    virObjectLock(ctx->vm);
    return ret;
}

int
drvDomainManagedSaveDefineXML(virDomainPtr dom, const char *dxml, unsigned int flags)
{
    static const callSpec spec = {
        .acl = virDomainManagedSaveDefineXMLEnsureACL, .job = VIR_JOB_MODIFY, .act = managedActDefine,
    };
    managedArgs args = { .flags = flags, .dxml = dxml };

    virCheckFlags(DEFINE_FLAGS, -1);
    VIR_EXCLUSIVE_FLAGS_RET(VIR_DOMAIN_SAVE_RUNNING, VIR_DOMAIN_SAVE_PAUSED, -1);
    return callRun(dom, &spec, &args);
}
