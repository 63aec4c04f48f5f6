//! Packages for npm: `ostler`, the program for each machine as an optional dependency, and a
//! package with PM2's command names.

use anyhow::Result;
use serde_json::{Value, json};

use super::arch::{ARCHES, Arch};
use super::archive::{ArchiveEntry, tar_gz};

/// Finds the program of this machine and executes it. It uses no shell, no download and no install
/// script.
const LAUNCHER: &str = include_str!("launch.js");

/// PM2's command names.
const PM2_NAMES: &[&str] = &["pm2", "pm2-dev", "pm2-docker", "pm2-runtime"];

/// A package: its file name and its bytes.
pub(super) type NpmPackage = (String, Vec<u8>);

fn described(name: &str, version: &str) -> Value {
    json!({
        "name": name,
        "version": version,
        "description": super::linux::SUMMARY,
        "license": "MIT OR Apache-2.0",
        "repository": "https://example.invalid/ostler",
    })
}

fn with(mut package: Value, more: Value) -> Value {
    if let (Value::Object(package), Value::Object(more)) = (&mut package, more) {
        package.extend(more);
    }
    package
}

/// Returns the name of the package with the program of a machine.
fn of_machine(arch: &Arch) -> String {
    format!("@ostler/linux-{}", arch.node)
}

/// Returns `package.json` of the package with the program of a machine.
fn machine(arch: &Arch, version: &str) -> Value {
    with(described(&of_machine(arch), version), json!({ "os": ["linux"], "cpu": [arch.node], "files": ["ostler"] }))
}

/// Returns `package.json` of `ostler`.
fn main(version: &str) -> Value {
    let machines: serde_json::Map<String, Value> = ARCHES.iter().map(|arch| (of_machine(arch), version.into())).collect();
    let more = json!({ "bin": { "ostler": "ostler.js" }, "files": ["launch.js", "ostler.js"], "engines": { "node": ">=14" }, "optionalDependencies": machines });
    with(described("ostler", version), more)
}

/// Returns `package.json` of the package with PM2's names.
fn pm2_names(version: &str) -> Value {
    let names: serde_json::Map<String, Value> = PM2_NAMES.iter().map(|name| ((*name).to_owned(), format!("{name}.js").into())).collect();
    with(described("ostler-pm2", version), json!({ "bin": names, "dependencies": { "ostler": version } }))
}

fn packed(package: &Value, version: &str, files: Vec<ArchiveEntry>, time: u64) -> Result<NpmPackage> {
    let text = serde_json::to_string_pretty(package)? + "\n";
    let mut entries = vec![ArchiveEntry::text("package/package.json", text)];
    entries.extend(files);
    // As `npm pack` does.
    let name = package["name"].as_str().unwrap_or_default().trim_start_matches('@').replace('/', "-");
    Ok((format!("{name}-{version}.tgz"), tar_gz(&entries, time)?))
}

/// Returns the package with the program of a machine.
pub(super) fn of_program(arch: &Arch, version: &str, program: &[u8], time: u64) -> Result<NpmPackage> {
    packed(&machine(arch, version), version, vec![ArchiveEntry::program("package/ostler", program)], time)
}

/// Returns the packages that are the same on all machines.
pub(super) fn of_all(version: &str, time: u64) -> Result<Vec<NpmPackage>> {
    let launch = |name: &str, from: &str| {
        ArchiveEntry::program(&format!("package/{name}.js"), format!("#!/usr/bin/env node\nrequire('{from}')('{name}');\n"))
    };
    let own = vec![ArchiveEntry::text("package/launch.js", LAUNCHER), launch("ostler", "./launch.js")];
    let names = PM2_NAMES.iter().map(|name| launch(name, "ostler/launch.js")).collect();
    Ok(vec![packed(&main(version), version, own, time)?, packed(&pm2_names(version), version, names, time)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_platform_is_a_dependency_of_the_same_version() {
        let package = main("1.2.3");
        for arch in ARCHES {
            assert_eq!(package["optionalDependencies"][of_machine(arch)], "1.2.3");
            assert_eq!(machine(arch, "1.2.3")["cpu"][0], arch.node);
            assert!(LAUNCHER.contains("`@ostler/linux-${process.arch}"));
        }
        assert_eq!(pm2_names("1.2.3")["bin"]["pm2-runtime"], "pm2-runtime.js");
        assert_eq!(of_program(&ARCHES[0], "1.2.3", b"x", 0).unwrap().0, "ostler-linux-x64-1.2.3.tgz");
    }
}
