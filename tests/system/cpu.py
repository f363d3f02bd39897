#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processors: models, comparisons with the host and with what a VMM gives, and what several have in common."""

import re
import sys
import xml.etree.ElementTree as ET

import libvirt
from libvirt import (VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES, VIR_CONNECT_BASELINE_CPU_MIGRATABLE,
                     VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE, VIR_CONNECT_COMPARE_CPU_VALIDATE_XML, VIR_CPU_COMPARE_IDENTICAL,
                     VIR_CPU_COMPARE_INCOMPATIBLE, VIR_CPU_COMPARE_SUPERSET)

import labtest
from labtest import Skip, expect, expect_equal, expect_error

SMALL = "<cpu><arch>x86_64</arch><model>kvm64</model></cpu>"
IMPOSSIBLE = "<cpu><arch>x86_64</arch><model>kvm64</model><feature name='3dnowext'/><feature name='cmp_legacy'/><feature name='tbm'/></cpu>"
TWO = ["<cpu><arch>x86_64</arch><model>Westmere</model></cpu>", "<cpu><arch>x86_64</arch><model>Haswell</model></cpu>"]

NOT_MIGRATABLE = {"invtsc", "xsaves"}  # says libvirt; later releases let xsaves migrate
INVARIANT = "<cpu><arch>x86_64</arch><model>Haswell</model><feature name='invtsc'/></cpu>"
TCG = (labtest.QEMU, "x86_64", "q35", "qemu")

# What is no processor: definition, code, text.  The first list is bad for every call, the second for lists only.
BAD = (("", libvirt.VIR_ERR_XML_DETAIL, "empty"),
       ("nonsense", libvirt.VIR_ERR_XML_DETAIL, "nonsense"),
       ("<cpu>", libvirt.VIR_ERR_XML_DETAIL, "(?i)premature end"),
       ("<domain/>", libvirt.VIR_ERR_XML_ERROR, "'cpu' element"),
       ("<cpu><arch>x86_64</arch></cpu>", libvirt.VIR_ERR_XML_ERROR, "(?i)model"),
       (SMALL.replace("x86_64", "abacus"), libvirt.VIR_ERR_CONFIG_UNSUPPORTED, "abacus"),
       (SMALL.replace("kvm64", "Abacus"), libvirt.VIR_ERR_INTERNAL_ERROR, "Abacus"),
       (SMALL.replace("</cpu>", "<feature name='abacus'/></cpu>"), libvirt.VIR_ERR_INTERNAL_ERROR, "abacus"))
BAD_IN_LIST = ((SMALL.replace("x86_64", "s390x"), libvirt.VIR_ERR_INVALID_ARG, "Processor 2 .*'s390x', not 'x86_64'"),)


def host_cpu(conn):
    cpu = ET.fromstring(conn.getCapabilities()).find("host/cpu")
    if cpu is None or cpu.find("model") is None:
        raise Skip("libvirt does not know this machine's processor")
    return ET.tostring(cpu, encoding="unicode")


def put(lab, name, text):
    with open(lab.path("shared", name), "w", encoding="utf-8") as file:
        file.write(text)
    return f"/srv/shared/{name}"


def model(text):
    return ET.fromstring(text).findtext("model")


def features(text):
    return [node.get("name") for node in ET.fromstring(text).findall("feature")]


def test_models(lab):
    conn = lab.connect("h1")
    names = conn.getCPUModelNames("x86_64")
    for name in ("qemu64", "Westmere", "Haswell"):
        expect(name in names, f"{name} is not among the models")
    expect_equal(sorted(lab.virsh("h1", "cpu-models", "x86_64").split()), sorted(names), "virsh cpu-models")
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "'abacus'", conn.getCPUModelNames, "abacus")
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "flags", conn.getCPUModelNames, "x86_64", 1)
    status, _, error = lab.virsh_full("h1", "cpu-models", "abacus")
    expect(status != 0 and "'abacus'" in error, f"cpu-models of an unknown architecture: {status}, {error}")


