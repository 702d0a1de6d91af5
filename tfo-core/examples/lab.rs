//! A network on one machine, without root: two connections through a box that removes the fast open option.
//!
//! `cargo run -p tfo-core --features lab --example lab`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tfo_core::capture::{Ladder, TextStyle};
use tfo_core::diagnosis::{Evidence, judge};
use tfo_core::lab::{self, Middlebox, Network, PathSettings};
use tfo_core::probe::{Probe, serve_mirror};
use tfo_core::socket::FastOpenListener;

fn main() -> Result<(), Box<dyn Error>> {
    // Before the first thread: an ordinary user gets a user namespace here.
    lab::allow_hosts()?;
    let path = PathSettings::new().round_trip(Duration::from_millis(20));
    let network = Network::new(path)?;
    let server = SocketAddr::new(Network::server_address(false), 2222);
    let listener = network.server().run(move || FastOpenListener::builder(server).listen())?;
    network.server().run(|| thread::spawn(move || serve_mirror(&listener)));

    for (title, boxes) in [("as it is", &[][..]), ("with a box", &[Middlebox::StripSynOption])] {
        network.set_boxes(boxes);
        for _ in 0..2 {
            let seen = network.client().run(move || {
                Probe::new(server).reply_timeout(Duration::from_secs(2)).run(b"hello\n")
            });
            let verdict = judge(&Evidence::new(Some(seen.evidence), None));
            println!("{title}: {}: {verdict}", verdict.outcome);
        }
    }
    network.settle(Duration::from_millis(100));
    let ladder = Ladder::new("client", "server").title("all packets").packets(&network.packets());
    println!("\n{}", ladder.to_text(TextStyle::default()));
    Ok(())
}
