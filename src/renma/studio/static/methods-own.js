// The few options of a method that matter first; what is left alone stays as the recipe has it.

import { h, post, t } from "./core.js";
import { field } from "./new-fields.js";

/** Returns a text of the page, or undefined where it has none. */
const word = (key) => (t(key) === key ? undefined : t(key));

/**
 * Returns the form of one recipe.
 * @param {string} method
 * @param {{recipe: string, fields: object[]}} way as the interface describes it
 * @param {(path: string) => void} opens shows the project that was made
 */
export function ownRun(method, way, opens) {
  const values = {};
  const fields = way.fields.map((row) => made(method, row, values));
  const name = h("input", { required: true, maxlength: 80, autocomplete: "off", pattern: "[^.@\\/\\\\][^\\/\\\\]*" });
  const said = h("ul", { class: "said", role: "alert" });
  const button = h("button", {}, t("methods.go"));
  const form = h("form", {}, h("p", { class: "quiet" }, t("methods.make_help")), h("div", { class: "fields" }, fields.map((each) => each.made)), said,
    h("div", { class: "own" }, h("label", {}, t("methods.name"), name), button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    let found = { path: "" };
    try {
      found = await post("methods/make", { recipe: way.recipe, name: name.value.trim(), values });
    } catch (error) {
      found.messages = [{ level: "error", key: "", text: error.message }];
    }
    button.disabled = false;
    if (found.path) return opens(found.path);
    tell(found.messages, fields, said);
    form.querySelector("[aria-invalid]")?.focus();
    return undefined;
  });
  return form;
}

function made(method, { key, option, value, hint }, values) {
  const told = word(`methods.h.${key}`);
  const label = word(`methods.${method}.f.${key}`) ?? word(`methods.f.${key}`) ?? word(`new.f.${key}`);
  const own = field({
    key, label, option: told ? { ...option, help: told } : option,
    read: () => values[key], base: () => value ?? option.default,
    write: (given) => {
      if (given === undefined) delete values[key];
      else values[key] = given;
      own.tell([]);
      own.refresh();
    },
    project: () => "", // paths are seen from the workspace: the project is not there yet
  });
  if (hint) own.made.querySelector("small").append(" ", h("span", { class: "hint" }, hint));
  return { key, ...own };
}

/** Shows mistakes at their fields, and the others below them. */
function tell(messages, fields, said) {
  const wrong = messages.filter((m) => m.level === "error");
  for (const each of fields) each.tell(wrong.filter((m) => m.key === each.key));
  const keys = new Set(fields.map((each) => each.key));
  said.replaceChildren(...wrong.filter((m) => !keys.has(m.key)).map((m) => h("li", { class: "error" }, m.text)));
}
