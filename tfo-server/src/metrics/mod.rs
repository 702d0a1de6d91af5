//! The server's metrics: counters, and their output for Prometheus, for people, and for `tfo-server top`.
//!
//! | file | content |
//! | --- | --- |
//! | `stats` | counters: each worker adds to its own, and readers sum them |
//! | `usage` | resource usage of the process, from `/proc/self` |
//! | `families` | text formats: OpenMetrics, and the older format |
//! | `collect` | creates the metric families from the counters |
//! | `endpoint` | `/metrics`, `/healthz` and `/readyz` |
//! | `parse`, `table` | parses metrics, and formats them as a table |
//! | `top` | `tfo-server top` |

pub(crate) mod collect;
pub(crate) mod endpoint;
pub(crate) mod families;
pub(crate) mod parse;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod top;
pub(crate) mod usage;
