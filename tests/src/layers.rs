//! Layers of images in the registry, as Python's tarfile reads them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Prints the entries of a layer's tar: name, kind, size, and the extended headers that are there.
const DECODE: &str = r"
import base64, json, sys, tarfile
for entry in tarfile.open(sys.argv[1]):
    headers = {key: value for key, value in entry.pax_headers.items() if key not in ('path', 'linkpath', 'size')}
    if 'MSWINDOWS.rawsd' in headers:
        headers['control'] = int.from_bytes(base64.b64decode(headers['MSWINDOWS.rawsd'])[2:4], 'little')
    print(json.dumps({'name': entry.name, 'type': entry.type.decode(), 'size': entry.size, **headers}))
";

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The entries of the topmost layer of a Windows image that has so many: `name`, `type`, `size` and what extended headers say.
///
/// # Panics
/// The image is not in the registry or has another number of layers.
#[must_use]
pub fn top(folder: &Path, name: &str, count: usize) -> Vec<Value> {
    let layout = folder.join("pushed");
    run(Command::new("skopeo").args([
        "copy",
        "--quiet",
        "--insecure-policy",
        "--src-tls-verify=false",
        "--override-os=windows",
        &format!("docker://{name}"),
        &format!("oci:{}:1", layout.display()),
    ]));
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let json = |path: &Path| -> Value {
        let text = std::fs::read(path).expect("a file of the image");
        serde_json::from_slice(&text).expect("JSON")
    };
    let digest = |value: &Value| value["digest"].as_str().map(blob).expect("a digest");
    let index = json(&layout.join("index.json"));
    let manifest = json(&digest(&index["manifests"][0]));
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), count);
    let top = digest(&layers[count - 1]);
    let text = run(Command::new("python3").args(["-c", DECODE]).arg(top));
    let entry = |line: &str| serde_json::from_str(line).expect("JSON");
    text.lines().map(entry).collect()
}
