#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks and interfaces that come and go while the guest runs, and what is refused."""

import os
import re
import sys

import libvirt
from libvirt import (VIR_DOMAIN_AFFECT_CONFIG as CONFIG, VIR_DOMAIN_AFFECT_LIVE as LIVE, VIR_ERR_CONFIG_UNSUPPORTED as UNSUPPORTED,
                     VIR_ERR_OPERATION_INVALID as INVALID, VIR_ERR_OPERATION_UNSUPPORTED as CANNOT)

import labtest
from labtest import expect, expect_equal, expect_error, in_background, wait_until
from onehost import state

PORT = "    <controller type='pci' model='pcie-root-port'/>\n"
QEMU = labtest.VMM == "qemu"


def disk(lab, name, target, extra=""):
    image = lab.path("shared", f"{name}.img")
    if not os.path.exists(image):
        with open(image, "wb") as file:
            file.truncate(4 << 20)
    return (f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='/srv/shared/{name}.img'/>"
            f"<target dev='{target}' bus='virtio'/>{extra}</disk>")


class Comings:
    """DEVICE_ADDED and DEVICE_REMOVED of one connection."""

    def __init__(self, conn):
        self.list = []
        self.conn = conn
        self.ids = []
        for kind, word in ((libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, "added"), (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "removed")):
            self.ids.append(conn.domainEventRegisterAny(None, kind, self._add, word))

    def close(self):
        for number in self.ids:
            self.conn.domainEventDeregisterAny(number)

    def _add(self, _conn, _dom, alias, word):
        self.list.append(f"{word} {alias}")

    def expect(self, *wanted):
        wait_until(f"{wanted}, found {self.list}", lambda: len(self.list) >= len(wanted))
        expect_equal(self.list, list(wanted), "events")
        del self.list[:]


def targets(dom, flags=0):
    return sorted(re.findall(r"<target dev='(vd.)'", dom.XMLDesc(flags)))


def guest_sees(lab, dom, target, host="h1"):
    """It looks for partitions on a disk that comes; of StratoVirt, which counts nothing, the stand-in's guest says so."""
    if QEMU:
        wait_until(f"the guest reads {target}", lambda: dom.blockStats(target)[0] > 0)
        return
    alias = re.search(f"<target dev='{target}'.*?<alias name='(.*?)'", dom.XMLDesc(), re.S).group(1)
    said = re.compile(fr"^SV-DEVICE (\w+) virtio-blk-pci \S+ {re.escape(alias)}$", re.M)
    wait_until(f"the guest notices {target}", lambda: said.findall(labtest.Guest(lab, dom.name()).console(host))[-1:] == ["comes"])


def ready(lab, conn, host="h1", ports=2, **keywords):
    guest, dom = lab.start(conn, host, devices=PORT * ports, linux=True, **keywords)  # devices come and go with its help
    guest.wait_report(host)
    return guest, dom


def test_disk(lab):
    """One comes, is used, survives a restart of the daemon, and goes; its name and its place are free again after that."""
    conn = lab.connect("h1")
    guest, dom = ready(lab, conn, disk=True)
    events = Comings(conn)
    before = guest.wait_report("h1")
    dom.attachDevice(disk(lab, "second", "vdb", "<serial>a,b</serial>" if QEMU else "<serial>ab</serial>"))
    events.expect("added virtio-disk1")
    expect_equal((targets(dom), targets(dom, libvirt.VIR_DOMAIN_XML_INACTIVE)), (["vda", "vdb"], ["vda"]), "disks, live and defined")
    guest_sees(lab, dom, "vdb")
    dom.attachDeviceFlags(disk(lab, "third", "vdc", "<alias name='ua-a-name-that-is-too-long-for-a-node'/>"), LIVE | CONFIG)
    events.expect("added ua-a-name-that-is-too-long-for-a-node")
    expect_equal(targets(dom, libvirt.VIR_DOMAIN_XML_INACTIVE), ["vda", "vdc"], "disks that are defined")
    places = [re.findall(r"<target dev='vdc'.*?bus='(0x\w+)'", dom.XMLDesc(flags), re.S) for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE)]
    expect(places[0] == places[1] != ["0x00"], f"places of vdc, live and defined: {places}")
    guest_sees(lab, dom, "vdc")
    lab.daemon("h1", "kill")
    lab.daemon("h1", "start")
    conn = lab.connect("h1")
    dom = conn.lookupByName(guest.name)
    events = Comings(conn)
    wait_until("the daemon to find it again", lambda: dom.info()[0] == libvirt.VIR_DOMAIN_RUNNING and targets(dom) == ["vda", "vdb", "vdc"])
    dom.detachDevice(disk(lab, "second", "vdb"))
    events.expect("removed virtio-disk1")
    expect_equal(targets(dom), ["vda", "vdc"], "disks after one has gone")
    dom.detachDeviceAlias("ua-a-name-that-is-too-long-for-a-node", LIVE | CONFIG)
    events.expect("removed ua-a-name-that-is-too-long-for-a-node")
    for target in ("vdb", "vdc"):
        dom.attachDevice(disk(lab, "second" if target == "vdb" else "third", target))
        guest_sees(lab, dom, target)
    events.expect("added virtio-disk1", "added virtio-disk2")
    expect_equal(targets(dom, libvirt.VIR_DOMAIN_XML_INACTIVE), ["vda"], "disks that are defined")
    guest.check_sound(guest.wait_report("h1", before))


