"""`python -m benchmarks [name]`: measure everything, or one figure, and print it line by line."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    batch,
    batch_50k,
    batch_engine,
    cache_hit,
    engine,
    governor,
    idle_latency,
    inflight,
    prefix,
    recovery,
    submit,
)
from benchmarks.figure import Figure, Skipped

FIGURES: dict[str, Callable[[Path], Figure]] = {
    "submit": submit.measure,
    "inflight": inflight.measure,
    "recovery": recovery.measure,
    "idle_latency": idle_latency.measure,
    "governor": governor.measure,
    "governor_learned": governor.measure_learned,
    "batch": batch.measure,
    "batch_50k": batch_50k.measure,
    "cache_hit": cache_hit.measure,
    "engine": engine.measure,
    "batch_engine": batch_engine.measure,
    "prefix": prefix.measure,
}


def main(asked: list[str]) -> int:
    """Measure what was asked for, or all. Not zero when something asked for by name could not be measured."""
    if unknown := [name for name in asked if name not in FIGURES]:
        print(f"there is no figure {unknown[0]}; there are {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    # As after Ctrl-C: every `with` ends the processes that it began.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    for name in asked or FIGURES:
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="tandem-bench-") as data:
                figure = FIGURES[name](Path(data))
            print(figure.told(name, time.monotonic() - began), flush=True)
        except Skipped as why:
            print(f"{name} was not measured: {why}", file=sys.stderr)
            if asked:
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
