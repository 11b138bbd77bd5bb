// Passkeys: asks the browser for one, or to make one, and sends what it says with the form.
// A form says what it wants (data-passkey: get or create); its options are on the page, or asked
// for at its own address, so that the page before the first press costs nothing.
"use strict";

(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const listed = (list) => (list ?? []).map((each) => ({ ...each, id: bytes(each.id) }));

  function understood(options, create) {
    const found = { ...options, challenge: bytes(options.challenge) };
    if (!create) return { ...found, allowCredentials: listed(options.allowCredentials) };
    return { ...found, user: { ...options.user, id: bytes(options.user.id) }, excludeCredentials: listed(options.excludeCredentials) };
  }

  function said(credential) {
    const { response } = credential;
    const parts = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (response[name]) parts[name] = text(response[name]);
    }
    if (response.getTransports) parts.transports = response.getTransports();
    return {
      id: credential.id, rawId: text(credential.rawId), type: credential.type, response: parts,
      authenticatorAttachment: credential.authenticatorAttachment ?? undefined,
      clientExtensionResults: credential.getClientExtensionResults(),
    };
  }

  async function options(form) {
    const here = document.getElementById("passkey-options");
    if (here) return JSON.parse(here.textContent);
    const answer = await fetch(form.action, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const create = form.dataset.passkey === "create";
    const button = form.querySelector("[data-passkey-start]");
    const words = form.querySelector("[data-passkey-said]");
    // Enter in the name is a press of the button: the form alone has no passkey to send.
    form.addEventListener("submit", (event) => { event.preventDefault(); button?.click(); });
    button?.addEventListener("click", async () => {
      words.hidden = true;
      button.disabled = true;
      try {
        if (!navigator.credentials || !window.PublicKeyCredential) throw new TypeError("none");
        const asked = await options(form);
        const publicKey = understood((asked.creation_options ?? asked.request_options).publicKey, create);
        const credential = await navigator.credentials[create ? "create" : "get"]({ publicKey });
        form.elements.credential.value = JSON.stringify(said(credential));
        form.submit();
      } catch (error) {
        const none = error instanceof TypeError && error.message === "none";
        const there = create && error.name === "InvalidStateError";
        words.textContent = words.dataset[none ? "none" : there ? "there" : "failed"];
        words.hidden = false;
        button.disabled = false;
      }
    });
  }
})();
