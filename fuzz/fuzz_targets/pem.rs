//! PEM as others write it: each BEGIN mark leads to a block, or is named, or the text is refused; and what is refused is said without any of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule::pem::Pem;

fuzz_target!(|text: &[u8]| {
    match Pem::read(text) {
        Ok(pem) => {
            let marks = text.windows(11).filter(|window| window == b"-----BEGIN ").count();
            assert!(pem.blocks.len() + pem.outside.stray_marks.len() >= marks);
        }
        Err(error) => assert!(error.to_string().len() < 200),
    }
});
