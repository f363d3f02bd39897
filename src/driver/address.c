/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * q35 and virt: bus 0 is pcie.0, every pcie-root-port is a bus of its own with the one slot 0.  First the addresses that the definition
 * gives are taken, then root ports get functions of shared slots on bus 0, then all other devices free slots of bus 0
 * (they are not hot-plugged, so they need no port), and the ports only when bus 0 is full.
 * The order of the definition decides, so the result is the same everywhere; and it is written into the definition, so
 * later versions of this file cannot change existing guests.
 *
 * microvm: the transports are filled in the order of the command line, which is the definition's; there is nothing
 * to write down but the kind of address.
 */
#include <config.h>

#include "driver/address.h"

#include "domain_addr.h"
#include "virbitmap.h"
#include "virpci.h"

#include "driver/compat.h"
#include "driver/machine.h"
#include "base/gettext.h"

#define BUS_SLOTS 32
#define SLOT_FUNCTIONS 8
#define ALL_FUNCTIONS 0xff
#define SLOT_HOST_BRIDGE 0
#define SLOT_ICH9 0x1f         /* LPC bridge, SATA, SMBus: there without being asked for */
#define FUNCTION_ICH9_SATA 2
#define SLOT_USB2 0x1d         /* where ICH9 has its USB 2 controllers */

typedef struct {
    bool exists;
    guint8 used[BUS_SLOTS];    /* a bit for each function */
} pciBus;

typedef struct {
    pciBus *buses;
    size_t count;
    int failed;                /* -1 once an error is set */
    int portSlot;              /* slot on bus 0 whose functions are given to root ports; -1: none yet */
} pciMap;

/* ---- what sits where ------------------------------------------------------------------------------------ */

typedef enum {
    ADDR_NONE,        /* no address of ours: built in, on another device, or refused elsewhere */
    ADDR_VIRTIO,      /* PCI or virtio-mmio, as the machine has it */
    ADDR_PCI,         /* PCI only */
    ADDR_ROOT_PORT,
} addrNeed;

static addrNeed
addrNeedOfController(const virDomainControllerDef *controller)
{
    switch (controller->type) {
    case VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL:
        return ADDR_VIRTIO;
    case VIR_DOMAIN_CONTROLLER_TYPE_USB:
        return controller->model == VIR_DOMAIN_CONTROLLER_MODEL_USB_NONE ? ADDR_NONE : ADDR_PCI;
    case VIR_DOMAIN_CONTROLLER_TYPE_PCI:
        return controller->model == VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT_PORT ? ADDR_ROOT_PORT : ADDR_NONE;
    default:
        return ADDR_NONE;
    }
}

static addrNeed
addrNeedOf(const virDomainDeviceDef *dev)
{
    switch ((virDomainDeviceType)dev->type) {
    case VIR_DOMAIN_DEVICE_DISK:
        return dev->data.disk->bus == VIR_DOMAIN_DISK_BUS_VIRTIO ? ADDR_VIRTIO : ADDR_NONE;
    case VIR_DOMAIN_DEVICE_NET:
    case VIR_DOMAIN_DEVICE_RNG:
    case VIR_DOMAIN_DEVICE_VSOCK:
        return ADDR_VIRTIO;
    case VIR_DOMAIN_DEVICE_MEMBALLOON:
        return dev->data.memballoon->model == VIR_DOMAIN_MEMBALLOON_MODEL_VIRTIO ? ADDR_VIRTIO : ADDR_NONE;
    case VIR_DOMAIN_DEVICE_WATCHDOG:
        return dev->data.watchdog->model == VIR_DOMAIN_WATCHDOG_MODEL_I6300ESB ? ADDR_PCI : ADDR_NONE;
    case VIR_DOMAIN_DEVICE_CONTROLLER:
        return addrNeedOfController(dev->data.controller);
    default:
        return ADDR_NONE;
    }
}

/* ---- PCI ------------------------------------------------------------------------------------------------- */

static int
pciRefuse(const virPCIDeviceAddress *addr, const char *why)
{
    virReportError(VIR_ERR_XML_ERROR, _("The PCI address %1$04x:%2$02x:%3$02x.%4$x cannot be used: %5$s"),
                   addr->domain, addr->bus, addr->slot, addr->function, why);
    return -1;
}

