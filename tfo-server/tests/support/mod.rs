//! Support code of the tests that run the program.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]

mod folder;
mod lab;
mod process;

pub(crate) use folder::{Folder, refused};
pub(crate) use lab::{Lab, ONE_WORKER, SERVER, answer, ask, json, pattern};
pub(crate) use process::{
    clean, descriptors, memory, output, peak_memory, raise_descriptors, until,
};
