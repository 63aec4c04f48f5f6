//! Checks of imports: the ecosystem file that an import writes has the same apps, whatever the
//! imported file contains.

use ostler_export::Imported;
use ostler_export::fuzz;
use serde_json::{Map, Value};

/// Checks the text that an import writes: two readers of JavaScript find the same apps in it.
fn and_back(imported: Option<Imported>) {
    let Some(imported) = imported else { return };
    let text = imported.text();
    let apps: Vec<&Map<String, Value>> = imported.apps.iter().collect();
    // JSON5 has no computed keys.
    if !text.contains("[\"__proto__\"]") {
        let list = text.trim_start_matches("module.exports = ").trim_end().trim_end_matches(';');
        let read: Value = json5::from_str(list).unwrap_or_else(|error| panic!("{error}: {text}"));
        let read: Vec<&Map<String, Value>> = read["apps"].as_array().into_iter().flatten().filter_map(Value::as_object).collect();
        assert_eq!(read, apps, "{text}");
    }
    match ostler_config::fuzz::attributes(&text) {
        Ok(read) => assert_eq!(read.len(), apps.len(), "{text}"),
        // The engine's limit is one of the wall clock, and this machine may be busy.
        Err(problem) => assert!(problem.contains("time limit"), "{problem}: {text}"),
    }
}

/// Checks a compose file.
pub fn import_compose_and_back(bytes: &[u8]) {
    and_back(fuzz::import_compose(bytes));
}

/// Checks a unit of systemd.
pub fn import_systemd_and_back(bytes: &[u8]) {
    and_back(fuzz::import_systemd(bytes));
}

/// Checks a Procfile.
pub fn import_procfile_and_back(bytes: &[u8]) {
    and_back(fuzz::import_procfile(bytes));
}

/// Checks a file of supervisor.
pub fn import_supervisor_and_back(bytes: &[u8]) {
    and_back(fuzz::import_supervisor(bytes));
}

/// Checks a file of `OxMgr`.
pub fn import_oxmgr_and_back(bytes: &[u8]) {
    and_back(fuzz::import_oxmgr(bytes));
}
