"""The network block of tests and of the processes that they start."""

import os
import socket
import subprocess
import sys
import urllib.request

import pytest
from no_network import NetworkError

# addresses for documentation (RFC 5737, RFC 3849), which never answer
FAR = [
    (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
]


@pytest.mark.parametrize(("family", "place"), FAR)
def test_a_connection_beyond_this_machine_is_refused(family, place):
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.settimeout(1)
        with pytest.raises(NetworkError, match=r"uses the network \(socket\.connect"):
            stream.connect(place)
        with pytest.raises(NetworkError):
            stream.connect_ex(place)
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(NetworkError):
            datagrams.sendto(b"", place)
        with pytest.raises(NetworkError):
            datagrams.sendmsg([b""], [], 0, place)


@pytest.mark.parametrize("ask", [socket.gethostbyname, lambda name: socket.getaddrinfo(name, 80)])
def test_names_are_not_looked_up(ask):
    with pytest.raises(NetworkError, match=r"skymask\.invalid"):
        ask("skymask.invalid")


def test_a_download_is_refused():
    open_ = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    with pytest.raises(NetworkError):
        open_("http://skymask.invalid/data.zip", timeout=1)


def test_loopback_and_unix_sockets_work(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            with socket.create_connection((host, port), timeout=60):
                server.accept()[0].close()
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(os.path.relpath(tmp_path / "s"))
        server.listen()
        client.connect(os.path.relpath(tmp_path / "s"))
    one, other = socket.socketpair()
    one.sendmsg([b"x"])
    assert other.recv(1) == b"x"
    one.close()
    other.close()


def test_a_process_that_a_test_starts_is_refused_too():
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "NetworkError: a test uses the network" in done.stderr
