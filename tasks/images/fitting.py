"""Fits an image to whoever is to look at it: upright, small enough, without what a camera wrote beside it."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image
from PIL.Image import Transpose

from tasks.images.reading import UnreadableImage, opened

#: EXIF's tag of how a camera was held, and what makes that upright.
ORIENTATION = 0x0112
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
#: The ladder: at each size these qualities, the best first. Below 50 a smaller picture shows more than a worse one.
QUALITIES = (90, 80, 70, 60, 50)
SHRINK = 0.75
#: Smaller than this nothing can be seen.
SMALLEST_EDGE = 16
#: The quality that a lossless picture is said to have.
LOSSLESS = 100
WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What an endpoint takes: the longest edge in pixels, and the length that base64 must stay under (None: any)."""

    edge: int
    base64_below: int | None = None

    def holds(self, size_bytes: int) -> bool:
        """Whether so many bytes, in base64, stay below the limit."""
        return self.base64_below is None or (size_bytes + 2) // 3 * 4 < self.base64_below


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """An image as an endpoint gets it. `given` is its width and height before, as stored."""

    given: tuple[int, int]
    data: bytes
    media_type: str
    width: int
    height: int
    quality: int


class Unfit(UnreadableImage):
    """No rung of the ladder is low enough for the endpoint's limit."""


def fit(data: bytes, frame: Frame) -> Fitted:
    """`data` as a PNG or JPEG that `frame` takes. Raises UnreadableImage, or Unfit."""
    with opened(data) as image:
        given, lossless = image.size, image.format == "PNG"
        picture = _upright_rgb(image, frame.edge)
    if lossless:
        # Screenshots and drawings: JPEG blurs their letters, and mostly makes them larger.
        png = _saved(picture, "PNG", optimize=False)
        if frame.holds(len(png)):
            return _fitted(given, png, "image/png", picture, LOSSLESS)
    return _down_the_ladder(given, picture, frame)


def _upright_rgb(image: Image.Image, edge: int) -> Image.Image:
    orientation = _orientation(image)
    # A JPEG is decoded at no more than twice the size that is wanted; others are reduced before they are converted.
    image.draft("RGB", (edge, edge))
    image.load()
    if image.mode.startswith("I"):
        # Sixteen bits of grey, which Pillow would cut off at white instead of scaling.
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    image.thumbnail((edge, edge), reducing_gap=2.0)
    upright = image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
    return _on_white(upright)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        # What a camera wrote is often wrong, and never a reason to refuse its picture.
        return 1


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    page = Image.new("RGB", layer.size, WHITE)
    page.paste(layer, mask=layer.getchannel("A"))
    return page


def _down_the_ladder(given: tuple[int, int], picture: Image.Image, frame: Frame) -> Fitted:
    while True:
        for quality in QUALITIES:
            jpeg = _saved(picture, "JPEG", quality=quality, optimize=True)
            if frame.holds(len(jpeg)):
                return _fitted(given, jpeg, "image/jpeg", picture, quality)
        width, height = (max(1, round(side * SHRINK)) for side in picture.size)
        if max(width, height) < SMALLEST_EDGE:
            raise Unfit("the image cannot be made small enough for the model's endpoint")
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)


def _saved(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    out = io.BytesIO()
    # A fresh RGB picture of ours still carries what was read beside it; nothing of that is passed on.
    picture.info.clear()
    picture.save(out, kind, **options)
    return out.getvalue()


def _fitted(given: tuple[int, int], data: bytes, media_type: str, picture: Image.Image, quality: int) -> Fitted:
    width, height = picture.size
    return Fitted(given=given, data=data, media_type=media_type, width=width, height=height, quality=quality)
