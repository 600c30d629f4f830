// Regions and AND: prompts with a LoRA each, in painted areas or joined.

import { attempt, h, t } from "./core.js";
import { filled, shown, wish } from "./compare.js";
import { fresh } from "./compare-grid.js";
import { COLOURS, mask } from "./compare-mask.js";

const at = (id) => document.getElementById(id);
let count = 0;

function loraName({ run, name }) {
  return `${name} (${run})`;
}

function part(facts, colour, { pick, removed }) {
  const id = `part-${(count += 1)}`;
  const radio = h("input", { type: "radio", name: "colour", id, class: "only-regions", onchange: () => pick(colour) });
  const swatch = h("label", { for: id, class: "swatch only-regions" }, h("span", { class: "hidden" }, `${t("compare.paint_with")} ${colour}`));
  swatch.style.setProperty("background", colour);
  const prompt = h("input", { "aria-label": t("compare.prompt"), placeholder: t("compare.prompt"), autocomplete: "off", value: facts.trigger });
  const lora = h("select", { "aria-label": "LoRA" }, h("option", { value: "" }, t("compare.no_lora")), facts.loras.map((each) => h("option", { value: each.path }, loraName(each))));
  const own = facts.loras.find((each) => each.run === facts.path);
  lora.value = own?.path ?? "";
  const number = (label, more) => h("label", { class: more.class ?? "" }, label, h("input", { type: "number", step: 0.05, value: 1, ...more.own }));
  const loraWeight = number(t("compare.lora_weight"), { own: { min: -10, max: 10 } });
  const weight = number(t("compare.weight"), { class: "only-and", own: { min: -10, max: 10 } });
  const strength = number(t("compare.strength"), { class: "only-regions", own: { min: 0.05, max: 1 } });
  const made = h("li", {}, h("div", { class: "row tight" }, radio, swatch, prompt, h("button", { type: "button", class: "plain", "aria-label": t("compare.remove"), onclick: () => { made.remove(); removed(each); } }, "×")), h("div", { class: "row tight" }, h("label", { class: "grow" }, "LoRA", lora), loraWeight, weight, strength));
  const value = (label) => Number(label.querySelector("input").value || 1);
  const each = {
    colour, made, radio,
    read: (regions) => ({ prompt: prompt.value, lora: lora.value, lora_weight: value(loraWeight), ...(regions ? { colour, strength: value(strength) } : { weight: value(weight) }) }),
  };
  return each;
}

/** Prepares the form. */
export function drawing(facts) {
  const form = at("draw");
  const painter = mask();
  let parts = [];
  at("mask").replaceChildren(painter.made);
  const add = () => {
    const colour = COLOURS.find((one) => !parts.some((each) => each.colour === one));
    if (!colour) return;
    const made = part(facts, colour, { pick: painter.colour, removed: (gone) => { parts = parts.filter((each) => each !== gone); } });
    parts.push(made);
    at("parts").append(made.made);
    made.radio.checked = true;
    painter.colour(colour);
  };
  const regions = () => form.elements.mode.value === "regions";
  const mode = () => {
    form.classList.toggle("regions", regions());
    form.classList.toggle("and", !regions());
    at("draw-help").textContent = t(regions() ? "compare.regions_help" : "compare.and_help");
  };
  const shape = () => painter.shape(Number(form.elements.width.value || facts.size || 512), Number(form.elements.height.value || facts.size || 512));
  for (const radio of form.elements.mode) radio.addEventListener("change", mode);
  form.elements.width.addEventListener("change", shape);
  form.elements.height.addEventListener("change", shape);
  at("add-part").addEventListener("click", add);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { mode: _, colour, rest, feather, region_way, lora_in_negative, ...how } = filled(form);
    const own = regions() ? { rest, feather, region_way, picture: painter.picture() } : { lora_in_negative };
    attempt(() => wish("draw", { ...how, ...own, parts: parts.map((each) => each.read(regions())) }));
  });
  add();
  add();
  mode();
  return { show: (now) => show(form, now) };
}

function show(form, { drawn }) {
  form.elements.name.value = fresh("drawing", drawn.map((each) => each.name));
  const tile = (each) => h("figure", { class: "drawing" },
    h("div", { class: "tiles" }, each.regions ? shown(`drawn/${each.name}/regions.png`, t("compare.mask"), 256) : null, each.pictures.map((name, i) => shown(name, `${each.name} ${i + 1}`, 256))),
    h("figcaption", {}, h("b", {}, each.name), " ", each.pictures.length ? null : h("span", { class: "quiet" }, t("compare.not_yet")), h("ul", { class: "quiet" }, (each.asked.parts ?? []).map((p) => h("li", {}, p.colour ? dot(p.colour) : null, p.prompt, p.lora ? ` · ${p.lora.split("/").at(-1)}` : "")))));
  at("drawn").replaceChildren(...drawn.map(tile));
}

function dot(colour) {
  const made = h("span", { class: "dot", "aria-hidden": "true" });
  made.style.setProperty("background", colour);
  return made;
}
