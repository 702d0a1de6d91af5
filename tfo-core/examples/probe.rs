//! Connects three times and prints what happened, why, and what to do next.
//!
//! `cargo run -p tfo-core --example probe -- 127.0.0.1:2222`

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::env;
use std::error::Error;
use std::time::Duration;

use tfo_core::diagnosis::{Evidence, judge};
use tfo_core::probe::Probe;

fn main() -> Result<(), Box<dyn Error>> {
    let server = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2222".to_owned());
    let probe = Probe::new(server.parse()?).reply_timeout(Duration::from_secs(2));
    for number in 1..=3 {
        let observation = probe.run(b"hello\n");
        let verdict = judge(&Evidence::new(Some(observation.evidence), None));
        println!("{number}  {}: {verdict}", verdict.outcome);
        if let Some(cause) = verdict.cause {
            println!("   cause: {cause}");
        }
        println!("   next:  {}", verdict.advice);
    }
    Ok(())
}
