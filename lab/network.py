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
    """In the keeper: gives process pid, alone in its network namespace, a cable to the bridge."""
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


def _inside(pid, function):
    """Runs function in the network of process pid; what it raises or returns comes back."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text, code = "", 0
        try:
            os.close(reader)
            namespaces.enter(pid, {"user", "net"})
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


def _replace(device, kind, *arguments):
    try:
        _run("tc", "qdisc", "replace", "dev", device, "root", kind, *arguments)
    except LabError as error:
        if re.search(r"qdisc kind is unknown|No such file", str(error)):
            raise LabError(f"this machine's kernel has no '{kind}' queue (sch_{kind}): "
                           + ("--delay and --loss cannot be had here, --rate and --cut can"
                              if kind == "netem" else "--rate cannot be had here")) from None
        raise


def _clear(device):
    if "noqueue" not in _run("tc", "qdisc", "show", "dev", device):
        subprocess.run(["tc", "qdisc", "del", "dev", device, "root"], capture_output=True, check=False)


def _shape(device, delay, rate, loss):
    if delay or loss:
        arguments = ["limit", "100000"]
        arguments += ["delay", delay] if delay else []
        arguments += ["loss", loss] if loss else []
        arguments += ["rate", rate] if rate else []
        _replace(device, "netem", *arguments)
    elif rate:
        _replace(device, "tbf", "rate", rate, "burst", "256k", "latency", "100ms")
    else:
        _clear(device)


def shape(keeper, host, number, delay, rate, loss):
    """Sets both ends of the cable; what is None is unlimited, or perfect."""
    _inside(host, lambda: _shape("eth0", delay, rate, loss))
    _inside(keeper, lambda: _shape(port(number), delay, rate, loss))


def cut(keeper, number):
    _inside(keeper, lambda: _run("bridge", "link", "set", "dev", port(number), "state", "0"))


def unplug(keeper, number):
    _inside(keeper, lambda: _run("ip", "link", "set", port(number), "down"))


def heal(keeper, host, number):
    def mend():
        _run("ip", "link", "set", port(number), "up")
        _run("bridge", "link", "set", "dev", port(number), "state", "3")
    _inside(keeper, mend)
    shape(keeper, host, number, None, None, None)


def describe(keeper, number):
    """The cable's condition in a few words."""
    link = _inside(keeper, lambda: _run("bridge", "link", "show", "dev", port(number)))
    queue = _inside(keeper, lambda: _run("tc", "qdisc", "show", "dev", port(number)))
    words = []
    if "UP" not in link.split("<", 1)[-1].split(">", 1)[0].split(","):
        words.append("unplugged")
    elif "state disabled" in link:
        words.append("cut")
    words += re.findall(r"(?:rate|delay|loss) \S+", queue)
    return ", ".join(words) or "whole"
