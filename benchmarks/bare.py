"""What `submit` is held against: a Flask route that does nothing but Celery's apply_async."""

from __future__ import annotations

from celery import Celery
from flask import Flask, request
from flask.typing import ResponseReturnValue

QUEUE = "bare"

celery = Celery("bare")
celery.config_from_object("celeryconfig")
app = Flask(__name__)


@celery.task(name="bare.run", queue=QUEUE)
def run(prompt: str) -> None:
    """Never run: only published."""


@app.post("/jobs")
def post() -> ResponseReturnValue:
    """Publish the prompt."""
    sent = run.apply_async((request.get_json()["prompt"],))
    return {"id": sent.id}, 202
