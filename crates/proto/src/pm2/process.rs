//! One item of `jlist`, written straight to text: with a hundred apps it is 400 KB that nobody looks into on their way to the reader.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::attributes;
use super::pm2_env::{View, health_status, instance_var, number, state, wire_vars};
use crate::control::{HealthReport, Monit};

/// One item of `jlist`, key order as PM2 writes it.
///
/// Every environment variable is in it, secrets included, twice: scripts written for PM2 read them there.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a> {
    /// Source of its attributes.
    pub view: View<'a>,
    /// Pid; 0 = does not run.
    pub pid: i32,
    /// CPU and memory.
    pub monit: Monit,
    /// Health; none where nothing is checked.
    pub health: Option<&'a HealthReport>,
    /// User and group that it runs as, where they were given: PM2 has numbers also where a name was given, and the group also where only the
    /// user was.
    pub account: Option<(u32, u32)>,
}

impl Serialize for Process<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            memory: u64,
            cpu: Value,
        }
        let mut item = serializer.serialize_map(Some(5))?;
        item.serialize_entry("pid", &self.pid)?;
        item.serialize_entry("name", &self.view.spec.name)?;
        item.serialize_entry("pm2_env", &Env(self))?;
        item.serialize_entry("pm_id", &self.view.id)?;
        item.serialize_entry("monit", &Shown { memory: self.monit.memory_bytes, cpu: number(self.monit.cpu_pct) })?;
        item.end()
    }
}

/// `pm2_env` of an item, as [`super::pm2_env()`] makes it, without a copy of each variable.
struct Env<'a>(&'a Process<'a>);

impl Serialize for Env<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Process { view, health, account, .. } = self.0;
        let vars = wire_vars(view);
        let shown = Vars { view, vars: &vars };
        let mut head = attributes::of(view.spec, view.files, view.user, Map::new());
        head.insert(instance_var(view.spec).into(), view.index.into());
        let tail = state(view);
        let mut last = Map::new();
        if let Some(health) = health {
            last.insert("health_status".into(), health_status(health));
        }
        if let Some((uid, gid)) = account {
            last.extend([("uid".to_owned(), (*uid).into()), ("gid".to_owned(), (*gid).into())]);
        }
        // What comes later stands at the place of the first that has its name.
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &head {
            match last.get(key).or_else(|| tail.get(key)) {
                Some(later) => map.serialize_entry(key, later)?,
                None if key == "env" && value.is_object() => map.serialize_entry(key, &shown)?,
                None => map.serialize_entry(key, value)?,
            }
        }
        for (key, text) in vars.iter().filter(|(key, _)| !head.contains_key(**key) && !tail.contains_key(**key)) {
            match last.get(*key) {
                Some(later) => map.serialize_entry(key, later)?,
                None => shown.entry(&mut map, key, text)?,
            }
        }
        for (key, value) in tail.iter().filter(|(key, _)| !head.contains_key(*key)) {
            map.serialize_entry(key, last.get(key).unwrap_or(value))?;
        }
        let is_new = |key: &str| !head.contains_key(key) && !tail.contains_key(key) && !vars.contains_key(key);
        for (key, value) in last.iter().filter(|(key, _)| is_new(key)) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Variables as an object: what was a number or a boolean in the file is one.
struct Vars<'a> {
    view: &'a View<'a>,
    vars: &'a IndexMap<&'a str, Cow<'a, str>>,
}

impl Vars<'_> {
    fn entry<M: SerializeMap>(&self, map: &mut M, name: &str, text: &str) -> Result<(), M::Error> {
        match attributes::bare(self.view.spec, name, text) {
            Some(bare) => map.serialize_entry(name, &bare),
            None => map.serialize_entry(name, text),
        }
    }
}

impl Serialize for Vars<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.vars.len()))?;
        for (name, text) in self.vars {
            self.entry(&mut map, name, text)?;
        }
        map.end()
    }
}
