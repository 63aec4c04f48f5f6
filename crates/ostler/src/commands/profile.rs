//! `profile`: CPU and memory profiles of running Node apps, as files for tools such as Chrome's
//! developer tools.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ostler_client::app_rights::AppRights;
use ostler_client::profile_file::{extension, take_over};
use ostler_core::message;
use ostler_proto::control::{Failure, Profile, Progress, Request, Response};
use ostler_proto::instance::Detail;
use serde_json::{Value, json};

use crate::cli::Call;
use crate::client::{Client, ClientError};
use crate::cx::{self, Cx};
use crate::error::{CliError, Status, UsageError};
use crate::text::shown;

/// Default duration of a profile.
const MS: u64 = 10_000;
/// Largest file that is moved: a sparse file must not fill the disk.
const MOST_BYTES: u64 = 16 << 30;

/// Runs `profile <id|name|namespace>`. The app takes the profile itself, over its channel, so no
/// port is opened. Other runtimes are not touched.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let (kind, ms) = (kind(call)?, length(call)?);
    let folder = Path::new(&cx::cwd()?).join(call.value("into").unwrap_or("."));
    if !folder.is_dir() {
        return Err(CliError::NotFound(message!("\"{path}\" is not a folder", path = folder.display())));
    }
    let target = call.targets[0].clone();
    let mut files: Vec<(u32, String, String)> = Vec::new();
    let (out, client) = cx.parts()?;
    let rights = rights_of(client, &target);
    let request = Request::Profile { target, kind, ms };
    let answer = client.request(&request, &mut |progress| {
        match progress {
            Progress::Selected { ids, .. } if kind == Profile::Heap => {
                out.info(message!("Taking heap snapshots of {count} processes", count = ids.len()))
            }
            Progress::Selected { ids, .. } => {
                out.info(message!("Profiling {count} processes for {seconds} s", count = ids.len(), seconds = ms as f64 / 1000.0));
            }
            Progress::Returned { id, name, value, .. } => files.push((id, name, value.as_str().unwrap_or_default().to_owned())),
            Progress::InstanceFailed { id, name, reason } => out.error(format_args!("[{}]({id}) {}", shown(&name), shown(&reason))),
            _ => {}
        }
        out.flush();
    });
    let mut status = Status::Ok;
    let mut all: Vec<Value> = Vec::new();
    for (id, name, file) in files {
        let of_app = rights.iter().find(|(of, _)| *of == id).map(|(_, rights)| rights);
        match fetch(Path::new(&file), kind, of_app, &folder, &name, id) {
            Ok(path) => {
                all.push(json!({ "pm_id": id, "name": name, "file": path }));
                cx.out.result(format_args!("[{}]({id}) {}", shown(&name), shown(&path.to_string_lossy())));
            }
            Err(error) => {
                cx.out.error(format_args!("[{}]({id}) {}", shown(&name), shown(&error.to_string())));
                status = Status::Failed;
            }
        }
    }
    if call.has("json") {
        crate::render::json(&mut cx.out, &all);
    } else if !all.is_empty() {
        cx.out.info(message!("Chrome's developer tools open it, and editors with a profile viewer"));
    }
    match answer {
        Ok(Response::Done { .. }) => Ok(status),
        Ok(_) => Err(ClientError::Unexpected.into()),
        Err(ClientError::Refused(Failure::Some { .. })) => Ok(Status::Failed),
        Err(error) => Err(error.into()),
    }
}

fn kind(call: &Call) -> Result<Profile, UsageError> {
    match (call.has("heap"), call.has("memory")) {
        (true, true) => Err(UsageError::BadValue { option: "--heap".into(), reason: message!("use only one of --heap and --memory") }),
        (true, false) => Ok(Profile::Heap),
        (false, true) => Ok(Profile::Memory),
        (false, false) => Ok(Profile::Cpu),
    }
}

fn length(call: &Call) -> Result<u64, UsageError> {
    let bad = |reason: String| UsageError::BadValue { option: "--for".into(), reason };
    let ms = match call.value("for") {
        Some(text) => ostler_core::text::units::millis(text).map_err(|error| bad(error.to_string()))?,
        None => MS,
    };
    if (1..=3_600_000).contains(&ms) { Ok(ms) } else { Err(bad(message!("expected a time up to an hour"))) }
}

/// Returns the rights of each instance's user. An instance that cannot be profiled has no entry:
/// the daemon reports why.
fn rights_of(client: &mut Client, target: &str) -> Vec<(u32, AppRights)> {
    let details = client.inspect(&[target.to_owned()]).unwrap_or_default();
    let rights = |detail: &Detail| Some((detail.id, AppRights::of(&detail.spec, detail.instance.pid()?).ok()?));
    details.iter().filter_map(rights).collect()
}

/// Moves the file that an app names into this folder. The app may name any path, so the file is
/// accessed with the rights of the app's user.
fn fetch(file: &Path, kind: Profile, rights: Option<&AppRights>, folder: &Path, name: &str, id: u32) -> io::Result<PathBuf> {
    let rights = rights.ok_or_else(|| io::Error::other(message!("the instance was replaced during the profile")))?;
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    let (to, mut copy) = fresh(folder, &format!("{plain}-{id}"), extension(kind))?;
    match take_over(file, kind, rights, &mut copy, MOST_BYTES) {
        Ok(_) => Ok(to),
        Err(error) => {
            let _ = std::fs::remove_file(&to);
            Err(io::Error::other(error))
        }
    }
}

/// Creates a new file with this name, or with a number after the name.
fn fresh(folder: &Path, name: &str, ending: &str) -> io::Result<(PathBuf, File)> {
    for number in 0..1000 {
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{name}{number}.{ending}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((path, opened?)),
        }
    }
    Err(io::Error::other(message!("there are too many profiles of it already")))
}
