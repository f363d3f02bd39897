# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the system tests share: a lab, connections to its hosts, guests that report, events, and a runner.

The test program stays outside the lab and talks to each host's libvirtd through its unix socket, so that it
survives whatever it does to the hosts. Tests are functions named test_*; each gets the running Lab.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import xml.sax.saxutils

import libvirt

ROOT = os.environ.get("SV_SOURCE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SV_BUILD_ROOT") or os.path.join(ROOT, "build/meson")
DEPS = os.path.join(ROOT, "build/deps")
QEMU = os.path.join(DEPS, "qemu/bin/qemu-system-x86_64")
# Whose guests the tests run: qemu, standin (tests/vmm) or stratovirt (the program that STRATOVIRT names).
VMM = os.environ.get("SV_VMM") or "qemu"
EMULATOR = {"qemu": QEMU, "standin": os.path.join(os.path.abspath(BUILD), "tests/vmm/stratovirt-2.5.0-mended"),
            "stratovirt": os.environ.get("STRATOVIRT", "")}[VMM]
# StratoVirt 2.4 boots its machine q35 with a firmware alone.
FIRMWARE = os.environ.get("STRATOVIRT_FIRMWARE", "") if VMM == "stratovirt" else ""
# What a guest boots: guest/README.md tells what each can do.  The bare one takes a thirtieth of the other's time to boot.
LINUX = f"<kernel>{DEPS}/kernel/vmlinuz</kernel>\n    <initrd>{ROOT}/build/guest/initramfs.img</initrd>"
BARE = f"<kernel>{ROOT}/build/guest/bare</kernel>"
RUN_LAB = os.path.join(ROOT, "scripts/run-lab.sh")
NAMESPACES = (("user", "user"), ("ipc", "ipc"), ("uts", "uts"), ("net", "net"), ("pid", "pid"), ("mnt", "mount"))
LIMIT = float(os.environ.get("SV_TEST_LIMIT", "90"))  # seconds that anything may take

DOMAIN = """<domain type='{type}'>
  <name>{name}</name>{uuid}
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>{firmware}
    {kernel}
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
{devices}    <serial type='file'><source path='/var/log/libvirt/{name}-console.log' append='on'/><target port='0'/></serial>
    <memballoon model='{balloon}'/>
  </devices>
</domain>
"""


class Skip(Exception):
    """What a test needs is not to be had on this machine."""


class Failure(Exception):
    """A test's expectation that did not hold."""


def expect(condition, text):
    if not condition:
        raise Failure(text)


def expect_equal(found, wanted, what):
    if found != wanted:
        raise Failure(f"{what}: found {found!r}, wanted {wanted!r}")


def expect_error(code, pattern, function, *arguments, **keywords):
    """The call must fail with this libvirt error code and a text that matches; returns the error."""
    try:
        result = function(*arguments, **keywords)
    except libvirt.libvirtError as error:
        text = error.get_error_message() or ""
        if error.get_error_code() != code:
            raise Failure(f"wanted error code {code}, found {error.get_error_code()}: {text}") from None
        if not re.search(pattern, text):
            raise Failure(f"the error text '{text}' does not match '{pattern}'") from None
        return error
    raise Failure(f"the call succeeded with {result!r} instead of failing with '{pattern}'")


def wait_until(what, condition, limit=LIMIT):
    """For states that have no event of their own."""
    end = time.monotonic() + limit
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Failure(f"not within {limit:.0f} s: {what}")
        time.sleep(0.05)


def only_qemu(why):
    """Skips the rest of a test when the guests are not QEMU's."""
    if VMM != "qemu":
        raise Skip(f"with {VMM}: {why}")


def find(conn, name):
    """The domain of that name, or None."""
    return next((dom for dom in conn.listAllDomains() if dom.name() == name), None)


def table_path(name):
    """Where the table of that name goes, one for each VMM."""
    inside = os.path.abspath(BUILD).startswith(os.path.join(ROOT, "build") + os.sep)
    return os.path.join(os.path.join(ROOT, "build") if inside else BUILD, name + ("" if VMM == "qemu" else "-" + VMM) + ".txt")


