#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of StratoVirt beside those of QEMU, on its stand-in: what is its own. The rest is what './run test --vmm standin' runs."""

import os
import re
import sys

import libvirt

import labtest
from labtest import Guest, expect, expect_equal, expect_error, wait_until
from onehost import expect_inactive, state

# The shape of the definitions that StratoVirt's users are shown, for x86.
PUBLISHED = """<domain type='kvm'>
  <name>{name}</name>
  <memory unit='MiB'>256</memory>
  <vcpu>2</vcpu>
  <iothreads>1</iothreads>
  <cpu mode='host-passthrough'><topology sockets='2' cores='1' threads='1'/></cpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{deps}/kernel/vmlinuz</kernel>
    <cmdline>console=hvc0 root=/dev/vda reboot=k panic=1 rw sv.mem=4 sv.disk=/dev/vda</cmdline>
    <loader readonly='yes' type='pflash'>/srv/shared/code.fd</loader>
    <nvram>/srv/shared/{name}-vars.fd</nvram>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='pci' index='1' model='pcie-root-port'/>
    <controller type='pci' index='2' model='pcie-root-port'/>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' io='native' iothread='1'/>
      <source file='/srv/shared/{name}.img'/>
      <target dev='hda' bus='virtio'/>
      <iotune><total_iops_sec>1000</total_iops_sec></iotune>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </disk>
    <console type='pty'><target type='virtio'/></console>
    <serial type='file'><source path='/var/log/libvirt/{name}-console.log'/></serial>
    <memballoon model='virtio'><alias name='balloon0'/></memballoon>
    <rng model='virtio'><rate period='1000' bytes='1234'/><backend model='random'>/dev/random</backend></rng>
    <vsock model='virtio'><cid auto='no' address='3'/></vsock>
  </devices>
</domain>
"""


def standin(version):
    return os.path.join(os.path.abspath(labtest.BUILD), "tests/vmm/stratovirt-" + version)


def published(lab, name, version):
    for file, size in ((name + ".img", 8 << 20), ("code.fd", 128 << 10), (name + "-vars.fd", 128 << 10)):
        with open(lab.path("shared", file), "wb") as out:
            out.truncate(size)
    return PUBLISHED.format(name=name, deps=labtest.DEPS, emulator=standin(version))


def addresses(text):
    return re.findall(r"<address type='pci'[^>]*>", text)


def test_published_definition(lab):
    """Defined and started as it is; its devices keep their places."""
    conn = lab.connect("h1")
    for version in ("2.4.0", "2.5.0"):
        name = lab.new_name()
        dom = conn.defineXML(published(lab, name, version))
        before = addresses(dom.XMLDesc())
        expect_equal(len(before), 7, "devices with a place")
        dom.create()
        report = Guest(lab, name).wait_report("h1")
        Guest(lab, name).check_sound(report)
        expect(report["disk_writes"] > 0, f"the guest has not written to its disk: {report}")
        expect_equal(addresses(dom.XMLDesc()), before, "places of the devices of the running guest")
        expect_equal(len(dom.vcpus()[0]), 2, "vCPUs")
        again = conn.defineXML(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        expect_equal(addresses(again.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)), before, "places when it is defined again")
        dom.shutdown()
        expect_inactive(lab, dom, "SHUTOFF SHUTDOWN")


