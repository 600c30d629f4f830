// What lint finds: warnings on the grid, and a list whose rows select their pictures.

import { attempt, get, h, picture, post, t } from "./core.js";
import { dialog, labelled } from "./data_dialog.js";
import { watch } from "./data_jobs.js";

const THUMBS = 12;

/** Reads what the last lint of the folder found, and marks the pictures. */
export async function marked(store) {
  const found = await get("datasets/lint", { path: store.path });
  store.lint = new Map();
  for (const check of found.checks) {
    for (const row of check.rows) store.lint.set(row.picture, [...(store.lint.get(row.picture) ?? []), check.code]);
  }
  store.tell("odd");
  return found;
}

function row(store, check, close) {
  const names = [...new Set(check.rows.map((each) => each.picture))];
  const places = names.map((name) => store.place.get(name)).filter((i) => i !== undefined);
  const choose = h("button", { type: "button", class: "quiet-button", onclick: () => {
    store.chooseOnly(places);
    close();
  } }, `${t("data.lint.select")} (${names.length})`);
  const thumbs = check.rows.slice(0, THUMBS).map((each) => h("img", { src: picture(`${store.path}/${each.picture}`, 96), alt: each.picture, title: `${each.picture}: ${each.text}`, loading: "lazy" }));
  return h("li", {}, h("b", {}, check.code), h("span", {}, check.title, h("br"), h("span", { class: "quiet" }, check.remedy)), choose, h("div", { class: "thumbs" }, thumbs));
}

/** Opens the list of findings. */
export function lint(store) {
  const resolution = h("input", { name: "resolution", type: "number", min: 64, max: 8192, step: 64, value: 512 });
  const start = h("button", { type: "button" }, t("data.lint.start"));
  const [job, list] = [h("div", { "aria-live": "polite" }), h("ul", { class: "list findings" })];
  const { box } = dialog(t("data.tool.lint"), [h("p", { class: "quiet" }, t("data.lint.lead")), h("div", { class: "row" }, labelled(t("data.lint.resolution"), resolution), start), job, list]);
  async function show() {
    const found = await marked(store);
    const none = h("li", { class: "quiet" }, t(found.job ? "data.lint.nothing" : "data.lint.never"));
    list.replaceChildren(...(found.checks.length ? found.checks.map((check) => row(store, check, () => box.close())) : [none]));
  }
  start.addEventListener("click", () => attempt(async () => {
    start.disabled = true;
    try {
      const made = await post("datasets/lint", { ...store.folder(), resolution: Number(resolution.value) });
      if (await watch(job, made, false)) await show();
    } finally {
      start.disabled = false;
    }
  }));
  attempt(show);
}
