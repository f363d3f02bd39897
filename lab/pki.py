# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificates of the labs: one authority per checkout, a server and a client certificate per host.

Made once, on the spot, with certtool; the keys never leave build/. RSA, since libvirt asks server
certificates for key encipherment, which certtool grants to no other kind."""

import fcntl
import os
import subprocess

from state import BASE, LabError, address, address6

DIR = os.path.join(BASE, ".pki")


def _certtool(*arguments):
    try:
        done = subprocess.run(["certtool", *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError("certtool is missing: install gnutls-bin") from None
    if done.returncode != 0:
        raise LabError(f"certtool {arguments[0]} failed: {done.stderr.strip().splitlines()[-1:]}")


def _private_key(path):
    old = os.umask(0o077)
    try:
        _certtool("--generate-privkey", "--key-type=rsa", "--bits=2048", "--outfile", path)
    finally:
        os.umask(old)


def _certificate(name, template, authority):
    """Makes NAME-key.pem and then NAME-cert.pem, which is the sign that both are complete."""
    cert = os.path.join(DIR, name + "-cert.pem")
    if os.path.exists(cert):
        return
    _private_key(os.path.join(DIR, name + "-key.pem"))
    described = os.path.join(DIR, name + ".info")
    with open(described, "w", encoding="ascii") as file:
        file.write(template + "expiration_days = 3650\n")
    arguments = ["--generate-self-signed"]
    if authority:
        arguments = ["--generate-certificate",
                     "--load-ca-certificate", os.path.join(DIR, "ca-cert.pem"),
                     "--load-ca-privkey", os.path.join(DIR, "ca-key.pem")]
    _certtool(*arguments, "--load-privkey", os.path.join(DIR, name + "-key.pem"),
              "--template", described, "--outfile", cert + ".new")
    os.rename(cert + ".new", cert)


def ensure(hosts):
    """Certificates for h1..hN; those that exist stay."""
    os.makedirs(DIR, mode=0o700, exist_ok=True)
    with open(os.path.join(DIR, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # labs may be coming up at the same time
        _ensure(hosts)


def _ensure(hosts):
    _certificate("ca", 'cn = "Lab authority"\nca\ncert_signing_key\n', authority=False)
    for number in range(1, hosts + 1):
        name = f"h{number}"
        _certificate(f"{name}-server",
                     f'cn = "{name}"\ndns_name = "{name}"\ndns_name = "localhost"\n'
                     f'ip_address = "{address(number)}"\nip_address = "{address6(number)}"\n'
                     'ip_address = "127.0.0.1"\n'
                     "tls_www_server\ntls_www_client\nsigning_key\nencryption_key\n", authority=True)
        _certificate(f"{name}-client",
                     f'cn = "{name}"\norganization = "Lab"\ntls_www_client\nsigning_key\n'
                     "encryption_key\n", authority=True)


def install(number, etc):
    """Puts the certificates of host number where libvirt and QEMU look for them, below etc."""
    name = f"h{number}"
    places = {
        "pki/CA/cacert.pem": "ca-cert.pem",
        "pki/libvirt/servercert.pem": f"{name}-server-cert.pem",
        "pki/libvirt/clientcert.pem": f"{name}-client-cert.pem",
        "pki/libvirt/private/serverkey.pem": f"{name}-server-key.pem",
        "pki/libvirt/private/clientkey.pem": f"{name}-client-key.pem",
        "pki/qemu/ca-cert.pem": "ca-cert.pem",
        "pki/qemu/server-cert.pem": f"{name}-server-cert.pem",
        "pki/qemu/server-key.pem": f"{name}-server-key.pem",
        "pki/qemu/client-cert.pem": f"{name}-client-cert.pem",
        "pki/qemu/client-key.pem": f"{name}-client-key.pem",
    }
    for target, source in places.items():
        path = os.path.join(etc, target)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.path.join(DIR, source), "rb") as file:
            data = file.read()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if "key" in target else 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
