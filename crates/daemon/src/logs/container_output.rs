//! Lines of apps on the container's output.

use std::io::Write;
use std::sync::Mutex;

use jiff::tz::TimeZone;
use ostler_core::lifecycle::runtime::{ContainerLogFormat, RuntimeSpec};
use ostler_core::logs::date_format::{DateFormat, Stamper};
use ostler_core::logs::files::own_stream;
use ostler_proto::control::Files;
use serde::{Deserialize, Serialize};

use super::{Format, Label};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[39m";
/// PM2's format of dates in `key=value` lines.
const DATE: &str = "YYYY-MM-DD-HH:mm:ssZZ";

/// Place and form of one instance's lines in the container's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownAs {
    form: ContainerLogFormat,
    color: bool,
    /// Streams of the container for output and error output: 1 or 2.
    streams: [u8; 2],
}

impl ShownAs {
    /// Determines the form and the streams. If a log file *is* one of the container's streams, the
    /// lines go there. Other files are written as well.
    pub(crate) fn new(spec: &RuntimeSpec, files: &Files) -> Self {
        let error = if spec.form == ContainerLogFormat::Raw { 2 } else { 1 };
        let given = |file: &Option<String>| file.as_deref().and_then(own_stream);
        Self { form: spec.form, color: spec.color, streams: [given(&files.out).unwrap_or(1), given(&files.error).unwrap_or(error)] }
    }

    /// Returns the paths that name the container's own streams.
    pub(crate) fn paths(&self) -> [&'static str; 2] {
        self.streams.map(|stream| if stream == 1 { "/dev/stdout" } else { "/dev/stderr" })
    }

    /// Returns true if the lines are as the app wrote them, unless its log files change them.
    pub(crate) fn is_raw(&self) -> bool {
        self.form == ContainerLogFormat::Raw
    }

    /// Returns the form of a line, or `None` if it is the same as in the app's log files.
    pub(crate) fn format(&self, id: u32, name: &str) -> Option<Format> {
        match self.form {
            ContainerLogFormat::Raw => None,
            ContainerLogFormat::Json => Some(Format::Json { stamp: None, process_id: id, app_name: name.to_owned() }),
            ContainerLogFormat::Labelled => Some(Format::Labelled(label(id, name, self.color))),
            ContainerLogFormat::Pairs => Some(Format::Labelled(pairs(id, name))),
        }
    }
}

fn label(id: u32, name: &str, color: bool) -> Label {
    let plain = format!("{id}|{name}  | ");
    let [out, error] = if color { [GREEN, RED].map(|color| format!("{color}{plain}{PLAIN}")) } else { [plain.clone(), plain] };
    Box::new(move |stream, _, line| line.extend_from_slice(if stream == 0 { out.as_bytes() } else { error.as_bytes() }))
}

fn pairs(id: u32, name: &str) -> Label {
    let name = name.to_owned();
    let stamper = Mutex::new(Stamper::new(DateFormat::parse(DATE), TimeZone::system()));
    Box::new(move |stream, wall_ms, line| {
        let kind = if stream == 0 { "out" } else { "error" };
        line.extend_from_slice(b"timestamp=");
        line.extend_from_slice(stamper.lock().unwrap_or_else(std::sync::PoisonError::into_inner).stamp(wall_ms));
        // Writing to memory does not fail.
        let _ = write!(line, " app={name} id={id} type={kind} message=");
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_of_a_line_depends_on_form_and_paths() {
        let files = |out: &str, error: &str| Files { out: Some(out.into()), error: Some(error.into()), ..Files::default() };
        let cases = [
            (ContainerLogFormat::Raw, files("/l/o.log", "/l/e.log"), [1, 2]),
            (ContainerLogFormat::Labelled, files("/l/o.log", "/l/e.log"), [1, 1]),
            (ContainerLogFormat::Raw, files("/proc/1/fd/1", "/proc/1/fd/2"), [1, 2]),
            (ContainerLogFormat::Raw, files("/dev/stderr", "/proc/self/fd/1"), [2, 1]),
            (ContainerLogFormat::Json, files("/l/o.log", "/dev/stderr"), [1, 2]),
            (ContainerLogFormat::Raw, Files::default(), [1, 2]),
        ];
        for (form, files, streams) in cases {
            let spec = RuntimeSpec { form, ..RuntimeSpec::default() };
            assert_eq!(ShownAs::new(&spec, &files).streams, streams, "{form:?} {files:?}");
        }
    }
}