def test_firmware_memory(lab):
    """Made of the template at the first start, kept by others, and removed with the definition if that is wanted."""
    conn = lab.connect("h1")
    name = lab.new_name()
    text = published(lab, name, "2.5.0")
    with open(lab.path("shared", "template.fd"), "wb") as file:
        file.write(b"new" + bytes(128 << 10))
    vars_ = f"/var/lib/libvirt/stratovirt/nvram/{name}_VARS.fd"

    def content():
        return lab.execute("h1", "sh", "-c", f"head -c 3 {vars_}; ls {os.path.dirname(vars_)} | wc -l").split()

    dom = conn.defineXML(re.sub("<nvram>.*</nvram>", "<nvram template='/srv/shared/none.fd'/>", text))
    expect(f"<nvram template='/srv/shared/none.fd'>{vars_}</nvram>" in dom.XMLDesc(), "the place of the file")
    expect_error(libvirt.VIR_ERR_SYSTEM_ERROR, f"{vars_}.*none.fd.*No such file", dom.create)
    dom = conn.defineXML(dom.XMLDesc().replace("none.fd", "template.fd"))
    dom.create()
    expect_equal(content(), ["new1"], "the new file, and no other")
    dom.destroy()
    lab.execute("h1", "sh", "-c", f"printf old | dd of={vars_} conv=notrunc")
    dom.create()
    expect_equal(content(), ["old1"], "the file after another start")
    dom.destroy()
    expect_error(libvirt.VIR_ERR_OPERATION_INVALID, f"{vars_}.*--nvram", dom.undefine)
    dom.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    expect(lab.execute("h1", "ls", os.path.dirname(vars_)) == "", "the file is left")
    dom = conn.defineXML(text.replace(f"{name}-vars.fd", "nowhere.fd"))
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "nowhere.fd.*no template", dom.create)


def test_balloon(lab):
    """It takes orders when the guest has its driver, and tells what has become of them."""
    conn = lab.connect("h1")
    name = lab.new_name()
    dom = conn.defineXML(published(lab, name, "2.5.0").replace("</memory>", "</memory><currentMemory unit='MiB'>200</currentMemory>"))
    dom.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    expect_error(libvirt.VIR_ERR_OPERATION_FAILED, "driver does not run in the guest", dom.setMemory, 150 << 10)
    expect_equal(dom.info()[2], 256 << 10, "memory of a guest that has not run")
    dom.resume()
    Guest(lab, name).wait_report("h1")
    dom.setMemory(150 << 10)
    wait_until("the guest has given back memory", lambda: dom.info()[2] == 150 << 10)
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "maximum", dom.setMemory, 300 << 10)
    dom.destroy()


def test_versions(lab):
    """What only one version can is refused by name with the other."""
    conn = lab.connect("h1")
    text = re.sub(r"<loader.*|<nvram.*", "", published(lab, "direct", "2.4.0"))
    dom = conn.defineXML(text)
    expect_error(libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "<loader type='pflash'>.*StratoVirt 2.4", dom.create)
    dom = conn.defineXML(text.replace("2.4.0", "2.5.0").replace("<name>", f"<uuid>{dom.UUIDString()}</uuid><name>"))
    dom.create()
    expect_equal(state(dom), "RUNNING BOOTED", "state")


def test_beside_qemu(lab):
    """Each guest has the VMM that its definition names."""
    conn = lab.connect("h1")
    dom = conn.defineXML(published(lab, "own", "2.5.0"))
    dom.create()
    guest, other = lab.start(conn, "h1", emulator=labtest.EMULATOR)
    expect_equal(sorted(found.name() for found in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)),
                 sorted(["own", guest.name]), "guests that run")
    expect(standin("2.5.0") in conn.domainXMLToNative("stratovirt-argv", dom.XMLDesc()), "the command line is not StratoVirt's")
    for which in (dom, other):
        which.suspend()
        which.resume()
        which.destroy()


def test_not_migrated(lab):
    """Refused before anything has been done, with the reasons; the guest runs on."""
    conn, there = lab.connect("h1"), lab.connect("h2")
    for version, pattern in (("2.4.0", "memory balloon.*vsock"), ("2.5.0", "StratoVirt 2.5 cannot migrate guests live")):
        name = lab.new_name()
        dom = conn.defineXML(published(lab, name, version))
        dom.create()
        Guest(lab, name).wait_report("h1")
        for call in (lambda dom=dom: dom.migrate3(there, {}, libvirt.VIR_MIGRATE_LIVE),
                     lambda dom=dom: dom.migrateToURI3("stratovirt+tcp://h2/system", {},
                                                       libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER)):
            try:
                call()
            except libvirt.libvirtError as error:
                expect(re.search(pattern, str(error)), f"'{error}' does not say '{pattern}'")
            else:
                raise labtest.Failure("a guest of StratoVirt was migrated")
        wait_until("a running guest", lambda dom=dom: state(dom).startswith("RUNNING"))
        expect_equal(there.listAllDomains(), [], "guests of the other host")
        dom.destroy()


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 2)
