//! Watches a file by reading it repeatedly.

use std::path::{Path, PathBuf};

use tfo_core::cli::error_chain;

use super::file::FileError;

/// The content of a file, and whether it has changed.
///
/// Compares the content, not the modification time: the file is small, and times are too coarse for two changes in a
/// row. A change counts once it was read twice in a row, so that a file that is being written or replaced is ignored.
#[derive(Debug)]
pub(super) struct WatchedFile<T> {
    path: PathBuf,
    read: fn(&Path) -> Result<T, FileError>,
    current: T,
    candidate: Option<T>,
    problem: Option<ReadProblem>,
}

/// Why the file cannot be used.
#[derive(Debug)]
struct ReadProblem {
    why: String,
    reported: bool,
}

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// The content is the same.
    Same,
    /// The content has changed.
    Changed,
    /// The file cannot be used. Returned once per reason.
    Refused(String),
}

impl<T: PartialEq> WatchedFile<T> {
    /// Reads the file for the first time.
    pub(super) fn read(
        path: &Path,
        read: fn(&Path) -> Result<T, FileError>,
    ) -> Result<Self, FileError> {
        let current = read(path)?;
        Ok(Self { path: path.to_owned(), read, current, candidate: None, problem: None })
    }

    /// Returns the content when the file was last usable.
    pub(super) fn current(&self) -> &T {
        &self.current
    }

    /// Reads the file again. `requested`: its writer has finished, so a change counts at once.
    pub(super) fn check(&mut self, requested: bool) -> FileChange {
        let candidate = self.candidate.take();
        match (self.read)(&self.path) {
            Err(e) => self.refuse(error_chain(&e), requested),
            Ok(found) => {
                self.problem = None;
                if found == self.current {
                    return FileChange::Same;
                }
                if requested || candidate.as_ref() == Some(&found) {
                    self.current = found;
                    return FileChange::Changed;
                }
                self.candidate = Some(found);
                FileChange::Same
            }
        }
    }

    fn refuse(&mut self, why: String, requested: bool) -> FileChange {
        let (again, reported) = match &self.problem {
            Some(problem) if problem.why == why => (true, problem.reported),
            _ => (false, false),
        };
        let report = requested || (again && !reported);
        self.problem = Some(ReadProblem { why: why.clone(), reported: reported || report });
        if report { FileChange::Refused(why) } else { FileChange::Same }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::super::file::{self, KeyReader, Pair};
    use super::*;

    fn watched(folder: &TempDir) -> (PathBuf, WatchedFile<Pair>) {
        let path = folder.path().join("keys");
        file::create(&path, text(1).as_bytes()).unwrap();
        let watched = WatchedFile::read(&path, |path| file::keys(path, KeyReader::Server)).unwrap();
        (path, watched)
    }

    fn text(number: u8) -> String {
        format!("{number:032x}\n")
    }

    #[test]
    fn change_counts_after_two_equal_reads() {
        let folder = TempDir::new().unwrap();
        let (path, mut watched) = watched(&folder);
        assert_eq!(watched.check(false), FileChange::Same);
        fs::write(&path, text(2)).unwrap();
        assert_eq!(watched.check(false), FileChange::Same, "the file may be incomplete");
        fs::write(&path, text(2) + &text(1)).unwrap();
        assert_eq!(
            watched.check(false),
            FileChange::Same,
            "the content differs from the last read"
        );
        assert_eq!(watched.check(false), FileChange::Changed);
        assert!(watched.current().1.is_some());
        assert_eq!(watched.check(false), FileChange::Same);
    }

    #[test]
    fn requested_check_applies_changes_at_once() {
        let folder = TempDir::new().unwrap();
        let (path, mut watched) = watched(&folder);
        assert_eq!(watched.check(true), FileChange::Same);
        fs::write(&path, text(2)).unwrap();
        assert_eq!(watched.check(true), FileChange::Changed);
        fs::remove_file(&path).unwrap();
        assert!(matches!(watched.check(true), FileChange::Refused(_)));
        assert!(matches!(watched.check(true), FileChange::Refused(_)), "reported at each request");
    }

    #[test]
    fn missing_file_is_reported_once_and_only_if_it_lasts() {
        let folder = TempDir::new().unwrap();
        let (path, mut watched) = watched(&folder);
        fs::remove_file(&path).unwrap();
        assert_eq!(watched.check(false), FileChange::Same, "the file may be being replaced");
        let FileChange::Refused(why) = watched.check(false) else { panic!("expected a report") };
        assert!(why.contains("keys: No such file"), "{why}");
        assert_eq!(watched.check(false), FileChange::Same, "reported already");
        file::create(&path, text(1).as_bytes()).unwrap();
        assert_eq!(watched.check(false), FileChange::Same, "the content is the same");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(watched.check(false), FileChange::Same);
        assert!(matches!(watched.check(false), FileChange::Refused(_)), "another reason");
        assert_eq!(watched.current().0.reveal_hex(), text(1).trim(), "the old key remains");
    }
}
