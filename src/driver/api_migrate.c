/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * api_migrate.c: libvirt's migration calls, version 3 with and without extensible parameters
 *
 * Arguments in, one step of mig_calls.h, result out.  The calls without extensible parameters are turned into
 * those with them.
 */
#include <config.h>

#include "driver/api.h"
#include "driver/api_migrate_priv.h"
#include "driver/mig_in_priv.h"
#include "driver/report.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "viralloc.h"
#include "virerror.h"
#include "virtypedparam.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

int
migrateParse(migParams *ret, migCall call, const migrateArgs *args)
{
    g_autoptr(GError) error = NULL;

    if (!migParamsParse(ret, call, args->flags, args->params, args->nparams, &error))
        return reportGError(g_steal_pointer(&error));
    return 0;
}

void
migrateNoCookie(const migCookieIo *io)
{
    if (io->out)
        *io->out = NULL;
    if (io->outLen)
        *io->outLen = 0;
}

/* ---- begin ---- */

static char *
migrateBegin(virDomainPtr dom, const migrateArgs *args)
{
    g_auto(migParams) parsed = { 0 };
    g_autoptr(migJob) job = NULL;
    virDomainObj *vm;
    char *xml = NULL;

    migrateNoCookie(&args->io);
    if (migrateParse(&parsed, MIG_CALL_BEGIN, args) < 0 || !(vm = callLookup(dom)))
        return NULL;
    parsed.dryRun = parsed.dryRun || connectDryRun(dom->conn);
    if (args->acl(dom->conn, vm->def) == 0) {
        migNoteCoordinator(vm, dom->conn);
        if ((xml = migOutBegin(vm, &parsed, args->flags, &args->io, &job)))
            migOutAnnounced(vm, dom->conn);
    }
    virDomainObjEndAPI(&vm);
    return xml;
}

char *
drvDomainMigrateBegin3Params(virDomainPtr dom, virTypedParameterPtr params, int nparams,
                             char **cookieout, int *cookieoutlen, unsigned int flags)
{
    migrateArgs args = { virDomainMigrateBegin3ParamsEnsureACL, params, nparams, flags,
                         { NULL, 0, cookieout, cookieoutlen } };

    return migrateBegin(dom, &args);
}

/* ---- prepare ---- */

static int
migratePrepareOn(virConnectPtr dconn, virStreamPtr st, const migrateArgs *args, unsigned version, char **uriOut)
{
    migInCall call = { dconn, version, args->flags, st };
    drvState *drv = dconn->privateData;
    g_auto(migParams) parsed = { 0 };
    g_autoptr(virDomainDef) def = NULL;

    migrateNoCookie(&args->io);
    *uriOut = NULL;
    if (migrateParse(&parsed, MIG_CALL_PREPARE, args) < 0)
        return -1;
    if (!parsed.destXml) {
        virReportError(VIR_ERR_INVALID_ARG, "%s", _("no domain XML came with the migration"));
        return -1;
    }
    if (!(def = migInParse(drv, parsed.destXml, parsed.destName)) || args->acl(dconn, def) < 0)
        return -1;
    parsed.dryRun = parsed.dryRun || connectDryRun(dconn);
    return migInPrepare(&call, g_steal_pointer(&def), &parsed, &args->io, uriOut);
}

int
migratePrepare(virConnectPtr dconn, const migrateArgs *args, unsigned version, char **uriOut)
{
    return migratePrepareOn(dconn, NULL, args, version, uriOut);
}

int
migratePrepareTunnel(virConnectPtr dconn, virStreamPtr st, const migrateArgs *args, unsigned version)
{
    g_autofree char *unneeded = NULL;

    return migratePrepareOn(dconn, st, args, version, &unneeded);
}

