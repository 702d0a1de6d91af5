//! Packet sockets (`AF_PACKET`) with a ring that the kernel and the program share.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libc::{c_int, c_void};

use super::{check, sockopt};
use crate::uapi::packet::{
    PACKET_IGNORE_OUTGOING, PACKET_OUTGOING, PACKET_RX_RING, PACKET_VERSION, TP_STATUS_USER,
    TPACKET_V2, header,
};

/// The size of one frame's slot in the ring: an Ethernet frame of 1514 bytes and its headers. Longer frames are
/// cut.
const FRAME: usize = 2048;
/// The size of one block: whole pages that the kernel must find in a row.
const BLOCK: usize = 64 * 1024;

/// A packet socket on one interface.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    // Dropped first, as it is the kernel's too until the socket closes; either order is sound.
    ring: Ring,
    fd: OwnedFd,
    next: usize,
}

/// A frame in the ring.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    /// When the kernel saw the frame: the time since 1970.
    pub(crate) at: Duration,
    /// Whether this host sent the frame.
    pub(crate) outgoing: bool,
    /// The bytes of the frame, from the Ethernet header on, as far as they fit into the ring.
    pub(crate) frame: &'a [u8],
    /// Whether the frame begins with an Ethernet header; otherwise with an IP header.
    pub(crate) ethernet: bool,
}

impl PacketSocket {
    /// Opens a socket on the interface with this number, with a ring for this many frames. Needs `CAP_NET_RAW`.
    pub(crate) fn open(interface: u32, frames: usize, outgoing: bool) -> io::Result<Self> {
        // With protocol 0 the socket receives nothing until it is bound to its interface.
        // SAFETY: takes three integers.
        let fd = check(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the kernel just made this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if !outgoing {
            sockopt::set_int(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        }
        sockopt::set_int(&fd, libc::SOL_PACKET, PACKET_VERSION, TPACKET_V2)?;
        let ring = Ring::new(&fd, frames)?;
        let socket = Self { ring, fd, next: 0 };
        socket.bind(interface)?;
        Ok(socket)
    }

    fn bind(&self, interface: u32) -> io::Result<()> {
        // SAFETY: `sockaddr_ll` is plain integers; all zeros is a valid value of it.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
        address.sll_ifindex = c_int::try_from(interface).map_err(io::Error::other)?;
        let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
        // SAFETY: `address` lives over the call and holds `len` bytes.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) })
            .map(drop)
    }

    /// Passes the next frame to `use_frame`, if there is one.
    pub(crate) fn next<T>(&mut self, use_frame: impl FnOnce(Received<'_>) -> T) -> Option<T> {
        let place = self.ring.place(self.next);
        if place.status().load(Ordering::Acquire) & TP_STATUS_USER == 0 {
            return None;
        }
        let result = place.received().map(use_frame);
        place.status().store(0, Ordering::Release);
        self.next = (self.next + 1) % self.ring.frames;
        result
    }

    /// Sends a frame, with its Ethernet header, on the socket's interface.
    #[cfg(feature = "lab")]
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: `frame` lives over the call and holds the length given.
        super::check_len(unsafe { libc::send(fd, frame.as_ptr().cast(), frame.len(), 0) }).map(drop)
    }

    /// Returns how many frames did not fit into the ring since the last call.
    #[cfg(feature = "lab")]
    pub(crate) fn lost(&self) -> io::Result<u32> {
        // `struct tpacket_stats`: packets and drops.
        let mut stats = [0; 8];
        let name = crate::uapi::packet::PACKET_STATISTICS;
        sockopt::bytes(&self.fd, libc::SOL_PACKET, name, &mut stats)?;
        let [.., a, b, c, d] = stats;
        Ok(u32::from_ne_bytes([a, b, c, d]))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The memory that the socket shares with the kernel.
#[derive(Debug)]
struct Ring {
    memory: NonNull<c_void>,
    len: usize,
    frames: usize,
}

// SAFETY: the memory belongs to this value alone (and to the kernel), wherever the value is.
unsafe impl Send for Ring {}

impl Ring {
    fn new(fd: &OwnedFd, frames: usize) -> io::Result<Self> {
        let blocks = (frames * FRAME).div_ceil(BLOCK).max(1);
        let (len, frames) = (blocks * BLOCK, blocks * BLOCK / FRAME);
        // `struct tpacket_req`: block size, blocks, frame size, frames.
        let mut request = [0; 16];
        for (field, value) in request.chunks_exact_mut(4).zip([BLOCK, blocks, FRAME, frames]) {
            let value = u32::try_from(value).map_err(io::Error::other)?;
            field.copy_from_slice(&value.to_ne_bytes());
        }
        sockopt::set_bytes(fd, libc::SOL_PACKET, PACKET_RX_RING, &request)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = fd.as_raw_fd();
        // SAFETY: asks for a new mapping, which touches no memory that is in use.
        let memory =
            unsafe { libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, len, frames })
    }

    /// Returns the slot with this number. Frames divide blocks evenly, so that slots are contiguous.
    fn place(&self, number: usize) -> Place<'_> {
        let offset = (number % self.frames) * FRAME;
        // SAFETY: the offset is below `len`, the mapping's length, for each number.
        let start = unsafe { self.memory.byte_add(offset) };
        Place { start: start.cast(), ring: std::marker::PhantomData }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; no reference into it outlives `self`.
        unsafe { libc::munmap(self.memory.as_ptr(), self.len) };
    }
}

/// The slot of one frame: `FRAME` bytes, aligned at least to pages, that belong to the program while the status
/// says so.
struct Place<'a> {
    start: NonNull<u8>,
    ring: std::marker::PhantomData<&'a Ring>,
}

impl<'a> Place<'a> {
    fn status(&self) -> &'a AtomicU32 {
        // SAFETY: the place is aligned for u32, lives as long as the ring, and its first word is
        // only ever accessed atomically, by the kernel too.
        unsafe { AtomicU32::from_ptr(self.start.cast().as_ptr()) }
    }

