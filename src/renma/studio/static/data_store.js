// The folder that is shown: its pictures as columns, the filters, the selection.

import { get, post } from "./core.js";

export const PLACES = ["all", "any", "none"];

/** All that the page knows of a folder; "loaded", "shown", "chosen" and "odd" tell what changed. */
export class Store extends EventTarget {
  constructor() {
    super();
    this.path = "";
    this.extension = ".txt";
    this.names = [];
    this.shown = new Uint32Array(0);
    this.chosen = new Uint8Array(0);
    this.count = 0;
    this.current = -1;
    this.anchor = -1;
    this.filter = { all: new Set(), any: new Set(), none: new Set(), text: "", where: "", only: "", order: "" };
    this.fitting = null;
    this.lint = new Map();
  }

  /** Reads the folder; what was chosen stays chosen. */
  async load(path = this.path, extension = this.extension) {
    const found = await get("datasets/list", { path, extension });
    const kept = path === this.path || found.path === this.path ? new Set(this.chosenNames()) : new Set();
    const at = this.names[this.current];
    Object.assign(this, found);
    this.place = new Map(this.names.map((name, i) => [name, i]));
    this.id = new Map(this.tags.map((tag, i) => [tag, i]));
    this.sharing = new Set(this.shared);
    this.chosen = new Uint8Array(this.names.length);
    for (const name of kept) if (this.place.has(name)) this.chosen[this.place.get(name)] = 1;
    this.current = this.place.get(at) ?? -1;
    this.anchor = -1;
    for (const kind of PLACES) for (const tag of this.filter[kind]) if (!this.id.has(tag)) this.filter[kind].delete(tag);
    this.tell("loaded");
    await this.ask();
  }

  /** Tells listeners. */
  tell(what) {
    this.dispatchEvent(new Event(what));
  }

  /** Asks which pictures meet the written condition, then filters; returns what is wrong with it. */
  async ask() {
    this.fitting = null;
    const where = this.filter.where.trim();
    const found = where ? await post("datasets/filter", { ...this.folder(), where }) : { wrong: "" };
    if (where !== this.filter.where.trim()) return "";
    if (where && !found.wrong) this.fitting = new Set(found.names);
    this.sift();
    return found.wrong;
  }

  /** Returns how calls name the folder. */
  folder() {
    return { path: this.path, extension: this.extension };
  }

  /** Works out which pictures are shown. */
  sift() {
    const { filter, id } = this;
    const ids = (kind) => [...filter[kind]].map((tag) => id.get(tag)).filter((n) => n !== undefined);
    const [all, any, none] = PLACES.map(ids);
    const text = filter.text.trim().toLowerCase();
    const found = [];
    for (let i = 0; i < this.names.length; i += 1) {
      const row = this.rows[i] ?? [];
      if (all.length && !all.every((n) => row.includes(n))) continue;
      if (any.length && !any.some((n) => row.includes(n))) continue;
      if (none.length && none.some((n) => row.includes(n))) continue;
      if (text && !this.names[i].toLowerCase().includes(text)) continue;
      if (this.fitting && !this.fitting.has(this.names[i])) continue;
      if (filter.only === "bare" && this.rows[i]?.length) continue;
      if (filter.only === "odd" && !this.odd(i).length) continue;
      if (filter.only === "chosen" && !this.chosen[i]) continue;
      found.push(i);
    }
    if (filter.order === "tags") found.sort((a, b) => (this.rows[a]?.length ?? -1) - (this.rows[b]?.length ?? -1));
    if (filter.order === "bytes") found.sort((a, b) => this.bytes[b] - this.bytes[a]);
    this.shown = Uint32Array.from(found);
    this.tell("shown");
  }

  /** Returns what is odd about a picture: codes of the list, then those of lint. */
  odd(i) {
    const row = this.rows[i];
    const found = [];
    if (row === null) found.push("bare");
    else if (!row.length) found.push("empty");
    else if (new Set(row).size < row.length) found.push("twice");
    if (this.sharing.has(i)) found.push("shared");
    return [...found, ...(this.lint.get(this.names[i]) ?? [])];
  }

  /** Counts tags: of all, of those shown, of those chosen. */
  counts() {
    const make = () => new Uint32Array(this.tags.length);
    const [whole, shown, chosen] = [make(), make(), make()];
    const add = (into, i) => {
      for (const n of new Set(this.rows[i] ?? [])) into[n] += 1;
    };
    for (let i = 0; i < this.names.length; i += 1) {
      add(whole, i);
      if (this.chosen[i]) add(chosen, i);
    }
    for (const i of this.shown) add(shown, i);
    return { whole, shown, chosen };
  }

  /** Returns the names of the pictures that are chosen. */
  chosenNames() {
    return this.names.filter((_, i) => this.chosen[i]);
  }

  /** Returns the names of the pictures that are shown. */
  shownNames() {
    return Array.from(this.shown, (i) => this.names[i]);
  }

  /** Chooses pictures, or no longer. */
  choose(places, on = true) {
    for (const i of places) this.chosen[i] = on ? 1 : 0;
    this.recount();
  }

  /** Chooses these pictures and no others. */
  chooseOnly(places) {
    this.chosen.fill(0);
    this.choose(places);
  }

  /** Counts what is chosen and tells it. */
  recount() {
    this.count = this.chosen.reduce((sum, each) => sum + each, 0);
    this.tell("chosen");
  }

  /** Returns the path of a picture in the workspace. */
  of(i) {
    return this.path ? `${this.path}/${this.names[i]}` : this.names[i];
  }
}
