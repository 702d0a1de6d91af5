//! What the program does besides serving.

pub(crate) mod check;
pub(crate) mod keys;
pub(crate) mod top;
