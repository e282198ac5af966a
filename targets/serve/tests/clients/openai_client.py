"""The official Python client against a server, endpoint by endpoint.

    python openai_client.py http://127.0.0.1:8080 [KEY]

The server has a model of the template g1 (`kinglet serve --template g1`), whatever it was trained on.
"""

import sys

import openai

base, key = sys.argv[1], (sys.argv[2] if len(sys.argv) > 2 else "none")
client = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model
question = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell a story."}]
options = {"model": model, "max_tokens": 24, "seed": 7}


def raises(kind, call, param=None):
    """The error that a call must raise."""
    try:
        call()
    except kind as error:
        assert param is None or error.body["param"] == param, error.body
        return error
    raise AssertionError(f"no {kind.__name__}")


def completions():
    whole = client.completions.create(prompt="Once upon a time", logprobs=3, **options)
    text = whole.choices[0].text
    assert whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 24
    assert "".join(whole.choices[0].logprobs.tokens) == text
    stream = client.completions.create(prompt="Once upon a time", stream=True, **options)
    assert "".join(chunk.choices[0].text for chunk in stream) == text
    several = client.completions.create(prompt=["Once", "A bird"], n=2, **options)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    stopped = client.completions.create(prompt="Once upon a time", stop=text[5:8], **options)
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].text == text[: text.index(text[5:8])]


def chat():
    whole = client.chat.completions.create(
        messages=question, logprobs=True, top_logprobs=2, **options)
    message = whole.choices[0].message
    assert message.role == "assistant" and whole.usage.prompt_tokens > 5
    told = whole.choices[0].logprobs.content
    assert len(told) == whole.usage.completion_tokens and len(told[0].top_logprobs) == 2
    chunks = list(client.chat.completions.create(
        messages=question, stream=True, stream_options={"include_usage": True}, **options))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == len(told)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == message.content
    # The client's own gathering of a stream, which takes an answer that is cut short for an error.
    with client.chat.completions.stream(messages=question, **options) as stream:
        error = raises(openai.LengthFinishReasonError, stream.get_final_completion)
    assert error.completion.choices[0].message.content == text
    thought = client.chat.completions.create(
        messages=question, reasoning_effort="low", extra_body={"reasoning_budget": 4}, **options)
    assert thought.choices[0].message.reasoning_content
    assert thought.usage.completion_tokens_details.reasoning_tokens >= 4


def responses():
    options = {"model": model, "max_output_tokens": 16, "extra_body": {"seed": 3, "logit_bias": {"0": -100}}}
    first = client.responses.create(input="Hi", instructions="Be brief.", **options)
    assert first.status == "incomplete" and first.incomplete_details.reason == "max_output_tokens"
    second = client.responses.create(input="More", previous_response_id=first.id, **options)
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    events = list(client.responses.create(
        input="More", previous_response_id=first.id, stream=True, **options))
    assert events[0].type == "response.created" and events[-1].type == "response.incomplete"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == second.output_text
    # An output is an input.
    items = [{"role": "user", "content": "Hi"}, *first.to_dict()["output"],
             {"role": "user", "content": "More"}]
    again = client.responses.create(input=items, **options)
    assert again.output_text == second.output_text
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    raises(openai.NotFoundError, lambda: client.responses.retrieve(first.id))


def errors():
    create = client.chat.completions.create
    error = raises(openai.BadRequestError, lambda: create(
        messages=question, extra_body={"foo": 1}, **options), "foo")
    assert error.code == "unknown_parameter"
    raises(openai.BadRequestError, lambda: create(messages=[], model=model), "messages")
    raises(openai.NotFoundError, lambda: create(messages=question, model="gpt-9"), "model")
    raises(openai.APIStatusError, lambda: client.embeddings.create(input="a", model=model))
    if key != "none":
        other = openai.OpenAI(base_url=base + "/v1", api_key="wrong", max_retries=0)
        raises(openai.AuthenticationError, lambda: other.models.list())


for test in (completions, chat, responses, errors):
    test()
    print(f"openai {openai.__version__}: {test.__name__}")
