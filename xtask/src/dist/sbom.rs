//! Software bill of materials (SBOM) of the program, in CycloneDX 1.5. Source: cyclonedx.org,
//! `bom-1.5.schema.json`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Returns the list, from `cargo metadata` and `Cargo.lock`: `ostler` and all crates that are
/// linked into it or build it, without tests.
pub(super) fn sbom(metadata: &Value, lock: &str, version: &str) -> Result<Value> {
    let nodes: BTreeMap<&str, &Value> =
        array(&metadata["resolve"]["nodes"]).filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let packages: BTreeMap<&str, &Value> =
        array(&metadata["packages"]).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let root =
        packages.iter().find(|(_, package)| package["name"] == "ostler").map(|(id, _)| *id).context("cargo names no package `ostler`")?;
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(needs(nodes.get(id).copied().unwrap_or(&Value::Null)));
        }
    }
    let sums = checksums(lock)?;
    let mut components: Vec<Value> =
        found.iter().filter(|id| **id != root).filter_map(|id| packages.get(id)).map(|package| component(package, &sums)).collect();
    components.sort_by_key(|component| component["purl"].to_string());
    let reference = |id: &str| packages.get(id).map(|package| purl(package));
    let mut edges: Vec<Value> = found
        .iter()
        .filter_map(|id| {
            let mut on: Vec<String> = needs(nodes.get(id)?).filter_map(reference).collect();
            on.sort();
            on.dedup();
            Some(json!({ "ref": reference(id)?, "dependsOn": on }))
        })
        .collect();
    edges.sort_by_key(|edge| edge["ref"].to_string());
    let own = packages.get(root).map(|package| purl(package));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "application", "bom-ref": own, "name": "ostler", "version": version, "purl": own } },
        "components": components,
        "dependencies": edges,
    }))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns the packages that a package needs, without tests.
fn needs(node: &Value) -> impl Iterator<Item = &str> {
    array(&node["deps"]).filter(|dep| array(&dep["dep_kinds"]).any(|kind| kind["kind"] != "dev")).filter_map(|dep| dep["pkg"].as_str())
}

fn purl(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", package["name"].as_str().unwrap_or_default(), package["version"].as_str().unwrap_or_default())
}

fn component(package: &Value, sums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut out =
        json!({ "type": "library", "bom-ref": purl(package), "name": text("name"), "version": text("version"), "purl": purl(package) });
    if !text("license").is_empty() {
        // An old form of "or".
        out["licenses"] = json!([{ "expression": text("license").replace('/', " OR ") }]);
    }
    if let Some(sum) = sums.get(&(text("name"), text("version"))) {
        out["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    out
}

fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Value = toml::from_str(lock).context("cannot read Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let text = |package: &toml::Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
    Ok(packages.filter_map(|package| Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sbom_lists_linked_crates_without_dev_dependencies() {
        let dep = |pkg: &str, kind: Value| json!({ "pkg": pkg, "dep_kinds": [{ "kind": kind }] });
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let packages = ["ostler", "serde", "cc", "insta", "other"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": { "nodes": [
                { "id": "ostler", "deps": [dep("serde", Value::Null), dep("insta", "dev".into())] },
                { "id": "serde", "deps": [dep("cc", "build".into())] },
                { "id": "cc", "deps": [] },
                { "id": "other", "deps": [] },
            ] },
        });
        let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let bom = sbom(&metadata, lock, "1.2.3").unwrap();
        let names: Vec<_> = array(&bom["components"]).map(|component| component["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["cc", "serde"]);
        assert_eq!(bom["components"][1]["hashes"][0]["content"], "abc");
        assert_eq!(bom["components"][1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bom["dependencies"][1], json!({ "ref": "pkg:cargo/ostler@1.0.0", "dependsOn": ["pkg:cargo/serde@1.0.0"] }));
    }
}
