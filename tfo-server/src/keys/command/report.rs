//! The output of `tfo-server keys`: fingerprints, and the keys themselves on request.

use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;
use tfo_core::cli::value::Format;
use tfo_core::cookie::{FastOpenKey, Fingerprint};

use crate::keys::file::Pair;
use crate::output::json;

/// A file that was created.
pub(crate) enum MadeFile {
    Key(Fingerprint),
    Secret(Fingerprint),
}

/// The location of keys.
pub(crate) enum KeyLocation<'a> {
    File(&'a Path),
    Sysctl,
    Listener(SocketAddr),
}

#[derive(Serialize)]
struct MadeDocument {
    schema: u32,
    path: String,
    kind: &'static str,
    fingerprint: Fingerprint,
}

#[derive(Serialize)]
struct KeysDocument {
    schema: u32,
    source: &'static str,
    path: Option<String>,
    keys: Vec<KeyEntry>,
}

#[derive(Serialize)]
struct KeyEntry {
    slot: &'static str,
    fingerprint: Fingerprint,
    /// Only on request.
    #[serde(rename = "key", skip_serializing_if = "Option::is_none")]
    revealed: Option<String>,
}

#[derive(Serialize)]
struct ComparedDocument {
    schema: u32,
    same: bool,
    matches: Vec<SharedKey>,
    a: ComparedFile,
    b: ComparedFile,
}

#[derive(Serialize)]
struct ComparedFile {
    path: String,
    keys: Vec<KeyEntry>,
}

/// Two slots that contain the same key.
#[derive(Serialize)]
struct SharedKey {
    a: &'static str,
    b: &'static str,
    fingerprint: Fingerprint,
}

pub(crate) fn made(path: &Path, made: &MadeFile, format: Format) -> String {
    let (kind, fingerprint) = match made {
        MadeFile::Key(fingerprint) => ("key", *fingerprint),
        MadeFile::Secret(fingerprint) => ("secret", *fingerprint),
    };
    let path = path.display().to_string();
    match format {
        Format::Json => json(&MadeDocument { schema: 1, path, kind, fingerprint }) + "\n",
        Format::Text => format!("{kind} {fingerprint} in {path}\n"),
    }
}

pub(crate) fn shown(
    source: &KeyLocation<'_>,
    pair: Option<&Pair>,
    reveal: bool,
    format: Format,
) -> String {
    let keys = pair.map_or_else(Vec::new, |pair| keys(pair, reveal));
    let shown = source;
    let (source, path) = match shown {
        KeyLocation::File(path) => ("file", Some(path.display().to_string())),
        KeyLocation::Sysctl => ("sysctl", None),
        KeyLocation::Listener(address) => ("listener", Some(address.to_string())),
    };
    match format {
        Format::Json => json(&KeysDocument { schema: 1, source, path, keys }) + "\n",
        Format::Text if keys.is_empty() => match shown {
            KeyLocation::Listener(_) => {
                "no keys of its own: uses those of its network namespace, see --sysctl\n"
            }
            _ => "no key yet: the first listener with fast open creates a random one\n",
        }
        .to_owned(),
        Format::Text => keys.iter().map(line).collect(),
    }
}

pub(crate) fn compared(
    (a, a_pair): (&Path, &Pair),
    (b, b_pair): (&Path, &Pair),
    format: Format,
) -> String {
    let same = a_pair == b_pair;
    let matches: Vec<SharedKey> =
        key_slots(a_pair)
            .flat_map(|(a, key)| {
                key_slots(b_pair)
                    .filter(move |(_, other)| *other == key)
                    .map(move |(b, _)| SharedKey { a, b, fingerprint: key.fingerprint() })
            })
            .collect();
    let side = |path: &Path, pair| ComparedFile {
        path: path.display().to_string(),
        keys: keys(pair, false),
    };
    let (a, b) = (side(a, a_pair), side(b, b_pair));
    match format {
        Format::Json => json(&ComparedDocument { schema: 1, same, matches, a, b }) + "\n",
        Format::Text => compared_text(same, &matches, &a, &b),
    }
}

fn compared_text(same: bool, matches: &[SharedKey], a: &ComparedFile, b: &ComparedFile) -> String {
    let mut text = String::new();
    for side in [a, b] {
        let keys: Vec<_> =
            side.keys.iter().map(|key| format!("{} {}", key.slot, key.fingerprint)).collect();
        text += &format!("{}: {}\n", side.path, keys.join(", "));
    }
    if same {
        return text + "the same\n";
    }
    let shared: Vec<_> = matches
        .iter()
        .map(|SharedKey { a, b, .. }| {
            if a == b {
                format!("the same {a}")
            } else {
                format!("the {a} of the first is the {b} of the second")
            }
        })
        .collect();
    let shared = if shared.is_empty() { "no key in common".to_owned() } else { shared.join("; ") };
    text + &format!("different: {shared}\n")
}

fn key_slots((primary, backup): &Pair) -> impl Iterator<Item = (&'static str, &FastOpenKey)> {
    [("primary", Some(primary)), ("backup", backup.as_ref())]
        .into_iter()
        .filter_map(|(slot, key)| Some((slot, key?)))
}

fn keys(pair: &Pair, reveal: bool) -> Vec<KeyEntry> {
    key_slots(pair)
        .map(|(slot, key)| KeyEntry {
            slot,
            fingerprint: key.fingerprint(),
            revealed: reveal.then(|| key.reveal_hex()),
        })
        .collect()
}

fn line(key: &KeyEntry) -> String {
    let revealed = key.revealed.as_ref().map_or_else(String::new, |key| format!(" {key}"));
    format!("{} {}{revealed}\n", key.slot, key.fingerprint)
}
