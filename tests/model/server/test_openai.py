"""The OpenAI routes, asked by OpenAI's own client over a real socket."""

from __future__ import annotations

import json
from typing import Any, cast

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from mens_server.engines import fake
from tests.model.server import running_server

pytestmark = pytest.mark.model

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How do I open a file?"}]


@pytest.fixture
def client(served: running_server.RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def chat(client: openai.OpenAI, model: str = "a", **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=ASK, temperature=0, **more)


def test_models_carry_their_license(
    client: openai.OpenAI, served: running_server.RunningServer
) -> None:
    """Base and adapters, each with digest, license and whether somebody must be named."""
    models = {model.id: model.model_dump() for model in client.models.list()}
    assert list(models) == ["base", "a", "b"]
    assert models["a"]["license"] == "Apache-2.0"
    assert models["a"]["attribution_required"] == "Yes"
    assert models["a"]["parent"] == models["base"]["digest"]
    assert client.models.retrieve("b").id == "b"


def test_an_answer_says_who_gave_it(
    client: openai.OpenAI, served: running_server.RunningServer
) -> None:
    """The adapter's digest is the fingerprint and a header; base and adapters differ."""
    digests = {entry.name: entry.digest for entry in served.service.models.entries()}
    answers = {}
    for name in ("base", "a", "b"):
        raw = client.chat.completions.with_raw_response.create(
            model=name, messages=ASK, temperature=0
        )
        answer = raw.parse()
        answers[name] = answer.choices[0].message.content
        assert answer.system_fingerprint == digests[name]
        expected = None if name == "base" else digests[name]
        assert raw.headers.get("x-mens-adapter-digest") == expected
        assert raw.headers["x-mens-base-digest"] == digests["base"]
    assert len(set(answers.values())) == 3


def test_usage_and_finish(client: openai.OpenAI) -> None:
    """`length` at max_tokens, `stop` at the model's own end; tokens add up."""
    short = chat(client, max_tokens=5)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 5
    assert short.usage.total_tokens == short.usage.prompt_tokens + 5
    whole = chat(client)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.choices[0].message.content.startswith(short.choices[0].message.content)


def test_a_stream_is_the_same_answer(client: openai.OpenAI) -> None:
    """Chunks join to the whole answer; the usage chunk comes last and has no choices."""
    whole = chat(client)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_wire_of_a_stream_ends_with_done(served: running_server.RunningServer) -> None:
    """Server-sent events, one JSON each, then [DONE]."""
    body = {"model": "base", "messages": ASK, "stream": True, "max_tokens": 2}
    with served.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["id"] for event in events[:-1])


