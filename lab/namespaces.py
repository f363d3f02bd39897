# SPDX-License-Identifier: LGPL-2.1-or-later
"""The few system calls that Python's library does not offer in the versions we run on."""

import ctypes
import errno
import os
import pwd
import shutil
import signal
import subprocess

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1

# Joined in this order: the user namespace first, since it gives the right to join the others.
ALL = (("user", CLONE_NEWUSER), ("ipc", CLONE_NEWIPC), ("uts", CLONE_NEWUTS),
       ("net", CLONE_NEWNET), ("pid", CLONE_NEWPID), ("mnt", CLONE_NEWNS))

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    _check(_libc.unshare(flags), "cannot make a namespace")


def setns(fd, kind):
    _check(_libc.setns(fd, kind), "cannot enter a namespace")


def mount(source, target, kind=None, flags=0, data=None):
    def encode(value):
        return None if value is None else os.fsencode(value)
    _check(_libc.mount(encode(source), encode(target), encode(kind),
                       ctypes.c_ulong(flags), encode(data)), f"cannot mount {kind or source} on {target}")


def bind(source, target, recursive=False):
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))


def detach(target):
    """Takes away what is mounted there, and below, if this process may."""
    return _libc.umount2(os.fsencode(target), MNT_DETACH) == 0


def make_mounts_private(spare):
    """Keeps the calling process's mounts to its own mount namespace."""
    try:
        mount("none", "/", None, MS_REC | MS_PRIVATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # In a chroot, "/" need not be a mount. Make it one, at the directory spare, and go there.
        os.makedirs(spare, exist_ok=True)
        bind("/", spare, recursive=True)
        mount("none", spare, None, MS_REC | MS_PRIVATE)
        os.chroot(spare)
        os.chdir("/")


def sethostname(name):
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "cannot set the host name")


def die_with_parent(number=signal.SIGKILL):
    _check(_libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def _subordinate(path, number):
    """The first range of other identities that the administrator gave to the calling user."""
    try:
        names = {str(number), pwd.getpwuid(os.geteuid()).pw_name}
    except KeyError:
        names = {str(number)}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                fields = line.strip().split(":")
                if len(fields) == 3 and fields[0] in names:
                    return fields[1], fields[2]
    except OSError:
        pass
    return None


def _map_with_helpers(pid, uid, gid):
    """Maps more than the caller's own identity, which takes privileged programs. True if it worked."""
    uids, gids = _subordinate("/etc/subuid", uid), _subordinate("/etc/subgid", uid)
    if not uids or not gids or not shutil.which("newuidmap") or not shutil.which("newgidmap"):
        return False
    for program, own, (first, count) in (("newgidmap", gid, gids), ("newuidmap", uid, uids)):
        command = [program, str(pid), "0", str(own), "1", "1", first, count]
        if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0:
            return False
    return True


def become_root_of_user_namespace():
    """A new user namespace in which the caller's own identity is called root. It has other identities,
    and so can change groups, only where the administrator provided for it (newuidmap, /etc/subuid)."""
    uid, gid, pid = os.geteuid(), os.getegid(), os.getpid()
    reader, writer = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(writer)
        mapped = bool(os.read(reader, 1)) and _map_with_helpers(pid, uid, gid)
        os._exit(0 if mapped else 1)
    os.close(reader)
    try:
        unshare(CLONE_NEWUSER)
        os.write(writer, b".")
    finally:
        os.close(writer)
        status = os.waitpid(helper, 0)[1]
    if status == 0:
        return
    for path, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open("/proc/self/" + path, "w", encoding="ascii") as file:
            file.write(text)


def enter(pid, names):
    """Joins the namespaces of process pid; a pid namespace holds for children only."""
    fds = []
    # Joining a mount namespace lands at its root, which is not the lab's when that was set up in
    # a chroot: go where the process is.
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC) if "mnt" in names else None
    for name, kind in ALL:
        if name not in names:
            continue
        path = f"/proc/{pid}/ns/{name}"
        if os.stat(path).st_ino == os.stat(f"/proc/self/ns/{name}").st_ino:
            continue
        fds.append((os.open(path, os.O_RDONLY | os.O_CLOEXEC), kind))
    for fd, kind in fds:
        setns(fd, kind)
        os.close(fd)
    if root is not None:
        os.fchdir(root)
        os.chroot(".")
        os.close(root)
