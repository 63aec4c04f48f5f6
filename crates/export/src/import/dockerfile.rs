//! A Dockerfile as the description of a program: the command, folder, variables and port of its
//! last stage, or of the stage that is built.

use ostler_core::app::args::split;
use ostler_core::message;
use serde_json::{Map, Value};

use super::interpolate::Variables;

/// Description of a stage's program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stage {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub workdir: String,
    pub env: Vec<(String, String)>,
    pub port: Option<u16>,
    pub stop_signal: Option<String>,
    pub user: Option<String>,
    /// `healthcheck` in the form of a Compose service.
    pub healthcheck: Option<Map<String, Value>>,
    /// Base image.
    pub image: String,
    /// Folders of the image, and the paths of the build context that were copied there.
    copies: Vec<(String, String)>,
    name: String,
    is_shell_entrypoint: bool,
    is_command_inherited: bool,
}

impl Stage {
    /// Returns the path in the build context for a path of the image.
    pub(super) fn local_path(&self, path: &str) -> Option<String> {
        let above = self.copies.iter().rev().filter_map(|(inside, outside)| Some((inside.len(), join(outside, below(path, inside)?))));
        if let Some((_, found)) = above.max_by_key(|(length, _)| *length) {
            return Some(found);
        }
        // If `/app/dist` is `x/dist` of the context, `/app` is `x`.
        self.copies.iter().find_map(|(inside, outside)| {
            let rest = below(inside, path).filter(|rest| !rest.is_empty())?;
            let folder = outside.strip_suffix(rest)?;
            Some(if folder.is_empty() { ".".to_owned() } else { folder.strip_suffix('/')?.to_owned() })
        })
    }
}

/// Returns the rest of a path below a folder.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

fn join(folder: &str, rest: &str) -> String {
    match (folder, rest) {
        (folder, "") => folder.to_owned(),
        (".", rest) => rest.to_owned(),
        (folder, rest) => format!("{folder}/{rest}"),
    }
}

/// Fault of a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DockerfileError {
    /// An instruction `FROM` is empty.
    #[error("{}", message!("FROM names no image"))]
    NoImage,
    /// It has no instruction `FROM`.
    #[error("{}", message!("FROM is missing"))]
    NoFrom,
    /// It has no stage of this name.
    #[error("{}", message!("there is no build stage {name}", name = format!("{_0:?}")))]
    NoStage(String),
}

/// Reads a Dockerfile. `target` is the stage to build; `args` are the values of its arguments.
///
/// # Errors
/// Returns an error if it has no stage, or not this one.
pub(super) fn read(text: &str, target: Option<&str>, args: &[(String, String)]) -> Result<Stage, DockerfileError> {
    let mut stages: Vec<Stage> = Vec::new();
    let mut global: Vec<(String, String)> = Vec::new();
    let mut of_stage: Vec<(String, String)> = Vec::new();
    for (word, rest) in instructions(text) {
        let scope = stages.last().map_or(&global, |_| &of_stage);
        let rest = if matches!(word.as_str(), "CMD" | "ENTRYPOINT" | "SHELL" | "HEALTHCHECK" | "RUN") {
            rest
        } else {
            resolve(&rest, stages.last().map_or(&[], |stage| &stage.env), scope)
        };
        let Some(stage) = stages.last_mut().filter(|_| word != "FROM") else {
            match word.as_str() {
                "FROM" => {
                    let words: Vec<&str> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
                    let Some(image) = words.first() else { return Err(DockerfileError::NoImage) };
                    let mut stage = find(&stages, image).cloned().unwrap_or_else(|| Stage {
                        image: (*image).to_owned(),
                        workdir: "/".into(),
                        ..Stage::default()
                    });
                    stage.name = words.get(2).map(|name| (*name).to_owned()).unwrap_or_default();
                    stage.is_command_inherited = true;
                    of_stage.clear();
                    stages.push(stage);
                }
                "ARG" => declare(&rest, args, &[], &mut global),
                _ => {}
            }
            continue;
        };
        match word.as_str() {
            "ARG" => declare(&rest, args, &global, &mut of_stage),
            "ENV" => {
                for (name, value) in pairs(&rest) {
                    stage.env.retain(|(own, _)| *own != name);
                    stage.env.push((name, value));
                }
            }
            "WORKDIR" => stage.workdir = absolute(&stage.workdir, rest.trim_matches('"')),
            "CMD" => {
                stage.command = words(&rest);
                stage.is_command_inherited = false;
            }
            "ENTRYPOINT" => {
                stage.is_shell_entrypoint = !rest.starts_with('[');
                stage.entrypoint = words(&rest);
                // A new entry point resets the command of the base image.
                if stage.is_command_inherited {
                    stage.command.clear();
                }
            }
            "EXPOSE" if stage.port.is_none() => {
                stage.port = rest.split_whitespace().find_map(|port| {
                    let number = port.strip_suffix("/tcp").unwrap_or(port);
                    number.split('-').next()?.parse().ok().filter(|port| *port > 0)
                });
            }
            "STOPSIGNAL" => stage.stop_signal = Some(rest),
            "USER" => stage.user = Some(rest),
            "HEALTHCHECK" => stage.healthcheck = healthcheck(&rest),
            "COPY" | "ADD" => {
                let workdir = stage.workdir.clone();
                let found = copies(&rest, &workdir, &stages);
                if let Some(stage) = stages.last_mut() {
                    stage.copies.extend(found);
                }
            }
            _ => {}
        }
    }
    let found = match target.filter(|target| !target.is_empty()) {
        Some(target) => Some(find(&stages, target).ok_or_else(|| DockerfileError::NoStage(target.to_owned()))?),
        None => stages.last(),
    };
    let mut stage = found.cloned().ok_or(DockerfileError::NoFrom)?;
    // A shell entry point gets no command.
    if stage.is_shell_entrypoint {
        stage.command.clear();
    }
    Ok(stage)
}

