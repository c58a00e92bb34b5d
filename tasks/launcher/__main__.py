"""`python -m tasks.launcher`: run everything in the foreground until Ctrl-C."""

from __future__ import annotations

import sys

from tasks.launcher.interrupt import Interrupt


def main() -> int:
    """Exit status 0 after an orderly stop, 1 with one sentence on stderr when it cannot run."""
    with Interrupt() as interrupt:
        # Imported late: Ctrl-C is in our hands before the second that these imports take.
        from tasks.launcher.launch import run

        return run(interrupt)


if __name__ == "__main__":
    sys.exit(main())
