#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts and ends the daemons of one host; runs inside of it."""

import glob
import os
import select
import signal
import socket
import subprocess
import sys

from state import LabError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DRIVERS = "/run/lab/drivers"
# Exists where virtstratovirtd serves the driver: then libvirtd has the stock drivers only.
MODULAR = "/run/lab/modular"
# Where in a build is what the lab takes from it; or it is a folder of these files alone.
BUILT = ("src", "src/remote/daemon", ".")
SECONDARY = ("interface", "network", "nodedev", "nwfilter", "secret", "storage")
TIMEOUT = 60

# name: (arguments, pid file, URI whose answer shows that it serves)
KNOWN = {
    "virtlogd": ([], "/run/virtlogd.pid", None),
    "libvirtd": (["--listen"], "/run/libvirtd.pid", "qemu:///system"),
    "virtstratovirtd": ([], "/run/virtstratovirtd.pid", "stratovirt:///system"),
}


def _find_built(build, name):
    """A file that the build made, or None."""
    return next((path for path in (os.path.join(build, folder, name) for folder in BUILT) if os.path.exists(path)), None)


def stock_directory():
    """Where the distribution's modules are."""
    for pattern in ("/usr/lib/*/libvirt/connection-driver", "/usr/lib*/libvirt/connection-driver"):
        for directory in glob.glob(pattern):
            return directory
    raise LabError("libvirt's driver modules are missing: install libvirt-daemon")


def make_modular():
    """Two daemons cannot serve one driver. libvirtd stands in for the daemons of the other ones."""
    with open(MODULAR, "w", encoding="ascii"):
        pass
    for name in SECONDARY:
        for suffix in ("", "-ro"):
            os.symlink(f"libvirt-sock{suffix}", f"/run/libvirt/virt{name}d-sock{suffix}")


def link_drivers(build, daemon):
    """The stock modules, and ours when it is built, in one directory per daemon. Returns the directory,
    and whether ours is there."""
    directory = f"{DRIVERS}/{daemon}"
    os.makedirs(directory, exist_ok=True)
    wanted = {os.path.basename(path): path for path in glob.glob(stock_directory() + "/*.so")}
    ours = _find_built(build, "libvirt_driver_stratovirt.so")
    shim = _find_built(build, "libvirt_driver_vbox.so")
    if ours and shim and not (daemon == "libvirtd" and os.path.exists(MODULAR)):
        wanted["libvirt_driver_stratovirt.so"] = ours
        wanted["libvirt_driver_vbox.so"] = shim
    for name in os.listdir(directory):
        os.unlink(os.path.join(directory, name))
    for name, path in wanted.items():
        os.symlink(path, os.path.join(directory, name))
    return directory, bool(ours and shim)


def pid_of(name):
    """The daemon's pid in this host, or None."""
    try:
        with open(KNOWN[name][1], encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            running = file.read().strip()
    except (OSError, ValueError):
        return None
    return pid if running == name[:15] else None


def _program(name, build):
    if name != "virtstratovirtd":
        return "/usr/sbin/" + name
    built = _find_built(build, name)
    if not built:
        raise LabError("virtstratovirtd is not built (./run build)")
    return built


def _last_words(name):
    for suffix in (".out", ".log"):
        try:
            with open(f"/var/log/libvirt/{name}{suffix}", encoding="utf-8", errors="replace") as file:
                lines = [line for line in file.read().splitlines() if line.strip()]
        except OSError:
            continue
        errors = [line for line in lines if " error : " in line] or lines
        # The last error of a libvirt daemon says only that there was one.
        if len(errors) > 1 and "Driver state initialization failed" in errors[-1]:
            errors.pop()
        if errors:
            return f": {errors[-1]}"
    return ""


def _wait_ready(child, notify, name):
    """Until the daemon says that its sockets listen, or ends."""
    end = os.pidfd_open(child.pid)
    try:
        ready, _, _ = select.select([notify, end], [], [], TIMEOUT)
    finally:
        os.close(end)
    if notify in ready and b"READY=1" in notify.recv(4096):
        return
    if end in ready:
        raise LabError(f"{name} ended at its start{_last_words(name)}")
    child.kill()
    raise LabError(f"{name} did not start within {TIMEOUT} seconds{_last_words(name)}")


def start(name, build, settings=()):
    """Starts a daemon and returns when it answers. settings: NAME=VALUE for its environment."""
    arguments, pid_file, uri = KNOWN[name]
    if pid_of(name):
        return
    program = _program(name, build)
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root",
                   "NOTIFY_SOCKET": f"/run/lab/{name}.notify"}
    if name != "virtlogd":
        environment["LIBVIRT_DRIVER_DIR"] = link_drivers(build, name)[0]
        environment["LIBVIRT_STRATOVIRT_FAULT_FILE"] = "/var/log/libvirt/faults"
    environment.update(setting.split("=", 1) for setting in settings)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = environment["NOTIFY_SOCKET"]
        if os.path.exists(path):
            os.unlink(path)
        notify.bind(path)
        with open(f"/var/log/libvirt/{name}.out", "ab") as output:
            child = subprocess.Popen([program, *arguments, "--pid-file", pid_file], env=environment,
                                     stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                     cwd="/", start_new_session=True)
        _wait_ready(child, notify, name)
        os.unlink(path)
    if uri:
        # The sockets listen before the drivers are ready; a first call waits for them.
        _first_call(name, uri, child)


def _first_call(name, uri, child):
    done = subprocess.run(["virsh", "-q", "-c", uri, "uri"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, timeout=TIMEOUT)
    if done.returncode != 0:
        # A daemon whose drivers failed to start ends a moment after it closed the connection.
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            pass
    if child.poll() is not None:
        raise LabError(f"{name} ended at its start{_last_words(name)}")
    if done.returncode != 0:
        raise LabError(f"{name} runs but '{uri}' does not open: {done.stderr.strip()}")


def end(name, number):
    """Sends a signal to the daemon alone and returns when it is gone."""
    pid = pid_of(name)
    if not pid:
        raise LabError(f"{name} does not run")
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, number)
        if not select.select([handle], [], [], TIMEOUT)[0]:
            raise LabError(f"{name} did not end within {TIMEOUT} seconds")
    finally:
        os.close(handle)


def main():
    """daemons.py ACTION NAME BUILD [SETTING...]"""
    action, name, build, *settings = sys.argv[1:]
    try:
        if action == "kill":
            end(name, signal.SIGKILL)
        if action in ("stop", "restart") and pid_of(name):
            end(name, signal.SIGTERM)
        if action in ("start", "restart"):
            start(name, build, settings)
        if action == "pid":
            print(pid_of(name) or "")
    except (LabError, subprocess.TimeoutExpired) as error:
        sys.exit(f"lab: {error}")


if __name__ == "__main__":
    main()
