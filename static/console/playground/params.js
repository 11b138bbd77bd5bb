// The parameters beside the chat. What stands at its default is not sent: not every model takes it.
import { $ } from "./dom.js";
import { num } from "./words.js";

const SLIDERS = { temperature: 1, "top-p": 1 };
const FIELDS = ["system", "temperature", "top-p", "max-tokens", "format", "schema", "fast"];

export class Parameters {
  constructor(changed) {
    this.changed = changed;
    this.first = Object.fromEntries(FIELDS.map((id) => [id, $(id).type === "checkbox" ? false : $(id).defaultValue ?? "text"]));
    this.first.format = "text";
    for (const id of FIELDS) $(id).addEventListener("input", () => this.settle());
    $("endpoint").addEventListener("input", () => this.settle());
    $("reset").addEventListener("click", () => {
      for (const id of FIELDS) {
        if ($(id).type === "checkbox") $(id).checked = false;
        else $(id).value = id === "system" || id === "max-tokens" ? "" : this.first[id];
      }
      this.settle();
    });
    this.settle();
  }

  settle() {
    for (const id of Object.keys(SLIDERS)) {
      const field = $(id);
      const places = String(+field.value).split(".")[1]?.length ?? 0;
      field.previousElementSibling.textContent = num(+field.value, places);
      field.setAttribute("aria-valuetext", num(+field.value, places));
    }
    const digits = $("max-tokens").value.replace(/\D/g, "");
    if (digits !== $("max-tokens").value) $("max-tokens").value = digits;
    $("schema-field").hidden = $("format").value !== "json_schema";
    $("schema-wrong").hidden = this.schema() !== null;
    $("schema").setAttribute("aria-invalid", String(this.schema() === null));
    this.changed();
  }

  // null: what stands there is none.
  schema() {
    if ($("format").value !== "json_schema") return {};
    try {
      const found = JSON.parse($("schema").value);
      return found && typeof found === "object" && !Array.isArray(found) ? found : null;
    } catch {
      return null;
    }
  }

  // The routes a model has; the one that was chosen stays where it can.
  routes(endpoints) {
    const known = ["chat/completions", "responses", "completions"].filter((each) => endpoints.includes(each));
    const chosen = $("endpoint").value;
    $("endpoint").replaceChildren(...(known.length ? known : ["chat/completions"]).map((each) => new Option(each, each)));
    if (known.includes(chosen)) $("endpoint").value = chosen;
  }

  read() {
    const slid = (id) => (+$(id).value === SLIDERS[id] ? null : +$(id).value);
    return {
      system: $("system").value.trim(),
      temperature: slid("temperature"),
      topP: slid("top-p"),
      maxTokens: $("max-tokens").value ? +$("max-tokens").value : null,
      format: $("format").value,
      schema: this.schema() ?? {},
      fast: $("fast").checked,
      wrong: this.schema() === null ? "schema" : "",
    };
  }
}
