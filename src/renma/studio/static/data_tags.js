// The tags of the folder with counts, and the filter that is made of them.

import { h, t } from "./core.js";
import { PLACES } from "./data_store.js";

const MOST = 250;
const SIGNS = { all: "", any: "± ", none: "− " };
const element = (id) => document.getElementById(id);

/**
 * Connects the panel at the side with a store.
 * @param {import("./data_store.js").Store} store
 * @param {(action: () => Promise<void>) => void} attempt tells what went wrong elsewhere
 */
export function tagPanel(store) {
  const list = element("tags");
  const draw = () => drawTags(store, list);
  for (const what of ["shown", "chosen"]) store.addEventListener(what, later(draw));
  store.addEventListener("shown", () => drawChips(store));
  element("find-tag").addEventListener("input", later(draw));
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const mode = event.altKey ? "none" : event.shiftKey ? "any" : document.querySelector("input[name=mode]:checked").value;
    toggle(store, button.dataset.tag, mode);
  });
  const sifting = (name) => later((event) => {
    store.filter[name] = event.target.value;
    store.sift();
  });
  element("names").addEventListener("input", sifting("text"));
  element("only").addEventListener("change", sifting("only"));
  element("order").addEventListener("change", sifting("order"));
  element("where").addEventListener("input", later((event) => condition(store, event.target.value), 250));
}

/** Returns a function that is done once after some calls. */
export function later(action, pause = 30) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), pause);
  };
}

async function condition(store, text) {
  const [told, box] = [element("where-wrong"), element("where")];
  store.filter.where = text;
  let wrong = "";
  try {
    wrong = await store.ask();
  } catch (error) {
    wrong = error.message;
  }
  told.textContent = wrong;
  box.setAttribute("aria-invalid", wrong ? "true" : "false");
}

function toggle(store, tag, mode) {
  const was = store.filter[mode].has(tag);
  for (const kind of PLACES) store.filter[kind].delete(tag);
  if (!was) store.filter[mode].add(tag);
  store.sift();
}

function modeOf(store, tag) {
  return PLACES.find((kind) => store.filter[kind].has(tag));
}

function drawTags(store, list) {
  const counts = store.counts();
  const wanted = element("find-tag").value.trim().toLowerCase();
  const used = store.count ? counts.chosen : counts.shown;
  const order = store.tags.map((_, n) => n).filter((n) => !wanted || store.tags[n].toLowerCase().includes(wanted));
  order.sort((a, b) => used[b] - used[a] || counts.whole[b] - counts.whole[a]);
  list.replaceChildren(...order.slice(0, MOST).map((n) => {
    const mode = modeOf(store, store.tags[n]);
    const told = `${store.tags[n]}, ${used[n]} ${t("data.of")} ${counts.whole[n]}${mode ? `, ${t(`data.mode.${mode}`)}` : ""}`;
    return h("li", {}, h("button", { type: "button", "data-tag": store.tags[n], "data-mode": mode, "aria-label": told, "aria-pressed": mode ? "true" : "false" },
      h("span", {}, (mode ? SIGNS[mode] : "") + store.tags[n]), h("span", {}, `${used[n]} / ${counts.whole[n]}`)));
  }));
  const of = store.count ? t("data.counts_chosen") : t("data.counts_shown");
  element("tag-facts").textContent = `${order.length} ${t("data.tags_of")}; ${of}${order.length > MOST ? `; ${t("data.first")} ${MOST}` : ""}`;
}

function drawChips(store) {
  const made = PLACES.flatMap((kind) => [...store.filter[kind]].map((tag) =>
    h("li", { class: kind }, SIGNS[kind] + tag, h("button", { class: "plain", "aria-label": `${t("data.take_off")} ${tag}`, onclick: () => toggle(store, tag, kind) }, "×"))));
  element("chips").replaceChildren(...made);
}
