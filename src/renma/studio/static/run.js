import { asked, attempt, badge, download, duration, get, h, notice, picture, post, size, t } from "./core.js";
import { chart } from "./chart.js";

const { path } = asked();
const at = (id) => document.getElementById(id);
let facts, job;
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
  at("facts").replaceChildren(badge(facts.state), h("span", {}, h("b", {}, facts.step ?? 0), ` / ${facts.steps ?? "?"}`), facts.loss != null ? h("span", {}, `${t("run.loss")} `, h("b", {}, facts.loss.toFixed(4))) : "", h("span", {}, left));
  const share = facts.steps ? Math.round((100 * (facts.step ?? 0)) / facts.steps) : 0;
  at("bar").setAttribute("aria-valuenow", share);
  at("bar").firstElementChild.style.width = `${share}%`;
  actions();
}

function actions() {
  const act = (key, does, quiet) => h("button", { id: `do-${key}`, class: quiet ? "quiet-button" : "", onclick: () => attempt(does) }, t(`run.${key}`));
  const task = (name, options, title) => async () => {
    await post("jobs", { task: name, options, title });
    notice(t("tools.started"));
  };
  const made = [];
  if (facts.state === "training") {
    made.push(act("stop", () => post("runs/ask", { path, what: "stop" })));
    made.push(act("save", () => post("runs/ask", { path, what: "save" }), true), act("sample", () => post("runs/ask", { path, what: "sample" }), true));
  } else if (facts.state !== "finished" && facts.state !== "empty") {
    made.push(act("resume", task("train", { out: path, resume: true }, `train ${path}`)));
  }
  if (facts.saved.length && facts.state !== "training") {
    made.push(act("judge", task("judge", { folder: path }, `judge ${path}`), true), act("report", task("report", { folder: path }, `report ${path}`), true));
    made.push(h("a", { class: "button quiet-button", href: `/compare?path=${encodeURIComponent(path)}` }, t("run.grid")));
  }
  if (facts.report) made.push(h("a", { class: "button quiet-button", href: download(`${path}/report.html`) }, `${t("run.download")}: ${t("run.report")}`));
  made.push(h("a", { class: "button quiet-button", href: `/new?clone=${encodeURIComponent(path)}` }, t("run.clone")));
  const focused = document.activeElement?.id;
  at("actions").replaceChildren(...made);
  if (focused) document.getElementById(focused)?.focus();
}

function verdict() {
  const score = facts.judged;
  if (!score) return at("verdict").replaceChildren(h("p", { class: "quiet" }, t("run.not_judged")));
  at("verdict").replaceChildren(
    h("p", {}, h("b", {}, `${t("run.best")}: ${score.best ?? "–"}`)),
    (score.verdict ?? []).map((text) => h("p", {}, text)),
    h("ul", {}, (score.advice ?? []).map((text) => h("li", {}, text))));
}

function lists() {
  at("saved").replaceChildren(...facts.saved.toReversed().map((f) => h("li", {}, h("span", { class: "grow" }, f.path), h("span", { class: "quiet" }, `${t("run.step")} ${f.step}`), h("a", { href: download(`${path}/${f.path}`) }, t("run.download")))));
  at("warnings").replaceChildren(...facts.warnings.map((text) => h("li", {}, text)));
}

async function log() {
  const jobs = await get("jobs");
  job = jobs.findLast((each) => each.links.run === path || each.about === path);
  if (!job) return;
  const { lines } = await get(`jobs/${job.id}/log`);
  at("log").textContent = lines.join("\n");
  const bad = ["failed", "died"].includes(job.state) && job.task !== "judge";
  at("trouble").hidden = !(bad || facts.state === "died");
  at("last-lines").textContent = lines.slice(-12).join("\n");
}

function take(row) {
  if (row.kind === "step") {
    while (facts.points.length && facts.points.at(-1).step >= row.step) facts.points.pop();
    facts.points.push(row);
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

async function show() {
  facts = await get("runs/facts", { path });
  state();
  draw();
  verdict();
  await log();
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
  setInterval(() => facts.state === "training" && attempt(log), 3000);
}

attempt(show);
