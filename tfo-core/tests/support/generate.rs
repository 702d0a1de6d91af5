//! What `generate` writes for packages. The tests of both programs include this file.

use std::fs;

use crate::settings::all_help;
use crate::support::{Folder, PROGRAM, output};

/// Runs `generate` and returns what it has printed.
fn generated(folder: &Folder, arguments: &[&str]) -> String {
    let arguments = [&["generate"], arguments].concat();
    let output = output(&mut folder.program(&arguments));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_has_a_man_page() {
    let folder = Folder::new("");
    generated(&folder, &["man", "out/man"]);
    let read = |name: &str| fs::read_to_string(folder.path("out/man").join(name)).unwrap();
    let main = read(&format!("{}.1", PROGRAM.name));
    for heading in ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES"] {
        assert!(
            main.contains(&format!(".SH \"{heading}\"\n"))
                || main.contains(&format!(".SH {heading}\n")),
            "{heading}: {main}"
        );
    }
    let commands = all_help(&[]);
    for (command, _) in &commands {
        let page = [PROGRAM.name, command].join(" ").trim_end().replace(' ', "-");
        let name = format!("{} \\- ", page.replace('-', "\\-"));
        let page = read(&format!("{page}.1"));
        assert!(page.contains(&name), "{name}: {page}");
    }
    let count = fs::read_dir(folder.path("out/man")).unwrap().count();
    assert_eq!(count, commands.len() + 1, "a page for each command, the program and its file");
}

#[test]
fn page_of_the_file_has_every_key() {
    let folder = Folder::new("");
    generated(&folder, &["man", "."]);
    let page = fs::read_to_string(folder.path(&format!("{}.toml.5", PROGRAM.name))).unwrap();
    let keys = PROGRAM.shipped.lines().filter(|line| !line.starts_with(['#', '[']));
    let keys: Vec<_> = keys.filter_map(|line| line.split_once(" = ")).collect();
    assert!(keys.len() > 5, "the shipped file has keys");
    for (key, _) in keys {
        assert!(page.contains(&format!("\\fB{}\\fR = ", key.replace('-', "\\-"))), "{key}");
    }
    for name in PROGRAM.shipped.split_whitespace().filter(|word| word.starts_with("TFO_")) {
        assert!(page.contains(name), "{name}");
    }
}

#[test]
fn completions_are_written_for_three_shells() {
    let folder = Folder::new("");
    generated(&folder, &["completions", "."]);
    for name in ["", "_", ".fish"] {
        let name = if name == "_" {
            format!("_{}", PROGRAM.name)
        } else {
            format!("{}{name}", PROGRAM.name)
        };
        let script = fs::read_to_string(folder.path(&name)).unwrap();
        assert!(script.contains("json"), "{name}: values are completed");
        assert!(!script.contains("package ships"), "{name}: what is for packages is hidden");
    }
}

#[test]
fn generated_file_is_the_shipped_one() {
    let folder = Folder::new("");
    let text = generated(&folder, &["config"]);
    assert_eq!(text, PROGRAM.shipped);
    folder.write("other.toml", text);
    folder.printed(&["-c", "other.toml"], &[]);
}

#[test]
fn folder_that_cannot_be_made_is_named() {
    let folder = Folder::new("");
    folder.write("file", "");
    let error = folder.refused(&["generate", "man", "file/man"], &[]);
    assert!(error.starts_with("can't write file/man: "), "{error}");
}
