// Pictures and zips that are dropped on the page or chosen: sent one after the other.

import { attempt, h, notice, t } from "./core.js";
import { dialog, labelled, select } from "./data_dialog.js";

async function send(file, path) {
  const query = new URLSearchParams({ path, name: file.name });
  const answer = await fetch(`/api/upload?${query}`, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file });
  const found = await answer.json().catch(() => ({}));
  return answer.ok ? found : { kept: [], refused: [found.error ?? `${file.name}: ${answer.status}`] };
}

function targets(store) {
  const inner = new Set(store.names.map((name) => name.split("/").slice(0, -1).join("/")));
  const now = store.names[store.current]?.split("/").slice(0, -1).join("/");
  return [...new Set([...(now === undefined ? [] : [now]), ...inner])].map((each) => [each ? `${store.path}/${each}` : store.path, each ? `${store.path}/${each}` : store.path]);
}

/** Opens the dialog that sends files; some may be there already. */
export function upload(store, changed, dropped = []) {
  const rows = targets(store);
  const where = select("where", rows.length ? rows : [[store.path, store.path]]);
  const files = h("input", { type: "file", multiple: true, accept: "image/*,.zip,.cbz" });
  const bar = h("progress", { max: 1, value: 0, hidden: true, "aria-label": t("data.tool.upload") });
  const told = h("ul", { class: "list", "aria-live": "polite" });
  async function go(list) {
    const all = [...list];
    let kept = 0;
    bar.hidden = false;
    for (const [n, file] of all.entries()) {
      const found = await send(file, where.value).catch((error) => ({ kept: [], refused: [`${file.name}: ${error.message}`] }));
      kept += found.kept.length;
      told.append(...found.refused.map((line) => h("li", { class: "wrong" }, line)));
      bar.value = (n + 1) / all.length;
    }
    notice(`${kept} ${t("data.upload.kept")}`);
    files.value = "";
    await changed();
  }
  files.addEventListener("change", () => attempt(() => go(files.files)));
  dialog(t("data.tool.upload"), [h("p", { class: "quiet" }, t("data.upload.lead")), h("div", { class: "row" }, labelled(t("data.upload.where"), where), labelled(t("data.upload.files"), files)), bar, told], { wide: false });
  if (dropped.length) attempt(() => go(dropped));
}

/** Takes files that are dropped on an element. */
export function droppable(box, store, changed) {
  const files = (event) => [...(event.dataTransfer?.items ?? [])].some((each) => each.kind === "file");
  box.addEventListener("dragover", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    box.classList.add("drop");
  });
  box.addEventListener("dragleave", () => box.classList.remove("drop"));
  box.addEventListener("drop", (event) => {
    box.classList.remove("drop");
    if (!files(event)) return;
    event.preventDefault();
    upload(store, changed, [...event.dataTransfer.files]);
  });
}
