"""Images at submission: taken in and stored once, or refused by name."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings

from tasks.settings import BadSettings
from tasks.store import fleet
from tasks.store.fleet import Worker
from tests.images.mangled import mangled
from tests.images.pictures import BLUE, asking, data_url, noise, plain
from tests.images.servers import WebServer, page, raw
from tests.support.valkey import Valkey
from tests.web import worker
from tests.web.conftest import MakeClient

SEES = "nvidia/nemotron-nano-12b-v2-vl"
BLIND = "nvidia/nemotron-3-nano-30b-a3b"
URL = "messages.0.content.1.image_url.url"


def post(client: FlaskClient, *urls: str, model: str = SEES, **more: Any) -> Any:
    return client.post("/jobs", json={"model": model, "messages": asking(*urls), **more})


def test_an_image_is_stored_by_its_hash_and_referred_to(client: FlaskClient, valkey: Valkey) -> None:
    picture = plain()
    answer = post(client, data_url(picture))
    assert answer.status_code == 202
    job = answer.get_json()
    assert job["images"] == [{"in": [40, 30, len(picture)], "out": None}]
    assert client.get(f"/jobs/{job['id']}").get_json()["images"] == job["images"]
    request = json.loads(valkey.client.hget(f"tandem:job:{job['id']}", "request") or "")
    digest = hashlib.sha256(picture).hexdigest()
    assert request["messages"][0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"media:{digest}"}},
    ]
    assert valkey.client.strlen(f"tandem:media:{digest}") == len(picture)


def test_the_order_of_texts_and_images_stays(client: FlaskClient, valkey: Valkey) -> None:
    one, two = data_url(plain()), data_url(plain(BLUE))
    parts = [asking(url)[0]["content"] for url in (one, two, one)]
    messages = [{"role": "user", "content": [*parts[0], *parts[1]]}, {"role": "user", "content": parts[2]}]
    job = client.post("/jobs", json={"model": SEES, "messages": messages}).get_json()
    stored = json.loads(valkey.client.hget(f"tandem:job:{job['id']}", "request") or "")["messages"]
    kinds = [[part["type"] for part in message["content"]] for message in stored]
    assert kinds == [["text", "image_url", "text", "image_url"], ["text", "image_url"]]
    urls = [part["image_url"]["url"] for message in stored for part in message["content"] if "image_url" in part]
    assert urls[0] == urls[2] != urls[1]
    assert len(job["images"]) == 3


def test_the_same_image_is_kept_once_and_for_the_longest_job(client: FlaskClient, valkey: Valkey) -> None:
    for expires_in_s in (100, 50_000, 200):
        assert post(client, data_url(plain()), expires_in_s=expires_in_s).status_code == 202
    [key] = valkey.client.keys("tandem:media:*")
    left_s = valkey.client.ttl(key)
    week_s = 7 * 24 * 3600
    assert week_s + 49_990 <= left_s <= week_s + 50_002


def test_a_job_that_is_refused_for_one_image_leaves_no_other_behind(client: FlaskClient, valkey: Valkey) -> None:
    answer = post(client, data_url(plain()), "data:image/png;base64,AAAA")
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["messages.0.content.2.image_url.url"])
    assert all(valkey.client.ttl(key) < 200 for key in valkey.client.keys("tandem:media:*"))
    # What another job has stored stays for as long as that one needs it.
    assert post(client, data_url(plain())).status_code == 202
    [key] = valkey.client.keys("tandem:media:*")
    kept_s = valkey.client.ttl(key)
    assert post(client, data_url(plain()), "data:image/png;base64,AAAA").status_code == 422
    assert valkey.client.ttl(key) >= kept_s - 5 > 10_000


def test_no_message_carries_an_image(client: FlaskClient, valkey: Valkey) -> None:
    post(client, data_url(noise((80, 80))))
    [message] = valkey.client.lrange("api.sandbox", 0, -1)
    assert len(message) < 3000


@pytest.mark.parametrize(
    ("url", "reason"),
    [("data:image/png;base64,aGVsbG8=", "no JPEG, PNG or WEBP"), ("data:image/png,x", "base64"),
     (data_url(noise((64, 64))[:5000]), "broken"), ("data:image/png;base64,*", "base64")],
)  # fmt: skip
def test_an_image_that_cannot_be_read_is_refused_by_name(
    client: FlaskClient, valkey: Valkey, url: str, reason: str
) -> None:
    answer = post(client, url)
    assert (answer.status_code, answer.content_type) == (422, "application/problem+json")
    [sentence] = answer.get_json()["errors"][URL]
    assert reason in sentence
    assert valkey.client.dbsize() == 0


def test_the_field_says_which_of_many_is_broken(client: FlaskClient) -> None:
    good = data_url(plain())
    assert list(post(client, good, good, "data:;base64,AAAA").get_json()["errors"]) == [
        "messages.0.content.3.image_url.url"
    ]


def test_more_images_than_any_model_takes_are_refused(client: FlaskClient) -> None:
    assert post(client, *[data_url(plain())] * 16).status_code == 202
    assert post(client, *[data_url(plain())] * 17).status_code == 422


def test_a_larger_image_than_allowed_is_refused(make_client: MakeClient) -> None:
    client = make_client(TANDEM_IMAGE_MAX_BYTES="1000")
    assert "1000 bytes" in post(client, data_url(noise((64, 64)))).get_json()["errors"][URL][0]


@pytest.mark.parametrize("model", [BLIND, "default"])
def test_a_model_that_sees_nothing_is_given_no_image(client: FlaskClient, model: str) -> None:
    answer = post(client, data_url(plain()), model=model)
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, ["model"])


def test_the_default_is_what_the_settings_say(make_client: MakeClient) -> None:
    assert post(make_client(TANDEM_API_MODEL=SEES), data_url(plain()), model="default").status_code == 202


def test_a_local_model_is_asked_by_what_the_catalogue_knows(client: FlaskClient) -> None:
    for model, status in (("tiny-chat", 422), ("my/own-model", 202)):
        fleet.default().hello(Worker(name="g1", queues="gpu", state="ready", model=model))
        for named in (model, "default"):
            assert post(client, data_url(plain()), model=named, mode="gpu").status_code == status, (model, named)


def test_auto_goes_past_a_local_model_that_sees_nothing(make_client: MakeClient) -> None:
    client = make_client(NVIDIA_API_KEY="nvapi-none", TANDEM_API_MODEL=SEES)
    fleet.default().hello(Worker(name="g1", queues="gpu", state="ready", model="tiny-chat"))
    job = post(client, data_url(plain()), model="default").get_json()
    assert worker.claim(job["id"]).queue == "api"
    assert post(client, data_url(plain()), model="default", mode="gpu").status_code == 422


def test_any_bytes_are_accepted_or_refused(client: FlaskClient) -> None:
    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mangled())
    def check(data: bytes) -> None:
        answer = post(client, data_url(data))
        assert answer.status_code in (202, 422)
        if answer.status_code == 422:
            assert list(answer.get_json()["errors"]) == [URL]

    check()


# ---- images that are fetched -----------------------------------------------------------------


@pytest.fixture
def far() -> Iterator[WebServer]:
    with WebServer().running() as server:
        yield server


def reaching(make_client: MakeClient, far: WebServer) -> FlaskClient:
    return make_client(TANDEM_IMAGE_NETWORKS="127.0.0.0/8", TANDEM_IMAGE_PORTS=f"80, {far.port}")


def test_an_image_is_fetched_and_its_url_forgotten(make_client: MakeClient, far: WebServer, valkey: Valkey) -> None:
    far.pages["/a.png"] = page(plain(), "text/plain")
    job = post(reaching(make_client, far), f"http://127.0.0.1:{far.port}/a.png?signature=secret").get_json()
    assert job["images"] == [{"in": [40, 30, len(plain())], "out": None}]
    record = valkey.client.hgetall(f"tandem:job:{job['id']}")
    assert "secret" not in json.dumps(record)
    assert "media:" in record["request"]


def test_an_image_that_cannot_be_fetched_is_refused_by_name(make_client: MakeClient, far: WebServer) -> None:
    client = reaching(make_client, far)
    far.pages["/page"] = page(b"<html>")
    for path, reason in (("/page", "no JPEG, PNG or WEBP"), ("/none", "HTTP 404")):
        answer = post(client, data_url(plain()), f"http://127.0.0.1:{far.port}{path}")
        assert answer.status_code == 422
        assert reason in answer.get_json()["errors"]["messages.0.content.2.image_url.url"][0]


def test_without_leave_nothing_in_the_house_is_fetched(client: FlaskClient, far: WebServer, valkey: Valkey) -> None:
    answer = post(client, f"http://127.0.0.1:{far.port}/", "http://127.0.0.1/")
    assert (answer.status_code, list(answer.get_json()["errors"])) == (422, [URL])
    assert post(client, "http://127.0.0.1/").status_code == 422
    assert far.seen == []
    assert valkey.client.dbsize() == 0


def test_all_images_of_a_job_share_one_time(make_client: MakeClient, far: WebServer) -> None:
    over = threading.Event()
    far.pages["/"] = raw(b"HTTP/1.0 200 OK\r\n\r\n", *[b"A"] * 1000, pause=lambda: over.wait(0.05))
    client = make_client(
        TANDEM_IMAGE_NETWORKS="127.0.0.0/8", TANDEM_IMAGE_PORTS=str(far.port), TANDEM_IMAGE_FETCH_S="0.5"
    )
    began = time.monotonic()
    urls = [f"http://127.0.0.1:{far.port}/?{n}" for n in range(10)]
    assert post(client, *urls).status_code == 422
    over.set()
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("name", ["TANDEM_IMAGE_NETWORKS", "TANDEM_IMAGE_PORTS"])
def test_a_setting_that_makes_no_sense_is_told_at_the_start(make_client: MakeClient, name: str) -> None:
    with pytest.raises(BadSettings, match=name):
        make_client(**{name: "127.0.0.0/8, nonsense"})


def test_a_repeated_request_is_answered_before_its_image_is_looked_for(client: FlaskClient) -> None:
    key = {"idempotency_key": "once"}
    first = post(client, data_url(plain()), **key)
    again = post(client, data_url(plain()), **key)
    assert (again.get_json()["id"], again.headers["Idempotency-Replayed"]) == (first.get_json()["id"], "true")
    assert post(client, data_url(plain(BLUE)), **key).status_code == 422
