#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same as test_standin.py, of devices that come and go.

usage: test_standin_devices.py FOLDER [NAME…]
"""
import contextlib
import fcntl
import json
import os
import socket
import sys

import test_standin
from test_standin import Failure, await_failure, equal, expect, fact, listens, migrate, wait_until

test_standin.FACTS.clear()

PORT = ["-device", "pcie-root-port,id=pci.1,port=0x1,bus=pcie.0,addr=0x1"]
PLUG = {"driver": "virtio-blk-pci", "id": "d", "drive": "n", "bus": "pci.1", "addr": "0x0"}


def image(world):
    path = os.path.join(world.dir, "other")
    with open(path, "wb") as file:
        file.truncate(65536)
    return {"node-name": "n", "file": {"driver": "file", "filename": path, "aio": "native"}, "driver": "raw"}


def wait_event(qmp, name):
    while name not in qmp.events:
        line = qmp.read()
        expect(line is not None, f"the control socket ended before {name}")
        if "event" in line:
            qmp.events.append(line["event"])
    qmp.events.remove(name)


@fact("blockdev-add opens and locks at once; without cache.direct=false it needs an aio; an id or a path twice is refused")
def blockdev(world):
    vm = world.vm("vm")
    qmp = vm.qmp()
    node = image(world)
    bare = {**node, "file": {"driver": "file", "filename": node["file"]["filename"]}}
    expect("low performance" in qmp.call("blockdev-add", bare)["error"]["desc"], "direct without aio was accepted")
    expect("error" in qmp.call("blockdev-add", {**node, "colour": "red"}), "an unknown member was accepted")
    expect("error" in qmp.call("blockdev-add", {**node, "file": {**node["file"], "filename": "/nowhere"}}), "a missing file was accepted")
    expect("only be shared" in qmp.call("blockdev-add", {**node, "file": {**node["file"], "filename": world.disk}})["error"]["desc"],
           "an image in use was accepted")
    qmp.ok("blockdev-add", node)
    expect("only be shared" in qmp.call("blockdev-add", {**node, "node-name": "m"})["error"]["desc"], "the path was accepted twice")
    with open(node["file"]["filename"], "r+b") as file:
        with contextlib.suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 101)
            raise Failure("it is not locked")
    qmp.ok("blockdev-del", {"node-name": "n"})
    expect("not found" in qmp.call("blockdev-del", {"node-name": "n"})["error"]["desc"], "it was there twice")
    qmp.ok("blockdev-add", {**bare, "cache": {"direct": False}})


@fact("device_add looks at the id first, so a driver that does not exist tells whether a device is there")
def device_probe(world):
    vm = world.vm("vm")
    qmp = vm.qmp()
    for name, word in (("b0", "Device id b0 existed"), ("b1", "Driver none-such is not support")):
        expect(word in qmp.call("device_add", {"id": name, "driver": "none-such"})["error"]["desc"], word)
    vm.sound()


@fact("devices come on root ports only, one on each, at slot 0; what is behind one that was refused stays")
def device_add(world):
    vm = world.vm("vm", *PORT)
    qmp = vm.qmp()
    expect("n not found" in qmp.call("device_add", PLUG)["error"]["desc"], "a disk without drive was accepted")
    qmp.ok("blockdev-add", image(world))
    for other, word in (({"bus": "pcie.0", "addr": "0x9"}, "No hot plug controller"), ({"bus": "pci.2"}, "Bus not found"),
                        ({"addr": "0x1"}, "unsupported"), ({"bootindex": 1}, "unknown field")):
        expect(word in qmp.call("device_add", {**PLUG, **other})["error"]["desc"], f"{other} was accepted")
    with open(os.path.join(world.dir, "third"), "wb") as file:
        file.truncate(65536)
    expect("has been added" in qmp.call("blockdev-add", {**image(world), "file": {"driver": "file", "filename": file.name, "aio": "native"}})
           ["error"]["desc"], "the id was accepted twice")
    qmp.ok("device_add", PLUG)
    wait_until("the guest to notice", lambda: "SV-DEVICE comes virtio-blk-pci pci.1 d" in open(vm.console, encoding="utf-8").read())
    expect("existed" in qmp.call("device_add", PLUG)["error"]["desc"], "it came twice")
    vm.sound()


@fact("device_del answers at once; DEVICE_DELETED comes when the guest lets go, which one that stands still does not; until then a second is refused")
def device_del(world):
    vm = world.vm("vm", *PORT, environment={"STANDIN_UNPLUG_MS": "400"})
    qmp = vm.qmp()
    qmp.ok("blockdev-add", image(world))
    qmp.ok("device_add", PLUG)
    qmp.ok("stop")
    qmp.ok("device_del", {"id": "d"})
    qmp.ok("device_del", {"id": "d"})
    expect("No hot plug controller" in qmp.call("device_del", {"id": "b0"})["error"]["desc"], "one on pcie.0 went")
    expect("error" in qmp.call("device_del", {"id": "nothing"}), "one that is not there went")
    with contextlib.suppress(TimeoutError):
        while True:
            expect(qmp.read(0.2).get("event") != "DEVICE_DELETED", "it went while the guest stood still")
    qmp.ok("cont")
    wait_until("the guest to notice", lambda: "still on the fly" in qmp.call("device_del", {"id": "d"}).get("error", {}).get("desc", ""))
    wait_event(qmp, "DEVICE_DELETED")
    vm.sound()
    qmp.ok("blockdev-del", {"node-name": "n"})


@fact("after -incoming a device_del of what is not there ends the VMM with 1")
def device_del_kills(world):
    src, one, dst, uri = world.pair()
    migrate(one, uri)
    equal(src.end(), 0, "exit code")
    two = dst.qmp()
    two.send('{"execute":"device_del","id":"1","arguments":{"id":"nothing"}}')
    equal(dst.end(), 1, "exit code of the destination")


@fact("what has come migrates to a destination that has it at the same place under the same id, whatever the order")
def device_migrates(world):
    node = image(world)
    src = world.vm("src", *PORT, "-device", "virtio-rng-pci,id=r0,rng=x,bus=pcie.0,addr=0x5")
    one = src.qmp()
    one.ok("blockdev-add", node)
    one.ok("device_add", PLUG)
    src.sound()
    dst = world.vm("dst", "-drive", f"id=n,file={node['file']['filename']},format=raw", "-device",
                   "virtio-blk-pci,id=d,drive=n,bus=pci.1,addr=0x0", *PORT, "-device", "virtio-rng-pci,id=r0,rng=x,bus=pcie.0,addr=0x5",
                   "-incoming", f"unix:{world.dir}/stream")
    wait_until("the listener", lambda: listens(f"{world.dir}/stream"))
    migrate(one, f"unix:{world.dir}/stream")
    equal(src.end(), 0, "exit code")
    two = dst.qmp()
    dst.sound(passes=2)
    two.ok("device_del", {"id": "d"})
    wait_event(two, "DEVICE_DELETED")
    dst.sound()


@fact("a destination whose device has another id does not take the state")
def device_other_id(world):
    src = world.vm("src", *PORT)
    one = src.qmp()
    one.ok("blockdev-add", image(world))
    one.ok("device_add", PLUG)
    dst = world.vm("dst", *PORT, "-drive", f"id=n,file={image(world)['file']['filename']},format=raw", "-device",
                   "virtio-blk-pci,id=another,drive=n,bus=pci.1,addr=0x0", "-incoming", f"unix:{world.dir}/stream")
    wait_until("the listener", lambda: listens(f"{world.dir}/stream"))
    migrate(one, f"unix:{world.dir}/stream")
    await_failure(one)
    equal(dst.end(), 1, "exit code of the destination")


@fact("netdev_add takes descriptors by the names of getfd, which needs one")
def netdev(world):
    qmp = world.vm("vm").qmp()
    expect("Invalid SCM" in qmp.call("getfd", {"fdname": "a"})["error"]["desc"], "getfd without descriptor")
    for name in ("a", "b"):
        end = os.open("/dev/null", os.O_RDONLY)
        socket.send_fds(qmp.socket, [json.dumps({"execute": "getfd", "id": "1", "arguments": {"fdname": name}}).encode()], [end])
        os.close(end)
        expect("return" in qmp.answer(), "getfd")
    expect("Failed to parse fd" in qmp.call("netdev_add", {"id": "x", "type": "tap", "fd": "zzz"})["error"]["desc"], "an unknown name")
    expect("conflict" in qmp.call("netdev_add", {"id": "x", "type": "tap", "fds": "a:b", "queues": 2})["error"]["desc"], "fds with queues")
    expect("Tap device is missing" in qmp.call("netdev_add", {"id": "x", "type": "tap"})["error"]["desc"], "no tap")
    qmp.ok("netdev_add", {"id": "x", "type": "tap", "fds": "a:b"})
    expect("has been added" in qmp.call("netdev_add", {"id": "x", "type": "tap", "ifname": "t"})["error"]["desc"], "an id twice")
    qmp.ok("netdev_del", {"id": "x"})
    expect("not found" in qmp.call("netdev_del", {"id": "x"})["error"]["desc"], "it was there twice")


@fact("2.4.0 takes no mq from a device_add")
def device_queues(world):
    for version, taken in (("2.4.0", False), ("2.5.0-mended", True)):
        qmp = world.vm(version, *PORT, version=version, disk=False).qmp()
        qmp.ok("netdev_add", {"id": "x", "type": "tap", "ifname": "t"})
        answer = qmp.call("device_add", {"driver": "virtio-net-pci", "id": "d", "netdev": "x", "bus": "pci.1", "addr": "0x0", "mq": "on"})
        equal("return" in answer, taken, f"{version}: {answer}")


@fact("a balloon takes orders when the guest has its driver; BALLOON_CHANGED comes with the old size first, then with the new one")
def balloon(world):
    vm = world.vm("vm", "-S", "-device", "virtio-balloon-pci,id=balloon0,bus=pcie.0,addr=0x3")
    qmp = vm.qmp()
    equal(qmp.call("balloon", {"value": 100 << 20})["error"]["class"], "DeviceNotActive", "class")
    qmp.ok("cont")
    vm.sound()
    qmp.ok("balloon", {"value": 100 << 20})
    wait_event(qmp, "BALLOON_CHANGED")
    wait_event(qmp, "BALLOON_CHANGED")
    equal(qmp.ok("query-balloon")["actual"], 100 << 20, "actual")
    qmp.ok("balloon", {"value": 1 << 40})
    wait_until("all memory", lambda: qmp.ok("query-balloon")["actual"] == 128 << 20)
    equal(world.vm("without", disk=False).qmp().call("query-balloon")["error"]["class"], "DeviceNotActive", "class without a balloon")


if __name__ == "__main__":
    sys.exit(test_standin.main())
