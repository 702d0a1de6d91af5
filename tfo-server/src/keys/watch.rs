//! A file that is read again and again.

use std::path::{Path, PathBuf};

use tfo_core::cli::error_chain;

use super::file::FileError;

/// What a file says, and whether that has changed.
///
/// Its content is compared, not its times: a file is small, and times are too coarse for two changes
/// in a row. A change counts once it was found the same twice, so that a file that is being written,
/// or is away for a moment, is not taken for what its writer means.
#[derive(Debug)]
pub(super) struct WatchedFile<T> {
    path: PathBuf,
    read: fn(&Path) -> Result<T, FileError>,
    current: T,
    candidate: Option<T>,
    problem: Option<ReadProblem>,
}

/// Why the file can't be used.
#[derive(Debug)]
struct ReadProblem {
    why: String,
    told: bool,
}

/// What a look has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// Nothing new.
    Same,
    /// The file says something else now.
    Changed,
    /// What the file says can't be used. Said once for each reason.
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

    /// What the file said when it last could be used.
    pub(super) fn current(&self) -> &T {
        &self.current
    }

    /// Reads the file again. `asked`: its writer says that it is finished.
    pub(super) fn check(&mut self, asked: bool) -> FileChange {
        let candidate = self.candidate.take();
        match (self.read)(&self.path) {
            Err(e) => self.refuse(error_chain(&e), asked),
            Ok(found) => {
                self.problem = None;
                if found == self.current {
                    return FileChange::Same;
                }
                if asked || candidate.as_ref() == Some(&found) {
                    self.current = found;
                    return FileChange::Changed;
                }
                self.candidate = Some(found);
                FileChange::Same
            }
        }
    }

    fn refuse(&mut self, why: String, asked: bool) -> FileChange {
        let (again, told) = match &self.problem {
            Some(problem) if problem.why == why => (true, problem.told),
            _ => (false, false),
        };
        let tell = asked || (again && !told);
        self.problem = Some(ReadProblem { why: why.clone(), told: told || tell });
        if tell { FileChange::Refused(why) } else { FileChange::Same }
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
    fn a_change_counts_once_it_was_found_twice() {
        let folder = TempDir::new().unwrap();
        let (path, mut watched) = watched(&folder);
        assert_eq!(watched.check(false), FileChange::Same);
        fs::write(&path, text(2)).unwrap();
        assert_eq!(watched.check(false), FileChange::Same, "it may be being written");
        fs::write(&path, text(2) + &text(1)).unwrap();
        assert_eq!(watched.check(false), FileChange::Same, "it was");
        assert_eq!(watched.check(false), FileChange::Changed);
        assert!(watched.current().1.is_some());
        assert_eq!(watched.check(false), FileChange::Same);
    }

    #[test]
    fn who_asks_is_not_kept_waiting() {
        let folder = TempDir::new().unwrap();
        let (path, mut watched) = watched(&folder);
        assert_eq!(watched.check(true), FileChange::Same);
        fs::write(&path, text(2)).unwrap();
        assert_eq!(watched.check(true), FileChange::Changed);
        fs::remove_file(&path).unwrap();
        assert!(matches!(watched.check(true), FileChange::Refused(_)));
        assert!(matches!(watched.check(true), FileChange::Refused(_)), "each time that one asks");
    }

    #[test]
    fn a_file_that_is_away_for_a_moment_is_no_trouble_and_a_lasting_one_is_told_once() {
        let folder = TempDir::new().unwrap();
        let (path, mut watched) = watched(&folder);
        fs::remove_file(&path).unwrap();
        assert_eq!(watched.check(false), FileChange::Same, "it may be being replaced");
        let FileChange::Refused(why) = watched.check(false) else { panic!("it is gone") };
        assert!(why.contains("keys: No such file"), "{why}");
        assert_eq!(watched.check(false), FileChange::Same, "that was told");
        file::create(&path, text(1).as_bytes()).unwrap();
        assert_eq!(watched.check(false), FileChange::Same, "as before");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(watched.check(false), FileChange::Same);
        assert!(matches!(watched.check(false), FileChange::Refused(_)), "another reason");
        assert_eq!(watched.current().0.reveal_hex(), text(1).trim(), "the old one stays");
    }
}
