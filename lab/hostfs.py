# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a host of the lab has of its own in the file system.

Theory of operation: a host sees the machine's files, with these differences in its mount
namespace. /etc, /var/lib, /var/cache, /var/log and /srv become directories of symbolic links to
what the machine has there, in which the host's own entries take the place of the machine's: so
nothing need exist beforehand and nothing can leak out. What must survive a power cut
(/etc/libvirt, /var/lib/libvirt...) is bound from the keeper's memory, /run is fresh at each boot.
"""

import glob
import hashlib
import os
import re
import shutil

import pki
from namespaces import (MS_NODEV, MS_NOEXEC, MS_NOSUID, bind, detach, mount)
from state import BASE, address, address6, host_uuid

ORIGINAL = "/run/machine"
# What hosts have learned of their VMMs is as true in the next lab: the driver believes it only while the VMM's file, the machine's KVM
# and its boot are the same.
LEARNED = os.path.join(BASE, ".learned")
PROBES = "/var/cache/libvirt/stratovirt"
PERSISTENT = ("/etc/libvirt", "/etc/pki", "/var/lib/libvirt", "/var/cache/libvirt")
# Defined, as after an installation, but not started.
NETWORK = """<network>
  <name>default</name>
  <uuid>{uuid}</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='on' delay='0'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip>
</network>
"""


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def _links(directory):
    """Replaces directory by links to its entries."""
    if not os.path.isdir(directory):
        return
    original = ORIGINAL + directory
    os.makedirs(original)
    bind(directory, original, recursive=True)
    mount("lab", directory, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64m")
    for name in os.listdir(original):
        source = os.path.join(original, name)
        target = os.readlink(source) if os.path.islink(source) else source
        os.symlink(target, os.path.join(directory, name))


def _own(path, source=None, directory=True):
    """Takes a link's place: by a new empty directory, or by what is mounted from source."""
    if os.path.lexists(path):
        os.unlink(path)
    if directory:
        os.makedirs(path)
    if source:
        bind(source, path)


def _special():
    """Process, device and terminal trees of this host's namespaces."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # A new one shows this host's network devices, and no control groups.  Only hidden, the old one would still be in the list of mounts.
    detach("/sys")
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if os.path.isdir("/dev/pts") and os.path.exists("/dev/ptmx"):
        mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
        bind("/dev/pts/ptmx", "/dev/ptmx")


def configuration(lab, number, hosts, emulators):
    """Contents of /etc/libvirt, by file name."""
    own = address(number)
    uuid = host_uuid(lab, number)

    def daemon(name, tcp, tls):
        return (f'listen_tcp = 1\nlisten_tls = 1\ntcp_port = "{tcp}"\ntls_port = "{tls}"\n'
                'auth_tcp = "none"\nauth_tls = "none"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'
                'unix_sock_dir = "/run/lab/sock"\nunix_sock_rw_perms = "0777"\n'
                f'host_uuid = "{uuid}"\nmax_clients = 500\nmax_workers = 64\nadmin_max_clients = 20\n'
                f'log_filters = "1:stratovirt 3:remote 4:event"\n'
                f'log_outputs = "1:file:/var/log/libvirt/{name}.log"\n')

    return {
        "libvirtd.conf": daemon("libvirtd", 16509, 16514),
        "virtstratovirtd.conf": daemon("virtstratovirtd", 16519, 16515),
        "virtlogd.conf": 'log_outputs = "3:file:/var/log/libvirt/virtlogd.log"\n',
        "libvirt.conf": "",
        "qemu.conf": ('user = "root"\ngroup = "root"\ndynamic_ownership = 0\nremember_owner = 0\n'
                      'security_driver = "none"\nnamespaces = []\ncgroup_controllers = []\n'
                      f'stdio_handler = "logd"\nmigration_host = "{own}"\n'),
        # {"qemu": path, "stratovirt": path}; the first is the one of guests that name none.
        "stratovirt.conf": "".join(f'{vmm}_binary = "{path}"\n' for vmm, path in emulators.items()) +
                           (f'default_vmm = "{next(iter(emulators))}"\n' if emulators else "") +
                           # What a stand-in's version does not tell, its name does.
                           "".join(f'repaired_vmms = "{path}"\n' for path in emulators.values() if path.endswith("-mended")) +
                           f'migration_address = "{own}"\n',
    }


def learn(lab, storage, emulators):
    """Keeps what a host of lab knows of the lab's VMMs for hosts of other labs."""
    for path in glob.glob(storage + PROBES + "/vmm-*.cache"):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        kept = os.path.join(LEARNED, os.path.basename(path))
        if not any(f"\nbinary={emulator}\n" in text for emulator in emulators.values()) or os.path.exists(kept) and \
                os.path.getmtime(kept) >= os.path.getmtime(path):
            continue
        write(f"{kept}.{lab}", text, 0o600)
        os.rename(f"{kept}.{lab}", kept)


