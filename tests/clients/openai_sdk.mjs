// Each API once with OpenAI's Node SDK, configured by its environment alone; prints what came back as JSON.

import OpenAI from "openai";

const client = new OpenAI();
const messages = [{ role: "user", content: "say hi" }];

const chat = await client.chat.completions.create({ model: "gpt-x", messages });
let chatStream = "";
for await (const chunk of await client.chat.completions.create({ model: "gpt-x", messages, stream: true })) {
  // Indexing choices[0] is what breaks when an injected usage chunk is left in.
  chatStream += chunk.choices[0].delta.content ?? "";
}
const embedding = await client.embeddings.create({ model: "gpt-x", input: "text" });
const response = await client.responses.create({ model: "gpt-x", input: "say hi" });
let last;
for await (const event of await client.responses.create({ model: "gpt-x", input: "say hi", stream: true })) {
  last = event;
}
const error = await client.chat.completions.create({ model: "gpt-unknown", messages }).catch((refused) => refused);

console.log(
  JSON.stringify({
    chat: chat.choices[0].message.content,
    chat_stream: chatStream,
    embedding: embedding.data[0].embedding,
    response: response.output_text,
    response_stream: last.response.output[0].content[0].text,
    error: error.message,
  }),
);
