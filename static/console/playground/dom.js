// Making elements: text is always text here; nothing in this file reads markup.
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

// el("p", { class: "quiet", on: { click } }, "text", child): attributes as they are, null left out.
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  for (const [name, act] of Object.entries(on)) element.addEventListener(name, act);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export const icon = (name, more = "i") => el("i", { class: more, "aria-hidden": "true", translate: "no" }, name);

export function iconButton(name, label, act, more = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: act }, ...more }, icon(name, "i small"));
}

// One line that goes by itself; never for what needs an answer.
export const say = (text) => globalThis.bsod?.say(text);

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say(document.body.dataset.copied);
  } catch {
    const area = el("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    if (document.execCommand("copy")) say(document.body.dataset.copied);
    area.remove();
  }
}

// Hands a file of ours to the browser, to be saved.
export function save(name, blob) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Tells those who listen instead of looking.
export function speak(text) {
  const place = $("spoken");
  place.append(el("span", {}, `${text} `));
  while (place.childElementCount > 20) place.firstElementChild.remove();
}

// Keeps the end of a growing place in sight, unless somebody has scrolled away from it.
let following = true;
let before = 0;
const below = () => document.documentElement.scrollHeight - innerHeight - scrollY;

export function toEnd() {
  following = true;
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

export function follow(place, growing) {
  addEventListener("scroll", () => {
    // Up by however little is away; where the page has become shorter it still ends here.
    if (scrollY < before && below() > 1) following = false;
    else if (scrollY > before && below() < 80) following = true;
    before = scrollY;
  }, { passive: true });
  new ResizeObserver(() => following && growing() && toEnd()).observe(place);
}
