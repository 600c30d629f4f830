// Jobs of the tools: how each stands, what it said, and the file that it made.

import { attempt, badge, duration, every, get, h, post, t } from "./core.js";
import { page } from "./files-list.js";

const PAUSE = 1500;
const MOST = 6;
const waits = (job) => ["queued", "running"].includes(job.state);

function row(job, look) {
  const act = (word, call) => h("button", { type: "button", class: "quiet-button small", "aria-label": `${word}: ${job.title}`, onclick: () => attempt(() => post(`jobs/${job.id}/${call}`).then(look)) }, word);
  const progress = job.state === "running" && job.working ? h("progress", { max: job.working.total, value: job.working.done, "aria-label": job.title }) : null;
  const told = job.lines.filter((line) => !/^working /.test(line));
  const result = waits(job) ? "" : (told.filter((line) => !/^wrote |^warning/.test(line)).at(-1) ?? "");
  return h("li", { "data-job": job.id }, badge(job.state), h("span", { class: "grow" }, job.title, h("br"), h("span", { class: "quiet" }, result)), progress,
    job.seconds ? h("span", { class: "quiet" }, duration(job.seconds)) : null,
    job.made ? h("a", { class: "button quiet-button small", href: page(job.made) }, t("files.open")) : null,
    waits(job) ? act(t("queue.stop"), "stop") : act(t("queue.remove"), "remove"),
    !waits(job) && told.length > 1 ? h("details", { class: "whole", "data-told": job.id }, h("summary", {}, t("files.said")), h("pre", { tabindex: "0" }, told.join("\n"))) : null);
}

/**
 * Watches the jobs of the tools.
 * @param {{list: HTMLElement, box: HTMLElement}} place
 * @returns {Promise<() => Promise<void>>} what looks at once
 */
export async function watch({ list, box }) {
  let before = "";
  async function look() {
    const found = (await get("lora-files/jobs")).slice(0, MOST);
    const now = JSON.stringify(found);
    if (now === before) return; // nothing new: what is folded out or focused stays
    before = now;
    box.hidden = !found.length;
    const open = new Set([...list.querySelectorAll("details[open]")].map((each) => each.dataset.told));
    const focused = document.activeElement?.closest?.("[data-job]")?.dataset.job;
    list.replaceChildren(...found.map((job) => row(job, look)));
    for (const each of list.querySelectorAll("details")) each.open = open.has(each.dataset.told);
    if (focused) list.querySelector(`[data-job="${focused}"] button`)?.focus();
  }
  await look();
  every(PAUSE, () => look().catch(() => {}));
  return look;
}
