// Settings of sd-scripts: pasted or chosen, shown option by option, then taken over.

import { attempt, h, post, t } from "./core.js";

const at = (id) => document.getElementById(id);
const FIRST = ["not supported", "without effect"];

/**
 * Prepares the dialog.
 * @param {() => string} project
 * @param {(values: object) => void} take
 */
export function importing(project, take) {
  const box = at("kohya");
  let found;
  at("import").addEventListener("click", () => box.showModal());
  at("kohya-close").addEventListener("click", () => box.close());
  at("pasted-file").addEventListener("change", (event) => attempt(async () => {
    at("pasted").value = await event.target.files[0].text();
    await read();
  }));
  async function read() {
    at("take").disabled = true;
    at("read-result").replaceChildren();
    found = await post("settings/import", { project: project(), text: at("pasted").value });
    at("read-result").replaceChildren(...told(found));
    at("take").disabled = false;
  }
  at("read").addEventListener("click", () => attempt(read).then(() => !at("take").disabled && at("take").focus()));
  at("take").addEventListener("click", () => {
    take(found.values);
    box.close();
  });
}

function told({ rows, warnings, refused }) {
  const rank = (row) => (FIRST.includes(row.kind) ? FIRST.indexOf(row.kind) : 9);
  const sorted = rows.toSorted((a, b) => rank(a) - rank(b));
  const line = (row) => h("tr", { class: row.kind === "not supported" ? "wrong" : "" }, h("th", { scope: "row" }, h("code", {}, row.option.startsWith("(") ? row.option : `--${row.option}`)), h("td", {}, row.value), h("td", {}, row.fate));
  return [
    h("p", {}, refused.length ? h("b", { class: "bad" }, `${refused.length} ${t("new.not_translated")}`) : t("new.all_translated")),
    warnings.length ? h("ul", { class: "said" }, warnings.map((text) => h("li", { class: "warning" }, text))) : null,
    h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": t("new.import") }, h("table", {}, h("tbody", {}, sorted.map(line)))),
  ].filter(Boolean);
}
