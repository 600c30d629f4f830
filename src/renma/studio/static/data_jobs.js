// A job that a dialog waits for: how far it is, how it ended, and a button to stop it.

import { attempt, badge, get, h, notice, post, t } from "./core.js";

const PAUSE = 700;

/**
 * Shows a job until it is over.
 * @param {HTMLElement} place
 * @param {{id: string}} job
 * @param {boolean} told whether the last lines that it printed are shown
 * @returns {Promise<boolean>} whether it was done
 */
export async function watch(place, job, told = true) {
  const stop = h("button", { type: "button", class: "quiet-button", onclick: () => attempt(() => post(`jobs/${job.id}/stop`)) }, t("data.job.stop"));
  const bar = h("progress", { max: 1, "aria-label": t("data.job") });
  const state = h("span", {});
  const lines = h("pre", { tabindex: "0" });
  place.replaceChildren(h("div", { class: "row" }, state, bar, stop, h("a", { href: "/queue" }, t("page.queue"))), told ? lines : "");
  for (;;) {
    const found = await get(`jobs/${job.id}`);
    const waits = found.state === "queued" || found.state === "running";
    const far = found.events.filter((row) => row.kind === "working").at(-1);
    state.replaceChildren(badge(found.state), " ", far ? `${far.done} / ${far.total}` : "");
    if (far?.total) bar.value = far.done / far.total;
    lines.textContent = found.lines.slice(-4).join("\n");
    if (!waits || !place.isConnected) {
      bar.remove();
      stop.remove();
      if (!place.isConnected && waits) return false;
      if (found.state !== "done") notice(`${found.title}: ${found.lines.at(-1) ?? found.state}`, true);
      return found.state === "done";
    }
    await new Promise((wake) => setTimeout(wake, PAUSE));
  }
}
