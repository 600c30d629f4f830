// One picture: its caption as text and as tags, and what is drawn on it.

import { attempt, get, h, notice, picture, post, t } from "./core.js";
import { drawing } from "./data_drawing.js";
import { dialog } from "./data_dialog.js";

const SHOWN = /\.(png|jpe?g|webp)$/i;
const MOST = 12;

/** The caption in a text field, and what it said when it was read. */
class Caption {
  constructor(store) {
    this.store = store;
    this.field = h("textarea", { rows: 5, "aria-label": t("data.editor.caption"), spellcheck: "false" });
    this.chips = h("ul", { class: "chips", "aria-label": t("data.tags") });
    this.field.addEventListener("input", () => this.draw());
  }

  async read(name) {
    const found = await get("datasets/caption", { ...this.store.folder(), name });
    Object.assign(this, { name, was: found.text });
    const text = (found.text ?? "").replaceAll("\r\n", "\n");
    this.tail = found.text === null ? "\n" : text.match(/\n*$/)[0];
    this.field.value = this.before = text.replace(/\n*$/, "");
    this.draw();
  }

  async save() {
    if (this.name === undefined || this.field.value === this.before) return false;
    const text = this.field.value + this.tail;
    const written = this.was?.includes("\r\n") ? text.replaceAll("\n", "\r\n") : text;
    await post("datasets/caption", { ...this.store.folder(), name: this.name, was: this.was, text: written });
    Object.assign(this, { was: written, before: this.field.value });
    return true;
  }

  tags() {
    return this.field.value.split("\n").map((line) => line.split(",").map((tag) => tag.trim()).filter(Boolean));
  }

  write(lines) {
    this.field.value = lines.map((line) => line.join(", ")).join("\n");
    this.draw();
  }

  add(tag) {
    const lines = this.tags();
    const row = lines.find((line) => line.length) ?? lines[0];
    if (!row.includes(tag)) row.push(tag);
    this.write(lines);
  }

  draw() {
    const lines = this.tags();
    const write = (made) => {
      this.write(made);
      this.chips.querySelector("button")?.focus(); // the one that was pressed is gone
    };
    const take = (n, k) => write(lines.map((line, a) => line.filter((_, b) => a !== n || b !== k)));
    const first = (n, k) => write(lines.map((line, a) => (a === n ? [line[k], ...line.filter((_, b) => b !== k)] : line)));
    this.chips.replaceChildren(...lines.flatMap((line, n) => line.map((tag, k) => h("li", {},
      h("button", { type: "button", class: "plain", title: t("data.editor.first"), onclick: () => first(n, k) }, tag),
      h("button", { type: "button", class: "plain", "aria-label": `${t("data.editor.take")} ${tag}`, onclick: () => take(n, k) }, "×")))));
  }
}

/** Returns a field that proposes the tags of the folder. */
function adder(store, caption) {
  const list = h("ul", { class: "suggest", id: "suggest", role: "listbox", "aria-label": t("data.tags") });
  const field = h("input", { autocomplete: "off", role: "combobox", "aria-expanded": "false", "aria-controls": "suggest", "aria-autocomplete": "list", "aria-label": t("data.editor.add"), placeholder: t("data.editor.add") });
  let [at, found] = [-1, []];
  function draw() {
    const text = field.value.trim().toLowerCase();
    const there = new Set(caption.tags().flat());
    found = text ? store.tags.filter((tag) => tag.toLowerCase().includes(text) && !there.has(tag)) : [];
    found = found.sort((a, b) => b.toLowerCase().startsWith(text) - a.toLowerCase().startsWith(text)).slice(0, MOST);
    at = Math.min(at, found.length - 1);
    list.replaceChildren(...found.map((tag, n) => h("li", { role: "option", id: `suggest-${n}`, "aria-selected": n === at ? "true" : "false", onpointerdown: (event) => take(event, tag) }, tag)));
    field.setAttribute("aria-expanded", found.length ? "true" : "false");
    if (at >= 0) field.setAttribute("aria-activedescendant", `suggest-${at}`);
    else field.removeAttribute("aria-activedescendant");
  }
  function take(event, tag) {
    event.preventDefault();
    for (const each of tag.split(",")) if (each.trim()) caption.add(each.trim());
    field.value = "";
    at = -1;
    draw();
  }
  field.addEventListener("input", () => {
    at = -1;
    draw();
  });
  field.addEventListener("blur", () => list.replaceChildren());
  field.addEventListener("keydown", (event) => {
    if (event.altKey) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) {
      event.preventDefault();
      at = (at + step + found.length) % found.length;
      draw();
    } else if (event.key === "Enter" && field.value.trim()) take(event, found[at] ?? field.value);
    else if (event.key === "Escape" && found.length) {
      event.preventDefault();
      field.value = "";
      draw();
    }
  });
  return h("div", {}, field, list);
}

