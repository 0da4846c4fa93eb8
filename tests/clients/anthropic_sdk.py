"""Messages with Anthropic's Python SDK, configured by its environment alone; prints what came back as JSON."""

import json

from anthropic import Anthropic, BadRequestError

client = Anthropic()
request = {"model": "sonnet", "max_tokens": 64, "messages": [{"role": "user", "content": "say hi"}]}

message = client.messages.create(**request)
with client.messages.stream(**request) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
try:
    client.messages.create(**(request | {"model": "unknown"}))
    error = None
except BadRequestError as refused:
    error = refused.message

print(
    json.dumps(
        {
            "message": message.content[0].text,
            "stream": text,
            "output_tokens": final.usage.output_tokens,
            "error": error,
        }
    )
)
