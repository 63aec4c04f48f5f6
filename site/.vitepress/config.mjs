// The documentation as a site: `cargo xtask docs`. What is in it and where says pages.json; stage.mjs puts the pages there.

import { readFileSync } from "node:fs";
import { defineConfig } from "vitepress";

const places = JSON.parse(readFileSync(new URL("../pages.json", import.meta.url), "utf8"));

function title(language, page) {
  const text = readFileSync(new URL(`../pages/${language === "zh" ? "zh/" : ""}${page}.md`, import.meta.url), "utf8");
  return (/^# (.+)$/m.exec(text)?.[1] ?? page).replaceAll("`", "");
}

const prefix = (language) => (language === "zh" ? "/zh/" : "/");

function sidebar(language) {
  const items = (group) => group.pages.map((page) => ({ text: title(language, page), link: prefix(language) + page }));
  return places.parts.map((part) => ({
    text: part[language],
    collapsed: part.en === "Explanations",
    items:
      part.groups.length === 1
        ? items(part.groups[0])
        : part.groups.map((group) => ({ text: group[language], collapsed: true, items: items(group) })),
  }));
}

const nav = (language) => places.parts.map((part) => ({ text: part[language], link: prefix(language) + part.groups[0].pages[0] }));

// Chinese has no blanks between words: of a run of such characters the pairs of neighbours are the terms, as in Lucene's CJK analysis. It runs
// when the site is built and in the reader's browser, so it uses nothing from outside of itself.
function terms(text) {
  const found = [];
  for (const word of text.toLowerCase().split(/[\n\r\p{Z}\p{P}\p{S}]+/u)) {
    for (const run of word.match(/[\p{Script=Han}]+|[^\p{Script=Han}]+/gu) ?? []) {
      if (!/\p{Script=Han}/u.test(run)) found.push(run);
      else if (run.length === 1) found.push(run);
      else for (let at = 0; at + 2 <= run.length; at += 1) found.push(run.slice(at, at + 2));
    }
  }
  return found;
}

// What somebody looks for is cut into words first, where the browser knows how, so that words which stand apart in a text are found, too; then into
// the same pairs.
function asked(text) {
  const words = typeof Intl.Segmenter === "function" ? [...new Intl.Segmenter("zh", { granularity: "word" }).segment(text.toLowerCase())].filter((part) => part.isWordLike).map((part) => part.segment) : text.toLowerCase().split(/[\n\r\p{Z}\p{P}\p{S}]+/u);
  const found = [];
  for (const word of words) {
    if (!/^\p{Script=Han}{2,}$/u.test(word)) found.push(word);
    else for (let at = 0; at + 2 <= word.length; at += 1) found.push(word.slice(at, at + 2));
  }
  return found.filter((term) => term !== "");
}

export default defineConfig({
  title: "ostler",
  description: "A process manager for production; a drop-in replacement for PM2",
  base: process.env.OSTLER_SITE_BASE ?? "/",
  head: [["link", { rel: "icon", href: "data:," }]],
  srcDir: "pages",
  outDir: process.env.OSTLER_SITE_OUT,
  cleanUrls: false,
  lastUpdated: false,
  markdown: {
    html: false,
    // As on GitHub, so that a link to a heading works in both places.
    anchor: { slugify: (title) => title.trim().toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-") },
    config(md) {
      // Indented blocks look like those between fences, and scroll on a phone.
      md.renderer.rules.code_block = (tokens, at, options, env, self) => {
        tokens[at].info = "sh";
        return md.renderer.rules.fence(tokens, at, options, env, self);
      };
      // Double braces are Vue's; in a text they are braces.
      const text = md.renderer.rules.text;
      md.renderer.rules.text = (...args) => text(...args).replaceAll("{{", "&#123;&#123;");
    },
  },
  themeConfig: {
    i18nRouting: true,
    outline: [2, 3],
    search: {
      provider: "local",
      options: {
        miniSearch: { options: { tokenize: terms }, searchOptions: { tokenize: asked, combineWith: "AND", fuzzy: false, prefix: true } },
        locales: {
          zh: {
            translations: {
              button: { buttonText: "搜索", buttonAriaLabel: "搜索文档" },
              modal: {
                displayDetails: "显示详细列表",
                resetButtonTitle: "清除",
                backButtonTitle: "关闭",
                noResultsText: "没有找到",
                footer: {
                  selectText: "选择",
                  selectKeyAriaLabel: "回车",
                  navigateText: "切换",
                  navigateUpKeyAriaLabel: "上箭头",
                  navigateDownKeyAriaLabel: "下箭头",
                  closeText: "关闭",
                  closeKeyAriaLabel: "退出键",
                },
              },
            },
          },
        },
      },
    },
  },
  locales: {
    root: { label: "English", lang: "en", themeConfig: { nav: nav("en"), sidebar: sidebar("en") } },
    zh: {
      label: "简体中文",
      lang: "zh-CN",
      description: "面向生产环境的进程管理器，可直接替换 PM2",
      themeConfig: {
        nav: nav("zh"),
        sidebar: sidebar("zh"),
        outline: { level: [2, 3], label: "本页内容" },
        docFooter: { prev: "上一页", next: "下一页" },
        darkModeSwitchLabel: "外观",
        lightModeSwitchTitle: "切换到浅色",
        darkModeSwitchTitle: "切换到深色",
        sidebarMenuLabel: "目录",
        returnToTopLabel: "回到顶部",
        langMenuLabel: "切换语言",
        skipToContentLabel: "跳到正文",
        notFound: { title: "没有这个页面", quote: "", linkLabel: "回到首页", linkText: "回到首页" },
      },
    },
  },
});
