"""`python -m tasks.providers.sandbox`: run until SIGTERM or SIGINT; prints its URL once it listens."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from tasks.providers.sandbox.server import Server


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tasks.providers.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--log", type=Path, help="append every call to this file, as JSON lines")
    parser.add_argument("--window-s", type=float, default=60.0, help="length of the rate limits' window")
    return parser.parse_args()


async def serve(said: argparse.Namespace) -> None:
    """Serve until told to stop."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(host=said.host, port=said.port, log=said.log, window_s=said.window_s)
    url = await server.start()
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
