// The tags that a file was trained with: bars, search, copies, and a prompt of the commonest.

import { get, h, t } from "./core.js";
import { copy } from "./files-facts.js";

const SPACE = "http://www.w3.org/2000/svg";
const MOST = 400;

/** Returns a bar of a share of the whole width; the policy of the pages allows no style of its own. */
export function bar(share) {
  const svg = document.createElementNS(SPACE, "svg");
  svg.setAttribute("viewBox", "0 0 100 10");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const box = document.createElementNS(SPACE, "rect");
  for (const [name, value] of Object.entries({ width: Math.max(0.5, 100 * share), height: 10 })) box.setAttribute(name, value);
  svg.append(box);
  return svg;
}

/** Returns a tag as a prompt says it: brackets would mean weights. */
const spoken = (tag) => tag.replaceAll("_", " ").replace(/[()[\]]/g, "\\$&");

function prompt(found, rows) {
  const name = found.name.replace(/\.safetensors$/, "");
  const many = h("input", { type: "number", min: 1, max: 100, value: 12, id: "prompt-tags" });
  const text = h("textarea", { rows: 3, "aria-label": t("files.prompt"), hidden: true });
  const again = h("button", { type: "button", class: "quiet-button", hidden: true, onclick: () => copy(text.value) }, t("files.copy"));
  const make = h("button", { type: "button", class: "quiet-button", onclick: () => {
    const words = [...found.triggers, ...rows.slice(0, Math.max(1, Number(many.value))).map(([tag]) => spoken(tag))];
    text.value = `${[...new Set(words)].join(", ")} <lora:${name}:1>`;
    text.hidden = again.hidden = false;
  } }, t("files.make_prompt"));
  return h("div", {}, h("div", { class: "row" }, h("label", {}, t("files.prompt_tags"), many), make, again), text);
}

/**
 * Shows a file's tags.
 * @param {HTMLElement} place
 * @param {object} found the file's facts
 */
export async function tags(place, found) {
  const told = await get("lora-files/tags", { file: found.file });
  if (!told.tags.length) {
    place.replaceChildren(h("p", { class: "quiet" }, t(told.told ? "files.tags_unread" : "files.no_tags")));
    return;
  }
  const most = told.tags[0][1];
  const list = h("ul", { class: "tag-bars", tabindex: "0", "aria-label": t("files.tags") });
  const count = h("p", { class: "quiet", role: "status" });
  const search = h("input", { type: "search", autocomplete: "off", maxlength: 200, oninput: () => show() });
  const row = ([tag, n]) => h("li", {}, h("button", { type: "button", title: t("files.copy"), onclick: () => copy(tag) }, bar(n / most), h("b", {}, tag)), h("span", {}, n.toLocaleString()));
  function show() {
    const wanted = search.value.toLowerCase().trim();
    const rows = told.tags.filter(([tag]) => tag.toLowerCase().includes(wanted));
    count.textContent = t("files.tags_count").replace("{n}", Math.min(rows.length, MOST)).replace("{all}", wanted ? rows.length : told.total);
    list.replaceChildren(...rows.slice(0, MOST).map(row));
  }
  place.replaceChildren(h("div", { class: "row" }, h("label", { class: "grow" }, t("files.search_tags"), search)), count, list, prompt(found, told.tags));
  show();
}
