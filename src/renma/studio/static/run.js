import { asked, attempt, badge, download, duration, every, get, h, notice, picture, post, size, t } from "./core.js";
import { chart } from "./chart.js";
import { begun, firstStage, waitingActions } from "./run-first.js";
import { watchWork } from "./work.js";

const { path } = asked();
const at = (id) => document.getElementById(id);
const MOST = 4000;
let facts, job, drawn;
at("run-name").textContent = path;

const series = (name) => facts.points.map((p) => [p.step, p[name]]);

function curves() {
  const range = { from: 0, to: facts.steps };
  chart(at("loss"), [
    { name: t("run.raw"), kind: "faint", points: series("loss") },
    { name: t("run.mean"), kind: "main", points: series("loss_average") },
    { name: t("run.held_out"), kind: "second", points: facts.validated.map((v) => [v.step, v.loss]) },
  ], range);
  const parts = [...new Set(facts.points.flatMap((p) => Object.keys(p.lr ?? {})))];
  chart(at("rates"), parts.map((name, i) => ({ name, kind: i ? "second" : "main", points: facts.points.map((p) => [p.step, p.lr?.[name]]) })), { ...range, zero: true });
  chart(at("norms"), [{ name: t("run.norms"), kind: "main", points: series("grad_norm") }], { ...range, zero: true });
}

function previews() {
  const now = facts.previews.map((p) => p.path).join("\n");
  if (now === drawn) return undefined; // pictures are not fetched anew with every step
  drawn = now;
  if (!facts.previews.length) return at("previews").replaceChildren(h("p", { class: "quiet" }, t("run.no_previews")));
  const steps = [...new Set(facts.previews.map((p) => p.step))];
  const rows = Map.groupBy(facts.previews, (p) => `${p.prompt ?? ""}${p.weight != null ? ` · ${p.weight}` : ""}`);
  const cell = (p) => h("td", {}, p && h("a", { href: picture(`${path}/${p.path}`), target: "_blank" }, h("img", { src: picture(`${path}/${p.path}`, 256), alt: `${p.prompt ?? ""}, ${t("run.step")} ${p.step}`, loading: "lazy" })));
  const head = h("tr", {}, h("td"), steps.map((s) => h("th", { scope: "col" }, `${t("run.step")} ${s}`)));
  const body = [...rows].map(([prompt, found]) => h("tr", {}, h("th", { scope: "row" }, prompt), steps.map((s) => cell(found.find((p) => p.step === s)))));
  at("previews").replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
}

function state() {
  const left = facts.state === "training" && facts.eta != null ? `${duration(facts.eta)} ${t("run.left")}` : "";
  at("facts").replaceChildren(badge(facts.state), h("span", {}, h("b", {}, facts.step ?? 0), ` / ${facts.steps ?? "?"}`), facts.loss != null ? h("span", {}, `${t("run.loss")} `, h("b", {}, facts.loss.toFixed(4))) : "", h("span", {}, left), facts.memory_mib ? h("span", {}, `${t("run.memory")} `, h("b", {}, size(facts.memory_mib * 2 ** 20))) : "", silent());
  const share = facts.steps ? Math.round((100 * (facts.step ?? 0)) / facts.steps) : 0;
  at("bar").setAttribute("aria-valuenow", share);
  at("bar").firstElementChild.style.width = `${share}%`;
  actions();
}

/** Says how long ago the last sign of a run came, where that is longer than it should be. */
function silent() {
  const seconds = Date.now() / 1000 - (facts.changed ?? 0);
  const usual = facts.points.at(-1)?.seconds ?? 0;
  const late = facts.state === "training" && facts.changed && seconds > Math.max(60, 20 * usual);
  return late ? h("span", { class: "state stopped" }, `${t("run.silent")} ${duration(seconds)}`) : "";
}

