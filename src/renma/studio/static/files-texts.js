// Metadata: every entry as text, and a change of it with a preview before anything is written.

import { attempt, get, h, t } from "./core.js";
import { changes } from "./files-change.js";

const at = (id) => document.getElementById(id);
const PAUSE = 250;
let waiting, asked = 0;

/** Returns a JSON text with a line for each entry; other text as it is. */
function laid(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch { // no JSON, or nested deeper than the browser likes
    return text;
  }
}

function entry(row, file, change) {
  const text = h("div", { class: "value" }, row.text);
  const act = (word, does, more = {}) => h("button", { type: "button", class: "quiet-button", "aria-label": `${word}: ${row.name}`, onclick: () => attempt(does), ...more }, word);
  const whole = row.folded && row.key != null ? act(t("files.whole"), async () => {
    const found = await get("lora-files/entry", { file, key: row.key });
    text.replaceChildren(h("pre", { tabindex: "0" }, laid(found.text)), found.characters > found.text.length ? h("span", { class: "quiet" }, t("files.cut").replace("{n}", found.characters.toLocaleString())) : "");
    whole.remove();
  }) : null;
  const made = h("li", { "data-key": row.name }, h("b", {}, row.name), text);
  const gone = row.key != null && change ? act(t("files.remove"), () => {
    const out = change.toggle(row.key);
    made.classList.toggle("going", out);
    gone.setAttribute("aria-pressed", out);
  }, { "aria-pressed": change.leaves(row.key) }) : null;
  const edit = row.key != null && change ? act(t("files.edit"), async () => {
    const found = await get("lora-files/entry", { file, key: row.key });
    if (found.raw != null) change.set(row.key, found.raw);
    else throw new Error(t("files.not_editable"));
  }) : null;
  if (row.key != null && change?.leaves(row.key)) made.classList.add("going");
  made.append(h("div", { class: "acts" }, whole, edit, gone));
  return made;
}

/**
 * Shows the metadata of a file.
 * @param {object} found the file's facts
 */
export async function texts(found) {
  const change = changes(at("change"), found);
  async function show() {
    const mine = (asked += 1);
    const told = await get("lora-files/metadata", { file: found.file, search: at("texts-search").value });
    if (mine !== asked) return;
    at("texts-count").textContent = told.total ? t("files.texts_count").replace("{n}", told.found).replace("{all}", told.total) : t("files.no_texts");
    at("texts").replaceChildren(...told.entries.map((row) => entry(row, found.file, change)));
    at("texts").parentElement.hidden = !told.entries.length;
  }
  at("texts-search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => attempt(show), PAUSE);
  });
  await show();
}
