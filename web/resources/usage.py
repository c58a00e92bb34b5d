"""`GET /usage`: what an owner has used."""

from __future__ import annotations

from flask.views import MethodView

from tasks import usage
from web.auth import auth, owner
from web.blueprint import Blueprint
from web.schemas.usage import DaysSchema, UsageListSchema

blp = Blueprint("usage", __name__, url_prefix="/usage", description="What was used: tokens by day, provider and model")


@blp.route("")
class Usage(MethodView):
    """An owner's use."""

    decorators = [auth.login_required]

    @blp.arguments(DaysSchema, location="query")
    @blp.response(200, UsageListSchema)
    @blp.refuses(401, 422, 503)
    def get(self, asked: dict[str, int]) -> list[usage.Day]:
        """What was used by day, provider and model?"""
        return usage.by_day(owner(), asked["days"])
