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


# What an installation looks like, in a mount namespace of its own above the lab's: nothing of it reaches the machine.
INSTALLED = """
set -e
tool=@BUILD@/data/stratovirt-enable-libvirtd
shim=$(sed -n "s/^shim='\\(.*\\)'.*/\\1/p" "$tool")
modules=$(sed -n "s/^modules='\\(.*\\)'.*/\\1/p" "$tool")
mount -t tmpfs none /mnt
for folder in /usr /var/lib/dpkg; do
    mkdir -p /mnt$folder/upper /mnt$folder/work
    mount -t overlay -o "lowerdir=$folder,upperdir=/mnt$folder/upper,workdir=/mnt$folder/work" none $folder
done
for folder in run/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt; do
    mount -t tmpfs none /$folder
done
mkdir -p "$shim"
cp @BUILD@/src/remote/daemon/libvirt_driver_vbox.so "$shim"
cp @BUILD@/src/libvirt_driver_stratovirt.so "$modules"
before=$(ls -l --time-style=full-iso "$modules"; dpkg-divert --list)
unset LIBVIRT_DRIVER_DIR
try() {
    libvirtd -d -f /dev/null -p /run/libvirt/own.pid
    virsh -q -c qemu:///system uri
    virsh -q -c stratovirt:///system uri || echo "no stratovirt"
    pid=$(cat /run/libvirt/own.pid)
    kill "$pid"
    tail --pid="$pid" -f /dev/null
}
try
"$tool" --status || :
"$tool"
"$tool" --status
try
mv "$modules/libvirt_driver_stratovirt.so" "$modules/kept"
echo 'int stratovirtRegister(void); int noSuchThing_9_9_9(void); int stratovirtRegister(void) { return noSuchThing_9_9_9(); }' |
    gcc -shared -fPIC -Wl,-z,now -x c -o "$modules/libvirt_driver_stratovirt.so" -
try
mv "$modules/kept" "$modules/libvirt_driver_stratovirt.so"
"$tool"
"$tool" --undo
"$tool" --undo
try
[ "$before" = "$(ls -l --time-style=full-iso "$modules"; dpkg-divert --list)" ] && echo "as before"
"""


def test_enable_libvirtd(lab):
    """stratovirt-enable-libvirtd on an installation: the stock libvirtd loads the driver, and does not mind if it cannot."""
    if os.geteuid() != 0:
        raise labtest.Skip("the distribution's folders are root's, also in the user namespace of this lab")
    out = lab.execute("h1", "unshare", "-mn", "bash", "-c", "exec 2>&1\n" + INSTALLED.replace("@BUILD@", os.path.abspath(labtest.BUILD)),
                      check=False)
    if "mount:" in out:
        raise labtest.Skip(f"no overlay can be mounted here: {out.strip()}")
    lines = [line.split(": ", 1)[-1] for line in out.splitlines() if line and not line.startswith("error:")]
    none, both = ["qemu:///system", "no stratovirt"], ["qemu:///system", "stratovirt:///system"]
    expect_equal(lines, [*none, "disabled", "the shim is in place; restart libvirtd to load the driver", "enabled", *both, *none,
                         "the shim is in place already", "the shim is gone; restart libvirtd to unload the driver",
                         "the shim is not in place", *none, "as before"], "what the tool and virsh said")


SESSION = "/run/session"


def as_user(lab, *command, check=True):
    """As somebody without any rights, with folders of his own."""
    folders = [f"XDG_{name}={SESSION}/{name.lower()}" for name in ("RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME")]
    return lab.execute("h1", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=" + SESSION,
                       "LIBVIRT_DRIVER_DIR=/run/lab/drivers/libvirtd", *folders, *command, check=check)


def session_daemon(lab, *, kill=False):
    path = f"{SESSION}/libvirtd.pid"
    if kill:
        lab.execute("h1", "sh", "-c", f"kill -9 $(cat {path}) && tail --pid=$(cat {path}) -f /dev/null")
    as_user(lab, "libvirtd", "-d", "-p", path)


def test_session(lab):
    """An ordinary user's own instance: guests, folders, the daemon's death."""
    lab.execute("h1", "sh", "-c", f"rm -rf {SESSION}; mkdir -p {SESSION}/runtime_dir; chown -R 65534:65534 {SESSION}; chmod 700 {SESSION}/*",
                check=False)
    if "fine" not in as_user(lab, "sh", "-c", f"[ -x {labtest.EMULATOR} ] && [ -r {labtest.DEPS}/kernel/vmlinuz ] && echo fine", check=False):
        raise labtest.Skip("nobody else may be somebody here, or see the checkout")

    def virsh(*arguments):
        return as_user(lab, "virsh", "-q", "-c", "stratovirt:///session?mode=legacy", *arguments).strip()
    session_daemon(lab)
    with open(lab.path("h1", "log", "session.xml"), "w", encoding="utf-8") as file:
        file.write(lab.xml("mine").replace("/var/log/libvirt/", SESSION + "/"))
    virsh("define", "/var/log/libvirt/session.xml")
    virsh("start", "mine")
    virsh("suspend", "mine")
    expect_equal(virsh("domstate", "--reason", "mine"), "paused (user)", "state")
    session_daemon(lab, kill=True)
    expect_equal(virsh("domstate", "--reason", "mine").split()[0], "paused", "state after the death of the daemon")
    virsh("resume", "mine")
    expect_equal(virsh("domstate", "mine"), "running", "state after its resumption")
    found = as_user(lab, "sh", "-c", f"cd {SESSION} && find . -path '*stratovirt*' -type f -o -path '*stratovirt*' -type s").split()
    for name in ("./config_home/libvirt/stratovirt/mine.xml", "./cache_home/libvirt/stratovirt/log/mine.log",
                 "./runtime_dir/libvirt/stratovirt/run/mine.xml"):
        expect(name in found, f"no {name}; there are {found}")
    expect_equal(lab.virsh("h1", "list", "--all", "--name").split(), [], "guests of the system's instance")
    virsh("destroy", "mine")
    virsh("undefine", "mine")
    lab.execute("h1", "sh", "-c", f"kill $(cat {SESSION}/libvirtd.pid)")


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
