//! Streams and listeners for tokio. Feature `tokio`.
//!
//! A client either passes its first bytes along, or writes them later, as libraries do that are given a stream:
//!
//! ```no_run
//! use tfo_core::tokio::FastOpenStream;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let mut stream = FastOpenStream::connect_on_write("192.0.2.1:2222").await?;
//! stream.write_all(b"hello\n").await?; // rides the SYN, if a cookie is cached
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer).await?;
//! println!("one round trip saved: {}", stream.info()?.syn_data);
//! # Ok(())
//! # }
//! ```
//!
//! A server wraps its listener:
//!
//! ```no_run
//! use tfo_core::tokio::FastOpenListener;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:2222").await?;
//! let listener = FastOpenListener::from_tokio(listener)?;
//! let accepted = listener.accept().await?;
//! println!("{}: data in the SYN: {}", accepted.arrival.peer, accepted.arrival.tcp.syn_data);
//! # Ok(())
//! # }
//! ```
//!
//! # The first write
//!
//! After [`connect_on_write`](FastOpenStream::connect_on_write) to a server whose cookie is cached no packet has been
//! sent. The stream behaves like a connected one all the same:
//!
//! | call | before the first write |
//! | --- | --- |
//! | `peer_addr` | returns the server's address |
//! | a write | sends the SYN with as many bytes as fit, and returns their number |
//! | a read | sends the SYN with the cookie and no data: a server that speaks first is heard |
//! | a flush | returns at once |
//! | a shutdown | sends the SYN, waits for the handshake, and shuts down |
//! | dropping it | closes the socket: no packet is sent |
//!
//! While the SYN is under way, a flush and a shutdown wait for the SYN-ACK. Flush or shut down before dropping a
//! stream: the kernel abandons a connection that is closed before its handshake has ended, with its bytes. A refused
//! connection is reported by the first read, flush, or later write. If its SYN carried bytes, the server may have executed
//! them all the same: [`Handshake::attempt`] shows their number.
//!
//! Without a cached cookie, and where fast open is off, connecting waits for the handshake and reports its failure,
//! as [`TcpStream::connect`](::tokio::net::TcpStream::connect) does.
//!
//! Write before reading. A task that reads while another one has not written yet starts the connection without
//! data. For libraries that poll the read first, such as hyper, there is
//! [`Connector::client_speaks_first`]. A proxy passes the first bytes of its client to
//! [`connect`](FastOpenStream::connect), because `copy_bidirectional` reads from both sides at once.
//!
//! # Paths that break fast open
//!
//! Some paths drop SYNs with data, which costs each connection a second, or reset them, which fails it. The kernel does not
//! remember them. A [`Connector`] that is kept does: see [`Connector::memory`].

mod connector;
mod handshake;
mod listener;
mod opening;
mod split;
mod stream;

pub use connector::Connector;
pub use handshake::Handshake;
pub use listener::{Accepted, FastOpenListener};
pub use split::{ReadHalf, WriteHalf};
pub use stream::FastOpenStream;
