// Messages with Anthropic's Node SDK, configured by its environment alone; prints what came back as JSON.

import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const request = { model: "sonnet", max_tokens: 64, messages: [{ role: "user", content: "say hi" }] };

const message = await client.messages.create(request);
let text = "";
const stream = client.messages.stream(request).on("text", (piece) => (text += piece));
const final = await stream.finalMessage();
const error = await client.messages.create({ ...request, model: "unknown" }).catch((refused) => refused);

console.log(
  JSON.stringify({
    message: message.content[0].text,
    stream: text,
    output_tokens: final.usage.output_tokens,
    error: error.message,
  }),
);
