// Drawing on a picture: a frame by dragging or by numbers, a mask by brush or by frame.

import { h, t } from "./core.js";

const HOLD = 9; // pixels of the screen around an edge in which it is caught
const PAINT = "#ff3d81";

/** A layer over a picture with the picture's own pixels; draws a frame and a painted mask. */
export class Layer {
  constructor(stage, image) {
    Object.assign(this, { image, frame: null, mode: "", brush: 40, rubber: false, touched: false, listeners: [] });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.mask = document.createElement("canvas");
    this.stage = stage;
    stage.append(h("div", { class: "sheet" }, image, this.canvas));
    new ResizeObserver(() => this.fit()).observe(stage);
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
  }

  /** Begins anew with a picture of a size. */
  begin(width, height, frame) {
    for (const each of [this.canvas, this.mask]) Object.assign(each, { width, height });
    Object.assign(this, { frame, touched: false, brush: Math.max(3, Math.round(width / 14)) });
    this.fit();
    this.draw();
  }

  /** Shows the picture as large as there is room, small ones enlarged. */
  fit() {
    const { width, height } = this.canvas;
    const scale = Math.min(this.stage.clientWidth / width, (innerHeight * 0.6) / height);
    Object.assign(this.image.style, { width: `${Math.floor(width * scale)}px`, height: `${Math.floor(height * scale)}px` });
  }

