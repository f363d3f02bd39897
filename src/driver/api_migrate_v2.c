/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * api_migrate_v2.c: libvirt's migration calls, versions 1 and 2: prepare, perform, finish
 *
 * What these versions do not carry from host to host goes over the link, see migration/offer.h.  Cookies that the library hands
 * from Prepare to Finish tell the destination nothing that it does not know.
 */
#include <config.h>

#include "driver/api.h"
#include "driver/api_migrate_priv.h"
#include "driver/report.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virerror.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

/* ---- prepare ---- */

/* The destination would have to start a VMM before it heard what is coming. */
static int
simpleNoDryRun(void)
{
    virReportError(VIR_ERR_ARGUMENT_UNSUPPORTED, "%s",
                   _("Versions 1 and 2 of the migration protocol have no dry run; leave 'migproto' out of the connection URIs."));
    return -1;
}

int
drvDomainMigratePrepare(virConnectPtr dconn, char **cookie, int *cookielen, const char *uri_in, char **uri_out,
                        unsigned long flags, const char *dname, unsigned long resource)
{
    g_auto(migrateList) list = { 0 };
    g_auto(migParams) parsed = { 0 };
    /* Access is checked with the definition, which comes later. */
    migrateArgs args = { NULL, NULL, 0, flags, { NULL, 0, cookie, cookielen } };

    migrateNoCookie(&args.io);
    *uri_out = NULL;
    if (migrateListFill(&list, uri_in, dname, NULL, resource) < 0)
        return -1;
    args.params = list.params;
    args.nparams = list.n;
    if (migrateParse(&parsed, MIG_CALL_PREPARE, &args) < 0)
        return -1;
    if (parsed.tunnelled) {
        virReportError(VIR_ERR_INVALID_ARG, "%s", _("no stream came with a migration that is tunnelled"));
        return -1;
    }
    if (connectDryRun(dconn))
        return simpleNoDryRun();
    return migInReserve(dconn, &parsed, flags, &args.io, uri_out);
}

int
drvDomainMigratePrepare2(virConnectPtr dconn, char **cookie, int *cookielen, const char *uri_in, char **uri_out,
                         unsigned long flags, const char *dname, unsigned long resource, const char *dom_xml)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigratePrepare2EnsureACL, NULL, 0, flags, { NULL, 0, cookie, cookielen } };

    if (migrateListFill(&list, uri_in, dname, dom_xml, resource) < 0)
        return -1;
    args.params = list.params;
    args.nparams = list.n;
    if (connectDryRun(dconn))
        return simpleNoDryRun();
    return migratePrepare(dconn, &args, 2, uri_out);
}

/* What the cookie says, the source asks over the link. */
int
drvDomainMigratePrepareTunnel(virConnectPtr dconn, virStreamPtr st, unsigned long flags, const char *dname,
                              unsigned long resource, const char *dom_xml)
{
    g_auto(migrateList) list = { 0 };
    g_autofree char *cookie = NULL;
    int cookieLen = 0;
    migrateArgs args = { virDomainMigratePrepareTunnelEnsureACL, NULL, 0, flags, { NULL, 0, &cookie, &cookieLen } };

    if (migrateListFill(&list, NULL, dname, dom_xml, resource) < 0)
        return -1;
    args.params = list.params;
    args.nparams = list.n;
    if (connectDryRun(dconn))
        return simpleNoDryRun();
    return migratePrepareTunnel(dconn, st, &args, 2);
}

/* ---- perform ---- */

/* Domain locked. */
static int
simplePerform(virDomainPtr dom, virDomainObj *vm, const char *uri, migParams *parsed, const migrateArgs *args)
{
    if (args->acl(dom->conn, vm->def) < 0)
        return -1;
    migNoteCoordinator(vm, dom->conn);
    parsed->dryRun = connectDryRun(dom->conn);
    if (parsed->peer2peer)
        return migratePerformPeer(vm, dom->conn, uri, parsed, args);
    /* Only the hypervisor coordinates a Perform that nobody has prepared. */
    if (args->io.inLen == 0)
        return migOutDirect(vm, dom->conn, parsed, args->flags);
    if (parsed->dryRun)
        return simpleNoDryRun();
    return migOutSimple(vm, dom->conn, parsed, args->flags, &args->io);
}

int
drvDomainMigratePerform(virDomainPtr dom, const char *cookie, int cookielen, const char *uri, unsigned long flags,
                        const char *dname, unsigned long resource)
{
    g_auto(migrateList) list = { 0 };
    g_auto(migParams) parsed = { 0 };
    migrateArgs args = { virDomainMigratePerformEnsureACL, NULL, 0, flags, { cookie, cookielen, NULL, NULL } };
    virDomainObj *vm;
    int ret;

    /* Peer-to-peer it is the destination's libvirt. */
    if (migrateListFill(&list, flags & VIR_MIGRATE_PEER2PEER ? NULL : uri, dname, NULL, resource) < 0)
        return -1;
    args.params = list.params;
    args.nparams = list.n;
    if (migrateParse(&parsed, MIG_CALL_PERFORM, &args) < 0 || !(vm = callLookup(dom)))
        return -1;
    ret = simplePerform(dom, vm, uri, &parsed, &args);
    virDomainObjEndAPI(&vm);
    return ret;
}

/* ---- finish ---- */

virDomainPtr
drvDomainMigrateFinish(virConnectPtr dconn, const char *dname, const char *cookie G_GNUC_UNUSED,
                       int cookielen G_GNUC_UNUSED, const char *uri G_GNUC_UNUSED, unsigned long flags)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigrateFinishEnsureACL, NULL, 0, flags, { NULL, 0, NULL, NULL } };

    if (migrateListFill(&list, NULL, dname, NULL, 0) < 0)
        return NULL;
    args.params = list.params;
    args.nparams = list.n;
    return migrateFinish(dconn, &args, 1, 0);
}

virDomainPtr
drvDomainMigrateFinish2(virConnectPtr dconn, const char *dname, const char *cookie G_GNUC_UNUSED,
                        int cookielen G_GNUC_UNUSED, const char *uri G_GNUC_UNUSED, unsigned long flags, int retcode)
{
    g_auto(migrateList) list = { 0 };
    migrateArgs args = { virDomainMigrateFinish2EnsureACL, NULL, 0, flags, { NULL, 0, NULL, NULL } };

    if (migrateListFill(&list, NULL, dname, NULL, 0) < 0)
        return NULL;
    args.params = list.params;
    args.nparams = list.n;
    return migrateFinish(dconn, &args, 2, retcode);
}
