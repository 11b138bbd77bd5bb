// One answer of one model: it is asked for, drawn as it comes, stopped, continued, and has a receipt.
import * as api from "./api.js";
import { copy, el, icon, iconButton, speak } from "./dom.js";
import { faultCard, LATE } from "./faults.js";
import { goingOn, bodyOf } from "./request.js";
import { Reply } from "./reply.js";
import { events } from "./sse.js";
import { num, seconds, t } from "./words.js";

const EVERY = 200; // ms between two drawings of what is said about a growing answer
let markdown = null; // loaded with the first answer
const drawing = () => (markdown ??= import("./markdown.js"));

export class Answer {
  text = "";
  thoughts = "";
  state = "waiting"; // waiting, streaming, done, stopped, failed
  finish = "";
  usage = null;
  receipts = [];
  fault = null;
  first = null; // ms until the first of it came
  took = null;
  #shown = "";
  #far = []; // what a phone leaves out

  // ask: { model, endpoint, parameters, history }; hooks: { changed, again, edit, pick }.
  constructor(ask, hooks) {
    this.ask = ask;
    this.hooks = hooks;
    this.body = el("div", { class: "prose" });
    this.thinking = el("details", { class: "thoughts", hidden: true }, el("summary", {}, icon("psychology", "i small"), el("span", {}, t("thoughts"))), el("div", { class: "plain", dir: "auto" }));
    this.foot = el("div", { class: "answer-foot" });
    this.place = el("article", { class: "answer", "aria-label": t("answer_of", { model: ask.model }) }, this.thinking, this.body, this.foot);
    this.#draw();
  }

  get busy() {
    return this.state === "waiting" || this.state === "streaming";
  }

  get charged() {
    return this.receipts.reduce((sum, receipt) => sum + receipt.amount, 0);
  }

  async start(more = false) {
    const history = more ? goingOn(this.ask.history, this.text) : this.ask.history;
    const body = bodyOf(this.ask.endpoint, this.ask.model, this.ask.parameters, history);
    const reply = new Reply();
    const before = this.text;
    this.state = "waiting";
    this.fault = null;
    this.known = this.late = false; // whether it is known what this part has cost, or will not be
    this.last = null;
    this.id = "";
    this.began = performance.now();
    this.first = this.took = null;
    this.abort = new AbortController();
    this.#draw();
    const beat = setInterval(() => this.state === "streaming" && this.#foot(), EVERY);
    try {
      const response = await api.run(this.ask.endpoint, body, { signal: this.abort.signal, stream: true });
      this.id = response.headers.get("x-request-id") ?? "";
      this.hooks.changed("opened");
      await this.#read(response, reply, before);
      if (reply.error) throw new api.Refusal(200, reply.error, this.id);
      if (!reply.done && !reply.finish) throw new api.Refusal(0, {}, this.id);
      this.state = "done";
    } catch (error) {
      this.#failed(error);
    }
    clearInterval(beat);
    this.took = performance.now() - this.began;
    this.finish = this.state === "done" ? reply.finish : "";
    await this.#close();
  }

  stop() {
    this.abort?.abort();
  }

  async #read(response, reply, before) {
    this.drawer ??= new (await drawing()).Markdown(this.body, speak);
    if ((response.headers.get("content-type") ?? "").startsWith("application/json")) {
      this.#take(reply, JSON.stringify(await response.json()), before); // a model that does not stream
      reply.finish ||= "stop";
      return;
    }
    for await (const { data } of events(response.body)) {
      this.#take(reply, data, before);
      if (reply.done) break;
    }
  }

  #take(reply, data, before) {
    const more = reply.take(data);
    if (reply.usage) this.usage = reply.usage;
    if (!more) return;
    if (this.first === null) this.first = performance.now() - this.began;
    this.state = "streaming";
    this.text = before + reply.text;
    if (reply.thoughts !== this.thoughts) this.#think(reply.thoughts);
    this.drawer.show(this.text);
    if (this.#shown !== this.state) this.#foot();
  }