static int
pciReserve(pciMap *map, const virPCIDeviceAddress *addr)
{
    guint8 bit;

    if (addr->domain != 0)
        return pciRefuse(addr, _("there is only the PCI domain 0"));
    if (addr->bus >= map->count || !map->buses[addr->bus].exists)
        return pciRefuse(addr, _("no controller makes this bus"));
    if (addr->slot >= BUS_SLOTS || addr->function >= SLOT_FUNCTIONS)
        return pciRefuse(addr, _("a bus has 32 slots of 8 functions"));
    if (addr->bus > 0 && addr->slot != 0)
        return pciRefuse(addr, _("the bus of a root port has slot 0 only"));
    bit = 1 << addr->function;
    if (map->buses[addr->bus].used[addr->slot] & bit)
        return pciRefuse(addr, _("another device has it"));
    map->buses[addr->bus].used[addr->slot] |= bit;
    return 0;
}

static void
pciPut(pciMap *map, virDomainDeviceInfo *info, unsigned int bus, unsigned int slot, unsigned int function)
{
    info->type = VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI;
    info->addr.pci = (virPCIDeviceAddress) { .bus = bus, .slot = slot, .function = function };
    map->buses[bus].used[slot] |= 1 << function;
}

/* Slot of bus 0 where nothing is; -1: none. */
static int
pciFreeSlot(const pciMap *map)
{
    for (int slot = 1; slot < BUS_SLOTS; slot++) {
        if (map->buses[0].used[slot] == 0)
            return slot;
    }
    return -1;
}

static void
pciFail(pciMap *map)
{
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                   _("There are more devices than the buses have slots: add controllers of the model 'pcie-root-port'"));
    map->failed = -1;
}

static void
pciPlaceRootPort(pciMap *map, virDomainDeviceInfo *info)
{
    guint8 used = map->portSlot >= 0 ? map->buses[0].used[map->portSlot] : ALL_FUNCTIONS;

    if (used == ALL_FUNCTIONS) {
        map->portSlot = pciFreeSlot(map);
        used = 0;
    }
    if (map->portSlot < 0) {
        pciFail(map);
        return;
    }
    pciPut(map, info, 0, map->portSlot, g_bit_nth_lsf(~used & ALL_FUNCTIONS, -1));
}

/* The companions of an ICH9 EHCI controller share its slot, each at a place of its own. */
static bool
pciPlaceUsb2(pciMap *map, const virDomainDeviceDef *dev, virDomainDeviceInfo *info)
{
    static const struct { int model; unsigned int function; } places[] = {
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI1, 0 },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI2, 1 },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_UHCI3, 2 },
        { VIR_DOMAIN_CONTROLLER_MODEL_USB_ICH9_EHCI1, 7 },
    };

    if (dev->type != VIR_DOMAIN_DEVICE_CONTROLLER ||
        dev->data.controller->type != VIR_DOMAIN_CONTROLLER_TYPE_USB)
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        if (dev->data.controller->model == places[i].model &&
            !(map->buses[0].used[SLOT_USB2] & (1 << places[i].function))) {
            pciPut(map, info, 0, SLOT_USB2, places[i].function);
            return true;
        }
    }
    return false;
}

static void
pciPlaceDevice(pciMap *map, const virDomainDeviceDef *dev, virDomainDeviceInfo *info)
{
    int slot;

    if (pciPlaceUsb2(map, dev, info))
        return;
    if ((slot = pciFreeSlot(map)) >= 0) {
        pciPut(map, info, 0, slot, 0);
        return;
    }
    for (size_t bus = 1; bus < map->count; bus++) {
        if (map->buses[bus].exists && map->buses[bus].used[0] == 0) {
            pciPut(map, info, bus, 0, 0);
            return;
        }
    }
    pciFail(map);
}

/* ---- the passes over the devices ---------------------------------------------------------------------------- */

static bool
addrIsFixedSata(const virDomainDeviceDef *dev, const virDomainDeviceInfo *info)
{
    return dev->type == VIR_DOMAIN_DEVICE_CONTROLLER &&
           dev->data.controller->type == VIR_DOMAIN_CONTROLLER_TYPE_SATA &&
           dev->data.controller->idx == 0 &&
           info->addr.pci.bus == 0 && info->addr.pci.slot == SLOT_ICH9 &&
           info->addr.pci.function == FUNCTION_ICH9_SATA;
}

