// The tools: each a form of its own, the command that does the same, and a job that does it.

import { attempt, get, h, notice, post, t } from "./core.js";
import { browse } from "./form.js";
import { parts } from "./files-parts.js";

const PAUSE = 300;
const PRECISION = ["precision", "choice", ["keep", "fp32", "fp16", "bf16"]];
const FIELDS = {
  resize: [["file", "file"], ["rank", "whole", 8], ["method", "choice", ["static", "sv_ratio", "sv_cumulative", "sv_fro"]], ["parameter", "number"], ["conv_rank", "whole"], PRECISION],
  merge: [["parts", "parts"], ["rank", "whole"], PRECISION, ["base", "path"]],
  convert: [["file", "file"], ["to", "choice", ["kohya", "diffusers", "lycoris"]], ["as", "choice", ["same", "lora", "diff", "merged"]], ["rank", "whole"], PRECISION, ["base", "path"]],
  extract: [["base", "path"], ["tuned", "path"], ["rank", "whole", 16], ["conv_rank", "whole"], ["algo", "choice", ["lora", "loha"]], ["min_difference", "number"], ["clamp_quantile", "number"], PRECISION],
  cut: [["file", "file"], ["rank", "whole", 4]],
  verify: [["file", "file"], ["model", "path"]],
};
/** Fields that mean something only beside others. */
const SHOWN = {
  "resize.parameter": (v) => v.method !== "static",
  "convert.base": (v) => v.as !== "same",
  "convert.rank": (v) => v.as === "lora",
};
const NEEDED = ["file", "tuned", "out"];
/** Files that are there, or will be. */
let known = [];

const word = (tool, kind, name) => {
  const [exact, plain] = [`files.${kind}.${tool}.${name}`, `files.${kind}.${name}`];
  return t(exact) !== exact ? t(exact) : t(plain) !== plain ? t(plain) : "";
};

function field(tool, [name, kind, more], given) {
  const id = `tool-${name}`;
  let input;
  if (kind === "choice") input = h("select", { id, name }, more.map((value) => h("option", { value }, word(tool, `choice.${name}`, value) || value)));
  else if (kind === "whole" || kind === "number") input = h("input", { id, name, type: "number", min: kind === "whole" ? 1 : 0, step: kind === "whole" ? 1 : "any", value: more ?? "" });
  else input = h("input", { id, name, value: kind === "file" ? (given ?? "") : "", autocomplete: "off", maxlength: 1000, required: NEEDED.includes(name), list: kind === "file" ? "known-files" : null });
  const path = kind === "path" || kind === "file";
  const help = word(tool, "help", name);
  if (help) input.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: path || name === "out" ? "field wide" : "field", "data-field": name }, h("label", { for: id }, word(tool, "field", name)), path ? h("div", { class: "path" }, input, browse(input)) : input, help ? h("small", { id: `${id}-help` }, help) : null);
}

/** Returns a name for what a tool makes, beside the file that it is made of. */
function proposed(tool, values, sum) {
  const first = tool === "merge" ? sum[0]?.file : (values.file ?? values.tuned);
  const short = (first || "lora").split("/").at(-1).replace(/\.safetensors$/i, "");
  const folder = !first || first.startsWith("@") || tool === "extract" ? "loras/" : first.slice(0, first.length - first.split("/").at(-1).length);
  const names = {
    resize: `${short}-rank${values.rank ?? ""}`, cut: `${short}-rank${values.rank ?? ""}`, convert: `${short}-${values.to}`, extract: `${short}-lora`,
    merge: values.base ? `${short}-merged-model` : sum.length > 1 ? `${short}-merged` : `${short}-weighted`,
  };
  const start = `${folder}${names[tool]}`;
  const end = tool === "merge" && values.base && !/\.safetensors$/i.test(values.base) ? "" : ".safetensors"; // a model is a folder or a file, as its base is
  let free = `${start}${end}`;
  for (let i = 2; known.includes(free); i += 1) free = `${start}-${i}${end}`;
  return free;
}

function made(tool, form, { file, look }) {
  const sum = tool === "merge" ? parts(file, known) : null;
  const fields = FIELDS[tool].map((row) => (row[1] === "parts" ? h("div", { class: "wide" }, sum.place) : field(tool, row, file)));
  if (tool !== "verify") fields.push(field(tool, ["out", "text"]));
  const command = h("pre", { tabindex: "0", role: "group", "aria-label": t("tools.command") });
  const problem = h("p", { class: "bad", role: "status" });
  const send = h("button", {}, t(`files.do.${tool}`));
  let waiting, named = false, asked = 0;

  function wish() {
    const values = {};
    for (const input of form.querySelectorAll("[data-field] input, [data-field] select")) {
      if (input.closest("[hidden]") || input.value.trim() === "") continue;
      values[input.name] = input.type === "number" ? Number(input.value) : input.value.trim();
    }
    return { tool, options: values, files: sum ? sum.read() : [] };
  }

  function shape() {
    const { options } = wish();
    for (const box of form.querySelectorAll("[data-field]")) {
      const rule = SHOWN[`${tool}.${box.dataset.field}`];
      if (rule) box.hidden = !rule(options);
    }
    const out = form.querySelector("#tool-out");
    if (out && !named) out.value = proposed(tool, wish().options, sum ? sum.read() : []);
  }

  async function plan() {
    const mine = (asked += 1);
    const told = await post("lora-files/plan", wish()).catch((error) => ({ problem: error.message }));
    if (mine !== asked) return;
    command.textContent = told.command ?? "";
    command.hidden = !told.command;
    problem.textContent = told.problem ?? "";
    send.disabled = Boolean(told.problem);
  }

  function changed(event) {
    if (event?.target.id === "tool-out") named = event.target.value !== "";
    shape();
    clearTimeout(waiting);
    waiting = setTimeout(() => attempt(plan), PAUSE);
  }

  form.replaceChildren(h("p", { class: "lead" }, t(`files.about.${tool}`)), h("datalist", { id: "known-files" }, known.map((each) => h("option", { value: each }))), h("div", { class: "fields" }, fields), problem, h("div", { class: "row" }, send), h("p", { class: "quiet" }, t("tools.command")), command);
  form.oninput = changed;
  form.onsubmit = (event) => {
    event.preventDefault();
    attempt(async () => {
      send.disabled = true;
      const asked_for = wish();
      await post("lora-files/work", asked_for);
      if (asked_for.options.out) known.push(asked_for.options.out);
      notice(t("tools.started"));
      await look();
      document.getElementById("work-box").scrollIntoView({ block: "nearest" });
      shape();
    }).finally(() => attempt(plan));
  };
  shape();
  attempt(plan);
}

/**
 * Shows the tools.
 * @param {{names: HTMLElement, form: HTMLFormElement}} place
 * @param {{file?: string, tool?: string, look: () => Promise<void>}} given the file that is open,
 *   the tool that was asked for, and what looks at the jobs
 */
export async function tools({ names, form }, given) {
  const start = FIELDS[given.tool] ? given.tool : "resize";
  const open = (tool) => {
    for (const each of names.children) each.setAttribute("aria-pressed", each.dataset.tool === tool);
    made(tool, form, given);
  };
  names.replaceChildren(...Object.keys(FIELDS).map((tool) => h("button", { type: "button", class: "quiet-button", "data-tool": tool, "aria-pressed": "false", onclick: () => open(tool) }, t(`files.tool.${tool}`))));
  known = (await get("lora-files").catch(() => ({ files: [] }))).files.filter((each) => each.kind === "lora").map((each) => each.file);
  open(start);
}
