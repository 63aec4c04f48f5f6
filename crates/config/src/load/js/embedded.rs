//! The embedded engine in a sandbox: time, memory and stack are limited, and it can only read
//! files.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rquickjs::context::EvalOptions;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::promise::PromiseState;
use rquickjs::{Context as JsContext, Ctx, Function, Module, Object, Promise, Runtime, Value};
use serde_json::json;

use ostler_core::message;

use super::super::source;
use super::{ENCODE, EvalFailure, Evaluand, Evaluation, Refusal, package_type, read_answer};
use crate::context::{Context, tidy};
use crate::problem::ProblemKind;

const PRELUDE: &str = include_str!("prelude.js");
const TIME_LIMIT: Duration = Duration::from_secs(2);
const MEMORY_LIMIT: usize = 128 << 20;
const STACK_LIMIT: usize = 512 << 10;

/// First feature that the file needs and the engine lacks.
type MissingFeature = Rc<RefCell<Option<String>>>;

/// Evaluates a file. A failure may still come with a value, if the file caught a refusal and
/// continued.
pub(super) fn run(job: &Evaluand<'_>, context: &Context) -> Result<Evaluation, Box<Refusal>> {
    let missing = MissingFeature::default();
    let interrupted = Rc::new(Cell::new(false));
    let outcome = engine(job, context, &missing, &interrupted);
    if interrupted.get() {
        let message = message!("time limit: the file did not finish within {seconds} s", seconds = TIME_LIMIT.as_secs());
        return Err(Box::new((EvalFailure::Limit(message), None)));
    }
    let missing = missing.borrow_mut().take();
    match (outcome, missing) {
        (Ok(answer), None) => Ok(answer),
        (outcome, Some(what)) => Err(Box::new((EvalFailure::Unsupported(what), outcome.ok()))),
        (Err(failure), None) => Err(Box::new((failure, None))),
    }
}

fn engine(
    job: &Evaluand<'_>,
    context: &Context,
    missing: &MissingFeature,
    interrupted: &Rc<Cell<bool>>,
) -> Result<Evaluation, EvalFailure> {
    let internal = |error: rquickjs::Error| EvalFailure::Unsupported(message!("the embedded engine ({error})", error));
    let runtime = Runtime::new().map_err(internal)?;
    runtime.set_memory_limit(MEMORY_LIMIT);
    runtime.set_max_stack_size(STACK_LIMIT);
    let (start, flag) = (Instant::now(), Rc::clone(interrupted));
    runtime.set_interrupt_handler(Some(Box::new(move || {
        let over = start.elapsed() >= TIME_LIMIT;
        flag.set(flag.get() || over);
        over
    })));
    runtime.set_loader(Modules { missing: Rc::clone(missing) }, Modules { missing: Rc::clone(missing) });
    let js = JsContext::full(&runtime).map_err(internal)?;
    let text = js.with(|ctx| {
        let outcome = call(&ctx, job, context, missing);
        outcome.map_err(|error| {
            let caught = ctx.catch();
            let what = caught.as_exception().and_then(rquickjs::Exception::message).unwrap_or_else(|| error.to_string());
            if what.contains("out of memory") {
                EvalFailure::Limit(message!("memory limit: the file needs more than {size} MiB", size = MEMORY_LIMIT >> 20))
            } else {
                EvalFailure::Unsupported(what)
            }
        })
    })?;
    let answer = read_answer(&text, &job.file);
    match answer {
        Err(EvalFailure::Threw(message, _)) if message.contains("out of memory") => {
            Err(EvalFailure::Limit(message!("memory limit: the file needs more than {size} MiB", size = MEMORY_LIMIT >> 20)))
        }
        answer => answer,
    }
}

