// The grid: cells of one size, only those in sight are in the document, and they are used again.

import { h, picture, t } from "./core.js";

const [GAP, LABEL, AHEAD] = [8, 24, 2];
const FAST = 2500; // pixels a second: whoever scrolls faster looks at no picture
const PAUSE = 90;

/**
 * Draws the pictures of a store and lets them be chosen.
 * @param {HTMLElement} box that scrolls
 * @param {import("./data_store.js").Store} store
 * @param {(place: number) => void} open shows one picture
 */
export class Grid {
  constructor(box, store, open) {
    Object.assign(this, { box, store, open, side: 160, columns: 1, cells: new Map(), free: [], waiting: new Set(), several: false });
    this.canvas = box.firstElementChild;
    this.settled = 0;
    this.last = { top: 0, time: 0 };
    box.addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(box);
    store.addEventListener("shown", () => this.fresh());
    for (const what of ["chosen", "odd"]) store.addEventListener(what, () => this.refill());
    box.addEventListener("click", (event) => this.clicked(event));
    box.addEventListener("dblclick", (event) => this.at(event) >= 0 && open(this.at(event)));
    box.addEventListener("keydown", (event) => this.key(event));
  }

  /** Changes the side of the cells, in pixels. */
  resize(side) {
    this.side = side;
    this.fresh();
  }

  fresh() {
    for (const cell of this.cells.values()) this.put_away(cell);
    this.cells.clear();
    this.layout();
  }

  layout() {
    const wide = this.canvas.clientWidth;
    const columns = Math.max(1, Math.floor((wide + GAP) / (this.side + GAP)));
    this.width = Math.max(60, Math.floor((wide - GAP * (columns - 1)) / columns));
    this.height = Math.min(this.width, this.side) + LABEL;
    this.step = this.height + GAP;
    const top = this.columns ? Math.floor(this.box.scrollTop / this.step) * this.columns : 0;
    this.columns = columns;
    this.canvas.style.height = `${Math.ceil(this.store.shown.length / columns) * this.step}px`;
    if (top && this.box.scrollTop === 0) this.box.scrollTop = Math.floor(top / columns) * this.step;
    for (const [place, cell] of this.cells) this.lay(cell, place);
    this.draw();
  }

  soon() {
    if (this.asked) return;
    this.asked = requestAnimationFrame((now) => {
      this.asked = 0;
      const { scrollTop } = this.box;
      const speed = (Math.abs(scrollTop - this.last.top) / Math.max(1, now - this.last.time)) * 1000;
      this.last = { top: scrollTop, time: now };
      this.draw(speed < FAST);
    });
  }

  draw(load = true) {
    const { scrollTop, clientHeight } = this.box;
    const from = Math.max(0, (Math.floor(scrollTop / this.step) - AHEAD) * this.columns);
    const to = Math.min(this.store.shown.length, (Math.ceil((scrollTop + clientHeight) / this.step) + AHEAD) * this.columns);
    for (const [place, cell] of this.cells) {
      if (place >= from && place < to) continue;
      this.cells.delete(place);
      this.put_away(cell);
    }
    for (let place = from; place < to; place += 1) if (!this.cells.has(place)) this.cells.set(place, this.made(place));
    clearTimeout(this.settled);
    if (load) this.load();
    else this.settled = setTimeout(() => this.load(), PAUSE);
  }

  load() {
    for (const cell of this.waiting) {
      cell.image.src = picture(this.store.of(cell.of), this.side > 192 ? 384 : 192);
    }
    this.waiting.clear();
  }

  put_away(cell) {
    this.waiting.delete(cell);
    cell.box.remove();
    cell.image.removeAttribute("src");
    cell.image.classList.add("empty");
    if (this.free.length < 200) this.free.push(cell);
  }

  made(place) {
    const cell = this.free.pop() ?? blank();
    cell.of = this.store.shown[place];
    this.waiting.add(cell);
    this.lay(cell, place);
    this.fill(cell);
    this.canvas.append(cell.box);
    return cell;
  }

  lay(cell, place) {
    const x = (place % this.columns) * (this.width + GAP);
    const y = Math.floor(place / this.columns) * this.step;
    cell.box.style.width = `${this.width}px`;
    cell.box.style.height = `${this.height}px`;
    cell.box.style.transform = `translate(${x}px,${y}px)`;
    cell.box.setAttribute("aria-posinset", place + 1);
    cell.box.setAttribute("aria-setsize", this.store.shown.length);
  }

