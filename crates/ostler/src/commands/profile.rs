//! `profile`: where the time or the memory of running Node apps goes, as files for Chrome's developer tools and the like.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ostler_proto::control::{Failure, Profile, Progress, Request, Response};
use serde_json::{Value, json};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::{self, Cx};
use crate::error::{CliError, Status, UsageError};
use crate::text::shown;

/// Time for which is profiled when none is given.
const MS: u64 = 10_000;

/// Runs `profile <id|name|namespace>`. The app takes the profile itself, over its channel: no port is opened, and other runtimes are not touched.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let (kind, ms) = (kind(call)?, length(call)?);
    let folder = Path::new(&cx::cwd()?).join(call.value("into").unwrap_or("."));
    if !folder.is_dir() {
        return Err(CliError::NotFound(format!("\"{}\" is no folder", folder.display())));
    }
    let target = call.targets[0].clone();
    let mut files: Vec<(u32, String, String)> = Vec::new();
    let (out, client) = cx.parts()?;
    let request = Request::Profile { target, kind, ms };
    let answer = client.request(&request, &mut |progress| {
        match progress {
            Progress::Selected { ids, .. } if kind == Profile::Heap => out.info(format_args!("Taking the heap of {} processes", ids.len())),
            Progress::Selected { ids, .. } => {
                out.info(format_args!("Profiling {} processes for {} s", ids.len(), ms as f64 / 1000.0));
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
        match fetch(Path::new(&file), &folder, &name, id) {
            Ok(path) => {
                all.push(json!({ "pm_id": id, "name": name, "file": path }));
                cx.out.info(format_args!("[{}]({id}) {}", shown(&name), shown(&path.to_string_lossy())));
            }
            Err(error) => {
                cx.out.error(format_args!("[{}]({id}) cannot take over \"{}\": {error}", shown(&name), shown(&file)));
                status = Status::Failed;
            }
        }
    }
    if call.has("json") {
        crate::render::json(&mut cx.out, &all);
    } else if !all.is_empty() {
        cx.out.info("Chrome's developer tools open it, and editors with a profile viewer");
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
        (true, true) => Err(UsageError::BadValue { option: "--heap".into(), reason: "one of --heap and --memory at a time".into() }),
        (true, false) => Ok(Profile::Heap),
        (false, true) => Ok(Profile::Memory),
        (false, false) => Ok(Profile::Cpu),
    }
}

fn length(call: &Call) -> Result<u64, UsageError> {
    let bad = |reason: String| UsageError::BadValue { option: "--for".into(), reason };
    let ms = match call.value("for") {
        Some(text) => ostler_core::units::millis(text).map_err(|error| bad(error.to_string()))?,
        None => MS,
    };
    if (1..=3_600_000).contains(&ms) { Ok(ms) } else { Err(bad("expected a time up to an hour".into())) }
}

/// Moves the file of an app into this folder, if it is its caller's own. That of another user stays where it is: what is in its place may be anything.
fn fetch(file: &Path, folder: &Path, name: &str, id: u32) -> io::Result<PathBuf> {
    let mut from = OpenOptions::new()
        .read(true)
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32)
        .open(file)?;
    let meta = from.metadata()?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(io::Error::other("this is no file of its own"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Ok(file.to_owned());
    }
    let ending = file.extension().map_or_else(|| "profile".into(), |ending| ending.to_string_lossy().into_owned());
    let plain: String = name.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' }).collect();
    let (to, mut copy) = fresh(folder, &format!("{plain}-{id}"), &ending)?;
    io::copy(&mut from, &mut copy)?;
    std::fs::remove_file(file)?;
    Ok(to)
}

/// A new file of this name, or with a number behind it.
fn fresh(folder: &Path, name: &str, ending: &str) -> io::Result<(PathBuf, File)> {
    for number in 0..1000 {
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{name}{number}.{ending}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((path, opened?)),
        }
    }
    Err(io::Error::other("there are too many profiles of it already"))
}
