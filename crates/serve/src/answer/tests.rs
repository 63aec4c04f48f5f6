//! Tests of the cache from outside: a response always matches the file at that moment.

use super::*;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

/// Served folder with another folder beside it.
struct Tree {
    dir: PathBuf,
    site: Site,
}

impl Tree {
    /// Creates the folders; files are cached regardless of their age.
    fn new(name: &str) -> Self {
        let mut tree = Self::strict(name);
        tree.site.root.rests_after = -1000;
        tree
    }

    fn strict(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ostler-serve-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("root/sub")).unwrap();
        fs::write(dir.join("secret"), "secret").unwrap();
        fs::write(dir.join("root/a.js"), "0123456789").unwrap();
        let settings = Settings::from_vars(|_| None).unwrap();
        let root = Root::new(dir.join("root"), false).unwrap();
        Self { site: Site::new(&settings, root), dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join("root").join(name)
    }

    fn ask(&self, path: &str, headers: &[(HeaderName, &str)]) -> Response<Content> {
        let mut request = hyper::Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        self.site.answer(&request.body(()).unwrap().into_parts().0)
    }

    /// Returns the status and content of a file.
    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask(path, &[]);
        (answer.status().as_u16(), String::from_utf8_lossy(content(&answer)).into_owned())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn content(answer: &Response<Content>) -> &[u8] {
    match answer.body() {
        Content::Bytes(bytes) => bytes,
        Content::File { .. } => panic!("a large file"),
    }
}

fn header(answer: &Response<Content>, name: HeaderName) -> &str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn ok_response(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[test]
fn cached_file_is_not_read_again() {
    let tree = Tree::new("held");
    let (first, second) = (tree.ask("/a.js", &[]), tree.ask("/a.js", &[]));
    assert_eq!(content(&first), b"0123456789");
    assert_eq!(content(&first).as_ptr(), content(&second).as_ptr());
    assert_eq!(first.headers(), second.headers());
    assert_eq!(content(&tree.ask("/a.js", &[(header::RANGE, "bytes=2-4")])), b"234");
    let part = tree.ask("/a.js", &[(header::RANGE, "bytes=8-20")]);
    assert_eq!((content(&part), header(&part, header::CONTENT_RANGE)), (&b"89"[..], "bytes 8-9/10"));
    let known = header(&first, header::ETAG);
    assert_eq!(tree.ask("/a.js", &[(header::IF_NONE_MATCH, known)]).status(), StatusCode::NOT_MODIFIED);
    assert_eq!(tree.site.memory.count(), 1);
}

#[test]
fn range_response_is_not_cached_as_whole_file() {
    let tree = Tree::new("part");
    assert_eq!(content(&tree.ask("/a.js", &[(header::RANGE, "bytes=2-4")])), b"234");
    assert_eq!(content(&tree.ask("/a.js", &[(header::RANGE, "bytes=0-2")])), b"012");
    assert_eq!(tree.get("/a.js"), ok_response("0123456789"));
}

#[test]
fn large_files_are_not_cached() {
    let tree = Tree::new("large");
    for (size, count) in [(64 << 10, 1), ((64 << 10) + 1, 1), (0, 2)] {
        let name = size.to_string();
        fs::write(tree.at(&name), vec![b'x'; size]).unwrap();
        assert_eq!(header(&tree.ask(&format!("/{name}"), &[]), header::CONTENT_LENGTH), name);
        assert_eq!(tree.site.memory.count(), count, "{size}");
    }
}

#[test]
fn changed_file_is_served_at_once() {
    let tree = Tree::new("changes");
    let file = tree.at("a.js");
    let get = || tree.get("/a.js");
    assert_eq!(get(), ok_response("0123456789"));
    // Replaced by a file of the same size and time.
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let dated =
        |path: &PathBuf| File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(modified)).unwrap();
    let other = tree.at("other");
    fs::write(&other, "abcdefghij").unwrap();
    dated(&other);
    fs::rename(&other, &file).unwrap();
    assert_eq!(get(), ok_response("abcdefghij"));
    // Rewritten with the same size and modification time. At most one tick later, the kernel sets a
    // different change time, which no program can set.
    let changed = |path: &PathBuf| fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec())).unwrap();
    let before = changed(&file);
    while changed(&file) == before {
        fs::write(&file, "ABCDEFGHIJ").unwrap();
        dated(&file);
    }
    assert_eq!(get(), ok_response("ABCDEFGHIJ"));
    File::options().append(true).open(&file).and_then(|mut file| std::io::Write::write_all(&mut file, b"KL")).unwrap();
    dated(&file);
    assert_eq!(get(), ok_response("ABCDEFGHIJKL"));
    File::options().write(true).open(&file).unwrap().set_len(3).unwrap();
    dated(&file);
    assert_eq!(get(), ok_response("ABC"));
    fs::remove_file(&file).unwrap();
    assert_eq!(get().0, 404);
}

