// Part of kernels that normalise and activate while they load: a = leaky(gamma (z - mean) rstd + beta),
// in the order of norm/apply, so that the bits are its.
//
// table: vec4 [n][block][5] from norm/table. Bytes: 80 a sample and channel block.
struct OnLoad { mean: vec4<f32>, rstd: vec4<f32>, scale: vec4<f32>, shift: vec4<f32>, slope: vec4<f32> }

// row: sample * blocks + block.
fn on_load_of(row: u32) -> OnLoad {
    let i = row * 5u;
    return OnLoad(on_load[i], on_load[i + 1u], on_load[i + 2u], on_load[i + 3u], on_load[i + 4u]);
}

fn activation(f: OnLoad, z: vec4<f32>) -> vec4<f32> {
    let y = f.scale * ((z - f.mean) * f.rstd) + f.shift;
    return select(y * f.slope, y, y > vec4(0.0));
}
