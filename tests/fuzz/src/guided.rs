//! The door for libFuzzer: drives the target that the environment names.
#![no_main]

use std::sync::LazyLock;

use flotilla_fuzz::Target;

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FLOTILLA_FUZZ_TARGET").unwrap_or_default();
    flotilla_fuzz::target(&name).unwrap_or_else(|| panic!("FLOTILLA_FUZZ_TARGET={name:?}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (CHOSEN.run)(bytes));
