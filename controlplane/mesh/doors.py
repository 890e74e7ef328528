"""The ways into a port of a workload: what a caller's first bytes must be, and what is done with what follows.

Callers of the mesh open mutual TLS and name it by ALPN, with or without "this is HTTP inside"; others speak plain text,
or TLS of the application's own, which passes through. Which of these a port takes is its `PeerMode`.

Envoy looks for a way by transport, then by ALPN, and never goes back: whoever finds none is sent away. So what a mode
does not list it does not take.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from controlplane.ir.guard import PeerMode
from controlplane.ir.service import Protocol
from controlplane.mesh.chains import PLAIN_HTTP

# What callers of the mesh offer, HTTP and anything else. `istio-peer-exchange` is Istio's, beside `istio`.
MESH_HTTP: Final = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_BYTES: Final = ("istio-peer-exchange", "istio")
MESH: Final = (*MESH_HTTP, *MESH_BYTES)


class Spoken(Enum):
    """What a port is declared to speak."""

    HTTP = "http"
    BYTES = "bytes"
    EITHER = "either"  # not declared: found out call by call

    @classmethod
    def on(cls, protocol: Protocol) -> "Spoken":
        if protocol is Protocol.AUTO:
            return cls.EITHER
        return cls.HTTP if protocol.is_http else cls.BYTES


class Ends(Enum):
    """Whose TLS ends at the proxy."""

    NONE = "none"
    MESH = "mesh"
    OWN = "own"  # what a Sidecar says of this port


class Door(NamedTuple):
    """One way in."""

    http: bool
    ends: Ends = Ends.NONE
    transport: str = ""  # "tls", "raw_buffer" or either
    alpn: tuple[str, ...] = ()  # one of these, or any


_TLS, _PLAIN = "tls", "raw_buffer"
_MESH_HTTP = Door(http=True, ends=Ends.MESH, transport=_TLS)
_MESH_BYTES = Door(http=False, ends=Ends.MESH, transport=_TLS)
_PLAIN_BYTES = Door(http=False, transport=_PLAIN)
_OWN_TLS = Door(http=False, transport=_TLS)  # the application's: it goes on as it is

_DOORS: Final[Mapping[tuple[Spoken, PeerMode], tuple[Door, ...]]] = {
    (Spoken.HTTP, PeerMode.DISABLE): (Door(http=True),),
    (Spoken.HTTP, PeerMode.PERMISSIVE): (_MESH_HTTP._replace(alpn=MESH), Door(http=True, transport=_PLAIN)),
    (Spoken.HTTP, PeerMode.STRICT): (_MESH_HTTP,),
    (Spoken.BYTES, PeerMode.DISABLE): (Door(http=False),),
    (Spoken.BYTES, PeerMode.PERMISSIVE): (_MESH_BYTES._replace(alpn=MESH), _PLAIN_BYTES, _OWN_TLS),
    (Spoken.BYTES, PeerMode.STRICT): (_MESH_BYTES,),
    (Spoken.EITHER, PeerMode.DISABLE): (
        Door(http=True, transport=_PLAIN, alpn=PLAIN_HTTP),
        _PLAIN_BYTES,
        Door(http=False),
    ),
    (Spoken.EITHER, PeerMode.PERMISSIVE): (
        _MESH_HTTP._replace(alpn=MESH_HTTP),
        Door(http=True, transport=_PLAIN, alpn=PLAIN_HTTP),
        _MESH_BYTES._replace(alpn=MESH_BYTES),
        _PLAIN_BYTES,
        _OWN_TLS,
    ),
    (Spoken.EITHER, PeerMode.STRICT): (_MESH_HTTP._replace(alpn=MESH_HTTP), _MESH_BYTES),
}


def doors(spoken: Spoken, mode: PeerMode, *, own_tls: bool = False) -> tuple[Door, ...]:
    """The ways into a port, each told from the others by transport and ALPN.

    `own_tls`: a Sidecar gave the port TLS of its own, for callers from outside; the mesh has its own beside it.
    """
    if not own_tls:
        return _DOORS[spoken, mode]
    http = spoken is Spoken.HTTP
    terminated = Door(http=http, ends=Ends.OWN, transport=_TLS)
    of_mesh = Door(http=http, ends=Ends.MESH, transport=_TLS, alpn=MESH)
    return (terminated,) if mode is PeerMode.DISABLE else (of_mesh, terminated)
