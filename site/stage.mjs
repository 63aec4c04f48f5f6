// From docs/ to site/pages/, which VitePress builds: comments for the tests go, links out of docs/ become text, and a page without a
// translation stands in the Chinese half as it is, with a note.

import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, posix, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const docs = join(here, "../docs");
const into = join(here, "pages");

const NOTES = {
  missing: "::: info\n本页还没有中文翻译，以下是英文原文。\n:::\n",
  older: (page) => `::: warning\n英文原文在翻译之后有过改动，以[英文页面](${page})为准。\n:::\n`,
};

/** Lines of a page, and whether each is in a block of code between fences. */
function* lines(text) {
  let isCode = false;
  for (const line of text.split("\n")) {
    const isFence = /^\s*```/.test(line);
    yield [line, isCode || isFence];
    if (isFence) isCode = !isCode;
  }
}

/** A page as VitePress gets it. `page` is its path below docs/. */
export function staged(text, page) {
  const out = [];
  for (const [line, isCode] of lines(text)) {
    if (isCode) out.push(line);
    else if (!/^\s*<!--.*-->\s*$/.test(line)) out.push(line.replace(/\[([^\]]+)\]\(([^)\s]+)\)/g, (link, label, to) => linked(link, label, to, page)));
  }
  return out.join("\n").trimStart();
}

/** A link that leaves docs/, or leads to a folder, has no page on the site: its text stays. */
function linked(link, label, to, page) {
  if (/^[a-z]+:/.test(to) || to.startsWith("#")) return link;
  const path = posix.normalize(posix.join(posix.dirname(page), to.split("#")[0]));
  if (path.startsWith("..") || !posix.basename(path).includes(".")) return label;
  // From a Chinese page to one that is not translated: the Chinese half has it, too.
  return page.startsWith("zh/") && path.endsWith(".md") && !path.startsWith("zh/") ? link.replace(to, `/zh/${path}${to.includes("#") ? `#${to.split("#")[1]}` : ""}`) : link;
}

/** The note under the title. */
function noted(text, note) {
  const at = text.indexOf("\n", text.startsWith("# ") ? 0 : Math.max(text.indexOf("\n# "), 0) + 1);
  return `${text.slice(0, at + 1)}\n${note}\n${text.slice(at + 1)}`;
}

function write(page, text) {
  mkdirSync(dirname(join(into, page)), { recursive: true });
  writeFileSync(join(into, page), text);
}

rmSync(into, { recursive: true, force: true });
const all = readdirSync(docs, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
const paths = all.map((entry) => relative(docs, join(entry.parentPath ?? entry.path, entry.name)));
const older = readFileSync(join(docs, "zh/untranslated.txt"), "utf8").split("\n").filter((line) => line.startsWith("older ")).map((line) => line.slice(6));
for (const path of paths.filter((path) => path.endsWith(".md"))) {
  const text = staged(readFileSync(join(docs, path), "utf8"), path);
  if (path.startsWith("zh/")) {
    const page = path.slice(3);
    write(path, older.includes(page) ? noted(text, NOTES.older(`/${page}`)) : text);
    continue;
  }
  write(path, text);
  if (!paths.includes(`zh/${path}`)) write(`zh/${path}`, noted(text, NOTES.missing));
}
// Pictures lie beside the pages that show them; what is only linked is served as it is.
for (const path of paths.filter((path) => !path.endsWith(".md"))) {
  const place = /\.(webp|png|svg)$/.test(path) ? into : join(into, "public");
  cpSync(join(docs, path), join(place, path));
  cpSync(join(docs, path), join(place, "zh", path));
}
