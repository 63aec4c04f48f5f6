//! `module:generate`: a module to begin with.

use std::fs;
use std::path::{Path, PathBuf};

use ostler_core::marked;

use super::name;
use crate::error::ModuleError;

const SCRIPT: &str = r#"// A module: it runs beside the apps, and speaks with the process manager through @pm2/io.
const io = require('@pm2/io');

io.initModule({}, (error, conf) => {
  if (error) {
    console.error(error);
    process.exit(1);
  }
  // Settings of `config` in package.json; `set <module>:<key> <value>` changes one and restarts the module.
  console.log('every %d seconds', conf.interval);

  const ticks = io.counter({ name: 'Ticks' });
  setInterval(() => ticks.inc(), conf.interval * 1000);

  // Called by `trigger <module> reset`.
  io.action('reset', reply => {
    ticks.reset();
    reply({ success: true });
  });
});
"#;

/// Makes a module of this name in `into`; its folder.
///
/// # Errors
/// The name is none, or there is something of that name.
pub(crate) fn generate(name: &str, into: &Path) -> Result<PathBuf, ModuleError> {
    name::check(name)?;
    let folder = into.join(name.rsplit('/').next().unwrap_or(name));
    let failed = |source| ModuleError::File { what: marked!("make"), path: folder.clone(), source };
    fs::create_dir(&folder).map_err(failed)?;
    let package = serde_json::json!({
        "name": name,
        "version": "1.0.0",
        "description": "A module for the process manager",
        "main": "index.js",
        "config": { "interval": 5 },
        "apps": [{ "script": "index.js", "max_memory_restart": "200M" }],
        "dependencies": { "@pm2/io": "^6.1.0" },
    });
    let readme = format!(
        "# {name}\n\n    npm install\n    pm2 install .        # runs it from here, and again after each change\n    pm2 logs {name}\n    pm2 uninstall {name}\n"
    );
    fs::write(folder.join("package.json"), format!("{package:#}\n")).map_err(failed)?;
    fs::write(folder.join("index.js"), SCRIPT).map_err(failed)?;
    fs::write(folder.join("README.md"), readme).map_err(failed)?;
    Ok(folder)
}
