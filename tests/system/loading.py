#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The driver beside the stock ones in one libvirtd, without a daemon, read-only, and broken: nobody else is disturbed."""

import os
import sys

import libvirt

import labtest
from labtest import expect, expect_equal, expect_error

BROKEN = "/run/broken-drivers"


def check_stock_drivers(lab, host):
    """qemu:///, networks and storage of the same process."""
    lab.virsh(host, "list", "--all", uri="qemu:///system")
    expect("default" in lab.virsh(host, "net-list", "--all", "--name", uri="qemu:///system"), "no network 'default'")
    lab.execute(host, "mkdir", "-p", "/srv/shared/pool")
    lab.virsh(host, "pool-create-as", "pool", "dir", "--target", "/srv/shared/pool", uri="qemu:///system")
    expect("pool" in lab.virsh(host, "pool-list", "--name", uri="qemu:///system"), "no storage pool 'pool'")
    lab.virsh(host, "pool-destroy", "pool", uri="qemu:///system")


def test_beside_the_stock_drivers(lab):
    check_stock_drivers(lab, "h1")
    conn = lab.connect("h1")
    expect_equal(conn.getType(), "StratoVirt", "type of the connection")
    # The secondary drivers answer on our connections too.
    expect("default" in [net.name() for net in conn.listAllNetworks()], "no network 'default' on our connection")


def test_read_only(lab):
    full = lab.connect("h1")
    full.defineXML(lab.xml("seen"))
    path = lab.path("h1", "sock", "libvirt-sock-ro")
    conn = libvirt.openReadOnly(f"stratovirt+unix:///system?socket={path}")
    expect_equal([dom.name() for dom in conn.listAllDomains()], ["seen"], "domains seen read-only")
    expect("<name>seen</name>" in conn.lookupByName("seen").XMLDesc(), "no XML read-only")
    expect_error(libvirt.VIR_ERR_OPERATION_DENIED, "", conn.defineXML, lab.xml("other"))
    expect_error(libvirt.VIR_ERR_OPERATION_DENIED, "", conn.lookupByName("seen").create)
    conn.close()


def test_without_a_daemon(lab):
    out = lab.execute("h1", "env", f"LIBVIRT_DRIVER_DIR={os.path.join(labtest.BUILD, 'src')}", "virsh", "-q", "-c",
                      "stratovirt:///embed?root=/run/embed", "uri; capabilities; list --all")
    expect("stratovirt:///embed?root=/run/embed" in out and "<domain type='qemu'" in out, f"embed answered {out[:300]}")


def test_unknown_paths(lab):
    conn = lab.connect("h1")
    for uri in ("stratovirt:///nonsense", "stratovirt:///session"):
        status, _, err = lab.virsh_full("h1", "list", uri=f"{uri}?mode=legacy&socket=/run/libvirt/libvirt-sock")
        expect(status != 0 and err.strip(), f"{uri} opened in the system's daemon")
    del conn


def test_broken_modules(lab):
    """A text file, a module that lacks a symbol, and none at all in our module's place."""
    lab.execute("h1", "sh", "-c", f"""
rm -rf {BROKEN}; mkdir -p {BROKEN}/text {BROKEN}/symbol {BROKEN}/none
for kind in text symbol none; do cp -d /run/lab/drivers/libvirtd/* {BROKEN}/$kind; rm {BROKEN}/$kind/libvirt_driver_stratovirt.so; done
echo 'not a module' > {BROKEN}/text/libvirt_driver_stratovirt.so
printf 'int nobodyHasThis(void); int stratovirtRegister(void); int stratovirtRegister(void) {{ return nobodyHasThis(); }}' |
    gcc -shared -fPIC -Wl,-z,now -x c -o {BROKEN}/symbol/libvirt_driver_stratovirt.so -""")
    for kind in ("text", "symbol", "none"):
        lab.daemon("h1", "stop")
        lab.daemon("h1", "start", "--env", f"LIBVIRT_DRIVER_DIR={BROKEN}/{kind}")
        check_stock_drivers(lab, "h1")
        status, _, err = lab.virsh_full("h1", "list")
        expect(status != 0 and err.strip(), f"stratovirt:///system opened without a module ({kind})")
    lab.daemon("h1", "stop")
    lab.daemon("h1", "start")
    expect_equal(lab.connect("h1").getType(), "StratoVirt", "type after the module is whole again")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
