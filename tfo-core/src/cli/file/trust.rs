//! Whether root may use a file: only if nobody else could have put it there, or could replace it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{self, Path},
};

/// Everybody may write: `S_IWOTH`.
const WORLD_WRITABLE: u32 = 0o002;
/// Only the owner of a file, or of the folder, may replace the file: `S_ISVTX`.
const STICKY: u32 = 0o1000;

/// Returns an error if somebody other than root could have created the file, or could replace it, because it is in a
/// world-writable folder.
///
/// All folders up to the root are checked, on the path as it is given and on the one that links lead to. In a sticky
/// folder such as `/tmp`, what belongs to root is safe, since nobody else can replace it; what belongs to others may
/// have been left there for root to find. Folders of ordinary users are not checked: root chose to use them.
pub(super) fn check(path: &Path) -> io::Result<()> {
    // A path that can't be resolved can't be opened either, or names a pipe.
    let paths = [path::absolute(path).ok(), fs::canonicalize(path).ok()];
    let risk = paths.iter().flatten().find_map(|path| risk(path));
    risk.map_or(Ok(()), |risk| Err(io::Error::new(io::ErrorKind::PermissionDenied, risk)))
}

fn risk(path: &Path) -> Option<String> {
    let regular = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
    if regular.is_some_and(|file| file.mode() & WORLD_WRITABLE != 0) {
        let path = path.display();
        return Some(format!(
            "everybody may change it, so root does not use it: `chmod o-w {path}`, after a look at its content"
        ));
    }
    path.ancestors().zip(path.ancestors().skip(1)).find_map(|(entry, folder)| {
        let (owner, mode) = (fs::symlink_metadata(entry).ok()?.uid(), fs::metadata(folder).ok()?.mode());
        let (entry, folder) = (entry.display(), folder.display());
        match (mode & WORLD_WRITABLE != 0, mode & STICKY != 0, owner) {
            (false, ..) | (true, true, 0) => None,
            (true, true, _) => Some(format!(
                "everybody may write to {folder}, and {entry} belongs to user {owner}, so root does not use it: \
                 move the file to /etc/tfo, or, after a look at its content, `chown -R root {entry}`"
            )),
            (true, false, _) => Some(format!(
                "everybody may replace {entry}, because {folder} is world-writable, so root does not use it: \
                 move the file to /etc/tfo, or `chmod o-w {folder}`"
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn file_that_others_could_replace_is_refused() {
        let dir = TempDir::new().unwrap();
        let (folder, own) = (dir.path().join("open"), dir.path().join("open/own"));
        fs::create_dir_all(&own).unwrap();
        let file = own.join("x.toml");
        fs::write(&file, "").unwrap();
        let reason = |path: &Path| risk(path).unwrap_or_default();

        mode(&folder, 0o777);
        assert!(
            reason(&file).contains(&format!("`chmod o-w {}`", folder.display())),
            "{}",
            reason(&file)
        );
        let link = dir.path().join("link.toml");
        symlink(&file, &link).unwrap();
        assert!(check(&link).is_err(), "the file behind a link");

        mode(&folder, 0o1777);
        // Only root can give files away; files of an ordinary user are those of another for root.
        if chown(&own, Some(65534), None).is_ok() || fs::metadata(&own).unwrap().uid() != 0 {
            let reason = reason(&file);
            assert!(reason.contains(&format!("chown -R root {}", own.display())), "{reason}");
        }
        mode(&folder, 0o755);
        mode(&file, 0o666);
        assert!(reason(&file).contains("chmod o-w"), "{}", reason(&file));
    }

    #[test]
    fn file_of_root_is_accepted_in_a_sticky_folder() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("x.toml");
        fs::write(&file, "").unwrap();
        mode(dir.path(), 0o1777);
        if fs::metadata(&file).unwrap().uid() == 0 {
            assert_eq!(risk(&file), None);
        }
        assert_eq!(risk(Path::new("/dev/null")), None, "a device is no file");
        assert_eq!(risk(Path::new("/no/such/file")), None);
    }
}
