#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same as test_standin.py, of guests that are saved into files and started from them.

usage: test_standin_files.py FOLDER [NAME…]
"""
import contextlib
import json
import os
import shutil
import sys

import test_standin
from test_standin import Failure, equal, expect, fact

test_standin.FACTS.clear()


def saved(world, **keywords):
    """A guest that has been saved and is gone; what it had counted."""
    vm = world.vm("vm", append="sv.disk=/dev/vda", **keywords)
    qmp = vm.qmp()
    vm.sound()
    qmp.ok("stop")
    qmp.ok("migrate", {"uri": f"file:{world.dir}/snap"})
    equal(qmp.status(), "paused", "state")
    vm.process.kill()
    vm.end()
    return vm.count()


@fact("from 2.5.0 on a snapshot stops the guest; it leaves it stopped; restored, it runs, and nothing is lost")
def snapshot(world):
    vm = world.vm("vm", append="sv.disk=/dev/vda")
    qmp = vm.qmp()
    vm.sound()
    qmp.ok("migrate", {"uri": f"file:{world.dir}/snap"})
    equal(qmp.status(), "paused", "state")
    equal(qmp.migration(), "completed", "migration")
    expect("STOP" in qmp.events or qmp.read()["event"] == "STOP", "no STOP")
    vm.process.kill()
    vm.end()
    other = world.vm("other", "-S", "-incoming", f"file:{world.dir}/snap,mapped=false", append="sv.disk=/dev/vda")
    equal(other.qmp().status(), "running", "state in spite of -S")
    expect(other.sound(passes=2)["count"] > vm.count(), "the count went back")


@fact("2.4.0 does not stop a guest for a snapshot, and maps its memory, which can then be unlinked; it knows no 'mapped'")
def snapshot_mapped(world):
    vm = world.vm("busy", version="2.4.0", disk=False)
    qmp = vm.qmp()
    qmp.ok("migrate", {"uri": f"file:{world.dir}/busy-snap"})
    equal(qmp.status(), "running", "state")
    count = saved(world, version="2.4.0")
    equal(os.path.getsize(f"{world.dir}/snap/memory"), 8192 + (128 << 20), "size of the memory")
    bad = world.vm("bad", "-incoming", f"file:{world.dir}/snap,mapped=false", version="2.4.0", disk=False)
    equal(bad.end(), 1, "exit code with 'mapped'")
    other = world.vm("other", "-incoming", f"file:{world.dir}/snap", version="2.4.0", append="sv.disk=/dev/vda")
    equal(other.qmp().status(), "running", "state")
    shutil.rmtree(f"{world.dir}/snap")
    expect(other.sound(passes=2)["count"] > count, "the count went back")


@fact("a q35 without pflash cannot map a snapshot's memory, but read it")
def snapshot_direct_boot(world):
    saved(world)
    equal(os.path.getsize(f"{world.dir}/snap/memory"), 12288 + (128 << 20), "size of the memory")
    other = world.vm("other", "-incoming", f"file:{world.dir}/snap")
    equal(other.end(), 1, "exit code")
    expect("Failed to start migration" in other.errors(), other.errors())


@fact("a snapshot is written into fifos, too: first the state, then the memory; when nobody reads on it fails, and the guest is as it was")
def snapshot_fifos(world):
    vm = world.vm("vm")
    qmp = vm.qmp()
    os.mkdir(f"{world.dir}/snap")
    for name in ("state", "memory"):
        os.mkfifo(f"{world.dir}/snap/{name}")
    qmp.send(json.dumps({"execute": "migrate", "arguments": {"uri": f"file:{world.dir}/snap"}, "id": "1"}))
    with open(f"{world.dir}/snap/state", "rb") as file:
        expect(len(file.read()) > 4096, "a state that is too short")
    with open(f"{world.dir}/snap/memory", "rb") as file:
        expect(file.read(8192).startswith(b"STRATOVIRT memory"), "header of the memory")
    expect("error" in qmp.answer(), "a snapshot that nobody has read succeeded")
    equal(qmp.migration(), "failed", "migration")
    equal(qmp.status(), "running", "state")
    vm.sound()


@fact("a snapshot's state can come by a fifo, its memory cannot; without the state's last byte the guest does not run")
def snapshot_held(world):
    saved(world)
    os.rename(f"{world.dir}/snap/state", f"{world.dir}/state")
    os.mkfifo(f"{world.dir}/snap/state")
    with open(f"{world.dir}/state", "rb") as file:
        state = file.read()
    for last in (True, False):
        other = world.vm("other", "-incoming", f"file:{world.dir}/snap,mapped=false")
        with open(f"{world.dir}/snap/state", "wb", buffering=0) as fifo:
            fifo.write(state[:-1])
            early = other.qmp(greeting=False)
            with contextlib.suppress(TimeoutError):
                raise Failure(f"it speaks: {early.read(0.3)}")
            equal(other.reports(), [], "reports")
            if last:
                fifo.write(state[-1:])
                expect("QMP" in early.read(), "greeting")
                other.sound()
                other.process.kill()
        other.end()
        if last:
            os.unlink(other.console)
        else:
            equal(other.process.returncode, 1, "exit code without the last byte")
            equal(other.reports(), [], "reports")
    os.unlink(f"{world.dir}/snap/memory")
    os.mkfifo(f"{world.dir}/snap/memory")


@fact("locks go when the process closes the file, whichever descriptor of it, so with a drive that is added by another path and removed; that of the firmware, too")
def lock_dropped(world):
    flash = f"{world.dir}/flash"
    shutil.copy(f"{world.dir}/kernel", flash)
    more = ("-drive", f"file={flash},if=pflash,unit=1")
    one = world.vm("one", *more).qmp()
    one.ok("stop")
    for path in (world.disk, flash):
        two = world.vm("two", *more)
        equal(two.end(), 1, f"exit code while {path} is locked")
        expect(f"on file: {path}" in two.errors(), two.errors())
        one.ok("blockdev-add", {"node-name": "x", "driver": "raw", "read-only": True, "cache": {"direct": False},
                                "file": {"driver": "file", "filename": "/." + path}})
        one.ok("blockdev-del", {"node-name": "x"})
    three = world.vm("three", *more)
    three.qmp()
    three.sound()


if __name__ == "__main__":
    sys.exit(test_standin.main())
