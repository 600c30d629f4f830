"use strict";
(() => {
  const buttons = [...document.querySelectorAll("td button")];
  const place = (b) => [b.dataset.z, b.dataset.y, b.dataset.x].map(Number);
  const cells = new Map(buttons.map((b) => [place(b).join(), b]));
  const dialog = document.querySelector("dialog");
  const stage = dialog.querySelector(".stage");
  const caption = dialog.querySelector(".caption");
  const sizer = document.getElementById("sizer");
  let now = null;

  const neighbour = (dx, dy, dz) => {
    const [z, y, x] = place(now);
    return cells.get([z + dz, y + dy, x + dx].join());
  };
  const show = (button) => {
    if (!button) return;
    now = button;
    stage.replaceChildren(...[...button.querySelectorAll("img")].map((i) => i.cloneNode()));
    const figure = button.parentElement.querySelector("small");
    caption.textContent = button.firstElementChild.alt + (figure ? " · " + figure.textContent : "");
    for (const b of dialog.querySelectorAll("[data-go]"))
      b.disabled = !neighbour(...b.dataset.go.split(",").map(Number), 0);
    if (!dialog.open) dialog.showModal();
  };
  const turn = (by) => {
    const [z, y, x] = place(now);
    const last = Math.max(...buttons.map((b) => place(b)[0]));
    show(cells.get([(z + by + last + 1) % (last + 1), y, x].join()));
  };
  const leave = () => {
    dialog.close();
    now.focus({ preventScroll: true });
    now.scrollIntoView({ block: "center", inline: "center" });
  };

  for (const button of buttons) button.addEventListener("click", () => show(button));
  stage.addEventListener("click", leave);
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); leave(); });
  dialog.addEventListener("click", (event) => {
    const { go, turn: by, close } = event.target.dataset;
    if (go) show(neighbour(...go.split(",").map(Number), 0));
    if (by) turn(Number(by));
    if (close !== undefined) leave();
  });
  const keys = {
    ArrowLeft: () => show(neighbour(-1, 0, 0)), ArrowRight: () => show(neighbour(1, 0, 0)),
    ArrowUp: () => show(neighbour(0, -1, 0)), ArrowDown: () => show(neighbour(0, 1, 0)),
    PageUp: () => turn(-1), PageDown: () => turn(1),
  };
  dialog.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  let from = null;
  stage.addEventListener("touchstart", (event) => {
    from = event.touches.length === 1 ? event.touches[0] : null;
  }, { passive: true });
  stage.addEventListener("touchend", (event) => {
    if (!from) return;
    const dx = event.changedTouches[0].clientX - from.clientX;
    const dy = event.changedTouches[0].clientY - from.clientY;
    if (Math.max(Math.abs(dx), Math.abs(dy)) < 40) return;
    event.preventDefault();
    if (Math.abs(dx) > Math.abs(dy)) show(neighbour(dx < 0 ? 1 : -1, 0, 0));
    else show(neighbour(0, dy < 0 ? 1 : -1, 0));
  });
  document.getElementById("hint").hidden = false;
  sizer.hidden = false;
  sizer.addEventListener("input", (event) => {
    document.documentElement.style.setProperty("--cell", event.target.value + "px");
  });
})();
