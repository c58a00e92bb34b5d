"""`/models`: which models are known, what was learned of them, who serves them."""

from __future__ import annotations

from flask.views import MethodView

from tasks import models
from tasks.domain.known_model import KnownModel
from web.auth import auth
from web.blueprint import Blueprint
from web.body import without_query
from web.schemas.model import ModelListSchema, ModelSchema

blp = Blueprint("models", __name__, url_prefix="/models", description="Models: what they can do, and who answers")

#: An id has slashes in it, which stay what they are in the path.
ID = {
    "in": "path",
    "name": "model_id",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "An id or an alias, slashes included: `/models/meta/llama-3.3-70b-instruct`",
}


@blp.route("")
class Models(MethodView):
    """All models."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, ModelListSchema)
    @blp.refuses(401, 422, 503)
    def get(self) -> list[KnownModel]:
        """List models

        Those of the catalogue, then those that a provider lists or a worker serves besides. Being listed by a provider
        does not mean being callable: `state` says what calls have shown.
        """
        return models.list_models()


@blp.route("/<path:model_id>", parameters=[ID])
class ModelById(MethodView):
    """One model."""

    decorators = [without_query, auth.login_required]

    @blp.response(200, ModelSchema)
    @blp.refuses(401, 404, 422, 503)
    def get(self, model_id: str) -> KnownModel:
        """Ask after a model"""
        return models.find(model_id)
