//! `/api/profiles`: profiles of the CPU time or the memory of Node apps.

use std::io::Read as _;
use std::rc::Rc;

use hyper::body::Bytes;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, HeaderValue};
use hyper::{Response, StatusCode};
use ostler_client::app_rights::AppRights;
use ostler_client::profile_file::extension;
use ostler_client::words::shown;
use ostler_proto::control::Profile;
use ostler_proto::instance::Detail;
use serde::Deserialize;
use serde_json::json;

use super::apps;
use crate::access::audit::AuditEntry;
use crate::access::{Identity, Role};
use crate::clock::now_ms;
use crate::http::body;
use crate::http::reply::{self, Body, error, streamed};
use crate::profiles::{self, ProfileTarget, StoredProfile};
use crate::site::{ClientRequest, Site};
use crate::view::App;

/// Maximum duration of a profile, in ms.
const LONGEST_MS: u64 = 300_000;
/// Size of a piece of a file, and maximum number of pieces that wait for a slow reader.
const PIECE: usize = 64 << 10;
const ROOM: usize = 4;
/// Reason why heap snapshots need the admin role.
const HEAP_ROLE: &str = "a heap snapshot contains the app's memory, including secrets: this requires the role admin";

/// Request for a profile.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileRequest {
    kind: Profile,
    /// Duration; none for a heap.
    #[serde(default)]
    seconds: Option<f64>,
    /// Only this instance.
    #[serde(default)]
    instance: Option<u32>,
}

pub(super) async fn take(site: &Site, request: ClientRequest, identity: &Identity, name: &str) -> Response<Body> {
    let from = request.from.map(|from| from.to_string());
    let params: ProfileRequest = match body::json(request.body).await {
        Ok(params) => params,
        Err(response) => return response,
    };
    if params.kind == Profile::Heap && identity.role < Role::Admin {
        return error(StatusCode::FORBIDDEN, HEAP_ROLE);
    }
    let Some((app, _)) = apps::find(site, identity, name).await else { return apps::not_found(name) };
    if let Some(response) = super::problems::guards_module(&app, identity) {
        return response;
    }
    let (ms, instances) = match chosen(&app, &params) {
        Ok(chosen) => chosen,
        Err(text) => return error(StatusCode::BAD_REQUEST, text),
    };
    let targets = instances.iter().map(|(id, _)| id.to_string()).collect();
    let details = match site.daemon.query(move |client| apps::still_existing(client, targets)).await {
        Ok(details) => details,
        Err(problem) => return super::problems::daemon_error(&problem),
    };
    if !details.iter().all(|detail| crate::view::is_profiled(&detail.spec)) {
        return error(
            StatusCode::CONFLICT,
            "only Node apps with ostler's preload can be profiled; for other programs use `perf record -p <pid>` or `py-spy record -p \
             <pid>`",
        );
    }
    let instances = match targets_of(&details, &instances) {
        Ok(instances) => instances,
        Err(problem) => return error(StatusCode::CONFLICT, &format!("cannot profile {}: {problem}", shown(name))),
    };
    let started = site.profiles.begin(&site.daemon, &profiles::subject(&app, params.kind, ms, &identity.user), &instances);
    match started {
        Ok(()) => {
            let what = format!("profile {}", params.kind.as_str());
            site.audit.write(&entry(identity, from, what, &app.name, &app.namespace, "begun"));
            reply::with_status(StatusCode::ACCEPTED, &json!({ "done": true, "instances": instances.len() }))
        }
        Err(problem) => error(StatusCode::CONFLICT, &problem.to_string()),
    }
}

/// Running instances: id and pid.
type Instances = Vec<(u32, i32)>;

/// Returns those of the instances that still exist, with the rights of their users.
fn targets_of(details: &[Detail], instances: &Instances) -> std::io::Result<Vec<ProfileTarget>> {
    let pid_of = |id| instances.iter().find(|(of, _)| *of == id).map_or(0, |(_, pid)| *pid);
    details.iter().map(|detail| Ok(ProfileTarget { id: detail.id, rights: AppRights::of(&detail.spec, pid_of(detail.id))? })).collect()
}

/// Returns the duration in ms and the instances.
fn chosen(app: &App, params: &ProfileRequest) -> Result<(u64, Instances), &'static str> {
    let seconds = params.seconds.unwrap_or(10.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is out of bounds is refused below")]
    let ms = (seconds * 1000.0) as u64;
    if !(1..=LONGEST_MS).contains(&ms) {
        return Err("`seconds` must be a number up to 300");
    }
    let is_selected = |id: u32| params.instance.is_none_or(|only| only == id);
    let selected = app.instances.iter().filter(|one| is_selected(one.id) && one.pid > 0);
    let instances: Instances = selected.map(|one| (one.id, one.pid)).collect();
    if instances.is_empty() { Err("no such instance is running") } else { Ok((ms, instances)) }
}