  /** Takes a mask that lies in the workspace: what is white in it is painted. */
  async take(address) {
    const picture = new Image();
    picture.src = address;
    await picture.decode();
    const context = this.mask.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0, this.mask.width, this.mask.height);
    this.each((data, n) => {
      data[n + 3] = data[n] >= 128 ? 255 : 0;
    });
    this.tint();
  }

  /** Changes every pixel of the mask. */
  each(action) {
    const context = this.mask.getContext("2d", { willReadFrequently: true });
    const found = context.getImageData(0, 0, this.mask.width, this.mask.height);
    for (let n = 0; n < found.data.length; n += 4) action(found.data, n);
    context.putImageData(found, 0, 0);
    this.draw();
  }

  tint() {
    const context = this.mask.getContext("2d");
    context.globalCompositeOperation = "source-in";
    context.fillStyle = PAINT;
    context.fillRect(0, 0, this.mask.width, this.mask.height);
    context.globalCompositeOperation = "source-over";
    this.draw();
  }

  /** Paints all, nothing, the other part, or the frame. */
  fill(what) {
    const context = this.mask.getContext("2d");
    const { width, height } = this.mask;
    context.globalCompositeOperation = what === "invert" ? "xor" : "source-over";
    context.fillStyle = PAINT;
    if (what === "none") context.clearRect(0, 0, width, height);
    else if (what === "frame") context.fillRect(...(this.frame ?? [0, 0, 0, 0]));
    else context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
    this.changed();
  }

  /** Returns the mask as a PNG in base64: white where it is painted. */
  png() {
    const made = document.createElement("canvas");
    Object.assign(made, { width: this.mask.width, height: this.mask.height });
    const context = made.getContext("2d");
    context.drawImage(this.mask, 0, 0);
    const found = context.getImageData(0, 0, made.width, made.height);
    for (let n = 0; n < found.data.length; n += 4) {
      found.data.fill(found.data[n + 3] >= 128 ? 255 : 0, n, n + 3);
      found.data[n + 3] = 255;
    }
    context.putImageData(found, 0, 0);
    return made.toDataURL("image/png").split(",")[1];
  }

  changed() {
    this.touched = true;
    this.draw();
    for (const listener of this.listeners) listener();
  }

  /** Draws frame and mask. */
  draw() {
    const { canvas, frame, mode } = this;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (mode === "masks" || mode === "erase") {
      context.globalAlpha = 0.5;
      context.drawImage(this.mask, 0, 0);
      context.globalAlpha = 1;
    }
    if (!frame || !mode) return;
    context.lineWidth = Math.max(1.5, canvas.width / Math.max(1, canvas.clientWidth) * 2);
    if (mode === "crop") {
      context.fillStyle = "#0008";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.clearRect(...frame);
    }
    for (const [color, dash] of [["#000", []], ["#fff", [6, 6]]]) {
      context.setLineDash(dash.map((each) => each * context.lineWidth));
      context.strokeStyle = color;
      context.strokeRect(...frame);
    }
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.canvas.width;
    const y = ((event.clientY - box.top) / box.height) * this.canvas.height;
    return [Math.min(this.canvas.width, Math.max(0, x)), Math.min(this.canvas.height, Math.max(0, y))];
  }

  down(event) {
    if (!this.mode || event.button) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    const move = this.mode === "crop" ? this.framing(this.point(event)) : this.painting(this.point(event));
    const up = () => {
      this.canvas.removeEventListener("pointermove", move);
      this.canvas.removeEventListener("pointerup", up);
      this.canvas.removeEventListener("pointercancel", up);
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", up);
    this.canvas.addEventListener("pointercancel", up);
  }

  painting(from) {
    const context = this.mask.getContext("2d");
    Object.assign(context, { lineCap: "round", lineJoin: "round", lineWidth: this.brush, strokeStyle: PAINT });
    let last = from;
    const line = (to) => {
      context.globalCompositeOperation = this.rubber ? "destination-out" : "source-over";
      context.beginPath();
      context.moveTo(...last);
      context.lineTo(to[0], to[1] + 0.01);
      context.stroke();
      context.globalCompositeOperation = "source-over";
      last = to;
      this.changed();
    };
    line(from);
    return (event) => line(this.point(event));
  }

  framing([x, y]) {
    const { frame, canvas } = this;
    const near = (HOLD / Math.max(1, canvas.clientWidth)) * canvas.width;
    const [left, top, wide, high] = frame ?? [0, 0, 0, 0];
    const inside = frame && x > left - near && x < left + wide + near && y > top - near && y < top + high + near;
    if (!inside) return (event) => this.set(spanned([x, y], this.point(event)));
    const caught = [Math.abs(x - left) < near, Math.abs(y - top) < near, Math.abs(x - left - wide) < near, Math.abs(y - top - high) < near];
    if (!caught.some(Boolean)) {
      return (event) => {
        const [nx, ny] = this.point(event);
        const at = (value, far) => Math.min(far, Math.max(0, value));
        this.set([at(left + nx - x, canvas.width - wide), at(top + ny - y, canvas.height - high), wide, high]);
      };
    }
    return (event) => {
      const [nx, ny] = this.point(event);
      const [a, b] = [caught[0] ? nx : left, caught[1] ? ny : top];
      this.set(spanned([a, b], [caught[2] ? nx : left + wide, caught[3] ? ny : top + high]));
    };
  }

  /** Sets the frame, in whole pixels inside the picture. */
  set(frame) {
    const { width, height } = this.canvas;
    const [left, top] = [Math.min(width - 8, Math.max(0, Math.round(frame[0]))), Math.min(height - 8, Math.max(0, Math.round(frame[1])))];
    this.frame = [left, top, Math.min(width - left, Math.max(8, Math.round(frame[2]))), Math.min(height - top, Math.max(8, Math.round(frame[3])))];
    this.changed();
  }
}

function spanned([a, b], [c, d]) {
  return [Math.min(a, c), Math.min(b, d), Math.abs(c - a), Math.abs(d - b)];
}

/** Returns four number fields of a layer's frame. */
export function numbers(layer) {
  const inputs = ["left", "top", "width", "height"].map((name) => h("input", { type: "number", min: 0, name }));
  const box = h("div", { class: "numbers" }, inputs.map((each) => h("label", {}, t(`data.draw.${each.name}`), each)));
  const read = () => inputs.forEach((each, n) => (each.value = layer.frame?.[n] ?? ""));
  box.addEventListener("change", () => {
    if (inputs.every((each) => each.value !== "")) layer.set(inputs.map((each) => Number(each.value)));
  });
  layer.listeners.push(read);
  return { box, read };
}
