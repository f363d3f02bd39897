# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's wire: a bridge in the keeper's network namespace, a port for each host.

What slows a host down is put on both ends of its cable, so that it holds in both directions.
A cut is made at the bridge, which then drops everything silently, as a dead switch does."""

import os
import re
import subprocess

import namespaces
from state import LabError, address, address6

BRIDGE = "lab0"


def port(number):
    return f"port{number}"


def wire(number, end):
    """Where lab-wire takes the cable's place: it sends to end "a", end "b" is in the bridge."""
    return f"wire{number}{end}"


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        text = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"{' '.join(command)}: {text[-1] if text else 'failed'}")
    return done.stdout


def _batch(lines):
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n",
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError("ip: " + done.stderr.strip().splitlines()[0])


def make_bridge():
    """In the keeper."""
    # No learning delay, no multicast snooping: a port forwards as soon as it is up.
    _batch(["link set lo up",
            f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
            f"link set {BRIDGE} up"])


def plug_in(number, pid):
    """In the keeper: gives process pid, alone in its network namespace, a whole cable to the bridge."""
    if _exists(wire(number, "a")):
        _batch([f"link del {wire(number, 'a')}"])
    # The cable of a host that was switched off goes with its namespace, but not at once.
    if _exists(port(number)):
        try:
            _batch([f"link del {port(number)}"])
        except LabError:
            pass  # gone in between
    _batch([f"link add {port(number)} type veth peer name eth0 netns {pid}",
            f"link set {port(number)} master {BRIDGE}",
            f"link set {port(number)} up"])


def configure(number):
    """In the host."""
    _batch(["link set lo up",
            f"link set eth0 address 52:54:00:4c:00:{number:02x}",
            f"addr add {address(number)}/24 dev eth0",
            f"addr add {address6(number)}/64 dev eth0 nodad",
            "link set eth0 up"])


def inside(pid, function, names=frozenset({"user", "net"})):
    """Runs function in namespaces of process pid, in a process of its own; the text that it returns,
    or the error that it raises, comes back."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text, code = "", 0
        try:
            os.close(reader)
            namespaces.enter(pid, names)
            text = function() or ""
        except (LabError, OSError) as error:
            text, code = str(error), 1
        try:
            os.write(writer, text.encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as file:
        text = file.read()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise LabError(text)
    return text


def parse_time(text):
    """Microseconds of a time such as 50ms."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text)
    if not match:
        raise LabError(f"'{text}' is not a time: 500us, 50ms, 1.5s")
    return round(float(match[1]) * {"us": 1, "ms": 1000, "s": 1000000}[match[2]])


def parse_rate(text):
    """Bytes per second of a rate such as 100mbit."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(bit|kbit|mbit|gbit)", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise LabError(f"'{text}' is not a rate: 500kbit, 100mbit, 1gbit")
    return round(float(match[1]) * {"b": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2][0].lower()] / 8)


def parse_loss(text):
    """Parts per million of a share such as 2%."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if not match or float(match[1]) > 100:
        raise LabError(f"'{text}' is not a share: 0.5%, 2%")
    return round(float(match[1]) * 10000)


def _queue(device, *arguments):
    """Sets what delays or limits packets that leave a device. False: the kernel has no such thing."""
    if not arguments:
        if "noqueue" not in _run("tc", "qdisc", "show", "dev", device):
            _run("tc", "qdisc", "del", "dev", device, "root")
        return True
    try:
        _run("tc", "qdisc", "replace", "dev", device, "root", *arguments)
    except LabError as error:
        if re.search(r"qdisc kind is unknown|No such file", str(error)):
            return False
        raise
    return True


def _shape_end(device, delay, rate, loss):
    """One end of a cable by the kernel's own means."""
    if delay or loss:
        return _queue(device, "netem", "limit", "100000", *(["delay", f"{delay}us"] if delay else []),
                      *(["loss", f"{loss / 10000}%"] if loss else []),
                      *(["rate", f"{rate * 8}bit"] if rate else []))
    if rate:
        return _queue(device, "tbf", "rate", f"{rate * 8}bit", "burst", "256k", "latency", "100ms")
    return _queue(device)


def _bridge_port(number):
    """In the keeper's network: the device that is in the bridge for a host."""
    return wire(number, "b") if _exists(wire(number, "b")) else port(number)


def _exists(device):
    done = subprocess.run(["ip", "link", "show", "dev", device], capture_output=True, check=False)
    return done.returncode == 0


