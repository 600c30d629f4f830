// Captions of many pictures at once: what is to change, what that does, done.

import { attempt, h, notice, post, t } from "./core.js";
import { dialog, labelled, scope, select } from "./data_dialog.js";
import { later } from "./data_tags.js";

const input = (name, more = {}) => h("input", { name, autocomplete: "off", ...more });

function fields(store) {
  const tag = (name, more) => input(name, { list: "batch-tags", ...more });
  const none = ["", "–"];
  return [
    labelled(t("data.add"), tag("add")),
    labelled(t("data.at"), select("at", [["last", t("data.last")], ["first", t("data.at_first")], ...[2, 3, 4, 5].map((n) => [String(n), `${t("data.place")} ${n}`])])),
    labelled(t("data.remove"), tag("remove")),
    labelled(t("data.replace"), tag("old")),
    labelled(t("data.replace_by"), tag("new")),
    labelled(t("data.search"), input("search")),
    labelled(t("data.search_by"), input("with")),
    labelled(t("data.sort"), select("sort", [none, ["alphabet", t("data.alphabet")], ["frequency", t("data.frequency")], ["length", t("data.length")]])),
    labelled(t("data.underscores"), select("underscores", [none, ["to-spaces", "long_hair → long hair"], ["to-underscores", "long hair → long_hair"]])),
    labelled(t("data.parentheses"), select("parentheses", [none, ["escape", "(a) → \\(a\\)"], ["unescape", "\\(a\\) → (a)"]])),
    labelled(t("data.keep"), input("keep", { type: "number", min: 0, max: 100, value: 0 })),
    labelled(t("data.dedupe"), input("dedupe", { type: "checkbox" }), "switch"),
    h("datalist", { id: "batch-tags" }, store.tags.slice(0, 500).map((each) => h("option", { value: each }))),
  ];
}

const own = (text) => text.replaceAll("=", "\\=");

/** Returns what a form asks for, or null if it asks for nothing. */
export function changeOf(form) {
  const value = (name) => form.elements[name].value;
  const change = {};
  if (value("search")) Object.assign(change, { search: [value("search")], with: [value("with")] });
  for (const name of ["underscores", "parentheses", "sort"]) if (value(name)) change[name] = value(name);
  if (value("remove").trim()) change.remove = [value("remove")];
  if (value("old").trim()) {
    if (value("new").trim()) change.replace = [`${own(value("old").trim())}=${own(value("new").trim())}`];
    else change.remove = [...(change.remove ?? []), value("old")];
  }
  if (form.elements.dedupe.checked) change.dedupe = true;
  if (value("add").trim()) {
    const at = value("at");
    Object.assign(change, { add: [value("add")], at: /^\d+$/.test(at) ? Number(at) : at });
  }
  if (!Object.keys(change).length) return null;
  if (Number(value("keep"))) change.keep = Number(value("keep"));
  return change;
}

function parts(text) {
  return (text ?? "").split(",").map((tag) => tag.trim()).filter(Boolean);
}

/** Returns a caption with what is gone and what is new marked. */
export function difference(before, after) {
  const [old, now] = [parts(before), parts(after)];
  const gone = old.filter((tag) => !now.includes(tag));
  const row = now.map((tag) => (old.includes(tag) ? h("span", {}, tag) : h("ins", {}, tag)));
  const all = [...gone.map((tag) => h("del", {}, tag)), ...row];
  return all.flatMap((each, n) => (n ? [", ", each] : [each]));
}

function shown(place, found) {
  const rows = found.first.flatMap((row) => [h("dt", {}, row.name), h("dd", {}, difference(row.before, row.after))]);
  const more = found.count > found.first.length ? h("p", { class: "quiet" }, `${t("data.and_more")} ${found.count - found.first.length}`) : null;
  place.replaceChildren(...[h("p", {}, `${found.count} ${t("data.would_change")}`), ...found.warnings.map((line) => h("p", { class: "wrong" }, line)), h("dl", {}, rows), more].filter(Boolean));
}

/** Opens the dialog; whatever is written into it is shown at once, and done by its button. */
export function batch(store, changed) {
  const which = scope(store);
  const result = h("div", { class: "preview", tabindex: "0", role: "region", "aria-live": "polite", "aria-label": t("data.preview") });
  const apply = h("button", { disabled: true }, t("data.apply"));
  const form = h("form", {}, which.box, h("div", { class: "columns" }, fields(store)), result, h("div", { class: "bar-row" }, apply));
  let [asked, busy, again] = [0, false, false];
  async function send(write) {
    const change = changeOf(form);
    if (!change) return undefined;
    return post("datasets/edit", { ...store.folder(), names: which.names(), change, write });
  }
  /** Asks what changes; one question at a time, the last one last. */
  async function preview() {
    apply.disabled = again = true;
    if (busy) return;
    busy = true;
    while (again) {
      again = false;
      await look();
    }
    busy = false;
  }
  async function look() {
    const mine = (asked += 1);
    try {
      const found = await send(false);
      if (mine !== asked) return;
      if (found?.wrong) result.replaceChildren(h("p", { class: "wrong" }, found.wrong));
      else if (found) shown(result, found);
      else result.replaceChildren(h("p", { class: "quiet" }, t("data.nothing_asked")));
      apply.disabled = again || !found?.count;
    } catch (error) {
      if (mine === asked) result.replaceChildren(h("p", { class: "wrong" }, error.message));
    }
  }
  form.addEventListener("input", later(preview, 300));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply.disabled = true;
    attempt(async () => {
      asked += 1;
      const found = await send(true);
      if (!found) return;
      notice(`${found.count} ${t("data.changed")}`);
      result.replaceChildren(h("p", { class: "quiet" }, t("data.edited")));
      await changed();
    });
  });
  dialog(t("data.edit_many"), [form]);
  preview();
}
