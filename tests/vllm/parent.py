"""Supervises a real engine until it is killed: `python -m tests.vllm.parent RUN_DIR`."""

import signal
import sys
from pathlib import Path

from tests.vllm.real import Real

if __name__ == "__main__":
    Real(Path(sys.argv[1])).engine.start()
    signal.pause()
