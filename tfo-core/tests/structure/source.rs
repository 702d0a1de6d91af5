//! The sources of a crate, and the modules that each file names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its names from the crate's root: `["diagnosis", "judge", "client"]`.
pub(crate) type Module = Vec<String>;

/// The files of a crate's `src`, without its root.
pub(crate) struct Crate {
    pub(crate) files: BTreeMap<Module, File>,
    /// What a module re-exports: name to path.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// The code without comments, strings and tests.
    pub(crate) code: String,
}

impl Crate {
    pub(crate) fn read(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let module = module_of(path.strip_prefix(src).unwrap());
                    let code = without_tests(&without_text(&fs::read_to_string(&path).unwrap()));
                    files.insert(module, File { path, code });
                }
            }
        }
        files.retain(|module, _| !module.iter().any(|name| name.ends_with("tests")));
        assert!(files.len() > 20, "the sources were not found in {}", src.display());
        let mut this = Self { files, exports: BTreeMap::new() };
        for (module, file) in &this.files {
            let paths = imports(&file.code).into_iter();
            let exports = paths.map(|path| (path.last().unwrap().clone(), path)).collect();
            this.exports.insert(module.clone(), exports);
        }
        this
    }

    /// Returns the files that this one names, without itself and the modules around it.
    pub(crate) fn uses(&self, module: &Module) -> BTreeSet<Module> {
        let code = &self.files[module].code;
        let mut uses: BTreeSet<_> =
            paths(code).iter().filter_map(|path| self.resolve(module, path, 0)).collect();
        uses.retain(|used| !used.starts_with(module) && !module.starts_with(used));
        uses
    }

    /// Returns the file that defines what this path names, for a file of `module`.
    fn resolve(&self, module: &Module, path: &[String], depth: u32) -> Option<Module> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (module.clone(), &path[1..]),
            "super" => (module[..module.len().checked_sub(1)?].to_vec(), &path[1..]),
            name if self.is_module(&[module.as_slice(), &[name.to_owned()]].concat()) => {
                (module.clone(), path)
            }
            _ => return None,
        };
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                at.pop();
            } else {
                let inside = [at.as_slice(), std::slice::from_ref(name)].concat();
                if !self.is_module(&inside) {
                    break;
                }
                at = inside;
            }
            rest = after;
        }
        // A re-export belongs to the file that defines it.
        if let Some(from) = rest.first().and_then(|name| self.exports.get(&at)?.get(name))
            && depth < 8
            && let Some(found) = self.resolve(&at, from, depth + 1)
        {
            return Some(found);
        }
        self.files.contains_key(&at).then_some(at)
    }

    fn is_module(&self, module: &[String]) -> bool {
        self.files.contains_key(module)
    }
}

fn module_of(file: &Path) -> Module {
    let mut names: Module =
        file.with_extension("").iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if names.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
        names.pop();
    }
    names
}

/// Returns the code with comments and the content of strings replaced by blanks, line by line.
fn without_text(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let end = match next {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => end_of_string(rest, "\"", true),
            'r' if rest.starts_with("r#\"") => end_of_string(&rest[2..], "\"#", false) + 2,
            'r' if rest.starts_with("r\"") => end_of_string(&rest[1..], "\"", false) + 1,
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\''") || rest.starts_with("'\\\"'") => 4,
            '\'' if rest.starts_with("'{'") || rest.starts_with("'}'") => 3,
            _ => {
                code.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            }
        };
        code.extend(rest[..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    code
}

/// Returns the length of a string that begins with a quote.
fn end_of_string(text: &str, close: &str, escapes: bool) -> usize {
    let mut at = 1;
    while at < text.len() {
        if escapes && text[at..].starts_with('\\') {
            at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
        } else if text[at..].starts_with(close) {
            return at + close.len();
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the code without the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        rest = &item[end_of_item(item)..];
    }
    kept + rest
}

/// Returns where an item ends: at its semicolon or its closing brace.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' | ')' | ']' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Returns the paths of all `use` items.
fn imports(code: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].chars().next_back();
        if before.is_none_or(|c| c.is_whitespace() || c == ')') {
            let item = &code[at + 4..];
            expand(&item[..item.find(';').unwrap_or(item.len())], &[], &mut paths);
        }
    }
    paths
}

/// Returns the paths of all `use` items, and those in the code that begin with `crate`, `super` or `self`.
fn paths(code: &str) -> Vec<Module> {
    let mut paths = imports(code);
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':') {
                let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                let length = code[at..].find(|c| !is_path(c)).unwrap_or(code.len() - at);
                expand(&code[at..at + length], &[], &mut paths);
            }
        }
    }
    paths
}

/// Expands `a::{b, c::d as e}`.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Module>) {
    let tree = tree.trim();
    if let Some(at) = tree.find('{') {
        let prefix = [before, &names(&tree[..at])].concat();
        let inside = &tree[at + 1..tree.rfind('}').unwrap_or(tree.len())];
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inside[start..at].trim().is_empty() {
                        expand(&inside[start..at], &prefix, paths);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
    } else {
        let mut path = [before, &names(tree.split(" as ").next().unwrap())].concat();
        // `a::{self}` is `a`.
        if path.len() > 1 && path.last().is_some_and(|name| name == "self") {
            path.pop();
        }
        if !path.is_empty() {
            paths.push(path);
        }
    }
}

fn names(path: &str) -> Module {
    path.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let text = "use crate::a; // use crate::b;\nconst C: &str = \"crate::c\";\n\
                #[cfg(test)]\nmod tests { use crate::d; }\nfn f() { crate::e::g() }\n\
                #[cfg(test)]\nuse crate::h;\nconst Q: char = '\"'; use super::i::{j, k::{self, l}};";
    let code = without_tests(&without_text(text));
    let mut found: Vec<_> = paths(&code).iter().map(|path| path.join("::")).collect();
    found.sort();
    found.dedup();
    assert_eq!(
        found,
        ["crate::a", "crate::e::g", "super::i", "super::i::j", "super::i::k", "super::i::k::l"]
    );
}
