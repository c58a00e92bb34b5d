"""Opens images that strangers sent: by their content, whatever they are called, and within a fixed amount of memory."""

from __future__ import annotations

import io
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageFile, UnidentifiedImageError

from tasks.domain.errors import TandemError
from tasks.images import allocation

#: Pillow's names. An MPO is a JPEG with further pictures behind the first, as telephones make them.
FORMATS = ("JPEG", "PNG", "WEBP")
NAMES = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP"}
#: What decoding takes at its peak for one pixel. A progressive JPEG keeps all coefficients (16 bits, up to four
#: channels); libwebp keeps two canvases and its own copy beside what it hands over.
BYTES_PER_PIXEL = {"JPEG": 8, "PNG": 8, "WEBP": 20}
#: What decoding one image may take: 20 megapixels, 8 of a WEBP.
DECODED_BYTES = 160_000_000
#: Every scan of a progressive JPEG goes over the whole picture. Encoders write about ten; a hundred fit into 100 kB.
#: So many pixels are gone over in all scans together: twenty times the largest picture, at most 100 times a small one.
MOST_SCANS, SCANNED_PIXELS = 100, 400_000_000
SCAN = b"\xff\xda"
#: Pillow reads a piece of a file (a PNG's chunk, a JPEG's segment) in three steps, and looks at each in Python.
#: Encoders write some thousands into the largest file; 300,000 empty ones fit into 4 MB.
MOST_READS = 30_000
#: Behind all that: seconds of CPU after which no more of a file is read. The largest honest image takes about one.
MOST_CPU_S = 5.0

Image.MAX_IMAGE_PIXELS = DECODED_BYTES // min(BYTES_PER_PIXEL.values())
ImageFile.LOAD_TRUNCATED_IMAGES = False
warnings.simplefilter("error", Image.DecompressionBombWarning)
# A line for each tag of a camera's that cannot be read: thousands fit into one file.
warnings.filterwarnings("ignore", module="PIL.TiffImagePlugin")
allocation.give_large_blocks_back()

#: One image is decoded at a time in a process: its threads together would take threads times the memory.
_turn = threading.Lock()


class UnreadableImage(TandemError):
    """These bytes are no image that can be taken. The message is fit for a client."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """An image that could be read: its size in pixels, as stored."""

    width: int
    height: int
    format: str


class Paced(io.BytesIO):
    """The bytes of a file, of which only so much is read. `read` raises UnreadableImage behind that."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 0
        self._ends_at = time.thread_time() + MOST_CPU_S

    def read(self, size: int | None = -1, /) -> bytes:
        """Some bytes."""
        self._reads += 1
        if self._reads > MOST_READS:
            raise UnreadableImage("the image has too many parts")
        if time.thread_time() > self._ends_at:
            raise UnreadableImage("the image takes too long to read")
        return super().read(size)


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image in `data`, not decoded yet. Raises UnreadableImage, also in place of what the block raises.

    Pillow answers hostile bytes with almost any exception, so all of them mean the same here.
    """
    with _turn:
        try:
            with Image.open(Paced(data), formats=FORMATS) as image:
                _check(image, data)
                yield image
        except UnreadableImage:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnreadableImage("the image has too many pixels") from error
        except UnidentifiedImageError as error:
            raise UnreadableImage("the content is no JPEG, PNG or WEBP image") from error
        except Exception as error:
            raise UnreadableImage("the image is broken") from error


def read(data: bytes) -> Read:
    """Decode the image to its end, to see that it can be. Raises UnreadableImage."""
    with opened(data) as image:
        found = Read(width=image.width, height=image.height, format=NAMES[image.format or ""])
        # A JPEG is decoded at an eighth of its size: every byte is looked at, few pixels are kept.
        image.draft(None, (1, 1))
        image.load()
    return found


def _check(image: Image.Image, data: bytes) -> None:
    kind = NAMES.get(image.format or "")
    if kind is None:
        raise UnreadableImage("the content is no JPEG, PNG or WEBP image")
    if not image.width or not image.height:
        raise UnreadableImage("the image is empty")
    most = DECODED_BYTES // BYTES_PER_PIXEL[kind]
    if image.width * image.height > most:
        raise UnreadableImage(f"the image has more than {most // 1_000_000} megapixels, the most for a {kind}")
    if kind == "JPEG" and data.count(SCAN) > min(MOST_SCANS, SCANNED_PIXELS // (image.width * image.height)):
        raise UnreadableImage("the image has too many scans")
