//! What the module promises, case by case.

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parse(text: &str, stated: Option<&str>) -> Result<Document> {
    Document::parse(text.as_bytes(), &[stated], "x", &Limits::default())
}

fn manifest_text(extra: &str) -> String {
    format!(
        r#"{{"schemaVersion":2{extra},"config":{{"mediaType":"{}","digest":"sha256:{HEX}","size":2}},
        "layers":[{{"mediaType":"{}","digest":"sha256:{HEX}","size":3}}]}}"#,
        media::OCI_CONFIG,
        media::OCI_LAYER_GZIP
    )
}

#[test]
fn manifests_of_both_families_are_read() {
    for media_type in [media::OCI_MANIFEST, media::DOCKER_MANIFEST] {
        let text = manifest_text(&format!(r#","mediaType":"{media_type}""#));
        let Document::Manifest(manifest) =
            parse(&text, Some(&format!("{media_type}; charset=utf-8"))).unwrap()
        else {
            panic!("not a manifest")
        };
        assert_eq!(manifest.media_type, media_type);
        assert_eq!(manifest.layers[0].size, 3);
    }
    assert_eq!(
        parse(&manifest_text(""), Some("application/json"))
            .unwrap()
            .media_type(),
        media::OCI_MANIFEST
    );
}

#[test]
fn an_index_keeps_the_windows_version_and_marks_attestations() {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[
        {{"mediaType":"{m}","digest":"sha256:{HEX}","size":1,"platform":{{"architecture":"amd64","os":"windows","os.version":"10.0.20348.1"}}}},
        {{"mediaType":"{m}","digest":"sha256:{HEX}","size":1,"platform":{{"architecture":"unknown","os":"unknown"}},
          "annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}}]}}"#,
        media::OCI_INDEX,
        m = media::OCI_MANIFEST
    );
    let Document::Index(index) = parse(&text, None).unwrap() else {
        panic!("not an index")
    };
    assert_eq!(
        index.entries[0].platform.as_ref().unwrap().to_string(),
        "windows(10.0.20348.1)/amd64"
    );
    assert!(index.entries[0].is_image);
    assert!(!index.entries[1].is_image);
}

#[test]
fn documents_that_two_readers_understand_differently_are_refused() {
    let both = manifest_text(r#","manifests":[]"#);
    assert!(matches!(
        parse(&both, None),
        Err(ImageError::ManifestInvalid { .. })
    ));
    let contradiction = manifest_text(&format!(r#","mediaType":"{}""#, media::OCI_MANIFEST));
    assert!(parse(&contradiction, Some(media::DOCKER_MANIFEST)).is_err());
    assert!(parse(&manifest_text(r#","schemaVersion":2"#), None).is_err());
    assert!(parse(&manifest_text(""), Some(media::OCI_INDEX)).is_err());
    assert!(parse(r#"{"schemaVersion":3,"manifests":[]}"#, None).is_err());
    assert!(parse(r#"{"schemaVersion":2}"#, None).is_err());
}

#[test]
fn the_format_of_before_2015_is_named() {
    let old = r#"{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[],"history":[],"signatures":[]}"#;
    let error = parse(old, None).unwrap_err();
    assert!(matches!(error, ImageError::Schema1 { .. }));
    assert!(error.hint().is_some());
    let by_type = parse(
        "{}",
        Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
    );
    assert!(matches!(by_type, Err(ImageError::Schema1 { .. })));
}

#[test]
fn digests_and_sizes_are_checked_before_use() {
    for bad in [
        "sha256:../../x",
        "md5:0123",
        &format!("sha256:{}", HEX.to_uppercase()),
        "sha256:ab",
        "sha512:",
    ] {
        let text = manifest_text("").replacen(&format!("sha256:{HEX}"), bad, 1);
        assert!(
            matches!(parse(&text, None), Err(ImageError::InvalidDigest { .. })),
            "{bad}"
        );
    }
    let negative = manifest_text("").replace(r#""size":3"#, r#""size":-3"#);
    assert!(parse(&negative, None).is_err());
    let huge = manifest_text("").replace(r#""size":3"#, r#""size":9000000000000000"#);
    assert!(matches!(
        parse(&huge, None),
        Err(ImageError::LimitExceeded { .. })
    ));
}

#[test]
fn counts_have_limits() {
    let layer = format!(
        r#"{{"mediaType":"{}","digest":"sha256:{HEX}","size":3}}"#,
        media::OCI_LAYER_GZIP
    );
    let text = manifest_text("").replace(&layer, &vec![layer.clone(); 257].join(","));
    assert!(matches!(
        parse(&text, None),
        Err(ImageError::LimitExceeded { .. })
    ));
}

#[test]
fn artifacts_are_not_images() {
    let chart = manifest_text("").replace(media::OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json");
    assert!(matches!(parse(&chart, None), Err(ImageError::Unsupported { .. })));
    let encrypted = manifest_text("").replace(
        media::OCI_LAYER_GZIP,
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
    );
    assert!(matches!(
        parse(&encrypted, None),
        Err(ImageError::Unsupported { .. })
    ));
}

#[test]
fn configurations_must_fit_their_manifest() {
    let text = format!(
        r#"{{"architecture":"amd64","os":"windows","os.version":"10.0.1.2","config":{{"Env":["A=b"],"ArgsEscaped":true,
        "ExposedPorts":{{"80/tcp":null}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{HEX}"]}}}}"#
    );
    let config = Config::parse(text.as_bytes(), 1, "x").unwrap();
    assert_eq!(config.platform.to_string(), "windows(10.0.1.2)/amd64");
    assert!(config.raw.get().contains("ArgsEscaped"));
    for layers in [0, 2] {
        assert!(matches!(
            Config::parse(text.as_bytes(), layers, "x"),
            Err(ImageError::ManifestInvalid { .. })
        ));
    }
    let no_platform = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["sha256:{HEX}"]}}}}"#);
    assert_eq!(
        Config::parse(no_platform.as_bytes(), 1, "x")
            .unwrap()
            .platform
            .to_string(),
        "linux/amd64"
    );
    assert!(Config::parse(b"{}", 0, "x").is_err());
}
