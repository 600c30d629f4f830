// The plan beside the form: facts, sizes as bars, learning rates, and what is wrong.

import { chart } from "./chart.js";
import { duration, h, size, t } from "./core.js";
import { flat, same, shown } from "./new-values.js";

const at = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString(document.documentElement.lang);
const LEVELS = ["error", "warning", "note"];

/** Draws what is known; a plan that cannot be made leaves the last one, marked as old. */
export function draw(checked, go) {
  messages(checked.messages, go);
  at("command").textContent = checked.command;
  const old = !checked.plan;
  at("plan").classList.toggle("old", old);
  at("rates").classList.toggle("old", old);
  at("plan-old").hidden = !old || !at("plan").childElementCount;
  if (old) return;
  const { plan } = checked;
  at("plan").replaceChildren(facts(plan), ...parts(plan), ...buckets(plan.bucket_rows ?? []));
  chart(at("rates"), checked.rates.map((row, i) => ({ name: `${t("new.rate")}: ${row.name}`, kind: i ? "second" : "main", points: row.points })), { from: 0, to: plan.steps, zero: true });
  at("plan-more").replaceChildren(h("details", {}, h("summary", {}, t("new.table")), h("pre", { tabindex: "0" }, checked.lines.join("\n"))));
}

/** Returns the plan in a few words, for the foot of the page. */
export function brief({ plan, messages: told }) {
  const wrong = told.filter((m) => m.level === "error").length;
  const odd = told.filter((m) => m.level === "warning").length;
  const counts = [wrong && `${wrong} ${t("new.errors")}`, odd && `${odd} ${t("new.warnings")}`].filter(Boolean);
  if (!plan || wrong) return counts.join(" · ");
  return [`${number(plan.steps)} ${t("new.steps")}`, `${t("new.about")} ${time(plan.seconds)}`, size(plan.memory_mib * 2 ** 20), ...counts].join(" · ");
}

const time = (seconds) => duration(seconds);

function messages(told, go) {
  const sorted = told.toSorted((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
  const row = (m) => h("li", { class: m.level }, h("b", {}, t(`new.${m.level}`)), " ", m.text, " ", m.key && h("button", { type: "button", class: "plain link", onclick: () => go(m.key) }, m.key));
  at("messages").replaceChildren(...(sorted.length ? [h("ul", { class: "said" }, sorted.map(row))] : [h("p", { class: "quiet fine" }, t("new.fine"))]));
}

function facts(plan) {
  const more = [plan.reg_pictures && `${number(plan.reg_pictures)} ${t("new.reg")}`, plan.held_out && `${number(plan.held_out)} ${t("new.held_out")}`].filter(Boolean);
  const { seen, saves } = plan;
  const times = seen && (seen.least === seen.most ? `${seen.least}` : `${seen.least}–${seen.most}`);
  const rows = [
    [t("new.model"), plan.model],
    plan.pictures && [t("new.pictures"), [number(plan.pictures), ...more].join(" + ")],
    [t("new.length"), `${number(plan.steps)} ${t("new.steps")}${plan.pictures ? `, ${plan.epochs} ${t("new.epochs")}` : ""}`],
    plan.pictures && [t("new.shown"), `${times} ${t("new.times")}`],
    [t("new.time"), `${time(plan.seconds)}${plan.seconds_known ? "" : ` (${t("new.guess")})`}`],
    [t("new.memory"), size(plan.memory_mib * 2 ** 20)],
    [t("new.trained"), number(plan.parameters)],
    [t("new.files"), `${saves.files.length} × ${size(plan.file_bytes)}`],
    saves.preview_steps.length && [t("new.previews"), `${saves.preview_steps.length} × ${saves.previews}`],
    ...(plan.method ?? []),
  ].filter(Boolean);
  return h("dl", { class: "plan-facts" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function bar(label, share, words, title) {
  const inner = h("i", {});
  inner.style.setProperty("width", `${Math.max(1, share * 100).toFixed(1)}%`);
  return h("li", { title }, h("span", {}, label), h("span", { class: "bar", "aria-hidden": "true" }, inner), h("span", {}, words));
}

function parts(plan) {
  const rows = Object.entries(plan.memory).filter(([name, mib]) => name !== "caching_latents" && mib >= 1).sort((a, b) => b[1] - a[1]);
  if (!rows.length) return [];
  const most = rows[0][1];
  return [h("h3", {}, t("new.memory")), h("ul", { class: "bars" }, rows.map(([name, mib]) => bar(t(`new.memory.${name}`), mib / most, size(mib * 2 ** 20))))];
}

function buckets(rows) {
  if (!rows.length) return [];
  const most = Math.max(...rows.map((row) => row.pictures));
  const list = rows.map((row) => bar(row.size, row.pictures / most, `${row.pictures}${row.worst > 0.005 ? ` · ${t("new.cropped")} ${Math.round(row.cropped * 100)} %` : ""}${row.enlarged ? ` · ${row.enlarged} ${t("new.enlarged")}` : ""}`, row.worst_picture));
  return [h("h3", {}, t("new.sizes")), h("ul", { class: "bars" }, list)];
}

/** Draws what differs from the settings that the page began with. */
export function changes(before, values) {
  const [old, now] = [new Map(flat(before)), new Map(flat(values))];
  const keys = [...new Set([...old.keys(), ...now.keys()])].filter((key) => !same(old.get(key), now.get(key)));
  at("changes-box").hidden = !keys.length;
  const cell = (value) => h("td", {}, value === undefined ? "–" : shown(value, Array.isArray(value) && typeof value[0] === "string" ? "lines" : ""));
  const head = h("tr", {}, h("th", { scope: "col" }, t("new.option")), h("th", { scope: "col" }, t("new.before")), h("th", { scope: "col" }, t("new.now")));
  at("changes").replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, keys.map((key) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, key)), cell(old.get(key)), cell(now.get(key)))))));
}
