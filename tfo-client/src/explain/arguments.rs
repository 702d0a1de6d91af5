#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ExplainFlags {
    /// Verdict or cause, as the probe names it; without one: all of them, one line each
    #[arg(value_name = "VERDICT|CAUSE")]
    pub(crate) word: Option<String>,
}
