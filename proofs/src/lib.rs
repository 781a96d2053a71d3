//! Proofs about the production types of `hallway-core`; `README.md` is their catalogue.

pub mod check;
pub mod exhaustive;
pub mod models;
pub mod mutants;
pub mod search;
pub mod trace;
