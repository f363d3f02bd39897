#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Is the stand-in as StratoVirt is?  One test for each fact that the driver relies on or must survive.

usage: test_standin.py FOLDER [NAME…]; FOLDER has the programs stratovirt-VERSION.
"""
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading

from standin import (FACTS, FOLDER, LIMIT, Failure, Qmp, World, connect, equal, expect, fact, listens, wait_until)


# ---- the command line


@fact("only known options and keys are accepted")
def unknown_options(world):
    for bad in (["--accel", "kvm"], ["-drive", f"id=x,file={world.disk},cache=none"], ["-m", "64M"], ["-smp", "255"],
                ["-cpu", "max"], ["-netdev", "tap,id=n,script=no"], ["-device", "virtio-rng,id=r"],
                ["-chardev", "socket,id=c,path=/x,server=on,wait=off"], ["-machine", "q35,usb=on"],
                ["-machine", "q35,dump_guest_core=off"], ["-device", "virtio-blk-pci,id=b1,drive=d0"]):
        vm = world.vm("bad", *bad)
        equal(vm.end(), 1, f"exit code with {bad}")


@fact("options that libvirt's users expect are accepted and ignored")
def ignored_options(world):
    vm = world.vm("vm", "-uuid", "x", "-no-user-config", "-nodefaults", "-sandbox", "on", "-msg", "timestamp=on", "-rtc", "base=utc",
                  "-boot", "strict=on", "-nographic", "-overcommit", "mem-lock=off", "-display", "none")
    equal(vm.qmp().status(), "running", "state")


@fact("q35 of 2.4.0 needs a pflash, that of 2.5.0 a kernel")
def flash(world):
    command = [os.path.join(FOLDER, "stratovirt-2.4.0"), "-machine", "q35", "-cpu", "host", "-kernel", os.path.join(world.dir, "kernel"),
               "-initrd", os.path.join(world.dir, "kernel"), "-serial", "stdio", "-qmp", f"unix:{world.dir}/f.qmp,server,nowait"]
    equal(subprocess.run(command, capture_output=True, check=False).returncode, 1, "exit code")


@fact("a serial port cannot name a -chardev, which is looked at later; one alone is nothing to boot from")
def serial_chardev(world):
    for version in ("2.4.0", "2.5.0-mended"):
        vm = world.vm("bad", "-chardev", "pty,id=c", version=version, serial="chardev:c")
        equal(vm.end(), 1, "exit code")
        expect('Chardev "c" not found' in vm.errors(), vm.errors())
        vm = world.vm("bad", version=version, disk=False, initrd=False)
        equal(vm.end(), 1, "exit code")


@fact("the number of a controller's ports is spelled max_ports in 2.4.0, max-ports later")
def max_ports(world):
    for version, good, bad in (("2.4.0", "max_ports", "max-ports"), ("2.5.0-mended", "max-ports", "max_ports")):
        equal(world.vm("bad", "-device", f"virtio-serial-pci,id=s0,bus=pcie.0,addr=0x7,{bad}=4", version=version).end(), 1, "exit code")
        vm = world.vm("vm", "-device", f"virtio-serial-pci,id=s0,bus=pcie.0,addr=0x7,{good}=4", version=version)
        equal(vm.qmp().status(), "running", "state")
        vm.process.kill()
        vm.end()


@fact("-incoming needs -disable-seccomp")
def seccomp(world):
    command = [os.path.join(FOLDER, "stratovirt-2.5.0"), "-machine", "q35", "-cpu", "host", "-kernel", os.path.join(world.dir, "kernel"),
               "-initrd", os.path.join(world.dir, "kernel"), "-serial", "stdio", "-qmp", f"unix:{world.dir}/f.qmp,server,nowait", "-incoming", f"unix:{world.dir}/i"]
    equal(subprocess.run(command, capture_output=True, check=False).returncode, 1, "exit code")


@fact("-machine none serves probes; quit says SHUTDOWN and does not end it")
def machine_none(world):
    vm = world.vm("none", machine="none")
    qmp = vm.qmp()
    expect([m["name"] for m in qmp.ok("query-machines")] == ["none", "microvm", "q35"], "machines")
    qmp.ok("quit")
    equal(qmp.read()["event"], "SHUTDOWN", "event")
    equal(qmp.status(), "running", "state after quit")
    vm.process.terminate()
    equal(vm.end(), 0, "exit code")


# ---- the control socket


@fact("the greeting names QEMU 5.0.1 and the package; lines end with CR LF")
def greeting(world):
    qmp = world.vm("vm", version="2.4.0").qmp()
    equal(qmp.greeting["QMP"]["version"]["package"], "StratoVirt-2.4.0", "package")
    equal(qmp.greeting["QMP"]["version"]["qemu"], {"micro": 1, "minor": 0, "major": 5}, "version")


@fact("ids are strings, echoed except for qmp_capabilities")
def ids(world):
    qmp = world.vm("vm").qmp()
    equal(qmp.call("query-status", id_="abc")["id"], "abc", "id")
    expect("id" not in qmp.call("qmp_capabilities"), "an id in the answer to qmp_capabilities")
    qmp.send('{"execute":"query-status","id":7}')
    answer = qmp.answer()
    equal(answer["error"]["class"], "GenericError", "class")
    expect("id" not in answer, "an id in a parse error")


@fact("two requests at once are both lost with one error, half a request is an error")
def pipelining(world):
    qmp = world.vm("vm").qmp()
    qmp.send('{"execute":"query-status","id":"1"}{"execute":"query-status","id":"2"}')
    expect("error" in qmp.answer(), "two requests were understood")
    with contextlib.suppress(TimeoutError):
        raise Failure(f"a second answer: {qmp.read(0.2)}")
    qmp.send('{"execute":"query-')
    expect("error" in qmp.answer(), "half a request was understood")
    qmp.send('status"}')
    expect("error" in qmp.answer(), "the other half was understood")
    equal(qmp.status(), "running", "state")


@fact("an unknown command is a GenericError, unknown members are refused")
def unknown_commands(world):
    qmp = world.vm("vm").qmp()
    equal(qmp.call("query-name")["error"]["class"], "GenericError", "class")
    expect("unknown variant" in qmp.call("migrate-set-parameters")["error"]["desc"], "text")
    expect("error" in qmp.call("query-status", {"x": 1}), "an unknown member was accepted")


@fact("one client per socket; the second gets its greeting when the first has gone")
def one_client(world):
    vm = world.vm("vm")
    first = vm.qmp()
    second = vm.qmp(greeting=False)
    with contextlib.suppress(TimeoutError):
        raise Failure(f"a greeting for the second: {second.read(0.2)}")
    first.close()
    expect("QMP" in second.read(), "greeting")


@fact("stop and cont say STOP and RESUME, even if nothing changes; the answer comes first")
def stop_cont(world):
    vm = world.vm("vm")
    qmp = vm.qmp()
    for name, event, state in (("stop", "STOP", "paused"), ("stop", "STOP", "paused"), ("cont", "RESUME", "running")):
        qmp.send(json.dumps({"execute": name, "id": "1"}))
        expect("return" in qmp.read(), "answer")
        equal(qmp.read()["event"], event, "event")
        equal(qmp.status(), state, "state")
    vm.sound()


@fact("2.4.0 says STOP and RESUME before it answers; what changes nothing it refuses without a word")
def stop_cont_24(world):
    vm = world.vm("vm", version="2.4.0")
    qmp = vm.qmp()
    for name, event, state in (("stop", "STOP", "paused"), ("cont", "RESUME", "running")):
        qmp.send(json.dumps({"execute": name, "id": "1"}))
        equal(qmp.read()["event"], event, "event")
        expect("return" in qmp.read(), "answer")
        equal(qmp.status(), state, "state")
        answer = qmp.call(name)
        equal(answer["error"], {"class": "GenericError", "desc": ""}, f"a second {name}")
        equal(qmp.status(), state, "state")
    equal([], qmp.events, "events")
    qmp.ok("stop")
    equal(qmp.call("system_powerdown")["error"]["desc"], "", "powerdown of a stopped guest")
    qmp.ok("cont")
    vm.sound()


@fact("any stop of 2.4.0 unlocks the disks, and cont fails without a word while another one has them")
def stop_unlocks_24(world):
    one = world.vm("one", version="2.4.0")
    first = one.qmp()
    first.ok("stop")
    two = world.vm("two", version="2.4.0")
    second = two.qmp()
    equal(first.call("cont")["error"]["desc"], "", "cont")
    equal(first.status(), "paused", "state")
    second.ok("stop")
    first.ok("cont")
    one.sound()


@fact("a stopped guest stands still, -S starts it so")
def freeze(world):
    vm = world.vm("vm", "-S")
    qmp = vm.qmp()
    equal(qmp.status(), "paused", "state")
    equal(vm.reports(), [], "reports")
    qmp.ok("cont")
    vm.sound()
    qmp.ok("stop")
    before = os.path.getsize(vm.console)
    select.select([], [], [], 0.3)
    equal(os.path.getsize(vm.console), before, "what a stopped guest has said")


@fact("SIGTERM is silent, quit says SHUTDOWN; both end with 0, as powerdown does, without a word")
def ends(world):
    for how, events in (("quit", ["SHUTDOWN"]), ("system_powerdown", []), (None, [])):
        vm = world.vm("vm", disk=False)
        qmp = vm.qmp()
        if how:
            qmp.ok(how)
        else:
            vm.process.terminate()
        seen = []
        while (line := qmp.read()) is not None:
            seen.append(line.get("event"))
        equal(seen, events, f"events of {how}")
        equal(vm.end(), 0, f"exit code of {how}")
        expect(not os.path.exists(vm.path + ".qmp"), "the socket is left")


@fact("2.4.0 says SHUTDOWN for SIGTERM, too, and ends by quit even without a machine")
def ends_24(world):
    for machine, how in (("q35", None), ("q35", "quit"), ("none", "quit")):
        vm = world.vm("vm", version="2.4.0", disk=False, machine=machine)
        qmp = vm.qmp()
        if how:
            qmp.ok(how)
        else:
            vm.process.terminate()
        event = qmp.read()
        equal(event["event"], "SHUTDOWN", "event")
        equal(event["data"]["guest"], False, "by the guest")
        equal(qmp.read(), None, "what comes after it")
        equal(vm.end(), 0, "exit code")


@fact("the serial port's pty is found by query-chardev")
def pty(world):
    command = [os.path.join(FOLDER, "stratovirt-2.4.0"), "-machine", "microvm", "-cpu", "host", "-kernel", os.path.join(world.dir, "kernel"),
               "-initrd", os.path.join(world.dir, "kernel"), "-serial", "pty", "-qmp", f"unix:{world.dir}/p.qmp,server,nowait"]
    with subprocess.Popen(command) as process:
        try:
            wait_until("the socket", lambda: os.path.exists(f"{world.dir}/p.qmp"))
            found = Qmp(f"{world.dir}/p.qmp").ok("query-chardev")
            equal(found[0]["label"], "serial_chardev", "label")
            # Not as this process's terminal: its end would end the process.
            console = os.open(found[0]["filename"].removeprefix("pty:"), os.O_RDONLY | os.O_NOCTTY)
            try:
                expect(b"tick" in os.read(console, 4096) + os.read(console, 4096), "the console is silent")
            finally:
                os.close(console)
        finally:
            process.kill()


# ---- migration


def migrate(one, uri):
    equal(one.call("migrate", {"uri": uri})["return"], {}, "answer to migrate")


def await_failure(one):
    """The figure, the state and the event are told apart from each other, in any order."""
    wait_until("the failure", lambda: one.migration() == "failed")
    wait_until("the guest to run on", lambda: one.status() == "running")


@fact("success: STOP, end of the control socket, exit 0, no SHUTDOWN; the destination runs by itself and nothing is lost")
def success(world):
    for version in ("2.4.0", "2.5.0-mended"):
        src, one, dst, uri = world.pair(version=version, append="sv.dirty=20 sv.disk=/dev/vda")
        src.sound()
        migrate(one, uri)
        events = []
        while (line := one.read()) is not None:
            events.append(line.get("event"))
        equal(events, ["STOP"], "events")
        equal(src.end(), 0, "exit code")
        two = dst.qmp()
        equal(two.status(), "running", "state there")
        equal(two.migration(), "completed", "migration there")
        after = dst.sound(passes=2)
        expect(after["count"] > src.count(), "the count went back")
        expect(after["disk_writes"] > 0, "no disk writes")
        dst.process.kill()
        dst.end()
        for vm in (src, dst):
            os.unlink(vm.console)


@fact("over tcp with a numeric IPv4 address only")
def tcp(world):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    src = world.vm("src")
    one = src.qmp()
    for bad in ("tcp:localhost:1", "tcp::1", "tcp:[::1]:1", "exec:cat", "fd:x"):
        expect("error" in one.call("migrate", {"uri": bad}), f"{bad} was accepted")
    equal(one.migration(), "setup", "state")
    expect("os error 111" in one.call("migrate", {"uri": f"tcp:127.0.0.1:{port}"})["error"]["desc"], "text")
    dst = world.vm("dst", "-incoming", f"tcp:127.0.0.1:{port}")
    wait_until("a listener", lambda: f":{port:04X} 00000000:0000 0A" in open("/proc/net/tcp", encoding="ascii").read())
    migrate(one, f"tcp:127.0.0.1:{port}")
    equal(src.end(), 0, "exit code")
    dst.sound()


@fact("the destination's control socket is silent until the migration is over, then answers what was sent before")
def silent_destination(world):
    src, one, dst, uri = world.pair()
    two = dst.qmp(greeting=False)
    two.send('{"execute":"stop","id":"early"}')
    with contextlib.suppress(TimeoutError):
        raise Failure(f"it speaks: {two.read(0.3)}")
    migrate(one, uri)
    equal(src.end(), 0, "exit code")
    expect("QMP" in two.read(), "greeting")
    equal(two.read().get("id"), "early", "answer")
    equal(two.read()["event"], "STOP", "event")
    equal(two.status(), "paused", "state")


@fact("SIGTERM does not end a destination that waits, SIGKILL does")
def sigterm_incoming(world):
    _, _, dst, _ = world.pair()
    dst.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        raise Failure(f"it ended with {dst.end(0.3)}")
    dst.process.kill()
    equal(dst.end(), -signal.SIGKILL, "exit code")


@fact("any connection to the stream's socket ends the destination")
def probing_kills(world):
    _, _, dst, _ = world.pair()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(f"{world.dir}/stream")
    equal(dst.end(), 1, "exit code")


@fact("2.5.0 cannot receive: the source gives up after its time and runs on")
def defect_reading(world):
    src, one, dst, uri = world.pair(version="2.5.0", environment={"STANDIN_TIMEOUT_MS": "300"})
    migrate(one, uri)
    await_failure(one)
    src.sound()
    equal(dst.end(), 1, "exit code of the destination")


class Relay:
    """Between the two: counts, and holds the state back until it is told."""

    STATE = 3

    def __init__(self, world):
        self.front = socket.socket(socket.AF_UNIX)
        self.front.bind(f"{world.dir}/relay")
        self.front.listen(1)
        self.uri = f"unix:{world.dir}/relay"
        self.back_path = f"{world.dir}/stream"
        self.rounds = 0
        self.moved = 0

    def take(self, n):
        data = bytearray()
        while len(data) < n:
            part = self.source.recv(min(n - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def run_until_state(self):
        """All but the state; returns with its request unread by the destination."""
        self.source, _ = self.front.accept()
        self.dest = connect(self.back_path)
        while True:
            head = self.take(16)
            length, status = struct.unpack_from("<QH", head)
            if status == self.STATE:
                self.held = head
                return
            self.dest.sendall(head)
            body = self.take(length)
            self.dest.sendall(body)
            if status == 2:
                self.rounds += 1
                for at in range(0, length, 16):
                    _, size = struct.unpack_from("<QQ", body, at)
                    self.moved += size
                    self.dest.sendall(self.take(size))
            self.source.sendall(self.dest.recv(2))

    def release(self):
        self.dest.sendall(self.held)
        for a, b in ((self.source, self.dest), (self.dest, self.source)):
            b.settimeout(0.3)
            a.settimeout(0.3)
        open_ends = {self.source: self.dest, self.dest: self.source}
        while open_ends:
            for end in select.select(list(open_ends), [], [], LIMIT)[0]:
                data = end.recv(65536)
                if not data:
                    other = open_ends.pop(end)
                    with contextlib.suppress(OSError):
                        other.shutdown(socket.SHUT_WR)
                    open_ends.pop(other, None)
                    break
                open_ends[end].sendall(data)

    def cut(self):
        self.source.close()
        self.dest.close()


@fact("a relay sees rounds and bytes; while it holds the state the guest stands still")
def relay_holds(world):
    for version in ("2.4.0", "2.5.0-mended"):
        src, one, dst, _ = world.pair(version=version, append="sv.dirty=20 sv.disk=/dev/vda")
        relay = Relay(world)
        src.sound()
        migrate(one, relay.uri)
        relay.run_until_state()
        expect(relay.moved >= 128 << 20, f"only {relay.moved} bytes")
        expect(1 <= relay.rounds <= 32, f"{relay.rounds} rounds")
        said = os.path.getsize(src.console)
        select.select([], [], [], 0.5)
        equal(os.path.getsize(src.console), said, "what a held guest has said")
        relay.release()
        equal(src.end(), 0, "exit code")
        dst.sound(passes=2)
        dst.process.kill()
        dst.end()
        os.unlink(f"{world.dir}/relay")
        for vm in (src, dst):
            os.unlink(vm.console)


@fact("2.5.0 says STOP and paused at the switch-over, but the guest runs on")
def defect_pausing(world):
    src = world.vm("src", version="2.5.0", disk=False)
    one = src.qmp()
    relay = Relay(world)
    # A destination of the test's own, since 2.5.0 cannot receive.
    sink = socket.socket(socket.AF_UNIX)
    sink.bind(f"{world.dir}/stream")
    sink.listen(1)
    migrate(one, relay.uri)

    def run():
        dest = None
        while True:
            if not dest:
                dest, _ = sink.accept()
            head = b""
            while len(head) < 16:
                part = dest.recv(16 - len(head))
                if not part:
                    return
                head += part
            length, status = struct.unpack_from("<QH", head)
            body = b""
            while len(body) < length:
                body += dest.recv(min(length - len(body), 1 << 20))
            if status == 2:
                left = sum(struct.unpack_from("<QQ", body, at)[1] for at in range(0, length, 16))
                while left:
                    left -= len(dest.recv(min(left, 1 << 20)))
            dest.sendall(b"\x06\x00")
    threading.Thread(target=run, daemon=True).start()
    relay.run_until_state()
    # The event and the state are told apart from each other, in either order.
    wait_until("STOP", lambda: one.status() == "paused" and "STOP" in one.events)
    said = os.path.getsize(src.console)
    wait_until("the guest to go on", lambda: os.path.getsize(src.console) > said)
    relay.cut()


@fact("a link that is cut before the state: failed, RESUME, the guest runs on; the destination ends with 1")
def cut_before_state(world):
    src, one, dst, _ = world.pair(append="sv.disk=/dev/vda")
    relay = Relay(world)
    migrate(one, relay.uri)
    relay.run_until_state()
    relay.cut()
    await_failure(one)
    wait_until("RESUME", lambda: one.status() and "RESUME" in one.events)
    equal([e for e in one.events if e in ("STOP", "RESUME")], ["STOP", "RESUME"], "events")
    equal(dst.end(), 1, "exit code of the destination")
    src.sound(passes=2)


@fact("a guest that the user had stopped runs after a failure")
def failure_resumes(world):
    src, one, _, _ = world.pair()
    one.ok("stop")
    relay = Relay(world)
    migrate(one, relay.uri)
    relay.run_until_state()
    relay.cut()
    await_failure(one)
    src.sound()


@fact("the source waits its time for an answer, then gives up")
def answer_timeout(world):
    src, one, _, _ = world.pair(environment={"STANDIN_TIMEOUT_MS": "3000"})
    relay = Relay(world)
    migrate(one, relay.uri)
    relay.run_until_state()
    wait_until("the failure", lambda: one.migration() == "failed")
    src.sound()


@fact("a cancel before the switch-over: canceled at once, the guest runs on, the destination ends with 1")
def cancel(world):
    src, one, dst, _ = world.pair(append="sv.dirty=400")
    relay = Relay(world)
    migrate(one, relay.uri)
    threading.Thread(target=relay_quietly, args=(relay,), daemon=True).start()
    # One that comes before the thread has begun is forgotten.
    wait_until("the beginning", lambda: one.migration() == "active")
    one.ok("migrate_cancel")
    equal(one.migration(), "canceled", "state")
    equal(dst.end(), 1, "exit code of the destination")
    equal(one.status(), "running", "state")
    src.sound()


def relay_quietly(relay):
    with contextlib.suppress(EOFError, BrokenPipeError):
        relay.run_until_state()


@fact("a cancel after the switch-over has no effect: the migration completes")
def cancel_too_late(world):
    src, one, dst, _ = world.pair()
    relay = Relay(world)
    migrate(one, relay.uri)
    relay.run_until_state()
    one.ok("migrate_cancel")
    relay.release()
    equal(src.end(), 0, "exit code")
    dst.sound()


@fact("migrate_cancel with nothing under way succeeds and leaves canceled; a new migrate is possible")
def cancel_nothing(world):
    src, one, dst, uri = world.pair()
    one.ok("migrate_cancel")
    equal(one.migration(), "canceled", "state")
    migrate(one, uri)
    equal(src.end(), 0, "exit code")
    dst.sound()


@fact("a failed migration is called failed until the next one has begun; then nothing can be cancelled")
def old_failure(world):
    src, one, _, _ = world.pair()
    equal(one.migration(), "setup", "state before the first")
    relay = Relay(world)
    migrate(one, relay.uri)
    relay.run_until_state()
    relay.cut()
    await_failure(one)
    answer = one.call("migrate_cancel")
    equal(answer["error"]["desc"], "Failed to transfer migration status from failed to canceled.", "text")
    equal(one.migration(), "failed", "state after it")
    src.sound()


@fact("2.4.0 says no RESUME when a migration fails before the switch-over")
def silent_failure_24(world):
    src, one, dst, uri = world.pair(version="2.4.0", append="sv.dirty=400")
    dst.process.kill()
    dst.end()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{world.dir}/stream")
    sink = socket.socket(socket.AF_UNIX)
    sink.bind(f"{world.dir}/stream")
    sink.listen(1)
    migrate(one, uri)
    end, _ = sink.accept()
    end.close()
    wait_until("the failure", lambda: one.migration() == "failed")
    equal(one.status(), "running", "state")
    equal(one.events, [], "events")
    src.sound()


@fact("the records of a state have their lengths in their heads, those of 2.4.0 have them in the descriptions alone")
def records(world):
    for version in ("2.4.0", "2.5.0-mended"):
        vm = world.vm("vm", version=version)
        qmp = vm.qmp()
        qmp.ok("stop")
        qmp.ok("migrate", {"uri": f"file:{world.dir}/snap"})
        with open(f"{world.dir}/snap/state", "rb") as file:
            state = file.read()
        length, = struct.unpack_from("<Q", state)
        described = json.loads(state[8:8 + length])["desc_len"]
        sizes, at, decoder = {}, 0, json.JSONDecoder()
        text = state[4096:4096 + described].decode()
        while at < len(text):
            found, at = decoder.raw_decode(text, at)
            sizes[found["alias"]] = found["size"]
        expect(all(sizes.values()) if version == "2.4.0" else not all(sizes.values()), f"sizes of {version}: {sizes}")
        at, count = 4096 + described, 0
        while at < len(state):
            _, kind = struct.unpack_from("<QQ", state, at)
            at += 16
            size = sizes[kind]
            if version != "2.4.0":
                size, = struct.unpack_from("<Q", state, at)
                at += 8
            at += size
            count += 1
        equal(at, len(state), "the end of the last record")
        equal(count, 2, "records")
        vm.process.kill()
        vm.end()


@fact("other vCPUs, memory or devices: the destination ends without an answer, the source runs on")
def mismatch(world):
    for arguments in (["-smp", "2"], ["-m", "256M"], ["-device", "virtio-rng-pci,id=r0,rng=x,bus=pcie.0,addr=0x5"]):
        other = arguments[0] == "-device"
        src = world.vm("src", *(arguments if other else []))
        one = src.qmp()
        dst = world.vm("dst", *([] if other else arguments), "-incoming", f"unix:{world.dir}/stream")
        wait_until("the listener", lambda: listens(f"{world.dir}/stream"))
        migrate(one, f"unix:{world.dir}/stream")
        await_failure(one)
        equal(dst.end(), 1, "exit code")
        src.process.kill()
        src.end()


@fact("more than 65536 blocks in a round end the destination")
def too_many_blocks(world):
    dst = world.vm("dst", "-incoming", f"unix:{world.dir}/stream")
    source = connect(f"{world.dir}/stream")
    config = {"machine_config": {"mach_type": "q35", "nr_cpus": 1, "mem_config": {"mem_size": 128 << 20}}, "devices": []}
    text = json.dumps(config).encode()
    source.sendall(struct.pack("<QH6x", 0, 0))
    equal(source.recv(2), b"\x06\x00", "answer")
    source.sendall(struct.pack("<QH6x", len(text), 1) + text)
    equal(source.recv(2), b"\x06\x00", "answer")
    source.sendall(struct.pack("<QH6x", 16 * 65537, 2))
    equal(dst.end(), 1, "exit code")


@fact("microvm has files only")
def microvm(world):
    vm = world.vm("vm", machine="microvm")
    qmp = vm.qmp()
    expect("error" in qmp.call("migrate", {"uri": f"unix:{world.dir}/x"}), "it was accepted")
    qmp.ok("migrate", {"uri": f"file:{world.dir}/snap"})
    equal(qmp.migration(), "completed", "state")


@fact("a disk that another one writes to cannot be used: exit 1")
def disk_locks(world):
    world.vm("one").qmp()
    two = world.vm("two")
    equal(two.end(), 1, "exit code")
    expect("Failed to get lock" in two.errors(), two.errors())


def main():
    names = sys.argv[2:]
    chosen = [f for f in FACTS if not names or f[0] in names]
    failed = 0
    print(f"1..{len(chosen)}")
    for number, (name, text, function) in enumerate(chosen, 1):
        world = World()
        try:
            function(world)
            print(f"ok {number} {name}: {text}", flush=True)
        except Exception as error:  # noqa: BLE001
            failed += 1
            print(f"not ok {number} {name}: {text}")
            print(f"# {type(error).__name__}: {error}", flush=True)
            for vm in world.vms:
                print("# " + vm.errors().replace("\n", "\n# "))
        finally:
            world.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