def test_bad_input(lab):
    conn = lab.connect("h1")
    for xml, code, pattern in BAD:
        expect_error(code, pattern, conn.compareCPU, xml)
    for xml, code, pattern in BAD + BAD_IN_LIST:
        expect_error(code, pattern, conn.baselineCPU, [SMALL, xml])
        expect_error(code, pattern, conn.baselineHypervisorCPU, *TCG, [SMALL, xml])
    bad = put(lab, "broken.xml", "<cpu>")
    for command in (["cpu-compare"], ["cpu-baseline"], ["hypervisor-cpu-compare", "--virttype", "qemu"],
                    ["hypervisor-cpu-baseline", "--virttype", "qemu"]):
        status, _, error = lab.virsh_full("h1", command[0], bad, *command[1:])
        expect(status != 0 and re.search("(?i)premature end|tag mismatch|parse", error), f"{command[0]}: {status}, {error}")


def test_flags(lab):
    """Each call takes its two flags and no other one."""
    conn = lab.connect("h1")
    for flag in (1 << 2, 1 << 20):
        expect_error(libvirt.VIR_ERR_INVALID_ARG, "flags", conn.baselineCPU, [SMALL], flag)
        expect_error(libvirt.VIR_ERR_INVALID_ARG, "flags", conn.compareHypervisorCPU, *TCG, SMALL, flag)
        expect_error(libvirt.VIR_ERR_INVALID_ARG, "flags", conn.baselineHypervisorCPU, *TCG, [SMALL], flag)
    expect_equal(features(conn.baselineCPU([INVARIANT])), ["invtsc"], "features of one")
    expect_equal(features(conn.baselineCPU([INVARIANT], VIR_CONNECT_BASELINE_CPU_MIGRATABLE)), [], "features that migrate")
    both = VIR_CONNECT_BASELINE_CPU_MIGRATABLE | VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
    for text in (conn.baselineCPU([INVARIANT], both), conn.baselineHypervisorCPU(*TCG, [INVARIANT], both)):
        expect("avx2" in features(text) and "invtsc" not in features(text), f"all features that migrate: {text}")


def test_read_only(lab):
    """Asking about the host is for everybody; starting a VMM to ask it is not, which libvirt itself decides."""
    conn = libvirt.openReadOnly(f"stratovirt+unix:///system?socket={lab.path('h1', 'sock', 'libvirt-sock-ro')}")
    expect("Haswell" in conn.getCPUModelNames("x86_64"), "no models read-only")
    expect_equal(conn.compareCPU(SMALL), VIR_CPU_COMPARE_SUPERSET, "compared read-only")
    expect_equal(model(conn.baselineCPU(TWO)), "Westmere", "model read-only")
    expect_error(libvirt.VIR_ERR_OPERATION_DENIED, "read only", conn.compareHypervisorCPU, *TCG, SMALL)
    expect_error(libvirt.VIR_ERR_OPERATION_DENIED, "read only", conn.baselineHypervisorCPU, *TCG, TWO)
    conn.close()


def test_compare(lab):
    """The host is itself, has more than an old model and has not what nobody has any more."""
    conn = lab.connect("h1")
    mine = host_cpu(conn)
    expect_equal(conn.compareCPU(mine), VIR_CPU_COMPARE_IDENTICAL, "this host compared with itself")
    guest = "<cpu match='exact'><model>kvm64</model></cpu>"
    expect_equal(conn.compareCPU(guest, VIR_CONNECT_COMPARE_CPU_VALIDATE_XML), VIR_CPU_COMPARE_SUPERSET, "a guest's, validated")
    expect_error(libvirt.VIR_ERR_XML_INVALID_SCHEMA, "(?i)valid", conn.compareCPU, guest.replace("<model>", "<abacus/><model>"),
                 VIR_CONNECT_COMPARE_CPU_VALIDATE_XML)
    expect_equal(conn.compareCPU(SMALL), VIR_CPU_COMPARE_SUPERSET, "compared with kvm64")
    expect_equal(conn.compareCPU(IMPOSSIBLE), VIR_CPU_COMPARE_INCOMPATIBLE, "compared with what it has not")
    expect_error(libvirt.VIR_ERR_CPU_INCOMPATIBLE, "tbm", conn.compareCPU, IMPOSSIBLE, VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE)
    expect_error(libvirt.VIR_ERR_INTERNAL_ERROR, "Abacus", conn.compareCPU, SMALL.replace("kvm64", "Abacus"))
    expect_error(libvirt.VIR_ERR_XML_DETAIL, "(?i)premature end", conn.compareCPU, "<cpu>")
    expect_error(libvirt.VIR_ERR_INVALID_ARG, "flags", conn.compareCPU, SMALL, 1 << 20)


