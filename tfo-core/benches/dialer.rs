//! The cost of a dialer where nothing goes wrong: the CPU time of one connection by `Dialer::dial`, as a ratio of that by
//! `Connector::connect`, over loopback in a private network namespace.
//!
//! ```sh
//! cargo bench -p tfo-core --bench dialer
//! ```
//!
//! Both send the same message in the SYN, read the answer and close. Slices of both alternate, and each ratio is taken
//! within one pair of slices, so that a disturbance of the machine hits both alike. Loopback is the worst case: there is
//! no round trip in which the cost could hide.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tfo_core::dialer::{Dialer, Message};
use tfo_core::host::CpuTime;
use tfo_core::lab;
use tfo_core::socket::{Attempt, Connector, FastOpenListener, FastOpenStream};

/// Connections of one slice.
const SLICE: u32 = 500;
/// Pairs of slices.
const PAIRS: usize = 301;
const MESSAGE: &[u8] = &[b'x'; 64];

fn serve(listener: &FastOpenListener) {
    let mut buffer = [0; 64];
    for mut accepted in listener.incoming().map_while(Result::ok) {
        if accepted.stream.read(&mut buffer).is_ok() {
            let _ = accepted.stream.write_all(b"answer");
        }
    }
}

/// Returns the CPU time of this thread for one slice. The kernel's work for loopback is included: it runs in the thread
/// that sends.
fn slice(connect: impl Fn() -> FastOpenStream) -> Duration {
    let before = CpuTime::of_this_thread().expect("readable");
    for _ in 0..SLICE {
        let mut stream = connect();
        assert_eq!(stream.attempt(), Some(Attempt::InSyn(MESSAGE.len())));
        stream.read_exact(&mut [0; 6]).expect("an answer");
    }
    (CpuTime::of_this_thread().expect("readable") - before).total()
}

fn main() {
    lab::enter_private_network().expect("namespaces can be made here");
    let listener = FastOpenListener::bind("127.0.0.1:2222").unwrap();
    let server: SocketAddr = listener.local_addr();
    thread::spawn(move || serve(&listener));

    let (connector, dialer) = (Connector::default(), Dialer::new());
    let bare = || connector.connect(server, MESSAGE).expect("it listens");
    let by_dialer = || dialer.dial(server, Message::idempotent(MESSAGE)).expect("it listens");
    // Fetches the cookie.
    drop(bare());
    let mut ratios: Vec<f64> = (0..PAIRS)
        .map(|pair| {
            // Each goes first in turn.
            let (first, second) = if pair % 2 == 0 {
                (slice(bare), slice(by_dialer))
            } else {
                let by_dialer = slice(by_dialer);
                (slice(bare), by_dialer)
            };
            second.as_secs_f64() / first.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let [low, median, high] = [PAIRS / 4, PAIRS / 2, PAIRS * 3 / 4].map(|place| ratios[place]);
    println!(
        "CPU of a dialer / of a bare connect: {median:.3} (quartiles {low:.3} to {high:.3}, {PAIRS} pairs)"
    );
    println!("goal: at most 1.02");
}
