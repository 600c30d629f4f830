// Jobs about one run, wherever they are shown: how each stands, and what changed when one is over.

import { attempt, badge, duration, every, get, h, post, t } from "./core.js";

const PAUSE = 1500;
const waits = (job) => ["queued", "running"].includes(job.state);

/**
 * Watches the jobs about a run.
 * @param {string} path of the run
 * @param {{list: HTMLElement, box: HTMLElement, ended: () => Promise<void>}} place where they are
 *   shown, what is hidden while there are none, and what is done when one is over
 * @returns {{look: () => Promise<void>, jobs: object[]}} looks at once, as after a new wish
 */
export function watchWork(path, { list, box, ended }) {
  let busy = new Set();
  const seen = { look, jobs: [] };

  async function look() {
    seen.jobs = await get("compare/jobs", { path });
    box.hidden = !seen.jobs.length;
    draw();
    const now = new Set(seen.jobs.filter(waits).map((job) => job.id));
    const over = [...busy].some((id) => !now.has(id));
    busy = now;
    if (over) await ended();
  }

  function row(job) {
    const line = job.lines.at(-1) ?? "";
    const stop = h("button", { type: "button", class: "quiet-button", "aria-label": `${t("queue.stop")}: ${job.title}`, onclick: () => attempt(() => post(`jobs/${job.id}/stop`).then(look)) }, t("queue.stop"));
    return h("li", { "data-job": job.id }, badge(job.state), h("span", { class: "grow" }, job.title, " ", h("span", { class: "quiet" }, line)),
      job.seconds ? h("span", { class: "quiet" }, duration(job.seconds)) : null,
      waits(job) ? stop : null,
      ["failed", "died"].includes(job.state) ? h("pre", { class: "whole", tabindex: "0" }, job.lines.slice(-4).join("\n")) : null);
  }

  function draw() {
    const focused = document.activeElement?.closest?.("[data-job]")?.dataset.job;
    list.replaceChildren(...seen.jobs.slice(0, 8).map(row));
    if (focused) list.querySelector(`[data-job="${focused}"] button`)?.focus();
  }

  every(PAUSE, () => look().catch(() => {}));
  return seen;
}
