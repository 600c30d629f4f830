// A task's form, made of what its options class says.

import { attempt, get, h, t } from "./core.js";

let count = 0;

function field(row, given) {
  const id = `field-${(count += 1)}`;
  const value = given ?? row.default;
  if (row.kind === "switch" && !row.many) {
    const box = h("input", { type: "checkbox", id, checked: value === true });
    return { row, made: h("div", { class: "field" }, h("label", { class: "switch", for: id }, box, row.name), h("small", {}, row.help)), read: () => (box.checked ? true : undefined) };
  }
  let input;
  if (row.many) input = h("textarea", { id, rows: 2 }, Array.isArray(value) ? value.join("\n") : (value ?? ""));
  else if (row.kind === "choice") input = h("select", { id }, !row.required && h("option", { value: "" }, "–"), row.choices.map((c) => h("option", { value: c, selected: c === value }, c)));
  else input = h("input", { id, type: row.kind === "whole" || row.kind === "number" ? "number" : "text", step: row.kind === "whole" ? 1 : "any", value: given ?? (row.required ? "" : (value ?? "")), required: row.required });
  const label = h("label", { for: id }, row.name, row.required ? ` (${t("tools.required")})` : "");
  const made = h("div", { class: "field" }, label, row.kind === "path" ? h("div", { class: "row" }, input, browse(input)) : input, h("small", {}, row.help));
  return { row, made, read: () => value_of(row, input.value) };
}

function value_of(row, text) {
  if (text.trim() === "") return undefined;
  const one = (word) => (row.kind === "whole" || row.kind === "number" ? Number(word) : word);
  if (row.many) return text.split("\n").map((line) => line.trim()).filter(Boolean).map(one);
  return one(text);
}

/** Returns a button that fills a path in from the workspace. */
export function browse(input) {
  return h("button", { type: "button", class: "quiet-button", onclick: () => attempt(() => choose(input)) }, t("tools.browse"));
}

async function choose(input) {
  const list = h("ul", { class: "list" });
  const title = h("h2", {});
  const box = h("dialog", {}, title, list, h("button", { onclick: () => box.close() }, t("close")));
  async function show(path) {
    const found = await get("files/list", { path });
    title.textContent = path || "/";
    const go = (name) => (path ? `${path}/${name}` : name);
    const take = (name) => h("button", { class: "quiet-button", onclick: () => { input.value = name; input.dispatchEvent(new Event("input", { bubbles: true })); box.close(); } }, "✓");
    const row = (words, where, folder) => h("li", {}, folder ? h("button", { class: "plain grow", onclick: () => attempt(() => show(where)) }, words) : h("span", { class: "grow" }, words), take(where));
    const up = path ? [h("li", {}, h("button", { class: "plain", onclick: () => attempt(() => show(path.split("/").slice(0, -1).join("/"))) }, "↑"))] : found.models.map((m) => row(`@${m}`, `@${m}`, true));
    list.replaceChildren(...up, ...found.entries.map((e) => row(e.name, go(e.name), e.kind === "folder")));
  }
  document.body.append(box);
  box.addEventListener("close", () => box.remove());
  await show("");
  box.showModal();
}

/**
 * Returns the form of a task.
 * @param found as the interface describes it
 * @param {(options: object) => Promise<void>} send
 * @param {object} given values by name, from the page's address
 */
export function taskForm(found, send, given = {}) {
  const fields = found.fields.map((row) => field(row, given[row.name]));
  const first = fields.filter((f) => f.row.required || f.row.level === "basic");
  const rest = fields.filter((f) => !first.includes(f));
  const button = h("button", {}, t("tools.start"));
  const form = h("form", {}, h("fieldset", {}, first.map((f) => f.made), rest.length ? h("details", {}, h("summary", {}, t("tools.more")), h("fieldset", {}, rest.map((f) => f.made))) : null, h("div", {}, button)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const options = Object.fromEntries(fields.map((f) => [f.row.name, f.read()]).filter(([, v]) => v !== undefined));
    button.disabled = true;
    attempt(() => send(options)).finally(() => (button.disabled = false));
  });
  return form;
}
