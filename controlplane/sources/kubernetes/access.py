"""How an API server is reached: its address, our credentials, and raw answers as they come.

The `kubernetes` package knows every way to say where a cluster is and who we are (kubeconfig, exec plugins, a Pod's
service account); what comes back is ours to read. It does not renew all of these: tokens from files, client
certificates and authorities are read once. So a client is used for some minutes only, or until the API server does not
know us any more; then everything is read anew. What goes on over the old one ends in peace.

While nobody is answered, one asks and the others wait: an API server that comes back is not met by everybody at once,
and is noticed within two seconds.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import aiohttp
import msgspec
import structlog

from controlplane.base.clock import Clock
from controlplane.model.text import printable
from controlplane.runtime.backoff import Backoff, BackoffPolicy

log = structlog.get_logger(__name__)

_POD_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_CHUNK: Final = 256 * 1024
_LOAD: Final = 60.0  # seconds


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    connect: float = 5.0
    answer: float = 30.0  # between two pieces of an answer
    late: float = 3.0  # that a watch may end after it should
    load: float = _LOAD  # for an exec plugin to say who we are
    client: float = 300.0  # credentials are read anew after so long
    anew: float = 10.0  # but not more often than this
    unreached: BackoffPolicy = BackoffPolicy(first=0.2, factor=2.0, longest=2.0)


class Unreachable(Exception):  # noqa: N818  (what happened)
    """No answer at all, and why."""


class Broken(Exception):  # noqa: N818  (what happened)
    """An answer that did not come, or did not end, as it should."""


class Response(Protocol):
    """What comes back."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, as it comes. Raises Broken."""
        ...


class Credentials(Protocol):
    """Where a cluster is, and who we are."""

    async def load(self, configuration: Any) -> None:
        """Into a `kubernetes.aio.client.Configuration`. Raises whatever it likes."""
        ...


class KubeConfig(msgspec.Struct, frozen=True):
    """As kubectl has it."""

    path: str | None = None  # None: where kubectl looks ($KUBECONFIG, ~/.kube/config)
    context: str | None = None  # None: the current one

    def __str__(self) -> str:
        return f"kubeconfig {self.path or 'of kubectl'}"

    async def load(self, configuration: Any) -> None:
        from kubernetes.aio.config import kube_config  # noqa: PLC0415  half a second

        path = self.path or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        if not any(Path(one).expanduser().is_file() for one in path.split(kube_config.ENV_KUBECONFIG_PATH_SEPARATOR)):  # noqa: ASYNC240  a moment
            raise Unreachable(f"there is no kubeconfig {path}")
        try:
            loader = await kube_config.load_kube_config(path, self.context, configuration, persist_config=False)
        except kube_config.ConfigException as error:
            if self.context is not None and f"name {self.context} in" in str(error) and "contexts" in str(error):
                raise Unreachable(f"{self} has no context {self.context!r}") from error
            raise
        user = loader._user  # noqa: SLF001  it keeps to itself that a plugin failed
        if user is not None and "exec" in user and not {"token", "cert_file"} & vars(loader).keys():
            raise Unreachable(f"the plugin {user['exec']['command']} gave no credentials")


class Pod(msgspec.Struct, frozen=True):
    """The service account of the Pod that we are."""

    def __str__(self) -> str:
        return "this Pod's service account"

    async def load(self, configuration: Any) -> None:
        from kubernetes.aio.config import load_incluster_config  # noqa: PLC0415  as above

        load_incluster_config(configuration)


def credentials(kubeconfig: str | None, context: str | None) -> KubeConfig | Pod:
    """Of the Pod that we are, unless a kubeconfig is named; elsewhere kubectl's."""
    if kubeconfig is None and context is None and _POD_TOKEN.is_file():
        return Pod()
    return KubeConfig(kubeconfig, context)


async def client_of(who: Credentials, patience: float = _LOAD) -> Any:
    """A `kubernetes.aio.client.ApiClient`, to be closed. Its credentials are read now. Raises Unreachable."""
    from kubernetes.aio.client import ApiClient, Configuration  # noqa: PLC0415  as above

    configuration = Configuration()
    try:
        async with asyncio.timeout(patience):
            await who.load(configuration)
        client = ApiClient(configuration)
    except Unreachable:
        raise
    except Exception as error:  # the package raises what it likes for a file it does not understand
        raise Unreachable(f"{who} cannot be used: {_words(error)}") from error
    finally:
        _forget_files()
    client.user_agent = "lateen"
    return client


