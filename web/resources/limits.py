"""`/limits`: what may be asked of the hosted providers, and what is left of it."""

from __future__ import annotations

from flask.views import MethodView

from tasks import limits
from tasks.domain.circuit import Circuit
from tasks.limits import Limit
from web.auth import auth
from web.blueprint import Blueprint
from web.body import without_query
from web.schemas.limits import LimitsSchema

blp = Blueprint("limits", __name__, url_prefix="/limits", description="What hosted providers let us ask")


@blp.route("")
class Limits(MethodView):
    """The limits of all providers."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, LimitsSchema)
    @blp.refuses(401, 422, 503)
    def get(self) -> dict[str, list[Limit] | list[Circuit]]:
        """What is left of the providers' limits

        A job that finds no room waits: `waiting_on` of the job says until when. `learned` is what refusals have shown.
        `circuits` are the models that fail: jobs wait for them, or go elsewhere under `mode=auto`.
        """
        return {"data": limits.report(), "circuits": limits.broken()}