def test_compare_virsh(lab):
    conn = lab.connect("h1")
    good, bad = put(lab, "host.xml", host_cpu(conn)), put(lab, "bad.xml", IMPOSSIBLE)
    status, text, _ = lab.virsh_full("h1", "cpu-compare", good)
    expect(status == 0 and "identical" in text, f"cpu-compare with itself: {status}, {text}")
    status, text, _ = lab.virsh_full("h1", "cpu-compare", bad)
    expect(status != 0 and "incompatible" in text, f"cpu-compare with the impossible: {status}, {text}")
    # The whole capabilities of a host will do as well.
    status, text, _ = lab.virsh_full("h1", "cpu-compare", put(lab, "caps.xml", conn.getCapabilities()))
    expect(status == 0 and "identical" in text, f"cpu-compare with the capabilities: {status}, {text}")


def test_baseline(lab):
    conn = lab.connect("h1")
    expect_equal(model(conn.baselineCPU(TWO)), "Westmere", "model that both have")
    expect_equal(model(conn.baselineCPU([host_cpu(conn)])), model(host_cpu(conn)), "baseline of one host")
    plain, full = features(conn.baselineCPU(TWO)), features(conn.baselineCPU(TWO, VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES))
    expect("aes" in full or "sse4.2" in full, f"the features are not expanded: {full}")
    expect(len(full) > len(plain), "no more features when expanded")
    expect_equal(features(conn.baselineCPU([TWO[0].replace("</cpu>", "<feature name='cmt'/></cpu>")])), [],
                 "features that are the host's alone")
    text = lab.virsh("h1", "cpu-baseline", put(lab, "two.xml", "".join(TWO)))
    expect_equal(model(text), "Westmere", "model by virsh")
    expect_error(libvirt.VIR_ERR_INTERNAL_ERROR, "Abacus", conn.baselineCPU, [SMALL.replace("kvm64", "Abacus")])


def test_hypervisor(lab):
    """What QEMU gives with TCG is not told, which is said; what several have in common is known all the same."""
    conn = lab.connect("h1")
    caps = ET.fromstring(conn.getDomainCapabilities(labtest.QEMU, "x86_64", "q35", "qemu", 0))
    expect_equal(caps.find("cpu/mode[@name='host-model']").get("supported"), "no", "host-model with TCG")
    expect_error(libvirt.VIR_ERR_OPERATION_UNSUPPORTED, "type 'qemu'", conn.compareHypervisorCPU, labtest.QEMU, "x86_64", "q35",
                 "qemu", SMALL)
    expect_equal(model(conn.baselineHypervisorCPU(labtest.QEMU, "x86_64", "q35", "qemu", TWO)), "Westmere", "model")
    text = lab.virsh("h1", "hypervisor-cpu-baseline", put(lab, "two.xml", "".join(TWO)), "--virttype", "qemu")
    expect_equal(model(text), "Westmere", "model by virsh")
    expect(re.search("fallback=.forbid.", text), "the model may be replaced by another one")
    status, _, error = lab.virsh_full("h1", "hypervisor-cpu-compare", put(lab, "small.xml", SMALL), "--virttype", "qemu")
    expect(status != 0 and "nothing to compare with" in error, f"hypervisor-cpu-compare: {status}, {error}")
    for arguments, pattern in (((labtest.QEMU, "s390x", "q35", "qemu"), "s390x"), ((labtest.QEMU, "x86_64", "pc-1.0", "qemu"), "pc-1.0"),
                               ((labtest.QEMU, "x86_64", "q35", "xen"), "'xen'"), (("/bin/true", None, None, "qemu"), "/bin/true")):
        for call, xml in ((conn.compareHypervisorCPU, SMALL), (conn.baselineHypervisorCPU, TWO)):
            try:
                call(*arguments, xml)
            except libvirt.libvirtError as error:
                expect(pattern in str(error), f"{arguments}: '{error}' does not name {pattern}")
            else:
                raise labtest.Failure(f"{arguments} were accepted")


