/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* api_list.c: which guests there are, by the calls old and new, and finding one of them */
#include <config.h>

#include "driver/api.h"

#include "datatypes.h"
#include "viraccessapicheck.h"

#include "driver/call.h"
#include "driver/compat.h"
#include "base/gettext.h"

int
drvConnectNumOfDomains(virConnectPtr conn)
{
    drvState *drv = conn->privateData;

    if (virConnectNumOfDomainsEnsureACL(conn) < 0)
        return -1;
    return virDomainObjListNumOfDomains(drv->domains, true, virConnectNumOfDomainsCheckACL, conn);
}

int
drvConnectListDomains(virConnectPtr conn, int *ids, int maxids)
{
    drvState *drv = conn->privateData;

    if (virConnectListDomainsEnsureACL(conn) < 0)
        return -1;
    return virDomainObjListGetActiveIDs(drv->domains, ids, maxids, virConnectListDomainsCheckACL, conn);
}

int
drvConnectNumOfDefinedDomains(virConnectPtr conn)
{
    drvState *drv = conn->privateData;

    if (virConnectNumOfDefinedDomainsEnsureACL(conn) < 0)
        return -1;
    return virDomainObjListNumOfDomains(drv->domains, false, virConnectNumOfDefinedDomainsCheckACL, conn);
}

int
drvConnectListDefinedDomains(virConnectPtr conn, char **const names, int maxnames)
{
    drvState *drv = conn->privateData;

    memset(names, 0, sizeof(*names) * maxnames);
    if (virConnectListDefinedDomainsEnsureACL(conn) < 0)
        return -1;
    return virDomainObjListGetInactiveNames(drv->domains, names, maxnames,
                                            virConnectListDefinedDomainsCheckACL, conn);
}

int
drvConnectListAllDomains(virConnectPtr conn, virDomainPtr **domains, unsigned int flags)
{
    drvState *drv = conn->privateData;

    virCheckFlags(VIR_CONNECT_LIST_DOMAINS_FILTERS_ALL, -1);

    if (virConnectListAllDomainsEnsureACL(conn) < 0)
        return -1;
    return virDomainObjListExport(drv->domains, conn, domains, virConnectListAllDomainsCheckACL, flags);
}

/* ---- one of them ---------------------------------------------------------------------------------- */

/* Takes @vm over. */
static virDomainPtr
listReturn(virConnectPtr conn, virDomainObj *vm, callAcl acl)
{
    virDomainPtr dom = NULL;

    if (acl(conn, vm->def) >= 0)
        dom = virGetDomain(conn, vm->def->name, vm->def->uuid, vm->def->id);
    virDomainObjEndAPI(&vm);
    return dom;
}

virDomainPtr
drvDomainLookupByID(virConnectPtr conn, int id)
{
    drvState *drv = conn->privateData;
    virDomainObj *vm = virDomainObjListFindByID(drv->domains, id);

    if (!vm) {
        virReportError(VIR_ERR_NO_DOMAIN, _("There is no domain with the id %1$d"), id);
        return NULL;
    }
    return listReturn(conn, vm, virDomainLookupByIDEnsureACL);
}

virDomainPtr
drvDomainLookupByUUID(virConnectPtr conn, const unsigned char *uuid)
{
    drvState *drv = conn->privateData;
    virDomainObj *vm = virDomainObjListFindByUUID(drv->domains, uuid);

    if (!vm) {
        char text[VIR_UUID_STRING_BUFLEN];

        virUUIDFormat(uuid, text);
        virReportError(VIR_ERR_NO_DOMAIN, _("There is no domain with the UUID '%1$s'"), text);
        return NULL;
    }
    return listReturn(conn, vm, virDomainLookupByUUIDEnsureACL);
}

virDomainPtr
drvDomainLookupByName(virConnectPtr conn, const char *name)
{
    drvState *drv = conn->privateData;
    virDomainObj *vm = virDomainObjListFindByName(drv->domains, name);

    if (!vm) {
        virReportError(VIR_ERR_NO_DOMAIN, _("There is no domain with the name '%1$s'"), name);
        return NULL;
    }
    return listReturn(conn, vm, virDomainLookupByNameEnsureACL);
}

/* ---- what kind it is ------------------------------------------------------------------------------- */

static int
listActIsActive(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    return virDomainObjIsActive(ctx->vm);
}

int
drvDomainIsActive(virDomainPtr dom)
{
    static const callSpec spec = { .acl = virDomainIsActiveEnsureACL, .act = listActIsActive };

    return callRun(dom, &spec, NULL);
}

static int
listActIsPersistent(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    return ctx->vm->persistent;
}

int
drvDomainIsPersistent(virDomainPtr dom)
{
    static const callSpec spec = { .acl = virDomainIsPersistentEnsureACL, .act = listActIsPersistent };

    return callRun(dom, &spec, NULL);
}

static int
listActIsUpdated(callCtx *ctx, void *args G_GNUC_UNUSED)
{
    return ctx->vm->updated;
}

int
drvDomainIsUpdated(virDomainPtr dom)
{
    static const callSpec spec = { .acl = virDomainIsUpdatedEnsureACL, .act = listActIsUpdated };

    return callRun(dom, &spec, NULL);
}