def prepare(lab, number, hosts, storage, emulators):
    """First boot: fills what persists, in directory storage."""
    for path in PERSISTENT:
        os.makedirs(storage + path, exist_ok=True)
    for name, text in configuration(lab, number, hosts, emulators).items():
        write(os.path.join(storage, "etc/libvirt", name), text)
    for path in glob.glob(LEARNED + "/vmm-*.cache"):
        os.makedirs(storage + PROBES, exist_ok=True)
        shutil.copy2(path, storage + PROBES)
    # Of our own: the machine's may be missing, or not for an ordinary user to read.
    write(storage + "/etc/libvirt/qemu/networks/default.xml", NETWORK.format(uuid=host_uuid(lab + "/network", number)))
    pki.install(number, storage + "/etc")


def _accounts():
    """libvirtd's QEMU driver does not start without these, which another package would create."""
    for path, entry in (("/etc/passwd", "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin"),
                        ("/etc/group", "libvirt-qemu:x:64055:"), ("/etc/group", "kvm:x:64056:")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if not re.search("^" + entry.split(":", maxsplit=1)[0] + ":", text, re.MULTILINE):
            _own(path, directory=False)
            write(path, text.rstrip("\n") + "\n" + entry + "\n")


def setup(lab, number, hosts, storage, shared, logs, sockets):
    """Gives the calling process, in its fresh namespaces, the file system of host number."""
    name = f"h{number}"
    mount("lab", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for directory in ("/etc", "/var/lib", "/var/cache", "/var/log", "/srv"):
        _links(directory)
    _special()
    for path in PERSISTENT:
        _own(path, storage + path)
    _own("/var/log/libvirt", logs)
    _own("/srv/shared", shared)
    os.makedirs("/run/libvirt")
    os.makedirs("/run/lock")  # which /var/lock stands for: libvirt locks consoles there
    os.makedirs("/run/lab/sock")
    bind(sockets, "/run/lab/sock")
    for link in ("libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock", "virtstratovirtd-sock",
                 "virtstratovirtd-sock-ro", "virtstratovirtd-admin-sock"):
        os.symlink("../lab/sock/" + link, "/run/libvirt/" + link)
    _accounts()
    if os.path.exists("/usr/bin/pkttyagent"):
        # virsh on a terminal would start it, and it would complain that nobody answers it here.
        bind("/dev/null", "/usr/bin/pkttyagent")
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for other in range(1, hosts + 1):
        lines.append(f"{address(other)} h{other}")
        lines.append(f"{address6(other)} h{other}")
    machine_id = hashlib.md5(f"{lab}/{number}".encode()).hexdigest()
    for path, text in (("/etc/hosts", "\n".join(lines) + "\n"), ("/etc/hostname", name + "\n"),
                       ("/etc/machine-id", machine_id + "\n")):
        _own(path, directory=False)
        write(path, text)
