"""A network that can be cut without a word: packets vanish, nobody gets a FIN or a reset.

A network namespace joined by a veth pair; each path is an address in it, whose listener passes
bytes on to a server of ours. A cut gives the address a false hardware address, so that the kernel
sends packets to nobody, with all of TCP's own retries and time-outs at work. Needs root.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from broker.database import PARTITION

CLONE_NEWNET = 0x40000000
NAME = "gt-net"
OURS, THEIRS = f"{NAME}0", f"{NAME}1"
SUBNET = "10.213.7"
NOBODY = "02:00:00:00:00:99"


class NoNetwork(Exception):
    """This machine lets us make no network namespace; the message says why."""


class Network:
    """Paths to servers, by name; inside `network()` only."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._paths: dict[str, str] = {}
        self.callers: dict[str, str] = {}
        """Per path an address to call from, so that its answers alone can vanish."""
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def path(self, name: str, server: str | tuple[str, int], port: int = 5000) -> tuple[str, int]:
        """A new way to a server (Unix socket path, or host and port): the address to connect to.

        One with a Unix socket cannot see its clients vanish, so the listener does as it would: it
        drops them after the time that we ask of PostgreSQL (database.PARTITION).
        """
        number = len(self._paths)
        address = f"{SUBNET}.{number + 2}"
        _ip("-n", NAME, "addr", "add", f"{address}/24", "dev", THEIRS)
        self._paths[name] = address
        self.callers[name] = f"{SUBNET}.{number + 102}"
        _ip("addr", "add", f"{self.callers[name]}/24", "dev", OURS)
        listener = _listen_inside((address, port))
        started = asyncio.run_coroutine_threadsafe(_serve(listener, server), self._loop)
        self._servers.append(started.result(10))
        return address, port

    def cut(self, name: str) -> None:
        """From now on nothing comes through, either way."""
        _ip(
            "neigh", "replace", self._paths[name], "lladdr", NOBODY, "dev", OURS, "nud", "permanent"
        )

    def deafen(self, name: str) -> None:
        """From now on calls from the path's own address get through, and their answers do not."""
        nobody = ("lladdr", NOBODY, "dev", THEIRS, "nud", "permanent")
        _ip("-n", NAME, "neigh", "replace", self.callers[name], *nobody)

    def mend(self, name: str) -> None:
        """Whichever way it was cut."""
        with suppress(NoNetwork):
            _ip("neigh", "del", self._paths[name], "dev", OURS)
        with suppress(NoNetwork):
            _ip("-n", NAME, "neigh", "del", self.callers[name], "dev", THEIRS)

    def close(self) -> None:
        async def end() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            for server in self._servers:
                server.close()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def network() -> Iterator[Network]:
    """A namespace and its network, gone at the end."""
    _remove()
    try:
        _ip("netns", "add", NAME)
        _ip("link", "add", OURS, "type", "veth", "peer", "name", THEIRS, "netns", NAME)
        _ip("addr", "add", f"{SUBNET}.1/24", "dev", OURS)
        _ip("link", "set", OURS, "up")
        _ip("-n", NAME, "link", "set", THEIRS, "up")
        made = Network()
        try:
            yield made
        finally:
            made.close()
    finally:
        _remove()


def _remove() -> None:
    for what in (("link", "del", OURS), ("netns", "del", NAME)):
        with suppress(NoNetwork):
            _ip(*what)


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise NoNetwork(f"ip {' '.join(words)}: {said.strip()}") from error


def _listen_inside(address: tuple[str, int]) -> socket.socket:
    """A socket stays in the namespace in which it was made; a thread of its own goes there."""
    made: list[socket.socket] = []

    def make() -> None:
        handle = os.open(Path("/run/netns") / NAME, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(handle)
        made.append(socket.create_server(address))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


async def _serve(listener: socket.socket, server: str | tuple[str, int]) -> asyncio.Server:
    async def passed_on(inside: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            if isinstance(server, str):
                _drop_vanished(back.get_extra_info("socket"))
                answers, outside = await asyncio.open_unix_connection(server)
            else:
                answers, outside = await asyncio.open_connection(*server)
        except OSError:
            back.close()
            return
        await asyncio.gather(_pass(inside, outside), _pass(answers, back))

    return await asyncio.start_server(passed_on, sock=listener)


def _drop_vanished(client: socket.socket) -> None:
    for option, value in (
        (socket.TCP_KEEPIDLE, PARTITION["keepalives_idle"]),
        (socket.TCP_KEEPINTVL, PARTITION["keepalives_interval"]),
        (socket.TCP_KEEPCNT, PARTITION["keepalives_count"]),
        (socket.TCP_USER_TIMEOUT, PARTITION["tcp_user_timeout"]),
    ):
        client.setsockopt(socket.IPPROTO_TCP, option, value)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
