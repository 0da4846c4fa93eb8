//! Compresses the price catalogue, so that the repository keeps it readable and the program keeps it small.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let source = Path::new("data/model_prices.json");
    println!("cargo::rerun-if-changed={}", source.display());
    let out_dir = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let packed = zstd::encode_all(fs::File::open(source)?, 19)?;
    fs::write(Path::new(&out_dir).join("model_prices.json.zst"), packed)
}
