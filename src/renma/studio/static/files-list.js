// The list of files: newest first, searched by name and by any text of their metadata.

import { attempt, get, h, size, t } from "./core.js";

const at = (id) => document.getElementById(id);
const PAUSE = 250;
let waiting, asked = 0;

/** Returns the address of a file's page. */
export const page = (file) => `/files?file=${encodeURIComponent(file)}`;

/** Returns a date in the reader's way. */
export const date = (seconds) => new Date(seconds * 1000).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });

const ranks = ([low, high]) => (low == null ? "" : `${t("files.rank")} ${low === high ? low : `${low}–${high}`}`);

function kind(each) {
  if (each.kind === "broken") return h("td", { colspan: 2 }, each.error);
  if (each.kind === "other") return h("td", {}, t("files.no_lora"));
  return h("td", {}, each.algorithm, h("span", { class: "quiet" }, ranks(each.ranks)));
}

function row(each) {
  const folder = each.file.slice(0, each.file.length - each.name.length - 1);
  const told = [each.title, ...(each.triggers ?? [])].filter((text, i, all) => text && all.indexOf(text) === i).join(" · ");
  return h("tr", { class: each.kind === "broken" ? "broken" : "" },
    h("td", {}, h("a", { href: page(each.file) }, each.name), h("span", { class: "quiet" }, folder), told ? h("span", { class: "quiet" }, told) : null),
    kind(each), each.kind === "broken" ? null : h("td", {}, each.base ?? ""),
    h("td", {}, each.run ? h("a", { href: `/run?path=${encodeURIComponent(each.run)}` }, each.run) : "", each.step == null ? null : h("span", { class: "quiet" }, `${t("files.step")} ${each.step}`)),
    h("td", { class: "number" }, size(each.bytes)), h("td", {}, date(each.changed)));
}

async function show() {
  const mine = (asked += 1);
  const found = await get("lora-files", { search: at("search").value, others: at("others").checked });
  if (mine !== asked) return; // an answer that came too late
  const more = found.others ? ` · ${t("files.passed").replace("{n}", found.others)}` : "";
  at("shelf-count").textContent = found.files.length ? `${t("files.count").replace("{n}", found.files.length)}${more}` : `${t(at("search").value ? "files.none_found" : "files.none")}${more}`;
  document.querySelector("#files tbody").replaceChildren(...found.files.map(row));
  document.getElementById("files").hidden = !found.files.length;
}

/** Shows the list and keeps it as the search asks for. */
export async function shelf() {
  at("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => attempt(show), PAUSE);
  });
  at("others").addEventListener("change", () => attempt(show));
  await show();
}
