#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes over the wire: a guest whose memory holds a secret moves in every way, and the wire is listened to.

The secret is found in the control cases, which shows that it would be, and nowhere when the migration is to be secure. Then what
TLS must refuse, and the migration port under abuse. Prints the decision table with what was seen.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys

import libvirt
from libvirt import (VIR_ERR_OPERATION_FAILED, VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_MIGRATE_LIVE, VIR_MIGRATE_PARALLEL,
                     VIR_MIGRATE_PEER2PEER, VIR_MIGRATE_TLS, VIR_MIGRATE_TUNNELLED)

import labtest
import tunnel
from labtest import Failure, expect, expect_equal, expect_error, wait_until
from migrate import check_moved, check_still_here

SECURE = 1 << 30  # VIR_MIGRATE_SECURE of libvirt/libvirt-stratovirt.h
NAME = libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION

# Listens to all that one host sends and gets until its input ends; tells how much there was and which words were in it.
LISTENER = r"""
import json, select, socket, struct, sys
words = [word.encode() for word in sys.argv[1:]]
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
print("ready", flush=True)
found = {word.decode(): 0 for word in words}
ports, last = {}, {}
longest = max(len(word) for word in words)
def take(data, where):
    if where[0] == "lo" or data[0] >> 4 not in (4, 6):
        return
    if data[0] >> 4 == 4:
        head, protocol = (data[0] & 15) * 4, data[9]
        payload = data[:struct.unpack(">H", data[2:4])[0] or len(data)]
    else:
        head, protocol, payload = 40, data[6], data
    if protocol != 6:
        return
    source, target = struct.unpack(">HH", data[head:head + 4])
    body = payload[head + (data[head + 12] >> 4) * 4:]
    port = min(source, target)
    ports[port] = ports.get(port, 0) + len(body)
    key = data[12:20] + data[head:head + 4]
    seen = last.get(key, b"") + body
    for word in words:
        found[word.decode()] += seen.count(word)
    last[key] = seen[-(longest - 1):]
def drain():
    while select.select([s], [], [], 0)[0]:
        take(*s.recvfrom(1 << 17))
while True:
    ready = select.select([s, sys.stdin], [], [])[0]
    if s in ready:
        take(*s.recvfrom(1 << 17))
    elif sys.stdin in ready:
        drain()
        break
print(json.dumps({"found": found, "ports": ports}))
"""


