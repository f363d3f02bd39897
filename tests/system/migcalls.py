# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's migration calls one by one, as virDomainMigrate makes them: through ctypes, since the Python bindings lack them.

The functions are private ones of libvirt.so (symbol version LIBVIRT_PRIVATE), which every version exports for its own
daemon. Domains and connections are those of the bindings; errors are libvirt.libvirtError.
"""

import ctypes
import ctypes.util

import libvirt

_lib = ctypes.CDLL("libvirt.so.0")
_libc = ctypes.CDLL(None)
_capsule_name = ctypes.pythonapi.PyCapsule_GetName
_capsule_name.restype, _capsule_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

P, S, I, L, U = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_ulong, ctypes.c_uint
OUT, LEN = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int)

SIGNATURES = {
    "Prepare": (I, P, OUT, LEN, S, OUT, L, S, L),
    "Perform": (I, P, S, I, S, L, S, L),
    "Finish": (P, P, S, S, I, S, L),
    "Prepare2": (I, P, OUT, LEN, S, OUT, L, S, L, S),
    "Finish2": (P, P, S, S, I, S, L, I),
    "Begin3": (P, P, S, OUT, LEN, L, S, L),
    "Prepare3": (I, P, S, I, OUT, LEN, S, OUT, L, S, L, S),
    "Perform3": (I, P, S, S, I, OUT, LEN, S, S, L, S, L),
    "Finish3": (P, P, S, S, I, OUT, LEN, S, S, L, I),
    "Confirm3": (I, P, S, I, L, I),
    "Begin3Params": (P, P, P, I, OUT, LEN, U),
    "Prepare3Params": (I, P, P, I, S, I, OUT, LEN, OUT, U),
    "Perform3Params": (I, P, S, P, I, S, I, OUT, LEN, U),
    "Finish3Params": (P, P, P, I, S, I, OUT, LEN, U, I),
    "Confirm3Params": (I, P, P, I, S, I, U, I),
}


def _function(name):
    function = getattr(_lib, "virDomainMigrate" + name)
    function.restype, *function.argtypes = SIGNATURES[name]
    return function


def _pointer(wrapped):
    """The C object of a virDomain or virConnect of the bindings."""
    return _capsule_pointer(wrapped._o, _capsule_name(wrapped._o))


class _Text:
    """What a call gives back: a string that is ours to free, with or without a length."""

    def __init__(self):
        self.pointer, self.length = ctypes.c_void_p(), ctypes.c_int()

    def out(self):
        return ctypes.byref(self.pointer)

    def out_length(self):
        return ctypes.byref(self.length)

    def take(self, sized=False):
        if not self.pointer.value:
            return None
        data = ctypes.string_at(self.pointer.value, self.length.value) if sized else ctypes.string_at(self.pointer.value)
        _libc.free(self.pointer)
        return data


def _bytes(text):
    return text.encode() if isinstance(text, str) else text


class _Params:
    """A list of typed parameters."""

    def __init__(self, values):
        self.list, self.count = ctypes.c_void_p(), ctypes.c_int()
        room = ctypes.c_int()
        for name, value in values.items():
            if value is not None:
                _lib.virTypedParamsAddString(ctypes.byref(self.list), ctypes.byref(self.count), ctypes.byref(room), _bytes(name),
                                             _bytes(value))

    def __enter__(self):
        return self.list, self.count

    def __exit__(self, *_):
        _lib.virTypedParamsFree(self.list, self.count)


def _call(name, *arguments):
    _lib.virResetLastError()
    result = _function(name)(*arguments)
    failed = result is None if SIGNATURES[name][0] is P else result < 0
    if failed:
        raise libvirt.libvirtError(f"virDomainMigrate{name}() failed")
    return result


def _domain_name(pointer):
    """The name of the domain that Finish gives, which is ours to free."""
    name_of = _lib.virDomainGetName
    name_of.restype, name_of.argtypes = S, [P]
    name = name_of(pointer).decode()
    _lib.virDomainFree.argtypes = [P]
    _lib.virDomainFree(pointer)
    return name


class Version3:
    """Begin, Prepare, Perform, Finish, Confirm; cookies are bytes with their final zero."""

    name = "version 3"
    version = 3

    def begin(self, dom, flags):
        cookie = _Text()
        xml = _call("Begin3", _pointer(dom), None, cookie.out(), cookie.out_length(), flags, None, 0)
        text = ctypes.string_at(xml)
        _libc.free(ctypes.c_void_p(xml))
        return text, cookie.take(True)

    def prepare(self, dconn, cookie, xml, flags, dname=None, uri=None):
        out, uri_out = _Text(), _Text()
        _call("Prepare3", _pointer(dconn), cookie, len(cookie or b""), out.out(), out.out_length(), _bytes(uri), uri_out.out(), flags,
              _bytes(dname), 0, xml)
        return out.take(True), uri_out.take()

    def perform(self, dom, cookie, uri, flags, dconnuri=None):
        out = _Text()
        _call("Perform3", _pointer(dom), None, cookie, len(cookie or b""), out.out(), out.out_length(), _bytes(dconnuri), uri, flags,
              None, 0)
        return out.take(True)

    def finish(self, dconn, name, cookie, uri, flags, cancelled=0):
        out = _Text()
        dom = _call("Finish3", _pointer(dconn), _bytes(name), cookie, len(cookie or b""), out.out(), out.out_length(), None, uri,
                    flags, cancelled)
        return _domain_name(dom), out.take(True)

    def confirm(self, dom, cookie, flags, cancelled=0):
        _call("Confirm3", _pointer(dom), cookie, len(cookie or b""), flags, cancelled)


class Version3Params(Version3):
    name = "version 3 with parameters"

    def begin(self, dom, flags):
        cookie = _Text()
        xml = _call("Begin3Params", _pointer(dom), None, 0, cookie.out(), cookie.out_length(), flags)
        text = ctypes.string_at(xml)
        _libc.free(ctypes.c_void_p(xml))
        return text, cookie.take(True)

    def prepare(self, dconn, cookie, xml, flags, dname=None, uri=None):
        out, uri_out = _Text(), _Text()
        with _Params({libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml, libvirt.VIR_MIGRATE_PARAM_DEST_NAME: dname,
                      libvirt.VIR_MIGRATE_PARAM_URI: uri}) as (params, count):
            _call("Prepare3Params", _pointer(dconn), params, count, cookie, len(cookie or b""), out.out(), out.out_length(),
                  uri_out.out(), flags)
        return out.take(True), uri_out.take()

    def perform(self, dom, cookie, uri, flags, dconnuri=None):
        out = _Text()
        with _Params({libvirt.VIR_MIGRATE_PARAM_URI: uri}) as (params, count):
            _call("Perform3Params", _pointer(dom), _bytes(dconnuri), params, count, cookie, len(cookie or b""), out.out(), out.out_length(), flags)
        return out.take(True)

    def finish(self, dconn, name, cookie, uri, flags, cancelled=0):
        out = _Text()
        with _Params({libvirt.VIR_MIGRATE_PARAM_DEST_NAME: name}) as (params, count):
            dom = _call("Finish3Params", _pointer(dconn), params, count, cookie, len(cookie or b""), out.out(), out.out_length(),
                        flags, cancelled)
        return _domain_name(dom), out.take(True)

    def confirm(self, dom, cookie, flags, cancelled=0):
        _call("Confirm3Params", _pointer(dom), None, 0, cookie, len(cookie or b""), flags, cancelled)


class Version2:
    """Prepare, Perform, Finish."""

    name = "version 2"
    version = 2

    def prepare(self, dconn, xml, flags, dname=None, uri=None):
        out, uri_out = _Text(), _Text()
        _call("Prepare2", _pointer(dconn), out.out(), out.out_length(), _bytes(uri), uri_out.out(), flags, _bytes(dname), 0, xml)
        return out.take(True), uri_out.take()

    def perform(self, dom, cookie, uri, flags):
        _call("Perform", _pointer(dom), cookie, len(cookie or b""), uri, flags, None, 0)

    def finish(self, dconn, name, cookie, uri, flags, cancelled=0):
        return _domain_name(_call("Finish2", _pointer(dconn), _bytes(name), cookie, len(cookie or b""), uri or b"", flags, cancelled))


class Version1(Version2):
    name = "version 1"
    version = 1

    def prepare(self, dconn, xml, flags, dname=None, uri=None):
        del xml
        out, uri_out = _Text(), _Text()
        _call("Prepare", _pointer(dconn), out.out(), out.out_length(), _bytes(uri), uri_out.out(), flags, _bytes(dname), 0)
        return out.take(True), uri_out.take()

    def finish(self, dconn, name, cookie, uri, flags, cancelled=0):
        assert not cancelled, "version 1 does not tell the destination of a failure"
        return _domain_name(_call("Finish", _pointer(dconn), _bytes(name), cookie, len(cookie or b""), uri or b"", flags))
