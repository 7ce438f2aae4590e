//! Converts layer archives to disk images: `tar2vhd [LAYER.tar[.gz|.zst]|-] IMAGE.vhd`.
//!
//! Also makes empty scratch disks, `tar2vhd --scratch BYTES IMAGE.vhd`, and such that grow, `tar2vhd --growing-scratch BYTES IMAGE.vhdx`.
//! For measurements it does parts of a conversion alone, each on one thread and with nothing written: `tar2vhd --decompress LAYER.tar.gz` and `tar2vhd --sha256 FILE`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::ExitCode;
use std::time::Instant;

use layer::{
    Compression, ConvertOptions, decompress, tar_to_vhd, write_empty_growing_scratch, write_empty_scratch,
};
use ring::digest::{Context, SHA256};

type AnyError = Box<dyn std::error::Error>;

fn convert(archive: &str, image: &str) -> Result<String, AnyError> {
    let mut input = BufReader::new(open(archive)?);
    let compression = Compression::detect(input.fill_buf()?);
    let start = Instant::now();
    let converted = tar_to_vhd(
        decompress(compression, input),
        &File::create(image)?,
        &ConvertOptions::default(),
    )?;
    let seconds = start.elapsed().as_secs_f64();
    let hex = hex(&converted.diff_id);
    Ok(format!(
        "sha256:{hex} {} entries, {} bytes of tar, {} bytes of image, {seconds:.3} s",
        converted.entries, converted.tar_bytes, converted.image_bytes
    ))
}

fn open(archive: &str) -> std::io::Result<Box<dyn Read + Send>> {
    Ok(match archive {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path)?),
    })
}

/// Hands everything to `take`.
fn drain(mut input: impl Read, mut take: impl FnMut(&[u8])) -> std::io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            return Ok(total);
        }
        take(&buffer[..length]);
        total += length as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run() -> Result<String, AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--scratch", bytes, image] => {
            write_empty_scratch(&File::create(image)?, bytes.parse()?)?;
            Ok(format!("{image}: {bytes} bytes"))
        }
        ["--growing-scratch", bytes, image] => {
            write_empty_growing_scratch(&File::create(image)?, bytes.parse()?, [0; 16])?;
            Ok(format!("{image}: up to {bytes} bytes"))
        }
        ["--decompress", archive] => {
            let mut input = BufReader::new(open(archive)?);
            let compression = Compression::detect(input.fill_buf()?);
            let bytes = drain(decompress(compression, input), |_| {})?;
            Ok(format!("{bytes} bytes"))
        }
        ["--sha256", file] => {
            let mut hash = Context::new(&SHA256);
            drain(open(file)?, |bytes| hash.update(bytes))?;
            Ok(hex(hash.finish().as_ref()))
        }
        [archive, image] => convert(archive, image),
        _ => Err(
            "usage: tar2vhd LAYER.tar[.gz|.zst]|- IMAGE.vhd, tar2vhd --scratch BYTES IMAGE.vhd, tar2vhd --growing-scratch BYTES IMAGE.vhdx, \
                  tar2vhd --decompress LAYER, or tar2vhd --sha256 FILE"
                .into(),
        ),
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
