//! Builds the static program for a machine. The same sources result in the same bytes in any
//! folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::arch::Arch;
use crate::process::{cargo, must_run, on_path, output, root, target};

/// Linker script that drops the tables for stack unwinding: a panic aborts the program
/// (`panic = "abort"`), so they are never used. The compiler's `force-unwind-tables=no` alone
/// leaves a tenth of the program: tables of the standard library's functions, and of all functions
/// that were merged with them.
const NO_TABLES: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame .eh_frame.* .gcc_except_table .gcc_except_table.*) } } INSERT AFTER .text;\n";

/// Builds it with this profile. `features`: none = all, otherwise those of the crate `ostler`,
/// separated by commas.
pub(super) fn build(arch: &Arch, profile: &str, features: Option<&str>) -> Result<PathBuf> {
    let installed = output(Command::new("rustup").args(["target", "list", "--installed"]))?;
    if !installed.lines().any(|line| line.trim() == arch.triple) {
        must_run(Command::new("rustup").args(["target", "add", arch.triple]))?;
    }
    // The same profile may be built with all features and with some.
    let folder = target().join(if features.is_none() { "packages" } else { "packages/parts" });
    let tools = folder.join("tools").join(arch.uname);
    let variable = |name: &str| format!("{name}_{}", arch.triple.replace('-', "_"));
    let home = |name: &str, usual: &str| std::env::var_os(name).map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(usual)));
    let cargo_home = home("CARGO_HOME", ".cargo").context("there is no home folder for cargo")?;
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    let (c, archiver) = c_compiler(arch, &tools)?;
    let mut command =
        cargo(&["build", "--locked", "--package", "ostler", "--bin", "ostler", "--profile", profile, "--target", arch.triple]);
    if let Some(features) = features {
        command.args(["--no-default-features", "--features", features]);
    }
    command.arg("--target-dir").arg(&folder);
    let script = tools.join("no-tables.ld");
    fs::write(&script, NO_TABLES).with_context(|| format!("cannot write {}", script.display()))?;
    let script = profile.starts_with("dist").then_some(script.as_path());
    // Only this variable supports paths with spaces.
    let flags = rust_flags(&root(), &cargo_home, Path::new(sysroot.trim()), script, profile == "dist-small");
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command.env(variable("CC"), c).env(variable("AR"), archiver).env("ZERO_AR_DATE", "1");
    // Assertions contain the paths of C sources.
    command.env("CC_SHELL_ESCAPED_FLAGS", "1").env(
        variable("CFLAGS"),
        format!("'-ffile-prefix-map={}=/cargo' '-ffile-prefix-map={}=/build'", cargo_home.display(), folder.display()),
    );
    must_run(&mut command)?;
    let program = folder.join(arch.triple).join(if profile == "dev" { "debug" } else { profile }).join("ostler");
    let text = output(Command::new("file").arg("-L").arg(&program)).unwrap_or_default();
    ensure!(!text.contains("dynamically linked"), "{} is linked dynamically: {text}", program.display());
    Ok(program)
}

/// Returns flags for rustc: no shared library, no path of this machine in the program, and no
/// unused code.
///
/// `no_tables`: [`NO_TABLES`] as a file, for a profile in which a panic aborts the program; the
/// sources get a `cfg` of this name. `--icf` merges equal functions. `relr`: addresses that the
/// program adjusts at its start take two bits instead of 24 bytes. `is_small`: repeated runs of
/// instructions become functions.
fn rust_flags(root: &Path, cargo_home: &Path, sysroot: &Path, no_tables: Option<&Path>, is_small: bool) -> Vec<String> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), "-Clinker=rust-lld".to_owned()];
    if let Some(script) = no_tables {
        flags.extend(["-Cforce-unwind-tables=no", "-Clink-arg=--no-eh-frame-hdr", "--cfg=no_tables"].map(str::to_owned));
        flags.push(format!("-Clink-arg=-T{}", script.display()));
    }
    if is_small {
        flags.push("-Cllvm-args=-enable-machine-outliner=always".to_owned());
    }
    for flag in ["--icf=all", "--pack-dyn-relocs=relr", "--build-id=none"] {
        flags.push(format!("-Clink-arg={flag}"));
    }
    for (path, name) in [(sysroot, "/rust"), (cargo_home, "/cargo"), (root, "/ostler")] {
        flags.push(format!("--remap-path-prefix={}={name}", path.display()));
    }
    flags
}

/// Returns a C compiler with musl's headers for this machine, and an archiver. It is zig, which is
/// the same everywhere, or else musl-gcc for the build machine.
fn c_compiler(arch: &Arch, tools: &Path) -> Result<(PathBuf, PathBuf)> {
    let zig = ["zig", "python-zig"].into_iter().find(|name| on_path(name));
    let Some(zig) = zig else {
        ensure!(
            arch.uname == std::env::consts::ARCH && on_path("musl-gcc"),
            "the C parts for {} need zig (`pip install ziglang`)",
            arch.triple
        );
        return Ok(("musl-gcc".into(), "ar".into()));
    };
    Ok((script(tools, "cc", &zig_cc(zig, arch.zig))?, script(tools, "ar", &format!("#!/bin/sh\nexec {zig} ar \"$@\"\n"))?))
}

/// Returns the command for zig as a C compiler. It has other names for machines than the crate
/// `cc`, which adds its own.
fn zig_cc(zig: &str, machine: &str) -> String {
    format!(
        "#!/bin/sh\nfor word; do\n  shift\n  case $word in\n    --target=*) ;;\n    *) set -- \"$@\" \"$word\" ;;\n  esac\ndone\n\
         exec {zig} cc -target {machine} -fno-sanitize=undefined \"$@\"\n"
    )
}

fn script(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_paths_are_remapped() {
        let flags = rust_flags(
            Path::new("/home/me/my ostler"),
            Path::new("/home/me/.cargo"),
            Path::new("/opt/rust"),
            Some(Path::new("/t/no-tables.ld")),
            false,
        );
        for (path, name) in [("/home/me/my ostler", "/ostler"), ("/home/me/.cargo", "/cargo"), ("/opt/rust", "/rust")] {
            assert!(flags.contains(&format!("--remap-path-prefix={path}={name}")), "{flags:?}");
        }
        assert!(flags.contains(&"-Ctarget-feature=+crt-static".into()) && flags.contains(&"-Clink-arg=-T/t/no-tables.ld".into()));
    }

    #[test]
    fn zig_cc_passes_every_argument_except_target() {
        let text = zig_cc("printf '%s|'", "m");
        let out = Command::new("sh").args(["-c", &text, "cc", "--target=x", "-O2", "a b", "-c"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), "cc|-target|m|-fno-sanitize=undefined|-O2|a b|-c|");
    }
}
