// Dialogs of this page: one look, closed by Escape, gone when closed.

import { h, t } from "./core.js";

/**
 * Opens a dialog.
 * @param {string} title
 * @param {(Node|string|null)[]} children
 * @param {{wide?: boolean, closed?: () => void}} how
 */
export function dialog(title, children, { wide = true, closed } = {}) {
  const heading = h("span", { class: "grow", id: "dialog-title" }, title);
  const box = h("dialog", { class: wide ? "wide" : null, "aria-labelledby": "dialog-title" },
    h("h2", {}, heading, h("button", { class: "plain", type: "button", "aria-label": t("close"), onclick: () => box.close() }, "×")), ...children);
  const notices = document.getElementById("notices");
  const home = notices.parentNode;
  box.addEventListener("close", () => {
    home.append(notices);
    box.remove();
    closed?.();
  });
  document.body.append(box);
  box.append(notices); // what lies outside of a modal dialog is dimmed and cannot be clicked
  box.showModal();
  return { box, heading };
}

/** Returns a labelled control. */
export function labelled(words, control, kind = "") {
  return kind === "switch" ? h("label", { class: "switch" }, control, words) : h("label", {}, words, control);
}

/** Returns a list to choose from. */
export function select(name, rows) {
  return h("select", { name }, rows.map(([value, words]) => h("option", { value }, words)));
}

/** Returns which pictures something is done to: radio buttons, and what says which are meant. */
export function scope(store) {
  const rows = [["chosen", store.count], ["shown", store.shown.length], ["whole", store.names.length]];
  const first = store.count ? "chosen" : "shown";
  const made = rows.map(([value, count]) => h("label", { class: "switch" },
    h("input", { type: "radio", name: "scope", value, checked: value === first, disabled: !count }), `${t(`data.scope.${value}`)} (${count})`));
  const box = h("fieldset", { class: "scope" }, h("legend", { class: "hidden" }, t("data.scope")), made);
  const names = () => {
    const which = box.querySelector("input:checked")?.value;
    return which === "chosen" ? store.chosenNames() : which === "shown" ? store.shownNames() : store.names;
  };
  return { box, names };
}