int
drvDomainMigratePrepareTunnel3Params(virConnectPtr dconn, virStreamPtr st, virTypedParameterPtr params, int nparams,
                                     const char *cookiein, int cookieinlen, char **cookieout, int *cookieoutlen,
                                     unsigned int flags)
{
    migrateArgs args = { virDomainMigratePrepareTunnel3ParamsEnsureACL, params, nparams, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    return migratePrepareTunnel(dconn, st, &args, 3);
}

int
drvDomainMigratePrepare3Params(virConnectPtr dconn, virTypedParameterPtr params, int nparams,
                               const char *cookiein, int cookieinlen, char **cookieout,
                               int *cookieoutlen, char **uri_out, unsigned int flags)
{
    migrateArgs args = { virDomainMigratePrepare3ParamsEnsureACL, params, nparams, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    return migratePrepare(dconn, &args, 3, uri_out);
}

/* ---- perform ---- */

int
migratePerformPeer(virDomainObj *vm, virConnectPtr conn, const char *dconnuri, migParams *params, const migrateArgs *args)
{
    if (!dconnuri || !*dconnuri) {
        virReportError(VIR_ERR_INVALID_ARG, "%s", _("a peer-to-peer migration needs the destination's URI"));
        return -1;
    }
    if (args->io.inLen > 0) {
        virReportError(VIR_ERR_INVALID_ARG, "%s", _("a peer-to-peer migration takes no cookie"));
        return -1;
    }
    return migOutPeer(vm, conn, dconnuri, params, args->flags);
}

static int
migratePerform(virDomainPtr dom, const migrateArgs *args, const char *dconnuri)
{
    g_auto(migParams) parsed = { 0 };
    virDomainObj *vm;
    int ret = -1;

    migrateNoCookie(&args->io);
    if (migrateParse(&parsed, MIG_CALL_PERFORM, args) < 0 || !(vm = callLookup(dom)))
        return -1;
    parsed.dryRun = parsed.dryRun || connectDryRun(dom->conn);
    if (args->acl(dom->conn, vm->def) == 0) {
        migNoteCoordinator(vm, dom->conn);
        /* Only the hypervisor coordinates a Perform that nobody has prepared. */
        if (parsed.peer2peer)
            ret = migratePerformPeer(vm, dom->conn, dconnuri, &parsed, args);
        else if (args->io.inLen == 0 && !dconnuri)
            ret = migOutDirect(vm, dom->conn, &parsed, args->flags);
        else
            ret = migOutPerform(vm, dom->conn, &parsed, &args->io);
    }
    virDomainObjEndAPI(&vm);
    return ret;
}

int
drvDomainMigratePerform3Params(virDomainPtr dom, const char *dconnuri, virTypedParameterPtr params, int nparams,
                               const char *cookiein, int cookieinlen, char **cookieout, int *cookieoutlen,
                               unsigned int flags)
{
    migrateArgs args = { virDomainMigratePerform3ParamsEnsureACL, params, nparams, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    return migratePerform(dom, &args, dconnuri);
}

/* ---- finish ---- */

virDomainPtr
migrateFinish(virConnectPtr dconn, const migrateArgs *args, unsigned version, int cancelled)
{
    migInCall call = { dconn, version, args->flags };
    drvState *drv = dconn->privateData;
    g_auto(migParams) parsed = { 0 };
    virDomainPtr dom = NULL;
    virDomainObj *vm;

    migrateNoCookie(&args->io);
    if (migrateParse(&parsed, MIG_CALL_FINISH, args) < 0)
        return NULL;
    if (!parsed.destName) {
        virReportError(VIR_ERR_INVALID_ARG, "%s", _("the name of the migrated domain is missing"));
        return NULL;
    }
    if (!(vm = virDomainObjListFindByName(drv->domains, parsed.destName))) {
        /* A cancelled migration has usually cleaned up by itself before the coordinator says so. */
        if (cancelled)
            virReportError(VIR_ERR_MIGRATE_FINISH_OK, NULL);
        else
            virReportError(VIR_ERR_NO_DOMAIN,
                           _("no domain named '%1$s' is waiting here; its migration was given up"), parsed.destName);
        return NULL;
    }
    if (args->acl(dconn, vm->def) == 0)
        dom = migInFinish(vm, &call, &parsed, &args->io, cancelled);
    virDomainObjEndAPI(&vm);
    return dom;
}

virDomainPtr
drvDomainMigrateFinish3Params(virConnectPtr dconn, virTypedParameterPtr params, int nparams,
                              const char *cookiein, int cookieinlen, char **cookieout, int *cookieoutlen,
                              unsigned int flags, int cancelled)
{
    migrateArgs args = { virDomainMigrateFinish3ParamsEnsureACL, params, nparams, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    return migrateFinish(dconn, &args, 3, cancelled);
}

/* ---- confirm ---- */

static int
migrateConfirm(virDomainPtr dom, const migrateArgs *args, int cancelled)
{
    g_auto(migParams) parsed = { 0 };
    virDomainObj *vm;
    int ret = -1;

    if (migrateParse(&parsed, MIG_CALL_CONFIRM, args) < 0 || !(vm = callLookup(dom)))
        return -1;
    if (args->acl(dom->conn, vm->def) == 0)
        ret = migOutConfirm(vm, dom->conn, cancelled, args->io.in, args->io.inLen);
    virDomainObjEndAPI(&vm);
    return ret;
}

int
drvDomainMigrateConfirm3Params(virDomainPtr dom, virTypedParameterPtr params, int nparams,
                               const char *cookiein, int cookieinlen, unsigned int flags, int cancelled)
{
    migrateArgs args = { virDomainMigrateConfirm3ParamsEnsureACL, params, nparams, flags,
                         { cookiein, cookieinlen, NULL, NULL } };

    return migrateConfirm(dom, &args, cancelled);
}

/* ---- version 3 without extensible parameters ---- */

void
migrateListClear(migrateList *list)
{
    virTypedParamsFree(list->params, list->n);
}

int
migrateListFill(migrateList *list, const char *uri, const char *dname, const char *xml, unsigned long bandwidth)
{
    const struct { const char *name, *value; } rows[] = {
        { VIR_MIGRATE_PARAM_URI, uri },
        { VIR_MIGRATE_PARAM_DEST_NAME, dname },
        { VIR_MIGRATE_PARAM_DEST_XML, xml },
    };
    int max = 0;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].value &&
            virTypedParamsAddString(&list->params, &list->n, &max, rows[i].name, rows[i].value) < 0)
            return -1;
    }
    if (bandwidth &&
        virTypedParamsAddULLong(&list->params, &list->n, &max, VIR_MIGRATE_PARAM_BANDWIDTH, bandwidth) < 0)
        return -1;
    return 0;
}

char *
drvDomainMigrateBegin3(virDomainPtr dom, const char *xmlin, char **cookieout, int *cookieoutlen,
                       unsigned long flags, const char *dname, unsigned long resource)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigrateBegin3EnsureACL, NULL, 0, flags,
                         { NULL, 0, cookieout, cookieoutlen } };

    if (migrateListFill(&list, NULL, dname, xmlin, resource) < 0)
        return NULL;
    args.params = list.params;
    args.nparams = list.n;
    return migrateBegin(dom, &args);
}

