//! Computes the response to a request.

use std::borrow::Cow;
use std::io;
use std::rc::Rc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use rustix::io::Errno;

use crate::auth::Login;
use crate::body::Content;
use crate::conditions::{ConditionOutcome, Headers};
use crate::encoding::{ENCODINGS, is_accepted};
use crate::files::{OpenedFile, Root};
use crate::listing;
use crate::memory::{FileHeaders, Memory};
use crate::range::{BodyRange, part};
use crate::settings::Settings;
use crate::target::{Target, with_slash};

/// Served folder, with the rules for access to it.
#[derive(Debug)]
pub(crate) struct Site {
    root: Root,
    login: Option<Login>,
    spa: bool,
    listing: bool,
    /// Path below the root.
    homepage: Vec<u8>,
    memory: Memory,
}

impl Site {
    pub(crate) fn new(settings: &Settings, root: Root) -> Self {
        let login = settings.login.as_ref().map(|(name, password)| Login::new(name, password));
        let homepage = settings.homepage.trim_start_matches('/').as_bytes().to_vec();
        Self { root, login, spa: settings.spa, listing: settings.listing, homepage, memory: Memory::default() }
    }

    /// Returns the response to a request.
    pub(crate) fn answer(&self, request: &Parts) -> Response<Content> {
        let given = request.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if self.login.as_ref().is_some_and(|login| !login.authorizes(given)) {
            let mut answer = page(StatusCode::UNAUTHORIZED);
            let ask = HeaderValue::from_static("Basic realm=\"Authentication service\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
            return answer;
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            // Differs from PM2, which treats every method as GET.
            let mut answer = page(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match Target::of(request.uri.path()) {
            Target::Malformed => page(StatusCode::BAD_REQUEST),
            Target::Up => page(StatusCode::FORBIDDEN),
            Target::Hidden => self.absent(request, false),
            Target::Below { path, is_folder } => self.below(request, &path, is_folder),
        }
    }

    fn below(&self, request: &Parts, path: &[u8], is_folder: bool) -> Response<Content> {
        if path.is_empty() {
            return match self.root.open(&self.homepage) {
                Ok(found) if !found.is_folder => self.file(request, &self.homepage, found, StatusCode::OK),
                Ok(_) | Err(Errno::NOENT) if self.listing => self.list(path),
                Ok(_) => self.absent(request, false),
                Err(error) => self.failed(request, error, false),
            };
        }
        match self.root.open(path) {
            Ok(found) if !found.is_folder && is_folder => self.absent(request, true),
            Ok(found) if !found.is_folder => self.file(request, path, found, StatusCode::OK),
            Ok(_) if !is_folder => redirect(request),
            Ok(_) => {
                let index = [path, b"/index.html"].concat();
                match self.root.open(&index) {
                    Ok(found) if !found.is_folder => self.file(request, &index, found, StatusCode::OK),
                    Ok(_) | Err(Errno::NOENT) if self.listing => self.list(path),
                    Ok(_) => self.absent(request, true),
                    Err(error) => self.failed(request, error, true),
                }
            }
            Err(error) => self.failed(request, error, true),
        }
    }

    fn failed(&self, request: &Parts, error: Errno, may_be_page: bool) -> Response<Content> {
        match error {
            Errno::NOENT => self.absent(request, may_be_page),
            Errno::ACCESS | Errno::PERM => page(StatusCode::FORBIDDEN),
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => page(StatusCode::SERVICE_UNAVAILABLE),
            other => {
                crate::log(&format!("{}: {other}", request.uri.path().escape_debug()));
                page(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Returns the response for a missing path: the home page in SPA mode, else `404.html`, else
    /// one line.
    fn absent(&self, request: &Parts, may_be_page: bool) -> Response<Content> {
        let instead: &[(&[u8], StatusCode)] = &[(&self.homepage, StatusCode::OK), (b"404.html", StatusCode::NOT_FOUND)];
        let (_, others) = instead.split_at(usize::from(!(self.spa && may_be_page)));
        let found = others.iter().find_map(|(path, status)| {
            let found = self.root.open(path).ok().filter(|found| !found.is_folder)?;
            Some(self.file(request, path, found, *status))
        });
        found.unwrap_or_else(|| page(StatusCode::NOT_FOUND))
    }

    fn list(&self, path: &[u8]) -> Response<Content> {
        let entries = self.root.open(path).and_then(|found| listing::entries(&found.fd));
        let Ok(entries) = entries else { return page(StatusCode::NOT_FOUND) };
        let mut answer = Response::new(Content::Bytes(listing::page(path, &entries).into()));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        // The page contains file names that other people chose, so it must not run scripts.
        answer
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"));
        shared(answer.headers_mut());
        answer
    }

    /// Returns a file or the requested range, or 304 if the client already has the file.
    fn file(&self, request: &Parts, path: &[u8], plain: OpenedFile, status: StatusCode) -> Response<Content> {
        let accepted = text(&request.headers, header::ACCEPT_ENCODING).unwrap_or_default();
        let (found, encoding, opened) = self.encoded(path, plain, accepted);
        let (about, held) = match self.memory.of(&opened, found.state(), encoding) {
            Some((about, content)) => (about, Some(content)),
            None => (Rc::new(FileHeaders::new(path, &found, encoding)), None),
        };
        let verdict = if status == StatusCode::OK {
            about.validators.verdict(conditions(&request.headers))
        } else {
            ConditionOutcome::Send { ranges: false }
        };
        let ranges = match verdict {
            ConditionOutcome::Failed => return page(StatusCode::PRECONDITION_FAILED),
            ConditionOutcome::NotModified => {
                let mut answer = Response::new(Content::EMPTY);
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                describe(answer.headers_mut(), &about);
                return answer;
            }
            ConditionOutcome::Send { ranges } => ranges,
        };
        let range = text(&request.headers, header::RANGE).filter(|_| ranges && request.method == Method::GET);
        let (status, at, length) = match range.map_or(BodyRange::Whole, |range| part(range, found.size)) {
            BodyRange::Whole => (status, 0, found.size),
            BodyRange::Bytes(at, length) => (StatusCode::PARTIAL_CONTENT, at, length),
            BodyRange::Outside => {
                let mut answer = page(StatusCode::RANGE_NOT_SATISFIABLE);
                insert(answer.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{}", found.size));
                return answer;
            }
        };
        let size = found.size;
        let content = match held.and_then(|content| sliced(&content, at, length)) {
            _ if request.method == Method::HEAD => Ok(Content::EMPTY),
            Some(part) => Ok(Content::Bytes(part)),
            None => self.read(&opened, found, &about, at, length),
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                crate::log(&format!("{}: {error}", request.uri.path().escape_debug()));
                return page(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        let mut answer = Response::new(content);
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, about.kind.clone());
        headers.insert(header::CONTENT_LENGTH, length.into());
        if status == StatusCode::PARTIAL_CONTENT {
            insert(headers, header::CONTENT_RANGE, &format!("bytes {at}-{}/{size}", at + length - 1));
        }
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        describe(headers, &about);
        answer
    }

    /// Reads a part of a file from disk. If the part is a small whole file, it is cached.
    fn read(&self, path: &[u8], found: OpenedFile, about: &Rc<FileHeaders>, at: u64, length: u64) -> io::Result<Content> {
        let (state, is_held) = (found.state(), found.is_at_rest && length == found.size);
        let content = Content::of_file(found.fd, at, length)?;
        if let Content::Bytes(bytes) = &content
            && is_held
        {
            self.memory.hold(path, state, about, bytes);
        }
        Ok(content)
    }

    /// Returns the file, or a compressed copy that is at least as new, and the path that was
    /// opened.
    fn encoded<'a>(&self, path: &'a [u8], plain: OpenedFile, accepted: &str) -> (OpenedFile, Option<&'static str>, Cow<'a, [u8]>) {
        for (encoding, extension) in ENCODINGS.iter().filter(|(encoding, _)| is_accepted(accepted, encoding)) {
            let variant = [path, extension.as_bytes()].concat();
            // An older compressed copy belongs to an earlier release: the build did not update it.
            if let Ok(found) = self.root.open(&variant)
                && !found.is_folder
                && found.modified >= plain.modified
            {
                return (found, Some(encoding), variant.into());
            }
        }
        (plain, None, path.into())
    }
}

/// Adds the headers that every file has.
fn describe(headers: &mut HeaderMap, about: &FileHeaders) {
    let known = [(header::ETAG, &about.etag), (header::LAST_MODIFIED, &about.modified)];
    for (name, value) in known.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        headers.insert(name, value.clone());
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    shared(headers);
}

/// Returns a range of cached content.
fn sliced(content: &Bytes, at: u64, length: u64) -> Option<Bytes> {
    let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
    (at.checked_add(length)? <= content.len()).then(|| content.slice(at..at + length))
}

/// Adds PM2's headers for pages of other origins.
fn shared(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn conditions(headers: &HeaderMap) -> Headers<'_> {
    Headers {
        if_match: text(headers, header::IF_MATCH),
        if_none_match: text(headers, header::IF_NONE_MATCH),
        if_modified_since: text(headers, header::IF_MODIFIED_SINCE),
        if_unmodified_since: text(headers, header::IF_UNMODIFIED_SINCE),
        if_range: text(headers, header::IF_RANGE),
    }
}

/// Redirects a folder path without a trailing slash, because relative links on its page would
/// break.
fn redirect(request: &Parts) -> Response<Content> {
    let mut answer = page(StatusCode::MOVED_PERMANENTLY);
    insert(answer.headers_mut(), header::LOCATION, &with_slash(request.uri.path(), request.uri.query()));
    answer
}

/// Returns a response without a file: status code and reason, in PM2's format.
fn page(status: StatusCode) -> Response<Content> {
    let mut answer = Response::new(Content::Bytes(status.to_string().into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    answer
}

#[cfg(test)]
mod tests;
