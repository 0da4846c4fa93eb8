"""One call with each of Python's SDKs, as a program makes it that knows nothing of Fleetgate but the name of its model."""

import os

import anthropic
import openai

model = os.environ["FLEETGATE_MODEL"]
messages = [{"role": "user", "content": "say hi"}]
chat = openai.OpenAI().chat.completions.create(model=model, messages=messages)
response = openai.OpenAI().responses.create(model=model, input="say hi")
message = anthropic.Anthropic().messages.create(model=model, max_tokens=5, messages=messages)
print(chat.choices[0].message.content, response.output_text, message.content[0].text)
