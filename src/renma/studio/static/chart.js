// Curves as SVG: few points, no library. One axis each, hover tells the numbers.

import { h } from "./core.js";

const SPACE = "http://www.w3.org/2000/svg";
const [WIDE, HIGH, LEFT, BOTTOM, TOP, RIGHT] = [720, 220, 56, 24, 10, 12];

function s(name, attributes = {}, ...children) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const short = (x) => (x === 0 ? "0" : Math.abs(x) < 0.001 || Math.abs(x) >= 1e5 ? x.toExponential(1) : String(+x.toPrecision(3)));

function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((each) => each >= raw);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high + step * 1e-9; x += step) found.push(x);
  return found;
}

/**
 * Draws curves into an element.
 * @param {HTMLElement} place
 * @param {{name: string, kind: string, points: [number, number][]}[]} rows kind is a class: faint, main, second
 * @param {{from?: number, to?: number, zero?: boolean}} range of steps; zero begins the scale at 0
 */
export function chart(place, rows, { from = 0, to, zero = false } = {}) {
  const shown = rows.map((row) => ({ ...row, points: row.points.filter(([, y]) => Number.isFinite(y)) })).filter((row) => row.points.length);
  if (!shown.length) return place.replaceChildren(h("p", { class: "quiet" }, "–"));
  const ys = shown.flatMap((row) => row.points.map(([, y]) => y)).sort((a, b) => a - b);
  const far = to ?? Math.max(...shown.flatMap((row) => row.points.map(([x]) => x)));
  const least = zero ? Math.min(0, ys[0]) : ys[0];
  const most = ys[Math.floor((ys.length - 1) * 0.995)]; // one wild step does not flatten the rest
  const low = least, high = most > least ? most + (most - least) * 0.06 : least + Math.max(1e-12, Math.abs(least) * 0.1);
  const x = (step) => LEFT + ((step - from) / Math.max(1, far - from)) * (WIDE - LEFT - RIGHT);
  const y = (value) => HIGH - BOTTOM - ((Math.min(value, high) - low) / (high - low)) * (HIGH - BOTTOM - TOP);
  const svg = s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": shown.map((row) => `${row.name} ${short(row.points.at(-1)[1])}`).join(", ") });
  for (const value of ticks(low, high, 4)) {
    svg.append(s("line", { class: "rule", x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value) }));
    const label = s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" });
    label.textContent = short(value);
    svg.append(label);
  }
  for (const value of ticks(from, far, 6)) {
    const label = s("text", { x: x(value), y: HIGH - 6, "text-anchor": "middle" });
    label.textContent = short(value);
    svg.append(label);
  }
  for (const row of shown) {
    const line = row.points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    svg.append(s("path", { class: row.kind, d: line }));
  }
  const told = h("p", { class: "told quiet" });
  const key = h("p", { class: "key" }, shown.map((row) => h("span", { class: row.kind }, row.name)));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const step = from + (((event.clientX - box.left) / box.width) * WIDE - LEFT) / (WIDE - LEFT - RIGHT) * (far - from);
    told.textContent = shown.map((row) => {
      const near = row.points.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
      return `${row.name} ${short(near[1])} (${near[0]})`;
    }).join(" · ");
  });
  place.replaceChildren(svg, key, told);
}
