"""Images with something wrong in them, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.images.pictures import halves, noise, plain

SEEDS = (
    plain(), plain(kind="JPEG"), plain(kind="WEBP"), plain((1, 2, 3, 40)), noise((24, 24)), noise((24, 24), "JPEG"),
    noise((24, 24), "JPEG", progressive=True), noise((24, 24), "WEBP", lossless=True), halves((20, 10), 6),
    halves((20, 10), 5, "PNG"), halves((20, 10), 8, "WEBP"),
)  # fmt: skip


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A good image with some bytes changed, taken out, put in, or cut off."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at, size = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(0, 40))
        data[at : at + draw(st.integers(0, 40))] = draw(st.binary(max_size=size))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
