"""Which address of this host others reach: listeners bind that one, never all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import struct
from pathlib import Path

_SIOCGIFADDR = 0x8915


class AddressError(Exception):
    """No listener can be made there; the text says why and what to do."""


def _is_literal(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def interfaces() -> dict[str, str]:
    """IPv4 address by interface, loopback left out."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, request)
            except OSError:
                continue  # it has no IPv4 address
            address = socket.inet_ntoa(answer[20:24])
            if not ipaddress.ip_address(address).is_loopback:
                found[name] = address
    return dict(sorted(found.items()))


def own_address(name: str) -> str:
    """The address at which this host is reached as `name`.

    Debian gives a host's own name an address of the loopback interface, which no other host reaches: then it is
    the one address that this host has beside it.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise AddressError(
            f"the name `{name}` has no address here ({error}); give --master-addr an address of the first host"
        ) from None
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # IPv4 first, else as they came
    address = str(found[0][4][0])
    parsed = ipaddress.ip_address(address)
    if parsed.is_unspecified:
        raise AddressError(
            f"`{name}` would listen on every address of this host; give --master-addr the one that others reach"
        )
    if not parsed.is_loopback or _is_literal(name) or name == "localhost":
        return address
    others = interfaces()
    if len(others) == 1:
        return next(iter(others.values()))
    listed = ", ".join(f"{each} ({interface})" for interface, each in others.items()) or "none"
    raise AddressError(
        f"`{name}` is {address} on this host itself, which other hosts cannot reach; give --master-addr one of its "
        f"addresses: {listed}"
    )


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens at that port (0: a free one) of one address of this host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        hint = (
            "choose another --master-port, or none"
            if isinstance(error, OverflowError) or error.errno not in (99, 101)
            else "it is no address of this host: give --master-addr one that is"
        )
        owner = _listener_at(port) if getattr(error, "errno", 0) == errno.EADDRINUSE else ""
        raise AddressError(f"cannot listen on {address}:{port} ({error}{owner}); {hint}") from None
    return listener


def _listener_at(port: int) -> str:
    """Which process listens at a port of this host, as far as this one may see it: ", by process 7 (python3)"."""
    listens = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    listens.add(f"socket:[{words[9]}]")
    for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):
            if any(os.readlink(link) in listens for link in (entry / "fd").iterdir()):
                name = (entry / "comm").read_text().strip()
                return f", by process {entry.name} ({name})"
    return ""
