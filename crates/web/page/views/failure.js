// Banner of an app that is down because of an error, or that restarts often.
import { html } from "../html.js";
import { t } from "../i18n.js";
import { dateTime, safe, span } from "../format.js";
import { Ago } from "../parts.js";
import { mayAct, runCommand } from "../act.js";
import { reasonText } from "../reasons.js";
import { appBase } from "./base.js";

const DOWN = ["errored", "crashed", "restarting"];
// Time around the exit whose log lines are shown.
const BEFORE_MS = 60000;
const AFTER_MS = 5000;

export function FailureBanner({ app, failure }) {
  const reason = (app.reasons || []).find((one) => DOWN.includes(one.kind) || one.kind === "keeps_restarting");
  if (!reason || !failure) return null;
  const isDown = DOWN.includes(reason.kind);
  const { error, source } = failure;
  const base = appBase(app);
  return html`<section class="card failure ${isDown ? "is-down" : ""}" aria-labelledby="failure">
    <div class="row"><h2 id="failure" class="grow">${isDown ? "✗" : "!"} ${reasonText(reason)} <span class="sub">${isDown ? t("since") : t("lastAt")} ${dateTime(failure.at)} · <${Ago} at=${failure.at} /></span></h2>
      ${isDown && mayAct() && html`<button class="primary" onClick=${() => runCommand(app, "restart")}>${t("restart")}</button>`}</div>
    ${error && html`<p class="wrap"><strong>${safe(error.type)}${error.message ? `: ${safe(error.message)}` : ""}</strong>${error.place && html` <code class="sub">${safe(error.place)}</code>`}</p>`}
    ${source && html`<pre class="source"><span class="sub">${source.number} │ </span>${safe(source.text)}</pre>`}
    <p class="sub">${failure.count > 1 ? `${failure.count} × ` : ""}${safe(failure.text)}, ${t("ranAbout", { time: span(failure.ran_ms) })}${app.instances.length > 1 ? ` · ${t("instance")} ${failure.instance}` : ""}</p>
    ${failure.lines.length > 0 && html`<details open><summary>${t("lastWords")}</summary><pre class="answer">${failure.lines.map(safe).join("\n")}</pre></details>`}
    <p class="links"><a href=${error && error.id ? `#/errors/${error.id}` : `${base}/errors`}>${t("openError")}</a><a href=${`${base}/logs/${failure.at - BEFORE_MS}-${failure.at + AFTER_MS}`}>${t("openLines")}</a><a href=${`${base}/exits`}>${t("exits")}</a><a href=${`${base}/events`}>${t("events")}</a></p>
  </section>`;
}
