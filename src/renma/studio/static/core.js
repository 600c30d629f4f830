// What every page uses: calls, elements, words, notices.

const told = JSON.parse(document.getElementById("words").textContent);

/** Returns a text of the page in its language. */
export const t = (key) => told[key] ?? key;

/** Returns an element; text and attributes are set, never parsed. */
export function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((c) => c != null && c !== false).map((c) => (c instanceof Node ? c : String(c))));
  return made;
}

async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(t("error.lost"));
  }
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(data.error ?? `${answer.status}`);
  return data;
}

const query = (values) => new URLSearchParams(Object.entries(values).filter(([, v]) => v != null)).toString();

/** Reads from the interface. */
export const get = (path, values = {}) => call(`/api/${path}?${query(values)}`);

/** Changes something through the interface. */
export const post = (path, body = {}) =>
  call(`/api/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** Returns the address of a picture or thumbnail of the workspace. */
export const picture = (path, side) => `/api/files/${side ? "thumb" : "picture"}?${query({ path, side })}`;

/** Returns the address to download a file from. */
export const download = (path) => `/api/files/download?${query({ path })}`;

/** Tells something at the bottom of the page; mistakes stay until they are closed. */
export function notice(text, wrong = false) {
  const close = h("button", { class: "plain", "aria-label": t("close"), onclick: () => box.remove() }, "×");
  const box = h("div", { class: wrong ? "notice wrong" : "notice" }, h("span", {}, text), close);
  document.getElementById("notices").append(box);
  if (!wrong) setTimeout(() => box.remove(), 5000);
}

/** Does something and tells what went wrong. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    notice(error.message, true);
    return undefined;
  }
}

/** Does something again and again while the page is seen. */
export const every = (milliseconds, action) => setInterval(() => document.hidden || action(), milliseconds);

/** Returns seconds as m:ss or h:mm:ss. */
export function duration(seconds) {
  if (seconds == null) return "";
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Returns bytes for people. */
export const size = (bytes) => (bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${Math.ceil(bytes / 1024)} KiB`);

/** Returns a badge with a state's word. */
export const badge = (state) => h("span", { class: `state ${state}` }, t(`state.${state}`));

/** Returns the values of the page's own address. */
export const asked = () => Object.fromEntries(new URLSearchParams(location.search));

document.getElementById("language").addEventListener("change", (event) => {
  document.cookie = `language=${event.target.value};path=/;max-age=31536000;samesite=strict`;
  location.reload();
});
