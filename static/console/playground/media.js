// Pictures, speech and transcripts: each a work with its progress, its receipt and a way to keep it.
import * as api from "./api.js";
import { $, copy, el, icon, iconButton, save, speak } from "./dom.js";
import { faultCard, LATE } from "./faults.js";
import { seconds, t } from "./words.js";

const WHOLE = /dall-e|imagen/i; // models that answer with an address unless asked for the picture itself
const HEADS = { iVBOR: "image/png", "/9j/": "image/jpeg", UklGR: "image/webp", R0lGO: "image/gif" };

function picture(data) {
  const kind = Object.entries(HEADS).find(([head]) => data.startsWith(head))?.[1];
  if (!kind) return null; // nothing else is shown: an SVG could do more than be looked at
  return new Blob([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], { type: kind });
}

export class Media {
  working = 0; // works that would be lost with the page

  // app: { model(kind), pick(kind), refreshed(when) }
  constructor(app) {
    this.app = app;
    const forms = { image: "make-image", speech: "make-speech", transcript: "make-transcript" };
    for (const [what, id] of Object.entries(forms)) {
      $(id).addEventListener("submit", (event) => {
        event.preventDefault();
        this.make(what);
      });
    }
    for (const button of $("audio-what").children) {
      button.addEventListener("click", () => {
        for (const each of $("audio-what").children) each.setAttribute("aria-pressed", String(each === button));
        $("make-speech").hidden = button.value !== "speech";
        $("make-transcript").hidden = button.value !== "transcript";
      });
    }
  }

  get what() {
    return $("make-speech").hidden ? "transcript" : "speech";
  }

  // [endpoint, body] of what the form says.
  request(what) {
    if (what === "image") return this.#image(this.app.model("image"));
    return what === "speech" ? this.#speech(this.app.model("audio")) : this.#transcript(this.app.model("audio"));
  }

  #image(model) {
    const fields = { model, prompt: $("image-prompt").value };
    if ($("image-size").value) fields.size = $("image-size").value;
    if ($("image-quality").value) fields.quality = $("image-quality").value;
    fields.n = Math.min(10, Math.max(1, Math.round(+$("image-count").value) || 1));
    if (WHOLE.test(model)) fields.response_format = "b64_json";
    const [source] = $("image-source").files;
    return source ? ["images/edits", form({ ...fields, image: source })] : ["images/generations", fields];
  }

  #speech(model) {
    const body = { model, input: $("speech-text").value, voice: $("speech-voice").value, response_format: $("speech-format").value };
    const speed = +$("speech-speed").value;
    return ["audio/speech", speed && speed !== 1 ? { ...body, speed } : body];
  }

  #transcript(model) {
    const english = $("transcript-english").checked;
    const [file] = $("transcript-file").files;
    const fields = { model, response_format: "json" };
    if (file) fields.file = file;
    if (!english && $("transcript-language").value) fields.language = $("transcript-language").value;
    return [english ? "audio/translations" : "audio/transcriptions", form(fields)];
  }

  async make(what) {
    const kind = what === "image" ? "image" : "audio";
    if (!this.app.model(kind)) return this.app.pick(kind);
    const [endpoint, body] = this.request(what);
    const work = new Work($(kind === "image" ? "image-works" : "audio-works"), this.#title(what, body), this.app.model(kind));
    let id = "";
    let gone = false;
    this.working += 1;
    try {
      const response = await api.run(endpoint, body, { signal: work.abort.signal });
      id = response.headers.get("x-request-id") ?? "";
      if (what === "speech") work.done(sound(await response.blob(), body));
      else work.done(...(what === "image" ? pictures(await response.json(), body) : words(await response.json())));
    } catch (error) {
      if (error.name === "AbortError") work.gone();
      else work.failed(error instanceof api.Refusal ? error : new api.Refusal(0, {}, id), { again: () => this.make(what), pick: () => this.app.pick(kind) });
      id ||= error.id ?? "";
      gone = !error.status;
    }
    this.working -= 1;
    const receipt = id ? await api.receipt(id) : gone ? undefined : null;
    work.charged(receipt === undefined ? LATE : receipt);
    this.app.refreshed("charged");
  }

  #title(what, body) {
    const said = body instanceof FormData ? body.get("prompt") ?? body.get("file")?.name ?? "" : body.prompt ?? body.input;
    return said.length > 160 ? `${said.slice(0, 160)}…` : said || t(what);
  }
}

