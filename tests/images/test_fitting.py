"""Images fitted to an endpoint: upright, small enough, and nothing in them but the picture."""

from __future__ import annotations

import base64

import pytest
from PIL import Image

from tasks.images.fitting import LOSSLESS, Frame, Unfit, fit
from tests.images.pictures import BLUE, RED, halves, noise, opened, plain, saved

FRAME = Frame(edge=1024)
NIM = Frame(edge=1024, base64_below=180_000)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_small_image_keeps_its_size(kind: str) -> None:
    fitted = fit(plain(kind=kind), FRAME)
    assert (fitted.given, fitted.width, fitted.height) == ((40, 30), 40, 30)
    assert opened(fitted.data).format in ("PNG", "JPEG")


@pytest.mark.parametrize(("size", "wanted"), [((3000, 1500), (1024, 512)), ((1100, 2200), (512, 1024))])
def test_a_large_image_is_made_smaller_in_proportion(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    fitted = fit(plain(size=size, kind="JPEG"), FRAME)
    assert (fitted.width, fitted.height) == wanted == opened(fitted.data).size


def test_a_thin_image_keeps_a_pixel() -> None:
    fitted = fit(plain(size=(4000, 1)), FRAME)
    assert (fitted.width, fitted.height) == (1024, 1)


def test_noise_goes_down_the_ladder_until_it_fits() -> None:
    fitted = fit(noise((1400, 1400), "JPEG", quality=95), NIM)
    assert len(base64.b64encode(fitted.data)) < 180_000
    assert fitted.quality < 90
    assert max(fitted.width, fitted.height) <= 1024
    assert opened(fitted.data).size == (fitted.width, fitted.height)


def test_the_ladder_goes_no_further_than_it_must() -> None:
    assert fit(plain(kind="JPEG", size=(900, 900)), NIM).quality == 90


def test_a_limit_that_nothing_meets_is_told() -> None:
    with pytest.raises(Unfit):
        fit(noise((300, 300)), Frame(edge=1024, base64_below=100))


def test_a_lossless_image_stays_lossless_where_it_may() -> None:
    fitted = fit(noise((64, 64)), FRAME)
    assert (fitted.media_type, fitted.quality) == ("image/png", LOSSLESS)
    assert opened(fitted.data).tobytes() == opened(noise((64, 64))).tobytes()


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    # size and the colour of the upper left corner, as a viewer shall see it
    [(1, (40, 20), RED), (2, (40, 20), BLUE), (3, (40, 20), BLUE), (4, (40, 20), RED),
     (5, (20, 40), RED), (6, (20, 40), RED), (7, (20, 40), BLUE), (8, (20, 40), BLUE)],
)  # fmt: skip
def test_a_photograph_is_turned_upright(orientation: int, size: tuple[int, int], corner: tuple[int, ...]) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        seen = opened(fit(halves((40, 20), orientation, kind), FRAME).data)
        assert seen.size == size, kind
        pixel = seen.convert("RGB").getpixel((2, 2))
        assert isinstance(pixel, tuple)
        assert all(abs(a - b) < 40 for a, b in zip(pixel, corner, strict=True)), kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_nothing_but_the_picture_is_passed_on(kind: str) -> None:
    given = halves((40, 20), 6, kind)
    assert b"private" in given
    fitted = fit(given, FRAME)
    assert b"private" not in fitted.data
    assert not opened(fitted.data).getexif()


def test_comments_and_profiles_are_dropped_too() -> None:
    given = plain(kind="JPEG", comment=b"private-comment", icc_profile=b"private-profile" * 20)
    assert b"private" not in fit(given, FRAME).data


def test_what_is_transparent_becomes_white() -> None:
    for image in (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), Image.new("LA", (8, 8), (0, 0))):
        assert opened(fit(saved(image), FRAME).data).getpixel((4, 4)) == (255, 255, 255)
    palette = Image.new("P", (8, 8), 0)
    assert opened(fit(saved(palette, transparency=0), FRAME).data).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_mode_is_shown_as_colour(mode: str) -> None:
    image = Image.new(mode, (2000, 1000))
    fitted = fit(saved(image, "JPEG" if mode == "CMYK" else "PNG"), FRAME)
    assert (opened(fitted.data).mode, fitted.width) == ("RGB", 1024)


def test_sixteen_bits_of_grey_stay_grey() -> None:
    image = Image.new("I;16", (8, 8), 32_768)
    pixel = opened(fit(saved(image), FRAME).data).getpixel((4, 4))
    assert pixel == (128, 128, 128)
