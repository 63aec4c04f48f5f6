//! Each script as it is written, checked by tools of its language. `UPDATE_GOLDEN=1` writes the
//! files again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ostler_sys::users::user::User;

use super::*;
use crate::home::Program;
use crate::startup::search_path::SearchPath;
use crate::startup::unit_file::Installed;

/// All characters that can break quoting.
const ODD: &str = r#"o'dd $u(x)%n "q"\ü <&>;`id`"#;

fn facts(platform: Platform, scope: Scope, program: Program, user: &str) -> Facts {
    let home = format!("/home/{user}");
    let word = program.name();
    Facts {
        platform,
        scope,
        program,
        exe: if user == ODD { format!("/opt/{ODD}/{word}") } else { format!("/usr/bin/{word}") },
        user: User { uid: 1000, gid: 1000, name: user.into(), home: home.clone(), shell: "/bin/sh".into() },
        home: format!("{home}/.{word}"),
        path: SearchPath { path: "/opt/tools:/usr/bin:/bin".into(), nvm: (user == ODD).then(|| PathBuf::from(format!("{home}/.nvm"))) },
        moved: if user == ODD { vec![("PM2_DUMP_FILE_PATH", format!("{home}/a list"))] } else { Vec::new() },
        name: match platform {
            Platform::Openrc => word.into(),
            Platform::Launchd => format!("{word}.deploy"),
            Platform::Rcd | Platform::RcdOpenbsd | Platform::Smf => format!("{word}_deploy"),
            _ => format!("{word}-deploy"),
        },
        wait_ip: user == ODD,
        stop_seconds: 90,
    }
}

fn every(user: &str) -> Vec<Facts> {
    let mut all: Vec<Facts> = Platform::ALL.iter().map(|&platform| facts(platform, Scope::System, Program::Pm2, user)).collect();
    all.push(facts(Platform::Systemd, Scope::User, Program::Ostler, user));
    all
}

fn label(facts: &Facts) -> String {
    let whose = if facts.scope == Scope::User { "-user" } else { "" };
    let odd = if facts.user.name == ODD { "-odd" } else { "" };
    format!("{}{whose}{odd}", facts.platform.name())
}

#[test]
fn plans_match_golden_files() {
    for facts in every("deploy").into_iter().chain(every(ODD)) {
        let (plan, back) = (plan(&facts), unplan(&facts));
        let commands = |plan: &Plan| plan.commands().iter().map(|command| format!("$ {command}\n")).collect::<String>();
        let target = plan.target.display();
        let text = format!("{target}\n{}unstartup:\n{}------\n{}", commands(&plan), commands(&back), plan.text);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/startup/golden/{}.txt", label(&facts)));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text, "{}", file.display());
    }
}