def test_virsh(lab):
    """What stock virsh makes of its options is taken."""
    conn = lab.connect("h1")
    guest, dom = ready(lab, conn)
    disk(lab, "by-virsh", "vdb")
    for words in (("--live",), ("--live", "--persistent"), ("--config",)):
        wanted = (["vdb"] if "--live" in words else [], ["vdb"] if words != ("--live",) else [])
        lab.virsh("h1", "attach-disk", guest.name, "/srv/shared/by-virsh.img", "vdb", *words)
        expect_equal((targets(dom), targets(dom, libvirt.VIR_DOMAIN_XML_INACTIVE)), wanted, f"disks after {words}")
        lab.virsh("h1", "detach-disk", guest.name, "vdb", *words)
        expect_equal((targets(dom), targets(dom, libvirt.VIR_DOMAIN_XML_INACTIVE)), ([], []), f"disks after {words} undone")
    status, _, text = lab.virsh_full("h1", "attach-disk", guest.name, "/srv/shared/by-virsh.img", "sda", "--live")
    expect(status != 0 and "bus" in text, f"a disk of another bus: {text}")
    lab.virsh("h1", "attach-interface", guest.name, "bridge", "virbr-that-is-not-there", "--config", "--mac", "52:54:00:12:34:57")
    lab.virsh("h1", "detach-interface", guest.name, "bridge", "--config", "--mac", "52:54:00:12:34:57")
    status, _, text = lab.virsh_full("h1", "attach-interface", guest.name, "bridge", "virbr-not-there", "--live")
    expect(status != 0 and "virbr-not-there" in text, f"an interface of a bridge that is not there: {text}")
    expect("<interface" not in dom.XMLDesc() + dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "no interface")


def test_late(lab):
    """A guest that stands still lets go later; also while no daemon is there to hear of it."""
    conn = lab.connect("h1")
    guest, dom = ready(lab, conn)
    for killed in (False, True):
        events = Comings(conn)
        dom.attachDevice(disk(lab, "late", "vdb"))
        events.expect("added virtio-disk1")
        guest_sees(lab, dom, "vdb")
        dom.suspend()
        dom.detachDevice(disk(lab, "late", "vdb"))
        expect_equal((targets(dom), events.list), (["vdb"], []), "a disk that the guest has not let go of")
        dom.resume()
        if killed:
            lab.daemon("h1", "kill")
            lab.daemon("h1", "start")
            conn = lab.connect("h1")
            dom = conn.lookupByName(guest.name)
        else:
            events.expect("removed virtio-disk1")
            events.close()
        wait_until("the disk has gone", lambda: targets(dom) == [])
    dom.attachDevice(disk(lab, "late", "vdb"))
    guest_sees(lab, dom, "vdb")


