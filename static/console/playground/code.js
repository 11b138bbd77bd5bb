// The request that would be sent now, as code against the visitor's own host. Pure, but for the dialog.
import { $, el } from "./dom.js";
import { setup } from "./words.js";

const LONG = 200; // a data URL longer than this is named, not shown
const CALLS = { "chat/completions": "chat.completions.create", responses: "responses.create", completions: "completions.create", "images/generations": "images.generate", "images/edits": "images.edit", "audio/speech": "audio.speech.create", "audio/transcriptions": "audio.transcriptions.create", "audio/translations": "audio.translations.create", videos: "videos.create" };
const call = (endpoint) => CALLS[endpoint];
const LANGUAGES = [["curl", "curl", curl], ["python", "Python", python], ["node", "Node", node], ["fetch", "JavaScript", js]];

function shown(value) {
  if (typeof value === "string" && value.length > LONG && value.startsWith("data:")) return `${value.slice(0, value.indexOf(",") + 1)}…`;
  if (Array.isArray(value)) return value.map(shown);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, name === "data" && typeof each === "string" && each.length > LONG ? "…" : shown(each)]));
  return value;
}

const json = (value, indent = 2) => JSON.stringify(shown(value), null, indent);
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const fields = (body) => [...body].map(([name, value]) => [name, value instanceof File ? value.name : value, value instanceof File]);

function curl(endpoint, body) {
  const lines = [`curl ${setup.base}/v1/${endpoint}`, '-H "Authorization: Bearer $BSOD_KEY"'];
  // To -F an @ or a ; in a text would mean something, and in a file's name unless it is quoted.
  if (body instanceof FormData) lines.push(...fields(body).map(([name, value, file]) => (file ? `-F ${quoted(`${name}=@${/[;,"]/.test(value) ? JSON.stringify(value) : value}`)}` : `--form-string ${quoted(`${name}=${value}`)}`)));
  else lines.push('-H "Content-Type: application/json"', `-d ${quoted(json(body))}`);
  if (endpoint === "audio/speech") lines.push(`-o speech.${body.response_format ?? "mp3"}`);
  if (body.stream) lines[0] = lines[0].replace("curl ", "curl -N ");
  return lines.join(" \\\n  ");
}

// A value as Python writes it.
function literal(value, indent = 4) {
  const pad = " ".repeat(indent);
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const list = Array.isArray(value);
  const parts = Object.entries(value).map(([name, each]) => `${pad}    ${list ? "" : `${JSON.stringify(name)}: `}${literal(each, indent + 4)},`);
  if (!parts.length) return list ? "[]" : "{}";
  return `${list ? "[" : "{"}\n${parts.join("\n")}\n${pad}${list ? "]" : "}"}`;
}

function python(endpoint, body) {
  const given = body instanceof FormData
    ? fields(body).map(([name, value, file]) => `    ${name}=${file ? `open(${JSON.stringify(value)}, "rb")` : JSON.stringify(value)},`)
    : Object.entries(shown(body)).map(([name, value]) => `    ${name}=${literal(value)},`);
  const head = ["import os", "from openai import OpenAI", "", "client = OpenAI(", `    base_url="${setup.base}/v1",`, '    api_key=os.environ["BSOD_KEY"],', ")", `answer = client.${call(endpoint)}(`, ...given, ")"];
  const tail = { "chat/completions": ["for chunk in answer:", "    if chunk.choices:", '        print(chunk.choices[0].delta.content or "", end="")'], completions: ["for chunk in answer:", "    if chunk.choices:", '        print(chunk.choices[0].text, end="")'], responses: ["for event in answer:", '    if event.type == "response.output_text.delta":', '        print(event.delta, end="")'], "audio/speech": [`answer.write_to_file("speech.${body.response_format ?? "mp3"}")`] }[endpoint] ?? ["print(answer)"];
  return [...head, ...tail].join("\n");
}

function node(endpoint, body) {
  const form = body instanceof FormData;
  const given = form
    ? `{\n${fields(body).map(([name, value, file]) => `  ${name}: ${file ? `fs.createReadStream(${JSON.stringify(value)})` : JSON.stringify(value)},`).join("\n")}\n}`
    : json(body);
  const head = [...(form || endpoint === "audio/speech" ? ['import fs from "node:fs";'] : []), 'import OpenAI from "openai";', "", "const client = new OpenAI({", `  baseURL: "${setup.base}/v1",`, "  apiKey: process.env.BSOD_KEY,", "});", `const answer = await client.${call(endpoint).replace(/_(\w)/g, (_, letter) => letter.toUpperCase())}(${given});`];
  const tail = { "chat/completions": ["for await (const chunk of answer) {", '  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");', "}"], completions: ["for await (const chunk of answer) {", '  process.stdout.write(chunk.choices[0]?.text ?? "");', "}"], responses: ["for await (const event of answer) {", '  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);', "}"], "audio/speech": [`fs.writeFileSync("speech.${body.response_format ?? "mp3"}", Buffer.from(await answer.arrayBuffer()));`] }[endpoint] ?? ["console.log(answer);"];
  return [...head, ...tail].join("\n");
}

function js(endpoint, body) {
  const form = body instanceof FormData;
  const head = form ? ["const form = new FormData();", ...fields(body).map(([name, value, file]) => `form.append(${JSON.stringify(name)}, ${file ? `file /* ${value.replaceAll("*/", "")} */` : JSON.stringify(value)});`)] : [];
  const sent = form ? ["  body: form,"] : [`  body: JSON.stringify(${json(body).replaceAll("\n", "\n  ")}),`];
  const heads = form ? "{ Authorization: `Bearer ${BSOD_KEY}` }" : '{ Authorization: `Bearer ${BSOD_KEY}`, "Content-Type": "application/json" }';
  const read = body.stream
    ? ["const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();", "for (;;) {", "  const { value, done } = await reader.read();", "  if (done) break;", "  console.log(value); // server-sent events, each `data: {…}`", "}"]
    : [endpoint === "audio/speech" ? "const sound = await answer.blob();" : "console.log(await answer.json());"];
  return [...head, `const answer = await fetch("${setup.base}/v1/${endpoint}", {`, '  method: "POST",', `  headers: ${heads},`, ...sent, "});", ...read].join("\n");
}

export const samples = (endpoint, body) => LANGUAGES.map(([id, name, make]) => [id, name, make(endpoint, body)]);

let last = "curl";

export function showCode(endpoint, body) {
  const made = samples(endpoint, body);
  const pick = (id) => {
    last = id;
    $("code-text").textContent = made.find(([each]) => each === id)[2];
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab.value === id));
      tab.tabIndex = tab.value === id ? 0 : -1;
    }
    $("code-panel").setAttribute("aria-labelledby", `code-tab-${id}`);
  };
  const tabs = made.map(([id, name]) => el("button", { type: "button", role: "tab", id: `code-tab-${id}`, value: id, "aria-controls": "code-panel", on: { click: () => pick(id), keydown: (event) => step(event, tabs) } }, name));
  $("code-tabs").replaceChildren(...tabs);
  pick(last);
  $("code").showModal();
  $(`code-tab-${last}`).focus();
}

// The arrows go from tab to tab.
export function step(event, tabs) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  const seen = tabs.filter((tab) => !tab.hidden);
  const next = seen[(seen.indexOf(event.currentTarget) + by + seen.length) % seen.length];
  event.preventDefault();
  next.click();
  next.focus();
}
