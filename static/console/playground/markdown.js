// A model's markdown as safe elements. Laws: nothing of it runs, loads anything from anywhere, or
// navigates by itself. Raw HTML is shown as the text it is; what marked makes of the rest goes
// through DOMPurify with a short list of tags; links open elsewhere, and say where they lead.
import { Marked } from "../../vendor/marked-18.2.1/marked.js";
import "../../vendor/dompurify-3.4.18/purify.js";
import { copy, el, iconButton } from "./dom.js";
import { t } from "./words.js";

const EVERY = 100; // ms between two drawings of a growing answer
const COLOURED = 60_000; // characters of code; more stays plain
const TAGS = ["a", "blockquote", "br", "code", "del", "em", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"];
const RULES = { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["align", "data-code", "href", "start", "title"], ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, ADD_URI_SAFE_ATTR: ["align", "data-code", "start"], ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i, RETURN_DOM_FRAGMENT: true };
const COLOURS = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], ALLOW_DATA_ATTR: false, RETURN_DOM_FRAGMENT: true };
const purify = globalThis.DOMPurify;
const escaped = (text) => text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

// TeX stays as it was written: markdown would take its signs for its own. What is long is cut
// short here, lest a text of unclosed brackets be read to its end from each of them.
const LINE = /^(?:\\\([^\n]{1,1000}?\\\)|\\\[[^\n]{1,1000}?\\\]|\$\$[^\n]{1,1000}?\$\$|\$(?![\s$])[^$\n]{1,300}?(?<!\s)\$(?![\d$]))/;
const BLOCK = /^ {0,3}(?:\\\[[\s\S]{1,4000}?\\\]|\$\$[\s\S]{1,4000}?\$\$) *(?:\n+|$)/;
const tex = (level, pattern, start, renderer) => ({
  name: `tex-${level}`, level, start, renderer,
  tokenizer(source) {
    const found = pattern.exec(source);
    return found ? { type: `tex-${level}`, raw: found[0], text: found[0].trim() } : undefined;
  },
});

const reader = new Marked({
  gfm: true,
  breaks: true,
  extensions: [
    tex("inline", LINE, (source) => source.indexOf("$"), ({ text }) => `<code>${escaped(text)}</code>`),
    tex("block", BLOCK, (source) => source.match(/\n {0,3}(?:\\\[|\$\$)/)?.index, ({ text }) => `<pre><code data-code="latex">${escaped(text)}</code></pre>`),
  ],
  renderer: {
    // The page's own title stays the first.
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 1);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    html: ({ text, block }) => (block ? `<p>${escaped(text)}</p>` : escaped(text)),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code: ({ text, lang }) => `<pre><code data-code="${escaped((lang ?? "").split(/\s/)[0].slice(0, 40))}">${escaped(text)}</code></pre>`,
  },
});

let colours = null; // asked for when the first code comes

function coloured(code, language) {
  if (code.textContent.length > COLOURED) return;
  colours ??= import("../../vendor/highlight.js-11.12.0/highlight.js").then((module) => module.default);
  colours.then((hljs) => {
    if (!language || !hljs.getLanguage(language)) return;
    const made = hljs.highlight(code.textContent, { language, ignoreIllegals: true }).value;
    code.replaceChildren(purify.sanitize(made, COLOURS));
  }).catch(() => { colours = null; });
}

function dressed(part) {
  for (const link of part.querySelectorAll("a")) {
    const to = link.getAttribute("href");
    if (!to) {
      link.replaceWith(...link.childNodes);
      continue;
    }
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    link.referrerPolicy = "no-referrer";
    link.title = to;
  }
  for (const code of part.querySelectorAll("pre > code")) {
    const language = code.getAttribute("data-code") ?? "";
    const block = el("div", { class: "block" });
    code.parentElement.replaceWith(block);
    const pre = el("pre", { class: "code", tabindex: "0" }, code);
    block.append(pre, iconButton("content_copy", t("copy_code"), () => copy(code.textContent), { class: "icon-button copy" }));
  }
  for (const table of part.querySelectorAll("table")) {
    const place = el("div", { class: "scroll", tabindex: "0" });
    table.replaceWith(place);
    place.append(table);
  }
  return part;
}

function drawn(token) {
  const part = dressed(purify.sanitize(reader.parser([token]), RULES));
  // Each block runs the way its own words do; code never turns round.
  for (const block of part.children) block.dir = "auto";
  for (const code of part.querySelectorAll(".block")) code.dir = "ltr";
  return part;
}

// Draws a growing text into a place: only what has changed, at most ten times a second.
export class Markdown {
  #place;
  #blocks = []; // { raw, nodes }
  #timer = 0;
  #text = "";
  #next = 0; // ms: not drawn again before that
  #told;

  // `told` hears the text of every block that will not change any more.
  constructor(place, told = () => {}) {
    this.#place = place;
    this.#told = told;
  }

  show(text) {
    this.#text = text;
    this.#timer ||= setTimeout(() => this.#draw(false), Math.max(0, this.#next - performance.now()));
  }

  // The text is whole.
  end(text) {
    clearTimeout(this.#timer);
    this.#text = text;
    this.#draw(true);
  }

  #draw(whole) {
    const began = performance.now();
    this.#timer = 0;
    const tokens = reader.lexer(this.#text).filter((token) => token.type !== "space" && token.type !== "def");
    let same = 0;
    while (same < tokens.length && same < this.#blocks.length && this.#blocks[same].raw === tokens[same].raw) same += 1;
    for (const block of this.#blocks.splice(same)) for (const node of block.nodes) node.remove();
    for (const token of tokens.slice(same)) {
      const part = drawn(token);
      const nodes = [...part.childNodes];
      this.#place.append(part);
      this.#blocks.push({ raw: token.raw, nodes, settled: false });
    }
    this.#settle(whole ? this.#blocks.length : this.#blocks.length - 1);
    // What takes long, as a table of a thousand rows does, is drawn more rarely.
    const now = performance.now();
    this.#next = now + Math.max(EVERY, 3 * (now - began));
  }

  #settle(count) {
    for (const block of this.#blocks.slice(0, Math.max(0, count))) {
      if (block.settled) continue;
      block.settled = true;
      for (const node of block.nodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
        for (const code of node.querySelectorAll("pre > code")) coloured(code, code.getAttribute("data-code"));
      }
      this.#told(block.nodes.map((node) => node.textContent).join(" ").trim().slice(0, 2000));
    }
  }
}
