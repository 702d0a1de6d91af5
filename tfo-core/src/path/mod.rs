//! Which hop of a path changes, refuses or drops SYNs of fast open. Needs no privilege.
//!
//! A SYN with a small TTL ends at a hop, which answers by an ICMP error and quotes the SYN as it arrived there. The kernel
//! hands that error to an ordinary user's socket. [`survey`] sends SYNs of several [kinds](SynKind) to each hop and
//! collects what comes back in a [`PathMap`]; [`locate()`] says what it shows: [faults](Fault), each between two hops.
//!
//! ```no_run
//! use tfo_core::path::{PathMap, Plan, SocketProber, SynKind, conclude, survey};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (target, local) = ("198.51.100.1:443".parse()?, "192.0.2.7".parse()?);
//! let mut prober = SocketProber::new(target, local, None, None)?;
//! let mut map = PathMap::new(prober.local(), target);
//! survey(&mut prober, &Plan::new(SynKind::ALL.to_vec()), &mut map, &mut |_, _, _| true)?;
//! for sentence in conclude(&map, &[]).sentences(&map) {
//!     println!("{sentence}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | file | subject |
//! | --- | --- |
//! | `prober` | sends SYNs; the only sockets |
//! | `conclude` | what the two ends add: what arrived, and what came back |
//! | `words` | faults in sentences, and whom to ask |
//! | `survey/` | which SYNs are sent, and when it is enough |
//! | `plan` | the plan of a survey, and the trait that sends its SYNs |
//! | `locate` | from samples to faults |
//! | `map` | all samples, by hop and kind |
//! | `reading` | a quote held against the SYN that was sent |
//! | `fault`, `sample`, `kind`, `chance` | the values |

mod chance;
mod conclude;
mod fault;
mod kind;
mod locate;
mod map;
mod plan;
mod prober;
mod reading;
mod sample;
mod survey;
mod words;

pub use chance::at_most;
pub use conclude::{Conclusion, EndToEnd, conclude};
pub use fault::{Fault, FaultKind};
pub use kind::SynKind;
pub use locate::locate;
pub use map::{Cell, PathMap, SMALL};
pub use plan::{Plan, Prober, Stage};
pub use prober::SocketProber;
pub use reading::{Change, SentSyn, hex_without_cookie};
pub use sample::{IcmpError, IcmpReply, Reply, Sample, Shot};
pub use survey::survey;
pub use words::{FaultGroup, groups};
