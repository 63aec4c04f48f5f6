//! Files that ostler writes for an app: logs and pid files, also after rotation.

/// A log or pid file as declared. On disk, its name may also contain the id of the instance and the
/// suffixes of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnFile {
    folder: Vec<u8>,
    stem: Vec<u8>,
    /// Extension with its dot; may be empty.
    extension: Vec<u8>,
}

impl OwnFile {
    pub(super) fn new(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/')?;
        let (stem, extension) = match name.rfind('.') {
            Some(dot) if dot > 0 => name.split_at(dot),
            _ => (name, ""),
        };
        (!name.is_empty()).then(|| Self { folder: folder.into(), stem: stem.into(), extension: extension.into() })
    }

    /// Returns true if this path is that file, or a rotated version of it.
    pub(super) fn is(&self, folder: &[u8], name: &[u8]) -> bool {
        if folder != self.folder {
            return false;
        }
        // The temporary copy of a rotation: `.out__2026-11-21_00-00-00.log.ostler`.
        let name = name.strip_prefix(b".").and_then(|name| name.strip_suffix(b".ostler")).unwrap_or(name);
        let Some(rest) = name.strip_prefix(self.stem.as_slice()) else { return false };
        let rest = rest.strip_suffix(b".gz").unwrap_or(rest);
        // `out-3.log`, `out-3.log.1`, `out-3__2026-11-21_00-00-00.log`
        match rest.strip_prefix(self.extension.as_slice()) {
            Some(after) if is_mark(after) => return true,
            _ => {}
        }
        let Some(at) = find(rest, &self.extension) else { return false };
        is_mark(&rest[..at]) && is_mark(&rest[at + self.extension.len()..])
    }
}

/// Returns true for a text of digits and separators.
fn is_mark(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_digit() || b"-_.:TZ".contains(byte))
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() { Some(text.len()) } else { text.windows(part.len()).position(|window| window == part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_variants_are_recognized_as_own_files() {
        let own = OwnFile::new("/w/logs/api-out.log").unwrap();
        for (name, expected) in [
            ("api-out.log", true),
            ("api-out-3.log", true),
            ("api-out-3.log.1", true),
            ("api-out.log.2.gz", true),
            ("api-out__2026-11-21_00-00-00.log", true),
            ("api-out-3__2026-11-21_00-00-00.log.gz", true),
            (".api-out__2026-11-21_00-00-00.log.ostler", true),
            (".api-out__2026-11-21_00-00-00.log.gz.ostler", true),
            (".api-out.js.ostler", false),
            ("api-out.js", false),
            ("api-output.log", false),
            ("api.log", false),
        ] {
            assert_eq!(own.is(b"/w/logs", name.as_bytes()), expected, "{name}");
        }
        assert!(!own.is(b"/w", b"api-out.log"));
        let app = OwnFile::new("/w/app.log").unwrap();
        assert!(!app.is(b"/w", b"app.js") && !app.is(b"/w", b"app-2.js"));
        let bare = OwnFile::new("/w/app").unwrap();
        assert!(bare.is(b"/w", b"app") && bare.is(b"/w", b"app-3") && !bare.is(b"/w", b"app.js") && !bare.is(b"/w", b"application"));
        assert!(OwnFile::new("name").is_none());
    }
}
