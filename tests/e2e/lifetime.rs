//! `max_lifetime`.

use crate::setup::{ecosystem, home};

#[test]
fn instance_over_max_lifetime_is_replaced_with_reason() {
    let home = home();
    let script = home.write("app.js", "require('http').createServer((_, answer) => answer.end()).listen(0);");
    let file = ecosystem(&home, &format!(r#""name": "app", "script": "{script}", "exec_mode": "cluster", "max_lifetime": "1s""#));
    home.ok(format!("start {file}"));
    let first = home.jlist()[0].pid();
    home.wait_until("another process serves", || home.jlist()[0].pid() != first && home.jlist()[0].status() == "online");
    let why = home.ok("why app").stdout;
    assert!(why.contains("max_lifetime"), "{why}");
}
