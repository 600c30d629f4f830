// A new run: a dozen fields first, then everything; form and text say the same at any time.

import { asked, attempt, get, h, notice, post, t } from "./core.js";
import { field } from "./new-fields.js";
import { importing } from "./new-import.js";
import { brief, changes, draw } from "./new-plan.js";
import { Manual, at as valueAt, meant, put, shown } from "./new-values.js";

const at = (id) => document.getElementById(id);
const FIRST = [
  "data.train_folder", "output.trigger", "output.name", "model.path", "adapter.algo", "adapter.rank", "adapter.alpha",
  "optimizer.name", "optimizer.learning_rate", "optimizer.text_encoder_lr", "schedule.name", "schedule.warmup_steps",
  "length", "data.batch_size", "data.resolution", "data.enable_bucket", "sample.prompts", "sample.every_steps", "train.save_every_steps",
];
const LEVELS = ["basic", "advanced", "expert"];
const PAUSE = 350;
const state = { project: "", text: "", values: {}, before: {}, checked: null };
let manual, first = [], listed = [], timer, turn = 0, from = "fields";

const value = (key) => valueAt(state.values, key);

function write(key, given) {
  put(state.values, key, given);
  changed();
}

function make(key, label) {
  const found = manual.option(state.values, key);
  if (!found) return undefined;
  const { section, option } = found;
  const set = option.tag ? (name) => choose(section, name ?? option.default) : (given) => write(key, given);
  return field({ key, option, label, read: () => value(key), base: () => (option.tag ? undefined : manual.base(state.values, key)) ?? (option.tag ? manual.chosen({ preset: state.values.preset }, section) : undefined), write: set, project: () => state.project });
}

function choose(section, name) {
  const gone = manual.choose(state.values, section, name);
  if (gone.length) notice(`${t("new.gone")}: ${gone.map((key) => `${section.section}.${key}`).join(", ")}`);
  fields();
  changed();
}

/** Draws all fields anew: an algorithm, a preset or the text changed. */
function fields() {
  const focused = document.activeElement?.closest("[data-key]");
  const [where, key] = [focused?.closest("#first") ? "first" : "all", focused?.dataset.key];
  first = FIRST.map((name) => (name === "length" ? length() : make(name, t(`new.f.${name}`)))).filter(Boolean);
  at("first").replaceChildren(...first.map((each) => each.made));
  all();
  if (key) document.querySelector(`#${where} [data-key="${key}"] :is(input, select, textarea)`)?.focus();
  tell();
}

/** Returns the length of the run: one number, by steps or epochs. */
function length() {
  const key = "train.max_steps";
  const made = make(key, t("new.f.length"));
  const unit = h("select", { "aria-label": t("new.unit") }, h("option", { value: "max_steps" }, t("new.steps")), h("option", { value: "max_epochs" }, t("new.epochs")));
  const other = () => (unit.value === "max_steps" ? "max_epochs" : "max_steps");
  const input = h("input", { id: made.id, type: "text", inputmode: "numeric", autocomplete: "off" });
  const save = () => {
    put(state.values, `train.${other()}`, undefined);
    write(`train.${unit.value}`, input.value.trim() ? Number(input.value) : undefined);
  };
  input.addEventListener("input", save);
  unit.addEventListener("change", save);
  made.input.replaceWith(h("div", { class: "row tight" }, input, unit));
  made.reset.remove();
  made.refresh = () => {
    if (document.activeElement === input) return;
    unit.value = value("train.max_epochs") == null ? "max_steps" : "max_epochs";
    input.value = value(`train.${unit.value}`) ?? "";
    input.placeholder = shown(manual.base(state.values, `train.${unit.value}`));
  };
  made.input = input;
  made.refresh();
  return made;
}

/** Draws all options: by section and level, or those that a search finds. */
function all() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const level = LEVELS.indexOf(at("level").value);
  const open = new Set([...at("all").querySelectorAll("details[open]")].map((each) => each.dataset.section));
  listed = [];
  let hits = 0;
  const boxes = manual.sections.map((section) => {
    const rows = keysOf(section).filter(([key, option]) => (words.length ? matches(key, option, words) : LEVELS.indexOf(option.level) <= level));
    hits += rows.length;
    if (words.length && !rows.length) return null;
    const inside = h("div", { class: "fields" });
    const fill = () => {
      if (inside.childElementCount) return;
      const made = rows.map(([key]) => make(key)).filter(Boolean);
      listed.push(...made);
      inside.append(...made.map((each) => each.made), ...lists(section));
      tell();
    };
    const count = Object.keys(state.values[section.section] ?? {}).length;
    const box = h("details", { "data-section": section.section, open: words.length > 0 || open.has(section.section) }, h("summary", {}, h("code", {}, `[${section.section}]`), " ", section.help, count ? h("span", { class: "count" }, `${count}`) : null), inside);
    if (box.open) fill();
    box.addEventListener("toggle", () => box.open && fill());
    return box;
  });
  at("all").replaceChildren(...boxes.filter(Boolean));
  at("found").textContent = words.length ? `${hits} ${t("new.options")}` : "";
}

