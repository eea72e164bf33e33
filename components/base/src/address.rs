//! Addresses as people and servers write them. What they lead to is nobody's business here.

/// `host:port` of an address that may be written as a URL, `http://host:port/`.
#[must_use]
pub fn authority(address: &str) -> &str {
    let authority = address.strip_prefix("http://").unwrap_or(address);
    authority.strip_suffix('/').unwrap_or(authority)
}

/// `host:port` of an address that may be written as a URL and without its port, which is `port` then. `None` for what is no
/// address.
#[must_use]
pub fn with_port(address: &str, port: u16) -> Option<String> {
    let plain = authority(address);
    let (host, has_port) = match plain.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, true),
        Some(_no_port) => ("", false),
        None => (plain, false),
    };
    let is_host = !host.is_empty() && !host.contains(['/', ' ']);
    is_host.then(|| if has_port { plain.to_owned() } else { format!("{plain}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_be_left_out() {
        for (form, expected) in [
            ("h", Some("h:7")),
            ("h:1", Some("h:1")),
            ("http://h/", Some("h:7")),
            ("127.0.0.1", Some("127.0.0.1:7")),
            ("h:x", None),
            ("h:70000", None),
            (":1", None),
            ("", None),
            ("not an address", None),
            ("https://h", None),
        ] {
            assert_eq!(with_port(form, 7).as_deref(), expected, "{form}");
        }
    }

    #[test]
    fn a_url_and_its_authority_lead_to_the_same_place() {
        for form in ["h:1", "http://h:1", "http://h:1/", "h:1/"] {
            assert_eq!(authority(form), "h:1", "{form}");
        }
        assert_eq!(authority("https://h:1"), "https://h:1", "another scheme stays visible");
        assert_eq!(authority(""), "");
    }
}