def in_background(function, *arguments):
    result = {}

    def run():
        try:
            result["value"] = function(*arguments)
        except libvirt.libvirtError as error:
            result["error"] = error
    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


class Events:
    """Lifecycle, job and iteration events of one connection, in the order of their arrival."""

    def __init__(self, conn):
        self.conn = conn
        self.list = []
        self.changed = threading.Condition()
        self.ids = [
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None),
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, self._job, None),
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, self._iteration, None),
        ]
        self.jobs = []
        self.iterations = []

    def _add(self, list_, item):
        with self.changed:
            list_.append(item)
            self.changed.notify_all()

    def _lifecycle(self, _conn, dom, event, detail, _opaque):
        self._add(self.list, (dom.name(), NAMES.get((event, detail), f"{event}/{detail}")))

    def _job(self, _conn, dom, params, _opaque):
        self._add(self.jobs, (dom.name(), params))

    def _iteration(self, _conn, dom, iteration, _opaque):
        self._add(self.iterations, (dom.name(), iteration))

    def names(self, guest):
        with self.changed:
            return [name for who, name in self.list if who == guest]

    def wait(self, guest, name, limit=LIMIT):
        end = time.monotonic() + limit
        with self.changed:
            while (guest, name) not in self.list:
                if not self.changed.wait(end - time.monotonic()) and time.monotonic() >= end:
                    raise Failure(f"no event '{name}' of {guest} within {limit:.0f} s; there were {self.list}")

    def clear(self):
        with self.changed:
            del self.list[:], self.jobs[:], self.iterations[:]

    def close(self):
        for id_ in self.ids:
            try:
                self.conn.domainEventDeregisterAny(id_)
            except libvirt.libvirtError:
                pass  # the daemon behind it is gone


def _event_names():
    names = {}
    for event, prefix in ((libvirt.VIR_DOMAIN_EVENT_DEFINED, "DEFINED"), (libvirt.VIR_DOMAIN_EVENT_UNDEFINED, "UNDEFINED"),
                          (libvirt.VIR_DOMAIN_EVENT_STARTED, "STARTED"), (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, "SUSPENDED"),
                          (libvirt.VIR_DOMAIN_EVENT_RESUMED, "RESUMED"), (libvirt.VIR_DOMAIN_EVENT_STOPPED, "STOPPED"),
                          (libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, "SHUTDOWN"), (libvirt.VIR_DOMAIN_EVENT_CRASHED, "CRASHED")):
        start = f"VIR_DOMAIN_EVENT_{prefix}_"
        for name, value in vars(libvirt).items():
            if name.startswith(start):
                names[(event, value)] = f"{prefix} {name[len(start):]}"
    return names


NAMES = _event_names()


