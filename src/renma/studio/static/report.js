// The report of a run, shown apart from the studio, and which runs have one.

import { asked, attempt, badge, download, get, h, post, t } from "./core.js";

const { run } = asked();
const at = (id) => document.getElementById(id);
const PAUSE = 700;
const address = (path) => `/api/reports/page?${new URLSearchParams({ path })}`;
const time = (seconds) => new Date(seconds * 1000).toLocaleString(document.documentElement.lang);
const words = (row) => (row.made ? h("span", { class: row.old ? "old" : "new" }, t(row.old ? "report.old" : "report.fresh")) : h("span", { class: "quiet" }, t("report.none")));

async function all() {
  const rows = await get("reports");
  const link = (row) => h("a", { href: `/report?run=${encodeURIComponent(row.path)}`, "aria-current": row.path === run ? "page" : null }, row.path);
  const none = h("tr", {}, h("td", { colspan: 4, class: "quiet" }, t("compare.nothing")));
  at("all").tBodies[0].replaceChildren(...(rows.length ? rows.map((row) => h("tr", {}, h("td", {}, link(row)), h("td", {}, badge(row.state)), h("td", {}, row.verdict || h("span", { class: "quiet" }, t("run.not_judged"))), h("td", {}, words(row)))) : [none]));
}

/** Shows the report as it is on disk; the frame is loaded anew only where that changed. */
async function one() {
  const found = await get("reports/of", { path: run });
  at("facts").replaceChildren(h("b", {}, run), words(found), found.made ? h("span", {}, time(found.made)) : "");
  at("make").textContent = t(found.made ? "report.renew" : "report.make");
  at("make").classList.toggle("quiet-button", Boolean(found.made && !found.old));
  for (const id of ["tab", "save", "shown"]) at(id).hidden = !found.made;
  const version = `${address(run)}&version=${found.made}`;
  if (found.made && at("shown").getAttribute("src") !== version) at("shown").setAttribute("src", version);
}

async function make() {
  at("wrong").hidden = true;
  at("make").disabled = true;
  const { id } = await post("jobs", { task: "report", options: { folder: run }, title: `report ${run}` });
  for (;;) {
    const job = await get(`jobs/${id}`);
    if (!["queued", "running"].includes(job.state)) {
      at("wrong").hidden = job.state === "done";
      at("wrong").textContent = job.lines.slice(-8).join("\n");
      break;
    }
    at("make").textContent = t(job.state === "queued" ? "report.waits" : "report.making");
    await new Promise((done) => setTimeout(done, PAUSE));
  }
  await Promise.all([one(), all()]);
}

attempt(all);
if (run) {
  at("one").hidden = false;
  at("tab").href = address(run);
  at("save").href = download(`${run}/report.html`);
  at("to-run").href = `/run?path=${encodeURIComponent(run)}`;
  at("make").addEventListener("click", () => attempt(make).finally(() => (at("make").disabled = false)));
  attempt(one);
}
