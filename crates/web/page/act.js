// Commands. The page asks for confirmation if data or requests can be lost.
import { api, segment } from "./api.js";
import { t } from "./i18n.js";
import { openDialog, state, toast, dismissToast } from "./store.js";

const QUESTIONS = { stop: "confirmStop", restart: "confirmRestart", delete: "confirmDelete", flush: "confirmFlush", undo: "confirmUndo" };

export const mayAct = () => state.session && state.session.role !== "viewer";
export const isAdmin = () => state.session && state.session.role === "admin";

async function sendCommand(app, verb, body, then) {
  const words = { what: t(verb), name: app.name };
  const id = toast(t("working", words), "info", 0);
  try {
    const answer = await api(`apps/${segment(app.name)}/${verb}`, { method: "POST", body: body || {} });
    dismissToast(id);
    toast(t("done", words), "good");
    if (then) then(answer);
  } catch (error) {
    dismissToast(id);
    toast(t("failed", { ...words, why: error.status === 0 ? t("offline") : error.message }), "bad");
  }
}

export function runCommand(app, verb, body, then) {
  if (verb === "scale") {
    openDialog({ title: t("scale"), text: t("howMany"), number: app.instances.length, action: (instances) => sendCommand(app, verb, { instances }, then) });
    return;
  }
  const question = QUESTIONS[verb];
  // Restarting an errored app loses nothing.
  if (question && !(verb === "restart" && app.state === "errored")) {
    openDialog({ title: t(verb), text: t(question, { name: app.name }), danger: true, action: () => sendCommand(app, verb, body, then) });
  } else sendCommand(app, verb, body, then);
}

// Verbs that make sense for an app now, the usual ones first.
export function availableCommands(app) {
  // Modules, including the dashboard, need an admin.
  if (!mayAct() || (app.kind === "module" && !isAdmin())) return { first: [], more: [] };
  const isDown = app.instances.every((one) => one.state === "stopped" || one.state === "errored");
  const first = isDown ? ["start"] : ["reload", "restart", "stop"];
  const more = [...(app.kind === "module" ? [] : ["scale", "undo"]), "reset", ...(isAdmin() ? ["flush", "delete"] : [])];
  return { first, more };
}
