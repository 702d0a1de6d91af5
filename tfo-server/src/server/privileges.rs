//! Whose rights the server keeps once it listens.

use std::{error, fmt};

use nix::errno::Errno;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgroups, getresgid, getresuid, setgid, setgroups,
    setuid,
};

/// The user and the group of this host that the server runs as once it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunAs {
    /// As the settings name it.
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Why the rights are not those that were asked for.
#[derive(Debug)]
pub(crate) enum PrivilegeError {
    Unknown {
        key: &'static str,
        name: String,
        source: Option<Errno>,
    },
    /// Only root may become somebody else.
    NotRoot {
        name: String,
        uid: Uid,
    },
    Refused {
        call: &'static str,
        name: String,
        source: Errno,
    },
    /// The kernel said yes, and it is not so.
    StillPrivileged {
        name: String,
        what: &'static str,
    },
}

impl RunAs {
    /// Looks up who they are, without taking their rights. `None`: nobody is named, all stays as it is.
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

    /// Gives up all other rights, for all threads and for good.
    ///
    /// In this order: who is no longer root may not change groups.
    pub(super) fn apply(&self) -> Result<(), PrivilegeError> {
        let Self { name, uid, gid } = self;
        if !geteuid().is_root() {
            // As when systemd has started it as this user.
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
        log::info!("works as {name} from now on (user {uid}, group {gid})");
        Ok(())
    }

    /// Asks the kernel whether it is so.
    fn verify(&self) -> Result<(), PrivilegeError> {
        let kept = |what| PrivilegeError::StillPrivileged { name: self.name.clone(), what };
        let users = getresuid().map(|ids| [ids.real, ids.effective, ids.saved]);
        if users != Ok([self.uid; 3]) {
            return Err(kept("another user"));
        }
        let groups = getresgid().map(|ids| [ids.real, ids.effective, ids.saved]);
        if groups != Ok([self.gid; 3]) || getgroups().as_deref() != Ok(&[self.gid]) {
            return Err(kept("another group"));
        }
        if !self.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err(kept("the right to become root again"));
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
                    "{key}: unknown {what} {name:?}: expected one of this host (getent {list}), or none"
                )
            }
            Self::NotRoot { name, uid } => write!(
                f,
                "can't work as {name:?} (process.user, process.group): only root may become somebody else, and \
                 this is user {uid}. Start it as root, or leave both settings out"
            ),
            Self::Refused { call, name, .. } => write!(f, "can't work as {name:?}: {call} failed"),
            Self::StillPrivileged { name, what } => {
                write!(f, "can't work as {name:?}: the process still has {what}")
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
    fn a_user_brings_its_group_unless_another_is_named() {
        assert_eq!(RunAs::look_up(None, None).unwrap(), None);
        let root = RunAs::look_up(Some("root"), None).unwrap().expect("each host has it");
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        let other = RunAs::look_up(Some("root"), Some("daemon")).unwrap().expect("both are there");
        assert_eq!(other.uid.as_raw(), 0);
        assert_eq!(Some(other.gid), Group::from_name("daemon").unwrap().map(|group| group.gid));
        let group = RunAs::look_up(None, Some("daemon")).unwrap().expect("it is there");
        assert_eq!((group.uid, group.gid), (geteuid(), other.gid));
    }

    #[test]
    fn an_unknown_name_is_told_with_its_setting() {
        let user = RunAs::look_up(Some("no-such-user"), None).unwrap_err();
        assert_eq!(
            user.to_string(),
            "process.user: unknown user \"no-such-user\": expected one of this host (getent passwd), or none"
        );
        let group = RunAs::look_up(Some("root"), Some("no-such-group")).unwrap_err();
        assert_eq!(
            group.to_string(),
            "process.group: unknown group \"no-such-group\": expected one of this host (getent group), or none"
        );
    }
}
