//! A server that counts how often it executes each message.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use tfo_core::lab::Host;
use tfo_core::socket::{FastOpenListener, FastOpenStream};

/// What a message was answered with.
pub(crate) const ANSWER: &[u8] = b"done\n";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    executed: Arc<Mutex<HashMap<String, usize>>>,
}

impl Server {
    /// Listens on this host. A message is a line.
    pub(crate) fn start(host: &Host, address: SocketAddr) -> Self {
        let listener = host.run(move || FastOpenListener::bind(address)).expect("it is free");
        let server = Self { address: listener.local_addr(), executed: Arc::default() };
        let executed = Arc::clone(&server.executed);
        thread::spawn(move || {
            for accepted in listener.incoming().map_while(Result::ok) {
                let executed = Arc::clone(&executed);
                // Its own thread, because the loser of a race sends nothing until it is closed.
                thread::spawn(move || execute(&accepted.stream, &executed));
            }
        });
        server
    }

    /// Returns how often each message was executed since the last call.
    pub(crate) fn executed(&self) -> HashMap<String, usize> {
        std::mem::take(&mut self.executed.lock().unwrap())
    }
}

fn execute(stream: &FastOpenStream, executed: &Mutex<HashMap<String, usize>>) {
    let mut line = String::new();
    if let Ok(1..) = BufReader::new(stream).read_line(&mut line) {
        *executed.lock().unwrap().entry(line).or_default() += 1;
        let mut stream = stream;
        let _ = stream.write_all(ANSWER);
    }
}

/// Returns whether the stream answers.
pub(crate) fn answers(mut stream: FastOpenStream) -> bool {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).is_ok() && answer == ANSWER
}
