//! What the module promises, case by case.

use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    text.parse::<Reference>().unwrap().to_string()
}

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn short_names_mean_the_default_registry() {
    assert_eq!(canonical("busybox"), "docker.io/library/busybox:latest");
    assert_eq!(canonical("acme/app:1"), "docker.io/acme/app:1");
    assert_eq!(
        canonical("index.docker.io/busybox"),
        "docker.io/library/busybox:latest"
    );
    assert_eq!(canonical("docker.io/busybox"), "docker.io/library/busybox:latest");
    assert_eq!(canonical("localhost:5000"), "docker.io/library/localhost:5000");
}

#[test]
fn a_first_component_that_looks_like_a_host_is_one() {
    assert_eq!(canonical("127.0.0.1:5000/x"), "127.0.0.1:5000/x:latest");
    assert_eq!(canonical("localhost/x:t"), "localhost/x:t");
    assert_eq!(canonical("ghcr.io/acme/app/sub:v1"), "ghcr.io/acme/app/sub:v1");
    assert_eq!(canonical("[::1]:5000/x:t"), "[::1]:5000/x:t");
    assert_eq!(canonical("UPPER/x"), "UPPER/x:latest");
    assert_eq!(
        canonical("mcr.microsoft.com/windows/nanoserver:ltsc2022"),
        "mcr.microsoft.com/windows/nanoserver:ltsc2022"
    );
}

#[test]
fn a_digest_needs_no_tag_but_may_have_one() {
    let with_digest = format!("busybox@sha256:{HEX}");
    assert_eq!(
        canonical(&with_digest),
        format!("docker.io/library/busybox@sha256:{HEX}")
    );
    let both: Reference = format!("127.0.0.1:5000/x:tag@sha256:{HEX}").parse().unwrap();
    assert_eq!(both.tag(), Some("tag"));
    assert_eq!(both.selector(), format!("sha256:{HEX}"));
    assert_eq!(both.without_digest().unwrap().to_string(), "127.0.0.1:5000/x:tag");
}

#[test]
fn familiar_names_are_the_short_ones() {
    let familiar = |text: &str| text.parse::<Reference>().unwrap().familiar();
    assert_eq!(familiar("docker.io/library/busybox"), "busybox:latest");
    assert_eq!(familiar("acme/app"), "acme/app:latest");
    assert_eq!(familiar("docker.io/library/a/b:1"), "library/a/b:1");
    assert_eq!(familiar("ghcr.io/library/x:1"), "ghcr.io/library/x:1");
    assert_eq!(familiar("docker.io/a.b/x:1"), "docker.io/a.b/x:1");
}

#[test]
fn what_is_outside_the_grammar_is_refused() {
    for text in [
        "",
        ":tag",
        "busybox:",
        "busybox:-x",
        "busybox@",
        "busybox@sha256:abc",
        "busybox@md5:0123",
        "Busybox",
        "acme/App",
        "a//b",
        "/a",
        "a/",
        "a/../b",
        "..",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a b",
        "a\nb",
        "http://x/y",
        "x.y:99999/a",
        "x.y:/a",
        "[::1/a",
        "[zz]:1/a",
        "user@host/a",
        "a:b:c",
        HEX,
        "a:b/../c",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
    }
    assert!(
        format!("busybox@sha256:{}", HEX.to_uppercase())
            .parse::<Reference>()
            .is_err()
    );
    assert!("a".repeat(300).parse::<Reference>().is_err());
    assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
}

proptest! {
    #[test]
    fn canonical_and_familiar_text_are_fixed_points(
        host in prop::option::of("(localhost|[a-z][a-z0-9-]{0,8}[a-z0-9]\\.(com|io)|127\\.0\\.0\\.1)(:[1-9][0-9]{0,3})?"),
        path in "[a-z0-9]{1,6}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}((\\.|_|__|-)[a-z0-9]{1,4})?){0,3}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        digest in prop::option::of("[0-9a-f]{64}"),
    ) {
        // Without a host, a dot in the first component would make it one.
        let host = host.or_else(|| path.split('/').next().filter(|c| c.contains('.')).map(|_| "docker.io".into()));
        let mut text = host.map(|h| h + "/").unwrap_or_default() + &path;
        if let Some(tag) = tag { text = text + ":" + &tag; }
        if let Some(digest) = digest { text = text + "@sha256:" + &digest; }
        let parsed: Reference = text.parse().unwrap();
        prop_assert_eq!(&parsed.to_string().parse::<Reference>().unwrap(), &parsed);
        prop_assert_eq!(&parsed.familiar().parse::<Reference>().unwrap(), &parsed);
    }

    #[test]
    fn no_text_makes_the_parser_panic_or_escape(text in "\\PC{0,80}") {
        if let Ok(parsed) = text.parse::<Reference>() {
            let dangerous = parsed.repository().split('/').any(|c| c.is_empty() || c == "." || c == "..");
            prop_assert!(!dangerous);
            prop_assert_eq!(&parsed.to_string().parse::<Reference>().unwrap(), &parsed);
        }
    }
}
