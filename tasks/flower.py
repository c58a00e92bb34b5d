"""`python -m tasks.flower OPTIONS…`: Flower, closed to pages of other sites.

Flower has no login here, so a page in a browser on this machine could read what it shows, once the page's name points
here. It is held to the rule that the web follows without keys, whether or not there are keys for the web.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from celery.bin.celery import main as celery
from flower import command
from flower.views.broker import BrokerView
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.web import ErrorHandler

from tasks import settings
from tasks.domain.errors import Unavailable
from tasks.store import fleet, steps


class LocalFlower(command.Flower):  # type: ignore[misc]  # flower is untyped
    """Flower's application, which answers the names of this machine only and changes nothing for a foreign page."""

    def find_handler(self, request: HTTPServerRequest, **how: Any) -> HTTPMessageDelegate:
        """Who answers `request`: tornado asks this before it reads a body."""
        said = request.headers
        denied = settings.get().local_access.denied(
            method=request.method or "",
            host=said.get("Host"),
            origin=said.get("Origin"),
            site=said.get("Sec-Fetch-Site"),
        )
        if denied:
            refused: HTTPMessageDelegate = self.get_handler_delegate(
                request, ErrorHandler, {"status_code": denied.status}
            )
            return refused
        found: HTTPMessageDelegate = super().find_handler(request, **how)
        return found


def queues() -> list[str]:
    """The queues of the live workers, for the page Broker. Flower asks workers for theirs only when somebody looks at
    one of them, and takes `api` to be all until then."""
    names = {steps.QUEUE}
    with suppress(Unavailable):  # the page cannot show their lengths either
        names.update(name for worker in fleet.default().lately() for name in worker.consumes)
    return sorted(names)


def main() -> None:
    """Run `celery -A tasks flower` with the arguments of this process."""
    # Its command makes the application by this name, and takes no other.
    command.Flower = LocalFlower
    BrokerView.get_active_queue_names = lambda _view: queues()
    sys.argv[1:1] = ["-A", "tasks", "flower"]
    celery()


if __name__ == "__main__":
    main()