static int
passGiven(virDomainDef *def G_GNUC_UNUSED, virDomainDeviceDef *dev, virDomainDeviceInfo *info, void *opaque)
{
    if (info->type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI || virPCIDeviceAddressIsEmpty(&info->addr.pci) ||
        addrIsFixedSata(dev, info))
        return 0;
    return pciReserve(opaque, &info->addr.pci);
}

/* <address type='pci'/> without numbers asks for one to be found. */
static bool
addrIsMissing(const virDomainDeviceInfo *info)
{
    return info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE ||
           (info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI && virPCIDeviceAddressIsEmpty(&info->addr.pci));
}

static int
passRootPorts(virDomainDef *def G_GNUC_UNUSED, virDomainDeviceDef *dev, virDomainDeviceInfo *info, void *opaque)
{
    pciMap *map = opaque;

    if (addrNeedOf(dev) == ADDR_ROOT_PORT && addrIsMissing(info))
        pciPlaceRootPort(map, info);
    return map->failed;
}

static int
passOthers(virDomainDef *def G_GNUC_UNUSED, virDomainDeviceDef *dev, virDomainDeviceInfo *info, void *opaque)
{
    pciMap *map = opaque;
    addrNeed need = addrNeedOf(dev);

    if ((need == ADDR_VIRTIO || need == ADDR_PCI) && addrIsMissing(info))
        pciPlaceDevice(map, dev, info);
    return map->failed;
}

static int
passMmio(virDomainDef *def G_GNUC_UNUSED, virDomainDeviceDef *dev, virDomainDeviceInfo *info, void *opaque)
{
    size_t *count = opaque;

    if (addrNeedOf(dev) != ADDR_VIRTIO)
        return 0;
    if (info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE)
        info->type = VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VIRTIO_MMIO;
    if (count)
        ++*count;
    return 0;
}

/* ---- root ports as bridges ---------------------------------------------------------------------------------- */

/* What the guest sees of a port must not change, so it is written down as well. */
static void
addrFillRootPort(virDomainControllerDef *port)
{
    virDomainPCIControllerOpts *opts = &port->opts.pciopts;

    if (opts->modelName == VIR_DOMAIN_CONTROLLER_PCI_MODEL_NAME_NONE)
        opts->modelName = VIR_DOMAIN_CONTROLLER_PCI_MODEL_NAME_PCIE_ROOT_PORT;
    if (opts->chassis == -1)
        opts->chassis = port->idx;
    if (opts->port == -1)
        opts->port = port->info.addr.pci.slot << 3 | port->info.addr.pci.function;
}

static int
addrMakeMap(const virDomainDef *def, pciMap *map)
{
    map->portSlot = -1;
    map->count = 1;
    for (size_t i = 0; i < def->ncontrollers; i++) {
        if (def->controllers[i]->type == VIR_DOMAIN_CONTROLLER_TYPE_PCI)
            map->count = MAX(map->count, (size_t)def->controllers[i]->idx + 1);
    }
    if (map->count > 256) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The index %1$zu of a PCI controller is more than 255"),
                       map->count - 1);
        return -1;
    }
    map->buses = g_new0(pciBus, map->count);
    map->buses[0].exists = true;
    map->buses[0].used[SLOT_HOST_BRIDGE] = ALL_FUNCTIONS;
    map->buses[0].used[SLOT_ICH9] = ALL_FUNCTIONS;
    for (size_t i = 0; i < def->ncontrollers; i++) {
        if (def->controllers[i]->type == VIR_DOMAIN_CONTROLLER_TYPE_PCI)
            map->buses[def->controllers[i]->idx].exists = true;
    }
    return 0;
}

