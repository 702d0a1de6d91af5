//! The public interface of tfo-core is the one listed in `public-api.txt`: a change is intended, and seen in review.
//!
//! The lint `unreachable_pub` keeps each `pub` item of the sources reachable, so that the list is made from them.

use std::fmt::Write as _;
use std::{env, fs};

use super::{sources, workspace};

#[test]
fn public_interface_is_the_listed_one() {
    let path = workspace().join("tfo-core/tests/structure/public-api.txt");
    let listing = listing();
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &listing).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let missing = |from: &str, of: &str| -> Vec<String> {
        from.lines()
            .filter(|line| !of.lines().any(|other| other == *line))
            .map(str::to_owned)
            .collect()
    };
    let (gone, new) = (missing(&expected, &listing), missing(&listing, &expected));
    assert!(
        listing == expected,
        "gone: {gone:#?}\nnew: {new:#?}\n\
         if that is intended: UPDATE_SNAPSHOTS=1 cargo test -p tfo-core --test structure public_interface"
    );
}

/// Returns one line for each public item, field and variant, by file. `cli`, which is hidden from the docs, is left out.
fn listing() -> String {
    let mut listing = String::new();
    for (module, file) in &sources("tfo-core").files {
        if module.first().is_some_and(|first| first == "cli") {
            continue;
        }
        let items = items(&file.code);
        if !items.is_empty() {
            let _ = writeln!(listing, "{}", module.join("::"));
            for item in items {
                let _ = writeln!(listing, "    {item}");
            }
        }
    }
    listing
}

fn items(code: &str) -> Vec<String> {
    let mut items = Vec::new();
    let (mut block, mut lists_all) = (String::new(), false);
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let item = line.trim();
        if line.starts_with("impl") || line.starts_with("pub trait") {
            block = format!("{} ", signature(item, &mut lines.clone()));
            // The items of a public trait are public, and so is that a type has a trait.
            lists_all = line.starts_with("pub trait");
            if block.contains(" for ") && !block.contains("for PhantomData") {
                items.push(block.trim_end().to_owned());
            }
        } else if line.starts_with("pub enum") {
            block = format!("{}::", signature(item, &mut lines.clone()));
            items.push(block.trim_end_matches("::").to_owned());
            lists_all = true;
        } else if line.starts_with("pub struct") {
            block = format!("{}::", signature(item, &mut lines.clone()));
            items.push(block.trim_end_matches("::").to_owned());
            lists_all = false;
        } else if line.starts_with('}') {
            (block, lists_all) = (String::new(), false);
        } else if item.starts_with("pub ") || (lists_all && is_member(line)) {
            let signature = signature(item, &mut lines.clone());
            items.push(format!("{block}{}", signature.trim_end_matches(',')));
        }
    }
    items
}

/// Whether a line begins an item of an enum or of a trait.
fn is_member(line: &str) -> bool {
    let inside = line.strip_prefix("    ");
    inside.is_some_and(|item| item.starts_with(|first: char| first.is_ascii_alphabetic()))
}

/// Returns an item up to its body, on one line.
fn signature(first: &str, following: &mut std::str::Lines<'_>) -> String {
    let mut text = first.to_owned();
    let ends: &[char] = if text.starts_with("pub use ") { &[';'] } else { &['{', ';', ',', '}'] };
    let open = |text: &str| text.matches(['(', '<']).count() > text.matches([')', '>']).count();
    while !text.ends_with(ends) || (text.ends_with(',') && open(&text)) {
        let Some(next) = following.next() else { break };
        text = format!("{text} {}", next.trim());
    }
    let end = text.find('{').filter(|_| !text.starts_with("pub use ")).unwrap_or(text.len());
    text[..end].trim_end_matches([';', ' ']).split_whitespace().collect::<Vec<_>>().join(" ")
}
