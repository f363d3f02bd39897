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
#include "base/gettext.h"

/* ---- the URI -------------------------------------------------------------------------------------- */

/*
 * Query parameters of ours.  migproto masks the newer migration protocols, so that each of them can be reached from stock
 * tools, which always take the newest one that both ends offer.
 */
#define PARAM_MIGPROTO "migproto"
#define PARAM_ROOT "root"

static int
connectCheckParams(const virURI *uri)
{
    for (size_t i = 0; i < uri->paramsCount; i++) {
        const virURIParam *param = &uri->params[i];

        if (param->ignore)
            continue;
        if (STREQ(param->name, PARAM_ROOT) && STREQ(uri->path, "/embed"))
            continue;
        if (STRNEQ(param->name, PARAM_MIGPROTO)) {
            virReportError(VIR_ERR_INVALID_ARG, _("The connection URI has the unknown parameter '%1$s'"),
                           param->name);
            return -1;
        }
        if (STRNEQ(param->value, "1") && STRNEQ(param->value, "2") && STRNEQ(param->value, "3")) {
            virReportError(VIR_ERR_INVALID_ARG,
                           _("The parameter '%1$s' of the connection URI must be 1, 2 or 3, not '%2$s'"),
                           param->name, param->value);
            return -1;
        }
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

/* The migration protocol that @conn is limited to; 3 is all of them. */
static int
connectMigProto(virConnectPtr conn)
{
    for (size_t i = 0; conn->uri && i < conn->uri->paramsCount; i++) {
        if (STREQ(conn->uri->params[i].name, PARAM_MIGPROTO))
            return conn->uri->params[i].value[0] - '0';
    }
    return 3;
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

int
drvConnectSupportsFeature(virConnectPtr conn, int feature)
{
    /* From which ?migproto= on each is offered. A feature without row is not there. */
    static const struct {
        virDrvFeature feature;
        int proto;
    } features[] = {
        { VIR_DRV_FEATURE_MIGRATION_V3, 3 },
        { VIR_DRV_FEATURE_MIGRATION_PARAMS, 3 },
        { VIR_DRV_FEATURE_MIGRATION_P2P, 1 },
        { VIR_DRV_FEATURE_MIGRATE_CHANGE_PROTECTION, 3 },
        { VIR_DRV_FEATURE_XML_MIGRATABLE, 1 },
    };
    int supported = 0;

    if (virConnectSupportsFeatureEnsureACL(conn) < 0)
        return -1;
    if (virDriverFeatureIsGlobal(feature, &supported))
        return supported;
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        if ((int)features[i].feature == feature)
            return connectMigProto(conn) >= features[i].proto;
    }
    return 0;
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

static int
connectCheckArch(const char *arch)
{
    if (arch && virArchFromString(arch) != virArchFromHost()) {
        virReportError(VIR_ERR_INVALID_ARG, _("Guests here are of the architecture '%1$s', not '%2$s'"),
                       virArchToString(virArchFromHost()), arch);
        return -1;
    }
    return 0;
}

/* KVM if it works, TCG if not, when the caller does not care. */
static int
connectVirtType(const char *name, const vmmInfo *vmm)
{
    int type;

    if (!name)
        return vmm->kvm ? VIR_DOMAIN_VIRT_KVM : VIR_DOMAIN_VIRT_QEMU;
    type = virDomainVirtTypeFromString(name);
    if (type != VIR_DOMAIN_VIRT_KVM && type != VIR_DOMAIN_VIRT_QEMU) {
        virReportError(VIR_ERR_INVALID_ARG, _("Guests are of type 'kvm' or 'qemu', not '%1$s'"), name);
        return -1;
    }
    if (type == VIR_DOMAIN_VIRT_KVM && !vmm->kvm) {
        virReportError(VIR_ERR_INVALID_ARG, _("KVM does not work on this host with '%1$s'"), vmm->binary);
        return -1;
    }
    return type;
}

char *
drvConnectGetDomainCapabilities(virConnectPtr conn, const char *emulatorbin, const char *arch,
                                const char *machine, const char *virttype, unsigned int flags)
{
    drvState *drv = conn->privateData;
    g_autofree char *binary = NULL;
    g_autoptr(virDomainCaps) caps = NULL;
    const vmmInfo *vmm;
    int type;

    virCheckFlags(0, NULL);

    if (virConnectGetDomainCapabilitiesEnsureACL(conn) < 0 || connectCheckArch(arch) < 0)
        return NULL;
    binary = emulatorbin ? g_strdup(emulatorbin) : stateEmulator(drv);
    if (!binary || !(vmm = stateProbe(drv, binary)) || (type = connectVirtType(virttype, vmm)) < 0 ||
        !(caps = capsMakeDomain(drv, vmm, machine, type)))
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
