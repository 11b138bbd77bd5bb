// Small helps while signing in and registering; every form works without them.
"use strict";

(() => {
  for (const button of document.querySelectorAll("[data-peek]")) {
    const input = document.getElementById(button.dataset.peek);
    button.hidden = false;
    button.addEventListener("click", () => {
      const shown = input.type === "password";
      input.type = shown ? "text" : "password";
      button.setAttribute("aria-pressed", String(shown));
      input.focus();
    });
    // What is sent is a password again, so that no browser remembers it as a text.
    input.form.addEventListener("submit", () => { input.type = "password"; });
  }

  for (const hint of document.querySelectorAll("[data-caps]")) {
    const input = document.getElementById(hint.dataset.caps);
    const look = (event) => { hint.hidden = !event.getModifierState?.("CapsLock"); };
    input.addEventListener("keydown", look);
    input.addEventListener("keyup", look);
    input.addEventListener("blur", () => { hint.hidden = true; });
  }

  // Words are worth what a dictionary makes of them, other characters what they are.
  function level(text) {
    let bits = 0;
    for (const [run] of text.matchAll(/\p{L}+|\p{N}+|[^\p{L}\p{N}]/gu)) {
      if (/^\p{L}/u.test(run)) bits += Math.min(run.length * 4.7, 13) + (/\p{Lu}/u.test(run.slice(1)) ? 2 : 0);
      else if (/^\p{N}/u.test(run)) bits += Math.min(run.length * 3, 10);
      else bits += run === " " ? 1 : 4;
    }
    const variety = new Set(text).size;
    bits = Math.min(bits, variety * 5);
    return text.length < 8 || bits < 26 ? 1 : bits < 40 ? 2 : bits < 60 ? 3 : 4;
  }

  for (const meter of document.querySelectorAll("[data-strength]")) {
    const input = document.getElementById(meter.dataset.strength);
    const words = meter.dataset.words.split("|");
    input.addEventListener("input", () => {
      meter.hidden = !input.value;
      if (!input.value) return;
      meter.dataset.level = level(input.value);
      meter.querySelector(".hint").textContent = words[meter.dataset.level - 1];
    });
  }

  for (const output of document.querySelectorAll("[data-free]")) {
    const input = document.getElementById(output.htmlFor.value);
    let waiting = 0;
    input.addEventListener("input", () => {
      output.textContent = "";
      clearTimeout(waiting);
      const name = input.value.trim();
      if (name.length < 3) return;
      waiting = setTimeout(async () => {
        const answer = await fetch(`${output.dataset.free}?username=${encodeURIComponent(name)}`, { headers: { Accept: "application/json" } });
        if (!answer.ok || name !== input.value.trim()) return;
        const said = await answer.json();
        output.classList.toggle("taken", !said.free);
        output.textContent = said.text.length < 30 ? said.text : "";
      }, 400);
    });
  }

  for (const button of document.querySelectorAll("[data-wait]")) {
    const plain = button.textContent;
    let left = Number(button.dataset.wait);
    const tick = () => {
      button.disabled = left > 0;
      button.textContent = left > 0 ? button.dataset.waitText.replace("{n}", left) : plain;
      if (left-- > 0) setTimeout(tick, 1000);
    };
    tick();
  }
})();
