//! Completion in bash, zsh and fish: the script of each shell, and the words as the shell reads them.

use std::path::{Path, PathBuf};

use ostler_testkit::{Home, Terminal, fixture, needs_program};

use crate::setup::{binary, home};

/// Names that a shell would take apart, expand or execute, each with the start that a user types.
const NAMES: &[(&str, &[&str])] = &[
    ("api", &["ap", "\"ap", "'ap"]),
    ("my app", &["my", "my\\ ", "\"my ", "'my a"]),
    ("ns:job:1", &["n", "ns:", "ns:j", "\"ns:j"]),
    ("$HOME", &["\\$", "'$H"]),
    ("it's \"q\"", &["it", "\"it"]),
    ("x;touch pwned", &["x", "'x;"]),
    ("`id`", &["\\`"]),
    ("a=b@c", &["a="]),
    ("(paren)*", &["\\("]),
    ("日本語 名前", &["日", "\"日本"]),
];

/// Starts the apps, and returns a folder for `PATH` that contains the program.
fn apps(home: &Home) -> PathBuf {
    let long = "y".repeat(200);
    for name in NAMES.iter().map(|(name, _)| *name).chain([long.as_str()]) {
        home.ok(["start", &fixture(), &format!("--name={name}"), "--", "hold"]);
    }
    let folder = home.work().join("path");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(binary(), folder.join("ostler")).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        home.write(&format!("complete.{shell}"), home.ok(format!("completion {shell}")).stdout);
    }
    folder
}

/// Runs a shell text with the program on `PATH`, and returns the lines that it prints.
#[track_caller]
fn run(home: &Home, path: &Path, text: &str) -> Vec<String> {
    let output = home.cmd("").after(&format!("PATH={}:$PATH\n{text}\nexit", path.display())).run().ok();
    assert_eq!(output.stderr, "", "{output}");
    output.stdout.lines().map(str::to_owned).collect()
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A shell on a terminal, whose `ostler` notes the words that it gets.
struct TypingShell<'a> {
    home: &'a Home,
    terminal: Terminal,
}

impl<'a> TypingShell<'a> {
    /// Starts the shell with these words. `setup` is typed first.
    #[track_caller]
    fn start(home: &'a Home, path: &Path, words: &str, setup: &str) -> Self {
        home.write(
            "setup.sh",
            format!(
                "{setup}\nostler() {{ case $1 in (completion) command ostler \"$@\" ;; (*) printf '%s\\0' \"$@\" >typed.new; mv typed.new typed ;; esac; }}\ntouch ready\n"
            ),
        );
        let shell = format!("export PATH={}:$PATH\nexec setsid -c -w {words}", path.display());
        let mut terminal = Terminal::start_shell(home.cmd(""), &shell, 100, 24);
        terminal.press(". ./setup.sh\r");
        home.wait_until("the shell is set up", || home.work().join("ready").exists());
        Self { home, terminal }
    }

    /// Types a line, and returns the words that the program gets.
    #[track_caller]
    fn words(&mut self, keys: &str) -> Vec<String> {
        let file = self.home.work().join("typed");
        drop(std::fs::remove_file(&file));
        self.terminal.press(&format!("{keys}\r"));
        let what = format!("{keys:?} is run\n{}", self.terminal.text());
        self.home.wait_until(&what, || file.exists());
        self.home.read("typed").split_terminator('\0').map(str::to_owned).collect()
    }

    #[track_caller]
    fn assert_completes(&mut self) {
        for (name, starts) in NAMES {
            for start in *starts {
                assert_eq!(self.words(&format!("ostler describe {start}\t")), ["describe", name], "{start}");
            }
        }
        let long = "y".repeat(200);
        assert_eq!(self.words("ostler describe yy\t"), ["describe", &long]);
        assert_eq!(self.words("ostler descr\tapi"), ["describe", "api"]);
        assert_eq!(self.words("ostler start --kill-m\tmix\t"), ["start", "--kill-mode", "mixed"]);
        assert_eq!(self.words("ostler start --kill-mode=mi\t"), ["start", "--kill-mode=mixed"]);
        assert_eq!(self.words("ostler rollout und\tap\t"), ["rollout", "undo", "api"]);
        self.home.write("some folder/app file.js", "");
        assert_eq!(self.words("ostler start some\tap\t"), ["start", "some folder/app file.js"]);
        assert_eq!(self.words("ostler start --env-file=some\tap\t"), ["start", "--env-file=some folder/app file.js"]);
        assert!(!self.home.work().join("pwned").exists());
    }
}

