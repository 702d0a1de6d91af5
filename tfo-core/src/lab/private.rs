//! A network namespace for this whole process.

use std::fs;

use super::host;
use crate::error::{Error, Result};
use crate::host::{Capability, Containment, RuntimeEnvironment};
use crate::sys::namespace::{self, Namespace};

/// Moves this process into a private network namespace that contains only loopback, where both halves of fast open
/// are allowed. The host is not changed.
///
/// Must be called before the process has started a thread. An ordinary user gets a user namespace as well.
///
/// # Errors
/// The kernel does not allow it; [`explain_denied`] explains why. The process may then be in a new user namespace,
/// but still in the host's network.
pub fn enter_private_network() -> Result<()> {
    let direct = namespace::unshare(Namespace::Net);
    if let Err(e) = direct {
        if e.kind() != std::io::ErrorKind::PermissionDenied {
            return Err(Error::system("making a network namespace", "", e));
        }
        enter_user_namespace()?;
        namespace::unshare(Namespace::Net)
            .map_err(|e| Error::system("making a network namespace", "", e))?;
    }
    host::prepare()
}

/// Ensures that this process may create [`Host`](super::Host)s: without `CAP_SYS_ADMIN` it becomes root of a new
/// user namespace.
///
/// Must be called before the process has started a thread.
///
/// # Errors
/// The kernel does not allow it; [`explain_denied`] explains why.
pub fn allow_hosts() -> Result<()> {
    if Capability::SysAdmin.is_effective() { Ok(()) } else { enter_user_namespace() }
}

fn enter_user_namespace() -> Result<()> {
    // The ids must be read before: afterwards they read as "nobody".
    let maps = namespace::root_maps();
    namespace::unshare(Namespace::User)
        .map_err(|e| Error::system("making a user namespace", "", e))?;
    for (path, text) in maps {
        fs::write(path, text).map_err(|e| Error::system("write", path, e))?;
    }
    Ok(())
}

/// Returns, in one sentence, why this host does not let an ordinary user create a network namespace, and how to
/// allow it. Reads the settings that are known to forbid it.
#[must_use]
pub fn explain_denied() -> String {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let forbids = [
        ("/proc/sys/user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=1000"),
        ("/proc/sys/user/max_net_namespaces", "0", "sudo sysctl -w user.max_net_namespaces=1000"),
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    for (path, value, fix) in forbids {
        if setting(path).is_some_and(|found| found == value) {
            return format!("{path} is {value}; to allow it: {fix}");
        }
    }
    match RuntimeEnvironment::detect().place {
        Containment::Container(maker) if matches!(maker.as_str(), "docker" | "podman") => format!(
            "this container may not make namespaces; start it with: {maker} run --privileged --user 0 …"
        ),
        Containment::Container(_) => {
            "this container may not make namespaces; run it as root of a privileged container, or on the host"
                .to_owned()
        }
        Containment::Pod => "this pod may not make namespaces; in the container's spec: securityContext: \
                             {privileged: true, runAsUser: 0}"
            .to_owned(),
        _ => "unprivileged user namespaces seem to be forbidden; run it as root".to_owned(),
    }
}
