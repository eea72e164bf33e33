//! Addresses as people and servers write them. What they lead to is nobody's business here.

/// `host:port` of an address that may be written as a URL, `http://host:port/`.
#[must_use]
pub fn authority(address: &str) -> &str {
    let authority = address.strip_prefix("http://").unwrap_or(address);
    authority.strip_suffix('/').unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_its_authority_lead_to_the_same_place() {
        for form in ["h:1", "http://h:1", "http://h:1/", "h:1/"] {
            assert_eq!(authority(form), "h:1", "{form}");
        }
        assert_eq!(authority("https://h:1"), "https://h:1", "another scheme stays visible");
        assert_eq!(authority(""), "");
    }
}
