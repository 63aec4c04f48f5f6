//! Registry of the checks of everything that reads bytes from outside, for any bytes. Not shipped.
//!
//! A check is a function in the module `fuzz` of the crate that has the reader. It takes bytes and
//! panics if the reader breaks a rule. A reader always returns, within bounds. It agrees with a second
//! reader or with its own writer. [`each!`] lists all checks. From this list come the
//! tests over the corpora (`tests/targets`), the targets of libFuzzer (`fuzz/`) and
//! `cargo xtask fuzz`.
//!
//! The checks exist in builds with debug assertions only, so no program that is shipped has them.
#![forbid(unsafe_code)]
#![cfg(debug_assertions)]

mod error;
#[allow(dead_code, reason = "files of the binary, of which the checks use a part")]
mod full_screen;
mod imports;
#[allow(dead_code, reason = "files of the binary, of which the checks use a part")]
mod logs;
mod terminal;
mod text;

/// Passes all targets to a macro: `name: check, "what it reads";`.
#[macro_export]
macro_rules! each {
    ($then:path) => {
        $then! {
            alert_outbox: ostler_alerts::fuzz::alert_outbox, "outbox of alerts on disk";
            alert_replies: ostler_alerts::fuzz::alert_replies, "answers of services to alerts";
            alert_rules: ostler_alerts::fuzz::alert_rules, "rules and channels of alerts";
            alert_templates: ostler_alerts::fuzz::alert_templates, "templates and texts of alerts";
            app_ipc: ostler_proto::fuzz::app_ipc, "messages of a Node app on its channel";
            certificate: ostler_alerts::fuzz::certificate, "certificates and addresses";
            command_line: ostler_core::fuzz::command_line, "arguments as one text";
            config_app: ostler_config::fuzz::config_app, "values of an app in a configuration";
            config_js: ostler_config::fuzz::config_js, "configuration in JavaScript";
            config_json: ostler_config::fuzz::config_json, "configuration in JSON and JSON5";
            config_stdin: ostler_config::fuzz::config_stdin, "configuration of unknown format";
            config_toml: ostler_config::fuzz::config_toml, "configuration in TOML";
            config_yaml: ostler_config::fuzz::config_yaml, "configuration in YAML";
            cron: ostler_core::fuzz::cron, "cron patterns";
            date_format: ostler_core::fuzz::date_format, "date formats of log lines";
            dump_file: ostler_proto::fuzz::dump_file, "saved lists of PM2 and ostler";
            env_file: ostler_config::fuzz::env_file, "env files in three syntaxes";
            error_reports: ostler_core::fuzz::error_reports, "reports of errors in the output of apps";
            gitignore: ostler_core::fuzz::gitignore, "`.gitignore` files";
            glob: ostler_core::fuzz::glob, "patterns of paths";
            history_files: ostler_history::fuzz::history_files, "files of the metrics over time";
            history_points: ostler_history::fuzz::history_points, "packed points of metrics";
            host_answers: ostler_fleet::fuzz::host_answers, "answers of other hosts";
            hosts_file: ostler_fleet::fuzz::hosts_file, "hosts file";
            import_compose: ostler_fuzzing::import_compose_and_back, "compose files";
            import_dockerfile: ostler_export::fuzz::import_dockerfile, "Dockerfiles";
            import_dotenv: ostler_export::fuzz::import_dotenv, "env files of Compose";
            import_oxmgr: ostler_fuzzing::import_oxmgr_and_back, "files of OxMgr";
            import_procfile: ostler_fuzzing::import_procfile_and_back, "Procfiles";
            import_supervisor: ostler_fuzzing::import_supervisor_and_back, "files of supervisor";
            import_systemd: ostler_fuzzing::import_systemd_and_back, "units of systemd";
            journal: ostler_daemon::fuzz::journal, "journal and state file";
            keeper_messages: ostler_keeper::fuzz::keeper_messages, "messages between daemon and keeper";
            keeper_state: ostler_keeper::fuzz::keeper_state, "state of a keeper, and messages to its anchor";
            line_times: ostler_core::fuzz::line_times, "receive times of log lines";
            log_checkpoint: ostler_daemon::fuzz::log_checkpoint, "record of log lines in transit";
            log_lines: ostler_daemon::fuzz::log_lines, "output of apps on its way to the logs";
            log_packets: ostler_proto::fuzz::log_packets, "packets of the log reader for PM2's bus";
            log_search: ostler_fuzzing::log_search, "patterns and lines of a log search";
            log_times: ostler_fuzzing::log_times, "times in log lines and of a log search";
            masking: ostler_core::fuzz::masking, "texts that may contain secrets";
            native_frames: ostler_proto::fuzz::native_frames, "frames on `ostler.sock`";
            otlp_gzip: ostler_web::fuzz::otlp_gzip, "OpenTelemetry, compressed";
            otlp_json: ostler_otlp::fuzz::otlp_json, "OpenTelemetry in JSON";
            otlp_protobuf: ostler_otlp::fuzz::otlp_protobuf, "OpenTelemetry in protobuf";
            pm2_app: ostler_proto::fuzz::pm2_app, "apps that PM2's clients send";
            pm2_stream: ostler_proto::fuzz::pm2_stream, "frames and calls on PM2's sockets";
            probe_response: ostler_core::fuzz::probe_response, "responses to health checks";
            proc_stat: ostler_sys::fuzz::proc_stat, "process names in `/proc`";
            prometheus_page: ostler_web::fuzz::prometheus_page, "pages in Prometheus' text format";
            sd_notify: ostler_proto::fuzz::sd_notify, "datagrams of sd_notify";
            serve_request: ostler_serve::fuzz::serve_request, "requests to the file server";
            terminal_input: ostler_fuzzing::terminal_input, "keys, clicks and pastes";
            terminal_text: ostler_fuzzing::terminal_text, "ANSI sequences in lines for a terminal";
            units: ostler_core::fuzz::units, "sizes, durations and percentages";
            web_request: ostler_web::fuzz::web_request, "requests to the dashboard";
        }
    };
}

/// A check with its name, which is also that of its corpus and its libFuzzer target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The bytes that it reads.
    pub about: &'static str,
    /// The check; it panics if the reader does not behave.
    pub check: fn(&[u8]),
}

pub use imports::{
    import_compose_and_back, import_oxmgr_and_back, import_procfile_and_back, import_supervisor_and_back, import_systemd_and_back,
};
pub use logs::search::{log_search, log_times};
pub use terminal::{terminal_input, terminal_text};

// The list names the checks of this crate like those of the others.
extern crate self as ostler_fuzzing;

macro_rules! table {
    ($($name:ident: $check:path, $about:literal;)*) => {
        /// All checks, in the order of their names.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), about: $about, check: $check }),*];
    };
}
each!(table);

/// Runs a check.
///
/// # Panics
/// If the check fails, or if there is no such target.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of the list").check)(bytes);
}
