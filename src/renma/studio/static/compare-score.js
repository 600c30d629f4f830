// What judging found: the verdict, a table of all measures, and the two that matter as curves.

import { chart } from "./chart.js";
import { h, t } from "./core.js";

const OLD = { likeness: { title: "Likeness", better: "high", help: "" }, leakage: { title: "Leakage", better: "low", help: "" } };
const number = (x) => (x == null ? "–" : Math.abs(x) >= 100 ? x.toFixed(0) : x.toFixed(3));

/** Returns the value of a measure in a row, however old the file is. */
const value = (row, name) => row?.scores?.[name] ?? row?.[name];

/**
 * Draws a score.
 * @param {HTMLElement} place
 * @param {object | null} found what score.json holds
 */
export function score(place, found) {
  if (!found?.checkpoints?.length) return place.replaceChildren(h("p", { class: "quiet" }, t("run.not_judged")));
  const measures = Object.entries(found.measures ?? OLD).filter(([name]) => found.checkpoints.some((row) => value(row, name) != null));
  const curves = h("div", { class: "chart" });
  place.replaceChildren(...words(found), table(found, measures), curves);
  const kinds = { likeness: "main", leakage: "second", following: "faint" };
  chart(curves, measures.filter(([name]) => kinds[name]).map(([name, m]) => ({ name: m.title, kind: kinds[name], points: found.checkpoints.filter((row) => row.step != null).map((row) => [row.step, value(row, name)]) })), { zero: true });
  return undefined;
}

function words({ verdict = [], advice = [], state, best }) {
  const known = typeof state === "string";
  return [
    h("p", {}, h("b", {}, `${t("run.best")}: ${best ?? "–"}`), known ? h("span", { class: "state" }, state) : null),
    ...verdict.map((text) => h("p", { class: "said-so" }, text)),
    advice.length ? h("ul", {}, advice.map((text) => h("li", {}, text))) : null,
  ].filter(Boolean);
}

function table(found, measures) {
  const rows = found.checkpoints;
  const top = Object.fromEntries(measures.map(([name, m]) => {
    const all = rows.map((row) => value(row, name)).filter((x) => x != null);
    return [name, m.better === "high" ? Math.max(...all) : m.better === "low" ? Math.min(...all) : null];
  }));
  const cell = (row, name, base) => {
    const x = value(row, name), error = row?.errors?.[name] ?? row?.[`${name}_error`];
    return h("td", { class: !base && x != null && x === top[name] ? "top-one" : "" }, number(x), error ? h("span", { class: "quiet" }, ` ± ${number(error)}`) : null);
  };
  const line = (row) => h("tr", { class: row.path === found.best ? "best" : "" }, h("th", { scope: "row" }, row.label ?? row.path, row.path === found.best ? ` ★ ${t("run.best")}` : ""), measures.map(([name]) => cell(row, name)), h("td", {}, number(row.merit), row.merit_error ? h("span", { class: "quiet" }, ` ± ${number(row.merit_error)}`) : null));
  const base = found.base ?? { likeness: found.base_likeness, leakage: found.base_leakage };
  const arrow = { high: "↑", low: "↓", none: "" };
  const head = h("tr", {}, h("th", { scope: "col" }, t("compare.checkpoint")), measures.map(([, m]) => h("th", { scope: "col", title: m.help }, `${m.title} ${arrow[m.better] ?? ""}`)), h("th", { scope: "col" }, t("compare.merit")));
  const body = [h("tr", { class: "base" }, h("th", { scope: "row" }, t("compare.base")), measures.map(([name]) => cell(base, name, true)), h("td", {}, "–")), ...rows.map(line)];
  const help = h("details", {}, h("summary", {}, t("compare.meaning")), h("dl", {}, measures.flatMap(([, m]) => [h("dt", {}, m.title), h("dd", {}, m.help)])));
  return h("div", {}, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("compare.judged") }, h("table", { class: "scores" }, h("thead", {}, head), h("tbody", {}, body))), found.measures ? help : null);
}
