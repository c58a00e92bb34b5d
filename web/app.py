"""The Flask application: settings in, blueprints on, nothing that a fork would have to undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from tasks import logs, settings
from web import errors, local_access, request_log
from web.api import describe
from web.guesses import Guesses
from web.resources import batch_items, batches, chat, docs, health, jobs, limits, models, usage, v1_batches, v1_files

#: In the order in which the documentation shows them.
BLUEPRINTS = (
    *(jobs.blp, batches.blp, batch_items.blp, v1_files.blp, v1_batches.blp),
    *(chat.blp, models.blp, limits.blp, usage.blp, health.blp),
)


class Application(Flask):
    """Flask without a question that it asks about ten times per request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """`func` as it is: no view here is a coroutine."""
        return func


def create_app() -> Flask:
    """The application by this process' settings. Raises settings.BadSettings."""
    here = settings.get()
    logs.configure()
    app = Application(__name__, static_folder="static", static_url_path="/static")
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the order of a job's fields is for reading
    app.config["MAX_CONTENT_LENGTH"] = here.max_body_bytes
    app.extensions["keyring"] = here.keyring
    app.extensions["guesses"] = Guesses()
    request_log.attach(app)
    local_access.attach(app, here)
    errors.attach(app)
    app.register_blueprint(docs.blp)
    describe(app, BLUEPRINTS, secured=bool(here.keyring))
    return app