fn find<'a>(stages: &'a [Stage], name: &str) -> Option<&'a Stage> {
    let by_name = stages.iter().rev().find(|stage| !stage.name.is_empty() && stage.name.eq_ignore_ascii_case(name));
    by_name.or_else(|| stages.get(name.parse::<usize>().ok()?))
}

/// Returns the instructions with their continuation lines joined; comments and the bodies of
/// here-documents are left out.
fn instructions(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let mut whole = String::new();
        let mut next = Some(line);
        while let Some(line) = next {
            match line.trim_end().strip_suffix('\\') {
                Some(part) => {
                    whole.push_str(part);
                    next = lines.by_ref().find(|line| !line.trim_start().starts_with('#'));
                }
                None => {
                    whole.push_str(line);
                    break;
                }
            }
        }
        let (word, rest) = whole.trim().split_once(char::is_whitespace).unwrap_or((whole.trim(), ""));
        let word = word.to_ascii_uppercase();
        if matches!(word.as_str(), "RUN" | "COPY" | "ADD") {
            for part in rest.split("<<").skip(1) {
                let end: String =
                    part.trim_start_matches(['-', '"', '\'']).chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !end.is_empty() {
                    lines.by_ref().find(|line| line.trim() == end);
                }
            }
        }
        out.push((word, rest.trim().to_owned()));
    }
    out
}

fn resolve(text: &str, env: &[(String, String)], args: &[(String, String)]) -> String {
    let find = |name: &str| env.iter().chain(args).find(|(own, _)| own == name).map(|(_, value)| value.clone());
    Variables { lookup: &find, missing: Vec::new(), is_lenient: true }.resolve(text).unwrap_or_else(|_| text.to_owned())
}

fn declare(rest: &str, given: &[(String, String)], global: &[(String, String)], into: &mut Vec<(String, String)>) {
    for word in split(rest) {
        let (name, default) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value.to_owned())));
        let of = |list: &[(String, String)]| list.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        if let Some(value) = of(given).or(default).or_else(|| of(global)) {
            into.push((name.to_owned(), value));
        }
    }
}

/// Returns the variables of `ENV A=1 B="x y"`, or of the older `ENV A the rest`.
fn pairs(rest: &str) -> Vec<(String, String)> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        return rest.split_once(char::is_whitespace).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).into_iter().collect();
    }
    let words = split(rest);
    let pairs = words.iter().filter_map(|word| word.split_once('=')).filter(|(name, _)| !name.is_empty());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns the words of a command. A text is for the shell, unless the shell would only split it.
