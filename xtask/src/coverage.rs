//! Coverage of each crate by its own tests, and floors that only rise (`coverage.toml`).
//!
//! It needs nothing but rustup's `llvm-tools`. Tests of other packages (`tests/e2e`) do not count:
//! they run the whole program, so a line that they reach is not a line that they check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::process::{cargo, must_run, output, root, target};

/// File with the floors.
const FILE: &str = "coverage.toml";

/// Counters survive SIGKILL if they are in a mapped file (`%c`): tests kill keepers and daemons.
const FLAGS: &str = "-Cinstrument-coverage -Cllvm-args=-runtime-counter-relocation";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Floors {
    /// Percent of lines that the tests of a crate must reach.
    floors: BTreeMap<String, f64>,
    /// Crates without a measurement.
    unmeasured: Vec<String>,
}

/// Measures crates: those that the words name, or all with a floor. `--write` raises the floors.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let path = root().join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    let Floors { floors, unmeasured } = toml::from_str(&text).context(FILE)?;
    let named: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|name| !floors.contains_key(**name) && !unmeasured.contains(name)) {
        bail!("{unknown} is not in {FILE}");
    }
    let crates: Vec<&String> = if named.is_empty() { floors.keys().collect() } else { named };
    let tools = tools()?;
    let (mut text, mut low) = (text, Vec::new());
    for name in crates {
        let measured = measure(name, &tools)?;
        println!("{name}: {} of {} lines, {:.1} %", measured.reached, measured.lines, measured.percent());
        match floors.get(name) {
            Some(floor) if measured.percent() < *floor => low.push(format!("{name}: {:.1} % is below {floor} %", measured.percent())),
            _ => text = raised(&text, name, measured.percent())?,
        }
    }
    ensure!(low.is_empty(), "fewer lines are tested than before\n  {}", low.join("\n  "));
    if words.iter().any(|word| word == "--write") {
        std::fs::write(&path, text).with_context(|| format!("cannot write {FILE}"))?;
    }
    Ok(())
}

/// Lines of a crate with code.
#[derive(Debug, Default, PartialEq)]
struct Lines {
    reached: u64,
    lines: u64,
}

impl Lines {
    /// Returns the share in percent, rounded down to a tenth.
    fn percent(&self) -> f64 {
        (self.reached * 1000).checked_div(self.lines).unwrap_or(0) as f64 / 10.0
    }
}

/// Returns the folder of `llvm-profdata` and `llvm-cov` that belong to the compiler.
fn tools() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]).current_dir(root()))?;
    let version = output(Command::new(&rustc).arg("-vV").current_dir(root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let tools = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    ensure!(tools.join("llvm-cov").exists(), "no llvm-cov in {}: `rustup component add llvm-tools`", tools.display());
    Ok(tools)
}

/// Runs the tests of a crate and returns the lines of its `src` that they reach.
fn measure(name: &str, tools: &Path) -> Result<Lines> {
    let folder = target().join("coverage");
    let profiles = folder.join("profiles").join(name);
    let test = |words: &[&str]| {
        let mut command = cargo(&["test", "--locked", "--package", name, "--lib", "--bins", "--tests"]);
        command.args(words).env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", FLAGS);
        command.env("LLVM_PROFILE_FILE", profiles.join("%p-%m%c.profraw"));
        command
    };
    let built = output(&mut test(&["--no-run", "--message-format=json"]))?;
    // Build scripts are instrumented, too.
    drop(std::fs::remove_dir_all(&profiles));
    must_run(&mut test(&["--quiet"]))?;
    let raw: Vec<PathBuf> = std::fs::read_dir(&profiles)?.flatten().map(|entry| entry.path()).collect();
    // One list instead of thousands of arguments.
    let list = profiles.with_extension("list");
    std::fs::write(&list, raw.iter().map(|path| format!("{}\n", path.display())).collect::<String>())?;
    let merged = profiles.with_extension("profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    // A process that was killed in its first instant leaves an empty file.
    merge.args(["merge", "-sparse", "-failure-mode=all", "-o"]).arg(&merged).arg("-f").arg(&list);
    must_run(&mut merge)?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "-format=lcov", "-instr-profile"]).arg(&merged);
    for binary in executables(&built) {
        export.arg("-object").arg(binary);
    }
    let dir = crate_folder(name)?;
    lines_below(&output(&mut export)?, &dir.join("src"), |path| {
        std::fs::read_to_string(path).map_or(usize::MAX, |source| first_line_of_tests(&source))
    })
}

/// Returns the executables of cargo's messages.
fn executables(messages: &str) -> Vec<String> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter_map(|message| message["executable"].as_str().map(str::to_owned)).collect()
}

fn crate_folder(name: &str) -> Result<PathBuf> {
    let metadata: Value = serde_json::from_str(&output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]))?)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let manifest = packages.iter().find(|package| package["name"] == name).and_then(|package| package["manifest_path"].as_str());
    let manifest = PathBuf::from(manifest.with_context(|| format!("no package {name}"))?);
    Ok(manifest.parent().unwrap_or(&manifest).to_path_buf())
}

