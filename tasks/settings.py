"""The environment, typed, read once per process. `.env.example` lists every variable with its default."""

from __future__ import annotations

import os
import shlex
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)  # fmt: skip
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.domain.address import http_url, readable, redis_url
from tasks.domain.errors import TandemError
from tasks.domain.job import LONGEST_EXPIRES_IN_S
from tasks.domain.keyring import Keyring
from tasks.domain.local_access import LocalAccess, host_name
from tasks.domain.quota import of_models
from tasks.domain.redis_address import Tls

#: Docker and Kubernetes mount secrets here, one file per variable.
SECRETS = Path("/run/secrets")

LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)]
#: When the sandbox answers: where nobody real is configured, in place of hosted providers, or never.
SandboxMode = Annotated[Literal["auto", "1", "0"], BeforeValidator(str.lower)]
LogFormat = Annotated[Literal["console", "json"], BeforeValidator(str.lower)]
ReadableFile = Annotated[Path, AfterValidator(readable)]
RedisUrl = Annotated[str, AfterValidator(redis_url)]
HttpUrl = Annotated[str, AfterValidator(http_url)]


class BadSettings(TandemError):
    """A variable cannot be used. The message is one sentence that names it, and says nothing that may be secret."""


def words(value: str) -> list[str]:
    """What a comma-separated variable lists."""
    return [word.strip() for word in value.split(",") if word.strip()]


def _env(name: str, default: Any, **bounds: Any) -> Any:
    return Field(default=default, validation_alias=AliasChoices(name, name.lower()), **bounds)


