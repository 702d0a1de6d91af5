//! What the kernel says about one connection.

mod saved_syn;
mod tcp_info;

pub use saved_syn::SavedSyn;
pub use tcp_info::{ClientFail, TcpInfo, TcpState};