/// Returns the number of the line at which the module of tests begins.
fn first_line_of_tests(source: &str) -> usize {
    source.find("#[cfg(test)]\nmod tests {").map_or(usize::MAX, |at| source[..at].lines().count() + 1)
}

/// Adds up the lines of the files below a folder in lcov's form. Tests do not count: `end` returns
/// the line at which they begin, and files that contain only tests are left out.
fn lines_below(lcov: &str, folder: &Path, end: impl Fn(&Path) -> usize) -> Result<Lines> {
    let mut lines = Lines::default();
    let mut last = 0;
    for record in lcov.lines() {
        if let Some(path) = record.strip_prefix("SF:").map(Path::new) {
            let inner = path.strip_prefix(folder).ok().map(|inner| inner.display().to_string());
            let is_counted = |inner: &String| !(inner.ends_with("tests.rs") || inner.contains("tests/") || inner.contains("simulation/"));
            last = if inner.as_ref().is_some_and(is_counted) { end(path) } else { 0 };
        } else if let Some((number, count)) = record.strip_prefix("DA:").and_then(|data| data.split_once(','))
            && number.parse::<usize>()? < last
        {
            lines.lines += 1;
            lines.reached += u64::from(count != "0");
        }
    }
    ensure!(lines.lines > 0, "no line of {} is in the result", folder.display());
    Ok(lines)
}

/// Returns the file with a new floor. A floor never falls.
fn raised(text: &str, name: &str, percent: f64) -> Result<String> {
    let mut file: toml::Table = text.parse().context(FILE)?;
    let head: String = text.lines().take_while(|line| line.starts_with('#') || line.is_empty()).map(|line| format!("{line}\n")).collect();
    let floors = file.get_mut("floors").and_then(toml::Value::as_table_mut).with_context(|| format!("{FILE} has no [floors]"))?;
    let old = floors.get(name).and_then(toml::Value::as_float).unwrap_or(0.0);
    floors.insert(name.to_owned(), toml::Value::Float(percent.max(old)));
    let floors: String = floors.iter().map(|(name, floor)| format!("{name} = {:?}\n", floor.as_float().unwrap_or(0.0))).collect();
    let unmeasured = file.get("unmeasured").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let unmeasured: Vec<&str> = unmeasured.iter().filter_map(toml::Value::as_str).filter(|other| *other != name).collect();
    let unmeasured: String = unmeasured.iter().map(|name| format!("    \"{name}\",\n")).collect();
    Ok(format!("{head}unmeasured = [\n{unmeasured}]\n\n[floors]\n{floors}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_has_a_floor_or_is_named_as_unmeasured() {
        let text = std::fs::read_to_string(root().join(FILE)).unwrap();
        let Floors { floors, unmeasured } = toml::from_str(&text).unwrap();
        let metadata = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"])).unwrap();
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        for package in metadata["packages"].as_array().unwrap() {
            let name = package["name"].as_str().unwrap();
            let tool = ["ostler-testkit", "ostler-bench", "xtask"].contains(&name);
            let listed = usize::from(floors.contains_key(name)) + usize::from(unmeasured.iter().any(|other| other == name));
            assert_eq!(listed, usize::from(!tool), "{name} in {FILE}");
        }
    }

    #[test]
    fn floors_only_rise() {
        let text = "# Head.\n\nunmeasured = [\n    \"a\",\n    \"b\",\n]\n\n[floors]\nc = 50.5\n";
        let higher = raised(text, "c", 60.0).unwrap();
        assert_eq!(higher, text.replace("50.5", "60.0"));
        assert_eq!(raised(&higher, "c", 55.0).unwrap(), higher);
        let more = raised(text, "a", 70.1).unwrap();
        assert_eq!(more, "# Head.\n\nunmeasured = [\n    \"b\",\n]\n\n[floors]\na = 70.1\nc = 50.5\n");
    }

    #[test]
    fn only_the_program_of_the_crate_counts() {
        let lcov = "SF:/w/a/src/x.rs\nDA:1,5\nDA:2,0\nDA:9,7\nend_of_record\nSF:/w/a/src/y/tests.rs\nDA:1,1\nend_of_record\n\
                    SF:/w/b/src/x.rs\nDA:1,0\nend_of_record\nSF:/w/a/src/z.rs\nDA:1,1\nend_of_record\n";
        let lines = lines_below(lcov, Path::new("/w/a/src"), |_| 9).unwrap();
        assert_eq!(lines, Lines { reached: 2, lines: 3 });
        assert_eq!(lines.percent(), 66.6);
        assert!(lines_below(lcov, Path::new("/w/c/src"), |_| 9).is_err());
        assert_eq!(first_line_of_tests("a\n\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(first_line_of_tests("a\n"), usize::MAX);
    }
}
