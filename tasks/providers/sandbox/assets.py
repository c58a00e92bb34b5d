"""NVIDIA's assets: `POST /nim/v2/nvcf/assets`, a PUT to where that says, and a DELETE."""

from __future__ import annotations

import uuid

from aiohttp import web

from tasks.providers.sandbox.dialects import NIM
from tasks.providers.sandbox.nvcf import refused
from tasks.providers.sandbox.state import Asset, State

ASSETS_PATH = "/nim/v2/nvcf/assets"
ASSET_PATH = ASSETS_PATH + "/{id}"
UPLOAD_PATH = "/nim/uploads/{id}"
#: The header by which a call names the assets that it refers to.
REFERENCES = "NVCF-INPUT-ASSET-REFERENCES"


class Assets:
    """The endpoints."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def create(self, request: web.Request) -> web.Response:
        """Announce one: 200 with its id, and a URL on another host that takes its bytes."""
        if not NIM().admits(request.headers.get("Authorization", "")):
            return refused(401)
        said = await request.json()
        if not isinstance(said, dict) or not {"contentType", "description"} <= said.keys():
            return refused(422)
        ident = str(uuid.uuid4())
        self._state.assets[ident] = Asset(content_type=said["contentType"], description=said["description"])
        where = f"http://localhost:{request.url.port}{UPLOAD_PATH.format(id=ident)}?signature=simulated"
        return web.json_response({"assetId": ident, "uploadUrl": where, **said})

    async def upload(self, request: web.Request) -> web.Response:
        """Take the bytes. As at NVIDIA's storage, the headers are signed, and a key beside a signature is refused."""
        asset = self._state.assets.get(request.match_info["id"])
        if asset is None:
            return web.Response(status=404)
        signed = (request.headers.get("Content-Type"), request.headers.get("x-amz-meta-nvcf-asset-description"))
        if "Authorization" in request.headers or signed != (asset.content_type, asset.description):
            return web.Response(status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        asset.size_bytes = len(await request.read())
        return web.Response()

    async def delete(self, request: web.Request) -> web.Response:
        """204, once."""
        if not NIM().admits(request.headers.get("Authorization", "")):
            return refused(401)
        return web.Response(status=204) if self._state.assets.pop(request.match_info["id"], None) else refused(404)