fn call<'js>(ctx: &Ctx<'js>, job: &Evaluand<'_>, context: &Context, missing: &MissingFeature) -> rquickjs::Result<String> {
    let prelude: Function<'js> = ctx.eval_with_options(PRELUDE, options("ostler:prelude"))?;
    let shared: Value<'js> = ctx.eval_with_options(ENCODE, options("ostler:encode"))?;
    let run: Function<'js> = prelude.call((host(ctx, context, missing)?, shared))?;
    let kind = match job.kind {
        // Without a file name, the text shows whether it is an ES module.
        "stdin" if job.source.contains("export default") || job.source.contains("export const") => {
            missing.borrow_mut().get_or_insert_with(|| message!("an ES module on standard input"));
            "stdin"
        }
        kind => kind,
    };
    let promise: Promise<'js> = run.call((kind, job.file.as_str(), job.source))?;
    while promise.state() == PromiseState::Pending && ctx.execute_pending_job() {}
    match promise.result::<String>() {
        Some(result) => result,
        None => {
            missing.borrow_mut().get_or_insert_with(|| message!("waiting for a promise"));
            Err(rquickjs::Error::Unknown)
        }
    }
}

fn options(name: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(name.to_owned());
    options
}

/// Returns the functions that the prelude needs.
fn host<'js>(ctx: &Ctx<'js>, context: &Context, missing: &MissingFeature) -> rquickjs::Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    let facts = facts(context);
    let flag = Rc::clone(missing);
    host.set("facts", Function::new(ctx.clone(), move || facts.clone())?)?;
    host.set(
        "unsupported",
        Function::new(ctx.clone(), move |what: String| {
            flag.borrow_mut().get_or_insert(what);
        })?,
    )?;
    host.set("read", Function::new(ctx.clone(), |path: String| read(&path))?)?;
    host.set("kind", Function::new(ctx.clone(), |path: String| kind(&path))?)?;
    host.set("packageType", Function::new(ctx.clone(), |path: String| package_type(Path::new(&path)))?)?;
    host.set("write", Function::new(ctx.clone(), |text: String| write_stderr(&text))?)?;
    host.set("compile", Function::new(ctx.clone(), compile)?)?;
    host.set("expression", Function::new(ctx.clone(), expression)?)?;
    let registry = Object::new(ctx.clone())?;
    host.set("registry", registry.clone())?;
    ctx.globals().prop(REGISTRY, rquickjs::object::Property::from(registry))?;
    Ok(host)
}

/// Name under which the module loader finds the prelude's functions; not enumerable.
const REGISTRY: &str = "__ostlerRegistry";

fn facts(context: &Context) -> String {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "cwd": context.cwd.to_string_lossy(),
        "env": context.env,
        "argv": context.argv,
        "hostname": hostname,
        "arch": arch,
        "cpus": online_cpus().unwrap_or(context.cpus),
    })
    .to_string()
}

/// Returns the count of `os.cpus().length`: the CPUs of the machine, including those that this
/// process may not use.
fn online_cpus() -> Option<u32> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let count =
        stat.lines().filter(|line| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))).count();
    u32::try_from(count).ok().filter(|count| *count > 0)
}

fn read(path: &str) -> String {
    match source::read(Path::new(path)) {
        Ok(text) => json!({ "text": text }),
        Err(problem) if problem.kind == ProblemKind::NotFound => json!({ "code": "ENOENT", "text": "no such file or directory" }),
        Err(problem) => json!({ "unsupported": format!("{path}: {}", problem.text()) }),
    }
    .to_string()
}

fn kind(path: &str) -> &'static str {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => "dir",
        Ok(_) => "file",
        Err(_) => "",
    }
}

fn write_stderr(text: &str) {
    use std::io::Write as _;
    // If standard error is closed, nothing can read it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Compiles the function around a CommonJS module. It starts on the module's first line, so line
/// numbers stay.
fn compile<'js>(ctx: Ctx<'js>, file: String, source: String) -> rquickjs::Result<Function<'js>> {
    let body = if source.starts_with("#!") { format!("//{source}") } else { source };
    let wrapped = format!("(function (exports, require, module, __filename, __dirname) {{{body}\n}})");
    ctx.eval_with_options(wrapped, options(&file))
}

fn expression<'js>(ctx: Ctx<'js>, file: String, source: String) -> rquickjs::Result<Value<'js>> {
    ctx.eval_with_options(source, options(&file))
}