fn words(rest: &str) -> Vec<String> {
    if let Ok(Value::Array(list)) = serde_json::from_str(rest) {
        return list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    let needs_shell =
        rest.contains(|c: char| "$&|;<>()`*?[]{}~#\"'\\=!".contains(c)) || rest.starts_with("exec ") || rest.starts_with("cd ");
    if rest.is_empty() {
        Vec::new()
    } else if needs_shell {
        vec!["sh".into(), "-c".into(), rest.into()]
    } else {
        rest.split_whitespace().map(str::to_owned).collect()
    }
}

/// Reads `HEALTHCHECK [--interval=…] CMD …` as Compose writes it; none for `NONE`.
fn healthcheck(rest: &str) -> Option<Map<String, Value>> {
    let mut check = Map::new();
    let mut rest = rest.trim();
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).unwrap_or((option, ""));
        if let Some((name, value)) = option.split_once('=') {
            check.insert(name.replace('-', "_"), value.into());
        }
        rest = after.trim_start();
    }
    let (word, command) = rest.split_once(|c: char| c.is_whitespace() || c == '[').map(|(word, _)| (word, rest[word.len()..].trim()))?;
    if !word.eq_ignore_ascii_case("cmd") || command.is_empty() {
        return None;
    }
    let test: Vec<Value> = match serde_json::from_str(command) {
        Ok(Value::Array(list)) => std::iter::once("CMD".into()).chain(list).collect(),
        _ => vec!["CMD-SHELL".into(), command.into()],
    };
    check.insert("test".into(), test.into());
    Some(check)
}

