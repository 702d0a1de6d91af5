//! Configuration and command line of the built program, from outside.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod help;
#[cfg(test)]
mod precedence;
#[cfg(test)]
mod refusal;
