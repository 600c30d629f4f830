import { attempt, badge, duration, every, get, h, post, t } from "./core.js";

const list = document.getElementById("jobs");
const body = document.querySelector("#runs tbody");
const chosen = new Set();

function row(job, waiting) {
  const act = (name, words, data) => h("button", { class: "quiet-button", "data-key": `${job.id}-${name}`, onclick: () => attempt(async () => {
    await post(`jobs/${job.id}/${name}`, data);
    await jobs();
  }) }, words);
  const place = waiting.indexOf(job.id);
  const where = job.links.run ? h("a", { href: `/run?path=${encodeURIComponent(job.links.run)}` }, job.title) : h("span", {}, job.title);
  const actions = { queued: [place > 0 && act("move", t("queue.up"), { before: waiting[place - 1] }), act("stop", t("queue.cancel"))], running: [act("stop", t("queue.stop"))] }[job.state] ?? [act("again", t("queue.again")), act("remove", t("queue.remove"))];
  return h("li", { "data-state": job.state }, badge(job.state), h("span", { class: "grow" }, where, job.last.length ? h("pre", { tabindex: "0" }, job.last.join("\n")) : null), h("span", { class: "quiet" }, duration(job.seconds)), actions);
}

async function jobs() {
  const found = await get("jobs");
  const waiting = found.filter((j) => j.state === "queued").map((j) => j.id);
  const order = { running: 0, queued: 1 };
  const sorted = found.toSorted((a, b) => (order[a.state] ?? 2) - (order[b.state] ?? 2) || (order[a.state] == null ? b.id.localeCompare(a.id) : 0));
  const focused = document.activeElement?.dataset.key;
  list.replaceChildren(...(sorted.length ? sorted.map((j) => row(j, waiting)) : [h("li", { class: "quiet" }, t("queue.none"))]));
  if (focused) list.querySelector(`[data-key="${focused}"]`)?.focus();
}

async function runs() {
  const found = await get("runs");
  body.replaceChildren(...found.map((r) => h("tr", {},
    h("td", {}, h("a", { href: `/run?path=${encodeURIComponent(r.path)}` }, r.path)),
    h("td", {}, badge(r.state)), h("td", {}, `${r.step} / ${r.steps ?? "?"}`), h("td", {}, r.loss == null ? "" : r.loss.toFixed(4)),
    h("td", {}, h("a", { href: `/report?run=${encodeURIComponent(r.path)}` }, t("page.report"))),
    h("td", {}, h("input", { type: "checkbox", "aria-label": r.path, checked: chosen.has(r.path), onchange: (e) => {
      e.target.checked ? chosen.add(r.path) : chosen.delete(r.path);
      document.getElementById("compare").disabled = chosen.size < 2;
    } })))));
}

const flat = (values, head = "") => Object.entries(values).flatMap(([key, value]) =>
  value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${head}${key}.`) : [[head + key, JSON.stringify(value)]]);

document.getElementById("compare").addEventListener("click", () => attempt(async () => {
  const paths = [...chosen];
  const all = await Promise.all(paths.map(async (path) => new Map(flat((await get("runs/settings", { path })).values))));
  const keys = [...new Set(all.flatMap((m) => [...m.keys()]))].filter((k) => new Set(all.map((m) => m.get(k))).size > 1);
  const table = h("table", {}, h("thead", {}, h("tr", {}, h("td"), paths.map((p) => h("th", { scope: "col" }, p)))), h("tbody", {}, keys.map((k) => h("tr", {}, h("th", { scope: "row" }, k), all.map((m) => h("td", {}, m.get(k) ?? "–"))))));
  document.getElementById("differences").replaceChildren(h("div", { class: "scroll", tabindex: "0" }, table));
}));

attempt(jobs);
attempt(runs);
every(2000, () => jobs().catch(() => {}));