class Wire:
    """What went over h1's network while the block ran."""

    def __init__(self, lab, *words):
        self.lab = lab
        self.words = words
        self.found = self.ports = None

    def __enter__(self):
        self.process = subprocess.Popen(
            [labtest.RUN_LAB, "exec", "--name", self.lab.name, "h1", "/usr/bin/python3", "-c", LISTENER, *self.words],
            env=self.lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        expect_equal(self.process.stdout.readline().strip(), "ready", "the listener's first word")
        return self

    def __exit__(self, *_what):
        text, _ = self.process.communicate("", timeout=labtest.LIMIT)
        said = json.loads(text)
        self.found = sum(said["found"].values())
        self.ports = {int(port): count for port, count in said["ports"].items()}


WIDTHS = (15, 6, 20, 9, 12, 24, 20)


class Rows:
    """The lines of the table."""

    def __init__(self):
        self.lines = []

    def add(self, *cells):
        self.lines.append(cells)
        print("  ".join(str(cell).ljust(width) for cell, width in zip(cells, WIDTHS)), flush=True)


ROWS = Rows()


@contextlib.contextmanager
def configured(lab, **hosts):
    """The hosts' stratovirt.conf has these lines meanwhile: h1='key = value'."""
    path = "/etc/libvirt/stratovirt.conf"
    try:
        for host, lines in hosts.items():
            lab.execute(host, "sh", "-c", f"[ -e {path}.old ] || cp {path} {path}.old 2>/dev/null || : > {path}.old; "
                                          f"printf '{lines}\\n' >> {path}")
            lab.daemon(host, "restart")
        yield
    finally:
        for host in hosts:
            lab.execute(host, "sh", "-c", f"mv {path}.old {path}")
            lab.daemon(host, "restart")


def uri(kind, host, version=None):
    return f"stratovirt+{kind}://{host}/system" + (f"?migproto={version}" if version else "")


# What a guest of the lab writes, and so has in its memory; the definition, which the libvirt connections carry, has it not.
WORD = "SV-REPORT "


def move(lab, kind, flags, parameters=None, peer=True, wants=None, version=None):
    """A guest from h1 to h2 over a libvirt connection of a kind; what was on the wire, and the statistics."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", memory=160, fill=16, persistent=False)
    before = guest.wait_report("h1")
    with Wire(lab, WORD) as wire:
        if peer:
            dom.migrateToURI3(uri(kind, "h2", version), parameters or {}, flags | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE)
        else:
            # As a client of h1 who talks to h2 by himself.
            options = ["--live"] + (["--tls"] if flags & VIR_MIGRATE_TLS else [])
            status, _out, err = lab.virsh_full("h1", "migrate", *options, guest.name, uri(kind, "h2", version),
                                                uri="stratovirt:///system" + (f"?migproto={version}" if version else ""))
            if status:
                raise Failure(err)
    dom2 = h2.lookupByName(guest.name)
    check_moved(guest, dom2, before)
    stats = dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    dom2.destroy()
    if wants:
        expect(stats.get("stratovirt.transport", "").startswith(wants), f"the transport of the statistics: {stats}")
    return wire, stats


def row(wire, stats, process, kind, wish, policy):
    cipher = stats.get("stratovirt.cipher", "-")
    ROWS.add(process, kind, stats.get("stratovirt.transport"), wish, policy, cipher,
             f"{wire.found} times" if wire.found else f"not in {sum(wire.ports.values()) >> 20} MiB")


def check_hidden(wire, stats, keys):
    expect_equal(wire.found, 0, "how often the guest's word was on the wire")
    expect(sum(wire.ports.values()) > 16 << 20, f"the wire was not listened to: {wire.ports}")
    expect("TLS 1.3" in stats.get("stratovirt.cipher", ""), f"the cipher: {stats}")
    expect(keys in stats.get("stratovirt.peer_identity", ""), f"the other side's identity: {stats}")


def test_control(lab):
    """In the clear the word is found: peer-to-peer and by a client, over one connection and over several."""
    for peer, flags in ((True, 0), (False, 0), (True, VIR_MIGRATE_PARALLEL)):
        wire, stats = move(lab, "tcp", flags, peer=peer)
        row(wire, stats, "peer-to-peer" if peer else "client-managed", "tcp", "neither", "off")
        expect(wire.found > 0, f"the word was not on the wire: {wire.ports}")
        expect("stratovirt.cipher" not in stats, "a cipher in the clear")


def test_certificates(lab):
    """--tls with the hosts' certificates, over any libvirt connection."""
    for peer, kind, flags in ((True, "tcp", VIR_MIGRATE_TLS), (True, "tls", VIR_MIGRATE_TLS), (False, "tcp", VIR_MIGRATE_TLS),
                              (True, "tcp", SECURE), (True, "tcp", VIR_MIGRATE_TLS | VIR_MIGRATE_PARALLEL)):
        wire, stats = move(lab, kind, flags, peer=peer, wants="tls")
        row(wire, stats, "peer-to-peer" if peer else "client-managed", kind, "TLS" if flags & VIR_MIGRATE_TLS else "SECURE", "off")
        check_hidden(wire, stats, "certificate of h")


def test_old_versions(lab):
    """Versions 1 and 2 of the protocol, in which the source decides and the destination compares."""
    for version, peer in ((1, False), (2, False), (2, True)):
        wire, stats = move(lab, "tcp", VIR_MIGRATE_TLS, peer=peer, wants="tls", version=version)
        row(wire, stats, f"{'peer-to-peer' if peer else 'client-man.'} {version}", "tcp", "TLS", "off")
        check_hidden(wire, stats, "certificate of h")
    with configured(lab, h1=NO_FILES, h2=NO_FILES):
        for version, peer in ((1, False), (2, True)):
            wire, stats = move(lab, "tls", VIR_MIGRATE_TLS, peer=peer, wants="tls", version=version)
            row(wire, stats, f"{'peer-to-peer' if peer else 'client-man.'} {version}", "tls", "TLS", "off")
            check_hidden(wire, stats, "knows the token")


NO_FILES = 'migrate_tls_dir = "/nonexistent"'


def refused(lab, kind, flags, pattern, parameters=None, code=VIR_ERR_ARGUMENT_UNSUPPORTED):
    """Nothing is started there, nothing of the guest is on the wire, and it runs on."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", memory=128, fill=8, persistent=False)
    before = guest.wait_report("h1")
    with Wire(lab, WORD) as wire:
        error = expect_error(code, pattern, dom.migrateToURI3, uri(kind, "h2"), parameters or {},
                             flags | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE)
    expect_equal(wire.found, 0, "how often the guest's word was on the wire")
    check_still_here(guest, dom, h2, before)
    wait_until("nothing is left on h2", lambda: not h2.listAllDomains())
    dom.destroy()
    return error


def test_without_certificates(lab):
    """Keys of the moment, over libvirt connections that are secure; over others a refusal that says what to do."""
    with configured(lab, h1=NO_FILES, h2=NO_FILES):
        for peer, flags in ((True, VIR_MIGRATE_TLS), (True, SECURE), (False, VIR_MIGRATE_TLS)):
            wire, stats = move(lab, "tls", flags, peer=peer, wants="tls")
            row(wire, stats, "peer-to-peer" if peer else "client-managed", "tls",
                "TLS" if flags & VIR_MIGRATE_TLS else "SECURE", "off")
            check_hidden(wire, stats, "knows the token")
        for flags, word in ((VIR_MIGRATE_TLS, "VIR_MIGRATE_TLS"), (SECURE, "VIR_MIGRATE_SECURE")):
            refused(lab, "tcp", flags, rf"since {word} was given, but it would not be: .*/nonexistent/CA/cacert.pem.*"
                                       r"put certificates on both hosts .*stratovirt\+tls://HOST/system")
            ROWS.add("peer-to-peer", "tcp", "refused", word[12:], "off", "-", "nothing")


def test_tunnel(lab):
    """Through the libvirt connection the data is as secure as that is, and SECURE says so."""
    wire, stats = move(lab, "tcp", VIR_MIGRATE_TUNNELLED, wants="tunnel")
    row(wire, stats, "tunnelled", "tcp", "neither", "off")
    expect(wire.found > 0, f"the word was not on the wire: {wire.ports}")
    wire, stats = move(lab, "tls", VIR_MIGRATE_TUNNELLED | SECURE, wants="tunnel")
    row(wire, stats, "tunnelled", "tls", "SECURE", "off")
    expect_equal(wire.found, 0, "how often the guest's word was on the wire")
    refused(lab, "tcp", VIR_MIGRATE_TUNNELLED | SECURE, "the tunnel is a libvirt connection over plain TCP")
    ROWS.add("tunnelled", "tcp", "refused", "SECURE", "off", "-", "nothing")


def test_policies(lab):
    """A host that requires security has it, whichever side it is on and whatever the user says."""
    require = 'migrate_secure = "require"'
    for hosts in ({"h1": require}, {"h2": require}):
        with configured(lab, **hosts):
            wire, stats = move(lab, "tcp", 0, wants="tls")
            row(wire, stats, "peer-to-peer", "tcp", "neither", "require " + "".join(hosts))
            check_hidden(wire, stats, "certificate of h")
            side = "source" if "h1" in hosts else "destination"
            # StratoVirt's guests have no such transport.
            if labtest.VMM == "qemu":
                refused(lab, "tcp", 0, f"since the {side} host requires it", {"stratovirt.transport": "native"})
    with configured(lab, h1='migrate_secure = "prefer"'):
        wire, stats = move(lab, "tcp", 0, wants="tls")
        row(wire, stats, "peer-to-peer", "tcp", "neither", "prefer h1")
        check_hidden(wire, stats, "certificate of h")


def test_ssh(lab):
    """Over a libvirt connection by ssh (a program stands in for it): without certificates the token is the key."""
    ssh = tunnel.uris(lab, "h2")["ssh"]
    for lines, keys in ((NO_FILES, "knows the token"), ("", "certificate of h2")):
        with configured(lab, h1=lines):
            h1, h2 = lab.connect("h1"), lab.connect("h2")
            guest, dom = lab.start(h1, "h1", memory=160, fill=16, persistent=False)
            before = guest.wait_report("h1")
            with Wire(lab, WORD) as wire:
                dom.migrateToURI3(ssh, {}, SECURE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE)
            dom2 = h2.lookupByName(guest.name)
            check_moved(guest, dom2, before)
            stats = dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
            row(wire, stats, "peer-to-peer", "ssh", "SECURE", "off")
            check_hidden(wire, stats, keys.replace("h2", "h1"))
            dom2.destroy()


def page_commands(page):
    """The commands of a page of the documentation: (where it is typed, 'h1' or '' for another machine, the words)."""
    with open(os.path.join(labtest.ROOT, "docs", page), encoding="utf-8") as file:
        found = re.findall(r"^ +(?:(h\d)#|\$) (virsh .*)$", file.read(), re.M)
    return [(host, shlex.split(command)) for host, command in found]


def test_page(lab):
    """The commands of docs/security.rst as they stand there, each in the situation that the page names."""
    commands = page_commands("security.rst")
    require = 'migrate_secure = "require"'
    expect_equal(len(commands), len(PAGE), "commands of docs/security.rst; each needs its situation in this test")
    tunnel.uris(lab, "h2")
    # The daemon's ssh is the stand-in, which the page cannot name.
    lab.execute("h1", "sh", "-e", "-c", "mkdir -p /srv/shared/bin; cp /srv/shared/ssh-to-h2 /srv/shared/bin/ssh")
    for (host, words), (situation, wants, keys) in zip(commands, PAGE):
        lines = {"require": require, "ssh": NO_FILES, "admin": ""}[situation]
        with configured(lab, h1=lines, h2=lines):
            if situation == "ssh":
                lab.daemon("h1", "restart", "--env", "PATH=/srv/shared/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            h1, h2 = lab.connect("h1"), lab.connect("h2")
            # Every one has that name, and its counts begin anew.
            lab.execute("h1", "rm", "-f", "/var/log/libvirt/vm1-console.log")
            lab.execute("h2", "rm", "-f", "/var/log/libvirt/vm1-console.log")
            guest, dom = lab.start(h1, "h1", name="vm1", memory=160, fill=16, persistent=False)
            before = guest.wait_report("h1")
            with Wire(lab, WORD) as wire:
                lab.execute(host or "h1", *words)
            dom2 = h2.lookupByName("vm1")
            check_moved(guest, dom2, before)
            stats = dom2.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED | libvirt.VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED)
            expect_equal(stats["stratovirt.transport"], wants, "transport of " + " ".join(words))
            check_hidden(wire, stats, keys)
            check_told(lab, stats)
            dom2.destroy()


def check_told(lab, stats):
    """What the page says of where to look: the statistics, by its command, and the logs of both daemons."""
    with open(os.path.join(labtest.ROOT, "docs", "security.rst"), encoding="utf-8") as file:
        command = re.search(r"^``(virsh .*domjobinfo vm1.*)``", file.read(), re.M).group(1)
    said = lab.execute("h2", *shlex.split(command))
    for name in ("transport", "cipher", "peer_identity", "peer"):
        expect(f"stratovirt.{name}: {stats['stratovirt.' + name]}" in said, f"stratovirt.{name} is not in {said}")
    for host, words in (("h1", r"the data goes to 'h2 \(.*:49152\)' by the transport 'tls'"),
                        ("h2", r"the data comes from '.*' by the transport 'tls'")):
        with open(lab.path(host, "log", "libvirtd.log"), encoding="utf-8") as file:
            log = file.read()
        for wanted in (words, r"data over TLS 1\.3, [A-Z0-9-]+, other side: (certificate of h\d|knows the token)"):
            expect(re.search(wanted, log), f"'{wanted}' is not in the log of {host}")


# For each command of the page, in its order: where it is typed, and what comes of it.
PAGE = (("require", "tls", "certificate of h1"), ("ssh", "tls", "knows the token"), ("admin", "tls", "certificate of h1"))


def certtool(lab, host, folder, days):
    """Another authority, and certificates of it for the host, in the flat layout."""
    dates = "" if days > 0 else r'activation_date = "2020-01-01 00:00:00 UTC"\nexpiration_date = "2020-02-01 00:00:00 UTC"\n'
    lab.execute(host, "sh", "-e", "-c", f"""
        mkdir -p {folder}; cd {folder}
        printf 'cn = "Other"\\nca\\ncert_signing_key\\n' > ca.t
        printf 'cn = "{host}"\\ndns_name = "{host}"\\ntls_www_server\\ntls_www_client\\nsigning_key\\nencryption_key\\n' > s.t
        printf '{dates}' >> s.t
        exec 2> certtool.log
        certtool --generate-privkey --outfile ca-key.pem
        certtool --generate-self-signed --load-privkey ca-key.pem --template ca.t --outfile ca-cert.pem
        for side in server client; do
            certtool --generate-privkey --outfile $side-key.pem
            certtool --generate-certificate --load-privkey $side-key.pem --load-ca-certificate ca-cert.pem \
                --load-ca-privkey ca-key.pem --template s.t --outfile $side-cert.pem
        done""")


def test_wrong_certificates(lab):
    """Another name, another authority, too old: refused with the reason, before anything of the guest is sent."""
    refused(lab, "tcp", VIR_MIGRATE_TLS, "It is in another name.* 'h9' was expected", {NAME: "h9"}, VIR_ERR_OPERATION_FAILED)
    certtool(lab, "h2", "/srv/other", 1)
    with configured(lab, h2='migrate_tls_dir = "/srv/other"'):
        refused(lab, "tcp", VIR_MIGRATE_TLS, "It is of another authority", code=VIR_ERR_OPERATION_FAILED)
    certtool(lab, "h2", "/srv/old", -1)
    with configured(lab, h2='migrate_tls_dir = "/srv/old"'):
        refused(lab, "tcp", SECURE, "server-cert.pem.* is of no use: It is not valid any more")


# Signs for both hosts; the list of what is revoked is h1's.
AUTHORITY = r"""
mkdir -p /srv/shared/revoking; cd /srv/shared/revoking
exec 2> certtool.log
printf 'cn = "Ours"\nca\ncert_signing_key\ncrl_signing_key\n' > ca.t
certtool --generate-privkey --key-type ecdsa --outfile ca-key.pem
certtool --generate-self-signed --load-privkey ca-key.pem --template ca.t --outfile ca-cert.pem
for host in h1 h2; do
    mkdir -p $host
    cp ca-cert.pem $host/ca-cert.pem
    printf "cn = \"$host\"\ndns_name = \"$host\"\ntls_www_server\ntls_www_client\nsigning_key\nencryption_key\n" > $host.t
    for side in server client; do
        certtool --generate-privkey --key-type ecdsa --outfile $host/$side-key.pem
        certtool --generate-certificate --load-privkey $host/$side-key.pem --load-ca-certificate ca-cert.pem \
            --load-ca-privkey ca-key.pem --template $host.t --outfile $host/$side-cert.pem
    done
done
printf 'activation_date = "2020-01-01 00:00:00 UTC"\nexpiration_date = "2020-02-01 00:00:00 UTC"\n' >> h2.t
certtool --generate-certificate --load-privkey h2/server-key.pem --load-ca-certificate ca-cert.pem \
    --load-ca-privkey ca-key.pem --template h2.t --outfile h2/old-cert.pem
printf 'expiration_date = "2037-01-01 00:00:00 UTC"\ncrl_number = 1\n' > crl.t
certtool --generate-crl --load-ca-privkey ca-key.pem --load-ca-certificate ca-cert.pem --load-certificate h2/server-cert.pem \
    --template crl.t --outfile h1/ca-crl.pem
"""


def test_revoked(lab):
    """A certificate that its authority has taken back is one no more, as soon as the list is there."""
    lab.execute("h1", "sh", "-e", "-c", AUTHORITY)
    ours = {host: f'migrate_tls_dir = "/srv/shared/revoking/{host}"' for host in ("h1", "h2")}
    with configured(lab, **ours):
        refused(lab, "tcp", VIR_MIGRATE_TLS, "It has been revoked by its authority", code=VIR_ERR_OPERATION_FAILED)
        lab.execute("h1", "rm", "/srv/shared/revoking/h1/ca-crl.pem")
        wire, stats = move(lab, "tcp", VIR_MIGRATE_TLS, wants="tls")
        check_hidden(wire, stats, "certificate of h1")


# In the place of the destination: one with another version of TLS, or a certificate that it would not show if it looked at it.
IMPOSTOR = r"""
import socket, ssl, sys
server = socket.create_server(("10.77.0.1", int(sys.argv[1])))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.maximum_version = ssl.TLSVersion[sys.argv[2]]
context.load_cert_chain(sys.argv[3], "/srv/shared/revoking/h2/server-key.pem")
print("ready", flush=True)
conn = server.accept()[0]
conn.recv(48, socket.MSG_WAITALL)
conn.sendall(b"stratans" + b"\0\1" + b"\0" * 6)
try:
    context.wrap_socket(conn, server_side=True)
    print("spoken to", flush=True)
except ssl.SSLError as error:
    print(error.reason, flush=True)
"""


def test_impostors(lab):
    """TLS 1.2 and a certificate that is not valid any more are refused by whoever meets them, and nothing of the guest is sent."""
    lab.execute("h1", "sh", "-e", "-c", AUTHORITY)
    lab.execute("h1", "rm", "/srv/shared/revoking/h1/ca-crl.pem")
    folder = "/srv/shared/revoking/"
    ours = {host: f'migrate_tls_dir = "{folder}{host}"' for host in ("h1", "h2")}
    with configured(lab, **ours):
        h1, h2 = lab.connect("h1"), lab.connect("h2")
        guest, dom = lab.start(h1, "h1", memory=160, fill=16, persistent=False)
        for port, (version, cert, pattern, heard) in enumerate((
                ("TLSv1_2", "server-cert.pem", "10.77.0.1.*TLS 1.3, which is needed", "UNSUPPORTED_PROTOCOL"),
                ("TLSv1_3", "old-cert.pem", f"10.77.0.1.*not valid any more.*for 'h2', 'h2' was expected.*{folder}h1/ca-cert.pem", "ALERT|alert|CERTIFICATE")),
                50011):
            before = guest.wait_report("h1")
            impostor = subprocess.Popen([labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "/usr/bin/python3", "-c", IMPOSTOR, str(port),
                                         version, f"{folder}h2/{cert}"],
                                        env=lab.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            try:
                expect_equal(impostor.stdout.readline().strip(), "ready", "the word of the impostor")
                error = expect_error(VIR_ERR_OPERATION_FAILED, pattern, dom.migrateToURI3, uri("tcp", "h2"),
                                     {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://10.77.0.1:{port}"},
                                     VIR_MIGRATE_TLS | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE)
                print(error.get_error_message(), flush=True)
                said = impostor.stdout.readline().strip()
                expect(re.search(heard, said), f"{version}, {cert}: the impostor heard '{said}'")
            finally:
                impostor.kill()
                impostor.wait()
            check_still_here(guest, dom, h2, before)


# Between source and destination: passes on what it gets, but for one piece of what is sent over the data's connection.
MIDDLE = r"""
import select, socket, sys, threading
mode, port = sys.argv[1], int(sys.argv[2])
server = socket.create_server(("10.77.0.1", port))
print("ready", flush=True)
def serve(conn):
    there = socket.create_connection(("10.77.0.2", port))
    total, held = 0, None
    while True:
        for s in select.select([conn, there], [], [])[0]:
            data = s.recv(1 << 16)
            if not data:
                (there if s is conn else conn).close()
                return s.close()
            if s is there:
                conn.sendall(data)
                continue
            total += len(data)
            # The link sends little.
            if total > 1 << 20 and mode:
                if mode == "alter":
                    data = data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1:]
                    modes.clear()
                elif mode == "cut":
                    there.close()
                    return conn.close()
                elif mode == "repeat" and modes:
                    data += data
                    modes.clear()
                elif mode == "swap" and modes:
                    if held is None:
                        held = data
                        continue
                    data += held
                    modes.clear()
            there.sendall(data)
