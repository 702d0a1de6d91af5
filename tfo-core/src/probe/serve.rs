//! The smallest server of the [mirror](crate::probe::mirror): one connection after the other, for a demonstration
//! in the client's own process and for tests. `tfo-server` is the one for real use.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::ServerObserver;
use crate::probe::mirror::RequestReader;
use crate::socket::{Accepted, FastOpenListener, FastOpenStream};

/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client that has sent more than its request may take to end.
const LINGER: Duration = Duration::from_secs(2);
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
            Err(e) if FastOpenListener::is_transient_accept_error(&e) => {}
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
            return stream.write_all(reader.ended());
        }
        let bytes = buffer.get(..len).unwrap_or_default();
        if let Some(answer) =
            reader.respond(bytes, || Some(observer.evidence_with_counters(&arrival)))?
        {
            stream.write_all(&answer)?;
            return end(&mut stream, &mut buffer);
        }
    }
}

/// Ends a connection that is answered. Closing with unread bytes would turn the FIN into a reset, which
/// may overtake the answer: if the client has sent more than its request, waits for its end.
fn end(stream: &mut FastOpenStream, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    if !matches!(stream.read(buffer), Ok(1..)) {
        return Ok(());
    }
    stream.set_nonblocking(false)?;
    stream.shutdown(Shutdown::Write)?;
    let until = Instant::now() + LINGER;
    stream.set_read_timeout(Some(LINGER))?;
    while Instant::now() < until && stream.read(buffer)? > 0 {}
    Ok(())
}
