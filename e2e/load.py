"""Steady load from inside of a Pod, with the account of `tests.proof.load`: every answer is in it, once.

    with Load(kubectl, "deploy/client", "http://server/", connections=4) as load:
        load.wait_for(1000)     # whatever is done meanwhile is done under load
    assert not load.account.failed, load.account

It runs in the Pod by itself: an API server that is away, or an exec that breaks, does not end it.
"""

import json
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

from e2e.kubectl import Kubectl, KubectlError
from tests.proof import load as program
from tests.proof.load import Account

_SOURCE = Path(program.__file__).read_text()
_PATIENCE = 120.0  # seconds
_LOOK_EVERY = 0.3  # seconds: an exec costs the node as much as a hundred calls


def called(kubectl: Kubectl, where: str, url: str, requests: int, container: str = "", **how: Any) -> Account:
    """What came of so many calls. `where`: `pod/NAME` or `deploy/NAME`; `how`: as `Load`'s."""
    command = ("python3", "-c", _SOURCE, _options(url, _name(), requests=requests, **how))
    return Account.read(json.loads(kubectl.ran(where, *command, container=container)))


class Load:
    """From the moment the `with` block is entered until it is left."""

    def __init__(self, kubectl: Kubectl, where: str, url: str, container: str = "", **how: Any) -> None:
        """`how`: `connections`, `headers` (a mapping), `fresh`, `pause`; `to`: another host and port than the URL's."""
        self.account = Account()
        self._name = _name()
        self._options = _options(url, self._name, **how)
        self._kubectl = kubectl
        self._where = where
        self._container = container

    def __enter__(self) -> Self:
        self._ran("sh", "-c", f'python3 -c "$0" "$1" > {self._name}.log 2>&1 &', _SOURCE, self._options)
        self.wait_for(1)
        return self

    def __exit__(self, *_: object) -> None:
        """Lets every request that is out be answered, then ends; the account is complete."""
        self._ran("touch", f"{self._name}.stop")
        ended = json.loads(self._until(lambda: self._ran("cat", f"{self._name}.log")))
        self.account = Account.read(ended)

    def look(self) -> Account:
        """The account until now."""
        self.account = Account.read(json.loads(self._ran("cat", f"{self._name}.json")))
        return self.account

    def wait_for(self, more: int) -> None:
        """Until so many more requests were answered, well or not."""
        goal = self.account.total + more
        self._until(lambda: self.look().total >= goal)

    def _until(self, ask: Any) -> Any:
        until, last = monotonic() + _PATIENCE, "nothing"
        while monotonic() < until:
            try:
                if answer := ask():
                    return answer
            except KubectlError as error:
                last = str(error)
            sleep(_LOOK_EVERY)
        raise AssertionError(f"the load on {self._where}: {self.account}; {last}")

    def _ran(self, *command: str) -> str:
        return self._kubectl.ran(self._where, *command, container=self._container)


def _name() -> str:
    return f"/tmp/load-{uuid4().hex[:8]}"


def _options(url: str, name: str, to: str = "", **how: Any) -> str:
    """`to`: HOST:PORT."""
    place = urlsplit(f"//{to}" if to else url)
    return json.dumps({"address": place.hostname, "port": place.port or 80, "url": url, "name": name, **how})
