"""Asks an engine whether it lives, and judges.

/health is no answer: it says 200 while EngineCore is stopped, and during a drain in which requests get 500. A request
for one token goes all the way.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Self

import requests

from tasks.http_adapter import ClosingAdapter

#: So long may the API server take over what it answers without its EngineCore.
QUICK_S = 5
#: So many probes in a row must fail, with no sign of life between them.
MISSES = 2
#: What moves in /metrics while the engine works, and stands still when EngineCore does: the tokens that it has read and
#: written, and, in each step of a prefill that goes on for long and moves neither, the use of its KV cache.
SIGNS_OF_WORK = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:kv_cache_usage_perc")


class Answer(StrEnum):
    """What came of one probe."""

    GOOD = "good"
    #: Refused, broken off or 5xx: a drowning engine and a drained one look alike.
    BAD = "bad"
    NONE = "none"


class Probe:
    """Questions to one engine; for one thread, which closes it. `served_name` is one of the names it serves its model
    under; `embeds` says that the model makes vectors, not tokens."""

    def __init__(
        self, base_url: str, *, served_name: str, timeout_s: float, embeds: bool = False, api_key: str = ""
    ) -> None:
        self._url = base_url
        self._path = "/v1/embeddings" if embeds else "/v1/completions"
        one_token: dict[str, object] = {"prompt": "1", "max_tokens": 1, "temperature": 0}
        self._body = {"model": served_name, **({"input": "1"} if embeds else one_token)}
        self._timeout_s = timeout_s
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy for the outside has no part in loopback
        self._session.headers["Authorization"] = f"Bearer {api_key}"
        self._session.mount("http://", ClosingAdapter())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def is_up(self) -> bool:
        """Whether the API server answers at all."""
        try:
            return self._session.get(f"{self._url}/health", timeout=QUICK_S).ok
        except requests.RequestException:
            return False

    def ask(self) -> Answer:
        """Have one token made, or one vector."""
        try:
            response = self._session.post(f"{self._url}{self._path}", json=self._body, timeout=self._timeout_s)
        except requests.Timeout:
            return Answer.NONE
        except requests.RequestException:
            return Answer.BAD
        # 503: a full queue, which is a sign of life.
        return Answer.GOOD if response.status_code in (200, 503) else Answer.BAD

    def work(self) -> tuple[str, ...]:
        """What shows how far the engine has come: another value when asked again says that it works. Empty when it does
        not tell."""
        try:
            lines = self._session.get(f"{self._url}/metrics", timeout=QUICK_S).text.splitlines()
        except requests.RequestException:
            return ()
        return tuple(line for line in lines if line.startswith(SIGNS_OF_WORK))


class Liveness:
    """Tells a hung engine from a busy one.

    A busy engine may let the probe wait beyond its time, but then its signs of work move, or a caller gets an answer
    (`heard_at`, monotonic seconds of the last one).
    """

    def __init__(self, probe: Probe, heard_at: Callable[[], float]) -> None:
        self._probe = probe
        self._heard_at = heard_at
        self._work: tuple[str, ...] = ()
        self._misses = 0

    def check(self) -> bool:
        """Probe once, at most the probe's timeout long; False when the engine is lost."""
        heard_before = self._heard_at()
        if self._probe.ask() is Answer.GOOD or self._moved() or self._heard_at() > heard_before:
            self._misses = 0
        else:
            self._misses += 1
        return self._misses < MISSES

    @property
    def in_doubt(self) -> bool:
        """Whether the last probe failed: ask again soon."""
        return self._misses > 0

    def _moved(self) -> bool:
        """Whether the signs of work changed since this was last asked; the first time there is nothing to compare."""
        before, self._work = self._work, self._probe.work()
        return () not in (before, self._work) and before != self._work
