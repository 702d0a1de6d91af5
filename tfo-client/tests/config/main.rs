//! Configuration and command line of the built program, from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../../../tfo-core/tests/support/checkout.rs"]
mod checkout;
mod documents;
#[path = "../../../tfo-core/tests/support/generate.rs"]
mod generate;
mod help;
mod precedence;
mod refusal;
#[path = "../../../tfo-core/tests/support/settings.rs"]
mod settings;
mod support;
