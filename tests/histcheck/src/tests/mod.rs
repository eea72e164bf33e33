//! The checkers are checked: by hand-made histories, against each other and against brute force, on
//! histories that are sound by construction, and on ones that are broken by construction.

mod agreement;
mod anomalies;
mod brute;
mod drawings;
mod generated;
mod sample;
mod words;
