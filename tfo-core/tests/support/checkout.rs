//! The commands of the documents, run as users run them. The tests of both programs include this file.
//!
//! Each command of a block that is marked `sh` is run, and must end with status 0. In a block that is marked `console`
//! a line that begins with `$ ` is a command, and the lines below it are its output: numbers and times may differ, and
//! `…` stands for anything. A block with a program in the background is one command.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tfo_core::lab::{Finished, Host, Program};

use crate::support::program::clean;

/// How to run the commands of some documents. A rule is for the commands that contain its text, or end with it if it ends
/// with `$`. A rule that no command needs is a fault.
pub(crate) struct Rules {
    /// Commands that are not run, each with the reason.
    pub(crate) skipped: &'static [(&'static str, &'static str)],
    /// Names and paths that are replaced: a command must reach no other host, and change nothing on this one.
    pub(crate) replaced: &'static [(&'static str, &'static str)],
    /// Arguments that make a command end sooner.
    pub(crate) shortened: &'static [(&'static str, &'static str)],
    /// Commands that run until Ctrl-C.
    pub(crate) interrupted: &'static [&'static str],
    /// The statuses of commands that end with another status than 0.
    pub(crate) statuses: &'static [(&'static str, &'static [i32])],
}

/// A folder like that of a checkout: the programs as built, `sudo` and `cargo` that only run what they are given, and the
/// shipped configuration.
pub(crate) struct Checkout(TempDir);

struct Step {
    /// The document and the line.
    place: String,
    command: String,
    output: Vec<String>,
}

const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";
const CARGO: &str = "#!/bin/bash\n\
    [ \"$1\" = build ] && exit\n\
    [ \"$1 $2 $3\" = 'run --release --bin' ] || { echo \"not run here: cargo $*\" >&2; exit 99; }\n\
    program=$4; shift 4; [ \"$1\" = -- ] && shift; exec \"$program\" \"$@\"\n";

impl Checkout {
    /// Creates the folder. `built` is the folder of the programs.
    pub(crate) fn new(built: &Path, root: &Path) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for name in ["bin", "config", "target", "etc/sysctl.d", "etc/systemd/system"] {
            fs::create_dir_all(folder.path(name)).unwrap();
        }
        for (name, script) in [("bin/sudo", SUDO), ("bin/cargo", CARGO)] {
            fs::write(folder.path(name), script).unwrap();
            fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in ["client.toml", "server.toml"] {
            let config = format!("config/{name}");
            fs::copy(root.join(&config), folder.path(&config)).unwrap();
        }
        for name in ["target/release", "target/dist"] {
            symlink(built, folder.path(name)).unwrap();
        }
        symlink(root.join("tfo-server"), folder.path("tfo-server")).unwrap();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs all commands of the documents on this host, in their order.
    pub(crate) fn run(&self, host: &Host, documents: &[(&str, &str)], rules: &Rules) {
        let mut unused = rules.all();
        let mut faults = Vec::new();
        for Step { place, command, output } in
            documents.iter().flat_map(|(name, text)| steps(name, text))
        {
            unused.retain(|rule| !applies(rule, &command));
            if rules.skipped.iter().any(|(skipped, _)| applies(skipped, &command)) {
                continue;
            }
            // Output as of a host that has no cookies yet.
            let new = (!output.is_empty()).then(|| Host::new("new").unwrap());
            let ended = self.run_one(new.as_ref().unwrap_or(host), &rules.adapt(&command));
            let wanted = rules.statuses.iter().find(|(text, _)| applies(text, &command));
            let wanted = wanted.map_or(&[0][..], |(_, statuses)| statuses);
            let shown = format!("{}{}", ended.out, ended.err);
            if !ended.code.is_some_and(|code| wanted.contains(&code)) {
                faults.push(format!(
                    "{place}: {command}: expected status {wanted:?}, not {:?}:\n{shown}",
                    ended.code
                ));
            } else if let Some(line) = missing(&output, &shown) {
                faults.push(format!("{place}: {command}: does not print {line:?}, but:\n{shown}"));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(unused.is_empty(), "rules for commands that no document has: {unused:?}");
    }

    fn run_one(&self, host: &Host, command: &str) -> Finished {
        let mut bash = clean(Command::new("unshare"));
        let path = std::env::var("PATH").unwrap_or_default();
        let path =
            format!("{0}/bin:{0}/target/release:{path}:/usr/sbin:/sbin", self.0.path().display());
        // Names of namespaces and mounts stay within the command.
        let private = format!("mount -t tmpfs run /run; {command}");
        let command = if command.contains("ip netns add") { &private } else { command };
        bash.args(["--mount", "bash", "-c", command])
            .current_dir(self.0.path())
            .env("PATH", path)
            .env("COLUMNS", "80");
        Program::start_tree(host, bash).unwrap().finish()
    }
}

impl Rules {
    fn all(&self) -> Vec<&'static str> {
        let mut all: Vec<&str> = self.interrupted.to_vec();
        for rules in [self.skipped, self.replaced, self.shortened] {
            all.extend(rules.iter().map(|(text, _)| *text));
        }
        all.extend(self.statuses.iter().map(|(text, _)| *text));
        all
    }

    fn adapt(&self, command: &str) -> String {
        let mut adapted = command.to_owned();
        for (from, to) in self.replaced {
            adapted = adapted.replace(from, to);
        }
        for (of, arguments) in self.shortened {
            if applies(of, command) {
                adapted = format!("{adapted} {arguments}");
            }
        }
        if self.interrupted.iter().any(|text| applies(text, command)) {
            adapted = format!("timeout --signal=INT --preserve-status 1 {adapted}");
        }
        adapted
    }
}

fn applies(rule: &str, command: &str) -> bool {
    rule.strip_suffix('$').map_or_else(|| command.contains(rule), |end| command.ends_with(end))
}

/// Returns the commands of a document.
fn steps(name: &str, text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut language = None;
    let mut block: Vec<(usize, String)> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        match (language, line.strip_prefix("```")) {
            (None, Some(opened)) => language = Some(opened),
            (Some(closed), Some(_)) => {
                steps.extend(steps_of_block(name, closed, &std::mem::take(&mut block)));
                language = None;
            }
            (Some(_), None) => block.push((number, line.to_owned())),
            (None, None) => {}
        }
    }
    steps
}

fn steps_of_block(name: &str, language: &str, lines: &[(usize, String)]) -> Vec<Step> {
    let step = |line: usize, command: &str| Step {
        place: format!("{name}:{line}"),
        command: command.to_owned(),
        output: Vec::new(),
    };
    let mut steps: Vec<Step> = Vec::new();
    match language {
        "sh" if lines.iter().any(|(_, line)| line.contains(" & ") || line.ends_with(" &")) => {
            let script: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
            steps.push(step(lines[0].0, &script.join("\n")));
        }
        "sh" => {
            for (number, line) in lines {
                let command = line.split(" # ").next().unwrap_or_default().trim_end();
                if !command.is_empty() && !command.starts_with('#') {
                    steps.push(step(*number, command));
                }
            }
        }
        "console" => {
            for (number, line) in lines {
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => steps.push(step(*number, command)),
                    (None, Some(step)) => step.output.push(line.clone()),
                    (None, None) => panic!("{name}:{number}: output without a command"),
                }
            }
        }
        _ => {}
    }
    steps
}

