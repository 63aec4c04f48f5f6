//! Page that lists a folder.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::target::encode;

/// Maximum number of entries on a page.
const MAX_ENTRIES: usize = 10_000;

/// Entry of a folder.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: Vec<u8>,
    pub is_folder: bool,
    pub size: u64,
    /// Modification time in seconds.
    pub modified: i64,
}

/// Returns the entries of a folder, except those whose names begin with a dot.
pub(crate) fn entries(folder: &OwnedFd) -> Result<Vec<Entry>, rustix::io::Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().starts_with(b".") {
            continue;
        }
        // The entry was removed since the folder was read.
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        entries.push(Entry { name: name.to_bytes().to_vec(), is_folder, size, modified: stat.st_mtime });
        if entries.len() == MAX_ENTRIES {
            break;
        }
    }
    entries.sort_by(|a, b| b.is_folder.cmp(&a.is_folder).then_with(|| a.name.cmp(&b.name)));
    Ok(entries)
}

/// Returns the page of the folder with this path below the root.
pub(crate) fn page(path: &[u8], entries: &[Entry]) -> String {
    let title = match path {
        b"" => "/".to_owned(),
        path => format!("/{}/", escaped(path)),
    };
    let mut rows = String::new();
    if !path.is_empty() {
        rows.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in entries {
        let slash = if entry.is_folder { "/" } else { "" };
        let size = if entry.is_folder { "-".to_owned() } else { size(entry.size) };
        let (link, name, day) = (encode(&entry.name), escaped(&entry.name), day(entry.modified));
        rows.push_str(&format!("<tr><td><a href=\"./{link}{slash}\">{name}{slash}</a></td><td>{size}</td><td>{day}</td></tr>\n"));
    }
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Index of {title}</title>\
         <style>body{{font-family:monospace;margin:2em}}td{{padding-right:2em}}td+td{{text-align:right}}</style></head>\n\
         <body><h1>Index of {title}</h1><table><tbody>\n{rows}</tbody></table></body></html>\n"
    )
}

fn escaped(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for letter in String::from_utf8_lossy(name).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{value:.1}{}", UNITS[unit])
}

fn day(seconds: i64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    httpdate::fmt_http_date(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_escapes_file_names() {
        let entry = Entry { name: b"\"><script>x</script>".to_vec(), is_folder: false, size: 2048, modified: 0 };
        let page = page(b"<b>", &[entry]);
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert!(page.contains("<td>2.0K</td>") && page.contains("href=\"./%22%3E%3Cscript"), "{page}");
    }

    #[test]
    fn size_formats_bytes() {
        for (bytes, expected) in [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (1 << 20, "1.0M"), (u64::MAX, "16384.0P")] {
            assert_eq!(size(bytes), expected);
        }
    }
}
