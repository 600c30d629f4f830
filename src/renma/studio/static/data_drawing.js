// The tools of the editor: frame, training mask, hole. What is drawn is kept beside the folder.

import { attempt, h, notice, picture, post, t } from "./core.js";
import { Layer, numbers } from "./data_draw.js";
import { prepare } from "./data_prepare.js";

const MODES = ["", "crop", "masks", "erase"];

function button(words, action, quiet = true) {
  return h("button", { type: "button", class: quiet ? "quiet-button" : null, onclick: action }, words);
}

function brushes(layer) {
  const width = h("input", { type: "range", min: 2, max: 300, value: layer.brush, "aria-label": t("data.draw.brush") });
  width.addEventListener("input", () => (layer.brush = Number(width.value)));
  const rubber = h("input", { type: "checkbox" });
  rubber.addEventListener("change", () => (layer.rubber = rubber.checked));
  const fills = ["all", "none", "invert", "frame"].map((what) => button(t(`data.draw.fill_${what}`), () => layer.fill(what)));
  return h("div", {}, h("label", {}, t("data.draw.brush"), width), h("label", { class: "switch" }, rubber, t("data.draw.rubber")), h("div", { class: "tabs" }, fills));
}

/**
 * Returns the tools for what is drawn on a picture.
 * @param {import("./data_store.js").Store} store
 */
export function drawing(store, stage, image) {
  const layer = new Layer(stage, image);
  const fields = numbers(layer);
  const place = h("div", {});
  let [name, found] = ["", {}];
  const tabs = MODES.map((mode) => button(t(`data.draw.${mode || "look"}`), () => attempt(() => turn(mode))));

  async function save() {
    if (!layer.touched || !layer.mode || !name) return;
    layer.touched = false;
    const where = { ...store.folder(), name };
    if (layer.mode === "crop") await post("datasets/marks/frame", { ...where, box: layer.frame });
    else found[layer.mode] = (await post("datasets/marks/mask", { ...where, kind: layer.mode, data: layer.png() })).mask;
    if (layer.mode === "crop") found.frame = layer.frame;
    notice(t("data.draw.kept"));
  }

  async function forget() {
    const where = { ...store.folder(), name };
    if (layer.mode === "crop") await post("datasets/marks/frame", { ...where, box: null });
    else await post("datasets/marks/mask", { ...where, kind: layer.mode, data: null });
    found = { ...found, [layer.mode === "crop" ? "frame" : layer.mode]: null };
    await turn(layer.mode, false);
  }

  const whole = async (action) => {
    await save();
    action();
  };
  const actions = {
    crop: () => [button(t("data.draw.cut"), () => attempt(() => whole(() => prepare(store, "crop", { boxes: `${store.path}-frames.csv`, missing: "copy" })))), button(t("data.draw.face"), () => prepare(store, "face", { missing: "copy" }))],
    masks: () => [button(t("data.draw.white"), () => attempt(async () => {
      await save();
      notice(`${(await post("datasets/marks/fill", store.folder())).made} ${t("data.draw.made")}`);
    })), button(t("data.draw.background"), () => prepare(store, "background"))],
    erase: () => [button(t("data.draw.erase_now"), () => attempt(() => whole(() => prepare(store, "erase", { masks: `${store.path}-erase` }))))],
  };

  async function turn(mode, saving = true) {
    if (saving) await save();
    layer.mode = mode;
    for (const [n, each] of MODES.entries()) tabs[n].setAttribute("aria-pressed", each === mode ? "true" : "false");
    layer.begin(found.width ?? 1, found.height ?? 1, found.frame ?? null);
    fields.read();
    const address = found[mode] ? `${picture(found[mode])}&at=${Date.now()}` : "";
    if ((mode === "masks" || mode === "erase") && address) await layer.take(address);
    const keep = button(t("data.draw.keep"), () => attempt(save), false);
    place.replaceChildren(...(mode ? [h("p", { class: "quiet" }, t(`data.draw.${mode}_lead`)), fields.box, mode === "crop" ? "" : brushes(layer), h("div", { class: "tabs" }, keep, button(t("data.draw.forget"), () => attempt(forget)), ...actions[mode]())] : []));
  }

  async function show(next, marks) {
    [name, found] = [next, marks];
    await turn(layer.mode, false);
  }
  return { box: h("div", {}, h("div", { class: "tabs", role: "group", "aria-label": t("data.draw") }, tabs), place), show, save };
}
