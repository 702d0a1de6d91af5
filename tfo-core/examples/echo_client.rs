//! Sends a message with the SYN, and prints the answer and whether a round trip was saved.
//!
//! `cargo run -p tfo-core --example echo_client -- 127.0.0.1:2222 hello`
//!
//! The first connection asks for a cookie; from the second on, the message rides the SYN.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::env;
use std::error::Error;
use std::io::Read;
use std::net::Shutdown;

use tfo_core::socket::{Attempt, FastOpenStream};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:2222".to_owned());
    let message = arguments.next().unwrap_or_else(|| "hello".to_owned());

    let mut stream = FastOpenStream::connect(server, message.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;

    println!("answer: {answer}");
    match stream.attempt() {
        Some(Attempt::InSyn(bytes)) => println!("the SYN took {bytes} bytes"),
        Some(other) => println!("no data in the SYN: {other:?}"),
        None => {}
    }
    println!("one round trip saved: {}", stream.info()?.syn_data);
    Ok(())
}
