// The LoRAs of a sum, each with its weight.

import { attempt, h, t } from "./core.js";
import { browse } from "./form.js";

let count = 0;

/**
 * Makes the list.
 * @param {string | undefined} first the file that is open
 * @param {string[]} known files to propose
 * @returns {{place: HTMLElement, read: () => {file: string, weight: number}[]}}
 */
export function parts(first, known) {
  const list = h("ol", { class: "parts" });

  function tell() {
    list.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function add(file, weight) {
    const id = (count += 1);
    const name = h("input", { value: file, autocomplete: "off", maxlength: 1000, list: "known-files", "aria-label": `${t("files.field.file")} ${list.children.length + 1}` });
    const slider = h("input", { type: "range", min: -1, max: 2, step: 0.05, value: weight, "aria-label": `${t("files.weight")} ${id}` });
    const exact = h("input", { type: "number", min: -100, max: 100, step: "any", value: weight, "aria-label": `${t("files.weight_exact")} ${id}` });
    slider.addEventListener("input", () => (exact.value = slider.value));
    exact.addEventListener("input", () => (slider.value = exact.value));
    const made = h("li", {}, h("span", { class: "path" }, name, browse(name)), slider, exact, h("button", { type: "button", class: "quiet-button", "aria-label": `${t("files.drop")}: ${file || id}`, onclick: () => { made.remove(); tell(); } }, "×"));
    list.append(made);
    return name;
  }

  add(first ?? "", 1);
  add("", 1);
  const more = h("button", { type: "button", class: "quiet-button small", onclick: () => attempt(async () => { add("", 1).focus(); tell(); }) }, t("files.add_file"));
  const read = () => [...list.children].map((row) => ({ file: row.querySelector("input").value.trim(), weight: Number(row.querySelector("input[type=number]").value) })).filter((row) => row.file);
  return { place: h("div", {}, list, more, known.length ? null : h("p", { class: "quiet" }, t("files.none"))), read };
}