function actions() {
  const act = (key, does, quiet) => h("button", { id: `do-${key}`, class: quiet ? "quiet-button" : "", onclick: () => attempt(does) }, t(`run.${key}`));
  const task = (name, options, title) => async () => {
    await post("jobs", { task: name, options, title });
    await asking();
  };
  if (facts.waiting) return at("actions").replaceChildren(...waitingActions(facts, read));
  const made = [];
  if (facts.state === "training") {
    made.push(act("stop", () => post("runs/ask", { path, what: "stop" })));
    made.push(act("save", () => post("runs/ask", { path, what: "save" }), true), act("sample", () => post("runs/ask", { path, what: "sample" }), true));
  } else if (facts.state !== "finished" && facts.state !== "empty") {
    made.push(act("resume", task("train", { out: path, resume: true }, `train ${path}`)));
  }
  if (facts.saved.length && facts.state !== "training") {
    made.push(act("judge", judge, Boolean(facts.judged)));
    made.push(h("a", { class: "button quiet-button", href: `/compare?path=${encodeURIComponent(path)}` }, t("run.grid")));
  }
  if (facts.state !== "empty") made.push(h("a", { class: "button quiet-button", href: `/report?run=${encodeURIComponent(path)}` }, t("run.report")));
  made.push(h("a", { class: "button quiet-button", href: `/new?clone=${encodeURIComponent(path)}` }, t("run.clone")));
  const focused = document.activeElement?.id;
  at("actions").replaceChildren(...made);
  if (focused) document.getElementById(focused)?.focus();
}

async function asking() {
  notice(t("tools.started"));
  await work.look();
}

async function judge() {
  await post("compare/judge", { path });
  await asking();
}

function verdict() {
  const score = facts.judged;
  if (!score) return at("verdict").replaceChildren(h("p", { class: "quiet" }, t("run.not_judged")));
  at("verdict").replaceChildren(
    h("p", { class: "row" }, h("b", { class: "grow" }, `${t("run.best")}: ${score.best ?? "–"}`),
      score.best ? h("a", { class: "button", href: download(`${path}/${score.best}`) }, t("run.take_best")) : null,
      h("a", { class: "button quiet-button", href: `/compare?path=${encodeURIComponent(path)}` }, t("run.grid"))),
    ...(score.verdict ?? []).map((text) => h("p", {}, text)),
    h("ul", {}, (score.advice ?? []).map((text) => h("li", {}, text))));
}

function lists() {
  at("saved").replaceChildren(...facts.saved.toReversed().map((f) => h("li", {}, h("span", { class: "grow" }, f.path), h("span", { class: "quiet" }, `${t("run.step")} ${f.step}`), h("a", { href: download(`${path}/${f.path}`) }, t("run.download")))));
  at("warnings").replaceChildren(...facts.warnings.map((text) => h("li", {}, text)));
}

async function log() {
  const jobs = await get("jobs");
  job = jobs.findLast((each) => ["train", "erase"].includes(each.task) && (each.links.run === path || each.about === path));
  if (!job) return;
  const { lines } = await get(`jobs/${job.id}/log`);
  at("log").textContent = lines.join("\n");
  at("trouble").hidden = !(["failed", "died"].includes(job.state) || facts.state === "died");
  at("last-lines").textContent = lines.slice(-12).join("\n");
}

function take(row) {
  if (row.kind === "step") {
    for (const told of [facts.points, facts.validated]) while (told.length && told.at(-1).step >= row.step) told.pop();
    facts.points.push(row);
    if (facts.points.length > MOST) facts.points = facts.points.filter((_, i) => i % 2); // as the studio thins them
  } else if (row.kind === "validated") facts.validated.push(row);
  else if (row.kind === "sample") facts.previews = [...facts.previews.filter((p) => p.path !== row.path), row];
  else if (row.kind === "saved") facts.saved = [...facts.saved.filter((p) => p.path !== row.path), row];
  else if (row.kind === "warned") facts.warnings.push(row.text);
}

let due = false;
function draw() {
  if (due) return;
  due = true; // many events come at once
  requestAnimationFrame(() => {
    due = false;
    curves();
    previews();
    lists();
  });
}

async function read() {
  facts = await get("runs/facts", { path });
  state();
  draw();
  verdict();
}

async function show() {
  await read();
  await Promise.all([log(), work.look()]);
  if (!(await begun(() => facts, read))) return attempt(log);
  attempt(() => firstStage(() => facts));
  const source = new EventSource(`/api/runs/events?${new URLSearchParams({ path, offset: facts.offset })}`);
  source.addEventListener("message", (event) => {
    take(JSON.parse(event.data));
    draw();
  });
  source.addEventListener("state", (event) => {
    const before = facts.state;
    Object.assign(facts, JSON.parse(event.data));
    state();
    if (before !== facts.state) attempt(log);
  });
  every(3000, () => facts.state === "training" && attempt(log));
}

const work = watchWork(path, { list: at("work"), box: at("work-box"), ended: read });
attempt(show);
