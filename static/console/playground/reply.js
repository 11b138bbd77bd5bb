// What an answer's events say, put together: text, thoughts, usage, how it ended. Pure.
export class Reply {
  text = "";
  thoughts = "";
  usage = null;
  finish = "";
  error = null;
  done = false;

  // One event's data; whether there is more to show.
  take(data) {
    if (data === "[DONE]") {
      this.done = true;
      return false;
    }
    let said;
    try {
      said = JSON.parse(data);
    } catch {
      return false;
    }
    if (!said || typeof said !== "object") return false;
    if (said.error) {
      this.error = typeof said.error === "object" ? said.error : { message: String(said.error) };
      return true;
    }
    return typeof said.type === "string" ? this.#event(said) : this.#chunk(said);
  }

  #chunk(said) {
    if (said.usage) this.usage = { prompt: said.usage.prompt_tokens, completion: said.usage.completion_tokens };
    const choice = said.choices?.[0];
    if (!choice) return false;
    const delta = choice.delta ?? choice.message ?? {};
    const more = str(delta.content) || str(delta.refusal) || str(choice.text);
    const thought = str(delta.reasoning_content) || str(delta.reasoning);
    this.text += more;
    this.thoughts += thought;
    if (choice.finish_reason) this.finish = choice.finish_reason;
    return Boolean(more || thought);
  }

  #event(said) {
    const kind = said.type;
    if (kind === "response.output_text.delta" || kind === "response.refusal.delta") this.text += str(said.delta);
    else if (kind === "response.reasoning_summary_text.delta" || kind === "response.reasoning_text.delta") this.thoughts += str(said.delta);
    else if (kind === "response.completed" || kind === "response.incomplete" || kind === "response.failed") this.#ended(said.response ?? {}, kind);
    else if (kind === "error") this.error = { message: str(said.message), code: said.code };
    else return false;
    return true;
  }

  #ended(response, kind) {
    this.done = true;
    const usage = response.usage;
    if (usage) this.usage = { prompt: usage.input_tokens, completion: usage.output_tokens };
    const why = response.incomplete_details?.reason;
    this.finish = why === "max_output_tokens" ? "length" : why ?? (kind === "response.completed" ? "stop" : "other");
    if (kind === "response.failed") this.error = response.error ?? { message: "" };
  }
}

const str = (value) => (typeof value === "string" ? value : "");