class Settings(BaseSettings):
    """Every variable that Tandem reads. Durations are seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True, env_ignore_empty=True, allow_inf_nan=False)

    redis_url: RedisUrl = _env("REDIS_URL", "redis://127.0.0.1:6379/0")
    redis_ca: ReadableFile | None = _env("TANDEM_REDIS_CA", None)
    redis_cert: ReadableFile | None = _env("TANDEM_REDIS_CERT", None)
    redis_key: ReadableFile | None = _env("TANDEM_REDIS_KEY", None)
    log_level: LogLevel = _env("LOG_LEVEL", "INFO")
    log_format: LogFormat = _env("LOG_FORMAT", "console")

    host: str = _env("TANDEM_HOST", "127.0.0.1")
    hosts: str = _env("TANDEM_HOSTS", "")
    port: int = _env("TANDEM_PORT", 8000, ge=1, le=65535)
    web_concurrency: int = _env("WEB_CONCURRENCY", 2, ge=1)
    flower_port: int = _env("TANDEM_FLOWER_PORT", 5555, ge=1, le=65535)
    data: Path = _env("TANDEM_DATA", Path(".tandem"))
    api_keys: SecretStr = _env("TANDEM_API_KEYS", SecretStr(""))
    max_body_bytes: int = _env("TANDEM_MAX_BODY_BYTES", 8 * 1024 * 1024, gt=0)
    durable_accept: bool = _env("TANDEM_DURABLE_ACCEPT", False)
    accept_until: float = _env("TANDEM_ACCEPT_UNTIL", 0.85, gt=0, le=1)
    valkey_maxmemory: str = _env("TANDEM_VALKEY_MAXMEMORY", "", pattern=r"^([1-9][0-9]*(kb|mb|gb)?)?$")

    image_max_bytes: int = _env("TANDEM_IMAGE_MAX_BYTES", 8 * 1024 * 1024, gt=0)
    image_fetch_s: float = _env("TANDEM_IMAGE_FETCH_S", 10.0, gt=0)
    image_ports: str = _env("TANDEM_IMAGE_PORTS", "80,443")
    image_networks: str = _env("TANDEM_IMAGE_NETWORKS", "")
    image_nameserver: str = _env("TANDEM_IMAGE_NAMESERVER", "")
    image_edge: int = _env("TANDEM_IMAGE_EDGE", 1024, ge=16)
    image_chars: int = _env("TANDEM_IMAGE_CHARS", 180_000, ge=0)

    model: str = _env("TANDEM_MODEL", "")
    api_model: str = _env("TANDEM_API_MODEL", "")
    catalog: Path | None = _env("TANDEM_CATALOG", None)
    vllm_args: str = _env("TANDEM_VLLM_ARGS", "")
    vllm_env: str = _env("TANDEM_VLLM_ENV", "")
    vllm_executable: Path = _env("TANDEM_VLLM", Path(".venv-vllm/bin/vllm"))
    device: str = _env("TANDEM_DEVICE", "cpu")
    auto_wait_s: float = _env("TANDEM_AUTO_WAIT_S", 120.0, ge=0)

    nvidia_api_key: SecretStr = _env("NVIDIA_API_KEY", SecretStr(""))
    nvidia_base_url: HttpUrl = _env("NVIDIA_BASE_URL", "")
    nvcf_base_url: HttpUrl = _env("NVCF_BASE_URL", "https://api.nvcf.nvidia.com")
    openrouter_api_key: SecretStr = _env("OPENROUTER_API_KEY", SecretStr(""))
    openrouter_base_url: HttpUrl = _env("OPENROUTER_BASE_URL", "https://openrouter.ai/api/v1")
    allow_paid: bool = _env("TANDEM_ALLOW_PAID", False)
    sandbox: SandboxMode = _env("TANDEM_SANDBOX", "auto")
    sandbox_url: HttpUrl = _env("TANDEM_SANDBOX_URL", "")

    batch_items: int = _env("TANDEM_BATCH_ITEMS", 50_000, ge=1)
    batch_bytes: int = _env("TANDEM_BATCH_BYTES", 200_000_000, ge=1)

    file_ttl_s: int = _env("TANDEM_FILE_TTL_S", 30 * 24 * 3600, gt=0)
    file_leave_bytes: int = _env("TANDEM_FILE_LEAVE_BYTES", 1_000_000_000, ge=0)

    nim_rpm: int = _env("TANDEM_NIM_RPM", 30, ge=0)
    nim_tpm: int = _env("TANDEM_NIM_TPM", 0, ge=0)
    nim_rpd: int = _env("TANDEM_NIM_RPD", 0, ge=0)
    nim_calls: int = _env("TANDEM_NIM_CALLS", 0, ge=0)
    openrouter_rpm: int = _env("TANDEM_OPENROUTER_RPM", 10, ge=0)
    openrouter_tpm: int = _env("TANDEM_OPENROUTER_TPM", 1000, ge=0)
    openrouter_rpd: int = _env("TANDEM_OPENROUTER_RPD", 50, ge=0)
    openrouter_calls: int = _env("TANDEM_OPENROUTER_CALLS", 0, ge=0)
    sandbox_rpm: int = _env("TANDEM_SANDBOX_RPM", 0, ge=0)
    sandbox_tpm: int = _env("TANDEM_SANDBOX_TPM", 0, ge=0)
    sandbox_rpd: int = _env("TANDEM_SANDBOX_RPD", 0, ge=0)
    sandbox_calls: int = _env("TANDEM_SANDBOX_CALLS", 0, ge=0)
    model_limits: str = _env("TANDEM_MODEL_LIMITS", "")
    guessed_limits: str = _env("TANDEM_GUESSED_LIMITS", "nim")
    limit_window_s: float = _env("TANDEM_LIMIT_WINDOW_S", 60.0, gt=0)

    cache_ttl_s: int = _env("TANDEM_CACHE_TTL_S", 24 * 3600, ge=0)
    cache_shared: bool = _env("TANDEM_CACHE_SHARED", False)

    api_concurrency: int = _env("TANDEM_API_CONCURRENCY", 64, ge=1)
    gpu_concurrency: int = _env("TANDEM_GPU_CONCURRENCY", 64, ge=1)
    embedding_batch: int = _env("TANDEM_EMBEDDING_BATCH", 64, ge=1)
    answer_max_bytes: int = _env("TANDEM_ANSWER_MAX_BYTES", 16 * 1024 * 1024, gt=0)
    call_timeout_s: float = _env("TANDEM_CALL_TIMEOUT_S", 600.0, gt=0)
    connect_timeout_s: float = _env("TANDEM_CONNECT_TIMEOUT_S", 5.0, gt=0)
    expires_in_s: float = _env("TANDEM_EXPIRES_IN_S", 24 * 3600.0, gt=0, le=LONGEST_EXPIRES_IN_S)
    job_ttl_s: int = _env("TANDEM_JOB_TTL_S", 7 * 24 * 3600, gt=0)
    max_tries: int = _env("TANDEM_MAX_TRIES", 5, ge=1)
    backoff_s: float = _env("TANDEM_BACKOFF_S", 1.0, gt=0)
    backoff_cap_s: float = _env("TANDEM_BACKOFF_CAP_S", 60.0, gt=0)
    outage_s: float = _env("TANDEM_OUTAGE_S", 900.0, ge=0)
    hold_cap_s: float = _env("TANDEM_HOLD_CAP_S", 3600.0, gt=0)
    circuit_failures: int = _env("TANDEM_CIRCUIT_FAILURES", 5, ge=1)
    circuit_open_s: float = _env("TANDEM_CIRCUIT_OPEN_S", 10.0, gt=0)
    circuit_longest_s: float = _env("TANDEM_CIRCUIT_LONGEST_S", 120.0, gt=0)
    lease_s: float = _env("TANDEM_LEASE_S", 15.0, gt=0.5)
    drain_s: float = _env("TANDEM_DRAIN_S", 10.0, ge=0)
    isolation_slots: int = _env("TANDEM_ISOLATION_SLOTS", 64, ge=1)
    stall_s: float = _env("TANDEM_STALL_S", 60.0, gt=0)

    @field_validator("model_limits")
    @classmethod
    def _limits_can_be_read(cls, text: str) -> str:
        of_models(text)
        return text

    @field_validator("guessed_limits")
    @classmethod
    def _are_providers(cls, names: str) -> str:
        if unknown := set(words(names)) - {"nim", "openrouter", "sandbox", "none"}:
            raise ValueError(f"there is no provider {min(unknown)}")
        return names

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, keys: SecretStr) -> SecretStr:
        Keyring.parse(keys.get_secret_value())
        return keys

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, names: str) -> str:
        for name in words(names):
            host_name(name)
        return names

    @field_validator("vllm_args")
    @classmethod
    def _are_arguments(cls, arguments: str) -> str:
        shlex.split(arguments)
        return arguments

    @property
    def keyring(self) -> Keyring:
        """Who may ask."""
        return Keyring.parse(self.api_keys.get_secret_value())

    @property
    def local_access(self) -> LocalAccess:
        """Which requests are answered where no key is asked for."""
        return LocalAccess.of(self.host, words(self.hosts))

    @field_validator("image_ports", "image_networks")
    @classmethod
    def _listed(cls, value: str, info: ValidationInfo) -> str:
        reader = int if info.field_name == "image_ports" else ip_network
        for word in words(value):
            reader(word)
        return value

    @property
    def redis_tls(self) -> Tls:
        """How a Redis is spoken to over TLS."""
        files = (self.redis_ca, self.redis_cert, self.redis_key)
        ca, cert, key = (str(one) if one else "" for one in files)
        return Tls(ca=ca, cert=cert, key=key)

    @property
    def heartbeat_s(self) -> float:
        """How often leases are pushed on: a third of a lease, so that one lost beat is no lost lease."""
        return self.lease_s / 3

    @property
    def models_dir(self) -> Path:
        """Where the models made on this machine lie."""
        return self.data / "models"


def env_file() -> Path:
    """The file of variables that is read besides the environment."""
    return Path(os.environ.get("TANDEM_ENV_FILE", ".env"))


@cache
def get() -> Settings:
    """The settings of this process. Raises BadSettings."""
    try:
        return Settings(_env_file=env_file(), _secrets_dir=SECRETS if SECRETS.is_dir() else None)  # type: ignore[call-arg]
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise BadSettings(f"{first['loc'][0]} is not valid: {first['msg'].removeprefix('Value error, ')}") from None