static int
addrAssignPci(virDomainDef *def)
{
    pciMap map = { 0 };
    g_autofree pciBus *buses = NULL;

    if (addrMakeMap(def, &map) < 0)
        return -1;
    buses = map.buses;
    if (virDomainDeviceInfoIterate(def, passGiven, &map) < 0 ||
        virDomainDeviceInfoIterate(def, passRootPorts, &map) < 0 ||
        virDomainDeviceInfoIterate(def, passOthers, &map) < 0)
        return -1;
    for (size_t i = 0; i < def->ncontrollers; i++) {
        virDomainDeviceDef dev = { .type = VIR_DOMAIN_DEVICE_CONTROLLER, .data.controller = def->controllers[i] };

        if (addrNeedOf(&dev) == ADDR_ROOT_PORT)
            addrFillRootPort(def->controllers[i]);
    }
    virDomainPCIAddressSetAllMulti(def);
    return 0;
}

/* ---- while the guest runs ------------------------------------------------------------------------------------- */

/* All that is taken by @def; the caller frees the buses. */
static int
plugMap(const virDomainDef *def, pciMap *map)
{
    if (addrMakeMap(def, map) < 0)
        return -1;
    /* Iterating changes nothing here, but libvirt does not say so. */
    return virDomainDeviceInfoIterate((virDomainDef *)def, passGiven, map);
}

int
addrPlug(const virDomainDef *def, virDomainDeviceInfo *info)
{
    pciMap map = { 0 };
    g_autofree pciBus *buses = NULL;
    int ret = plugMap(def, &map);

    buses = map.buses;
    if (ret < 0)
        return -1;
    if (!addrIsMissing(info)) {
        if (!addrIsPlugged(info)) {
            virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                           _("A device that comes while the guest runs can only be on the bus of a root port (model 'pcie-root-port'), at slot 0, function 0."));
            return -1;
        }
        return pciReserve(&map, &info->addr.pci);
    }
    for (size_t bus = 1; bus < map.count; bus++) {
        if (buses[bus].exists && buses[bus].used[0] == 0) {
            pciPut(&map, info, bus, 0, 0);
            return 0;
        }
    }
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("Domain '%1$s' has no free root port for another device: add controllers of the model 'pcie-root-port' to its definition and start it anew."),
                   def->name);
    return -1;
}

bool
addrIsPlugged(const virDomainDeviceInfo *info)
{
    const virPCIDeviceAddress *pci = &info->addr.pci;

    return info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI && pci->bus > 0 && pci->slot == 0 && pci->function == 0;
}

bool
addrIsFree(const virDomainDef *def, const virDomainDeviceInfo *info)
{
    pciMap map = { 0 };
    g_autofree pciBus *buses = NULL;
    int ret = plugMap(def, &map);
    unsigned int bus = info->addr.pci.bus;

    buses = map.buses;
    if (ret < 0)
        virResetLastError();
    return ret == 0 && addrIsPlugged(info) && bus < map.count && buses[bus].exists && buses[bus].used[0] == 0;
}

/* ---- virtio-serial ports -------------------------------------------------------------------------------------- */

/* libvirt's own assigner leaves the ports of consoles to the VMM; then adding one console would move the others. */

/* A controller without a number of ports has as many as libvirt's parser counts with. */
#define SERIAL_DEFAULT_PORTS 31

typedef struct {
    GPtrArray *ports;      /* of virBitmap *, one for each of 'controllers' */
    GPtrArray *controllers;
} serialMap;

static void
serialMake(const virDomainDef *def, serialMap *map)
{
    map->controllers = g_ptr_array_new();
    map->ports = g_ptr_array_new_with_free_func((GDestroyNotify)virBitmapFree);
    for (size_t i = 0; i < def->ncontrollers; i++) {
        virDomainControllerDef *controller = def->controllers[i];
        int count = controller->opts.vioserial.ports;

        if (controller->type != VIR_DOMAIN_CONTROLLER_TYPE_VIRTIO_SERIAL)
            continue;
        g_ptr_array_add(map->controllers, controller);
        g_ptr_array_add(map->ports, virBitmapNew(count > 0 ? count : SERIAL_DEFAULT_PORTS));
    }
}

static void
serialClear(serialMap *map)
{
    g_ptr_array_free(map->controllers, TRUE);
    g_ptr_array_free(map->ports, TRUE);
}

/* Ports of @index; NULL: @index is no virtio-serial controller. */
static virBitmap *
serialPorts(const serialMap *map, unsigned int index)
{
    for (guint i = 0; i < map->controllers->len; i++) {
        const virDomainControllerDef *controller = map->controllers->pdata[i];

        if ((unsigned int)controller->idx == index)
            return map->ports->pdata[i];
    }
    return NULL;
}

