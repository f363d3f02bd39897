/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Each interface gets a tap device whose descriptors, one for each queue, the VMM inherits; the device goes when the last descriptor does, so
 * nothing has to be removed even if the daemon dies.  Interfaces of type 'network' ask libvirt's network driver for a
 * port first, which is given back at the end.
 */
#include <config.h>

#include "driver/process_priv.h"

#include <fcntl.h>

#include "datatypes.h"
#include "domain_audit.h"
#include "driver.h"
#include "network_conf.h"
#include "virlog.h"
#include "virnetdev.h"
#include "virnetdevbandwidth.h"
#include "virnetdevbridge.h"
#include "virnetdevtap.h"
#include "virvsock.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.net");

#define NET_TUN_DEVICE "/dev/net/tun"
#define NET_VSOCK_DEVICE "/dev/vhost-vsock"

static const char *
netTunPath(const virDomainNetDef *net)
{
    return net->backend.tap ? net->backend.tap : NET_TUN_DEVICE;
}

static bool
netHasActual(const virDomainNetDef *net)
{
    return net->type == VIR_DOMAIN_NET_TYPE_NETWORK && net->data.network.actual;
}

/* The host's end must not have the guest's address, or the kernel would drop its own packets. */
static int
netSetHostMac(virDomainNetDef *net)
{
    virMacAddr mac;

    virMacAddrSet(&mac, &net->mac);
    mac.addr[0] = mac.addr[0] == 0xFE ? 0xFA : 0xFE;
    return virNetDevSetMAC(net->ifname, &mac);
}

static int
netMakeEthernet(virDomainNetDef *net, cmdlineTap *tap)
{
    unsigned int flags = VIR_NETDEV_TAP_CREATE_IFUP | VIR_NETDEV_TAP_CREATE_VNET_HDR;

    if (net->managed_tap == VIR_TRISTATE_BOOL_NO) {
        if (!net->ifname) {
            virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                           _("An interface whose target has managed='no' needs the name of an existing device."));
            return -1;
        }
        if (virNetDevExists(net->ifname) != 1) {
            virReportError(VIR_ERR_OPERATION_FAILED,
                           _("There is no device '%1$s', which the interface is to use as it is (managed='no')."),
                           net->ifname);
            return -1;
        }
        return virNetDevTapCreate(&net->ifname, netTunPath(net), tap->fds, tap->count,
                                  flags | VIR_NETDEV_TAP_CREATE_ALLOW_EXISTING);
    }
    if (virNetDevTapCreate(&net->ifname, netTunPath(net), tap->fds, tap->count, flags) < 0 ||
        netSetHostMac(net) < 0)
        return -1;
    if (net->mtu && virNetDevSetMTU(net->ifname, net->mtu) < 0)
        return -1;
    return virNetDevSetOnline(net->ifname, true);
}

static int
netMakeBridge(const virDomainDef *def, virDomainNetDef *net, cmdlineTap *tap)
{
    const char *bridge = virDomainNetGetActualBridgeName(net);

    if (!bridge) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("The interface names no bridge that it could be attached to."));
        return -1;
    }
    if (virNetDevTapCreateInBridgePort(bridge, &net->ifname, &net->mac, def->uuid,
                                       netTunPath(net), tap->fds, tap->count,
                                       virDomainNetGetActualVirtPortProfile(net),
                                       virDomainNetGetActualVlan(net),
                                       virDomainNetGetActualPortOptionsIsolated(net),
                                       net->coalesce, net->mtu, NULL,
                                       VIR_NETDEV_TAP_CREATE_IFUP |
                                       VIR_NETDEV_TAP_CREATE_VNET_HDR) < 0)
        return -1;
    if (virDomainNetGetActualBridgeMACTableManager(net) !=
        VIR_NETWORK_BRIDGE_MAC_TABLE_MANAGER_LIBVIRT)
        return 0;
    /* The network driver's wish: no learning, the one address of this guest is entered by us. */
    if (virNetDevBridgePortSetLearning(bridge, net->ifname, false) < 0 ||
        virNetDevBridgePortSetUnicastFlood(bridge, net->ifname, false) < 0)
        return -1;
    return virNetDevBridgeFDBAdd(&net->mac, net->ifname,
                                 VIR_NETDEVBRIDGE_FDB_FLAG_MASTER |
                                 VIR_NETDEVBRIDGE_FDB_FLAG_TEMP);
}

static int
netMakeTap(const virDomainDef *def, virDomainNetDef *net, cmdlineTap *tap)
{
    virDomainNetType type = virDomainNetGetActualType(net);

    switch (type) {
    case VIR_DOMAIN_NET_TYPE_ETHERNET:
        return netMakeEthernet(net, tap);
    case VIR_DOMAIN_NET_TYPE_BRIDGE:
    case VIR_DOMAIN_NET_TYPE_NETWORK:
        return netMakeBridge(def, net, tap);
    default:
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("An interface of type '%1$s' cannot be had; types are ethernet, bridge and network."),
                       virDomainNetTypeToString(type));
        return -1;
    }
}

