import { attempt, badge, get, h, picture, post, t } from "./core.js";

const projects = document.getElementById("projects");
const runs = document.getElementById("runs");

function project(row) {
  const link = (page, words, quiet) => h("a", { class: quiet ? "button quiet-button" : "button", href: `/${page}?path=${encodeURIComponent(row.path)}` }, words);
  return h("li", {},
    h("h3", {}, row.name),
    h("div", { class: "strip" }, row.shown.map((path) => h("img", { src: picture(path, 96), alt: "", loading: "lazy" }))),
    h("span", { class: "quiet" }, `${row.pictures} ${t("home.pictures")}`),
    h("div", { class: "row" }, link("data", t("home.see"), true), link("new", t("home.train"))));
}

function run(row) {
  const image = row.preview ? h("img", { class: "thumb", src: picture(`${row.path}/${row.preview}`, 256), alt: "", loading: "lazy" }) : null;
  const done = row.steps ? `${row.step} / ${row.steps}` : "";
  return h("li", {}, image, h("h3", {}, h("a", { href: `/run?path=${encodeURIComponent(row.path)}` }, row.path)), h("span", {}, badge(row.state), " ", h("span", { class: "quiet" }, done)));
}

async function show() {
  const [found, trained] = await Promise.all([get("projects"), get("runs")]);
  const none = () => h("li", { class: "quiet" }, t("home.none"));
  projects.replaceChildren(...(found.length ? found.map(project) : [none()]));
  runs.replaceChildren(...(trained.length ? trained.map(run) : [none()]));
}

document.getElementById("new-project").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = new FormData(event.target);
  attempt(async () => {
    await post("projects", { name: given.get("name"), sample: given.get("sample") || null });
    event.target.reset();
    await show();
  });
});

attempt(show);