#[test]
fn bash_completes_on_a_terminal() {
    needs_program!("setsid");
    let home = home();
    let path = apps(&home);
    let mut shell = TypingShell::start(&home, &path, "bash --norc --noprofile -i", ". ./complete.bash\nbind 'set bell-style none'");
    shell.assert_completes();
    assert_eq!(shell.words("ostler list >some\tto"), ["list"], "a redirection");
    assert!(home.work().join("some folder/to").exists());
}

#[test]
fn zsh_completes_on_a_terminal() {
    needs_program!("setsid");
    needs_program!("zsh");
    let home = home();
    let path = apps(&home);
    let compinit = "autoload -Uz compinit; compinit -D -u";
    // If zsh's completion is not loaded yet, the script loads it.
    for setup in [format!("{compinit}; . ./complete.zsh"), ". ./complete.zsh".to_owned()] {
        drop(std::fs::remove_file(home.work().join("ready")));
        let mut shell = TypingShell::start(&home, &path, "zsh -f -i", &format!("unsetopt beep\n{setup}"));
        shell.assert_completes();
    }
    // The packages install the script as a function of `fpath`.
    let script = home.ok("completion zsh").stdout;
    home.write("functions/_ostler", format!("#compdef ostler\n{script}"));
    drop(std::fs::remove_file(home.work().join("ready")));
    let mut shell = TypingShell::start(&home, &path, "zsh -f -i", &format!("fpath=($PWD/functions $fpath); {compinit}"));
    assert_eq!(shell.words("ostler describe my\t"), ["describe", "my app"]);
    assert_eq!(shell.words("ostler describe my\t"), ["describe", "my app"]);
}

#[test]
fn bash_completes_by_its_function() {
    let home = home();
    let path = apps(&home);
    home.write(
        "driver.sh",
        "source complete.bash\nCOMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))\n_ostler\n((${#COMPREPLY[@]})) && printf '%s\\n' \"${COMPREPLY[@]}\"\nexit 0\n",
    );
    let complete = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        run(&home, &path, &format!("bash --norc driver.sh ostler {}", words.join(" ")))
    };
    assert_eq!(complete(&["describe", "m"]), [r"my\ app"]);
    assert_eq!(complete(&["describe", "\"m"]), ["my app"]);
    assert_eq!(complete(&["describe", "ns", ":", "j"]), ["job:1"]);
    assert_eq!(complete(&["describe", "ns", ":"]), ["job:1"]);
    assert_eq!(complete(&["describe", "ns:j"]), ["ns:job:1"]);
    assert_eq!(complete(&["start", "--kill-signal", "=", "SIGU"]), ["SIGUSR1", "SIGUSR2", "SIGURG"]);
    assert_eq!(complete(&["rollout", ""]), ["status", "history", "undo"]);
    assert_eq!(complete(&["nonsense", ""]), [""; 0]);
    let all = complete(&["restart", ""]);
    assert!(["api", "all", "0"].iter().all(|word| all.contains(&(*word).to_owned())), "{all:?}");
}

#[test]
fn fish_completes_with_descriptions() {
    needs_program!("fish");
    let home = home();
    let path = apps(&home);
    let complete = |line: &str| {
        let lines = run(&home, &path, &format!("fish --no-config -c 'source complete.fish; complete -C $argv[1]' {}", quoted(line)));
        lines
            .into_iter()
            .map(|line| line.split_once('\t').map_or((line.clone(), String::new()), |(word, about)| (word.into(), about.into())))
    };
    let words = |line: &str| complete(line).map(|(word, _)| word).collect::<Vec<String>>();
    let about = |line: &str| complete(line).collect::<Vec<(String, String)>>();
    assert_eq!(about("ostler describe my"), [("my app".to_owned(), "online".to_owned())]);
    for (name, starts) in NAMES {
        for start in *starts {
            assert!(words(&format!("ostler describe {start}")).contains(&(*name).to_owned()), "{start}");
        }
    }
    assert_eq!(words("HOME=/x ostler describe my"), ["my app"]);
    assert!(about("ostler resta").contains(&("restart".to_owned(), "restart apps (stop, then start)".to_owned())));
    assert!(about("ostler logs --lin").iter().any(|(word, about)| word == "--lines" && about.contains("number of past lines")));
    home.write("some folder/app file.js", "");
    assert!(words("ostler start some").contains(&"some folder/".to_owned()));
    assert_eq!(words("ostler start --env-file=\"some folder/a"), ["--env-file=some folder/app file.js"]);
    assert_eq!(words("ostler serve so"), ["some folder/"]);
}