def test_stop_strings_end_the_answer_and_are_not_in_it(client: openai.OpenAI) -> None:
    """Also when a stop string is spread over several tokens."""
    whole = chat(client).choices[0].message.content
    stopped = chat(client, stop=[whole[5:8], "never said"])
    assert stopped.choices[0].message.content == whole[: whole.index(whole[5:8])]
    assert stopped.choices[0].finish_reason == "stop"
    streamed = chat(client, stop=whole[5:8], stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
    assert text == stopped.choices[0].message.content


def test_completions(client: openai.OpenAI) -> None:
    """The older route: text, one text in a list, or token ids; whole and streamed."""
    texts = [
        client.completions.create(model="a", prompt=prompt, temperature=0, max_tokens=6)
        for prompt in ("def f", ["def f"], list(b"def f"))
    ]
    assert len({text.choices[0].text for text in texts}) == 1
    stream = client.completions.create(
        model="a", prompt="def f", temperature=0, max_tokens=6, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == texts[0].choices[0].text


def test_a_seed_repeats_an_answer(client: openai.OpenAI) -> None:
    """Sampling with a seed is deterministic."""
    answers = [
        client.chat.completions.create(model="a", messages=ASK, temperature=1, seed=seed)
        for seed in (3, 3, 4)
    ]
    one, same, other = (answer.choices[0].message.content for answer in answers)
    assert one == same != other


def test_an_unknown_model_is_never_the_base(client: openai.OpenAI) -> None:
    """404 model_not_found, for names that do not exist and for invalid names."""
    for name in ("c", "../base", "BASE", "s3://models/a", ""):
        with pytest.raises(openai.NotFoundError) as error:
            chat(client, model=name)
        assert error.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("presence_penalty", 0.5),
        ("logit_bias", {"5": 1}),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("top_k", 5),
        ("min_p", 0.1),
        ("temperature", 3),
        ("temperature", "1"),
        ("top_p", 0),
        ("max_tokens", 0),
        ("seed", 1.5),
        ("stream", 1),
        ("model", ["a"]),
        ("stop", ["a"] * 5),
        ("stream_options", {"include_usage": True}),
        ("stream_options", {"include_usage": 1}),
    ],
)
def test_an_unsupported_parameter_is_named(
    served: running_server.RunningServer, parameter: str, value: object
) -> None:
    """400 with the parameter's name, never a silent shrug."""
    body = {"model": "a", "messages": ASK, parameter: value}
    with served.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"].split(".")[0].split("[")[0] == parameter
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[" * 100_000, b'{"model": NaN}', b"\xff\xfe", b'{"model":"a"}', b"null"],
)
def test_a_body_that_is_none(served: running_server.RunningServer, content: bytes) -> None:
    """400 in OpenAI's shape for anything that is not the JSON the route takes."""
    with served.client() as client:
        answer = client.post("/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_messages_of_unknown_roles_or_parts_are_named(client: openai.OpenAI) -> None:
    """Roles and content parts that the server does not do."""
    image = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}
    for message in ({"role": "tool", "content": "x"}, {"role": "user", "content": [image]}):
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(
                model="a", messages=[cast("ChatCompletionMessageParam", message)]
            )
        assert str(error.value.param).startswith("messages[0]")


def test_neutral_values_are_accepted(client: openai.OpenAI) -> None:
    """Clients that spell out the defaults are served."""
    answer = chat(
        client,
        n=1,
        presence_penalty=0,
        frequency_penalty=0,
        logprobs=False,
        response_format={"type": "text"},
        max_tokens=1,
        user="someone",
    )
    assert answer.choices[0].message.content


def test_an_answer_can_be_sent_back_as_it_came(client: openai.OpenAI) -> None:
    """The client's own way to go on: the message object of the answer, nulls and all."""
    messages: list[Any] = [*ASK]
    answer = client.chat.completions.create(model="a", messages=messages)
    messages += [answer.choices[0].message, {"role": "user", "content": "And then?"}]
    more = {"stream_options": {"include_usage": None}, "seed": None}
    assert client.chat.completions.create(model="a", messages=messages, extra_body=more).choices


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({"refusal": None, "tool_calls": [], "annotations": [], "audio": None, "name": "x"}, True),
        ({"refusal": "I will not."}, False),
        ({"tool_calls": [{"id": "1"}]}, False),
    ],
)
def test_fields_of_messages(
    served: running_server.RunningServer, change: dict[str, object], accepted: bool
) -> None:
    """What asks nothing is accepted; the rest is a 400 that names the field."""
    turn = {"role": "assistant", "content": "hi", **change}
    body = {"model": "a", "messages": [*ASK, turn, *ASK], "max_tokens": 1}
    with served.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == (200 if accepted else 400)
    if not accepted:
        (name,) = change
        assert answer.json()["error"]["param"] == f"messages[1].{name}"
        assert answer.json()["error"]["code"] == "unsupported_parameter"


def test_a_context_that_is_too_long(client: openai.OpenAI) -> None:
    """400 with the code that clients look for."""
    for more in ({"max_tokens": 10_000}, {"extra_body": {"messages": [long_turn()]}}):
        with pytest.raises(openai.BadRequestError) as error:
            chat(client, **more)
        assert error.value.code == "context_length_exceeded"


def long_turn() -> dict[str, str]:
    return {"role": "user", "content": "x" * 500}


def test_a_body_that_is_too_large(served: running_server.RunningServer) -> None:
    """413, whether the length is declared or not."""
    data = b"x" * ((1 << 20) + 1)
    with served.client() as client:
        declared = client.post("/v1/chat/completions", content=data)
        chunked = client.post("/v1/chat/completions", content=iter([data]))
    assert declared.status_code == chunked.status_code == 413


def test_a_failing_step_is_a_500_and_the_server_continues(client: openai.OpenAI) -> None:
    """Whole: status 500; streamed: an error event."""
    bad: list[ChatCompletionMessageParam] = [{"role": "user", "content": fake.FAIL}]
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="a", messages=bad)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="a", messages=bad, stream=True))
    assert chat(client).choices[0].message.content


def test_unknown_routes(served: running_server.RunningServer) -> None:
    """404 and 405 in OpenAI's shape; nothing loads or unloads models."""
    with served.client() as client:
        for method, path, status in (
            ("GET", "/v1/nothing", 404),
            ("GET", "/v1/chat/completions", 405),
            ("POST", "/v1/load_lora_adapter", 404),
            ("DELETE", "/v1/models/a", 405),
        ):
            answer: httpx.Response = client.request(method, path)
            assert answer.status_code == status
            assert answer.json()["error"]["code"]
