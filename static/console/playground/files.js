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
    $("prompt").addEventListener("paste", (event) => this.#given(event, event.clipboardData));
    const place = $("composer");
    place.addEventListener("dragover", (event) => event.preventDefault());
    place.addEventListener("drop", (event) => this.#given(event, event.dataTransfer));
  }

  #given(event, data) {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    this.add(files);
  }

  async add(files) {
    for (const file of files) {
      const kind = kindOf(file);
      const size = this.list.reduce((sum, each) => sum + each.size, file.size);
      if (!kind) say(t("file_kind", { name: file.name }));
      else if (size > MOST) say(t("file_large", { name: file.name }));
      else this.list.push({ name: file.name, type: file.type, size: file.size, kind, format: SOUNDS[file.type], url: kind === "text" ? "" : await url(file), text: kind === "text" ? await file.text() : "" });
    }
    this.draw();
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
