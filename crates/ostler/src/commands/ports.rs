//! Check after a restart: new processes of fork apps listen on the TCP ports of the old ones.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ostler_client::ports::PortScan;
use ostler_core::app::select::{Selectable, select};
use ostler_core::message;
use ostler_proto::control::{Confirm, Detail, Request};

use crate::cx::{self, Cx};
use crate::error::CliError;
use crate::render::Wording;
use crate::text::shown;

/// Time after its start within which a new process has to listen, unless `listen_timeout` sets
/// another time.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(50);

/// Process that is about to be replaced, and the ports on which its tree listens.
struct OldProcess {
    id: u32,
    name: String,
    pid: i32,
    ports: BTreeSet<u16>,
    within: Duration,
}

/// Performs a request. If its new processes have to prove themselves, it also waits until those of
/// fork apps listen on the ports of the old ones. It only warns about a port on which a new process
/// does not listen, because an app may have changed the port on purpose.
pub(super) fn perform(cx: &mut Cx, request: &Request, wording: Wording) -> Result<Vec<u32>, CliError> {
    let is_proved = matches!(
        request,
        Request::Act { confirm: Some(Confirm { watches: true, .. }), .. }
            | Request::Start { confirm: Some(Confirm { watches: true, .. }), .. }
    );
    // If the daemon does not answer, the request itself reports it; the check alone never fails a
    // command.
    let old = if is_proved { about_to_be_replaced(cx, request).unwrap_or_default() } else { Vec::new() };
    let ids = cx.perform(request, wording)?;
    let _ = wait(cx, old);
    Ok(ids)
}

/// Returns the processes of fork apps that the request replaces and that listen on ports.
fn about_to_be_replaced(cx: &mut Cx, request: &Request) -> Result<Vec<OldProcess>, CliError> {
    let here = cx::cwd()?;
    let Some(client) = cx.running_client()? else { return Ok(Vec::new()) };
    let rows = client.list()?;
    let ids: BTreeSet<u32> = match request {
        Request::Act { targets, cwd, .. } => {
            let entries: Vec<Selectable<'_>> = rows
                .iter()
                .map(|row| Selectable {
                    id: row.id,
                    name: &row.name,
                    namespace: &row.namespace,
                    script: &row.script,
                    is_module: row.module,
                })
                .collect();
            targets.iter().filter_map(|target| select(target, &entries, cwd).ok()).flatten().collect()
        }
        Request::Start { apps, .. } => rows.iter().filter(|row| apps.iter().any(|app| app.name == row.name)).map(|row| row.id).collect(),
        _ => BTreeSet::new(),
    };
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let targets: Vec<String> = ids.iter().map(u32::to_string).collect();
    let details = client.inspect_in(&targets, here)?;
    let mut scan = PortScan::take();
    let old = |detail: Detail| {
        let pid = detail.instance.pid().filter(|_| !detail.spec.has_workers())?;
        let mut ports = scan.ports_of_tree(pid);
        // The kernel chose these ports, and chooses others for the next process.
        ports.retain(|port| !scan.is_ephemeral(*port));
        let within = detail.spec.ready.listen_timeout_ms.map_or(LISTEN_TIMEOUT, Duration::from_millis);
        (!ports.is_empty()).then_some(OldProcess { id: detail.id, name: detail.spec.name, pid, ports, within })
    };
    Ok(details.into_iter().filter_map(old).collect())
}

/// Waits until the new processes listen on these ports, or until their time is over.
fn wait(cx: &mut Cx, mut waiting: Vec<OldProcess>) -> Result<(), CliError> {
    let began = Instant::now();
    let here = cx::cwd()?;
    loop {
        let Some(client) = cx.running_client()?.filter(|_| !waiting.is_empty()) else { return Ok(()) };
        let targets: Vec<String> = waiting.iter().map(|old| old.id.to_string()).collect();
        let details = client.inspect_in(&targets, here.clone())?;
        let mut scan = PortScan::take();
        waiting.retain_mut(|old| {
            // An instance that was stopped, deleted or not replaced need not prove itself.
            let detail = details.iter().find(|detail| detail.id == old.id);
            let Some(pid) = detail.and_then(|detail| detail.instance.pid()).filter(|pid| *pid != old.pid) else { return false };
            let ports = scan.ports_of_tree(pid);
            old.ports.retain(|port| !ports.contains(port));
            !old.ports.is_empty()
        });
        let is_over = |old: &OldProcess| {
            let started = details.iter().find(|detail| detail.id == old.id).and_then(|detail| detail.instance.counters.last_start);
            let age_ms = started.map_or(0, |started| ostler_sys::now().boot_ms.saturating_sub(started.mono_ms));
            Duration::from_millis(age_ms).max(began.elapsed()) >= old.within
        };
        for old in waiting.extract_if(.., |old| is_over(old)) {
            let ports: Vec<String> = old.ports.iter().map(u16::to_string).collect();
            let (name, id, all) = (shown(&old.name), old.id, ports.join(", "));
            cx.out.warn_err(match ports.len() {
                1 => message!("[{name}]({id}) does not listen on port {port}, unlike its old process", name, id, port = all),
                _ => message!("[{name}]({id}) does not listen on ports {ports}, unlike its old process", name, id, ports = all),
            });
        }
        if !waiting.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
}
