"""A network block: connections and name look-ups beyond this machine fail.

Unix sockets and loopback work.  An audit hook (PEP 578) sees the calls of every Python library, but
not those of other programs.
"""

import os
import sys
from typing import Any

NAMES = (None, "", "localhost", os.uname().nodename)
WATCHED = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
"""Audit events, and the position of the address in their arguments."""


class NetworkError(AssertionError):
    """A test uses the network.

    It is no OSError, which a loader would take for a failed download.
    """


def is_local(host: Any) -> bool:
    """Tell whether a host name or address is this machine."""
    from ipaddress import ip_address

    host = host.decode(errors="replace") if isinstance(host, bytes) else host
    if host in NAMES:
        return True
    try:
        return ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise NetworkError if an audit event leads beyond this machine."""
    if event not in WATCHED:
        return
    place = arguments[WATCHED[event]]
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if not (isinstance(place, tuple) and isinstance(place[0], str | bytes)):
            # a Unix socket's path, a netlink's numbers, or nothing for a connected socket
            return
        place = place[0]
    if not is_local(place):
        raise NetworkError(f"a test uses the network ({event} {place!r}): replace the call")


sys.addaudithook(refuse)
