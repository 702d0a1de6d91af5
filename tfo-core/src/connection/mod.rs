//! What the kernel says about one connection.

mod fastopen_status;
mod saved_syn;
mod tcp_info;

pub use fastopen_status::FastOpenStatus;
pub use saved_syn::SavedSyn;
pub use tcp_info::{ClientFail, TcpInfo, TcpState};
