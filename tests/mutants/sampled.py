"""Changes of Python that cosmic-ray makes: a sample of each module's, the same at every run."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

from tests.mutants.copy import TEST_TIMEOUT_S, Copy, Verdict, pytest_command
from tests.mutants.table import Module

#: Ways of changing that change no meaning here, or that only types notice.
USELESS = ("core/RemoveDecorator", "core/ReplaceBinaryOperator_BitOr", "core/ExceptionReplacer")


def judged(copy: Copy, module: Module) -> Iterator[tuple[str, Verdict]]:
    """What the tests said of each change of the sample: where it was, and the lines that it took and put."""
    config, session = copy.folder / "cosmic-ray.toml", copy.folder / "cosmic-ray.sqlite"
    session.unlink(missing_ok=True)
    config.write_text(_config(module))
    tool = [sys.executable, "-m", "cosmic_ray.cli"]
    if copy.run([*tool, "init", config.name, session.name]) != 0:
        yield f"{module.file}: cosmic-ray could not read it", Verdict.STALE
        return
    items = _skip_all_but_a_sample(session, module)
    copy.run([*tool, "exec", config.name, session.name], TEST_TIMEOUT_S * len(items))
    db = WorkDB(str(session), WorkDB.Mode.open)
    try:
        results = dict(db.results)
    finally:
        db.close()
    for item in items:
        yield _described(item, results.get(item.job_id)), _verdict(results.get(item.job_id))


def _config(module: Module) -> str:
    command = " ".join([*pytest_command()[:-1], f"'{pytest_command()[-1]}'", *module.tests])
    return (
        f"[cosmic-ray]\nmodule-path = {json.dumps(module.file)}\ntimeout = {TEST_TIMEOUT_S}\nexcluded-modules = []\n"
        f'test-command = {json.dumps(command)}\n[cosmic-ray.distributor]\nname = "local"\n'
    )


def _skip_all_but_a_sample(session: Path, module: Module) -> list[WorkItem]:
    db = WorkDB(str(session), WorkDB.Mode.open)
    try:
        items = sorted(db.work_items, key=lambda item: str(item.mutations))
        wanted = [item for item in items if not item.mutations[0].operator_name.startswith(USELESS)]
        random.Random(module.file).shuffle(wanted)
        kept = wanted[: module.sample]
        skipped = {item.job_id for item in items} - {item.job_id for item in kept}
        db.set_multiple_results(skipped, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
        return kept
    finally:
        db.close()


def _described(item: WorkItem, result: WorkResult | None) -> str:
    change = item.mutations[0]
    lines = [line for line in ((result and result.diff) or "").splitlines() if line[:1] in "+-"]
    shown = " ".join(" ".join(line.split()) for line in lines if line[:3] not in ("+++", "---"))
    return f"{change.module_path}:{change.start_pos[0]} {shown or change.operator_name}"


def _verdict(result: WorkResult | None) -> Verdict:
    if result is None or result.test_outcome is None:
        return Verdict.STALE
    return Verdict.LIVED if result.test_outcome is TestOutcome.SURVIVED else Verdict.NOTICED