class Guest:
    """A guest of the lab and what it says on its console (guest/README.md)."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name

    def console(self, host):
        try:
            with open(self.lab.path(host, "log", f"{self.name}-console.log"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def reports(self, host):
        return [{key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
                for line in self.console(host).split("\n")[:-1] if line.startswith("SV-REPORT ")]

    def ticks(self, host):
        return [int(number) for number in re.findall(r"^tick (\d+) ", self.console(host), re.M)]

    def wait_report(self, host, after=None):
        """A report on host that is newer than the given one and has verified all memory since."""
        passes = after["passes"] + 2 if after else 1
        count = after["count"] if after else 0

        def fresh():
            found = self.reports(host)
            return found and found[-1]["passes"] >= passes and found[-1]["count"] > count and found[-1]
        return wait_until(f"a report of {self.name} on {host}", fresh)

    def check_sound(self, report):
        for key in ("lost", "repeated", "bytes_bad", "disk_bad"):
            expect_equal(report[key], 0, f"the guest's own report of {key}")

    def check_one_copy(self, *hosts):
        """No count appears on two hosts: the guest never ran twice."""
        seen = {}
        for host in hosts:
            for tick in self.ticks(host):
                expect(tick not in seen, f"tick {tick} of {self.name} appears on {seen.get(tick)} and on {host}")
                seen[tick] = host


class Lab:
    """N hosts h1...hN for the life of this process."""

    def __init__(self, hosts=2, *options):
        self.name = f"test-{os.getpid()}"
        self.environment = dict(os.environ, SV_SKIP_SETUP="1", LC_ALL="C.UTF-8")
        self.hosts = [f"h{number}" for number in range(1, hosts + 1)]
        self.connections = []
        self.guests = 0
        self.keep = False      # guests that are released may be used again
        self.shapes = {}       # how each guest was asked for, by name
        self.free = {}         # the same of those that are released
        self.bad_lines = set()  # hosts whose network may not be what it was
        self.daemon_options = ["--modular"] if "--modular" in options else []
        self.temporary = tempfile.TemporaryDirectory(prefix="sv-")
        self.lab("up", "-q", "-n", str(hosts), "--until-exit", str(os.getpid()), "--build", BUILD, *options)
        # A unix socket's path must be short; a checkout's need not be.
        os.symlink(os.path.join(ROOT, "build/lab", self.name), self.temporary.name + "/l")

    def path(self, *parts):
        return os.path.join(self.temporary.name, "l", *parts)

    def lab(self, command, *arguments, check=True):
        done = subprocess.run([RUN_LAB, command, "--name", self.name, *arguments], env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT * 2)
        if check and done.returncode != 0:
            raise Failure(f"lab {command} {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def inside(self, host, *command):
        """How to run a command in a host: what 'lab exec' does, without an interpreter or two for each command."""
        with open(self.path("state.json"), encoding="utf-8") as file:
            pid = json.load(file)["hosts"][host]["pid"]
        if not pid:
            raise Failure(f"{host} is switched off")
        # Its own namespaces an ordinary user must not enter again.
        other = [f"--{option}" for name, option in NAMESPACES
                 if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino]
        return ["nsenter", f"--target={pid}", *other, "--preserve-credentials", "--root", "--wd", "--",
                "setpriv", "--pdeathsig=TERM", "--", *command]

    def run(self, host, *command):
        """Runs it in a host to its end, of which it returns all."""
        environment = {key: value for key, value in self.environment.items()
                       if key not in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "LIBVIRT_DEFAULT_URI")}
        environment.update(PATH=f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin", LAB_NAME=self.name, LAB_HOST=host)
        return subprocess.run(self.inside(host, *command), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=LIMIT * 2)

    def execute(self, host, *command, check=True):
        done = self.run(host, *command)
        if check and done.returncode != 0:
            raise Failure(f"{host}: {' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def virsh(self, host, *arguments, check=True, uri="stratovirt:///system"):
        return self.execute(host, "virsh", "-q", "-c", uri, *arguments, check=check)

    def virsh_full(self, host, *arguments, uri="stratovirt:///system"):
        """Status, output and error output."""
        done = self.run(host, "virsh", "-q", "-c", uri, *arguments)
        return done.returncode, done.stdout, done.stderr

    def uri(self, host, query=""):
        name = "virtstratovirtd-sock" if self.daemon_options else "libvirt-sock"
        return f"stratovirt+unix:///system?socket={self.path(host, 'sock', name)}{query}"

    def connect(self, host, query=""):
        conn = libvirt.open(self.uri(host, query))
        # A call of libvirt 9.0's client can miss its answer when another thread serves events; traffic makes it look again.
        conn.setKeepAlive(1, 90)
        self.connections.append(conn)
        return conn

    def daemon(self, host, action, *options, check=True):
        """What 'lab daemon' does; options: --virtlogd, --env NAME=VALUE."""
        name = "virtlogd" if "--virtlogd" in options else "virtstratovirtd" if self.daemon_options else "libvirtd"
        return self.execute(host, "/usr/bin/python3", "-I", os.path.join(ROOT, "lab/start.py"), "daemons", action, name,
                            os.path.abspath(BUILD), *(option for option in options if "=" in option), check=check)

    def faults(self, host, *points):
        """Arms these fault points in the host's daemons (src/base/fault.h), at once; none: takes all back and ends delays."""
        path = self.path(host, "log", "faults")
        for name in [] if points else [path, path + ".passed"]:
            if os.path.exists(name):
                os.unlink(name)
        if points:
            with open(path + ".new", "w", encoding="ascii") as file:
                file.write(",".join(points))
            os.rename(path + ".new", path)

    def wait_fault(self, host, point, times=1):
        """Until a thread of the host's daemons has come to this armed point."""
        def passed():
            try:
                with open(self.path(host, "log", "faults.passed"), encoding="ascii") as file:
                    return file.read().split().count(point) >= times
            except FileNotFoundError:
                return False
        wait_until(f"{host} comes to the fault point {point}", passed)

    def net(self, host, *options):
        self.bad_lines.add(host)
        return self.lab("net", host, *options)

    def xml(self, name, memory=128, machine="q35", fill=0, dirty=0, disk=False, devices="", uuid=None, emulator=EMULATOR, tick=100,
            balloon=VMM == "qemu", linux=False, more=()):
        """The guest has Linux if it is asked for, and if it needs it: for its disk, and below any VMM but QEMU."""
        # The guests of several labs share the machine's processors with the daemons that are tested.
        words = ["ttyS0", f"sv.tick={tick}", f"sv.mem={fill}", f"sv.dirty={dirty}", "sv.report=300", "sv.duty=20", "sv.pass=150", *more]
        linux = linux or disk or VMM != "qemu"
        if not linux:
            words.append("sv.ballast=40")  # about what Linux has in memory
        if disk:
            image = self.path("shared", name + ".img")
            if not os.path.exists(image):
                with open(image, "wb") as file:
                    file.truncate(8 << 20)
            words.append("sv.disk=/dev/vda")
            devices += ("    <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>"
                        f"<source file='/srv/shared/{name}.img'/><target dev='vda' bus='virtio'/></disk>\n")
        cmdline = subprocess.run([os.path.join(ROOT, "scripts/guest-cmdline.sh"), *words], check=True,
                                 capture_output=True, text=True).stdout.strip()
        text = DOMAIN.format(name=name, type="qemu" if VMM == "qemu" else "kvm", memory=memory, machine=machine,
                             kernel=LINUX if linux else BARE, devices=devices,
                             cmdline=xml.sax.saxutils.escape(cmdline), emulator=emulator,
                             firmware=f"\n    <loader readonly='yes' type='pflash'>{FIRMWARE}</loader>" if FIRMWARE else "",
                             balloon="virtio" if balloon else "none",  # with one, StratoVirt does not migrate
                             uuid=f"<uuid>{uuid}</uuid>" if uuid else "")
        # StratoVirt appends whatever it is told, so it is not to be told.
        return text if VMM == "qemu" else text.replace(" append='on'", "")

    def new_name(self, stem="guest"):
        self.guests += 1
        return f"{stem}{self.guests}"

    def start(self, conn, host, running=True, persistent=True, flags=0, **keywords):
        """A guest that is up and, unless told otherwise, has reported. Returns (Guest, domain).

        running: it has reported (True), it may have (None), or it has just been started (False).
        """
        shape = (host, persistent, *sorted(keywords.items()))
        if self.keep and running is not False and not flags and not {"name", "uuid", "devices", "disk"} & keywords.keys():
            for name in [name for name, other in self.free.items() if other == shape]:
                del self.free[name]
                return Guest(self, name), conn.lookupByName(name)
        name = keywords.pop("name", None) or self.new_name()
        guest = Guest(self, name)
        text = self.xml(name, **keywords)
        if persistent:
            dom = conn.defineXML(text)
            dom.createWithFlags(flags)
        else:
            dom = conn.createXML(text, flags)
        if running:
            guest.wait_report(host)
        self.shapes[name] = shape
        return guest, dom

    def release(self, guest):
        """Instead of destroying it: a guest that the test has done with, and that must run on one of the hosts.

        It is taken back to where it was started, as new but for its age, and may be the next one that start() gives.
        """
        shape = self.shapes[guest.name]
        home = self.connect(shape[0])
        for host in self.hosts:
            conn = home if host == shape[0] else self.connect(host)
            dom = find(conn, guest.name)
            if host != shape[0] and dom and dom.state()[0] == libvirt.VIR_DOMAIN_RUNNING:
                dom.migrateToURI3(f"stratovirt+tcp://{shape[0]}/system", {}, libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER |
                                  (libvirt.VIR_MIGRATE_UNDEFINE_SOURCE if dom.isPersistent() else 0) |
                                  (libvirt.VIR_MIGRATE_PERSIST_DEST if shape[1] else 0))
            if host != shape[0] and os.path.exists(self.path(host, "log", guest.name + "-console.log")):
                os.unlink(self.path(host, "log", guest.name + "-console.log"))
        dom = home.lookupByName(guest.name)
        expect_equal((dom.state()[0], dom.isPersistent()), (libvirt.VIR_DOMAIN_RUNNING, shape[1]), f"state of {guest.name}, persistent")
        dom.migrateSetMaxSpeed(0)
        if VMM == "qemu":
            dom.migrateSetMaxDowntime(300)  # StratoVirt has no such limit
        dom.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        if self.keep:
            self.free[guest.name] = shape
        else:
            dom.destroy()

    def clean(self):
        """Ends and forgets all guests but the free ones, so that the next test finds an empty lab."""
        for host in self.hosts:
            self.faults(host)
            if host in self.bad_lines:
                self.net(host, "--heal")
        self.bad_lines.clear()
        for host in self.hosts:
            try:
                conn = self.connect(host)
            except libvirt.libvirtError:
                self.daemon(host, "start")
                conn = self.connect(host)
            for dom in conn.listAllDomains():
                if dom.name() in self.free and host == self.free[dom.name()][0]:
                    continue
                for action in (dom.destroy, lambda: dom.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)):
                    try:
                        action()
                    except libvirt.libvirtError:
                        pass
        for conn in self.connections:
            try:
                conn.close()
            except libvirt.libvirtError:
                pass
        del self.connections[:]

    def end(self):
        self.lab("down", check=False)
        self.temporary.cleanup()


