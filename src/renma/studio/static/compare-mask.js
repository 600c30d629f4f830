// A picture of coloured areas, painted with rectangles or a brush, or filled by halves.

import { h, t } from "./core.js";

const LONG = 512;
/** Far enough apart that a smoothed edge belongs to none of them. */
export const COLOURS = ["#e6194b", "#3cb44b", "#4363d8", "#ffd000", "#911eb4", "#42d4f4", "#f58231", "#808000"];
const FILLS = { left: [0, 0, 0.5, 1], right: [0.5, 0, 0.5, 1], top: [0, 0, 1, 0.5], bottom: [0, 0.5, 1, 0.5], middle: [0.25, 0.25, 0.5, 0.5], whole: [0, 0, 1, 1] };

/** Returns a painter: `made`, `colour(hex)`, `shape(width, height)`, `picture()`. */
export function mask() {
  const canvas = h("canvas", { width: LONG, height: LONG, class: "mask", role: "img", "aria-label": t("compare.mask") });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const tool = h("select", { "aria-label": t("compare.tool") }, h("option", { value: "box" }, t("compare.box")), h("option", { value: "brush" }, t("compare.brush")), h("option", { value: "rub" }, t("compare.rub")));
  const wide = h("input", { type: "range", min: 4, max: 160, value: 48, "aria-label": t("compare.wide") });
  const state = { colour: COLOURS[0], before: [], from: null, still: null };

  const keep = () => {
    state.before.push(pen.getImageData(0, 0, canvas.width, canvas.height));
    if (state.before.length > 20) state.before.shift();
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };
  const dab = ([x0, y0], [x1, y1]) => {
    pen.globalCompositeOperation = tool.value === "rub" ? "destination-out" : "source-over";
    Object.assign(pen, { strokeStyle: state.colour, lineWidth: Number(wide.value), lineCap: "round" });
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
    pen.stroke();
    pen.globalCompositeOperation = "source-over";
  };
  const fill = (x, y, w, high) => {
    pen.fillStyle = state.colour;
    pen.fillRect(Math.round(x), Math.round(y), Math.round(w), Math.round(high));
  };
  canvas.addEventListener("pointerdown", (event) => {
    keep();
    canvas.setPointerCapture(event.pointerId);
    state.from = place(event);
    state.still = state.before.at(-1);
    if (tool.value !== "box") dab(state.from, state.from);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!state.from) return;
    const here = place(event);
    if (tool.value === "box") {
      pen.putImageData(state.still, 0, 0);
      fill(Math.min(state.from[0], here[0]), Math.min(state.from[1], here[1]), Math.abs(here[0] - state.from[0]), Math.abs(here[1] - state.from[1]));
    } else {
      dab(state.from, here);
      state.from = here;
    }
  });
  const end = () => (state.from = null);
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);

  return { made: bars(canvas, pen, { tool, wide, keep, fill, state }), colour: (hex) => (state.colour = hex), shape: (width, height) => shape(canvas, pen, state, width, height), picture: () => canvas.toDataURL("image/png") };
}

/** Returns the canvas with its tools; parts can be filled without a pointer. */
function bars(canvas, pen, { tool, wide, keep, fill, state }) {
  const undo = () => state.before.length && pen.putImageData(state.before.pop(), 0, 0);
  const clear = () => { keep(); pen.clearRect(0, 0, canvas.width, canvas.height); };
  const button = (key, does) => h("button", { type: "button", class: "quiet-button", onclick: does }, t(`compare.${key}`));
  const halves = Object.entries(FILLS).map(([key, [x, y, w, high]]) => button(key, () => { keep(); fill(x * canvas.width, y * canvas.height, w * canvas.width, high * canvas.height); }));
  const row = (...made) => h("div", { class: "row" }, made);
  const parts = h("div", { class: "row", role: "group", "aria-label": t("compare.fill") }, halves);
  return h("div", { class: "painter" }, canvas, row(tool, wide, button("undo", undo), button("clear", clear)), parts);
}

/** Gives the picture the proportions of those that are drawn; what was painted is stretched. */
function shape(canvas, pen, state, width, height) {
  const scale = LONG / Math.max(width, height);
  const [w, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (w === canvas.width && high === canvas.height) return;
  const old = document.createElement("canvas");
  Object.assign(old, { width: canvas.width, height: canvas.height });
  old.getContext("2d").drawImage(canvas, 0, 0);
  Object.assign(canvas, { width: w, height: high });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(old, 0, 0, w, high);
  state.before = [];
}
