// What is sent: the very bodies that /v1 takes, built from a conversation and its parameters. Pure.
const CONTINUE = "Continue exactly where you stopped. Do not repeat anything.";

// history: [{ role, text, files }]; files: { name, type, kind: image|audio|pdf|text, url, text }.
export function bodyOf(endpoint, model, parameters, history) {
  if (endpoint === "responses") return response(model, parameters, history);
  if (endpoint === "completions") return completion(model, parameters, history);
  return chat(model, parameters, history);
}

export const goingOn = (history, text) => [...history, { role: "assistant", text }, { role: "user", text: CONTINUE }];

function sampling(parameters) {
  const body = {};
  if (parameters.temperature !== null) body.temperature = parameters.temperature;
  if (parameters.topP !== null) body.top_p = parameters.topP;
  if (parameters.fast) body.service_tier = "priority";
  return body;
}

function chat(model, parameters, history) {
  const messages = parameters.system ? [{ role: "system", content: parameters.system }] : [];
  messages.push(...history.map((each) => ({ role: each.role, content: chatContent(each) })));
  const body = { model, messages, ...sampling(parameters) };
  if (parameters.maxTokens !== null) body.max_tokens = parameters.maxTokens;
  if (parameters.format === "json_object") body.response_format = { type: "json_object" };
  if (parameters.format === "json_schema") body.response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema: parameters.schema } };
  return { ...body, stream: true, stream_options: { include_usage: true } };
}

function chatContent({ text, files = [] }) {
  if (!files.length) return text;
  return [...(text ? [{ type: "text", text }] : []), ...files.map((file) => {
    if (file.kind === "image") return { type: "image_url", image_url: { url: file.url } };
    if (file.kind === "audio") return { type: "input_audio", input_audio: { data: base64(file.url), format: file.format } };
    if (file.kind === "pdf") return { type: "file", file: { filename: file.name, file_data: file.url } };
    return { type: "text", text: quoted(file) };
  })];
}

function response(model, parameters, history) {
  const input = history.map((each) => ({ role: each.role, content: responseContent(each) }));
  const body = { model, input, ...sampling(parameters), store: false };
  if (parameters.system) body.instructions = parameters.system;
  if (parameters.maxTokens !== null) body.max_output_tokens = parameters.maxTokens;
  if (parameters.format === "json_object") body.text = { format: { type: "json_object" } };
  if (parameters.format === "json_schema") body.text = { format: { type: "json_schema", name: "answer", strict: true, schema: parameters.schema } };
  return { ...body, stream: true };
}

function responseContent({ text, files = [] }) {
  if (!files.length) return text;
  return [...(text ? [{ type: "input_text", text }] : []), ...files.map((file) => {
    if (file.kind === "image") return { type: "input_image", image_url: file.url };
    if (file.kind === "audio") return { type: "input_audio", input_audio: { data: base64(file.url), format: file.format } };
    if (file.kind === "pdf") return { type: "input_file", filename: file.name, file_data: file.url };
    return { type: "input_text", text: quoted(file) };
  })];
}

// The oldest route knows one text: the talk is written out as one.
function completion(model, parameters, history) {
  const head = parameters.system ? [parameters.system] : [];
  const whole = history.length > 1 ? history.map((each) => `${each.role === "user" ? "User" : "Assistant"}: ${plain(each)}`).concat("Assistant:") : history.map(plain);
  const body = { model, prompt: [...head, ...whole].join("\n\n"), ...sampling(parameters) };
  if (parameters.maxTokens !== null) body.max_tokens = parameters.maxTokens;
  return { ...body, stream: true, stream_options: { include_usage: true } };
}

const plain = ({ text, files = [] }) => [text, ...files.filter((file) => file.kind === "text").map(quoted)].join("\n\n");
function quoted(file) {
  const longest = Math.max(2, ...(file.text.match(/`{3,}/g) ?? []).map((ticks) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${file.name}:\n${fence}\n${file.text}\n${fence}`;
}
const base64 = (url) => url.slice(url.indexOf(",") + 1);
