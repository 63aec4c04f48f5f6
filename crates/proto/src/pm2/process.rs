//! One item of `jlist`, written directly as text. With a hundred apps, the list is 400 KB that only
//! the client parses.
//!
//! For repeated requests, a [`ProcessForm`] caches the parts that do not change while the app
//! lives.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::attributes;
use super::pm2_env::{View, health_status, instance_var, number, state, wire_vars};
use crate::control::{HealthReport, Monit};

/// One item of `jlist`, with the key order of PM2.
///
/// It contains every environment variable twice, secrets included, because scripts written for PM2
/// read them there.
#[derive(Clone, Copy, Debug)]
pub struct Process<'a> {
    /// Source of its attributes.
    pub view: View<'a>,
    /// Pid; 0 = not running.
    pub pid: i32,
    /// CPU and memory.
    pub monit: Monit,
    /// Health; none if the app has no checks.
    pub health: Option<&'a HealthReport>,
    /// User and group that it runs as, if they were set. PM2 shows numbers even if a name was
    /// given, and the group even if only the user was given.
    pub account: Option<(u32, u32)>,
}

/// Value at a key of `pm2_env`.
enum EnvEntry<'a> {
    /// It does not change as long as the description does not change.
    Fixed(&'a Value),
    /// All variables.
    Vars,
    /// One variable.
    Var(&'a str),
    /// It changes while the app lives.
    Changing(&'a Value),
}

/// Values that change while the app lives.
struct Changing {
    tail: Map<String, Value>,
    last: Map<String, Value>,
}

impl Changing {
    fn of(process: &Process<'_>) -> Self {
        let mut last = Map::new();
        if let Some(health) = process.health {
            last.insert("health_status".into(), health_status(health));
        }
        if let Some((uid, gid)) = process.account {
            last.extend([("uid".to_owned(), uid.into()), ("gid".to_owned(), gid.into())]);
        }
        Self { tail: state(&process.view), last }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.last.get(key).or_else(|| self.tail.get(key))
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.tail.keys().chain(self.last.keys()).map(String::as_str)
    }
}

/// Passes the entries of `pm2_env` to `each`, in the order of [`super::pm2_env()`], without copying
/// each variable. If a name occurs twice, the later value takes the position of the first.
fn entries<E>(
    process: &Process<'_>,
    vars: &IndexMap<&str, Cow<'_, str>>,
    changing: &Changing,
    each: &mut dyn FnMut(&str, EnvEntry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let view = &process.view;
    let Changing { tail, last } = changing;
    let mut head = attributes::of(view.spec, view.files, view.user, Map::new());
    head.insert(instance_var(view.spec).into(), view.index.into());
    for (key, value) in &head {
        match changing.get(key) {
            Some(later) => each(key, EnvEntry::Changing(later))?,
            None if key == "env" && value.is_object() => each(key, EnvEntry::Vars)?,
            None => each(key, EnvEntry::Fixed(value))?,
        }
    }
    let is_flat = |key: &str| vars.contains_key(key) && !attributes::is_attribute(key);
    for (key, text) in vars.iter().filter(|(key, _)| !head.contains_key(**key) && !tail.contains_key(**key) && is_flat(key)) {
        match last.get(*key) {
            Some(later) => each(key, EnvEntry::Changing(later))?,
            None => each(key, EnvEntry::Var(text))?,
        }
    }
    for (key, value) in tail.iter().filter(|(key, _)| !head.contains_key(*key)) {
        each(key, EnvEntry::Changing(last.get(key).unwrap_or(value)))?;
    }
    let is_new = |key: &str| !head.contains_key(key) && !tail.contains_key(key) && !is_flat(key);
    for (key, value) in last.iter().filter(|(key, _)| is_new(key)) {
        each(key, EnvEntry::Changing(value))?;
    }
    Ok(())
}

/// CPU and memory in PM2's format.
#[derive(Serialize)]
struct MonitValues {
    memory: u64,
    cpu: Value,
}

impl From<Monit> for MonitValues {
    fn from(monit: Monit) -> Self {
        Self { memory: monit.memory_bytes, cpu: number(monit.cpu_pct) }
    }
}

impl Serialize for Process<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut item = serializer.serialize_map(Some(5))?;
        item.serialize_entry("pid", &self.pid)?;
        item.serialize_entry("name", &self.view.spec.name)?;
        item.serialize_entry("pm2_env", &Env(self))?;
        item.serialize_entry("pm_id", &self.view.id)?;
        item.serialize_entry("monit", &MonitValues::from(self.monit))?;
        item.end()
    }
}

/// `pm2_env` of an item.
struct Env<'a>(&'a Process<'a>);

impl Serialize for Env<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let view = &self.0.view;
        let vars = wire_vars(view);
        let shown = Vars { view, vars: &vars };
        let mut map = serializer.serialize_map(None)?;
        entries(self.0, &vars, &Changing::of(self.0), &mut |key, entry| match entry {
            EnvEntry::Fixed(value) | EnvEntry::Changing(value) => map.serialize_entry(key, value),
            EnvEntry::Vars => map.serialize_entry(key, &shown),
            EnvEntry::Var(text) => shown.entry(&mut map, key, text),
        })?;
        map.end()
    }
}

