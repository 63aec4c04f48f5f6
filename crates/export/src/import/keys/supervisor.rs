//! Keys of a file of supervisor.

use super::{Format, Key, differs, done, left_out};

pub(super) const FORMAT: Format = Format {
    title: "supervisor",
    source: "`[program:x]` of the configuration file of supervisor 4. `[supervisord] environment` is read for all programs, `[include]` is read, \
             `[group:x]` is the namespace `x`.",
    keys: KEYS,
};

const EVENTS: &str = "ostler has no event listeners: see `ostler events`";
const SYSLOG: &str = "ostler writes files; forward them with a tool that reads them";

pub(in crate::import) const KEYS: &[Key] = &[
    done("command", "script, args"),
    differs("process_name", "the name, if `numprocs` is 1 or a value contains the process number"),
    done("numprocs", "instances; an app for each process if a value names `process_num`"),
    done("numprocs_start", "the first `process_num`"),
    left_out("priority", "the order follows from depends_on"),
    done("autostart", "autostart"),
    done("startsecs", "min_uptime"),
    differs(
        "startretries",
        "max_restarts, one more, because it counts starts; 3 without it; a program without autorestart is not retried here",
    ),
    done("autorestart", "autorestart, stop_exit_codes; `unexpected` without it"),
    done("exitcodes", "stop_exit_codes; 0 without it"),
    done("stopsignal", "kill_signal; TERM without it"),
    done("stopwaitsecs", "kill_timeout; 10 s without it"),
    done("stopasgroup", "kill_mode: tree"),
    differs("killasgroup", "processes that the program leaves behind are always killed here"),
    done("user", "uid"),
    differs("redirect_stderr", "error_file is out_file, if that is named"),
    done("stdout_logfile", "out_file"),
    differs("stdout_logfile_maxbytes", "log_rotate.max_size, for standard error, too; 50 MB without it"),
    differs("stdout_logfile_backups", "log_rotate.retain, for standard error, too; 10 without it"),
    left_out("stdout_capture_maxbytes", EVENTS),
    left_out("stdout_events_enabled", EVENTS),
    left_out("stdout_syslog", SYSLOG),
    done("stderr_logfile", "error_file"),
    left_out("stderr_logfile_maxbytes", "log_rotate is the same for both"),
    left_out("stderr_logfile_backups", "log_rotate is the same for both"),
    left_out("stderr_capture_maxbytes", EVENTS),
    left_out("stderr_events_enabled", EVENTS),
    left_out("stderr_syslog", SYSLOG),
    done("environment", "env"),
    done("directory", "cwd"),
    done("umask", "umask"),
    left_out("serverurl", "there is no supervisor server to call"),
];