static int
netPrepareOne(virDomainDef *def, virDomainNetDef *net, virConnectPtr *conn, cmdlineTap *tap)
{
    const virNetDevBandwidth *bandwidth;

    if (net->type == VIR_DOMAIN_NET_TYPE_USER)
        return 0;
    if (net->type == VIR_DOMAIN_NET_TYPE_NETWORK) {
        if (!*conn && !(*conn = virGetConnectNetwork()))
            return -1;
        if (virDomainNetAllocateActualDevice(*conn, def, net) < 0)
            return -1;
    }
    cmdlineTapNew(tap, net);
    if (netMakeTap(def, net, tap) < 0)
        return -1;
    virDomainAuditNetDevice(def, net, netTunPath(net), true);
    bandwidth = virDomainNetGetActualBandwidth(net);
    if (bandwidth && compatBandwidthSet(net->ifname, bandwidth, !virDomainNetTypeSharesHostView(net)) < 0)
        return -1;
    if (net->linkstate == VIR_DOMAIN_NET_INTERFACE_LINK_STATE_DOWN)
        return virNetDevSetOnline(net->ifname, false);
    return 0;
}

/* It stays the guest's as long as somebody has the device open. */
int
processVsockPrepare(processStarting *start)
{
    virDomainVsockDef *vsock = start->vm->def->vsock;

    if (!vsock || vsock->auto_cid != VIR_TRISTATE_BOOL_YES)
        return 0;
    start->vsockFd = open(NET_VSOCK_DEVICE, O_RDWR | O_CLOEXEC);
    if (start->vsockFd < 0) {
        virReportSystemError(errno, _("The vsock of domain '%1$s' cannot be had: '%2$s' cannot be opened"), start->vm->def->name,
                             NET_VSOCK_DEVICE);
        return -1;
    }
    return virVsockAcquireGuestCid(start->vsockFd, &vsock->guest_cid);
}

int
processNetPrepare(processStarting *start)
{
    virDomainDef *def = start->vm->def;
    g_autoptr(virConnect) conn = NULL;

    start->ntaps = def->nnets;
    start->taps = g_new0(cmdlineTap, def->nnets + 1);
    for (size_t i = 0; i < def->nnets; i++) {
        if (netPrepareOne(def, def->nets[i], &conn, &start->taps[i]) < 0) {
            virErrorPtr error;

            virErrorPreserveLast(&error);
            /* The second text is the message without what the code stands for, which is said anyway. */
            virReportError(error ? error->code : VIR_ERR_INTERNAL_ERROR,
                           _("Interface %1$zu of domain '%2$s' cannot be prepared: %3$s"), i + 1,
                           def->name, !error ? "" : error->str2 ? error->str2 : error->message);
            virFreeError(error);
            return -1;
        }
    }
    return 0;
}

int
processNetPlug(virDomainObj *vm, virDomainNetDef *net, cmdlineTap *tap)
{
    g_autoptr(virConnect) conn = NULL;

    if (netPrepareOne(vm->def, net, &conn, tap) == 0)
        return 0;
    processNetUnplug(vm, net);
    return -1;
}

void
processNetUnplug(virDomainObj *vm, virDomainNetDef *net)
{
    g_autoptr(virConnect) conn = NULL;
    virErrorPtr error;

    if (!netHasActual(net))
        return;
    virErrorPreserveLast(&error);
    if (!(conn = virGetConnectNetwork()) || compatReleaseActualDevice(conn, vm->def, net) < 0)
        VIR_WARN("cannot give back a port of network '%s' of domain '%s': %s, ignoring",
                 net->data.network.name, vm->def->name, virGetLastErrorMessage());
    virErrorRestore(&error);
}

void
processNetRelease(virDomainObj *vm)
{
    for (size_t i = 0; i < vm->def->nnets; i++)
        processNetUnplug(vm, vm->def->nets[i]);
}

void
processNetNotify(virDomainObj *vm)
{
    g_autoptr(virConnect) conn = NULL;

    for (size_t i = 0; i < vm->def->nnets; i++) {
        virDomainNetDef *net = vm->def->nets[i];

        if (!netHasActual(net))
            continue;
        if (!conn && !(conn = virGetConnectNetwork())) {
            VIR_WARN("cannot tell the network driver of domain '%s': %s, ignoring",
                     vm->def->name, virGetLastErrorMessage());
            virResetLastError();
            return;
        }
        virDomainNetNotifyActualDevice(conn, vm->def, net);
    }
}
