//! Servers as operators type them and as requests name them: what is accepted can be written out and read again as the same.

use vestibule::config::values;

pub fn fuzz(text: &str) {
    if let Ok(target) = values::target(text) {
        assert_eq!(values::target(&target.to_string()).as_ref(), Ok(&target));
    }
    if let Ok((hosts, port, _)) = values::listed(text) {
        assert!(port > 0);
        if let Ok(target) = values::target(text.split('=').next().unwrap_or_default()) {
            assert!(hosts.matches(&target.host));
        }
    }
    let _ = values::port_mapping(text);
    let _ = values::no_proxy(text);
    let _ = values::outbound(text);
    if let Err(problem) = values::http_proxy(text) {
        assert!(problem.to_string().len() < 300);
    }
}