    /// Returns the frame. Call it only while the status says that the slot belongs to the program.
    fn received(&self) -> Option<Received<'a>> {
        // The status word is left out, because it may change meanwhile.
        const STATUS: usize = size_of::<u32>();
        // SAFETY: 4 is below FRAME, the length of the place.
        let start = unsafe { self.start.byte_add(STATUS) };
        // SAFETY: the rest of the place, which the kernel does not touch while it is ours; it lives
        // as long as the ring.
        let bytes = unsafe { slice::from_raw_parts(start.as_ptr(), FRAME - STATUS) };
        let u32_at = |offset: usize| {
            let field = bytes.get(offset - STATUS..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*field))
        };
        let mac = u16::from_ne_bytes(*bytes.get(header::MAC - STATUS..)?.first_chunk()?);
        let snap = usize::try_from(u32_at(header::SNAPLEN)?).ok()?;
        let start = usize::from(mac).checked_sub(STATUS)?;
        Some(Received {
            at: Duration::new(u32_at(header::SEC)?.into(), u32_at(header::NSEC)?),
            outgoing: *bytes.get(header::PACKET_TYPE - STATUS)? == PACKET_OUTGOING,
            frame: bytes.get(start..start.checked_add(snap)?)?,
            ethernet: matches!(
                u16::from_ne_bytes(*bytes.get(header::HARDWARE_TYPE - STATUS..)?.first_chunk()?),
                libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK
            ),
        })
    }
}

/// `ppoll(2)`: waits until one of the file descriptors is readable, the time is over or a signal interrupts.
/// Returns whether the first one is readable.
pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<bool> {
    let mut polls: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let time = libc::timespec {
        // The types of both fields depend on the target.
        tv_sec: timeout.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_nsec: timeout.subsec_nanos().cast_signed().into(),
    };
    let count = libc::nfds_t::try_from(polls.len()).unwrap_or(0);
    // SAFETY: `polls` holds `count` of them, and both it and `time` live over the call.
    let ready = unsafe { libc::ppoll(polls.as_mut_ptr(), count, &raw const time, ptr::null()) };
    match check(ready) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        // After an error the kernel has written nothing.
        _ => Ok(polls.first().is_some_and(|first| first.revents != 0)),
    }
}

/// `prctl(2)` with `PR_SET_TIMERSLACK`: makes the waits of the calling thread end as exactly as the kernel can.
#[cfg(feature = "lab")]
pub(crate) fn wake_exactly() -> io::Result<()> {
    // SAFETY: takes integers; concerns this thread's timers alone.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) }).map(drop)
}

/// `ioctl(2)` with `SIOCETHTOOL`: turns an offload of an interface off.
#[cfg(feature = "lab")]
pub(crate) fn turn_offload_off(interface: &str, command: u32) -> io::Result<()> {
    use std::net::UdpSocket;

    use crate::uapi::ethtool::SIOCETHTOOL;

    // `struct ethtool_value`: the command and its value.
    let mut value = [command, 0];
    // SAFETY: `ifreq` is plain integers and pointers; all zeros is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(interface.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `request` and the `value` that it points to live over the call.
    check(unsafe { libc::ioctl(fd, SIOCETHTOOL, &raw mut request) }).map(drop)
}
