// How strong each block acts: bars of the blocks, and a map of blocks and kinds of layers.

import { attempt, badge, get, h, post, t } from "./core.js";
import { bar } from "./files-tags.js";

const PAUSE = 1200;
/** Shades of the map; they go by the root, so that one strong part does not flatten the rest. */
const LEVELS = 8;
const number = (x) => (x == null ? "–" : x === 0 ? "0" : x.toPrecision(3));

function heat({ kinds, blocks: rows }) {
  const most = Math.max(...rows.flatMap((row) => row.cells.map((cell) => cell ?? 0)), 1e-30);
  const cell = (value) => h("td", { class: value == null ? "" : `h${Math.min(LEVELS, 1 + Math.floor(LEVELS * Math.sqrt(value / most)))}` }, value == null ? "" : number(value));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("files.heat") }, h("table", { class: "heat" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("files.block")), kinds.map((kind) => h("th", { scope: "col" }, kind)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.block), row.cells.map(cell))))));
}

function measured(found) {
  const most = Math.max(...found.blocks.map((row) => row.norm ?? 0), 1e-30);
  const bars = h("ul", { class: "norms", "aria-label": t("files.blocks") }, found.blocks.map((row) => h("li", {}, h("b", {}, row.block), row.norm == null ? h("span", { class: "quiet" }, t("files.no_norm")) : bar(row.norm / most), h("span", { class: "number" }, number(row.norm)))));
  const bad = found.not_finite.count ? h("p", { class: "trouble", role: "alert" }, t("files.not_finite").replace("{n}", found.not_finite.count), " ", found.not_finite.first) : h("p", { class: "quiet" }, t("files.finite"));
  return [bad, found.notes.length ? h("ul", {}, found.notes.map((text) => h("li", {}, text))) : "", bars, h("h3", {}, t("files.heat")), h("p", { class: "quiet" }, t("files.heat_help")), heat(found)];
}

/**
 * Shows how strong the blocks are, once that was measured.
 * @param {HTMLElement} place
 * @param {object} facts of the file
 */
export async function blocks(place, facts) {
  const start = h("button", { type: "button", class: "quiet-button", onclick: () => attempt(async () => {
    start.disabled = true;
    try {
      await post("lora-files/measure", { file: facts.file });
      await look();
    } finally {
      start.disabled = false;
    }
  }) }, t("files.measure"));

  async function look() {
    const found = await get("lora-files/strength", { file: facts.file });
    const help = h("p", { class: "quiet" }, t("files.measure_help"));
    if (found.state === "done") place.replaceChildren(...measured(found));
    else if (found.state === "none") place.replaceChildren(help, start);
    else if (found.state === "failed") place.replaceChildren(h("pre", { tabindex: "0" }, found.lines.join("\n")), start);
    else {
      place.replaceChildren(h("p", { role: "status" }, badge(found.state), ` ${t("files.measuring")}`));
      setTimeout(() => attempt(look), PAUSE);
    }
  }
  await look();
}
