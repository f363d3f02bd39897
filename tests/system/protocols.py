#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of the migration processes: each of them moves a real guest in each state, or fails at the destination.

One guest is booted and goes back and forth between two hosts. Each cell is one migration or more, judged by virsh on
both hosts, by the calls that the daemons got, by the definitions left behind, and above all by what the guest says of
itself. The table is printed and stored as protocols.txt in the build directory.
"""

import argparse
import os
import re
import sys
import threading
import time
import traceback

import libvirt
from libvirt import VIR_MIGRATE_LIVE, VIR_MIGRATE_OFFLINE, VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_PERSIST_DEST, VIR_MIGRATE_TUNNELLED

import labtest
from labtest import Failure, expect, expect_equal, wait_until
from migrate_direct import PORT, URI, ByHand
from protocols_ways import FAILURES, LASTING, LOG_ENVIRONMENT, CallLog, Python, Refused, Virsh

P2P = VIR_MIGRATE_PEER2PEER
TUNNEL = P2P | VIR_MIGRATE_TUNNELLED
COLUMNS = ("running", "paused", "transient", "persistent", "failing at the destination")
LOST = 10_000  # milliseconds: a guest that stands still for longer has not migrated live
MEMORY = dict(memory=144, fill=24, dirty=5)

V1, V2, V3 = {"Prepare", "Finish"}, {"Prepare2", "Finish2"}, {"Prepare3", "Finish3"}
V3P = {"Prepare3Params", "Finish3Params"}


class Row:
    """A process: its name, by which client it is driven, and which calls must then arrive at the two daemons."""

    def __init__(self, name, client, way, calls, failures, flags=0, kind="live"):
        self.name, self.client, self.way, self.calls, self.failures, self.flags = name, client, way, calls, failures, flags
        self.kind = kind


ROWS = (
    Row("version 1", "virsh, ?migproto=1", Virsh("1"), ({"Perform"}, V1), ("name", "VMM", "persist")),
    Row("version 2", "migrate(), ?migproto=2", Python("migrate", "2"), ({"Perform"}, V2), ("VMM", "persist", "finish")),
    Row("version 3", "migrate2()", Python("migrate2"), ({"Begin3", "Perform3", "Confirm3"}, V3), ("name", "finish")),
    Row("version 3, parameters", "virsh", Virsh(), ({"Begin3Params", "Perform3Params", "Confirm3Params"}, V3P), ("VMM", "persist")),
    Row("p2p, version 2", "migrateToURI(), ?migproto=2", Python("migrateToURI", "2"), ({"Perform"} | V2, V2),
        ("name", "persist"), P2P),
    Row("p2p, version 3", "migrateToURI2(), ?migproto=3", Python("migrateToURI2", "3"), ({"Perform3"} | V3, V3),
        ("VMM", "finish"), P2P),
    Row("p2p, version 3, parameters", "virsh --p2p", Virsh(), ({"Perform3Params"} | V3P, V3P), ("name", "persist"), P2P),
    Row("tunnelled, version 2", "migrateToURI(), ?migproto=2", Python("migrateToURI", "2"),
        ({"Perform", "PrepareTunnel", "Finish2"}, {"PrepareTunnel", "Finish2"}), ("VMM", "persist"), TUNNEL),
    Row("tunnelled, version 3", "migrateToURI2(), ?migproto=3", Python("migrateToURI2", "3"),
        ({"Perform3", "PrepareTunnel3", "Finish3"}, {"PrepareTunnel3", "Finish3"}), ("name", "finish"), TUNNEL),
    Row("tunnelled, version 3, parameters", "virsh --p2p --tunnelled", Virsh(),
        ({"Perform3Params", "PrepareTunnel3Params", "Finish3Params"}, {"PrepareTunnel3Params", "Finish3Params"}),
        ("VMM", "persist"), TUNNEL),
    Row("p2p, destination masks", "migrateToURI3(…?migproto=2)", Python("migrateToURI3", None, "2"), ({"Perform3Params"} | V2, V2),
        ("VMM", "finish"), P2P),
    Row("direct", "virsh --direct", Virsh(direct_uri=URI), ({"Perform3"}, set()), ("nobody", "VMM"), kind="direct"),
    Row("offline", "migrate3(); back: virsh --p2p", Python("migrate3"), ({"Begin3Params", "Confirm3Params"}, V3P), ("name",),
        kind="offline"),
)


class World:
    """Two hosts and the guest that is on one of them."""

    def __init__(self, lab, emulator):
        self.lab, self.emulator = lab, emulator
        self.conns = {}
        self.guest = None
        self.src, self.dst = "h1", "h2"
        for host in lab.hosts:
            self.restart_daemon(host)
        self.logs = {host: CallLog(lab, host) for host in lab.hosts}
        self.notes = []

    def conn(self, host):
        conn = self.conns.get(host)
        if not conn or not conn.isAlive():
            conn = self.conns[host] = self.lab.connect(host)
        return conn

    def restart_daemon(self, host, *settings):
        words = [word for setting in (LOG_ENVIRONMENT, *settings) for word in ("--env", setting)]
        if host in self.conns:
            self.lab.connections.remove(self.conns[host])
            self.conns.pop(host).close()
        self.lab.daemon(host, "restart", *words)

    def dom(self, host=None):
        return self.conn(host or self.src).lookupByName(self.guest.name)

    def boot(self, persistent=True, wait=True):
        """A new guest on h1."""
        self.src, self.dst = "h1", "h2"
        self.guest, _ = self.lab.start(self.conn("h1"), "h1", running=wait, persistent=persistent, emulator=self.emulator, **MEMORY)

    def forget(self):
        """Ends the guest wherever it is."""
        for host in self.lab.hosts if self.guest else ():
            for action in ("destroy", "undefine"):
                try:
                    getattr(self.dom(host), action)()
                except libvirt.libvirtError:
                    pass
        self.guest = None

    def settle(self, persistent):
        """The guest, wherever the last row left it, on h1 as its source and defined as wanted."""
        if not self.guest:
            self.boot(persistent)
        dom = self.dom()
        if persistent and not dom.isPersistent():
            self.conn(self.src).defineXML(dom.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        elif not persistent and dom.isPersistent():
            dom.undefine()

    def turn(self):
        self.src, self.dst = self.dst, self.src

    def note(self, text):
        """A footnote; returns its mark."""
        text = " ".join(text.split())
        if text not in self.notes:
            self.notes.append(text)
        return f"[{self.notes.index(text) + 1}]"

    # ---- what is on a host ----

    def known(self, host):
        """(state, persistent) as virsh says it, or None; and how many VMMs of the guest there are."""
        name = self.guest.name
        text = self.lab.execute(host, "sh", "-c", f"virsh -q -c stratovirt:///system 'domstate {name}; dominfo {name}' 2>/dev/null; "
                                f"echo VMMs $(pgrep -c -f '[g]uest={name},')", check=False)
        state = re.search(r"^State: +(.*?) *$", text, re.M)
        lasting = re.search(r"^Persistent: +(\w+)", text, re.M)
        return ((state.group(1), lasting.group(1) == "yes") if state else None), int(re.search(r"VMMs (\d+)", text).group(1))

    def check_hosts(self, wanted):
        """wanted: host → what known() shall say in the end; a source's VMM may take a moment to go."""
        for host, value in wanted.items():
            try:
                wait_until("", lambda h=host, v=value: self.known(h) == v, 15)
            except Failure:
                raise Failure(f"{host} has {self.known(host)} instead of {value} (state, persistent; number of VMMs)") from None

    def check_calls(self, row):
        for host, wanted in zip((self.src, self.dst), row.calls):
            expect_equal(sorted(self.logs[host].take()), sorted(wanted), f"migration calls at {host}")

    def skip_calls(self):
        for log in self.logs.values():
            log.take()

    # ---- what the guest says ----

    def check_sound(self, host, before):
        """It ran on, on this host alone; returns the report, which is recent enough to tell how long it stood still."""
        first = self.guest.wait_report(host, before)

        def complete():
            last = self.guest.reports(host)[-1]
            return (last["frozen_times"] > before["frozen_times"] or last["t"] >= first["t"] + 2500) and last
        after = wait_until("a report that covers the switch-over", complete)
        self.guest.check_sound(after)
        self.guest.check_one_copy(*self.lab.hosts)
        return after

    def before(self):
        return self.guest.wait_report(self.src)