def test_interface(lab):
    """Its device on the host comes and goes with it."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise labtest.Skip("/dev/net/tun is for root alone on this machine")
    conn = lab.connect("h1")
    lab.execute("h1", "sh", "-c", "ip link show svbr1 >/dev/null 2>&1 || ip link add svbr1 type bridge && ip link set svbr1 up")
    _, dom = ready(lab, conn)
    events = Comings(conn)
    text = ("<interface type='bridge'><mac address='52:54:00:12:34:56'/><source bridge='svbr1'/><target dev='svtap9'/>"
            "<model type='virtio'/><driver name='qemu' queues='2'/><mtu size='1400'/></interface>")
    before, after = ("<mtu size='1400'/>", "<mtu size='1300'/>") if QEMU else ("<link state='up'/>", "<link state='down'/>")
    text = text.replace("<mtu size='1400'/>", before)
    if not QEMU:
        expect_error(libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED, "one queue", dom.attachDeviceFlags, text, LIVE)
        text = text.replace(" queues='2'", "")
    alias = "net0" if QEMU else "net-1-0"
    for _ in range(2):
        dom.attachDeviceFlags(text, LIVE)
        events.expect(f"added {alias}")
        expect("master svbr1" in lab.execute("h1", "ip", "-o", "link", "show", "svtap9"), "the device on the host")
        expect_equal(len(dom.interfaceStats("svtap9")), 8, "figures")
        dom.detachDeviceFlags(text, LIVE)
        events.expect(f"removed {alias}")
        expect("svtap9" not in lab.execute("h1", "ip", "-o", "link"), "the device on the host is left")
    dom.attachDeviceFlags(text, CONFIG)
    changed = text.replace(before, after)
    second = text.replace("34:56", "34:57").replace("<target dev='svtap9'/>", "")
    dom.attachDeviceFlags(second, CONFIG)
    dom.updateDeviceFlags(changed, CONFIG)
    inactive = dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    expect_equal(re.findall(f"34:5.|{before}|{after}", inactive), ["34:56", after, "34:57", before], "the definition after a change")
    dom.detachDeviceFlags(second, CONFIG)
    expect("<interface" not in dom.XMLDesc(), "the running guest has no interface")
    dom.detachDeviceFlags(changed, CONFIG)
    expect("<interface" not in dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "the definition after detaching")


def test_refused(lab):
    """Before anything happens, with the reason; nothing of a failure stays."""
    conn = lab.connect("h1")
    _, dom = ready(lab, conn, ports=1, disk=True)
    events = Comings(conn)
    good = disk(lab, "good", "vdb")
    for text, code, pattern in (
            (disk(lab, "good", "vda"), INVALID, "target 'vda' already"),
            (good.replace("good.img", "none.img"), libvirt.VIR_ERR_SYSTEM_ERROR, "none.img.*No such file"),
            (good.replace("<target dev='vdb' bus='virtio'/>", "<target bus='virtio'/>"), libvirt.VIR_ERR_NO_TARGET, "good.img"),
            (good.replace("dev='vdb'", "dev='sda'"), INVALID, "alias 'virtio-disk0' already"),
            (good.replace("bus='virtio'", "bus='sata'"), UNSUPPORTED, "bus"),
            (good.replace("type='raw'", "type='vmdk'"), UNSUPPORTED, "vmdk"),
            (good.replace("</disk>", "<address type='pci' bus='0' slot='9'/></disk>"), UNSUPPORTED, "root port"),
            (good.replace("</disk>", "<address type='pci' bus='7' slot='0'/></disk>"), libvirt.VIR_ERR_XML_ERROR, "no controller"),
            (good.replace("type='raw'", "type='qcow2'"), libvirt.VIR_ERR_OPERATION_FAILED, "qcow2"),
            ("<rng model='virtio'><backend model='random'/></rng>", CANNOT, "rng"),
            ("<disk", libvirt.VIR_ERR_XML_DETAIL, "")):
        for flags in (LIVE,) if re.search("none.img|qcow2|bus='0'|dev='sda'", text) else (LIVE, CONFIG, LIVE | CONFIG):
            try:
                expect_error(code, pattern, dom.attachDeviceFlags, text, flags)
            except labtest.Failure as failure:
                raise labtest.Failure(f"{text} with {flags}: {failure}") from None
    expect_equal((targets(dom), targets(dom, libvirt.VIR_DOMAIN_XML_INACTIVE), events.list), (["vda"], ["vda"], []), "after refusals")
    expect_error(CANNOT, "root port", dom.detachDevice, disk(lab, "one", "vda"))
    expect_error(libvirt.VIR_ERR_DEVICE_MISSING, "vdx", dom.detachDevice, disk(lab, "one", "vdx"))
    for call in (dom.detachDeviceFlags, dom.updateDeviceFlags):
        for flags in (LIVE, CONFIG):
            expect_error(libvirt.VIR_ERR_NO_TARGET, "good.img", call, good.replace("dev='vdb' ", ""), flags)
    dom.attachDevice(good)
    expect_error(CANNOT, "detach it", dom.updateDeviceFlags, good, LIVE)
    expect_error(UNSUPPORTED, "root port", dom.attachDevice, disk(lab, "one", "vdc"))
    events.expect("added virtio-disk1")
    # Nothing of the one that failed was left behind.
    dom.detachDevice(good)
    events.expect("removed virtio-disk1")
    _, small = lab.start(conn, "h1", machine="microvm", running=False)
    expect_error(CANNOT, "microvm", small.attachDevice, good)


def test_interrupted(lab):
    """A VMM that refuses, and a daemon that dies just before it asks: nothing is left in the definition, and the place is free."""
    lab.daemon("h1", "restart", "--env", "LIBVIRT_STRATOVIRT_FAULT=device-plug")
    conn = lab.connect("h1")
    guest, dom = ready(lab, conn, ports=1)
    for fault in ("device-plug:kill", ""):
        try:
            dom.attachDeviceFlags(disk(lab, "broken", "vdb"), LIVE | CONFIG)
        except libvirt.libvirtError:
            pass
        lab.daemon("h1", "start" if not lab.daemon("h1", "pid", check=False).strip() else "restart",
                   *(["--env", f"LIBVIRT_STRATOVIRT_FAULT={fault}"] if fault else []))
        conn = lab.connect("h1")
        dom = conn.lookupByName(guest.name)
        wait_until("no disk", lambda: targets(dom) == [])
        expect_equal(targets(dom, libvirt.VIR_DOMAIN_XML_INACTIVE), [], "disks of the definition")
    dom.attachDevice(disk(lab, "broken", "vdb"))
    guest_sees(lab, dom, "vdb")


def test_busy(lab):
    """While a guest is being saved its devices are those that are saved."""
    labtest.only_qemu("its save is too short to be met")
    lab.daemon("h1", "restart", "--env", "LIBVIRT_STRATOVIRT_FAULT=save-write:delay:1500")
    conn = lab.connect("h1")
    _, dom = ready(lab, conn, fill=32, memory=256)
    thread, result = in_background(dom.save, "/srv/shared/busy.image")
    wait_until("a job", lambda: dom.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
    expect_error(INVALID, "another job", lab.connect("h1").lookupByName(dom.name()).attachDevice, disk(lab, "busy", "vdb"))
    dom.abortJob()
    thread.join()
    expect("error" in result, f"{result}")
    lab.daemon("h1", "restart")


def test_migrate(lab):
    """What has come goes along, and goes on the other host."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = ready(lab, h1, ports=3, fill=8)
    dom.attachDevice(disk(lab, "along", "vdb"))
    guest_sees(lab, dom, "vdb")
    taps = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    # The one that stays is not the first any more, on the other host it is: there it must be the same all the same.
    first, second = (f"<interface type='ethernet'><mac address='52:54:00:12:34:6{i}'/><model type='virtio'/></interface>" for i in range(2))
    if taps:
        dom.attachDevice(first)
        dom.attachDevice(second)
        dom.detachDevice(first)
    before = guest.wait_report("h1")
    dom.migrateToURI3(lab.uri("h2"), {}, libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER)
    dom = h2.lookupByName(guest.name)
    events = Comings(h2)
    expect_equal((state(dom), targets(dom)), ("RUNNING MIGRATED", ["vdb"]), "the guest on the other host")
    guest.check_sound(guest.wait_report("h2", before))
    expect_equal(re.findall("34:6.", dom.XMLDesc()), ["34:61"] if taps else [], "interfaces on the other host")
    dom.detachDevice(disk(lab, "along", "vdb"))
    events.expect("removed virtio-disk1")
    if taps:
        dom.detachDevice(second)
        wait_until("the interface has gone", lambda: "<interface" not in dom.XMLDesc())
    dom.attachDevice(disk(lab, "along", "vdb"))
    guest_sees(lab, dom, "vdb", "h2")
    guest.check_sound(guest.wait_report("h2", guest.wait_report("h2")))
    guest.check_one_copy("h1", "h2")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 2)