  fill(cell) {
    const { store } = this;
    const i = cell.of;
    const odd = store.odd(i);
    const tags = store.rows[i]?.length ?? 0;
    const told = odd.map((code) => t(`data.odd.${code}`)).join(", ");
    cell.box.id = `picture-${i}`;
    cell.box.classList.toggle("current", i === store.current);
    cell.box.setAttribute("aria-selected", store.chosen[i] ? "true" : "false");
    cell.box.setAttribute("aria-label", `${store.names[i]}, ${tags} ${t("data.tags_of")}${told ? `, ${told}` : ""}`);
    cell.name.textContent = store.names[i].split("/").at(-1);
    cell.box.title = told ? `${store.names[i]}\n${told}` : store.names[i];
    cell.tags.textContent = store.rows[i] === null ? "–" : tags;
    cell.odd.textContent = odd.length ? `! ${odd.length > 1 ? odd.length : ""}`.trim() : "";
  }

  refill() {
    for (const cell of this.cells.values()) this.fill(cell);
  }

  at(event) {
    const box = event.target.closest?.(".cell");
    return box ? Number(box.id.slice(8)) : -1;
  }

  clicked(event) {
    const i = this.at(event);
    if (i < 0) return;
    const { store } = this;
    if (event.shiftKey && store.anchor >= 0) this.range(i, event.ctrlKey || event.metaKey);
    else if (event.ctrlKey || event.metaKey || this.several) {
      store.anchor = i;
      this.go(i);
      store.choose([i], !store.chosen[i]);
      return;
    } else {
      store.anchor = i;
      store.chooseOnly([i]);
    }
    this.go(i);
  }

  /** Chooses all from the anchor to a picture, in the order that is shown. */
  range(i, add) {
    const { store } = this;
    const [a, b] = [store.shown.indexOf(store.anchor), store.shown.indexOf(i)].sort((x, y) => x - y);
    const places = store.shown.slice(Math.max(0, a), b + 1);
    if (add) store.choose(places);
    else store.chooseOnly(places);
  }

  /** Makes a picture the current one and brings it into sight. */
  go(i) {
    const { store, box } = this;
    store.current = i;
    const place = store.shown.indexOf(i);
    if (place < 0) return;
    const top = Math.floor(place / this.columns) * this.step;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + this.height + 2 * GAP > box.scrollTop + box.clientHeight) box.scrollTop = top + this.height + 2 * GAP - box.clientHeight;
    this.draw();
    this.refill();
    box.setAttribute("aria-activedescendant", `picture-${i}`);
  }

  key(event) {
    const { store } = this;
    const whole = event.ctrlKey || event.metaKey;
    const rows = Math.max(1, Math.floor(this.box.clientHeight / this.step));
    const far = store.shown.length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -rows * this.columns, PageDown: rows * this.columns, Home: -far, End: far };
    if (event.key === "a" && whole) store.choose(store.shown);
    else if (event.key === "Escape") store.chooseOnly([]);
    else if (event.key === " " && store.current >= 0) this.space(event);
    else if (event.key === "Enter" && store.current >= 0) this.open(store.current);
    else if (event.key in steps && far) this.move(steps[event.key], event.shiftKey, whole);
    else return;
    event.preventDefault();
  }

  space(event) {
    const { store } = this;
    if (event.shiftKey && store.anchor >= 0) this.range(store.current, true);
    else {
      store.anchor = store.current;
      store.choose([store.current], !store.chosen[store.current]);
    }
  }

  move(step, choosing, whole) {
    const { store } = this;
    const now = store.shown.indexOf(store.current);
    const next = now < 0 ? 0 : Math.min(store.shown.length - 1, Math.max(0, now + step));
    if (choosing && store.anchor < 0) store.anchor = store.current;
    this.go(store.shown[next]);
    if (choosing) this.range(store.current, whole);
  }
}

function blank() {
  const image = h("img", { alt: "", class: "empty", decoding: "async", draggable: "false" });
  const [name, tags, odd] = [h("span", { class: "name" }), h("span", {}), h("span", { class: "odd", "aria-hidden": "true" })];
  image.addEventListener("load", () => image.classList.remove("empty"));
  const box = h("div", { class: "cell", role: "option" }, image, odd, h("span", { class: "label" }, name, tags));
  return { box, image, name, tags, odd, of: -1 };
}
