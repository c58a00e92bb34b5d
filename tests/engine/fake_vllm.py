"""Behaves like `vllm serve MODEL … --port N`: an API server and a child of its own that maps shared memory.

MODEL is a folder; files in it say how to misbehave, now and after a restart:
  fails   exit at once with status 1        deaf     ignore SIGTERM
  hangs   completions wait (health answers) works    the count of tokens moves all the same
  keeps   keep connections open between requests     prefills the use of the KV cache does, and no count
It leaves notes there: `starts` (one time per line), `probes` (one line per completion), `environ.json`.
POST /slow answers after a second; POST /die ends the server with status 0. A chat that ends in BOOM is answered with
a 500, one that ends in DIE by the server's end.
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
CHAT = {"model": "m", "choices": [{"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]}
TROUBLE = {"error": {"message": "list index out of range", "type": "InternalServerError", "param": None, "code": 500}}


def told(name: str) -> bool:
    return (PANEL / name).exists()


def note(name: str, line: object) -> None:
    with (PANEL / name).open("a") as file:
        file.write(f"{line}\n")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1" if told("keeps") else "HTTP/1.0"

    def do_GET(self) -> None:
        tokens, cache = time.time() if told("works") else 1, time.time() % 1 if told("prefills") else 0.5
        metrics = {"vllm:generation_tokens_total": tokens, "vllm:kv_cache_usage_perc": cache}
        lines = "".join(f'{name}{{engine="0"}} {value}\n' for name, value in metrics.items())
        self.answer(lines if self.path == "/metrics" else "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/v1/") and self.headers.get("Authorization") != f"Bearer {os.environ['VLLM_API_KEY']}":
            self.answer("", status=401)
            return
        if self.path == "/die":
            os._exit(0)
        if self.path == "/slow":
            note("slow", "")
            time.sleep(1)
        else:
            note("probes", "")
            while told("hangs"):
                time.sleep(0.02)
        if self.path.endswith("/chat/completions"):
            self.chat(str(json.loads(body)["messages"][-1]["content"]))
        else:
            self.answer(json.dumps(BODY))

    def chat(self, text: str) -> None:
        if text.endswith("DIE"):
            os._exit(1)
        if text.endswith("BOOM"):
            self.answer(json.dumps(TROUBLE), status=500)
        else:
            self.answer(json.dumps(CHAT))

    def answer(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for what is in flight
    request_queue_size = 256


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
