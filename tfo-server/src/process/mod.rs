//! The process among others: what it inherits, whose rights it has, how many descriptors, and what it
//! tells the one who supervises it.

pub(crate) mod activation;
pub(crate) mod descriptors;
pub(crate) mod notify;
pub(crate) mod privileges;
pub(crate) mod usage;
