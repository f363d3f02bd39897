#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""./run lab: isolated hosts on one machine, for tests, demonstrations and users."""

import argparse
import json
import os
import signal
import subprocess
import sys

import namespaces
import network
import pki
from state import BASE, MAX_HOSTS, ROOT, Lab, LabError, address, log, start_time

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"
DAEMONS = ("libvirtd", "virtstratovirtd", "virtlogd")
EVERYTHING = {name for name, _ in namespaces.ALL}


def spawn_keeper(lab, settings, inherited):
    """Forks into new namespaces; returns the keeper's pid once it is set up."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    settings["status_fd"] = writer
    middle = os.fork()
    if middle == 0:
        try:
            os.setsid()
            if os.geteuid() != 0:
                namespaces.become_root_of_user_namespace()
            namespaces.unshare(namespaces.CLONE_NEWNS | namespaces.CLONE_NEWNET | namespaces.CLONE_NEWPID |
                               namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWIPC)
            pid = os.fork()
            if pid == 0:
                null = os.open("/dev/null", os.O_RDONLY)
                out = os.open(lab.path("keeper.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(null, 0)
                os.dup2(out, 1)
                os.dup2(out, 2)
                # A fresh program image belongs to the new user namespace: its owner may look into
                # it and enter its namespaces.
                os.execv(PYTHON, [PYTHON, "-I", os.path.join(HERE, "start.py"), "keeper",
                                          json.dumps(settings)])
            os.write(writer, b"%d\n" % pid)
        except OSError as error:
            os.write(writer, f"0\n{error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    for fd in inherited:
        os.close(fd)
    with os.fdopen(reader, encoding="utf-8") as file:
        pid, _, rest = file.read().partition("\n")
    os.waitpid(middle, 0)
    if rest != "ok":
        hint = ""
        if os.geteuid() != 0:
            hint = (" (an ordinary user needs user namespaces, which a chroot or the setting "
                    "kernel.unprivileged_userns_clone can forbid)")
        reason = rest or f"its keeper ended, see {lab.path('keeper.log')}"
        raise LabError(f"the lab cannot be set up: {reason}{hint}")
    return int(pid)


def boot(lab, state, number):
    seen = []
    reply = lab.ask_keeper({"do": "boot", "host": number}, seen.append)
    state["hosts"][f"h{number}"] = {"number": number, "pid": seen[-1], "start": start_time(seen[-1]),
                                    "address": address(number)}
    return reply


def emulators(args):
    """The hosts' VMMs by their names in stratovirt.conf, the wanted one first."""
    found = {"qemu": os.path.join(ROOT, "build/deps/qemu/bin/qemu-system-x86_64")}
    if args.vmm == "standin":
        found["stratovirt"] = os.path.join(os.path.abspath(args.build), "tests/vmm/stratovirt-2.5.0-mended")
    elif args.vmm == "stratovirt":
        found["stratovirt"] = os.environ.get("STRATOVIRT", "")
    if "stratovirt" in found and not os.access(found["stratovirt"], os.X_OK):
        raise LabError(f"--vmm {args.vmm}: there is no '{found['stratovirt']}'" if args.vmm == "standin" else
                       "--vmm stratovirt: the environment's STRATOVIRT names no program")
    if not os.access(found["qemu"], os.X_OK):
        del found["qemu"]
    return dict(reversed(found.items()))


def command_up(args):
    if not 1 <= args.number <= MAX_HOSTS:
        raise LabError(f"-n {args.number}: a lab has 1 to {MAX_HOSTS} hosts")
    lab = Lab(args.name)
    lab.create()
    pki.ensure(args.number)
    settings = {
        "name": lab.name, "dir": lab.dir, "hosts": args.number, "build": os.path.abspath(args.build),
        "emulators": emulators(args),
        "daemons": ["virtlogd", "libvirtd"] + (["virtstratovirtd"] if args.modular else []),
    }
    # A lab that is half made ends with who makes it.
    settings["maker_fd"] = os.pidfd_open(os.getpid())
    os.set_inheritable(settings["maker_fd"], True)
    inherited = [lab.lock_fd, settings["maker_fd"]]
    if args.until_exit:
        try:
            settings["owner_fd"] = os.pidfd_open(args.until_exit)
        except OSError:
            raise LabError(f"--until-exit: there is no process {args.until_exit}") from None
        os.set_inheritable(settings["owner_fd"], True)
        inherited.append(settings["owner_fd"])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    keeper = spawn_keeper(lab, settings, inherited)
    state = {"name": lab.name, "keeper": {"pid": keeper, "start": start_time(keeper)},
             "build": settings["build"], "daemons": settings["daemons"], "hosts": {}}
    try:
        for number in range(1, args.number + 1):
            reply = boot(lab, state, number)
        lab.save(state)
        lab.ask_keeper({"do": "complete"})
    except BaseException:  # whatever stops this: half a lab is of no use
        end(lab, keep=True)
        raise
    if not reply["ours"]:
        log(f"lab: the driver is not built in {settings['build']}: stock drivers only")
    if not args.quiet:
        names = ", ".join(f"{name} {host['address']}" for name, host in state["hosts"].items())
        log(f"lab '{lab.name}' is up: {names}")