  #think(text) {
    const place = this.thinking.lastElementChild;
    this.thinking.hidden = false;
    // What is there stays: it may be long, and somebody may be reading it.
    if (!this.thoughts || !text.startsWith(this.thoughts)) place.textContent = text;
    else place.append(text.slice(this.thoughts.length));
    this.thoughts = text;
  }

  #failed(error) {
    if (error.name === "AbortError") {
      this.state = "stopped";
    } else {
      this.state = "failed";
      this.fault = error instanceof api.Refusal ? error : new api.Refusal(0, {}, this.id);
      if (!(error instanceof api.Refusal)) console.warn(error);
    }
  }

  // The text is whole, or as whole as it will be; then what it has cost.
  async #close() {
    if (this.text) this.drawer.end(this.text);
    this.#draw();
    this.hooks.changed("closed");
    const id = this.fault?.id || this.id;
    // A call that nobody has taken, or a stream that was stopped before it began, costs nothing.
    const receipt = id ? await api.receipt(id) : this.fault?.status === 0 ? undefined : null;
    this.last = receipt ?? null;
    if (receipt) this.receipts.push(receipt);
    this.known = receipt !== undefined;
    this.late = receipt === undefined;
    this.#draw();
    if (this.state === "stopped") speak(this.#stopped());
    this.hooks.changed("charged");
  }

  #draw() {
    this.place.classList.toggle("streaming", this.busy);
    this.place.setAttribute("aria-busy", String(this.busy));
    this.place.querySelector(".fault-card")?.remove();
    if (this.fault) this.foot.before(faultCard(this.fault, this.known ? this.last : this.late ? LATE : undefined, { again: () => this.hooks.again(this), pick: this.hooks.pick }));
    this.#foot();
  }

  #foot() {
    this.#shown = this.state;
    this.foot.replaceChildren(this.#receipt(), this.busy ? "" : this.#acts());
    this.hooks.changed("drawn");
  }

  // What the line under the answer says, as pieces.
  pieces() {
    if (this.state === "waiting") return [t("waiting")];
    if (this.state === "streaming") {
      const tokens = this.usage?.completion ?? Math.max(1, Math.round((this.text.length + this.thoughts.length) / 4));
      const since = (performance.now() - this.began - this.first) / 1000;
      return [t("streaming", { time: seconds(this.first) }), since > 0.3 ? t("tokens_speed", { n: tokens, speed: num(Math.round(tokens / since)) }) : t("tokens", { n: tokens })];
    }
    if (this.state === "stopped") return [this.#stopped()];
    if (this.state === "failed") return [];
    const said = this.receipts.length ? [t(this.receipts[0].bucket === "credits" ? "credits_from" : "tokens_from", { n: this.charged, bucket: this.receipts[0].bucket })] : this.usage ? [t("tokens", { n: this.usage.prompt + this.usage.completion })] : [];
    const rest = this.took - this.first;
    const speed = this.usage?.completion > 1 && rest > 20 ? t("speed", { speed: num(Math.round(this.usage.completion / rest * 1000)) }) : "";
    if (this.first !== null) said.push((this.#far = [t("first_token", { time: seconds(this.first) }), speed])[0], seconds(this.took), ...(speed ? [speed] : []));
    if (this.finish === "length") said.push(t("cut"));
    else if (this.finish === "content_filter") said.push(t("filtered"));
    else if (!this.text) said.push(t("said_nothing"));
    return said;
  }

  #stopped() {
    const last = this.last;
    if (!this.known) return t(this.late ? "stopped_unknown" : "stopped_wait");
    if (!last || !last.amount) return t("stopped_free");
    return t(last.bucket === "credits" ? "stopped_credits" : "stopped", { n: last.amount, back: Math.max(0, last.estimate - last.amount) });
  }

  #receipt() {
    const [head, ...rest] = this.pieces();
    const line = el("p", { class: `receipt ${this.state}` });
    if (head) line.append(el("span", { class: "receipt-head" }, this.busy ? el("span", { class: "pulse", "aria-hidden": "true" }) : null, head));
    line.append(...rest.map((each) => el("span", { class: this.#far.includes(each) ? "far" : null }, each)));
    return line;
  }

  #acts() {
    const act = (name, words, doing) => iconButton(name, t(words), doing);
    const more = this.text && (this.finish === "length" || this.state === "stopped" || (this.state === "failed" && this.fault?.status !== 401));
    return el("div", { class: "answer-acts" },
      more ? el("button", { type: "button", class: "button small", on: { click: () => this.hooks.more(this) } }, icon("play_arrow"), t("continue")) : null,
      act("edit", "edit", () => this.hooks.edit(this)),
      act("refresh", "again", () => this.hooks.again(this)),
      this.text ? act("content_copy", "copy_answer", () => copy(this.text)) : null);
  }
}
