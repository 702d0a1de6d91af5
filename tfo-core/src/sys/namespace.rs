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
    /// `CLONE_NEWNET`. Applies to the calling thread, and to threads that it starts from now on.
    Net,
    /// `CLONE_NEWPID`. Applies to processes that the calling thread starts from now on; the thread can no longer
    /// start threads.
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

/// `unshare(2)`: moves the calling thread from a namespace to a new one.
pub(crate) fn unshare(namespace: Namespace) -> io::Result<()> {
    // SAFETY: takes one integer, and none of its flags touches memory or descriptors.
    check(unsafe { libc::unshare(namespace.flag()) }).map(drop)
}

/// Returns the files and their content that make this process's user root in its new user namespace. The process
/// must write them itself, in this order.
pub(crate) fn root_maps() -> [(&'static str, String); 3] {
    let (uid, gid) = super::process::effective_ids();
    [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ]
}

/// Makes `command` start as root of a new user namespace.
pub(crate) fn start_in_user_namespace(command: &mut Command) {
    // Created here, because nothing may allocate between fork and exec.
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

/// Makes the kernel kill the process of `command` when the thread that starts it ends.
///
/// Call it after [`start_in_user_namespace`]: a change of credentials clears the signal, and the steps before
/// `exec` run in the order of the calls.
pub(crate) fn end_with_this_thread(command: &mut Command) {
    let parent = std::process::id();
    let before_exec = move || {
        // SAFETY: takes integers; PR_SET_PDEATHSIG concerns the new process alone.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        // SAFETY: takes nothing and never fails.
        let now = unsafe { libc::getppid() };
        // If the parent ended before the signal was requested, no signal would come. The first process of a PID
        // namespace cannot see its parent, which has the number 0 there.
        if now == 0 || u32::try_from(now) == Ok(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    // SAFETY: the closure makes two async-signal-safe calls, and does not allocate.
    unsafe { command.pre_exec(before_exec) };
}