function keysOf(section) {
  const tag = section.tag ? [[`${section.section}.${section.tag}`, manual.tagOption(section)]] : [];
  const tables = manual.tables(state.values, section).filter((table) => !inList(section, table));
  return [...tag, ...tables.flatMap((table) => table.options.map((option) => [`${table.table}.${option.key}`, option]))];
}

/** Tables that can stand many times are written in the text. */
const inList = (section, table) => section.tables.some((each) => each.listed && `${table.table}.`.startsWith(`${each.table}.`));

function lists(section) {
  const found = section.tables.filter((table) => table.listed);
  return found.map((table) => h("p", { class: "quiet" }, h("code", {}, `[[${table.table}]]`), " ", table.intro, " ", t("new.in_text")));
}

const matches = (key, option, words) => {
  const text = `${key} ${option.kohya} ${option.help}`.toLowerCase();
  return words.every((word) => text.includes(word));
};

function tell() {
  const told = state.checked?.messages ?? [];
  for (const each of [...first, ...listed]) each.tell(told.filter((m) => m.key === each.key && m.level !== "note"));
}

function refresh() {
  for (const each of [...first, ...listed]) each.refresh();
  changes(state.before, state.values);
}

/** Takes a change of a field in, and asks for the plan a little later. */
function changed() {
  from = "fields";
  refresh();
  later();
}

function later() {
  at("train").disabled = true;
  clearTimeout(timer);
  timer = setTimeout(() => attempt(check), PAUSE);
}

async function check() {
  const mine = (turn += 1);
  const wholly = from === "text";
  at("brief").textContent = t("new.checking");
  const body = wholly ? { project: state.project, text: at("text").value } : { project: state.project, text: state.text, values: state.values };
  const found = await post("settings/check", body);
  if (mine !== turn) return; // something was changed meanwhile
  state.checked = found;
  state.text = found.text;
  if (wholly && found.values) state.values = found.values;
  if (!wholly) at("text").value = found.text;
  if (wholly && found.values) {
    at("preset").value = state.values.preset ?? "";
    fields();
  }
  draw(found, go);
  tell();
  refresh();
  at("brief").textContent = brief(found);
  at("train").disabled = found.messages.some((m) => m.level === "error");
}

/** Leads to the field of an option, wherever it is. */
function go(key) {
  const here = () => document.querySelector(`[data-key="${key}"]`);
  if (!here()) {
    at("search").value = key;
    all();
    tell();
  }
  const found = here();
  found?.scrollIntoView({ block: "center" });
  found?.querySelector("input, select, textarea")?.focus();
}

async function train() {
  at("train").disabled = true;
  const job = await post("settings/train", { project: state.project, text: state.text, values: state.values });
  location.assign(`/run?path=${encodeURIComponent(job.links.run)}`); // which also tells that it waits
}

async function begin(project) {
  const { clone } = project ? {} : asked();
  const found = await get("settings/start", { project: project ?? asked().path, clone });
  Object.assign(state, { project: found.project, text: found.text, values: found.values, before: structuredClone(found.values), checked: null });
  at("project").replaceChildren(...found.projects.map((p) => h("option", { value: p.path, selected: p.path === found.project }, p.name)));
  at("preset").value = state.values.preset ?? "";
  at("cloned").hidden = !found.clone;
  at("cloned").textContent = found.clone ? `${t("new.cloned")} ${found.clone}` : "";
  at("text").value = found.text;
  if (!found.project) {
    at("brief").replaceChildren(h("a", { href: "/" }, t("new.no_project")));
    return;
  }
  if (!project) new URLSearchParams(location.search).getAll("set").forEach(wish);
  fields();
  refresh();
  await check();
}

/** Fills in what a link asks for, such as adapter.algo=mora; it is a change like any other. */
function wish(text) {
  const [key, given] = [text.split("=", 1)[0], text.slice(text.indexOf("=") + 1)];
  const found = manual.option(state.values, key);
  if (!found) return;
  const { section, option } = found;
  const value = option.kind === "choice" ? option.choices.find((one) => String(one) === given) : option.kind === "switch" ? given === "true" : meant(given, option.kind);
  if (option.tag && value) manual.choose(state.values, section, value);
  else if (!option.tag) put(state.values, key, value);
}

function listen() {
  at("project").addEventListener("change", (event) => attempt(() => {
    history.replaceState(null, "", `?path=${encodeURIComponent(event.target.value)}`);
    return begin(event.target.value);
  }));
  at("preset").addEventListener("change", (event) => {
    put(state.values, "preset", event.target.value || undefined);
    fields();
    changed();
  });
  at("text").addEventListener("input", () => {
    from = "text";
    later();
  });
  at("search").addEventListener("input", () => { all(); tell(); });
  at("level").addEventListener("change", () => { all(); tell(); });
  at("train").addEventListener("click", () => attempt(train).then(() => (at("train").disabled = false)));
}

attempt(async () => {
  manual = new Manual(await get("settings/options"));
  at("preset").replaceChildren(h("option", { value: "" }, t("new.no_preset")), ...manual.presets.map((p) => h("option", { value: p.name }, `${p.name}: ${p.about}`)));
  listen();
  importing(() => state.project, (values) => {
    Object.assign(state, { values, text: "" });
    at("preset").value = "";
    fields();
    changed();
  });
  await begin();
});
