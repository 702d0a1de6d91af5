//! `tfo-server` compared with nginx, `HAProxy` and the limit, in one run.
//!
//! `cargo bench -p tfo-server --bench peers [-- --quick | --only ROW …]`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod bulk;
mod cores;
mod first_byte;
mod ground;
mod idle;
mod measure;
mod neighbours;
mod peers;
mod requests;
mod speed;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use ground::Ground;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo bench -p tfo-server --bench peers --",
    about = "Compare tfo-server with nginx, HAProxy and the limit, in a network namespace"
)]
struct Cli {
    /// Run three short rounds, to check that everything works; the results are inaccurate.
    #[arg(long)]
    quick: bool,
    /// Measure only this row; may be repeated.
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// Number of turns per server.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Duration of a server's turn.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Passed by Cargo to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Row {
    /// A reply of 64 bytes, after which the server closes.
    OneShot,
    /// The same through a proxy.
    Forward,
    /// 1 GB through a proxy.
    Bulk,
    /// Short answers next to six uploads through a proxy, and next to twelve senders.
    Neighbours,
    /// The first byte of an answer, in round trips on a path with 40 ms.
    FirstByte,
    /// A first connection, which requests a cookie, compared with a regular one.
    Requests,
    /// Memory of waiting connections.
    Idle,
    /// Two cores compared with one.
    Cores,
}

/// The extent of the measurements.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: u16,
    seconds: f64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("error: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let plan = if cli.quick {
        Plan { rounds: 3, seconds: 0.5 }
    } else {
        Plan { rounds: cli.rounds, seconds: cli.seconds }
    };
    for row in Row::value_variants() {
        if !cli.only.is_empty() && !cli.only.contains(row) {
            continue;
        }
        // Each row gets its own host: a hundred thousand connections in TIME_WAIT would slow down the next row.
        let ground = Ground::new()?;
        let text = match row {
            Row::OneShot => {
                let measured = speed::measure(&ground, &plan, peers::ONE_SHOT, false)?;
                table::speed(&measured) + "\n" + &table::targets(&measured, false)
            }
            Row::Forward => {
                let measured = speed::measure(&ground, &plan, peers::FORWARD, true)?;
                table::speed(&measured) + "\n" + &table::targets(&measured, true)
            }
            Row::Bulk => bulk::measure(&ground, &plan)?,
            Row::Neighbours => neighbours::measure(&ground, &plan)?,
            Row::FirstByte => first_byte::measure(&ground, &plan)?,
            Row::Requests => requests::measure(&ground, &plan)?,
            Row::Idle => idle::measure(&ground),
            Row::Cores => cores::measure(&ground, &plan)?,
        };
        println!(
            "\n## {}\n\n{text}",
            row.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
        );
    }
    Ok(())
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.5..=60.0).contains(seconds));
    seconds.ok_or_else(|| "0.5 to 60 are allowed".to_owned())
}

/// Prints progress, and notes for the reader.
fn say(line: &str) {
    eprintln!("{line}");
}
