"""Supervises the fake engine of a folder until it is killed: `python -m tests.engine.parent FOLDER`."""

import signal
import sys
from pathlib import Path

from tests.engine.panel import Panel, Watched

if __name__ == "__main__":
    Watched(Panel(Path(sys.argv[1])).config()).engine.start()
    signal.pause()
