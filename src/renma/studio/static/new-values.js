// The values of a run by dotted key, their defaults, and how they are written in a field.

/** Returns what stands at a dotted key, or undefined. */
export const at = (values, key) => key.split(".").reduce((found, name) => found?.[name], values);

/** Writes a value at a dotted key; undefined removes it, and tables that become empty. */
export function put(values, key, value) {
  const [name, ...rest] = key.split(".");
  if (!rest.length) {
    if (value === undefined) delete values[name];
    else values[name] = value;
    return;
  }
  const inner = values[name] ?? {};
  put(inner, rest.join("."), value);
  if (Object.keys(inner).length) values[name] = inner;
  else delete values[name];
}

/** Returns [dotted key, value] of everything that is written. */
export const flat = (values, head = "") => Object.entries(values ?? {}).flatMap(([name, value]) =>
  value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${head}${name}.`) : [[head + name, value]]);

/** Says whether two values are the same. */
export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Returns a value as a field shows it. */
export function shown(value, kind) {
  if (value == null) return "";
  if (kind === "lines") return value.join("\n");
  if (Array.isArray(value) && value.every((one) => typeof one === "number")) return value.join(", ");
  return typeof value === "object" ? (Object.keys(value).length ? JSON.stringify(value) : "") : String(value);
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** Returns what a text means; undefined if it is empty, so that the default holds. */
export function meant(text, kind) {
  const trimmed = text.trim();
  if (kind === "lines") {
    const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
    return lines.length ? lines : undefined;
  }
  if (!trimmed) return undefined;
  if (kind === "whole" || kind === "number") return NUMBER.test(trimmed) ? Number(trimmed) : trimmed;
  if (kind === "value") return some(trimmed);
  return trimmed;
}

/** Returns a number, several numbers (`512, 512` or `512x768`), JSON, or the text itself. */
function some(text) {
  const parts = text.split(/\s*[,x×]\s*/);
  if (parts.every((part) => NUMBER.test(part))) return parts.length > 1 ? parts.map(Number) : Number(parts[0]);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The options of run.toml, and what holds where nothing is written. */
export class Manual {
  constructor({ sections, presets }) {
    this.sections = sections;
    this.presets = presets;
  }

  /** Returns the algorithm of a section that is chosen. */
  chosen(values, section) {
    if (!section.tag) return "";
    return at(values, `${section.section}.${section.tag}`) ?? at(this.preset(values), `${section.section}.${section.tag}`) ?? section.default;
  }

  /** Returns the values of the preset that is chosen. */
  preset(values) {
    return this.presets.find((each) => each.name === values?.preset)?.values ?? {};
  }

  /** Returns the tables of a section that count for what is chosen. */
  tables(values, section) {
    const chosen = this.chosen(values, section);
    return section.tables.filter((table) => !table.choice || table.choice === chosen);
  }

  /** Returns the names of a section's algorithms. */
  choices(section) {
    return [...new Set(section.tables.map((table) => table.choice).filter(Boolean))];
  }

  /** Returns the section and option of a dotted key, as the chosen algorithm has it. */
  option(values, key) {
    const section = this.sections.find((each) => each.section === key.split(".")[0]);
    if (!section) return undefined;
    if (section.tag && key === `${section.section}.${section.tag}`) return { section, option: this.tagOption(section) };
    const name = key.split(".").at(-1);
    const table = this.tables(values, section).find((each) => each.table === key.slice(0, -name.length - 1));
    const option = table?.options.find((each) => each.key === name);
    return option && { section, option };
  }

  tagOption(section) {
    return { key: section.tag, kind: "choice", choices: this.choices(section), default: section.default, level: "basic", kohya: "", help: section.help, tag: true };
  }

  /** Returns what holds where nothing is written: the preset's value, else the default. */
  base(values, key) {
    const found = this.option(values, key);
    const section = found?.section;
    const preset = this.preset(values);
    if (section?.tag && !found.option.tag) {
      const own = at(preset, `${section.section}.${section.tag}`);
      if (own !== this.chosen(values, section)) return found.option.default;
    }
    return at(preset, key) ?? found?.option.default;
  }

  /** Changes an algorithm; what the new one does not know is taken out. Returns the keys taken out. */
  choose(values, section, name) {
    put(values, `${section.section}.${section.tag}`, name);
    const known = new Set(this.tables(values, section).filter((t) => t.table === section.section).flatMap((t) => t.options.map((o) => o.key)));
    const inner = new Set(section.tables.map((t) => t.table.split(".")[1]).filter(Boolean));
    const gone = Object.keys(values[section.section] ?? {}).filter((key) => key !== section.tag && !known.has(key) && !inner.has(key));
    for (const key of gone) put(values, `${section.section}.${key}`, undefined);
    return gone;
  }
}
