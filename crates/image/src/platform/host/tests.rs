//! Hosts and images: what runs where, and what is said when it does not.

use std::fmt::Write as _;

use super::*;

const IMAGES: [&str; 8] = [
    "10.0.14393.100",
    "10.0.14393.200",
    "10.0.17763.5000",
    "10.0.18363.1",
    "10.0.20348.2000",
    "10.0.25398.1",
    "10.0.26100.1742",
    "10.0.27000.1",
];

fn v(text: &str) -> WindowsVersion {
    text.parse().unwrap()
}

fn server(build: u32, hyperv: bool) -> Host {
    Host::windows(build, 100, Edition::Server, hyperv)
}

fn client(build: u32, hyperv: bool) -> Host {
    Host::windows(build, 100, Edition::Client, hyperv)
}

/// What each host does with each image: process, hyperv or - for a refusal.
fn matrix(hosts: &[Host], requested: Option<Isolation>) -> String {
    let mut text = String::new();
    for host in hosts {
        let Kind::Windows {
            version,
            edition,
            hyperv,
            ..
        } = host.0
        else {
            panic!("{host}");
        };
        let name = format!(
            "{edition:?} {}{}",
            version.build,
            if hyperv { " hyperv" } else { "" }
        );
        write!(text, "{name:<20}").unwrap();
        for image in IMAGES {
            let word = match host.isolation(Some(v(image)), requested) {
                Ok(isolation) => isolation.to_string(),
                Err(_) => "-".to_owned(),
            };
            write!(text, " {word:<8}").unwrap();
        }
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
    }
    text
}

fn hosts() -> Vec<Host> {
    [14393, 17763, 18363, 20348, 22631, 25398, 26100, 26200]
        .into_iter()
        .flat_map(|build| {
            [false, true]
                .into_iter()
                .flat_map(move |hyperv| [server(build, hyperv), client(build, hyperv)])
        })
        .collect()
}

#[test]
fn every_host_runs_what_it_can_in_the_way_it_prefers() {
    //                   14393.100 14393.200 17763   18363    20348    25398    26100    27000
    let expected = "\
Server 14393         process  -        -        -        -        -        -        -
Client 14393         process  -        -        -        -        -        -        -
Server 14393 hyperv  process  hyperv   -        -        -        -        -        -
Client 14393 hyperv  hyperv   hyperv   -        -        -        -        -        -
Server 17763         -        -        process  -        -        -        -        -
Client 17763         -        -        process  -        -        -        -        -
Server 17763 hyperv  hyperv   hyperv   process  -        -        -        -        -
Client 17763 hyperv  hyperv   hyperv   hyperv   -        -        -        -        -
Server 18363         -        -        -        process  -        -        -        -
Client 18363         -        -        -        process  -        -        -        -
Server 18363 hyperv  hyperv   hyperv   hyperv   process  -        -        -        -
Client 18363 hyperv  hyperv   hyperv   hyperv   hyperv   -        -        -        -
Server 20348         -        -        -        -        process  -        -        -
Client 20348         -        -        -        -        process  -        -        -
Server 20348 hyperv  hyperv   hyperv   hyperv   hyperv   process  -        -        -
Client 20348 hyperv  hyperv   hyperv   hyperv   hyperv   hyperv   -        -        -
Server 22631         -        -        -        -        process  -        -        -
Client 22631         -        -        -        -        process  -        -        -
Server 22631 hyperv  hyperv   hyperv   hyperv   hyperv   process  -        -        -
Client 22631 hyperv  hyperv   hyperv   hyperv   hyperv   hyperv   -        -        -
Server 25398         -        -        -        -        process  process  -        -
Client 25398         -        -        -        -        process  process  -        -
Server 25398 hyperv  hyperv   hyperv   hyperv   hyperv   process  process  -        -
Client 25398 hyperv  hyperv   hyperv   hyperv   hyperv   hyperv   hyperv   -        -
Server 26100         -        -        -        -        process  process  process  -
Client 26100         -        -        -        -        process  process  process  -
Server 26100 hyperv  hyperv   hyperv   hyperv   hyperv   process  process  process  -
Client 26100 hyperv  hyperv   hyperv   hyperv   hyperv   hyperv   hyperv   hyperv   -
Server 26200         -        -        -        -        process  process  process  -
Client 26200         -        -        -        -        process  process  process  -
Server 26200 hyperv  hyperv   hyperv   hyperv   hyperv   process  process  process  -
Client 26200 hyperv  hyperv   hyperv   hyperv   hyperv   hyperv   hyperv   hyperv   -
";
    assert_eq!(matrix(&hosts(), None), expected);
}

