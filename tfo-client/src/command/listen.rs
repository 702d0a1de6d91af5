//! `--listen`: a mirror in this process, and where the host does not allow fast open, a private
//! network namespace that does.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use tfo_core::host::{FastOpenBits, sysctl};
use tfo_core::lab;
use tfo_core::mirror::{self, Answer, Progress, RequestReader};
use tfo_core::observer::ServerObserver;
use tfo_core::socket::{Accepted, FastOpenListener};

use crate::report;

/// How long a client of this listener may take for its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the listener. Must be called before the process has a thread: see
/// [`lab::enter_private_network`].
pub(crate) fn start(address: SocketAddr) -> tfo_core::Result<()> {
    let bits = sysctl::tcp_fastopen()?;
    if !(bits.client() && bits.server()) {
        leave_the_host(address, bits);
    }
    let listener = FastOpenListener::bind(address)?;
    thread::spawn(move || serve(&listener));
    Ok(())
}

/// Moves into a private network namespace, if that is possible, and says so.
fn leave_the_host(address: SocketAddr, bits: FastOpenBits) {
    let both = bits.with_client().with_server().bits();
    let enable = format!("sudo sysctl -w net.ipv4.tcp_fastopen={both}");
    let lacks = format!("this host's net.ipv4.tcp_fastopen is {bits}");
    if !address.ip().is_loopback() {
        report::note(&format!("{lacks}: expect no fast open here. Enable it: {enable}"));
        return;
    }
    match lab::enter_private_network() {
        Ok(()) => report::note(&format!(
            "{lacks}, so this runs in a private network namespace where it is 0x3; nothing of the host is \
             changed. To enable it on the host: {enable}"
        )),
        Err(_) => report::note(&format!(
            "{lacks}, and a private network namespace is not to be had: {}. Expect no fast open here; \
             enable it: {enable}",
            lab::explain_denied()
        )),
    }
}

fn serve(listener: &FastOpenListener) {
    let mut observer = ServerObserver::new(listener);
    loop {
        match listener.accept() {
            Ok(accepted) => {
                observer.accepted();
                if let Err(e) = answer(accepted, &mut observer) {
                    log::debug!("the listener here lost a connection: {e}");
                }
            }
            Err(e) if FastOpenListener::is_of_one_connection(&e) => {}
            Err(e) => {
                log::warn!("the listener here can't accept: {e}");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn answer(accepted: Accepted, observer: &mut ServerObserver) -> io::Result<()> {
    let Accepted { mut stream, arrival, .. } = accepted;
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
            Progress::Refused(why) => mirror::refusal(why),
            _ => return Ok(()),
        };
        return stream.write_all(&line);
    }
}
