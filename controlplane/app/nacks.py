"""What proxies refused, as problems of the objects that made it."""

from collections.abc import Iterator

from controlplane.model.problem import Level, Origin, Problem
from controlplane.snapshot.view import View
from controlplane.xds.protocol.commands import Accepted, HoldEnded, Refused

_Place = tuple[int, str, str]  # (connection, type URL, resource name)
SHORTEST = 500  # characters of a proxy's own words that are kept


class Nacks:
    """Refused and held resources, until the proxy accepts them or leaves."""

    def __init__(self) -> None:
        self._found: dict[_Place, tuple[Problem, ...]] = {}

    @property
    def is_empty(self) -> bool:
        """Nothing is refused or held."""
        return not self._found

    def heard(self, connection: int, proxy: str, view: View, news: Accepted | Refused | HoldEnded) -> bool:
        """Files one message; whether something is wrong that was not known."""
        if isinstance(news, Accepted):
            for name in (*news.names, *news.removed):
                self._found.pop((connection, news.type_url, name), None)
            return False
        if isinstance(news, HoldEnded):
            waiting = ", ".join(news.waiting_for)
            text = f"{proxy} was sent this before {waiting} was ready there: calls may get 503 until it is"
            return self._file(connection, view, news.type_url, news.name, ("WaitingForCluster", Level.WARNING, text))
        text = f"refused by {proxy}, which keeps the last good version: {news.error[:SHORTEST]}"
        fresh = [
            self._file(connection, view, news.type_url, name, ("RefusedByProxy", Level.ERROR, text))
            for name, _ in news.culprits
        ]
        return any(fresh)

    def _file(self, connection: int, view: View, type_url: str, name: str, problem: tuple[str, Level, str]) -> bool:
        resource = view.get(type_url, name)
        origins: tuple[Origin, ...] = resource.origins if resource is not None else ()
        code, level, text = problem
        found = tuple(Problem(code, level, origin, text) for origin in origins)
        known = self._found.get((connection, type_url, name))
        self._found[connection, type_url, name] = found
        return known != found

    def forget(self, connection: int) -> None:
        """The proxy is gone."""
        for place in [place for place in self._found if place[0] == connection]:
            del self._found[place]

    def problems(self) -> Iterator[Problem]:
        """All that is wrong now."""
        for found in self._found.values():
            yield from found
