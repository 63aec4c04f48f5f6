//! Ecosystem files.

use ostler_testkit::{Transcript, fixture_app};

use crate::compare::{Difference, session};

fn two_apps() -> String {
    let (one, two) = (fixture_app("hold.js"), fixture_app("other.js"));
    format!(
        "module.exports = {{ apps: [\n  {{ name: 'one', script: '{one}', namespace: 'n1', env: {{ A: '1' }}, env_production: {{ A: '2' }} }},\n  \
         {{ name: 'two', script: '{two}', args: 'x y' }},\n] }};\n"
    )
}

session!(
    /// Start, second start, stop and delete by file.
    config_life, [], |t: &mut Transcript<'_>| {
        let file = t.home().write("eco.config.js", two_apps());
        // In parts: PM2 starts two apps at a time, so their order is random.
        t.run(format!("start {file} --only one"));
        t.run(format!("start {file} --only two"));
        t.run(format!("stop {file}"));
        t.run(format!("restart {file} --only one"));
        t.run(format!("delete {file} --only two"));
        t.run("list");
        t.run(format!("delete {file}"));
    }
);

session!(
    /// `--only` and `--env` with names that do not exist.
    config_only_env, [Difference {
        pm2: "  [PM2][WARN] Applications two not running, starting...\n  [PM2][WARN] Environment [production] is not defined in process file",
        ostler: "  [PM2][WARN] Environment [production] is not defined in process file\n  [PM2][WARN] Applications two not running, starting...",
        why: "the file is read and judged before the daemon is asked",
    }], |t: &mut Transcript<'_>| {
        let file = t.home().write("eco.config.js", two_apps());
        t.run(format!("start {file} --only nobody"));
        t.run(format!("start {file} --only two --env production"));
        t.run(format!("start {file} --only one --env production"));
        t.note(t.home().app("one").text("A"));
        let text = t.home().ok("env 1").stdout;
        text.lines().filter(|line| line.starts_with("A:")).for_each(|line| t.note(line));
    }
);

session!(
    /// Default file of the folder.
    config_default, [], |t: &mut Transcript<'_>| {
        let script = fixture_app("hold.js");
        t.home().write("ecosystem.config.js", format!("module.exports = {{ name: 'sole', script: '{script}' }}"));
        t.run("start");
        t.run("delete ecosystem.config.js");
    }
);

session!(
    /// Unusable files.
    config_unusable, [], |t: &mut Transcript<'_>| {
        let script = fixture_app("hold.js");
        t.home().ok("ping");
        t.run("restart missing.json");
        for (number, member) in ["\"kill_timeout\": \"soon\"", "\"autorestart\": \"no\"", "\"instances\": {}"].iter().enumerate() {
            let file = t.home().write(&format!("wrong-{number}.json"), format!("{{\"name\": \"x\", \"script\": \"{script}\", {member}}}"));
            // The wording differs: ostler names file, line and column.
            let output = t.home().run(format!("start {file}"));
            t.note(format!("{member} exits {}", output.code));
        }
        let file = t.home().write("empty.json", "{\"apps\": []}");
        t.run(format!("start {file}"));
        t.run("list");
    }
);

session!(
    /// JSON on standard input.
    config_stdin, [], |t: &mut Transcript<'_>| {
        let text = format!("{{\"apps\": [{{\"name\": \"piped\", \"script\": \"{}\"}}]}}", fixture_app("hold.js"));
        let output = t.home().cmd("start -").stdin(&text).run();
        t.add(&output);
        let output = t.home().cmd("restart -").stdin(&text).run();
        t.add(&output);
        let output = t.home().cmd("delete -").stdin(&text).run();
        t.add(&output);
    }
);

session!(
    /// YAML and shapes of the top level.
    config_formats, [], |t: &mut Transcript<'_>| {
        let script = fixture_app("hold.js");
        let yaml = t.home().write("a.yml", format!("apps:\n  - name: yes\n    script: {script}\n    args: [a, 'b c']\n"));
        t.run(format!("start {yaml}"));
        t.note(t.home().app("yes").env("args"));
        let array = t.home().write("b.json", format!("[{{ name: 'expression' + 1, script: '{script}', /* comment */ }},]"));
        t.run(format!("start {array}"));
        let bare = t.home().write("c.config.cjs", format!("exports.name = 'bare'; exports.script = '{script}';"));
        t.run(format!("start {bare}"));
    }
);

session!(
    /// One app of a file cannot be started: the others start, and the exit code reports the
    /// failure.
    config_one_app_fails, [
        Difference {
            pm2: "  [PM2][WARN] Applications bad, good not running, starting...",
            ostler: "  [PM2][WARN] Applications good not running, starting...",
            why: "the file is read and judged before the daemon is asked: nothing is promised for the bad one",
        },
        Difference { pm2: "  [PM2][WARN] Applications bad not running, starting...", ostler: "", why: "the same" },
    ], |t: &mut Transcript<'_>| {
        let good = fixture_app("hold.js");
        for (name, bad) in [("script", "script: '/nowhere/app.js'"), ("program", "script: '/dev/null', interpreter: 'no-such-program'")] {
            let apps = format!("module.exports = {{ apps: [{{ name: 'bad', {bad} }}, {{ name: 'good', script: '{good}' }}] }};\n");
            let file = t.home().write(&format!("{name}.config.js"), apps);
            t.run(format!("start {file}"));
            t.run(format!("restart {file}"));
            t.run("list");
            t.run("delete all");
        }
    }
);

session!(
    /// Two apps with the same name: both run, and a command by name applies to both.
    config_same_names, [], |t: &mut Transcript<'_>| {
        let (one, two) = (fixture_app("hold.js"), fixture_app("other.js"));
        let file = t.home().write(
            "eco.config.js",
            format!("module.exports = {{ apps: [{{ name: 'twin', script: '{one}' }}, {{ name: 'twin', script: '{two}' }}] }};\n"),
        );
        let output = t.home().run(format!("start {file}"));
        t.note(format!("exits {}", output.code));
        t.run("restart twin");
        let output = t.home().run(format!("stop {file}"));
        t.note(format!("exits {}", output.code));
        t.run("list");
        t.run("delete twin");
    }
);

session!(
    /// A file that throws before it exports anything is a broken config file, not an app.
    config_throws, [], |t: &mut Transcript<'_>| {
        let file = t.home().write("broken.config.js", "throw new Error('boom');\n");
        t.home().ok("ping");
        let output = t.home().run(format!("start {file}"));
        t.note(format!("exits {}, malformated: {}", output.code, output.stderr.contains("broken.config.js malformated")));
        t.run("list");
    }
);
