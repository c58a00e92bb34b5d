"""What `batch` is held against: a Celery task per item that makes the same HTTP call, in a chord or a group."""

from __future__ import annotations

import os
import threading
from typing import cast

import requests
from celery import Celery, chord, group
from celery.result import GroupResult
from redis import Redis
from requests.adapters import HTTPAdapter

QUEUE, DONE = "plain", "plain:done"
TIMEOUT_S = 60

celery = Celery("plain")
celery.config_from_object("celeryconfig")
celery.conf.update(imports=(), task_ignore_result=False, task_default_queue=QUEUE)
_here = threading.local()


@celery.task(name="plain.call")
def call(url: str, prompt: str, model: str) -> str:
    """Ask, and return the answer."""
    if not hasattr(_here, "http"):
        _here.http = requests.Session()
        _here.http.mount("http://", HTTPAdapter(pool_maxsize=1))
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    answer = _here.http.post(f"{url}/chat/completions", json=body, timeout=TIMEOUT_S)
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])


@celery.task(name="plain.body", ignore_result=True)
def body(results: list[str]) -> None:
    """Say that all parts are done."""
    Redis.from_url(os.environ["REDIS_URL"]).set(DONE, len(results))


def send_chord(url: str, prompts: list[str], model: str) -> GroupResult:
    """One chord of a task per item; the results of these."""
    return cast(GroupResult, chord([call.s(url, prompt, model) for prompt in prompts])(body.s()).parent)


def send_group(url: str, prompts: list[str], model: str) -> GroupResult:
    """One group of them."""
    return cast(GroupResult, group([call.s(url, prompt, model) for prompt in prompts]).apply_async())