def seen(after, before=None):
    """What the guest saw: counts lost and repeated, bytes altered, and how long it stood still."""
    text = f"{after['lost']}/{after['repeated']}/{after['bytes_bad']}"
    if before is None:
        return text
    frozen = after["frozen_ms"] - before["frozen_ms"]
    expect(frozen < LOST, f"the guest stood still for {frozen} ms")
    return text + (f" {frozen:4} ms" if frozen else "  <8 ms")


# ---- rows that move a running guest -----------------------------------------------------------------------

def live(world, row, column):
    """One column that succeeds; the guest is on the other host afterwards."""
    persistent = column in ("running", "persistent")
    flags = VIR_MIGRATE_LIVE | row.flags | (LASTING if column == "persistent" else 0)
    world.settle(persistent)
    world.skip_calls()
    before = world.before()
    if column == "paused":
        world.dom().suspend()
    row.way(world.lab, world.guest.name, world.src, world.dst, flags)
    world.check_calls(row)
    left = ("shut off", True) if column == "running" else None
    state = "paused" if column == "paused" else "running"
    ticks = len(world.guest.ticks(world.dst))
    world.check_hosts({world.src: (left, 0), world.dst: ((state, column == "persistent"), 1)})
    if column == "paused":
        expect_equal(len(world.guest.ticks(world.dst)), ticks, f"ticks on {world.dst} before anybody resumed the guest")
        world.dom(world.dst).resume()
    if left:
        world.dom(world.src).undefine()
    after = world.check_sound(world.dst, before)
    world.turn()
    return seen(after, before if column != "paused" else None)


