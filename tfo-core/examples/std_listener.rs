//! Turns fast open on for a listener of the standard library, and reads what became of it.
//!
//! `cargo run -p tfo-core --example std_listener -- 127.0.0.1:2222`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;

use tfo_core::socket::option;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2222".to_owned());
    let listener = TcpListener::bind(address)?;
    // The only line that fast open takes. The kernel lowers the number to net.core.somaxconn.
    option::set_fastopen(&listener, 256)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let mut stream = stream?;
        let tcp = option::tcp_bits(&stream)?;
        let mut message = [0; 1024];
        let length = stream.read(&mut message)?;
        stream.write_all(&message[..length])?;
        println!("{}: data from its SYN: {}", stream.peer_addr()?, tcp.syn_data);
    }
    Ok(())
}
