#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""./run demo: a running guest moves from h1 to h2 and back, and reports that nothing was lost.

Everything is done by stock virsh inside the hosts of a lab; what is shown and judged comes from
the guest's own reports (guest/README.md), which each host writes to its console log."""

import argparse
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAB = [os.path.join(ROOT, "scripts/run-lab.sh")]
GUEST = "counter"
CONSOLE = "/var/log/libvirt/counter-console.log"  # one in each host
BOOT_LIMIT = 60
STEP_LIMIT = 300

DOMAIN = """<domain type='{type}'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>{firmware}
    <kernel>{build}/deps/kernel/vmlinuz</kernel>
    <initrd>{build}/guest/initramfs.img</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='/srv/shared/{name}.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='file'>
      <source path='{console}'{append}/>
      <target port='0'/>
    </serial>
{devices}  </devices>
</domain>
"""

# StratoVirt does not migrate with a balloon, and has no random numbers unless it was built so.
QEMU_DEVICES = """    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio'/>
"""


class DemoError(Exception):
    """What went wrong, for the user."""


class Hosts:
    """The lab and virsh in it."""

    def __init__(self, name, driver):
        self.name = name
        self.driver = driver
        self.environment = dict(os.environ, SV_SKIP_SETUP="1", LC_ALL="C.UTF-8")
        self.up = False

    def lab(self, *arguments):
        command, *rest = arguments
        return subprocess.run([*LAB, command, "--name", self.name, *rest], env=self.environment,
                              check=True, stdin=subprocess.DEVNULL)

    def command(self, host, *arguments):
        return [*LAB, "exec", "--name", self.name, host, *arguments]

    def virsh(self, host, *arguments, check=True):
        done = subprocess.run(self.command(host, "virsh", "-q", "-c", f"{self.driver}:///system", *arguments),
                              env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=STEP_LIMIT)
        if check and done.returncode != 0:
            raise DemoError(f"virsh {arguments[0]} on {host}: {done.stderr.strip()}")
        return done.stdout

    def directory(self, *parts):
        return os.path.join(ROOT, "build/lab", self.name, *parts)


class Console(threading.Thread):
    """Follows the guest's console on every host; keeps its ticks and its latest report."""

    def __init__(self, hosts, names):
        super().__init__(daemon=True)
        self.paths = {name: hosts.directory(name, "log", os.path.basename(CONSOLE)) for name in names}
        self.position = dict.fromkeys(names, 0)
        self.rest = dict.fromkeys(names, "")
        self.changed = threading.Condition()
        self.report = {}
        self.report_host = None
        self.ticks = []   # (host, count)
        self.events = []  # (host, line)
        self.last_line = ""

    def run(self):
        # A file's growth has no event that works on every file system: look often, it is cheap.
        while True:
            if not any([self.poll(name) for name in self.paths]):
                time.sleep(0.05)

    def poll(self, name):
        try:
            with open(self.paths[name], encoding="utf-8", errors="replace") as file:
                # StratoVirt begins it anew when the guest comes back.
                if os.fstat(file.fileno()).st_size < self.position[name]:
                    self.position[name], self.rest[name] = 0, ""
                file.seek(self.position[name])
                text = file.read()
                self.position[name] = file.tell()
        except FileNotFoundError:
            return False
        if text:
            lines = (self.rest[name] + text).split("\n")
            self.rest[name] = lines.pop()
            with self.changed:
                for line in lines:
                    self.take(name, line.strip())
                self.changed.notify_all()
        return bool(text)

    def take(self, name, line):
        self.last_line = line or self.last_line
        if line.startswith("SV-REPORT "):
            self.report = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
            self.report_host = name
        elif match := re.match(r"tick (\d+) ", line):
            self.ticks.append((name, int(match.group(1))))
        elif line.startswith("SV-"):
            self.events.append((name, line))

    def wait(self, what, condition, limit):
        end = time.monotonic() + limit
        with self.changed:
            while not condition():
                self.complain()
                left = end - time.monotonic()
                if left <= 0:
                    raise DemoError(f"{what}: nothing of the kind within {limit} s; "
                                    f"the guest's last line: '{self.last_line}'")
                self.changed.wait(left)

    def complain(self):
        for host, line in self.events:
            if line.startswith(("SV-FATAL", "SV-BAD")):
                raise DemoError(f"the guest on {host} says: {line}")

    def settled(self, host):
        """A report from host that comes after memory was verified completely and the clocks compared."""
        with self.changed:
            passes, report = self.report.get("passes", 0), self.report

        def condition():
            return (self.report is not report and self.report_host == host and
                    self.report["passes"] >= passes + 2 and self.report["t"] >= report.get("t", 0) + 2500)
        self.wait(f"waiting for reports of the guest on {host}", condition, BOOT_LIMIT)
        return self.report


