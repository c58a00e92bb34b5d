"""A service whose hosted providers are the sandbox, in their own dialects."""

from __future__ import annotations

from pathlib import Path

from tests.support.service import Service

#: No limits of ours: what is found out is how failures are dealt with.
UNLIMITED = {f"TANDEM_{name}": "0" for name in ("NIM_RPM", "OPENROUTER_RPM", "OPENROUTER_TPM", "OPENROUTER_RPD")}


def nim(service: Service) -> dict[str, str]:
    """The environment of one that calls NVIDIA NIM."""
    return {"NVIDIA_API_KEY": "nvapi-test", "NVIDIA_BASE_URL": f"{service.sandbox_root}/nim/v1"}


def openrouter(service: Service) -> dict[str, str]:
    """The environment of one that calls OpenRouter."""
    return {"OPENROUTER_API_KEY": "sk-or-test", "OPENROUTER_BASE_URL": f"{service.sandbox_root}/openrouter/api/v1"}


def catalog(data: Path, text: str) -> dict[str, str]:
    """The environment of one with this catalogue of models, which is written into `data`."""
    path = data / "catalog.toml"
    path.write_text(text)
    return {"TANDEM_CATALOG": str(path)}


def service(data: Path, models: str, *, workers: int, **env: str) -> Service:
    """One whose api workers call NVIDIA's dialect first and OpenRouter's second, with these models and no limits. Not
    started yet."""
    made = Service(data, workers=workers, concurrency=8)
    made.env |= {**catalog(data, models), **nim(made), **openrouter(made), **UNLIMITED, **env}
    return made