/// Returns the first line of the expected output that is not there. Lines follow each other; those behind a line `…`
/// may begin anywhere, the first ones too.
fn missing<'a>(expected: &'a [String], shown: &str) -> Option<&'a str> {
    let shown: Vec<String> = shown.lines().map(comparable).collect();
    let mut at = 0;
    for part in expected.split(|line| line == "…").filter(|part| !part.is_empty()) {
        let fitting = |start: usize| {
            let lines = part.iter().zip(&shown[start..]);
            lines.take_while(|(line, shown)| fits(&comparable(line), shown)).count()
        };
        let mut starts = at..=shown.len();
        let Some(start) = starts.find(|start| fitting(*start) == part.len()) else {
            let most = (at..=shown.len()).map(fitting).max().unwrap_or(0);
            return part.get(most).map(String::as_str);
        };
        at = start + part.len();
    }
    None
}

/// Returns whether a line fits one that may contain `…`.
fn fits(expected: &str, shown: &str) -> bool {
    match expected.split_once('…') {
        Some((begin, end)) => shown
            .strip_prefix(begin.trim_end())
            .is_some_and(|rest| rest.ends_with(end.trim_start())),
        None => expected == shown,
    }
}

/// Returns a line without what may differ: numbers, times, the width of columns, the length of arrows.
fn comparable(line: &str) -> String {
    let mut words = Vec::new();
    for word in line.split_whitespace() {
        let mut text = String::new();
        for c in word.chars() {
            match c {
                // Of a number only its first digit counts.
                '0'..='9' | '.' if text.ends_with('#') => {}
                '0'..='9' => text.push('#'),
                '─' if text.ends_with('─') => {}
                c => text.push(c),
            }
        }
        let after_number = words.last().is_some_and(|last: &String| last.ends_with('#'));
        if after_number && ["µs", "ms", "s"].contains(&text.as_str()) {
            "t".clone_into(&mut text);
        }
        words.push(text);
    }
    words.join(" ")
}

#[test]
fn output_fits_with_other_numbers_and_times() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let shown = "info: x\n  1  fast-open   64 B   12.5 ms\nVerdict: fast-open\nFix: `a b`\n40.4 ├── ACK ──►│\n\
                 connection 1\na\nconnection 2\nb\n";
    for good in [
        "  1  fast-open  64 B  283 µs\nVerdict: fast-open",
        "1 fast-open 64 B 1.00 s\n…\nFix: `…",
        "info: x",
        "…\nconnection 3\nb\n…",
        "…\nVerdict: fast-open\n…\n101.2 ├─ ACK ─►│",
    ] {
        assert_eq!(missing(&lines(good), shown), None, "{good}");
    }
    for (bad, line) in [
        ("1 fallback 64 B 283 µs", "1 fallback 64 B 283 µs"),
        ("info: x\nVerdict: fast-open", "Verdict: fast-open"),
        ("Fix: `b…", "Fix: `b…"),
        ("Verdict: fast-open\n…\ninfo: x", "info: x"),
    ] {
        assert_eq!(missing(&lines(bad), shown), Some(line), "{bad}");
    }
}

#[test]
fn commands_of_marked_blocks_are_found() {
    let text = "```sh\na 'x' # c\n\n# d\nb --e #f\n```\n```\nno\n```\n```console\n$ g\nout\n```\n```sh\nh & i\nk\n```\n";
    let found = steps("x.md", text);
    let commands: Vec<_> =
        found.iter().map(|step| (step.place.as_str(), step.command.as_str())).collect();
    assert_eq!(
        commands,
        [("x.md:2", "a 'x'"), ("x.md:5", "b --e #f"), ("x.md:11", "g"), ("x.md:15", "h & i\nk")]
    );
    assert_eq!(found[2].output, ["out"]);
}
