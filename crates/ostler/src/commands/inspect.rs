//! `inspect`: the debugger of running Node apps.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_proto::control::{Detail, Request};

use crate::app_files::with_rights_of;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status};
use crate::render::Wording;
use crate::text::shown;

/// Time for Node to report the address of its debugger.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of Node's error output that are read.
const BYTES: u64 = 64 << 10;
/// Texts that Node writes if the debugger listens, and if it could not start.
const INSPECTOR_LINES: [&str; 2] = ["Debugger listening on ", "Starting inspector on "];

/// Sends SIGUSR1 to Node, which then opens its debugger. Another runtime would die of this signal.
/// In PM2 7 this command always fails.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let target = call.targets[0].clone();
    let details = cx.find(std::slice::from_ref(&target))?;
    let of_node: Vec<&Detail> =
        details.iter().filter(|detail| detail.learned.node_version.is_some() && detail.instance.pid().is_some()).collect();
    if of_node.is_empty() {
        return Err(CommandError::NoNodeApp(target.to_owned()).into());
    }
    let mut status = Status::Ok;
    for detail in of_node {
        let begin = detail.files.error.as_deref().and_then(|path| Some(std::fs::metadata(path).ok()?.len()));
        let request = Request::Signal { signal: ostler_sys::process::signal::USR1, target: detail.id.to_string() };
        cx.perform(&request, Wording::Signal)?;
        let address = detail.files.error.as_deref().zip(begin).and_then(|(path, begin)| wait_for_word(&detail.spec, path, begin));
        let (name, id) = (&detail.spec.name, detail.id);
        match address {
            Some(line) if line.starts_with(INSPECTOR_LINES[0]) => cx.out.result(format_args!("[{name}]({id}) {}", shown(&line))),
            Some(line) => {
                cx.out.error(format_args!("[{name}]({id}) {}", shown(&line)));
                status = Status::Failed;
            }
            None => {
                cx.out.warn(message!("[{name}]({id}) received the request; its error output shows the address of the inspector", name, id))
            }
        }
    }
    Ok(status)
}

/// Waits for the line in which Node reports the debugger's address or the failure.
fn wait_for_word(spec: &AppSpec, path: &str, begin: u64) -> Option<String> {
    let until = Instant::now() + INSPECT_TIMEOUT;
    loop {
        if let Some(line) = with_rights_of(spec, || word(path, begin)) {
            return Some(line);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn word(path: &str, begin: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(begin)).ok()?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The app may prefix the line with a date or wrap it in JSON. Only whole lines are read.
    let whole = &text[..text.rfind('\n')? + 1];
    whole.lines().find_map(|line| {
        let at = INSPECTOR_LINES.iter().find_map(|says| line.find(says))?;
        Some(line[at..].trim_end_matches(['"', '}']).to_owned())
    })
}
