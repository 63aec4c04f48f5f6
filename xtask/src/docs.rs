//! `cargo xtask docs`: the documentation as a site. npm installs VitePress, which builds the site;
//! `site/` contains its configuration.

use crate::process::{must_run, on_path, option, root};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the site; `--check` tests it in a browser, `--serve` shows it on `--port` until Ctrl-C.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let site = root().join("site");
    let out = option(words, "--out")?.map_or_else(|| site.join(".vitepress/dist"), |out| absolute(Path::new(out)));
    install_vitepress(&site)?;
    must_run(Command::new("node").arg(site.join("stage.mjs")))?;
    must_run(&mut vitepress(&site, &out, "build", words)?)?;
    println!("the site is in {}", out.display());
    if words.iter().any(|word| word == "--check") {
        must_run(Command::new("node").arg(site.join("check.mjs")).arg(&out))
            .context("the site is not as it should be, or there is no browser")?;
    }
    if !words.iter().any(|word| word == "--serve") {
        return Ok(());
    }
    let port = option(words, "--port")?.unwrap_or("4173");
    must_run(vitepress(&site, &out, "preview", words)?.args(["--port", port]))
}

/// Installs the packages of `site/package-lock.json`, unless they are installed.
fn install_vitepress(site: &Path) -> Result<()> {
    // npm records in this file which packages it has installed.
    let noted = site.join("node_modules/.package-lock.json");
    let changed = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    if changed(&noted).is_some_and(|installed| Some(installed) >= changed(&site.join("package-lock.json"))) {
        return Ok(());
    }
    ensure!(on_path("npm"), "npm is not on the PATH: it comes with Node 20 or newer, which builds the site");
    must_run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(site)).context("cannot install VitePress")
}

fn vitepress(site: &Path, out: &Path, task: &str, words: &[String]) -> Result<Command> {
    let mut command = Command::new("node");
    command.arg(site.join("node_modules/vitepress/bin/vitepress.js")).args([task, "."]).current_dir(site).env("OSTLER_SITE_OUT", out);
    if let Some(base) = option(words, "--base")? {
        command.env("OSTLER_SITE_BASE", base);
    }
    Ok(command)
}

fn absolute(path: &Path) -> PathBuf {
    std::env::current_dir().map_or_else(|_| path.to_path_buf(), |here| here.join(path))
}