class Bar:
    """One line that is redrawn on a terminal, and printed once elsewhere."""

    def __init__(self, title):
        self.title = title
        self.terminal = sys.stdout.isatty()
        self.percent = 0
        self.text = ""

    def draw(self, percent=None, text=None):
        self.percent = self.percent if percent is None else percent
        self.text = self.text if text is None else text
        if self.terminal:
            done = int(self.percent * 30 / 100)
            width = shutil.get_terminal_size().columns
            line = f"  {self.title} [{'#' * done}{'.' * (30 - done)}] {self.percent:3d} %  {self.text}"
            print("\r" + line[:width - 1].ljust(width - 1), end="", flush=True)

    def close(self, text):
        self.draw(text=text)
        print("" if self.terminal else f"  {self.title} {self.percent} %  {text}", flush=True)


def job_info(text):
    """virsh domjobinfo's table as a dictionary; sizes become bytes, times ms."""
    units = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "ms": 1,
             "B/s": 1, "KiB/s": 1 << 10, "MiB/s": 1 << 20, "GiB/s": 1 << 30}
    info = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        try:
            info[key.strip()] = float(words[0]) * units.get(words[1] if len(words) > 1 else "", 1)
        except (ValueError, IndexError):
            info[key.strip()] = value.strip()
    return info


def mib(number):
    return f"{number / (1 << 20):.1f} MiB"


def follow(hosts, source, bar, process):
    """Shows progress until virsh ends: its own percentage, and the job's numbers."""
    def numbers():
        while process.poll() is None:
            info = job_info(hosts.virsh(source, "domjobinfo", GUEST, check=False))
            processed = info.get("Memory processed")
            if isinstance(processed, float):
                bar.draw(text=f"{mib(processed)} sent, {mib(info.get('Memory remaining', 0))} to go, "
                              f"round {int(info.get('Iteration', 1))}")
            time.sleep(0.2)  # the rate of redrawing
    poller = threading.Thread(target=numbers, daemon=True)
    poller.start()
    errors, piece = "", b""
    for byte in iter(lambda: process.stderr.read(1), b""):
        piece += byte
        if byte not in b"\r\n]":
            continue
        if match := re.search(rb"Migration: \[\s*([\d.]+) ?%", piece):
            bar.draw(percent=int(float(match.group(1))))
        elif b"Migration:" not in piece:
            errors += piece.decode(errors="replace")
        piece = b""
    errors += piece.decode(errors="replace")
    code = process.wait(STEP_LIMIT)
    poller.join()
    return code, " ".join(errors.split())


