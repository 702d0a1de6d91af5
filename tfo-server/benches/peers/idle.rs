//! Memory of the server's process per waiting connection.

use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ground::{CLIENT_CORE, Ground, Started};
use crate::measure::memory;
use crate::peers::{self, Peer, TFO_SERVER};
use crate::{Result, say, speed};

const CONNECTIONS: usize = 18_000;
/// Much longer than the accepts take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Length of an incomplete request.
const UNFINISHED: usize = 40;
const PORT: u16 = 20_100;

/// A kind of connection, and the maximum memory per connection of `tfo-server`.
struct Case {
    title: &'static str,
    peers: &'static [Peer],
    sent: usize,
    /// Number of the server's connections per client connection.
    descriptors: usize,
    at_most: f64,
}

const CASES: [Case; 3] = [
    Case { title: "nothing sent", peers: peers::IDLE, sent: 0, descriptors: 1, at_most: 512.0 },
    Case {
        title: "40 bytes of a head",
        peers: peers::IDLE,
        sent: UNFINISHED,
        descriptors: 1,
        at_most: 1024.0,
    },
    Case {
        title: "forwarded pair",
        peers: peers::FORWARD,
        sent: UNFINISHED,
        descriptors: 2,
        at_most: 1024.0,
    },
];

/// Measures all cases. Returns a Markdown table.
pub(crate) fn measure(ground: &Ground) -> String {
    let mut text =
        "| connections | server | how many | bytes each |\n| --- | --- | --- | --- |\n".to_owned();
    let mut targets = String::new();
    for case in CASES {
        // The server needs some more for itself.
        let count = CONNECTIONS.min((ground.descriptors - 500) / case.descriptors);
        for peer in case.peers {
            say(&format!("{count} idle connections, {}: {}", case.title, peer.name));
            match memory_per_connection(ground, peer, &case, count) {
                Ok(bytes) => {
                    let _ =
                        writeln!(text, "| {} | {} | {count} | {bytes:.0} |", case.title, peer.name);
                    if peer.name.starts_with(TFO_SERVER) {
                        let word = if bytes <= case.at_most { "reached" } else { "MISSED " };
                        let _ = writeln!(
                            targets,
                            "{word}: {}: {bytes:.0} B, to be at most {}",
                            case.title, case.at_most
                        );
                    }
                }
                Err(e) => say(&format!("LEFT OUT: {}: {e}", peer.name)),
            }
        }
    }
    text + "\n" + &targets
}

/// Returns the memory per connection. Starts a new server each time, because memory that was used once is not given
/// back.
fn memory_per_connection(ground: &Ground, peer: &Peer, case: &Case, count: usize) -> Result<f64> {
    let _upstream =
        if case.descriptors == 2 { Some(speed::upstream(ground, "hold")?) } else { None };
    let server = speed::start(ground, peer, PORT)?;
    // In this order: a server that has just started has descriptors that it will close.
    let (before, own) = (settled(&server)?, descriptors(&server)?);
    let arguments = ["idle".to_owned(), PORT.to_string(), count.to_string(), case.sent.to_string()];
    let _client = ground.client_that_stays(CLIENT_CORE, &arguments)?;
    let end = Instant::now() + PATIENCE;
    let wanted = own + count * case.descriptors;
    while descriptors(&server)? < wanted {
        if Instant::now() > end {
            return Err(
                format!("{} descriptors are open, not {wanted}", descriptors(&server)?).into()
            );
        }
        sleep(Duration::from_millis(50));
    }
    let after = settled(&server)?;
    say(&format!("    from {:.0} kB to {:.0} kB", before / 1024.0, after / 1024.0));
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    let count = count as f64;
    Ok((after - before) / count)
}

/// Returns the memory once it has not changed for half a second.
fn settled(server: &Started) -> Result<f64> {
    let end = Instant::now() + PATIENCE;
    let mut last = memory(server.id())?;
    loop {
        sleep(Duration::from_millis(500));
        let now = memory(server.id())?;
        if now.to_bits() == last.to_bits() || Instant::now() > end {
            return Ok(now);
        }
        last = now;
    }
}

fn descriptors(server: &Started) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", server.id()))?.count())
}
