//! Model of a sequence: a configuration file and the steps of a user. It is plain data, so that it
//! can be run, printed and shrunk.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An app of the configuration file. Keys are PM2's, with the group in front if they have a group
/// (`env.DB`). Values are JavaScript expressions.
pub type App = BTreeMap<String, String>;

/// Name of the configuration file in folder `a`.
pub const FILE: &str = "eco.config.js";

/// Target that stands for the configuration file. The command's folder decides its path.
pub const FILE_TARGET: &str = "<file>";

/// A configuration file and the steps that a user takes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Apps of the configuration file before the first step.
    pub apps: Vec<App>,
    /// Steps, in order.
    pub steps: Vec<Step>,
}

/// A step of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Runs a command of PM2.
    Run(Call),
    /// Sets a key of an app in the configuration file, or removes it.
    Edit { app: usize, key: String, value: Option<String> },
    /// Adds an app to the configuration file.
    Add(App),
    /// Sends SIGKILL to the process of the entry at this position of the list.
    Kill(usize),
}

/// A command of PM2.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Call {
    /// `start`, `restart` and so on.
    pub verb: String,
    /// Words after the verb.
    pub targets: Vec<String>,
    /// Options, each with its value.
    pub options: Vec<String>,
    /// Words after `--`.
    pub args: Vec<String>,
    /// Folder in which the command runs: `a` has the configuration file, `b` has scripts of the
    /// same names.
    pub folder: String,
    /// Variables of the shell.
    pub shell: Vec<(String, String)>,
    /// An app as JSON on standard input.
    pub stdin: Option<App>,
}

impl Call {
    /// Returns the words of the command line.
    pub fn words(&self) -> Vec<String> {
        let file = if self.folder == "a" { FILE.to_owned() } else { format!("../a/{FILE}") };
        let mut words = vec![self.verb.clone()];
        words.extend(self.targets.iter().map(|target| if target == FILE_TARGET { file.clone() } else { target.clone() }));
        words.extend(self.options.iter().flat_map(|option| option.split(' ')).map(str::to_owned));
        if !self.args.is_empty() {
            words.push("--".to_owned());
            words.extend(self.args.iter().cloned());
        }
        words
    }

    /// Returns the standard input.
    pub fn input(&self) -> Option<String> {
        self.stdin.as_ref().map(|app| format!("{{{}}}\n", members(app)))
    }
}

/// Returns the members of a JavaScript object. Keys with a group are collected in an object with
/// the group's name.
fn members(app: &App) -> String {
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut own = Vec::new();
    for (key, value) in app {
        match key.split_once('.') {
            Some((group, name)) => groups.entry(group).or_default().push(format!("\"{name}\": {value}")),
            None => own.push(format!("\"{key}\": {value}")),
        }
    }
    own.extend(groups.into_iter().map(|(group, members)| format!("\"{group}\": {{{}}}", members.join(", "))));
    own.join(", ")
}

/// Returns the text of the configuration file.
pub fn file_text(apps: &[App]) -> String {
    let apps: Vec<String> = apps.iter().map(|app| format!("  {{{}}},\n", members(app))).collect();
    format!("module.exports = {{apps: [\n{}]}};\n", apps.concat())
}

/// Applies a step to the apps of the configuration file. Returns false if the step does not affect
/// the file.
pub fn edit(apps: &mut Vec<App>, step: &Step) -> bool {
    match step {
        Step::Add(app) => apps.push(app.clone()),
        Step::Edit { app, key, value } => {
            if let Some(app) = apps.get_mut(*app) {
                match value {
                    Some(value) => drop(app.insert(key.clone(), value.clone())),
                    None => drop(app.remove(key)),
                }
            }
        }
        Step::Run(_) | Step::Kill(_) => return false,
    }
    true
}

/// Returns the sequence as a shell script in which `$pm2` is the program.
pub fn shell_script(sequence: &Sequence, script: &str, names: &[&str]) -> String {
    let mut text = String::from("pm2=${pm2:-pm2} root=$(mktemp -d); export PM2_HOME=$root/home PM2_CONCURRENT_ACTIONS=1\n");
    text += "mkdir -p $root/home $root/a/lib $root/b/lib $root/seen; touch $root/home/touch; cd $root\n";
    let copies: String = names.iter().flat_map(|name| [format!(" a/{name}"), format!(" b/{name}")]).collect();
    let _ = writeln!(text, "tee{copies} >/dev/null <<'END'\n{script}END");
    let mut apps = sequence.apps.clone();
    let file = |apps: &[App]| format!("cat >a/{FILE} <<'END'\n{}END\n", file_text(apps));
    text += &file(&apps);
    text += "$pm2 ping\n";
    for step in &sequence.steps {
        if edit(&mut apps, step) {
            text += &file(&apps);
        } else {
            text += &line(step);
        }
    }
    text + "$pm2 jlist; $pm2 kill\n"
}

/// Returns a step that is not an edit as a line of shell.
pub fn line(step: &Step) -> String {
    match step {
        Step::Run(call) => {
            let shell: String = call.shell.iter().map(|(name, value)| format!("{name}={value} ")).collect();
            let input = call.input().map(|text| format!("echo '{}' | ", text.trim())).unwrap_or_default();
            let words: Vec<String> = call.words().iter().map(|word| quoted(word)).collect();
            format!("(cd {}; {input}{shell}$pm2 {}); echo \"exit $?\"\n", call.folder, words.join(" "))
        }
        Step::Kill(position) => format!("kill -9 $($pm2 jlist | jq '.[{position}].pid')\n"),
        Step::Add(app) => format!("# add to the file: {{{}}}\n", members(app)),
        Step::Edit { app, key, value: Some(value) } => format!("# app {app} of the file: {key}: {value}\n"),
        Step::Edit { app, key, value: None } => format!("# app {app} of the file: without {key}\n"),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}
