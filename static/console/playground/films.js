// Films: begun here, made at the provider, followed until they end. The list is the account's own
// record, so that it is there again after a reload, and on another machine.
import * as api from "./api.js";
import { $, el, icon, say, speak } from "./dom.js";
import { faultCard, LATE } from "./faults.js";
import { t } from "./words.js";

const OPEN = new Set(["queued", "in_progress", "processing", "running", "pending"]);
const FIRST = 2000; // ms until a film is looked at again; later more rarely
const LAST = 15_000;

export class Films {
  cards = new Map();
  loaded = false;

  // app: { model(kind), pick(kind), refreshed(when) }
  constructor(app) {
    this.app = app;
    $("make-video").addEventListener("submit", (event) => {
      event.preventDefault();
      this.make();
    });
  }

  request() {
    const body = { model: this.app.model("video"), prompt: $("video-prompt").value };
    if ($("video-seconds").value) body.seconds = $("video-seconds").value;
    if ($("video-size").value) body.size = $("video-size").value;
    return ["videos", body];
  }

  // The tab is opened: what there is.
  async load() {
    if (this.loaded) return;
    this.loaded = true;
    try {
      for (const film of (await api.films()).data ?? []) this.#show(film, false);
    } catch (error) {
      this.loaded = false;
      this.#refused(error, () => this.load());
    }
    this.#none();
  }

  async make() {
    if (!this.app.model("video")) return this.app.pick("video");
    const button = $("make-video").querySelector("[type=submit]");
    const [endpoint, body] = this.request();
    button.disabled = true;
    try {
      const film = await (await api.run(endpoint, body)).json();
      this.#show({ prompt: body.prompt, ...film }, true);
      say(t("film_begun"));
    } catch (error) {
      this.#refused(error, () => this.make());
    }
    button.disabled = false;
    button.focus();
    this.#none();
    this.app.refreshed("opened");
  }

  #none() {
    $("video-none").hidden = this.cards.size > 0;
  }

  #refused(error, again) {
    const fault = error instanceof api.Refusal ? error : new api.Refusal(0);
    const card = faultCard(fault, fault.status ? null : LATE, { again: () => { card.remove(); again(); }, pick: () => this.app.pick("video") });
    $("video-works").prepend(card);
  }

  #show(film, front) {
    if (!film?.id || typeof film.id !== "string") return;
    const known = this.cards.get(film.id);
    const place = known ?? el("article", { class: "card work" });
    this.cards.set(film.id, place);
    if (!known) front ? $("video-works").prepend(place) : $("video-works").append(place);
    this.#draw(place, film);
    if (OPEN.has(film.status)) this.#follow(film, FIRST);
  }

  #follow(film, wait) {
    setTimeout(async () => {
      if (document.hidden) return this.#follow(film, wait);
      let now = film;
      try {
        now = { prompt: film.prompt, ...(await api.film(film.id)) };
      } catch (error) {
        if (error.status === 404 || error.status === 410) now = { ...film, status: "failed", error: { message: error.message } };
      }
      this.#draw(this.cards.get(film.id), now);
      if (OPEN.has(now.status)) return this.#follow(now, Math.min(LAST, wait * 1.3));
      speak(t(now.status === "completed" ? "made" : "film_failed"));
      this.app.refreshed("charged");
    }, wait);
  }

  #draw(place, film) {
    const share = Math.min(100, Math.max(0, Number(film.progress) || 0));
    const open = OPEN.has(film.status);
    const state = open ? t(film.status === "queued" ? "film_waits" : "film_runs", { n: Math.round(share) }) : t(film.status === "completed" ? "made" : "film_failed");
    place.replaceChildren(
      el("p", { class: "work-title" }, text(film.prompt) || film.id),
      open ? el("progress", { max: 100, value: film.status === "queued" && !share ? null : share, "aria-label": state }) : "",
      el("div", { class: "work-made" }, ...this.#made(film)),
      el("p", { class: "receipt" }, el("span", { class: open ? "receipt-head" : "" }, open ? el("span", { class: "pulse", "aria-hidden": "true" }) : null, state),
        ...[film.model, film.size, film.seconds && `${text(film.seconds)} s`].map(text).filter(Boolean).map((each) => el("span", {}, each)), el("span", {}, el("code", {}, film.id))));
  }

  #made(film) {
    if (film.status === "completed") {
      const src = api.filmFile(film.id);
      return [el("video", { controls: true, preload: "none", src }), el("p", {}, el("a", { class: "button small", href: src, download: `${film.id}.mp4` }, icon("download"), t("save_film")))];
    }
    if (OPEN.has(film.status)) return [];
    return [el("p", {}, text(film.error?.message)), el("p", { class: "quiet" }, t("nothing"))];
  }
}

const text = (value) => (typeof value === "string" || typeof value === "number" ? String(value) : "");
