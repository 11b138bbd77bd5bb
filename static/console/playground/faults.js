// What went wrong, as a card: what, whose fault, what it cost, what to do next, and the request's id.
import { el, icon } from "./dom.js";
import { num, setup, t, until } from "./words.js";

const PROVIDER = new Set(["upstream_gone", "upstream_key_unavailable", "upstream_id_conflict", "no_upstream", "upstream_rate_limited", "upstream_unavailable", "upstream_error", "upstream_too_large", "upstream_truncated", "upstream_timeout"]);
const ELSE = new Set(["model_not_found", "model_not_allowed", "no_upstream", "upstream_unavailable", "upstream_rate_limited", "upstream_key_unavailable", "upstream_gone"]);

const OURS = new Set(["shutting_down", "internal_error"]);

// { title, text, whose, acts }: pure, but for the words.
export function told(fault) {
  const { code, status, error } = fault;
  const bucket = error.quota && (setup.quota.buckets[error.quota.bucket]?.name ?? error.quota.bucket);
  if (code === "not_signed_in" || status === 401) return { title: t("f_session"), text: t("f_session_text"), whose: "f_nobody", acts: ["sign_in", "again"] };
  if (code === "csrf_failed") return { title: t("f_stale"), text: t("f_stale_text"), whose: "f_nobody", acts: ["reload"] };
  if (code === "quota_exceeded" && error.quota) return { title: t("f_quota", { bucket }), text: t("f_quota_text", { needed: error.quota.needed, left: error.quota.left ?? 0, wait: until(error.quota.resets_at) }), whose: "f_limit", acts: ["pick"] };
  if (code === "insufficient_credits" && error.quota) return { title: t("f_credits"), text: t("f_credits_text", { needed: error.quota.needed, left: error.quota.left ?? 0 }), whose: "f_limit", acts: ["pick"] };
  if (code === "rate_limit_exceeded" || code === "concurrency") return { title: t("f_fast"), text: fault.message, whose: "f_limit", acts: ["again"] };
  if (code === "upstream_timeout" || status === 504) return { title: t("f_timeout"), text: t("f_timeout_text"), whose: "f_provider", acts: ["again", "pick"] };
  if (code === "upstream_refused") return { title: t("f_refused"), text: fault.message, whose: "f_request", acts: ["pick"] };
  if (PROVIDER.has(code) || status === 502 || (status === 200 && !OURS.has(code))) return { title: t("f_upstream"), text: fault.message, whose: "f_provider", acts: ELSE.has(code) ? ["pick", "again"] : ["again", "pick"] };
  if (status === 0) return { title: t("f_network"), text: t("f_network_text"), whose: "f_nobody", acts: ["again"] };
  if (status >= 500 || OURS.has(code)) return { title: t("f_ours"), text: fault.message, whose: "f_us", acts: ["again"] };
  if (status === 403) return { title: t("f_request_title"), text: fault.message, whose: "f_limit", acts: ["pick"] };
  return { title: t("f_request_title"), text: fault.message, whose: ELSE.has(code) ? "f_nobody" : "f_request", acts: ELSE.has(code) ? ["pick"] : ["again"] };
}

export const LATE = "late"; // in place of a receipt: it could not be had

export function cost(receipt) {
  if (receipt === undefined) return ""; // nobody knows yet
  if (receipt === LATE) return t("cost_later");
  if (!receipt?.amount) return t("nothing");
  return t("charged", { n: receipt.amount, bucket: receipt.bucket, back: num(Math.max(0, receipt.estimate - receipt.amount)) });
}

// does: { again, pick } where they make sense here.
export function faultCard(fault, receipt, does = {}) {
  const said = told(fault);
  const acts = said.acts.map((name) => button(name, does)).filter(Boolean);
  return el("div", { class: "fault-card", role: "alert" }, icon("error"),
    el("div", {},
      el("h2", {}, said.title),
      said.text && said.text !== said.title ? el("p", {}, said.text) : null,
      el("p", { class: "quiet" }, `${t(said.whose)} ${cost(receipt)}`.trim()),
      fault.id ? el("p", { class: "quiet" }, `${t("request_id")}: `, el("code", {}, fault.id)) : null,
      acts.length ? el("p", { class: "actions" }, ...acts) : null));
}

function button(name, does) {
  if (name === "sign_in") return el("a", { class: "button small", href: "/login/?next=%2Fplayground%2F", target: "_blank", rel: "noopener" }, t("sign_in"));
  const act = name === "reload" ? () => location.reload() : does[name];
  return act ? el("button", { type: "button", class: "button small", on: { click: act } }, t(`do_${name}`)) : null;
}
