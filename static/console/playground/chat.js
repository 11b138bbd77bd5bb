// The conversation: what was asked, and the answers of one model or of two side by side.
import { Answer } from "./answer.js";
import { $, el, follow, say, toEnd } from "./dom.js";
import { chip, Files } from "./files.js";
import { t } from "./words.js";

const AFTER = 3000; // ms
const fingers = matchMedia("(hover: none) and (pointer: coarse)");

// A turn: { text, files, answers: [of the first model, of the second] }.
export class Chat {
  turns = [];
  comparing = false;
  ended = -Infinity;
  #all = []; // answers: those that were made again or deleted have been paid for too
  #was = false; // whether it was busy a moment ago

  // app: { models(), parameters(), endpoint(model), pick(), refreshed(when) }
  constructor(app) {
    this.app = app;
    this.files = new Files();
    this.place = $("talk");
    // What an answer ends with, its receipt or a refusal, comes a moment after it.
    follow(this.place, () => this.busy || performance.now() - this.ended < AFTER);
    const prompt = $("prompt");
    $("composer").noValidate = true; // a file alone is a message too
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    prompt.addEventListener("keydown", (event) => {
      // A keyboard on glass has no Shift+Enter: there the button sends.
      if (event.key !== "Enter" || event.shiftKey || composing(event) || (fingers.matches && !event.ctrlKey)) return;
      event.preventDefault();
      this.send();
    });
    prompt.addEventListener("input", grown);
    $("stop").addEventListener("click", () => this.stop());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented || !this.busy || document.querySelector("dialog[open], [popover]:popover-open")) return;
      event.preventDefault();
      this.stop();
    });
    $("starters").replaceChildren(...[1, 2, 3].map((number) => el("button", { type: "button", class: "filter", on: { click: () => this.write(t(`starter_${number}`)) } }, t(`starter_${number}`))));
    this.#settle();
  }

  get answers() {
    return this.turns.flatMap((turn) => turn.answers).filter(Boolean);
  }

  get busy() {
    return this.answers.some((answer) => answer.busy);
  }

  charged(bucket) {
    const receipts = this.#all.flatMap((answer) => answer.receipts);
    return receipts.reduce((sum, receipt) => sum + (receipt.bucket === bucket ? receipt.amount : 0), 0);
  }

  write(text) {
    $("prompt").value = text;
    grown();
    $("prompt").focus();
  }

  send() {
    if (this.files.reading) return this.files.reading.then(() => this.send());
    const text = $("prompt").value.trim();
    if (this.busy) return say(t("still_running"));
    if (!text && !this.files.list.length) return $("prompt").focus();
    const models = this.app.models();
    if (!models[0]) return this.app.pick(0);
    if (this.comparing && !models[1]) return this.app.pick(1);
    if (this.app.parameters().wrong) return this.#mend(this.app.parameters().wrong);
    const odd = this.files.list.find((file) => file.kind !== "text");
    if (odd && this.app.endpoint(models[0]) === "completions") return say(t("file_route", { name: odd.name }));
    const turn = { text, files: this.files.taken(), answers: [] };
    this.write("");
    this.#add(turn);
    for (const column of this.comparing ? [0, 1] : [0]) this.#ask(turn, column);
    toEnd();
  }

  stop() {
    for (const answer of this.answers) if (answer.busy) answer.stop();
  }

  clear() {
    this.stop();
    for (const turn of this.turns) turn.place.remove();
    this.turns = this.#all = [];
    this.#settle();
    this.app.refreshed("charged");
    $("prompt").focus();
  }

  // A parameter nobody can send: where the panel is a sheet, it comes out.
  #mend(field) {
    if (!$(field).checkVisibility()) $("play-panel").showPopover();
    $(field).focus();
  }

  #add(turn) {
    turn.bubble = el("div", { class: "said" });
    turn.columns = el("div", { class: "columns" });
    turn.place = el("section", { class: "turn" }, turn.bubble, turn.columns);
    this.#bubble(turn);
    this.turns.push(turn);
    this.place.append(turn.place);
    this.#settle();
  }

  #bubble(turn) {
    turn.bubble.replaceChildren(...(turn.text ? [el("p", { dir: "auto" }, turn.text)] : []), ...turn.files.map(chip));
    turn.bubble.classList.remove("editing");
  }

  #ask(turn, column) {
    const model = this.app.models()[column];
    const answer = new Answer({ model, endpoint: this.app.endpoint(model), parameters: this.app.parameters(), history: this.history(turn, column) }, {
      changed: (when) => this.#changed(when),
      again: (which) => this.#again(turn, which),
      more: (which) => !this.busy && which.start(true),
      edit: () => this.#edit(turn),
      pick: () => this.app.pick(column),
    });
    turn.answers[column] = answer;
    this.#all = [...this.#all, answer];
    turn.columns.classList.toggle("two-up", turn.answers.filter(Boolean).length > 1);
    turn.columns.replaceChildren(...turn.answers.filter(Boolean).map((each) => each.place));
    if (this.comparing || this.#all.some((each) => each.ask.model !== model)) answer.place.prepend(el("p", { class: "answer-model" }, model));
    answer.start();
  }

  // What a model has heard so far; what only the other one has answered counts as said.
  history(until, column) {
    const said = [];
    for (const turn of this.turns) {
      said.push({ role: "user", text: turn.text, files: turn.files });
      if (turn === until) break;
      const answer = turn.answers[column] ?? turn.answers[0] ?? turn.answers[1];
      if (answer?.text) said.push({ role: "assistant", text: answer.text });
      else said.pop(); // what nobody has answered is not said again
    }
    return said;
  }

  #again(turn, answer) {
    if (this.busy) return say(t("still_running"));
    const column = turn.answers.indexOf(answer);
    this.#cut(turn);
    this.#ask(turn, column);
    $("prompt").focus();
  }

  #cut(turn) {
    for (const later of this.turns.splice(this.turns.indexOf(turn) + 1)) later.place.remove();
  }

  #edit(turn) {
    if (this.busy) return say(t("still_running"));
    const area = el("textarea", { class: "input", rows: Math.min(12, turn.text.split("\n").length + 1), "aria-label": t("your_message"), dir: "auto" });
    area.value = turn.text;
    const done = () => {
      if (this.busy) return say(t("still_running"));
      const text = area.value.trim();
      if (!text && !turn.files.length) return area.focus();
      turn.text = text;
      this.#bubble(turn);
      this.#cut(turn);
      const columns = turn.answers.map((answer, column) => (answer ? column : -1)).filter((column) => column >= 0);
      turn.answers = [];
      for (const column of columns) if (this.app.models()[column]) this.#ask(turn, column);
      $("prompt").focus();
    };
    const undo = () => {
      this.#bubble(turn);
      $("prompt").focus();
    };
    const away = () => {
      if (this.busy) return say(t("still_running"));
      this.turns.splice(this.turns.indexOf(turn), 1);
      turn.place.remove();
      this.#settle();
      $("prompt").focus();
    };
    area.addEventListener("keydown", (event) => {
      if (composing(event)) return;
      if (event.key === "Escape") undo();
      else if (event.key === "Enter" && !event.shiftKey && (!fingers.matches || event.ctrlKey)) done();
      else return;
      event.preventDefault();
    });
    turn.bubble.classList.add("editing");
    turn.bubble.replaceChildren(area, el("div", { class: "actions" },
      el("button", { type: "button", class: "button small", on: { click: away } }, t("delete")),
      el("button", { type: "button", class: "button small", on: { click: undo } }, t("undo")),
      el("button", { type: "button", class: "button small filled", on: { click: done } }, t("resend"))));
    area.focus();
    area.scrollIntoView({ block: "nearest" }); // not behind the head of the page, nor the composer
  }

  #changed(when) {
    this.#settle();
    if (when !== "drawn") this.app.refreshed(when);
  }

  // The composer and the line above it follow what goes on.
  #settle() {
    const busy = this.busy;
    if (busy || this.#was) this.ended = performance.now(); // drawing the last of it may take a while
    this.#was = busy;
    const focused = document.activeElement === $("stop");
    $("talk-empty")?.toggleAttribute("hidden", this.turns.length > 0);
    $("send").hidden = busy;
    $("stop").hidden = !busy;
    if (focused && !busy) $("prompt").focus();
    $("prompt").placeholder = t(this.turns.length ? "follow_up" : "ask");
    const live = busy && this.answers.find((answer) => answer.busy);
    $("live").hidden = !live;
    if (live) {
      const [head, rest = ""] = live.pieces();
      $("live").replaceChildren(el("span", { class: "receipt-head" }, el("span", { class: "pulse", "aria-hidden": "true" }), live.state === "streaming" ? t("streaming_short") : head), el("span", {}, rest));
    }
  }
}

// Enter that only ends a word of an input method; Safari says it with the code alone.
const composing = (event) => event.isComposing || event.keyCode === 229;

function grown() {
  const prompt = $("prompt");
  prompt.rows = Math.min(10, Math.max(1, prompt.value.split("\n").length, Math.ceil(prompt.value.length / 80)));
}
