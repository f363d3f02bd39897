#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Interfaces: each kind gets its device on the host, counted, and nothing of it stays behind."""

import os
import re
import sys

import libvirt

import labtest
from labtest import Skip, expect_error
from onehost import expect, expect_equal, start, state, wait_until

NETWORK = "<network><name>isolated</name><bridge name='svnet0' stp='off'/></network>"


def interface(kind, source="", extra=""):
    return (f"    <interface type='{kind}'>{source}<model type='virtio'/>{extra}</interface>\n")


def devices(lab):
    """Names of the host's tap devices, and for each its bridge."""
    text = lab.execute("h1", "ip", "-o", "-d", "link", "show", "type", "tun")
    return {match.group(1): (re.search(r" master (\S+) ", line) or [None, None])[1]
            for line in text.splitlines() if (match := re.match(r"\d+: ([^:@]+)", line))}


def target(dom):
    return re.search(r"<target dev='([^']+)'", dom.XMLDesc()[dom.XMLDesc().index("<interface"):]).group(1)


def check(lab, dom, bridge):
    name = target(dom)
    expect_equal(devices(lab).get(name, "no device"), bridge, f"the bridge of {name}")
    stats = dom.interfaceStats(name)
    expect_equal(len(stats), 8, "figures of the interface")
    figures = dom.connect().domainListGetStats([dom])[0][1]
    expect_equal(figures["net.0.name"], name, "the interface in the statistics")
    expect("net.0.rx.bytes" in figures, f"no bytes in {sorted(figures)}")
    return name


def vmm_pid(lab, dom):
    return lab.execute("h1", "cat", f"/run/libvirt/stratovirt/{dom.name()}.pid").strip()


def need_tap():
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise Skip("/dev/net/tun is for root alone on this machine")


def test_bridge(lab):
    need_tap()
    conn = lab.connect("h1")
    lab.execute("h1", "sh", "-c", "ip link add svbr0 type bridge && ip link set svbr0 up")
    # StratoVirt has no way to tell its guest of a size.
    size = "<mtu size='1400'/>" if labtest.VMM == "qemu" else ""
    _, dom = start(lab, conn, ready=False,
                   devices=interface("bridge", "<source bridge='svbr0'/>", "<target dev='svtap0'/>" + size))
    expect_equal(check(lab, dom, "svbr0"), "svtap0", "the name that was asked for")
    expect(not size or "mtu 1400" in lab.execute("h1", "ip", "link", "show", "svtap0"), "the size that was asked for")
    lab.daemon("h1", "kill")
    lab.daemon("h1", "start")
    dom = lab.connect("h1").lookupByName(dom.name())
    wait_until("a guest that can be talked to", lambda: dom.controlInfo()[0] == libvirt.VIR_DOMAIN_CONTROL_OK)
    check(lab, dom, "svbr0")
    dom.destroy()
    expect_equal(devices(lab), {}, "devices after the end")
    lab.execute("h1", "ip", "link", "del", "svbr0")
    expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, "[Ii]nterface 1 .*svbr0", dom.create)
    expect_equal(devices(lab), {}, "devices after a start that failed")


def test_ethernet(lab):
    need_tap()
    conn = lab.connect("h1")
    _, dom = start(lab, conn, ready=False, devices=interface("ethernet", "", "<target dev='sveth0'/>"))
    check(lab, dom, None)
    dom.destroy()
    expect_equal(devices(lab), {}, "devices after the end")
    # A device that somebody else has made stays his.
    lab.execute("h1", "ip", "tuntap", "add", "dev", "svown0", "mode", "tap", "vnet_hdr")
    _, dom = start(lab, conn, ready=False, devices=interface("ethernet", "", "<target dev='svown0' managed='no'/>"))
    check(lab, dom, None)
    dom.destroy()
    expect_equal(devices(lab), {"svown0": None}, "devices after the end")
    lab.execute("h1", "ip", "link", "del", "svown0")
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "no device 'svown0'", dom.create)


def test_queues(lab):
    """A descriptor for each; the VMM would not start with fewer."""
    need_tap()
    conn = lab.connect("h1")
    _, dom = start(lab, conn, ready=False,
                   devices=interface("ethernet", "", "<target dev='svmany0'/><driver name='qemu' queues='3'/>"))
    check(lab, dom, None)
    held = lab.execute("h1", "sh", "-c", f"grep -l 'iff:.*svmany0' /proc/{vmm_pid(lab, dom)}/fdinfo/* | wc -l").strip()
    expect_equal(held, "3", "descriptors of the device in the VMM")
    dom.destroy()
    expect_equal(devices(lab), {}, "devices after the end")


def test_network(lab):
    need_tap()
    conn = lab.connect("h1")
    network = conn.networkCreateXML(NETWORK)
    try:
        _, dom = start(lab, conn, ready=False, devices=interface("network", "<source network='isolated'/>"))
        check(lab, dom, "svnet0")
        expect_equal(len(network.listAllPorts()), 1, "ports of the network")
        lab.daemon("h1", "kill")
        lab.daemon("h1", "start")
        conn = lab.connect("h1")
        network = conn.networkLookupByName("isolated")
        dom = conn.lookupByName(dom.name())
        wait_until("a running guest", lambda: state(dom) == "RUNNING BOOTED")
        dom.destroy()
        expect_equal(network.listAllPorts(), [], "ports after the end")
    finally:
        lab.connect("h1").networkLookupByName("isolated").destroy()
    expect_error(libvirt.VIR_ERR_NO_NETWORK, "^Network not found: Interface 1 of domain '.*' cannot be prepared: no network .*isolated",
                 dom.create)
    expect_equal(devices(lab), {}, "devices after a start that failed")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
