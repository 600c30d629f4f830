// What a run does before its first own step: it waits in the queue, or trains its first stage.

import { chart } from "./chart.js";
import { attempt, badge, duration, get, h, picture, post, t } from "./core.js";

const at = (id) => document.getElementById(id);
const PAUSE = 1500;
const pause = () => new Promise((done) => setTimeout(done, PAUSE));
const waits = (facts) => ["queued", "running"].includes(facts.waiting?.job.state);

/** Waits until a run is there; returns false where its job ended without one. */
export async function begun(facts, read) {
  for (;;) {
    const now = facts();
    at("waiting").hidden = !now.waiting;
    if (!now.waiting) return true;
    const { job, before } = now.waiting;
    at("waiting").textContent = !waits(now) ? job.last.join("\n") : job.state === "running" ? t("run.begins") : before ? `${t("run.waits_for")}: ${before}` : t("run.waits");
    if (!waits(now)) return false;
    await pause();
    await read();
  }
}

/** Returns what can be done with a run that waits. */
export function waitingActions({ waiting }, read) {
  const cancel = h("button", { id: "do-cancel", class: "quiet-button", onclick: () => attempt(() => post(`jobs/${waiting.job.id}/stop`).then(read)) }, t("queue.cancel"));
  return [["queued", "running"].includes(waiting.job.state) && cancel, h("a", { class: "button quiet-button", href: "/queue" }, t("page.queue"))].filter(Boolean);
}

/** Shows the first of two stages, and follows it as long as it trains. */
export async function firstStage(facts) {
  for (;;) {
    const first = facts().first;
    if (!first) return;
    const found = await get("runs/facts", { path: first.path });
    const own = Boolean(facts().step);
    draw(found, own);
    if (found.state !== "training" && (own || facts().state !== "training")) return;
    await pause();
  }
}

function draw(found, own) {
  const box = at("first-box");
  if (box.hidden) box.querySelector("details").open = !own;
  box.hidden = false;
  const left = found.state === "training" && found.eta != null ? `${duration(found.eta)} ${t("run.left")}` : "";
  at("first-facts").replaceChildren(badge(found.state), h("span", {}, h("b", {}, found.step ?? 0), ` / ${found.steps ?? "?"}`), found.loss == null ? "" : h("span", {}, `${t("run.loss")} `, h("b", {}, found.loss.toFixed(4))), left);
  const share = found.steps ? Math.round((100 * (found.step ?? 0)) / found.steps) : 0;
  at("first-bar").setAttribute("aria-valuenow", share);
  at("first-bar").firstElementChild.style.width = `${share}%`;
  const series = (name) => found.points.map((p) => [p.step, p[name]]);
  chart(at("first-loss"), [{ name: t("run.raw"), kind: "faint", points: series("loss") }, { name: t("run.mean"), kind: "main", points: series("loss_average") }], { from: 0, to: found.steps });
  const newest = found.previews.filter((p) => p.step === found.previews.at(-1).step).slice(0, 8);
  if (newest.map((p) => p.path).join() === at("first-previews").dataset.shown) return;
  at("first-previews").dataset.shown = newest.map((p) => p.path).join();
  at("first-previews").replaceChildren(...newest.map((p) => h("img", { src: picture(`${found.path}/${p.path}`, 256), alt: `${p.prompt ?? ""}, ${t("run.step")} ${p.step}`, width: 128 })));
}
