// What the page says, in its own language, and how it writes numbers.
export const setup = JSON.parse(document.getElementById("play-setup").textContent);
const plural = new Intl.PluralRules(setup.language);
const THIN = "\u2009";

// The words of a name; `n` chooses their form, numbers are written as the page writes them.
export function t(name, values = {}) {
  let text = setup.words[name];
  if (text === undefined) throw new Error(`no words for ${name}`);
  if (typeof text === "object") text = text[plural.select(values.n)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, key) => (typeof values[key] === "number" ? num(values[key]) : values[key] ?? whole));
}

// Groups of three with thin spaces; nothing known is a dash.
export function num(value, places = 0) {
  if (value === null || value === undefined) return "–";
  const [whole, part] = Math.abs(value).toFixed(places).split(".");
  const mark = setup.language === "ru" ? "," : ".";
  return (value < 0 ? "\u2212" : "") + whole.replace(/\B(?=(\d{3})+$)/g, THIN) + (part ? mark + part : "");
}

export const seconds = (ms) => t("seconds", { s: num(ms / 1000, ms < 9995 ? 2 : 1) });

export function short(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, many] of [["M", 1e6], ["k", 1e3]]) if (value >= many) return String(+(value / many).toPrecision(3)) + unit;
  return String(value);
}

// How long until a moment: 4 h 20 min.
export function until(moment) {
  const minutes = Math.max(1, Math.ceil((new Date(moment) - Date.now()) / 60000));
  if (!Number.isFinite(minutes)) return "–";
  if (minutes >= 2880) return t("days", { n: Math.floor(minutes / 1440) });
  const hours = Math.floor(minutes / 60);
  return ((hours ? t("hours", { n: hours }) + THIN : "") + t("minutes", { n: minutes % 60 })).replaceAll(" ", THIN);
}
