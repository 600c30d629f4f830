// A change of metadata that is being put together: what it would do, doing it, taking it back.

import { attempt, h, notice, post, t } from "./core.js";
import { date, page } from "./files-list.js";

/**
 * Makes the form of a change.
 * @param {HTMLFormElement} form
 * @param {object} found the file's facts
 * @returns {{toggle: (key: string) => boolean, leaves: (key: string) => boolean, set: (key: string, text: string) => void}}
 */
export function changes(form, found) {
  const leaving = new Set();
  const rows = h("div", { class: "pending" });
  const level = h("select", {}, ["", "minimal", "none"].map((name) => h("option", { value: name }, t(`files.scrub_${name || "full"}`))));
  const help = h("p", { class: "quiet", role: "status" });
  const copied = h("input", { type: "checkbox", checked: !found.writable, disabled: !found.writable });
  const out = h("input", { value: copy_of(found), maxlength: 1000, autocomplete: "off" });
  const differences = h("div", { "aria-live": "polite" });
  const write = h("button", { disabled: true }, t("files.write"));

  function row(key, text, fixed) {
    const name = h("input", { value: key, readonly: fixed, "aria-label": t("files.entry_name"), maxlength: 300, autocomplete: "off" });
    const value = h("textarea", { rows: Math.min(8, 1 + Math.floor(text.length / 60)), "aria-label": `${t("files.entry_value")} ${key}` }, text);
    const made = h("div", { "data-set": "" }, name, value, h("button", { type: "button", class: "quiet-button", "aria-label": `${t("files.drop")}: ${key}`, onclick: () => { made.remove(); stale(); } }, "×"));
    rows.append(made);
    stale();
    (fixed ? value : name).focus();
  }

  const wish = () => ({
    file: found.file, seen: found.version, scrub: level.value || null, remove: [...leaving], out: copied.checked ? out.value.trim() : "",
    set: Object.fromEntries([...rows.children].map((each) => [each.querySelector("input").value, each.querySelector("textarea").value])),
  });

  function stale() {
    write.disabled = true;
    differences.replaceChildren();
    help.textContent = level.value ? t(`files.scrub_${level.value}_help`) : "";
    where.textContent = t(copied.checked ? "files.to_copy" : "files.in_place").replace("{file}", found.file);
    out.parentElement.hidden = !copied.checked;
  }

  async function look() {
    const told = await post("lora-files/preview", wish());
    const line = (each) => h("li", {}, h("b", {}, each.key), ` ${t(`files.${each.kind}`)}`, each.before == null ? null : h("del", {}, each.before), each.after == null ? null : h("ins", {}, each.after));
    const nothing = !told.differences.length && !copied.checked;
    differences.replaceChildren(h("p", {}, t("files.will_change").replace("{n}", told.differences.length).replace("{before}", told.before).replace("{after}", told.after)),
      h("ul", { class: "differences", tabindex: "0" }, told.differences.map(line)),
      level.value ? h("p", { class: "quiet" }, `${t("files.remains")}: ${told.kept.join(", ") || "–"}`) : "");
    write.disabled = nothing;
  }

  async function send() {
    const done = await post("lora-files/edit", wish());
    notice(t("files.written").replace("{file}", done.file));
    location.assign(`${page(done.file)}#texts-part`);
    if (done.file === found.file) location.reload();
  }

  const where = h("p", { class: "quiet" });
  const preview = h("button", { type: "button", class: "quiet-button", onclick: () => attempt(look) }, t("files.preview"));
  form.replaceChildren(h("h3", {}, t("files.change")), ...[undoing(found)].filter(Boolean), rows, h("fieldset", {},
    h("div", { class: "row" }, h("button", { type: "button", class: "quiet-button", onclick: () => row("", "", false) }, t("files.add")), h("label", {}, t("files.scrub"), level)), help,
    h("label", { class: "switch" }, copied, t("files.as_copy")), h("label", {}, t("files.copy_name"), out), where,
    h("div", { class: "row" }, preview, write)), differences);
  form.addEventListener("input", stale);
  form.addEventListener("submit", (event) => { event.preventDefault(); attempt(send); });
  stale();
  return {
    toggle: (key) => { leaving.has(key) ? leaving.delete(key) : leaving.add(key); stale(); return leaving.has(key); },
    leaves: (key) => leaving.has(key),
    set: (key, text) => row(key, text, true),
  };
}

function copy_of({ file, name }) {
  const stem = name.replace(/\.safetensors$/i, "");
  const folder = file.startsWith("@") ? "loras/" : file.slice(0, file.length - name.length);
  return `${folder}${stem}-edited.safetensors`;
}

/** Returns the way back to what the file said before. */
function undoing(found) {
  if (!found.undo) return null;
  const text = t("files.undo_help").replace("{date}", date(found.undo.time)).replace("{n}", found.undo.entries);
  return h("div", { class: "row" }, h("button", { type: "button", class: "quiet-button", onclick: () => attempt(async () => {
    await post("lora-files/undo", { file: found.file });
    location.reload();
  }) }, t("files.undo")), h("span", { class: "quiet grow" }, text));
}
