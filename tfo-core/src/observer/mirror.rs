//! The smallest server of the [mirror](crate::mirror): one connection after the other, for a demonstration
//! in the client's own process and for tests. `tfo-server` is the one for real use.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use super::ServerObserver;
use crate::mirror::{self, Answer, Progress, RequestReader};
use crate::socket::{Accepted, FastOpenListener};

/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long accepting pauses when it can't go on.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers the connections of this listener, until the process ends.
///
/// Reads the settings and counters of the calling thread's network namespace.
pub fn serve_mirror(listener: &FastOpenListener) -> ! {
    let observer = ServerObserver::new(listener);
    loop {
        match listener.accept() {
            Ok(accepted) => {
                observer.accepted();
                if let Err(e) = answer(accepted, &observer) {
                    log::debug!("the mirror lost a connection: {e}");
                }
            }
            Err(e) if FastOpenListener::is_of_one_connection(&e) => {}
            Err(e) => {
                log::warn!("the mirror can't accept: {e}");
                thread::sleep(PAUSE);
            }
        }
    }
}

fn answer(accepted: Accepted, observer: &ServerObserver) -> io::Result<()> {
    let Accepted { mut stream, arrival } = accepted;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = RequestReader::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        let line = match reader.read(buffer.get(..len).unwrap_or_default()) {
            Progress::More => continue,
            Progress::Request { token, received } => {
                Answer::new(token, received, observer.full_evidence(&arrival)).to_line()?
            }
            Progress::Http { received } => {
                Answer::http(received, observer.full_evidence(&arrival)).to_http()?
            }
            Progress::Refused(why) => mirror::refusal(why),
        };
        return stream.write_all(&line);
    }
}
