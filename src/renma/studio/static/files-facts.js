// What a file is: facts of its header, training in plain words, hashes, cover, damage.

import { attempt, download, get, h, notice, picture, size, t } from "./core.js";
import { date } from "./files-list.js";

/** Copies text and says so; where the browser does not let a page, the text is told to be copied. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice(`${t("files.copied")}: ${text.length > 80 ? `${text.slice(0, 80)}…` : text}`);
  } catch {
    notice(text);
  }
}

/** Returns a list of names and what they mean; rows without a meaning are left out. */
const pairs = (rows, kind = "") => h("dl", { class: `pairs ${kind}` }, rows.filter(([, value]) => value != null && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** Returns counts as words: one kind by its name alone. */
function counted(counts) {
  const rows = Object.entries(counts);
  return rows.length === 1 ? rows[0][0] : rows.map(([name, n]) => `${name} (${n})`).join(", ");
}

const PARTS = { unet: "U-Net", text_encoder: "text encoder", text_encoder_2: "text encoder 2" };

function base({ base: { told, name, hash, guess } }) {
  const guessed = guess && !told ? `${guess} ${t("files.by_shape")}` : "";
  return [told || guessed, name, hash ? hash.slice(0, 12) : ""].filter(Boolean).join(" · ");
}

function what(found) {
  const parts = Object.entries(found.parts).map(([name, n]) => `${PARTS[name] ?? t("files.part_unknown")}: ${n} ${t("files.layers")}`).join(", ");
  return pairs([
    [t("files.algorithm"), counted(found.algorithms)],
    [t("files.ranks"), counted(found.ranks)],
    [t("files.alphas"), found.alphas["–"] === found.layers ? t("files.no_alpha") : counted(found.alphas)],
    [t("files.trained"), parts],
    [t("files.precision"), counted(found.precisions)],
    [t("files.base"), base(found)],
    [t("files.naming"), found.naming],
    [t("files.parameters"), found.parameters ? found.parameters.toLocaleString(document.documentElement.lang) : ""],
    [t("files.size"), size(found.bytes)],
    [t("files.date"), date(found.changed)],
    [t("files.run"), found.run ? h("span", {}, h("a", { href: `/run?path=${encodeURIComponent(found.run)}` }, found.run), found.step == null ? "" : ` · ${t("files.step")} ${found.step}`) : ""],
  ]);
}

function hashes(found) {
  const place = h("div", {});
  const one = (name, text) => [name, h("span", { class: "code" }, h("button", { type: "button", class: "chip", title: t("files.copy"), "aria-label": `${t("files.copy")}: ${text}`, onclick: () => copy(text) }, text))];
  place.replaceChildren(pairs([found.hashes.weights ? one(t("files.hash_told"), found.hashes.weights.slice(0, 12)) : [], found.hashes.legacy ? one(t("files.hash_legacy"), found.hashes.legacy) : []].filter((row) => row.length)));
  const count = h("button", { type: "button", class: "quiet-button small", onclick: () => attempt(async () => {
    count.disabled = true;
    try {
      const real = await get("lora-files/hashes", { file: found.file });
      place.replaceChildren(pairs([
        one("AutoV2", real.whole.slice(0, 10).toUpperCase()), one("AutoV3 (A1111)", real.weights.slice(0, 12)), one("SHA-256", real.whole),
        found.hashes.legacy ? one(t("files.hash_legacy"), found.hashes.legacy) : ["", ""]]),
      h("p", { class: real.told === false ? "bad" : "quiet" }, real.told == null ? t("files.hash_untold") : t(real.told ? "files.hash_right" : "files.hash_wrong")));
      count.remove();
    } finally {
      count.disabled = false;
    }
  }) }, t("files.hash_count"));
  return h("div", {}, place, count);
}

/** Returns what is odd about the file; programs that cannot load it are no damage. */
function trouble(found) {
  const words = (row) => [t(`files.odd.${row.name}`).replace("{n}", row.count), row.text].filter(Boolean).join(" ");
  const made = (rows, kind) => (rows.length ? h("ul", { class: `trouble ${kind}` }, rows.map((row) => h("li", {}, words(row)))) : null);
  return [made(found.trouble.filter((row) => row.name !== "programs"), ""), made(found.trouble.filter((row) => row.name === "programs"), "mild")];
}

function cover(found) {
  if (!found.cover) return null;
  const own = `/api/lora-files/cover?${new URLSearchParams({ file: found.file })}`;
  const alt = t(`files.cover.${found.cover.kind}`);
  const made = h("img", { src: found.cover.kind === "own" ? own : picture(found.cover.path, 512), alt });
  const box = h("figure", {}, made, h("figcaption", { class: "quiet" }, alt));
  made.addEventListener("error", () => { made.remove(); box.append(t("files.cover.broken")); });
  return box;
}

/**
 * Shows a file's facts.
 * @param {HTMLElement} place
 * @param {object} found as the interface tells them
 */
export function facts(place, found) {
  const image = cover(found);
  const training = found.training.map(([name, text]) => [t(`files.fact.${name}`), text]);
  const dims = h("details", {}, h("summary", {}, t("files.dims")), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("files.dims") }, h("table", { class: "dims" },
    h("thead", {}, h("tr", {}, ["block", "layers", "rank", "conv_rank", "alpha", "parameters"].map((name) => h("th", { scope: "col", class: name === "block" ? "" : "number" }, t(`files.${name}`))))),
    h("tbody", {}, found.blocks.map((row) => h("tr", {}, h("th", { scope: "row" }, row.block), [row.layers, row.ranks, row.conv, row.alphas, row.parameters.toLocaleString()].map((cell) => h("td", { class: "number" }, cell))))))));
  place.replaceChildren(...trouble(found).filter(Boolean), h("div", { class: image ? "shown" : "shown bare" }, image ?? "", h("div", {},
    h("p", { class: "title" }, found.name), h("p", { class: "quiet" }, found.file),
    found.triggers.length ? h("div", { class: "words" }, h("span", { class: "quiet" }, `${t("files.triggers")}:`), found.triggers.map((word) => h("button", { type: "button", class: "chip", title: t("files.copy"), onclick: () => copy(word) }, word))) : null,
    what(found),
    h("p", { class: "row" }, h("a", { class: "button", href: download(found.file) }, t("files.download")), found.run ? h("a", { class: "button quiet-button", href: `/compare?path=${encodeURIComponent(found.run)}` }, t("page.compare")) : null))),
  h("h3", {}, t("files.training")), training.length ? pairs(training, "two") : h("p", { class: "quiet" }, t("files.no_training")),
  h("h3", {}, t("files.hashes")), hashes(found), found.blocks.length ? dims : "");
}
