//! Measured, not asserted on a loaded machine: `cargo test --release -p ostler-daemon --lib --
//! --ignored --nocapture speed`.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement"]
fn lines_with_a_date_per_second() {
    let mut rig = Rig::new("speed");
    let handle = Pipeline::spawn(rig.config(dated("2026-11-21T04:00:00"))).unwrap();
    // 64 KB per write, as a buffered program does it.
    let block = format!("{}\n", "x".repeat(99)).repeat(640);
    let blocks = 16_000;
    let mut out = rig.out.take().unwrap();
    rig.error = None;
    let clock = |id| {
        let time = rustix::time::clock_gettime(id);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let cpu = || clock(rustix::time::ClockId::ProcessCPUTime) - clock(rustix::time::ClockId::ThreadCPUTime);
    let (begin, before) = (Instant::now(), cpu());
    for _ in 0..blocks {
        out.write_all(block.as_bytes()).unwrap();
    }
    drop(out);
    assert_eq!(handle.join(), PipelineEnd::Drained);
    let (elapsed, used) = (begin.elapsed().as_secs_f64(), cpu() - before);
    let gigabytes = (blocks * block.len()) as f64 / 1e9;
    println!("{:.0} MB/s, {:.2} CPU s/GB of the pipeline", gigabytes * 1000.0 / elapsed, used / gigabytes);
    assert_eq!(std::fs::metadata(rig.path("out.log")).unwrap().len(), (blocks * (block.len() + 640 * 21)) as u64);
}
