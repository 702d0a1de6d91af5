//! placeholder
/// x
#[derive(Debug)]
pub struct ConfigFile;
