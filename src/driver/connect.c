/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* connect.c: a connection: opening, what it can do, events, capabilities */
#include <config.h>

#include "driver/api.h"

#include "cpu/cpu.h"
#include "datatypes.h"
#include "domain_event.h"
#include "viraccessapicheck.h"
#include "virclosecallbacks.h"
#include "virutil.h"

#include "driver/caps.h"
#include "driver/compat.h"
#include "driver/domain.h"
#include "driver/mig_calls.h"
#include "base/gettext.h"

/* ---- the URI -------------------------------------------------------------------------------------- */

/*
 * Query parameters of ours.  migproto masks the newer migration protocols, so that each of them can be reached from stock
 * tools, which always take the newest one that both ends offer.
 */
#define PARAM_MIGPROTO "migproto"
/* dryrun=1: migrations of the connection are judged and not made, for tools that cannot pass a parameter of ours. */
#define PARAM_DRYRUN "dryrun"
#define PARAM_ROOT "root"

static int
connectCheckParam(const virURIParam *param)
{
    static const struct {
        const char *name, *values[4];
        const char *text;        /* the values, for people */
    } known[] = {
        { PARAM_MIGPROTO, { "1", "2", "3", NULL }, N_("1, 2 or 3") },
        { PARAM_DRYRUN, { "0", "1", NULL }, N_("0 or 1") },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        if (STRNEQ(param->name, known[i].name))
            continue;
        if (g_strv_contains(known[i].values, param->value))
            return 0;
        virReportError(VIR_ERR_INVALID_ARG, _("The parameter '%1$s' of the connection URI must be %2$s, not '%3$s'"),
                       param->name, _(known[i].text), param->value);
        return -1;
    }
    virReportError(VIR_ERR_INVALID_ARG, _("The connection URI has the unknown parameter '%1$s'"), param->name);
    return -1;
}

static int
connectCheckParams(const virURI *uri)
{
    for (size_t i = 0; i < uri->paramsCount; i++) {
        const virURIParam *param = &uri->params[i];

        if (param->ignore || (STREQ(param->name, PARAM_ROOT) && STREQ(uri->path, "/embed")))
            continue;
        if (connectCheckParam(param) < 0)
            return -1;
    }
    return 0;
}

static int
connectCheckPath(const drvState *drv, virURI *uri)
{
    const char *mine = drv->embedded ? "/embed" : drv->privileged ? "/system" : "/session";
    const char *root;

    if (STRNEQ(uri->path, mine)) {
        virReportError(VIR_ERR_INVALID_ARG,
                       _("This process serves stratovirt://%1$s, not the path '%2$s' of the connection URI"),
                       mine, uri->path);
        return -1;
    }
    if (!drv->embedded)
        return 0;
    root = virURIGetParam(uri, PARAM_ROOT);
    if (STRNEQ_NULLABLE(root, drv->embeddedRoot)) {
        virReportError(VIR_ERR_INVALID_ARG,
                       _("This process already embeds the driver with the root '%1$s', so it cannot open '%2$s' as well"),
                       drv->embeddedRoot, NULLSTR(root));
        return -1;
    }
    return 0;
}

/* The migration protocol that @conn is limited to; 0: all of them. */
static int
connectMigProto(virConnectPtr conn)
{
    for (size_t i = 0; conn->uri && i < conn->uri->paramsCount; i++) {
        if (STREQ(conn->uri->params[i].name, PARAM_MIGPROTO))
            return conn->uri->params[i].value[0] - '0';
    }
    return 0;
}

bool
connectDryRun(virConnectPtr conn)
{
    for (size_t i = 0; conn->uri && i < conn->uri->paramsCount; i++) {
        if (STREQ(conn->uri->params[i].name, PARAM_DRYRUN))
            return STREQ(conn->uri->params[i].value, "1");
    }
    return false;
}

/* ---- open and close --------------------------------------------------------------------------------- */

int
drvConnectURIProbe(char **uri)
{
    const drvState *drv = stateGet(NULL);

    /* Never the default of a machine: that is for the user to say. */
    if (drv && drv->embedded)
        *uri = g_strdup_printf("stratovirt:///embed?root=%s", drv->embeddedRoot);
    return 0;
}

