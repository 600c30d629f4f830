// The page of one folder of pictures: opens it and connects grid, panel and tools.

import { asked, attempt, get, h, notice, post, size, t } from "./core.js";
import { batch } from "./data_batch.js";
import { editor } from "./data_editor.js";
import { Grid } from "./data_grid.js";
import { lint, marked } from "./data_lint.js";
import { maruzen } from "./data_maruzen.js";
import { prepare } from "./data_prepare.js";
import { Store } from "./data_store.js";
import { tagger } from "./data_tagger.js";
import { tagPanel } from "./data_tags.js";
import { droppable, upload } from "./data_upload.js";

const element = (id) => document.getElementById(id);
const store = new Store();
const grid = new Grid(element("grid"), store, (place) => editor(store, place, reload));
tagPanel(store);
droppable(element("grid"), store, reload);

async function reload() {
  await attempt(() => store.load());
}

async function turn(what) {
  const found = await post(`datasets/${what}`, store.folder());
  notice(`${found.count} ${t(`data.done.${what}`)}`);
  await store.load();
}

const tools = [
  ["edit", () => batch(store, reload)],
  ["one", () => store.shown.length && editor(store, store.current >= 0 ? store.current : store.shown[0], reload)],
  ["tag", () => tagger(store, reload)],
  ["maruzen", () => maruzen(store, reload)],
  ["lint", () => lint(store)],
  ["prepare", () => prepare(store)],
  ["upload", () => upload(store, reload)],
];
const buttons = Object.fromEntries(tools.map(([name, action], n) => [name, h("button", { type: "button", class: n ? "quiet-button" : null, onclick: action }, t(`data.tool.${name}`))]));
const turns = Object.fromEntries(["undo", "redo"].map((what) => [what, h("button", { type: "button", class: "quiet-button", onclick: () => attempt(() => turn(what)) }, t(`data.tool.${what}`))]));
const choosing = [["every", () => store.choose(store.shown)], ["nothing", () => store.chooseOnly([])], ["invert", () => store.chooseOnly([...store.shown].filter((i) => !store.chosen[i]))]]
  .map(([name, action]) => h("button", { type: "button", class: "quiet-button", onclick: action }, t(`data.tool.${name}`)));
const training = h("a", { class: "button quiet-button", hidden: true }, t("page.new"));
element("tools").append(...Object.values(buttons), h("span", { class: "gap" }), ...Object.values(turns), training);

element("choosing").append(...choosing);

function status() {
  const bytes = store.bytes.reduce((sum, each) => sum + each, 0);
  element("folder-name").textContent = store.path || t("page.data");
  element("folder-facts").textContent = `${store.names.length} ${t("data.pictures_of")}, ${size(bytes)}`;
  element("status").textContent = `${store.count} ${t("data.chosen")}, ${store.shown.length} ${t("data.of")} ${store.names.length} ${t("data.shown")}`;
  for (const what of ["undo", "redo"]) {
    const row = store[what];
    turns[what].disabled = !row;
    turns[what].title = row ? `${row.verb}: ${row.files} (${row.time})` : "";
  }
}
for (const what of ["loaded", "shown", "chosen"]) store.addEventListener(what, status);
store.addEventListener("loaded", () => {
  for (const line of store.notes) notice(line);
  training.hidden = !store.project;
  training.href = `/new?path=${encodeURIComponent(store.project ?? "")}`;
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, dialog");
  if (typing || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  const what = event.shiftKey ? "redo" : "undo";
  if (store[what]) attempt(() => turn(what));
});
element("several").addEventListener("change", (event) => (grid.several = event.target.checked));
element("size").addEventListener("change", (event) => grid.resize(Number(event.target.value)));
element("open").addEventListener("submit", (event) => {
  event.preventDefault();
  location.search = new URLSearchParams({ path: element("path").value, extension: element("ending").value }).toString();
});
if (matchMedia("(max-width:760px)").matches) element("panel").open = false;

async function folders() {
  const found = await get("datasets/folders");
  element("folders").append(...found.map((row) => h("option", { value: row.path })));
  return found;
}

async function begin() {
  const { path, extension = ".txt" } = asked();
  element("ending").value = extension;
  if (path === undefined) {
    element("choose").hidden = false;
    const found = await folders();
    const rows = found.map((row) => h("li", {}, h("a", { class: "grow", href: `/data?path=${encodeURIComponent(row.path)}` }, row.path || "/"), h("span", { class: "quiet" }, `${row.pictures} ${t("data.pictures_of")}`)));
    element("found").replaceChildren(...(rows.length ? rows : [h("li", { class: "quiet" }, t("data.no_folders"))]));
    return;
  }
  element("path").value = path;
  element("room").hidden = false;
  await store.load(path, extension);
  element("path").value = store.path;
  attempt(folders);
  attempt(() => marked(store));
}

attempt(begin);
