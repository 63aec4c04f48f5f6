//! Addresses of the dashboard's views: a link, a reload and the browser's history restore the state
//! of a view, and dialogs close on navigation. The search (Ctrl-K) finds apps, views and commands.

use ostler_testkit::{Home, free_port, needs_program};

use crate::setup::home;
use crate::web_page::{browser, table};

/// Returns a home with a dashboard and three apps: `shop` with two instances, `商店`, and `stopped`.
fn shops() -> Home {
    let home = home();
    home.ok(format!("web enable --port {} --no-otlp", free_port()));
    let app = home.write("app.sh", "#!/bin/sh\necho a needle in the hay\nexec sleep 1000\n");
    home.ok(["start", &app, "--name", "shop", "-i", "2"]);
    home.ok(["start", &app, "--name", "商店"]);
    home.ok(["start", &app, "--name", "stopped"]);
    home.ok("stop stopped");
    home
}

#[test]
fn addresses_hold_the_state_of_views() {
    needs_program!("node");
    table("address_table.mjs", "address.js");
}

#[test]
fn links_restore_views_and_navigation_closes_dialogs() {
    let Some(browser) = browser() else { return };
    let home = shops();
    browser.run(&home, "links.mjs", &[home.ok("web open").stdout.trim()]);
}

#[test]
fn search_ranks_names_and_offers_allowed_commands() {
    needs_program!("node");
    table("palette_table.mjs", "");
}

#[test]
fn search_finds_apps_views_lines_and_commands() {
    let Some(browser) = browser() else { return };
    let home = shops();
    let links = [home.ok("web open").stdout, home.ok("web open --role viewer").stdout];
    browser.run(&home, "palette.mjs", &[links[0].trim(), links[1].trim()]);
}
