"""A server in a process of its own, driven over its standard input; so that a test can kill it.

One JSON command a line in: {"set": [resource…], "remove": [[type, name]…]}. One JSON event a line out.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from controlplane.model.proxy import Proxy
from controlplane.runtime.clock import SystemClock
from controlplane.snapshot.resource import Ref, Resource
from controlplane.snapshot.view import View
from controlplane.xds import server as server_module
from controlplane.xds.admission import admit_local
from controlplane.xds.connection import Connection
from controlplane.xds.protocol.commands import Accepted, Command, HoldEnded, Refused, Send
from controlplane.xds.server import AdsServer
from tests.xds.views import MemoryView


def say(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def packed(each: Resource) -> dict[str, Any]:
    """A resource as a JSON command carries it."""
    plain = msgspec.to_builtins(each)
    return {**plain, "origins": [], "body": base64.b64encode(each.body).decode()}


def unpacked(plain: dict[str, Any]) -> Resource:
    refs = tuple(Ref(*each) for each in plain["refs"])
    return Resource(
        plain["type_url"], plain["name"], plain["version"], base64.b64decode(plain["body"]), refs, waits=plain["waits"]
    )


class TalkativeProxies:
    """Everybody sees one view; what happens is said."""

    def __init__(self, view: MemoryView) -> None:
        self._view = view

    async def connected(self, connection: int, proxy: Proxy) -> View:
        say("connected", proxy=proxy.id, envoy=proxy.envoy_version)
        return self._view

    def disconnected(self, connection: int) -> None:
        say("disconnected")

    def heard(self, connection: int, news: Accepted | Refused | HoldEnded) -> None:
        say(type(news).__name__.lower(), **msgspec.to_builtins(news))


class _TalkativeConnection(Connection):
    def _perform(self, commands: Any) -> None:
        listed: list[Command] = list(commands)
        for command in listed:
            if isinstance(command, Send):
                about = command.response
                say("sent", type_url=about.type_url, names=list(about.names), removed=list(about.removed))
        super()._perform(listed)


async def serve(path: Path) -> None:
    view = MemoryView()
    server = AdsServer(TalkativeProxies(view), SystemClock(), lambda: 0.5)
    lines = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    listening = False
    async for line in lines:
        command = json.loads(line)
        removed = [Ref(*each) for each in command.get("remove", ())]
        changes = view.apply(*map(unpacked, command.get("set", ())), remove=removed)
        if not listening:
            await server.listen_unix(path, admit_local)
            listening = True
        server.published(view, changes)
        say("applied")
    await server.stop()


if __name__ == "__main__":
    with patch.object(server_module, "Connection", _TalkativeConnection):
        asyncio.run(serve(Path(sys.argv[1])))