#[test]
fn recently_changed_file_is_not_cached() {
    let tree = Tree::strict("young");
    for text in ["aaa", "bbb", "ccc"] {
        fs::write(tree.at("a.js"), text).unwrap();
        assert_eq!(tree.get("/a.js"), ok_response(text));
        assert_eq!(tree.site.memory.count(), 0);
    }
    // A file that was not changed recently is at rest: this checkout is older than its build.
    let folder = Root::new(env!("CARGO_MANIFEST_DIR").into(), false).unwrap();
    assert!(folder.open(b"Cargo.toml").unwrap().is_at_rest);
}

#[test]
fn changed_symlink_is_followed_at_once() {
    let tree = Tree::new("links");
    for (name, text) in [("one", "first"), ("two", "other")] {
        fs::write(tree.at(name), text).unwrap();
    }
    for (target, expected) in [
        ("one", ok_response("first")),
        ("two", ok_response("other")),
        ("../secret", (404, "404 Not Found".into())),
        ("one", ok_response("first")),
    ] {
        let _ = fs::remove_file(tree.at("link"));
        symlink(target, tree.at("link")).unwrap();
        assert_eq!(tree.get("/link"), expected, "{target}");
        assert_eq!(tree.get("/link"), expected, "{target}");
    }
    // The folder itself is replaced.
    fs::rename(tree.dir.join("root"), tree.dir.join("old")).unwrap();
    fs::create_dir(tree.dir.join("root")).unwrap();
    assert_eq!(tree.get("/one").0, 404);
    fs::write(tree.at("one"), "third").unwrap();
    assert_eq!(tree.get("/one"), ok_response("third"));
}

#[test]
fn unreadable_file_is_not_served_from_cache() {
    let tree = Tree::new("rights");
    fs::set_permissions(&tree.dir, fs::Permissions::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root may read everything, so this thread continues as another user.
        std::os::unix::fs::chown(tree.at("a.js"), Some(1), Some(1)).unwrap();
        let other = rustix::process::Uid::from_raw(1);
        rustix::thread::set_thread_res_uid(rustix::process::Uid::ROOT, other, rustix::process::Uid::ROOT).unwrap();
    }
    assert_eq!(tree.get("/a.js"), ok_response("0123456789"));
    assert_eq!(tree.site.memory.count(), 1);
    let file = tree.at("a.js");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(tree.get("/a.js").0, 403);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(tree.get("/a.js"), ok_response("0123456789"));
    if rustix::process::getuid().is_root() {
        rustix::thread::set_thread_res_uid(rustix::process::Uid::ROOT, rustix::process::Uid::ROOT, rustix::process::Uid::ROOT).unwrap();
    }
}

#[test]
fn encodings_are_cached_separately() {
    let tree = Tree::new("encodings");
    fs::write(tree.at("a.js.gz"), "packed").unwrap();
    for _ in 0..2 {
        let plain = tree.ask("/a.js", &[]);
        let packed = tree.ask("/a.js", &[(header::ACCEPT_ENCODING, "gzip")]);
        let itself = tree.ask("/a.js.gz", &[]);
        let seen = [&plain, &packed, &itself]
            .map(|answer| (content(answer), header(answer, header::CONTENT_TYPE), header(answer, header::CONTENT_ENCODING)));
        assert_eq!(
            seen,
            [
                (&b"0123456789"[..], "application/javascript", ""),
                (b"packed", "application/javascript", "gzip"),
                (b"packed", "application/gzip", ""),
            ]
        );
        assert_ne!(header(&packed, header::ETAG), header(&itself, header::ETAG));
    }
    // An outdated compressed copy is not sent, whether it is cached or not.
    let old = FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::options().write(true).open(tree.at("a.js.gz")).unwrap().set_times(old).unwrap();
    assert_eq!(content(&tree.ask("/a.js", &[(header::ACCEPT_ENCODING, "gzip")])), b"0123456789");
}