def compare_with_vmm(lab, conn, emulator):
    """hypervisor-cpu-compare where the VMM's processor is known."""
    caps = ET.fromstring(conn.getDomainCapabilities(emulator, "x86_64", "q35", "kvm", 0))
    mode = caps.find("cpu/mode[@name='host-model']")
    if mode.get("supported") != "yes":
        raise Skip("libvirt does not know this machine's processor")
    mode.tag = "cpu"
    mode.attrib.clear()
    own = ET.tostring(mode, encoding="unicode")
    # What the host has in its capabilities comes through, but for what cannot migrate.
    lost = set(features(host_cpu(conn))) - set(features(own))
    expect("invtsc" not in features(own) and lost <= NOT_MIGRATABLE, f"host-model lacks {sorted(lost)}")
    wish = (emulator, "x86_64", "q35", "kvm")
    expect_equal(conn.compareHypervisorCPU(*wish, own), VIR_CPU_COMPARE_IDENTICAL, "the VMM's processor and itself")
    expect_equal(conn.compareHypervisorCPU(*wish, SMALL), VIR_CPU_COMPARE_SUPERSET, "compared with kvm64")
    expect_equal(conn.compareHypervisorCPU(*wish, IMPOSSIBLE), VIR_CPU_COMPARE_INCOMPATIBLE, "compared with what it has not")
    expect_error(libvirt.VIR_ERR_CPU_INCOMPATIBLE, "tbm", conn.compareHypervisorCPU, *wish, IMPOSSIBLE,
                 VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE)
    for xml, code, pattern in BAD:
        expect_error(code, pattern, conn.compareHypervisorCPU, *wish, xml)
    where = ("--emulator", emulator, "--virttype", "kvm")
    status, text, error = lab.virsh_full("h1", "hypervisor-cpu-compare", put(lab, "own.xml", own), *where)
    expect(status == 0 and "identical" in text, f"hypervisor-cpu-compare with itself: {status}, {text}{error}")
    status, text, error = lab.virsh_full("h1", "hypervisor-cpu-compare", put(lab, "bad.xml", IMPOSSIBLE), *where)
    expect(status != 0 and "incompatible" in text, f"hypervisor-cpu-compare with the impossible: {status}, {text}{error}")


def test_kvm(lab):
    """Where KVM works a guest's processor is known and can be compared."""
    conn = lab.connect("h1")
    try:
        conn.getDomainCapabilities(labtest.QEMU, "x86_64", "q35", "kvm", 0)
    except libvirt.libvirtError as error:
        expect_error(error.get_error_code(), "KVM", conn.compareHypervisorCPU, labtest.QEMU, "x86_64", "q35", "kvm", SMALL)
        raise Skip("KVM does not work on this machine") from None
    compare_with_vmm(lab, conn, labtest.QEMU)


def test_kvm_pretended(lab):
    """The same with a QEMU that runs TCG when it is told to use KVM: this tries the driver's part on machines without KVM."""
    if "yes" not in lab.execute("h1", "sh", "-c", "test -w /dev/kvm && echo yes || echo no"):
        raise Skip("there is no /dev/kvm, without which the driver does not ask")
    script = put(lab, "pretend-kvm", f'#!/bin/bash\nexec {labtest.QEMU} "${{@/accel=kvm/accel=tcg}}"\n')
    lab.execute("h1", "chmod", "755", script)
    compare_with_vmm(lab, lab.connect("h1"), script)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
