//! The settings under `/proc/sys/net`.

/// `net.ipv4.tcp_fastopen`: which halves of fast open this network namespace allows. IPv6 uses it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct FastOpenBits(u32);

impl FastOpenBits {
    /// The bits of this number.
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// The number, as it stands in the setting.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// 0x1: this host may use fast open as a client.
    #[must_use]
    pub const fn client(self) -> bool {
        self.0 & 0x1 != 0
    }

    /// 0x2: this host may use fast open as a server.
    #[must_use]
    pub const fn server(self) -> bool {
        self.0 & 0x2 != 0
    }

    /// 0x4: clients put data in the SYN without having a cookie.
    #[must_use]
    pub const fn client_no_cookie(self) -> bool {
        self.0 & 0x4 != 0
    }

    /// 0x200: servers take data without a cookie, and never grant one.
    #[must_use]
    pub const fn server_no_cookie(self) -> bool {
        self.0 & 0x200 != 0
    }

    /// 0x400: each listener has fast open without asking; only together with 0x2, only at `listen`.
    #[must_use]
    pub const fn all_listeners(self) -> bool {
        self.0 & 0x400 != 0
    }
}