/// Text of an item without the values that change while the app lives: pid, state, counters,
/// metrics, figures.
#[derive(Clone, Debug)]
pub struct ProcessForm {
    /// From after the pid to the end of `pm2_env`.
    text: Box<str>,
    /// Offsets in it, ascending, and the keys whose values belong there.
    holes: Box<[(usize, Box<str>)]>,
    /// The keys that change. If they differ, the form is invalid.
    keys: Box<str>,
}

impl ProcessForm {
    /// Creates the form of an item.
    ///
    /// # Errors
    /// Returns an error if a value cannot be represented as JSON.
    pub fn of(process: &Process<'_>) -> Result<Self, serde_json::Error> {
        let view = &process.view;
        let vars = wire_vars(view);
        let changing = Changing::of(process);
        let mut text = format!(",\"name\":{},\"pm2_env\":{{", serde_json::to_string(&view.spec.name)?);
        let mut holes = Vec::new();
        let mut is_first = true;
        entries::<serde_json::Error>(process, &vars, &changing, &mut |key, entry| {
            if !std::mem::take(&mut is_first) {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(key)?);
            text.push(':');
            match entry {
                EnvEntry::Fixed(value) => text.push_str(&serde_json::to_string(value)?),
                EnvEntry::Vars => text.push_str(&serde_json::to_string(&Vars { view, vars: &vars })?),
                EnvEntry::Var(value) => match attributes::bare(view.spec, key, value) {
                    Some(bare) => text.push_str(&serde_json::to_string(&bare)?),
                    None => text.push_str(&serde_json::to_string(value)?),
                },
                EnvEntry::Changing(_) => holes.push((text.len(), key.into())),
            }
            Ok(())
        })?;
        text.push('}');
        Ok(Self { text: text.into(), holes: holes.into(), keys: changing.keys().collect::<Vec<_>>().join(",").into() })
    }

    /// Appends the current text of the item. Returns false, and appends nothing, if the item's keys
    /// differ from the form's; the form is useless then.
    ///
    /// # Errors
    /// Returns an error if a value cannot be represented as JSON.
    pub fn write(&self, process: &Process<'_>, out: &mut Vec<u8>) -> Result<bool, serde_json::Error> {
        let changing = Changing::of(process);
        if !changing.keys().eq(self.keys.split(',')) {
            return Ok(false);
        }
        out.extend_from_slice(b"{\"pid\":");
        serde_json::to_writer(&mut *out, &process.pid)?;
        let mut done = 0;
        for (at, key) in &self.holes {
            out.extend_from_slice(self.text.as_bytes().get(done..*at).unwrap_or_default());
            serde_json::to_writer(&mut *out, &changing.get(key))?;
            done = *at;
        }
        out.extend_from_slice(self.text.as_bytes().get(done..).unwrap_or_default());
        out.extend_from_slice(b",\"pm_id\":");
        serde_json::to_writer(&mut *out, &process.view.id)?;
        out.extend_from_slice(b",\"monit\":");
        serde_json::to_writer(&mut *out, &MonitValues::from(process.monit))?;
        out.push(b'}');
        Ok(true)
    }
}

/// Variables as an object; numbers and booleans of the file keep their type.
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
