"""Behaves like `vllm serve MODEL … --port N`: an API server and a child of its own that maps shared memory.

MODEL is a folder; files in it say how to misbehave, now and after a restart:
  fails   exit at once with status 1        deaf     ignore SIGTERM
  hangs   completions wait (health answers) works    the count of tokens moves all the same
  keeps   keep connections open between requests
It leaves notes there: `starts` (one time per line), `probes` (one line per completion), `environ.json`.
POST /slow answers after a second; POST /die ends the server with status 0.
"""

import http.server
import json
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO, NoReturn

PANEL = Path(sys.argv[2])
PORT = int(sys.argv[sys.argv.index("--port") + 1])
BODY = {"choices": [{"text": "x", "finish_reason": "length"}]}


def told(name: str) -> bool:
    return (PANEL / name).exists()


def note(name: str, line: object) -> None:
    with (PANEL / name).open("a") as file:
        file.write(f"{line}\n")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1" if told("keeps") else "HTTP/1.0"

    def do_GET(self) -> None:
        metrics = f'vllm:generation_tokens_total{{engine="0"}} {time.time() if told("works") else 1}\n'
        self.answer(metrics if self.path == "/metrics" else "")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/die":
            os._exit(0)
        if self.path == "/slow":
            note("slow", "")
            time.sleep(1)
        else:
            note("probes", "")
            while told("hangs"):
                time.sleep(0.02)
        self.answer(json.dumps(BODY))

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for what is in flight


def core(shared: BinaryIO) -> NoReturn:
    """The child: holds shared memory until it is killed."""
    shared.truncate(4096)
    with mmap.mmap(shared.fileno(), 4096):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)


def main() -> None:
    note("starts", time.time())
    (PANEL / "environ.json").write_text(json.dumps(dict(os.environ)))
    if told("fails"):
        sys.exit(1)
    name = Path(f"/dev/shm/psm_fake_{os.getpid()}")
    shared = name.open("wb+")
    child = os.fork() or core(shared)
    server = Server(("127.0.0.1", PORT), Handler)

    def end(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, signal.SIG_IGN if told("deaf") else end)
    (Path(os.environ["VLLM_RPC_BASE_PATH"]) / "socket").touch()
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    os.kill(child, signal.SIGKILL)
    name.unlink()


main()
