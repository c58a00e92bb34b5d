"""Any bytes at all: refused or read, never an error of ours, never more memory than was promised."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.images import data_url, reading
from tasks.images.fitting import Frame, fit
from tasks.images.reading import UnreadableImage
from tests.images import pictures
from tests.images.heavy import HEAVY, MOST_BYTES
from tests.images.mangled import mangled

ROOT = Path(__file__).parents[2]
BOUNDED = settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
FRAME = Frame(edge=64, base64_below=180_000)


def judged(data: bytes) -> str:
    """What happens to such an image, at submission and before a call."""
    try:
        reading.read(data_url.decoded(pictures.data_url(data), most_bytes=1_000_000))
    except UnreadableImage:
        return "refused"
    fitted = fit(data, FRAME)
    with Image.open(io.BytesIO(fitted.data)) as shown:
        assert max(shown.size) <= 64
        shown.load()
    return "read"


@BOUNDED
@given(st.one_of(mangled(), st.binary(max_size=400)))
@example(b"")
@example(b"RIFF\xff\xff\xff\xffWEBPVP8X")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert judged(data) in ("read", "refused")


@BOUNDED
@given(st.text(max_size=200))
def test_any_url_is_read_or_refused(text: str) -> None:
    try:
        data_url.decoded("data:" + text, most_bytes=1000)
    except UnreadableImage as error:
        assert len(str(error)) < 100


# ---- memory ----------------------------------------------------------------------------------

#: A process of its own, for a peak of its own: VmHWM begins anew with it.
MEASURE = """
import re, sys
from tasks.images import data_url, reading
from tasks.images.fitting import Frame, fit
url, said = sys.stdin.read(), "read"
try:
    data = data_url.decoded(url, most_bytes=9 << 20)
    reading.read(data)
    fit(data, Frame(edge=1024, base64_below=180_000))
except reading.UnreadableImage:
    said = "refused"
print(said, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
@pytest.mark.parametrize(("make", "expected"), HEAVY.values(), ids=HEAVY)
def test_no_image_takes_more_memory_than_promised(make: Callable[[], bytes], expected: str) -> None:
    url = pictures.data_url(make())
    ran = subprocess.run([sys.executable, "-c", MEASURE], input=url, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-2000:]
    said, peak_bytes = ran.stdout.split()
    print(f"{said}, {int(peak_bytes) / 2**20:.0f} MiB at the peak")
    assert said == expected
    assert int(peak_bytes) < MOST_BYTES
