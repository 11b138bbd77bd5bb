// The conversation as a file: JSON to go on with, Markdown to read.
import { save } from "./dom.js";

export function asJson(chat, parameters) {
  const turns = chat.turns.map((turn) => ({
    role: "user",
    content: turn.text,
    files: turn.files.map(({ name, type, size }) => ({ name, type, size })),
    answers: turn.answers.filter(Boolean).map((answer) => ({
      role: "assistant", model: answer.ask.model, endpoint: answer.ask.endpoint, content: answer.text,
      state: answer.state, finish_reason: answer.finish || null, usage: answer.usage,
      first_token_ms: answer.first === null ? null : Math.round(answer.first), took_ms: answer.took === null ? null : Math.round(answer.took),
      receipts: answer.receipts.map(({ id, bucket, amount, estimate, end_reason }) => ({ id, bucket, amount, estimate, end_reason })),
    })),
  }));
  const { wrong, ...rest } = parameters;
  return JSON.stringify({ object: "playground.chat", exported_at: new Date().toISOString(), parameters: rest, turns }, null, 2);
}

export function asMarkdown(chat, parameters) {
  const parts = parameters.system ? [`> ${parameters.system.replaceAll("\n", "\n> ")}`] : [];
  for (const turn of chat.turns) {
    parts.push(`**You**\n\n${turn.text}`, ...turn.files.map((file) => `*${file.name}*`));
    for (const answer of turn.answers.filter(Boolean)) parts.push(`**${answer.ask.model}**\n\n${answer.text}`, `*${answer.pieces().join(" · ")}*`);
  }
  return `${parts.join("\n\n")}\n`;
}

const stamp = () => new Date().toISOString().slice(0, 16).replace(/[:T]/g, "-");

export function saveAs(kind, chat, parameters) {
  if (kind === "json") save(`chat-${stamp()}.json`, new Blob([asJson(chat, parameters)], { type: "application/json" }));
  else save(`chat-${stamp()}.md`, new Blob([asMarkdown(chat, parameters)], { type: "text/markdown" }));
}
