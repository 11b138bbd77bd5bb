// The search of the reference as one types, and a button to copy each sample. The page works without.
"use strict";

const field = document.getElementById("q");
const found = document.getElementById("found");
const cards = [...document.querySelectorAll("article")];
const words = new Map(); // of each card, once somebody searches

// What stands beside the sample, and the name of the group.
function said(card) {
  return `${card.querySelector(".says").textContent} ${card.parentElement.id}`.toLowerCase();
}

function search() {
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let hits = 0;
  for (const card of cards) {
    if (!words.has(card)) words.set(card, said(card));
    card.hidden = !wanted.every((word) => words.get(card).includes(word));
    hits += card.hidden ? 0 : 1;
  }
  for (const section of document.querySelectorAll("main section")) {
    const own = [...section.querySelectorAll("article")];
    section.hidden = own.length > 0 && own.every((card) => card.hidden);
  }
  found.textContent = hits ? (wanted.length ? `${found.dataset.some}${hits} / ${cards.length}` : "") : found.dataset.none;
}

// A link to a card must lead to it, whatever the search has hidden.
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (target && (target.hidden || target.closest("section[hidden]"))) {
    field.value = "";
    search();
    target.scrollIntoView();
  }
}

function addCopy(sample) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = document.body.dataset.copy;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(sample.querySelector("code").textContent);
    } catch {
      // Over plain http there is no clipboard; what is selected can still be copied, at the worst by hand.
      getSelection().selectAllChildren(sample.querySelector("code"));
      if (!document.execCommand("copy")) return;
    }
    button.textContent = document.body.dataset.copied;
    setTimeout(() => { button.textContent = document.body.dataset.copy; }, 2000);
  });
  sample.append(button);
}

field.addEventListener("input", search);
field.form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && document.activeElement !== field) {
    event.preventDefault();
    field.focus();
  }
});
addEventListener("hashchange", reveal);
// After the first paint: a hundred buttons are not what anybody waits for.
requestAnimationFrame(() => setTimeout(() => document.querySelectorAll(".sample").forEach(addCopy)));
if (field.value) search();
reveal();