class Access:
    """Questions to one API server."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        randomness: Callable[[], float],
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`randomness` gives floats in [0, 1)."""
        self._credentials = credentials
        self._clock = clock
        self._sleep = sleep
        self.patience = patience or Patience()
        self._client: _Client | None = None
        self._loading = asyncio.Lock()
        self._one = asyncio.Lock()  # held by who tries, while nobody is answered
        self._backoff = Backoff(self.patience.unreached, randomness)
        self.away = ""  # why nobody is answered
        self.away_since = 0.0
        self.requests = 0

    @asynccontextmanager
    async def get(
        self, path: str, query: Mapping[str, str | int], headers: Mapping[str, str]
    ) -> AsyncIterator[Response]:
        """An answer, whatever its status. Raises Unreachable, Broken."""
        target = f"{path}?{urlencode(query)}" if query else path
        async with self._answered(target, headers) as (client, response):
            if response.status != 401 or not await self._outdated(client):
                yield response
                return
        async with self._answered(target, headers) as (_, response):
            yield response

    async def close(self) -> None:
        """Nothing is asked any more."""
        if self._client is not None:
            await self._client.retire()
            self._client = None

    @asynccontextmanager
    async def _answered(self, path: str, headers: Mapping[str, str]) -> "AsyncIterator[tuple[_Client, _Response]]":
        client, response = await self._asked(path, headers)
        try:
            yield client, response
        finally:
            response.close()
            await client.leave()

    async def _asked(self, path: str, headers: Mapping[str, str]) -> "tuple[_Client, _Response]":
        if not self.away:
            return await self._try(path, headers)
        async with self._one:
            if self.away:
                await self._sleep(self._backoff.next())
            return await self._try(path, headers)

    async def _try(self, path: str, headers: Mapping[str, str]) -> "tuple[_Client, _Response]":
        try:
            client = await self._entered()
        except Unreachable as error:
            self._lost(str(error))
            raise
        async with AsyncExitStack() as stack:
            stack.push_async_callback(
                client.leave
            )  # unless it answers: whatever happens here, and wherever it is cut off
            self.requests += 1
            try:
                response = await client.get(path, headers)
            except Unreachable as error:
                self._lost(str(error))
                await self._outdated(client)  # it may be somewhere else by now, or have another certificate
                raise
            stack.pop_all()
        self._found()
        return client, response

    def _lost(self, why: str) -> None:
        if not self.away:
            self.away_since = self._clock.monotonic()
            log.warning("the API server cannot be reached; what it said last stays in force", why=why)
        self.away = why

    def _found(self) -> None:
        if self.away:
            away = round(self._clock.monotonic() - self.away_since, 1)
            log.info("the API server answers again", seconds=away)
        self.away = ""
        self._backoff.failures = 0

    # Clients come and go

    async def _entered(self) -> "_Client":
        async with self._loading:
            now = self._clock.monotonic()
            if self._client is not None and now - self._client.made >= self.patience.client:
                await self._retire()
            if self._client is None:
                self._client = await self._loaded(now)
            self._client.users += 1
            return self._client

    async def _outdated(self, client: "_Client") -> bool:
        """Something is wrong with a client: whether there will be another, which is not before it has some age."""
        if self._clock.monotonic() - client.made < self.patience.anew:
            return False
        async with self._loading:
            if self._client is client:
                await self._retire()
        return True

    async def _retire(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.retire()

    async def _loaded(self, now: float) -> "_Client":
        return _Client(await client_of(self._credentials, self.patience.load), self.patience, now)


class _Client:
    """One reading of the credentials, and who still uses it."""

    def __init__(self, api: Any, patience: Patience, made: float) -> None:
        self._api = api
        self._patience = patience
        self._retired = False
        self.made = made
        self.users = 0

    async def get(self, path: str, headers: Mapping[str, str]) -> "_Response":
        """Raises Unreachable, Broken."""
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self._patience.connect,
            sock_read=self._patience.answer,
        )
        try:
            method, url, sent, _, _ = await self._api.param_serialize(
                "GET", path, header_params=dict(headers), auth_settings=["BearerToken"]
            )
        except Exception as error:  # a token file that cannot be read, in the package's own words
            raise Unreachable(f"no credentials: {_words(error)}") from error
        try:
            answer = await self._api.call_api(method, url, sent, _request_timeout=timeout)
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(f"no connection within {self._patience.connect:.0f} s") from error
        except TimeoutError as error:
            raise Broken(f"no answer within {self._patience.answer:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unreachable(_words(error)) from error
        return _Response(answer.response, self._patience.answer)

    async def leave(self) -> None:
        """One user less."""
        self.users -= 1
        await self._close()

    async def retire(self) -> None:
        """Nobody new; closed when the last one leaves."""
        self._retired = True
        await self._close()

    async def _close(self) -> None:
        if self._retired and self.users == 0:
            await self._api.close()


class _Response:
    """See `Response`."""

    def __init__(self, response: aiohttp.ClientResponse, patience: float) -> None:
        self._response = response
        self._patience = patience
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """As they come."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except TimeoutError as error:
            raise Broken(f"nothing came for {self._patience:.0f} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Broken(f"cut off: {_words(error)}") from error

    def close(self) -> None:
        """A connection whose answer was read to its end is used again; another is closed."""
        self._response.close() if not self._response.content.at_eof() else self._response.release()


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError) or isinstance(error.__cause__, ssl.SSLError):
        return f"TLS: {_one_line(str(error))}"
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _forget_files() -> None:
    """The package writes keys from a kubeconfig to temporary files; the client has read them."""
    from kubernetes.aio.config import kube_config  # noqa: PLC0415  as above

    kube_config._cleanup_temp_files()  # noqa: SLF001  it would wait for the end of the process