virDrvOpenStatus
drvConnectOpen(virConnectPtr conn, virConnectAuthPtr auth G_GNUC_UNUSED, virConf *conf G_GNUC_UNUSED,
               unsigned int flags)
{
    const char *why = NULL;
    drvState *drv = stateGet(&why);

    virCheckFlags(VIR_CONNECT_RO, VIR_DRV_OPEN_ERROR);

    if (!conn->uri)
        return VIR_DRV_OPEN_DECLINED;
    if (!drv) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("The StratoVirt driver is not active in this process: %1$s"), why);
        return VIR_DRV_OPEN_ERROR;
    }
    if (connectCheckPath(drv, conn->uri) < 0 || connectCheckParams(conn->uri) < 0 ||
        virConnectOpenEnsureACL(conn) < 0)
        return VIR_DRV_OPEN_ERROR;

    conn->privateData = drv;
    return VIR_DRV_OPEN_SUCCESS;
}

int
drvConnectClose(virConnectPtr conn)
{
    drvState *drv = conn->privateData;

    virCloseCallbacksDomainRunForConn(drv->domains, conn);
    conn->privateData = NULL;
    return 0;
}

/* ---- what it is ------------------------------------------------------------------------------------- */

/* With which ?migproto= each is offered, 0 standing for none.  A feature without row is not there. */
#define PROTO(n) (1u << (n))
#define PROTO_ALL (PROTO(0) | PROTO(1) | PROTO(2) | PROTO(3))