def run_events():
    """Serves libvirt's connections and their events; for a thread of its own."""
    while True:
        libvirt.virEventRunDefaultImpl()


# What every start of libvirtd says in a lab, where there is no D-Bus and no firmware.
NOISE = re.compile(r"virGDBusGetSystemBus|networkStateInitialize|udevGetDMIData|dmidecode|virSecurityManagerNew")


def diagnose(lab):
    """The hosts' daemon logs, for the failure's report."""
    for host in lab.hosts:
        try:
            with open(lab.path(host, "log", "libvirtd.log"), encoding="utf-8", errors="replace") as file:
                lines = [line for line in file if re.search(r"stratovirt|error|warning", line) and not NOISE.search(line)]
            print(f"---- {host}: libvirtd.log, the last lines\n{''.join(lines[-25:])}", flush=True)
        except OSError:
            pass


def main(module, hosts=2, *options):
    """Runs the module's tests (those named on the command line, or all) in one lab; exits. Its clean(lab) is called after each."""
    names = sys.argv[1:] or [name for name in vars(module) if name.startswith("test_")]
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    threading.Thread(target=run_events, daemon=True).start()
    lab = Lab(hosts, *options)
    # A program that looks at no more than its own guests says so, and need not start one for each test.
    lab.keep = getattr(module, "KEEP_GUESTS", False) and VMM == "qemu"
    failed = []
    skipped = []
    try:
        for name in names:
            begin = time.monotonic()
            try:
                getattr(module, name)(lab)
                result = "ok"
            except Skip as why:
                result = "skipped"
                skipped.append(name)
                print(f"{name} is skipped: {why}")
            except Exception:  # whatever it is, it is this test's failure
                result = "FAILED"
                failed.append(name)
                lab.free.clear()
                traceback.print_exc(file=sys.stdout)
                diagnose(lab)
            print(f"{result:7} {name} ({time.monotonic() - begin:.1f} s)", flush=True)
            try:
                getattr(module, "clean", Lab.clean)(lab)
            except Exception:
                failed.append(name + ": cleaning up")
                traceback.print_exc(file=sys.stdout)
                break
    finally:
        lab.end()
    print(f"{len(names) - len(failed) - len(skipped)} of {len(names)} tests passed" +
          (f"; skipped: {', '.join(skipped)}" if skipped else "") + (f"; failed: {', '.join(failed)}" if failed else ""))
    sys.exit(1 if failed else 77 if skipped == names else 0)
