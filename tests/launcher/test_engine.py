"""`make run` with a real engine: jobs wait for it from the first moment, and it goes with the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environment import MODELS_DIR
from tests.launcher.launched import ROOT, Launched, survivors
from tests.support.polling import until

ENGINE = ROOT / ".venv-vllm" / "bin" / "vllm"
MODEL = MODELS_DIR / "tiny-chat"
LOAD_S = 240


@pytest.mark.vllm
@pytest.mark.timeout(2 * LOAD_S)
def test_the_first_job_waits_for_the_engine_and_nothing_of_the_engine_survives(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "models").mkdir(parents=True)
    (data / "models" / "tiny-chat").symlink_to(MODEL)
    with Launched(data, TANDEM_VLLM=str(ENGINE)) as run:
        run.ready()
        job_id = run.post(prompt="What is the capital of France?")["id"]
        until(lambda: run.job(job_id)["status"] == "completed", within_s=LOAD_S)
        assert run.job(job_id)["result"]["content"] == "The capital of France is Paris."
        assert run.job(job_id)["attempts"][0]["queue"] == "gpu"
        assert any("vllm" in " ".join(process.cmdline()) for process in survivors(data))
        assert "engine.state" in run.output()
        run.interrupt()
        run.stopped()