def end(lab, keep):
    try:
        lab.ask_keeper({"do": "end"})
    except LabError:
        # The keeper does not answer. The state file says who it is, the start time that it still is.
        try:
            with open(lab.path("state.json"), encoding="utf-8") as file:
                keeper = json.load(file)["keeper"]
            if start_time(keeper["pid"]) == keeper["start"]:
                os.kill(keeper["pid"], signal.SIGKILL)
        except (OSError, KeyError, ValueError):
            pass
    lab.wait_down()
    if not keep:
        lab.destroy()


def chosen(args):
    """Names of the labs that a command is about."""
    if not args.all:
        return [args.name]
    names = sorted(os.listdir(BASE)) if os.path.isdir(BASE) else []
    return [name for name in names if not name.startswith(".")]


def command_down(args):
    for name in chosen(args):
        lab = Lab(name)
        if lab.is_up():
            end(lab, args.keep)
        elif not args.keep:
            lab.destroy()


def run_inside(pid, command, environment):
    """Runs command in a host, as a child of this process; returns its exit status."""
    directory = os.getcwd()
    namespaces.enter(pid, EVERYTHING)
    child = os.fork()
    if child == 0:
        try:
            namespaces.die_with_parent(signal.SIGTERM)
            try:
                os.chdir(directory)
            except OSError:
                os.chdir("/")
            os.execvpe(command[0], command, environment)
        except OSError as error:
            log(f"lab: {command[0]}: {error.strerror}")
        os._exit(127)
    # The terminal sends its signals to the child too; others are handed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: os.kill(child, number))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def host_environment(lab, name):
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "LIBVIRT_DEFAULT_URI")}
    path = environment.get("PATH", "")
    if "/usr/sbin" not in path.split(":"):
        environment["PATH"] = path + ":/usr/sbin:/sbin"
    environment.update(LAB_NAME=lab.name, LAB_HOST=name)
    return environment


def command_exec(args):
    lab = Lab(args.name)
    _, record = lab.host(args.host)
    sys.stdout.flush()
    sys.exit(run_inside(record["pid"], args.command, host_environment(lab, args.host)))


def command_daemon(args):
    lab = Lab(args.name)
    state, record = lab.host(args.host)
    name = "virtstratovirtd" if args.modular else "virtlogd" if args.virtlogd else "libvirtd"
    command = [PYTHON, "-I", os.path.join(HERE, "start.py"), "daemons", args.action, name,
               state["build"], *(args.env or [])]
    sys.exit(run_inside(record["pid"], command, dict(os.environ)))


def command_host(args):
    lab = Lab(args.name)
    state = lab.load()
    if args.host not in state["hosts"]:
        raise LabError(f"lab '{lab.name}' has no host '{args.host}'")
    record = state["hosts"][args.host]
    if args.action in ("crash", "reboot"):
        lab.ask_keeper({"do": "crash", "host": record["number"]})
        record.update(pid=None, start=None)
        lab.save(state)
    if args.action in ("boot", "reboot"):
        boot(lab, state, record["number"])
        lab.save(state)


def cable(state, record):
    return network.Cable(state["keeper"]["pid"], record["pid"], record["number"],
                         os.path.join(ROOT, "build/tools/lab-wire"))


def command_net(args):
    lab = Lab(args.name)
    state, record = lab.host(args.host)
    line = cable(state, record)
    shape = (network.parse_time(args.delay) if args.delay else 0,
             network.parse_rate(args.rate) if args.rate else 0,
             network.parse_loss(args.loss) if args.loss else 0)
    if args.heal:
        line.heal()
    if args.delay or args.rate or args.loss:
        line.shape(*shape)
    if args.cut:
        line.cut()
    if args.unplug:
        line.unplug()
    if not (args.heal or args.delay or args.rate or args.loss or args.cut or args.unplug):
        print(line.describe())


def host_status(lab, state, name, record):
    on = bool(record["pid"]) and start_time(record["pid"]) == record["start"]
    serving = "virtstratovirtd" if "virtstratovirtd" in state["daemons"] else "libvirt"
    status = {"host": name, "address": record["address"], "on": on, "pid": record["pid"] if on else None,
              "socket": lab.path(name, "sock", serving + "-sock"), "log": lab.path(name, "log")}
    if on:
        status["network"] = cable(state, record).describe()
        for daemon in DAEMONS:
            command = [PYTHON, "-I", os.path.join(HERE, "start.py"), "daemons", "pid", daemon, state["build"]]
            done = subprocess.run([PYTHON, "-I", os.path.join(HERE, "start.py"), "lab", "exec", "--name",
                                   lab.name, name, *command], capture_output=True, text=True, check=False)
            status[daemon] = int(done.stdout) if done.stdout.strip() else None
    return status


