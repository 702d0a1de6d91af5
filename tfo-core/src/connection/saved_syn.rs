//! `TCP_SAVED_SYN`, the headers of the SYN as it arrived.

/// The IP and TCP headers of the SYN that made a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSyn {}
