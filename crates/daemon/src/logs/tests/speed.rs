//! Measured, not asserted on a loaded machine: `cargo test --profile e2e -p ostler-daemon --lib -- --ignored --nocapture speed`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement"]
fn lines_with_a_date_per_second() {
    let mut rig = Rig::new("speed");
    let handle = Pipeline::spawn(rig.config(dated("2026-11-21T04:00:00"))).unwrap();
    let block = format!("{}\n", "x".repeat(99)).repeat(640);
    let blocks = 16_000;
    let mut out = rig.out.take().unwrap();
    rig.error = None;
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<i64> = stat.rsplit(") ").next().unwrap().split(' ').filter_map(|word| word.parse().ok()).collect();
        (fields[10], fields[11])
    };
    let (begin, before) = (Instant::now(), cpu());
    for _ in 0..blocks {
        out.write_all(block.as_bytes()).unwrap();
    }
    drop(out);
    assert_eq!(handle.join(), Ending::Drained);
    let (elapsed, after) = (begin.elapsed().as_secs_f64(), cpu());
    let gigabytes = (blocks * block.len()) as f64 / 1e9;
    println!(
        "{:.0} MB/s; CPU of writer and pipeline together {:.2} s/GB user, {:.2} s/GB system",
        gigabytes * 1000.0 / elapsed,
        (after.0 - before.0) as f64 / 100.0 / gigabytes,
        (after.1 - before.1) as f64 / 100.0 / gigabytes
    );
    assert_eq!(std::fs::metadata(rig.path("out.log")).unwrap().len(), (blocks * (block.len() + 640 * 21)) as u64);
}