def command_status(args):
    result = {}
    for name in chosen(args):
        lab = Lab(name)
        if lab.is_up():
            state = lab.load()
            result[name] = [host_status(lab, state, host, record) for host, record in state["hosts"].items()]
    if args.json:
        print(json.dumps(result, indent=1))
    elif not result:
        print("no lab is up" if args.all else f"lab '{args.name}' is not up")
    else:
        for name, hosts in result.items():
            print(f"lab '{name}'")
            for host in hosts:
                running = [f"{daemon} {host[daemon]}" for daemon in DAEMONS if host.get(daemon)]
                print(f"  {host['host']:4} {host['address']:12} {'on ' if host['on'] else 'off'}"
                      f"  network {host.get('network', '-')};  {', '.join(running) or 'no daemon'}")
                print(f"       virsh -c 'stratovirt+unix:///system?socket={host['socket']}'")
    if not args.all and not result:
        sys.exit(1)


def parse(argv):
    parser = argparse.ArgumentParser(prog="./run lab", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="default", help="which lab of this checkout (default: default)")
    commands = parser.add_subparsers(dest="command_name", metavar="COMMAND", required=True)

    def add(name, function, text):
        sub = commands.add_parser(name, parents=[common], help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    up = add("up", command_up, "start a lab")
    up.add_argument("-n", dest="number", type=int, default=2, metavar="N", help="how many hosts (default 2)")
    up.add_argument("--modular", action="store_true", help="run virtstratovirtd as well")
    up.add_argument("--build", default=os.path.join(ROOT, "build/meson"), metavar="DIR",
                    help="meson build to take the driver from")
    up.add_argument("--vmm", choices=("qemu", "stratovirt", "standin"), default=os.environ.get("SV_VMM", "qemu"),
                    help="the default VMM of the hosts: QEMU, the StratoVirt that STRATOVIRT in the environment names, or the "
                         "tests' stand-in for it (default qemu, or SV_VMM in the environment)")
    up.add_argument("--until-exit", type=int, metavar="PID", help="end the lab when that process ends")
    up.add_argument("-q", "--quiet", action="store_true")

    execute = add("exec", command_exec, "run a command in a host")
    execute.add_argument("host")
    execute.add_argument("command", nargs=argparse.REMAINDER)

    net = add("net", command_net, "make a host's network worse, or whole; shows it when nothing is asked")
    net.add_argument("host")
    net.add_argument("--delay", metavar="TIME", help="add to each direction, such as 50ms")
    net.add_argument("--rate", metavar="RATE", help="limit each direction, such as 100mbit")
    net.add_argument("--loss", metavar="PERCENT", help="lose packets in each direction, such as 2%%")
    net.add_argument("--cut", action="store_true", help="drop everything silently")
    net.add_argument("--unplug", action="store_true", help="take the cable out: the link goes down")
    net.add_argument("--heal", action="store_true", help="undo all of the above first")

    host = add("host", command_host, "a host's power: crash loses all its processes at once")
    host.add_argument("host")
    host.add_argument("action", choices=("crash", "boot", "reboot"))

    daemon = add("daemon", command_daemon, "a host's libvirtd; its guests stay")
    daemon.add_argument("host")
    daemon.add_argument("action", choices=("kill", "stop", "start", "restart", "pid"))
    daemon.add_argument("--modular", action="store_true", help="virtstratovirtd instead")
    daemon.add_argument("--virtlogd", action="store_true", help="virtlogd instead")
    daemon.add_argument("--env", action="append", metavar="NAME=VALUE", help="for the daemon's environment")

    status = add("status", command_status, "what is up")
    status.add_argument("--all", action="store_true", help="all labs of this checkout")
    status.add_argument("--json", action="store_true")

    down = add("down", command_down, "end a lab and remove its files")
    down.add_argument("--all", action="store_true", help="all labs of this checkout")
    down.add_argument("--keep", action="store_true", help="keep the logs and the shared directory")

    args = parser.parse_args(argv)
    if args.function is command_exec:
        # Options before the host are ours, everything behind it belongs to the command.
        if args.command and args.command[0] == "--":
            del args.command[0]
        if not args.command:
            parser.error("exec: which command?")
    return args


def main(argv=None):
    args = parse(argv)
    try:
        args.function(args)
    except LabError as error:
        sys.exit(f"lab: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
