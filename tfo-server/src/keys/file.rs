//! Key files and files with a fleet's secret: their format and their permissions.
//!
//! Both are text: hex digits, one key per line; `#` begins a comment. Errors name the file and the line, never the
//! content.

use std::error::Error;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use tfo_core::cli::file::open_regular;
use tfo_core::cookie::FastOpenKey;
use tfo_core::cookie::derived::Secret;

use crate::output::Failure;

/// Larger than any valid file. Stops reading a device or a log that was named by mistake.
const MAX_BYTES: u64 = 64 * 1024;

/// The primary key and an optional backup key.
pub(crate) type Pair = (FastOpenKey, Option<FastOpenKey>);

/// Why a key file cannot be used.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    fault: FileFault,
}

#[derive(Debug)]
enum FileFault {
    Unreadable(io::Error),
    /// Other users could read or change the file.
    Unsafe(String),
    Content(ContentError),
}

/// An invalid line, counted from 1; 0 refers to the whole file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ContentError {
    line: usize,
    reason: String,
}

/// The reader of a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyReader {
    /// A server that will use the keys: rejects a file that others could read or change.
    Server,
    /// A person who inspects the file: warns if a server would reject it.
    Person,
}

/// Reads a key file.
pub(crate) fn keys(path: &Path, reader: KeyReader) -> Result<Pair, FileError> {
    read(path, reader, parse_keys)
}

/// Reads a file with a fleet's secret.
pub(crate) fn secret(path: &Path, reader: KeyReader) -> Result<Secret, FileError> {
    read(path, reader, parse_secret)
}

/// Creates a file that only its owner can read. Never replaces an existing file.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| {
        // A partial key is useless. A failure to remove the file is ignored in favour of the first error.
        let _ = fs::remove_file(path);
    })
}

/// Parses the content of a key file.
pub(crate) fn parse_keys(text: &[u8]) -> Result<Pair, ContentError> {
    let mut keys: Vec<FastOpenKey> = Vec::new();
    for (line, word) in words(text)? {
        let error = |reason: &str| ContentError { line, reason: reason.to_owned() };
        if keys.len() == 2 {
            return Err(error("expected at most two keys"));
        }
        let key = FastOpenKey::from_hex(word).map_err(|_| {
            error(if word.contains('-') {
                "expected a key of 32 hex digits; `tfo-server keys convert` converts the sysctl's text"
            } else {
                "expected a key of 32 hex digits"
            })
        })?;
        if key.is_zero() {
            return Err(error("a key of zeros is not secret: expected a random one"));
        }
        if keys.contains(&key) {
            return Err(error(
                "the backup key equals the primary key: expected a different one, or none",
            ));
        }
        keys.push(key);
    }
    let mut keys = keys.into_iter();
    match keys.next() {
        Some(primary) => Ok((primary, keys.next())),
        None => Err(ContentError {
            line: 0,
            reason: "expected one or two keys, one per line: primary, then backup".to_owned(),
        }),
    }
}

/// Parses the content of a secret file.
fn parse_secret(text: &[u8]) -> Result<Secret, ContentError> {
    let expected = "expected one secret of 32 to 128 hex digits, not all zeros";
    let mut words = words(text)?.into_iter();
    let (line, word) =
        words.next().ok_or_else(|| ContentError { line: 0, reason: expected.to_owned() })?;
    if let Some((line, _)) = words.next() {
        return Err(ContentError { line, reason: "expected only one secret".into() });
    }
    Secret::from_hex(word).map_err(|_| ContentError { line, reason: expected.to_owned() })
}

/// Returns the lines that are not empty, with their numbers.
fn words(text: &[u8]) -> Result<Vec<(usize, &str)>, ContentError> {
    let text = std::str::from_utf8(text).map_err(|_| ContentError {
        line: 0,
        reason: "expected text; `tfo-server keys convert` converts raw keys".to_owned(),
    })?;
    let words = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok((1..).zip(words).filter(|(_, word)| !word.is_empty()).collect())
}

fn read<T>(
    path: &Path,
    reader: KeyReader,
    parse: fn(&[u8]) -> Result<T, ContentError>,
) -> Result<T, FileError> {
    let error = |fault| FileError { path: path.to_owned(), fault };
    let (bytes, risk) = read_bytes(path).map_err(|e| error(FileFault::Unreadable(e)))?;
    match (risk, reader) {
        (Some(risk), KeyReader::Server) => return Err(error(FileFault::Unsafe(risk))),
        (Some(risk), KeyReader::Person) => log::warn!("{}: {risk}", path.display()),
        (None, _) => {}
    }
    parse(&bytes).map_err(|e| error(FileFault::Content(e)))
}

/// Returns a file's content, and why its permissions are unsafe.
fn read_bytes(path: &Path) -> io::Result<(Vec<u8>, Option<String>)> {
    let file = open_regular(path)?;
    let metadata = file.metadata()?;
    let risk = risk(metadata.mode(), metadata.uid(), geteuid().as_raw());
    Ok((bounded(file)?, risk))
}

/// Reads a source completely, up to [`MAX_BYTES`], because it may be endless.
pub(crate) fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "expected at most 64 KiB"));
    }
    Ok(bytes)
}