pub(super) fn list(site: &Site, identity: &Identity) -> Response<Body> {
    let (mut kept, mut running, mut failed) = site.profiles.all();
    kept.retain(|one| identity.sees(&one.subject.namespace));
    running.retain(|one| identity.sees(&one.namespace));
    failed.retain(|one| identity.sees(&one.subject.namespace));
    reply::json(&json!({ "profiles": kept, "running": running, "failed": failed }))
}

/// Returns the profile of this id, if the user sees its app.
fn find(site: &Site, identity: &Identity, id: &str) -> Option<StoredProfile> {
    site.profiles.find(id).filter(|one| identity.sees(&one.subject.namespace))
}

fn not_found(id: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, &format!("there is no profile {}", shown(id)))
}

pub(super) fn one(site: &Rc<Site>, identity: &Identity, id: &str) -> Response<Body> {
    let Some(kept) = find(site, identity, id) else { return not_found(id) };
    if kept.subject.kind == Profile::Heap && identity.role < Role::Admin {
        return error(StatusCode::FORBIDDEN, HEAP_ROLE);
    }
    let mut file = match site.profiles.open(&kept) {
        Ok(file) => file.take(kept.bytes),
        Err(problem) => return error(StatusCode::NOT_FOUND, &format!("cannot read the file of this profile: {problem}")),
    };
    let (writer, mut response) = streamed(reply::JSON, ROOM);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", file_name(&kept))) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(kept.bytes));
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(count) => piece.truncate(count),
            }
            if writer.blocking_send(Bytes::from(piece)).is_err() {
                return;
            }
        }
    });
    response
}

/// Returns the file name for a download; it has only plain characters.
fn file_name(kept: &StoredProfile) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = kept.subject.app.chars().map(|c| if is_plain(c) { c } else { '_' }).take(80).collect();
    format!("{name}-{}.{}", kept.subject.instance, extension(kept.subject.kind))
}

pub(super) fn remove(site: &Site, request: &ClientRequest, identity: &Identity, id: &str) -> Response<Body> {
    let Some(kept) = find(site, identity, id) else { return not_found(id) };
    let done = site.profiles.remove(&kept.id);
    let from = request.from.map(|from| from.to_string());
    match done {
        Ok(()) => {
            let what = "remove profile".to_owned();
            site.audit.write(&entry(identity, from, what, &kept.subject.app, &kept.subject.namespace, "done"));
            reply::json(&json!({ "done": true }))
        }
        Err(problem) => error(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot remove the profile: {problem}")),
    }
}

fn entry(identity: &Identity, from: Option<String>, what: String, app: &str, namespace: &str, result: &str) -> AuditEntry {
    let (app, namespace) = (Some(app.to_owned()), Some(namespace.to_owned()));
    AuditEntry { at: now_ms(), who: identity.user.clone(), from, what, app, namespace, result: result.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;
    use crate::view::{apps, tests_row as row};

    #[test]
    fn profile_targets_running_instances_for_valid_duration() {
        let mut rows = vec![row(3, "api", "default", "online"), row(4, "api", "default", "online"), row(5, "api", "default", "stopped")];
        (rows[0].pid, rows[1].pid, rows[2].pid) = (30, 40, 0);
        let app = apps(&Snapshot { rows, ..Snapshot::default() }, |_| true).apps.remove(0);
        let params = |text: &str| chosen(&app, &serde_json::from_str(text).unwrap());
        assert_eq!(params(r#"{"kind":"cpu"}"#), Ok((10_000, vec![(3, 30), (4, 40)])));
        assert_eq!(params(r#"{"kind":"memory","seconds":0.5,"instance":4}"#), Ok((500, vec![(4, 40)])));
        for bad in [r#""seconds":0"#, r#""seconds":-1"#, r#""seconds":301"#, r#""seconds":1e300"#, r#""instance":5"#, r#""instance":6"#] {
            assert!(params(&format!(r#"{{"kind":"cpu",{bad}}}"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn profile_file_name_is_sanitized() {
        let mut subject = crate::profiles::tests_subject();
        subject.app = "a\"b\r\n/ü".into();
        assert_eq!(file_name(&StoredProfile { id: "1".into(), subject, bytes: 1 }), "a_b____-3.cpuprofile");
    }
}