static int
serialReserve(const serialMap *map, const virDomainDeviceVirtioSerialAddress *addr)
{
    virBitmap *ports = serialPorts(map, addr->controller);

    if (!ports || addr->port >= virBitmapSize(ports)) {
        virReportError(VIR_ERR_XML_ERROR, _("There is no port %1$u on a virtio-serial controller with the index %2$u"),
                       addr->port, addr->controller);
        return -1;
    }
    if (virBitmapIsBitSet(ports, addr->port)) {
        virReportError(VIR_ERR_XML_ERROR, _("Two devices have the port %1$u of the virtio-serial controller %2$u"),
                       addr->port, addr->controller);
        return -1;
    }
    ignore_value(virBitmapSetBit(ports, addr->port));
    return 0;
}

/* Port 0 is for consoles alone.  For a channel it means, like no address at all, that one is to be found. */
static int
serialPlace(const serialMap *map, virDomainDeviceInfo *info, bool console)
{
    bool onlyOne = info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VIRTIO_SERIAL;

    if (onlyOne && info->addr.vioserial.port != 0)
        return 0;
    for (guint i = 0; i < map->controllers->len; i++) {
        const virDomainControllerDef *controller = map->controllers->pdata[i];
        ssize_t port = virBitmapNextClearBit(map->ports->pdata[i], console ? -1 : 0);

        if (port < 0 || (onlyOne && (unsigned int)controller->idx != info->addr.vioserial.controller))
            continue;
        info->type = VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VIRTIO_SERIAL;
        info->addr.vioserial = (virDomainDeviceVirtioSerialAddress) { .controller = controller->idx, .port = port };
        ignore_value(virBitmapSetBit(map->ports->pdata[i], port));
        return 0;
    }
    virReportError(VIR_ERR_XML_ERROR, "%s", _("The virtio-serial controllers have too few ports for all consoles and channels"));
    return -1;
}

static bool
serialHasPort(const virDomainChrDef *chr)
{
    return (chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_CONSOLE &&
            chr->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO) ||
           (chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_CHANNEL &&
            chr->targetType == VIR_DOMAIN_CHR_CHANNEL_TARGET_TYPE_VIRTIO);
}

static int
serialAssign(const serialMap *map, virDomainChrDef **all, size_t count, bool reserveOnly)
{
    for (size_t i = 0; i < count; i++) {
        virDomainChrDef *chr = all[i];

        if (!serialHasPort(chr))
            continue;
        if (!reserveOnly) {
            if (serialPlace(map, &chr->info, chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_CONSOLE) < 0)
                return -1;
        } else if (chr->info.type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VIRTIO_SERIAL &&
                   chr->info.addr.vioserial.port != 0 && serialReserve(map, &chr->info.addr.vioserial) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
addrAssignSerial(virDomainDef *def)
{
    serialMap map;
    int ret = 0;

    serialMake(def, &map);
    if (serialAssign(&map, def->consoles, def->nconsoles, true) < 0 ||
        serialAssign(&map, def->channels, def->nchannels, true) < 0 ||
        serialAssign(&map, def->consoles, def->nconsoles, false) < 0 ||
        serialAssign(&map, def->channels, def->nchannels, false) < 0)
        ret = -1;
    serialClear(&map);
    return ret;
}

/* ---- public ------------------------------------------------------------------------------------------------------ */

int
addrAssign(virDomainDef *def)
{
    if (addrAssignSerial(def) < 0)
        return -1;
    switch (machineKindOf(def->os.machine)) {
    case MACHINE_Q35:
    case MACHINE_VIRT:
        return addrAssignPci(def);
    case MACHINE_MICROVM:
        return virDomainDeviceInfoIterate(def, passMmio, NULL);
    default:
        /* Refused by the validation, with a better message. */
        return 0;
    }
}

size_t
addrCountMmio(const virDomainDef *def)
{
    size_t count = 0;

    /* Addresses have been assigned, so this pass only counts. */
    virDomainDeviceInfoIterate((virDomainDef *)def, passMmio, &count);
    return count;
}
