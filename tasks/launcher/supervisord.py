"""`python -m tasks.launcher.supervisord -c FILE`: supervisord, which a full disk under the logs does not end.

It reports a log that it cannot write on standard error, lets what that raises end it, and all its processes with it.
"""

from __future__ import annotations

from supervisor.supervisord import main  # type: ignore[import-untyped]

from tasks import logs

if __name__ == "__main__":
    logs.shield_printing()
    main()
