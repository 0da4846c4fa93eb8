// One call with each of Node's SDKs, as a program makes it that knows nothing of Fleetgate but the name of its model.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const model = process.env.FLEETGATE_MODEL;
const messages = [{ role: "user", content: "say hi" }];
const chat = await new OpenAI().chat.completions.create({ model, messages });
const response = await new OpenAI().responses.create({ model, input: "say hi" });
const message = await new Anthropic().messages.create({ model, max_tokens: 5, messages });
console.log(chat.choices[0].message.content, response.output_text, message.content[0].text);