class Cable:
    """The cable of one host that is switched on. keeper, host: processes in their networks."""

    def __init__(self, keeper, host, number, program):
        self.keeper = keeper
        self.host = host
        self.number = number
        self.program = program  # lab-wire

    def in_keeper(self, function):
        return inside(self.keeper, function)

    def shape(self, delay, rate, loss):
        """Sets both directions; what is 0 is unlimited, or perfect."""
        self._wire_out()
        for where, device in ((self.host, "eth0"), (self.keeper, port(self.number))):
            if inside(where, lambda device=device: "" if _shape_end(device, delay, rate, loss) else "no"):
                if not delay and not loss:
                    raise LabError("this machine's kernel has no sch_tbf: --rate cannot be had here")
                self._wire_in(delay, rate, loss)
                return

    def _wire_in(self, delay, rate, loss):
        """No sch_netem in this kernel: a program takes the cable's place."""
        if not os.access(self.program, os.X_OK):
            raise LabError("this machine's kernel has no sch_netem, and what can take its place is not "
                           f"built: {self.program} (./run setup)")
        inside(self.host, lambda: _queue("eth0") and "")

        def connect():
            _queue(port(self.number))
            _batch([f"link set {port(self.number)} nomaster",
                    f"link add {wire(self.number, 'a')} type veth peer name {wire(self.number, 'b')}",
                    f"link set {wire(self.number, 'b')} master {BRIDGE}",
                    f"link set {wire(self.number, 'a')} up",
                    f"link set {wire(self.number, 'b')} up"])
        self.in_keeper(connect)
        inside(self.keeper, lambda: self._start(delay, loss, rate), {"user", "net", "pid"})

    def _start(self, delay, loss, rate):
        """The program belongs to the lab's process namespace: it ends with the lab."""
        command = [self.program, port(self.number), wire(self.number, "a"), str(delay), str(loss), str(rate)]
        with subprocess.Popen(["setsid", "--fork", *command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            if child.stdout.readline() != "ready\n":
                raise LabError(f"lab-wire did not start: {child.stderr.readline().strip()}")
            child.stderr.close()

    def _wire_out(self):
        """The program ends by itself when its second interface is gone."""
        def disconnect():
            if _exists(wire(self.number, "a")):
                _batch([f"link del {wire(self.number, 'a')}",
                        f"link set {port(self.number)} master {BRIDGE}"])
        self.in_keeper(disconnect)

    def cut(self):
        self.in_keeper(lambda: _run("bridge", "link", "set", "dev", _bridge_port(self.number), "state", "0"))

    def unplug(self):
        self.in_keeper(lambda: _run("ip", "link", "set", port(self.number), "down"))

    def heal(self):
        """Whole again, in every respect."""
        self.shape(0, 0, 0)

        def mend():
            _run("ip", "link", "set", port(self.number), "up")
            _run("bridge", "link", "set", "dev", port(self.number), "state", "3")
        self.in_keeper(mend)

    def describe(self):
        """The cable's condition in a few words."""
        def look():
            words = []
            link = _run("ip", "link", "show", "dev", port(self.number))
            if "UP" not in link.split("<", 1)[-1].split(">", 1)[0].split(","):
                words.append("unplugged")
            if "state disabled" in _run("bridge", "link", "show", "dev", _bridge_port(self.number)):
                words.append("cut" if not words else "")
            queue = _run("tc", "qdisc", "show", "dev", port(self.number))
            words += re.findall(r"(?:rate|delay|loss) \S+", queue)
            return ", ".join(filter(None, words)) or "whole"
        text = self.in_keeper(look)
        replaced = self._wire_arguments()
        return ", ".join(filter(None, [text if text != "whole" or not replaced else "", replaced]))

    def _wire_arguments(self):
        """What the program that took the cable's place does, from its command line; None if none did."""
        network = os.stat(f"/proc/{self.keeper}/ns/net").st_ino
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/cmdline", encoding="utf-8") as file:
                    words = file.read().split("\0")
                if (os.path.basename(words[0]) != "lab-wire" or words[1] != port(self.number) or
                        os.stat(f"/proc/{entry}/ns/net").st_ino != network):
                    continue
            except OSError:
                continue
            delay, loss, rate = map(int, words[3:6])
            return ", ".join([f"delay {delay / 1000:g}ms"] * bool(delay) +
                             [f"loss {loss / 10000:g}%"] * bool(loss) +
                             [f"rate {rate * 8 / 1e6:g}mbit"] * bool(rate))
        return None
