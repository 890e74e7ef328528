"""What proxies refused, as problems of the objects that made it."""

from collections.abc import Iterator

from controlplane.local.ports import BusyPort
from controlplane.model.problem import Level, Origin, Problem
from controlplane.snapshot.view import View
from controlplane.xds.protocol.commands import Accepted, HoldEnded, Refused

_Place = tuple[int, str, str]  # (connection, type URL, resource name)
SHORTEST = 500  # characters of a proxy's own words that are kept


class Nacks:
    """Refused and held resources, until the proxy accepts them or leaves."""

    def __init__(self) -> None:
        self._found: dict[_Place, tuple[Problem, ...]] = {}
        self._busy: dict[_Place, BusyPort] = {}

    @property
    def is_empty(self) -> bool:
        """Nothing is refused or held."""
        return not self._found

    def heard(self, connection: int, proxy: str, view: View, news: Accepted | Refused | HoldEnded) -> bool:
        """Files one message; whether something is wrong that was not known."""
        if isinstance(news, Accepted):
            for name in (*news.names, *news.removed):
                self._drop((connection, news.type_url, name))
            return False
        if isinstance(news, HoldEnded):
            waiting = ", ".join(news.waiting_for)
            text = f"{proxy} was sent this before {waiting} was ready there: calls may get 503 until it is"
            return self._file(connection, view, news.type_url, news.name, ("WaitingForCluster", Level.WARNING, text))
        fresh = [self._refused(connection, proxy, view, news, name) for name, _ in news.culprits]
        return any(fresh)

    def _refused(self, connection: int, proxy: str, view: View, news: Refused, name: str) -> bool:
        place = (connection, news.type_url, name)
        if (where := _taken(news.error, name)) is not None:
            self._busy[place] = BusyPort(proxy, *where, _origins(view, news.type_url, name))
            return self._keep(place, tuple(self._busy[place].problems()))
        said = " ".join(news.error.split())[:SHORTEST]
        text = f"refused by {proxy}, which keeps the last good version: {said}"
        return self._file(connection, view, news.type_url, name, ("RefusedByProxy", Level.ERROR, text))

    def _file(self, connection: int, view: View, type_url: str, name: str, problem: tuple[str, Level, str]) -> bool:
        code, level, text = problem
        origins = _origins(view, type_url, name)
        return self._keep((connection, type_url, name), tuple(Problem(code, level, at, text) for at in origins))

    def _keep(self, place: _Place, found: tuple[Problem, ...]) -> bool:
        known = self._found.get(place)
        self._found[place] = found
        return known != found

    def _drop(self, place: _Place) -> None:
        self._found.pop(place, None)
        self._busy.pop(place, None)

    def busy_ports(self) -> tuple[BusyPort, ...]:
        """Where proxies cannot listen because something else does."""
        return tuple(self._busy.values())

    def forget(self, connection: int) -> None:
        """The proxy is gone."""
        for place in [place for place in self._found if place[0] == connection]:
            self._drop(place)

    def of(self, connection: int) -> Iterator[Problem]:
        """What one proxy says no to, and what it was told too early."""
        for (proxy, _, _), found in self._found.items():
            if proxy == connection:
                yield from found

    def problems(self) -> Iterator[Problem]:
        """All that is wrong now."""
        for found in self._found.values():
            yield from found


def _origins(view: View, type_url: str, name: str) -> tuple[Origin, ...]:
    resource = view.get(type_url, name)
    return resource.origins if resource is not None else ()


def _taken(error: str, name: str) -> tuple[str, int] | None:
    """The address that Envoy says it cannot have: `NAME: cannot bind '127.0.0.1:80': Address already in use`."""
    address, _, why = error.partition(f"{name}: cannot bind '")[2].partition("': ")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() and why.startswith("Address already in use") else None
