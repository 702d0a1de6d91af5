//! How a connection arrived.

pub(crate) mod cookie_origin;
