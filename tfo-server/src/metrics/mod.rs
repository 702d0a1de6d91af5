//! What the server counts, and how that is shown: to Prometheus, to people, and by `tfo-server top`.

pub(crate) mod collect;
pub(crate) mod endpoint;
pub(crate) mod families;
pub(crate) mod parse;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod top;
pub(crate) mod usage;
