//! `web`: turns the dashboard on and off, and manages access to it.

use std::io::{self, IsTerminal as _, Read as _};
use std::time::{SystemTime, UNIX_EPOCH};

use ostler_core::text::causes::with_causes;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_sys::net::listening;
use ostler_web::access::{self, Role, Store};
use ostler_web::settings::otlp::{Otlp, OtlpError, Push};
use ostler_web::settings::tls::Tls;
use ostler_web::settings::{PM2_PORT, Settings};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, DashboardError, Status, UsageError};
use crate::{render, web};

/// Runs `web [enable|disable|open|status|passwd|token|port]`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    match call.target() {
        Some("enable") => enable(cx, call, None),
        // As in PM2: its JSON page, at this port.
        Some(word) if port(word).is_some() => enable(cx, call, port(word)),
        None if cx.program.is_pm2() => enable(cx, call, Some(PM2_PORT)),
        None | Some("status") => status(cx, call),
        Some("disable") => disable(cx),
        Some("open") => open(cx, call),
        Some("passwd") => passwd(cx, call),
        Some("token") => token(cx, call),
        Some(other) => {
            let known = ["enable", "disable", "open", "status", "passwd", "token"];
            let reason = message!("expected {words} or a port, found {other}", words = known.join(", "), other = format!("{other:?}"));
            Err(UsageError::unknown_among("web", reason, other, &known).into())
        }
    }
}

fn enable(cx: &mut Cx, call: &Call, pm2_port: Option<u16>) -> Result<Status, CliError> {
    cx.client()?;
    let home = cx.home()?.to_owned();
    let before = Settings::read(&home).map_err(DashboardError::from)?;
    let mut settings = Settings { enabled: true, ..before.clone() };
    settings.pm2_port = pm2_port.or(number(call, "pm2-port")?).or(settings.pm2_port);
    settings.port = number(call, "port")?.unwrap_or(settings.port);
    if let Some(listen) = call.value("listen") {
        settings.listen = listen.trim_matches(['[', ']']).to_owned();
    }
    if let Some(text) = call.value("history-mb") {
        let bad = || UsageError::BadValue {
            option: "--history-mb".into(),
            reason: message!("expected megabytes, at least 1, found {text}", text = format!("{text:?}")),
        };
        settings.history_mb = Some(text.parse::<u32>().ok().filter(|mb| *mb > 0).ok_or_else(bad)?);
    }
    settings.otlp = otlp(call, settings.otlp)?;
    settings.behind_proxy |= call.has("behind-proxy");
    settings.tls = tls(call, settings.tls)?;
    add(&mut settings.hosts, call.values("allow-host"));
    add(&mut settings.trusted_origins, call.values("trust-origin"));
    let kept = |reason| DashboardError::Kept { reason, state: still_serves(&before) };
    settings.check().map_err(|error| kept(without_errno(&with_causes(&error))))?;
    free_ports(&before, &settings, call.has("otlp-port")).map_err(kept)?;
    settings.write(&home).map_err(DashboardError::from)?;
    // The previous sockets would conflict with another address on the same port.
    if before.enabled && before.sockets() != settings.sockets() {
        web::stop(cx)?;
    }
    if let Err(error) = web::start(cx, &settings) {
        // A dashboard that does not start is not enabled: the next daemon would fail to start it
        // again.
        before.write(&home).map_err(DashboardError::from)?;
        web::stop(cx)?;
        if before.enabled {
            web::start(cx, &before)?;
        }
        return Err(error);
    }
    if call.has("json") {
        return status(cx, call);
    }
    let name = cx.program.name();
    match settings.url() {
        Some(url) => cx.out.info(message!("Dashboard at {url}", url)),
        None => cx.out.info(message!("Dashboard at the socket {socket}", socket = settings.listen)),
    }
    if let Some(port) = settings.otlp.receiver_port() {
        cx.out.info(message!("Traces of apps with `trace` go to http://127.0.0.1:{port}/", port));
    }
    if let Some(port) = settings.pm2_port {
        cx.out.info(message!("PM2's JSON page at http://127.0.0.1:{port}/, without values of variables", port));
    }
    cx.out.info(message!("`{name} web open` creates a link for the first login, `{name} web token <name>` a token for programs", name));
    Ok(Status::Ok)
}