function form(fields) {
  const made = new FormData();
  for (const [name, value] of Object.entries(fields)) made.append(name, value);
  return made;
}

function pictures(answer, body) {
  const alt = body instanceof FormData ? body.get("prompt") : body.prompt;
  // None at all is told like one that is none.
  return (answer.data?.length ? answer.data : [{}]).map((each, index) => {
    const blob = each.b64_json ? picture(each.b64_json) : null;
    if (!blob) {
      if (/^https?:\/\//.test(each.url ?? "")) return el("p", {}, el("a", { href: each.url, target: "_blank", rel: "noopener noreferrer nofollow", referrerpolicy: "no-referrer" }, t("elsewhere")));
      return el("p", { class: "quiet" }, t("no_picture"));
    }
    const name = `picture-${index + 1}.${blob.type.slice(6)}`;
    return el("figure", {}, el("img", { src: URL.createObjectURL(blob), alt, loading: "lazy" }), el("figcaption", {}, iconButton("download", t("download", { name }), () => save(name, blob))));
  });
}

function sound(blob, body) {
  const name = `speech.${body.response_format}`;
  return el("div", { class: "sound" }, el("audio", { controls: true, src: URL.createObjectURL(blob) }), iconButton("download", t("download", { name }), () => save(name, blob)));
}

function words(answer) {
  const text = typeof answer.text === "string" ? answer.text : "";
  return [el("div", { class: "plain", dir: "auto" }, text || t("silence")), el("p", {}, iconButton("content_copy", t("copy_answer"), () => copy(text)))];
}

class Work {
  constructor(place, title, model) {
    this.began = performance.now();
    this.abort = new AbortController();
    this.state = el("p", { class: "receipt" });
    this.stop = el("button", { type: "button", class: "button small", on: { click: () => this.abort.abort() } }, icon("stop", "i filled"), t("stop"));
    this.place = el("article", { class: "card work" }, el("p", { class: "work-title" }, title), el("progress", { "aria-label": t("making") }), el("div", { class: "work-made" }), el("div", { class: "answer-foot" }, this.state, this.stop));
    this.model = model;
    place.prepend(this.place);
    this.#tick();
    this.timer = setInterval(() => this.#tick(), 1000);
  }

  #tick() {
    this.state.replaceChildren(el("span", { class: "receipt-head" }, el("span", { class: "pulse", "aria-hidden": "true" }), t("making")), el("span", { "aria-hidden": "true" }, seconds(performance.now() - this.began)), el("span", {}, el("code", {}, this.model)));
  }

  #over() {
    clearInterval(this.timer);
    this.took = performance.now() - this.began;
    this.place.querySelector("progress").remove();
    this.stop.remove();
    this.state.replaceChildren(el("span", {}, seconds(this.took)));
  }

  done(...made) {
    this.#over();
    this.place.querySelector(".work-made").replaceChildren(...made);
    speak(t("made"));
  }

  gone() {
    this.#over();
    this.stopped = true;
  }

  failed(fault, does) {
    this.#over();
    this.fault = [fault, does];
  }

  charged(receipt) {
    if (this.fault) this.place.querySelector(".work-made").replaceChildren(faultCard(this.fault[0], receipt, this.fault[1]));
    const said = this.stopped ? [t("left_alone")] : receipt === LATE && !this.fault ? [t("cost_later")] : receipt?.amount ? [t(receipt.bucket === "credits" ? "credits_from" : "units_from", { n: receipt.amount, bucket: receipt.bucket })] : this.fault ? [] : [t("nothing")];
    this.state.replaceChildren(...said.map((each) => el("span", {}, each)), el("span", {}, seconds(this.took)), el("span", {}, el("code", {}, this.model)));
  }
}
