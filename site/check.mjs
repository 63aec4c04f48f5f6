// Looks at the built site in a browser: node check.mjs <folder>. Fails when a search finds nothing, a page asks another host for something or
// says something on its console, the switch of languages leads elsewhere, or a phone has to scroll sideways.
// PUPPETEER_FROM is a folder with puppeteer-core in its node_modules; CHROMIUM is the browser, if it is not on the PATH.

import assert from "node:assert";
import { execFileSync } from "node:child_process";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";

const folder = process.argv[2];
const puppeteer = createRequire(join(process.env.PUPPETEER_FROM ?? ".", "package.json"))("puppeteer-core");
const browserPath = process.env.CHROMIUM ?? execFileSync("sh", ["-c", "command -v chromium || command -v google-chrome"], { encoding: "utf8" }).trim();
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".webp": "image/webp", ".woff2": "font/woff2" };

const server = createServer((request, response) => {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname));
  const file = join(folder, path.endsWith("/") ? `${path}index.html` : path);
  if (!existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream" });
  return createReadStream(file).pipe(response);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const site = `http://127.0.0.1:${server.address().port}`;

const browser = await puppeteer.launch({ executablePath: browserPath, args: ["--no-sandbox"], headless: true });
const page = await browser.newPage();
const complaints = [];
page.on("request", (request) => !/^(data:|blob:)/.test(request.url()) && !request.url().startsWith(`${site}/`) && complaints.push(`asks ${request.url()}`));
page.on("response", (response) => response.status() >= 400 && complaints.push(`${response.status()} ${response.url()}`));
page.on("pageerror", (error) => complaints.push(String(error)));

/** By keyboard alone: what is found first. */
async function finds(path, words, expected) {
  await page.goto(site + path, { waitUntil: "networkidle0" });
  await page.keyboard.press("/");
  await page.waitForSelector("#localsearch-input");
  await page.type("#localsearch-input", words);
  const found = (link) => [...document.querySelectorAll(".VPLocalSearchBox .result")].some((result) => decodeURI(result.getAttribute("href")).includes(link));
  await page.waitForFunction(found, { timeout: 30_000 }, expected).catch(() => assert.fail(`a search for ${words} on ${path} does not find ${expected}`));
}
await finds("/zh/", "日志轮转", "/zh/logs");
await finds("/zh/", "零停机", "/zh/how-to/deploy-without-downtime");
await finds("/zh/tutorials/docker.html", "健康检查", "/zh/health");
await finds("/", "rolling reload", "to-kubernetes");

await page.setViewport({ width: 375, height: 700, isMobile: true });
for (const scheme of ["light", "dark"]) {
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  for (const path of ["/", "/zh/", "/zh/alerts.html", "/tutorials/first-app.html", "/export.html", "/reference/cli.html"]) {
    await page.goto(site + path, { waitUntil: "networkidle0" });
    const [width, isDark, language, other] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.classList.contains("dark"),
      document.documentElement.lang,
      [...document.querySelectorAll("a")].find((link) => ["English", "简体中文"].includes(link.textContent.trim()))?.getAttribute("href"),
    ]);
    const isChinese = path.startsWith("/zh/");
    assert.ok(width <= 375, `${path} is ${width} pixels wide on a phone`);
    assert.strictEqual(isDark, scheme === "dark", `${path} in ${scheme}`);
    assert.strictEqual(language, isChinese ? "zh-CN" : "en", path);
    const there = (isChinese ? path.slice(3) : `/zh${path}`).replace(/index\.html$/, "");
    if (other) assert.strictEqual(other.replace(/index\.html$/, ""), there, `the switch of languages on ${path}`);
  }
}
await browser.close();
server.close();
assert.deepStrictEqual(complaints, []);
console.log("the site: searched, switched, on a phone, light and dark: as it should be");
