"""Each API once with a key of which nothing is left; prints what OpenAI's and Anthropic's Python SDKs raise, as JSON."""

import json

from anthropic import Anthropic, APIStatusError as AnthropicError
from openai import APIStatusError, OpenAI

messages = [{"role": "user", "content": "say hi"}]


def raised(error, call):
    try:
        call()
    except error as refused:
        return {"status": refused.status_code, "message": str(refused)}


openai, anthropic = OpenAI(), Anthropic()
calls = {
    "chat": (APIStatusError, lambda: openai.chat.completions.create(model="gpt-x", messages=messages)),
    "response": (APIStatusError, lambda: openai.responses.create(model="gpt-x", input="say hi", stream=True)),
    "message": (AnthropicError, lambda: anthropic.messages.create(model="sonnet", max_tokens=64, messages=messages)),
}
print(json.dumps({name: raised(*call) for name, call in calls.items()}))
