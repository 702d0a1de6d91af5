//! The only `unsafe`: system calls, by plain functions. Knows nothing of this crate's types.

pub(crate) mod netlink;
