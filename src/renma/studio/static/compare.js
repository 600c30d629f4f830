// Comparing one run: what is asked for becomes a job, what it leaves behind is shown here.

import { asked, attempt, get, h, notice, picture, post, download, t } from "./core.js";
import { drawing } from "./compare-draw.js";
import { gridBuilder } from "./compare-grid.js";
import { score } from "./compare-score.js";
import { watchWork } from "./work.js";

const at = (id) => document.getElementById(id);
let path = asked().path ?? "", runs = [], rooms, work;

/** Returns the values of a form that were filled in, numbers as numbers. */
export function filled(form) {
  const found = {};
  for (const input of form.elements) {
    if (!input.name || input.disabled || (input.type === "radio" && !input.checked)) continue;
    if (input.type === "checkbox") { if (input.checked) found[input.name] = true; }
    else if (input.value.trim() !== "") found[input.name] = input.type === "number" ? Number(input.value) : input.value.trim();
  }
  return found;
}

/** Returns the fields that say how pictures are drawn; the run's own values stand behind them. */
function how(facts) {
  const number = (name, label, own, more) => h("label", {}, t(label), h("input", { name, type: "number", placeholder: own ?? "", ...more }));
  const { steps, scale, sampler } = facts.sample;
  return [
    h("label", { class: "wide" }, t("compare.negative"), h("input", { name: "negative", autocomplete: "off" })),
    number("seed", "compare.seed", "", { min: 0, step: 1 }),
    number("steps", "compare.steps", steps, { min: 1, max: 1000 }),
    number("cfg", "compare.cfg", scale, { min: 1, max: 1000, step: "any" }),
    h("label", {}, t("compare.sampler"), h("select", { name: "sampler" }, h("option", { value: "" }, sampler), facts.samplers.map((s) => h("option", { value: s }, s)))),
    number("width", "compare.width", facts.size, { min: 64, max: 4096, step: 8 }),
    number("height", "compare.height", facts.size, { min: 64, max: 4096, step: 8 }),
  ];
}

/** Sends a wish; the job is watched from then on. */
export async function wish(what, body) {
  const job = await post(`compare/${what}`, { path, ...body });
  notice(t("tools.started"));
  await work.look();
  return job;
}

/** Returns a picture of the run that opens in full. */
export const shown = (name, alt, side = 512) => h("a", { href: picture(`${path}/${name}`), target: "_blank", rel: "noopener" }, h("img", { src: picture(`${path}/${name}`, side), alt, loading: "lazy" }));

/** Returns a link that saves a file of the run. */
export const saved = (name) => h("a", { href: download(`${path}/${name}`) }, `${t("run.download")}: ${name.split("/").at(-1)}`);

function grids({ grids: found }) {
  const name = (each) => each.path.split("/").at(-1);
  at("grids").replaceChildren(...found.map((each) => h("figure", {}, each.kind === "png" ? shown(each.path, `${t("compare.grid")} ${name(each)}`) : null, h("figcaption", {}, saved(each.path)))));
}

function blocks(facts) {
  const lines = work.jobs.find((job) => job.task === "blocks" && job.state === "done")?.lines;
  at("blocks-found").replaceChildren(...[
    facts.blocks.includes("blocks.png") ? shown("blocks.png", t("compare.blocks")) : null,
    h("p", {}, facts.blocks.filter((name) => name.endsWith(".html")).map(saved)),
    lines ? h("pre", { tabindex: "0" }, lines.filter((line) => !line.startsWith("sampling ")).join("\n")) : null].filter(Boolean));
}

/** Reads what the run's folder holds now. */
async function show() {
  const facts = await get("compare/facts", { path });
  score(at("score"), facts.score);
  grids(facts);
  blocks(facts);
  if (!rooms) {
    for (const place of document.querySelectorAll("[data-how]")) place.replaceChildren(...how(facts));
    rooms = [gridBuilder(facts, runs), drawing(facts)];
  }
  for (const room of rooms) room.show(facts);
}

async function begin() {
  runs = (await get("runs")).map((run) => run.path);
  path ||= runs[0] ?? "";
  at("run").replaceChildren(...runs.map((run) => h("option", { value: run, selected: run === path }, run)));
  at("nothing").hidden = runs.length > 0;
  at("rooms").hidden = !path;
  at("to-run").hidden = !path;
  if (!path) return;
  at("to-run").href = `/run?path=${encodeURIComponent(path)}`;
  work = watchWork(path, { list: at("work"), box: at("work-box"), ended: show });
  await work.look();
  await show();
}

at("run").addEventListener("change", (event) => location.assign(`/compare?path=${encodeURIComponent(event.target.value)}`));
at("judge").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => wish("judge", filled(event.target)));
});
at("blocks").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(() => wish("blocks", filled(event.target)));
});
attempt(begin);
