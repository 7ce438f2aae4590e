//! The texts of `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.

/// How many search domains a resolver takes.
const SEARCH_LIMIT: usize = 6;

/// True for what may be set as a host name; empty means the sandbox's own.
pub(crate) fn is_hostname(name: &str) -> bool {
    name.len() <= 255
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// `/etc/hosts` of a container.
pub(crate) fn hosts(hostname: &str) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    if !hostname.is_empty() {
        text.push_str(&format!("127.0.0.1 {hostname}"));
        if let Some((label, _)) = hostname.split_once('.').filter(|(label, _)| !label.is_empty()) {
            text.push_str(&format!(" {label}"));
        }
        text.push('\n');
    }
    text.push_str(
        "\n# The following lines are desirable for IPv6 capable hosts\n\
         ::1     ip6-localhost ip6-loopback\n\
         fe00::0 ip6-localnet\n\
         ff00::0 ip6-mcastprefix\n\
         ff02::1 ip6-allnodes\n\
         ff02::2 ip6-allrouters\n",
    );
    text
}

/// More search domains than a resolver takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} DNS search domains, at most {SEARCH_LIMIT} are possible")]
pub(crate) struct TooManyDomains {
    found: usize,
}

/// `/etc/resolv.conf` from the comma lists of all adapters.
pub(crate) fn resolv<'a>(
    suffixes: impl IntoIterator<Item = &'a str>,
    servers: impl IntoIterator<Item = &'a str>,
) -> Result<String, TooManyDomains> {
    let search = words(suffixes);
    if search.len() > SEARCH_LIMIT {
        return Err(TooManyDomains { found: search.len() });
    }
    let mut text = String::new();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in words(servers) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    Ok(text)
}

/// The words of comma lists, in lower case, each once.
fn words<'a>(lists: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in lists.into_iter().flat_map(|list| list.split(',')) {
        let word = word.trim().to_lowercase();
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_checked() {
        assert!(is_hostname("") && is_hostname("a-b_c.D9"));
        assert!(!is_hostname("a b") && !is_hostname("ü") && !is_hostname(&"x".repeat(256)));
    }

    #[test]
    fn hosts_names_the_container_in_full_and_short() {
        assert!(hosts("box.example").starts_with("127.0.0.1 localhost\n127.0.0.1 box.example box\n\n#"));
        assert!(hosts("box").contains("\n127.0.0.1 box\n\n"));
        assert!(hosts("").starts_with("127.0.0.1 localhost\n\n#"));
        assert!(hosts("").ends_with("ff02::2 ip6-allrouters\n"));
    }

    #[test]
    fn resolv_merges_the_lists_of_all_adapters() {
        let text = resolv(["Corp.Example,lan", "lan"], ["10.0.2.3", " 10.0.2.4,10.0.2.3"]).unwrap();
        assert_eq!(
            text,
            "search corp.example lan\nnameserver 10.0.2.3\nnameserver 10.0.2.4\n"
        );
        assert_eq!(resolv([""], []).unwrap(), "");
    }

    #[test]
    fn too_many_search_domains_are_an_error() {
        assert_eq!(resolv(["a,b,c,d,e,f,g"], []), Err(TooManyDomains { found: 7 }));
    }
}
