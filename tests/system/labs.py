#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab itself: several at once, hosts that do not come up, and nothing left behind however it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import labtest
from labtest import BUILD, ROOT, RUN_LAB, expect, expect_equal, wait_until

FOLDER = os.path.join(ROOT, "build/lab")


def command(what, name, *arguments):
    return [RUN_LAB, what, "--name", name, *arguments]


def run(what, name, *arguments, folder=None):
    environment = dict(os.environ, SV_SKIP_SETUP="1", LC_ALL="C.UTF-8")
    return subprocess.run(command(what, name, *arguments), env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, timeout=labtest.LIMIT * 2, cwd=folder)


def up(name, *arguments):
    done = run("up", name, "-q", "-n", "1", "--build", BUILD, "--until-exit", str(os.getpid()), *arguments)
    expect_equal(done.returncode, 0, f"status of 'up': {done.stderr}")


def new_name(stem):
    new_name.last = getattr(new_name, "last", 0) + 1
    return f"{stem}-{os.getpid()}-{new_name.last}"


def processes(name):
    """Those of the machine that have to do with the lab, by their root or command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                line = file.read().replace(b"\0", b" ").decode(errors="replace")
            with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
                inside = f"/build/lab/{name}/" in file.read()
        except OSError:
            continue
        if (f'"name": "{name}"' in line or inside) and int(pid) != os.getpid():
            found.append(f"{pid} {line}")
    return found


def keeper(name):
    with open(os.path.join(FOLDER, name, "state.json"), encoding="utf-8") as file:
        return int(re.search(r'"keeper": {\s*"pid": (\d+)', file.read()).group(1))


def expect_gone(name):
    wait_until(f"the end of the processes of lab {name}", lambda: not processes(name))
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        expect(name not in file.read(), "a mount is left")


def test_killed_keeper(_lab):
    """SIGKILL for the keeper is the end of everything; 'down' then has only files to remove."""
    name = new_name("killed")
    up(name)
    expect(processes(name), "the test does not find the processes of a lab")
    os.kill(keeper(name), signal.SIGKILL)
    expect_gone(name)
    expect_equal(run("down", name).returncode, 0, "status of 'down'")
    expect(not os.path.exists(os.path.join(FOLDER, name)), "its folder is left")


def test_killed_owner(_lab):
    """--until-exit: the lab ends with that process."""
    name = new_name("owned")
    with subprocess.Popen(["sleep", "infinity"]) as owner:
        done = run("up", name, "-q", "-n", "1", "--build", BUILD, "--until-exit", str(owner.pid))
        expect_equal(done.returncode, 0, f"status of 'up': {done.stderr}")
        expect(processes(name), "the lab is not up")
        owner.kill()
    expect_gone(name)
    run("down", name)


def test_killed_up(_lab):
    """Half a lab ends with the command that was making it."""
    name = new_name("half")
    environment = dict(os.environ, SV_SKIP_SETUP="1", LC_ALL="C.UTF-8")
    with subprocess.Popen(command("up", name, "-q", "-n", "3", "--build", BUILD), env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as maker:
        wait_until("the first host", lambda: os.path.isdir(os.path.join(FOLDER, name, "h1/log")))
        maker.kill()
    expect_gone(name)
    run("down", name)


def test_several(lab):
    """Labs with the same addresses do not see each other, and end one by one."""
    names = [new_name("many") for _ in range(2)]
    for name in names:
        up(name)
    for name in names:
        found = run("exec", name, "h1", "virsh", "-q", "-c", "stratovirt:///system", "hostname").stdout
        expect_equal(found.strip(), "h1", f"the host of {name}")
    uuids = {run("exec", name, "h1", "cat", "/etc/machine-id").stdout for name in names}
    expect_equal(len(uuids), 2, "machine ids")
    expect_equal(run("exec", names[0], "h1", "ping", "-c", "1", "-W", "1", "10.77.0.2").returncode != 0, True,
                 "another lab's host answers")
    expect_equal(run("down", names[0]).returncode, 0, "status of 'down'")
    expect_gone(names[0])
    expect_equal(run("exec", names[1], "h1", "true").returncode, 0, "the other lab after that")
    run("down", names[1])
    expect_gone(names[1])
    expect(lab.execute("h1", "hostname") == "h1\n", "the test's own lab")


def test_host_that_fails(_lab):
    """A host that does not come up is an error at once, and leaves nothing."""
    name = new_name("fails")
    with tempfile.TemporaryDirectory(prefix="sv-") as build:
        # A module that makes libvirtd end as it starts.
        for module in ("stratovirt", "vbox"):
            with open(os.path.join(build, f"libvirt_driver_{module}.so"), "w", encoding="utf-8") as file:
                file.write("no module\n")
        done = run("up", name, "-n", "1", "--build", build)
    expect(done.returncode != 0, "'up' succeeded")
    expect(re.search(r"^lab: h1: libvirtd ended at its start", done.stderr, re.M), f"'up' says: {done.stderr}")
    expect_gone(name)
    expect_equal(run("down", name).returncode, 0, "status of 'down'")


def test_silent_client(_lab):
    """Somebody who connects to the keeper and says nothing, or nonsense, keeps nobody waiting for long."""
    name = new_name("silent")
    up(name)
    folder = os.open(os.path.join(FOLDER, name), os.O_PATH)
    clients = []
    for words in (b"", b"[]\n", b"nonsense\n", b'{"do"'):
        client = socket.socket(socket.AF_UNIX)
        client.connect(f"/proc/self/fd/{folder}/keeper.sock")
        client.sendall(words)
        clients.append(client)
    clients[1].close()
    os.close(folder)
    expect_equal(run("down", name).returncode, 0, "status of 'down'")
    for client in clients:
        client.close()
    expect_gone(name)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__], 1)
