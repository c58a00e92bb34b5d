"""The environment that a test run is started in, and what of it no test may see.

A developer's shell and CI have keys, ports and folders set for `make run`. A test that saw them would ask a real
provider, write into real data, or fail for a variable that it never set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tasks.engine import install

#: What Tandem, Celery and gunicorn read.
PREFIXES = ("TANDEM_", "NVIDIA_", "NVCF_", "OPENROUTER_", "CELERY_")
NAMES = frozenset({"REDIS_URL", "LOG_LEVEL", "LOG_FORMAT", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"})

#: Where `make vllm-cpu` has put its model: what the tests with a real engine need of the environment. Read before it
#: is forgotten.
MODELS_DIR = install.models_dir()


def cleaned(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what no test may see. Settings are also read by lower-case names."""
    return {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith(PREFIXES) and name.upper() not in NAMES
    }


def forget() -> None:
    """Take it from this process, and so from all that it starts; an .env file too."""
    for name in set(os.environ) - set(cleaned(os.environ)):
        del os.environ[name]
    os.environ["TANDEM_ENV_FILE"] = os.devnull
