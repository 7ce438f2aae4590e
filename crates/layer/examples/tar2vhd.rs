//! Converts layer archives to disk images: `tar2vhd [LAYER.tar[.gz|.zst]|-] IMAGE.vhd`.
//!
//! Also makes empty scratch disks: `tar2vhd --scratch BYTES IMAGE.vhd`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::ExitCode;
use std::time::Instant;

use layer::{Compression, ConvertOptions, decompress, tar_to_vhd, write_empty_scratch};

type AnyError = Box<dyn std::error::Error>;

fn convert(archive: &str, image: &str) -> Result<String, AnyError> {
    let input: Box<dyn Read + Send> = match archive {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path)?),
    };
    let mut input = BufReader::new(input);
    let compression = Compression::detect(input.fill_buf()?);
    let start = Instant::now();
    let converted = tar_to_vhd(
        decompress(compression, input),
        &File::create(image)?,
        &ConvertOptions::default(),
    )?;
    let seconds = start.elapsed().as_secs_f64();
    let hex: String = converted
        .diff_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!(
        "sha256:{hex} {} entries, {} bytes of tar, {} bytes of image, {seconds:.3} s",
        converted.entries, converted.tar_bytes, converted.image_bytes
    ))
}

fn run() -> Result<String, AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--scratch", bytes, image] => {
            write_empty_scratch(&File::create(image)?, bytes.parse()?)?;
            Ok(format!("{image}: {bytes} bytes"))
        }
        [archive, image] => convert(archive, image),
        _ => {
            Err("usage: tar2vhd LAYER.tar[.gz|.zst]|- IMAGE.vhd, or tar2vhd --scratch BYTES IMAGE.vhd".into())
        }
    }
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a command line program"
)]
fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tar2vhd: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  caused by: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
