// Choosing a model: a search over the catalogue, by provider, with what answers now, room and price.
import * as api from "./api.js";
import { $, el, icon } from "./dom.js";
import { num, setup, short, t, until } from "./words.js";

const MOST = 80; // rows drawn at once; typing narrows them
const folded = (text) => text.toLowerCase().replace(/[.\-_/ ]/g, "");

export class Picker {
  providers = null; // not read yet
  models = new Map(setup.models.map((model) => [model.id, model])); // by id: the best offer of each

  constructor() {
    this.search = $("picker-search");
    this.search.addEventListener("input", () => this.#draw());
    $("picker-up").addEventListener("change", () => this.#draw());
    this.search.addEventListener("keydown", (event) => this.#key(event));
    $("picker").addEventListener("click", (event) => {
      if (event.target === $("picker")) $("picker").close();
    });
  }

  async #load() {
    this.providers = (await api.catalog()).providers;
    this.models = new Map();
    for (const provider of this.providers) {
      for (const model of provider.models) {
        model.provider = provider.name;
        model.folded = folded(provider.id + provider.name + model.id);
        if (!this.models.get(model.id)?.available) this.models.set(model.id, model);
      }
    }
  }

  // The first model of a kind that answered when the page was opened, the smaller price first.
  first(kind) {
    return setup.models.find((model) => model.modality === kind && model.available)?.id ?? "";
  }

  open(kind, current, chosen) {
    Object.assign(this, { kind, current, chosen });
    this.search.value = "";
    $("picker").showModal();
    this.search.focus();
    this.#draw();
    const drawn = () => $("picker").open && this.#draw();
    this.#load().then(drawn, () => this.providers || this.#note(t("no_catalogue")));
  }

  #note(text) {
    $("picker-more").textContent = text;
  }

  #draw() {
    const words = this.search.value.split(/\s+/).map(folded).filter(Boolean);
    const fits = (model) => model.modality === this.kind && (model.available || !$("picker-up").checked) && words.every((word) => model.folded.includes(word));
    const list = $("picker-list");
    list.replaceChildren();
    this.options = [];
    $("picker-list").setAttribute("aria-busy", String(!this.providers));
    if (!this.providers) return this.#note(t("picker_loading"));
    let count = 0;
    for (const provider of this.providers) {
      const models = provider.models.filter(fits);
      count += models.length;
      const shown = models.slice(0, MOST - this.options.length);
      if (!shown.length) continue;
      const head = el("p", { class: "picker-provider", id: `provider-${provider.id}` }, provider.name, provider.available ? null : el("span", { class: "chip bad" }, icon("error"), provider.reason));
      const group = el("div", { role: "group", "aria-labelledby": head.id }, head, ...shown.map((model) => this.#option(model)));
      list.append(group);
    }
    const rest = count - this.options.length;
    this.#note(count ? (rest ? t("picker_more", { n: rest }) : "") : t("picker_none", { query: this.search.value }));
    this.#light(Math.max(0, this.options.findIndex((option) => option.dataset.id === this.current)));
  }

  #option(model) {
    const price = model.price.call ? t("a_call", { n: model.price.call }) : model.price.input || model.price.output ? t("credits_1k", { price: `${num(model.price.input)} / ${num(model.price.output)}` }) : "";
    const option = el("div", { class: `option${model.available ? "" : " off"}`, role: "option", id: `option-${this.options.length}`, "aria-selected": "false", "data-id": model.id, on: { click: () => this.#take(model.id) } },
      el("span", { class: `model-dot${model.available ? "" : " down"}`, "aria-hidden": "true" }),
      el("code", {}, model.id),
      el("span", { class: `chip${model.tier === "pro" ? " pro" : ""}` }, model.tier),
      el("span", { class: "quiet option-more" }, model.available ? [model.context ? t("context", { size: short(model.context) }) : "", price].filter(Boolean).join(" · ") : model.reason + (model.returns ? ` · ${until(model.returns)}` : "")));
    this.options.push(option);
    return option;
  }

  #take(id) {
    $("picker").close();
    this.chosen(id);
  }

  #light(number) {
    this.lit = Math.min(Math.max(number, 0), this.options.length - 1);
    for (const [index, option] of this.options.entries()) option.setAttribute("aria-selected", String(index === this.lit));
    const option = this.options[this.lit];
    if (option) {
      this.search.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      this.search.removeAttribute("aria-activedescendant");
    }
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step) this.#light(this.lit + step);
    else if (event.key === "Enter" && this.options[this.lit]) this.#take(this.options[this.lit].dataset.id);
    else return;
    event.preventDefault();
  }
}
