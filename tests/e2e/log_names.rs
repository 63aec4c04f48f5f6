//! Default log files of apps whose names look alike in a file name.

use ostler_testkit::{Home, Subject};

use crate::setup::{binary, home, home_as_pm2};

/// Starts an app that writes its own name once.
fn start(home: &Home, name: &str) {
    let script = home.write("say.sh", "#!/bin/sh\necho \"out of $1\"\necho \"error of $1\" >&2\nexec sleep 1000\n");
    home.cmd(["start", &script, "-f", "--name", name, "--", name].as_slice()).run().ok();
    let item = home.app(name);
    let out = item.text("pm_out_log_path");
    home.wait_until("its line is in its log", || std::fs::read_to_string(out).is_ok_and(|log| log.contains(&format!("out of {name}\n"))));
    let error = item.text("pm_err_log_path");
    home.wait_until("its error is there", || std::fs::read_to_string(error).is_ok_and(|log| log.contains(&format!("error of {name}\n"))));
}

fn log(home: &Home, name: &str) -> String {
    std::fs::read_to_string(home.app(name).text("pm_out_log_path")).unwrap()
}

#[test]
fn similar_names_get_separate_log_files() {
    let home = home();
    let names = ["订单", "支付", "api v1", "api-v1", "api_v1"];
    names.iter().for_each(|name| start(&home, name));
    for name in names {
        assert_eq!(log(&home, name), format!("out of {name}\n"));
    }
    assert!(home.dir().join("logs/订单-out.log").exists(), "letters of every script stay");
    let pids: std::collections::BTreeSet<String> = home.jlist().iter().map(|item| item.text("pm_pid_path").to_owned()).collect();
    assert_eq!(pids.len(), names.len());
    assert!(pids.iter().all(|path| std::path::Path::new(path).exists()), "{pids:?}");

    let shown = home.ok(["logs", "api v1", "--nostream", "--raw"].as_slice()).stdout;
    assert!(shown.contains("out of api v1") && !shown.contains("out of api-v1") && !shown.contains("out of api_v1"), "{shown}");
    home.ok(["flush", "api v1"].as_slice());
    assert_eq!((log(&home, "api v1").as_str(), log(&home, "api-v1").as_str()), ("", "out of api-v1\n"));

    let before: Vec<String> = names.map(|name| home.app(name).text("pm_out_log_path").to_owned()).to_vec();
    home.ok("restart all");
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    assert_eq!(names.map(|name| home.app(name).text("pm_out_log_path").to_owned()).to_vec(), before);
}

#[test]
fn pm2_name_reports_a_shared_log_file() {
    let home = home_as_pm2();
    start(&home, "订单");
    let script = home.work().join("say.sh").display().to_string();
    let said = home.ok(["start", &script, "-f", "--name", "支付", "--", "支付"].as_slice()).all();
    assert!(said.contains("支付 and 订单 write to the same log file"), "{said}");
    assert!(home.app("支付").text("pm_out_log_path").ends_with("/logs/---out.log"));
}

#[test]
fn existing_app_keeps_its_log_files() {
    let as_pm2 = home_as_pm2();
    start(&as_pm2, "订单");
    let mut ours = Home::new(Subject::Ostler(binary()));
    ours.set_dir(as_pm2.dir());
    ours.ok("restart 订单");
    assert!(ours.app("订单").text("pm_out_log_path").ends_with("/logs/---out.log"));
    start(&ours, "支付");
    assert!(ours.app("支付").text("pm_out_log_path").ends_with("/logs/支付-out.log"));
    as_pm2.ok("kill");
}