#[test]
fn an_isolation_that_is_asked_for_is_given_or_refused() {
    let few = [server(17763, true), client(26100, true), server(26100, false)];
    assert_eq!(
        matrix(&few, Some(Isolation::Process)),
        "\
Server 17763 hyperv  -        -        process  -        -        -        -        -
Client 26100 hyperv  -        -        -        -        process  process  process  -
Server 26100         -        -        -        -        process  process  process  -
"
    );
    assert_eq!(
        matrix(&few, Some(Isolation::HyperV)),
        "\
Server 17763 hyperv  hyperv   hyperv   hyperv   -        -        -        -        -
Client 26100 hyperv  hyperv   hyperv   hyperv   hyperv   hyperv   hyperv   hyperv   -
Server 26100         -        -        -        -        -        -        -        -
"
    );
}

#[test]
fn an_image_without_a_version_is_taken_for_an_old_one() {
    for (host, requested, expected) in [
        (server(20348, true), None, Isolation::HyperV),
        (server(20348, false), None, Isolation::Process),
        (client(26100, true), Some(Isolation::Process), Isolation::Process),
        (Host::linux_with_wine(), None, Isolation::Process),
    ] {
        assert_eq!(host.isolation(None, requested).unwrap(), expected, "{host}");
    }
    assert!(
        server(20348, false)
            .isolation(None, Some(Isolation::HyperV))
            .is_err()
    );
}

#[test]
fn wine_runs_an_image_of_any_version() {
    let host = Host::linux_with_wine();
    for image in IMAGES {
        assert_eq!(host.isolation(Some(v(image)), None).unwrap(), Isolation::Process);
    }
    assert!(
        host.isolation(Some(v(IMAGES[0])), Some(Isolation::HyperV))
            .is_err()
    );
    assert!(Host::linux().isolation(Some(v(IMAGES[0])), None).is_err());
}

/// The text and the way out of the refusal of an image.
fn refused(host: &Host, image: Option<&str>, requested: Option<Isolation>) -> (String, String) {
    let refusal = host.isolation(image.map(v), requested).unwrap_err();
    (refusal.to_string(), refusal.way_out("registry.example/app"))
}

#[test]
fn a_refusal_names_both_builds_and_the_way_out() {
    let process = Some(Isolation::Process);
    let hyperv = Some(Isolation::HyperV);
    for (host, image, requested, text, way_out) in [
        (
            server(20348, true),
            Some("10.0.26100.1742"),
            None,
            "the image is for Windows build 26100 (10.0.26100.1742), this host is Windows Server build 20348 \
             (10.0.20348.100): no isolation runs an image that is newer than its host",
            "use an image for this host, often tagged ltsc2022; or use a host with Windows build 26100 or newer",
        ),
        (
            server(20348, false),
            Some("10.0.17763.5000"),
            None,
            "the image is for Windows build 17763 (10.0.17763.5000), this host is Windows Server build 20348 \
             (10.0.20348.100): process isolation needs a matching build, and Hyper-V isolation is not available",
            "use an image for this host, often tagged ltsc2022; or turn the Windows feature Hyper-V on",
        ),
        (
            client(26100, true),
            Some("10.0.17763.5000"),
            process,
            "the image is for Windows build 17763 (10.0.17763.5000), this host is Windows build 26100 \
             (10.0.26100.100): process isolation, which was asked for, needs a matching build",
            "leave --isolation process out, and it runs with Hyper-V isolation; or use an image for this host, often \
             tagged ltsc2025",
        ),
        (
            server(17763, false),
            Some("10.0.17763.1"),
            hyperv,
            "the image is for Windows build 17763 (10.0.17763.1), this host is Windows Server build 17763 \
             (10.0.17763.100): Hyper-V isolation, which was asked for, is not available",
            "turn the Windows feature Hyper-V on, or leave --isolation hyperv out",
        ),
        (
            client(18363, false),
            Some("10.0.17763.1"),
            None,
            "the image is for Windows build 17763 (10.0.17763.1), this host is Windows build 18363 \
             (10.0.18363.100): process isolation needs a matching build, and Hyper-V isolation is not available",
            "use an image that is made for this host's build; or turn the Windows feature Hyper-V on",
        ),
        (
            server(20348, false),
            None,
            hyperv,
            "the image is for an unknown version of Windows, this host is Windows Server build 20348 \
             (10.0.20348.100): Hyper-V isolation, which was asked for, is not available",
            "turn the Windows feature Hyper-V on, or leave --isolation hyperv out",
        ),
        (
            Host::linux_with_wine(),
            Some("10.0.20348.1"),
            hyperv,
            "the image is for Windows build 20348 (10.0.20348.1), this host is Linux with Wine: Hyper-V isolation, \
             which was asked for, is not available",
            "leave --isolation hyperv out",
        ),
        (
            Host::linux(),
            Some("10.0.20348.1"),
            None,
            "the image is for Windows build 20348 (10.0.20348.1), this host is Linux without Wine: Windows programs \
             run here only under Wine",
            "install Wine, in Debian the package wine64",
        ),
    ] {
        assert_eq!(
            refused(&host, image, requested),
            (text.to_owned(), way_out.to_owned())
        );
    }
}

