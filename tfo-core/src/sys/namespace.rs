//! Namespaces of this thread, and of the programs that it starts.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{check, check_len};

/// A kind of namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Namespace {
    /// `CLONE_NEWUSER`. Only in a process with one thread.
    User,
    /// `CLONE_NEWNET`. Of the calling thread, and of those that it starts from now on.
    Net,
    /// `CLONE_NEWPID`. Of the processes that the calling thread starts from now on; it can't start
    /// threads any more.
    Pid,
}

impl Namespace {
    const fn flag(self) -> libc::c_int {
        match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Net => libc::CLONE_NEWNET,
            Self::Pid => libc::CLONE_NEWPID,
        }
    }
}

/// `unshare(2)`: the calling thread leaves a namespace for a new one.
pub(crate) fn unshare(namespace: Namespace) -> io::Result<()> {
    // SAFETY: takes one integer, and none of its flags touches memory or descriptors.
    check(unsafe { libc::unshare(namespace.flag()) }).map(drop)
}

/// `geteuid(2)` and `getegid(2)`.
pub(crate) fn effective_ids() -> (u32, u32) {
    // SAFETY: takes nothing and never fails.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: takes nothing and never fails.
    let gid = unsafe { libc::getegid() };
    (uid, gid)
}

/// The files, and what goes into them, that make this process's user root in its new user
/// namespace. To be written in this order, by the process itself.
pub(crate) fn root_maps() -> [(&'static str, String); 3] {
    let (uid, gid) = effective_ids();
    [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ]
}

/// Lets `command` start as root of a user namespace of its own.
pub(crate) fn start_in_user_namespace(command: &mut Command) {
    // Made here: between fork and exec nothing may allocate.
    let maps = root_maps().map(|(path, text)| (CString::new(path), text));
    let before_exec = move || {
        unshare(Namespace::User)?;
        for (path, text) in &maps {
            let path = path.as_ref().map_err(|_| io::ErrorKind::InvalidInput)?;
            // SAFETY: `path` ends in NUL and lives over the call.
            let fd = check(unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
            // SAFETY: `text` lives over the call and holds the length given. The descriptor stays
            // open until exec closes it.
            check_len(unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) })?;
        }
        Ok(())
    };
    // SAFETY: the closure makes only async-signal-safe calls (unshare, open, write), and does not
    // allocate: its errors are plain numbers.
    unsafe { command.pre_exec(before_exec) };
}

/// Lets `command`'s process be killed when the thread that starts it ends.
///
/// To be called after [`start_in_user_namespace`]: a change of credentials forgets the signal, and what is
/// to be done before `exec` is done in the order of the calls.
pub(crate) fn end_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: takes integers; PR_SET_PDEATHSIG concerns the new process alone.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // SAFETY: takes nothing and never fails.
        let now = unsafe { libc::getppid() };
        // Gone before it could be asked for the signal: nobody would send it.
        if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    // SAFETY: the closure makes two async-signal-safe calls, and does not allocate.
    unsafe { command.pre_exec(before_exec) };
}
