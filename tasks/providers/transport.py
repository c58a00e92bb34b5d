"""One HTTP exchange over the process's one pool of connections, with requests' errors renamed to ours."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import requests
import urllib3

from tasks.domain.network import Network
from tasks.domain.provider_errors import ConnectionLost, ProviderError, ProviderTimeout, Unreachable
from tasks.providers import bodies
from tasks.providers.base import Call
from tasks.providers.connection import CallAdapter, Exchange, carry

#: The read timeout is the backstop of the deadline's watcher, which should be the first to act.
READ_MARGIN_S = 2.0
#: A reused connection that fails sooner than this, unanswered, was closed while it lay idle.
STALE_WITHIN_S = 0.5

BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
#: Of one answer, unpacked.
ANSWER_MAX_BYTES = 16 * 1024 * 1024

TIMED_OUT = (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP answer, read to its end. `headers` are found whatever their case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests that can be cut. Serves `concurrency` threads at once; a further one waits for its turn.

    No answer may be longer than `answer_max_bytes`. `networks` are those that a provider may name places in, besides
    the public internet. `ca_file` replaces certifi's certificate authorities. Proxies,
    netrc and cookies are not looked at.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        connect_timeout_s: float,
        answer_max_bytes: int = ANSWER_MAX_BYTES,
        networks: Sequence[Network] = (),
        ca_file: str | None = None,
    ) -> None:
        self._networks = tuple(networks)
        self._answer_max_bytes = answer_max_bytes
        self._connect_timeout_s = connect_timeout_s
        self._verify: bool | str = ca_file or True
        # The adapter without a Session around it: cookies, redirects, netrc and proxies are nothing we want, and
        # looking for them costs more than the rest of the call.
        self._adapter = CallAdapter(concurrency=concurrency)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        body: bytes | None,
        call: Call,
        anywhere: bool = True,
    ) -> Answer:
        """Send one request and read the whole answer; redirects are not followed.

        `anywhere` False: not to a host whose addresses are not public, nor in `networks`. Raises ConnectionLost,
        ProviderTimeout, InvalidResponse for such a host or an answer that is too long, or CallCut when `call` was ended
        by us.
        """
        request = prepare(method, url, headers, body)
        networks = None if anywhere else self._networks
        exchange = Exchange(call, networks=networks)
        try:
            return self._exchange(request, exchange)
        except BROKEN as error:
            call.raise_if_cut()
            if not is_stale(exchange):
                raise renamed(error, exchange) from error
        exchange = Exchange(call, fresh=True, networks=networks)
        try:
            return self._exchange(request, exchange)
        except BROKEN as error:
            call.raise_if_cut()
            raise renamed(error, exchange) from error

    def _exchange(self, request: requests.PreparedRequest, exchange: Exchange) -> Answer:
        call = exchange.call
        call.raise_if_cut()
        left_s = call.remaining_s()
        if left_s <= 0:
            raise TimeoutError("the call's time is over")
        exchange.patience_s = left_s + READ_MARGIN_S
        carry(exchange)
        try:
            timeout = (min(self._connect_timeout_s, left_s), exchange.patience_s)
            response = self._adapter.send(request, stream=True, timeout=timeout, verify=self._verify, proxies={})
            body = self._read(response.raw)
        finally:
            call.detach()
        # A body without a length ends where the socket was shut down, and looks whole.
        call.raise_if_cut()
        return Answer(status=response.status_code, headers=response.headers, body=body)

    def _read(self, raw: urllib3.HTTPResponse) -> bytes:
        try:
            return bodies.read(raw, most_bytes=self._answer_max_bytes)
        except BaseException:
            # With the rest of the answer in it the connection is of no use; its place in the pool is.
            raw.close()
            raw.release_conn()
            raise

    def close(self) -> None:
        """Close the idle connections."""
        self._adapter.close()


def prepare(method: str, url: str, headers: dict[str, str], body: bytes | None) -> requests.PreparedRequest:
    """A request made ready without requests' merging of sessions, cookies, hooks and environment."""
    request = requests.PreparedRequest()
    request.method = method
    request.url = url
    # Said, since what is not said may be answered in any way.
    request.headers = requests.structures.CaseInsensitiveDict({"Accept-Encoding": "identity", **headers})
    request.body = body
    if body is not None:
        request.headers["Content-Length"] = str(len(body))
    return request


def is_stale(exchange: Exchange) -> bool:
    """Whether the failure was an idle connection's end, so that the server never saw the request."""
    at_once = time.monotonic() - exchange.sent_at < STALE_WITHIN_S
    return exchange.reused and not exchange.answered and at_once


def renamed(error: Exception, exchange: Exchange) -> ProviderError:
    """A foreign error as one of ours."""
    if isinstance(error, TIMED_OUT) or exchange.call.overdue():
        return ProviderTimeout("no answer within the call's time")
    if isinstance(error, requests.exceptions.SSLError):
        return Unreachable("no TLS connection could be made")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return Unreachable("the provider could not be reached in time")
    if not exchange.connected:
        return Unreachable("no connection could be made")
    return ConnectionLost("the connection broke before the answer was whole")
