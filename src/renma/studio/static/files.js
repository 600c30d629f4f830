// LoRA files: the list of all, or one of them with everything that can be known and done.

import { asked, attempt, get, t } from "./core.js";
import { blocks } from "./files-blocks.js";
import { facts } from "./files-facts.js";
import { shelf } from "./files-list.js";
import { tags } from "./files-tags.js";
import { texts } from "./files-texts.js";
import { tools } from "./files-tools.js";
import { watch } from "./files-work.js";

const at = (id) => document.getElementById(id);
const { file, tool } = asked();

async function open() {
  at("one").hidden = false;
  let found;
  try {
    found = await get("lora-files/facts", { file });
  } catch (error) {
    at("broken").textContent = error.message;
    at("broken").hidden = false;
    return;
  }
  at("rooms").hidden = false;
  document.title = `${found.name} · ${t("page.files")} · renma`;
  facts(at("facts"), found);
  await Promise.all([tags(at("tags"), found), blocks(at("blocks"), found), texts(found)].map((work) => attempt(() => work)));
  if (location.hash) document.querySelector(`#${CSS.escape(location.hash.slice(1))}`)?.scrollIntoView();
}

async function begin() {
  const look = await watch({ list: at("work"), box: at("work-box") });
  if (file || tool) {
    at("tools-part").hidden = false;
    at("tools-part").after(at("work-box")); // what a form began is told below it
    tools({ names: at("tool-names"), form: at("tool") }, { file, tool, look });
  }
  if (file) await open();
  else if (!tool) {
    at("shelf").hidden = false;
    await shelf();
  } else at("one").hidden = false;
}

attempt(begin);