modes = [1]
def quiet(*arguments):
    try:
        serve(*arguments)
    except OSError:
        pass
def accept():
    while True:
        threading.Thread(target=quiet, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()
"""


def test_man_in_the_middle(lab):
    """Somebody alters, cuts, repeats or swaps what goes over TLS: it is noticed, and the guest runs on at the source."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    guest, dom = lab.start(h1, "h1", memory=160, fill=32, persistent=False)
    for port, mode in enumerate(("alter", "cut", "repeat", "swap"), 50001):
        before = guest.wait_report("h1")
        middle = subprocess.Popen(
            [labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "/usr/bin/python3", "-c", MIDDLE, mode, str(port)],
            env=lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            expect_equal(middle.stdout.readline().strip(), "ready", "the word of the man in the middle")
            error = expect_error(VIR_ERR_OPERATION_FAILED, ".", dom.migrateToURI3, uri("tcp", "h2"),
                                 {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://10.77.0.1:{port}"},
                                 VIR_MIGRATE_TLS | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE)
            print(f"{mode}: {error.get_error_message()}", flush=True)
        finally:
            middle.communicate("", timeout=labtest.LIMIT)
        check_still_here(guest, dom, h2, before)
        wait_until("nothing is left on h2", lambda: not h2.listAllDomains())


# Many connections at once that say nothing, or one byte a second, or nonsense.
CROWD = r"""
import socket, sys, time
kind, count = sys.argv[1], int(sys.argv[2])
list_ = []
for i in range(count):
    try:
        s = socket.create_connection(("10.77.0.2", 49152), 5)
        s.sendall({"nonsense": b"\0" * 48, "slow": b"s", "silent": b""}[kind])
        list_.append(s)
    except OSError:
        pass
print("ready", flush=True)
for _ in range(3):
    time.sleep(1)
    for s in list_ if kind == "slow" else []:
        try:
            s.sendall(b"t")
        except OSError:
            pass
"""


def test_abuse(lab):
    """A thousand strangers at the port while a guest comes in over TLS: it comes, and the daemon does not grow."""
    h1, h2 = lab.connect("h1"), lab.connect("h2")
    for kind in ("slow", "nonsense", "silent"):
        guest, dom = lab.start(h1, "h1", memory=160, fill=32, persistent=False)
        before = guest.wait_report("h1")
        dom.migrateSetMaxSpeed(8, 0)
        pid = lab.daemon("h2", "pid").strip()
        held, told = resident(lab, "h2", pid), refusals(lab)
        with Wire(lab, WORD):
            thread, result = labtest.in_background(dom.migrateToURI3, uri("tcp", "h2"), {},
                                                   VIR_MIGRATE_TLS | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE)
            wait_until("data flows", lambda: h1.lookupByName(guest.name).jobStats().get("memory_processed", 0) > 1 << 20)
            crowd = subprocess.Popen(
                [labtest.RUN_LAB, "exec", "--name", lab.name, "h1", "/usr/bin/python3", "-c", CROWD, kind, "1000"],
                env=lab.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            expect_equal(crowd.stdout.readline().strip(), "ready", "the crowd's word")
            fds = int(lab.execute("h2", "sh", "-c", f"ls /proc/{pid}/fd | wc -l"))
            expect(fds < 300, f"the daemon has {fds} descriptors open")
            grown = resident(lab, "h2", pid) - held
            expect(grown < 32 << 10, f"{kind}: the daemon has grown by {grown} KiB")
            lookup = h1.lookupByName(guest.name)
            lookup.migrateSetMaxSpeed(0, 0)
            thread.join(labtest.LIMIT)
            crowd.communicate(timeout=labtest.LIMIT)
        expect("error" not in result, f"the migration failed: {result.get('error')}")
        dom2 = h2.lookupByName(guest.name)
        check_moved(guest, dom2, before)
        dom2.destroy()
        wait_until(f"{kind}: the strangers have been shown out", lambda: strangers(lab) == 0, 10)
        # One in a minute, of all.
        expect(refusals(lab) - told <= 1, f"{kind}: {refusals(lab) - told} lines of the log about them")
    expect(refusals(lab) > 0, "nothing in the log about a thousand strangers")


def resident(lab, host, pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", lab.execute(host, "cat", f"/proc/{pid}/status")).group(1))


def refusals(lab):
    with open(lab.path("h2", "log", "libvirtd.log"), encoding="utf-8", errors="replace") as file:
        # A lab's log has the lines for debugging as well.
        return file.read().count("one a minute at most")


def strangers(lab):
    return lab.execute("h2", "ss", "-Htn", "state", "established", "( sport = :49152 )").count("\n")


def phase(conn, name):
    try:
        return conn.lookupByName(name).jobStats().get("stratovirt.phase")
    except libvirt.libvirtError:
        return None


def test_outcome_after_restarts(lab):
    """Both daemons are killed at the switch-over and know nothing but what is on their disks: the source asks over TLS."""
    for lines in (NO_FILES + '\\nmigrate_secure = "require"', 'migrate_secure = "require"'):
        with configured(lab, h1=lines, h2=lines):
            lab.daemon("h2", "restart", "--env", "LIBVIRT_STRATOVIRT_FAULT=migrate-finish:delay:20000")
            conns = [lab.connect(host) for host in lab.hosts]
            guest, dom = lab.start(conns[0], "h1", memory=128, fill=8, persistent=False)
            before = guest.wait_report("h1")
            thread, _result = labtest.in_background(dom.migrateToURI3, uri("tls", "h2"), {},
                                                    VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE)
            wait_until("h1 has sent everything", lambda: phase(conns[0], guest.name) == "sent")
            wait_until("h2 has received everything", lambda: phase(conns[1], guest.name) == "received")
            for host in ("h2", "h1"):
                lab.daemon(host, "kill")
            thread.join(labtest.LIMIT)
            for host in ("h2", "h1"):
                lab.daemon(host, "start")
            h1, h2 = lab.connect("h1"), lab.connect("h2")
            dom = h1.lookupByName(guest.name)
            check_still_here(guest, dom, h2, before)
            dom.destroy()


def test_table(_lab):
    """What was seen, and what is decided without being seen."""
    decided = subprocess.run([os.path.join(labtest.BUILD, "tests/unit/test-security"), "--table"], check=True,
                             capture_output=True, text=True).stdout
    with open(labtest.table_path("security"), "w", encoding="utf-8") as file:
        file.write("Seen on the wire: process, libvirt connection, channel, wish, migrate_secure, cipher, the guest's word\n\n")
        for cells in ROWS.lines:
            file.write("  ".join(str(cell).ljust(width) for cell, width in zip(cells, WIDTHS)).rstrip() + "\n")
        file.write("\nDecided by the table of src/migration/security.c: process, libvirt connection, transport that is named, wish,\n"
                   "migrate_secure, certificates, what is done\n\n" + decided)


if __name__ == "__main__":
    labtest.main(sys.modules[__name__])
