"""A variable that cannot be used is refused in one sentence, which names it and never says its value."""

from __future__ import annotations

import pytest

from tasks import settings
from tasks.settings import BadSettings

SECRET = "hunter2"  # what must not be repeated

ROWS: list[tuple[str, dict[str, str], str]] = [
    # what is wrong with it, the variable, what is said
    ("no number", {"TANDEM_PORT": SECRET}, "valid integer"),
    ("no number of processes", {"WEB_CONCURRENCY": SECRET}, "valid integer"),
    ("no process at all", {"WEB_CONCURRENCY": "0"}, "greater than or equal to 1"),
    ("no truth", {"TANDEM_ALLOW_PAID": SECRET}, "valid boolean"),
    ("out of bounds", {"TANDEM_LEASE_S": "0.1"}, "greater than 0.5"),
    ("more than a week", {"TANDEM_EXPIRES_IN_S": "604801"}, "less than or equal to 604800"),
    ("endless", {"TANDEM_CALL_TIMEOUT_S": "inf"}, "finite"),
    ("a socket without a path", {"REDIS_URL": f"unix://:{SECRET}@"}, "unix://"),
    ("a socket on a host", {"REDIS_URL": f"unix://{SECRET}/run/valkey.sock"}, "unix://"),
    ("sentinels of nothing", {"REDIS_URL": f"redis+sentinel://:{SECRET}@a:1,b:2"}, "/service"),
    ("a sentinel without a name", {"REDIS_URL": f"redis+sentinel://:{SECRET}@a:1,/main"}, "redis+sentinel://"),
    ("two servers", {"REDIS_URL": f"redis://:{SECRET}@a:1,b:2/0"}, "redis://"),
    ("a port beyond all", {"REDIS_URL": f"rediss://:{SECRET}@a:65536/0"}, "rediss://"),
    ("no certificate", {"TANDEM_REDIS_CA": f"/nonexistent/{SECRET}"}, "no such file"),
    ("no scheme", {"REDIS_URL": "127.0.0.1:6379"}, "redis://"),
    ("no host", {"REDIS_URL": f"redis://:{SECRET}@/0"}, "redis://"),
    ("no port", {"REDIS_URL": f"redis://127.0.0.1:{SECRET}/0"}, "redis://"),
    ("an unescaped password", {"REDIS_URL": f"redis://:a#{SECRET}@127.0.0.1:6379/0"}, "%-escapes"),
    ("a named database", {"REDIS_URL": f"redis://127.0.0.1/{SECRET}"}, "[/number]"),
    ("options", {"REDIS_URL": f"redis://127.0.0.1/0?client_name={SECRET}"}, "redis://"),
    ("a size in words", {"TANDEM_VALKEY_MAXMEMORY": "half"}, "match pattern"),
    ("an unknown level", {"LOG_LEVEL": "loud"}, "'WARNING'"),
    ("an unknown format", {"LOG_FORMAT": "xml"}, "'console' or 'json'"),
    ("a key without owner", {"TANDEM_API_KEYS": f"ann:one,{SECRET}"}, "entry 2 is not owner:key"),
    ("a host with a port", {"TANDEM_HOSTS": "app.internal,app.internal:80"}, "without scheme, port or path"),
    ("a host with a scheme", {"TANDEM_HOSTS": "http://app.internal"}, "without scheme, port or path"),
    ("an open quote", {"TANDEM_VLLM_ARGS": "--quantization='awq"}, "No closing quotation"),
    ("a sandbox now and then", {"TANDEM_SANDBOX": "yes"}, "'auto', '1' or '0'"),
    ("a provider that is none", {"TANDEM_GUESSED_LIMITS": "nim,openai"}, "there is no provider openai"),
    ("no address", {"NVIDIA_BASE_URL": f"{SECRET}.example/v1"}, "http://"),
    ("no web address", {"OPENROUTER_BASE_URL": "ftp://files.example/v1"}, "http://"),
]


@pytest.mark.parametrize(("changes", "words"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], words: str) -> None:
    ((name, value),) = changes.items()
    monkeypatch.setenv(name, value)
    settings.get.cache_clear()
    with pytest.raises(BadSettings) as caught:
        settings.get()
    said = str(caught.value)
    assert said.startswith(f"{name} is not valid: ")
    assert words in said
    assert SECRET not in said
    assert "\n" not in said


GOOD = [
    ("REDIS_URL", "redis://localhost"),
    ("REDIS_URL", "redis://ann:p%23ss@[::1]:6379/15"),
    ("REDIS_URL", "rediss://ann:p%23ss@redis.internal/1"),
    ("REDIS_URL", "unix:///run/valkey.sock"),
    ("REDIS_URL", "unix://ann:secret@/run/valkey.sock?db=3"),
    ("REDIS_URL", "redis+sentinel://:secret@one:26379,[::1],three/main/2"),
    ("TANDEM_HOSTS", "app.internal, 10.1.2.3,::1,[fe80::1]"),
    ("LOG_LEVEL", "warning"),
    ("TANDEM_EXPIRES_IN_S", "604800"),
    ("LOG_FORMAT", "JSON"),
    ("TANDEM_GUESSED_LIMITS", "none"),
    ("TANDEM_API_KEYS", "ann:one,ann:two,"),
    ("NVIDIA_BASE_URL", "https://nim.example:8443/v1"),
    ("TANDEM_VLLM_ARGS", "--hf-overrides '{\"a\": 1}'"),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_can_be_used_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    settings.get.cache_clear()
    assert settings.get()
    settings.get.cache_clear()
