import { asked, attempt, get, h, notice, post, t } from "./core.js";
import { taskForm } from "./form.js";

const list = document.getElementById("tasks");
const place = document.getElementById("form");

async function open(name) {
  const found = await get("tasks/form", { name });
  const made = taskForm(found, async (options) => {
    await post("jobs", { task: name, options });
    notice(t("tools.started"));
  }, asked());
  place.replaceChildren(h("h2", {}, found.name), h("p", {}, found.summary), made, h("p", { class: "quiet" }, t("tools.command")), h("pre", { tabindex: "0" }, found.example));
  history.replaceState(null, "", `?${new URLSearchParams({ ...asked(), task: name })}`);
}

attempt(async () => {
  const found = await get("tasks");
  list.replaceChildren(...found.map((task) => h("li", {}, h("button", { class: "plain grow", title: task.summary, onclick: () => attempt(() => open(task.name)) }, task.name))));
  if (asked().task) await open(asked().task);
});
