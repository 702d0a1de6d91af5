//! Drops privileges after the listeners are bound.

use std::{error, fmt};

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgroups, getresgid, getresuid, setgid, setgroups,
    setuid,
};

/// The user and the group to switch to after binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunAs {
    /// The name from the settings.
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Why the server could not switch to the requested user and group.
#[derive(Debug)]
pub(crate) enum PrivilegeError {
    Unknown {
        key: &'static str,
        name: String,
        source: Option<Errno>,
    },
    /// Only root may switch to another user.
    NotRoot {
        name: String,
        uid: Uid,
    },
    Refused {
        call: &'static str,
        name: String,
        source: Errno,
    },
    /// The system calls succeeded without the expected effect.
    StillPrivileged {
        name: String,
        what: &'static str,
    },
}

impl RunAs {
    /// Looks up the user and the group without switching to them. Returns `None` if neither is set.
    pub(crate) fn look_up(
        user: Option<&str>,
        group: Option<&str>,
    ) -> Result<Option<Self>, PrivilegeError> {
        let unknown = |key, name: &str, source| PrivilegeError::Unknown {
            key,
            name: name.to_owned(),
            source,
        };
        let group = group.map(|name| match Group::from_name(name) {
            Ok(Some(group)) => Ok((group.gid, name)),
            Ok(None) => Err(unknown("process.group", name, None)),
            Err(e) => Err(unknown("process.group", name, Some(e))),
        });
        let group = group.transpose()?;
        let user = user.map(|name| match User::from_name(name) {
            Ok(Some(user)) => Ok((user, name)),
            Ok(None) => Err(unknown("process.user", name, None)),
            Err(e) => Err(unknown("process.user", name, Some(e))),
        });
        Ok(match (user.transpose()?, group) {
            (Some((user, name)), group) => {
                let gid = group.map_or(user.gid, |(gid, _)| gid);
                Some(Self { name: name.to_owned(), uid: user.uid, gid })
            }
            (None, Some((gid, name))) => Some(Self { name: name.to_owned(), uid: geteuid(), gid }),
            (None, None) => None,
        })
    }

    /// Switches to the user and the group, permanently and for all threads.
    ///
    /// The user comes last: only root may change groups.
    pub(super) fn apply(&self) -> Result<(), PrivilegeError> {
        let Self { name, uid, gid } = self;
        if !geteuid().is_root() {
            // systemd may have started the process as this user.
            if (geteuid(), getegid()) == (*uid, *gid) {
                return Ok(());
            }
            return Err(PrivilegeError::NotRoot { name: name.clone(), uid: geteuid() });
        }
        let refused =
            |call| move |source| PrivilegeError::Refused { call, name: name.clone(), source };
        setgroups(&[*gid]).map_err(refused("setgroups"))?;
        setgid(*gid).map_err(refused("setgid"))?;
        setuid(*uid).map_err(refused("setuid"))?;
        self.verify()?;
        log::info!("switched to user {name} (uid {uid}, gid {gid})");
        Ok(())
    }

    /// Checks that the process has lost all other privileges.
    fn verify(&self) -> Result<(), PrivilegeError> {
        let remaining = |what| PrivilegeError::StillPrivileged { name: self.name.clone(), what };
        let users = getresuid().map(|ids| [ids.real, ids.effective, ids.saved]);
        if users != Ok([self.uid; 3]) {
            return Err(remaining("another user"));
        }
        let groups = getresgid().map(|ids| [ids.real, ids.effective, ids.saved]);
        if groups != Ok([self.gid; 3]) || getgroups().as_deref() != Ok(&[self.gid]) {
            return Err(remaining("another group"));
        }
        if !self.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err(remaining("the right to become root again"));
        }
        Ok(())
    }
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, name, .. } => {
                let (what, list) = match *key {
                    "process.user" => ("user", "passwd"),
                    _ => ("group", "group"),
                };
                write!(
                    f,
                    "{key}: unknown {what} {name:?}: expected a {what} of this host (getent {list}), or none"
                )
            }
            Self::NotRoot { name, uid } => write!(
                f,
                "can't switch to {name:?} (process.user, process.group): only root may switch users, and this is \
                 user {uid}. Start the server as root, or remove both settings"
            ),
            Self::Refused { call, name, .. } => {
                write!(f, "can't switch to {name:?}: {call} failed")
            }
            Self::StillPrivileged { name, what } => {
                write!(f, "can't switch to {name:?}: the process still has {what}")
            }
        }
    }
}

impl error::Error for PrivilegeError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Unknown { source, .. } => source.as_ref().map(|e| e as _),
            Self::Refused { source, .. } => Some(source),
            Self::NotRoot { .. } | Self::StillPrivileged { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_implies_its_group_unless_another_is_set() {
        assert_eq!(RunAs::look_up(None, None).unwrap(), None);
        let root = RunAs::look_up(Some("root"), None).unwrap().expect("root exists");
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        let other =
            RunAs::look_up(Some("root"), Some("daemon")).unwrap().expect("root and daemon exist");
        assert_eq!(other.uid.as_raw(), 0);
        assert_eq!(Some(other.gid), Group::from_name("daemon").unwrap().map(|group| group.gid));
        let group = RunAs::look_up(None, Some("daemon")).unwrap().expect("daemon exists");
        assert_eq!((group.uid, group.gid), (geteuid(), other.gid));
    }

    #[test]
    fn unknown_user_or_group_is_reported_with_its_setting() {
        let user = RunAs::look_up(Some("no-such-user"), None).unwrap_err();
        assert_eq!(
            user.to_string(),
            "process.user: unknown user \"no-such-user\": expected a user of this host (getent passwd), or none"
        );
        let group = RunAs::look_up(Some("root"), Some("no-such-group")).unwrap_err();
        assert_eq!(
            group.to_string(),
            "process.group: unknown group \"no-such-group\": expected a group of this host (getent group), or none"
        );
    }
}