/// Resolves and loads ES modules: builtins of the prelude, relative `.js`, `.mjs`, `.cjs` and
/// `.json` files.
struct Modules {
    missing: MissingFeature,
}

const BUILTIN: &str = "node:";

impl Modules {
    fn refuse<T>(&self, what: String) -> rquickjs::Result<T> {
        self.missing.borrow_mut().get_or_insert_with(|| what.clone());
        Err(rquickjs::Error::new_loading(&what))
    }
}

impl Resolver for Modules {
    fn resolve<'js>(&mut self, ctx: &Ctx<'js>, base: &str, name: &str, _: Option<ImportAttributes<'js>>) -> rquickjs::Result<String> {
        let plain = name.strip_prefix(BUILTIN).unwrap_or(name);
        let registry: Object<'js> = ctx.globals().get(REGISTRY)?;
        let builtins: Object<'js> = registry.get("builtins")?;
        if builtins.contains_key(plain)? {
            return Ok(format!("{BUILTIN}{plain}"));
        }
        if name.starts_with('/') {
            return Ok(name.to_owned());
        }
        if !name.starts_with("./") && !name.starts_with("../") || name.contains(['?', '#', '%']) {
            return self.refuse(message!("the module \"{name}\"", name));
        }
        let dir = Path::new(base).parent().unwrap_or(Path::new("/"));
        Ok(tidy(&dir.join(name)).to_string_lossy().into_owned())
    }
}

impl Loader for Modules {
    fn load<'js>(&mut self, ctx: &Ctx<'js>, name: &str, attributes: Option<ImportAttributes<'js>>) -> rquickjs::Result<Module<'js>> {
        let registry: Object<'js> = ctx.globals().get(REGISTRY)?;
        if let Some(builtin) = name.strip_prefix(BUILTIN) {
            let value: Object<'js> = registry.get::<_, Function<'js>>("builtin")?.call((builtin,))?;
            return wrap(ctx, name, "builtin", builtin, &value);
        }
        let is_json = name.ends_with(".json");
        let with_json = attributes.and_then(|attributes| attributes.get_type().ok().flatten()).as_deref() == Some("json");
        if is_json != with_json {
            return self.refuse(message!("the import of {name}", name));
        }
        let path = Path::new(name);
        let module = name.ends_with(".mjs") || name.ends_with(".js") && package_type(path) == "module";
        if module {
            let Ok(text) = source::read(path) else { return self.refuse(message!("the import of {name}", name)) };
            let module = Module::declare(ctx.clone(), name, text)?;
            let meta = module.meta()?;
            meta.set("url", format!("file://{name}"))?;
            meta.set("filename", name)?;
            meta.set("dirname", path.parent().map(|dir| dir.to_string_lossy().into_owned()))?;
            return Ok(module);
        }
        if is_json || name.ends_with(".cjs") || name.ends_with(".js") {
            let value: Value<'js> = registry.get::<_, Function<'js>>("load")?.call((name,))?;
            let names = if is_json { Object::new(ctx.clone())? } else { value.into_object().unwrap_or(Object::new(ctx.clone())?) };
            return wrap(ctx, name, "load", name, &names);
        }
        self.refuse(message!("the import of {name}", name))
    }
}

/// Returns an ES module around a value of the prelude: the value as default, its keys as names.
fn wrap<'js>(ctx: &Ctx<'js>, name: &str, function: &str, argument: &str, value: &Object<'js>) -> rquickjs::Result<Module<'js>> {
    let argument = serde_json::Value::from(argument);
    let mut text = format!("const m = globalThis.{REGISTRY}.{function}({argument}); export default m;\n");
    for (index, key) in value.keys::<String>().filter_map(Result::ok).enumerate() {
        let identifier =
            key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$') && !key.starts_with(|c: char| c.is_ascii_digit());
        if identifier && key != "default" {
            text.push_str(&format!("const v{index} = m.{key}; export {{ v{index} as {key} }};\n"));
        }
    }
    Module::declare(ctx.clone(), name, text)
}