/** Opens one picture; the others of the filter follow by the arrows. */
export function editor(store, first, changed) {
  const caption = new Caption(store);
  const image = h("img", { alt: "" });
  const stage = h("div", { class: "stage" });
  const tools = drawing(store, stage, image);
  const facts = h("p", { class: "quiet" });
  let [now, saved, coming] = [first, 0, 0];
  async function save() {
    if (await caption.save()) saved += 1;
    await tools.save();
  }
  async function show(i) {
    const mine = (coming += 1);
    await save();
    now = i;
    const focused = words.contains(document.activeElement) ? document.activeElement : null;
    words.disabled = true; // nothing is typed into the caption of another picture
    const name = store.names[i];
    store.current = i;
    heading.textContent = name;
    image.src = SHOWN.test(name) ? picture(store.of(i)) : picture(store.of(i), 512);
    image.alt = name;
    const [, found] = await Promise.all([caption.read(name), get("datasets/marks/picture", { path: store.path, name })]);
    if (mine !== coming) return;
    words.disabled = false;
    focused?.focus();
    const told = store.odd(i).map((code) => t(`data.odd.${code}`)).join(", ");
    facts.textContent = `${found.width} × ${found.height}${told ? ` · ${told}` : ""} · ${store.shown.indexOf(i) + 1} / ${store.shown.length}`;
    await tools.show(name, found);
  }
  const step = (far) => {
    const place = store.shown.indexOf(now);
    const next = store.shown[Math.min(store.shown.length - 1, Math.max(0, place + far))];
    if (next !== undefined && next !== now) attempt(() => show(next));
  };
  const closed = () => attempt(async () => {
    document.removeEventListener("keydown", keys);
    await save();
    if (saved) await changed();
    store.tell("chosen");
  });
  const go = (words, far, key) => h("button", { type: "button", class: "quiet-button", title: key, onclick: () => step(far) }, words);
  const words = h("fieldset", { disabled: true }, caption.field, caption.chips, adder(store, caption));
  const side = h("div", {}, facts, words, tools.box);
  const bar = h("div", { class: "bar-row" }, h("span", { class: "quiet grow" }, t("data.editor.keys")), go(t("data.editor.back"), -1, "Alt ←"), go(t("data.editor.next"), 1, "Alt →"), h("button", { type: "button", onclick: () => attempt(async () => {
    await save();
    notice(t("data.editor.saved"));
  }) }, t("data.editor.save")));
  const { heading } = dialog("", [h("div", { class: "editor" }, stage, side), bar], { closed });
  function keys(event) {
    const far = event.altKey ? { ArrowLeft: -1, ArrowRight: 1 }[event.key] : undefined;
    const saving = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s";
    if (!far && !saving) return;
    event.preventDefault();
    if (far) step(far);
    else attempt(save);
  }
  document.addEventListener("keydown", keys);
  attempt(() => show(first));
}
