//! A server that sends back what it gets, and says of each connection what became of fast open.
//!
//! `cargo run -p tfo-core --example echo_server -- 127.0.0.1:2222`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};

use tfo_core::diagnosis::{Evidence, judge};
use tfo_core::probe::ServerObserver;
use tfo_core::socket::{FastOpenListener, FastOpenStream};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2222".to_owned());
    let listener = FastOpenListener::builder(address.parse()?).listen()?;
    let observer = ServerObserver::new(&listener);
    println!("listening on {}", listener.local_addr());
    loop {
        let mut accepted = listener.accept()?;
        observer.accepted();
        // Without the client's half the verdict takes the server's point of view.
        let evidence = observer.evidence_with_counters(&accepted.arrival);
        let verdict = judge(&Evidence::new(None, Some(evidence)));
        println!("{}: {verdict}", accepted.arrival.peer);
        if let Err(e) = echo(&mut accepted.stream) {
            println!("{}: {e}", accepted.arrival.peer);
        }
    }
}

fn echo(stream: &mut FastOpenStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}
