// What is left, beside the chat: the bucket of the model that is chosen, or the plan's credits.
import { $, el, icon, svg } from "./dom.js";
import { num, setup, t } from "./words.js";

// chat: the talk on the page, whose cost is named; null where there is none.
export function drawQuota(bucket, chat) {
  const name = setup.quota.pays_credits ? "credits" : bucket;
  const card = setup.quota.buckets[name];
  const place = $("quota");
  if (!card) return place.replaceChildren();
  const [used, held, state] = card.meter;
  const spoken = t("meter", { name: card.name, used: card.used, held: card.reserved, limit: card.limit === null ? "∞" : num(card.limit) });
  const meter = svg("svg", { class: `meter ${state}`, viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "meter", "aria-valuemin": 0, "aria-valuemax": 1000, "aria-valuenow": used, "aria-label": spoken },
    svg("rect", { class: "track", width: 1000, height: 10 }),
    svg("rect", { class: "used", width: used, height: 10 }),
    held ? svg("line", { class: "held", x1: used, x2: used + held, y1: 5, y2: 5 }) : null);
  place.className = `panel-quota b-${name.replaceAll(".", "-")}`;
  place.replaceChildren(
    el("p", { class: "card-head" }, el("span", { class: "tile small" }, icon(card.icon)), el("strong", {}, name), el("span", { class: "quiet" }, t(name === "credits" ? "a_period" : "daily"))),
    el("p", { class: "figure mid" }, card.left === null ? "∞" : num(card.left), " ", el("small", {}, t("left"))),
    meter,
    el("p", { class: "legend" }, el("span", {}, chat ? t("this_chat", { n: chat.charged(name) }) : t("used", { n: card.used })), card.reserved ? el("span", {}, t("reserved_now", { n: card.reserved })) : card.promo ? el("span", {}, t("promo", { n: card.promo })) : null));
}
