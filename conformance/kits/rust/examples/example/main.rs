//! An engine in Rust: cargo build --offline --example example

mod decoders;

use rq_adapter::{serve, Case, Outputs, Refusal};

fn run(case: &Case) -> Result<Outputs, Refusal> {
    let (size, decode): (usize, fn(&[u8]) -> Vec<f32>) = match (&*case.op, case.param("scheme")) {
        ("decode", "ggml/q4_0") => (18, decoders::q4_0),
        ("decode", "ggml/q8_0") => (34, decoders::q8_0),
        ("decode", "ggml/mxfp4") => (17, decoders::mxfp4),
        _ => return Err(Refusal::Unsupported),
    };
    let blocks = case.inputs.get("blocks").ok_or(Refusal::Unsupported)?;
    let values = blocks.data.chunks_exact(size).flat_map(decode).flat_map(f32::to_le_bytes);
    Ok(Outputs::from([("values".into(), values.collect())]))
}

fn main() -> std::io::Result<()> {
    serve("example-rust", &["decode.ggml-q4_0", "decode.ggml-q8_0", "decode.ggml-mxfp4"], run)
}
