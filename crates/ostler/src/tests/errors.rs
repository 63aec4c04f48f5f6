//! Messages for errors. Sentences are not wrapped: terminals do that.

use ostler_client::ClientError;
use ostler_proto::control::Failure;

use super::{data, golden};
use crate::cli;
use crate::cx::Cx;
use crate::error::CliError;
use crate::home::Program;
use crate::render::Screen;
use crate::run;
use crate::text::ascii;

/// Returns the output of a call that needs neither home nor daemon, with its exit code.
fn run_cli(program: Program, words: &[&str]) -> String {
    let (out, screen) = Screen::of(program);
    let code = run::perform(program, out, cli::parse(words.iter().map(Into::into).collect()));
    format!("$ {} {}\n{}(exit code {code})\n", program.name(), words.join(" "), screen.shown())
}

/// Returns the output of a command that failed with this error.
fn printed(program: Program, words: &[&str], error: &CliError) -> String {
    let (out, screen) = Screen::of(program);
    let Ok(cli::Parsed::Run(call)) = cli::parse(words.iter().map(Into::into).collect()) else { panic!("{words:?}") };
    let mut cx = Cx::new(program, out, call.command.daemon);
    run::print_error(&mut cx, &call, error);
    let shown = screen.taken(&mut cx.out);
    format!("$ {} {}\n{shown}(exit code {})\n", program.name(), words.join(" "), error.status().code())
}

#[test]
fn usage_errors_match_golden_file() {
    let calls: [&[&str]; 9] = [
        &[],
        &["lsit"],
        &["frobnicate"],
        &["list", "--srot", "name"],
        &["start", "app.js", "--nmae", "x"],
        &["start", "app.js", "--name"],
        &["list", "--silent=yes"],
        &["stop"],
        &["help", "lsit"],
    ];
    for program in [Program::Ostler, Program::Pm2] {
        let text = calls.map(|words| run_cli(program, words)).join("\n");
        golden(&format!("errors-usage-{}", program.name()), &text);
    }
}

#[test]
fn daemon_errors_match_golden_file() {
    let home = || "/nowhere/.ostler".to_owned();
    let io = |kind: std::io::ErrorKind| std::io::Error::from(kind);
    let answers: Vec<(&[&str], CliError)> = vec![
        (&["list"], ClientError::NotRunning { home: home() }.into()),
        (&["logs"], ClientError::NotRunning { home: home() }.into()),
        (&["ping"], ClientError::NotRunning { home: home() }.into()),
        (&["list"], ClientError::Permission { home: home() }.into()),
        (&["stop", "api"], ClientError::Lost(io(std::io::ErrorKind::ConnectionReset)).into()),
        (&["list"], ClientError::Unexpected.into()),
        (&["start", "app.js"], CliError::Launch("fork: Resource temporarily unavailable".into())),
        (&["stop", "nosuch"], Failure::NotFound { target: "nosuch".into() }.into()),
        (&["stop", "7"], Failure::NotFound { target: "7".into() }.into()),
        (&["stop", "all"], Failure::Empty.into()),
        (&["start", "app.js"], Failure::AlreadyLaunched.into()),
        (&["resurrect"], Failure::NothingSaved.into()),
        (&["reload", "api"], Failure::Rollout(vec![data::rollouts()[1].clone()]).into()),
        (&["list"], Failure::Other("it does not work".into()).into()),
        (
            &["ecosystem"],
            CliError::File { what: "write", path: "/ecosystem.config.js".into(), source: io(std::io::ErrorKind::PermissionDenied) },
        ),
    ];
    for program in [Program::Ostler, Program::Pm2] {
        let text = answers.iter().map(|(words, error)| printed(program, words, error)).collect::<Vec<_>>().join("\n");
        golden(&format!("errors-daemon-{}", program.name()), &text);
        if program == Program::Ostler {
            golden("errors-daemon-ascii", &ascii(&text));
        }
    }
}

#[test]
fn messages_are_ascii_without_utf_8() {
    let (mut out, screen) = Screen::of(Program::Ostler);
    out.set_ascii();
    out.info("[web](0) ✓");
    out.error("日本 is not there…");
    assert_eq!(screen.taken(&mut out), "(stderr) [web](0) ok\n(stderr) error: ???? is not there~\n");
}

/// Real files, through the real command. (The JavaScript engine words the exceptions of a
/// JavaScript file.)
#[test]
fn config_errors_match_golden_file() {
    let folder = ostler_testkit::fixture_path("config/bad");
    let files = ["did-you-mean.config.js", "types.yaml", "types.toml", "syntax.json", "syntax.toml", "docker-compose.yml", "nosuch.json"];
    let here = std::env::current_dir().unwrap().to_string_lossy().into_owned();
    let text = files
        .map(|file| {
            let path = format!("{folder}/{file}");
            run_cli(Program::Ostler, &["validate", &path]).replace(&folder, "/srv").replace(&here, "/here")
        })
        .join("\n");
    golden("errors-config", &text);
}
