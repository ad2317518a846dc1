"""No network: what connects beyond this machine, or asks for a name that is not its own, fails.

Unix sockets and loopback are left alone.  Python itself reports what it is about to do (PEP 578),
so no library of Python's can go round it; other programs are not seen.
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
"""What is reported, and which of its arguments is the place."""


class NetworkError(AssertionError):
    """A test reaches for the network.

    No OSError, which a loader would take for a download that failed.
    """


def is_local(host: Any) -> bool:
    """Whether a host, a name or an address, is this machine."""
    from ipaddress import ip_address

    host = host.decode(errors="replace") if isinstance(host, bytes) else host
    if host in NAMES:
        return True
    try:
        return ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise NetworkError for what leads beyond this machine."""
    if event not in WATCHED:
        return
    place = arguments[WATCHED[event]]
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if not (isinstance(place, tuple) and isinstance(place[0], str | bytes)):
            # a Unix socket's path, the numbers of a netlink, or nothing: it is connected
            return
        place = place[0]
    if not is_local(place):
        raise NetworkError(f"a test reaches for the network ({event} {place!r}): replace it")


sys.addaudithook(refuse)
