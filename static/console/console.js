// Small helps for every page, which works without them: copying, dialogs, tabs, "/" for the search.
"use strict";

(() => {
  const snack = document.getElementById("snack");
  let fading = 0;

  function say(text) {
    if (!snack) return;
    snack.textContent = text;
    clearTimeout(fading);
    fading = setTimeout(() => { snack.textContent = ""; }, 5000);
  }

  async function copy(id) {
    const source = document.getElementById(id);
    try {
      await navigator.clipboard.writeText(source.textContent);
      say(document.body.dataset.copied);
    } catch {
      // Over plain http there is no clipboard; what is selected can still be copied, at the worst by hand.
      getSelection().selectAllChildren(source);
      if (document.execCommand("copy")) say(document.body.dataset.copied);
    }
  }

  document.documentElement.classList.add("scripted");
  for (const element of document.querySelectorAll("[data-copy-from][hidden], [role=tablist][hidden]")) element.hidden = false;

  document.addEventListener("click", (event) => {
    const element = event.target.closest("[data-copy-from], [data-opens], [data-closes], [data-unchecks]");
    if (!element) return;
    if (element.dataset.copyFrom) {
      event.preventDefault();
      copy(element.dataset.copyFrom);
    } else if (element.dataset.opens && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      const dialog = document.getElementById(element.dataset.opens);
      if (!dialog) return;
      event.preventDefault();
      dialog.showModal();
      dialog.querySelector("input:not([type=hidden])")?.focus();
    } else if (element.dataset.unchecks) {
      for (const box of element.form.elements) if (box.name === element.dataset.unchecks) box.checked = false;
    } else if ("closes" in element.dataset) {
      const dialog = element.closest("dialog");
      if (!dialog) return;
      event.preventDefault();
      dialog.close();
    }
  });

  // A secret that is shown once must not be lost by a slip: neither Esc nor a press beside it closes.
  for (const dialog of document.querySelectorAll("dialog[data-modal]")) {
    dialog.close();
    dialog.showModal();
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") event.preventDefault(); });
    const saved = dialog.querySelector("#once-saved");
    const done = dialog.querySelector("#once-done");
    const settle = () => { done.disabled = !saved.checked; };
    saved.addEventListener("change", settle);
    for (const button of dialog.querySelectorAll("[data-saves]")) button.addEventListener("click", () => { saved.checked = true; settle(); });
    settle();
  }

  for (const message of document.querySelectorAll("[data-snack]")) {
    say((message.querySelector("span") ?? message).textContent.trim());
    message.remove();
  }

  for (const tabbed of document.querySelectorAll("[data-tabs]")) {
    const tabs = [...tabbed.querySelectorAll("[role=tab]")];
    const show = (chosen) => {
      for (const tab of tabs) {
        const on = tab === chosen;
        tab.setAttribute("aria-selected", String(on));
        tab.tabIndex = on ? 0 : -1;
        document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
      }
    };
    for (const tab of tabs) {
      const panel = document.getElementById(tab.getAttribute("aria-controls"));
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => show(tab));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
        show(next);
        next.focus();
      });
    }
    if (tabs.length) show(tabs[0]);
  }

  for (const select of document.querySelectorAll("[data-submits]")) select.addEventListener("change", () => select.form.requestSubmit());
  for (const select of document.querySelectorAll("[data-date]")) {
    const field = select.form.querySelector("#" + select.dataset.date + "-field");
    const settle = () => { field.hidden = select.value !== "date"; };
    select.addEventListener("change", settle);
    settle();
  }

  // A form that came back: to what is wrong, rather than to the top of the page.
  document.querySelector("main [aria-invalid=true]")?.focus();

  const search = document.querySelector("[data-slash]");
  document.addEventListener("keydown", (event) => {
    if (!search || event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    search.focus();
    search.select();
  });

  globalThis.bsod = { say, copy };
})();