/// Returns a path of the image, without `.` and `..`.
fn absolute(workdir: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{workdir}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns the folders that a COPY puts into the image, with their paths in the build context.
fn copies(rest: &str, workdir: &str, stages: &[Stage]) -> Vec<(String, String)> {
    let words = match serde_json::from_str(rest) {
        Ok(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => split(rest),
    };
    let from = words.iter().find_map(|word| word.strip_prefix("--from="));
    let paths: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let Some((to, sources)) = paths.split_last() else { return Vec::new() };
    let target = absolute(workdir, to);
    let of_context = |source: &String| match from {
        Some(from) => find(stages, from)?.local_path(&absolute("/", source)),
        None if source.contains("://") || source.contains("<<") => None,
        None => Some(Some(absolute("/", source)[1..].to_owned()).filter(|path| !path.is_empty()).unwrap_or_else(|| ".".to_owned())),
    };
    let place = |source: &&String| {
        let outside = of_context(source)?;
        let file = outside.rsplit('/').next().unwrap_or(&outside);
        // A file is copied into a folder; the contents of a folder are copied.
        let is_file = file != "." && file.contains('.') && !source.ends_with('/');
        let is_folder = to.ends_with('/') || to.as_str() == "." || sources.len() > 1;
        Some((if is_file && is_folder { absolute(&target, file) } else { target.clone() }, outside))
    };
    sources.iter().filter(|source| !source.contains('*')).filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "FROM node:20-alpine AS builder\nWORKDIR /app\n# first\nCOPY package.json pnpm-lock.yaml ./\nRUN corepack enable && \\\n  # within\n  pnpm install\nCOPY . .\nRUN pnpm build\nCMD [\"never\"]\n\nFROM node:20-alpine AS runner\nWORKDIR /app\nRUN <<EOF\nCMD no\nEOF\nCOPY --from=builder /app/dist ./dist\nCOPY --from=builder /app/package.json ./\nUSER nodejs\nEXPOSE 3000\nENV NODE_ENV=production\nCMD [\"node\", \"dist/main.js\"]\n";

    fn text(words: &[String]) -> String {
        words.join("|")
    }

    #[test]
    fn read_uses_last_stage_or_named_target() {
        let stage = read(SEED, None, &[]).unwrap();
        assert_eq!((text(&stage.command), stage.port, stage.user.as_deref()), ("node|dist/main.js".into(), Some(3000), Some("nodejs")));
        assert_eq!(stage.env, [("NODE_ENV".to_owned(), "production".to_owned())]);
        assert_eq!(stage.local_path("/app"), Some(".".into()));
        assert_eq!(stage.local_path("/app/dist/main.js"), Some("dist/main.js".into()));
        let stage = read(SEED, Some("Builder"), &[]).unwrap();
        assert_eq!((text(&stage.command), stage.local_path("/app")), ("never".into(), Some(".".into())));
        assert!(read(SEED, Some("none"), &[]).is_err() && read("# no\n", None, &[]).is_err());
    }

    #[test]
    fn cmd_and_entrypoint_parse_in_every_form() {
        for (lines, entrypoint, command) in [
            ("CMD node server.js", "", "node|server.js"),
            ("CMD node server.js --port $PORT", "", "sh|-c|node server.js --port $PORT"),
            ("CMD npm run build && node .", "", "sh|-c|npm run build && node ."),
            ("ENTRYPOINT [\"node\"]\nCMD [\"a.js\", \"-x\"]", "node", "a.js|-x"),
            ("CMD [\"a\"]\nENTRYPOINT [\"b\"]", "b", "a"),
            ("ENTRYPOINT ./run.sh $A\nCMD [\"a\"]", "sh|-c|./run.sh $A", ""),
            ("CMD [\"a\"]\nFROM base\nENTRYPOINT [\"b\"]", "b", ""),
            ("CMD [\"a\"]\nFROM base AS next\nFROM next", "", "a"),
            ("cmd [ \"a\", \\\n  \"b c\" ]", "", "a|b c"),
            ("CMD []", "", ""),
        ] {
            let stage = read(&format!("FROM x AS base\n{lines}\n"), None, &[]).unwrap();
            assert_eq!((text(&stage.entrypoint), text(&stage.command)), (entrypoint.into(), command.into()), "{lines}");
        }
    }

    #[test]
    fn args_env_and_workdir_are_expanded() {
        let stage = read("FROM x\nENV =x A=1\nEXPOSE 0 99999 80\n", None, &[]).unwrap();
        assert_eq!((stage.env, stage.port), (vec![("A".to_owned(), "1".to_owned())], Some(80)));
        let dockerfile = "ARG V=20\nFROM node:${V} AS a\nARG PORT=80\nARG V\nENV A=\"x y\" B=$PORT C=${V}-${NONE:-d}\nENV OLD the rest\nWORKDIR /srv\nWORKDIR web/../api\nEXPOSE $PORT/tcp 90\nCOPY packages/api/dist ./dist\nSTOPSIGNAL SIGQUIT\nHEALTHCHECK CMD x\n";
        let stage = read(dockerfile, None, &[("PORT".into(), "8080".into())]).unwrap();
        let env: Vec<String> = stage.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=x y", "B=8080", "C=20-d", "OLD=the rest"]);
        assert_eq!((stage.image.as_str(), stage.workdir.as_str(), stage.port), ("node:20", "/srv/api", Some(8080)));
        assert_eq!((stage.stop_signal.as_deref(), stage.healthcheck.is_some()), (Some("SIGQUIT"), true));
        assert_eq!(stage.local_path("/srv/api"), Some("packages/api".into()));
        assert_eq!(stage.local_path("/other"), None);
        for line in ["COPY server.js /app/", "COPY . /app", "COPY [\"server.js\", \"/app/server.js\"]", "ADD --chown=a:b ./ /app/"] {
            let stage = read(&format!("FROM x\n{line}\n"), None, &[]).unwrap();
            assert_eq!(stage.local_path("/app/server.js"), Some("server.js".into()), "{line}");
            assert_eq!(stage.local_path("/app"), Some(".".into()), "{line}");
        }
    }

    #[test]
    fn healthcheck_parses_in_every_form() {
        for (line, expected) in [
            (
                "HEALTHCHECK CMD curl -f http://localhost:$PORT/ || exit 1",
                r#"{"test":["CMD-SHELL","curl -f http://localhost:$PORT/ || exit 1"]}"#,
            ),
            (
                "healthcheck --interval=5m --timeout=3s \\\n --start-period=1s --retries=2 cmd [\"a\", \"b c\"]",
                r#"{"interval":"5m","timeout":"3s","start_period":"1s","retries":"2","test":["CMD","a","b c"]}"#,
            ),
            ("HEALTHCHECK CMD [\"a\"]\nHEALTHCHECK NONE", ""),
            ("HEALTHCHECK CMD[\"a\"]", r#"{"test":["CMD","a"]}"#),
            ("HEALTHCHECK --interval=5m", ""),
            ("HEALTHCHECK", ""),
        ] {
            let stage = read(&format!("FROM x\n{line}\n"), None, &[]).unwrap();
            let found = stage.healthcheck.map(|check| serde_json::to_string(&check).unwrap()).unwrap_or_default();
            assert_eq!(found, expected, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn read_never_panics_on_any_text(text in "(FROM a AS b\n|CMD \\[\"x\"\\]\n|COPY [-./a ]{0,9}\n|ENV [a=\" $]{0,9}\n|WORKDIR [./a]{0,5}\n|[A-Z\\\\<\n ]{0,9}){0,8}") {
            if let Ok(stage) = read(&text, Some("b"), &[]) {
                let _ = stage.local_path("/a");
            }
        }
    }
}