def failing(world, row, _column):
    """Every failure of the row's list; the guest stays where it is."""
    done = []
    for kind in row.failures:
        world.settle(True)
        before = world.before()
        ticks = world.guest.ticks(world.dst)

        def go(more, row=row):
            try:
                row.way(world.lab, world.guest.name, world.src, world.dst, VIR_MIGRATE_LIVE | row.flags | more)
            except Refused as refused:
                return str(refused)
            return None
        error, pattern = FAILURES[kind](world, go)
        expect(error is not None, f"{kind}: the migration succeeded")
        expect(re.search(pattern, error), f"{kind}: the error '{error}' does not match '{pattern}'")
        world.check_hosts({world.src: (("running", True), 1), world.dst: (None, 0)})
        after = world.check_sound(world.src, before)
        # StratoVirt begins its console's file anew.
        expect(set(world.guest.ticks(world.dst)) <= set(ticks), f"{kind}: the guest ran on {world.dst}")
        done.append(kind + world.note(f"{row.name}, {kind}: {error}"))
    return f"stays {seen(after)}: {', '.join(done)}"


# ---- direct -------------------------------------------------------------------------------------------------

def refused(world, row, flags, pattern):
    try:
        row.way(world.lab, world.guest.name, world.src, world.dst, flags)
    except Refused as error:
        expect(re.search(pattern, str(error)), f"the refusal '{error}' does not match '{pattern}'")
        return world.note(f"{row.name}: {error}")
    raise Failure("it was not refused")


