//! Each check of the registry on its corpus, and on mutations of it.
//!
//! The normal run takes about half a second of processor time per target, and its inputs are the same
//! each time. `cargo xtask fuzz` runs the same loop for longer if libFuzzer is not available
//! (`OSTLER_FUZZ_SECONDS`, `OSTLER_SEED`).
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![cfg(debug_assertions)]

mod corpus;
mod mutate;
mod run;

use std::collections::BTreeSet;

use ostler_fuzzing::{TARGETS, Target};

macro_rules! tests {
    ($($name:ident: $check:path, $about:literal;)*) => {
        $(
            #[test]
            fn $name() {
                run::target(stringify!($name), $check);
            }
        )*
    };
}
ostler_fuzzing::each!(tests);

#[test]
fn every_target_has_a_libfuzzer_target_and_a_corpus() {
    let fuzz = corpus::root();
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(fuzz.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let expected: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("fuzz_targets"), expected);
    assert_eq!(names("corpus"), expected);
    for Target { name, about, .. } in TARGETS {
        assert!(manifest.contains(&format!("\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n")), "{name} in fuzz/Cargo.toml");
        let text = std::fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("ostler_fuzzing::check(\"{name}\", bytes)")), "{name}: {about}");
    }
    let page = std::fs::read_to_string(fuzz.join("../docs/fuzzing.md")).unwrap();
    for Target { name, .. } in TARGETS {
        assert!(page.contains(&format!("`{name}`")), "{name} in docs/fuzzing.md");
    }
    let sorted: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert!(sorted.is_sorted(), "the list is in order");
}
