// Reasons why an app needs attention, as texts and links.
import { t } from "./i18n.js";
import { percent, safe } from "./format.js";

const ENDS = { crashed: "whyCrashed", restarting: "whyRestarting" };
const LIMITS = { memory: "whyMemoryLimit", cpu: "whyCpuLimit", errors: "whyErrorLimit" };
const PLAIN = { errored: "whyErrored", unhealthy: "whyUnhealthy", unready: "whyUnready", check_broken: "whyCheckBroken" };
// Tab of the app's view that shows the details.
const REASON_TABS = { near_limit: "charts", failing_requests: "metrics", unhealthy: "events", unready: "events", check_broken: "events", limit_exceeded: "events" };

const exitText = ({ code, signal }) => (code !== undefined ? t("exitedWith", { code }) : signal ? t("killedBy", { signal: safe(signal) }) : t("exitedSomehow"));

// Text that follows the app's name.
export function reasonText(reason) {
  const { kind, limit } = reason;
  if (ENDS[kind]) return t(ENDS[kind], { what: exitText(reason) });
  if (kind === "keeps_restarting") return t("whyKeepsRestarting", { n: `${reason.exits}${reason.more ? "+" : ""}` });
  if (kind === "limit_exceeded") return t(LIMITS[limit]);
  if (kind === "near_limit") return t("whyNearLimit", { share: percent(reason.share * 100) });
  if (kind === "failing_requests") return t("whyFailing", { share: percent(reason.share * 100) });
  return PLAIN[kind] ? t(PLAIN[kind]) : safe(reason.text);
}

export const reasonTab = (reason) => REASON_TABS[reason.kind] || "exits";
