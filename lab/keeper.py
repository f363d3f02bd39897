#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keeps one lab alive.

Theory of operation: the keeper is process 1 of a pid namespace, and owns, in namespaces of its
own, the bridge and the memory behind the hosts' files. Each host is a pid namespace below, with a
process 1 of its own. So the kernel itself cleans up: when the keeper dies, however it dies, every
process of the lab dies, and with them every namespace, network device and mount; nothing of it
ever existed in the machine's own network or mount table. Cutting a host's power is killing its
process 1.

Commands come over keeper.sock, one JSON line each. The reply to `boot` is sent by the new host's
process 1 itself, so that the kernel tells the asker its pid (SO_PASSCRED).
"""

import json
import os
import select
import signal
import socket
import sys

import daemons
import hostfs
import namespaces
import network
from state import LabError


# Who asks says at once what is wanted.
REQUEST_SECONDS = 3


class Keeper:
    def __init__(self, settings):
        self.settings = settings
        self.hosts = {}  # number: pid
        self.own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.listener = None
        self.complete = False  # the process that makes the lab has finished its work

    def path(self, *parts):
        return os.path.join(self.settings["dir"], *parts)

    def setup(self):
        namespaces.make_mounts_private(self.path("root"))
        namespaces.mount("proc", "/proc", "proc",
                         namespaces.MS_NOSUID | namespaces.MS_NODEV | namespaces.MS_NOEXEC)
        os.makedirs(self.path("hosts"), exist_ok=True)
        namespaces.mount("lab", self.path("hosts"), "tmpfs", namespaces.MS_NOSUID, "mode=700")
        os.makedirs(self.path("shared"), exist_ok=True)
        network.make_bridge()
        os.chdir(self.settings["dir"])
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind("keeper.sock")
        self.listener.listen(16)
        self.listener.setblocking(False)

    def boot(self, number, connection):
        """Forks the host's process 1, which answers on connection."""
        storage = self.path("hosts", f"h{number}")
        if not os.path.exists(storage):
            hostfs.prepare(self.settings["name"], number, self.settings["hosts"], storage,
                           self.settings["emulators"])
        logs = self.path(f"h{number}", "log")
        sockets = self.path(f"h{number}", "sock")
        os.makedirs(logs, exist_ok=True)
        os.makedirs(sockets, exist_ok=True)
        for name in os.listdir(sockets):
            os.unlink(os.path.join(sockets, name))

        mine, its = socket.socketpair()
        namespaces.unshare(namespaces.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            mine.close()
            run_host(self.settings, number, (storage, self.path("shared"), logs, sockets), its, connection)
        namespaces.setns(self.own_pid_namespace, namespaces.CLONE_NEWPID)
        its.close()
        self.hosts[number] = pid
        with mine:
            if mine.recv(1):  # its network namespace is there
                network.plug_in(number, pid)
                mine.sendall(b".")

    def crash(self, number):
        pid = self.hosts.pop(number, None)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # returns when nothing of the host is left

    def learn(self, number):
        try:
            hostfs.learn(self.settings["name"], self.path("hosts", f"h{number}"), self.settings["emulators"])
        except OSError as error:
            print(f"h{number}: what it knows of VMMs is lost: {error}", file=sys.stderr)

    def obey(self, connection):
        """True: the lab ends."""
        # One that says nothing, or nonsense, must not keep all others waiting.
        connection.settimeout(REQUEST_SECONDS)
        try:
            with connection.makefile("r", encoding="utf-8") as file:
                request = json.loads(file.readline() or "{}")
            what = request.get("do")
        except (OSError, ValueError, AttributeError):
            return False
        connection.settimeout(None)
        try:
            if what == "boot":
                self.reap()
                if request["host"] in self.hosts:
                    raise LabError(f"host h{request['host']} is switched on already")
                self.boot(request["host"], connection)
                return False
            if what == "crash":
                self.crash(request["host"])
            if what == "complete":
                self.complete = True
            reply = {}
        except (LabError, OSError) as error:
            reply = {"error": str(error)}
        if what == "end":
            for number in list(self.hosts):
                self.crash(number)
                self.learn(number)
        try:
            connection.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            pass
        return what == "end"

    def reap(self):
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for number in [number for number, host in self.hosts.items() if host == pid]:
                del self.hosts[number]

    def accept(self):
        """The next connection, or None: one that was there may be gone again."""
        try:
            return self.listener.accept()[0]
        except (BlockingIOError, ConnectionError):
            return None

    def run(self, owner, maker):
        """Until told to end, or until the owning process is gone, or the one that makes the lab before it
        has finished (pidfds)."""
        wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
        while not stop:
            watched = [self.listener, wake_reader] + [fd for fd in (owner, maker) if fd is not None]
            ready, _, _ = select.select(watched, [], [])
            if wake_reader in ready:
                os.read(wake_reader, 4096)
                self.reap()
            if owner is not None and owner in ready:
                return
            connection = self.accept() if self.listener in ready else None
            if connection:
                with connection:
                    if self.obey(connection):
                        return
            if self.complete and maker is not None:
                os.close(maker)
                maker = None
            if maker is not None and maker in ready:
                return


def run_host(settings, number, places, keeper, connection):
    """Process 1 of a host. Does not return."""
    reply = {}
    try:
        signal.set_wakeup_fd(-1)
        for which in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(which, signal.SIG_DFL)
        namespaces.unshare(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET |
                           namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC)
        namespaces.sethostname(f"h{number}")
        keeper.sendall(b".")
        if not keeper.recv(1):
            raise LabError(f"h{number} has no network")
        keeper.close()
        network.configure(number)
        hostfs.setup(settings["name"], number, settings["hosts"], *places)
        if "virtstratovirtd" in settings["daemons"]:
            daemons.make_modular()
        reply["ours"] = daemons.link_drivers(settings["build"], "libvirtd")[1]
        for name in settings["daemons"]:
            daemons.start(name, settings["build"])
    except Exception as error:  # whatever it is, somebody waits for the answer
        reply = {"error": f"h{number}: {error or type(error).__name__}"}
    connection.sendall(json.dumps(reply).encode() + b"\n")
    connection.close()
    if reply.get("error"):
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


def main():
    settings = json.loads(sys.argv[1])
    status = settings["status_fd"]
    keeper = Keeper(settings)
    try:
        keeper.setup()
    except (LabError, OSError) as error:
        os.write(status, str(error).encode())
        sys.exit(1)
    os.write(status, b"ok")
    os.close(status)
    keeper.run(settings.get("owner_fd"), settings["maker_fd"])


if __name__ == "__main__":
    main()
