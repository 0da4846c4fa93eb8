// Each API once with a key of which nothing is left; prints what OpenAI's and Anthropic's Node SDKs throw, as JSON.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const openai = new OpenAI();
const anthropic = new Anthropic();
const messages = [{ role: "user", content: "say hi" }];
const calls = {
  chat: () => openai.chat.completions.create({ model: "gpt-x", messages }),
  response: () => openai.responses.create({ model: "gpt-x", input: "say hi", stream: true }),
  message: () => anthropic.messages.create({ model: "sonnet", max_tokens: 64, messages }),
};

const thrown = {};
for (const [name, call] of Object.entries(calls)) {
  const error = await call().catch((refused) => refused);
  thrown[name] = { status: error.status, message: error.message };
}
console.log(JSON.stringify(thrown));
