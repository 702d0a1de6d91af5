//! Finds the process that holds a socket, by the `socket:[…]` links under `/proc/PID/fd`.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::process;

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Process {
    /// Its process ID, as this process sees it.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub pid: u32,
    /// Its name (`/proc/PID/comm`): at most 15 bytes, chosen by the process.
    pub name: String,
}

/// The sockets of the processes whose file descriptors this process may see: those of its user, for root all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    by_inode: HashMap<u64, Vec<Process>>,
    hidden: usize,
}

impl Owners {
    /// Reads `/proc`. Processes that cannot be read belong to others, and are counted.
    #[must_use]
    pub fn read() -> Self {
        Self::of(Path::new("/proc"))
    }

    fn of(proc: &Path) -> Self {
        let mut owners = Self::default();
        for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            owners.add(pid, &entry.path());
        }
        for processes in owners.by_inode.values_mut() {
            processes.sort_by_key(|process| process.pid);
            processes.dedup_by_key(|process| process.pid);
        }
        owners
    }

    fn add(&mut self, pid: u32, folder: &Path) {
        let links = match fs::read_dir(folder.join("fd")) {
            Ok(links) => links,
            Err(e) => {
                // A process that has ended meanwhile hides nothing.
                self.hidden += usize::from(e.kind() == std::io::ErrorKind::PermissionDenied);
                return;
            }
        };
        let mut process = None;
        for link in links.flatten() {
            let inode = fs::read_link(link.path()).ok();
            let Some(inode) = inode.and_then(|target| socket_inode(target.to_str()?)) else {
                continue;
            };
            let process = process.get_or_insert_with(|| {
                let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
                Process { pid, name: name.trim_end().to_owned() }
            });
            self.by_inode.entry(inode).or_default().push(process.clone());
        }
    }

    /// Returns the processes that hold the socket with this inode, by process ID; empty if this process may see
    /// none.
    #[must_use]
    pub fn of_inode(&self, inode: u64) -> &[Process] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// Returns how many processes hide their file descriptors from this one.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }
}

/// Duplicates the socket with this inode from the process that holds it. `None`: no process whose file descriptors
/// may be seen holds it.
///
/// # Errors
/// [`Error::System`] with the kind `PermissionDenied` without the right to trace the process (`CAP_SYS_PTRACE`;
/// Yama may forbid it for the user's own processes too).
///
/// # References
/// - [`pidfd_getfd(2)`](https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html)
pub fn socket_of_inode(inode: u64) -> Result<Option<OwnedFd>> {
    let mut refused = None;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        for link in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(link.path()).ok();
            if target.and_then(|target| socket_inode(target.to_str()?)) != Some(inode) {
                continue;
            }
            let Some(number) = link.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match process::descriptor_of(pid, number) {
                Ok(socket) => return Ok(Some(socket)),
                Err(e) => {
                    refused = Some(Error::system("taking a socket of process", pid, e));
                }
            }
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Returns the inode in `socket:[123]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_sockets_link_has_an_inode() {
        assert_eq!(socket_inode("socket:[123]"), Some(123));
        for link in ["pipe:[123]", "socket:[x]", "socket:[123", "/dev/null", ""] {
            assert_eq!(socket_inode(link), None, "{link}");
        }
    }

    #[test]
    fn a_socket_of_this_process_is_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = crate::host::listeners().unwrap();
        let inode = found.iter().find(|found| found.address == address).unwrap().inode;
        let owners = Owners::read();
        let pids: Vec<_> = owners.of_inode(inode).iter().map(|process| process.pid).collect();
        assert!(pids.contains(&std::process::id()), "{pids:?}");
        assert_eq!(owners.of_inode(0), [], "nobody holds it");
    }

    #[test]
    fn folder_without_processes_hides_nothing() {
        assert_eq!(Owners::of(Path::new("/nowhere")), Owners::default());
    }
}
