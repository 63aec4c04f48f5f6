//! Port of Node's inspector: each process of an app needs a separate port.

/// Port that Node's inspector has without options.
const NODE_DEFAULT: u16 = 9229;
/// Lowest port that Node accepts, and the successor of the highest.
const LOWEST: u32 = 1024;

/// Inspector settings in an app's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectorOptions {
    /// Port of the first instance; 0 = any free port.
    pub base: u16,
    /// True if an option names the inspector. Otherwise Node opens it only on SIGUSR1.
    pub given: bool,
}

/// Reads the options of Node, those of `NODE_OPTIONS` first: the last port counts.
///
/// ```
/// use ostler_core::app::inspector::options;
/// assert_eq!(options(["--inspect=[::1]:9300"].into_iter()).base, 9300);
/// ```
pub fn options<'a>(words: impl Iterator<Item = &'a str>) -> InspectorOptions {
    let mut options = InspectorOptions { base: NODE_DEFAULT, given: false };
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        let value = match name.replace('_', "-").as_str() {
            "--inspect" | "--inspect-brk" | "--inspect-brk-node" | "--inspect-wait" => value,
            // Only these two accept their value as the next word.
            "--inspect-port" | "--debug-port" => value.or_else(|| words.next_if(|next| !next.starts_with('-'))),
            _ => continue,
        };
        options.given = true;
        options.base = value.and_then(port).unwrap_or(options.base);
    }
    options
}

/// Returns the port in `9230`, `host:9230` or `[::1]:9230`.
fn port(value: &str) -> Option<u16> {
    value.rsplit_once(':').map_or(value, |(_, port)| port).parse().ok()
}

/// Returns the port of an instance: its number is added to the base. If another process of the app
/// has that port, as the old worker has during a reload, the first free one above all instances is
/// taken. `taken`: ports of the app's other processes.
pub fn port_of(base: u16, index: u32, instances: u32, taken: &[u16]) -> u16 {
    if base == 0 {
        return 0;
    }
    let own = nth(base, index);
    if !taken.contains(&own) {
        return own;
    }
    // Among one more candidates than there are taken ports, one is free.
    let spare = (0..=taken.len()).map(|more| nth(base, instances.saturating_add(more as u32)));
    spare.into_iter().find(|port| !taken.contains(port)).unwrap_or(own)
}

/// Returns the port at this distance from the base. 1024 follows 65535, as in Node's own cluster.
fn nth(base: u16, distance: u32) -> u16 {
    let span = u32::from(u16::MAX) - LOWEST + 1;
    let sum = u32::from(base) + distance % span;
    u16::try_from(sum).unwrap_or_else(|_| u16::try_from(sum - span).unwrap_or(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspector_port_is_read_from_node_options() {
        let cases: [(&[&str], u16, bool); 19] = [
            (&[], 9229, false),
            (&["--require", "x.js", "--max-old-space-size=100"], 9229, false),
            (&["--inspect"], 9229, true),
            (&["--inspect=9300"], 9300, true),
            (&["--inspect=0.0.0.0:9300"], 9300, true),
            (&["--inspect=[::1]:9300"], 9300, true),
            (&["--inspect=localhost"], 9229, true),
            (&["--inspect=[::1]"], 9229, true),
            (&["--inspect-brk=9300"], 9300, true),
            (&["--inspect-wait=host:9300"], 9300, true),
            (&["--inspect_brk"], 9229, true),
            (&["--inspect-port=9300"], 9300, true),
            (&["--inspect-port", "9300"], 9300, true),
            (&["--inspect-port", "--inspect"], 9229, true),
            (&["--debug-port=9300"], 9300, true),
            // The next word is the script.
            (&["--inspect", "9300"], 9229, true),
            (&["--inspect=0"], 0, true),
            // The last port counts; Node itself rejects an invalid one.
            (&["--inspect=9300", "--inspect-port=host:9400", "--inspect=99999"], 9400, true),
            (&["--inspect-publish-uid=http", "--inspector", "--no-inspect"], 9229, false),
        ];
        for (words, base, given) in cases {
            assert_eq!(options(words.iter().copied()), InspectorOptions { base, given }, "{words:?}");
        }
    }

    #[test]
    fn each_process_has_its_own_port() {
        for (base, index, instances, taken, expected) in [
            (9229, 0, 3, &[][..], 9229),
            (9229, 2, 3, &[9229, 9230], 9231),
            // A reload: the old workers still hold their ports.
            (9229, 0, 3, &[9229, 9230, 9231], 9232),
            (9229, 1, 3, &[9230, 9231, 9232], 9233),
            // The next reload returns to the first ports.
            (9229, 0, 3, &[9232, 9233, 9234], 9229),
            // More instances after a reload.
            (9229, 3, 4, &[9232, 9233, 9234], 9235),
            (9229, 0, 1, &[9229], 9230),
            // Any free port.
            (0, 5, 9, &[0], 0),
            // As Node's cluster does.
            (65535, 0, 2, &[], 65535),
            (65535, 1, 2, &[], 1024),
            (65534, 0, 2, &[65534], 1024),
            (1024, 64_512, 1, &[], 1024),
            (9229, u32::MAX, u32::MAX, &[], 25_612),
        ] {
            assert_eq!(port_of(base, index, instances, taken), expected, "{base} {index} {instances} {taken:?}");
        }
    }
}
