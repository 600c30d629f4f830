// The grid builder: three axes, prompts, and what they come to before anything is drawn.

import { attempt, duration, h, post, t } from "./core.js";
import { filled, wish } from "./compare.js";

const at = (id) => document.getElementById(id);
const PAUSE = 300;

/** Returns a name that no file of the run has yet. */
export function fresh(stem, taken) {
  for (let n = 1; ; n += 1) {
    const name = `${stem}-${String(n).padStart(2, "0")}`;
    if (!taken.some((each) => each.split("/").at(-1).split(".")[0] === name)) return name;
  }
}

function axis(letter, facts, chosen, changed) {
  const list = h("datalist", { id: `values-${letter}` });
  const label = { x: t("compare.x"), y: t("compare.y"), z: t("compare.z") }[letter];
  const name = h("select", { "aria-label": label }, h("option", { value: "" }, "–"), facts.axes.map((a) => h("option", { value: a.name }, t(`compare.axis.${a.name}`))));
  const values = h("input", { "aria-label": `${label}: ${t("compare.values")}`, list: list.id, autocomplete: "off", spellcheck: "false" });
  const chips = h("span", { class: "chips" });
  const suggest = () => {
    const found = facts.axes.find((a) => a.name === name.value)?.values ?? [];
    list.replaceChildren(...found.map((value) => h("option", { value })));
    chips.replaceChildren(...found.map((value) => h("button", { type: "button", class: "chip", title: value, onclick: () => { values.value = value; changed(); } }, value.length > 34 ? `${value.slice(0, 33)}…` : value)));
    values.placeholder = found[0] ?? "";
    values.disabled = !name.value;
    return found[0] ?? "";
  };
  name.addEventListener("change", () => {
    values.value = suggest();
    changed();
  });
  values.addEventListener("input", changed);
  name.value = chosen;
  values.value = suggest();
  return {
    letter,
    made: h("div", { class: "axis" }, h("b", { "aria-hidden": "true" }, label), name, values, list, chips),
    read: () => (name.value ? { name: name.value, values: values.value } : undefined),
  };
}

/** Prepares the form. */
export function gridBuilder(facts, runs) {
  const form = at("grid");
  let timer, turn = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => attempt(plan), PAUSE);
  };
  const rows = [axis("x", facts, "weight", later), axis("y", facts, "checkpoint", later), axis("z", facts, "", later)];
  at("axes").replaceChildren(...rows.map((row) => row.made));
  form.elements.prompts.value = facts.prompts[0] ?? facts.trigger;
  at("others").replaceChildren(...runs.filter((run) => run !== facts.path).map((run) => h("label", { class: "switch" }, h("input", { type: "checkbox", "data-run": run }), run)));

  function body() {
    const { prompts = "", ...rest } = filled(form);
    const axes = Object.fromEntries(rows.map((row) => [row.letter, row.read()]).filter(([, one]) => one));
    const others = [...at("others").querySelectorAll(":checked")].map((box) => box.dataset.run);
    return { ...rest, ...axes, others, prompts: prompts.split("\n").map((line) => line.trim()).filter(Boolean) };
  }

  async function plan() {
    const mine = (turn += 1);
    const found = await post("compare/plan", { path: facts.path, ...body() });
    if (mine !== turn) return;
    at("draw-grid").disabled = Boolean(found.problem);
    at("grid-plan").className = found.problem ? "bad" : "";
    if (found.problem) at("grid-plan").textContent = found.problem;
    else {
      const sides = [found.x, found.y, found.z].map((side) => side.labels.length).join(" × ");
      at("grid-plan").replaceChildren(h("b", {}, `${found.pictures} ${t("compare.pictures")}`), ` (${sides}), ${t("new.about")} ${duration(found.seconds)}`, ...found.told.map((text) => h("span", { class: "quiet" }, ` · ${text}`)));
      at("grid-command").textContent = found.command;
    }
  }

  form.addEventListener("input", later);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => wish("grid", body()));
  });
  return {
    show(now) {
      form.elements.name.value = fresh("grid", now.grids.map((each) => each.path));
      later();
    },
  };
}
