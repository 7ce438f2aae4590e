//! What the module promises, case by case.

use proptest::prelude::*;

use super::*;

fn p(text: &str) -> Platform {
    text.parse().unwrap()
}

fn best(wanted: &str, available: &[&str]) -> Option<String> {
    pick(&Matcher::new(&p(wanted)), available)
}

fn pick(matcher: &Matcher, available: &[&str]) -> Option<String> {
    let mut ranked: Vec<_> = available
        .iter()
        .map(|a| p(a))
        .filter_map(|a| matcher.rank(&a).map(|r| (r, a)))
        .collect();
    ranked.sort();
    ranked.first().map(|(_, a)| a.to_string())
}

#[test]
fn other_spellings_mean_the_same_platform() {
    assert_eq!(p("linux/x86_64"), p("linux/amd64"));
    assert_eq!(p("linux/aarch64"), p("linux/arm64/v8"));
    assert_eq!(p("linux/armhf").to_string(), "linux/arm/v7");
    assert_eq!(p("linux/arm").to_string(), "linux/arm/v7");
    assert_eq!(p("Linux/AMD64/v1").to_string(), "linux/amd64");
    assert_eq!(
        p("windows(10.0.20348.1)/amd64").os_version.as_deref(),
        Some("10.0.20348.1")
    );
}

#[test]
fn one_word_is_an_architecture_or_a_system() {
    let host = Platform::host_default();
    assert_eq!(p("arm64"), Platform::new(&host.os, "arm64", None, None));
    assert_eq!(
        p("windows"),
        Platform::new("windows", &host.architecture, None, None)
    );
    for text in [
        "",
        "/",
        "linux/",
        "a/b/c/d",
        "linux/am d64",
        "windows(10.0/amd64",
        "windows(x)/amd64",
    ] {
        assert!(text.parse::<Platform>().is_err(), "{text:?}");
    }
}

#[test]
fn an_arm_host_takes_the_best_older_variant() {
    let all = ["linux/arm/v5", "linux/arm/v6", "linux/arm64", "linux/amd64"];
    assert_eq!(best("linux/arm/v7", &all).unwrap(), "linux/arm/v6");
    assert_eq!(best("linux/arm/v5", &all).unwrap(), "linux/arm/v5");
    assert_eq!(best("linux/arm64", &all).unwrap(), "linux/arm64");
    assert_eq!(best("linux/arm64", &["linux/arm/v7"]).unwrap(), "linux/arm/v7");
    assert_eq!(best("linux/arm/v5", &["linux/arm/v6"]), None);
}

#[test]
fn a_processor_level_above_the_plain_one_must_be_asked_for() {
    let all = ["linux/amd64", "linux/amd64/v3"];
    assert_eq!(best("linux/amd64", &all).unwrap(), "linux/amd64");
    assert_eq!(best("linux/amd64/v4", &all).unwrap(), "linux/amd64/v3");
    assert_eq!(best("linux/amd64", &["linux/amd64/v3"]), None);
}

#[test]
fn windows_takes_its_own_build_then_the_newest_that_runs() {
    let all = [
        "windows(10.0.17763.5000)/amd64",
        "windows(10.0.20348.999)/amd64",
        "windows(10.0.20348.1000)/amd64",
        "windows(10.0.26100.1)/amd64",
    ];
    assert_eq!(
        best("windows(10.0.20348.2)/amd64", &all).unwrap(),
        "windows(10.0.20348.1000)/amd64"
    );
    assert_eq!(
        best("windows(10.0.22631.1)/amd64", &all).unwrap(),
        "windows(10.0.20348.1000)/amd64"
    );
    assert_eq!(
        best("windows(10.0.17763.1)/amd64", &all).unwrap(),
        "windows(10.0.17763.5000)/amd64"
    );
    assert_eq!(best("windows(10.0.14393.1)/amd64", &all), None);
    assert_eq!(
        best("windows/amd64", &all).unwrap(),
        "windows(10.0.26100.1)/amd64"
    );
}

#[test]
fn without_an_explicit_choice_the_other_system_is_better_than_nothing() {
    let any = Matcher::any_os(&p("linux/amd64"));
    let windows = ["windows(10.0.20348.1)/amd64", "windows(10.0.17763.1)/amd64"];
    assert_eq!(pick(&any, &windows).unwrap(), "windows(10.0.20348.1)/amd64");
    assert_eq!(
        pick(&any, &["windows/amd64", "linux/amd64"]).unwrap(),
        "linux/amd64"
    );
    assert_eq!(pick(&Matcher::new(&p("linux/amd64")), &windows), None);
    assert_eq!(pick(&any, &["linux/s390x"]), None);
}

proptest! {
    #[test]
    fn text_is_a_fixed_point(os in "[a-z]{2,8}", arch in "[a-z0-9_]{2,8}", variant in prop::option::of("v[0-9]")) {
        let platform = Platform::new(&os, &arch, variant.as_deref(), None);
        prop_assert_eq!(&p(&platform.to_string()), &platform);
    }
}
