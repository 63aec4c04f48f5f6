//! `completion`: the shell's completion script, and the answers to its questions.

mod outline;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::{Call, Shell, answer, begin_mark, candidates, end_mark, question, script};
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status, UsageError};
use crate::home::Program;
use ostler_core::{marked, message};
use ostler_sys::fs::replace::{Durability, Writers, replace};

/// Prints, installs or removes the script; answers the script's questions.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.has("complete") {
        return complete(cx, call);
    }
    match call.target() {
        Some("install") => install(cx, call, true),
        Some("uninstall") => install(cx, call, false),
        Some(word) if Shell::parse(word).is_none() => {
            Err(UsageError::unknown_value("completion", word, &["bash", "zsh", "fish", "install", "uninstall"]).into())
        }
        word => {
            let shell = word.and_then(Shell::parse).map_or_else(|| shell(call), Ok)?;
            let text = script(cx.program.name(), shell);
            cx.out.data(text.as_bytes());
            Ok(Status::Ok)
        }
    }
}

/// Prints the words that fit. It never starts a daemon and never prints an error, because a shell
/// runs it whenever the user presses a key.
fn complete(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let words = call.app_args.as_deref().unwrap_or_default();
    let Some(shell) = call.value("shell").and_then(Shell::parse).filter(|_| !cx.program.is_pm2()) else {
        return complete_as_pm2(cx, words);
    };
    let question = question(shell, words);
    let found = sources::found(cx, call, &question);
    cx.out.data(answer(shell, &question, found).as_bytes());
    Ok(Status::Ok)
}

/// Answers the script of `pm2`, or of an older ostler.
fn complete_as_pm2(cx: &mut Cx, words: &[String]) -> Result<Status, CliError> {
    let names = match cx.running_client() {
        Ok(Some(client)) => client.table().unwrap_or_default().into_iter().map(|row| row.name).collect(),
        _ => Vec::new(),
    };
    for word in candidates(words, &names) {
        cx.out.data(format!("{word}\n").as_bytes());
    }
    Ok(Status::Ok)
}

fn shell(call: &Call) -> Result<Shell, CliError> {
    let named = call.value("shell").map(str::to_owned).or_else(|| std::env::var("SHELL").ok()).unwrap_or_else(|| "bash".into());
    Shell::parse(&named).ok_or_else(|| {
        let reason = message!("no completion for {named}; expected bash, zsh or fish", named = format!("{named:?}"));
        UsageError::unknown_among("--shell", reason, &named, &["bash", "zsh", "fish"]).into()
    })
}

/// Adds the script to the shell's start file, or removes it. The rest of the file does not change.
fn install(cx: &mut Cx, call: &Call, add: bool) -> Result<Status, CliError> {
    let shell = shell(call)?;
    let name = cx.program.name();
    let file = start_file(shell, cx.program)?;
    let failed = |what, source| CliError::File { what, path: file.display().to_string(), source };
    let old = match fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.map_err(|source| failed(marked!("read"), source))?,
    };
    let mut new = without(&old, name);
    if add {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(&script(name, shell));
    }
    if new != old {
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).map_err(|source| failed(marked!("create the folder of"), source))?;
        }
        write(&file, &new).map_err(|source| failed(marked!("write"), source))?;
    }
    cx.out.info(match add {
        true => message!("completion installed in {file}", file = file.display()),
        false => message!("completion removed from {file}", file = file.display()),
    });
    Ok(Status::Ok)
}

/// Writes the file. Keeps a symbolic link (dotfiles) and the file's permissions.
fn write(file: &Path, content: &str) -> std::io::Result<()> {
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let rights = fs::metadata(&real).map(|meta| meta.permissions());
    replace(&real, content.as_bytes(), Durability::Power, Writers::Many).map_err(|error| error.source)?;
    rights.map_or(Ok(()), |rights| fs::set_permissions(&real, rights))
}

/// Returns the file that the shell reads when it starts. PM2 knows only the usual places.
fn start_file(shell: Shell, program: Program) -> Result<PathBuf, CliError> {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let home = home.ok_or(CommandError::NoUserHome)?;
    let given = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute() && !program.is_pm2());
    Ok(match shell {
        Shell::Bash => home.join(".bashrc"),
        Shell::Zsh => given("ZDOTDIR").unwrap_or(home).join(".zshrc"),
        Shell::Fish => {
            given("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join(format!("fish/completions/{}.fish", program.name()))
        }
    })
}

/// Returns the text without ostler's part.
fn without(text: &str, program: &str) -> String {
    let (begin, end) = (begin_mark(program), end_mark(program));
    let mut inside = false;
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            mark if mark == begin => inside = true,
            mark if inside && mark == end => inside = false,
            _ if inside => {}
            _ => kept.push_str(line),
        }
    }
    // If the end mark is missing, the part is not removed.
    if inside { text.to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_sort_are_offered_as_they_are_known() {
        let words = ["list", "--sort", ""].map(str::to_owned);
        let question = question(Shell::Zsh, &words);
        let fields = question.fits.iter().filter_map(|fits| crate::cli::fixed_words(*fits, "")).flatten();
        let fields: Vec<String> = fields.map(|field| field.word).collect();
        assert!(fields.len() > 5 && fields.iter().all(|field| crate::render::SortOrder::parse(field).is_some()), "{fields:?}");
    }

    #[test]
    fn uninstall_removes_only_own_section() {
        let ours = script("ostler", Shell::Bash);
        assert_eq!(without(&format!("a\n{ours}b\n"), "ostler"), "a\nb\n");
        assert_eq!(without("a\nb", "ostler"), "a\nb");
        let cut = format!("a\n{}\nb\n", begin_mark("ostler"));
        assert_eq!(without(&cut, "ostler"), cut);
        let other = script("pm2", Shell::Bash);
        assert_eq!(without(&other, "ostler"), other);
    }
}
