// One option as a field: label, control, help, what is wrong with it, and the way back.

import { h, t } from "./core.js";
import { browse } from "./form.js";
import { meant, same, shown } from "./new-values.js";

let count = 0;

/**
 * Returns a field. It writes only what differs from what holds anyway.
 * @param {{key: string, option: object, label?: string, read: () => unknown, base: () => unknown,
 *   write: (value: unknown) => void, project: () => string}} about
 */
export function field(about) {
  const { key, option } = about;
  const id = `option-${(count += 1)}`;
  const parts = { ...about, id, input: control(about, id) };
  parts.input.setAttribute("aria-describedby", `${id}-help ${id}-told`);
  parts.reset = h("button", { type: "button", class: "plain reset", title: t("new.reset"), "aria-label": `${t("new.reset")}: ${key}`, onclick: () => { about.write(undefined); parts.refresh(true); } }, "↺");
  parts.told = h("ul", { class: "said", id: `${id}-told` });
  const name = about.label ? [about.label, " ", h("code", { class: "quiet" }, key)] : [h("code", {}, key)];
  const kohya = option.kohya ? h("span", { class: "kohya" }, `kohya: ${option.kohya}`) : null;
  const bounds = limits(option);
  parts.made = h("div", { class: "field", "data-key": key },
    h("div", { class: "head" }, h("label", { for: id }, name), parts.reset),
    option.kind === "place" ? h("div", { class: "row tight" }, parts.input, browse(chosenFrom(parts))) : parts.input,
    parts.told,
    h("small", { id: `${id}-help` }, option.help, bounds && h("span", { class: "kohya" }, bounds), kohya));
  parts.refresh = (even) => refresh(parts, even);
  parts.tell = (messages) => tell(parts, messages);
  parts.refresh(true);
  return parts;
}

function control({ option, base, write }, id) {
  if (option.kind === "switch") {
    return h("input", { type: "checkbox", id, role: "switch", onchange: (e) => write(e.target.checked === base() ? undefined : e.target.checked) });
  }
  if (option.kind === "choice") {
    const made = h("select", { id }, option.choices.map((c) => h("option", { value: JSON.stringify(c) }, String(c))));
    made.addEventListener("change", () => {
      const value = JSON.parse(made.value);
      write(same(value, base()) ? undefined : value);
    });
    return made;
  }
  const change = (event) => {
    const value = meant(event.target.value, option.kind);
    write(same(value, base()) ? undefined : value);
  };
  if (option.kind === "lines") return h("textarea", { id, rows: 3, spellcheck: "false", oninput: change });
  const plain = option.kind === "whole" || option.kind === "number";
  return h("input", { id, type: "text", inputmode: plain ? "decimal" : null, autocomplete: "off", spellcheck: "false", oninput: change });
}

function refresh({ input, option, read, base, made, reset }, even) {
  const value = read(), under = base();
  const changed = value !== undefined;
  made.classList.toggle("changed", changed);
  reset.hidden = !changed;
  if (!even && document.activeElement === input) return;
  if (option.kind === "switch") input.checked = value ?? under ?? false;
  else if (option.kind === "choice") input.value = JSON.stringify(value ?? under);
  else {
    input.value = shown(value, option.kind);
    input.placeholder = shown(under, option.kind);
  }
}

function tell({ input, told, made }, messages) {
  told.replaceChildren(...messages.map((m) => h("li", { class: m.level }, m.text)));
  const wrong = messages.some((m) => m.level === "error");
  made.classList.toggle("wrong", wrong);
  if (wrong) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

function limits(option) {
  const words = { ge: "≥", gt: ">", le: "≤", lt: "<", multiple_of: "×" };
  const found = Object.entries(words).filter(([name]) => option[name] != null).map(([name, sign]) => `${sign} ${option[name]}`);
  return found.length ? found.join(", ") : "";
}

/** Paths are chosen as seen from the workspace, and written as seen from the project. */
function chosenFrom({ input, project }) {
  return {
    set value(path) {
      input.value = fromProject(path, project());
    },
    dispatchEvent: (event) => input.dispatchEvent(event),
  };
}

/** Returns a path of the workspace as seen from a project. */
export function fromProject(path, project) {
  if (path.startsWith("@") || !project) return path;
  const [ours, theirs] = [project.split("/"), path.split("/")];
  while (ours.length && theirs.length && ours[0] === theirs[0]) {
    ours.shift();
    theirs.shift();
  }
  return [...ours.map(() => ".."), ...theirs].join("/") || ".";
}
