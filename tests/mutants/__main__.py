"""`make mutants [ONLY=text]`: changes the project in small ways and tells which of them its tests do not notice.

ONLY tries what has the text in its kind, name or file. The exit status is 1 when a row of the tables is stale, and 0
otherwise, however many live: some changes change nothing that can be seen.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

from tests.mutants import copy, sampled, table
from tests.mutants.copy import Copy, Verdict


def main() -> int:
    """Try all changes, print a line for each, and the score."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    counts: Counter[Verdict] = Counter()
    with copy.made() as tree:
        for name, verdict in tried(tree, wanted):
            counts[verdict] += 1
            print(f"{verdict:8}{name}", flush=True)
    print(f"mutants noticed={counts[Verdict.NOTICED]} lived={counts[Verdict.LIVED]} stale={counts[Verdict.STALE]}")
    return int(counts[Verdict.STALE] > 0)


def tried(tree: Copy, wanted: str) -> Iterator[tuple[str, Verdict]]:
    """Each change that is wanted, and what the tests said of it."""
    for change in table.changes():
        name = f"{change.kind}: {change.name} ({change.file})"
        if wanted in name:
            with tree.changed(change.file, change.old, change.new) as is_there:
                yield name, tree.judge(change.tests) if is_there else Verdict.STALE
    for module in table.modules():
        if wanted in module.file:
            yield from sampled.judged(tree, module)


if __name__ == "__main__":
    sys.exit(main())