/// Every shell script is valid shell.
#[test]
fn shell_accepts_each_script() {
    for facts in every("deploy").into_iter().chain(every(ODD)) {
        let text = plan(&facts).text;
        if text.starts_with("#!") {
            let file = std::env::temp_dir().join(format!("ostler-script-{}-{}", std::process::id(), label(&facts)));
            std::fs::write(&file, &text).unwrap();
            let output = Command::new("sh").arg("-n").arg(&file).output().unwrap();
            std::fs::remove_file(&file).unwrap();
            assert!(output.status.success(), "{}: {}", label(&facts), String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Every XML file is valid XML, and has the intended content.
#[test]
fn xml_parser_accepts_each_file() {
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let read = "import sys, xml.dom.minidom as m; d = m.parse(sys.stdin); \
                print('\\n'.join([n.firstChild.data for n in d.getElementsByTagName('string')] + \
                [n.getAttribute('value') for n in d.getElementsByTagName('envvar')]))";
    for facts in every(ODD).into_iter().filter(|facts| matches!(facts.platform, Platform::Launchd | Platform::Smf)) {
        let file = std::env::temp_dir().join(format!("ostler-xml-{}-{}", std::process::id(), label(&facts)));
        // The document type names a file of another system.
        let text: String =
            plan(&facts).text.lines().filter(|line| !line.starts_with("<!DOCTYPE")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text).unwrap();
        let output = Command::new("python3").args(["-c", read]).stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
        std::fs::remove_file(&file).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {}", label(&facts), String::from_utf8_lossy(&output.stderr));
        assert!(said.lines().any(|line| line == facts.home), "{said}");
    }
}

/// The commands of a script run the program with its words and variables, for any characters in its
/// path.
#[test]
fn script_runs_program_with_its_words_and_variables() {
    let place = std::env::temp_dir().join(format!("ostler-run-{}", std::process::id()));
    let folder = place.join(ODD.replace('/', "_"));
    std::fs::create_dir_all(&folder).unwrap();
    let exe = folder.join("pm2");
    std::fs::write(&exe, "#!/bin/sh\nprintf '%s\\n' \"$1\" \"$PM2_HOME\" \"$PATH\" >\"$PM2_HOME/said\"\n").unwrap();
    std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
    let me = ostler_sys::users::user::user_by_id(rustix::process::geteuid().as_raw()).unwrap().unwrap();
    let facts = Facts {
        exe: exe.to_str().unwrap().into(),
        home: folder.to_str().unwrap().into(),
        user: me,
        ..facts(Platform::Systemv, Scope::System, Program::Pm2, ODD)
    };
    let script = place.join("script");
    std::fs::write(&script, plan(&facts).text.replace("/var/lock/subsys", "/nowhere")).unwrap();
    for (word, expected) in [("start", "resurrect"), ("stop", "kill"), ("reload", "update"), ("restart", "resurrect")] {
        let output = Command::new("sh").arg(&script).arg(word).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = std::fs::read_to_string(folder.join("said")).unwrap();
        assert_eq!(said, format!("{expected}\n{}\n/opt/tools:/usr/bin:/bin\n", facts.home), "{word}");
    }
    let status = Command::new("sh").arg(&script).arg("status").output().unwrap();
    assert_eq!(status.status.code(), Some(3));
    std::fs::remove_dir_all(place).unwrap();
}

/// If systemd is available, it verifies the units itself.
#[test]
fn systemd_accepts_each_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    for facts in every("deploy").into_iter().filter(|facts| facts.platform == Platform::Systemd) {
        // A program that exists on the machine of the test.
        let facts = Facts { exe: "/bin/true".into(), user: User { name: "root".into(), ..facts.user.clone() }, ..facts };
        let folder = std::env::temp_dir().join(format!("ostler-verify-{}-{}", std::process::id(), label(&facts)));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ostler-test.service");
        std::fs::write(&file, plan(&facts).text).unwrap();
        let flag = if facts.scope == Scope::User { "--user" } else { "--system" };
        let output = Command::new("systemd-analyze").args(["verify", "--man=no", flag]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        std::fs::remove_dir_all(&folder).unwrap();
        // Problems with units of the machine itself are ignored. One key needs systemd 254 or
        // newer; an older systemd warns that it ignores the key.
        let is_known = |line: &&str| line.contains("'DelegateSubgroup'") && line.ends_with("ignoring.");
        let complaint = said.lines().filter(|line| !is_known(line)).find(|line| line.contains("ostler-test.service"));
        assert_eq!(complaint, None, "{said}");
    }
}

#[test]
fn written_unit_parses_back() {
    for facts in every("deploy").into_iter().chain(every(ODD)).filter(|facts| facts.platform == Platform::Systemd) {
        let installed = Installed::parse(&plan(&facts).text);
        let user = (facts.scope == Scope::System).then(|| if facts.user.name == ODD { "1000".to_owned() } else { facts.user.name.clone() });
        let expected = Installed {
            program: Some(facts.exe.clone()),
            user,
            home: Some(facts.home.clone()),
            path: Some(facts.path.path.clone()),
            notifies: true,
        };
        assert_eq!(installed, expected);
    }
    // A unit that PM2 writes.
    let pm2 =
        "[Service]\nType=forking\nUser=deploy\nEnvironment=PATH=/bin\nEnvironment=PM2_HOME=/h/.pm2\nExecStart=/usr/bin/pm2 resurrect\n";
    let installed = Installed::parse(pm2);
    assert_eq!(
        (installed.notifies, installed.home.as_deref(), installed.program.as_deref()),
        (false, Some("/h/.pm2"), Some("/usr/bin/pm2"))
    );
}