#[test]
fn a_refusal_names_the_newest_version_that_would_run() {
    let host = server(20348, false);
    let p = |text: &str| text.parse::<Platform>().unwrap();
    let images: Vec<(Platform, Digest)> = [
        "windows(10.0.17763.5000)/amd64",
        "windows(10.0.20348.999)/amd64",
        "windows(10.0.20348.1000)/amd64",
        "windows(10.0.26100.1)/amd64",
        "windows/amd64",
        "linux/amd64",
    ]
    .into_iter()
    .map(|text| (p(text), Digest::of(text)))
    .collect();
    let newest = host.newest(images.iter().map(|(p, d)| (p, d)), None).unwrap();
    assert_eq!(newest.0, v("10.0.20348.1000"));
    let refusal = Refusal {
        compatible: Some(newest),
        ..host.isolation(Some(v("10.0.26100.1")), None).unwrap_err()
    };
    let digest = Digest::of("windows(10.0.20348.1000)/amd64");
    assert_eq!(
        refusal.way_out("registry.example/app"),
        format!(
            "use the newest version that runs here, 10.0.20348.1000: registry.example/app@{digest}; or use a host with \
             Windows build 26100 or newer"
        )
    );
}

#[test]
fn each_host_prefers_its_own_system_and_the_newest_version_that_runs() {
    let order = |host: &Host, available: &[&'static str]| {
        let matcher = host.matcher(&"linux/amd64".parse().unwrap());
        let mut ranked: Vec<_> = available
            .iter()
            .filter_map(|text| {
                let platform: Platform = text.parse().unwrap();
                matcher.rank(&platform).map(|rank| (rank, *text))
            })
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    let all = [
        "linux/amd64",
        "linux/arm64",
        "windows(10.0.26100.1)/amd64",
        "windows(10.0.17763.5000)/amd64",
        "windows(10.0.20348.999)/amd64",
        "windows(10.0.20348.2340)/amd64",
        "windows(10.0.14393.9)/amd64",
        "windows/amd64",
    ];
    assert_eq!(
        order(&server(20348, true), &all),
        [
            "windows(10.0.20348.2340)/amd64",
            "windows(10.0.20348.999)/amd64",
            "windows(10.0.17763.5000)/amd64",
            "windows(10.0.14393.9)/amd64",
            "windows/amd64",
            "linux/amd64",
        ]
    );
    // On the oldest server the patch level has to match.
    assert_eq!(
        order(
            &Host::windows(14393, 5, Edition::Server, true),
            &["windows(10.0.14393.9)/amd64", "windows(10.0.14393.5)/amd64"]
        )[0],
        "windows(10.0.14393.5)/amd64"
    );
    assert_eq!(
        order(&Host::linux_with_wine(), &all)[..3],
        [
            "linux/amd64",
            "windows(10.0.26100.1)/amd64",
            "windows(10.0.20348.2340)/amd64"
        ]
    );
}
