// A card for each method: what it is for, its recipe on the sample, and a run of one's own.

import { attempt, duration, get, h, post, t } from "./core.js";
import { ownRun } from "./methods-own.js";

const at = (id) => document.getElementById(id);
const opens = (path) => location.assign(`/new?path=${encodeURIComponent(path)}`);

function card(method, plans) {
  const id = `method-${method.name}`;
  const words = (name) => t(`methods.${method.name}.${name}`);
  const time = h("dd", {}), form = h("div", {}), about = h("pre", { tabindex: "0" });
  let way = method.ways[0];
  const show = () => {
    const plan = plans[way.recipe];
    time.textContent = `${t("new.about")} ${duration(plan.seconds)}, ${plan.steps} ${t("new.steps")}`;
    about.textContent = way.about;
    form.replaceChildren(ownRun(method.name, way, opens));
  };
  const choose = (event) => {
    way = method.ways.find((each) => each.recipe === event.target.value);
    show();
  };
  const ways = method.ways.length > 1 && h("label", { class: "ways" }, t("methods.recipe"), h("select", { onchange: choose }, method.ways.map((each) => h("option", { value: each.recipe }, t(`methods.way.${each.recipe}`)))));
  const take = h("button", { type: "button", class: "try", onclick: () => attempt(async () => {
    take.disabled = true;
    await post("methods/try", { recipe: way.recipe }).then(({ path }) => opens(path)).finally(() => (take.disabled = false));
  }) }, t("methods.try"));
  const picture = method.picture && h("figure", {}, h("img", { src: `/static/${method.picture}`, alt: "", loading: "lazy" }), h("figcaption", {}, words("picture")));
  const rows = [["when", words("when")], ["not", words("not")], ["needs", words("needs")]];
  show();
  return h("section", { class: picture ? "method" : "method bare", id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title` }, words("title")),
    picture || null,
    h("p", {}, words("what")),
    h("dl", {}, rows.flatMap(([name, text]) => [h("dt", {}, t(`methods.${name}`)), h("dd", {}, text)]), h("dt", {}, t("methods.time")), time),
    h("div", { class: "row" }, ways || null, take),
    h("details", { class: "make" }, h("summary", {}, t("methods.make")), form),
    h("details", {}, h("summary", {}, t("methods.says")), about));
}

function adapter(row) {
  const link = new URLSearchParams(Object.entries(row.set).map(([key, value]) => ["set", `${key}=${value}`]));
  return h("li", {}, h("code", {}, row.name), h("span", { class: "grow" }, row.help), h("a", { href: `/new?${link}`, "aria-label": `${t("page.new")}: ${row.name}` }, t("page.new")));
}

attempt(async () => {
  const found = await get("methods");
  at("index").replaceChildren(...found.methods.map(({ name }) => h("li", {}, h("a", { href: `#method-${name}` }, t(`methods.${name}.title`)))), h("li", {}, h("a", { href: "#adapters-box" }, t("methods.adapters"))));
  at("cards").replaceChildren(...found.methods.map((each) => card(each, found.plans)));
  at("adapters").replaceChildren(...found.adapters.map(adapter));
  at("adapters-box").hidden = false;
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
});
