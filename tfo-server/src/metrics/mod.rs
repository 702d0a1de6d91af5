//! What the server counts, and how that is shown: to Prometheus, to people, and by `tfo-server top`.
//!
//! | file | what |
//! | --- | --- |
//! | `stats` | the counters: each worker adds to its own, and a reader sums them |
//! | `usage` | what the process uses, of `/proc/self` |
//! | `families` | metrics as text: OpenMetrics, and the older format |
//! | `collect` | the families of what is counted |
//! | `endpoint` | `/metrics`, `/healthz` and `/readyz` |
//! | `parse`, `table` | metrics read back, and shown to people |
//! | `top` | `tfo-server top` |

pub(crate) mod collect;
pub(crate) mod endpoint;
pub(crate) mod families;
pub(crate) mod parse;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod top;
pub(crate) mod usage;
