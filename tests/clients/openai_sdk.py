"""Each API once with OpenAI's Python SDK, configured by its environment alone; prints what came back as JSON."""

import json

from openai import BadRequestError, OpenAI

client = OpenAI()
messages = [{"role": "user", "content": "say hi"}]

chat = client.chat.completions.create(model="gpt-x", messages=messages)
chunks = list(client.chat.completions.create(model="gpt-x", messages=messages, stream=True))
embedding = client.embeddings.create(model="gpt-x", input="text")
response = client.responses.create(model="gpt-x", input="say hi")
events = list(client.responses.create(model="gpt-x", input="say hi", stream=True))
try:
    client.chat.completions.create(model="gpt-unknown", messages=messages)
    error = None
except BadRequestError as refused:
    error = refused.message

print(
    json.dumps(
        {
            "chat": chat.choices[0].message.content,
            # Indexing choices[0] is what breaks when an injected usage chunk is left in.
            "chat_stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
            "embedding": embedding.data[0].embedding,
            "response": response.output_text,
            "response_stream": events[-1].response.output_text,
            "error": error,
        }
    )
)
