// The Playground: what is chosen, and which part of the page shows it.
import * as api from "./api.js";
import { Chat } from "./chat.js";
import { showCode, step } from "./code.js";
import { $, say } from "./dom.js";
import { saveAs } from "./exporting.js";
import { Films } from "./films.js";
import { Media } from "./media.js";
import { Parameters } from "./params.js";
import { Picker } from "./picker.js";
import { drawQuota } from "./quota.js";
import { bodyOf } from "./request.js";
import { setup, t } from "./words.js";

const KINDS = { chat: "text", image: "image", audio: "audio", video: "video" };
const chosen = { chat: [setup.model, ""], image: [""], audio: [""], video: [""] };
const picker = new Picker();
let kind = "chat";

const app = {
  models: () => chosen.chat,
  model: (which) => chosen[which][0],
  parameters: () => parameters.read(),
  endpoint: (model) => {
    const known = picker.models.get(model)?.endpoints ?? [];
    const wanted = $("endpoint").value;
    return !known.length || known.includes(wanted) ? wanted : "chat/completions";
  },
  pick: (which) => (typeof which === "number" ? pick("chat", which) : pick(which, 0)),
  refreshed: async (when) => {
    settle();
    if (when !== "opened" && when !== "charged") return;
    try {
      setup.quota = await api.quota();
    } catch {
      return; // the card stays as it was; a call says what is wrong
    }
    settle();
  },
};

let chat = null;
const parameters = new Parameters(() => chat && settle());
chat = new Chat(app);
const media = new Media(app);
const films = new Films(app);

function pick(which, place) {
  picker.open(KINDS[which], chosen[which][place], (id) => {
    chosen[which][place] = id;
    if (!place) remember(id);
    settle();
    if (which === "chat") $("prompt").focus();
    else $(place ? "model-b" : "model-a").focus();
  });
}

// In the address, so that a reload and a bookmark begin with it.
function remember(id) {
  const here = new URL(location.href);
  here.searchParams.set("model", id);
  history.replaceState(null, "", here);
}

function show(next) {
  kind = next;
  $("play").dataset.kind = kind;
  for (const each of Object.keys(KINDS)) {
    $(`pane-${each}`).hidden = each !== kind;
    $(`tab-${each}`).setAttribute("aria-selected", String(each === kind));
    $(`tab-${each}`).tabIndex = each === kind ? 0 : -1;
  }
  $("kind-pick").value = kind;
  if (location.hash.slice(1) !== kind) history.replaceState(null, "", kind === "chat" ? location.pathname + location.search : `#${kind}`);
  if (kind === "video") films.load();
  settle();
}

// Everything on the page that follows what is chosen.
function settle() {
  const comparing = chat.comparing && kind === "chat";
  chosen[kind][0] ||= picker.first(KINDS[kind]);
  $("model-b").hidden = !comparing;
  $("compare").setAttribute("aria-pressed", String(comparing));
  $("play").classList.toggle("comparing", comparing);
  draw($("model-a"), chosen[kind][0]);
  draw($("model-b"), chosen.chat[1]);
  const model = picker.models.get(chosen[kind][0]);
  if (kind === "chat") parameters.routes(model?.endpoints ?? []);
  drawQuota(model?.bucket ?? { chat: "text.base", image: "image", audio: "audio", video: "video.other" }[kind], kind === "chat" ? chat : null);
  for (const cost of document.querySelectorAll("[data-cost]")) cost.textContent = model && kind !== "chat" ? (setup.quota.pays_credits ? t("a_call", { n: model.price.call }) : t("draws", { bucket: model.bucket })) : "";
}

function draw(button, id) {
  const model = picker.models.get(id);
  button.querySelector(".model-id").textContent = id || t("choose");
  const chip = button.querySelector(".chip");
  chip.hidden = !model;
  chip.textContent = model?.tier ?? "";
  chip.classList.toggle("pro", model?.tier === "pro");
  const dot = button.querySelector(".model-dot");
  dot.hidden = !model;
  dot.classList.toggle("down", !model?.available);
  button.title = [id, model && !model.available ? model.reason : ""].filter(Boolean).join(": ");
}

function request() {
  if (kind === "image") return media.request("image");
  if (kind === "audio") return media.request(media.what);
  if (kind === "video") return films.request();
  const text = $("prompt").value.trim();
  const last = chat.turns.at(-1);
  const next = text || !last ? [{ role: "user", text: text || t("starter_1"), files: chat.files.list }] : [];
  const history = chat.history(next.length ? null : last, 0);
  const endpoint = app.endpoint(chosen.chat[0]);
  return [endpoint, bodyOf(endpoint, chosen.chat[0], parameters.read(), [...history, ...next])];
}

function compare() {
  if (chat.busy) return say(t("still_running"));
  chat.comparing = !chat.comparing;
  settle();
  if (chat.comparing && !chosen.chat[1]) pick("chat", 1);
}

const tabs = Object.keys(KINDS).map((each) => $(`tab-${each}`));
for (const tab of tabs) {
  tab.addEventListener("click", () => show(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => step(event, tabs));
}
$("kind-pick").addEventListener("change", () => show($("kind-pick").value));
$("model-a").addEventListener("click", () => pick(kind, 0));
$("model-b").addEventListener("click", () => pick("chat", 1));
for (const id of ["compare", "compare-again"]) $(id).addEventListener("click", compare);
$("view-code").addEventListener("click", () => showCode(...request()));
$("new-chat").addEventListener("click", () => chat.clear());
for (const as of ["json", "markdown"]) $(`save-${as}`).addEventListener("click", () => (chat.turns.length ? saveAs(as, chat, parameters.read()) : say(t("nothing_yet"))));
$("play-more").addEventListener("click", () => $("play-more").hidePopover());
addEventListener("beforeunload", (event) => {
  if (chat.busy || media.working) event.preventDefault();
});
addEventListener("hashchange", () => show(location.hash.slice(1) in KINDS ? location.hash.slice(1) : "chat"));

// A model in the address says which part of the page it belongs to.
function begin() {
  const asked = setup.chosen && picker.models.get(setup.model);
  const place = asked && Object.keys(KINDS).find((each) => KINDS[each] === asked.modality);
  if (place && place !== "chat") {
    chosen[place][0] = setup.model;
    chosen.chat[0] = picker.first("text");
  }
  const hash = location.hash.slice(1);
  show(hash in KINDS ? hash : place || "chat");
}

begin();
if (matchMedia("(min-width: 840px)").matches) $("prompt").focus();
