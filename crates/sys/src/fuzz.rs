//! Checks of the readers of the kernel's texts for any bytes: programs choose some parts of them,
//! such as their names. The crate `ostler-fuzzing` runs them; see `docs/fuzzing.md`.

use crate::cgroup;
use crate::process::entry::Stat;

/// Checks a line of `/proc/PID/stat`: whatever the program's name contains, the fields after it are
/// read.
pub fn proc_stat(bytes: &[u8]) {
    let _ = Stat::parse(bytes);
    // The kernel truncates a name to 15 bytes; it may contain any of them.
    let name: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).take(15).collect();
    let tail =
        b") S 7 8 9 0 -1 4194560 1 2 3 4 5 6 70 80 20 0 3 0 4242 1000 200 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";
    let line = [b"42 (", &name[..], tail].concat();
    let Some(stat) = Stat::parse(&line) else { panic!("a name hides the fields: {name:?}") };
    assert_eq!((stat.pid, stat.ppid, stat.pgid, stat.sid, stat.start_ticks), (42, 7, 8, 9, 4242), "{name:?}");
    let text = String::from_utf8_lossy(bytes);
    assert!(cgroup::unescape(&text).len() <= text.len());
}