bool
connectOffers(virConnectPtr conn, int feature)
{
    static const struct {
        virDrvFeature feature;
        unsigned protos;
    } features[] = {
        { VIR_DRV_FEATURE_MIGRATION_V1, PROTO(0) | PROTO(1) },
        { VIR_DRV_FEATURE_MIGRATION_V2, PROTO(0) | PROTO(2) },
        { VIR_DRV_FEATURE_MIGRATION_V3, PROTO(0) | PROTO(3) },
        { VIR_DRV_FEATURE_MIGRATION_PARAMS, PROTO(0) },
        /* Version 1 has no way to tell the destination that it was for nothing. */
        { VIR_DRV_FEATURE_MIGRATION_P2P, PROTO_ALL & ~PROTO(1) },
        { VIR_DRV_FEATURE_MIGRATE_CHANGE_PROTECTION, PROTO(0) | PROTO(3) },
        { VIR_DRV_FEATURE_MIGRATION_OFFLINE, PROTO(0) | PROTO(3) },
        { VIR_DRV_FEATURE_MIGRATION_DIRECT, PROTO_ALL },
        { VIR_DRV_FEATURE_XML_MIGRATABLE, PROTO_ALL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        if ((int)features[i].feature == feature)
            return (features[i].protos & PROTO(connectMigProto(conn))) != 0;
    }
    return false;
}

int
drvConnectSupportsFeature(virConnectPtr conn, int feature)
{
    int supported = 0;

    if (virConnectSupportsFeatureEnsureACL(conn) < 0)
        return -1;
    if (virDriverFeatureIsGlobal(feature, &supported))
        return supported;
    return connectOffers(conn, feature);
}

const char *
drvConnectGetType(virConnectPtr conn)
{
    if (virConnectGetTypeEnsureACL(conn) < 0)
        return NULL;
    return CONNECT_TYPE;
}

/* The VMM that guests get who name none. */
static const vmmInfo *
connectDefaultVmm(drvState *drv)
{
    g_autofree char *binary = stateEmulator(drv);

    return binary ? stateProbe(drv, binary) : NULL;
}

int
drvConnectGetVersion(virConnectPtr conn, unsigned long *hvVer)
{
    const vmmInfo *vmm;

    if (virConnectGetVersionEnsureACL(conn) < 0 ||
        !(vmm = connectDefaultVmm(conn->privateData)))
        return -1;
    *hvVer = vmm->version;
    return 0;
}

char *
drvConnectGetHostname(virConnectPtr conn)
{
    if (virConnectGetHostnameEnsureACL(conn) < 0)
        return NULL;
    return virGetHostname();
}

int
drvConnectGetMaxVcpus(virConnectPtr conn, const char *type)
{
    const vmmInfo *vmm;

    if (virConnectGetMaxVcpusEnsureACL(conn) < 0)
        return -1;
    if (type && STRCASENEQ(type, "kvm") && STRCASENEQ(type, "qemu")) {
        virReportError(VIR_ERR_INVALID_ARG, _("Guests are of type 'kvm' or 'qemu', not '%1$s'"), type);
        return -1;
    }
    if (!(vmm = connectDefaultVmm(conn->privateData)))
        return -1;
    return vmm->maxCpus;
}

int
drvConnectIsEncrypted(virConnectPtr conn G_GNUC_UNUSED)
{
    /* A call within the process needs no cipher; the remote driver answers for what goes over a wire. */
    return 0;
}

int
drvConnectIsSecure(virConnectPtr conn G_GNUC_UNUSED)
{
    return 1;
}

int
drvConnectIsAlive(virConnectPtr conn G_GNUC_UNUSED)
{
    return 1;
}

/* ---- capabilities ------------------------------------------------------------------------------------- */

char *
drvConnectGetCapabilities(virConnectPtr conn)
{
    g_autoptr(virCaps) caps = NULL;

    if (virConnectGetCapabilitiesEnsureACL(conn) < 0 ||
        !(caps = stateCaps(conn->privateData, true)))
        return NULL;
    return virCapabilitiesFormatXML(caps);
}

char *
drvConnectGetDomainCapabilities(virConnectPtr conn, const char *emulatorbin, const char *arch,
                                const char *machine, const char *virttype, unsigned int flags)
{
    const capsWish wish = { emulatorbin, arch, machine, virttype };
    g_autoptr(virDomainCaps) caps = NULL;

    virCheckFlags(0, NULL);

    if (virConnectGetDomainCapabilitiesEnsureACL(conn) < 0 || !(caps = capsMakeWished(conn->privateData, &wish)))
        return NULL;
    return virDomainCapsFormat(caps);
}

int
drvConnectGetCPUModelNames(virConnectPtr conn, const char *archName, char ***models, unsigned int flags)
{
    virArch arch;

    virCheckFlags(0, -1);

    if (virConnectGetCPUModelNamesEnsureACL(conn) < 0)
        return -1;
    if (!(arch = virArchFromString(archName))) {
        virReportError(VIR_ERR_INVALID_ARG, _("The architecture '%1$s' is unknown"), archName);
        return -1;
    }
    return virCPUGetModels(arch, models);
}

/* ---- events ------------------------------------------------------------------------------------------- */

int
drvConnectDomainEventRegister(virConnectPtr conn, virConnectDomainEventCallback cb, void *opaque,
                              virFreeCallback freecb)
{
    drvState *drv = conn->privateData;

    if (virConnectDomainEventRegisterEnsureACL(conn) < 0)
        return -1;
    return virDomainEventStateRegister(conn, drv->events, cb, opaque, freecb) < 0 ? -1 : 0;
}

int
drvConnectDomainEventDeregister(virConnectPtr conn, virConnectDomainEventCallback cb)
{
    drvState *drv = conn->privateData;

    if (virConnectDomainEventDeregisterEnsureACL(conn) < 0)
        return -1;
    return virDomainEventStateDeregister(conn, drv->events, cb) < 0 ? -1 : 0;
}

int
drvConnectDomainEventRegisterAny(virConnectPtr conn, virDomainPtr dom, int eventID,
                                 virConnectDomainEventGenericCallback cb, void *opaque, virFreeCallback freecb)
{
    drvState *drv = conn->privateData;
    int id = -1;

    if (virConnectDomainEventRegisterAnyEnsureACL(conn) < 0 ||
        virDomainEventStateRegisterID(conn, drv->events, dom, eventID, cb, opaque, freecb, &id) < 0)
        return -1;
    return id;
}

int
drvConnectDomainEventDeregisterAny(virConnectPtr conn, int callbackID)
{
    drvState *drv = conn->privateData;

    if (virConnectDomainEventDeregisterAnyEnsureACL(conn) < 0)
        return -1;
    return virObjectEventStateDeregisterID(conn, drv->events, callbackID, true) < 0 ? -1 : 0;
}
