"""The REST side. `create_app()` makes the Flask application; it opens no connection and starts no thread."""

from web.app import create_app

__all__ = ["create_app"]
