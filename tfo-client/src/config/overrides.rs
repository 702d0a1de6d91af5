//! The values that flags set.

use std::path::PathBuf;

use tfo_core::cli::value::Format;
use tfo_core::cli::{Port, Switch};

use super::file::{
    ConnectTimeout, Count, Family, Interval, Message, Mode, PayloadSize, ReplyTimeout,
};
use super::server_address::ServerAddress;

/// Values that come before variables, the configuration file and the defaults: those of the flags,
/// whichever command has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// The configuration file itself.
    pub(crate) config: Option<PathBuf>,
    pub(crate) server: Option<ServerAddress>,
    pub(crate) port: Option<Port>,
    pub(crate) family: Option<Family>,
    pub(crate) output: Option<Format>,
    pub(crate) count: Option<Count>,
    pub(crate) mode: Option<Mode>,
    pub(crate) message: Option<Message>,
    pub(crate) size: Option<PayloadSize>,
    pub(crate) expect_reply: Option<Switch>,
    pub(crate) connect_timeout: Option<ConnectTimeout>,
    pub(crate) reply_timeout: Option<ReplyTimeout>,
    pub(crate) interval: Option<Interval>,
    pub(crate) fresh: Option<Switch>,
}