/// Checks that the ports of the new settings are free, before anything is changed. Ports that the
/// dashboard itself already uses count as free.
///
/// # Errors
/// Returns an error that names the port that is taken and, if known, the process that uses it.
fn free_ports(before: &Settings, settings: &Settings, takes_traces: bool) -> Result<(), String> {
    let ports = |settings: &Settings| [Some(settings.port), settings.pm2_port, settings.otlp.receiver_port()];
    let own: Vec<u16> = if before.enabled { ports(before).into_iter().flatten().collect() } else { Vec::new() };
    let traces = settings.otlp.receiver_port().filter(|_| takes_traces).map(|port| format!("127.0.0.1:{port}"));
    for address in settings.sockets().into_iter().filter(|address| !address.starts_with('/')).chain(traces) {
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        if let Err(error) = std::net::TcpListener::bind(&address) {
            let why = match (error.kind(), port) {
                (io::ErrorKind::AddrInUse, Some(port)) if own.contains(&port) => continue,
                (io::ErrorKind::AddrInUse, Some(port)) => holder(port),
                (io::ErrorKind::AddrNotAvailable, _) => message!("not an address of this machine"),
                _ => error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase(),
            };
            return Err(message!("cannot listen at {address}: {why}", address, why));
        }
    }
    Ok(())
}

/// Returns a message without error numbers such as ` (os error 2)`, which do not help a reader.
fn without_errno(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// Names the program that uses a port.
fn holder(port: u16) -> String {
    let process = listening::holder_of(&listening::sockets_at(port), &[]);
    match process.map(|pid| (pid, listening::program(pid).unwrap_or_default())) {
        Some((pid, program)) => message!("the port is taken by process {pid} ({program})", pid, program),
        None => message!("the port is taken by a process of another user or container"),
    }
}

/// Describes the state of the dashboard after a rejected change.
fn still_serves(before: &Settings) -> String {
    let place = before.url().unwrap_or_else(|| before.listen.clone());
    if before.enabled {
        message!("nothing was changed; the dashboard still serves at {place}", place)
    } else {
        message!("the dashboard stays off")
    }
}

/// Returns the settings of both directions of OpenTelemetry, with the options of this call applied.
fn otlp(call: &Call, mut otlp: Otlp) -> Result<Otlp, UsageError> {
    if let Some(port) = number(call, "otlp-port")? {
        otlp.port = Some(port);
        otlp.off = false;
    }
    otlp.off |= call.has("no-otlp");
    if let Some(text) = call.value("traces-mb") {
        otlp.traces_mb = Some(text.parse().unwrap_or(0));
    }
    let bad = |option: &str, reason: String| UsageError::BadValue { option: option.into(), reason };
    let split = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, "\n"));
        (name.trim().to_owned(), value.to_owned())
    };
    let headers: Vec<(String, String)> = call.values("otlp-header").map(split).collect();
    match (call.value("otlp-to"), &mut otlp.push) {
        _ if call.has("no-otlp-to") => otlp.push = None,
        (Some(to), _) => otlp.push = Some(Push { to: to.to_owned(), headers, logs: call.has("otlp-logs") }),
        (None, Some(push)) => {
            push.logs |= call.has("otlp-logs");
            if !headers.is_empty() {
                push.headers = headers;
            }
        }
        (None, None) if call.has("otlp-logs") || !headers.is_empty() => {
            let option = if headers.is_empty() { "--otlp-logs" } else { "--otlp-header" };
            return Err(bad(option, message!("--otlp-to is also required: the receiver's address")));
        }
        (None, None) => {}
    }
    let option = |error: &OtlpError| match error {
        OtlpError::Address => "--otlp-to",
        OtlpError::Header(_) => "--otlp-header",
        OtlpError::Megabytes => "--traces-mb",
    };
    otlp.check().map_err(|error| bad(option(&error), error.to_string()))?;
    Ok(otlp)
}

/// Returns certificate and key, with the options of this call applied.
fn tls(call: &Call, before: Option<Tls>) -> Result<Option<Tls>, UsageError> {
    let path = |option: &str| call.value(option).map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
    match (path("tls-cert"), path("tls-key")) {
        _ if call.has("no-tls") => Ok(None),
        (None, None) => Ok(before),
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
        (Some(_), None) => Err(UsageError::BadValue { option: "--tls-cert".into(), reason: message!("--tls-key is also required") }),
        (None, Some(_)) => Err(UsageError::BadValue { option: "--tls-key".into(), reason: message!("--tls-cert is also required") }),
    }
}

