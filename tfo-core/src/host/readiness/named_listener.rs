//! The name of a listener in findings.

use std::fmt;
use std::net::SocketAddr;

use crate::host::{Listener, Owners, Process};

/// A listener, by its address and the processes that hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct NamedListener {
    /// The address of the listener.
    pub address: SocketAddr,
    /// The user that created the listener.
    pub uid: u32,
    /// The effective length of its fast open queue; 0: fast open is off at this listener.
    pub fast_open_queue: u32,
    /// The processes that hold the listener, as far as this process may see them.
    pub processes: Vec<Process>,
}

impl NamedListener {
    /// Names a listener.
    #[must_use]
    pub fn new(listener: &Listener, owners: &Owners) -> Self {
        Self {
            address: listener.address,
            uid: listener.uid,
            fast_open_queue: listener.fast_open_queue,
            processes: owners.of_inode(listener.inode).to_vec(),
        }
    }
}

/// `0.0.0.0:80 (nginx, pid 812)`.
impl fmt::Display for NamedListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.processes.first() else {
            return write!(f, "{} (of user {})", self.address, self.uid);
        };
        // A process chooses its name itself.
        let name: String = first.name.chars().filter(|c| !c.is_control()).collect();
        write!(f, "{} ({name}, pid {}", self.address, first.pid)?;
        match self.processes.len() {
            1 => f.write_str(")"),
            more => write!(f, " and {} more)", more - 1),
        }
    }
}
