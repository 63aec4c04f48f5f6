//! Intended differences between npm's daemon and ostler's as a client sees them, each with its
//! reason. The test fails on a difference that is not listed, and on a listed difference that no
//! longer occurs.

use super::keys::Difference as Row;

const WRAPPER: &str = "PM2 loads @pm2/io into every Node app, which offers and reports this; here an app has it that loads it itself";
const OWN_NAME: &str = "npm's client sends an empty variable named as the app along, which is not one of the app's";
const WHOLE: &str = "every answer has what PM2's list has";
const REPLACED: &str = "the instance that is there afterwards is answered, not the worker that was replaced";
const INSIDE: &str = "a note of PM2's daemon for itself";
const GIT: &str = "PM2 5 looks for a repository a moment after the start";
const NOW: &str = "the state after it, not before it";
const KEPT: &str = "the last end of an instance is kept over a reload";
const NO_PID: &str = "PM2's daemon cannot stop what has failed, and says so in place of the process; here it is deleted like any other";

const OWN_GROUP: &str = "the app is stopped: PM2 sends the signal to the process group of its daemon, ours sends none";
const STRAY: &str = "a key of the file that PM2 copies into the list at a restart with the file";

/// Columns: step, key, PM2's value, ostler's value.
pub const LIST: &[Row] = &[
    Row::new("*", "*axm_actions*", "*", "*", WRAPPER),
    Row::new("*", "*axm_options*", "*", "*", WRAPPER),
    Row::new("*", "*axm_monitor*", "*", "*", "it depends on whether the app has come to report it").at_times(),
    Row::new("application:dependencies of *", "*", "*", "-", WRAPPER),
    Row::new("*", "*PM2_USAGE", "-", "\"CLI\"", "PM2's daemon has it from whoever started it first, ours always"),
    Row::new("*", "*PM2_JSON_PROCESSING", "\"true\"", "-", "npm's client marks its own environment: that is not for apps"),
    Row::new("*", "*.env.*", "{}", "-", OWN_NAME),
    Row::new("*", "*", "\"{}\"", "-", OWN_NAME),
    Row::new("start *", "[*].pm_id", "-", "*", WHOLE),
    Row::new("start a cluster", "[*].pid", "-", "\"<pid>\"", WHOLE),
    Row::new("*", "*filter_env", "-", "[]", WHOLE),
    Row::new("*", "*.watch", "-", "false", WHOLE),
    Row::new("*", "*.node_version", "-", "*", "it is known from the program, before the app says it").at_times(),
    Row::new("event reload of cluster", "*.node_version", "*", "-", "a worker that has just begun has not said it").at_times(),
    Row::new(
        "*",
        "*version",
        "\"N/A\"",
        "\"1.2.3\"",
        "a program without an interpreter has the version of the package in its working directory",
    ),
    Row::new("*", "*_tree_pids*", "*", "-", INSIDE).only(&[7]),
    Row::new("*", "*versioning", "null", "-", GIT).only(&[5]),
    Row::new("*", "*vizion_running", "true", "false", GIT).only(&[5]).at_times(),
    // Without `versioning`, an app's events have another shape than before.
    Row::new("app:started of *", "[1].*", "*", "-", GIT).only(&[5]).at_times(),
    Row::new("*", "*_pm2_version", "*", "\"7.0.4\"", "`OSTLER_PM2_VERSION` is what `getVersion` answers, no more").only(&[5, 6]),
    Row::new("*", "*prev_restart_delay", "0", "-", INSIDE),
    Row::new("event restart overlimit of fail", ".process.unstable_restarts", "2", "0", NOW),
    Row::new("*", "*unstable_restarts", "1", "0", "a restart that a user asked for is not counted as unstable").at_times(),
    Row::new("reload a cluster", "*", "*", "*", REPLACED),
    Row::new("*", "*.updateEnv", "true", "\"true\"", "variables are texts, as the app sees them"),
    Row::new("*", "*.updateEnv", "true", "-", "an option of the library's call is no variable of the app"),
    Row::new("*", "*.script", "\"app.js\"", "-", "a word of a restart that changes nothing: `pm_exec_path` has the script"),
    Row::new("delete what has failed", "*", "*", "*", NO_PID),
    Row::new(
        "process:event of *",
        ".exit, by itself",
        "*",
        "*",
        "PM2 tells an end that was asked for twice, and the end of a replaced worker as `_old_<id>`",
    ),
    Row::new("process:event of *", ".delete, asked for", "-", "*", "PM2 means to tell a delete, but the process is gone when it does"),
    Row::new(
        "process:event of object 2",
        ".online, by itself",
        "4",
        "5",
        "PM2 does not tell of a process that a restart ends while it starts",
    )
    .at_times(),
    Row::new("event online of object", ".process.status", "\"launching\"", "\"online\"", NOW).at_times(),
    Row::new("event restart overlimit of fail", ".process.created_at", "*", "null", "PM2 forgets it a moment later"),
    Row::new("log:out of cluster", "*", "*", "-", "a worker's logs are reopened by the daemon: the worker has nothing to say"),
    Row::new("pm2 jlist", "*.merge_logs", "true", "-", "a plain restart by npm's client sends its defaults along: they undo nothing"),
    Row::new("pm2 jlist", "*.exit_code", "-", "*", KEPT),
    Row::new("event reload of cluster", "*.exit_code", "-", "*", KEPT),
];

/// Differences in the table of calls (`tests/fixtures/library/calls.cjs`).
pub const CALLS: &[Row] = &[
    Row::new("*", "*PM2_USAGE", "-", "\"CLI\"", "PM2's daemon has it from whoever started it first, ours always"),
    Row::new("*", "*PM2_JSON_PROCESSING", "\"true\"", "-", "npm's client marks its own environment: that is not for apps"),
    Row::new("*", "*.env.*", "{}", "-", OWN_NAME),
    Row::new("*", "*", "\"{}\"", "-", OWN_NAME),
    Row::new("call * *start *", ".results[*].pm_id", "-", "*", WHOLE),
    Row::new("call * start *", ".results[*].pid", "-", "*", WHOLE),
    Row::new("*", "*filter_env", "-", "[]", WHOLE),
    Row::new("*", "*.watch", "-", "false", WHOLE),
    Row::new("*", "*.version", "-", "\"N/A\"", WHOLE),
    Row::new("call * sendSignalToProcessId [\"SIGCONT\",1]", "*", "*", "*", OWN_GROUP),
    Row::new("*", "*.node_version", "*", "*", "it is known from the program, before the app says it").at_times(),
    Row::new("*", "*_tree_pids*", "*", "-", INSIDE),
    Row::new("*", "*prev_restart_delay", "0", "-", INSIDE),
    Row::new("*", "*prev_restart_delay", "-", "0", WHOLE),
    Row::new("*", "*prev_restart_delay", "*", "0", "PM2 counts an exit that a command asked for as a crash of the app"),
    Row::new("*", "*unstable_restarts", "*", "0", "a restart that a user asked for is not counted as unstable").at_times(),
    Row::new("*", "*.updateEnv", "true", "*", "an option of the library's call is no variable of the app"),
    Row::new("*", "*.pm2_env.script", "*", "-", STRAY),
    Row::new("*", "*.pm2_env.out_file", "*", "-", STRAY),
    Row::new("*", "*.pm2_env.pid_file", "*", "-", STRAY),
    Row::new("*", "*.pm2_env.env.*", "-", "*", "PM2 lists the variables of the file alone, although the app keeps the others"),
];
