// Server-sent events out of a fetch's body: yields {event, data}, as they come.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let said = fresh();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return; // an event whose end has not come is none
      // A CR at the very end may be half of a CRLF.
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line !== "") {
          noted(said, line);
        } else {
          if (said.data.length) yield { event: said.event, data: said.data.join("\n") };
          said = fresh();
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

const fresh = () => ({ event: "message", data: [] });

function noted(said, line) {
  const colon = line.indexOf(":");
  if (colon === 0) return; // a comment, to keep the line alive
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  if (name === "data") said.data.push(value);
  else if (name === "event") said.event = value;
}
