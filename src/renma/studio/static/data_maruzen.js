// The Maruzen table: which tags the trigger word is to absorb, ticked by hand, taken out.

import { attempt, h, notice, post, t } from "./core.js";
import { dialog, labelled, select } from "./data_dialog.js";
import { later } from "./data_tags.js";

const plain = (tag) => tag.replaceAll("*", "\\*");

function table(set, wishes, redraw) {
  const rows = set.tags.map((row) => {
    const fixed = row.decision === "trigger";
    const box = h("input", { type: "checkbox", checked: row.decision === "remove", disabled: fixed, "aria-label": `${t("data.maruzen.take_out")}: ${row.tag}` });
    box.addEventListener("change", () => {
      wishes.set(row.tag, box.checked);
      redraw();
    });
    return h("tr", {}, h("td", {}, box), h("td", {}, row.tag), h("td", {}, `${Math.round(row.share * 100)} %`), h("td", {}, t(`data.decision.${row.decision}`)), h("td", { class: "quiet" }, row.why));
  });
  const head = ["data.maruzen.take_out", "data.maruzen.tag", "data.maruzen.share", "data.maruzen.decision", "data.maruzen.why"].map((key) => h("th", { scope: "col" }, t(key)));
  const source = set.trigger ? `${t("data.maruzen.trigger")} ${set.trigger} (${set.trigger_source})` : t("data.maruzen.no_trigger");
  return [h("h3", {}, set.sets.join(", ")), h("p", { class: "quiet" }, `${set.captions} ${t("data.maruzen.captions")}; ${source}`), ...set.notes.map((note) => h("p", {}, note)),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)))];
}

/** Opens the dialog of the Maruzen method. */
export function maruzen(store, changed) {
  const trigger = h("input", { name: "trigger", autocomplete: "off" });
  const kind = select("kind", ["character", "style", "object"].map((each) => [each, t(`data.kind.${each}`)]));
  const clothes = select("clothes", [["keep", t("data.clothes.keep")], ["remove", t("data.clothes.remove")]]);
  const place = h("div", { class: "preview tall", tabindex: "0", role: "region", "aria-label": t("data.tool.maruzen") });
  const apply = h("button", { type: "button", disabled: true }, t("data.maruzen.apply"));
  const wishes = new Map();
  const ask = (write) => post("datasets/maruzen", {
    ...store.folder(), trigger: trigger.value.trim(), kind: kind.value, clothes: clothes.value, write,
    keep: [...wishes].filter(([, out]) => !out).map(([tag]) => plain(tag)), remove: [...wishes].filter(([, out]) => out).map(([tag]) => plain(tag)),
  });
  async function show() {
    apply.disabled = true;
    try {
      const found = await ask(false);
      const again = later(show, 400);
      place.replaceChildren(found.wrong ? h("p", { class: "wrong" }, found.wrong) : "", ...found.warnings.map((line) => h("p", { class: "wrong" }, line)), ...found.sets.flatMap((set) => table(set, wishes, again)));
      apply.disabled = !found.sets.some((set) => set.captions);
    } catch (error) {
      place.replaceChildren(h("p", { class: "wrong" }, error.message));
    }
  }
  for (const each of [kind, clothes]) each.addEventListener("change", show);
  trigger.addEventListener("input", later(show, 400));
  const { box } = dialog(t("data.tool.maruzen"), [
    h("p", { class: "quiet" }, t("data.maruzen.lead")),
    h("div", { class: "columns" }, labelled(t("data.maruzen.word"), trigger), labelled(t("data.maruzen.kind"), kind), labelled(t("data.maruzen.clothes"), clothes)),
    place, h("div", { class: "bar-row" }, apply),
  ]);
  apply.addEventListener("click", () => attempt(async () => {
    await ask(true);
    notice(t("data.maruzen.done"));
    box.close();
    await changed();
  }));
  show();
}
