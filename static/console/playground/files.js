// Files beside a message: read in the browser, sent inside the request, kept nowhere.
import { $, el, icon, iconButton, say } from "./dom.js";
import { t } from "./words.js";

const MOST = 20_000_000; // bytes of one message
const TEXT = /^(text\/|application\/(json|xml|x-yaml|yaml|toml|javascript|x-sh|sql))/;
const TEXT_NAMES = /\.(txt|md|csv|tsv|json|jsonl|xml|ya?ml|toml|ini|log|sql|py|js|ts|tsx|jsx|css|html?|c|h|cc|cpp|hpp|rs|go|java|kt|rb|php|sh|swift|lua|pl|r|tex)$/i;
const IMAGES = new Set(["image/png", "image/jpeg", "image/webp", "image/gif"]);
const SOUNDS = { "audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav" };

function kindOf(file) {
  if (IMAGES.has(file.type)) return "image";
  if (file.type === "application/pdf") return "pdf";
  if (SOUNDS[file.type]) return "audio";
  if (TEXT.test(file.type) || TEXT_NAMES.test(file.name)) return "text";
  return "";
}

const url = (file) => new Promise((done, failed) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result);
  reader.onerror = () => failed(reader.error);
  reader.readAsDataURL(file);
});

export class Files {
  list = [];

  constructor() {
    for (const [button, input] of [["attach-file", "files"], ["attach-image", "pictures"]]) {
      $(button).addEventListener("click", () => $(input).click());
      $(input).addEventListener("change", () => {
        this.add([...$(input).files]);
        $(input).value = "";
      });
    }
    $("prompt").addEventListener("paste", (event) => this.#pasted(event));
    // Anywhere on the page: a browser would open a dropped file in place of the talk.
    for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => {
      if (!event.dataTransfer?.types.includes("Files") || event.target.closest?.("input[type=file]")) return;
      event.preventDefault();
      if (name === "drop" && !$("pane-chat").hidden) this.add([...event.dataTransfer.files]);
    });
  }

  // A table's cells come as text and as a picture of it: text it is.
  #pasted(event) {
    const data = event.clipboardData;
    if (!data?.files.length || data.types.includes("text/plain")) return;
    event.preventDefault();
    this.add([...data.files]);
  }

  reading = null; // a promise, while files are being read

  add(files) {
    const mine = Promise.resolve(this.reading).then(() => this.#read(files)).finally(() => {
      if (this.reading === mine) this.reading = null;
    });
    return (this.reading = mine);
  }

  async #read(files) {
    const wrong = [];
    for (const file of files) {
      const kind = kindOf(file);
      const size = this.list.reduce((sum, each) => sum + each.size, file.size);
      if (!kind) wrong.push(t("file_kind", { name: file.name }));
      else if (size > MOST) wrong.push(t("file_large", { name: file.name }));
      else await this.#one(file, kind).catch(() => wrong.push(t("file_unread", { name: file.name })));
    }
    if (wrong.length) say(wrong.join(" "));
    this.draw();
  }

  async #one(file, kind) {
    const said = kind === "text" ? { url: "", text: await file.text() } : { url: await url(file), text: "" };
    this.list.push({ name: file.name, type: file.type, size: file.size, kind, format: SOUNDS[file.type], ...said });
  }

  // What is attached, which then is not any more.
  taken() {
    const found = this.list;
    this.list = [];
    this.draw();
    return found;
  }

  give(files) {
    this.list = [...files];
    this.draw();
  }

  draw() {
    const place = $("attached");
    place.hidden = !this.list.length;
    place.replaceChildren(...this.list.map((file) => el("li", {}, chip(file), iconButton("close", t("remove", { name: file.name }), () => {
      this.list = this.list.filter((each) => each !== file);
      this.draw();
      $("prompt").focus();
    }))));
  }
}

export function chip(file) {
  if (file.kind === "image") return el("span", { class: "file-chip" }, el("img", { src: file.url, alt: "", width: 36, height: 36 }), el("span", {}, file.name));
  return el("span", { class: "file-chip" }, icon(file.kind === "audio" ? "graphic_eq" : "draft", "i small"), el("span", {}, file.name));
}