def direct(world, row, column):
    """To a VMM that is started by hand with the printed command line; no libvirt knows it there."""
    world.forget()
    world.boot(column != "transient")
    mark = ""
    before = world.before()
    if column == "failing at the destination":
        return direct_failing(world, row, before)
    if column == "persistent":
        mark = refused(world, row, VIR_MIGRATE_LIVE | LASTING, "PERSIST_DEST")
    if column == "paused":
        world.dom().suspend()
        if labtest.VMM != "qemu":
            return direct_suspended(world, row, before)
    vmm = ByHand(world.lab, "h2", world.dom(), URI)
    try:
        world.skip_calls()
        flags = VIR_MIGRATE_LIVE | (libvirt.VIR_MIGRATE_UNDEFINE_SOURCE if column == "persistent" else 0)
        row.way(world.lab, world.guest.name, world.src, world.dst, flags)
        world.check_calls(row)
        left = ("shut off", True) if column in ("running", "paused") else None
        world.check_hosts({"h1": (left, 0), "h2": (None, 1)})
        if column == "paused":
            expect_equal(world.guest.ticks("h2"), [], "ticks on h2 before anybody resumed the guest")
            vmm.ask("cont")
        after = world.check_sound("h2", before)
    finally:
        vmm.end()
    world.forget()
    return seen(after, before if column != "paused" else None) + mark


def direct_suspended(world, row, before):
    """StratoVirt would let it run there."""
    mark = refused(world, row, VIR_MIGRATE_LIVE, "starts every guest that arrives")
    world.check_hosts({"h1": (("paused", True), 1), "h2": (None, 0)})
    world.dom().resume()
    after = world.check_sound("h1", before)
    world.forget()
    return f"refused {seen(after)}{mark}"


def direct_failing(world, row, before):
    """Nobody listens; the VMM by hand is killed while it receives."""
    lab = world.lab
    done = ["nobody" + refused(world, row, VIR_MIGRATE_LIVE, f"10.77.0.2.*{PORT}|refused")]
    world.dom().migrateSetMaxSpeed(4, 0)
    vmm = ByHand(lab, "h2", world.dom(), URI)
    result = []
    thread = threading.Thread(target=lambda: result.append(refused(world, row, VIR_MIGRATE_LIVE, "10.77.0.2")))
    thread.start()
    try:
        dom = world.dom()
        wait_until("the guest is being sent", lambda: not thread.is_alive() or dom.jobStats().get("data_processed", 0) > 1 << 20)
        lab.execute("h2", "kill", "-9", str(vmm.pid))
    finally:
        thread.join(labtest.LIMIT)
        vmm.end()
    expect(result, "killing the VMM by hand did not make the migration fail")
    world.check_hosts({"h1": (("running", True), 1), "h2": (None, 0)})
    after = world.check_sound("h1", before)
    expect_equal(world.guest.ticks("h2"), [], "ticks on h2")
    world.forget()
    return f"stays {seen(after)}: {', '.join([*done, 'VMM' + result[0]])}"


# ---- offline ------------------------------------------------------------------------------------------------

def offline(world, row, column):
    """A guest that runs is refused; one that is shut off goes there and back and then boots."""
    flags = VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST
    if column in ("running", "paused", "transient"):
        world.settle(column != "transient")
        before = world.before()
        if column == "paused":
            world.dom().suspend()
        mark = refused(world, row, flags, "(?i)running|active|shut off")
        world.check_hosts({"h1": (("paused" if column == "paused" else "running", column != "transient"), 1), "h2": (None, 0)})
        if column == "paused":
            world.dom().resume()
        return f"refused {seen(world.check_sound('h1', before))}{mark}"
    world.settle(True)
    world.dom().destroy()
    world.skip_calls()
    if column == "persistent":
        row.way(world.lab, world.guest.name, "h1", "h2", flags | LASTING)
        world.check_calls(row)
        world.check_hosts({"h1": (None, 0), "h2": (("shut off", True), 0)})
        Virsh()(world.lab, world.guest.name, "h2", "h1", flags | LASTING | P2P)
        world.check_hosts({"h1": (("shut off", True), 0), "h2": (None, 0)})
    else:
        error, pattern = FAILURES["name"](world, lambda _more: refused(world, row, flags, world.guest.name))
        del pattern
        world.check_hosts({"h1": (("shut off", True), 0), "h2": (None, 0)})
    count = len(world.guest.reports("h1"))
    world.dom().create()
    after = wait_until("the guest boots", lambda: world.guest.reports("h1")[count:] and world.guest.reports("h1")[-1])
    world.guest.check_sound(after)
    return f"boots {seen(after)}" if column == "persistent" else f"stays, boots {seen(after)}: name{error}"


