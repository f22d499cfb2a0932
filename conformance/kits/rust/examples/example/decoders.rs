//! The engine of the example: three formats of ggml, decoded to binary32.

const DOUBLED: [f32; 16] =
    [0., 1., 2., 3., 4., 6., 8., 12., 0., -1., -2., -3., -4., -6., -8., -12.];

fn half(low: u8, high: u8) -> f32 {
    let bits = u16::from_le_bytes([low, high]);
    let (exponent, rest) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        31 if rest != 0. => f32::NAN,
        31 => f32::INFINITY,
        0 => rest * 2f32.powi(-24),
        _ => (rest + 1024.) * 2f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

fn halves(codes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    codes.iter().map(|c| c & 15).chain(codes.iter().map(|c| c >> 4))
}

/// A scale, then 32 codes, low halves first.
pub fn q4_0(block: &[u8]) -> Vec<f32> {
    let scale = half(block[0], block[1]);
    halves(&block[2..]).map(|code| scale * (f32::from(code) - 8.)).collect()
}

/// A scale, then 32 signed codes.
pub fn q8_0(block: &[u8]) -> Vec<f32> {
    let scale = half(block[0], block[1]);
    block[2..].iter().map(|&code| scale * f32::from(code as i8)).collect()
}

/// An exponent, then 32 codes of a table that holds twice the values.
pub fn mxfp4(block: &[u8]) -> Vec<f32> {
    let scale = match block[0] {
        0 => f32::from_bits(0x0020_0000),
        1 => f32::from_bits(0x0040_0000),
        e => f32::from_bits((u32::from(e) - 1) << 23),
    };
    halves(&block[1..]).map(|code| scale * DOUBLED[usize::from(code)]).collect()
}