int
drvDomainMigratePrepare3(virConnectPtr dconn, const char *cookiein, int cookieinlen, char **cookieout,
                         int *cookieoutlen, const char *uri_in, char **uri_out, unsigned long flags,
                         const char *dname, unsigned long resource, const char *dom_xml)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigratePrepare3EnsureACL, NULL, 0, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    if (migrateListFill(&list, uri_in, dname, dom_xml, resource) < 0)
        return -1;
    args.params = list.params;
    args.nparams = list.n;
    return migratePrepare(dconn, &args, 3, uri_out);
}

int
drvDomainMigratePerform3(virDomainPtr dom, const char *xmlin, const char *cookiein, int cookieinlen,
                         char **cookieout, int *cookieoutlen, const char *dconnuri, const char *uri,
                         unsigned long flags, const char *dname, unsigned long resource)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigratePerform3EnsureACL, NULL, 0, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    if (migrateListFill(&list, uri, dname, xmlin, resource) < 0)
        return -1;
    args.params = list.params;
    args.nparams = list.n;
    return migratePerform(dom, &args, dconnuri);
}

int
drvDomainMigratePrepareTunnel3(virConnectPtr dconn, virStreamPtr st, const char *cookiein, int cookieinlen,
                               char **cookieout, int *cookieoutlen, unsigned long flags, const char *dname,
                               unsigned long resource, const char *dom_xml)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigratePrepareTunnel3EnsureACL, NULL, 0, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    if (migrateListFill(&list, NULL, dname, dom_xml, resource) < 0)
        return -1;
    args.params = list.params;
    args.nparams = list.n;
    return migratePrepareTunnel(dconn, st, &args, 3);
}

virDomainPtr
drvDomainMigrateFinish3(virConnectPtr dconn, const char *dname, const char *cookiein, int cookieinlen,
                        char **cookieout, int *cookieoutlen, const char *dconnuri G_GNUC_UNUSED,
                        const char *uri G_GNUC_UNUSED, unsigned long flags, int cancelled)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigrateFinish3EnsureACL, NULL, 0, flags,
                         { cookiein, cookieinlen, cookieout, cookieoutlen } };

    if (migrateListFill(&list, NULL, dname, NULL, 0) < 0)
        return NULL;
    args.params = list.params;
    args.nparams = list.n;
    return migrateFinish(dconn, &args, 3, cancelled);
}

int
drvDomainMigrateConfirm3(virDomainPtr dom, const char *cookiein, int cookieinlen, unsigned long flags, int cancelled)
{
    migrateArgs args = { virDomainMigrateConfirm3EnsureACL, NULL, 0, flags,
                         { cookiein, cookieinlen, NULL, NULL } };

    return migrateConfirm(dom, &args, cancelled);
}
