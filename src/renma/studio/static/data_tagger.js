// The tagger: a job looks at all pictures once; then thresholds are tried on the kept scores.

import { attempt, get, h, notice, post, t } from "./core.js";
import { dialog, labelled, select } from "./data_dialog.js";
import { watch } from "./data_jobs.js";
import { browse } from "./form.js";

const STEPS = 100;
const MOST = 120;

/** Returns, for every row, how many pictures reach each threshold. */
export function reached(row) {
  const counts = new Uint32Array(STEPS + 2);
  for (const [step, count] of row.bins) counts[step] += count;
  for (let step = STEPS; step >= 0; step -= 1) counts[step] += counts[step + 1];
  return counts;
}

function slider(words, value) {
  const range = h("input", { type: "range", min: 1, max: STEPS, value: Math.round(value * STEPS), "aria-label": words });
  const told = h("output", {}, value.toFixed(2));
  range.addEventListener("input", () => (told.textContent = (range.value / STEPS).toFixed(2)));
  return { box: h("div", { class: "slider" }, h("span", {}, words), range, told), range };
}

function drawn(place, found, general, character) {
  const step = (row) => (row.category === "character" ? character : general);
  const rows = found.rows.map((row) => ({ ...row, count: row.reached[step(row)] })).filter((row) => row.count);
  rows.sort((a, b) => b.count - a.count || a.tag.localeCompare(b.tag));
  const whole = rows.reduce((sum, row) => sum + row.count, 0);
  const per = found.known ? (whole / found.known).toFixed(1) : "0";
  place.facts.textContent = `${rows.length} ${t("data.tags_of")}, ${per} ${t("data.tagger.each")}; ${found.known} ${t("data.of")} ${found.total} ${t("data.tagger.seen")}`;
  place.list.replaceChildren(...rows.slice(0, MOST).map((row) => h("li", {}, h("span", {}, row.tag.replaceAll("_", " ")), h("b", {}, row.count), h("meter", { max: found.known, value: row.count, "aria-label": row.tag }))));
}

function sample(place, found, general, character) {
  place.replaceChildren(...found.map((row) => {
    const passes = row.score >= (row.category === "character" ? character : general) / STEPS;
    return h(passes ? "ins" : "span", { class: passes ? "" : "quiet" }, `${row.tag.replaceAll("_", " ")} ${row.score.toFixed(2)} `);
  }));
}

/** Opens the dialog of the tagger. */
export function tagger(store, changed) {
  const model = h("input", { name: "model", autocomplete: "off", placeholder: t("data.tagger.own") });
  const [general, character] = [slider(t("data.tagger.threshold"), 0.35), slider(t("data.tagger.character"), 0.85)];
  const existing = select("existing", ["skip", "only-empty", "replace", "append", "prepend"].map((each) => [each, t(`data.existing.${each}`)]));
  const first = h("input", { name: "first", autocomplete: "off" });
  const undesired = h("input", { name: "undesired", autocomplete: "off" });
  const [job, one] = [h("div", { "aria-live": "polite" }), h("p", { class: "preview" })];
  const place = { facts: h("p", { class: "quiet", role: "status" }), list: h("ul", { class: "bars", tabindex: "0", "aria-label": t("data.tags") }) };
  const looking = h("button", { type: "button", class: "quiet-button" }, t("data.tagger.look"));
  const writing = h("button", { type: "button" }, t("data.tagger.write"));
  let [found, surest, name] = [{ rows: [], known: 0, total: 0 }, [], ""];
  const steps = () => [Number(general.range.value), Number(character.range.value)];
  const draw = () => {
    drawn(place, found, ...steps());
    sample(one, surest, ...steps());
    if (surest.length) one.prepend(h("b", {}, `${name}: `));
  };
  async function read() {
    const given = { path: store.path, model: model.value };
    found = await get("datasets/scores", given);
    for (const row of found.rows) row.reached = reached(row);
    name = store.names[store.current >= 0 ? store.current : 0];
    surest = await get("datasets/scores/one", { ...given, name });
    writing.disabled = false;
    draw();
  }
  const words = (text) => text.split(",").map((each) => each.trim()).filter(Boolean);
  async function send(look) {
    const [low, high] = steps();
    for (const each of [looking, writing]) each.disabled = true;
    try {
      const more = look ? {} : { on_existing: existing.value, undesired: words(undesired.value), always_first: words(first.value) };
      const made = await post("datasets/tag", { ...store.folder(), model: model.value, look, threshold: low / STEPS, character_threshold: high / STEPS, ...more });
      if (!(await watch(job, made))) return;
      if (look) await read();
      else {
        notice(t("data.tagger.done"));
        await changed();
      }
    } finally {
      for (const each of [looking, writing]) each.disabled = false;
    }
  }
  for (const each of [general, character]) each.range.addEventListener("input", draw);
  looking.addEventListener("click", () => attempt(() => send(true)));
  writing.addEventListener("click", () => attempt(() => send(false)));
  model.addEventListener("change", () => attempt(read));
  dialog(t("data.tool.tag"), [
    h("p", { class: "quiet" }, t("data.tagger.lead")),
    h("div", { class: "row" }, h("div", { class: "grow" }, labelled(t("data.tagger.model"), h("div", { class: "row" }, model, browse(model)))), looking), job,
    general.box, character.box, place.facts, place.list, one,
    h("div", { class: "columns" }, labelled(t("data.tagger.existing"), existing), labelled(t("data.tagger.first"), first), labelled(t("data.tagger.undesired"), undesired)),
    h("div", { class: "bar-row" }, writing),
  ]);
  attempt(read);
}
