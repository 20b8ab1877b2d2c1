//! Certificates as clients send them, before anybody has vouched for them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::identity::Certificate;
use vestibule::identity::Identity;

fuzz_target!(|der: &[u8]| {
    let _ = Certificate::from_der(der);
    let _ = Identity::from_der(der);
});
