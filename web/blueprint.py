"""Smorest's blueprint with this API's body parser and error documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import flask_smorest  # type: ignore[import-untyped]
from marshmallow import Schema

from web import errors
from web.body import StrictParser
from web.schemas.problem import OpenAIErrorSchema, ProblemSchema

View = TypeVar("View", bound=Callable[..., Any])

WHY = {
    400: "Not JSON, or two different idempotency keys",
    401: "No valid API key",
    404: "No such job or batch of yours, or its record has expired; or no such model",
    409: "Not in the state that it has",
    413: "The body is too large",
    415: "The body is of another type or charset than UTF-8, or is compressed",
    422: "Something asked for cannot be; `errors` names the fields",
    429: "Many wrong API keys came from this address: `Retry-After` says when the next one is looked at",
    503: "Nothing here can take it now; `Retry-After` says when to come back",
}

#: Where it says something else under /v1.
OPENAI_WHY = {
    400: "Not what it should be, or something asked for cannot be; `param` names the field",
    404: "No such file or batch of yours, or it has expired",
    413: "The file, or the batch, is too large",
    415: "The body is of another type, or is compressed",
}

PREFER = {
    "in": "header",
    "name": "Prefer",
    "schema": {"type": "string"},
    "description": "`wait=20`: hold the answer until the job has ended, 20 seconds at most (55 is the most)",
}


#: What the headers of answers say.
HEADERS = {
    "Location": "Where to ask after the job",
    "Retry-After": "When to ask again, in seconds; absent once the job is over",
    "Preference-Applied": "The job ended within the seconds asked for",
    "Idempotency-Replayed": "`true`: this key was used before, and this is the job or batch of that time",
    "Tandem-Incomplete": "`true` while items are still to come",
    "WWW-Authenticate": "Which kind of key is asked for",
}


def described(*names: str) -> dict[str, Any]:
    """Headers for the documentation of an answer."""
    return {name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in names}


#: Headers of refusals.
TOLD = {401: described("WWW-Authenticate"), 429: described("Retry-After"), 503: described("Retry-After")}


def with_guesses(statuses: tuple[int, ...]) -> tuple[int, ...]:
    """The same, and 429 where a key is asked for: who sends wrong ones is slowed."""
    return (*statuses, 429) if 401 in statuses else statuses


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]  # smorest is untyped
    """A blueprint whose errors are problem documents."""

    ARGUMENTS_PARSER = StrictParser()

    def arguments(self, schema: type[Schema], **how: Any) -> Callable[[View], View]:
        """Read what `schema` describes and hand it to the view."""
        # An instance: of a class webargs would make another one at every request, which takes longer than reading.
        decorate: Callable[[View], View] = super().arguments(schema(), **how)
        return decorate

    def response(
        self, status: int, schema: type[Schema] | dict[str, Any] | None = None, **how: Any
    ) -> Callable[[View], View]:
        """Write what the view returns by `schema`."""
        decorate: Callable[[View], View] = super().response(status, schema, **how)
        return decorate

    def alt_response(self, status: int, **how: Any) -> Callable[[View], View]:
        """Document another answer."""
        return _only_documented(super().alt_response(status, **how))

    def doc(self, **how: Any) -> Callable[[View], View]:
        """Document further things of the operation. `parameters` come beside those that are declared as arguments."""
        # Smorest would have them in place of those.
        further = how.pop("parameters", [])
        decorate = _only_documented(super().doc(**how))

        def note(view: View) -> View:
            view = decorate(view)
            _declared(view).setdefault("parameters", []).extend(further)
            return view

        return note

    def refuses(self, *statuses: int) -> Callable[[View], View]:
        """Document the errors that an operation may answer with."""

        def decorate(view: View) -> View:
            for status in with_guesses(statuses):
                how = {"schema": ProblemSchema, "content_type": errors.PROBLEM, "description": WHY[status]}
                view = self.alt_response(status, headers=TOLD.get(status), **how)(view)
            return view

        return decorate


class OpenAIBlueprint(Blueprint):
    """A blueprint whose errors are OpenAI's: what is 422 elsewhere is 400."""

    def arguments(self, schema: type[Schema], **how: Any) -> Callable[[View], View]:
        """Read what `schema` describes and hand it to the view."""
        decorate = super().arguments(schema, **how)

        def note(view: View) -> View:
            view = decorate(view)
            # Smorest documents it by itself.
            _declared(view)["responses"].pop(StrictParser.DEFAULT_VALIDATION_STATUS)
            return view

        return note

    def refuses(self, *statuses: int) -> Callable[[View], View]:
        """Document the errors that an operation may answer with."""

        def decorate(view: View) -> View:
            for status in with_guesses(statuses):
                how = {"schema": OpenAIErrorSchema, "description": OPENAI_WHY.get(status, WHY[status])}
                view = self.alt_response(status, headers=TOLD.get(status), **how)(view)
            return view

        return decorate


def _declared(view: Any) -> dict[str, Any]:
    """What smorest has written down of a view's arguments."""
    declared: dict[str, Any] = view._apidoc.setdefault("arguments", {})
    return declared


def _only_documented(decorate: Callable[[Any], Any]) -> Callable[[View], View]:
    """What smorest writes down of a view, without the wrapper that every request would pass through."""

    def note(view: View) -> View:
        view._apidoc = decorate(view)._apidoc  # type: ignore[attr-defined]
        return view

    return note