fn add<'a>(list: &mut Vec<String>, values: impl Iterator<Item = &'a str>) {
    for value in values.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty()) {
        if !list.iter().any(|has| has == value) {
            list.push(value.to_owned());
        }
    }
}

fn number(call: &Call, option: &str) -> Result<Option<u16>, UsageError> {
    let Some(text) = call.value(option) else { return Ok(None) };
    let bad = || UsageError::BadValue {
        option: format!("--{option}"),
        reason: message!("expected a port, 1 to 65535, found {text}", text = format!("{text:?}")),
    };
    text.parse::<u16>().ok().filter(|port| *port > 0).map(Some).ok_or_else(bad)
}

fn disable(cx: &mut Cx) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let settings = Settings::read(&home).map_err(DashboardError::from)?;
    let was = settings.enabled;
    if was {
        Settings { enabled: false, ..settings }.write(&home).map_err(DashboardError::from)?;
    }
    web::stop(cx)?;
    cx.out.info(if was { message!("Dashboard is off; its settings and tokens are kept") } else { message!("Dashboard was off already") });
    Ok(Status::Ok)
}

fn status(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let settings = Settings::read(&home).map_err(DashboardError::from)?;
    let row = web::row(cx)?;
    let mut store = Store::of(&home);
    let access = store.get().map_err(DashboardError::from)?;
    if call.has("json") {
        let tokens: Vec<_> = access
            .tokens
            .iter()
            .map(|token| json!({ "name": token.name, "role": token.role, "namespaces": token.namespaces, "created": token.created_ms }))
            .collect();
        render::json(
            &mut cx.out,
            &json!({
                "enabled": settings.enabled,
                "status": row.as_ref().map(|row| &row.status),
                "pid": row.as_ref().map(|row| row.pid),
                "url": settings.url(),
                "settings": settings.shown(),
                "password": access.password.is_some(),
                "tokens": tokens,
            }),
        );
        return Ok(Status::Ok);
    }
    let name = cx.program.name();
    if !settings.enabled {
        cx.out.line(message!("dashboard is off; `{name} web enable` switches it on", name));
        return Ok(Status::Ok);
    }
    let place = settings.url().unwrap_or_else(|| settings.listen.clone());
    let state = row.as_ref().map_or(translated(marked!("not running")), |row| row.status.as_str());
    cx.out.line(message!("dashboard: {state}, {place}", state, place));
    if let Some(port) = settings.pm2_port {
        cx.out.line(message!("PM2's JSON page: http://127.0.0.1:{port}/", port));
    }
    match settings.otlp.receiver_port() {
        Some(port) => cx.out.line(message!("traces: received at http://127.0.0.1:{port}/v1/traces", port)),
        None => cx.out.line(message!("traces: not received")),
    }
    if let Some(push) = settings.otlp.shown().push {
        cx.out.line(match push.logs {
            true => message!("OTLP: metrics and events, lines go to {address}", address = push.to),
            false => message!("OTLP: metrics and events go to {address}", address = push.to),
        });
    }
    cx.out.line(if access.password.is_some() { message!("password: set") } else { message!("password: none") });
    for token in &access.tokens {
        let (name, role) = (&token.name, token.role.word());
        cx.out.line(match token.namespaces.join(", ") {
            all if all.is_empty() => message!("token {name}: {role}", name, role),
            namespaces => message!("token {name}: {role}, only {namespaces}", name, role, namespaces),
        });
    }
    Ok(Status::Ok)
}

