//! Links the unoptimised programs at fixed addresses.

fn main() {
    // Otherwise the dynamic linker relocates two hundred thousand pointers at each start. The tests
    // start such programs tens of thousands of times.
    let is_unoptimised = std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0");
    let is_gnu = std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    if is_unoptimised && is_gnu {
        println!("cargo::rustc-link-arg-bins=-no-pie");
        println!("cargo::rustc-link-arg-tests=-no-pie");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
