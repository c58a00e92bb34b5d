"""The Flask application: settings in, blueprints on, nothing that a fork would have to undo."""

from __future__ import annotations

from flask import Flask

from tasks import logs, settings
from web import auth, errors, request_log
from web.api import describe
from web.resources import docs, health, jobs

#: In the order in which the documentation shows them.
BLUEPRINTS = (jobs.blp, health.blp)


def create_app() -> Flask:
    """The application by this process' settings. Raises auth.BadKeys when TANDEM_API_KEYS cannot be read."""
    here = settings.get()
    logs.configure()
    app = Flask(__name__, static_folder="static", static_url_path="/static")
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the order of a job's fields is for reading
    app.config["MAX_CONTENT_LENGTH"] = here.max_body_bytes
    keyring = auth.Keyring.parse(here.api_keys.get_secret_value())
    app.extensions["keyring"] = keyring
    request_log.attach(app)
    errors.attach(app)
    app.register_blueprint(docs.blp)
    describe(app, BLUEPRINTS, secured=bool(keyring))
    return app
