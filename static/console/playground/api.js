// The playground's routes. Whatever goes wrong is a Refusal, in the API's own words.
const LIVE = 3_900_000; // bytes a live session takes; what is larger goes the longer way

export class Refusal extends Error {
  constructor(status, error = {}, id = "") {
    super(typeof error.message === "string" ? error.message : "");
    this.status = status;
    this.error = error;
    this.id = error.request_id || id;
  }

  get code() {
    return this.error.code ?? "";
  }
}

const field = (page) => page.querySelector("#composer [name=csrfmiddlewaretoken]");

// Whoever has signed in again in another tab has another token: it is on the page that he would
// get now. Whether there was one.
async function renewed() {
  const now = field(new DOMParser().parseFromString(await (await got("/playground/")).text(), "text/html"));
  if (now) field(document).value = now.value;
  return Boolean(now);
}

async function got(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0);
  }
  if (response.ok) return response;
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // Not from us: a proxy in between, say. The status is all there is.
  }
  throw new Refusal(response.status, typeof said === "object" ? said : {}, response.headers.get("x-request-id") ?? "");
}

// A call of the API as the person who is signed in. `body` is what the path takes: an object or a form.
export async function run(endpoint, body, { signal, stream = false } = {}) {
  const form = body instanceof FormData;
  const sent = form ? body : JSON.stringify(body);
  const live = stream && !form && new Blob([sent]).size < LIVE;
  const send = () => got(path, { method: "POST", body: sent, headers: { "X-CSRFToken": field(document).value, ...(form ? {} : { "Content-Type": "application/json" }) }, signal });
  const path = `/playground/${live ? "live-session" : "run"}/?endpoint=${encodeURIComponent(endpoint)}`;
  try {
    return await send();
  } catch (error) {
    if (error.code !== "csrf_failed" || !(await renewed())) throw error;
    return send();
  }
}

const json = async (path) => (await got(path)).json();
export const catalog = () => json("/playground/catalog/");
export const quota = () => json("/playground/quota/");
export const films = () => json("/playground/video-status/");
export const film = (id) => json(`/playground/video-status/?id=${encodeURIComponent(id)}`);
export const filmFile = (id) => `/playground/video-status/?id=${encodeURIComponent(id)}&content=1`;

// What a call has cost, once it is closed. null: it left no entry, so that nothing was charged.
export async function receipt(id, patience = 4000) {
  const end = Date.now() + patience;
  for (let wait = 100; ; wait = Math.min(wait * 2, 800)) {
    let found = null;
    try {
      found = await json(`/playground/receipt/?id=${encodeURIComponent(id)}`);
    } catch (error) {
      if (error.status === 404) return null;
    }
    if (found && found.state !== "open") return found;
    if (Date.now() > end) return found ?? undefined;
    await new Promise((done) => setTimeout(done, wait));
  }
}