/// Returns why users other than `user` could read or change a file with this mode and owner.
///
/// `user` is the effective user as reported by the kernel, not by `/proc`, which may be missing and where root owns
/// `/proc/self` if the program file has capabilities.
fn risk(mode: u32, owner: u32, user: u32) -> Option<String> {
    if mode & 0o077 != 0 {
        return Some(format!(
            "mode {:04o} allows access by others: expected 0600 or 0400",
            mode & 0o7777
        ));
    }
    (owner != 0 && owner != user)
        .then(|| format!("owned by user {owner}: expected root, or the server's user {user}"))
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            FileFault::Unreadable(_) => write!(f, "can't read {path}"),
            FileFault::Unsafe(why) => write!(f, "{path}: {why}"),
            FileFault::Content(ContentError { line: 0, reason }) => write!(f, "{path}: {reason}"),
            FileFault::Content(ContentError { line, reason }) => {
                write!(f, "{path}:{line}: {reason}")
            }
        }
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            FileFault::Unreadable(source) => Some(source),
            FileFault::Unsafe(_) | FileFault::Content(_) => None,
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::settings(&error)
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.reason),
            line => write!(f, "line {line}: {}", self.reason),
        }
    }
}

impl Error for ContentError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;
    use tfo_core::cli::error_chain;

    use super::*;

    const ONE: &str = "deadbeef01020304050607080910aabb";
    const TWO: &str = "DEADBEEF11121314151617181920AABB";

    #[test]
    fn keys_are_parsed_one_per_line_among_comments() {
        let one = FastOpenKey::from_hex(ONE).unwrap();
        let two = FastOpenKey::from_hex(TWO).unwrap();
        for (text, pair) in [
            (ONE.to_owned(), (one.clone(), None)),
            (format!("# made today\n\n  {ONE}  # primary\r\n"), (one.clone(), None)),
            (format!("{ONE}\n#{TWO}\n"), (one.clone(), None)),
            (format!("{ONE}\n\n{TWO}\n"), (one.clone(), Some(two))),
        ] {
            assert_eq!(parse_keys(text.as_bytes()).unwrap(), pair, "{text}");
        }
    }

    #[test]
    fn invalid_keys_are_reported_by_line_without_content() {
        let zeros = "00".repeat(16);
        let dashes = "deadbeef-deadbeef-deadbeef-deadbeef";
        for (text, message) in [
            (String::new(), "expected one or two keys, one per line"),
            ("# nothing\n".to_owned(), "expected one or two keys, one per line"),
            (format!("#\n{}\n", &ONE[1..]), "line 2: expected a key of 32 hex digits"),
            (format!("{ONE} {TWO}"), "line 1: expected a key of 32 hex digits"),
            (format!("{ONE}\n{dashes}"), "line 2: expected a key of 32 hex digits; `tfo-server"),
            (format!("{ONE}\n\n{ONE}"), "line 3: the backup key equals the primary"),
            (zeros, "line 1: a key of zeros"),
            (format!("{ONE}\n{TWO}\n{TWO}"), "line 3: expected at most two keys"),
        ] {
            let error = parse_keys(text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(message), "{text}: {error}");
            let shown = format!("{error} {error:?}").to_lowercase();
            assert!(!shown.contains("deadbeef"), "{shown}");
        }
        let error = parse_keys(&[0xde, 0xad, 0xbe, 0xef]).unwrap_err();
        assert!(error.to_string().starts_with("expected text"), "{error}");
    }

    #[test]
    fn secret_file_contains_exactly_one_secret() {
        let hex = ONE.repeat(2);
        let secret = parse_secret(format!("# fleet\n{hex}\n").as_bytes()).unwrap();
        assert_eq!(secret, Secret::from_hex(&hex).unwrap());
        for (text, message) in [
            (String::new(), "expected one secret of 32 to 128 hex digits"),
            (ONE[2..].to_owned(), "line 1: expected one secret of 32 to 128 hex digits"),
            (format!("{hex}\n{hex}"), "line 2: expected only one secret"),
        ] {
            let error = parse_secret(text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(message), "{text}: {error}");
            assert!(!format!("{error:?}").contains("deadbeef"), "{error:?}");
        }
    }

    #[test]
    fn files_accessible_by_other_users_are_unsafe() {
        for (mode, owner, user, expected) in [
            (0o100_600, 1000, 1000, ""),
            (0o100_400, 0, 1000, ""),
            (0o100_640, 1000, 1000, "mode 0640 allows access by others"),
            (0o100_604, 1000, 1000, "mode 0604 allows access by others"),
            (0o100_620, 1000, 1000, "mode 0620 allows access by others"),
            (0o100_600, 1001, 1000, "owned by user 1001: expected root, or the server's"),
            (0o100_600, 1001, 0, "owned by user 1001"),
        ] {
            let found = risk(mode, owner, user).unwrap_or_default();
            assert!(found.starts_with(expected), "{mode:o} {owner}: {found}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{mode:o} {owner}: {found}");
        }
    }

    #[test]
    fn new_file_is_private_and_never_replaces_another() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("key");
        create(&path, ONE.as_bytes()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let pair = keys(&path, KeyReader::Server).unwrap();
        assert_eq!(pair.0.reveal_hex(), ONE);
        let error = create(&path, TWO.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), ONE, "the file is unchanged");
    }

    #[test]
    fn file_refused_by_a_server_may_be_inspected() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("key");
        create(&path, ONE.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = keys(&path, KeyReader::Server).unwrap_err();
        assert!(error_chain(&error).contains("key: mode 0644 allows access by others"), "{error}");
        assert!(!format!("{error:?}").contains("deadbeef"));
        keys(&path, KeyReader::Person).unwrap();
        let error = keys(folder.path(), KeyReader::Person).unwrap_err();
        assert!(error_chain(&error).ends_with("it is not a regular file"), "{error}");
        let error = keys(&folder.path().join("none"), KeyReader::Person).unwrap_err();
        assert!(error_chain(&error).contains("No such file"), "{error}");
    }
}