def move(hosts, console, options, source, target, p2p):
    """One migration; returns its row of the table."""
    kind = "peer-to-peer" if p2p else "client-managed"
    bar = Bar(f"{source} -> {target}  {kind:14}")
    before = console.report
    arguments = ["migrate", "--live", "--verbose", "--persistent", "--undefinesource"]
    arguments += ["--p2p"] if p2p else []
    arguments += options.flags
    arguments += ["--bandwidth", str(options.bandwidth)] if options.bandwidth else []
    uri = f"{hosts.driver}+{options.transport}://{target}/system"
    bar.draw(text="starting")
    started = time.monotonic()
    process = subprocess.Popen(hosts.command(source, "virsh", "-c", f"{hosts.driver}:///system",
                                             *arguments, GUEST, uri),
                               env=hosts.environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0)
    try:
        code, errors = follow(hosts, source, bar, process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    total = time.monotonic() - started
    if code != 0:
        bar.close("failed")
        raise DemoError(f"the migration {source} -> {target} ({kind}) failed: {errors}")
    info = job_info(hosts.virsh(target, "domjobinfo", "--completed", GUEST))
    moved = info.get("Data processed", info.get("Memory processed", 0.0))
    bar.close(f"{mib(moved)} in {total:.1f} s")
    left = hosts.virsh(source, "list", "--all", "--name").split()
    if GUEST in left:
        raise DemoError(f"the guest is still known on {source} after it moved to {target}")
    after = console.settled(target)
    return {"move": f"{source} -> {target}", "kind": kind, "total": f"{total * 1000:.0f} ms",
            "downtime": f"{after['frozen_ms'] - before['frozen_ms']} ms", "moved": mib(moved)}


def judge(console, report):
    """Raises unless the guest's own account, and the consoles' order, are without a fault."""
    console.complain()
    faults = [f"{name}={report[name]}" for name in ("lost", "repeated", "bytes_bad", "disk_bad")
              if report[name]]
    if faults:
        raise DemoError("the guest reports damage: " + ", ".join(faults))
    for name in ("count", "bytes_checked", "disk_writes"):
        if not report[name]:
            raise DemoError(f"the guest reports no work at all: {name}=0")
    counts = [count for _, count in console.ticks]
    if len(set(counts)) != len(counts):
        raise DemoError("the hosts' consoles show a count twice: two copies of the guest have run")
    ticks = sorted(console.ticks, key=lambda tick: tick[1])
    journey = [host for host, _ in itertools.groupby(host for host, _ in ticks)]
    if journey != ["h1", "h2", "h1"]:
        raise DemoError(f"the guest did not run on h1, h2, h1 in this order, but on {', '.join(journey)}")


def table(rows):
    titles = {"move": "move", "kind": "who coordinates", "total": "total time",
              "downtime": "downtime seen by the guest", "moved": "bytes moved"}
    widths = {key: max(len(title), *(len(row[key]) for row in rows)) for key, title in titles.items()}
    print()
    print("  " + "  ".join(title.ljust(widths[key]) for key, title in titles.items()))
    print("  " + "  ".join("-" * widths[key] for key in titles))
    for row in rows:
        print("  " + "  ".join(row[key].ljust(widths[key]) for key in titles).rstrip())
    print(flush=True)


def emulator(options):
    if options.vmm == "qemu":
        return os.path.join(ROOT, "build/deps/qemu/bin/qemu-system-x86_64")
    if options.vmm == "standin":
        return os.path.join(os.path.abspath(options.build), "tests/vmm/stratovirt-2.5.0-mended")
    return os.environ.get("STRATOVIRT", "")


def firmware(options):
    path = os.environ.get("STRATOVIRT_FIRMWARE")
    return f"\n    <loader readonly='yes' type='pflash'>{path}</loader>" if path and options.vmm == "stratovirt" else ""


def define_guest(hosts, options):
    words = [f"sv.mem={options.memory * 2 // 3}", f"sv.dirty={options.dirty}", "sv.disk=/dev/vda"]
    if options.corrupt:
        words.append("sv.corrupt=6")
    cmdline = subprocess.run([os.path.join(ROOT, "scripts/guest-cmdline.sh"), "ttyS0", *words],
                             check=True, capture_output=True, text=True).stdout.strip()
    disk = hosts.directory("shared", GUEST + ".img")
    with open(disk, "wb") as file:
        file.truncate(8 << 20)
    definition = hosts.directory("shared", GUEST + ".xml")
    with open(definition, "w", encoding="utf-8") as file:
        file.write(DOMAIN.format(type=options.type, name=GUEST, memory=options.memory,
                                 machine=options.machine, build=os.path.join(ROOT, "build"),
                                 emulator=emulator(options), firmware=firmware(options),
                                 # StratoVirt appends whatever it is told, so it is not to be told.
                                 append=" append='on'" if options.vmm == "qemu" else "",
                                 devices=QEMU_DEVICES if options.vmm == "qemu" else "    <memballoon model='none'/>\n",
                                 cmdline=cmdline, console=CONSOLE))
    hosts.virsh("h1", "define", f"/srv/shared/{GUEST}.xml")
    hosts.virsh("h1", "start", GUEST)


def run(hosts, options):
    print(f"Two hosts, h1 and h2, with libvirtd and the {hosts.driver} driver:", flush=True)
    hosts.lab("up", "-n", "2", "--until-exit", str(os.getpid()), "--build", options.build, "--vmm", options.vmm)
    hosts.up = True
    console = Console(hosts, ("h1", "h2"))
    console.start()
    print(f"A guest of {options.memory} MiB starts on h1: it counts, keeps {options.memory * 2 // 3} MiB "
          f"of memory filled, verified\nand rewritten at {options.dirty} MiB/s, and writes to its disk.",
          flush=True)
    define_guest(hosts, options)
    console.wait("waiting for the guest to start", lambda: "passes" in console.report and
                 console.report["passes"] > 0, BOOT_LIMIT)
    console.settled("h1")
    print("It moves while it runs:", flush=True)
    rows = [move(hosts, console, options, "h1", "h2", p2p=False),
            move(hosts, console, options, "h2", "h1", p2p=True)]
    hosts.virsh("h1", "shutdown", GUEST)
    # StratoVirt does not ask its guest.
    if options.vmm == "qemu":
        console.wait("waiting for the guest to shut down",
                     lambda: any("SV-POWEROFF" in line for _, line in console.events), BOOT_LIMIT)
    time_limit = time.monotonic() + BOOT_LIMIT
    while hosts.virsh("h1", "domstate", GUEST).strip() != "shut off":
        if time.monotonic() > time_limit:
            raise DemoError("the guest powered off but is not shown as shut off")
        time.sleep(0.1)
    console.poll("h1")
    table(rows)
    report = console.report
    judge(console, report)
    print(f"The guest's own last report: {report['count']} counts, {report['lost']} lost, "
          f"{report['repeated']} repeated;\n{mib(report['bytes_checked'])} of memory verified, "
          f"{report['bytes_bad']} bytes changed; {report['disk_writes']} disk writes, "
          f"{report['disk_bad']} bad.\nNothing was lost.", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__)
    parser.add_argument("--driver", default=os.environ.get("DEMO_DRIVER", "stratovirt"),
                        choices=("stratovirt", "qemu"),
                        help="URI scheme: our driver, or libvirt's own QEMU driver")
    parser.add_argument("--machine", default="q35", choices=("q35", "microvm"))
    parser.add_argument("--type", choices=("qemu", "kvm"), help="domain type: qemu means TCG")
    parser.add_argument("--vmm", default=os.environ.get("SV_VMM", "qemu"), choices=("qemu", "stratovirt", "standin"),
                        help="what runs the guest: QEMU, the StratoVirt that STRATOVIRT in the environment names, "
                             "or the tests' stand-in for it (default qemu)")
    parser.add_argument("--memory", type=int, default=384, metavar="MIB")
    parser.add_argument("--dirty", type=int, default=20, metavar="MIBPS",
                        help="memory that the guest rewrites per second")
    parser.add_argument("--bandwidth", type=int, default=128, metavar="MIBPS",
                        help="limit, so that there is something to see; 0 for none")
    parser.add_argument("--transport", default="tls", choices=("tcp", "tls"),
                        help="of the libvirt connections")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/meson"), help="meson build directory")
    parser.add_argument("--corrupt", action="store_true",
                        help="alter one byte in the guest: the demo must fail")
    options = parser.parse_args()
    options.type = options.type or ("qemu" if options.vmm == "qemu" else "kvm")
    if options.vmm != "qemu" and (options.driver == "qemu" or options.type == "qemu" or options.machine == "microvm"):
        parser.error(f"--vmm {options.vmm} goes with our driver, the type kvm and the machine q35 only")
    # Stock qemu:/// takes only network file systems for shared storage.
    options.flags = ["--unsafe"] if options.driver == "qemu" else []
    hosts = Hosts(f"demo-{os.getpid()}", options.driver)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        run(hosts, options)
        code = 0
    except (DemoError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"\nDEMO FAILED: {error}", file=sys.stderr, flush=True)
        code = 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        code = 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        subprocess.run([*LAB, "down", "--name", hosts.name], env=hosts.environment, check=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
