// One call through the official client, told by the arguments; prints what came of it as JSON.
//
//   node calls.mjs '{"baseURL": …, "apiKey": …, "call": "plain", "model": …}'
//
// Run from the folder that holds node_modules: ECMAScript modules are looked up beside the file.
import OpenAI from 'openai';

const asked = JSON.parse(process.argv[2]);
let requests = 0;
const client = new OpenAI({
  baseURL: asked.baseURL,
  apiKey: asked.apiKey,
  fetch: (...args) => {
    requests += 1;
    return fetch(...args);
  },
});
const body = {
  model: asked.model,
  messages: [{ role: 'user', content: 'Hello' }],
  max_tokens: asked.max_tokens ?? 50,
};

async function read(options) {
  const found = { text: '', usages: [], chunks: 0 };
  try {
    for await (const chunk of await client.chat.completions.create({ ...body, ...options })) {
      found.chunks += 1;
      found.text += chunk.choices[0]?.delta?.content ?? '';
      found.usages.push(chunk.usage ?? null);
    }
  } catch (error) {
    throw Object.assign(error, { found });
  }
  return found;
}

const calls = {
  async plain() {
    const answer = await client.chat.completions.create(body);
    return {
      text: answer.choices[0].message.content,
      model: answer.model,
      usage: answer.usage,
      id: answer._request_id,
    };
  },
  stream: () => read({ stream: true }),
  usage: () => read({ stream: true, stream_options: { include_usage: true } }),
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids, one: (await client.models.retrieve(asked.model)).id };
  },
  method: () => client.get('/embeddings'),
};

const result = {};
try {
  Object.assign(result, await calls[asked.call]());
} catch (error) {
  result.error = {
    name: error.constructor.name,
    api: error instanceof OpenAI.APIError,
    status: error.status ?? null,
    code: error.code ?? null,
    type: error.type ?? null,
    param: error.param ?? null,
    body: error.error ?? null,
  };
  Object.assign(result, error.found);
}
console.log(JSON.stringify({ ...result, requests }));
