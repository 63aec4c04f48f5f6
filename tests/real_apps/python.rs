//! Servers for Python, which take the socket that ostler opened.

use serde_json::{Value, json};

use crate::apps::RealApp;
use crate::needs_packages;

/// A server of the Python environment, with its arguments and what proves that it is ready.
fn server(name: &str, args: &str, ready: Value) -> Value {
    json!({
        "script": format!("{{work}}/python/bin/{name}"), "interpreter": "none", "args": args, "listen": "127.0.0.1:{port}", "ready": ready,
        "env": { "PYTHONDONTWRITEBYTECODE": "1" },
    })
}

/// A connection for each request, here and below. Kept ones are closed by these servers when they are told to end, whether the next
/// request is on its way or not.
#[test]
fn gunicorn() {
    let packages = needs_packages!();
    let app = RealApp::start(&packages, server("gunicorn", "wsgi:app", json!("notify"))).at("/");
    app.reloads_under([app.load(false)]);
}

#[test]
fn uvicorn() {
    let packages = needs_packages!();
    let app = RealApp::start(&packages, server("uvicorn", "--fd {fd} asgi:app", json!({ "log": "Uvicorn running on" }))).at("/");
    app.reloads_but_for_cuts(app.load(false));
}

#[test]
fn hypercorn() {
    let packages = needs_packages!();
    let app = RealApp::start(&packages, server("hypercorn", "--bind fd://{fd} asgi:app", json!({ "log": "Running on" }))).at("/");
    app.reloads_but_for_cuts(app.load(false));
}
