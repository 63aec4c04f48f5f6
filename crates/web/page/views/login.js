// Login page.
import { useState } from "../vendor/preact.js";
import { html } from "../html.js";
import { t } from "../i18n.js";
import { api } from "../api.js";
import { startSession, state } from "../store.js";
import { Copy } from "../parts.js";

export function Login() {
  const [problem, setProblem] = useState(state.loginError);
  const [byToken, setByToken] = useState(false);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const value = event.target.elements.secret.value;
    setBusy(true);
    try {
      await api("session", { method: "POST", body: byToken || !state.logins.password ? { token: value } : { password: value } });
      setProblem(null);
      await startSession();
    } catch (error) {
      setProblem(error.status === 429 ? t("tooMany", { n: error.body.retry_after }) : error.status === 0 ? t("offline") : error.message);
    }
    setBusy(false);
  };
  const asksToken = byToken || !state.logins.password;
  return html`<main class="login"><div class="card">
    <img src="icon.svg" alt="" width="44" height="44" /><h1>ostler</h1>
    <p>${t("loginHint")}</p><${Copy} text="ostler web open" />
    <form onSubmit=${submit}>
      <label>${asksToken ? t("token") : t("password")}<input name="secret" type="password" required autocomplete=${asksToken ? "off" : "current-password"} aria-describedby="problem" /></label>
      <p id="problem" class="bad" role="alert">${problem || "\u00a0"}</p>
      <button class="primary wide" type="submit" disabled=${busy}>${t("login")}</button>
      ${state.logins.password && html`<button type="button" class="plain link" onClick=${() => setByToken(!byToken)}>${byToken ? t("password") : t("orToken")}</button>`}
    </form></div></main>`;
}
