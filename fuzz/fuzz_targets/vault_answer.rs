//! What Vault answers, or whoever stands in its place.

use vestibule::secrets::fuzzing;

pub fn fuzz(bytes: &[u8]) {
    fuzzing::vault_answer(bytes);
}
