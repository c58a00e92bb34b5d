"""Every example request in the documents of the earlier interface (docs/api.md), changed in host and path alone."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from tests.support.polling import until
from tests.support.service import Service

VL = "nvidia/nemotron-nano-12b-v2-vl:free"
SYSTEM = {"role": "system", "content": "Você é um analista de imagem preciso."}


def picture(kind: str) -> str:
    """A data URL of an image that says something."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize((320, 200)).convert("RGB").save(out, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def image(kind: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": picture(kind)}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def vl(content: Any, *before: dict[str, str], **more: Any) -> dict[str, Any]:
    messages = [*before, {"role": "user", "content": content}]
    return {"model": VL, "messages": messages, "max_tokens": 150, "temperature": 0.7} | more


DESCRIBE = [text("Descreva esta imagem em detalhes."), image("JPEG")]
TREND = [image("PNG"), text("Qual a tendência de vendas de T1 a T4 neste gráfico?")]
JOBS: dict[str, dict[str, Any]] = {
    "text only": vl("Explique os fundamentos dos modelos de visão-linguagem em 100 palavras."),
    "image only": vl(DESCRIBE),
    "visual question": vl(TREND),
    "system prompt": vl(TREND, SYSTEM),
    "nucleus sampling": vl(TREND, SYSTEM, top_p=0.9),
    "curl, nested as it should be": {
        "model": VL, "messages": [{"role": "user", "content": [image("JPEG"), text("Analise isto.")]}],
    },
    "NIM chat": {
        "model": "meta/llama-3.3-70b-instruct", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100,
    },
    "NIM embedding": {"model": "nvidia/nv-embedqa-e5-v5", "input": ["Your text here"], "input_type": "query"},
}  # fmt: skip


@pytest.mark.parametrize("name", JOBS)
def test_a_request_to_a_provider_works_as_a_job(service: Service, name: str) -> None:
    body = JOBS[name]
    answer = service.http.post(f"{service.url}/jobs", json=body, headers={"Prefer": "wait=20"}, timeout=30)
    job = answer.json()
    assert (answer.status_code, job["status"]) == (200, "completed"), job
    assert job["usage"]["total_tokens"] > 0
    if "input" in body:
        assert len(job["result"]["embeddings"]) == 1
    else:
        assert job["result"]["content"].startswith("[simulated] ")


#: One object holds both parts: `type` stands in it twice.
MISNESTED = (
    '{"model":"nvidia/nemotron-nano-12b-v2-vl:free","messages":[{"role":"user","content":[{"type":"image_url",'
    '"image_url":{"url":"data:image/jpeg;base64,..."},"type":"text","text":"Analise isto."}]}]}'
)


def test_the_misnested_curl_is_refused_by_the_fields_name(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.http.post(f"{service.url}/jobs", data=MISNESTED, headers=headers, timeout=5)
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["type"])


MINIMAL = {"message": "Sua mensagem aqui"}
COMPLETE = {
    "message": "Olá, como você está?", "max_tokens": 256, "temperature": 0.7, "use_reasoning": True,
    "idempotency_key": "uuid-gerado-pelo-cliente",
}  # fmt: skip


@pytest.mark.parametrize("body", [MINIMAL, COMPLETE])
@pytest.mark.parametrize("query", ["", "?mode=auto", "?mode=api"])
def test_a_chat_of_the_earlier_interface_is_answered(service: Service, body: dict[str, Any], query: str) -> None:
    # A key belongs to one payload, and the mode is part of it.
    asked = body | ({"idempotency_key": body["idempotency_key"] + query} if "idempotency_key" in body else {})
    accepted = service.http.post(f"{service.url}/chat{query}", json=asked, timeout=5)
    said = accepted.json()
    assert (accepted.status_code, said["status"]) == (202, "pending")
    assert said["idempotency_key"] == asked.get("idempotency_key")

    def status() -> dict[str, Any]:
        return dict(service.http.get(f"{service.url}/chat/status/{said['job_id']}", timeout=5).json())

    done = until(lambda: (found := status())["status"] == "completed" and found, within_s=20)
    assert done is not False
    assert set(done) == {"job_id", "status", "created_at", "result"}
    assert set(done["result"]) == {"response", "mode", "latency_ms"}
    assert done["result"]["mode"] == "api"


def test_gpu_alone_is_a_503_where_there_is_none(service: Service) -> None:
    assert service.http.post(f"{service.url}/chat?mode=gpu", json=MINIMAL, timeout=5).status_code == 503


def test_the_service_tells_of_its_modes(service: Service) -> None:
    modes = service.http.get(f"{service.url}/chat/info", timeout=5).json()["modes"]
    assert [desk["mode"] for desk in modes] == ["auto", "gpu", "api"]
