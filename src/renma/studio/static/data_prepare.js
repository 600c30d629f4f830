// The steps of `renma prepare` on the folder: each makes a new folder beside it, as a job.

import { attempt, get, h, post, t } from "./core.js";
import { dialog } from "./data_dialog.js";
import { watch } from "./data_jobs.js";
import { taskForm } from "./form.js";

const STEPS = { face: "face", background: "background", erase: "erase", crop: "crop", focal: "focal", resize: "resize", augment: "augment" };

/** Starts a step and shows it; its new folder can be opened when it is done. */
export async function start(place, name, options) {
  const made = await post("jobs", { task: `prepare ${name}`, options });
  if (!(await watch(place, made))) return;
  place.append(h("p", {}, h("a", { class: "button", href: `/data?path=${encodeURIComponent(options.out)}` }, `${t("data.prepare.see")} ${options.out}`)));
}

/** Opens the dialog of the steps. */
export function prepare(store, first = "face", given = {}) {
  const [place, job] = [h("div", {}), h("div", { "aria-live": "polite" })];
  const buttons = Object.keys(STEPS).map((name) => h("button", { type: "button", class: "quiet-button", "aria-pressed": "false", onclick: () => attempt(() => show(name)) }, t(`data.prepare.${name}`)));
  async function show(name, more = {}) {
    for (const [n, each] of Object.keys(STEPS).entries()) buttons[n].setAttribute("aria-pressed", each === name ? "true" : "false");
    const found = await get("tasks/form", { name: `prepare ${name}` });
    place.replaceChildren(h("p", {}, found.summary), taskForm(found, (options) => start(job, name, options), { folder: store.path, out: `${store.path}-${name}`, ...more }));
  }
  dialog(t("data.tool.prepare"), [h("p", { class: "quiet" }, t("data.prepare.lead")), h("div", { class: "tabs" }, buttons), job, place]);
  attempt(() => show(first, given));
}