KINDS = {"live": lambda column: failing if column == COLUMNS[-1] else live,
         "direct": lambda _column: direct, "offline": lambda _column: offline}


# ---- the table ------------------------------------------------------------------------------------------------

def render(cells, rows, columns, world, seconds):
    head = ("process", "by", *columns)
    lines = [(row.name, row.client, *(cells.get((row.name, column), "") for column in columns)) for row in rows]
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]

    def text(line):
        return "  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip()
    out = [text(head), text(["-" * width for width in widths]), *(text(line) for line in lines), "",
           "L/R/B: counts that the guest lost or counted twice, and bytes of its memory that were altered; then how long it stood still.",
           "persistent: with both persistence flags. Every cell is a migration of its own, on both hosts never two copies and never none.",
           f"{len(cells)} cells in {seconds:.0f} s"]
    out += [f"[{number}] {note}" for number, note in enumerate(world.notes, 1)]
    return "\n".join(out) + "\n"


def run_cell(world, row, column):
    """The cell's text, and whether it is well."""
    begin = time.monotonic()
    try:
        result = KINDS[row.kind](column)(world, row, column)
        good = True
    except Exception as error:  # whatever it is, it is this cell's failure
        traceback.print_exc(file=sys.stdout)
        labtest.diagnose(world.lab)
        result = "FAILED" + world.note(f"{row.name}, {column}: {error}")
        good = False
        world.forget()
        world.lab.clean()
        world.conns.clear()
        for host in world.lab.hosts:
            world.restart_daemon(host)
    print(f"{'ok' if good else 'FAILED':7} {row.name}, {column}: {result} ({time.monotonic() - begin:.1f} s)", flush=True)
    return result, good


def arguments():
    parser = argparse.ArgumentParser(description="Moves a guest by every process of migration and prints a table.")
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS], metavar="PROCESS",
                        help="only this row; may be repeated: " + "; ".join(row.name for row in ROWS))
    parser.add_argument("--column", action="append", choices=COLUMNS, metavar="STATE",
                        help="only this column; may be repeated: " + "; ".join(COLUMNS))
    return parser.parse_args()


def main():
    options = arguments()
    rows = [row for row in ROWS if not options.row or row.name in options.row]
    columns = [column for column in COLUMNS if not options.column or column in options.column]
    libvirt.virEventRegisterDefaultImpl()
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    # Without it the connections' keepalives would go unanswered.
    threading.Thread(target=labtest.run_events, daemon=True).start()
    # Never an old table beside a new failure.
    table = labtest.table_path("protocols")
    if os.path.exists(table):
        os.unlink(table)
    begin = time.monotonic()
    lab = labtest.Lab()
    cells, failed = {}, 0
    try:
        world = World(lab, labtest.EMULATOR)
        for row in rows:
            for column in columns:
                cells[(row.name, column)], good = run_cell(world, row, column)
                failed += not good
    finally:
        lab.end()
    text = render(cells, rows, columns, world, time.monotonic() - begin)
    print("\n" + text)
    with open(table, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"{len(cells) - failed} of {len(cells)} cells are well; the table is in {os.path.relpath(table, labtest.ROOT)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