fn open(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let settings = Settings::read(&home).map_err(DashboardError::from)?;
    let program = cx.program.name();
    let role = role(call)?.unwrap_or(Role::Admin);
    if !settings.enabled {
        return Err(DashboardError::Off { program }.into());
    }
    if web::row(cx)?.is_none_or(|row| row.status != "online") {
        return Err(DashboardError::Down { program }.into());
    }
    let Some(url) = settings.url() else {
        return Err(DashboardError::Socket(settings.listen).into());
    };
    let secret = change(&home, |access| access.add_link(role, now_ms()))?;
    let link = format!("{url}#link={}", secret.text());
    if call.has("json") {
        render::json(&mut cx.out, &json!({ "url": link, "role": role, "good_for_ms": access::LINK_MS }));
    } else {
        cx.out.line(&link);
        if io::stdout().is_terminal() {
            cx.out.err_line(message!(
                "valid once, within {minutes} minutes, as {role}",
                minutes = access::LINK_MS / 60_000,
                role = role.word()
            ));
        }
    }
    Ok(Status::Ok)
}

fn role(call: &Call) -> Result<Option<Role>, UsageError> {
    let Some(word) = call.value("role") else { return Ok(None) };
    let bad = || {
        let reason = message!("expected viewer, operator or admin, found {word}", word = format!("{word:?}"));
        UsageError::unknown_among("--role", reason, word, &["viewer", "operator", "admin"])
    };
    Role::parse(word).map(Some).ok_or_else(bad)
}

fn token(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    if let Some(name) = call.value("revoke") {
        let (is_revoked, known) = change(&home, |access| {
            let known: Vec<String> = access.tokens.iter().map(|token| token.name.clone()).collect();
            (access.revoke(name), known)
        })?;
        if !is_revoked {
            let text = message!("there is no token {name}; nothing was changed", name = format!("{name:?}"));
            return Err(CliError::unknown(text, name, known.iter().map(String::as_str), ""));
        }
        cx.out.info(message!("Token {name} is no longer valid", name));
        return Ok(Status::Ok);
    }
    let role = role(call)?.unwrap_or(Role::Viewer);
    let name = call.targets.get(1).map_or(role.word(), String::as_str);
    let namespaces: Vec<String> = call.values("namespace").map(str::to_owned).collect();
    let made = change(&home, |access| access.add_token(name, role, namespaces, now_ms()))?;
    let secret = made.map_err(DashboardError::from)?;
    if call.has("json") {
        render::json(&mut cx.out, &json!({ "name": name, "role": role, "token": secret.text() }));
    } else {
        cx.out.line(secret.text());
        if io::stdout().is_terminal() {
            cx.out.err_line(message!(
                "token {name}, {role}; shown this once. Send it as `Authorization: Bearer …`",
                name,
                role = role.word()
            ));
        }
    }
    Ok(Status::Ok)
}

fn passwd(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let hash = if call.has("remove") {
        None
    } else {
        let password = read_password(cx)?;
        Some(access::password_hash(&password).map_err(DashboardError::from)?)
    };
    let is_set = hash.is_some();
    change(&home, |access| access.set_password(hash))?;
    cx.out.info(if is_set {
        message!("Password is set; all existing sessions are signed out")
    } else {
        message!("Password was removed; log in with links")
    });
    Ok(Status::Ok)
}

/// Reads the password: at a terminal twice without echo, otherwise from the first line of standard
/// input.
fn read_password(cx: &mut Cx) -> Result<String, CliError> {
    let stdin = io::stdin();
    let failed = |source| CliError::File { what: marked!("read"), path: message!("standard input"), source };
    if !stdin.is_terminal() {
        let mut text = String::new();
        stdin.lock().take(4096).read_to_string(&mut text).map_err(failed)?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    let mut ask = |words: &str| {
        cx.out.err_line(words);
        cx.out.flush();
        let _hidden = EchoOff::new();
        let mut line = String::new();
        stdin.read_line(&mut line).map(|_| line.trim_end_matches(['\r', '\n']).to_owned()).map_err(failed)
    };
    let (first, second) = (ask(&message!("New password:"))?, ask(&message!("Repeat it:"))?);
    if first == second { Ok(first) } else { Err(DashboardError::Passwords.into()) }
}

/// Terminal that does not echo what the user types, until this value is dropped.
struct EchoOff(Option<rustix::termios::Termios>);

impl EchoOff {
    fn new() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut quiet) = before.clone() {
            quiet.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
        }
        Self(before)
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn change<T>(home: &std::path::Path, change: impl FnOnce(&mut access::Access) -> T) -> Result<T, CliError> {
    Ok(Store::of(home).change(change).map_err(DashboardError::from)?)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
