//! Connects a few times with a dialer, and prints how each message was sent and what the dialer remembers.
//!
//! `cargo run -p tfo-core --example dialer -- example.org:80`
//!
//! Needs a server that answers to a line, such as `tfo-server` or a web server.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::env;
use std::error::Error;
use std::io::Read;
use std::time::Duration;

use tfo_core::dialer::{Dialer, Message};

fn main() -> Result<(), Box<dyn Error>> {
    let server = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2222".to_owned());
    let dialer = Dialer::new().timeout(Duration::from_secs(5));
    // Whoever reads it twice has done no harm.
    let request = Message::idempotent(b"GET / HTTP/1.0\r\n\r\n");
    for number in 1..=3 {
        let mut stream = dialer.dial(&server, request)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let length = stream.read(&mut [0; 4096])?;
        let saved = stream.info()?.syn_data;
        println!(
            "{number}  {length} bytes from {}, SYN data accepted: {saved}",
            stream.peer_addr()?
        );
    }
    for path in dialer.paths().entries() {
        println!("{}: regular connections until {}", path.destination, path.until);
    }
    Ok(())
}
