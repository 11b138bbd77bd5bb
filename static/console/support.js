// Checking a key without leaving the page: the same form, and the same answer, put in its place.
"use strict";

(() => {
  const form = document.querySelector("[data-checks]");
  const place = document.getElementById("checked");

  form.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (button?.value !== "check") return;
    event.preventDefault();
    const key = form.elements.key;
    if (!key.reportValidity()) return;
    const said = new URLSearchParams(new FormData(form, button));
    button.disabled = true;
    try {
      const answer = await fetch(form.getAttribute("action"), { method: "POST", body: said, headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = [...(page.getElementById("checked")?.childNodes ?? [])];
      const fault = page.querySelector(".banner.error span, #key-says.wrong, .wrong, .fault-text");
      place.replaceChildren(...(found.length ? found : told(fault?.textContent ?? answer.statusText)));
    } catch (error) {
      place.replaceChildren(...told(String(error.message)));
    }
    button.disabled = false;
    button.focus();
  });

  function told(text) {
    const line = document.createElement("p");
    line.className = "banner error";
    line.textContent = text.trim();
    return [line];
  }
})();
